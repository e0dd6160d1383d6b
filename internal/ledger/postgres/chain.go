package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"math"
	"time"

	"postvagt/internal/ledger"
)

// sealBatch bounds one seal.
const sealBatch = 2000

// Seal numbers the committed events that have no number yet, in about the order in which they happened, and extends the hash chain of
// each authority over them. One node at a time does it; who finds another at it has nothing to do. It also makes partitions ahead.
func (s *Store) Seal(ctx context.Context, now time.Time) error {
	for {
		n := 0
		err := s.do(ctx, func(t *tx) (err error) {
			n, err = t.seal(now)
			return err
		})
		if err != nil {
			return fmt.Errorf("seal events: %w", err)
		}
		if n < sealBatch {
			break
		}
	}
	if err := s.keepPartitions(ctx, now); err != nil {
		return fmt.Errorf("seal events: %w", err)
	}
	return nil
}

// freshRow is an event that waits for its number.
type freshRow struct {
	no        int64
	authority int32
	ledger.Event
}

// seal moves at most sealBatch events. What is visible is committed, and what is not is taken next time: an event's number does not
// depend on who began first.
func (t *tx) seal(now time.Time) (n int, err error) {
	mine := false
	t.ask(func(r row) error { mine = r.bool(0); return nil }, "SELECT pg_try_advisory_xact_lock($1, $2)", lockClass, lockSeal)
	if err := t.flush(); err != nil || !mine {
		return 0, err
	}
	var fresh []freshRow
	err = t.query(func(r row) error {
		fresh = append(fresh, freshRow{no: r.int(0), authority: int32(r.int(1)), Event: ledger.Event{
			Authority: r.str(2), Message: ledger.MessageID(r.str(3)), Delivery: ledger.DeliveryID(r.int(4)), At: r.time(5), Kind: r.str(6), By: r.str(7), Detail: r.str(8),
		}})
		return nil
	}, `SELECT e.no, e.authority, a.name, e.message, e.delivery, e.at, e.kind, e.by, e.detail
		FROM event_fresh AS e JOIN authority AS a ON a.no = e.authority ORDER BY e.no LIMIT $1`, sealBatch)
	if err != nil || len(fresh) == 0 {
		return 0, err
	}
	if err := t.number(fresh, now); err != nil {
		return 0, err
	}
	nos := make([]int64, len(fresh))
	for i, e := range fresh {
		nos[i] = e.no
	}
	t.exec("DELETE FROM event_fresh WHERE no = ANY($1)", nos)
	return len(fresh), nil
}

// sealing is the end of an authority's chain, and what is added to it.
type sealing struct {
	first, last int64
	before      []byte
	batch       hash.Hash
}

// number gives the events their numbers and writes them with their seals.
func (t *tx) number(fresh []freshRow, now time.Time) error {
	open := map[int32]*sealing{}
	var authorities []int32
	for _, e := range fresh {
		if open[e.authority] == nil {
			open[e.authority] = &sealing{first: 1, batch: sha256.New()}
			authorities = append(authorities, e.authority)
		}
	}
	err := t.query(func(r row) error {
		s := open[int32(r.int(0))]
		s.first, s.before = r.int(1)+1, r.bytes(2)
		return nil
	}, `SELECT a.no, s.last, s.hash FROM unnest($1::integer[]) AS a (no),
		LATERAL (SELECT last, hash FROM seal WHERE authority = a.no ORDER BY last DESC LIMIT 1) AS s`, authorities)
	if err != nil {
		return err
	}
	for _, s := range open {
		s.last = s.first - 1
	}
	var c columns
	for _, e := range fresh {
		s := open[e.authority]
		s.last++
		e.Seq = s.last
		leaf := ledger.Leaf(e.Event, ledger.Words(e.Event))
		s.batch.Write(leaf[:])
		c.add(e)
	}
	t.exec(`INSERT INTO event (authority, seq, message, delivery, at, kind, by, detail)
		SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[], $6::text[], $7::text[], $8::text[])`,
		c.authority, c.seq, c.message, c.delivery, c.at, c.kind, c.by, c.detail)
	for _, authority := range authorities {
		s := open[authority]
		batch := ledger.Hash(s.batch.Sum(nil))
		sum := ledger.SealHash(s.before, batch)
		t.exec("INSERT INTO seal (authority, first, last, batch, hash, at) VALUES ($1, $2, $3, $4, $5, $6)",
			authority, s.first, s.last, batch[:], sum[:], moment(now))
		t.count(authority, func(c *counts) { c.sealed += s.last - s.first + 1 })
	}
	return nil
}

// columns are events as arrays, for one statement.
type columns struct {
	authority                 []int32
	seq, delivery             []int64
	at                        []time.Time
	message, kind, by, detail []string
}

