package ledgertest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// refused accepts a mail to so many, has them all refused at once and returns the mail's story and the notice that tells so.
func refused(t *testing.T, s ledger.Store, recipients int) (ledger.Story, ledger.NewNotice) {
	t.Helper()
	a := mail(recipients)
	accept(t, s, a)
	work := claim(t, s, start, "n1", "mx.borger.example")
	n := notice(ledger.TellReturned)
	var changes []ledger.Change
	for i, d := range work[0].Deliveries {
		c := ended(d, ledger.Returning, start.Add(time.Second))
		c.Deadline = start.Add(time.Hour)
		if i == 0 {
			for _, other := range work[0].Deliveries[1:] {
				n.AboutIDs = append(n.AboutIDs, other.ID)
			}
			c.Notices = []ledger.NewNotice{n}
		}
		changes = append(changes, c)
	}
	apply(t, s, changes...)
	return story(t, s, a.Message.ID), n
}

// testTold: returned only when the notice has arrived, and then at once (law 3).
func testTold(t *testing.T, open Open) {
	s := must(t, open)
	st, n := refused(t, s, 1)
	d := st.Deliveries[0]
	if d.State != ledger.Returning || len(d.Told) != 1 || d.Told[0] != ledger.TellReturned || d.Node != "" {
		t.Errorf("returning: %+v", d)
	}
	if b, err := s.Body(t.Context(), n.Message.ID, 0); err != nil || !bytes.Equal(b, n.Body) {
		t.Errorf("the notice's body: %q, %v", b, err)
	}
	CheckLaws(t, s)
	nd := claimOne(t, s, start.Add(time.Minute), "n1", "inside")
	c := ended(nd, ledger.Queued, start.Add(time.Minute)) // the notice has to wait: nothing is told yet
	c.Due = start.Add(2 * time.Minute)
	apply(t, s, c)
	wantStates(t, s, st.Message.ID, "returning")
	nd = claimOne(t, s, start.Add(3*time.Minute), "n1", "inside")
	apply(t, s, ended(nd, ledger.Delivered, start.Add(4*time.Minute)))
	after := story(t, s, st.Message.ID)
	d = after.Deliveries[0]
	if d.State != ledger.Returned || !d.EndedAt.Equal(start.Add(4*time.Minute)) || !d.Deadline.IsZero() {
		t.Errorf("returned: %+v", d)
	}
	if e := after.Events[len(after.Events)-1]; e.Kind != string(ledger.Returned) || e.Delivery != d.ID {
		t.Errorf("event: %+v", e)
	}
	for _, id := range []ledger.MessageID{st.Message.ID, n.Message.ID} {
		if _, err := s.Body(t.Context(), id, 0); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("the body of %s is still there: %v", id, err)
		}
	}
	if v := CheckLaws(t, s); v.Accepted != 2 || v.Final != 2 {
		t.Errorf("sums: %+v", v.Sums)
	}
}

// testToldByPerson: a person who takes the notice ends the waiting; the guard itself cannot.
func testToldByPerson(t *testing.T, open Open) {
	s := must(t, open)
	st, n := refused(t, s, 1)
	nd := story(t, s, n.Message.ID).Deliveries[0]
	c := ledger.Change{Delivery: nd.ID, From: ledger.Queued, To: ledger.Withdrawn, At: start.Add(time.Minute), Event: ledger.Event{Detail: "told by telephone"}}
	if err := s.Apply(t.Context(), c)[0]; !errors.Is(err, ledger.ErrTransition) {
		t.Errorf("the guard withdrew a notice that something waits for: %v", err)
	}
	wantStates(t, s, st.Message.ID, "returning")
	c.Event.By = "Anna"
	apply(t, s, c)
	wantStates(t, s, st.Message.ID, "returned")
	events := story(t, s, st.Message.ID).Events
	if e := events[len(events)-1]; e.By != "Anna" {
		t.Errorf("event: %+v", e)
	}
	// A notice that nothing waits for may be withdrawn by the guard.
	a := mail(1)
	delayed := notice(ledger.TellDelayed)
	delayed.About = []int{0}
	a.Notices = []ledger.NewNotice{delayed}
	accept(t, s, a)
	c.Delivery, c.Event.By = story(t, s, delayed.Message.ID).Deliveries[0].ID, ""
	apply(t, s, c)
	wantStates(t, s, a.Message.ID, "queued")
	CheckLaws(t, s)
}

