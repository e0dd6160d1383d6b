package ledgertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// testClaim: work is leased once, with its fence, and only in its lane and when due.
func testClaim(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(2)
	a.Deliveries[1].Due = start.Add(time.Hour)
	accept(t, s, a)
	if work := claim(t, s, start.Add(-time.Second), "n1", "mx.borger.example"); len(work) != 0 {
		t.Errorf("claimed before it was due: %+v", work)
	}
	if work := claim(t, s, start, "n1", "elsewhere"); len(work) != 0 {
		t.Errorf("claimed from another lane: %+v", work)
	}
	d := claimOne(t, s, start, "n1", "mx.borger.example")
	if d.Attempts != 1 || d.Node != "n1" || !d.Due.Equal(start.Add(10*time.Minute)) || d.Possibly || d.State != ledger.Queued {
		t.Errorf("claimed: %+v", d)
	}
	if work := claim(t, s, start.Add(time.Minute), "n2", "mx.borger.example"); len(work) != 0 {
		t.Errorf("claimed twice: %+v", work)
	}
	later := claimOne(t, s, start.Add(time.Hour-time.Minute), "n2", "mx.borger.example")
	if later.ID != d.ID || later.Attempts != 2 || !later.Possibly {
		t.Errorf("after its lease: %+v", later)
	}
	for _, c := range []ledger.Claim{{Lane: "x", Max: 1, Lease: 1}, {Node: "n", Lane: "x", Lease: 1}, {Node: "n", Lane: "x", Max: 1}} {
		if _, err := s.Claim(t.Context(), start, c); err == nil {
			t.Errorf("claim %+v was not refused", c)
		}
	}
	CheckLaws(t, s)
}

