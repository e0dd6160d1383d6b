package guard

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

// plain is a guard in real time that is never Run: it accepts, and what is accepted gets its first attempt.
type plain struct {
	testing.TB
	*Guard
	hop *hop
}

func newPlain(tb testing.TB, authority string) *plain {
	tb.Helper()
	p := &plain{TB: tb, hop: &hop{level: level.Verified}}
	path := filepath.Join(tb.TempDir(), "ledger.db")
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, basic+authority, path))
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := spool.Create(cfg.Store.Keys)
	if err != nil {
		tb.Fatal(err)
	}
	store, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	if p.Guard, err = New(Options{Config: cfg, Store: store, Keys: keys, Deliverer: p.hop, Senders: senderCheck{}, Node: "node"}); err != nil {
		tb.Fatal(err)
	}
	return p
}

// envelope is one from a client at ip.
func envelope(ip, from string, to ...string) *smtpin.Envelope {
	e := &smtpin.Envelope{Client: &smtpin.Client{IP: netip.MustParseAddr(ip), Hello: "client.example", Listener: "smtp", ESMTP: true}, Sender: mail.Address(from)}
	for _, a := range to {
		e.Recipients = append(e.Recipients, smtpin.Recipient{Address: mail.Address(a)})
	}
	return e
}

// take accepts a message and waits for its first attempt.
func (p *plain) take(e *smtpin.Envelope, data []byte) *smtpin.Reply {
	e.EightBit = slices.ContainsFunc(data, func(b byte) bool { return b > 127 })
	r := intake{p.Guard, "smtp"}.Data(p.Context(), e, data)
	p.dispatch.running.Wait()
	return r
}

// story is all about the accepted message.
func (p *plain) story(id ledger.MessageID) ledger.Story {
	p.Helper()
	s, err := p.store.Story(p.Context(), id)
	if err != nil {
		p.Fatal(err)
	}
	return s
}
