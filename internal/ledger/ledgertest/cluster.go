package ledgertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// ttl is how long a beat lasts in these tests.
const ttl = 12 * time.Second

// ExerciseCluster runs the suite of ledger.Cluster, for engines whose stores implement it, and of what several nodes need of
// the Store itself. fresh is as for Exercise.
func ExerciseCluster(t *testing.T, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"beat", testBeat},
		{"beat refuses", testBeatRefuses},
		{"taken", testTaken},
		{"leave", testLeave},
		{"reap", testReap},
		{"reap in time", testReapInTime},
		{"reap after silence of all", testReapAfterSilence},
		{"reap what was left", testReapLeft},
		{"back after reaping", testBackAfterReaping},
		{"duty", testDuty},
		{"duty of the dead", testDutyOfDead},
		{"seen", testSeen},
		{"cluster faults", testClusterFaults},
		{"cluster closed", testClusterClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, fresh(t))
		})
	}
}

// nodes is a ledger that several nodes share.
type nodes struct {
	*testing.T
	ledger.Store
	ledger.Cluster
}

func share(t *testing.T, open Open) nodes {
	t.Helper()
	s := must(t, open)
	c, ok := s.(ledger.Cluster)
	if !ok {
		t.Fatalf("a %T is no ledger.Cluster", s)
	}
	return nodes{t, s, c}
}

// at is so many seconds after the start.
func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// beat beats for the first life of a node and checks the answer.
func (n nodes) beat(seconds float64, node string, alive, rank int, since float64) {
	n.Helper()
	n.live(seconds, node, node+" 1", alive, rank, since)
}

func (n nodes) live(seconds float64, node, life string, alive, rank int, since float64) {
	n.Helper()
	a, err := n.Beat(n.Context(), at(seconds), node, life, ttl)
	if err != nil {
		n.Fatalf("at %v: %v", seconds, err)
	}
	if a.Nodes != alive || a.Rank != rank || !a.Since.Equal(at(since)) {
		n.Errorf("at %v: %s beats as number %d of %d since %v, want number %d of %d since %v", seconds, node, a.Rank, a.Nodes, a.Since, rank, alive, at(since))
	}
}

// reaped checks whom a node finds dead, and how many attempts that cuts off.
func (n nodes) reaped(seconds float64, node, dead string, cutOff int) {
	n.Helper()
	names, cut, err := n.Reap(n.Context(), at(seconds), node)
	if err != nil || fmt.Sprint(names) != dead || cut != cutOff {
		n.Errorf("at %v: %s reaped %v and %d attempts, %v; want %s and %d", seconds, node, names, cut, err, dead, cutOff)
	}
}

// does checks whether a node has a duty, for ttl.
func (n nodes) does(seconds float64, node, duty string, want bool) {
	n.Helper()
	mine, err := n.Duty(n.Context(), at(seconds), duty, node, ttl)
	if err != nil || mine != want {
		n.Errorf("at %v: %s has the duty %q: %v, %v; want %v", seconds, node, duty, mine, err, want)
	}
}

// testBeat: who lives is counted, in the order of the names; a beat that stopped begins anew.
func testBeat(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "b", 1, 0, 0)
	n.beat(1, "c", 2, 1, 1)
	n.beat(2, "a", 3, 0, 2)
	n.beat(3, "b", 3, 1, 0)
	n.beat(11.999999, "a", 3, 0, 2)
	n.beat(12, "c", 3, 2, 1) // until the last instant
	n.beat(15, "a", 2, 0, 2) // b's beat of second 3 has run out
	n.beat(15, "b", 3, 1, 15)
	n.beat(40, "a", 1, 0, 40)
	CheckLaws(t, n.Store)
}

