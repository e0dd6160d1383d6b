package ledgertest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// testAccept: what was accepted is there, word for word, also after closing and opening (law 1).
func testAccept(t *testing.T, open Open) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := mail(3)
	a.Bodies = append(a.Bodies, []byte("sealed 1"))
	a.Deliveries[1].Body = 1
	a.Deliveries[1].Recipient = ledger.Address{Shown: "010170-••••@sikker.example", Sealed: []byte("sealed address")}
	a.Deliveries[2].State, a.Deliveries[2].Lane = ledger.Held, ""
	a.Message.Sender = ledger.Address{Shown: "010170-••••@eksempel.example", Sealed: []byte("sealed sender")}
	if work, err := s.Accept(t.Context(), a); err != nil || work != nil {
		t.Fatalf("accept: %v, %v", work, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = must(t, open)
	got := story(t, s, a.Message.ID)
	if diff := cmp.Diff(a.Message, got.Message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if got.Policy != "p1" {
		t.Errorf("policy: got %q", got.Policy)
	}
	for i, n := range a.Deliveries {
		d := got.Deliveries[i]
		want := ledger.Delivery{
			ID: d.ID, Message: a.Message.ID, Recipient: n.Recipient, Notify: n.Notify, ORcpt: n.ORcpt, Inside: n.Inside, State: n.State,
			Verdict: n.Verdict, Body: n.Body, Lane: n.Lane, Owner: n.Owner, Due: n.Due, Deadline: n.Deadline, Watch: n.Watch,
		}
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("delivery %d (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff(want, delivery(t, s, d.ID)); diff != "" {
			t.Errorf("Delivery(%d) (-want +got):\n%s", d.ID, diff)
		}
	}
	for i, want := range a.Bodies {
		if body, err := s.Body(t.Context(), a.Message.ID, i); err != nil || !bytes.Equal(body, want) {
			t.Errorf("body %d: %q, %v", i, body, err)
		}
	}
	if len(got.Events) == 0 || got.Events[0].Kind != ledger.KindAccepted || got.Events[0].Seq != 1 || !got.Events[0].At.Equal(start) {
		t.Errorf("events: %+v", got.Events)
	}
	v := CheckLaws(t, s)
	if v.Accepted != 3 || v.Open != 3 || v.Final != 0 || v.States[ledger.Held] != 1 {
		t.Errorf("sums: %+v", v.Sums)
	}
}

// testAcceptTwice: a caller that lost the answer asks again.
func testAcceptTwice(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(2)
	a.Claim = &ledger.Claim{Node: "n1", Lease: time.Minute}
	first, err := s.Accept(t.Context(), a)
	if err != nil || len(first) != 1 {
		t.Fatalf("accepting gives %v, %v", first, err)
	}
	before := story(t, s, a.Message.ID)
	work, err := s.Accept(t.Context(), a) // as after a commit that was reported failed
	if diff := cmp.Diff(first, work); err != nil || diff != "" {
		t.Errorf("again: %v; work (-first +again):\n%s", err, diff)
	}
	elsewhere := a
	elsewhere.Claim = &ledger.Claim{Node: "n2", Lease: time.Minute}
	if work, err := s.Accept(t.Context(), elsewhere); err != nil || len(work) != 0 {
		t.Errorf("another node gets the first one's work: %v, %v", work, err)
	}
	if diff := cmp.Diff(before, story(t, s, a.Message.ID)); diff != "" {
		t.Errorf("accepting again changed the story (-before +after):\n%s", diff)
	}
	other := mail(1)
	other.Message.ID = a.Message.ID
	if _, err := s.Accept(t.Context(), other); err == nil {
		t.Error("another message with the same id was taken for the first")
	}
	if v := CheckLaws(t, s); v.Accepted != 2 {
		t.Errorf("sums: %+v", v.Sums)
	}
}

func testAcceptRefuses(t *testing.T, open Open) {
	s := must(t, open)
	tests := map[string]func(*ledger.Acceptance){
		"no id":                 func(a *ledger.Acceptance) { a.Message.ID = "" },
		"no authority":          func(a *ledger.Acceptance) { a.Message.Authority = "" },
		"no deliveries":         func(a *ledger.Acceptance) { a.Deliveries = nil },
		"no body":               func(a *ledger.Acceptance) { a.Bodies = nil },
		"a body it lacks":       func(a *ledger.Acceptance) { a.Deliveries[0].Body = 1 },
		"begins delivered":      func(a *ledger.Acceptance) { a.Deliveries[0].State = ledger.Delivered },
		"begins returned":       func(a *ledger.Acceptance) { a.Deliveries[0].State = ledger.Returned },
		"begins withdrawn":      func(a *ledger.Acceptance) { a.Deliveries[0].State = ledger.Withdrawn },
		"no state":              func(a *ledger.Acceptance) { a.Deliveries[0].State = "" },
		"discarded":             func(a *ledger.Acceptance) { a.Deliveries[0].State = "discarded" },
		"returning, not told":   func(a *ledger.Acceptance) { a.Deliveries[0].State = ledger.Returning },
		"no owner":              func(a *ledger.Acceptance) { a.Deliveries[0].Owner = "" },
		"no deadline":           func(a *ledger.Acceptance) { a.Deliveries[0].Deadline = time.Time{} },
		"queued without a lane": func(a *ledger.Acceptance) { a.Deliveries[0].Lane = "" },
		"a notice to two":       func(a *ledger.Acceptance) { a.Message.Kind = ledger.Notice },
		"told of what is not there": func(a *ledger.Acceptance) {
			n := notice(ledger.TellHeld)
			n.About = []int{2}
			a.Notices = []ledger.NewNotice{n}
		},
	}
	for name, spoil := range tests {
		a := mail(2)
		spoil(&a)
		if _, err := s.Accept(t.Context(), a); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := s.Story(t.Context(), a.Message.ID); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: something of it is there: %v", name, err)
		}
	}
	if v := CheckLaws(t, s); v.Accepted != 0 {
		t.Errorf("sums: %+v", v.Sums)
	}
}

// testAcceptClaims: accepting and claiming are one step; what is not due is not claimed.
func testAcceptClaims(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(5)
	a.Bodies = append(a.Bodies, []byte("sealed 1"))
	a.Deliveries[1].Body = 1
	a.Deliveries[2].Lane = "other"
	a.Deliveries[3].State = ledger.Held
	a.Deliveries[4].Due = start.Add(time.Minute)
	a.Claim = &ledger.Claim{Node: "n1", Lease: 10 * time.Minute}
	work, err := s.Accept(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if len(work) != 3 {
		t.Fatalf("claimed %+v, want three pieces", work)
	}
	for i, w := range work {
		d := w.Deliveries[0]
		if len(w.Deliveries) != 1 || w.Message.ID != a.Message.ID || d.Recipient.Shown != a.Deliveries[i].Recipient.Shown {
			t.Errorf("piece %d: %+v", i, w)
		}
		if d.Attempts != 1 || d.Node != "n1" || !d.Due.Equal(start.Add(10*time.Minute)) {
			t.Errorf("piece %d is not leased: %+v", i, d)
		}
		if diff := cmp.Diff(d, delivery(t, s, d.ID)); diff != "" {
			t.Errorf("piece %d (-work +ledger):\n%s", i, diff)
		}
	}
	if again := claim(t, s, start.Add(30*time.Second), "n2", "mx.borger.example"); len(again) != 0 {
		t.Errorf("claimed what is leased or not due: %+v", again)
	}
	apply(t, s, ended(work[0].Deliveries[0], ledger.Delivered, start.Add(time.Second)))
	CheckLaws(t, s)
}

// testGroup: what callers do at the same time shares commits, and one bad command spoils no other.
func testGroup(t *testing.T, open Open) {
	s := must(t, open)
	const callers, each = 16, 12
	failed := make(chan error, callers*each)
	done := make(chan struct{})
	for c := range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range each {
				a := mail(1)
				bad := (c+i)%5 == 0
				if bad {
					a.Deliveries[0].Lane = "" // only the engine's constraint sees it, after it has begun to write
				}
				a.Claim = &ledger.Claim{Node: "n1", Lease: time.Minute}
				work, err := s.Accept(t.Context(), a)
				if bad != (err != nil) {
					failed <- errors.Join(errors.New("accept"), err)
					continue
				}
				if bad {
					continue
				}
				d := work[0].Deliveries[0]
				fenced := ended(d, ledger.Delivered, start)
				fenced.Attempt.No++
				errs := s.Apply(t.Context(), fenced, ended(d, ledger.Delivered, start), ended(d, ledger.Delivered, start))
				if !errors.Is(errs[0], ledger.ErrFenced) || errs[1] != nil || !errors.Is(errs[2], ledger.ErrState) {
					failed <- errors.Join(append(errs, errors.New("apply"))...)
				}
			}
		}()
	}
	for range callers {
		<-done
	}
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	bad := 0
	for c := range callers {
		for i := range each {
			if (c+i)%5 == 0 {
				bad++
			}
		}
	}
	if v := CheckLaws(t, s); v.Accepted != int64(callers*each-bad) || v.Final != v.Accepted {
		t.Errorf("sums: %+v, want %d accepted and final", v.Sums, callers*each-bad)
	}
}

