// Package smtpin accepts mail by SMTP (RFC 5321) with PIPELINING, 8BITMIME, SMTPUTF8, CHUNKING, DSN, ENHANCEDSTATUSCODES,
// SIZE, STARTTLS, AUTH and, where asked for, REQUIRETLS. Lines end in CRLF and nothing else; a failed read ends the connection. It answers
// 250 to the end of data only when its Handler says so (law 1).
//
// A connection is one goroutine: command lines are read and answered in order (conn.go), the message is read by DATA
// (data.go) or BDAT (bdat.go) into one buffer counted against a budget that all connections share, and handed over
// whole. Replies are collected and written when the next read would wait, which is all that PIPELINING asks.
//
// What it guarantees: the Handler's Data sees only complete messages whose lines all end in CRLF, each at most once; after
// a failed or late read nothing more of that connection is read as commands; and no reply or log line repeats what
// the client sent. What it does not do: look into the message, add a Received field, or limit the length of a text line
// (998 octets is a recommendation of RFC 5321, section 4.5.3.1.6, that real mail breaks: MaxSize is the bound).
package smtpin

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"postvagt/internal/mail"
)

// Client is who is at the other end.
type Client struct {
	IP       netip.Addr
	Hello    string               // its name in EHLO
	User     string               // authenticated user; "" none
	TLS      *tls.ConnectionState // nil: cleartext
	Listener string               // name of the listener ("smtp", "submission", …)
	ESMTP    bool
}

// Recipient is one RCPT with its DSN parameters (RFC 3461).
type Recipient struct {
	Address mail.Address
	Notify  string
	ORcpt   string // as given
}

// Envelope is a transaction up to the end of data.
type Envelope struct {
	Client     *Client
	Sender     mail.Address // "" is the null reverse-path
	Recipients []Recipient
	Ret, EnvID string
	UTF8       bool // SMTPUTF8 was given
	EightBit   bool // BODY=8BITMIME was given, or the data holds bytes over 127
	RequireTLS bool // RFC 8689
}

// Reply is an SMTP reply and, apart from it, what the log keeps. It is an error; permanence follows from the code.
type Reply struct {
	Code     int
	Enhanced string // "5.7.1"
	Text     string // what the stranger reads: one or more lines, no CPR number
	Err      error  // what the log keeps; nil when Text says it all
}

func (r *Reply) Error() string { return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text) }
func (r *Reply) Unwrap() error { return r.Err }

// Temporary reports whether the client should try again.
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }

// Handler decides. A nil Reply means yes. Methods are called by one goroutine per connection; different connections
// call at the same time. A Handler that panics gives that client 451 and costs nothing else. It may keep what it is given
// (Client, Envelope, data): nothing of it changes after the transaction. ctx ends with the connection, and at a stop when
// the grace is over; the client's going away does not end it. Reply texts are masked (law 6), freed of control characters,
// and spelt in ASCII for clients that have not asked for SMTPUTF8. A Reply with code 421 or 521 also closes.
type Handler interface {
	// Connect is asked once per connection, before the greeting.
	Connect(ctx context.Context, c *Client) *Reply
	// Authenticate checks a user's password.
	Authenticate(ctx context.Context, c *Client, user, password string) *Reply
	// Mail is asked for each MAIL FROM.
	Mail(ctx context.Context, c *Client, sender mail.Address) *Reply
	// Rcpt is asked for each RCPT TO; e holds the recipients accepted so far.
	Rcpt(ctx context.Context, e *Envelope, r Recipient) *Reply
	// Data takes the message: CRLF line ends, dot-stuffing undone. It owns data. When it returns nil (or a Reply with code 250,
	// whose text is then used), custody has passed and is durable.
	Data(ctx context.Context, e *Envelope, data []byte) *Reply
}

// Options of one listener. Zero fields mean defaults.
type Options struct {
	Name            string      // Client.Listener
	Host            string      // our name in greeting and EHLO
	TLS             *tls.Config // nil: no STARTTLS
	ImplicitTLS     bool
	Auth            bool                  // offer AUTH PLAIN and LOGIN, over TLS only
	AuthRequired    bool                  // refuse MAIL without it (RFC 6409)
	RequireTLS      bool                  // offer REQUIRETLS (RFC 8689), over TLS only: the handler keeps what it promises on every hop
	MaxSize         int64                 // bytes, default 50 MiB; announced as SIZE
	MaxRecipients   int                   // default 1,000; more are 452 4.5.3
	MaxConns        int                   // default 500; more are 421 4.7.0
	MaxConnsPerIP   int                   // default 100
	Unlimited       func(netip.Addr) bool // clients that MaxConnsPerIP does not count; nil: none
	MaxErrors       int                   // bad commands before 421, default 20
	MemoryBytes     int64                 // message bytes in flight over all connections, default 64 MiB, at least one MaxSize; more wait 10 s, then 452 4.3.1
	ReadTimeout     time.Duration         // per line or chunk, default 5 min
	MaxTransactions int                   // per connection, default 1,000
	Log             *slog.Logger
}
