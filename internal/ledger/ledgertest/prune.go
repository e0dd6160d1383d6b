package ledgertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
)

const (
	authority = "Eksempel Kommune"
	day       = 24 * time.Hour
)

// ExercisePruner runs the contract of ledger.Pruner on an engine that promises it.
func ExercisePruner(t *testing.T, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"details go", testDetailsGo},
		{"rows go", testRowsGo},
		{"classes", testPruneClasses},
		{"for ever", testPruneForEver},
		{"never what is open", testPruneOpen},
		{"notices live with what they tell of", testPruneNotices},
		{"late verdicts", testPruneLateVerdict},
		{"authorities apart", testPruneAuthorities},
		{"bounded", testPruneBounded},
		{"numbers are not given again", testPruneNumbers},
		{"whole batches go", testPruneBatches},
		{"faults", testPruneFaults},
		{"closed", testPruneClosed},
		{"random lives", testPruneRandom},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, fresh(t))
		})
	}
}

// all is a retention that treats every class alike.
func all(k ledger.Keep) ledger.Retention {
	return ledger.Retention{class.Ordinary: k, class.Confidential: k, class.Sensitive: k}
}

var thirtyAndYear = ledger.Keep{Details: 30 * day, Rows: 365 * day}

// prune asks again as long as there is more, and returns the sum.
func prune(t *testing.T, s ledger.Store, now time.Time, r ledger.Retention) (sum ledger.Pruned) {
	t.Helper()
	return pruneAuthority(t, s, now, authority, r)
}

func pruneAuthority(t *testing.T, s ledger.Store, now time.Time, authority string, r ledger.Retention) (sum ledger.Pruned) {
	t.Helper()
	p := s.(ledger.Pruner)
	would, err := p.WouldPrune(t.Context(), now, authority, r)
	if err != nil {
		t.Fatal(err)
	}
	for range 10000 {
		n, err := p.Prune(t.Context(), now, authority, r, 100)
		if err != nil {
			t.Fatal(err)
		}
		sum.Details, sum.Rows = sum.Details+n.Details, sum.Rows+n.Rows
		if !n.More {
			if sum != would {
				t.Errorf("pruned %+v, but would have pruned %+v", sum, would)
			}
			return sum
		}
	}
	t.Fatal("there is always more")
	return sum
}

func wantPruned(t *testing.T, s ledger.Store, now time.Time, r ledger.Retention, details, rows int) {
	t.Helper()
	if got := prune(t, s, now, r); got.Details != details || got.Rows != rows {
		t.Errorf("pruned %d details and %d rows, want %d and %d", got.Details, got.Rows, details, rows)
	}
	CheckLaws(t, s)
}

// finished accepts mail and delivers it at once, a second after start.
func finished(t *testing.T, s ledger.Store, a ledger.Acceptance) ledger.Story {
	t.Helper()
	lane := "lane of " + string(a.Message.ID)
	for i := range a.Deliveries {
		a.Deliveries[i].Lane = lane
	}
	accept(t, s, a)
	at := a.Message.AcceptedAt.Add(time.Second)
	for _, c := range claim(t, s, at, "n1", lane) {
		for _, d := range c.Deliveries {
			apply(t, s, ended(d, ledger.Delivered, at))
		}
	}
	return story(t, s, a.Message.ID)
}

// another keeps the newest number busy, so that what the test is about is not the newest.
func another(t *testing.T, s ledger.Store) { t.Helper(); accept(t, s, mail(1)) }

// wantGone looks for the message's rows.
func wantGone(t *testing.T, s ledger.Store, ids ...ledger.MessageID) {
	t.Helper()
	for _, id := range ids {
		if _, err := s.Story(t.Context(), id); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s is still there: %v", id, err)
		}
		if found, err := s.Find(t.Context(), ledger.Query{ID: id}); err != nil || len(found) != 0 {
			t.Errorf("%s is still found: %v, %v", id, found, err)
		}
	}
}

// wantStage demands what is left: "whole", "erased" or "gone".
func wantStage(t *testing.T, s ledger.Store, id ledger.MessageID, want string) {
	t.Helper()
	st, err := s.Story(t.Context(), id)
	got := "whole"
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		got = "gone"
	case err != nil:
		t.Fatal(err)
	case !st.Message.ErasedAt.IsZero():
		got = "erased"
	}
	if got != want {
		t.Errorf("%s is %s, want %s", id, got, want)
	}
}

