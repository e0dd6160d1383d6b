package postgres

import (
	"testing"

	"postvagt/internal/ledger/ledgertest"
)

func TestPruner(t *testing.T) { ledgertest.ExercisePruner(t, fresh1) }
