package postgres

import (
	"context"
	"testing"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/pgtest"
)

// database is a fresh ledger; the schema is made once for all tests.
func database(t testing.TB) (dsn string) {
	t.Helper()
	return pgtest.NewFrom(t, "ledger", func(dsn string) error {
		s, err := Open(context.Background(), dsn, Options{Serve: true})
		if err != nil {
			return err
		}
		return s.Close()
	})
}

func freshLedger(t *testing.T) ledgertest.Open {
	dsn := database(t)
	return func(fault func(string) error) (ledger.Store, error) {
		return Open(context.Background(), dsn, Options{Serve: true, Fault: fault})
	}
}

func TestLedger(t *testing.T) { ledgertest.Exercise(t, freshLedger) }

func TestCluster(t *testing.T) { ledgertest.ExerciseCluster(t, freshLedger) }
