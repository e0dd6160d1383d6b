package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"postvagt/internal/ledger"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered step of the schema. A step that was released is never edited.
type migration struct {
	version int64
	text    string
	then    func(*conn) error // in the same transaction, after the text; nil: nothing
}

// thens are the parts of migrations that SQL alone cannot do, by version.
var thens = map[int64]func(*conn) error{3: rechain}

// migrations lists the steps in order.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(len(all)+1) {
			return nil, fmt.Errorf("migration %s: wrong number", name)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version, string(text), thens[version]})
	}
	return all, nil
}

// migrate brings the schema up to date, each step in a transaction of its own with its number in user_version, so
// that dying in between leaves a whole schema. It refuses a schema newer than itself.
func migrate(c *conn) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	for {
		done, err := migrateOne(c, all)
		if err != nil || done {
			return err
		}
	}
}

// migrationDue reports whether the schema is older than this program. ErrNewer: it is newer.
func migrationDue(c *conn) (bool, error) {
	all, err := migrations()
	if err != nil {
		return false, err
	}
	version, err := schemaVersion(c)
	if err != nil {
		return false, err
	}
	return version < int64(len(all)), refuseNewer(version, all)
}

func schemaVersion(c *conn) (version int64, err error) {
	_, err = c.one(context.Background(), func(r row) { version = r.int(0) }, "PRAGMA user_version")
	return version, err
}

func refuseNewer(version int64, all []migration) error {
	if version <= int64(len(all)) {
		return nil
	}
	return fmt.Errorf("%w: its schema is %d, this postvagt knows %d: install the newer one again", ledger.ErrNewer, version, len(all))
}

func migrateOne(c *conn, all []migration) (done bool, err error) {
	// The version is read inside the transaction: another process may be opening the same file.
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return false, err
	}
	defer func() {
		if err != nil || done {
			c.exec("ROLLBACK")
		}
	}()
	version, err := schemaVersion(c)
	if err != nil {
		return false, err
	}
	if err := refuseNewer(version, all); err != nil {
		return false, err
	}
	if version == int64(len(all)) {
		return true, nil
	}
	next := all[version]
	if err := c.script(next.text); err != nil {
		return false, fmt.Errorf("migration %d: %w", next.version, err)
	}
	if next.then != nil {
		if err := next.then(c); err != nil {
			return false, fmt.Errorf("migration %d: %w", next.version, err)
		}
		if err := c.forget(); err != nil { // statements over tables that are no more
			return false, err
		}
	}
	if err := c.script(fmt.Sprintf("PRAGMA user_version = %d", next.version)); err != nil {
		return false, err
	}
	_, err = c.exec("COMMIT")
	return false, err
}
