package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// testChain: events are numbered without gaps, sealed or not yet, and the chain holds across openings.
func testChain(t *testing.T, open Open) {
	for round := range 3 {
		s, err := open(nil)
		if err != nil {
			t.Fatal(err)
		}
		a := mail(2)
		accept(t, s, a)
		CheckLaws(t, s) // nothing sealed yet in this round
		for range 2 {
			if err := s.Seal(t.Context(), start); err != nil {
				t.Fatal(err)
			}
		}
		other := mail(1)
		other.Message.Authority = "Anden Kommune"
		accept(t, s, other)
		sealed(t, s)
		if got := story(t, s, other.Message.ID).Events[0].Seq; got != int64(round+1) {
			t.Errorf("the other authority's event: number %d, want %d", got, round+1)
		}
		if err := s.Note(t.Context(), ledger.Event{Authority: "Eksempel Kommune", At: start, Kind: ledger.KindPolicy, By: "Anna", Detail: "p2"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Note(t.Context(), ledger.Event{Message: a.Message.ID, At: start, Kind: ledger.KindOpened, By: "Anna", Detail: "complaint 7"}); err != nil {
			t.Fatal(err)
		}
		if e := story(t, s, a.Message.ID).Events; e[len(e)-1].Kind != ledger.KindOpened { // sealed or not
			t.Errorf("round %d, before sealing: %+v", round, e)
		}
		sealed(t, s)
		events := story(t, s, a.Message.ID).Events
		if e := events[len(events)-1]; e.Kind != ledger.KindOpened || e.By != "Anna" || e.Detail != "complaint 7" || e.Seq != int64(round+1)*3 {
			t.Errorf("round %d: %+v", round, e)
		}
		CheckLaws(t, s)
		if err := s.Close(); err != nil { // seals
			t.Fatal(err)
		}
	}
	CheckLaws(t, must(t, open))
}

// sealed seals: an event need not have its number before.
func sealed(t *testing.T, s ledger.Store) {
	t.Helper()
	if err := s.Seal(t.Context(), start); err != nil {
		t.Fatal(err)
	}
}

func testFacts(t *testing.T, open Open) {
	s := must(t, open)
	if v, err := s.Get(t.Context(), "key id"); v != "" || err != nil {
		t.Errorf("never put: %q, %v", v, err)
	}
	for _, v := range []string{"one", "two"} {
		if err := s.Put(t.Context(), "key id", v); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), "key id"); got != v || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, v)
		}
	}
	if err := s.Note(t.Context(), ledger.Event{Message: ledger.NewMessageID(), Kind: ledger.KindOpened}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a note on a message that is not there: %v", err)
	}
	if err := s.Note(t.Context(), ledger.Event{Authority: "Eksempel Kommune"}); err == nil {
		t.Error("a note without a kind was taken")
	}
}

// testReseal: every sealed thing passes f once, with the id it is sealed for.
func testReseal(t *testing.T, open Open) {
	s := must(t, open)
	want := map[string]int{}
	for i := range 70 { // more than a batch
		a := mail(1)
		a.Bodies[0] = []byte("old body of " + a.Message.ID)
		if i%2 == 0 {
			a.Message.Sender.Sealed = []byte("old sender of " + a.Message.ID)
			a.Deliveries[0].Recipient.Sealed = []byte("old recipient of " + a.Message.ID)
			want[string(a.Message.ID)] = 2
		}
		want[string(a.Message.ID)]++
		accept(t, s, a)
	}
	got, total := map[string]int{}, 0
	for _, n := range want {
		total += n
	}
	reseal := func(id string, sealed []byte) ([]byte, error) {
		if !strings.HasSuffix(string(sealed), id) {
			t.Errorf("%q was given as sealed for %s", sealed, id)
		}
		if strings.HasPrefix(string(sealed), "new") {
			return nil, nil
		}
		got[id]++
		return append([]byte("new"), sealed[3:]...), nil
	}
	if n, err := s.Reseal(t.Context(), reseal); n != total || err != nil {
		t.Fatalf("resealed %d, %v, want %d", n, err, total)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n, err := s.Reseal(t.Context(), reseal); n != 0 || err != nil {
		t.Errorf("again: %d, %v, want 0", n, err)
	}
	for id := range want {
		if b, err := s.Body(t.Context(), ledger.MessageID(id), 0); err != nil || string(b) != "new body of "+id {
			t.Errorf("body: %q, %v", b, err)
		}
		if st := story(t, s, ledger.MessageID(id)); st.Message.Sender.Sealed != nil && string(st.Message.Sender.Sealed) != "new sender of "+id {
			t.Errorf("sender: %q", st.Message.Sender.Sealed)
		}
	}
	if _, err := s.Reseal(t.Context(), func(string, []byte) ([]byte, error) { return nil, errFault }); !errors.Is(err, errFault) {
		t.Errorf("a failing f: %v", err)
	}
	CheckLaws(t, s)
}

// testVerifyBodies: a body that cannot be opened is said, with its message.
func testVerifyBodies(t *testing.T, open Open) {
	s := must(t, open)
	a, b := mail(1), mail(2)
	accept(t, s, a)
	b.Deliveries[0].State = ledger.Held
	accept(t, s, b)
	v, err := s.Verify(t.Context(), func(id string, sealed []byte) ([]byte, error) {
		if id == string(b.Message.ID) {
			return nil, errFault
		}
		return sealed, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Bodies != "unreadable" || v.Chain != "ok" || v.Unaccounted != 0 || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], string(b.Message.ID)) {
		t.Errorf("got %+v", v)
	}
	CheckLaws(t, s)
}

// testCancelled: who no longer waits gets the context's error; the ledger stays whole whether it happened or not.
func testCancelled(t *testing.T, open Open) {
	s := must(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := mail(1)
	if _, err := s.Accept(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("accept: %v", err)
	}
	if errs := s.Apply(ctx, ledger.Change{Delivery: 1, From: ledger.Queued, To: ledger.Queued, At: start}); !errors.Is(errs[0], context.Canceled) {
		t.Errorf("apply: %v", errs)
	}
	accept(t, s, a)
	CheckLaws(t, s)
}

func testClosed(t *testing.T, open Open) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, s, mail(1))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	ctx := t.Context()
	tests := map[string]func() error{
		"accept":  func() error { _, err := s.Accept(ctx, mail(1)); return err },
		"claim":   func() error { _, err := s.Claim(ctx, start, ledger.Claim{Node: "n", Max: 1, Lease: 1}); return err },
		"lanes":   func() error { _, err := s.Lanes(ctx); return err },
		"body":    func() error { _, err := s.Body(ctx, "x", 0); return err },
		"apply":   func() error { return s.Apply(ctx, ledger.Change{Delivery: 1})[0] },
		"watch":   func() error { _, err := s.Watch(ctx, start, 1); return err },
		"recover": func() error { _, err := s.Recover(ctx, start, "n"); return err },
		"find":    func() error { _, err := s.Find(ctx, ledger.Query{}); return err },
		"story":   func() error { _, err := s.Story(ctx, "x"); return err },
		"sums":    func() error { _, err := s.Sums(ctx); return err },
		"seal":    func() error { return s.Seal(ctx, start) },
		"verify":  func() error { _, err := s.Verify(ctx, readable); return err },
		"note":    func() error { return s.Note(ctx, ledger.Event{Kind: "x", Authority: "x"}) },
		"get":     func() error { _, err := s.Get(ctx, "x"); return err },
		"put":     func() error { return s.Put(ctx, "x", "y") },
	}
	for name, f := range tests {
		if err := f(); !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("%s: got %v, want %v", name, err, ledger.ErrClosed)
		}
	}
}

