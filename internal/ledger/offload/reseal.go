package offload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postvagt/internal/bucket"
	"postvagt/internal/ledger"
)

// Reseal seals anew what lies in the ledger, and then, in rounds, what lies in the store: each round first writes new objects,
// while nobody waits for it, and then puts their references in the place of the old ones in one walk over the ledger. The old
// objects are the scrubber's, and so are the new ones of a message that ended meanwhile.
func (s *Store) Reseal(ctx context.Context, f opener) (n int, err error) {
	return s.reseal(ctx, s.Store.Reseal, f)
}

// ResealOf does so for one authority.
func (s *Store) ResealOf(ctx context.Context, authority string, f opener) (n int, err error) {
	parted, ok := s.Store.(ledger.Parted)
	if !ok {
		return 0, ledger.ErrWhole
	}
	return s.reseal(ctx, func(ctx context.Context, f opener) (int, error) { return parted.ResealOf(ctx, authority, f) }, f)
}

// opener is what Verify and Reseal hand sealed bytes to.
type opener = func(id string, sealed []byte) ([]byte, error)

// reseal does it through walk, which is an engine's Reseal over all or some of what it holds.
func (s *Store) reseal(ctx context.Context, walk func(context.Context, opener) (int, error), f opener) (n int, err error) {
	waiting, seen := []resealing(nil), map[string]bool{} // the engine may repeat a batch
	n, err = walk(ctx, func(id string, sealed []byte) ([]byte, error) {
		if !isReference(sealed) {
			return f(id, sealed)
		}
		if !seen[string(sealed)] {
			seen[string(sealed)] = true
			waiting = append(waiting, resealing{ledger.MessageID(id), bytes.Clone(sealed)})
		}
		return nil, nil
	})
	seen = nil
	for err == nil && len(waiting) > 0 {
		begun, done := s.now(), 0
		var fresh map[string][]byte
		if fresh, done, err = s.resealObjects(ctx, waiting, f, begun.Add(s.o.Grace/4)); err != nil {
			break
		}
		var replaced int
		replaced, err = walk(ctx, func(id string, sealed []byte) ([]byte, error) {
			if s.now().Sub(begun) > s.o.Grace/2 {
				return nil, errSlow // the scrubber might no longer know the new objects for new
			}
			return fresh[string(sealed)], nil
		})
		n, waiting = n+replaced, waiting[done:]
	}
	if err != nil {
		return n, fmt.Errorf("reseal: %w", err)
	}
	return n, nil
}

// errSlow: the walk over the ledger took longer than new objects are safe from the scrubber.
var errSlow = errors.New("the object store or the ledger is too slow: what was done so far stays, run it again")

// resealing is a body in the store that is to be sealed anew.
type resealing struct {
	message ledger.MessageID
	held    []byte // its reference
}

// resealObjects seals the first of waiting anew until the time is up, at least one round of workers. fresh maps old references to
// new ones; done is how many it looked at.
func (s *Store) resealObjects(ctx context.Context, waiting []resealing, f opener, until time.Time) (fresh map[string][]byte, done int, err error) {
	fresh = map[string][]byte{}
	if err := s.reachable(ctx); err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex // f is called by one at a time, as by an engine
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, w := range waiting {
		if done >= workers && s.now().After(until) {
			break
		}
		done++
		group.Go(func() error {
			sealed, err := s.current(ctx, w)
			if err != nil || sealed == nil {
				return err
			}
			mu.Lock()
			anew, err := f(string(w.message), sealed)
			mu.Unlock()
			if err != nil {
				return fmt.Errorf("message %s: %w", w.message, err)
			}
			if anew == nil {
				return nil
			}
			old, err := parseReference(w.held)
			if err != nil {
				return err
			}
			r := refer(w.message, old.name.body, anew)
			if err := s.bucket.Put(ctx, r.name.String(), anew); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			fresh[string(w.held)] = r.bytes()
			return nil
		})
	}
	return fresh, done, group.Wait()
}

// reachable tells in one sentence that bodies cannot be had at all.
func (s *Store) reachable(ctx context.Context) error {
	if s.bucket == nil {
		return fmt.Errorf("bodies of waiting mail cannot be read: %w", errNoBucket)
	}
	return s.claim(ctx)
}

// current is the body a reference led to, nil when the ledger no longer holds that reference.
func (s *Store) current(ctx context.Context, w resealing) ([]byte, error) {
	sealed, err := s.fetch(ctx, w.message, w.held)
	if err == nil {
		return sealed, nil
	}
	if errors.Is(err, bucket.ErrNone) && !s.holds(ctx, w) {
		return nil, nil
	}
	return nil, fmt.Errorf("message %s: %w", w.message, err)
}

// holds reports whether the ledger still holds a reference; in doubt it does.
func (s *Store) holds(ctx context.Context, w resealing) bool {
	r, err := parseReference(w.held)
	if err != nil {
		return true
	}
	held, err := s.Store.Body(ctx, w.message, r.name.body)
	if err != nil {
		return !errors.Is(err, ledger.ErrNotFound)
	}
	return bytes.Equal(held, w.held)
}
