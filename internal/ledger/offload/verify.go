package offload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"postvagt/internal/bucket"
	"postvagt/internal/ledger"
)

// mostProblems bounds how many unreadable bodies are written out, as in the engines.
const mostProblems = 20

// Verify has the engine verify, and then reads from the store what the engine found references to, when its snapshot is no longer
// held. A store that cannot be asked is a problem of its own: what was not looked at is not in order (law 8).
func (s *Store) Verify(ctx context.Context, open opener) (ledger.Verification, error) {
	return s.verify(ctx, s.Store.Verify, open)
}

// VerifyOf does so for one authority.
func (s *Store) VerifyOf(ctx context.Context, authority string, open opener) (ledger.Verification, error) {
	parted, ok := s.Store.(ledger.Parted)
	if !ok {
		return ledger.Verification{}, ledger.ErrWhole
	}
	return s.verify(ctx, func(ctx context.Context, open opener) (ledger.Verification, error) {
		return parted.VerifyOf(ctx, authority, open)
	}, open)
}

// SumsOf is the engine's.
func (s *Store) SumsOf(ctx context.Context, authority string) (ledger.Sums, error) {
	parted, ok := s.Store.(ledger.Parted)
	if !ok {
		return ledger.Sums{}, ledger.ErrWhole
	}
	return parted.SumsOf(ctx, authority)
}

// Heads is the engine's.
func (s *Store) Heads(ctx context.Context, seen []ledger.Head) (heads, missing []ledger.Head, err error) {
	chained, ok := s.Store.(ledger.Chained)
	if !ok {
		return nil, nil, fmt.Errorf("where the chains of this ledger end: %w", errors.ErrUnsupported)
	}
	return chained.Heads(ctx, seen)
}

func (s *Store) verify(ctx context.Context, engine func(context.Context, opener) (ledger.Verification, error), open opener) (ledger.Verification, error) {
	if open == nil {
		return engine(ctx, nil)
	}
	var mu sync.Mutex
	var waiting []resealing
	v, err := engine(ctx, func(id string, sealed []byte) ([]byte, error) {
		if !isReference(sealed) {
			return open(id, sealed)
		}
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, resealing{ledger.MessageID(id), bytes.Clone(sealed)})
		return nil, nil
	})
	if err != nil || len(waiting) == 0 {
		return v, err
	}
	problems, err := s.verifyObjects(ctx, waiting, open)
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	if len(problems) > 0 {
		v.Bodies = "unreadable"
		v.Problems = append(v.Problems, problems...)
	}
	return v, nil
}

func (s *Store) verifyObjects(ctx context.Context, waiting []resealing, open opener) ([]string, error) {
	if s.bucket == nil {
		return []string{fmt.Sprintf("%d bodies were not looked at: %v.", len(waiting), errNoBucket)}, nil
	}
	var mu sync.Mutex
	var unreadable []string
	looked := 0
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, w := range waiting {
		group.Go(func() error {
			if within.Err() != nil {
				return nil
			}
			sealed, err := s.fetch(within, w.message, w.held)
			if err != nil && !errors.Is(err, bucket.ErrNone) && !errors.Is(err, ErrWrong) {
				return err // the store is away: one answer of that kind is enough
			}
			mu.Lock()
			defer mu.Unlock()
			looked++
			if err == nil {
				_, err = open(string(w.message), sealed)
			}
			if err != nil && s.holds(within, w) { // else it ended meanwhile
				unreadable = append(unreadable, fmt.Sprintf("A body of message %s cannot be read: %v.", w.message, err))
			}
			return nil
		})
	}
	away := group.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	slices.SortFunc(unreadable, strings.Compare)
	if more := len(unreadable) - mostProblems; more > 0 {
		unreadable = append(unreadable[:mostProblems], fmt.Sprintf("%d more bodies cannot be read.", more))
	}
	if away != nil {
		unreadable = append(unreadable, fmt.Sprintf("%d bodies were not looked at: %v.", len(waiting)-looked, away))
	}
	return unreadable, nil
}
