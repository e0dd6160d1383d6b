package postgres

import (
	"context"
	"fmt"
	"strconv"

	"postvagt/internal/ledger"
)

// part is the number of the authority that a question is about. It stands in the text of a query, so that the planner sees it.
type part int32

const (
	whole   part = -1 // all authorities
	nowhere part = 0  // an authority that the ledger has never heard of; no row has this number
)

// part finds an authority's number.
func (t *tx) part(authority string) (p part, err error) {
	p = nowhere
	_, err = t.one(func(r row) { p = part(r.int(0)) }, "SELECT no FROM authority WHERE name = $1", authority)
	return p, err
}

// where is a WHERE clause on a column that holds the authority, and goes on after another condition; "" for all.
func (p part) where(column string) string { return p.clause(" WHERE ", column) }
func (p part) and(column string) string   { return p.clause(" AND ", column) }

func (p part) clause(word, column string) string {
	if p == whole {
		return ""
	}
	return word + column + " = " + strconv.Itoa(int(p))
}

// Sums is read from the tally; Verify proves the tally by counting.
func (s *Store) Sums(ctx context.Context) (sums ledger.Sums, err error) {
	err = s.read(ctx, func(t *tx) (err error) {
		sums, err = t.sums(whole)
		return err
	})
	if err != nil {
		return ledger.Sums{}, fmt.Errorf("sums: %w", err)
	}
	return sums, nil
}

// SumsOf is Sums over one authority's deliveries.
func (s *Store) SumsOf(ctx context.Context, authority string) (sums ledger.Sums, err error) {
	err = s.read(ctx, func(t *tx) error {
		p, err := t.part(authority)
		if err == nil {
			sums, err = t.sums(p)
		}
		return err
	})
	if err != nil {
		return ledger.Sums{}, fmt.Errorf("sums of one authority: %w", err)
	}
	return sums, nil
}

func (t *tx) sums(p part) (ledger.Sums, error) {
	sums := ledger.NoSums()
	t.ask(func(r row) error {
		sums.Accepted = r.int(0)
		for i, st := range ledger.States {
			sums.States[st] = r.int(i + 1)
		}
		return nil
	}, `SELECT coalesce(sum(accepted), 0)::bigint, coalesce(sum(queued), 0)::bigint, coalesce(sum(held), 0)::bigint, coalesce(sum("returning"), 0)::bigint,
		coalesce(sum(delivered), 0)::bigint, coalesce(sum(returned), 0)::bigint, coalesce(sum(withdrawn), 0)::bigint FROM tally`+p.where("authority"))
	// Notices whose ladder is exhausted are held.
	t.ask(func(r row) error { sums.Alarms = r.int(0); return nil }, "SELECT count(*) FROM delivery WHERE notice AND state = 'held'"+p.and("authority"))
	err := t.flush()
	sums.Balance()
	return sums, err
}
