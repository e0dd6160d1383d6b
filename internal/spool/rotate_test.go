package spool

import (
	"path/filepath"
	"testing"
)

// A running guard opens what a command beside it has sealed anew with a rotated key, and seals with that key from then on.
func TestRotatedBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	running, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := running.Seal("id", []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	mac := running.MAC("x")
	beside, err := Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := beside.Seal("id", []byte("after"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := running.Open("id", sealed); err != nil || string(got) != "after" {
		t.Errorf("what was sealed with the new key opens as %q, %v", got, err)
	}
	if got, err := running.Open("id", old); err != nil || string(got) != "before" {
		t.Errorf("what was sealed with the old key opens as %q, %v", got, err)
	}
	if running.Newest() != beside.Newest() || running.MAC("x") != mac {
		t.Errorf("newest %s, want %s; the MAC changed: %v", running.Newest(), beside.Newest(), running.MAC("x") != mac)
	}
}
