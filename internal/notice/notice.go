// Package notice writes what people are told, in Danish and English: text and HTML, in a multipart/report with an RFC
// 3464 part where the standards ask for one. It is pure: facts in, message bytes out. A notice never holds a CPR
// number, the original subject or body (law 6, law 7); places are named and values masked.
//
// Facts become a page (page.go), the page is put into words by the templates in words/da and words/en (words.go), the
// words become blocks, and the blocks text and HTML (render.go); status.go writes what machines read, mime.go the rest.
// What tells of a failure, a delay, a hold or an ordered success is a multipart/report; the other notices are not, since
// nobody asked for a report of success (RFC 3461, section 5.2).
package notice

import (
	"time"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
)

// Notice is everything one notice is made of. All texts in it are masked already; Compose masks them once more.
type Notice struct {
	ID        ledger.MessageID // the notice's own id: its Message-ID and MIME boundaries follow from it
	Tells     ledger.TellKind
	Lang      string // "da" or "en": which language stands first
	At        time.Time
	From      mail.Address // the guard's address: the header From; the envelope sender is null
	To        mail.Address // whom this rung tells
	Rung      int          // 0 the sender, 1 the sender's unit, 2 the safety net: from 1 on the text says why it came here
	Untold    Untold       // why the sender was not told, from rung 1 on
	Unit      bool         // the sender has a unit, which was tried before rung 2
	Reporting string       // our host name, for Reporting-MTA
	Authority string       // "Eksempel Kommune"
	Contact   string       // whom to ask, as shown to people; may be empty
	Message   Original
	About     []Subject
	Since     time.Time // digest: the beginning of the period, which ends At
	Owner     string    // held, reminder, escalated: who decides
	Deadline  time.Time // held, reminder: until when; delayed: when it will be given up
	By        string    // released, withdrawn: the person
	Why       string    // released, withdrawn: the person's reason, masked
}

// Untold is why a notice went past the sender.
type Untold string

const (
	Failed    Untold = ""          // it was sent to the sender, and did not arrive
	NotAsked  Untold = "not-asked" // the sender asked not to be told of this (NOTIFY, RFC 3461)
	Unproven  Untold = "unproven"  // an outside sender who may be forged
	NeverTold Untold = "never"     // an outside sender, and the authority tells none
)

// Original is the message the notice is about.
type Original struct {
	ID         ledger.MessageID
	HeaderID   string // its Message-ID field, "" when it has none or it was masked
	Sender     string // shown form
	AcceptedAt time.Time
	EnvID      string // RFC 3461
	Direction  policy.Direction
}

// Subject is one delivery the notice is about.
type Subject struct {
	Message   *Original // digest: the message it belongs to; nil: Notice.Message
	Recipient string    // shown form
	ORcpt     string
	Verdict   policy.Verdict
	Places    []Place // what was found or moved, where it matters to the reader
	Problem   Problem // returned, delayed: what went wrong
	Required  level.Level
	Reached   level.Level
	Class     class.Class
	Enhanced  string // RFC 3463 status for the delivery-status part; "" : Compose derives it from Problem
	Code      int
	Remote    string // host that answered
	Said      string // its words, masked
	LastTry   time.Time
	Possibly  bool // an attempt was cut off: it may have arrived all the same
}

// Place is a masked value in its place.
type Place struct {
	Place  detect.Place
	Kind   detect.Kind
	Masked string
	Why    string
}

// Problem is why something was not delivered, as a value with words.
type Problem string

const (
	NoSuchAddress Problem = "no-such-address" // 5.1.x: the receiving server does not know the address
	NoSuchDomain  Problem = "no-such-domain"  // the domain does not exist or takes no mail
	MailboxFull   Problem = "mailbox-full"
	TooBig        Problem = "too-big"
	RefusedThere  Problem = "refused"       // the receiving server refused it for another reason
	NoContact     Problem = "no-contact"    // it could not be reached before the deadline
	NotAccepted   Problem = "not-accepted"  // it answered "later" until the deadline
	LevelTooLow   Problem = "level-too-low" // it could be reached only on a channel below the level
	ByPolicy      Problem = "by-policy"     // the authority's policy says that it must not be sent
	Unsupported   Problem = "unsupported"   // the receiving server lacks SMTPUTF8 or REQUIRETLS that this mail needs
	OwnStore      Problem = "own-store"     // the guard could not read the message in its own store
	OurSide       Problem = "our-side"      // the guard did not come so far as to ask the receiving server, or failed itself
)

// Problems lists all of them.
var Problems = []Problem{NoSuchAddress, NoSuchDomain, MailboxFull, TooBig, RefusedThere, NoContact, NotAccepted, LevelTooLow, ByPolicy, Unsupported, OwnStore, OurSide}

// Compose writes the notice: CRLF lines, 7-bit, ready to be sent. It errs only on facts it cannot do without: an id, the
// two addresses, a host name, a kind it knows and something to tell about. Whatever else is odd is made harmless.
func Compose(n Notice) ([]byte, error) {
	n = clean(n)
	if err := check(n); err != nil {
		return nil, err
	}
	langs := []string{"da", "en"}
	if n.Lang == "en" {
		langs = []string{"en", "da"}
	}
	var docs []document
	for _, lang := range langs {
		d, err := write(n, lang)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	m := mimeWriter{id: string(n.ID)}
	m.head(n, docs[0].subject)
	if !reports(n.Tells) {
		m.alternative(docs)
		return m.bytes(), nil
	}
	m.report(func() { m.alternative(docs) }, status(n))
	return m.bytes(), nil
}

// reports says which notices are reports for machines too. A release and a repair are none: the message goes on, and
// its delivery will be told of by what comes of it.
func reports(k ledger.TellKind) bool {
	switch k {
	case ledger.TellReturned, ledger.TellDelayed, ledger.TellHeld, ledger.TellWithdrawn, ledger.TellDelivered:
		return true
	}
	return false
}

// toSender says which notices answer the message they are about; the others go to an owner or gather many messages.
func toSender(n Notice) bool {
	switch n.Tells {
	case ledger.TellReminder, ledger.TellEscalated, ledger.TellDigest:
		return false
	}
	return n.Rung == 0
}
