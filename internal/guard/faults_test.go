package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// quick makes hours into minutes, so that hundreds of lives fit into a test.
const quick = `    units: [{name: Familie, senders: [anna@eksempel.example], mailbox: familie@eksempel.example}]
    held: {owner: ejer@eksempel.example, within: 4m, remind: [2m]}
delivery: {delay: 1m, return: 3m, retry: [10s, 1m]}
`

// life is a short busy life of a guard whose durable steps fail one at a time.
type life struct {
	name string
	ends time.Duration // after so long everything must have ended
	hop  func(j deliver.Job, r deliver.Recipient) deliver.Result
	run  func(l *lived)
}

var lives = []life{
	{name: "repaired and ordinary", ends: 4 * time.Minute, run: func(l *lived) {
		l.send("anna@eksempel.example", letter("Sag 010170-5000", "Se sagen."), "sag@nabo.example", "to@nabo.example", "carl@eksempel.example")
		l.send("anna@eksempel.example", letter("Hej", "Hej"), "ven@borger.example", "anden@nabo.example")
	}},
	{name: "mixed outcomes", ends: 5 * time.Minute, hop: byName, run: func(l *lived) {
		l.send("anna@eksempel.example", letter("Hej", "Hej"), "ven@borger.example", "findesikke@borger.example", "optaget@borger.example", "findesikke@nabo.example")
	}},
	{name: "the ladder", ends: 4 * time.Minute, hop: byName, run: func(l *lived) {
		l.send("findesikke@eksempel.example", letter("Hej", "Hej"), "findesikke@borger.example")
	}},
	{name: "inbound refused", ends: 4 * time.Minute, hop: byName, run: func(l *lived) {
		id := l.receive("fremmed@borger.example", letter("Hej", "Hej"), "findesikke@eksempel.example")
		l.pass(3 * time.Minute)
		l.act(func(ctx context.Context) (int, error) {
			return l.operator.Withdraw(ctx, Choice{Message: id}, Act{By: "Bo", Reason: "sendt videre med post"})
		})
	}},
	{name: "held and released", ends: 4 * time.Minute, run: func(l *lived) {
		id := l.loop()
		l.pass(5 * time.Minute) // reminded, escalated
		l.act(func(ctx context.Context) (int, error) {
			return l.operator.Release(ctx, Choice{Message: id}, Act{By: "Bo", Reason: "ingen sløjfe"})
		})
	}},
	{name: "level too low", ends: 6 * time.Minute, run: func(l *lived) {
		l.hop.mu.Lock()
		l.hop.level = level.Encrypted
		l.hop.mu.Unlock()
		l.send("anna@eksempel.example", letter("Hej", "CPR-nr.: 030390-7000"), "kontrol@revisor.example")
	}},
	{name: "hop away", ends: 6 * time.Minute, hop: byName, run: func(l *lived) {
		l.send("anna@eksempel.example", letter("Hej", "Hej"), "x@vaek.example", "y@vaek.example")
	}},
	{name: "answers that are lost", ends: 5 * time.Minute, hop: byName, run: func(l *lived) {
		l.send("anna@eksempel.example", letter("Hej", "Hej"), "ukendt@borger.example", "panik@nabo.example")
	}},
}

// byName answers by the address.
func byName(j deliver.Job, r deliver.Recipient) deliver.Result {
	switch {
	case r.Address.Local() == "findesikke":
		return refuse(550, "5.1.1")
	case r.Address.Domain() == "vaek.example":
		return away()
	}
	return arrives()
}

// TestFaults fails each durable step of each life once: not done, or done but reported failed; the guard then goes on, or
// is gone at that instant and starts again. The laws must hold after every one.
func TestFaults(t *testing.T) {
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			for _, point := range []string{"commit-before", "commit-after"} {
				for _, gone := range []bool{false, true} {
					for n := 1; ; n += raceFactor { // under the race detector, which has seen the same code after a few
						name := fmt.Sprintf("%s %d gone=%v", point, n, gone)
						hit := false
						if !t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { hit = live(t, life, point, n, gone) }) }) {
							return
						}
						if !hit {
							break
						}
						runs++
					}
				}
			}
			t.Logf("%d lives", runs)
		})
	}
}

