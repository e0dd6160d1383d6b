package postgres

import (
	"context"
	"testing"
	"time"
)

// What is moved in has the partitions of its own months, so that it can go as months go.
func TestImportMakesMonths(t *testing.T) {
	t.Parallel()
	s, err := Open(context.Background(), database(t), Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Import(t.Context(), []time.Time{time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC)}, nil); err != nil {
		t.Fatal(err)
	}
	for _, table := range parted {
		var there bool
		if err := s.pool.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table+"_2021_03").Scan(&there); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Errorf("%s has no partition for March 2021", table)
		}
	}
}
