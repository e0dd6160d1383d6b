package smtpin

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// script is a net.Conn whose client says all at once and never answers. A Read never crosses the end of a DATA line, for a
// client that sends on before the answer is refused. It ends in EOF.
type script struct {
	in    []byte
	pos   int // read so far
	out   bytes.Buffer
	chunk func() int // largest next read; nil: no bound
	tls   bool       // pretend that TLS is on
}

func (s *script) Read(p []byte) (int, error) {
	if s.pos == len(s.in) {
		return 0, io.EOF
	}
	n := min(len(p), len(s.in)-s.pos)
	if s.chunk != nil {
		n = min(n, s.chunk())
	}
	const data = "DATA\r\n"
	from := max(0, s.pos-len(data)+1) // a line that began in an earlier read
	if i := bytes.Index(s.in[from:s.pos+n], []byte(data)); i >= 0 {
		n = from + i + len(data) - s.pos
	}
	copy(p, s.in[s.pos:s.pos+n])
	s.pos += n
	return n, nil
}

func (s *script) Write(p []byte) (int, error)    { return s.out.Write(p) }
func (s *script) Close() error                   { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// run plays a session against a fresh server and returns what the Handler took and what the client read.
func (s *script) run(t testing.TB, o Options) ([]taken, string) {
	t.Helper()
	h := &strict{t: t}
	o.Host = "mx.eksempel.example"
	c := newConn(New(h, o), s, remoteIP(s))
	if s.tls {
		c.client.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	}
	c.serve(t.Context())
	return h.taken(), s.out.String()
}

const opening = "EHLO c.example\r\nMAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nDATA\r\n"

// second is a transaction that a smuggler would like to have done.
const second = "MAIL FROM:<evil@nabo.example>\r\nRCPT TO:<b@borger.example>\r\nDATA\r\nevil\r\n"

// TestSmuggling shows that nothing but CRLF.CRLF ends a message: what looks like an end to others neither ends it here nor
// passes on. Each read size is tried, so that no boundary between reads hides a byte.
func TestSmuggling(t *testing.T) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\n\n.\r\n", "\n\r.\r\n",
		"\r\n.\r\r\n", "\r\n\r.\r\n", "\r\n.\n\r\n", "\n.\n\r\n", "\x00\r.\r\n", "\r\n..\n", "\n..\r\n", "\r\n.\r \n",
	} {
		for chunk := 1; chunk < 12; chunk++ {
			s := &script{in: []byte(opening + "Subject: x\r\n\r\ntext" + end + second + ".\r\nQUIT\r\n"), chunk: func() int { return chunk }}
			got, replies := s.run(t, Options{})
			if len(got) != 0 || strings.Count(replies, "\r\n550 5.6.11 ") != 1 || !strings.HasSuffix(replies, "goodbye\r\n") {
				t.Errorf("%q, %d bytes a read: %d messages\n%s", end, chunk, len(got), replies)
			}
		}
	}
	s := &script{in: []byte(opening + "x\r\r\n.\r\nQUIT\r\n")}
	if got, replies := s.run(t, Options{}); len(got) != 0 || !strings.Contains(replies, "550 5.6.11 ") {
		t.Errorf("bare CR before the end: %d messages\n%s", len(got), replies)
	}
	s = &script{in: []byte(opening + "Subject: x\r\n\r\nx..\r\n..\r\n.. \r\n.\r\nQUIT\r\n")}
	got, _ := s.run(t, Options{})
	if len(got) != 1 || got[0].data != "Subject: x\r\n\r\nx..\r\n.\r\n. \r\n" {
		t.Errorf("dots: %q", fmt.Sprint(got))
	}
}

