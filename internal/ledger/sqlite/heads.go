package sqlite

import (
	"bytes"
	"context"
	"fmt"

	"postvagt/internal/ledger"
)

var _ ledger.Chained = (*Store)(nil)

// Heads returns each authority's newest seal, and which of those that were seen are not there.
func (s *Store) Heads(ctx context.Context, seen []ledger.Head) (heads, missing []ledger.Head, err error) {
	err = s.read(ctx, func(c *conn) error {
		err := c.query(ctx, func(r row) error {
			heads = append(heads, ledger.Head{Authority: r.str(0), Last: r.int(1), Hash: bytes.Clone(r.bytes(2))})
			return nil
		}, `SELECT a.name, s.last, s.hash FROM authority AS a
			JOIN seal AS s ON s.authority = a.no AND s.last = (SELECT max(last) FROM seal WHERE authority = a.no) ORDER BY a.name`)
		if err != nil {
			return err
		}
		for _, h := range seen {
			there := false
			_, err := c.one(ctx, func(r row) { there = bytes.Equal(r.bytes(0), h.Hash) },
				"SELECT s.hash FROM authority AS a JOIN seal AS s ON s.authority = a.no WHERE a.name = ? AND s.last = ?", h.Authority, h.Last)
			if err != nil {
				return err
			}
			if !there {
				missing = append(missing, h)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look where the chains end: %w", err)
	}
	return heads, missing, nil
}
