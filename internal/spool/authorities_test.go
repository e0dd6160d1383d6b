package spool

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestApart: what one authority's keys seal and mark no other's open or make; a lost one is its own affair.
func TestApart(t *testing.T) {
	apart := Apart{"lost": nil}
	for _, name := range []string{"a", "b"} {
		k, err := Create(filepath.Join(t.TempDir(), "keys"))
		if err != nil {
			t.Fatal(err)
		}
		apart[name] = k
	}
	for _, from := range []string{"a", "b"} {
		k, err := apart.Of(from)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := k.Seal("id", []byte("Hej"))
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"a", "b"} {
			other, err := apart.Of(to)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Open("id", sealed); (err == nil) != (from == to) || from != to && !errors.Is(err, ErrKey) {
				t.Errorf("sealed by %s, opened by %s: %v", from, to, err)
			}
			if (k.MAC("x") == other.MAC("x")) != (from == to) {
				t.Errorf("marks of %s and %s", from, to)
			}
		}
	}
	for _, name := range []string{"lost", "unheard of", ""} {
		if k, err := apart.Of(name); k != nil || !errors.Is(err, ErrLost) {
			t.Errorf("%q: %v, %v", name, k, err)
		}
	}
	if k, err := apart["a"].Of("b"); k != apart["a"] || err != nil {
		t.Errorf("one key file for all: %v, %v", k, err)
	}
}
