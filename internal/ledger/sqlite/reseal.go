package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"

	"postvagt/internal/ledger"
)

// resealBatch is how many sealed things one transaction of Reseal takes.
const resealBatch = 64

// sealedThings are the columns that hold sealed bytes, each with how to walk (%s: a condition on m, the message) and how to replace.
var sealedThings = []struct{ list, get, put string }{
	{
		"SELECT b.no, m.id FROM body AS b JOIN message AS m ON m.no = b.no / 8 WHERE b.no > ?%s ORDER BY b.no LIMIT ?",
		"SELECT data FROM body WHERE no = ?",
		"UPDATE body SET data = ? WHERE no = ?",
	},
	{
		"SELECT m.no, m.id FROM message AS m WHERE m.no > ? AND m.sender_sealed IS NOT NULL%s ORDER BY m.no LIMIT ?",
		"SELECT sender_sealed FROM message WHERE no = ?",
		"UPDATE message SET sender_sealed = ? WHERE no = ?",
	},
	{
		"SELECT d.no, m.id FROM delivery AS d JOIN message AS m ON m.no = d.message WHERE d.no > ? AND d.recipient_sealed IS NOT NULL%s ORDER BY d.no LIMIT ?",
		"SELECT recipient_sealed FROM delivery WHERE no = ?",
		"UPDATE delivery SET recipient_sealed = ? WHERE no = ?",
	},
}

// Reseal walks the sealed bodies and addresses through f, in batches of their own transactions: mail goes on meanwhile. f may return nil
// to leave one as it is; it must not use the ledger, whose writer waits for it. n is how many were replaced. Dying half-way leaves some sealed anew and some not; both are readable
// while the key file holds both keys, and Reseal can simply run again.
func (s *Store) Reseal(ctx context.Context, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	return s.reseal(ctx, whole, f)
}

func (s *Store) reseal(ctx context.Context, p part, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	for _, thing := range sealedThings {
		after := int64(0)
		for {
			var last int64
			done, replaced := false, 0
			err := s.do(ctx, resealBatch*4096, func(t *tx) (err error) {
				last, replaced, err = t.reseal(ctx, fmt.Sprintf(thing.list, p.and("m.authority")), thing.get, thing.put, after, f)
				done = last == after
				return err
			})
			if err != nil {
				return n, fmt.Errorf("reseal: %w", err)
			}
			n, after = n+replaced, last
			if done {
				break
			}
		}
	}
	return n, nil
}

func (t *tx) reseal(ctx context.Context, list, get, put string, after int64, f func(string, []byte) ([]byte, error)) (last int64, replaced int, err error) {
	type item struct {
		no int64
		id string
	}
	var items []item
	err = t.query(ctx, func(r row) error { items = append(items, item{r.int(0), r.str(1)}); return nil }, list, after, int64(resealBatch))
	if err != nil {
		return after, 0, err
	}
	last = after
	for _, it := range items {
		last = it.no
		var old []byte
		if _, err := t.one(ctx, func(r row) { old = r.bytes(0) }, get, it.no); err != nil {
			return after, 0, err
		}
		fresh, err := f(it.id, old)
		if err != nil {
			return after, 0, fmt.Errorf("message %s: %w", it.id, err)
		}
		if fresh == nil {
			continue
		}
		if _, err := t.exec(put, fresh, it.no); err != nil {
			return after, 0, err
		}
		replaced++
	}
	return last, replaced, nil
}

// Backup writes a whole, consistent copy of the ledger to path, which must not exist, while the work goes on. The copy is a
// ledger like any other; without the key file its mail cannot be read.
func (s *Store) Backup(ctx context.Context, path string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	// A connection of its own, which may write: VACUUM INTO does not write in this file, but query_only forbids it.
	c, err := openConn(s.path, fmt.Sprintf("busy_timeout(%d)", s.o.busyAfter.Milliseconds()))
	if err != nil {
		return fmt.Errorf("back up ledger: %w", err)
	}
	defer c.close()
	// SQLite would make the copy readable for others; it accepts an empty file instead of none.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("back up ledger: %w", err)
	}
	defer f.Close()
	if _, err := c.exec("VACUUM INTO ?", path); err != nil {
		return errors.Join(fmt.Errorf("back up ledger to %s: %w", path, err), os.Remove(path))
	}
	// SQLite does not flush what it vacuumed into.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("back up ledger to %s: %w", path, err)
	}
	return nil
}

// CheckIntegrity has SQLite read every page and compare every index with its rows. It returns what is wrong, as complete
// sentences; nil when nothing is. It takes about as long as reading the file.
func (s *Store) CheckIntegrity(ctx context.Context) (problems []string, err error) {
	err = s.read(ctx, func(c *conn) error {
		err := c.query(ctx, func(r row) error {
			if r.str(0) != "ok" {
				problems = append(problems, fmt.Sprintf("The ledger file is damaged: %s.", r.str(0)))
			}
			return nil
		}, "PRAGMA integrity_check")
		if err != nil {
			return err
		}
		return c.query(ctx, func(r row) error {
			problems = append(problems, fmt.Sprintf("Row %d of %s points to a row of %s that does not exist.", r.int(1), r.str(0), r.str(2)))
			return nil
		}, "PRAGMA foreign_key_check")
	})
	if err != nil {
		return nil, fmt.Errorf("check ledger file: %w", err)
	}
	return problems, nil
}
