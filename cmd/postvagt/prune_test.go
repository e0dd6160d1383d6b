package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/policy"
)

// old is a ledger with a mail that was delivered so long ago, and one that waits.
func old(t *testing.T, ago time.Duration, retention string) (config string, id ledger.MessageID) {
	t.Helper()
	dir := t.TempDir()
	config = filepath.Join(dir, "postvagt.yaml")
	text := fmt.Sprintf(`authorities:
  - {name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example, retention: %s}
listen: {smtp: 127.0.0.1:2525}
trusted: [127.0.0.0/8]
store: {sqlite: ledger.db}
routes:
  - {to: eksempel.example, smarthost: "127.0.0.1:12026", level: cleartext}
  - {to: "*", smarthost: "127.0.0.1:12025", level: cleartext}
`, retention)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(filepath.Join(dir, "ledger.db"), sqlite.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Now().Add(-ago)
	for _, claim := range []*ledger.Claim{{Node: "n", Lease: time.Hour}, nil} {
		a := ledger.Acceptance{
			Message: ledger.Message{ID: ledger.NewMessageID(), Authority: "Eksempel Kommune", Kind: ledger.Mail, Direction: policy.Outbound,
				Sender: ledger.Address{Shown: "anna@eksempel.example"}, Client: "192.0.2.7", HeaderID: "<x@eksempel.example>", AcceptedAt: at},
			Bodies: [][]byte{[]byte("sealed")},
			Deliveries: []ledger.NewDelivery{{Recipient: ledger.Address{Shown: "bo@borger.example"}, State: ledger.Queued, Lane: "mx.borger.example",
				Owner: "anna@eksempel.example", Due: at, Deadline: at.Add(time.Hour)}},
			Claim: claim,
		}
		work, err := s.Accept(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if claim == nil {
			continue
		}
		id = a.Message.ID
		if errs := s.Apply(t.Context(), ledger.Change{Delivery: work[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: at,
			Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered", Text: "2.1.5 bo ok"}, Event: ledger.Event{Detail: "taken for bo"}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	return config, id
}

func say(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := run(args, streams{strings.NewReader(""), &out, &out}); code != want {
		t.Fatalf("%v: exit code %d, want %d:\n%s", args, code, want, out.String())
	}
	return out.String()
}

func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// TestPruneCommand: what would go is said before it goes, and trace says what is left and why.
func TestPruneCommand(t *testing.T) {
	config, id := old(t, 400*24*time.Hour, "{ordinary: {details: 90d}}")
	has(t, say(t, 0, "check", "--config", config, "--lang", "en"), "90 days after a message with ordinary information (ordinary) has ended, all that tells of people is removed. The rest is kept.",
		"What the ledger holds of ended messages with sensitive information (sensitive) is kept until the authority decides otherwise")
	has(t, say(t, 0, "prune", "--config", config), "what tells of people would be removed from 1 messages, and the rows of 0")
	has(t, say(t, 0, "trace", "--config", config, string(id)), "anna@eksempel.example", "bo@borger.example")
	has(t, say(t, 0, "prune", "--config", config, "--now"), "have been removed from 1 messages")
	told := say(t, 0, "trace", "--config", config, string(id))
	has(t, told, "what told of people was removed", "what is left", "from (removed) by (removed)", "to (removed): delivered")
	for _, gone := range []string{"anna", "bo@", "borger", "192.0.2.7", "for bo"} {
		if strings.Contains(told, gone) {
			t.Errorf("%q is still told:\n%s", gone, told)
		}
	}
	has(t, say(t, 0, "trace", "--config", config, "--json", string(id)), `"erased_at":"`)
	has(t, say(t, 0, "prune", "--config", config, "--json"), `"details":0,"rows":0`)
}

// TestTraceGone: nobody takes a message that retention removed for one that was never accepted.
func TestTraceGone(t *testing.T) {
	config, id := old(t, 400*24*time.Hour, "{ordinary: {details: 90d, rows: 12mo}}")
	has(t, say(t, 0, "prune", "--config", config, "--now", "--json"), `"done":true,"details":1,"rows":1`)
	for _, args := range [][]string{{string(id)}, {"--recipient", "bo@nabo.example"}} {
		has(t, say(t, 1, append([]string{"trace", "--config", config}, args...)...),
			"retention has removed 1 messages with ordinary information that had ended by", "it may have been one of them")
	}
}
