// Package config reads postvagt.yaml: strict, every mistake at once with its line, what is wrong, why, and a hint.
// Defaults stand in one place. docs/config.md is generated from the field table.
package config

import (
	"net/netip"
	"time"

	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// Config is a checked configuration.
type Config struct {
	Path        string // of the file it was read from
	Host        string // our name in SMTP; default os.Hostname
	Authorities []Authority
	Listen      Listen
	Trusted     []netip.Prefix // networks whose mail is the authority's own (with a sender in its domains: outbound)
	Users       []User
	TLS         TLS
	Store       Store
	Routes      []Route // the first that matches the recipient's domain wins; without one: the domain's MX
	Delivery    Delivery
	Limits      Limits
	Log         Log
}

// Authority is one guarded organisation.
type Authority struct {
	Name      string
	Domains   []string // lower case; ".eksempel.example" means all below
	SafetyNet string   // mailbox: last rung of the ladder
	Contact   string   // shown in notices; default SafetyNet
	Policy    policy.Options
	Units     []Unit
	Held      Held
	Notices   Notices
}

// Unit is the second rung for the senders it matches.
type Unit struct {
	Name    string
	Senders []string // patterns: "*@eksempel.example", "social*@eksempel.example", "eksempel.example"
	Mailbox string
}

// Held says who decides on held mail and until when.
type Held struct {
	Owner  string          // mailbox; default SafetyNet
	Within time.Duration   // default 72h
	Remind []time.Duration // before the deadline, default 24h and 4h
}

// Notices says how people are told.
type Notices struct {
	From        string        // default "postvagt@" + first domain
	Language    string        // "da" (default) or "en" first
	Repaired    string        // "each" (default), "digest" or "off"
	Digest      time.Duration // default 24h
	TellOutside string        // "authenticated" (default), "always" or "never"
}

// Listen holds addresses "host:port"; a socket handed over by systemd under the same name ("smtp" …) wins.
type Listen struct {
	SMTP       []string // STARTTLS where TLS is set
	Submission []string // STARTTLS and AUTH required
	SMTPS      []string // implicit TLS and AUTH required
	Metrics    string   // /metrics, /healthz, /readyz; "" none
}

// User may submit.
type User struct {
	Name    string
	Hash    string   // argon2id PHC string or bcrypt
	Senders []string // addresses and patterns it may send as; empty: any address of the authority's domains
}

// TLS is our certificate; the files are read anew when they change.
type TLS struct{ Cert, Key string }

// Store is where the ledger lives.
type Store struct {
	SQLite string // file
	Keys   string // key file; default: the SQLite file's directory + "/keys"
}

// Route says where a domain's mail goes.
type Route struct {
	To             string      // domain, ".domain" for all below, or "*"
	SmartHost      string      // "host:port"; "" : the domain's MX
	Level          level.Level // least level asked of this hop for any mail; default: encrypted to the world, cleartext to the authority's own domains
	Vouches        level.Level
	TLSName        string
	RootCAs        string
	User, Password string
}

// Delivery holds the times of a delivery's life.
type Delivery struct {
	Delay         time.Duration   // delay notice after, default 4h
	Return        time.Duration   // final return after, default 24h
	Retry         []time.Duration // backoff, jittered by a fifth; the last repeats; default 1m 5m 15m 30m 1h
	Concurrency   int             // connections per lane, default 20
	PerConnection int             // messages per connection, default 100
}

// Limits bound what is taken in.
type Limits struct {
	MessageBytes     int64 // default 50 MiB
	Recipients       int   // default 1,000
	Connections      int   // default 500
	ConnectionsPerIP int   // default 100
	Hops             int   // Received fields before a message counts as looping, default 100 (RFC 5321, section 6.3)
	MemoryBytes      int64 // message bytes in flight, default 64 MiB
}

// Log says how it is logged, to standard error.
type Log struct {
	Level  string // "info" (default), "debug", "warn", "error"
	Format string // "text" (default) or "json"
}

// Load reads and checks a file. The error is a Mistakes, or why the file could not be read.
func Load(path string) (*Config, error) { panic("contract") }

// Parse reads and checks data; path names it in messages.
func Parse(path string, data []byte) (*Config, error) { panic("contract") }

// AuthorityOf returns the authority whose domains hold domain; nil when none does.
func (c *Config) AuthorityOf(domain string) *Authority { panic("contract") }

// RouteOf returns the route for a recipient domain; the zero Route, with its default Level, means the domain's MX.
func (c *Config) RouteOf(domain string) Route { panic("contract") }