// personal is everything in the acceptances of this suite that tells of a person.
var personal = []string{"anna", "Anna", "bo0", "bo1", "borger.example", "eksempel.example", "192.0.2.7", "QQ314159", "bogholderi", "010170", "sealed", "postmester", "complaint", "mailbox of"}

// testDetailsGo: nothing of a person is left, and what is evidence stays.
func testDetailsGo(t *testing.T, open Open) {
	s := must(t, open)
	a := mail(3)
	a.Message.Sender = ledger.Address{Shown: "010170-••••@eksempel.example", Sealed: []byte("sealed sender")}
	a.Deliveries[0].Recipient.Sealed = []byte("sealed recipient")
	a.Deliveries[2].State = ledger.Held
	n := notice(ledger.TellRepaired)
	n.About, n.Delivery.Lane = []int{0}, "mx.borger.example"
	a.Notices = []ledger.NewNotice{n}
	st := accept(t, s, a)
	for _, c := range claim(t, s, start.Add(time.Second), "n1", "mx.borger.example") {
		for _, d := range c.Deliveries {
			ch := ended(d, ledger.Delivered, start.Add(time.Second))
			ch.Attempt.Text, ch.Event.Detail = "the mailbox of bo0@borger.example", "delivered to bo0@borger.example"
			apply(t, s, ch)
		}
	}
	apply(t, s, ledger.Change{Delivery: st.Deliveries[2].ID, From: ledger.Held, To: ledger.Withdrawn, At: start.Add(time.Hour), Event: ledger.Event{By: "Anna", Detail: "complaint of anna"}})
	if err := s.Note(t.Context(), ledger.Event{Message: a.Message.ID, At: start.Add(2 * time.Hour), Kind: ledger.KindOpened, By: "Anna", Detail: "complaint 7"}); err != nil {
		t.Fatal(err)
	}
	another(t, s)
	if err := s.Seal(t.Context(), start); err != nil { // so that all events have their numbers
		t.Fatal(err)
	}
	before := story(t, s, a.Message.ID)
	now := start.Add(30*day + time.Hour)
	wantPruned(t, s, now.Add(-time.Microsecond), all(thirtyAndYear), 0, 0)
	sums := CheckLaws(t, s).Sums
	wantPruned(t, s, now, all(thirtyAndYear), 2, 0)
	wantPruned(t, s, now, all(thirtyAndYear), 0, 0)

	for _, st := range []ledger.Story{story(t, s, a.Message.ID), story(t, s, n.Message.ID)} {
		if text := words(t, st); !st.Message.ErasedAt.Equal(now) {
			t.Errorf("erased at %v, want %v", st.Message.ErasedAt, now)
		} else {
			for _, p := range personal {
				if strings.Contains(text, p) {
					t.Errorf("%q is left in\n%s", p, text)
				}
			}
		}
	}
	after := story(t, s, a.Message.ID)
	for i, d := range after.Deliveries {
		b := before.Deliveries[i]
		if d.ID != b.ID || d.State != b.State || d.Verdict != b.Verdict || !d.EndedAt.Equal(b.EndedAt) || fmt.Sprint(d.Told) != fmt.Sprint(b.Told) || d.Attempts != b.Attempts {
			t.Errorf("delivery %d: got %+v, had %+v", i, d, b)
		}
	}
	for i, at := range after.Attempts {
		b := before.Attempts[i]
		if b.Text = ""; fmt.Sprint(at) != fmt.Sprint(b) {
			t.Errorf("attempt %d: got %+v, want %+v", i, at, b)
		}
	}
	for i, e := range after.Events {
		b := before.Events[i]
		if b.By, b.Detail = "", ""; e != b {
			t.Errorf("event %d: got %+v, want %+v", i, e, b)
		}
	}
	if len(after.Events) != len(before.Events) || len(after.Attempts) != len(before.Attempts) || len(after.Notices) != len(before.Notices) {
		t.Errorf("something is missing: %+v", after)
	}
	for _, q := range []ledger.Query{{Sender: "anna@eksempel.example"}, {Sender: "@eksempel.example"}, {Recipient: "bo0@borger.example"}, {HeaderID: a.Message.HeaderID}} {
		found, err := s.Find(t.Context(), q)
		if err != nil || slices.Contains(found, a.Message.ID) {
			t.Errorf("it is still found by %+v: %v", q, err)
		}
	}
	if v := CheckLaws(t, s); fmt.Sprint(v.Sums) != fmt.Sprint(sums) || v.Pruned != 0 {
		t.Errorf("sums: %+v, were %+v", v, sums)
	}
	proofs, err := s.(ledger.Pruner).Proofs(t.Context(), authority)
	if err != nil || len(proofs) != 1 || proofs[0].Messages != 2 || proofs[0].Stage != ledger.Details || proofs[0].Class != class.Confidential || !proofs[0].Until.Equal(start.Add(time.Hour)) || !proofs[0].At.Equal(now) {
		t.Errorf("proofs: %+v, %v", proofs, err)
	}
}

