package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"postvagt/internal/ledger"
)

// A group of commands that shares a commit holds at most so many, and begins no further one beyond so many bytes.
const (
	maxGroup      = 256
	maxGroupBytes = 8 << 20
)

// patience is how long commands that nobody waits for wait for company. With one client that sends message after message,
// the outcome of one is written with the acceptance of the next: half the commits.
const patience = 3 * time.Millisecond

// command is one caller's wish. run may run more than once (see group) and sets its results anew each time.
type command struct {
	run  func(*tx) error
	size int  // bytes it will write, roughly
	lazy bool // no client waits for it
	err  error
	done chan struct{}
}

// tx is what a command sees of the transaction it shares.
type tx struct {
	*conn
	s       *Store
	careful bool  // each step has a savepoint of its own
	broken  error // SQLite gave up the transaction; nothing more is run in it

	last  map[int64]int64    // authority → number of its newest event
	fresh map[string]int64   // authorities made by this transaction
	tally map[tallyKey]int64 // changes to the tally, written before the commit
}

// Lines of the tally beside the names of the states.
const (
	tallyAccepted = "accepted" // deliveries
	tallyEvents   = "events"   // so that the newest cannot be cut off unseen
	tallySealed   = "sealed"   // events that a seal covers
)

type tallyKey struct {
	authority int64
	what      string
}

// errRedo: a step failed after it had written, in a transaction that others share.
var errRedo = errors.New("run again alone")

// do has the writing goroutine run the command and waits for its commit. When ctx ends first the command may still happen.
func (s *Store) do(ctx context.Context, size int, run func(*tx) error) error {
	return s.await(ctx, &command{run: run, size: size})
}

