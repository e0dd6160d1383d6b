package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
)

// reads counts the bodies read back from the ledger.
type reads struct {
	ledger.Store
	n atomic.Int64
}

func (r *reads) Body(ctx context.Context, id ledger.MessageID, n int) ([]byte, error) {
	r.n.Add(1)
	return r.Store.Body(ctx, id, n)
}

// Mail that comes faster than its hop takes it is slowed down as long as the hop moves: none of it is read back.
func TestFastMailWaitsForASeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, narrow)
		var counted *reads
		s.wrap = func(l ledger.Store) ledger.Store { counted = &reads{Store: l}; return counted }
		s.restart()
		s.hop.takes(20 * time.Millisecond) // two at a time: a hundred a second
		const clients, each = 30, 10
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range each {
					if r := s.take(ours, "anna@eksempel.example", []string{"b@borger.example"}, letter("Hej", "Hej")); r.Code != 250 {
						t.Errorf("not accepted: %v", r)
					}
				}
			})
		}
		all.Wait()
		s.pass(10 * time.Second)
		if got := len(s.hop.got); got != clients*each {
			t.Errorf("%d of %d arrived", got, clients*each)
		}
		if got := counted.n.Load(); got != 0 {
			t.Errorf("%d bodies were read back from the ledger, want none", got)
		}
	})
}

// A hop that does not move holds up the first that wait for it, and nobody after them.
func TestStuckHopDoesNotSlowAccepting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, narrow)
		s.hop.takes(10 * time.Minute)
		took := make([]time.Duration, 40)
		for i := range took {
			began := time.Now()
			r := s.take(ours, "anna@eksempel.example", []string{"b@borger.example"}, letter("Hej", "Hej"))
			took[i] = time.Since(began)
			s.accepted(r)
		}
		slow := 0
		for _, d := range took {
			if d > seatWait {
				t.Errorf("an acceptance waited %s, want at most %s", d, seatWait)
			}
			if d > 0 {
				slow++
			}
		}
		if slow != 1 {
			t.Errorf("%d acceptances waited, want the first that found no seat only", slow)
		}
		d := s.guard.dispatch
		d.mu.Lock()
		defer d.mu.Unlock()
		for name, l := range d.lanes {
			if len(l.waiting) != 0 {
				t.Errorf("%s: %d still wait", name, len(l.waiting))
			}
		}
	})
}
