package guard

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

// bound are two authorities, each with its own servers; 192.0.2.0/25 is the first's.
const bound = neighbour + `trusted:
  - {net: 192.0.2.0/25, authorities: Eksempel Kommune}
  - {net: 192.0.2.128/25, authorities: Nabo Kommune}
  - {net: 203.0.113.0/24, authorities: [Nabo Kommune, Eksempel Kommune]}
`

const (
	ofNeighbour = "192.0.2.200"
	ofBoth      = "203.0.113.1"
)

// keysApart gives each authority keys of its own.
func (s *stage) keysApart() {
	s.apart = spool.Apart{}
	for _, a := range s.cfg.Authorities {
		k, err := spool.Create(filepath.Join(s.TempDir(), "keys"))
		if err != nil {
			s.Fatal(err)
		}
		s.apart[a.Name] = k
	}
}

func newApart(t *testing.T, more string) *stage { return newApartAt(t, more, 0) }

func newApartAt(t *testing.T, more string, look time.Duration) *stage {
	t.Helper()
	s := emptyStage(t, more, look, 0)
	s.keysApart()
	s.start()
	t.Cleanup(func() { s.halt(); s.laws() })
	return s
}

// of returns an authority's messages with a recipient, newest first.
func (s *stage) of(authority, recipient string) (out []ledger.Story) {
	s.Helper()
	ids, err := s.store.Find(context.Background(), ledger.Query{Authority: authority, Recipient: recipient, Kind: ledger.Mail})
	if err != nil {
		s.Fatal(err)
	}
	for _, id := range ids {
		out = append(out, s.story(id))
	}
	return out
}

// Whose a message is, by who hands it over, as whom and to whom: all ways that two authorities, strangers and the world can meet.
func TestWhose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, bound)
		const a, b, w = "Eksempel Kommune", "Nabo Kommune", ""
		for _, c := range []struct {
			ip, from string
			to       []string
			code     int
			whose    string
			way      policy.Direction
		}{
			// The first authority's servers.
			{ours, "anna@eksempel.example", []string{"ven@borger.example"}, 250, a, policy.Outbound},
			{ours, "anna@eksempel.example", []string{"ven@borger.example", "ole@nabo.example", "bo@eksempel.example"}, 250, a, policy.Outbound},
			{ours, "ole@nabo.example", []string{"ven@borger.example"}, 550, w, ""}, // as another's address
			{ours, "ole@nabo.example", []string{"per@nabo.example"}, 550, w, ""},
			{ours, "ole@nabo.example", []string{"bo@eksempel.example", "ven@borger.example"}, 550, w, ""},
			{ours, "ole@nabo.example", []string{"bo@eksempel.example"}, 250, a, policy.Inbound}, // from the other to oneself
			{ours, "x@borger.example", []string{"ven@borger.example"}, 250, a, policy.Outbound}, // a forward is one's own
			{ours, "x@borger.example", []string{"ole@nabo.example"}, 250, a, policy.Outbound},   // also towards the other
			{ours, "", []string{"ole@nabo.example", "ven@borger.example"}, 250, a, policy.Outbound},
			{ours, "x@borger.example", []string{"bo@eksempel.example"}, 250, a, policy.Inbound},
			{ours, "x@borger.example", []string{"bo@eksempel.example", "ole@nabo.example"}, 250, a, policy.Outbound},
			// The other's.
			{ofNeighbour, "ole@nabo.example", []string{"bo@eksempel.example"}, 250, b, policy.Outbound},
			{ofNeighbour, "anna@eksempel.example", []string{"ven@borger.example"}, 550, w, ""},
			{ofNeighbour, "", []string{"ven@borger.example"}, 250, b, policy.Outbound},
			// A server of both: whose address it is decides, and where none does, the first that is named.
			{ofBoth, "anna@eksempel.example", []string{"ven@borger.example"}, 250, a, policy.Outbound},
			{ofBoth, "ole@nabo.example", []string{"bo@eksempel.example"}, 250, b, policy.Outbound},
			{ofBoth, "x@borger.example", []string{"bo@eksempel.example"}, 250, a, policy.Inbound},
			{ofBoth, "x@borger.example", []string{"ven@borger.example"}, 250, b, policy.Outbound},
			{ofBoth, "x@borger.example", []string{"bo@eksempel.example", "ole@nabo.example"}, 452, w, ""},
			// Strangers.
			{theirs, "anna@eksempel.example", []string{"bo@eksempel.example"}, 250, a, policy.Inbound},
			{theirs, "anna@eksempel.example", []string{"ole@nabo.example"}, 250, b, policy.Inbound},
			{theirs, "x@borger.example", []string{"ole@nabo.example", "bo@eksempel.example"}, 452, w, ""},
			{theirs, "x@borger.example", []string{"ven@borger.example"}, 550, w, ""},
			{theirs, "", []string{"ole@nabo.example", "ven@borger.example"}, 550, w, ""},
		} {
			r := s.take(c.ip, c.from, c.to, letter("Hej", "Hej"))
			if r.Code != c.code {
				t.Errorf("from %s as %q to %v: %v, want %d", c.ip, c.from, c.to, r, c.code)
			}
			if r.Code != 250 || c.code != 250 {
				continue
			}
			m := s.story(s.accepted(r)).Message
			if m.Authority != c.whose || m.Direction != c.way {
				t.Errorf("from %s as %q to %v: %s of %s, want %s of %s", c.ip, c.from, c.to, m.Direction, m.Authority, c.way, c.whose)
			}
		}
	})
}

