package postgres

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postvagt/internal/ledger"
)

// tx is one transaction. What it writes is queued and sent together with the next question, or with the commit, so that most steps
// cost one or two exchanges with the server.
type tx struct {
	s      *Store
	ctx    context.Context
	conn   *pgxpool.Conn
	batch  *pgx.Batch
	writes int // statements queued that write, ever
	sent   int // of them, how many went out
	tally  map[int32]counts
}

// errDoubt: the server committed, but perhaps without its standby.
var errDoubt = errors.New("the commit may be lost with its server: its standby did not confirm it")

// mostTries bounds how often a transaction that met another is repeated.
const mostTries = 6

// do runs f in a transaction that writes, and commits. f may run more than once and sets its results anew each time.
func (s *Store) do(ctx context.Context, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := s.once(ctx, f)
		if err == nil || try == mostTries || ctx.Err() != nil || !again(err) {
			return err
		}
	}
}

// read runs f in one snapshot of the ledger.
func (s *Store) read(ctx context.Context, f func(*tx) error) error { return s.look(ctx, false, f) }

// look is read, which takes as long as ctx lets it when long is set.
func (s *Store) look(ctx context.Context, long bool, f func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	if !long {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.o.Timeout)
		defer cancel()
	}
	for try := 1; ; try++ {
		err := s.onceReading(ctx, long, f)
		if err == nil || try == mostTries || ctx.Err() != nil || !again(err) {
			return err
		}
	}
}

func (s *Store) onceReading(ctx context.Context, long bool, f func(*tx) error) error {
	t, err := s.acquire(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if err != nil {
		return err
	}
	if long {
		t.ask(nil, "SET LOCAL statement_timeout = 0")
		t.ask(nil, "SET LOCAL idle_in_transaction_session_timeout = 0")
	}
	err = f(t)
	if err == nil && t.batch.Len() > 1 { // questions that nobody waited for yet
		err = t.flush()
	}
	t.release(err)
	return err
}

func (s *Store) fault(point string) error {
	if s.o.Fault == nil {
		return nil
	}
	return s.o.Fault(point)
}

func (s *Store) acquire(ctx context.Context, begin string) (*tx, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	t := &tx{s: s, ctx: ctx, conn: conn, batch: &pgx.Batch{}}
	t.batch.Queue(begin)
	return t, nil
}

// once runs f in one transaction.
func (s *Store) once(ctx context.Context, f func(*tx) error) (err error) {
	if err := s.fault("begin"); err != nil {
		return err
	}
	t, err := s.acquire(ctx, "BEGIN")
	if err != nil {
		return err
	}
	defer func() { t.release(err) }()
	if err := f(t); err != nil {
		return err
	}
	if t.writes == 0 {
		return nil // nothing to make durable
	}
	if err := s.fault("commit-before"); err != nil {
		return err
	}
	if err := t.commit(); err != nil {
		return err
	}
	return s.fault("commit-after")
}

func (t *tx) commit() error {
	session := sessionOf(t.conn.Conn().PgConn())
	t.writeTally(session.slot)
	t.batch.Queue("COMMIT")
	session.doubt.Store(false)
	if err := t.flush(); err != nil {
		return err
	}
	if session.doubt.Load() {
		return errDoubt
	}
	return nil
}

// release gives the connection back, or throws it away when its server no longer serves.
func (t *tx) release(err error) {
	defer t.conn.Release()
	if lost(err) {
		// Connections that wait in the pool lead to the same server.
		discard(t.conn)
		t.s.pool.Reset()
		return
	}
	if c := t.conn.Conn(); c.IsClosed() || idle(c) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		discard(t.conn)
	}
}

// confirm makes the commit of a transaction that changes nothing wait until everything it has seen is durable, on the standby too. What
// it found done may be a commit that was reported failed, and stands so far in this server alone.
func (t *tx) confirm() {
	t.exec("INSERT INTO fact (name, value) VALUES ($1, '') ON CONFLICT (name) DO UPDATE SET value = ''",
		"confirmed "+strconv.Itoa(int(sessionOf(t.conn.Conn().PgConn()).slot)))
}

