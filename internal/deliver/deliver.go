// Package deliver makes one attempt to hand a message to a next hop, at a required level or not at all (law 4), and
// returns the evidence. It connects, measures the channel before the first byte of the message, and reuses
// connections to the same hop. It knows no queue and no retries: that is the ledger's and the guard's.
//
// The SMTP client is our own, not a library's, for three reasons. It pipelines (RFC 2920), so that an envelope is one
// round trip. It knows to the byte whether the end of data has left this machine, which decides between "surely not
// delivered" and "possibly delivered". And it decides between STARTTLS and the first MAIL whether the mail may leave
// at all. A delivery is read in this order: Attempt, reach (route.go, open.go), measure (secure.go), transact
// (transact.go, body.go), classify (outcome.go).
package deliver

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"

	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// Hop is where mail is to go.
type Hop struct {
	SmartHost      string      // "host:port", or "" to find the MX of Domain
	Domain         string      // the recipients' domain, for MX lookup
	Least          level.Level // least level asked of this hop for any mail
	Vouches        level.Level // level the authority declares that this hop carries on at; None: it does not vouch
	TLSName        string      // name the certificate must prove; "" means the smart host's own
	RootCAs        string      // PEM file with roots trusted beside the system's; "" means the system's only
	User, Password string      // AUTH towards the smart host, only over TLS ≥ Encrypted
}

// Recipient is one RCPT with its DSN parameters (RFC 3461), passed on where the hop offers DSN.
type Recipient struct {
	Address mail.Address
	Notify  string // "NEVER" or a comma list; "" none given
	ORcpt   string // as given, xtext kept
}

// Job is one message to one hop.
type Job struct {
	Hop        Hop
	Required   level.Level // the message's own requirement; the attempt needs max(Required, Hop.Least)
	Sender     mail.Address
	Recipients []Recipient
	Ret, EnvID string
	UTF8       bool   // needs SMTPUTF8 (RFC 6531)
	EightBit   bool   // holds 8-bit content
	Head, Body []byte // the message: our trace fields, then the rest; neither is changed nor kept after Attempt returns
	Size       int64
	// May is asked when the channel is open, just before the envelope leaves: reaching the hop takes its time, and meanwhile the
	// right to send may have been lost. false: nothing is sent, and every result is Deferred. nil: it may.
	May func() bool
}

// Outcome of one recipient.
type Outcome string

const (
	Delivered Outcome = "delivered" // the hop took responsibility
	Deferred  Outcome = "deferred"  // try again later
	Refused   Outcome = "refused"   // permanent: 5yz
	TooLow    Outcome = "too-low"   // the hop does not reach the level: nothing of the message was sent
	Unknown   Outcome = "unknown"   // cut off after the end of data was sent: possibly delivered
)

// Result is one recipient's outcome.
type Result struct {
	Outcome  Outcome
	Code     int    // SMTP reply code; 0: no reply
	Enhanced string // "5.1.1"; "" none
	Text     string // the remote's words, masked, one line, at most 500 bytes
	Reached  bool   // whether the hop was spoken to at all (false: no contact, DNS failure)
}

// Receipt is the evidence of an attempt (law 4).
type Receipt struct {
	Hop         string        `json:"hop"` // host:port spoken to
	IP          string        `json:"ip,omitempty"`
	Level       level.Level   `json:"level"`             // measured
	Vouched     level.Level   `json:"vouched,omitempty"` // declared by the authority, never measured
	TLSVersion  string        `json:"tls,omitempty"`
	Cipher      string        `json:"cipher,omitempty"`
	Verified    string        `json:"verified,omitempty"`     // how: "webpki"; "" not at all
	VerifyError string        `json:"verify_error,omitempty"` // why the name was not proven
	Fingerprint string        `json:"fingerprint,omitempty"`  // SHA-256 of the peer's certificate, hex
	Fallback    string        `json:"fallback,omitempty"`     // why the mail went in cleartext although the hop offered STARTTLS
	DSN         bool          `json:"dsn,omitempty"`          // the hop offers DSN and got the parameters (RFC 3461)
	Started     time.Time     `json:"started"`
	Took        time.Duration `json:"took"`
}

// Options configure a Client. Zero fields mean defaults.
type Options struct {
	Hello         string                                                            // our name in EHLO
	Resolver      Resolver                                                          // nil: the system's name servers
	Dial          func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer; tests hand in net.Pipe
	Connect       time.Duration                                                     // default 30 s
	Command       time.Duration                                                     // per command and reply, default 5 min (RFC 5321, section 4.5.3.2)
	DataEnd       time.Duration                                                     // for the reply to the end of data, default 10 min
	Idle          time.Duration                                                     // how long an unused connection is kept, default 5 s
	IdlePerHop    int                                                               // default 20
	PerConnection int                                                               // messages over one connection, default 100
}