// testFind: by id, header, people, time, state and kind; newest first.
func testFind(t *testing.T, open Open) {
	s := must(t, open)
	var ids []ledger.MessageID
	for i := range 5 {
		a := mail(1)
		a.Message.AcceptedAt = start.Add(time.Duration(i) * time.Hour)
		a.Message.Sender.Shown = []string{"Anna@eksempel.example", "bente@skole.eksempel.example", "", "anna@eksempel.example", "carl@eksempel.example.net"}[i]
		a.Deliveries[0].Recipient.Shown = []string{"x@borger.example", "y@borger.example", "x@borger.example", "z@nabo.example", "Y@Nabo.example"}[i]
		if i == 4 {
			a.Deliveries[0].State = ledger.Held
		}
		ids = append(ids, accept(t, s, a).Message.ID)
	}
	apply(t, s, ended(claim(t, s, start.Add(9*time.Hour), "n1", "mx.borger.example")[0].Deliveries[0], ledger.Delivered, start.Add(9*time.Hour)))
	tests := []struct {
		name string
		q    ledger.Query
		want []int
	}{
		{"all", ledger.Query{}, []int{4, 3, 2, 1, 0}},
		{"limit", ledger.Query{Limit: 2}, []int{4, 3}},
		{"id", ledger.Query{ID: ids[2]}, []int{2}},
		{"prefix", ledger.Query{ID: ids[3][:12]}, []int{3}},
		{"too short", ledger.Query{ID: ids[3][:5]}, nil},
		{"header id", ledger.Query{HeaderID: "<" + string(ids[1]) + "@eksempel.example>"}, []int{1}},
		{"bare header id", ledger.Query{HeaderID: string(ids[1]) + "@eksempel.example"}, []int{1}},
		{"sender", ledger.Query{Sender: "anna@EKSEMPEL.example"}, []int{3, 0}},
		{"sender domain", ledger.Query{Sender: "@eksempel.example"}, []int{3, 0}},
		{"recipient", ledger.Query{Recipient: "x@borger.example"}, []int{2, 0}},
		{"recipient domain", ledger.Query{Recipient: "@nabo.example"}, []int{4, 3}},
		{"sender and recipient", ledger.Query{Sender: "anna@eksempel.example", Recipient: "@nabo.example"}, []int{3}},
		{"since", ledger.Query{Since: start.Add(3 * time.Hour)}, []int{4, 3}},
		{"until", ledger.Query{Until: start.Add(time.Hour)}, []int{0}},
		{"held", ledger.Query{States: []ledger.State{ledger.Held}}, []int{4}},
		{"delivered", ledger.Query{States: []ledger.State{ledger.Delivered}}, []int{0}},
		{"open", ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}}, []int{4, 3, 2, 1}},
		{"held or delivered", ledger.Query{States: []ledger.State{ledger.Held, ledger.Delivered}}, []int{4, 0}},
		{"kind", ledger.Query{Kind: ledger.Notice}, nil},
		{"nobody", ledger.Query{Sender: "nobody@eksempel.example"}, nil},
	}
	for _, test := range tests {
		got, err := s.Find(t.Context(), test.q)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var want []ledger.MessageID
		for _, i := range test.want {
			want = append(want, ids[i])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func testStory(t *testing.T, open Open) {
	s := must(t, open)
	if _, err := s.Story(t.Context(), ledger.NewMessageID()); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if _, err := s.Delivery(t.Context(), 4711); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a delivery that is not there: %v", err)
	}
	if _, err := s.Body(t.Context(), ledger.NewMessageID(), 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a body that is not there: %v", err)
	}
	a := mail(2)
	n := notice(ledger.TellRepaired)
	n.About = []int{0, 1}
	a.Notices = []ledger.NewNotice{n}
	a.Deliveries[0].Verdict.Action = policy.Repair
	st := accept(t, s, a)
	d := claim(t, s, start, "n1", "mx.borger.example")[0].Deliveries[1]
	c := ended(d, ledger.Delivered, start.Add(2*time.Second))
	apply(t, s, c)
	st = story(t, s, a.Message.ID)
	want := *c.Attempt
	want.Delivery = d.ID
	if diff := cmp.Diff([]ledger.Attempt{want}, st.Attempts); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	links := []ledger.NoticeLink{
		{Notice: n.Message.ID, About: st.Deliveries[0].ID, Subject: a.Message.ID, Tells: ledger.TellRepaired},
		{Notice: n.Message.ID, About: st.Deliveries[1].ID, Subject: a.Message.ID, Tells: ledger.TellRepaired},
	}
	if diff := cmp.Diff(links, st.Notices); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(links, story(t, s, n.Message.ID).Notices); diff != "" {
		t.Errorf("the notice's links (-want +got):\n%s", diff)
	}
	if told := st.Deliveries[0].Told; len(told) != 1 || told[0] != ledger.TellRepaired {
		t.Errorf("told: %v", told)
	}
	last := st.Events[len(st.Events)-1]
	if last.Kind != "delivered" || last.Delivery != d.ID || last.Message != a.Message.ID || last.Authority != a.Message.Authority || last.Detail != "delivered" {
		t.Errorf("event: %+v", last)
	}
	CheckLaws(t, s)
}