// testOneNotice: one notice tells of many deliveries, also of other messages; each becomes returned that waits.
func testOneNotice(t *testing.T, open Open) {
	s := must(t, open)
	st, n := refused(t, s, 3)
	for i, d := range st.Deliveries {
		if len(d.Told) != 1 {
			t.Errorf("delivery %d was told %v", i, d.Told)
		}
	}
	if got := len(story(t, s, n.Message.ID).Notices); got != 3 {
		t.Errorf("the notice is about %d deliveries, want 3", got)
	}
	CheckLaws(t, s)
	apply(t, s, ended(claimOne(t, s, start.Add(time.Minute), "n1", "inside"), ledger.Delivered, start.Add(time.Minute)))
	wantStates(t, s, st.Message.ID, "returned returned returned")
	c := ledger.Change{Delivery: reach(t, s, ledger.Held).ID, From: ledger.Held, To: ledger.Held, At: start, Notices: []ledger.NewNotice{notice(ledger.TellReminder)}}
	c.Notices[0].AboutIDs = []ledger.DeliveryID{4711}
	if err := s.Apply(t.Context(), c)[0]; !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("about what is not there: %v", err)
	}
	CheckLaws(t, s)
}

// testLadder: a notice that fails climbs; on the last rung it becomes an alarm until a person takes it.
func testLadder(t *testing.T, open Open) {
	s := must(t, open)
	st, n := refused(t, s, 1)
	now := start.Add(time.Minute)
	c := ended(claimOne(t, s, now, "n1", "inside"), ledger.Queued, now)
	c.Attempt.Outcome = "refused"
	c.Climb = &ledger.Climb{Recipient: ledger.Address{Shown: "bogholderi@eksempel.example"}, Lane: "second", Rung: 1, Body: []byte("notice 1"), Inside: true}
	c.Event = ledger.Event{}
	apply(t, s, c)
	d := claimOne(t, s, now, "n1", "second")
	if d.Rung != 1 || d.Recipient.Shown != "bogholderi@eksempel.example" || d.Attempts != 2 {
		t.Errorf("second rung: %+v", d)
	}
	if b, err := s.Body(t.Context(), n.Message.ID, 0); err != nil || string(b) != "notice 1" {
		t.Errorf("body of the second rung: %q, %v", b, err)
	}
	returning := ended(d, ledger.Returning, now)
	returning.Notices = []ledger.NewNotice{notice(ledger.TellReturned)}
	if err := s.Apply(t.Context(), returning)[0]; !errors.Is(err, ledger.ErrTransition) {
		t.Errorf("a notice about a notice: %v", err)
	}
	alarm := ended(d, ledger.Held, now)
	alarm.Owner, alarm.Deadline = "sikkerhedsnet@eksempel.example", now.Add(time.Hour)
	apply(t, s, alarm)
	wantStates(t, s, st.Message.ID, "returning")
	if v := CheckLaws(t, s); v.Alarms != 1 {
		t.Errorf("alarms: %d, want 1", v.Alarms)
	}
	climb := ledger.Change{Delivery: d.ID, From: ledger.Held, To: ledger.Queued, At: now, Due: now, Deadline: now.Add(time.Hour), Event: ledger.Event{By: "Anna"},
		Climb: &ledger.Climb{Recipient: ledger.Address{Shown: "sikkerhedsnet@eksempel.example"}, Lane: "third", Rung: 2, Body: []byte("notice 2")}}
	apply(t, s, climb)
	d = claimOne(t, s, now, "n1", "third")
	again := ended(d, ledger.Held, now)
	again.Deadline = now.Add(time.Hour)
	apply(t, s, again)
	apply(t, s, ledger.Change{Delivery: d.ID, From: ledger.Held, To: ledger.Withdrawn, At: now, Event: ledger.Event{By: "Bente", Detail: "told by telephone"}})
	wantStates(t, s, st.Message.ID, "returned")
	if v := CheckLaws(t, s); v.Alarms != 0 || v.Open != 0 {
		t.Errorf("at the end: %+v", v.Sums)
	}
	if k := story(t, s, n.Message.ID).Events; k[1].Kind != ledger.KindClimbed {
		t.Errorf("events of the notice: %+v", k)
	}
}

// testReturningNeedsNotice: without an open notice that tells so nothing becomes returning.
func testReturningNeedsNotice(t *testing.T, open Open) {
	s := must(t, open)
	accept(t, s, mail(1))
	d := claimOne(t, s, start, "n1", "mx.borger.example")
	c := ended(d, ledger.Returning, start)
	c.Deadline = start.Add(time.Hour)
	c.Notices = []ledger.NewNotice{notice(ledger.TellDelayed)}
	if err := s.Apply(t.Context(), c)[0]; !errors.Is(err, ledger.ErrTransition) {
		t.Errorf("with a notice that tells something else: %v", err)
	}
	// A notice that arrived before tells of nothing later.
	c = ended(d, ledger.Queued, start)
	c.Notices = []ledger.NewNotice{notice(ledger.TellReturned)}
	apply(t, s, c)
	apply(t, s, ended(claimOne(t, s, start, "n1", "inside"), ledger.Delivered, start))
	wantStates(t, s, d.Message, "queued")
	d = claimOne(t, s, start.Add(time.Minute), "n1", "mx.borger.example")
	if err := s.Apply(t.Context(), ended(d, ledger.Returning, start.Add(time.Minute)))[0]; !errors.Is(err, ledger.ErrTransition) {
		t.Errorf("with a notice that arrived already: %v", err)
	}
	CheckLaws(t, s)
}
