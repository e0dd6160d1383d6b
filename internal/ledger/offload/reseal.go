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
// objects are the scrubber's, and so are the new ones of a message that ended meanwhile. ErrLost, when all else is done: some stay as they are.
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
	var lost []error
	for err == nil && len(waiting) > 0 {
		begun, done := s.now(), 0
		var fresh map[string][]byte
		var gone []error
		if fresh, done, gone, err = s.resealObjects(ctx, waiting, f, begun.Add(s.o.Grace/4)); err != nil {
			break
		}
		var replaced int
		replaced, err = walk(ctx, func(id string, sealed []byte) ([]byte, error) {
			if s.now().Sub(begun) > s.o.Grace/2 {
				return nil, errSlow // the scrubber might no longer know the new objects for new
			}
			return fresh[string(sealed)], nil
		})
		n, waiting, lost = n+replaced, waiting[done:], append(lost, gone...)
	}
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("%w: %d of them, the first: %w", ErrLost, len(lost), lost[0])
	}
	if err != nil {
		return n, fmt.Errorf("reseal: %w", err)
	}
	return n, nil
}

// ErrLost: the store answers, but it no longer has what the ledger refers to, or not as it was.
var ErrLost = errors.New("bodies are lost in the object store")

// errSlow: the walk over the ledger took longer than new objects are safe from the scrubber.
var errSlow = errors.New("the object store or the ledger is too slow: what was done so far stays, run it again")

// resealing is a body in the store that is to be sealed anew.
type resealing struct {
	message ledger.MessageID
	held    []byte // its reference
}

// resealObjects seals the first of waiting anew until the time is up, at least one round of workers. fresh maps old references to
// new ones; done is how many it looked at; lost, which of these the store does not have as they were.
func (s *Store) resealObjects(ctx context.Context, waiting []resealing, f opener, until time.Time) (fresh map[string][]byte, done int, lost []error, err error) {
	fresh = map[string][]byte{}
	if err := s.reachable(ctx); err != nil {
		return nil, 0, nil, err
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
			if errors.Is(err, bucket.ErrNone) || errors.Is(err, ErrWrong) {
				mu.Lock()
				defer mu.Unlock()
				lost = append(lost, err)
				return nil
			}
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
	err = group.Wait()
	return fresh, done, lost, err
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
