// Package config reads postvagt.yaml: strict, every mistake at once with its line, what is wrong, why, and a hint.
// Defaults stand in one place. docs/config.md is generated from the field table.
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// Config is a checked configuration.
type Config struct {
	Path        string // of the file it was read from
	Host        string // our name in SMTP; default os.Hostname
	Node        string // our name among the guards over one ledger; default Host with SQLite, os.Hostname with PostgreSQL
	Authorities []Authority
	Listen      Listen
	Trusted     []Trust
	Users       []User
	TLS         TLS
	Store       Store
	Bodies      Bodies
	Routes      []Route // the first that matches the recipient's domain wins; without one: the domain's MX
	Delivery    Delivery
	Limits      Limits
	Log         Log
	Warnings    []string // what is allowed but should be known, in the order of the file: "line 7: …"
}

// Trust is a network whose mail is the authority's own and may go out. Where the network is shared with strangers, as
// Exchange Online's are by all its tenants, the mail must prove itself: by a secret header field, a client certificate, or both.
type Trust struct {
	Net         netip.Prefix
	Authorities []string // by name: whose mail servers are there; the first accounts for mail that no address settles. Empty: the only authority's
	OwnSenders  bool     // only mail whose envelope sender is in the domains of these authorities
	Header      string   // name of the field that must be there with the value Secret; the guard takes it off. "" none
	Secret      string
	Certificate string // name the client's TLS certificate must prove; "" none
}

// Authority is one guarded organisation.
type Authority struct {
	Name             string
	Domains          []string // lower case, A-labels; ".eksempel.example" means all below
	SafetyNet        string   // mailbox: last rung of the ladder
	Contact          string   // shown in notices; default SafetyNet
	Keys             string   // its own key file; "" the installation's
	Routes           []Route  // its own ways out, before the common ones; they serve no other authority
	Policy           policy.Options
	Units            []Unit
	VerifyRecipients bool // ask our own server whether a mailbox exists before a stranger's mail for it is taken
	Held             Held
	Notices          Notices
	Retention        ledger.Retention // what it does not name is kept for ever
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
	Name        string
	Hash        string   // argon2id PHC string or bcrypt
	Authorities []string // by name: for whom it may send; the first accounts for mail without a sender. Empty: the only authority
	Senders     []string // addresses and patterns it may send as; empty: any address of these authorities' domains
}

// TLS is our certificate; the files are read anew when they change.
type TLS struct{ Cert, Key string }

// Store is where the ledger lives: in a file, or in a database; one of the two is set.
type Store struct {
	SQLite   string // file
	Postgres DSN    // with the password from password_file, where one is given
	Keys     string // key file; default with SQLite: the file's directory + "/keys"
}

// Route says where a domain's mail goes.
type Route struct {
	To             string      // domain, ".domain" for all below, or "*"
	SmartHost      string      // "host:port"; "" : the domain's MX
	Level          level.Level // least level asked of this hop for any mail; None here means RouteOf's default: encrypted to the world, cleartext to the authorities' own domains
	Vouches        level.Level // level the authority declares that the hop carries mail on at; None: it does not vouch
	TLSName        string      // name the hop's certificate must prove; "" its own
	RootCAs        string      // PEM file with extra roots; "" the system's
	User, Password string      // AUTH towards the smart host

	Authority string // whose own route it is; "" a common one
	HandOver  string // from RouteOf only: the authority of this installation to which the mail is handed over here, as mail from outside
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
	Rate             int   // messages a minute from one untrusted address or one user, default 600; 0: no limit
	MemoryBytes      int64 // message bytes in flight, default 64 MiB
}

// Log says how it is logged, to standard error.
type Log struct {
	Level  string // "info" (default), "debug", "warn", "error"
	Format string // "text" (default) or "json"
}

// Load reads and checks a file, and the files it names. The error is a Mistakes, also where the file cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var why *fs.PathError
		errors.As(err, &why)
		return nil, Mistakes{{File: path, What: "the configuration cannot be read: " + why.Err.Error(),
			Hint: "name it with --config FILE or in $POSTVAGT_CONFIG, and run the command as the guard's user"}}
	}
	return parse(path, data, os.ReadFile)
}

