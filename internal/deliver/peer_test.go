package deliver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// manners are how a peer behaves.
type manners struct {
	offers   []string              // extension lines after EHLO
	tls      *tls.Config           // nil: STARTTLS is unknown
	implicit bool                  // TLS from the first byte
	inject   string                // cleartext sent right after the reply to STARTTLS
	answer   func(c string) string // reply to a command line, to "greeting", to "." for the end of data; "" as usual, hang, drop
	lenient  bool                  // cut-off dialogues and bare line ends are expected
}

// peer is a strict SMTP server whose every answer a test can set. It fails the test itself when the client breaks the
// protocol, and its record of what it took is the oracle.
type peer struct {
	t testing.TB
	manners

	mu    sync.Mutex
	lines []string // every command line, with "tls:" before it when it came under TLS
	taken []taken  // every message this server took responsibility for
	conns int
	wg    sync.WaitGroup
}

type taken struct {
	from string
	to   []string
	data string
	tls  bool
}

const (
	hang = "hang"
	drop = "drop"
)

func (p *peer) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

func (p *peer) took() []taken {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.taken)
}

// pipe is an Options.Dial over net.Pipe.
func (p *peer) pipe(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.wg.Go(func() { p.serve(theirs) })
	return ours, nil
}

// listen serves on loopback until the test ends and returns an Options.Dial to it.
func (p *peer) listen() func(context.Context, string, string) (net.Conn, error) {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	p.t.Cleanup(func() { l.Close(); p.wg.Wait() })
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

// talk is one connection to a peer.
type talk struct {
	*peer
	conn  net.Conn
	r     *bufio.Reader
	tls   bool // the connection is TLS by now
	ehlo  bool
	mail  bool
	taken taken
}

func (p *peer) serve(conn net.Conn) {
	defer conn.Close()
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	t := &talk{peer: p, conn: conn, r: bufio.NewReader(conn)}
	if p.implicit && !t.handshake() {
		return
	}
	if !t.reply("greeting", "220 peer.example ESMTP") {
		return
	}
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasSuffix(line, "\r\n") || strings.Contains(line[:len(line)-2], "\r") {
			p.t.Errorf("peer: a command with a bare CR or LF: %q", line)
		}
		if !t.command(strings.TrimSuffix(line, "\r\n")) {
			return
		}
	}
}

func (t *talk) handshake() bool {
	c := tls.Server(t.conn, t.manners.tls)
	if c.Handshake() != nil {
		return false
	}
	t.conn, t.r, t.tls, t.ehlo = c, bufio.NewReader(c), true, false
	return true
}

// reply sends the test's reply to a command, or the usual one; false means that the connection is over.
func (t *talk) reply(to, usual string) bool {
	_, ok := t.replied(to, usual)
	return ok
}

func (t *talk) replied(to, usual string) (code byte, ok bool) {
	return t.send(t.choose(to, usual))
}

func (t *talk) choose(to, usual string) string {
	if t.answer != nil {
		if own := t.answer(to); own != "" {
			return own
		}
	}
	return usual
}

func (t *talk) send(usual string) (code byte, ok bool) {
	switch usual {
	case hang:
		io.Copy(io.Discard, t.r)
		return 0, false
	case drop:
		return 0, false
	}
	_, err := io.WriteString(t.conn, strings.ReplaceAll(usual, "\n", "\r\n")+"\r\n")
	return usual[0], err == nil && !strings.HasPrefix(usual, "421")
}

func (t *talk) command(line string) bool {
	t.mu.Lock()
	if t.tls {
		t.lines = append(t.lines, "tls:"+line)
	} else {
		t.lines = append(t.lines, line)
	}
	t.mu.Unlock()
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	if !t.ehlo && slices.Contains([]string{"MAIL", "RCPT", "DATA", "AUTH"}, verb) {
		t.t.Errorf("peer: %q before EHLO", line)
	}
	switch verb {
	case "EHLO", "HELO":
		return t.hello(line)
	case "STARTTLS":
		return t.startTLS()
	case "MAIL":
		return t.mailFrom(line)
	case "RCPT":
		return t.rcptTo(line)
	case "DATA":
		return t.data()
	case "RSET":
		t.mail, t.taken = false, taken{}
		return t.reply(line, "250 2.0.0 reset")
	case "QUIT":
		t.reply(line, "221 2.0.0 bye")
		return false
	case "AUTH":
		return t.reply(line, "235 2.7.0 welcome")
	}
	return t.reply(line, "500 5.5.1 what?") // the answers of AUTH LOGIN come here too
}

