// Package postgres keeps the ledger in a PostgreSQL database (14 or newer) that any number of nodes share. The laws stand in
// migrations/ as constraints and triggers and in the steps as code, as in package sqlite.
//
// What is open stands in the table delivery, the queue; what has ended moves to delivery_final in the transaction that ends it. That
// one, and what belongs to messages, is partitioned by month (partition.go). Writers never wait for one another where they do not
// touch the same delivery: work is claimed with SKIP LOCKED, events are appended without a number and get it when they are sealed, and
// sums are kept in slots, one for each connection. Nothing rests on transaction ids, so that a dump can be restored anywhere.
//
// Beyond plain SQL this uses: INSERT … ON CONFLICT, UPDATE … RETURNING, FOR UPDATE SKIP LOCKED, range partitions, partial indexes, row
// triggers in PL/pgSQL, transaction-level advisory locks (only for migrations, partitions, sealing, retention and beats) and sequences.
// No LISTEN, no temporary tables, no extensions, no large objects, no two-phase commit, no session state beyond settings.
//
// Times are kept in microseconds. Texts that PostgreSQL cannot hold (bytes that are no UTF-8, NUL) are escaped (text.go).
package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"postvagt/internal/ledger"
)

// Options of Open.
type Options struct {
	// Serve makes the ledger where there is none, and brings its schema up to date. Without it both are errors.
	Serve bool
	// Conns is the most connections at a time; 0: 16, or what the address says (pool_max_conns).
	Conns int
	// Timeout is how long a step may take before the database counts as hung; 0: 10 s. Verify, migrations and the removal of a month take their time.
	Timeout time.Duration
	// Connected, when set, is told of every new connection before it is used: it may lead to another server than the last, or to one
	// that was brought back to an earlier time.
	Connected func()
	// Fault, when set, is asked before each durable step: at "begin" (before the transaction), "commit-before" and "commit-after". An
	// error makes the step fail: the first two as not done, the last as done, but reported failed. For tests.
	Fault func(point string) error
}

// Store is a ledger in a database. Safe for concurrent use.
type Store struct {
	o    Options
	pool *pgxpool.Pool

	mu     sync.RWMutex // held for reading by every step, so that Close waits for them
	closed bool

	authorities sync.Map // name → int32; rows of authority are never taken back

	slots struct {
		sync.Mutex
		next int32
	}
	partitions struct {
		sync.Mutex
		looked time.Time // when partitions were last seen to
	}
}

var (
	_ ledger.Store   = (*Store)(nil)
	_ ledger.Cluster = (*Store)(nil)
	_ ledger.Parted  = (*Store)(nil)
	_ ledger.Chained = (*Store)(nil)
)

// Open connects to the database at dsn, a postgres:// URL or key=value words; several hosts may be named, and the one that takes
// writes is used. ErrNewer: the schema is newer than this program's. Errors never show the password.
func Open(ctx context.Context, dsn string, o Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open ledger in PostgreSQL: %w", err)
		}
	}()
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	s := &Store{o: o}
	s.slots.next = rand.Int32N(slots)
	if s.pool, err = s.connect(ctx, dsn); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.pool.Close()
		return nil, err
	}
	return s, nil
}

// prepare sees to the schema.
func (s *Store) prepare(ctx context.Context) error {
	if !s.o.Serve {
		return s.checkSchema(ctx)
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return s.makePartitions(ctx, time.Now())
}

// Close waits for what is under way, seals the events and closes all connections. A second Close does nothing.
func (s *Store) Close() error {
	// When sealing fails the events are as safe as before, and are sealed by the next Seal of any node.
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
	defer cancel()
	sealErr := s.Seal(ctx, time.Now().UTC())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.pool.Close()
	if errors.Is(sealErr, ledger.ErrClosed) {
		sealErr = nil
	}
	return sealErr
}
