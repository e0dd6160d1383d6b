package postgres

import (
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// TestLocks: what runs all the time locks no more for a ledger of five years than for a fresh one: the server has room for so many
// locks only (max_locks_per_transaction), and taking them costs time.
func TestLocks(t *testing.T) {
	t.Parallel()
	s := openStore(t, database(t), Options{})
	for year := range 5 {
		for month := 0; month < 12; month += ahead + 1 {
			do(t, s.makePartitions(t.Context(), time.Now().AddDate(year, month, 0)))
		}
	}
	few := func(tx *tx, what string, most int64) {
		t.Helper()
		n := int64(0)
		do(t, tx.query(func(r row) error { n = r.int(0); return nil }, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"))
		t.Logf("%s: %d locks", what, n)
		if n > most {
			t.Errorf("%s locks %d relations, want at most %d", what, n, most)
		}
	}
	a := benchAcceptance("x", []byte("sealed"))
	no, err := s.authority(t.Context(), a.Message.Authority)
	do(t, err)
	do(t, s.do(t.Context(), func(tx *tx) error {
		first, err := tx.reserve(1)
		if err == nil {
			_, err = tx.accept(a, no, first)
			few(tx, "accept", 30)
		}
		return err
	}))
	var work []ledger.Claimed
	do(t, s.do(t.Context(), func(tx *tx) (err error) {
		work, err = tx.claim(time.Now(), ledger.Claim{Node: "n", Lane: "x", Max: 5, Lease: time.Minute})
		few(tx, "claim", 60)
		return err
	}))
	do(t, s.do(t.Context(), func(tx *tx) error {
		apply := applying{tx: tx, rows: make(map[ledger.DeliveryID]*deliveryRow)}
		c := delivered(work[0].Deliveries[0])
		do(t, apply.load([]ledger.Change{c}))
		do(t, apply.apply(c))
		few(tx, "apply", 60)
		return nil
	}))
	do(t, s.do(t.Context(), func(tx *tx) error {
		_, err := tx.seal(time.Now())
		few(tx, "seal", 60)
		return err
	}))
	do(t, s.read(t.Context(), func(tx *tx) error {
		_, err := tx.story(a.Message.ID)
		few(tx, "story", 300) // what tells of a message may stand in any month
		return err
	}))
}