// Resolver finds hosts. *DNS is the real one.
type Resolver interface {
	// MX returns the exchangers of domain in order of preference, equal ones shuffled; a null MX (RFC 7505) is ErrNullMX; no MX
	// but an address is the domain itself (RFC 5321, section 5.1); ErrNoDomain when the domain does not exist.
	MX(ctx context.Context, domain string) ([]string, error)
	// Addresses returns the A and AAAA addresses of host.
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
}

// Client makes attempts. Safe for concurrent use. Close ends its idle connections.
type Client struct {
	options Options
	idle    pool
	roots   rootStore
}

// New returns a Client.
func New(o Options) *Client {
	o.Hello = cmp.Or(o.Hello, "localhost")
	o.Connect = cmp.Or(o.Connect, 30*time.Second)
	o.Command = cmp.Or(o.Command, 5*time.Minute)
	o.DataEnd = cmp.Or(o.DataEnd, 10*time.Minute)
	o.Idle = cmp.Or(o.Idle, 5*time.Second)
	o.IdlePerHop = cmp.Or(o.IdlePerHop, 20)
	o.PerConnection = cmp.Or(o.PerConnection, 100)
	c := &Client{options: o}
	if c.options.Dial == nil {
		c.options.Dial = new(net.Dialer).DialContext
	}
	if c.options.Resolver == nil {
		c.options.Resolver = systemResolver()
	}
	c.idle = pool{keep: o.Idle, perHop: o.IdlePerHop, conns: make(map[Hop][]*session)}
	return c
}

// Attempt tries to deliver j; it returns one Result per recipient, in order, always.
func (c *Client) Attempt(ctx context.Context, j Job) (Receipt, []Result) {
	started := time.Now()
	receipt, results := c.attempt(ctx, &j)
	receipt.Started, receipt.Took = started, time.Since(started)
	return receipt, results
}

func (c *Client) attempt(ctx context.Context, j *Job) (Receipt, []Result) {
	if fail := unfit(j); fail != nil {
		return fail.receipt, fail.results(j)
	}
	need := needOf(j)
	for s := c.idle.take(j.Hop, need.least); s != nil; s = c.idle.take(j.Hop, need.least) {
		receipt, results, stale := c.use(ctx, s, j, need)
		if !stale {
			return receipt, results
		}
	}
	s, fail := c.reach(ctx, j.Hop, need)
	if fail != nil {
		return fail.receipt, fail.results(j)
	}
	receipt, results, _ := c.use(ctx, s, j, need)
	return receipt, results
}

// use gives j to an open session, then keeps the session for the next message or ends it. stale reports that the peer
// had closed the session while it was idle, so that nothing was accepted and a fresh connection must be tried.
func (c *Client) use(ctx context.Context, s *session, j *Job, need need) (receipt Receipt, results []Result, stale bool) {
	receipt = s.facts
	if receipt.Level < need.least {
		// The gate of law 4. open and take have looked already; this line is where the envelope would leave.
		fail := tooLow(receipt, need)
		s.quit()
		return receipt, fail.results(j), false
	}
	if receipt.Level < need.full {
		receipt.Vouched = j.Hop.Vouches
	}
	receipt.DSN = s.offers.dsn
	if j.May != nil && !j.May() {
		if !c.idle.put(j.Hop, s) {
			s.quit()
		}
		fail := failure{result: Result{Outcome: Deferred, Text: "not begun", Reached: true}}
		return receipt, fail.results(j), false
	}
	stop := s.watch(ctx)
	results, stale = s.transact(j)
	s.used++
	reusable := stop() && !s.broken && s.used < c.options.PerConnection && s.r.Buffered() == 0
	if !reusable || !c.idle.put(j.Hop, s) {
		s.quit()
	}
	return receipt, results, stale
}

// Close ends idle connections and lets running attempts finish.
func (c *Client) Close() error {
	c.idle.close()
	return nil
}

// need is what a job asks of the channel.
type need struct {
	full  level.Level // max(Required, Hop.Least): what must be measured where nobody vouches
	least level.Level // what must be measured at the very least; lower than full only where the authority vouches for the hop
}

// needOf says what j asks. Where the authority vouches that the hop carries on at the message's level, the hop itself
// must still reach the least level asked of it for any mail.
func needOf(j *Job) need {
	floor := max(j.Hop.Least, level.Cleartext)
	n := need{full: max(j.Required, floor), least: max(j.Required, floor)}
	if j.Hop.Vouches >= j.Required {
		n.least = floor
	}
	return n
}
