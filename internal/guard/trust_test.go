package guard

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"postvagt/internal/config"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// The agreed header opens the way out for a shared network, and does not travel on: neither ours nor a forged copy of it.
func TestSecretHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.cfg.Trusted = append(s.cfg.Trusted, config.Trust{Net: s.cfg.Trusted[0].Net, Header: "X-Eksempel-Vagt", Secret: "hemmeligt-og-langt", OwnSenders: true})
		s.cfg.Trusted = s.cfg.Trusted[1:]
		with := func(value string) string { return "X-Eksempel-Vagt: " + value + "\n" + letter("Hej", "Hej") }
		send := func(from, to, message string) *smtpin.Reply { return s.take(ours, from, []string{to}, message) }

		s.accepted(send("anna@eksempel.example", "ven@borger.example", with("hemmeligt-og-langt")))
		for _, c := range []struct{ from, message string }{
			{"anna@eksempel.example", letter("Hej", "Hej")},
			{"anna@eksempel.example", with("gæt")},
			{"anna@eksempel.example", with("")},
			{"fremmed@nabo.example", with("hemmeligt-og-langt")},
		} {
			if r := send(c.from, "ven@borger.example", c.message); r.Code != 550 {
				t.Errorf("%s relays without the agreed header: %v", c.from, r)
			}
		}
		s.receive("fremmed@nabo.example", []string{"bo@eksempel.example"}, with("gæt"))
		for _, g := range s.hop.got {
			if strings.Contains(g.raw, "X-Eksempel-Vagt") || !strings.HasSuffix(g.raw, "\r\n\r\nHej\r\n") {
				t.Errorf("the agreed header travels on to %s: %q", g.to, g.raw)
			}
		}
		if len(s.hop.got) != 2 {
			t.Errorf("%d arrived", len(s.hop.got))
		}
	})
}

// "senders: own" keeps a trusted network from relaying for others.
func TestOwnSenders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.cfg.Trusted[0].OwnSenders = true
		s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		s.send("", []string{"ven@borger.example"}, letter("Læst", "Hej"))
		if r := s.take(ours, "fremmed@nabo.example", []string{"ven@borger.example"}, letter("Hej", "Hej")); r.Code != 550 {
			t.Errorf("relayed for a foreign sender: %v", r)
		}
	})
}

// Submission: a password, and only the senders that the user may be.
func TestUsers(t *testing.T) {
	hash := config.HashPassword("rigtig hest batteri")
	p := newPlain(t, fmt.Sprintf("users:\n  - {name: scanner, hash: %q, senders: [scan@eksempel.example]}\n  - {name: kontor, hash: %q}\n", hash, hash))
	in, ctx := intake{p.Guard, "submission"}, context.Background()
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"scanner", "rigtig hest batteri", true}, {"scanner", "rigtig hest batteri", true}, {"scanner", "forkert", false}, {"ingen", "rigtig hest batteri", false}, {"", "", false}} {
		r := in.Authenticate(ctx, &smtpin.Client{}, c.user, c.password)
		if (r == nil) != c.ok || r != nil && r.Code != 535 {
			t.Errorf("%s with %q: %v", c.user, c.password, r)
		}
	}
	if n := counted(p.metrics.refused.WithLabelValues("535", "5.7.8")); n != 3 {
		t.Errorf("%v logins are counted as refused, want 3", n)
	}
	for _, c := range []struct {
		user   string
		sender mail.Address
		ok     bool
	}{
		{"scanner", "scan@eksempel.example", true}, {"scanner", "anna@eksempel.example", false}, {"scanner", "", true},
		{"kontor", "anna@eksempel.example", true}, {"kontor", "x@borger.example", false}, {"fjernet", "anna@eksempel.example", false},
	} {
		e := envelope(theirs, string(c.sender))
		e.Client.User = c.user
		if r := in.Mail(ctx, e.Client, c.sender); (r == nil) != c.ok || r != nil && r.Code != 553 {
			t.Errorf("%s as %q: %v", c.user, c.sender, r)
		}
		if r := in.Rcpt(ctx, e, smtpin.Recipient{Address: "ven@borger.example"}); c.ok && r != nil {
			t.Errorf("%s may not send out: %v", c.user, r)
		}
	}
}

// neighbour is a second authority of the installation.
const neighbour = "  - name: Nabo Kommune\n    domains: [nabo.example]\n    safety_net: net@nabo.example\n"

// Two authorities in one installation are kept apart: one transaction is one authority's, and so are its notices.
func TestTwoAuthorities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, neighbour+"trusted: [{net: 192.0.2.0/24, authorities: [Eksempel Kommune, Nabo Kommune]}]\n")
		if r := s.take(theirs, "fremmed@borger.example", []string{"bo@eksempel.example", "ole@nabo.example"}, letter("Hej", "Hej")); r.Code != 452 {
			t.Errorf("one transaction for two authorities: %v", r)
		}
		ours, theirs := s.receive("fremmed@borger.example", []string{"bo@eksempel.example"}, letter("Hej", "Hej")),
			s.receive("fremmed@borger.example", []string{"ole@nabo.example"}, letter("Hej", "Hej"))
		if a, b := s.story(ours).Message.Authority, s.story(theirs).Message.Authority; a != "Eksempel Kommune" || b != "Nabo Kommune" {
			t.Errorf("they belong to %s and %s", a, b)
		}
		s.hop.set(byName)
		s.send("ole@nabo.example", []string{"findesikke@borger.example"}, letter("Hej", "Hej"))
		s.told("ole@nabo.example", 1, "ikke leveret")
		s.send("", []string{"findesikke@eksempel.example"}, letter("Hej", "Hej"))
		s.pass(10e9)
		s.told("net@nabo.example", 0, "")
		if len(s.notices("sikkerhedsnet@eksempel.example")) == 0 {
			t.Error("the safety net of the one was not told")
		}
		from := s.send("anna@eksempel.example", []string{"ole@nabo.example"}, letter("Sag 010170-5000", "Se sagen.")) // the other authority is outside
		if d := s.story(from).Deliveries[0]; d.Inside || d.Body != 1 {
			t.Errorf("towards the other authority: %+v", d)
		}
	})
}