// words is all that a story says, but ids.
func words(t *testing.T, st ledger.Story) string {
	t.Helper()
	st.Message.Authority = ""
	st.Events = slices.Clone(st.Events)
	for i := range st.Events {
		st.Events[i].Authority = ""
	}
	b, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range st.Attempts {
		b = append(b, a.Receipt...)
	}
	return string(b)
}

// testRowsGo: the message is gone, its count and its hashes stay, and the proof says what went.
func testRowsGo(t *testing.T, open Open) {
	s := must(t, open)
	var ids []ledger.MessageID
	for range 3 {
		ids = append(ids, finished(t, s, mail(2)).Message.ID)
	}
	another(t, s)
	v := CheckLaws(t, s)
	wantPruned(t, s, start.Add(366*day), all(thirtyAndYear), 3, 3)
	wantGone(t, s, ids...)
	after := CheckLaws(t, s)
	if fmt.Sprint(v.Sums) != fmt.Sprint(after.Sums) || after.Pruned != 6 {
		t.Errorf("sums: %+v, were %+v", after, v)
	}
	proofs, err := s.(ledger.Pruner).Proofs(t.Context(), authority)
	if err != nil || len(proofs) != 2 {
		t.Fatalf("proofs: %+v, %v", proofs, err)
	}
	p := proofs[1]
	if p.Stage != ledger.Rows || p.Messages != 3 || p.Deliveries[ledger.Delivered] != 6 || p.Events != 9 || !p.Until.Equal(start.Add(time.Second)) {
		t.Errorf("proof: %+v", p)
	}
	if err := s.Seal(t.Context(), start.Add(366*day)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = must(t, open)
	CheckLaws(t, s)
	wantPruned(t, s, start.Add(366*day), all(thirtyAndYear), 0, 0)
}

// testPruneClasses: each class by its own times, details before rows, and the highest class of a message counts.
func testPruneClasses(t *testing.T, open Open) {
	s := must(t, open)
	r := ledger.Retention{
		class.Ordinary:     {Details: 10 * day, Rows: 20 * day},
		class.Confidential: {Rows: 15 * day},                    // details go with the rows at the latest
		class.Sensitive:    {Details: 40 * day, Rows: 30 * day}, // the same
	}
	id := map[class.Class]ledger.MessageID{}
	for _, c := range class.All {
		a := mail(2)
		a.Deliveries[1].Verdict.Class = c // and the other is lower or alike
		a.Deliveries[0].Verdict.Class = class.Ordinary
		id[c] = finished(t, s, a).Message.ID
	}
	another(t, s)
	at := start.Add(time.Second)
	for _, step := range []struct {
		now                               time.Duration
		ordinary, confidential, sensitive string
	}{
		{10*day - 1000, "whole", "whole", "whole"},
		{10 * day, "erased", "whole", "whole"},
		{15*day - 1000, "erased", "whole", "whole"},
		{15 * day, "erased", "gone", "whole"},
		{20 * day, "gone", "gone", "whole"},
		{30*day - 1000, "gone", "gone", "whole"},
		{30 * day, "gone", "gone", "gone"},
	} {
		prune(t, s, at.Add(step.now), r)
		wantStage(t, s, id[class.Ordinary], step.ordinary)
		wantStage(t, s, id[class.Confidential], step.confidential)
		wantStage(t, s, id[class.Sensitive], step.sensitive)
		CheckLaws(t, s)
	}
}

// testPruneForEver: what no time is given for stays.
func testPruneForEver(t *testing.T, open Open) {
	s := must(t, open)
	st := finished(t, s, mail(1))
	another(t, s)
	for _, r := range []ledger.Retention{nil, {}, all(ledger.Keep{}), {class.Ordinary: {Details: day, Rows: day}, class.Sensitive: {Details: day, Rows: day}}} {
		wantPruned(t, s, start.Add(9000*day), r, 0, 0)
	}
	wantPruned(t, s, start.Add(9000*day), all(ledger.Keep{Details: day}), 1, 0)
	wantStage(t, s, st.Message.ID, "erased")
	if _, err := s.(ledger.Pruner).Prune(t.Context(), start, authority, nil, 0); err == nil {
		t.Error("max 0 was not refused")
	}
	if n, err := s.(ledger.Pruner).Prune(t.Context(), start, "Ukendt Kommune", all(thirtyAndYear), 9); err != nil || n != (ledger.Pruned{}) {
		t.Errorf("an unknown authority: %+v, %v", n, err)
	}
}

// testPruneOpen: an open delivery keeps its message, its notices and what they tell of, however old; when it ends, its time begins.
func testPruneOpen(t *testing.T, open Open) {
	s := must(t, open)
	r := all(ledger.Keep{Details: day, Rows: 2 * day})
	held := mail(2)
	held.Deliveries[1].State = ledger.Held
	told := mail(1) // delivered, but an open notice tells of it
	n := notice(ledger.TellRepaired)
	n.About = []int{0}
	told.Notices = []ledger.NewNotice{n}
	returning := mail(1)
	returning.Deliveries[0].State = ledger.Returning
	rn := notice(ledger.TellReturned)
	rn.About = []int{0}
	returning.Notices = []ledger.NewNotice{rn}
	finishedFirst := func(a ledger.Acceptance) ledger.Story {
		st := accept(t, s, a)
		apply(t, s, ended(claimOne(t, s, start, "n1", a.Deliveries[0].Lane), ledger.Delivered, start))
		return st
	}
	heldSt := finishedFirst(held)
	finishedFirst(told)
	accept(t, s, returning)
	another(t, s)
	wantPruned(t, s, start.Add(900*day), r, 0, 0)
	for _, id := range []ledger.MessageID{held.Message.ID, told.Message.ID, n.Message.ID, returning.Message.ID, rn.Message.ID} {
		wantStage(t, s, id, "whole")
	}
	end := start.Add(1000 * day)
	apply(t, s, ledger.Change{Delivery: heldSt.Deliveries[1].ID, From: ledger.Held, To: ledger.Withdrawn, At: end, Event: ledger.Event{By: "Anna"}})
	for _, c := range claim(t, s, end, "n1", "inside") {
		apply(t, s, ended(c.Deliveries[0], ledger.Delivered, end))
	}
	wantPruned(t, s, end.Add(day-1000), r, 1, 1) // only the mail that was delivered long ago and is told of now
	wantStage(t, s, told.Message.ID, "gone")
	wantPruned(t, s, end.Add(day), r, 4, 0)
	wantPruned(t, s, end.Add(2*day), r, 0, 4)
}

// testPruneNotices: a notice stays as long as anything it tells of.
func testPruneNotices(t *testing.T, open Open) {
	s := must(t, open)
	r := ledger.Retention{class.Ordinary: {Details: day, Rows: day}, class.Sensitive: {Details: 10 * day, Rows: 20 * day}}
	a := mail(1)
	a.Deliveries[0].Verdict.Class = class.Sensitive
	a.Deliveries[0].State = ledger.Returning
	n := notice(ledger.TellReturned)
	n.About, n.Delivery.Verdict.Class = []int{0}, class.Ordinary
	a.Notices = []ledger.NewNotice{n}
	st := accept(t, s, a)
	apply(t, s, ended(claimOne(t, s, start, "n1", "inside"), ledger.Delivered, start))
	wantStates(t, s, a.Message.ID, "returned")
	plain := mail(1)
	plain.Deliveries[0].Verdict.Class = class.Ordinary
	plain.Message.AcceptedAt = start
	plainSt := finished(t, s, plain)
	another(t, s)
	wantPruned(t, s, start.Add(5*day), r, 1, 1)
	wantGone(t, s, plainSt.Message.ID)
	wantStage(t, s, a.Message.ID, "whole")
	wantStage(t, s, n.Message.ID, "whole")
	wantPruned(t, s, start.Add(10*day), r, 2, 0)
	wantPruned(t, s, start.Add(20*day), r, 0, 2)
	wantGone(t, s, st.Message.ID, n.Message.ID)
	p, err := s.(ledger.Pruner).Proofs(t.Context(), authority)
	if err != nil || len(p) != 4 || p[3].Class != class.Sensitive || p[3].Deliveries[ledger.Returned] != 1 {
		t.Errorf("proofs: %+v, %v", p, err)
	}
}

// testPruneLateVerdict: a class that a person changes late is the one that counts, also when retention looked before.
func testPruneLateVerdict(t *testing.T, open Open) {
	s := must(t, open)
	r := ledger.Retention{class.Ordinary: {Details: day, Rows: day}, class.Confidential: {Details: 2 * day, Rows: 2 * day}}
	a := mail(1)
	a.Deliveries[0].State, a.Deliveries[0].Verdict.Class = ledger.Held, class.Ordinary
	st := accept(t, s, a)
	another(t, s)
	end := start.Add(50 * day)
	wantPruned(t, s, end, r, 0, 0)
	v := st.Deliveries[0].Verdict
	v.Class, v.Level = class.Confidential, level.Verified
	apply(t, s, ledger.Change{Delivery: st.Deliveries[0].ID, From: ledger.Held, To: ledger.Queued, At: end, Due: end, Deadline: end.Add(day), Lane: "late", Verdict: &v, Event: ledger.Event{By: "Anna"}})
	apply(t, s, ended(claimOne(t, s, end, "n1", "late"), ledger.Delivered, end))
	wantPruned(t, s, end.Add(2*day-1000), r, 0, 0)
	wantPruned(t, s, end.Add(2*day), r, 1, 1)
}

// testPruneAuthorities: one authority's retention is no other's.
func testPruneAuthorities(t *testing.T, open Open) {
	s := must(t, open)
	other := mail(1)
	other.Message.Authority = "Anden Kommune"
	mine, theirs := finished(t, s, mail(1)).Message.ID, finished(t, s, other).Message.ID
	another(t, s)
	other = mail(1)
	other.Message.Authority = "Anden Kommune"
	accept(t, s, other)
	wantPruned(t, s, start.Add(366*day), all(thirtyAndYear), 1, 1)
	wantStage(t, s, theirs, "whole")
	wantGone(t, s, mine)
	if p, err := s.(ledger.Pruner).Proofs(t.Context(), "Anden Kommune"); err != nil || len(p) != 0 {
		t.Errorf("the other authority has proofs: %+v, %v", p, err)
	}
	pruneAuthority(t, s, start.Add(366*day), "Anden Kommune", all(thirtyAndYear))
	wantGone(t, s, theirs)
	CheckLaws(t, s)
}

// testPruneBounded: at most max of each stage at a time, and each message once.
func testPruneBounded(t *testing.T, open Open) {
	s := must(t, open)
	for range 25 {
		finished(t, s, mail(1))
	}
	another(t, s)
	p, now := s.(ledger.Pruner), start.Add(366*day)
	details, rows := 0, 0
	for round := 0; ; round++ {
		n, err := p.Prune(t.Context(), now, authority, all(thirtyAndYear), 10)
		if err != nil || n.Details > 10 || n.Rows > 10 || round > 20 {
			t.Fatalf("round %d: %+v, %v", round, n, err)
		}
		details, rows = details+n.Details, rows+n.Rows
		if rows > details {
			t.Errorf("rows before details: %d, %d", rows, details)
		}
		CheckLaws(t, s)
		if !n.More {
			break
		}
	}
	if details != 25 || rows != 25 {
		t.Errorf("pruned %d details and %d rows, want 25", details, rows)
	}
}

// testPruneNumbers: no number and no id is used twice, also when everything else is gone.
func testPruneNumbers(t *testing.T, open Open) {
	s := must(t, open)
	seen := map[ledger.DeliveryID]bool{}
	now := start
	for range 6 {
		a := mail(2)
		a.Message.AcceptedAt = now
		for i := range a.Deliveries {
			a.Deliveries[i].Due, a.Deliveries[i].Deadline = now, now.Add(day)
		}
		for _, d := range finished(t, s, a).Deliveries {
			if seen[d.ID] {
				t.Errorf("delivery number %d was given twice", d.ID)
			}
			seen[d.ID] = true
		}
		now = now.Add(400 * day)
		prune(t, s, now, all(thirtyAndYear))
		CheckLaws(t, s)
	}
	left, err := s.Find(t.Context(), ledger.Query{})
	if err != nil || len(left) > 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// testPruneBatches: whether a seal keeps some of its events or none, the chain is followed, and goes on.
func testPruneBatches(t *testing.T, open Open) {
	s := must(t, open)
	r := ledger.Retention{class.Ordinary: {Details: day, Rows: day}}
	for i := range 12 {
		a := mail(1)
		a.Deliveries[0].Verdict.Class = class.Ordinary
		if i%4 == 0 {
			a.Deliveries[0].Verdict.Class = class.Sensitive // kept
		}
		finished(t, s, a)
		if i%2 == 1 { // batches of ordinary mail only, and mixed ones
			if err := s.Seal(t.Context(), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	another(t, s)
	wantPruned(t, s, start.Add(9*day), r, 9, 9)
	finished(t, s, mail(1))
	if err := s.Seal(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	CheckLaws(t, s)
}

// testPruneFaults: each durable step of each round fails once as not done and once as done, but reported failed.
func testPruneFaults(t *testing.T, open Open) {
	total := 0
	for _, point := range []string{"begin", "commit-before", "commit-after"} {
		for n := int64(1); ; n++ {
			s := must(t, open)
			for range 5 {
				finished(t, s, mail(1))
				total++
			}
			another(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			o := failOnce(point, n)
			s, err := open(o.fault)
			if err != nil {
				t.Fatal(err)
			}
			for more, rounds := true, 0; more || o.hit.Load() && rounds < 30; rounds++ {
				got, err := s.(ledger.Pruner).Prune(t.Context(), start.Add(366*day), authority, all(thirtyAndYear), 2)
				if err != nil && !errors.Is(err, errFault) || rounds > 40 {
					t.Fatalf("%s %d: round %d: %v", point, n, rounds, err)
				}
				more = got.More || err != nil
				CheckLaws(t, s)
			}
			if v := CheckLaws(t, s); v.Pruned != int64(total) {
				t.Errorf("%s %d: %d deliveries are pruned, want %d", point, n, v.Pruned, total)
			}
			if err := s.Close(); err != nil && !errors.Is(err, errFault) {
				t.Errorf("close: %v", err)
			}
			if !o.hit.Load() {
				break
			}
		}
	}
}

func testPruneClosed(t *testing.T, open Open) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	finished(t, s, mail(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := s.(ledger.Pruner)
	_, err1 := p.Prune(t.Context(), start.Add(999*day), authority, all(thirtyAndYear), 9)
	_, err2 := p.WouldPrune(t.Context(), start, authority, nil)
	_, err3 := p.Proofs(t.Context(), authority)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("got %v, want %v", err, ledger.ErrClosed)
		}
	}
}

// testPruneRandom lets chance live and prune, with faults and openings in between. After each round of pruning it compares
// with what the stories before it allowed: neither more nor less is gone.
func testPruneRandom(t *testing.T, open Open) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ledger.seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	w := &world{t: t, r: r, now: start, delivered: map[ledger.DeliveryID]ledger.State{}}
	w.open(open)
	defer func() { w.s.Close() }()
	for step := range 400 {
		w.step(open)
		if r.IntN(30) == 0 {
			w.prune()
		}
		if step%100 == 99 {
			w.check()
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
}

// prune prunes to the end, by a retention of chance, and looks at what is left of each message.
func (w *world) prune() {
	r := ledger.Retention{}
	for _, c := range class.All {
		r[c] = ledger.Keep{Details: time.Duration(w.r.IntN(60)) * time.Minute, Rows: time.Duration(w.r.IntN(90)) * time.Minute}
	}
	before := w.stories()
	for rounds := 0; ; rounds++ {
		n, err := w.s.(ledger.Pruner).Prune(w.t.Context(), w.now, authority, r, 1+w.r.IntN(9))
		if err != nil && !errors.Is(err, errFault) || rounds > 5000 {
			w.t.Fatalf("round %d: %v", rounds, err)
		}
		if err == nil && !n.More {
			break
		}
	}
	newest := ledger.DeliveryID(0)
	for _, st := range before {
		for _, d := range st.Deliveries {
			newest = max(newest, d.ID)
		}
	}
	after := w.stories()
	for id, st := range before {
		last := slices.ContainsFunc(st.Deliveries, func(d ledger.Delivery) bool { return d.ID == newest })
		got, there := after[id]
		_, rows := mayGo(before, id, ledger.Rows, r, w.now)
		if !last && there == rows || last && !there && !rows {
			w.t.Errorf("%s: its rows are there: %v; they may go: %v; %+v", id, there, rows, st)
		}
		whole := st.Message.ErasedAt.IsZero()
		may, must := mayGo(before, id, ledger.Details, r, w.now)
		if there && (got.Message.ErasedAt.IsZero() && must || !got.Message.ErasedAt.IsZero() && whole && !may) {
			w.t.Errorf("%s: its details went at %v; they may go: %v, must: %v; %+v", id, got.Message.ErasedAt, may, must, st)
		}
	}
	w.all = slices.DeleteFunc(w.all, func(id ledger.MessageID) bool { _, there := after[id]; return !there })
	w.held = slices.DeleteFunc(w.held, func(d ledger.Delivery) bool { _, there := after[d.Message]; return !there })
	CheckLaws(w.t, w.s)
}

func (w *world) stories() map[ledger.MessageID]ledger.Story {
	ids, err := w.s.Find(w.t.Context(), ledger.Query{Limit: 1_000_000})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[ledger.MessageID]ledger.Story{}
	for _, id := range ids {
		all[id] = story(w.t, w.s, id)
	}
	return all
}

// mayGo is the contract of Prune in other words: of what a story tells, may or must the stage take it? They differ where what a notice
// tells of goes in the meantime, and its class with it.
func mayGo(all map[ledger.MessageID]ledger.Story, id ledger.MessageID, s ledger.Stage, r ledger.Retention, now time.Time) (may, must bool) {
	st := all[id]
	own, final := class.Ordinary, time.Time{}
	for _, d := range st.Deliveries {
		if !d.State.Final() {
			return false, false
		}
		own = max(own, d.Verdict.Class)
		if d.EndedAt.After(final) {
			final = d.EndedAt
		}
	}
	before, after := own, own // the class as long as all it tells of is there, and in the end
	may, must = true, true
	for _, n := range all { // a notice about it must have ended; the story of a notice need not list those
		about := slices.ContainsFunc(n.Notices, func(l ledger.NoticeLink) bool { return l.Subject == id && l.Notice == n.Message.ID })
		if about && !n.Deliveries[0].State.Final() {
			return false, false
		}
	}
	for _, l := range st.Notices {
		if l.Notice != id { // it is told of, and does not tell
			continue
		}
		about := all[l.Subject]
		_, gone := mayGo(all, l.Subject, ledger.Rows, r, now)
		erasedPerhaps, erased := mayGo(all, l.Subject, ledger.Details, r, now)
		if s == ledger.Rows && !gone {
			return false, false
		}
		may = may && (erasedPerhaps || !about.Message.ErasedAt.IsZero())
		must = must && (erased || !about.Message.ErasedAt.IsZero())
		for _, d := range about.Deliveries {
			if !d.State.Final() {
				return false, false
			}
			before = max(before, d.Verdict.Class)
			if !gone {
				after = max(after, d.Verdict.Class)
			}
		}
	}
	due := func(c class.Class) bool {
		keep := r[c].After(s)
		return keep > 0 && !final.After(now.Add(-keep))
	}
	if s == ledger.Rows { // the details have gone by then
		return due(after), due(after)
	}
	return may && (due(before) || due(after)), must && due(after)
}
