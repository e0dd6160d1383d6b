package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckZones: what is said of ".zone" is about what is below it, not about the domain itself, which may be another's.
func TestCheckZones(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postvagt.yaml")
	if err := os.WriteFile(file, []byte(`host: vagt.eksempel.example
authorities:
  - {name: By, domains: [eksempel.example], safety_net: net@eksempel.example, keys: a}
  - {name: Egn, domains: [.eksempel.example], safety_net: net@egn.eksempel.example, keys: b}
  - {name: Havn, domains: [havn.example], safety_net: net@havn.example, keys: c, routes: [{to: .eksempel.example, smarthost: "own.havn.example:25"}]}
listen: {smtp: "127.0.0.1:0"}
trusted:
  - {net: 192.0.2.0/25, authorities: [By, Egn, Havn]}
store: {sqlite: ledger.db}
routes:
  - {to: eksempel.example, smarthost: "by.example:25"}
  - {to: .eksempel.example, smarthost: "egn.example:25"}
  - {to: havn.example, smarthost: "havn.example:25"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, config: file}
	all := h.said("check", "--config", file, "--lang", "en")
	if !strings.Contains(all, "Havn: mail to Egn (.eksempel.example) leaves by its own route") || strings.Count(all, "leaves by its own route") != 1 {
		t.Error(all)
	}
	for name, ways := range map[string][2]string{"By": {"by.example:25", "egn.example:25"}, "Egn": {"egn.example:25", "by.example:25"}} {
		got := h.said("check", "--config", file, "--lang", "en", "--authority", name)
		if !strings.Contains(got, ways[0]) || strings.Contains(got, ways[1]) || !strings.Contains(got, "shown for the whole installation only") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
