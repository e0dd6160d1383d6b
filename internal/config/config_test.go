package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"postvagt/internal/level"
)

// minimal is the configuration that issue 2 promises works as it stands.
const minimal = `authorities:
  - name: Eksempel Kommune
    domains: [eksempel.example]
    safety_net: sikkerhedsnet@eksempel.example
listen:
  smtp: 127.0.0.1:2525
trusted: [127.0.0.0/8]
store: {sqlite: /var/lib/postvagt/ledger.db}
routes:
  - {to: eksempel.example, smarthost: "127.0.0.1:12026", level: cleartext}
  - {to: "*",              smarthost: "127.0.0.1:12025", level: cleartext}
`

func TestMinimal(t *testing.T) {
	c, err := Parse("postvagt.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	a := c.Authorities[0]
	if c.Host == "" {
		t.Error("no host name")
	}
	for _, d := range []struct {
		what      string
		got, want any
	}{
		{"name", a.Name, "Eksempel Kommune"},
		{"domains", a.Domains, []string{"eksempel.example"}},
		{"safety net", a.SafetyNet, "sikkerhedsnet@eksempel.example"},
		{"contact", a.Contact, a.SafetyNet},
		{"repair inbound", a.Policy.RepairInbound, true},
		{"verify recipients", a.VerifyRecipients, true},
		{"confidence", a.Policy.Confidence, 0.5},
		{"policy domains", a.Policy.Domains, a.Domains},
		{"held", a.Held, Held{Owner: a.SafetyNet, Within: 72 * time.Hour, Remind: []time.Duration{24 * time.Hour, 4 * time.Hour}}},
		{"notices", a.Notices, Notices{From: "postvagt@eksempel.example", Language: "da", Repaired: "each", Digest: 24 * time.Hour, TellOutside: "authenticated"}},
		{"listen", c.Listen, Listen{SMTP: []string{"127.0.0.1:2525"}}},
		{"store", c.Store, Store{SQLite: "/var/lib/postvagt/ledger.db", Keys: "/var/lib/postvagt/keys"}},
		{"routes", c.Routes, []Route{
			{To: "eksempel.example", SmartHost: "127.0.0.1:12026", Level: level.Cleartext},
			{To: "*", SmartHost: "127.0.0.1:12025", Level: level.Cleartext},
		}},
		{"delivery", c.Delivery, Delivery{Delay: 4 * time.Hour, Return: 24 * time.Hour, Concurrency: 20, PerConnection: 100,
			Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}}},
		{"limits", c.Limits, Limits{MessageBytes: 50 << 20, Recipients: 1000, Connections: 500, ConnectionsPerIP: 100, Hops: 100, Rate: 600, MemoryBytes: 64 << 20}},
		{"log", c.Log, Log{Level: "info", Format: "text"}},
	} {
		if diff := cmp.Diff(d.want, d.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", d.what, diff)
		}
	}
	if len(c.Trusted) != 1 || c.Trusted[0].Net != netip.MustParsePrefix("127.0.0.0/8") || c.Trusted[0].OwnSenders || c.Trusted[0].Header != "" || c.Trusted[0].Certificate != "" {
		t.Errorf("trusted %v", c.Trusted)
	}
	if c.AuthorityOf("Eksempel.Example") != &c.Authorities[0] || c.AuthorityOf("nabo.example") != nil || c.AuthorityOf("x.eksempel.example") != nil {
		t.Error("AuthorityOf is wrong")
	}
	if got := c.RouteOf(&c.Authorities[0], "eksempel.example").SmartHost; got != "127.0.0.1:12026" {
		t.Errorf("own domain goes to %s", got)
	}
	if got := c.RouteOf(&c.Authorities[0], "nabo.example").SmartHost; got != "127.0.0.1:12025" {
		t.Errorf("another domain goes to %s", got)
	}
}

// A class of ordinary must be written out: nothing else that is said of the unread takes its protection away.
func TestUnreadAsRead(t *testing.T) {
	for said, want := range map[string]bool{
		"":                                             false,
		"uninspected: {action: hold}":                  false,
		"uninspected: {level: encrypted}":              false,
		"uninspected: {class: confidential}":           false,
		"uninspected: {class: ordinary}":               true,
		"uninspected: {class: ordinary, action: hold}": true,
	} {
		c, err := Parse("postvagt.yaml", []byte(strings.Replace(minimal, "    safety_net:", "    "+said+"\n    safety_net:", 1)))
		if err != nil {
			t.Fatalf("%s: %v", said, err)
		}
		if got := c.Authorities[0].Policy.UnreadAsRead; got != want {
			t.Errorf("%q: got %v, want %v", said, got, want)
		}
	}
}
