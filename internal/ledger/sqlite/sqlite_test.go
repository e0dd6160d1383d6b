package sqlite

import (
	"path/filepath"
	"testing"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

func TestLedger(t *testing.T) { ledgertest.Exercise(t, freshLedger) }

func TestCluster(t *testing.T) { ledgertest.ExerciseCluster(t, freshLedger) }

func freshLedger(t *testing.T) ledgertest.Open {
	path := filepath.Join(t.TempDir(), "ledger.db")
	return func(fault func(string) error) (ledger.Store, error) {
		return Open(path, Options{Exclusive: true, Fault: fault})
	}
}
