package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

// month is a month's partitions.
type month struct {
	suffix   string // "_2026_03"
	low, end string // ids from low to below end
}

// months lists the months that have ended and have partitions, oldest first.
func (t *tx) months() (all []month, err error) {
	err = t.query(func(r row) error {
		m := month{suffix: r.str(0)}
		from, err := time.Parse("_2006_01", m.suffix)
		if err != nil {
			return err
		}
		m.low, m.end = string(ledger.FirstID(from)), string(ledger.FirstID(from.AddDate(0, 1, 0)))
		all = append(all, m)
		return nil
	}, `SELECT right(c.relname::text, 8) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'message'::regclass AND c.relname::text ~ '^message_[0-9]{4}_[0-9]{2}$' AND right(c.relname::text, 7) < to_char(now(), 'YYYY_MM')
		ORDER BY 1`)
	return all, err
}

// drop detaches and drops a month's partitions. The lock that needs is waited for only a moment: others would wait behind.
func (t *tx) drop(m month) {
	t.ask(nil, "SET LOCAL lock_timeout = '500ms'")
	for _, table := range parted {
		t.exec("ALTER TABLE " + table + " DETACH PARTITION " + table + m.suffix)
	}
	for _, table := range parted {
		t.exec("DROP TABLE " + table + m.suffix)
	}
}

// dropMonths drops the oldest months that row by row have become empty, up to the first that is not. What is in others' way is left for
// the next time.
func (s *Store) dropMonths(ctx context.Context) error {
	var all []month
	if err := s.read(ctx, func(t *tx) (err error) { all, err = t.months(); return err }); err != nil {
		return err
	}
	for _, m := range all {
		used := false
		err := s.do(ctx, func(t *tx) (err error) {
			for _, table := range parted {
				if used, err = t.exists("SELECT 1 FROM " + table + m.suffix + " LIMIT 1"); err != nil || used {
					return err
				}
			}
			t.drop(m) // nobody writes into a month that has passed
			return nil
		})
		if c := code(err); c == codeLockTimeout || c == codeNoTable { // somebody is in the way, or was faster
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop the empty month %s: %w", m.suffix[1:], err)
		}
		if used {
			return nil
		}
	}
	return nil
}

// pruneMonth removes the oldest month at once when everything in it is one authority's and its rows may go: nothing is touched row by
// row but what other months know of it.
func (s *Store) pruneMonth(ctx context.Context, now time.Time, authority string, r ledger.Retention) (rows int, err error) {
	last := now // what was final by then may go, whatever its class
	for _, c := range class.All {
		cutoff, ok := cutoff(ledger.Rows, c, r, now)
		if !ok {
			return 0, nil
		}
		if cutoff.Before(last) {
			last = cutoff
		}
	}
	err = s.doLong(ctx, func(t *tx) error {
		rows = 0
		mine := false
		if _, err := t.one(func(r row) { mine = r.bool(0) }, "SELECT pg_try_advisory_xact_lock($1, $2)", lockClass, lockPrune); err != nil || !mine {
			return err
		}
		no, err := t.part(authority)
		if err != nil || no == nowhere {
			return err
		}
		all, err := t.months()
		if err != nil || len(all) == 0 || all[0].end > string(ledger.FirstID(last)) {
			return err
		}
		g := monthGoes{tx: t, month: all[0], authority: int32(no), last: last, now: now}
		ready, err := g.ready()
		if err != nil || !ready {
			return err
		}
		rows, err = g.remove()
		return err
	})
	if code(err) == codeLockTimeout { // somebody is in the way: row by row, then
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("prune a month: %w", err)
	}
	return rows, nil
}

// doLong is do without limits of time, and without trying again.
func (s *Store) doLong(ctx context.Context, f func(*tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	return s.once(ctx, func(t *tx) error {
		t.ask(nil, "SET LOCAL statement_timeout = 0")
		t.ask(nil, "SET LOCAL idle_in_transaction_session_timeout = 0")
		return f(t)
	})
}

// monthGoes is the removal of one month.
type monthGoes struct {
	*tx
	month
	authority int32
	last, now time.Time
}

// ready reports whether all of the month may go.
func (g *monthGoes) ready() (bool, error) {
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"SELECT 1 WHERE NOT EXISTS (SELECT FROM message" + g.suffix + ")", nil}, // dropMonths sees to it
		{"SELECT 1 FROM message" + g.suffix + " WHERE authority <> $1 OR erased_at IS NULL LIMIT 1", []any{g.authority}},
		{"SELECT 1 FROM delivery WHERE message >= $1 AND message < $2 LIMIT 1", []any{g.low, g.end}},
		{"SELECT 1 FROM delivery_final" + g.suffix + " WHERE ended_at > $1 LIMIT 1", []any{moment(g.last)}},
		{"SELECT 1 FROM event_fresh WHERE message >= $1 AND message < $2 LIMIT 1", []any{g.low, g.end}},
		// an open notice of a later month tells of something, or a notice of this one tells of something that stays
		{"SELECT 1 FROM link AS l JOIN delivery AS n ON n.message = l.notice WHERE l.subject >= $1 AND l.subject < $2 LIMIT 1", []any{g.low, g.end}},
		{"SELECT 1 FROM link" + g.suffix + " WHERE subject < $1 OR subject >= $2 LIMIT 1", []any{g.low, g.end}},
	} {
		if obstacle, err := g.exists(q.query, q.args...); err != nil || obstacle {
			return false, err
		}
	}
	return true, nil
}

