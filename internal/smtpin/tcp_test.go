package smtpin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestClient sends with an independent client over STARTTLS, with all options it has.
func TestClient(t *testing.T) {
	h, l := &strict{t: t}, listen(t)
	stop := serving(t, h, Options{Name: "submission", TLS: testTLS(t), AuthRequired: true, Auth: true, RequireTLS: true}, l)
	c, err := smtp.DialStartTLS(l.Addr().String(), trusting())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, word := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING", "REQUIRETLS"} {
		if ok, _ := c.Extension(word); !ok {
			t.Errorf("%s is not offered", word)
		}
	}
	if size, ok := c.MaxMessageSize(); !ok || size != defaultMaxSize {
		t.Errorf("SIZE %d %v", size, ok)
	}
	if err := c.Auth(sasl.NewPlainClient("", "anne", "forkert")); err == nil {
		t.Error("wrong password accepted")
	}
	if err := c.Auth(sasl.NewLoginClient("anne", "hemmelig")); err != nil {
		t.Fatal(err)
	}
	first := "anne+1@eksempel.example"
	text := "Subject: prøve\r\n\r\n.\r\n..\r\nslut\r\n"
	err = c.Mail("æ@eksempel.example", &smtp.MailOptions{Body: smtp.Body8BitMIME, Size: int64(len(text)), RequireTLS: true,
		UTF8: true, Return: smtp.DSNReturnHeaders, EnvelopeID: "id+1", Auth: &first})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Rcpt("b@borger.example", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure},
		OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "b+c@borger.example"})
	if err != nil {
		t.Fatal(err)
	}
	var refused *smtp.SMTPError
	if err := c.Rcpt("never@borger.example", nil); !errors.As(err, &refused) || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 1}) {
		t.Errorf("refused recipient: %v", err)
	}
	if err := c.Rcpt("ø@borger.example", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever},
		OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "ø@borger.example"}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	stop()
	got := h.taken()
	if len(got) != 1 || got[0].data != text {
		t.Fatalf("%+v", got)
	}
	want := "<æ@eksempel.example> <b@borger.example> notify=DELAY,FAILURE orcpt=RFC822;b+2Bc@borger.example" +
		" <ø@borger.example> notify=NEVER orcpt=UTF-8;ø@borger.example ret=HDRS envid=id+2B1 utf8 8bit requiretls tls user=anne"
	if s := showEnvelope(got[0].env); s != want {
		t.Errorf("\n got %s\nwant %s", s, want)
	}
	if c := got[0].env.Client; c.Listener != "submission" || c.IP != netip.MustParseAddr("127.0.0.1") || c.TLS.Version < tls.VersionTLS12 {
		t.Errorf("client %+v", c)
	}
}

// TestOldTLS shows that TLS 1.1 is refused even where the configuration would allow it.
func TestOldTLS(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){
		"plain":    func(*tls.Config) {},
		"explicit": func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 },
		"by client": func(c *tls.Config) {
			old := c.Clone()
			old.MinVersion = tls.VersionTLS10
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return old, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testTLS(t)
			change(c)
			l := listen(t)
			defer serving(t, &open{}, Options{TLS: c, ImplicitTLS: true}, l)()
			theirs := trusting()
			theirs.MinVersion, theirs.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			nc, err := tls.Dial("tcp", l.Addr().String(), theirs)
			if err != nil {
				return
			}
			defer nc.Close()
			if b, _ := io.ReadAll(nc); len(b) > 0 {
				t.Errorf("spoke TLS 1.1: %q", b)
			}
		})
	}
}

// hello connects and returns the first line.
func hello(t testing.TB, l net.Listener) (net.Conn, string) {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	line, _ := bufio.NewReader(nc).ReadString('\n')
	return nc, line
}