// lived is a life under way.
type lived struct {
	*stage
	once     map[string]int // what the hop did once per address
	promised map[ledger.MessageID]bool
	gone     atomic.Bool // nothing becomes durable any more: the process is as good as dead
}

var errFault = errors.New("the disk says no")

// live runs one life in which the n-th step of that kind fails, and reports whether there was an n-th.
func live(t *testing.T, f life, point string, n int, gone bool) bool {
	l := &lived{stage: newStageAt(t, quick, 20*time.Second, 90*time.Second), once: map[string]int{}, promised: map[ledger.MessageID]bool{}}
	l.hop.set(l.answers(f.hop))
	steps := 0 // of the ledger's one writer
	var hit atomic.Bool
	l.breaks(func(p string) error {
		if l.gone.Load() {
			return errFault
		}
		if p == point && !hit.Load() {
			if steps++; steps == n {
				hit.Store(true)
				l.gone.Store(gone)
				return errFault
			}
		}
		return nil
	})
	f.run(l)
	before := hit.Load()
	l.pass(f.ends)
	if hit.Load() != before {
		l.pass(f.ends) // what failed at the last moment has its time, too
	}
	l.check()
	return hit.Load()
}

// answers adds to a hop those that answer otherwise once: busy, cut off after the end of data, a bug of ours.
func (l *lived) answers(then func(j deliver.Job, r deliver.Recipient) deliver.Result) func(j deliver.Job, r deliver.Recipient) deliver.Result {
	return func(j deliver.Job, r deliver.Recipient) deliver.Result {
		l.once[string(r.Address)]++
		if l.once[string(r.Address)] == 1 {
			switch r.Address.Local() {
			case "optaget":
				return refuse(450, "4.2.0")
			case "ukendt":
				return deliver.Result{Outcome: deliver.Unknown, Text: "connection lost", Reached: true}
			case "panik":
				panic("a bug of ours")
			}
		}
		if then == nil {
			return arrives()
		}
		return then(j, r)
	}
}

// again starts the guard anew when it has gone.
func (l *lived) again() {
	if !l.gone.Load() {
		return
	}
	l.halt()
	l.store.Close()
	l.gone.Store(false)
	l.start()
}

func (l *lived) pass(d time.Duration) {
	l.again()
	l.stage.pass(d)
	l.again()
}

// send hands a message over as a mail server does: until it is taken.
func (l *lived) send(from, message string, to ...string) ledger.MessageID {
	return l.hand(ours, from, message, to)
}

func (l *lived) receive(from, message string, to ...string) ledger.MessageID {
	return l.hand(theirs, from, message, to)
}

func (l *lived) hand(ip, from, message string, to []string) ledger.MessageID {
	l.Helper()
	for range 5 {
		r := l.take(ip, from, to, message)
		if r.Code == 250 {
			id := ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as "))
			l.promised[id] = true
			l.pass(time.Second)
			return id
		}
		if !r.Temporary() {
			l.Fatalf("refused: %v", r)
		}
		l.pass(10 * time.Second)
	}
	l.Fatal("never taken")
	return ""
}

// loop sends a message and then the same one as it came back, which is held.
func (l *lived) loop() ledger.MessageID {
	l.send("anna@eksempel.example", letter("Hej", "Hej"), "ven@borger.example")
	for len(l.hop.to("ven@borger.example")) == 0 {
		l.pass(time.Minute)
	}
	return l.send("anna@eksempel.example", strings.ReplaceAll(l.hop.to("ven@borger.example")[0].raw, "\r\n", "\n"), "ven@borger.example")
}

// act is a person who repeats what did not work.
func (l *lived) act(f func(context.Context) (int, error)) {
	l.Helper()
	for range 5 {
		_, err := f(context.Background())
		if err == nil {
			return
		}
		l.pass(10 * time.Second)
	}
	l.Error("the operation never worked")
}

// check looks at every message there is, also those whose acceptance was answered with 4yz.
func (l *lived) check() {
	l.Helper()
	checkAll(l.stage, l.promised)
}