func testBeatRefuses(t *testing.T, open Open) {
	n := share(t, open)
	for _, b := range []struct {
		node, life string
		ttl        time.Duration
	}{{"", "x", ttl}, {"a", "", ttl}, {"a", "x", 0}, {"a", "x", -1}} {
		if _, err := n.Beat(t.Context(), start, b.node, b.life, b.ttl); err == nil {
			t.Errorf("beat %+v was not refused", b)
		}
	}
	for _, d := range []struct {
		duty, node string
		ttl        time.Duration
	}{{"", "a", ttl}, {"x", "", ttl}, {"x", "a", 0}} {
		if _, err := n.Duty(t.Context(), start, d.duty, d.node, d.ttl); err == nil {
			t.Errorf("duty %+v was not refused", d)
		}
	}
	n.beat(0, "a", 1, 0, 0)
}

// testTaken: a name belongs to one life at a time.
func testTaken(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	if _, err := n.Beat(t.Context(), at(5), "a", "a 2", ttl); !errors.Is(err, ledger.ErrTaken) {
		t.Errorf("a second life of the name: got %v, want %v", err, ledger.ErrTaken)
	}
	n.beat(6, "a", 1, 0, 0) // the first has not noticed
	if _, err := n.Beat(t.Context(), at(13), "a", "a 2", ttl); !errors.Is(err, ledger.ErrTaken) {
		t.Errorf("a second life of the name: got %v, want %v", err, ledger.ErrTaken)
	}
	n.live(18, "a", "a 2", 1, 0, 18) // the first has been silent for its ttl
	if _, err := n.Beat(t.Context(), at(19), "a", "a 1", ttl); !errors.Is(err, ledger.ErrTaken) {
		t.Errorf("the first life, awake again: got %v, want %v", err, ledger.ErrTaken)
	}
	if err := n.Leave(t.Context(), "a", "a 1"); err != nil { // not its name any more
		t.Error(err)
	}
	n.live(20, "a", "a 2", 1, 0, 18)
}

// testLeave: who leaves is not waited for.
func testLeave(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	n.beat(0, "b", 2, 1, 0)
	n.does(1, "b", "watch", true)
	if err := n.Leave(t.Context(), "b", "b 1"); err != nil {
		t.Fatal(err)
	}
	n.does(2, "a", "watch", true)
	n.beat(2, "a", 1, 0, 0)
	n.live(3, "b", "b 2", 2, 1, 3) // another life needs not wait
	for range 2 {
		if err := n.Leave(t.Context(), "b", "b 2"); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Leave(t.Context(), "nobody", "x"); err != nil {
		t.Error(err)
	}
	n.beat(10, "a", 1, 0, 0)
	n.reaped(13, "a", "[]", 0) // it left with nothing in its hands
}

// testReap: what a dead node held comes back at once, marked; a late outcome of it is fenced; others keep theirs.
func testReap(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	n.beat(0, "b", 2, 1, 0)
	n.beat(0, "c", 3, 2, 0)
	m := mail(2)
	m.Deliveries[1].Lane = "other"
	accept(t, n.Store, m)
	lost := claimOne(t, n.Store, at(1), "b", "mx.borger.example")
	kept := claimOne(t, n.Store, at(1), "a", "other")
	n.beat(10, "a", 3, 0, 0)
	n.beat(10, "c", 3, 2, 0)
	n.reaped(11.999999, "a", "[]", 0)
	n.reaped(12, "a", "[b]", 1)
	n.reaped(12, "c", "[]", 0) // already buried
	d := delivery(t, n.Store, lost.ID)
	if d.Node != "" || !d.Possibly || !d.Due.Equal(at(12)) || d.Attempts != 1 {
		t.Errorf("reaped: %+v", d)
	}
	if d := delivery(t, n.Store, kept.ID); d.Node != "a" || d.Possibly {
		t.Errorf("a living node's: %+v", d)
	}
	s := story(t, n.Store, m.Message.ID)
	if len(s.Attempts) != 1 || s.Attempts[0].Outcome != "cut off" || s.Attempts[0].Node != "b" || s.Attempts[0].No != 1 || !s.Attempts[0].Ended.Equal(at(12)) {
		t.Errorf("attempts: %+v", s.Attempts)
	}
	if last := s.Events[len(s.Events)-1]; last.Kind != ledger.KindCutOff || last.Delivery != lost.ID {
		t.Errorf("the last event: %+v", last)
	}
	n.fenced(lost, at(12))
	again := claimOne(t, n.Store, at(12), "c", "mx.borger.example")
	if again.Attempts != 2 || !again.Possibly {
		t.Errorf("taken over: %+v", again)
	}
	n.fenced(lost, at(13))
	apply(t, n.Store, ended(again, ledger.Delivered, at(13)), ended(kept, ledger.Delivered, at(13)))
	if d := delivery(t, n.Store, lost.ID); !d.Possibly || d.State != ledger.Delivered {
		t.Errorf("the mark is gone: %+v", d)
	}
	CheckLaws(t, n.Store)
}

// fenced checks that an attempt can no longer be ended, whatever its outcome.
func (n nodes) fenced(d ledger.Delivery, now time.Time) {
	n.Helper()
	for _, to := range []ledger.State{ledger.Delivered, ledger.Queued, ledger.Held} {
		if err := n.Apply(n.Context(), ended(d, to, now))[0]; !errors.Is(err, ledger.ErrFenced) {
			n.Errorf("the outcome %s of a lost attempt: got %v, want %v", to, err, ledger.ErrFenced)
		}
	}
}

// testReapInTime: only a node that has been beating for its ttl buries others, and never itself.
func testReapInTime(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "b", 1, 0, 0)
	accept(t, n.Store, mail(1))
	claimOne(t, n.Store, at(1), "b", "mx.borger.example")
	n.reaped(20, "a", "[]", 0) // a stranger
	n.beat(20, "a", 1, 0, 20)
	n.reaped(20, "a", "[]", 0)
	n.beat(30, "a", 1, 0, 20)
	n.reaped(31.999999, "a", "[]", 0) // a newcomer
	n.reaped(42, "a", "[]", 0)        // its own beat has run out
	n.reaped(32, "a", "[b]", 1)
	n.reaped(60, "a", "[]", 0)
	n.beat(60, "a", 1, 0, 60)
	CheckLaws(t, n.Store)
}

