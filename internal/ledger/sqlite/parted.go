package sqlite

import (
	"context"
	"fmt"
	"strconv"

	"postvagt/internal/ledger"
)

// part is the row of the authority that a question is about. A row number stands in the text of a query, so that each text is
// prepared once and the planner sees it.
type part int64

const (
	whole   part = -1 // all authorities
	nowhere part = 0  // an authority that the ledger has never heard of; no row has this number
)

// part finds an authority's row.
func (c *conn) part(ctx context.Context, authority string) (part, error) {
	no := int64(nowhere)
	_, err := c.one(ctx, func(r row) { no = r.int(0) }, "SELECT no FROM authority WHERE name = ?", authority)
	return part(no), err
}

// where is a WHERE clause on a column that holds the authority; "" for all.
func (p part) where(column string) string { return p.clause(" WHERE ", column) }

// and goes on after another condition.
func (p part) and(column string) string { return p.clause(" AND ", column) }

func (p part) clause(word, column string) string {
	if p == whole {
		return ""
	}
	return word + column + " = " + strconv.FormatInt(int64(p), 10)
}

// ofMessage is a clause on a column that holds a message's row.
func (p part) ofMessage(column string) string {
	if p == whole {
		return ""
	}
	return " JOIN message AS m ON m.no = " + column + p.where("m.authority")
}

// of keeps those of the deliveries that a query selects by number, as "no".
func (p part) of(query string) string {
	if p == whole {
		return query
	}
	return "SELECT q.no FROM (" + query + ") AS q JOIN delivery AS d ON d.no = q.no" + p.ofMessage("d.message")
}

// SumsOf is Sums over one authority's deliveries.
func (s *Store) SumsOf(ctx context.Context, authority string) (sums ledger.Sums, err error) {
	err = s.read(ctx, func(c *conn) error {
		p, err := c.part(ctx, authority)
		if err == nil {
			sums, err = c.sums(ctx, p)
		}
		return err
	})
	if err != nil {
		return ledger.Sums{}, fmt.Errorf("sums of one authority: %w", err)
	}
	return sums, nil
}

// VerifyOf is Verify over one authority's rows, chain and bodies.
func (s *Store) VerifyOf(ctx context.Context, authority string, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	err = s.read(ctx, func(c *conn) error {
		p, err := c.part(ctx, authority)
		if err == nil {
			v, err = c.verify(ctx, p, open)
		}
		return err
	})
	if err != nil {
		return v, fmt.Errorf("verify one authority: %w", err)
	}
	return v, nil
}

// ResealOf is Reseal over one authority's bodies and addresses.
func (s *Store) ResealOf(ctx context.Context, authority string, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	p := nowhere
	err = s.read(ctx, func(c *conn) (err error) {
		p, err = c.part(ctx, authority)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reseal: %w", err)
	}
	return s.reseal(ctx, p, f)
}
