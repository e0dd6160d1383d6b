package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/ledger"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered step of the schema. A step that was released is never edited.
type migration struct {
	version int
	text    string
}

// migrations lists the steps in order.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(all)+1 {
			return nil, fmt.Errorf("migration %s: wrong number", name)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version, string(text)})
	}
	return all, nil
}

// Advisory locks of this program. Their first key is its own: "pv".
const (
	lockClass      = 0x7076
	lockMigrate    = 1
	lockPartitions = 2
	lockSeal       = 3
	lockPrune      = 4
	lockBeat       = 5
)

// ErrNoLedger: the database holds no ledger, or one that has to be upgraded, and Options.Serve is not set.
var ErrNoLedger = errors.New("the database holds no ledger of this version: start the guard, which makes or upgrades it")

// checkSchema refuses a schema that is not this program's.
func (s *Store) checkSchema(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	version := 0
	err = s.read(ctx, func(t *tx) (err error) {
		version, err = t.schemaVersion()
		return err
	})
	switch {
	case err != nil:
		return err
	case version < len(all):
		return ErrNoLedger
	}
	return refuseNewer(version, all)
}

func refuseNewer(version int, all []migration) error {
	if version <= len(all) {
		return nil
	}
	return fmt.Errorf("%w: its schema is %d, this postvagt knows %d: install the newer one again", ledger.ErrNewer, version, len(all))
}

// schemaVersion is 0 where there is no ledger.
func (t *tx) schemaVersion() (version int, err error) {
	there, err := t.exists("SELECT 1 WHERE to_regclass('schema_version') IS NOT NULL")
	if err != nil || !there {
		return 0, err
	}
	_, err = t.one(func(r row) { version = int(r.int(0)) }, "SELECT coalesce(max(version), 0) FROM schema_version")
	return version, err
}

// migrate brings the schema up to date, each step in a transaction of its own with its number in schema_version, so
// that dying in between leaves a whole schema. Nodes that start at the same time wait for each other. It refuses a schema newer than itself.
func (s *Store) migrate(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for done := false; !done; {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			done, err = migrateOne(ctx, tx, all)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func migrateOne(ctx context.Context, tx pgx.Tx, all []migration) (done bool, err error) {
	version := 0
	if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true)"); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", lockClass, lockMigrate); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"); err != nil {
		return false, err
	}
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version); err != nil {
		return false, err
	}
	if err := refuseNewer(version, all); err != nil {
		return false, err
	}
	if version == len(all) {
		return true, nil
	}
	next := all[version]
	// Several statements: the simple protocol.
	if _, err := tx.Conn().PgConn().Exec(ctx, next.text).ReadAll(); err != nil {
		return false, fmt.Errorf("migration %d: %w", next.version, err)
	}
	_, err = tx.Exec(ctx, "INSERT INTO schema_version (version) VALUES ($1)", next.version)
	return false, err
}