// testReapAfterSilence: after the ledger was away for all, everybody has time to come back and loses nothing.
func testReapAfterSilence(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	n.beat(0, "b", 2, 1, 0)
	accept(t, n.Store, mail(1))
	d := claimOne(t, n.Store, at(1), "b", "mx.borger.example")
	n.beat(13, "a", 1, 0, 13)
	n.reaped(100, "a", "[]", 0)
	n.beat(100, "a", 1, 0, 100)
	n.reaped(100, "a", "[]", 0)
	n.beat(110, "a", 1, 0, 100)
	n.reaped(111, "a", "[]", 0)
	n.beat(111, "b", 2, 1, 111)
	n.reaped(112, "a", "[]", 0)
	apply(t, n.Store, ended(d, ledger.Delivered, at(112)))
	if d := delivery(t, n.Store, d.ID); d.Possibly || d.State != ledger.Delivered {
		t.Errorf("what b held all the time: %+v", d)
	}
	CheckLaws(t, n.Store)
}

// testReapLeft: what a node left in its hands is taken back without waiting for its beat to run out.
func testReapLeft(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	accept(t, n.Store, mail(1))
	n.beat(20, "a", 1, 0, 20)
	n.beat(25, "b", 2, 1, 25)
	d := claimOne(t, n.Store, at(25), "b", "mx.borger.example")
	n.beat(30, "a", 2, 0, 20)
	if err := n.Leave(t.Context(), "b", "b 1"); err != nil {
		t.Fatal(err)
	}
	n.beat(31, "a", 1, 0, 20)
	n.reaped(32, "a", "[b]", 1)
	if d := delivery(t, n.Store, d.ID); d.Node != "" || !d.Possibly {
		t.Errorf("left behind: %+v", d)
	}
	n.reaped(33, "a", "[]", 0)
	CheckLaws(t, n.Store)
}