// TestNUL shows that no message with a NUL is taken: readers end a line or a field there.
func TestNUL(t *testing.T) {
	const text = "Subject: x\r\n\r\na\x00b\r\n"
	data := opening + text + ".\r\nQUIT\r\n"
	bdat := strings.TrimSuffix(opening, "DATA\r\n") + fmt.Sprintf("BDAT %d LAST\r\n", len(text)) + text + "QUIT\r\n"
	for _, session := range []string{data, bdat} {
		for chunk := 1; chunk < 12; chunk++ {
			s := &script{in: []byte(session), chunk: func() int { return chunk }}
			got, replies := s.run(t, Options{})
			if len(got) != 0 || strings.Count(replies, "\r\n550 5.6.11 ") != 1 || !strings.HasSuffix(replies, "goodbye\r\n") {
				t.Errorf("%q: %d messages\n%s", session, len(got), replies)
			}
		}
	}
}

// TestDisconnect ends a session after each of its bytes: a message is taken when, and only when, all of it was there.
func TestDisconnect(t *testing.T) {
	first := opening + "Subject: one\r\n\r\n..one\r\n.\r\n"
	then := "MAIL FROM:<a@eksempel.example> BODY=8BITMIME\r\nRCPT TO:<b@borger.example>\r\nBDAT 5\r\ntwo\r\nBDAT 7 LAST\r\nthree\r\n"
	session := first + then + "QUIT\r\n"
	for n := range len(session) + 1 {
		want := 0
		if n >= len(first) {
			want++
		}
		if n >= len(first+then) {
			want++
		}
		for _, chunk := range []func() int{nil, func() int { return 1 }, func() int { return 7 }} {
			got, replies := (&script{in: []byte(session[:n]), chunk: chunk}).run(t, Options{})
			if len(got) != want {
				t.Fatalf("cut after %q: %d messages taken, want %d", session[:n], len(got), want)
			}
			if n := strings.Count(replies, " taken\r\n"); n != want {
				t.Fatalf("cut after %q: %d messages confirmed, want %d", session[:n], n, want)
			}
			if want > 0 && got[0].data != "Subject: one\r\n\r\n.one\r\n" || want > 1 && got[1].data != "two\r\nthree\r\n" {
				t.Fatalf("cut after %q: %+v", session[:n], got)
			}
		}
	}
}

// TestReadSizes sends a message larger than every buffer in reads of all sorts and compares the bytes.
func TestReadSizes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var want, wire strings.Builder
	for want.Len() < 300<<10 {
		line := strings.Repeat(".", rnd.IntN(3)) + strings.Repeat("x", rnd.IntN(90)) + "\r\n"
		if rnd.IntN(500) == 0 {
			line = strings.Repeat("y.", rnd.IntN(40_000)) + "\r\n"
		}
		want.WriteString(line)
		if line[0] == '.' {
			wire.WriteByte('.')
		}
		wire.WriteString(line)
	}
	for _, size := range []int{1, 2, 100, 5000, 200_000} {
		for _, declared := range []string{"", " SIZE=10", fmt.Sprintf(" SIZE=%d", want.Len())} {
			open := strings.Replace(opening, "example>\r\nRCPT", "example>"+declared+"\r\nRCPT", 1)
			s := &script{in: []byte(open + wire.String() + ".\r\nQUIT\r\n"), chunk: func() int { return 1 + rnd.IntN(size) }}
			got, replies := s.run(t, Options{MaxSize: int64(want.Len())})
			if len(got) != 1 || got[0].data != want.String() || !strings.HasSuffix(replies, "goodbye\r\n") {
				t.Fatalf("reads up to %d, %q: %d messages\n%s", size, declared, len(got), replies)
			}
			s = &script{in: []byte(open + wire.String() + ".\r\nQUIT\r\n"), chunk: func() int { return 1 + rnd.IntN(size) }}
			got, replies = s.run(t, Options{MaxSize: int64(want.Len() - 1)})
			if len(got) != 0 || !strings.Contains(replies, "552 5.3.4 ") {
				t.Fatalf("reads up to %d, %q, limit one less: %d messages\n%s", size, declared, len(got), replies)
			}
		}
	}
}