// Mail between two authorities is two messages: it leaves the one by its rules and arrives at the other by the other's. Who reads the
// one's ledger sees nothing of the other's.
func TestHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, strings.Replace(bound, "  - name: Nabo", "    repair_inbound: false\n  - name: Nabo", 1))
		id := s.send("anna@eksempel.example", []string{"ole@nabo.example", "per@nabo.example", "bo@eksempel.example", "ven@borger.example"}, letter("Sag 010170-5000", "Se sagen."))
		s.pass(time.Second)
		s.is(id, "ole@nabo.example delivered, per@nabo.example delivered, bo@eksempel.example delivered, ven@borger.example delivered")
		left := s.story(id)
		if left.Message.Authority != "Eksempel Kommune" || left.Deliveries[0].Inside || left.Deliveries[0].Body != 1 || !left.Deliveries[2].Inside || !strings.HasPrefix(left.Deliveries[0].Lane, "here:") {
			t.Errorf("it left as %+v", left)
		}
		arrived := s.of("Nabo Kommune", "ole@nabo.example")
		if len(arrived) != 1 || len(arrived[0].Deliveries) != 2 {
			t.Fatalf("%d arrived: %+v", len(arrived), arrived)
		}
		m := arrived[0].Message
		if m.Direction != policy.Inbound || m.Sender.Shown != "anna@eksempel.example" || !strings.HasPrefix(m.Client, handedBy) || !arrived[0].Deliveries[0].Inside || arrived[0].Deliveries[0].Owner != "net@nabo.example" {
			t.Errorf("it arrived as %+v", arrived[0])
		}
		got := s.hop.to("ole@nabo.example")
		if len(got) != 1 || strings.Contains(got[0].raw, "Subject: Sag 010170-5000") || strings.Count(got[0].raw, traceField+":") != 2 || strings.Count(got[0].raw, "Received:") != 2 {
			t.Errorf("at the mailbox: %+v", got)
		}
		for name, k := range s.apart { // neither can open what is the other's, nor pass off its marks
			for other, story := range map[string]ledger.Story{"Eksempel Kommune": left, "Nabo Kommune": arrived[0]} {
				sealed, err := (&teller{keys: s.apart}).seal(other, story.Message.ID, []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := k.Open(string(story.Message.ID), sealed); (err == nil) != (name == other) {
					t.Errorf("the keys of %s open what those of %s sealed: %v", name, other, err)
				}
			}
		}
		// A subject with a number, arriving from the other, is cleaned by the rules of the one that it arrives at.
		s.accepted(s.take(theirs, "x@borger.example", []string{"ole@nabo.example"}, letter("Sag 010170-5000", "Hej")))
		s.accepted(s.take(theirs, "x@borger.example", []string{"bo@eksempel.example"}, letter("Sag 010170-5000", "Hej")))
		if got := s.hop.to("ole@nabo.example"); strings.Contains(got[len(got)-1].raw, "Subject: Sag 010170-5000") {
			t.Error("the rules of the one were used for the other's mail: not repaired")
		}
		if got := s.hop.to("bo@eksempel.example"); !strings.Contains(got[len(got)-1].raw, "Subject: Sag 010170-5000") {
			t.Error("the rules of the one were used for the other's mail: repaired")
		}
	})
}

