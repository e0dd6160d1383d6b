package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"postvagt/internal/bucket"
	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/move"
	"postvagt/internal/ledger/offload"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/witness"
)

// purpose is what a ledger is opened for.
type purpose int

const (
	beside  purpose = iota // to look or to act beside guards that may be at work
	serving                // to be the guard: makes the ledger when there is none, and brings its schema up to date
)

// openStore opens the ledger, in whichever engine it is and wherever its bodies lie: no command knows more than ledger.Store.
func openStore(ctx context.Context, c *config.Config, p purpose) (*offload.Store, error) {
	b, err := openBucket(c.Bodies)
	if err != nil {
		return nil, err
	}
	engine, err := openEngine(ctx, c, p)
	if err != nil {
		return nil, err
	}
	// In front of every ledger, also one without a bucket: it may hold references from when there was one.
	return offload.New(engine, offload.Options{Bucket: b, Write: c.Bodies.New}), nil
}

// openBucket makes the client of the object store; nil when the configuration names none.
func openBucket(c config.Bodies) (bucket.Bucket, error) {
	s := c.S3
	if s == nil {
		return nil, nil
	}
	return bucket.Open(bucket.Options{Endpoint: s.Endpoint, Bucket: s.Bucket, Region: s.Region, Prefix: s.Prefix, PathStyle: s.PathStyle,
		RootCAs: s.RootCAs, Keys: bucket.Keys(s.Keys)})
}

func openEngine(ctx context.Context, c *config.Config, p purpose) (ledger.Store, error) {
	if c.Store.Postgres != "" {
		return openDatabase(ctx, c, p)
	}
	return openFile(c, p)
}

func openFile(c *config.Config, p purpose) (ledger.Store, error) {
	file := c.Store.SQLite
	if _, err := os.Stat(file); err != nil && p == beside {
		return nil, fmt.Errorf("there is no ledger at %s: the guard has not run with this configuration yet (%w)", file, err)
	}
	s, err := sqlite.Open(file, sqlite.Options{Exclusive: p == serving})
	if err != nil {
		return nil, err
	}
	if err := stillHere(s, file); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// stillHere refuses a file whose ledger was moved elsewhere: two would count the same mail, and send it twice.
func stillHere(s *sqlite.Store, file string) error {
	went, err := move.Went(context.Background(), s)
	if err != nil || went == nil {
		return err
	}
	return fmt.Errorf("the ledger %s was moved to %s on %s, and is served there: use a configuration with store: {postgres: …}.\n"+
		"Only if no guard has run there since: 'postvagt migrate-store --undo' takes the ledger back into use here", file, went.To, clock(went.At))
}

// folderOf makes the folder of a ledger's file at the first start. Where the folder around it is missing too, the path is more
// likely wrong.
func folderOf(c *config.Config, say io.Writer) error {
	dir := filepath.Dir(c.Store.SQLite)
	if c.Store.SQLite == "" || isDir(dir) {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("the folder %s of store.sqlite does not exist and cannot be made (%w): make it, owned by the user the guard runs as, mode 0700", dir, err)
	}
	fmt.Fprintf(say, "postvagt: made the folder %s for the ledger.\n", dir)
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// firstStart reports whether there is certainly no ledger yet, so that keys may be made without asking. A database may have
// been served by another guard, whose keys this one must get.
func firstStart(c *config.Config) bool {
	if c.Store.Postgres != "" {
		return false
	}
	_, err := os.Stat(c.Store.SQLite)
	return errors.Is(err, fs.ErrNotExist)
}

// where names the ledger for people.
func where(c *config.Config) string {
	if c.Store.Postgres != "" {
		return c.Store.Postgres.String()
	}
	return c.Store.SQLite
}

func openDatabase(ctx context.Context, c *config.Config, p purpose) (ledger.Store, error) {
	if p == beside {
		return postgres.Open(ctx, string(c.Store.Postgres), postgres.Options{})
	}
	d := &database{}
	s, err := postgres.Open(ctx, string(c.Store.Postgres), postgres.Options{Serve: true, Connected: d.connected})
	if err != nil {
		return nil, err
	}
	d.Store = s
	if w, err := witness.New(seenFile(c), s); err != nil {
		s.Close()
		return nil, err
	} else {
		d.witness.Store(w)
	}
	return d, nil
}

// database is a ledger in PostgreSQL as a guard serves it: it may be brought back to an earlier time while it is in use. No work is
// taken from it over a connection that nobody has looked over.
type database struct {
	*postgres.Store
	witness atomic.Pointer[witness.Witness] // nil: it is being opened
}

func (d *database) connected() {
	if w := d.witness.Load(); w != nil {
		w.Connected()
	}
}

func (d *database) Claim(ctx context.Context, now time.Time, c ledger.Claim) ([]ledger.Claimed, error) {
	w := d.witness.Load()
	if err := w.Sure(ctx); err != nil {
		return nil, err
	}
	work, err := d.Store.Claim(ctx, now, c)
	if err != nil {
		return nil, err
	}
	if err := w.Sure(ctx); err != nil {
		return nil, err // its leases run out, and mark it
	}
	return work, nil
}

func (d *database) Apply(ctx context.Context, changes ...ledger.Change) []error {
	errs := d.Store.Apply(ctx, changes...)
	d.witness.Load().Acked(changes, errs)
	return errs
}
