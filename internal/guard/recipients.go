package guard

import (
	"context"
	"strings"
	"sync"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// prober is the ability of a Deliverer to ask a hop about a recipient without sending anything.
type prober interface {
	Probe(ctx context.Context, hop deliver.Hop, to mail.Address) deliver.Result
}

// recipients remembers what our own mail server said about its mailboxes. What can be refused is refused in the
// conversation (DESIGN section 6): the sending server then tells its sender, and no stranger's mail to an address that
// nobody reads waits for a person.
type recipients struct {
	mu    sync.Mutex
	known map[mail.Address]mailboxFact
}

// mailboxFact is one answer, for a while.
type mailboxFact struct {
	refused *deliver.Result // nil: the mailbox is taken for
	until   time.Time
}

const (
	probeTime       = 10 * time.Second // for asking; in doubt the mail is taken
	mailboxTime     = time.Hour        // how long a yes holds
	noMailboxTime   = 5 * time.Minute  // how long a no holds: a mailbox that is opened must not wait for long
	mostMailboxes   = 50_000
	noMailboxAnswer = "The mailbox does not exist, or takes no mail. Look for the right address on the authority's website."
)

// unknownRecipient asks our own server whether it has a mailbox, for mail from strangers. Only a clear refusal counts.
func (in intake) unknownRecipient(ctx context.Context, own *config.Authority, to mail.Address) *smtpin.Reply {
	p, ok := in.deliverer.(prober)
	if !ok || !own.VerifyRecipients {
		return nil
	}
	refused, known := in.recipients.look(to)
	if !known {
		ctx, stop := context.WithTimeout(ctx, probeTime)
		defer stop()
		r := p.Probe(ctx, in.teller.hop(own, to), to)
		switch r.Outcome {
		case deliver.Delivered:
			in.recipients.keep(to, nil, mailboxTime)
		case deliver.Refused:
			if noMailbox(r) {
				refused = &r
				in.recipients.keep(to, refused, noMailboxTime)
			}
		}
	}
	if refused == nil {
		return nil
	}
	enhanced := refused.Enhanced
	if enhanced == "" {
		enhanced = "5.1.1"
	}
	return &smtpin.Reply{Code: 550, Enhanced: enhanced, Text: noMailboxAnswer}
}

// noMailbox reports whether a refusal is about the mailbox itself, not about who asks or how (RFC 3463, section 3.2).
func noMailbox(r deliver.Result) bool {
	if r.Enhanced == "" {
		return r.Code == 550 || r.Code == 551 || r.Code == 553
	}
	return strings.HasPrefix(r.Enhanced, "5.1.") || r.Enhanced == "5.2.1"
}

func (r *recipients) look(a mail.Address) (refused *deliver.Result, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.known[a]
	if !ok || now().After(f.until) {
		return nil, false
	}
	return f.refused, true
}

func (r *recipients) keep(a mail.Address, refused *deliver.Result, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= mostMailboxes {
		r.known = map[mail.Address]mailboxFact{}
	}
	r.known[a] = mailboxFact{refused, now().Add(d)}
}