// TestLimits refuses connections over the limits before the greeting, and takes new ones when old ones are gone. Two
// listeners of one Server share the limits.
func TestLimits(t *testing.T) {
	for name, o := range map[string]Options{"all": {MaxConns: 2}, "one client": {MaxConnsPerIP: 2}} {
		t.Run(name, func(t *testing.T) {
			o.Host = "mx.eksempel.example"
			s := New(&open{}, o)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			ls := []net.Listener{listen(t), listen(t)}
			for _, l := range ls {
				wg.Go(func() {
					if err := s.Serve(ctx, l, time.Minute); err != nil {
						t.Error(err)
					}
				})
			}
			defer wg.Wait()
			defer cancel()
			first, line := hello(t, ls[0])
			if !strings.HasPrefix(line, "220 ") {
				t.Fatalf("first: %q", line)
			}
			if _, line := hello(t, ls[1]); !strings.HasPrefix(line, "220 ") {
				t.Fatalf("second: %q", line)
			}
			if _, line := hello(t, ls[0]); line != "421 4.7.0 mx.eksempel.example too many connections, try again later\r\n" {
				t.Fatalf("third: %q", line)
			}
			io.WriteString(first, "QUIT\r\n")
			io.Copy(io.Discard, first)
			for deadline := time.Now().Add(20 * time.Second); ; {
				if _, line := hello(t, ls[1]); strings.HasPrefix(line, "220 ") {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no room after one has left")
				}
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::"} {
		if got := network(netip.MustParseAddr(in)); got != netip.MustParseAddr(want) {
			t.Errorf("network(%s) = %s, want %s", in, got, want)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}

// shortage is a listener that fails a few times for want of file descriptors, and then for good.
type shortage struct {
	*one
	fails int
}

type passing struct{ error }

func (passing) Temporary() bool { return true }

var errBroken = errors.New("broken")

func (l *shortage) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, passing{errors.New("too many open files")}
	}
	return nil, errBroken
}

func TestListenerFails(t *testing.T) {
	if err := New(&open{}, Options{}).Serve(t.Context(), &shortage{newOne(), 2}, time.Second); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if err := New(&open{}, Options{ImplicitTLS: true}).Serve(t.Context(), newOne(), time.Second); err == nil {
		t.Error("implicit TLS without a certificate is served")
	}
}

// TestRefusalIsRead shows that a client that is cut off in the middle of sending still reads why.
func TestRefusalIsRead(t *testing.T) {
	l := listen(t)
	defer serving(t, &open{}, Options{MaxSize: 1000}, l)()
	nc, _ := hello(t, l)
	io.WriteString(nc, "EHLO c.example\r\nMAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nBDAT 99999999 LAST\r\n")
	nc.Write(bytes.Repeat([]byte("x"), 500<<10))
	b, err := io.ReadAll(nc)
	if err != nil || !bytes.Contains(b, []byte("\r\n552 5.3.4 ")) {
		t.Errorf("read %q, %v", b, err)
	}
	nc.Close()
}

// TestCleanText shows what becomes of a Handler's words on the wire.
func TestCleanText(t *testing.T) {
	long := strings.Repeat("ord ", 200)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"to linjer\r\nslut\n\n", "to linjer\nslut"},
		{"\x1b[1m\u2028æ–å\u00a0日", "[1m ae-aa ?"},
		{"cpr 010170-5000", "cpr 010170-"},
	} {
		if got := cleanText(c.in, false); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("cleanText(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := cleanText("æ日", true); got != "æ日" {
		t.Errorf("with SMTPUTF8: %q", got)
	}
	for _, text := range []string{long, strings.Repeat("日", 1000), strings.Repeat("\n", 1000) + "x", strings.Repeat("x\n", 1000)} {
		checkReplies(t, string(appendReply(nil, 550, "5.7.1", cleanText(text, true))))
	}
}

func TestValidEnhanced(t *testing.T) {
	for s, want := range map[string]bool{"5.7.1": true, "2.0.0": true, "4.7.123": true, "": false, "3.0.0": false, "5.7": false,
		"5.7.1.2": false, "5..1": false, "5.7.1234": false, "5.7.x": false} {
		if validEnhanced(s) != want {
			t.Errorf("validEnhanced(%q) = %v", s, !want)
		}
	}
}

// TestLogHoldsNothing logs the worst and looks for what the client sent.
func TestLogHoldsNothing(t *testing.T) {
	var log logged
	s := &script{in: []byte("EHLO 0101705000\r\nMAIL FROM:<0101705000@eksempel.example>\r\nRCPT TO:<never@borger.example>\r\n" +
		"RCPT TO:<index@borger.example>\r\nRCPT TO:<0101705000@borger.example>\r\nDATA\r\n0101705000 say:panic\r\n.\r\n" +
		"0101705000\r\nVRFY 010170-5000\r\nNOOP\n")}
	got, replies := s.run(t, Options{Log: log.logger()})
	if len(got) != 1 || strings.Count(replies, "451 4.3.0") != 2 {
		t.Fatalf("%+v\n%s", got, replies)
	}
	for name, text := range map[string]string{"log": log.String(), "replies": replies} {
		if holdsNumber(text) || strings.Contains(text, "eksempel.example>") {
			t.Errorf("the %s hold what the client sent:\n%s", name, text)
		}
	}
	if !strings.Contains(log.String(), "smtp panic") || !strings.Contains(log.String(), "smtpin.verdict") {
		t.Errorf("no panic with its stack in the log:\n%s", log.String())
	}
}

// TestKept shows that a Handler may keep what it is given: a later message changes none of it.
func TestKept(t *testing.T) {
	s := &script{in: []byte(opening + "one\r\n.\r\n" + strings.Replace(opening, "b@", "c@", 1) + "two\r\n.\r\n")}
	h := &keeper{}
	newConn(New(h, Options{}), s, netip.Addr{}).serve(t.Context())
	if len(h.envs) != 2 || string(h.data[0]) != "one\r\n" || h.envs[0].Recipients[0].Address != "b@borger.example" ||
		h.envs[1].Recipients[0].Address != "c@borger.example" || string(append(h.data[0], 'x')) != "one\r\nx" || string(h.data[1]) != "two\r\n" {
		t.Errorf("%q %+v", h.data, h.envs)
	}
}

type keeper struct {
	open
	envs []*Envelope
	data [][]byte
}

func (h *keeper) Data(_ context.Context, e *Envelope, data []byte) *Reply {
	h.envs, h.data = append(h.envs, e), append(h.data, data)
	return nil
}

// broken is a connection that shows what a bug of this package would do.
type broken struct{ script }

func (*broken) Read([]byte) (int, error) { panic("a value with 010170-5000 in it") }

func TestOwnPanic(t *testing.T) {
	var log logged
	c := &broken{}
	newConn(New(&open{}, Options{Host: "mx.eksempel.example", Log: log.logger()}), c, netip.Addr{}).serve(t.Context())
	if got := c.out.String(); !strings.HasSuffix(got, "421 4.3.0 mx.eksempel.example local error, try again later\r\n") {
		t.Errorf("client read %q", got)
	}
	if !strings.Contains(log.String(), "smtp panic") || holdsNumber(log.String()) {
		t.Errorf("log %s", log.String())
	}
}

// TestReply shows which replies ask the client to come again, and that the log's error is found through them.
func TestReply(t *testing.T) {
	for code, want := range map[int]bool{250: false, 354: false, 421: true, 452: true, 550: false} {
		r := &Reply{Code: code, Enhanced: "4.0.0", Text: "x", Err: errBroken}
		if r.Temporary() != want || !errors.Is(r, errBroken) {
			t.Errorf("%v: temporary %v", r, r.Temporary())
		}
	}
}

// TestManyReplies pipelines more than one write of replies, and more after a message than the buffer held before it.
func TestManyReplies(t *testing.T) {
	noops := strings.Repeat("NOOP "+strings.Repeat("x", 100)+"\r\n", 80)
	s := &script{in: []byte(strings.Repeat("EHLO c.example\r\n", 60) + opening + "x\r\n.\r\n" + noops + "QUIT\r\n")}
	got, replies := s.run(t, Options{})
	if len(got) != 1 || strings.Count(replies, "250 2.0.0 OK\r\n") != 80 || !strings.HasSuffix(replies, "goodbye\r\n") {
		t.Errorf("%d messages\n%s", len(got), replies)
	}
	checkReplies(t, replies)
}

// TestStopInHandshake stops while a client that does not speak holds the TLS handshake open.
func TestStopInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newOne()
		stop := serving(t, &open{}, Options{TLS: &tls.Config{}, ImplicitTLS: true}, l)
		ours, theirs := net.Pipe()
		l.conns <- theirs
		synctest.Wait()
		begun := time.Now()
		stop()
		if d := time.Since(begun); d > 0 {
			t.Errorf("stopped after %v", d)
		}
		ours.Close()
	})
}

// The authority's own server is not held to the limit of one address.
func TestUnlimited(t *testing.T) {
	s := New(&open{}, Options{Host: "mx.eksempel.example", MaxConnsPerIP: 1, Unlimited: netip.Addr.IsLoopback})
	ctx, cancel := context.WithCancel(t.Context())
	l := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, l, time.Minute); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	for n := range 5 {
		if _, line := hello(t, l); !strings.HasPrefix(line, "220 ") {
			t.Fatalf("connection %d: %q", n, line)
		}
	}
}

// What is not offered is refused: a client that asks for TLS on every hop must not hear yes from one that cannot promise it.
func TestRequireTLSUnoffered(t *testing.T) {
	s := &script{in: []byte("EHLO c.example\r\nMAIL FROM:<a@eksempel.example> REQUIRETLS\r\nQUIT\r\n")}
	if _, replies := s.run(t, Options{}); !strings.Contains(replies, "555 5.5.4 REQUIRETLS is not offered\r\n") || strings.Contains(replies, "250-REQUIRETLS") {
		t.Errorf("replies:\n%s", replies)
	}
}