// exec queues a statement that writes.
func (t *tx) exec(query string, args ...any) {
	t.writes++
	t.batch.Queue(query, escaped(args)...)
}

// ask queues a question; f gets each row of the answer when it is sent: see flush. nil f: the answer does not matter.
func (t *tx) ask(f func(row) error, query string, args ...any) {
	q := t.batch.Queue(query, escaped(args)...)
	if f == nil {
		return
	}
	q.Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rowOf(rows)); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// flush sends what is queued and hands out the answers. An error means that the transaction is lost.
func (t *tx) flush() error {
	b := t.batch
	t.batch = &pgx.Batch{}
	t.sent = t.writes
	if b.Len() == 0 {
		return nil
	}
	return t.conn.SendBatch(t.ctx, b).Close()
}

// query asks and waits for the answer.
func (t *tx) query(f func(row) error, query string, args ...any) error {
	t.ask(f, query, args...)
	return t.flush()
}

// one asks for at most one row.
func (t *tx) one(f func(row), query string, args ...any) (found bool, err error) {
	err = t.query(func(r row) error {
		if !found {
			f(r)
		}
		found = true
		return nil
	}, query, args...)
	return found, err
}

func (t *tx) exists(query string, args ...any) (bool, error) {
	return t.one(func(row) {}, query, args...)
}

// escaped is args with texts that can be stored. The caller's own stay as they are: a transaction that is repeated passes them again.
func escaped(args []any) []any {
	args = slices.Clone(args)
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = escape(a)
		case []string:
			all := make([]string, len(a))
			for j, s := range a {
				all[j] = escape(s)
			}
			args[i] = all
		}
	}
	return args
}

// step runs f so that it happens whole or not at all: when it refuses, what it had queued is taken back. A redoError when that is
// too late.
func (t *tx) step(f func() error) error {
	batch, keep, writes, tally := t.batch, t.batch.Len(), t.writes, maps.Clone(t.tally)
	err := f()
	if err == nil || t.writes == writes {
		return err
	}
	if t.sent > writes {
		return redoError{err}
	}
	if t.batch != batch {
		keep = 0 // what stood before has been sent meanwhile
	}
	t.batch.QueuedQueries = t.batch.QueuedQueries[:keep]
	t.writes, t.tally = writes, tally
	return err
}

// redoError: a step failed after it had written, in a transaction that others share.
type redoError struct{ error }

func (e redoError) Unwrap() error { return e.error }

// counts are changes to the tally of one authority.
type counts struct {
	accepted, events, sealed int64
	states                   [6]int64 // in the order of ledger.States
}

func (t *tx) count(authority int32, f func(*counts)) {
	if t.tally == nil {
		t.tally = make(map[int32]counts)
	}
	c := t.tally[authority]
	f(&c)
	t.tally[authority] = c
}

// countState adds n to a state's line.
func (t *tx) countState(authority int32, st ledger.State, n int64) {
	t.count(authority, func(c *counts) { c.states[slices.Index(ledger.States, st)] += n })
}

const tallyQuery = `INSERT INTO tally AS t (authority, slot, accepted, queued, held, "returning", delivered, returned, withdrawn, events, sealed)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
	ON CONFLICT (authority, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted, queued = t.queued + excluded.queued,
		held = t.held + excluded.held, "returning" = t."returning" + excluded."returning", delivered = t.delivered + excluded.delivered,
		returned = t.returned + excluded.returned, withdrawn = t.withdrawn + excluded.withdrawn, events = t.events + excluded.events,
		sealed = t.sealed + excluded.sealed`

// writeTally comes last before the commit, so that a slot that two share is held for no longer than that.
func (t *tx) writeTally(slot int32) {
	for _, authority := range slices.SortedFunc(maps.Keys(t.tally), cmp.Compare[int32]) {
		c := t.tally[authority]
		if c == (counts{}) {
			continue
		}
		t.exec(tallyQuery, authority, slot, c.accepted, c.states[0], c.states[1], c.states[2], c.states[3], c.states[4], c.states[5], c.events, c.sealed)
	}
}
