package sqlite

import (
	"path/filepath"
	"testing"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

func TestPruner(t *testing.T) {
	ledgertest.ExercisePruner(t, func(t *testing.T) ledgertest.Open {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func(fault func(string) error) (ledger.Store, error) {
			return Open(path, Options{Exclusive: true, Fault: fault})
		}
	})
}
