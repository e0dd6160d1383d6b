package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"
)

// sealBatch bounds one seal, so that a backlog of events never holds up the writer for long.
const sealBatch = 2000

// Seal extends the hash chain of each authority over its events that have none yet. Events are numbered in the order in
// which they were committed, so there is never an older one still to come.
func (s *Store) Seal(ctx context.Context, now time.Time) error {
	for {
		again := false
		err := s.do(ctx, 512, func(t *tx) error {
			again = false
			open, err := t.unsealed(ctx)
			for _, u := range open {
				if err := t.seal(ctx, u, now); err != nil {
					return err
				}
				again = again || u.newest-u.sealed > sealBatch
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("seal events: %w", err)
		}
		if !again {
			return nil
		}
	}
}

// unsealed is an authority with events behind its newest seal.
type unsealed struct {
	authority, sealed, newest int64
	hash                      []byte // of the newest seal; nil: none yet
}

func (t *tx) unsealed(ctx context.Context) (all []unsealed, err error) {
	err = t.query(ctx, func(r row) error {
		if u := (unsealed{r.int(0), r.int(1), r.int(2), r.bytes(3)}); u.newest > u.sealed {
			all = append(all, u)
		}
		return nil
	}, `SELECT a.no,
			coalesce((SELECT max(last) FROM seal WHERE authority = a.no), 0),
			coalesce((SELECT max(seq) FROM event WHERE authority = a.no), 0),
			(SELECT hash FROM seal WHERE authority = a.no ORDER BY last DESC LIMIT 1)
		FROM authority AS a`)
	return all, err
}

func (t *tx) seal(ctx context.Context, u unsealed, now time.Time) error {
	last := min(u.newest, u.sealed+sealBatch)
	sum, err := t.hashEvents(ctx, u.authority, u.sealed+1, last, u.hash)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO seal (authority, first, last, count, hash, at) VALUES (?, ?, ?, ?, ?, ?)",
		u.authority, u.sealed+1, last, last-u.sealed, sum, micros(now))
	t.count(u.authority, tallySealed, last-u.sealed)
	return err
}

// errGap says that an event is missing.
type errGap struct{ seq int64 }

func (e errGap) Error() string { return fmt.Sprintf("event %d is missing", e.seq) }

// hashEvents is SHA-256 of the seal before and the canonical form of events first to last.
func (c *conn) hashEvents(ctx context.Context, authority, first, last int64, before []byte) ([]byte, error) {
	h := sha256.New()
	h.Write(before)
	next := first
	err := c.query(ctx, func(r row) error {
		if r.int(0) != next {
			return errGap{next}
		}
		next++
		writeEvent(h, r)
		return nil
	}, eventQuery, authority, first, last)
	if err == nil && next != last+1 {
		err = errGap{next}
	}
	return h.Sum(nil), err
}

// eventQuery gives what is hashed of an event. Ids stand for row numbers, so that the chain means the same in every engine.
const eventQuery = `SELECT e.seq, a.name, coalesce(m.id, ''), coalesce(e.delivery, 0), e.at, e.kind, e.by, e.detail
	FROM event AS e JOIN authority AS a ON a.no = e.authority LEFT JOIN message AS m ON m.no = e.message
	WHERE e.authority = ? AND e.seq BETWEEN ? AND ? ORDER BY e.seq`

// writeEvent writes an event's canonical form: its fields in the order of eventQuery, numbers as 8 bytes big-endian, texts
// with their length in bytes before them. No two events have the same form.
func writeEvent(h hash.Hash, r row) {
	var b [8]byte
	for _, v := range r {
		switch v := v.(type) {
		case int64:
			binary.BigEndian.PutUint64(b[:], uint64(v))
			h.Write(b[:])
		case string:
			binary.BigEndian.PutUint64(b[:], uint64(len(v)))
			h.Write(b[:])
			h.Write([]byte(v))
		}
	}
}

// chainProblems follows each authority's chain and says where it first breaks; "" for a chain that holds. The newest
// events may not be sealed yet: then they are only counted through.
func (c *conn) chainProblems(ctx context.Context, p part) (problems []string, err error) {
	type authority struct {
		no   int64
		name string
	}
	var all []authority
	err = c.query(ctx, func(r row) error { all = append(all, authority{r.int(0), r.str(1)}); return nil }, "SELECT a.no, a.name FROM authority AS a"+p.where("a.no")+" ORDER BY a.no")
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		problem, err := c.chainProblem(ctx, a.no)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			problems = append(problems, fmt.Sprintf("The event chain of %s is broken: %s", a.name, problem))
		}
	}
	return problems, nil
}

type sealRow struct {
	first, last int64
	hash        []byte
}

func (c *conn) chainProblem(ctx context.Context, authority int64) (string, error) {
	var seals []sealRow
	err := c.query(ctx, func(r row) error {
		seals = append(seals, sealRow{r.int(0), r.int(1), r.bytes(2)})
		return nil
	}, "SELECT first, last, hash FROM seal WHERE authority = ? ORDER BY last", authority)
	if err != nil {
		return "", err
	}
	var before []byte
	sealed := int64(0)
	for _, s := range seals {
		if s.first != sealed+1 {
			return fmt.Sprintf("the seal over event %d is missing.", sealed+1), nil
		}
		sum, err := c.hashEvents(ctx, authority, s.first, s.last, before)
		if gap, ok := err.(errGap); ok {
			return gap.Error() + ".", nil
		}
		if err != nil {
			return "", err
		}
		if !bytes.Equal(sum, s.hash) {
			return fmt.Sprintf("an event from %d to %d was changed.", s.first, s.last), nil
		}
		before, sealed = s.hash, s.last
	}
	counted, err := c.tallyLine(ctx, authority, tallySealed)
	if err == nil && counted != sealed {
		return fmt.Sprintf("the seal over event %d is missing.", sealed+1), nil
	}
	if err != nil {
		return "", err
	}
	return c.tailProblem(ctx, authority, sealed)
}

func (c *conn) tallyLine(ctx context.Context, authority int64, what string) (n int64, err error) {
	_, err = c.one(ctx, func(r row) { n = r.int(0) }, "SELECT n FROM tally WHERE authority = ? AND what = ?", authority, what)
	return n, err
}

// tailProblem looks for gaps among the events that have no seal yet, and for newest ones that are gone.
func (c *conn) tailProblem(ctx context.Context, authority, sealed int64) (problem string, err error) {
	next := sealed + 1
	err = c.query(ctx, func(r row) error {
		if r.int(0) != next {
			problem = errGap{next}.Error() + "."
			return errStop
		}
		next++
		return nil
	}, "SELECT seq FROM event WHERE authority = ? AND seq > ? ORDER BY seq", authority, sealed)
	if err != nil || problem != "" {
		return problem, err
	}
	counted, err := c.tallyLine(ctx, authority, tallyEvents)
	if err == nil && counted >= next {
		problem = errGap{next}.Error() + "."
	}
	return problem, err
}
