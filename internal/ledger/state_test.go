package ledger

import (
	"strings"
	"testing"
)

// TestAllowed: the state machine, pair by pair. A new step belongs here and in each engine's schema.
func TestAllowed(t *testing.T) {
	want := map[State]string{
		Queued:    "queued held returning delivered withdrawn",
		Held:      "queued held returning withdrawn",
		Returning: "returning returned",
	}
	for _, from := range States {
		for _, to := range States {
			if got := Allowed(from, to); got != strings.Contains(" "+want[from]+" ", " "+string(to)+" ") {
				t.Errorf("%s → %s: %v", from, to, got)
			}
		}
		if from.Final() != (want[from] == "") {
			t.Errorf("%s: final is %v", from, from.Final())
		}
		if Allowed(from, "discarded") || Allowed("discarded", from) || Allowed("", from) {
			t.Errorf("%s: a step to or from a state that does not exist", from)
		}
	}
}

func TestNewMessageID(t *testing.T) {
	seen := map[MessageID]bool{}
	for range 1000 {
		id := NewMessageID()
		if len(id) != 26 || strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyz234567") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