// What cannot arrive at the other's mailbox is raised there, and its sender, who is proven, is told by the other; the message as the
// first authority knows it has been delivered.
func TestHandOverFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, bound)
		s.hop.set(byName)
		id := s.send("anna@eksempel.example", []string{"findesikke@nabo.example"}, letter("Hej", "Hej"))
		s.pass(time.Minute)
		s.is(id, "findesikke@nabo.example delivered")
		there := s.of("Nabo Kommune", "findesikke@nabo.example")
		if len(there) != 1 || there[0].Deliveries[0].State != ledger.Held || there[0].Deliveries[0].Owner != "net@nabo.example" {
			t.Fatalf("at the other: %+v", there)
		}
		s.told("anna@eksempel.example", 1, "")
		s.told("sikkerhedsnet@eksempel.example", 0, "")
		// The notice was the other's, and was handed over like any mail.
		for _, link := range there[0].Notices {
			if n := s.story(link.Notice); n.Message.Authority != "Nabo Kommune" {
				t.Errorf("a notice of the other's belongs to %s", n.Message.Authority)
			}
		}
		if got := s.of("Eksempel Kommune", "anna@eksempel.example"); len(got) != 1 || got[0].Message.Direction != policy.Inbound || got[0].Message.Sender.Shown != "" {
			t.Errorf("the notice arrived as %+v", got)
		}
	})
}

// A hand-over that is cut off before its end was recorded, and tried again, gives the message over once.
func TestHandOverOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, bound)
		id := s.send("anna@eksempel.example", []string{"ole@nabo.example", "per@nabo.example"}, letter("Hej", "Hej"))
		s.pass(time.Second)
		story := s.story(id)
		c := ledger.Claimed{Message: story.Message, Deliveries: story.Deliveries}
		j := deliver.Job{Sender: "anna@eksempel.example", Body: []byte("Subject: Hej\r\n\r\nHej\r\n"), Recipients: []deliver.Recipient{{Address: "ole@nabo.example"}, {Address: "per@nabo.example"}}}
		for range 3 {
			receipt, results := s.guard.handOver(context.Background(), &s.cfg.Authorities[1], c, j)
			if results[0].Outcome != deliver.Delivered || results[1].Outcome != deliver.Delivered || receipt.Level != level.Tunnel {
				t.Errorf("again: %+v, %+v", receipt, results)
			}
		}
		s.pass(time.Second)
		if got := s.of("Nabo Kommune", "ole@nabo.example"); len(got) != 1 || len(s.hop.to("ole@nabo.example")) != 1 {
			t.Errorf("it arrived %d times in the ledger, %d times in the mailbox", len(got), len(s.hop.to("ole@nabo.example")))
		}
		j.Required = level.EndToEnd
		if _, results := s.guard.handOver(context.Background(), &s.cfg.Authorities[1], c, j); results[0].Outcome != deliver.TooLow {
			t.Errorf("what must be encrypted end to end was handed over: %+v", results)
		}
	})
}

