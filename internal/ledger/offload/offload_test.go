package offload

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postvagt/internal/bucket"
	"postvagt/internal/bucket/buckettest"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/spool"
)

// TestLedger: the whole contract of the ledger holds with bodies in an object store.
func TestLedger(t *testing.T) {
	ledgertest.Exercise(t, func(t *testing.T) ledgertest.Open {
		path, objects := filepath.Join(t.TempDir(), "ledger.db"), &buckettest.Memory{}
		return func(fault func(string) error) (ledger.Store, error) {
			engine, err := sqlite.Open(path, sqlite.Options{Exclusive: true, Fault: fault})
			if err != nil {
				return nil, err
			}
			return New(engine, Options{Bucket: objects, Write: true}).Ledger(), nil
		}
	})
}

// TestLedgerOnServer: and over a real server, accept, deliver, reseal, verify and scrub do what they do in memory.
func TestLedgerOnServer(t *testing.T) {
	server := buckettest.Start(t)
	objects, err := bucket.Open(server.Options)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	s.open(t, nil, Options{Bucket: objects, Write: true})
	id, gone := s.accept(t), s.accept(t)
	s.readable(t, id)
	if n, err := s.Reseal(t.Context(), s.reseal(t)); n != 4 || err != nil {
		t.Errorf("resealed %d, %v, want 4", n, err)
	}
	s.readable(t, id)
	s.end(t, gone)
	s.pass(2 * time.Hour)
	if done := s.scrub(t); done != (Scrubbed{Seen: 9, Removed: 6}) {
		t.Errorf("scrubbed %+v, want 6 of 8 bodies and the marker removed", done)
	}
	s.readable(t, id)
	s.lawful(t)
	server.Kill()
	if _, err := s.Accept(t.Context(), s.mail(t)); err == nil || !strings.Contains(err.Error(), server.Options.Endpoint) {
		t.Errorf("the store is away: accept: %v", err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	s.readable(t, s.accept(t))
}

// reseal is what a rotation of keys does.
func (s *stage) reseal(t *testing.T) func(string, []byte) ([]byte, error) {
	t.Helper()
	fresh, err := spool.Rotate(filepath.Join(filepath.Dir(s.path), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s.keys = fresh
	return func(id string, sealed []byte) ([]byte, error) {
		if spool.SealedBy(sealed) == fresh.Newest() {
			return nil, nil
		}
		text, err := fresh.Open(id, sealed)
		if err != nil {
			return nil, err
		}
		return fresh.Seal(id, text)
	}
}

// TestWhere: bodies of mail lie in the store, in no form that it could read; notices and small facts in the ledger.
func TestWhere(t *testing.T) {
	s := newStage(t)
	a := s.mail(t)
	n := s.notice(t, ledger.TellHeld)
	n.About = []int{0}
	a.Notices = []ledger.NewNotice{n}
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	names := s.objects.Names()
	if len(names) != 3 || names[2] != marker {
		t.Fatalf("objects %q, want two bodies and the marker", names)
	}
	for i, name := range names[:2] {
		if !strings.HasPrefix(name, string(a.Message.ID)+"/") {
			t.Errorf("object %s is not below its message", name)
		}
		data, err := s.objects.Get(t.Context(), name, 1<<20)
		if err != nil || !bytes.Equal(data, a.Bodies[i]) {
			t.Errorf("object %s is not the sealed body: %v", name, err)
		}
		held, err := s.Store.Store.Body(t.Context(), a.Message.ID, i)
		if err != nil || !isReference(held) || len(held) != headSize+nameSize {
			t.Errorf("the ledger holds %q, %v", held, err)
		}
	}
	s.objects.Fault = always(errFault, "get")
	if b, err := s.Body(t.Context(), n.Message.ID, 0); err != nil || !bytes.Equal(b, n.Body) {
		t.Errorf("a notice cannot be read while the store is away: %v", err)
	}
}

// TestAway: nothing is accepted that could not be stored, and nothing of it is in the ledger.
func TestAway(t *testing.T) {
	s := newStage(t)
	for _, point := range []string{"put", "put-done"} {
		s.objects.Fault = always(errFault, point)
		a := s.mail(t)
		if _, err := s.Accept(t.Context(), a); !errors.Is(err, errFault) {
			t.Errorf("%s: accept: %v", point, err)
		}
		if _, err := s.Story(t.Context(), a.Message.ID); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: story: %v, want %v", point, err, ledger.ErrNotFound)
		}
	}
	s.objects.Fault = nil
	sums, err := s.Sums(t.Context())
	if err != nil || sums.Accepted != 0 {
		t.Errorf("sums %+v, %v", sums, err)
	}
	s.settle(t)
}

// TestLies: what the store gives back is the mail, or an error.
func TestLies(t *testing.T) {
	for what, change := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(b, 0) },
		"empty":     func([]byte) []byte { return nil },
		"changed":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		s := newStage(t)
		id := s.accept(t)
		name := s.objects.Names()[0]
		s.objects.Damage(name, change)
		if b, err := s.Body(t.Context(), id, 0); b != nil || err == nil {
			t.Errorf("%s: got %d bytes, %v", what, len(b), err)
		} else if what != "longer" && !errors.Is(err, ErrWrong) {
			t.Errorf("%s: got %v, want %v", what, err, ErrWrong)
		}
		v, err := s.Verify(t.Context(), s.keys.Open)
		if err != nil {
			t.Fatal(err)
		}
		if what == "longer" {
			continue // the store in memory refuses, as if it were away
		}
		hasProblem(t, v, string(id))
	}
}

// TestMissing: an object that is gone is said with its message, and is not taken for a body that was dropped.
func TestMissing(t *testing.T) {
	s := newStage(t)
	id := s.accept(t)
	if err := s.objects.Delete(t.Context(), s.objects.Names()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Body(t.Context(), id, 0); !errors.Is(err, bucket.ErrNone) || errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("got %v, want %v", err, bucket.ErrNone)
	}
	v, err := s.Verify(t.Context(), s.keys.Open)
	if err != nil {
		t.Fatal(err)
	}
	hasProblem(t, v, string(id))
}

// TestDroppedMeanwhile: a body that ends, or is sealed anew, between the two questions is no error of the store's.
func TestDroppedMeanwhile(t *testing.T) {
	s := newStage(t)
	id := s.accept(t)
	first := true
	s.objects.Fault = func(point, name string) error {
		if point == "get" && first {
			first = false
			if _, err := s.Store.Reseal(t.Context(), s.reseal(t)); err != nil {
				t.Error(err)
			}
			return errors.Join(s.objects.Delete(t.Context(), name), bucket.ErrNone)
		}
		return nil
	}
	s.readable(t, id)
	s.objects.Fault = func(point, _ string) error {
		if point == "get" {
			s.objects.Fault = nil
			s.end(t, id)
			return bucket.ErrNone
		}
		return nil
	}
	if _, err := s.Body(t.Context(), id, 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("got %v, want %v", err, ledger.ErrNotFound)
	}
}

// TestSwitch: an installation begins to use a store, ceases to, and forgets it; mail from before stays readable, or is said to be out of reach.
func TestSwitch(t *testing.T) {
	s := newStage(t)
	s.open(t, nil, Options{})
	inLedger := s.accept(t)
	s.open(t, nil, Options{Bucket: s.objects, Write: true})
	inStore := s.accept(t)
	s.readable(t, inLedger)
	s.readable(t, inStore)
	s.open(t, nil, Options{Bucket: s.objects})
	back := s.accept(t)
	if n := len(s.objects.Names()); n != 3 {
		t.Errorf("%d objects after the way back, want two bodies and the marker", n)
	}
	for _, id := range []ledger.MessageID{inLedger, inStore, back} {
		s.readable(t, id)
	}
	if n, err := s.Reseal(t.Context(), s.reseal(t)); n != 6 || err != nil {
		t.Errorf("resealed %d, %v, want 6", n, err)
	}
	s.settle(t)
	s.open(t, nil, Options{})
	s.readable(t, inLedger)
	if _, err := s.Body(t.Context(), inStore, 0); !errors.Is(err, errNoBucket) {
		t.Errorf("got %v, want %v", err, errNoBucket)
	}
	v, err := s.Verify(t.Context(), s.keys.Open)
	if err != nil {
		t.Fatal(err)
	}
	hasProblem(t, v, "2 bodies were not looked at")
	if _, err := s.Reseal(t.Context(), s.reseal(t)); !errors.Is(err, errNoBucket) {
		t.Errorf("reseal: got %v, want %v", err, errNoBucket)
	}
}

// TestResealLost: one lost body keeps no other from being sealed anew, and is told.
func TestResealLost(t *testing.T) {
	s := newStage(t)
	gone, stays := s.accept(t), s.accept(t)
	for _, name := range s.objects.Names() {
		if strings.Contains(name, string(gone)) {
			if err := s.objects.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	reseal := s.reseal(t)
	if n, err := s.Reseal(t.Context(), reseal); n != 2 || !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "2 of them") {
		t.Errorf("resealed %d, %v, want 2 and %v", n, err, ErrLost)
	}
	s.readable(t, stays)
	if sealed, err := s.Body(t.Context(), stays, 0); err != nil || spool.SealedBy(sealed) != s.keys.Newest() {
		t.Errorf("sealed by %s, %v", spool.SealedBy(sealed), err)
	}
	if n, err := s.Reseal(t.Context(), reseal); n != 0 || !errors.Is(err, ErrLost) {
		t.Errorf("again: resealed %d, %v", n, err)
	}
}

// TestAwayVerify: a store that cannot be asked is not taken for one that holds everything (law 8).
func TestAwayVerify(t *testing.T) {
	s := newStage(t)
	s.accept(t)
	s.objects.Fault = always(errFault, "get")
	v, err := s.Verify(t.Context(), s.keys.Open)
	if err != nil {
		t.Fatal(err)
	}
	hasProblem(t, v, "2 bodies were not looked at")
}

// TestLookalike: no body can be taken for a reference, for what looks like one is refused.
func TestLookalike(t *testing.T) {
	s := newStage(t)
	for _, o := range []Options{{}, {Bucket: s.objects, Write: true}} {
		s.open(t, nil, o)
		a := s.mail(t)
		a.Bodies[0] = refer(a.Message.ID, 0, []byte("x")).bytes()
		if _, err := s.Accept(t.Context(), a); !errors.Is(err, errNotSealed) {
			t.Errorf("accept: %v", err)
		}
		n := s.notice(t, ledger.TellHeld)
		n.Body = []byte(magic)
		if err := s.Apply(t.Context(), ledger.Change{Notices: []ledger.NewNotice{n}})[0]; !errors.Is(err, errNotSealed) {
			t.Errorf("apply: %v", err)
		}
		if err := s.Apply(t.Context(), ledger.Change{Climb: &ledger.Climb{Body: []byte(magic)}})[0]; !errors.Is(err, errNotSealed) {
			t.Errorf("climb: %v", err)
		}
	}
	a := s.mail(t)
	a.Message.ID = "../" + a.Message.ID[3:]
	if _, err := s.Accept(t.Context(), a); err == nil {
		t.Error("an id that is none became part of an object's name")
	}
}

// TestForeignReference: a reference that stands at another message is refused before the store is asked.
func TestForeignReference(t *testing.T) {
	s := newStage(t)
	one, other := s.accept(t), s.accept(t)
	held, err := s.Store.Store.Body(t.Context(), one, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.Store.Reseal(t.Context(), func(id string, sealed []byte) ([]byte, error) {
		if id == string(other) {
			return held, nil
		}
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Body(t.Context(), other, 0); !errors.Is(err, ErrWrong) {
		t.Errorf("got %v, want %v", err, ErrWrong)
	}
}

// TestClaim: a prefix belongs to one ledger; another one is refused before it stores or removes anything.
func TestClaim(t *testing.T) {
	s, other := newStage(t), newStage(t)
	id := s.accept(t)
	other.open(t, nil, Options{Bucket: s.objects, Write: true})
	if _, err := other.Accept(t.Context(), other.mail(t)); err == nil || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("accept: %v", err)
	}
	other.pass(48 * time.Hour)
	if _, err := other.Scrub(t.Context(), "n1"); err == nil || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("scrub: %v", err)
	}
	s.readable(t, id)
	s.open(t, nil, Options{Bucket: s.objects, Write: true}) // the same ledger again
	s.readable(t, s.accept(t))
	s.objects.Damage(marker, func([]byte) []byte { return []byte("x") })
	if _, err := s.Scrub(t.Context(), "n1"); err == nil {
		t.Error("a marker that is none was taken")
	}
}

// TestClaimFaults: a claim that was cut off anywhere is taken up by the next try, whichever node makes it.
func TestClaimFaults(t *testing.T) {
	for _, point := range []string{"get", "put", "put-done"} {
		s := newStage(t)
		s.objects.Fault = failAt(point, 1).object
		if _, err := s.Accept(t.Context(), s.mail(t)); !errors.Is(err, errFault) {
			t.Errorf("%s: %v", point, err)
		}
		s.objects.Fault = nil
		s.open(t, nil, Options{Bucket: s.objects, Write: true})
		s.readable(t, s.accept(t))
		s.settle(t)
	}
}

// TestClaimRace: of many nodes that begin at once one makes the marker, and all go on.
func TestClaimRace(t *testing.T) {
	s := newStage(t)
	errs := make(chan error)
	for range 8 {
		node := New(s.Store.Store, Options{Bucket: s.objects, Write: true})
		a := s.mail(t)
		go func() {
			_, err := node.Accept(context.WithoutCancel(t.Context()), a)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s.settle(t)
}

// TestFaults: each step of a life fails once, as not done and as done but reported failed; the caller asks again, as the guard does.
// Whatever happens, the laws hold, every open body can be read, and after the scrub no object is left over or missing.
func TestFaults(t *testing.T) {
	for _, point := range []string{"put", "put-done", "get", "delete", "delete-done", "list", "commit-before", "commit-after"} {
		for n := 1; n < 100; n++ {
			f := failAt(point, n)
			s := closedStage(t)
			s.objects.Fault = f.object
			s.open(t, f.engine, Options{Bucket: s.objects, Write: true})
			s.live(t)
			s.objects.Fault = nil
			s.open(t, nil, Options{Bucket: s.objects, Write: true})
			s.settle(t)
			if t.Failed() {
				t.Fatalf("%s %d", point, n)
			}
			if !f.hit.Load() {
				if n == 1 {
					t.Errorf("%s is never reached", point)
				}
				break
			}
		}
	}
}

// live accepts two messages, ends one, seals anew and scrubs; each step is asked for twice when it fails.
func (s *stage) live(t *testing.T) {
	t.Helper()
	twice := func(what string, f func() error) {
		t.Helper()
		err := f()
		if errors.Is(err, errFault) {
			err = f()
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	var ids []ledger.MessageID
	for range 2 {
		a := s.mail(t)
		twice("accept", func() error { _, err := s.Accept(t.Context(), a); return err })
		ids = append(ids, a.Message.ID)
	}
	for _, id := range ids {
		twice("body", func() error {
			sealed, err := s.Body(t.Context(), id, 1)
			if err == nil {
				_, err = s.keys.Open(string(id), sealed)
			}
			return err
		})
	}
	story, err := s.Story(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range story.Deliveries {
		again := false
		twice("apply", func() error {
			err := s.Apply(t.Context(), ledger.Change{Delivery: d.ID, From: d.State, To: ledger.Withdrawn, At: s.clock(), Event: ledger.Event{By: "Anna"}})[0]
			if again && errors.Is(err, ledger.ErrState) {
				return nil // the first time it was done
			}
			again = true
			return err
		})
	}
	f := s.reseal(t)
	twice("reseal", func() error { _, err := s.Reseal(t.Context(), f); return err })
	s.pass(2 * time.Hour)
	twice("scrub", func() error { _, err := s.Scrub(t.Context(), "n1"); return err })
}
