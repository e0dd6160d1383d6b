package offload

import (
	"path/filepath"
	"testing"

	"postvagt/internal/bucket/buckettest"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/ledger/sqlite"
)

// TestLedger: the whole contract of the ledger holds with bodies in an object store.
func TestLedger(t *testing.T) {
	ledgertest.Exercise(t, func(t *testing.T) ledgertest.Open {
		path, objects := filepath.Join(t.TempDir(), "ledger.db"), &buckettest.Memory{}
		return func(fault func(string) error) (ledger.Store, error) {
			engine, err := sqlite.Open(path, sqlite.Options{Exclusive: true, Fault: fault})
			if err != nil {
				return nil, err
			}
			return New(engine, Options{Bucket: objects, Write: true}).Ledger(), nil
		}
	})
}