// checkAll: everything promised is known; everything known is delivered, told, or open with an owner; what the hop got is
// what the ledger says; nothing arrives twice unmarked.
func checkAll(s *stage, promised map[ledger.MessageID]bool) {
	s.Helper()
	ids, err := s.store.Find(context.Background(), ledger.Query{Limit: 100_000})
	if err != nil {
		s.Fatal(err)
	}
	for id := range promised {
		if !slices.Contains(ids, id) {
			s.Errorf("message %s was promised and is lost", id)
		}
	}
	copies := s.copies()
	for _, id := range ids {
		story := s.story(id)
		for _, d := range story.Deliveries {
			n := copies[copyKey{id, d.Recipient.Shown}]
			delete(copies, copyKey{id, d.Recipient.Shown})
			switch {
			case d.State == ledger.Held && d.Owner != "":
			case d.State == ledger.Returning && s.alarmed(story, d):
			case !d.State.Final():
				s.Errorf("%s %s to %s still stands at %s:\n%s", story.Message.Kind, id, d.Recipient.Shown, d.State, tale(story))
			case d.State == ledger.Delivered && n == 0:
				s.Errorf("%s %s to %s is said to be delivered and did not arrive", story.Message.Kind, id, d.Recipient.Shown)
			case d.State == ledger.Returned && !s.wasTold(story, d):
				s.Errorf("%s to %s is returned, and nobody was told", id, d.Recipient.Shown)
			}
			if n > 1 && !d.Possibly {
				s.Errorf("%s %s arrived %d times at %s unmarked:\n%s", story.Message.Kind, id, n, d.Recipient.Shown, tale(story))
			}
		}
	}
	for k := range copies {
		if s.story(k.id).Message.Kind == ledger.Mail { // a notice may have arrived on a rung that it has left
			s.Errorf("%s arrived at %s, of which the ledger knows nothing", k.id, k.to)
		}
	}
}

type copyKey struct {
	id ledger.MessageID
	to string
}

// copies counts what arrived, by message and recipient.
func (s *stage) copies() map[copyKey]int {
	s.hop.mu.Lock()
	defer s.hop.mu.Unlock()
	out := map[copyKey]int{}
	for _, g := range s.hop.got {
		out[copyKey{idOf(g), string(g.to)}]++
	}
	return out
}

// idOf is the ledger's id of what arrived: in our trace field, or a notice's own Message-ID.
func idOf(a arrival) ledger.MessageID {
	if rest, ok := strings.CutPrefix(a.raw, traceField+": "); ok {
		id, _, _ := strings.Cut(rest, " ")
		return ledger.MessageID(id)
	}
	m := mail.Parse([]byte(a.raw), mail.Limits{})
	f, _ := m.Root.Get("Message-ID")
	id, _, _ := strings.Cut(strings.TrimPrefix(m.Unfolded(f), "<"), "@")
	return ledger.MessageID(id)
}

// wasTold reports whether a notice about d that tells of its return arrived somewhere.
func (s *stage) wasTold(story ledger.Story, d ledger.Delivery) bool {
	copies := s.copies()
	for _, link := range story.Notices {
		if link.About != d.ID || link.Tells != ledger.TellReturned {
			continue
		}
		for k := range maps.Keys(copies) {
			if k.id == link.Notice {
				return true
			}
		}
		n := s.story(link.Notice).Deliveries[0]
		if n.State == ledger.Withdrawn {
			return true // a person took the alarm
		}
	}
	return false
}

// alarmed reports whether the notice that d waits for stands as an alarm.
func (s *stage) alarmed(story ledger.Story, d ledger.Delivery) bool {
	for _, link := range story.Notices {
		if link.About == d.ID && link.Tells == ledger.TellReturned && s.story(link.Notice).Deliveries[0].State == ledger.Held {
			return true
		}
	}
	return false
}

// tale is a message's events, for failures.
func tale(s ledger.Story) string {
	var b strings.Builder
	for _, d := range s.Deliveries {
		fmt.Fprintf(&b, "  %s %s due %s watch %s deadline %s attempts %d node %q\n", d.Recipient.Shown, d.State, clock(d.Due), clock(d.Watch), clock(d.Deadline), d.Attempts, d.Node)
	}
	for _, e := range s.Events {
		fmt.Fprintf(&b, "  %s %d %s %s\n", clock(e.At), e.Delivery, e.Kind, e.Detail)
	}
	return b.String()
}

func clock(t time.Time) string { return t.Format("15:04:05") }