// testBackAfterReaping: a node that was only slow beats anew, sees that it has not been beating all the time, and goes on.
func testBackAfterReaping(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	n.beat(0, "b", 2, 1, 0)
	accept(t, n.Store, mail(1))
	lost := claimOne(t, n.Store, at(1), "b", "mx.borger.example")
	n.beat(11, "a", 2, 0, 0)
	n.reaped(12, "a", "[b]", 1)
	n.beat(13, "b", 2, 1, 13)
	n.fenced(lost, at(13))
	again := claimOne(t, n.Store, at(13), "b", "mx.borger.example") // the same node, another attempt
	n.fenced(lost, at(14))
	if n, err := n.Recover(t.Context(), at(14), "a"); n != 0 || err != nil {
		t.Errorf("a recovers %d, %v", n, err)
	}
	apply(t, n.Store, ended(again, ledger.Delivered, at(14)))
	CheckLaws(t, n.Store)
}

// testDuty: one holder, who renews; another only once its time ran out.
func testDuty(t *testing.T, open Open) {
	n := share(t, open)
	n.does(0, "a", "watch", true)
	n.does(0, "b", "watch", false)
	n.does(0, "b", "seal", true)
	n.does(10, "a", "watch", true)
	n.does(13, "b", "watch", false)
	n.does(21.999999, "b", "watch", false)
	n.does(22, "b", "watch", true)
	n.does(22, "a", "watch", false)
	n.does(22, "a", "seal", true)
	n.does(60, "b", "watch", true) // late, but nobody took it
}

// testDutyOfDead: nobody waits for the duties of those who are buried.
func testDutyOfDead(t *testing.T, open Open) {
	n := share(t, open)
	n.beat(0, "a", 1, 0, 0)
	n.beat(0, "b", 2, 1, 0)
	if mine, err := n.Duty(t.Context(), at(1), "watch", "b", time.Hour); !mine || err != nil {
		t.Fatal(mine, err)
	}
	n.beat(10, "a", 2, 0, 0)
	n.does(11, "a", "watch", false)
	n.reaped(13, "a", "[b]", 0)
	n.does(14, "a", "watch", true)
}

// testSeen: who watches what another has seen to meanwhile does nothing.
func testSeen(t *testing.T, open Open) {
	n := share(t, open)
	m := mail(1)
	m.Deliveries[0].Watch = at(60).Add(123456 * time.Microsecond)
	accept(t, n.Store, m)
	work, err := n.Watch(t.Context(), at(61), 10)
	if err != nil || len(work) != 1 {
		t.Fatalf("watch: %+v, %v", work, err)
	}
	d := work[0].Deliveries[0]
	look := func(seen, next time.Time) error {
		told := notice(ledger.TellDelayed)
		return n.Apply(t.Context(), ledger.Change{Delivery: d.ID, From: d.State, To: d.State, At: at(61), Watch: next, Seen: seen, Notices: []ledger.NewNotice{told}})[0]
	}
	if err := look(d.Watch, at(120)); err != nil {
		t.Fatalf("the first: %v", err)
	}
	if err := look(d.Watch, at(120)); !errors.Is(err, ledger.ErrState) {
		t.Errorf("the second: got %v, want %v", err, ledger.ErrState)
	}
	if err := look(at(120), ledger.Never); err != nil {
		t.Errorf("the next turn: %v", err)
	}
	if err := look(at(120), at(180)); !errors.Is(err, ledger.ErrState) {
		t.Errorf("when nobody is to watch any more: got %v, want %v", err, ledger.ErrState)
	}
	if err := look(time.Time{}, at(180)); err != nil {
		t.Errorf("who does not ask: %v", err)
	}
	s := story(t, n.Store, m.Message.ID)
	if len(s.Notices) != 3 {
		t.Errorf("told %d times, want 3", len(s.Notices))
	}
	CheckLaws(t, n.Store)
}