// A domain that goes from one authority here to another while its mail is on the way: what the one has taken is not taken for what the
// other has.
func TestHandOverElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, "  - name: Tredje Kommune\n    domains: [tredje.example]\n    safety_net: net@tredje.example\n"+bound)
		id := s.send("anna@eksempel.example", []string{"ole@nabo.example"}, letter("Hej", "Hej"))
		s.pass(time.Second)
		story := s.story(id)
		c := ledger.Claimed{Message: story.Message, Deliveries: story.Deliveries}
		j := deliver.Job{Sender: "anna@eksempel.example", Body: []byte("Subject: Hej\r\n\r\nHej\r\n"), Recipients: []deliver.Recipient{{Address: "per@tredje.example"}}}
		for range 2 {
			if _, results := s.guard.handOver(context.Background(), s.cfg.AuthorityNamed("Tredje Kommune"), c, j); results[0].Outcome != deliver.Delivered {
				t.Errorf("to the other: %+v", results)
			}
		}
		s.pass(time.Second)
		if got := s.of("Tredje Kommune", "per@tredje.example"); len(got) != 1 || len(s.hop.to("per@tredje.example")) != 1 {
			t.Errorf("it arrived %d times in the ledger, %d times in the mailbox", len(got), len(s.hop.to("per@tredje.example")))
		}
	})
}

// A mailbox that the other does not have is refused at the hand-over, as it is in the conversation with a stranger: the sender is told.
func TestHandOverUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, bound)
		s.guard.deliverer = &askedHop{hop: s.hop, answers: map[mail.Address]deliver.Result{"lukket@nabo.example": refuse(550, "5.1.1")}}
		id := s.send("anna@eksempel.example", []string{"lukket@nabo.example", "ole@nabo.example"}, letter("Hej", "Hej"))
		s.pass(time.Minute)
		s.is(id, "lukket@nabo.example returned, ole@nabo.example delivered")
		s.told("anna@eksempel.example", 1, "ikke leveret")
		if got := s.hop.to("anna@eksempel.example"); !strings.Contains(got[0].raw, "Remote-MTA: dns; vagt.eksempel.example") {
			t.Errorf("the report names another server: %s", got[0].raw)
		}
		if got := s.of("Nabo Kommune", "lukket@nabo.example"); len(got) != 0 {
			t.Errorf("the other took it: %+v", got)
		}
	})
}

// Forwards between two authorities that feed each other are found as a loop, by each in its own ledger.
func TestLoopBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, bound)
		s.send("anna@eksempel.example", []string{"ole@nabo.example"}, letter("Hej", "Hej"))
		for round := range 6 { // each mailbox forwards to the other, and keeps the sender
			s.pass(time.Second)
			ip, from, to := ofNeighbour, "ole@nabo.example", "anna@eksempel.example"
			if round%2 == 1 {
				ip, from, to = ours, to, from
			}
			got := s.hop.to(mail.Address(from))
			if len(got) == 0 || round > 1 && len(got) <= round/2 {
				break
			}
			s.take(ip, "x@borger.example", []string{to}, strings.ReplaceAll(got[len(got)-1].raw, "\r\n", "\n"))
		}
		s.pass(time.Second)
		held := 0
		for _, name := range []string{"Eksempel Kommune", "Nabo Kommune"} {
			ids, err := s.store.Find(context.Background(), ledger.Query{Authority: name, Kind: ledger.Mail, States: []ledger.State{ledger.Held}})
			if err != nil {
				t.Fatal(err)
			}
			held += len(ids)
		}
		if n := len(s.hop.to("ole@nabo.example")) + len(s.hop.to("anna@eksempel.example")); held != 1 || n > 3 {
			t.Errorf("%d held, %d arrived", held, n)
		}
	})
}

