// Package offload keeps the bodies of mail in an object store instead of the ledger, in front of any engine. The ledger then
// holds a short reference in the place of a body: name, size and SHA-256 of the object.
//
// The order of writes keeps law 1: first the objects, then the acceptance that refers to them. When the store is away nothing
// is accepted. What the store gives back is believed only when size and hash are the reference's. Deleting goes the other way
// round: the ledger drops the reference with the last final delivery, and the scrubber (scrub.go) later removes objects that
// nothing refers to: these, and those of commits that never happened.
//
// Notices stay in the ledger: they are small, and must go out when the store is away. Bodies that lie in the ledger are served
// from there, so an installation may begin to use a store, and cease to, at any time.
package offload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"postvagt/internal/bucket"
	"postvagt/internal/ledger"
)

// ErrWrong: the store gave something else than was stored. It is never taken for the mail.
var ErrWrong = errors.New("the object store returned a wrong object")

// Options of New.
type Options struct {
	Bucket bucket.Bucket // nil: none is configured; a body that lies in one is then a clear error
	// Write puts the bodies of new mail into the bucket. Without it the bucket is only read and scrubbed.
	Write bool

	// Grace is how old an object must be before it may be removed, 0: an hour. A body whose commit takes half of it is not accepted.
	Grace time.Duration

	now func() time.Time
}

// Store is a ledger whose bodies may lie in an object store. Ledger gives it with all that the engine can.
type Store struct {
	ledger.Store // the engine
	bucket       bucket.Bucket
	o            Options
	now          func() time.Time
	figures      figures
	claimed      atomic.Bool // the bucket is known to be this ledger's
	unsure       sync.Map    // message id → []reference: committed, but its objects may be gone
}

var (
	_ ledger.Store   = (*Store)(nil)
	_ ledger.Parted  = (*Store)(nil)
	_ ledger.Chained = (*Store)(nil)
)

// New puts an object store in front of an engine.
func New(engine ledger.Store, o Options) *Store {
	s := &Store{Store: engine, o: o, now: o.now, figures: newFigures()}
	if o.Bucket != nil {
		s.bucket = measured{o.Bucket, s.figures}
	}
	if s.o.Grace == 0 {
		s.o.Grace = time.Hour
	}
	if s.now == nil {
		// Without the monotonic clock, which stands still while a machine is suspended.
		s.now = func() time.Time { return time.Now().Round(0).UTC() }
	}
	return s
}

// Ledger is the store with what else the engine can: a caller's question whether it is a ledger.Cluster or ledger.Pruner gets
// the engine's answer.
func (s *Store) Ledger() ledger.Store {
	cluster, shared := s.Store.(ledger.Cluster)
	pruner, prunes := s.Store.(ledger.Pruner)
	switch {
	case shared && prunes:
		return struct {
			*Store
			ledger.Cluster
			ledger.Pruner
		}{s, cluster, pruner}
	case shared:
		return struct {
			*Store
			ledger.Cluster
		}{s, cluster}
	case prunes:
		return struct {
			*Store
			ledger.Pruner
		}{s, pruner}
	}
	return s
}

