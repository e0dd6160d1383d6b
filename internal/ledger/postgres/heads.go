package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"postvagt/internal/ledger"
)

// Heads returns each authority's newest seal, and which of those that were seen are not there. What is new is durable, on the standby too:
// a seal that was shown and is lost with its server would make the standby that takes over look like the past.
func (s *Store) Heads(ctx context.Context, seen []ledger.Head) (heads, missing []ledger.Head, err error) {
	err = s.do(ctx, func(t *tx) error {
		heads, missing = nil, nil
		t.ask(func(r row) error {
			heads = append(heads, ledger.Head{Authority: r.str(0), Last: r.int(1), Hash: r.bytes(2)})
			return nil
		}, `SELECT a.name, s.last, s.hash FROM authority AS a,
			LATERAL (SELECT last, hash FROM seal WHERE authority = a.no ORDER BY last DESC LIMIT 1) AS s ORDER BY a.name COLLATE "C"`)
		there := make([]bool, len(seen))
		for i, h := range seen {
			t.ask(func(r row) error { there[i] = bytes.Equal(r.bytes(0), h.Hash); return nil },
				"SELECT s.hash FROM authority AS a JOIN seal AS s ON s.authority = a.no WHERE a.name = $1 AND s.last = $2", h.Authority, h.Last)
		}
		err := t.flush()
		for i, h := range seen {
			if !there[i] {
				missing = append(missing, h)
			}
		}
		if err == nil && !slices.EqualFunc(heads, seen, sameHead) {
			t.confirm()
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look where the chains end: %w", err)
	}
	return heads, missing, nil
}

func sameHead(a, b ledger.Head) bool {
	return a.Authority == b.Authority && a.Last == b.Last && bytes.Equal(a.Hash, b.Hash)
}
