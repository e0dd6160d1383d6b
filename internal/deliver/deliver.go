// Package deliver makes one attempt to hand a message to a next hop, at a required level or not at all (law 4), and
// returns the evidence. It connects, measures the channel before the first byte of the message, and reuses
// connections to the same hop. It knows no queue and no retries: that is the ledger's and the guard's.
package deliver

import (
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
	RootCAs        string      // PEM file with extra roots; "" means the system's
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
	Started     time.Time     `json:"started"`
	Took        time.Duration `json:"took"`
}

// Options configure a Client. Zero fields mean defaults.
type Options struct {
	Hello      string                                                            // our name in EHLO
	Resolver   Resolver                                                          // nil: the system's name servers
	Dial       func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer; tests hand in net.Pipe
	Connect    time.Duration                                                     // default 30 s
	Command    time.Duration                                                     // per command and reply, default 5 min (RFC 5321, section 4.5.3.2)
	DataEnd    time.Duration                                                     // for the reply to the end of data, default 10 min
	Idle       time.Duration                                                     // how long an unused connection is kept, default 5 s
	IdlePerHop int                                                               // default 20
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
type Client struct{ options Options }

// New returns a Client.
func New(o Options) *Client { panic("contract") }

// Attempt tries to deliver j; it returns one Result per recipient, in order, always.
func (c *Client) Attempt(ctx context.Context, j Job) (Receipt, []Result) { panic("contract") }

// Close ends idle connections and lets running attempts finish.
func (c *Client) Close() error { panic("contract") }
