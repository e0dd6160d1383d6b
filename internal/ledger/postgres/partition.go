package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/ledger"
)

// parted are the tables with a partition for each month.
var parted = []string{"message", "delivery_final", "link", "attempt", "event"}

// ahead is how many months have their partitions before they begin; lookEvery how often that is seen to.
const (
	ahead     = 3
	lookEvery = time.Hour
)

// keepPartitions makes partitions ahead, now and then. It may fail: there is time, and until then rows go to the default partition.
func (s *Store) keepPartitions(ctx context.Context, now time.Time) error {
	s.partitions.Lock()
	due := time.Since(s.partitions.looked) >= lookEvery
	s.partitions.Unlock()
	if !due {
		return nil
	}
	return s.makePartitions(ctx, now)
}

// makePartitions makes the partitions of the month and of those ahead, one at a time, where there is none.
func (s *Store) makePartitions(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.o.Timeout)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var names []string
	months := make(map[string]time.Time)
	for i := range ahead + 1 {
		from := time.Date(now.UTC().Year(), now.UTC().Month()+time.Month(i), 1, 0, 0, 0, 0, time.UTC)
		for _, table := range parted {
			name := table + from.Format("_2006_01")
			names, months[name] = append(names, name), from
		}
	}
	rows, err := conn.Query(ctx, "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL", names)
	if err != nil {
		return err
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range missing {
		if err := makePartition(ctx, conn.Conn(), name, months[name]); err != nil {
			return fmt.Errorf("make the partition %s: %w", name, err)
		}
	}
	s.partitions.Lock()
	s.partitions.looked = time.Now()
	s.partitions.Unlock()
	return nil
}

// makePartition makes one partition: its name is the table's, followed by the month. Attaching it locks the table for a moment: who has to wait for that gives up soon, lest
// others wait behind. A month that has rows in the default partition already stays there.
func makePartition(ctx context.Context, conn *pgx.Conn, name string, from time.Time) error {
	table := strings.TrimSuffix(name, from.Format("_2006_01"))
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", lockClass, lockPartitions); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", name, table)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')",
			table, name, ledger.FirstID(from), ledger.FirstID(from.AddDate(0, 1, 0))))
		return err
	})
	switch code(err) {
	case codeCheck, codeLockTimeout:
		return nil
	case codeExists: // another node has made it meanwhile
		return nil
	}
	return err
}
