package demo

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// Mailboxes is a small mail server that keeps what it gets in memory: the demo's outside world and the authority's own
// mailboxes. Safe for concurrent use.
type Mailboxes struct {
	Closed map[mail.Address]bool // addresses it refuses with 550 5.1.1
	Busy   atomic.Bool           // it asks everybody to come back later, with 451

	mu  sync.Mutex
	got []Mail
	new chan struct{} // closed and replaced at each arrival
}

// Mail is one message as it arrived for one recipient.
type Mail struct {
	From, To mail.Address
	Raw      []byte
	TLS      bool
}

// Serve answers on l until ctx ends. With a nil tlsConfig it offers no TLS.
func (b *Mailboxes) Serve(ctx context.Context, l net.Listener, host string, tlsConfig *tls.Config) error {
	return smtpin.New(b, smtpin.Options{Name: "smtp", Host: host, TLS: tlsConfig}).Serve(ctx, l, time.Second)
}

// Wait returns the first mail for an address whose decoded text holds every one of words; nil when ctx ends first.
func (b *Mailboxes) Wait(ctx context.Context, to mail.Address, words ...string) *Mail {
	for {
		b.mu.Lock()
		if b.new == nil {
			b.new = make(chan struct{})
		}
		arrival, all := b.new, b.got
		b.mu.Unlock()
		for i := range all {
			if all[i].To == to && holds(all[i].Raw, words) {
				return &all[i]
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-arrival:
		}
	}
}

// All returns what has arrived so far.
func (b *Mailboxes) All() []Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Mail(nil), b.got...)
}

func holds(raw []byte, words []string) bool {
	m := mail.Parse(raw, mail.Limits{})
	text := strings.Join(Texts(m), "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// Texts returns the subject and every text part of a message, decoded.
func Texts(m *mail.Message) []string {
	out := []string{Subject(m)}
	m.Walk(func(p *mail.Part) {
		if len(p.Parts) == 0 && (strings.HasPrefix(p.MediaType, "text/") || p.MediaType == "message/delivery-status") {
			t, _ := m.Text(p, 1<<20)
			out = append(out, t)
		}
	})
	return out
}

// Subject returns the decoded subject, or "".
func Subject(m *mail.Message) string {
	f, ok := m.Root.Get("Subject")
	if !ok {
		return ""
	}
	return m.Decoded(f)
}

func (b *Mailboxes) Connect(context.Context, *smtpin.Client) *smtpin.Reply { return nil }

func (b *Mailboxes) Authenticate(context.Context, *smtpin.Client, string, string) *smtpin.Reply {
	return &smtpin.Reply{Code: 535, Enhanced: "5.7.8", Text: "No users here"}
}

func (b *Mailboxes) Mail(context.Context, *smtpin.Client, mail.Address) *smtpin.Reply { return nil }

func (b *Mailboxes) Rcpt(_ context.Context, _ *smtpin.Envelope, r smtpin.Recipient) *smtpin.Reply {
	if b.Busy.Load() {
		return &smtpin.Reply{Code: 451, Enhanced: "4.3.2", Text: "Come back later"}
	}
	if b.Closed[r.Address] {
		return &smtpin.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such mailbox"}
	}
	return nil
}

func (b *Mailboxes) Data(_ context.Context, e *smtpin.Envelope, data []byte) *smtpin.Reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range e.Recipients {
		b.got = append(b.got, Mail{From: e.Sender, To: r.Address, Raw: data, TLS: e.Client.TLS != nil})
	}
	if b.new != nil {
		close(b.new)
	}
	b.new = make(chan struct{})
	return nil
}
