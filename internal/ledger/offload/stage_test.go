package offload

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/bucket/buckettest"
	"postvagt/internal/class"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/level"
	"postvagt/internal/policy"
	"postvagt/internal/spool"
)

// stage is a ledger with an object store, on a clock that a test turns.
type stage struct {
	*Store
	objects *buckettest.Memory
	keys    *spool.Keys
	later   atomic.Int64 // how far the clock is ahead of the machine's
	path    string
}

func (s *stage) clock() time.Time {
	return time.Now().Round(0).UTC().Add(time.Duration(s.later.Load()))
}

func (s *stage) pass(d time.Duration) { s.later.Add(int64(d)) }

func newStage(t testing.TB) *stage {
	t.Helper()
	s := closedStage(t)
	s.open(t, nil, Options{Bucket: s.objects, Write: true})
	return s
}

// closedStage is one whose ledger is not open yet.
func closedStage(t testing.TB) *stage {
	t.Helper()
	dir := t.TempDir()
	keys, err := spool.Create(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{objects: &buckettest.Memory{}, keys: keys, path: filepath.Join(dir, "ledger.db")}
	s.objects.Now = s.clock
	return s
}

// open opens the ledger, again with other options where it was open already.
func (s *stage) open(t testing.TB, fault func(string) error, o Options) {
	t.Helper()
	if s.Store != nil {
		s.Store.Close() // may fail by the last test's fault
	}
	engine, err := sqlite.Open(s.path, sqlite.Options{Exclusive: true, Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	o.now = s.clock
	s.Store = New(engine, o)
	t.Cleanup(func() { engine.Close() })
}

// mail is an acceptance with two bodies, sealed, one for each of two recipients.
func (s *stage) mail(t testing.TB) ledger.Acceptance {
	t.Helper()
	return s.mailWith(t, ledger.NewMessageID())
}

func (s *stage) mailWith(t testing.TB, id ledger.MessageID) ledger.Acceptance {
	t.Helper()
	a := ledger.Acceptance{Message: ledger.Message{ID: id, Authority: "Eksempel Kommune", Kind: ledger.Mail, Direction: policy.Outbound,
		Sender: ledger.Address{Shown: "anna@eksempel.example"}, Size: 8, AcceptedAt: s.clock()}}
	for i := range 2 {
		sealed, err := s.keys.Seal(string(id), plain(id, i))
		if err != nil {
			t.Fatal(err)
		}
		a.Bodies = append(a.Bodies, sealed)
		a.Deliveries = append(a.Deliveries, ledger.NewDelivery{Recipient: ledger.Address{Shown: fmt.Sprintf("bo%d@borger.example", i)}, State: ledger.Queued, Body: i,
			Verdict: policy.Verdict{Action: policy.Send, Class: class.Ordinary, Level: level.Encrypted, Policy: "p1"},
			Lane:    "mx.borger.example", Owner: "postmester@eksempel.example", Due: s.clock(), Deadline: s.clock().Add(100 * 24 * time.Hour)})
	}
	return a
}

func plain(id ledger.MessageID, body int) []byte { return fmt.Appendf(nil, "body %d of %s", body, id) }

func (s *stage) accept(t testing.TB) ledger.MessageID {
	t.Helper()
	a := s.mail(t)
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a.Message.ID
}

// end delivers all of a message.
func (s *stage) end(t testing.TB, id ledger.MessageID) {
	t.Helper()
	story, err := s.Story(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range story.Deliveries {
		c := ledger.Change{Delivery: d.ID, From: d.State, To: ledger.Withdrawn, At: s.clock(), Event: ledger.Event{By: "Anna", Detail: "told them"}}
		if err := s.Apply(t.Context(), c)[0]; err != nil {
			t.Fatal(err)
		}
	}
}

// readable checks that both bodies are what was accepted.
func (s *stage) readable(t testing.TB, id ledger.MessageID) {
	t.Helper()
	for i := range 2 {
		sealed, err := s.Body(t.Context(), id, i)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.keys.Open(string(id), sealed); err != nil || !bytes.Equal(got, plain(id, i)) {
			t.Fatalf("body %d of %s: got %q, %v", i, id, got, err)
		}
	}
}

func (s *stage) scrub(t testing.TB) Scrubbed {
	t.Helper()
	done, err := s.Scrub(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// settle lets the grace time pass, scrubs, and demands that the store then holds the bodies of open messages and no more, and
// that the laws hold.
func (s *stage) settle(t testing.TB) {
	t.Helper()
	s.pass(61 * time.Minute)
	s.scrub(t)
	ids, err := s.Find(t.Context(), ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{marker: true}
	for _, id := range ids {
		s.readable(t, id)
		for i := range 2 {
			held, err := s.Store.Store.Body(t.Context(), id, i)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := parseReference(held); err == nil {
				want[r.name.String()] = true
			}
		}
	}
	for _, name := range s.objects.Names() {
		if !want[name] {
			t.Errorf("%s is an orphan", name)
		}
		delete(want, name)
	}
	delete(want, marker) // there is none before the first body
	for name := range want {
		t.Errorf("%s was removed, but is needed", name)
	}
	s.lawful(t)
}

func (s *stage) lawful(t testing.TB) {
	t.Helper()
	v, err := s.Verify(t.Context(), s.keys.Open)
	if err != nil || v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

var errFault = errors.New("a fault of the test")

// nth fails the n-th time that one of the points is reached, once.
type nth struct {
	point string
	left  atomic.Int64
	hit   atomic.Bool
}

func failAt(point string, n int) *nth {
	f := &nth{point: point}
	f.left.Store(int64(n))
	return f
}

func (f *nth) engine(point string) error { return f.object(point, "") }

func (f *nth) object(point, _ string) error {
	if point == f.point && f.left.Add(-1) == 0 {
		f.hit.Store(true)
		return errFault
	}
	return nil
}

// always fails everything at the points.
func always(err error, points ...string) func(string, string) error {
	return func(point, _ string) error {
		for _, p := range points {
			if p == point {
				return err
			}
		}
		return nil
	}
}

// notice is a notice about a delivery of a message.
func (s *stage) notice(t testing.TB, tells ledger.TellKind) ledger.NewNotice {
	t.Helper()
	id := ledger.NewMessageID()
	sealed, err := s.keys.Seal(string(id), []byte("notice"))
	if err != nil {
		t.Fatal(err)
	}
	return ledger.NewNotice{Tells: tells, Message: ledger.Message{ID: id, Authority: "Eksempel Kommune", Kind: ledger.Notice, Size: 6, AcceptedAt: s.clock()}, Body: sealed,
		Delivery: ledger.NewDelivery{Recipient: ledger.Address{Shown: "anna@eksempel.example"}, State: ledger.Queued, Lane: "inside", Owner: "postmester@eksempel.example", Deadline: s.clock().Add(time.Hour)}}
}

// hasProblem demands one problem that holds the words.
func hasProblem(t testing.TB, v ledger.Verification, words string) {
	t.Helper()
	if v.Bodies != "unreadable" || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], words) {
		t.Errorf("got %+v, want one problem with %q", v, words)
	}
}
