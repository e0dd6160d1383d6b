package ledgertest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// reach brings a fresh mail delivery into a state, the way the guard does.
func reach(t *testing.T, s ledger.Store, state ledger.State) ledger.Delivery {
	t.Helper()
	a := mail(1)
	lane := "lane of " + string(a.Message.ID)
	a.Deliveries[0].Lane = lane
	now := start.Add(time.Minute)
	switch state {
	case ledger.Held:
		a.Deliveries[0].State = ledger.Held
	case ledger.Returning, ledger.Returned:
		a.Deliveries[0].State = ledger.Returning
		n := notice(ledger.TellReturned)
		n.Delivery.Lane, n.About = lane, []int{0}
		a.Notices = []ledger.NewNotice{n}
	}
	id := accept(t, s, a).Deliveries[0].ID
	switch state {
	case ledger.Delivered, ledger.Returned: // the mail itself, or its notice
		apply(t, s, ended(claimOne(t, s, now, "n1", lane), ledger.Delivered, now))
	case ledger.Withdrawn:
		apply(t, s, ledger.Change{Delivery: id, From: ledger.Queued, To: ledger.Withdrawn, At: now, Event: ledger.Event{By: "Anna"}})
	}
	d := delivery(t, s, id)
	if d.State != state {
		t.Fatalf("reached %s, want %s", d.State, state)
	}
	return d
}

// testEveryStep tries every pair of states: exactly the steps of the state machine are taken, with what the laws ask for
// beside it, and a refused one leaves no trace.
func testEveryStep(t *testing.T, open Open) {
	s := must(t, open)
	for _, from := range ledger.States {
		for _, to := range ledger.States {
			d := reach(t, s, from)
			before := story(t, s, d.Message)
			c := ledger.Change{
				Delivery: d.ID, From: from, To: to, At: start.Add(time.Hour), Due: start.Add(2 * time.Hour), Deadline: start.Add(9 * time.Hour),
				Event: ledger.Event{By: "Anna", Detail: "a test"},
			}
			if to == ledger.Returning {
				c.Notices = []ledger.NewNotice{notice(ledger.TellReturned)}
			}
			// Nobody can call a delivery returned: only the notice's arrival does.
			allowed := ledger.Allowed(from, to) && to != ledger.Returned
			err := s.Apply(t.Context(), c)[0]
			after := story(t, s, d.Message)
			if !allowed {
				if !errors.Is(err, ledger.ErrTransition) {
					t.Errorf("%s → %s: got %v, want %v", from, to, err, ledger.ErrTransition)
				}
				if fmt.Sprint(before) != fmt.Sprint(after) {
					t.Errorf("%s → %s was refused and left a trace:\n%+v\n%+v", from, to, before, after)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s → %s: %v", from, to, err)
				continue
			}
			checkStep(t, c, after)
		}
	}
	CheckLaws(t, s)
}

func checkStep(t *testing.T, c ledger.Change, after ledger.Story) {
	t.Helper()
	d, e := after.Deliveries[0], after.Events[len(after.Events)-1]
	if d.State != c.To || e.By != "Anna" || e.Delivery != d.ID || e.Kind == "" {
		t.Errorf("%s → %s: delivery %+v, event %+v", c.From, c.To, d, e)
	}
	if c.To.Final() {
		if !d.EndedAt.Equal(c.At) || !d.Deadline.IsZero() || !d.Due.IsZero() || !d.Watch.IsZero() {
			t.Errorf("%s → %s: %+v", c.From, c.To, d)
		}
	} else if !d.EndedAt.IsZero() || !d.Deadline.Equal(c.Deadline) || d.Owner == "" {
		t.Errorf("%s → %s: %+v", c.From, c.To, d)
	}
}

// testFinalStays: nothing moves a final delivery, with or without an attempt.
func testFinalStays(t *testing.T, open Open) {
	s := must(t, open)
	for _, from := range []ledger.State{ledger.Delivered, ledger.Returned, ledger.Withdrawn} {
		d := reach(t, s, from)
		for _, to := range ledger.States {
			c := ended(d, to, start)
			if err := s.Apply(t.Context(), c)[0]; !errors.Is(err, ledger.ErrState) {
				t.Errorf("%s, taken for queued, → %s: got %v, want %v", from, to, err, ledger.ErrState)
			}
		}
	}
	CheckLaws(t, s)
}

// testRelease: a person lets a held delivery go, and may choose how.
func testRelease(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(2)
	a.Bodies = append(a.Bodies, []byte("sealed 1"))
	for i := range a.Deliveries {
		a.Deliveries[i].State = ledger.Held
	}
	st := accept(t, s, a)
	now, one := start.Add(time.Hour), 1
	v := policy.Verdict{Action: policy.Repair, Rule: "released", Reason: policy.OwnRule, Policy: "p2"}
	rel := ledger.Change{
		Delivery: st.Deliveries[0].ID, From: ledger.Held, To: ledger.Queued, At: now, Due: now, Deadline: now.Add(time.Hour), Watch: now.Add(time.Minute),
		Owner: "vagt@eksempel.example", Body: &one, Lane: "released", Verdict: &v, Event: ledger.Event{Kind: ledger.KindReleased, By: "Anna", Detail: "checked"},
	}
	apply(t, s, rel)
	d := claimOne(t, s, now, "n1", "released")
	if d.Body != 1 || d.Verdict != v || d.Owner != rel.Owner || !d.Deadline.Equal(rel.Deadline) || !d.Watch.Equal(rel.Watch) {
		t.Errorf("released: %+v", d)
	}
	two := 2
	rel.Delivery, rel.Body = st.Deliveries[1].ID, &two
	if err := s.Apply(t.Context(), rel)[0]; err == nil {
		t.Error("released with a body that is not there")
	}
	wantStates(t, s, a.Message.ID, "queued held")
	CheckLaws(t, s)
}

// testBodiesGo: bodies stay while a delivery is open and go with the last.
func testBodiesGo(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(2)
	a.Deliveries[1].State = ledger.Held
	st := accept(t, s, a)
	apply(t, s, ended(claimOne(t, s, start, "n1", "mx.borger.example"), ledger.Delivered, start))
	if b, err := s.Body(t.Context(), a.Message.ID, 0); err != nil || !bytes.Equal(b, a.Bodies[0]) {
		t.Errorf("while one is open: %q, %v", b, err)
	}
	apply(t, s, ledger.Change{Delivery: st.Deliveries[1].ID, From: ledger.Held, To: ledger.Withdrawn, At: start, Event: ledger.Event{By: "Anna"}})
	if _, err := s.Body(t.Context(), a.Message.ID, 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("after the last: %v", err)
	}
	if _, err := s.Body(t.Context(), a.Message.ID, 1); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a body that never was: %v", err)
	}
	CheckLaws(t, s)
}
