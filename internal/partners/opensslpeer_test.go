package partners

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// peer is a mail server whose TLS is OpenSSL's. It speaks the clear part of SMTP itself, then hands the raw bytes to an
// openssl s_server and speaks SMTP to that one's standard input and output. It writes down every line it reads.
type peer struct {
	openssl string
	tls     []string // arguments of s_server; nil: STARTTLS is not offered
	refuse  bool     // STARTTLS is offered and answered 454
	inject  string   // sent in the same packet as the 220 to STARTTLS
	addr    string
	dir     string // of its sockets: their names are short

	mu       sync.Mutex
	clear    []string // lines read in cleartext
	secured  []string // lines read inside TLS
	messages int      // taken
	broken   int      // handshakes that failed
}

// start listens until the test ends.
func (p *peer) start(t *testing.T) *peer {
	t.Helper()
	p.openssl = need(t, "openssl", "openssl")
	dir, err := os.MkdirTemp("", "pv") // a Unix socket's path has at most 107 bytes, and t.TempDir's may be longer
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				end := context.AfterFunc(ctx, func() { c.Close() })
				defer end()
				defer c.Close()
				p.serve(ctx, c)
			})
		}
	})
	t.Cleanup(func() {
		stop()
		l.Close()
		running.Wait()
		os.RemoveAll(dir)
	})
	return p
}

// serve is one connection.
func (p *peer) serve(ctx context.Context, c net.Conn) {
	if p.converse(bufio.NewReader(c), c, &p.clear) != startTLS {
		return
	}
	socket, err := os.MkdirTemp(p.dir, "")
	if err != nil {
		return
	}
	socket = filepath.Join(socket, "s")
	s := exec.CommandContext(ctx, p.openssl, append([]string{"s_server", "-quiet", "-naccept", "1", "-unix", socket}, p.tls...)...)
	in, err := s.StdinPipe()
	if err != nil {
		return
	}
	out, err := s.StdoutPipe()
	if err != nil || s.Start() != nil {
		return
	}
	defer s.Wait()
	defer s.Process.Kill()
	raw := dialUnix(socket)
	if raw == nil {
		return
	}
	defer raw.Close()
	go func() {
		io.Copy(raw, c)
		raw.(*net.UnixConn).CloseWrite()
	}()
	go func() {
		io.Copy(c, raw)
		c.Close()
	}()
	if p.converse(bufio.NewReader(out), silent{in}, &p.secured) == neverSpoken {
		p.mu.Lock()
		p.broken++
		p.mu.Unlock()
	}
}

func dialUnix(path string) net.Conn {
	for range 1000 {
		if c, err := net.Dial("unix", path); err == nil {
			return c
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// silent is the writer inside TLS: there the server does not greet again (RFC 3207, section 4.2).
type silent struct{ io.Writer }

// ending is how a conversation ended.
type ending int

const (
	neverSpoken ending = iota
	startTLS
	closed
)

// converse speaks SMTP until the client leaves or asks for TLS, and writes every line it reads to log.
func (p *peer) converse(in *bufio.Reader, out io.Writer, log *[]string) (end ending) {
	_, inside := out.(silent)
	say := func(s string) { io.WriteString(out, s+"\r\n") }
	if !inside {
		say("220 peer.example ESMTP")
	}
	data := false
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			end = closed
			p.mu.Lock()
			*log = append(*log, strings.TrimRight(line, "\r\n"))
			p.mu.Unlock()
		}
		if err != nil {
			return end
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch {
		case data && line != ".\r\n":
		case data:
			data = false
			p.mu.Lock()
			p.messages++
			p.mu.Unlock()
			say("250 2.0.0 taken")
		case verb == "EHLO" && !inside && p.tls != nil:
			say("250-peer.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES")
		case verb == "EHLO":
			say("250-peer.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES")
		case verb == "STARTTLS" && p.refuse:
			say("454 4.7.0 TLS not available due to temporary reason")
		case verb == "STARTTLS":
			say("220 2.0.0 go ahead" + p.inject)
			return startTLS
		case verb == "DATA":
			data = true
			say("354 go on")
		case verb == "QUIT":
			say("221 2.0.0 bye")
			return closed
		default:
			say("250 2.0.0 ok")
		}
	}
}

// lines are what it has read so far, in cleartext and inside TLS.
func (p *peer) lines() (clear, secured []string, messages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.clear...), append([]string(nil), p.secured...), p.messages
}
