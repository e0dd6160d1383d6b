package sqlite

import (
	"context"
	"fmt"

	"postvagt/internal/ledger"
)

// Sums is read from the tally; Verify proves the tally by counting.
func (s *Store) Sums(ctx context.Context) (sums ledger.Sums, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		sums, err = c.sums(ctx, whole)
		return err
	})
	if err != nil {
		return ledger.Sums{}, fmt.Errorf("sums: %w", err)
	}
	return sums, nil
}

func (c *conn) sums(ctx context.Context, p part) (ledger.Sums, error) {
	sums := ledger.NoSums()
	err := c.query(ctx, func(r row) error {
		switch what := r.str(0); what {
		case tallyAccepted:
			sums.Accepted = r.int(1)
		case tallyEvents, tallySealed:
		default:
			sums.States[ledger.State(what)] = r.int(1)
		}
		return nil
	}, "SELECT what, sum(n) FROM tally"+p.where("authority")+" GROUP BY what")
	if err != nil {
		return sums, err
	}
	sums.Balance()
	sums.Alarms, err = c.alarms(ctx, p)
	return sums, err
}

// alarms counts notices whose ladder is exhausted: they are held.
func (c *conn) alarms(ctx context.Context, p part) (n int64, err error) {
	_, err = c.one(ctx, func(r row) { n = r.int(0) }, "SELECT count(*) FROM ("+p.of("SELECT no FROM delivery WHERE notice = 1 AND state = 'held'")+")")
	return n, err
}