// A lost key file stops its own authority's mail: nothing is taken, nothing is lost, and the others' goes on.
func TestLostKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApartAt(t, bound, 2*time.Minute)
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(451, "4.3.0") })
		waits := s.accepted(s.take(ofNeighbour, "ole@nabo.example", []string{"ven@borger.example"}, letter("Hej", "Hej")))
		s.hop.set(nil)
		s.halt()
		s.store.Close()
		lost := s.apart["Nabo Kommune"]
		s.apart["Nabo Kommune"] = nil
		s.start()
		for _, c := range []struct {
			ip, from, to string
			code         int
		}{
			{ofNeighbour, "ole@nabo.example", "ven@borger.example", 451}, {theirs, "x@borger.example", "ole@nabo.example", 451},
			{ours, "anna@eksempel.example", "ven@borger.example", 250}, {theirs, "x@borger.example", "bo@eksempel.example", 250},
		} {
			if r := s.take(c.ip, c.from, []string{c.to}, letter("Hej", "Hej")); r.Code != c.code {
				t.Errorf("from %s to %s: %v, want %d", c.from, c.to, r, c.code)
			}
		}
		between := s.send("anna@eksempel.example", []string{"ole@nabo.example"}, letter("Hej", "Hej"))
		s.pass(30 * time.Hour) // past every deadline
		s.is(waits, "ven@borger.example queued")
		if n, err := s.operator.Release(context.Background(), Choice{Message: waits}, Act{"Anna", "prøve"}); n != 0 || !errors.Is(err, spool.ErrLost) {
			t.Errorf("a person acted on it: %d, %v", n, err)
		}
		s.is(between, "ole@nabo.example returned") // the other's guard answered 451 until the time was up, and the sender was told
		s.told("anna@eksempel.example", 2, "ikke leveret")
		s.told("sikkerhedsnet@eksempel.example", 0, "")
		s.told("net@nabo.example", 0, "")
		if !s.logged("cannot take a message just now", string(between), spool.ErrLost.Error()) {
			t.Error("nothing in the log says why the other authority could not take the mail")
		}
		s.halt()
		s.notRestored(waits, spool.ErrLost)
		s.apart["Nabo Kommune"] = lost
		s.restart()
		s.pass(time.Hour)
		s.is(waits, "ven@borger.example delivered")
	})
}

// logged reports whether one line of the log holds all these words.
func (s *stage) logged(words ...string) bool {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	for line := range strings.Lines(s.log.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// notRestored checks that a restored ledger cannot be taken into use while a message is stuck, and that the message stays as it is.
func (s *stage) notRestored(id ledger.MessageID, why error) {
	s.Helper()
	before := s.state(id)
	_, err := s.operator.Restored(context.Background(), Act{"Anna", "prøve"}, func(ledger.Message, ledger.Delivery) string { return "" })
	if !errors.Is(err, why) || !strings.Contains(err.Error(), string(id)) {
		s.Errorf("taken into use with stuck mail: %v", err)
	}
	s.is(id, before)
}

// What is logged of a refusal holds no number, whatever the cause of it says.
func TestRefusalMasked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "") // laws looks through the log
		cause := errors.New("the disk has no room for sag-010170-5000.eml")
		intake{s.guard, "smtp"}.said(&smtpin.Client{}, "anna@eksempel.example", "", temporary("The message could not be stored just now.", cause))
		if !s.logged("refused", "the disk has no room") {
			t.Error("the cause is not in the log")
		}
	})
}

// Mail of an authority that has left the configuration waits: no other's rules, mailboxes or keys are used for it.
func TestStranger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApartAt(t, bound, 2*time.Minute)
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(451, "4.3.0") })
		waits := s.accepted(s.take(ofNeighbour, "ole@nabo.example", []string{"ven@borger.example"}, letter("Hej", "Hej")))
		s.hop.set(nil)
		s.halt()
		s.store.Close()
		whole := s.cfg
		gone := *whole
		gone.Authorities = slices.Clone(whole.Authorities[:1])
		s.cfg = &gone
		s.start()
		s.pass(60 * time.Hour)
		s.is(waits, "ven@borger.example queued")
		s.told("sikkerhedsnet@eksempel.example", 0, "")
		if n, err := s.operator.Retry(context.Background(), Choice{Message: waits}, Act{"Anna", "prøve"}); n != 0 || !errors.Is(err, errStranger) {
			t.Errorf("a person acted on it: %d, %v", n, err)
		}
		s.halt()
		s.notRestored(waits, errStranger)
		s.cfg = whole
		s.restart()
		s.pass(time.Hour)
		s.is(waits, "ven@borger.example delivered")
	})
}

