package offload

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
)

// TestScrub: what was dropped, what was never accepted, and what was sealed anew is removed, when it is old enough; nothing else is.
func TestScrub(t *testing.T) {
	s := newStage(t)
	open, done := s.accept(t), s.accept(t)
	s.end(t, done)
	s.objects.Fault = always(errFault, "put-done") // as if the process had been killed before the commit
	if _, err := s.Accept(t.Context(), s.mail(t)); err == nil {
		t.Fatal("accepted")
	}
	s.objects.Fault = nil
	for _, name := range []string{"backup.tar", string(open) + "/2-" + string(open), string(open)} {
		if err := s.objects.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.pass(59 * time.Minute)
	if got := s.scrub(t); got.Removed != 0 {
		t.Errorf("too young, but %+v", got)
	}
	s.pass(2 * time.Minute)
	got := s.scrub(t)
	if got.Removed < 3 || got.Orphans != got.Removed-2 || got.Foreign != 3 {
		t.Errorf("got %+v, want the two of the ended message, one or two orphans removed, and three names that are not ours left", got)
	}
	s.readable(t, open)
	if got := s.scrub(t); got.Removed != 0 || got.Foreign != 3 {
		t.Errorf("again: %+v", got)
	}
}

// TestScrubClocks: an object that is young by the store's clock, or by ours, is left alone, however old its message is.
func TestScrubClocks(t *testing.T) {
	for what, ahead := range map[string]time.Duration{"behind": -50 * time.Hour, "ahead": 50 * time.Hour} {
		s := newStage(t)
		s.accept(t) // the marker is there
		s.objects.Now = func() time.Time { return s.clock().Add(ahead) }
		a := s.mailWith(t, idOf(t, s.clock().Add(-3*time.Hour)))
		if _, err := s.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		s.dropReferences(t, a.Message.ID)
		if ahead > 0 {
			s.pass(3 * time.Hour) // old by our clock
		}
		if got := s.scrub(t); got.Removed != 0 {
			t.Errorf("the store's clock is %s: %+v", what, got)
		}
	}
}

// idOf is an id as if it had been made at that time.
func idOf(t *testing.T, at time.Time) ledger.MessageID {
	t.Helper()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	id := ledger.MessageID(base32.NewEncoding(alphabet).WithPadding(base32.NoPadding).EncodeToString(b[:]))
	if made := madeAt(id); !made.Equal(at.Truncate(time.Millisecond)) {
		t.Fatalf("the id of %v was made at %v", at, made)
	}
	return id
}

// dropReferences makes the ledger refer to nothing.
func (s *stage) dropReferences(t *testing.T, id ledger.MessageID) {
	t.Helper()
	_, err := s.Store.Store.Reseal(t.Context(), func(other string, sealed []byte) ([]byte, error) {
		if other != string(id) || !isReference(sealed) {
			return nil, nil
		}
		return []byte{1}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestScrubResumes: a pass over many pages that is cut off goes on where it was, and the next one begins anew.
func TestScrubResumes(t *testing.T) {
	s := newStage(t)
	id := s.accept(t)
	const many = 2*page + 7
	for range many {
		if err := s.objects.Put(t.Context(), name{ledger.NewMessageID(), 0, ledger.NewMessageID()}.String(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	s.pass(2 * time.Hour)
	s.objects.Fault = failAt("list", 3).object
	got, err := s.Scrub(t.Context(), "n1")
	if !errors.Is(err, errFault) || got.Seen != 2*page {
		t.Fatalf("got %+v, %v, want two pages and a fault", got, err)
	}
	s.objects.Fault = nil
	if cursor, err := s.Get(t.Context(), cursorFact); cursor == "" || err != nil {
		t.Errorf("the cursor is %q, %v", cursor, err)
	}
	last := s.scrub(t)
	if last.Seen != many+3-2*page || got.Removed+last.Removed != many {
		t.Errorf("got %+v, then %+v, want %d removed in all", got, last, many)
	}
	if cursor, err := s.Get(t.Context(), cursorFact); cursor != "" || err != nil {
		t.Errorf("after the end the cursor is %q, %v", cursor, err)
	}
	s.readable(t, id)
}

// TestScrubDoubt: when the ledger does not answer, everything is needed.
func TestScrubDoubt(t *testing.T) {
	s := newStage(t)
	s.accept(t)
	s.pass(2 * time.Hour)
	before := len(s.objects.Names())
	s.Store.Store.Close()
	if _, err := s.Scrub(t.Context(), "n1"); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("got %v, want %v", err, ledger.ErrClosed)
	}
	if needed, _, err := s.needed(t.Context(), name{ledger.NewMessageID(), 0, ledger.NewMessageID()}); !needed || err == nil {
		t.Errorf("needed %v, %v", needed, err)
	}
	if after := len(s.objects.Names()); after != before {
		t.Errorf("%d of %d objects are left", after, before)
	}
}

// TestSlow: an acceptance whose objects became old before the commit is refused; one whose commit took so long has its objects back.
func TestSlow(t *testing.T) {
	s := newStage(t)
	s.accept(t)
	s.objects.Fault = func(point, _ string) error {
		if point == "put-done" {
			s.pass(40 * time.Minute)
		}
		return nil
	}
	a := s.mail(t)
	if _, err := s.Accept(t.Context(), a); err == nil {
		t.Error("accepted what was stored long ago")
	}
	s.objects.Fault = nil
	a = s.mail(t)
	var stood atomic.Bool
	stand := func(point string) error { // the machine stands still in the commit, and another node scrubs meanwhile
		if point == "commit-before" && !stood.Load() && slices.ContainsFunc(s.objects.Names(), func(n string) bool { return strings.HasPrefix(n, string(a.Message.ID)) }) {
			stood.Store(true)
			s.pass(2 * time.Hour)
			for _, name := range s.objects.Names() {
				if strings.HasPrefix(name, string(a.Message.ID)) {
					s.objects.Delete(t.Context(), name)
				}
			}
		}
		return nil
	}
	s.open(t, stand, Options{Bucket: s.objects, Write: true})
	var puts atomic.Int64
	s.objects.Fault = func(point, name string) error {
		if point == "put" && strings.HasPrefix(name, string(a.Message.ID)) {
			if puts.Add(1) == 3 { // the first one that is put back
				return errFault
			}
		}
		return nil
	}
	if _, err := s.Accept(t.Context(), a); !errors.Is(err, errFault) {
		t.Fatalf("accepted with %v, though a body was gone", err)
	}
	if _, err := s.Accept(t.Context(), a); err != nil { // as the guard asks again
		t.Fatal(err)
	}
	s.objects.Fault = nil
	s.readable(t, a.Message.ID)
	s.settle(t)
}

// TestResealSlow: a walk that takes longer than the new objects are safe changes nothing.
func TestResealSlow(t *testing.T) {
	s := newStage(t)
	id := s.accept(t)
	before := s.keys
	s.objects.Fault = func(point, _ string) error {
		if point == "put-done" {
			s.pass(20 * time.Minute)
		}
		return nil
	}
	if n, err := s.Reseal(t.Context(), s.reseal(t)); n != 0 || !errors.Is(err, errSlow) {
		t.Errorf("resealed %d, %v, want %v", n, err, errSlow)
	}
	s.objects.Fault = nil
	s.keys = before
	s.readable(t, id)
	s.settle(t)
}

// TestRun: in days of virtual time the scrubber keeps the store clean, says what fails, and ends when it is told to.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		id := s.accept(t)
		s.end(t, id)
		open := s.accept(t)
		log := &strings.Builder{}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		var well atomic.Bool
		s.objects.Fault = func(point, _ string) error {
			if point == "list" && !well.Load() {
				return errFault
			}
			return nil
		}
		go func() {
			defer close(done)
			s.Run(ctx, "n1", slog.New(slog.NewTextHandler(log, nil)))
		}()
		time.Sleep(30 * time.Minute)
		well.Store(true)
		time.Sleep(time.Hour)
		stop()
		<-done
		if n := len(s.objects.Names()); n != 3 {
			t.Errorf("%d objects are left, want two bodies and the marker", n)
		}
		if said := log.String(); !strings.Contains(said, "could not be removed") || !strings.Contains(said, "removed=2") {
			t.Errorf("said %s", said)
		}
		s.readable(t, open)
		s.Store.Close()
	})
}

// TestCluster: what else the engine can stands behind the store, too, and only that.
func TestCluster(t *testing.T) {
	s := newStage(t)
	l := s.Ledger()
	if _, ok := l.(ledger.Cluster); !ok {
		t.Error("the engine is a ledger.Cluster, and the ledger is none")
	}
	if _, ok := l.(ledger.Parted); !ok {
		t.Error("the ledger cannot answer for one authority")
	}
	bare := New(struct{ ledger.Store }{s.Store.Store}, Options{Bucket: s.objects, Write: true})
	if _, ok := bare.Ledger().(ledger.Cluster); ok {
		t.Error("the engine is no ledger.Cluster, and the ledger is one")
	}
	if _, err := bare.SumsOf(t.Context(), "Eksempel Kommune"); !errors.Is(err, ledger.ErrWhole) {
		t.Errorf("sums of one authority: %v", err)
	}
}

// TestDuty: one node scrubs at a time.
func TestDuty(t *testing.T) {
	s := newStage(t)
	s.end(t, s.accept(t))
	s.pass(2 * time.Hour)
	cluster := s.Store.Store.(ledger.Cluster)
	if mine, err := cluster.Duty(t.Context(), s.clock(), duty, "n2", time.Hour); !mine || err != nil {
		t.Fatalf("duty: %v, %v", mine, err)
	}
	if got := s.scrub(t); got != (Scrubbed{}) {
		t.Errorf("another has the duty, but %+v", got)
	}
	s.pass(2 * time.Hour)
	if got := s.scrub(t); got.Removed != 2 {
		t.Errorf("got %+v, want 2 removed", got)
	}
}

// TestManyProblems: what cannot be read is written out up to a bound.
func TestManyProblems(t *testing.T) {
	s := newStage(t)
	for range mostProblems {
		s.accept(t)
	}
	for _, name := range s.objects.Names() {
		if name != marker {
			s.objects.Damage(name, func([]byte) []byte { return []byte("x") })
		}
	}
	v, err := s.Verify(t.Context(), s.keys.Open)
	if err != nil || len(v.Problems) != mostProblems+1 || v.Problems[mostProblems] != fmt.Sprintf("%d more bodies cannot be read.", mostProblems) {
		t.Errorf("got %q, %v", v.Problems, err)
	}
}