// Accept stores the bodies of mail as objects, then the acceptance with references to them. When it fails after the first,
// the objects are the scrubber's.
func (s *Store) Accept(ctx context.Context, a ledger.Acceptance) ([]ledger.Claimed, error) {
	if err := s.acceptable(a); err != nil {
		return nil, fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	if !s.writes(a) {
		return s.Store.Accept(ctx, a)
	}
	begun := s.now()
	refs, err := s.stored(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("accept %s: store the bodies: %w", a.Message.ID, err)
	}
	if late := s.now().Sub(begun); late > s.o.Grace/2 {
		return nil, fmt.Errorf("accept %s: storing the bodies took %v: the scrubber might no longer know them for new", a.Message.ID, late)
	}
	bodies := a.Bodies
	a.Bodies = make([][]byte, len(refs))
	for i, r := range refs {
		a.Bodies[i] = r.bytes()
	}
	work, err := s.Store.Accept(ctx, a)
	if err == nil && s.now().Sub(begun) > s.o.Grace/2 {
		// This process, or its machine, stood still in the middle of the commit. The objects may have been taken for orphans.
		if err = s.putBack(ctx, refs, bodies); err != nil {
			s.unsure.Store(a.Message.ID, refs)
			return nil, err
		}
	}
	if err == nil {
		s.unsure.Delete(a.Message.ID)
	}
	return work, err
}

// stored puts the acceptance's bodies into the bucket: under the names that the ledger has already, where it is one that was committed
// and whose objects may be gone, for a repeated acceptance changes nothing in the ledger.
func (s *Store) stored(ctx context.Context, a ledger.Acceptance) ([]reference, error) {
	if refs, ok := s.unsure.Load(a.Message.ID); ok {
		return refs.([]reference), s.putBack(ctx, refs.([]reference), a.Bodies)
	}
	return s.put(ctx, a.Message.ID, a.Bodies)
}

// writes reports whether the acceptance's bodies go into the bucket.
func (s *Store) writes(a ledger.Acceptance) bool {
	return s.o.Write && s.bucket != nil && a.Message.Kind == ledger.Mail
}

// acceptable refuses what could not be told from a reference later. Nothing that is sealed can.
func (s *Store) acceptable(a ledger.Acceptance) error {
	if s.writes(a) && !validID(a.Message.ID) {
		return fmt.Errorf("its id %q cannot be part of an object's name", a.Message.ID)
	}
	for _, b := range a.Bodies {
		if isReference(b) {
			return errNotSealed
		}
	}
	return noReferences(a.Notices)
}

var errNotSealed = errors.New("a body that looks like a reference to one")

func noReferences(notices []ledger.NewNotice) error {
	for _, n := range notices {
		if isReference(n.Body) {
			return errNotSealed
		}
	}
	return nil
}

// put stores bodies as new objects, at the same time.
func (s *Store) put(ctx context.Context, id ledger.MessageID, bodies [][]byte) ([]reference, error) {
	if err := s.claim(ctx); err != nil {
		return nil, err
	}
	refs := make([]reference, len(bodies))
	group, ctx := errgroup.WithContext(ctx)
	for i, body := range bodies {
		refs[i] = refer(id, i, body)
		group.Go(func() error { return s.bucket.Put(ctx, refs[i].name.String(), body) })
	}
	return refs, group.Wait()
}

// putBack stores what is no longer there of the objects.
func (s *Store) putBack(ctx context.Context, refs []reference, bodies [][]byte) error {
	for i, r := range refs {
		if err := s.bucket.Put(ctx, r.name.String(), bodies[i]); err != nil && !errors.Is(err, bucket.ErrExists) {
			return fmt.Errorf("store a body again after a long pause: %w", err)
		}
	}
	return nil
}

// Body returns a sealed body, wherever it lies.
func (s *Store) Body(ctx context.Context, id ledger.MessageID, body int) ([]byte, error) {
	var seen []byte
	var missing error
	for {
		held, err := s.Store.Body(ctx, id, body)
		if err != nil || !isReference(held) {
			return held, err
		}
		if missing != nil && bytes.Equal(held, seen) {
			return nil, fmt.Errorf("body %d of message %s: %w", body, id, missing)
		}
		data, err := s.fetch(ctx, id, held)
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, bucket.ErrNone) {
			return nil, fmt.Errorf("body %d of message %s: %w", body, id, err)
		}
		// Between the two questions it may have been dropped, or sealed anew under another name: the ledger knows.
		seen, missing = held, err
	}
}

// errNoBucket: the configuration no longer names the store that bodies lie in.
var errNoBucket = errors.New("it lies in an object store, but the configuration names none: put bodies.s3 back, with `new: ledger` if new mail is not to go there")

// fetch returns what a reference of this message refers to.
func (s *Store) fetch(ctx context.Context, id ledger.MessageID, held []byte) ([]byte, error) {
	r, err := parseReference(held)
	if err != nil {
		return nil, err
	}
	if r.name.message != id {
		return nil, fmt.Errorf("%w: its reference is another message's", ErrWrong)
	}
	if s.bucket == nil {
		return nil, errNoBucket
	}
	data, err := s.bucket.Get(ctx, r.name.String(), r.size)
	if err != nil {
		return nil, err
	}
	if err := r.matches(data); err != nil {
		s.figures.errors.WithLabelValues("wrong").Inc()
		return nil, err
	}
	return data, nil
}

// Apply refuses notices that could be taken for references.
func (s *Store) Apply(ctx context.Context, changes ...ledger.Change) []error {
	for _, c := range changes {
		err := noReferences(c.Notices)
		if c.Climb != nil && isReference(c.Climb.Body) {
			err = errNotSealed
		}
		if err != nil {
			errs := make([]error, len(changes))
			for i := range errs {
				errs[i] = fmt.Errorf("apply to delivery %d: %w", changes[i].Delivery, err)
			}
			return errs
		}
	}
	return s.Store.Apply(ctx, changes...)
}
