package guard

import (
	"context"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/spool"
)

// plainText is a message with its quoted-printable lines read.
func plainText(t *testing.T, raw string) string {
	t.Helper()
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(raw)))
	if err != nil {
		return raw
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// towards is a stage on which each outside domain is a next hop of its own, and as many recipients, each with another.
func towards(t *testing.T, n int, authority string) (*stage, []string) {
	t.Helper()
	s := emptyStage(t, authority, 15*time.Second, 0) // days pass sooner
	s.cfg.Routes = s.cfg.Routes[:1]
	s.start()
	t.Cleanup(func() { s.halt(); s.laws() })
	var to []string
	for i := range n {
		to = append(to, fmt.Sprintf("x@nabo%d.example", i))
	}
	return s, to
}

// A mail to many domains is one mail: its sender gets one notice of a kind, not one for each; and every delivery that was returned is tied to the
// notice that tells so (law 3, which Verify proves at the end).
func TestOneMailOneNotice(t *testing.T) {
	t.Parallel()
	const n = 8
	for _, c := range []struct {
		name    string
		subject string
		level   level.Level
		answer  func(deliver.Job, deliver.Recipient) deliver.Result
		soon    string // of the one notice that comes within seconds; "" none
		days    int    // notices in all, when its time is over
		state   ledger.State
	}{
		{"refused", "Hej", level.Verified, byDomain(refuse(550, "5.1.1")), "ikke leveret", 1, ledger.Returned},
		{"too low", "Hej", level.Cleartext, nil, "forsinket", 2, ledger.Returned},
		{"away", "Hej", level.Verified, byDomain(away()), "", 2, ledger.Returned},
		{"later", "Hej", level.Verified, byDomain(refuse(450, "4.2.0")), "", 2, ledger.Returned},
		{"repaired", "Sag 010170-5000", level.Verified, nil, "flyttet", 1, ledger.Delivered},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, to := towards(t, n, "")
				s.hop.level = c.level
				s.hop.set(c.answer)
				text := "Hej"
				if c.name == "too low" {
					text = "Vedrørende 010170-5000."
				}
				id := s.send("anna@eksempel.example", to, letter(c.subject, text))
				s.pass(30 * time.Second)
				if c.soon != "" {
					s.told("anna@eksempel.example", 1, c.soon)
				} else {
					s.told("anna@eksempel.example", 0, "")
				}
				s.pass(26 * time.Hour)
				if got := s.notices("anna@eksempel.example"); len(got) != c.days {
					t.Errorf("notices: %q, want %d", got, c.days)
				}
				story := s.story(id)
				tied := map[ledger.DeliveryID]bool{}
				for _, l := range story.Notices {
					tied[l.About] = true
				}
				for _, d := range story.Deliveries {
					if d.State != c.state || !tied[d.ID] {
						t.Errorf("%s is %s, tied to a notice: %v", d.Recipient.Shown, d.State, tied[d.ID])
					}
				}
			})
		})
	}
}

// byDomain answers so for what goes outside.
func byDomain(r deliver.Result) func(deliver.Job, deliver.Recipient) deliver.Result {
	return func(_ deliver.Job, to deliver.Recipient) deliver.Result {
		if to.Address.Domain() == "eksempel.example" {
			return arrives()
		}
		return r
	}
}

// A key file that was lost and made anew: what it had sealed cannot be read. The sender is told that the fault is ours, nothing is
// returned for a reason that is not so, and the old key still saves the mail, also after its time.
func TestLostKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if r.Address == "x@borger.example" {
				return refuse(450, "4.2.0")
			}
			return arrives()
		})
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.halt()
		s.store.Close()
		old := s.keys
		var err error
		if s.keys, err = spool.Create(s.cfg.Store.Keys + ".new"); err != nil {
			t.Fatal(err)
		}
		s.hop.set(nil)
		s.start()
		s.pass(5 * time.Hour)
		s.told("anna@eksempel.example", 1, "forsinket")
		s.pass(30 * time.Hour)
		s.is(id, "x@borger.example held")
		for _, got := range s.hop.to("anna@eksempel.example") {
			if text := plainText(t, got.raw); !strings.Contains(text, "vores eget lager") || strings.Contains(text, "forbindelse til modtagerens") {
				t.Errorf("the sender is told:\n%s", text)
			}
		}
		s.halt()
		s.store.Close()
		s.keys = old
		s.start()
		if n, err := s.operator.Release(context.Background(), Choice{Message: id}, Act{"Bo Hansen", "nøglen er fundet"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		s.pass(5 * time.Minute)
		s.is(id, "x@borger.example delivered")
	})
}

