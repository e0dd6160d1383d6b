package offload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"postvagt/internal/bucket"
	"postvagt/internal/ledger"
)

const (
	page    = 500 // objects of one listing
	workers = 8   // requests at a time

	scrubEvery = 5 * time.Minute
	// dutyTime is how long the duty to scrub lasts without being asked for again: longer than a page takes.
	dutyTime = 5 * time.Minute
	duty     = "bodies"

	// cursorFact is where an interrupted pass goes on.
	cursorFact = "bodies scrubbed to"
)

// Scrubbed is what one pass of the scrubber did.
type Scrubbed struct {
	Seen    int // objects looked at
	Removed int // objects nothing refers to any more, removed
	Orphans int // of these, objects of messages that were never accepted
	Foreign int // objects that are no bodies of ours; they are left alone
}

// Run scrubs until ctx ends: on one node at a time where the engine can tell. A pass that took long is followed by a
// pause that is longer. It first says whether the store can be used, for mail may not come for a while.
func (s *Store) Run(ctx context.Context, node string, log *slog.Logger) {
	if s.bucket == nil {
		return
	}
	if err := s.claim(ctx); err != nil && ctx.Err() == nil {
		log.Error("the object store for bodies cannot be used; until it can, mail is answered with 4yz", "err", err)
	}
	wait := scrubEvery / 5 // the first one soon, but not in the way of the start
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		begun := time.Now()
		done, err := s.Scrub(ctx, node)
		if err != nil && ctx.Err() == nil {
			log.Error("objects that nothing refers to could not be removed from the object store; it is tried again", "err", err)
		}
		if done.Removed > 0 || done.Foreign > 0 {
			log.Info("scrubbed the object store", "seen", done.Seen, "removed", done.Removed, "orphans", done.Orphans, "foreign", done.Foreign)
		}
		wait = max(scrubEvery, 10*time.Since(begun))
	}
}

// Scrub makes one pass over the objects that are older than the grace time, or what is left of an interrupted one. It ends at
// once when another node has the duty.
func (s *Store) Scrub(ctx context.Context, node string) (done Scrubbed, err error) {
	if s.bucket == nil {
		return done, errNoBucket
	}
	s.claimed.Store(false) // asked anew each time: a prefix that was filled with another's bodies must not be emptied
	if err := s.claim(ctx); err != nil {
		return done, fmt.Errorf("scrub: %w", err)
	}
	after, err := s.Store.Get(ctx, cursorFact)
	if err != nil {
		return done, fmt.Errorf("scrub: %w", err)
	}
	for {
		if mine, err := s.mine(ctx, node); err != nil || !mine {
			return done, err
		}
		objects, err := s.bucket.List(ctx, after, page)
		if err != nil {
			return done, fmt.Errorf("scrub: %w", err)
		}
		old := s.old(objects)
		if err := s.scrubPage(ctx, old, &done); err != nil {
			return done, fmt.Errorf("scrub: %w", err)
		}
		if len(old) < page {
			if after == "" {
				return done, nil
			}
			return done, s.Store.Put(ctx, cursorFact, "")
		}
		after = old[len(old)-1].Name
		if err := s.Store.Put(ctx, cursorFact, after); err != nil {
			return done, fmt.Errorf("scrub: %w", err)
		}
	}
}

// mine asks for the duty to scrub. An engine for one node needs none.
func (s *Store) mine(ctx context.Context, node string) (bool, error) {
	cluster, ok := s.Store.(ledger.Cluster)
	if !ok {
		return true, nil
	}
	return cluster.Duty(ctx, s.now(), duty, node, dutyTime)
}

// old cuts a listing where the messages are younger than the grace time: names are in the order of time.
func (s *Store) old(objects []bucket.Object) []bucket.Object {
	for i, o := range objects {
		if n, err := parseName(o.Name); err == nil && !s.past(madeAt(n.message)) {
			return objects[:i]
		}
	}
	return objects
}

// past reports whether the grace time is over for what was made at t.
func (s *Store) past(t time.Time) bool { return s.now().Sub(t) > s.o.Grace }

func (s *Store) scrubPage(ctx context.Context, objects []bucket.Object, done *Scrubbed) error {
	var removed, orphans atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, o := range objects {
		done.Seen++
		n, err := parseName(o.Name)
		if err != nil {
			if o.Name != marker {
				done.Foreign++
			}
			continue
		}
		// Young by either clock is young: a body sealed anew keeps the message's time and has a stamp of its own.
		if !s.past(madeAt(n.stamp)) || !s.past(o.Changed) {
			continue
		}
		group.Go(func() error {
			needed, orphan, err := s.needed(ctx, n)
			if err != nil || needed {
				return err
			}
			if err := s.bucket.Delete(ctx, o.Name); err != nil {
				return err
			}
			removed.Add(1)
			if orphan {
				orphans.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	done.Removed += int(removed.Load())
	done.Orphans += int(orphans.Load())
	s.figures.removed.Add(float64(removed.Load()))
	s.figures.orphans.Add(float64(orphans.Load()))
	return err
}

// needed reports whether the ledger refers to an object, and if not, whether it knows the message at all. In doubt it is needed.
func (s *Store) needed(ctx context.Context, n name) (needed, orphan bool, err error) {
	held, err := s.Store.Body(ctx, n.message, n.body)
	if errors.Is(err, ledger.ErrNotFound) {
		known, err := s.Store.Find(ctx, ledger.Query{ID: n.message, Limit: 1})
		return false, len(known) == 0, err
	}
	if err != nil {
		return true, false, err
	}
	if !isReference(held) {
		return false, false, nil
	}
	r, err := parseReference(held)
	if err != nil {
		return true, false, fmt.Errorf("message %s: %w", n.message, err)
	}
	return r.name == n, false, nil
}