func (s *Store) await(ctx context.Context, c *command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.done = make(chan struct{})
	if err := s.send(ctx, c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) send(ctx context.Context, c *command) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	select {
	case s.queue <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writing goroutine: it takes what waits, runs it in one transaction and answers. A caller whom somebody waits
// for is not kept waiting for others: a group is whoever came while the commit before was under way.
func (s *Store) write() {
	defer close(s.stopped)
	group := make([]*command, 0, maxGroup)
	for c := range s.queue {
		group = s.gather(append(group[:0], c))
		s.group(group)
		for i, c := range group {
			close(c.done)
			group[i] = nil
		}
	}
}

// gather adds to the group, which holds one command, whatever else is there to share its commit.
func (s *Store) gather(group []*command) []*command {
	size, lazy := group[0].size, group[0].lazy
	var company <-chan time.Time // nil until the group has to wait for company
	for len(group) < maxGroup && size < maxGroupBytes {
		var c *command
		select {
		case c = <-s.queue:
		default:
			if !lazy {
				return group
			}
			if company == nil {
				company = time.After(patience)
			}
			select {
			case c = <-s.queue:
			case <-company:
				return group
			}
		}
		if c == nil {
			return group // closed: the caller's loop ends after this group
		}
		group = append(group, c)
		size += c.size
		lazy = lazy && c.lazy
	}
	return group
}

// group runs commands in one transaction. Commands check before they write, so that nearly all refusals leave nothing
// to undo; then no savepoints are needed, which would copy every page once more. When a command fails after it has written,
// everything is rolled back and each command runs alone, with savepoints: none spoils another.
func (s *Store) group(group []*command) {
	err := s.transact(group, false)
	if !errors.Is(err, errRedo) {
		return
	}
	for _, c := range group {
		s.transact([]*command{c}, true)
	}
}

// transact runs the commands in one transaction and sets their errors. It returns errRedo when it did nothing.
func (s *Store) transact(group []*command, careful bool) error {
	err := s.inTransaction(group, careful)
	if err != nil && !errors.Is(err, errRedo) {
		err = fmt.Errorf("ledger: %w", err)
		for _, c := range group {
			c.err = err
		}
	}
	return err
}

func (s *Store) inTransaction(group []*command, careful bool) error {
	if err := s.fault("begin"); err != nil {
		return err
	}
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	t := &tx{conn: s.writer, s: s, careful: careful, last: make(map[int64]int64)}
	committed := false
	defer func() {
		if !committed {
			// After some errors SQLite has rolled back by itself and this says so; either way nothing is left.
			s.writer.exec("ROLLBACK")
		}
	}()
	wrote := s.writer.writes
	for _, c := range group {
		c.err = t.step(func() error { return c.run(t) })
		if errors.Is(c.err, errRedo) {
			return errRedo
		}
	}
	if t.broken != nil {
		return t.broken
	}
	if s.writer.writes == wrote {
		return nil // nothing to make durable
	}
	if err := t.writeTally(); err != nil {
		return err
	}
	if err := s.fault("commit-before"); err != nil {
		return err
	}
	if _, err := s.writer.exec("COMMIT"); err != nil {
		return err
	}
	committed = true
	for name, no := range t.fresh {
		s.authorities.Store(name, no)
	}
	return s.fault("commit-after")
}

func (s *Store) fault(point string) error {
	if s.o.Fault == nil {
		return nil
	}
	return s.o.Fault(point)
}

// step runs f so that it happens whole or not at all beside the other steps of the transaction.
func (t *tx) step(f func() error) error {
	if !t.careful {
		before := t.writes
		err := f()
		if err != nil && t.writes != before {
			return errRedo
		}
		return err
	}
	if t.broken != nil {
		return t.broken
	}
	last, fresh, tally := maps.Clone(t.last), maps.Clone(t.fresh), maps.Clone(t.tally)
	if _, err := t.exec("SAVEPOINT step"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		_, err = t.exec("RELEASE step")
		return err
	}
	t.last, t.fresh, t.tally = last, fresh, tally
	if _, undoErr := t.exec("ROLLBACK TO step"); undoErr != nil {
		// After a full disk or a failed write SQLite may give up the whole transaction.
		t.broken = errors.Join(err, undoErr)
		return t.broken
	}
	_, undoErr := t.exec("RELEASE step")
	return errors.Join(err, undoErr)
}

// authority returns the number of the authority, which it makes when it is new.
func (t *tx) authority(name string) (int64, error) {
	if no, ok := t.s.authorities.Load(name); ok {
		return no.(int64), nil
	}
	if no, ok := t.fresh[name]; ok {
		return no, nil
	}
	var no int64
	found, err := t.one(context.Background(), func(r row) { no = r.int(0) }, "SELECT no FROM authority WHERE name = ?", name)
	if err != nil {
		return 0, err
	}
	if found {
		t.s.authorities.Store(name, no) // rows that this transaction made stand in fresh, so this one is committed
		return no, nil
	}
	if no, err = t.insert("INSERT INTO authority (name) VALUES (?)", name); err != nil {
		return 0, err
	}
	if t.fresh == nil {
		t.fresh = make(map[string]int64)
	}
	t.fresh[name] = no
	return no, nil
}

// count adds n to a line of the tally.
func (t *tx) count(authority int64, what string, n int64) {
	if t.tally == nil {
		t.tally = make(map[tallyKey]int64)
	}
	t.tally[tallyKey{authority, what}] += n
}

func (t *tx) writeTally() error {
	for k, n := range t.tally {
		if n == 0 {
			continue
		}
		if _, err := t.exec(`INSERT INTO tally (authority, what, n) VALUES (?, ?, ?)
			ON CONFLICT (authority, what) DO UPDATE SET n = n + excluded.n`, k.authority, k.what, n); err != nil {
			return err
		}
	}
	return nil
}

// event is one line of the story, about to be written.
type event struct {
	authority, message, delivery int64 // message and delivery 0: none
	at                           value
	kind, by, detail             string
}

// record appends an event.
func (t *tx) record(e event) error {
	last, known := t.last[e.authority]
	if !known {
		_, err := t.one(context.Background(), func(r row) { last = r.int(0) },
			"SELECT seq FROM event WHERE authority = ? ORDER BY seq DESC LIMIT 1", e.authority)
		if err != nil {
			return err
		}
	}
	last++
	_, err := t.exec(`INSERT INTO event (authority, seq, message, delivery, at, kind, by, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.authority, last, number(e.message), number(e.delivery), e.at, e.kind, e.by, e.detail)
	if err != nil {
		return err
	}
	t.last[e.authority] = last
	t.count(e.authority, tallyEvents, 1)
	return nil
}

// number is a row number, or NULL for 0.
func number(n int64) value {
	if n == 0 {
		return nil
	}
	return n
}
