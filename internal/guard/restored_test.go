package guard

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/policy"
	"postvagt/internal/spool"
)

// TestRestored: in a ledger in which chance has lived, with leases of nodes that are no more, nothing that is open goes out unmarked,
// and no mail goes out at all; also when it is cut off in the middle and repeated.
func TestRestored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	open := func(fault func(string) error) (ledger.Store, error) {
		return sqlite.Open(path, sqlite.Options{Fault: fault})
	}
	ledgertest.Live(t, open, 300)
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, basic, path))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := spool.Create(cfg.Store.Keys)
	if err != nil {
		t.Fatal(err)
	}
	act := Act{By: "Bo Berg", Reason: "disken gik i stykker, 010170-5000"}
	var known ledger.DeliveryID
	arrived := func(_ ledger.Message, d ledger.Delivery) string {
		if d.ID == known {
			return "taken by mx.borger.example"
		}
		return ""
	}
	run := func(fault func(string) error) ([]Doubt, error) {
		t.Helper()
		s, err := open(fault)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		o, err := NewOperator(cfg, s, keys, senderCheck{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Restored(t.Context(), Act{By: "Bo Berg"}, arrived); err == nil {
			t.Error("no reason is asked for")
		}
		return o.Restored(t.Context(), act, arrived)
	}
	commits := 0
	if _, err := run(func(point string) error {
		if point == "commit-before" {
			if commits++; commits == 3 {
				return errors.New("pulled the plug")
			}
		}
		return nil
	}); err == nil {
		t.Log("it took fewer than three commits") // chance left little open
	}
	doubts, err := run(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(doubts) == 0 {
		t.Fatal("nothing was open: this proves nothing")
	}
	known = doubts[0].Delivery
	again, err := run(nil)
	if err != nil || len(again) != len(doubts) || !again[0].Arrived {
		t.Fatalf("once more: %d of %d deliveries, %v", len(again), len(doubts), err)
	}
	before := events(t, path)
	if _, err := run(nil); err != nil || events(t, path) != before {
		t.Errorf("a run with nothing new wrote %d events, %v", events(t, path)-before, err)
	}
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	openOnes(t, s, func(m ledger.Message, d ledger.Delivery) {
		fresh := m.Kind == ledger.Notice && m.Client == "the guard" // written by Restored itself
		switch {
		case d.Node != "":
			t.Errorf("delivery %d is leased by %s", d.ID, d.Node)
		case m.Kind == ledger.Mail && d.State == ledger.Queued:
			t.Errorf("mail %d is queued", d.ID)
		case d.State != ledger.Returning && !d.Possibly && !fresh:
			t.Errorf("%s %d is %s and not marked", m.Kind, d.ID, d.State)
		case m.Kind == ledger.Mail && d.State == ledger.Held && d.Verdict.Reason == policy.Restored && (d.Owner == "" || !told(d, ledger.TellHeld)):
			t.Errorf("mail %d is held by %q, told %v", d.ID, d.Owner, d.Told)
		}
	})
	ledgertest.CheckLaws(t, s)
}

// openOnes calls f with every open delivery.
func openOnes(t *testing.T, s ledger.Store, f func(ledger.Message, ledger.Delivery)) {
	t.Helper()
	ids, err := s.Find(t.Context(), ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		story, err := s.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range story.Deliveries {
			if !d.State.Final() {
				f(story.Message, d)
			}
		}
	}
}

// events counts the events of a ledger.
func events(t *testing.T, path string) (n int64) {
	t.Helper()
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Snapshot(context.Background(), func(ask sqlite.Ask) error {
		return ask(func(row []any) error { n = row[0].(int64); return nil }, "SELECT count(*) FROM event")
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