// The first repair after the first start is in the first digest.
func TestDigestFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    notices: {repaired: digest}\n", time.Minute, 0)
		s.send("anna@eksempel.example", []string{"sag@nabo.example"}, letter("Sag 010170-5000", "Se sagen."))
		s.pass(25 * time.Hour)
		s.told("anna@eksempel.example", 1, "")
	})
}

// A recipient who is named twice in one transaction gets one copy.
func TestRecipientTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.plain = true
		id := s.send("anna@eksempel.example", []string{"x@borger.example NOTIFY=NEVER", "X@borger.example", "x@BORGER.example NOTIFY=SUCCESS"}, letter("Hej", "Hej"))
		s.is(id, "x@borger.example delivered, X@borger.example delivered")
		if n := s.story(id).Deliveries[0].Notify; n != "SUCCESS" {
			t.Errorf("NOTIFY is %q", n)
		}
		s.told("anna@eksempel.example", 1, "afleveret")
	})
	for _, c := range [][3]string{{"", "", ""}, {"NEVER", "NEVER", "NEVER"}, {"NEVER", "", "FAILURE,DELAY"}, {"", "SUCCESS", "FAILURE,DELAY,SUCCESS"}, {"FAILURE", "DELAY", "FAILURE,DELAY"}} {
		if got := bothNotify(c[0], c[1]); got != c[2] {
			t.Errorf("%q and %q: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

// Silence can be seen: counters stand at 0 before the first mail.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := emptyStage(t, "", 0, 0)
		s.open()
		o := s.options("node", s.store, s.hop)
		o.Registry = prometheus.NewRegistry()
		if _, err := New(o); err != nil {
			t.Fatal(err)
		}
		families, err := o.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]int{}
		for _, f := range families {
			there[f.GetName()] = len(f.GetMetric())
		}
		for name, least := range map[string]int{"postvagt_messages_accepted_total": 2, "postvagt_verdicts_total": 4, "postvagt_findings_total": 2,
			"postvagt_attempts_total": 12, "postvagt_refused_total": 6, "postvagt_pruned_messages_total": 2} {
			if there[name] < least {
				t.Errorf("%s has %d series before the first mail, want at least %d", name, there[name], least)
			}
		}
		s.laws()
	})
}

// The safety net is told truly why a notice came to it.
func TestWhyItCameHere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ config, to, want string }{
		{"", "findesikke@borger.example", "Der er ingen afdeling"},
		{"", "findesikke@borger.example NOTIFY=NEVER", "mailen er sendt med ønske om ikke at få den slags beskeder"},
		{quick, "findesikke@borger.example", "Hverken afsenderen, anna@eksempel.example, eller afsenderens afdeling"},
		{quick, "findesikke@borger.example NOTIFY=DELAY", "mailen er sendt med ønske om ikke at få den slags beskeder. Afsenderens afdeling kunne ikke få den"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, c.config)
			s.hop.set(func(_ deliver.Job, r deliver.Recipient) deliver.Result {
				if r.Address == "sikkerhedsnet@eksempel.example" {
					return arrives()
				}
				return refuse(550, "5.1.1")
			})
			s.send("anna@eksempel.example", []string{c.to}, letter("Hej", "Hej"))
			s.pass(5 * time.Minute)
			got := s.hop.to("sikkerhedsnet@eksempel.example")
			if len(got) != 1 || !strings.Contains(plainText(t, got[0].raw), c.want) {
				t.Fatalf("the safety net has %d notices, want one with %q: %v", len(got), c.want, got)
			}
		})
	}
}
