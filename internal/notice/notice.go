// Package notice writes what people are told, in Danish and English: text and HTML, in a multipart/report with an RFC
// 3464 part where the standards ask for one. It is pure: facts in, message bytes out. A notice never holds a CPR
// number, the original subject or body (law 6, law 7); places are named and values masked.
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
	Reporting string       // our host name, for Reporting-MTA
	Authority string       // "Eksempel Kommune"
	Contact   string       // whom to ask, as shown to people; may be empty
	Message   Original
	About     []Subject
	Owner     string    // held, reminder, escalated: who decides
	Deadline  time.Time // held, reminder: until when; delayed: when it will be given up
	By        string    // released, withdrawn: the person
	Why       string    // released, withdrawn: the person's reason, masked
}

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
	Recipient string // shown form
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
)

// Compose writes the notice: CRLF lines, 7-bit, ready to be sent. It errs only on facts it cannot do without.
func Compose(n Notice) ([]byte, error) { panic("contract") }
