package postgres

import (
	"testing"
	"time"
)

// What is moved in has the partitions of its own months, so that it can go as months go.
func TestImportMakesMonths(t *testing.T) {
	t.Parallel()
	s := openStore(t, database(t), Options{})
	_, err := s.Import(t.Context(), []time.Time{time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC)}, nil)
	do(t, err)
	for _, table := range parted {
		var there bool
		do(t, s.pool.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table+"_2021_03").Scan(&there))
		if !there {
			t.Errorf("%s has no partition for March 2021", table)
		}
	}
}