// testClaimLimits: the longest waiting first, Max counts messages, and a message's deliveries come together by body.
func testClaimLimits(t *testing.T, open Open) {
	s := must(t, open)
	var ids []ledger.MessageID
	for i := range 4 {
		a := mail(3)
		a.Bodies = append(a.Bodies, []byte("sealed 1"))
		a.Deliveries[2].Body = 1
		for j := range a.Deliveries {
			a.Deliveries[j].Due = start.Add(time.Duration(10-i)*time.Second + time.Duration(j)*time.Millisecond)
		}
		ids = append(ids, accept(t, s, a).Message.ID)
	}
	now := start.Add(time.Minute)
	take := func(max int) (got []string) {
		work, err := s.Claim(t.Context(), now, ledger.Claim{Node: "n1", Lane: "mx.borger.example", Max: max, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range work {
			for i, id := range ids {
				if w.Message.ID == id {
					got = append(got, fmt.Sprintf("%d:%d×%d", i, w.Deliveries[0].Body, len(w.Deliveries)))
				}
			}
		}
		return got
	}
	if got, want := fmt.Sprint(take(1)), "[3:0×2 3:1×1]"; got != want {
		t.Errorf("first: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(take(2)), "[2:0×2 2:1×1 1:0×2 1:1×1]"; got != want {
		t.Errorf("then: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(take(100)), "[0:0×2 0:1×1]"; got != want {
		t.Errorf("last: got %s, want %s", got, want)
	}
}

// testLeaseRunsOut: another takes over, the delivery is marked, and the first cannot end what it has lost.
func testLeaseRunsOut(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(1)
	accept(t, s, a)
	first := claimOne(t, s, start, "n1", "mx.borger.example")
	now := start.Add(10 * time.Minute)
	second := claimOne(t, s, now, "n2", "mx.borger.example")
	if !second.Possibly || second.Attempts != 2 || second.Node != "n2" {
		t.Errorf("taken over: %+v", second)
	}
	st := story(t, s, a.Message.ID)
	if len(st.Attempts) != 1 || st.Attempts[0].Outcome != "cut off" || st.Attempts[0].No != 1 || st.Attempts[0].Node != "n1" ||
		!st.Attempts[0].Started.Equal(start) || !st.Attempts[0].Ended.Equal(now) || st.Attempts[0].Receipt != nil {
		t.Errorf("attempts: %+v", st.Attempts)
	}
	if errs := s.Apply(t.Context(), ended(first, ledger.Delivered, now)); !errors.Is(errs[0], ledger.ErrFenced) {
		t.Errorf("the first ended what it had lost: %v", errs[0])
	}
	apply(t, s, ended(second, ledger.Queued, now))
	if d := delivery(t, s, second.ID); !d.Possibly || d.Node != "" {
		t.Errorf("the mark or the lease is wrong: %+v", d)
	}
	CheckLaws(t, s)
}

// testRecover: what a node held when it died comes back at once, marked; others keep theirs.
func testRecover(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(3)
	a.Deliveries[2].Lane = "other"
	st := accept(t, s, a)
	claim(t, s, start, "n1", "mx.borger.example")
	claim(t, s, start, "n2", "other")
	now := start.Add(time.Minute)
	if n, err := s.Recover(t.Context(), now, "n1"); n != 2 || err != nil {
		t.Fatalf("recovered %d, %v, want 2", n, err)
	}
	if n, err := s.Recover(t.Context(), now, "n1"); n != 0 || err != nil {
		t.Fatalf("again %d, %v, want 0", n, err)
	}
	for i, d := range story(t, s, a.Message.ID).Deliveries {
		lost := i < 2
		if d.Possibly != lost || (d.Node == "") != lost || lost && !d.Due.Equal(now) {
			t.Errorf("delivery %d: %+v", i, d)
		}
	}
	after := story(t, s, a.Message.ID)
	if len(after.Attempts) != 2 || after.Attempts[0].Outcome != "cut off" || len(after.Events) != len(st.Events)+2 {
		t.Errorf("attempts %+v, events %+v", after.Attempts, after.Events)
	}
	if work := claim(t, s, now, "n1", "mx.borger.example"); len(work) != 1 || work[0].Deliveries[0].Attempts != 2 {
		t.Errorf("claimed %+v", work)
	}
	CheckLaws(t, s)
}

// testFences: who does not hold the attempt ends nothing, and who holds none moves nothing that is leased.
func testFences(t *testing.T, open Open) {
	s := must(t, open)
	accept(t, s, mail(1))
	d := claimOne(t, s, start, "n1", "mx.borger.example")
	now := start.Add(time.Minute)
	tests := map[string]struct {
		change func(*ledger.Change)
		want   error
	}{
		"older attempt":  {func(c *ledger.Change) { c.Attempt.No = 0 }, ledger.ErrFenced},
		"newer attempt":  {func(c *ledger.Change) { c.Attempt.No = 2 }, ledger.ErrFenced},
		"other node":     {func(c *ledger.Change) { c.Attempt.Node = "n2" }, ledger.ErrFenced},
		"no attempt":     {func(c *ledger.Change) { c.Attempt = nil }, ledger.ErrLeased},
		"other state":    {func(c *ledger.Change) { c.From, c.To = ledger.Held, ledger.Queued }, ledger.ErrState},
		"not there":      {func(c *ledger.Change) { c.Delivery = 4711 }, ledger.ErrNotFound},
		"no such step":   {func(c *ledger.Change) { c.To = ledger.Returned }, ledger.ErrTransition},
		"no such state":  {func(c *ledger.Change) { c.To = "discarded" }, ledger.ErrTransition},
		"climbing mail":  {func(c *ledger.Change) { c.To, c.Climb = ledger.Queued, &ledger.Climb{Lane: "x"} }, ledger.ErrTransition},
		"by no person":   {func(c *ledger.Change) { c.To = ledger.Withdrawn }, ledger.ErrTransition},
		"returning mute": {func(c *ledger.Change) { c.To = ledger.Returning }, ledger.ErrTransition},
	}
	before := story(t, s, d.Message)
	for name, test := range tests {
		c := ended(d, ledger.Delivered, now)
		test.change(&c)
		if errs := s.Apply(t.Context(), c); !errors.Is(errs[0], test.want) {
			t.Errorf("%s: got %v, want %v", name, errs[0], test.want)
		}
	}
	if after := story(t, s, d.Message); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a refusal left a trace:\n%+v\n%+v", before, after)
	}
	// A lease that has run out holds up no person: its attempt is cut off first.
	late := start.Add(time.Hour)
	apply(t, s, ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Withdrawn, At: late, Event: ledger.Event{Kind: "withdrawn", By: "Anna", Detail: "sent twice"}})
	st := story(t, s, d.Message)
	if st.Deliveries[0].State != ledger.Withdrawn || !st.Deliveries[0].Possibly || len(st.Attempts) != 1 || st.Attempts[0].Outcome != "cut off" {
		t.Errorf("withdrawn: %+v", st)
	}
	CheckLaws(t, s)
}

// testRetry: the lease ends, the new time counts, and what was not said stays.
func testRetry(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(1)
	accept(t, s, a)
	d := claimOne(t, s, start, "n1", "mx.borger.example")
	c := ended(d, ledger.Queued, start.Add(time.Second))
	c.Due = start.Add(5 * time.Minute)
	apply(t, s, c)
	got := delivery(t, s, d.ID)
	if got.Node != "" || got.Attempts != 1 || !got.Due.Equal(c.Due) || !got.Deadline.Equal(a.Deliveries[0].Deadline) || !got.Watch.Equal(a.Deliveries[0].Watch) || got.Possibly {
		t.Errorf("after a retry: %+v", got)
	}
	d = claimOne(t, s, c.Due, "n1", "mx.borger.example")
	if d.Attempts != 2 || d.Possibly {
		t.Errorf("claimed again: %+v", d)
	}
	c = ended(d, ledger.Queued, c.Due)
	c.Attempt.Outcome, c.Due, c.Watch = "unknown", start.Add(time.Hour), ledger.Never
	apply(t, s, c)
	if got = delivery(t, s, d.ID); !got.Possibly || !got.Watch.IsZero() {
		t.Errorf("an unknown outcome is not marked, or Never did not clear the watch: %+v", got)
	}
	d = claimOne(t, s, c.Due, "n1", "mx.borger.example")
	apply(t, s, ended(d, ledger.Delivered, c.Due))
	if got = delivery(t, s, d.ID); !got.Possibly || !got.EndedAt.Equal(c.Due) || !got.Due.IsZero() || !got.Deadline.IsZero() || got.Node != "" {
		t.Errorf("delivered: %+v", got)
	}
	CheckLaws(t, s)
}

func testLanes(t *testing.T, open Open) {
	s := must(t, open)
	if lanes, err := s.Lanes(t.Context()); len(lanes) != 0 || err != nil {
		t.Errorf("no work: %v, %v", lanes, err)
	}
	a := mail(6)
	for i, lane := range []string{"c", "a", "b", "a", "c", "d"} {
		a.Deliveries[i].Lane, a.Deliveries[i].Due = lane, start.Add(time.Duration(i)*time.Minute)
	}
	a.Deliveries[5].State = ledger.Held
	accept(t, s, a)
	claim(t, s, start.Add(2*time.Minute), "n1", "b")
	lanes, err := s.Lanes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Duration{}
	for _, l := range lanes {
		got[l.Lane] = l.Due.Sub(start)
	}
	if want := map[string]time.Duration{"a": time.Minute, "b": 12 * time.Minute, "c": 0}; fmt.Sprint(got) != fmt.Sprint(want) || len(lanes) != 3 {
		t.Errorf("lanes: got %v, want %v", lanes, want)
	}
}

func testWatch(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(5)
	for i := range a.Deliveries {
		a.Deliveries[i].Watch = start.Add(time.Duration(5-i) * time.Minute)
	}
	a.Deliveries[0].Watch = time.Time{}
	a.Deliveries[1].Watch = ledger.Never
	a.Deliveries[2].State = ledger.Held
	a.Deliveries[3].Lane = "leased"
	ids := accept(t, s, a).Deliveries
	claim(t, s, start, "n1", "leased")
	look := func(now time.Time, max int) (got []ledger.DeliveryID) {
		found, err := s.Watch(t.Context(), now, max)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range found {
			for _, d := range w.Deliveries {
				if d.Message != w.Message.ID {
					t.Errorf("delivery %d stands with message %s", d.ID, w.Message.ID)
				}
				got = append(got, d.ID)
			}
		}
		return got
	}
	for _, test := range []struct {
		after time.Duration
		max   int
		want  []ledger.DeliveryID
	}{
		{0, 10, nil},
		{time.Minute, 10, []ledger.DeliveryID{ids[4].ID}},
		{5 * time.Minute, 10, []ledger.DeliveryID{ids[4].ID, ids[2].ID}},
		{5 * time.Minute, 1, []ledger.DeliveryID{ids[4].ID}},
		{time.Hour, 10, []ledger.DeliveryID{ids[4].ID, ids[2].ID, ids[3].ID}}, // the lease has run out; one piece of work stands together
	} {
		if got := look(start.Add(test.after), test.max); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("after %v, at most %d: got %v, want %v", test.after, test.max, got, test.want)
		}
	}
	apply(t, s, ledger.Change{Delivery: ids[4].ID, From: ledger.Queued, To: ledger.Queued, At: start.Add(time.Minute), Watch: start.Add(2 * time.Hour)})
	if got := look(start.Add(5*time.Minute), 10); fmt.Sprint(got) != fmt.Sprint([]ledger.DeliveryID{ids[2].ID}) {
		t.Errorf("after the watch moved on: %v", got)
	}
}

// A claim that happened and was reported failed is freed, unmarked; what is in hand, and what came later, stays.
func testUnclaim(t *testing.T, open Open) {
	s := must(t, open)
	a, b := mail(1), mail(1)
	accept(t, s, a)
	accept(t, s, b)
	at := a.Message.AcceptedAt.Add(time.Minute)
	work, err := s.Claim(t.Context(), at, ledger.Claim{Node: "n1", Lane: a.Deliveries[0].Lane, Max: 10, Lease: time.Hour})
	if err != nil || len(work) != 2 {
		t.Fatalf("claimed %v, %v", work, err)
	}
	inHand := []ledger.DeliveryID{work[0].Deliveries[0].ID}
	if n, err := s.Unclaim(t.Context(), at.Add(time.Minute), "n1", at.Add(-time.Second), inHand); n != 0 || err != nil {
		t.Errorf("what was leased later is freed: %d, %v", n, err)
	}
	if n, err := s.Unclaim(t.Context(), at.Add(time.Minute), "n2", at, nil); n != 0 || err != nil {
		t.Errorf("another node's lease is freed: %d, %v", n, err)
	}
	if n, err := s.Unclaim(t.Context(), at.Add(time.Minute), "n1", at, inHand); n != 1 || err != nil {
		t.Errorf("freed %d, %v, want 1", n, err)
	}
	again, err := s.Claim(t.Context(), at.Add(time.Minute), ledger.Claim{Node: "n1", Lane: a.Deliveries[0].Lane, Max: 10, Lease: time.Hour})
	if err != nil || len(again) != 1 || again[0].Message.ID != work[1].Message.ID || again[0].Deliveries[0].Possibly || again[0].Deliveries[0].Attempts != 1 {
		t.Errorf("claimed again: %+v, %v", again, err)
	}
	CheckLaws(t, s)
}
