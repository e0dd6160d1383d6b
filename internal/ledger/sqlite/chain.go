package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"postvagt/internal/ledger"
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
	sum, batch, err := t.hashEvents(ctx, u.authority, u.sealed+1, last, u.hash)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO seal (authority, first, last, count, hash, batch, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		u.authority, u.sealed+1, last, last-u.sealed, sum[:], batch[:], micros(now))
	t.count(u.authority, tallySealed, last-u.sealed)
	return err
}

// errGap says that an event is missing.
type errGap struct{ seq int64 }

func (e errGap) Error() string { return fmt.Sprintf("event %d is missing", e.seq) }

// hashEvents hashes events first to last, whole, without words or gone (ledger/chain.go): sum is their seal, batch what it is made
// of beside the seal before. errGap: one of them has left nothing.
func (c *conn) hashEvents(ctx context.Context, authority, first, last int64, before []byte) (sum, batch ledger.Hash, err error) {
	h := sha256.New()
	next := first
	err = c.query(ctx, func(r row) error {
		if r.int(0) != next {
			return errGap{next}
		}
		next++
		leaf := leafOf(r)
		h.Write(leaf[:])
		return nil
	}, leafQuery, authority, first, last, authority, first, last)
	if err == nil && next != last+1 {
		err = errGap{next}
	}
	h.Sum(batch[:0])
	return ledger.SealHash(before, batch), batch, err
}

// eventColumns are what leafOf reads. Ids stand for row numbers, so that the chain means the same in every engine.
const eventColumns = `e.seq, a.name, coalesce(m.id, ''), coalesce(e.delivery, 0), e.at, e.kind, e.by, e.detail, e.words
	FROM event AS e JOIN authority AS a ON a.no = e.authority LEFT JOIN message AS m ON m.no = e.message`

// leafQuery finds events, and the leaves of those that are gone.
const leafQuery = "SELECT " + eventColumns + ` WHERE e.authority = ? AND e.seq BETWEEN ? AND ?
	UNION ALL SELECT l.seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.hash FROM leaf AS l WHERE l.authority = ? AND l.seq BETWEEN ? AND ?
	ORDER BY 1`

// leafOf is the leaf of a row of leafQuery.
func leafOf(r row) (leaf ledger.Hash) {
	if r[1] == nil { // gone
		copy(leaf[:], r.bytes(8))
		return leaf
	}
	e := ledger.Event{Seq: r.int(0), Authority: r.str(1), Message: ledger.MessageID(r.str(2)), Delivery: ledger.DeliveryID(r.int(3)), At: r.time(4),
		Kind: r.str(5), By: r.str(6), Detail: r.str(7)}
	words := ledger.Words(e)
	if r[8] != nil {
		copy(words[:], r.bytes(8))
	}
	return ledger.Leaf(e, words)
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
	hash, batch []byte
}

// chainProblem follows one chain. An event that left nothing at all is accounted for by goneProblem.
func (c *conn) chainProblem(ctx context.Context, authority int64) (string, error) {
	var seals []sealRow
	err := c.query(ctx, func(r row) error {
		seals = append(seals, sealRow{r.int(0), r.int(1), r.bytes(2), r.bytes(3)})
		return nil
	}, "SELECT first, last, hash, batch FROM seal WHERE authority = ? ORDER BY last", authority)
	if err != nil {
		return "", err
	}
	var before []byte
	sealed, gone := int64(0), int64(0)
	for _, s := range seals {
		if s.first != sealed+1 {
			return fmt.Sprintf("the seal over event %d is missing.", sealed+1), nil
		}
		empty, problem, err := c.sealProblem(ctx, authority, s, before)
		if err != nil || problem != "" {
			return problem, err
		}
		if empty {
			gone += s.last - s.first + 1
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
	if problem, err := c.goneProblem(ctx, authority, gone); err != nil || problem != "" {
		return problem, err
	}
	return c.tailProblem(ctx, authority, sealed)
}

// sealProblem proves one seal from its events and leaves. Of a batch of which nothing is left, empty, the hash stands for it.
func (c *conn) sealProblem(ctx context.Context, authority int64, s sealRow, before []byte) (empty bool, problem string, err error) {
	sum, batch, err := c.hashEvents(ctx, authority, s.first, s.last, before)
	if gap, ok := err.(errGap); ok {
		if gap.seq == s.first {
			left, err := c.one(ctx, func(row) {}, leafQuery+" LIMIT 1", authority, s.first, s.last, authority, s.first, s.last)
			if err != nil || left {
				return false, gap.Error() + ".", err
			}
			copy(batch[:], s.batch)
			sum, empty, err = ledger.SealHash(before, batch), true, nil
		} else {
			return false, gap.Error() + ".", nil
		}
	} else if err != nil {
		return false, "", err
	}
	if !bytes.Equal(sum[:], s.hash) || !bytes.Equal(batch[:], s.batch) {
		return empty, fmt.Sprintf("an event from %d to %d was changed.", s.first, s.last), nil
	}
	return empty, "", nil
}

// goneProblem compares the events that are gone, of which inEmpty left no leaf, with what the proofs say.
func (c *conn) goneProblem(ctx context.Context, authority, inEmpty int64) (string, error) {
	var leaves, proven int64
	_, err := c.one(ctx, func(r row) { leaves, proven = r.int(0), r.int(1) },
		"SELECT (SELECT count(*) FROM leaf WHERE authority = ?1), (SELECT coalesce(sum(events), 0) FROM proof WHERE authority = ?1)", authority)
	if err != nil || leaves+inEmpty == proven {
		return "", err
	}
	return fmt.Sprintf("%d events are gone, but retention has proofs for %d.", leaves+inEmpty, proven), nil
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
