package ledgertest

import (
	"bytes"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// testHeads: a ledger shows where its chains end, and tells what it never had: a seal of a later one, of another, or of an
// authority that it does not know.
func testHeads(t *testing.T, open Open) {
	s := must(t, open)
	c, ok := s.(ledger.Chained)
	if !ok {
		t.Fatal("the engine does not implement ledger.Chained")
	}
	look := func(seen ...ledger.Head) (heads, missing []ledger.Head) {
		t.Helper()
		heads, missing, err := c.Heads(t.Context(), seen)
		if err != nil {
			t.Fatal(err)
		}
		return heads, missing
	}
	if heads, missing := look(); len(heads)+len(missing) > 0 {
		t.Fatalf("an empty ledger ends at %v and misses %v", heads, missing)
	}
	accept(t, s, mail(2))
	other := mail(1)
	other.Message.Authority = "Nabo Kommune"
	accept(t, s, other)
	if err := s.Seal(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	first, _ := look()
	if len(first) != 2 || first[0].Authority != "Eksempel Kommune" || first[1].Authority != "Nabo Kommune" || first[0].Last < 1 || len(first[0].Hash) != 32 || bytes.Equal(first[0].Hash, first[1].Hash) {
		t.Fatalf("the chains end at %+v", first)
	}
	accept(t, s, mail(1))
	if err := s.Seal(t.Context(), start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	second, missing := look(first...)
	if len(missing) > 0 || len(second) != 2 || second[0].Last <= first[0].Last || second[1].Last != first[1].Last {
		t.Fatalf("after more events: ends at %+v, misses %+v", second, missing)
	}
	later, forged, stranger := second[0], second[0], second[0]
	later.Last++
	forged.Hash = bytes.Repeat([]byte{7}, 32)
	stranger.Authority = "Ukendt Kommune"
	if _, missing = look(later, second[1], forged, stranger); len(missing) != 3 || missing[0].Last != later.Last || missing[1].Hash[0] != 7 || missing[2].Authority != "Ukendt Kommune" {
		t.Fatalf("misses %+v, want the later, the forged and the stranger's", missing)
	}
}

// testMarked: a change may mark a delivery as possibly delivered, in whatever state; the mark stays.
func testMarked(t *testing.T, open Open) {
	s := must(t, open)
	for _, state := range []ledger.State{ledger.Queued, ledger.Held, ledger.Returning} {
		d := reach(t, s, state)
		to := state
		if state == ledger.Queued {
			to = ledger.Held
		}
		apply(t, s, ledger.Change{Delivery: d.ID, From: state, To: to, At: start.Add(time.Hour), Possibly: true, Event: ledger.Event{Kind: "restored", By: "Anna"}})
		if got := delivery(t, s, d.ID); !got.Possibly || got.State != to {
			t.Errorf("%s: is %s, possibly %v; want %s, marked", state, got.State, got.Possibly, to)
		}
		apply(t, s, ledger.Change{Delivery: d.ID, From: to, To: to, At: start.Add(2 * time.Hour)})
		if got := delivery(t, s, d.ID); !got.Possibly {
			t.Errorf("%s: the mark is gone after another step", state)
		}
	}
}
