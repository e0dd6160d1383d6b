package smtpin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/mail"
)

// taken is a message that the fake Handler was given.
type taken struct {
	env  Envelope
	data string
}

// strict is a Handler that fails the test itself where the contract is broken: calls out of order or at the same
// time, Data with other recipients than it agreed to, or with lines that do not end in CRLF. It serves one connection.
//
// What it answers is in the addresses' local parts and the data: see verdict.
type strict struct {
	t    testing.TB
	busy atomic.Int32

	mu        sync.Mutex
	connected bool
	sender    *mail.Address
	agreed    []Recipient
	messages  []taken
	log       []string // calls, in order
}

func (h *strict) enter(call string) func() {
	if h.busy.Add(1) != 1 {
		h.t.Error("two calls for one connection at the same time")
	}
	h.mu.Lock()
	h.log = append(h.log, call)
	return func() {
		h.mu.Unlock()
		h.busy.Add(-1)
	}
}

// verdict is what the fake says to a word.
func verdict(word string) *Reply {
	switch word {
	case "later":
		return &Reply{Code: 450, Enhanced: "4.2.0", Text: "later"}
	case "never":
		return &Reply{Code: 550, Enhanced: "5.7.1", Text: "Afvist på grund af reglerne\nRefused", Err: errors.New("nr. 010170-5000")}
	case "number":
		return &Reply{Code: 550, Enhanced: "5.7.1", Text: "no 010170-5000\r\nhere\x07"}
	case "gone":
		return &Reply{Code: 421, Enhanced: "4.3.2", Text: "gone"}
	case "welcome":
		return &Reply{Code: 250, Enhanced: "2.1.9", Text: "welcome"}
	case "nonsense":
		return &Reply{Code: 354, Text: "nonsense"}
	case "bare":
		return &Reply{Code: 550, Enhanced: "4.1.1", Text: "class differs"}
	case "panic":
		panic("a value with 010170-5000 in it")
	case "index":
		var none []int
		return &Reply{Code: none[len(word)]}
	}
	return nil
}

func (h *strict) Connect(ctx context.Context, c *Client) *Reply {
	defer h.enter("connect")()
	if h.connected {
		h.t.Error("Connect called twice")
	}
	h.connected = true
	return verdict(c.Listener)
}

func (h *strict) Authenticate(ctx context.Context, c *Client, user, password string) *Reply {
	defer h.enter("authenticate " + user)()
	if c.TLS == nil {
		h.t.Error("Authenticate without TLS")
	}
	if user == "anne" && password == "hemmelig" {
		return nil
	}
	if r := verdict(user); r != nil {
		return r
	}
	return &Reply{Code: 535, Enhanced: "5.7.8", Text: "no"}
}

func (h *strict) Mail(ctx context.Context, c *Client, sender mail.Address) *Reply {
	defer h.enter("mail " + string(sender))()
	if !h.connected || c.Hello == "" {
		h.t.Error("Mail before Connect or EHLO")
	}
	h.sender, h.agreed = nil, nil
	r := verdict(local(sender))
	if yes(r) {
		h.sender = &sender
	}
	return r
}

func (h *strict) Rcpt(ctx context.Context, e *Envelope, r Recipient) *Reply {
	defer h.enter("rcpt " + string(r.Address))()
	h.check(e)
	if r.Address == "" {
		h.t.Error("Rcpt without an address")
	}
	said := verdict(local(r.Address))
	if yes(said) {
		h.agreed = append(h.agreed, r)
	}
	return said
}

func (h *strict) Data(ctx context.Context, e *Envelope, data []byte) *Reply {
	defer h.enter("data")()
	h.check(e)
	if len(h.agreed) == 0 {
		h.t.Error("Data without recipients")
	}
	checkCRLF(h.t, data)
	h.sender = nil
	h.messages = append(h.messages, taken{*e, string(data)})
	for word := range strings.FieldsSeq(string(data)) {
		if said, ok := strings.CutPrefix(word, "say:"); ok {
			return verdict(said)
		}
	}
	return nil
}

// check compares the envelope with what was agreed.
func (h *strict) check(e *Envelope) {
	if h.sender == nil || e.Sender != *h.sender {
		h.t.Errorf("a call with a sender that was not agreed to: %q", e.Sender)
	}
	if fmt.Sprint(e.Recipients) != fmt.Sprint(h.agreed) {
		h.t.Errorf("recipients %v, agreed %v", e.Recipients, h.agreed)
	}
	if e.RequireTLS && e.Client.TLS == nil {
		h.t.Error("REQUIRETLS without TLS")
	}
}

func (h *strict) taken() []taken {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages
}

func local(a mail.Address) string {
	l, _, _ := strings.Cut(string(a), "@")
	return l
}

// checkCRLF fails the test unless every line of data ends in CRLF and neither stands alone.
func checkCRLF(t testing.TB, data []byte) {
	t.Helper()
	rest := bytes.ReplaceAll(data, []byte("\r\n"), nil)
	if bytes.ContainsAny(rest, "\r\n") || (len(data) > 0 && !bytes.HasSuffix(data, []byte("\r\n"))) {
		t.Errorf("data with other line ends than CRLF: %.200q", data)
	}
}

// one is a listener that accepts the connections it is given.
type one struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newOne(conns ...net.Conn) *one {
	l := &one{conns: make(chan net.Conn, 100), closed: make(chan struct{})}
	for _, c := range conns {
		l.conns <- c
	}
	return l
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *one) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

// serving runs a Server over l until the test ends, or stop is called.
func serving(t testing.TB, h Handler, o Options, l net.Listener) (stop func()) {
	t.Helper()
	o.Host = "mx.eksempel.example"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(h, o).Serve(ctx, l, time.Minute) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// logged is a slog.Handler's target that keeps what was logged, to look for what must not be there.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// holdsNumber reports whether the test's number stands in s.
func holdsNumber(s string) bool {
	return strings.Contains(s, "010170-5000") || strings.Contains(s, "0101705000")
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testCert is one certificate for all tests.
var testCert = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.eksempel.example"},
		DNSNames: []string{"mx.eksempel.example"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, err := testCert()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// trusting is a client's configuration for testTLS's server.
func trusting() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true}
}