// Each authority's mail goes by its own routes first, and hops that are asked different things stand in different lanes.
func TestOwnRoutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newApart(t, strings.Replace(bound, "trusted:", "    routes:\n      - {to: nabo.example, smarthost: \"post.nabo.example:25\"}\n      - {to: \"*\", smarthost: \"outside.example:25\", level: verified, user: nabo, password: kodeord}\ntrusted:", 1))
		s.send("anna@eksempel.example", []string{"ven@borger.example", "bo@eksempel.example"}, letter("Hej", "Hej"))
		s.accepted(s.take(ofNeighbour, "ole@nabo.example", []string{"ven@borger.example", "per@nabo.example", "bo@eksempel.example"}, letter("Hej", "Hej")))
		s.pass(time.Second)
		var tries []string
		lanes := map[string]string{}
		for _, j := range s.hop.tries {
			tries = append(tries, string(j.Sender)+" "+j.Hop.SmartHost+" "+j.Hop.Least.String()+" "+j.Hop.User)
		}
		slices.Sort(tries)
		want := []string{
			"anna@eksempel.example inside.example:25 cleartext ", "anna@eksempel.example outside.example:25 cleartext ",
			"ole@nabo.example inside.example:25 cleartext ", // handed over, it is the other's
			"ole@nabo.example outside.example:25 verified nabo", "ole@nabo.example post.nabo.example:25 cleartext ",
		}
		if !slices.Equal(tries, want) {
			t.Errorf("tries:\n%s\nwant:\n%s", strings.Join(tries, "\n"), strings.Join(want, "\n"))
		}
		for i := range s.cfg.Authorities {
			a := &s.cfg.Authorities[i]
			lane := s.guard.teller.lane(a, "ven@borger.example")
			if other, ok := lanes[lane]; ok {
				t.Errorf("%s and %s ask different things of a hop, in one lane", other, a.Name)
			}
			lanes[lane] = a.Name
		}
	})
}

// A user sends only for the authorities that it is bound to, also without a sender.
func TestUserBound(t *testing.T) {
	p := newPlain(t, "")
	p.cfg.Authorities = append(p.cfg.Authorities, config.Authority{Name: "Nabo Kommune", Domains: []string{"nabo.example"}, SafetyNet: "net@nabo.example"})
	p.cfg.Users = []config.User{{Name: "a", Authorities: []string{"Eksempel Kommune"}}, {Name: "b", Authorities: []string{"Nabo Kommune"}, Senders: []string{"*@nabo.example", "*@eksempel.example", "x@borger.example"}}, {Name: "unbound"}}
	in := intake{p.Guard, "submission"}
	for _, c := range []struct {
		user   string
		sender mail.Address
		whose  string // "": refused
	}{
		{"a", "anna@eksempel.example", "Eksempel Kommune"}, {"a", "ole@nabo.example", ""}, {"a", "", "Eksempel Kommune"}, {"a", "x@borger.example", ""},
		{"b", "anna@eksempel.example", ""}, {"b", "ole@nabo.example", "Nabo Kommune"}, {"b", "", "Nabo Kommune"}, {"b", "x@borger.example", "Nabo Kommune"},
		{"unbound", "anna@eksempel.example", ""}, {"unbound", "ole@nabo.example", ""},
	} {
		e := envelope(theirs, string(c.sender))
		e.Client.User = c.user
		r := in.Mail(context.Background(), e.Client, c.sender)
		if (r == nil) != (c.whose != "") {
			t.Errorf("%s as %q: %v", c.user, c.sender, r)
			continue
		}
		if r != nil {
			continue
		}
		to := smtpin.Recipient{Address: "ven@borger.example"}
		if r := in.Rcpt(context.Background(), e, to); r != nil {
			t.Errorf("%s as %q: %v", c.user, c.sender, r)
		}
		e.Recipients = append(e.Recipients, to)
		own, _ := in.own(e.Client, e.Sender, mail.Parse(nil, mail.Limits{}))
		if way, a := in.whose(e, own); a == nil || a.Name != c.whose || way != policy.Outbound {
			t.Errorf("%s as %q is %s of %v, want of %s", c.user, c.sender, way, a, c.whose)
		}
	}
}