// testFaults: each durable step fails once as not done and once as done, but reported failed; the caller asks again; then the
// ledger is opened anew and everything must stand as if nothing had happened.
func testFaults(t *testing.T, open Open) {
	for _, point := range []string{"begin", "commit-before", "commit-after"} {
		for n := int64(1); ; n++ {
			o := failOnce(point, n)
			s, err := open(o.fault)
			if err != nil {
				t.Fatalf("%s %d: open: %v", point, n, err)
			}
			livePatiently(t, s, fmt.Sprintf("%s %d", point, n))
			CheckLaws(t, s)
			if err := s.Close(); err != nil && !errors.Is(err, errFault) {
				t.Errorf("%s %d: close: %v", point, n, err)
			}
			again := must(t, open)
			CheckLaws(t, again)
			again.Close()
			if !o.hit.Load() {
				break
			}
		}
	}
}

// livePatiently leads one mail with two recipients to its end, the one delivered, the other returned; what fails by a fault
// is asked again, and the answers ErrState and ErrFenced then mean that it was done.
func livePatiently(t *testing.T, s ledger.Store, name string) {
	t.Helper()
	ctx := t.Context()
	try := func(f func() error) error {
		err := f()
		if errors.Is(err, errFault) {
			err = f()
		}
		return err
	}
	applyPatiently := func(c ledger.Change) {
		t.Helper()
		faulty := false
		err := try(func() error {
			err := s.Apply(ctx, c)[0]
			if faulty && (errors.Is(err, ledger.ErrState) || errors.Is(err, ledger.ErrFenced)) {
				return nil
			}
			faulty = errors.Is(err, errFault)
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := mail(2)
	if err := try(func() error { _, err := s.Accept(ctx, a); return err }); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	now := start
	work := func(lane string) []ledger.Claimed {
		t.Helper()
		for range 3 { // a claim that was done but reported failed is taken again when its lease has run out
			w, err := s.Claim(ctx, now, ledger.Claim{Node: "n1", Lane: lane, Max: 1, Lease: time.Minute})
			if err == nil && len(w) > 0 {
				return w
			}
			if err != nil && !errors.Is(err, errFault) {
				t.Errorf("%s: %v", name, err)
			}
			now = now.Add(time.Minute)
		}
		t.Fatalf("%s: no work in %s", name, lane)
		return nil
	}
	ds := work("mx.borger.example")[0].Deliveries
	applyPatiently(ended(ds[0], ledger.Delivered, now))
	c := ended(ds[1], ledger.Returning, now)
	n := notice(ledger.TellReturned)
	n.Delivery.Lane = string(n.Message.ID)
	c.Notices = []ledger.NewNotice{n}
	applyPatiently(c)
	applyPatiently(ended(work(n.Delivery.Lane)[0].Deliveries[0], ledger.Delivered, now))
	wantStates(t, s, a.Message.ID, "delivered returned")
}
