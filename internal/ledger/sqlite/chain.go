package sqlite

import (
	"context"
	"time"

	"postvagt/internal/ledger"
)

func (s *Store) Seal(ctx context.Context, now time.Time) error { return nil }
func (s *Store) Verify(ctx context.Context, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	return v, nil
}
