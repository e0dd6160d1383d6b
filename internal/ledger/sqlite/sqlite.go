// Package sqlite keeps the ledger in one SQLite file: WAL, synchronous=FULL, one writing connection, separate reading
// ones. It is the embedded engine; the laws stand in migrations/ as constraints and in the steps as code.
//
// All writing goes through one goroutine (writer.go) that runs all commands waiting in one transaction: concurrent
// callers share a commit and so a flush. Another process may open the same file at the same time, to release or withdraw
// something: SQLite's own locks keep them apart. Serving is for one process at a time: Options.Exclusive.
//
// Times are kept in microseconds, UTC.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"postvagt/internal/ledger"
)

// Options of Open. The zero value is a store beside others.
type Options struct {
	// Exclusive takes the serve lock: a lock on the file path + ".lock", which goes with the process however it ends.
	Exclusive bool
	// Readers is the number of reading connections; 0: 4.
	Readers int
	// Fault, when set, is asked before each durable step, by the one writing goroutine: at "begin" (before the transaction),
	// "commit-before" and "commit-after". An error makes the step fail: the first two as not done, the last as done,
	// but reported failed. For tests.
	Fault func(point string) error

	pageSize  int // for the benchmark; 0: the chosen one
	cacheKiB  int
	walPages  int
	busyAfter time.Duration
}

// Store is a ledger in one file. Safe for concurrent use.
type Store struct {
	path    string
	o       Options
	lock    *os.File
	writer  *conn      // owned by the writing goroutine
	readers chan *conn // idle reading connections

	mu      sync.RWMutex // guards closed, and keeps Close from closing commands under a sender
	closed  bool
	queue   chan *command
	stopped chan struct{} // closed when the writing goroutine has ended

	authorities sync.Map // name → int64; only committed ones
}

var _ ledger.Store = (*Store)(nil)

// Open opens the ledger in the file, which it makes when there is none. Nothing is written in the file but
// by this package. ErrNewer: the file's schema is newer than this program's.
func Open(path string, o Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open ledger %s: %w", path, err)
		}
	}()
	o = o.withDefaults()
	s := &Store{path: path, o: o, queue: make(chan *command, maxGroup), stopped: make(chan struct{})}
	if o.Exclusive {
		if s.lock, err = lockFile(path + ".lock"); err != nil {
			return nil, err
		}
	}
	if err := s.openConns(); err != nil {
		s.closeConns()
		return nil, err
	}
	go s.write()
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.pageSize == 0 {
		o.pageSize = 4096
	}
	if o.cacheKiB == 0 {
		o.cacheKiB = 16 << 10
	}
	if o.walPages == 0 {
		o.walPages = (16 << 20) / o.pageSize
	}
	if o.busyAfter == 0 {
		o.busyAfter = 10 * time.Second
	}
	return o
}

func (s *Store) openConns() (err error) {
	if err := create(s.path); err != nil {
		return err
	}
	busy := fmt.Sprintf("busy_timeout(%d)", s.o.busyAfter.Milliseconds())
	s.writer, err = openConn(s.path, busy,
		fmt.Sprintf("page_size(%d)", s.o.pageSize), // of a fresh file
		"journal_mode(wal)", "synchronous(full)", "foreign_keys(on)", "temp_store(memory)", "trusted_schema(off)",
		"secure_delete(fast)", // what is freed within a page is overwritten; retention (prune.go) overwrites whole pages too
		// The WAL is written back every 16 MiB, and each page that was used again and again only once. Measured with BenchmarkLife
		// at 100 KiB: 4 MiB cost a tenth more CPU, 64 MiB saved nothing more and made its callers wait longer each time.
		fmt.Sprintf("wal_autocheckpoint(%d)", s.o.walPages),
		fmt.Sprintf("journal_size_limit(%d)", 2*s.o.walPages*s.o.pageSize),
		fmt.Sprintf("cache_size(-%d)", s.o.cacheKiB))
	if err != nil {
		return err
	}
	s.writer.deaf = true
	if err := s.upgrade(); err != nil {
		return err
	}
	s.readers = make(chan *conn, s.o.Readers)
	for range s.o.Readers {
		r, err := openConn(s.path, busy, "query_only(on)", "temp_store(memory)", "trusted_schema(off)")
		if err != nil {
			return err
		}
		s.readers <- r
	}
	return nil
}

// create makes the file, for nobody else to read, for it holds mail; SQLite gives its WAL the same mode. A file that is there
// is not even opened: closing it would end the locks that another Store of this process has on it.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// upgrade brings the schema up to date. A store beside the one that serves must not change it under that one's feet.
func (s *Store) upgrade() error {
	due, err := migrationDue(s.writer)
	if err != nil || !due {
		return err
	}
	if !s.o.Exclusive {
		lock, err := lockFile(s.path + ".lock")
		if err != nil {
			return fmt.Errorf("its schema has to be upgraded: %w", err)
		}
		defer lock.Close()
	}
	return migrate(s.writer)
}

// lockFile takes the serve lock. The lock is the kernel's: it goes when the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("another postvagt serves this ledger (it holds the lock %s): stop it first, or give this one a ledger of its own", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Close answers what waits, seals the events and closes the file; the last to close it writes the WAL back. A second Close does nothing.
func (s *Store) Close() error {
	// Sealing is the last command; when it fails the events are as safe as before, and are sealed by the next Open's Seal.
	sealErr := s.Seal(context.Background(), time.Now().UTC())
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.stopped
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.stopped
	if errors.Is(sealErr, ledger.ErrClosed) {
		sealErr = nil
	}
	return errors.Join(sealErr, s.closeConns())
}

func (s *Store) closeConns() error {
	var errs []error
	if s.readers != nil {
		for range len(s.readers) { // on Open's way out there may be fewer than Options.Readers
			errs = append(errs, (<-s.readers).close())
		}
	}
	if s.writer != nil {
		// The last one to close writes the WAL back and removes it.
		errs = append(errs, s.writer.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// read runs f with a reading connection, in one snapshot of the ledger.
func (s *Store) read(ctx context.Context, f func(*conn) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock() // Close waits for readers
	if s.closed {
		return ledger.ErrClosed
	}
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.readers <- c }()
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("COMMIT")
	return f(c)
}