// testClusterFaults: each durable step of a node's life and death fails once as not done and once as done, but reported failed; the
// caller asks again.
func testClusterFaults(t *testing.T, open Open) {
	for _, point := range []string{"begin", "commit-before", "commit-after"} {
		for i := int64(1); ; i++ {
			o := failOnce(point, i)
			s, err := open(o.fault)
			if err != nil {
				t.Fatalf("%s %d: open: %v", point, i, err)
			}
			burial(t, s, fmt.Sprintf("%s %d", point, i), time.Duration(i)*time.Hour)
			CheckLaws(t, s)
			if err := s.Close(); err != nil && !errors.Is(err, errFault) {
				t.Errorf("%s %d: close: %v", point, i, err)
			}
			if !o.hit.Load() {
				break
			}
		}
	}
}

// burial lets one node die and another bury it, so long after the start; what fails by a fault is asked again.
func burial(t *testing.T, s ledger.Store, name string, after time.Duration) {
	t.Helper()
	c := s.(ledger.Cluster)
	patiently := func(f func() error) {
		t.Helper()
		err := f()
		if errors.Is(err, errFault) {
			err = f()
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	now := start.Add(after)
	beat := func(seconds float64, node string) {
		t.Helper()
		patiently(func() error {
			_, err := c.Beat(t.Context(), now.Add(time.Duration(seconds*float64(time.Second))), node, name, ttl)
			return err
		})
	}
	beat(0, "a")
	beat(0, "b")
	m := mail(1)
	lane := "lane of " + string(m.Message.ID)
	m.Deliveries[0].Lane, m.Message.AcceptedAt, m.Deliveries[0].Due = lane, now, now
	m.Claim = &ledger.Claim{Node: "b", Lease: time.Hour}
	patiently(func() error { _, err := s.Accept(t.Context(), m); return err })
	patiently(func() error {
		mine, err := c.Duty(t.Context(), now, "watch", "b", ttl)
		if err == nil && !mine {
			t.Errorf("%s: the duty is another's", name)
		}
		return err
	})
	beat(10, "a")
	patiently(func() error { _, _, err := c.Reap(t.Context(), now.Add(12*time.Second), "a"); return err })
	st := story(t, s, m.Message.ID)
	if d := st.Deliveries[0]; d.Node != "" || !d.Possibly || len(st.Attempts) != 1 {
		t.Errorf("%s: after the burial %+v, attempts %+v", name, d, st.Attempts)
	}
	patiently(func() error {
		mine, err := c.Duty(t.Context(), now.Add(13*time.Second), "watch", "a", ttl)
		if err == nil && !mine {
			t.Errorf("%s: the duty is still the dead one's", name)
		}
		return err
	})
	var d ledger.Delivery
	patiently(func() error {
		if _, err := s.Unclaim(t.Context(), now.Add(13*time.Second), "a", now.Add(13*time.Second), nil); err != nil {
			return err
		}
		work, err := s.Claim(t.Context(), now.Add(13*time.Second), ledger.Claim{Node: "a", Lane: lane, Max: 1, Lease: time.Hour})
		if err == nil && len(work) != 1 {
			t.Fatalf("%s: claimed %+v", name, work)
		}
		if err == nil {
			d = work[0].Deliveries[0]
		}
		return err
	})
	patiently(func() error {
		err := s.Apply(t.Context(), ended(d, ledger.Delivered, now.Add(14*time.Second)))[0]
		if errors.Is(err, ledger.ErrState) {
			err = nil // it had happened
		}
		return err
	})
	patiently(func() error { return c.Leave(t.Context(), "a", name) })
}

func testClusterClosed(t *testing.T, open Open) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := s.(ledger.Cluster)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"beat":  func() error { _, err := c.Beat(t.Context(), start, "a", "x", ttl); return err },
		"leave": func() error { return c.Leave(t.Context(), "a", "x") },
		"reap":  func() error { _, _, err := c.Reap(t.Context(), start, "a"); return err },
		"duty":  func() error { _, err := c.Duty(t.Context(), start, "x", "a", ttl); return err },
	} {
		if err := f(); !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("%s: got %v, want %v", name, err, ledger.ErrClosed)
		}
	}
}
