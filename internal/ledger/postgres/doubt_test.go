package postgres

import (
	"errors"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/pgtest"
)

// TestRepeatedInDoubt: a commit that its standby did not confirm stands in the primary, and callers repeat what failed. To find it
// done there is no promise: it was the standby that takes over.
func TestRepeatedInDoubt(t *testing.T) {
	t.Parallel()
	a := pgtest.Start(t, "wal_retrieve_retry_interval = 100ms")
	b := a.Standby(t)
	s := openStore(t, a.DSN("postgres"), Options{Timeout: time.Second})
	first := benchAcceptance("x.example", []byte("sealed"))
	if _, err := s.Accept(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	work, err := s.Claim(t.Context(), time.Now(), ledger.Claim{Node: "vagt-1", Lane: first.Deliveries[0].Lane, Max: 1, Lease: time.Hour})
	if err != nil || len(work) != 1 {
		t.Fatalf("claimed %v: %v", work, err)
	}
	d := work[0].Deliveries[0]
	arrived := ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Delivered, At: time.Now(), Event: ledger.Event{Kind: "delivered"},
		Attempt: &ledger.Attempt{Delivery: d.ID, No: d.Attempts, Node: "vagt-1", Started: time.Now(), Ended: time.Now(), Outcome: "delivered"}}
	second := benchAcceptance("x.example", []byte("sealed"))
	do(t, s.Seal(t.Context(), time.Now()))
	seen, _, err := s.Heads(t.Context(), nil)
	do(t, err)

	do(t, b.Kill())
	for range 3 {
		if _, err := s.Accept(t.Context(), second); err == nil {
			t.Error("accepted, with nobody who confirms")
		}
		if err := s.Apply(t.Context(), arrived)[0]; err == nil || errors.Is(err, ledger.ErrState) || errors.Is(err, ledger.ErrFenced) {
			t.Errorf("the outcome counts as recorded, with nobody who confirms: %v", err)
		}
	}
	if err := s.Seal(t.Context(), time.Now()); err == nil {
		t.Error("sealed, with nobody who confirms")
	}
	if heads, _, err := s.Heads(t.Context(), seen); err == nil {
		t.Errorf("the chain ends at %v now, with nobody who confirms; it ended at %v", heads, seen)
	}
	do(t, b.Run())
	do(t, a.WaitSynchronous())
	eventually(t, func() error { _, err := s.Accept(t.Context(), second); return err })
	eventually(t, func() error {
		if err := s.Apply(t.Context(), arrived)[0]; !errors.Is(err, ledger.ErrState) && !errors.Is(err, ledger.ErrFenced) {
			return err
		}
		return nil
	})
}
