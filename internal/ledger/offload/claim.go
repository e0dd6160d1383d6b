package offload

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"postvagt/internal/bucket"
)

// marker is the object that says whose the bucket's prefix is. A scrubber removes what its own ledger does not know, so two
// ledgers below one prefix would remove each other's mail.
const marker = "installation"

// claim makes sure that the prefix is this ledger's. A free prefix becomes its own: the ledger first notes the random mark that
// the marker object will hold, then the object is made; where several nodes do so at once one wins, and the others find
// the winner's mark noted, for each notes its own under a name of its own.
func (s *Store) claim(ctx context.Context) error {
	if s.claimed.Load() {
		return nil
	}
	mark, err := s.readMarker(ctx)
	if errors.Is(err, bucket.ErrNone) {
		var random [16]byte
		rand.Read(random[:])
		mark = hex.EncodeToString(random[:])
		if err := s.Store.Put(ctx, fact(mark), "yes"); err != nil {
			return fmt.Errorf("note the object store as this ledger's: %w", err)
		}
		err = s.bucket.Put(ctx, marker, []byte(mark))
		if errors.Is(err, bucket.ErrExists) {
			mark, err = s.readMarker(ctx)
		}
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	ours, err := s.Store.Get(ctx, fact(mark))
	if err != nil {
		return fmt.Errorf("ask whether the object store is this ledger's: %w", err)
	}
	if ours == "" {
		return fmt.Errorf("%s belongs to another installation: give this one a prefix or a bucket of its own (bodies.s3.prefix)", s.bucket)
	}
	s.claimed.Store(true)
	return nil
}

// fact is the name under which the ledger notes that a mark is its own.
func fact(mark string) string { return "bodies in " + mark }

func (s *Store) readMarker(ctx context.Context) (string, error) {
	mark, err := s.bucket.Get(ctx, marker, 64)
	if err != nil {
		return "", err
	}
	if len(mark) != 32 || strings.Trim(string(mark), "0123456789abcdef") != "" {
		return "", fmt.Errorf("%s: the object %q is not what a postvagt wrote", s.bucket, marker)
	}
	return string(mark), nil
}