func (t *talk) hello(line string) bool {
	lines := []string{"peer.example"}
	if strings.HasPrefix(line, "EHLO") {
		lines = append(lines, t.offers...)
		if t.manners.tls != nil && !t.tls {
			lines = append(lines, "STARTTLS")
		}
	}
	usual := ""
	for i, l := range lines {
		if i < len(lines)-1 {
			usual += "250-" + l + "\n"
		} else {
			usual += "250 " + l
		}
	}
	code, ok := t.replied(line, usual)
	t.ehlo = code == '2'
	return ok
}

func (t *talk) startTLS() bool {
	if t.manners.tls == nil {
		t.t.Error("peer: STARTTLS was not offered")
	}
	code, ok := t.replied("STARTTLS", "220 2.0.0 go on"+t.inject)
	if code != '2' || !ok {
		return ok
	}
	return t.handshake()
}

func (t *talk) mailFrom(line string) bool {
	if t.mail {
		t.t.Errorf("peer: %q inside a transaction", line)
	}
	code, ok := t.replied(line, "250 2.1.0 ok")
	if code == '2' {
		from, _, _ := strings.Cut(strings.TrimPrefix(line, "MAIL FROM:"), " ")
		t.mail, t.taken = true, taken{from: from, tls: t.tls}
	}
	return ok
}

func (t *talk) rcptTo(line string) bool {
	if !t.mail {
		return t.reply("", "503 5.5.1 no MAIL")
	}
	code, ok := t.replied(line, "250 2.1.5 ok")
	if code == '2' {
		to, _, _ := strings.Cut(strings.TrimPrefix(line, "RCPT TO:"), " ")
		t.taken.to = append(t.taken.to, to)
	}
	return ok
}

func (t *talk) data() bool {
	if len(t.taken.to) == 0 {
		return t.reply("DATA without RCPT", "503 5.5.1 no valid recipients")
	}
	code, ok := t.replied("DATA", "354 go on")
	if code != '3' || !ok {
		return ok
	}
	var data strings.Builder
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		if !strings.HasSuffix(line, "\r\n") && !t.lenient {
			t.t.Errorf("peer: a message line with a bare LF: %q", line)
		}
		data.WriteString(strings.TrimPrefix(line, "."))
	}
	took := t.taken
	took.data = data.String()
	t.mail, t.taken = false, taken{}
	reply := t.choose(".", "250 2.0.0 taken as 1")
	if reply[0] == '2' || reply == hang || reply == drop { // taken, though the client may not be told
		t.mu.Lock()
		t.peer.taken = append(t.peer.taken, took) // before the reply, as a server that keeps law 1 does
		t.mu.Unlock()
	}
	_, ok = t.send(reply)
	return ok
}

// resolver is a Resolver of maps.
type resolver struct {
	mx        map[string][]string
	addresses map[string]string
}

func (r resolver) MX(_ context.Context, domain string) ([]string, error) {
	if hosts, ok := r.mx[domain]; ok {
		return hosts, nil
	}
	return nil, ErrNoDomain
}

func (r resolver) Addresses(_ context.Context, host string) ([]netip.Addr, error) {
	if a, ok := r.addresses[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, ErrNoDomain
}

// authority issues certificates for tests.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots string // PEM file
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{roots: filepath.Join(t.TempDir(), "roots.pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(a.roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a server configuration with a certificate for name that is valid until the given time.
func (a *authority) issue(t testing.TB, name string, until time.Time) *tls.Config {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

const (
	head = "Received: from a by b\r\n"
	body = "Subject: hej\r\n\r\n.linje\r\n..\r\nslut\r\n"
)

// job is a small message for these recipients over the smart host smart.example.
func job(required level.Level, to ...string) Job {
	j := Job{Hop: Hop{SmartHost: "smart.example:25"}, Required: required, Sender: "a@eksempel.example",
		Head: []byte(head), Body: []byte(body), Size: int64(len(head) + len(body))}
	for _, a := range to {
		j.Recipients = append(j.Recipients, Recipient{Address: mail.Address(a)})
	}
	return j
}

// client is a Client that reaches dial whatever the name.
func client(t testing.TB, dial func(context.Context, string, string) (net.Conn, error)) *Client {
	c := New(Options{Hello: "guard.eksempel.example", Dial: dial, Resolver: anywhere{}})
	t.Cleanup(func() { c.Close() })
	return c
}

// anywhere is a Resolver that knows every name.
type anywhere struct{}

func (anywhere) MX(_ context.Context, domain string) ([]string, error) {
	return []string{"mx." + domain}, nil
}

func (anywhere) Addresses(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

func outcomes(results []Result) string {
	var words []string
	for _, r := range results {
		words = append(words, fmt.Sprintf("%s %d %s", r.Outcome, r.Code, r.Enhanced))
	}
	return strings.Join(words, ", ")
}