func (g *monthGoes) remove() (rows int, err error) {
	if err := g.unlink(); err != nil {
		return 0, err
	}
	proofs, err := g.proofs()
	if err != nil {
		return 0, err
	}
	keep, low, high, err := g.leaves(proofs)
	if err != nil {
		return 0, err
	}
	g.exec("DELETE FROM prune_wait WHERE message >= $1 AND message < $2", g.low, g.end)
	g.drop(g.month)
	// What earlier rounds kept of batches of which nothing is left now: the seal's own hash stands for them.
	g.exec(`DELETE FROM leaf AS l WHERE l.authority = $1 AND l.seq BETWEEN $2 AND $3
		AND NOT EXISTS (SELECT FROM unnest($4::bigint[], $5::bigint[]) AS k (first, last) WHERE l.seq BETWEEN k.first AND k.last)`,
		g.authority, low, high, keep.first, keep.last)
	for _, p := range proofs {
		if p.Messages > 0 {
			rows += int(p.Messages)
			g.prove(g.authority, p.Proof)
		}
	}
	return rows, g.flush()
}

// unlink takes away what notices of later months tell of this one. They may be of a lower class from now on, whose turn they have missed.
func (g *monthGoes) unlink() error {
	const later = "FROM link WHERE subject >= $1 AND subject < $2 AND notice >= $2"
	var subjects, notices []string
	if err := g.query(func(r row) error {
		subjects, notices = append(subjects, r.str(0)), append(notices, r.str(1))
		return nil
	}, "SELECT subject, notice "+later, g.low, g.end); err != nil || len(subjects) == 0 {
		return err
	}
	slices.Sort(subjects)
	subjects = slices.Compact(subjects)
	g.exec("INSERT INTO pruning (message, stage) SELECT unnest($1::text[]), 'rows'", subjects)
	g.missed(notices)
	g.exec("DELETE "+later, g.low, g.end)
	g.exec("DELETE FROM pruning WHERE message = ANY($1)", subjects)
	return nil
}

// monthProof is a class's proof in the making.
type monthProof struct {
	ledger.Proof
	ids hash.Hash
}

// proofs counts the month's messages and deliveries by class.
func (g *monthGoes) proofs() ([]*monthProof, error) {
	var proofs []*monthProof
	for _, c := range class.All {
		proofs = append(proofs, &monthProof{ids: sha256.New(), Proof: ledger.Proof{At: g.now.UTC().Truncate(time.Microsecond), Stage: ledger.Rows, Class: c,
			Deliveries: map[ledger.State]int64{}}})
	}
	err := g.query(func(r row) error {
		p := proofs[r.int(1)]
		p.Messages++
		p.ids.Write([]byte(r.str(0) + "\n"))
		for i, st := range []ledger.State{ledger.Delivered, ledger.Returned, ledger.Withdrawn} {
			p.Deliveries[st] += r.int(3 + i)
		}
		if at := r.time(2); at.After(p.Until) {
			p.Until = at
		}
		return nil
	}, `SELECT message, max(CASE verdict::json ->> 'class' WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END), max(ended_at),
		count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'returned'), count(*) FILTER (WHERE state = 'withdrawn')
		FROM delivery_final`+g.suffix+" GROUP BY message ORDER BY message")
	for _, p := range proofs {
		p.ids.Sum(p.IDs[:0])
	}
	return proofs, err
}

// spans are seals of which something stays, by their first and last events.
type spans struct{ first, last []int64 }

// leaves writes the leaves of the month's events whose batches hold events of other months, and counts all events to the proof of the lowest class
// that has messages. It returns those batches, and from the first to the last event of all batches that it has to do with.
func (g *monthGoes) leaves(proofs []*monthProof) (keep spans, low, high int64, err error) {
	events := int64(0)
	if _, err := g.one(func(r row) { events, low, high = r.int(0), r.int(1), r.int(2) },
		"SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), 0) FROM event"+g.suffix); err != nil || events == 0 {
		return keep, low, high, err
	}
	for _, p := range proofs {
		if p.Messages > 0 {
			p.Events = events
			break
		}
	}
	g.ask(func(r row) error { low = r.int(0); return nil }, "SELECT first FROM seal WHERE authority = $1 AND last >= $2 ORDER BY last LIMIT 1", g.authority, low)
	g.ask(func(r row) error { high = r.int(0); return nil }, "SELECT last FROM seal WHERE authority = $1 AND last >= $2 ORDER BY last LIMIT 1", g.authority, high)
	if err := g.flush(); err != nil {
		return keep, low, high, err
	}
	if err := g.query(func(r row) error {
		keep.first, keep.last = append(keep.first, r.int(0)), append(keep.last, r.int(1))
		return nil
	}, `SELECT DISTINCT s.first, s.last FROM event AS e, LATERAL (SELECT first, last FROM seal WHERE authority = $1 AND last >= e.seq ORDER BY last LIMIT 1) AS s
		WHERE e.authority = $1 AND e.seq BETWEEN $2 AND $3 AND NOT (e.message >= $4 AND e.message < $5)`, g.authority, low, high, g.low, g.end); err != nil || len(keep.first) == 0 {
		return keep, low, high, err
	}
	var seqs []int64
	var leaves [][]byte
	if err := g.query(func(r row) error {
		seq, leaf := leafOf(r)
		seqs, leaves = append(seqs, seq), append(leaves, leaf[:])
		return nil
	}, leafColumns+` JOIN unnest($2::bigint[], $3::bigint[]) AS k (first, last) ON e.seq BETWEEN k.first AND k.last
		WHERE e.authority = $1 AND e.message >= $4 AND e.message < $5`, g.authority, keep.first, keep.last, g.low, g.end); err != nil {
		return keep, low, high, err
	}
	g.exec("INSERT INTO leaf (authority, seq, hash) SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])", g.authority, seqs, leaves)
	return keep, low, high, nil
}