// Parse reads and checks data; path names it in messages, and relative file names in it start from path's folder. It
// reads no file: whether certificates exist, and what password files hold, is Load's to see.
func Parse(path string, data []byte) (*Config, error) { return parse(path, data, nil) }

// parse reads the configuration section by section and checks it as a whole. readFile is nil when files stay unread.
func parse(path string, data []byte, readFile func(string) ([]byte, error)) (*Config, error) {
	r := &reader{path: path, readFile: readFile}
	c := r.config(data)
	if len(r.mistakes) > 0 {
		return nil, r.mistakes.sorted()
	}
	c.Warnings = r.told()
	return c, nil
}

// AuthorityOf returns the authority whose domains hold domain; nil when none does. A domain named exactly comes before
// one below a ".domain", and the longest of these before the others.
func (c *Config) AuthorityOf(domain string) *Authority {
	domain = canonical(domain)
	var best *Authority
	longest := 0
	for i := range c.Authorities {
		for _, zone := range c.Authorities[i].Domains {
			if zone == domain {
				return &c.Authorities[i]
			}
			if inZone(zone, domain) && len(zone) > longest {
				best, longest = &c.Authorities[i], len(zone)
			}
		}
	}
	return best
}

// AuthorityNamed returns an authority; nil when there is none of that name.
func (c *Config) AuthorityNamed(name string) *Authority {
	for i := range c.Authorities {
		if c.Authorities[i].Name == name {
			return &c.Authorities[i]
		}
	}
	return nil
}

// Bound returns the authorities that a user or a trusted network is bound to, as its Authorities say.
func (c *Config) Bound(names []string) (bound []*Authority) {
	if len(names) == 0 && len(c.Authorities) == 1 {
		return []*Authority{&c.Authorities[0]}
	}
	for _, name := range names {
		if a := c.AuthorityNamed(name); a != nil {
			bound = append(bound, a)
		}
	}
	return bound
}

// RouteOf returns the way of an authority's mail to a domain: its own routes, then the common ones, then the domain's MX, which
// is the zero Route with its default Level. To its own domains a common route that names the domain comes before an own "*",
// which is meant for the world. Mail to another authority of the installation never takes a common route, which would lead past
// that authority's rules: it is handed over here, unless an own route names the domain.
func (c *Config) RouteOf(from *Authority, domain string) Route {
	domain = canonical(domain)
	to := c.AuthorityOf(domain)
	var route Route
	switch {
	case to == from:
		route, _ = match(c.homeRoutes(from), domain)
	case to != nil:
		own, found := match(from.Routes, domain)
		if !found || own.To == "*" {
			return Route{To: domain, HandOver: to.Name}
		}
		route = own
	default:
		route, _ = match(slices.Concat(from.Routes, c.Routes), domain)
	}
	if route.Level == level.None {
		route.Level = level.Encrypted
		if to == from {
			route.Level = level.Cleartext
		}
	}
	return route
}

// homeRoutes are the routes to an authority's own mailboxes, in their order: those that name a domain come first.
func (c *Config) homeRoutes(a *Authority) []Route {
	all := slices.Concat(a.Routes, c.Routes)
	slices.SortStableFunc(all, func(x, y Route) int {
		return cmp.Compare(strings.Count(x.To, "*"), strings.Count(y.To, "*"))
	})
	return all
}

func match(routes []Route, domain string) (Route, bool) {
	for _, r := range routes {
		if r.To == "*" || inZone(r.To, domain) {
			return r, true
		}
	}
	return Route{}, false
}

// canonical is the form in which domains are compared; what is no domain (an address literal) stays, in lower case.
func canonical(domain string) string {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			if a, err := asciiDomain(domain); err == nil {
				return a
			}
			break
		}
	}
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

// inZone reports whether domain is zone or, where zone begins with a dot, below it.
func inZone(zone, domain string) bool {
	if strings.HasPrefix(zone, ".") {
		return len(domain) > len(zone) && strings.HasSuffix(domain, zone)
	}
	return zone == domain
}
