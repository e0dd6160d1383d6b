package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/move"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/pgtest"
)

// TestMoveAgain: a second run over a database in which a guard has gone on does not say that it may be dropped, nor that the file may be
// served: what the guard accepted is in the database alone.
func TestMoveAgain(t *testing.T) {
	h := newHouse(t)
	dsn := pgtest.New(t)
	if got := h.said("migrate-store", "--config", h.config, "--to", dsn); !strings.HasPrefix(got, "0\n") {
		t.Fatal(got)
	}
	if got := h.said("migrate-store", "--config", h.config, "--undo"); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, "only if no guard has run on it") {
		t.Fatal(got)
	}
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Note(t.Context(), ledger.Event{Authority: h.wards[0].name, At: time.Now().UTC(), Kind: "keys", Detail: "a guard is at work"})
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	got := h.said("migrate-store", "--config", h.config, "--to", dsn)
	if !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "Do not drop the database, and do not serve the file") || strings.Contains(got, "may be served") {
		t.Error(got)
	}
	if first := notProven(move.ErrDiffers, false, "ledger.db", "postgres:///x").Error(); !strings.Contains(first, "may be served; drop the database") {
		t.Error(first)
	}
	if err := notProven(move.ErrDiffers, true, "ledger.db", "postgres:///x"); !errors.Is(err, move.ErrDiffers) {
		t.Error(err)
	}
}