func (c *columns) add(e freshRow) {
	c.authority, c.seq, c.delivery = append(c.authority, e.authority), append(c.seq, e.Seq), append(c.delivery, int64(e.Delivery))
	c.at, c.message, c.kind = append(c.at, e.At), append(c.message, string(e.Message)), append(c.kind, e.Kind)
	c.by, c.detail = append(c.by, e.By), append(c.detail, e.Detail)
}

// chainProblems follows each authority's chain and says where it first breaks. Events that have no number yet are only counted.
func (t *tx) chainProblems(p part) (problems []string, err error) {
	type authority struct {
		no   int32
		name string
	}
	var all []authority
	err = t.query(func(r row) error { all = append(all, authority{int32(r.int(0)), r.str(1)}); return nil },
		"SELECT no, name FROM authority"+p.where("no")+" ORDER BY no")
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		problem, err := t.chainProblem(a.no)
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
	batch, hash []byte
}

// follower reads an authority's events, and the leaves of those that are gone, in their order, and checks them against its seals.
type follower struct {
	seals   []sealRow
	before  []byte
	batch   hash.Hash
	next    int64 // event
	gone    int64 // events that left nothing, or a leaf
	problem string
}

func (t *tx) chainProblem(authority int32) (string, error) {
	f := follower{next: 1, batch: sha256.New()}
	var seals, waiting, counted, countedSealed, proven int64
	t.ask(func(r row) error {
		f.seals = append(f.seals, sealRow{r.int(0), r.int(1), r.bytes(2), r.bytes(3)})
		seals = r.int(1)
		return nil
	}, "SELECT first, last, batch, hash FROM seal WHERE authority = $1 ORDER BY last", authority)
	t.ask(func(r row) error { waiting = r.int(0); return nil }, "SELECT count(*) FROM event_fresh WHERE authority = $1", authority)
	t.ask(func(r row) error { counted, countedSealed = r.int(0), r.int(1); return nil },
		"SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(sealed), 0)::bigint FROM tally WHERE authority = $1", authority)
	t.ask(func(r row) error { proven = r.int(0); return nil }, "SELECT coalesce(sum(events), 0)::bigint FROM proof WHERE authority = $1", authority)
	err := t.query(func(r row) error {
		if r.null(1) {
			f.gone++
			var leaf ledger.Hash
			copy(leaf[:], r.bytes(8)) // of another length it fits no seal
			f.event(r.int(0), leaf)
			return nil
		}
		f.event(leafOf(r))
		return nil
	}, leafColumns+` WHERE e.authority = $1
		UNION ALL SELECT l.seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.hash FROM leaf AS l WHERE l.authority = $1 ORDER BY 1`, authority)
	if f.problem == "" {
		f.skip(math.MaxInt64)
	}
	switch {
	case err != nil:
		return "", err
	case f.problem != "":
		return f.problem, nil
	case len(f.seals) > 0:
		return fmt.Sprintf("event %d is missing.", f.next), nil
	case f.gone != proven:
		return fmt.Sprintf("%d events are gone, but retention has proofs for %d.", f.gone, proven), nil
	case countedSealed != seals:
		return fmt.Sprintf("the seal over event %d is missing.", seals+1), nil
	case counted != seals+waiting:
		return fmt.Sprintf("%d events were written, but %d are there.", counted, seals+waiting), nil
	}
	return "", nil
}

// skip passes seals before seq of which nothing is left: their own hash stands for them.
func (f *follower) skip(seq int64) {
	for len(f.seals) > 0 && f.seals[0].first == f.next && f.seals[0].last < seq {
		s := f.seals[0]
		var batch ledger.Hash
		copy(batch[:], s.batch)
		sum := ledger.SealHash(f.before, batch)
		if !bytes.Equal(sum[:], s.hash) {
			f.problem = fmt.Sprintf("an event from %d to %d was changed.", s.first, s.last)
			return
		}
		f.gone += s.last - s.first + 1
		f.before, f.seals, f.next = s.hash, f.seals[1:], s.last+1
	}
}

func (f *follower) event(seq int64, leaf ledger.Hash) {
	if f.problem == "" {
		f.skip(seq)
	}
	if f.problem != "" {
		return
	}
	if len(f.seals) == 0 || f.seals[0].first > f.next {
		f.problem = fmt.Sprintf("the seal over event %d is missing.", f.next)
		return
	}
	if seq != f.next {
		f.problem = fmt.Sprintf("event %d is missing.", f.next)
		return
	}
	f.batch.Write(leaf[:])
	f.next++
	s := f.seals[0]
	if seq < s.last {
		return
	}
	batch := ledger.Hash(f.batch.Sum(nil))
	sum := ledger.SealHash(f.before, batch)
	if !bytes.Equal(batch[:], s.batch) || !bytes.Equal(sum[:], s.hash) {
		f.problem = fmt.Sprintf("an event from %d to %d was changed.", s.first, s.last)
		return
	}
	f.before, f.seals = s.hash, f.seals[1:]
	f.batch.Reset()
}
