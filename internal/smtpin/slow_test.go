package smtpin

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/mail"
)

// peer is a test's side of a pipe to a Server inside a synctest bubble.
type peer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dial connects over a pipe and reads the greeting.
func dial(t testing.TB, l *one) *peer {
	t.Helper()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	p := &peer{t, ours, bufio.NewReader(ours)}
	t.Cleanup(func() { ours.Close() })
	p.want("220 ")
	return p
}

// want reads one reply and compares its beginning.
func (p *peer) want(prefix string) {
	p.t.Helper()
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%v instead of %q", err, prefix)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, prefix) {
			p.t.Fatalf("got %q, want %q", line, prefix)
		}
		return
	}
}

// say writes and wants a reply.
func (p *peer) say(text, prefix string) {
	p.t.Helper()
	p.write(text + "\r\n")
	p.want(prefix)
}

func (p *peer) write(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// begin goes up to the answer to DATA.
func (p *peer) begin() {
	p.t.Helper()
	p.say("EHLO c.example", "250 ")
	p.say("MAIL FROM:<a@eksempel.example>", "250 ")
	p.say("RCPT TO:<b@borger.example>", "250 ")
	p.say("DATA", "354 ")
}

// ended wants the server to have closed, and nothing before that.
func (p *peer) ended() {
	p.t.Helper()
	if b, err := io.ReadAll(p.r); len(b) > 0 || err != nil {
		p.t.Errorf("got %q (%v) instead of the end", b, err)
	}
}

// bubble runs a test with a Server in virtual time.
func bubble(t *testing.T, o Options, f func(t *testing.T, h *strict, l *one)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, l := &strict{t: t}, newOne()
		stop := serving(t, h, o, l)
		f(t, h, l)
		stop()
		if n := len(h.taken()); n > 0 {
			t.Errorf("%d messages were taken", n)
		}
	})
}

// TestStallInData stalls in a message, sound or refused already, and then goes on with commands: after the time limit nothing
// is read any more. (A server that goes on reading takes the second envelope.)
func TestStallInData(t *testing.T) {
	for name, start := range map[string]string{
		"sound":     "Subject: x\r\n\r\ntext\r\n",
		"bare LF":   "Subject: x\n\r\ntext\r\n",
		"too large": strings.Repeat("0123456789", 300) + "\r\n",
		"empty":     "",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{MaxSize: 1000}, func(t *testing.T, h *strict, l *one) {
				p := dial(t, l)
				p.begin()
				p.write(start)
				begun := time.Now()
				p.want("421 4.4.2 ")
				if d := time.Since(begun); d != 5*time.Minute {
					t.Errorf("ended after %v, want 5m", d)
				}
				p.ended()
				if _, err := io.WriteString(p, second+".\r\n"); err == nil {
					t.Error("the server still reads")
				}
			})
		})
	}
}

// TestTrickle sends a byte just before each time limit: minRate ends it.
func TestTrickle(t *testing.T) {
	for name, start := range map[string]func(p *peer){
		"command": func(p *peer) { p.write("NO") },
		"data":    func(p *peer) { p.begin() },
		"dropped": func(p *peer) { p.begin(); p.write("x\ny\r\n") },
		"chunk": func(p *peer) {
			p.say("EHLO c.example", "250 ")
			p.write("MAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nBDAT 1000\r\n")
			p.want("250 ")
			p.want("250 ")
		},
		"refused chunk": func(p *peer) { p.write("BDAT 1000\r\n") },
		"between chunks": func(p *peer) {
			p.say("EHLO c.example", "250 ")
			p.write("MAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nBDAT 1\r\nx")
			p.want("250 ")
			p.want("250 ")
			p.want("250 ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *strict, l *one) {
				p := dial(t, l)
				start(p)
				begun := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						time.Sleep(4 * time.Minute)
						if _, err := io.WriteString(p, "x"); err != nil {
							return
						}
					}
				}()
				p.want("421 4.4.2 ")
				if d := time.Since(begun); d > 6*time.Minute {
					t.Errorf("ended after %v", d)
				}
				p.ended()
				<-done
			})
		})
	}
}

// TestSlowButSteady lets a poor line take its time: 8 KiB/s for longer than ReadTimeout.
func TestSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := &strict{t: t}, newOne()
		stop := serving(t, h, Options{ReadTimeout: time.Minute}, l)
		p := dial(t, l)
		p.begin()
		line := strings.Repeat("x", 1022) + "\r\n"
		for range 2000 {
			time.Sleep(time.Second / 8)
			p.write(line)
		}
		p.say(".", "250 ")
		stop()
		if got := h.taken(); len(got) != 1 || len(got[0].data) != 2000*1024 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// TestIdle ends a silent client, and one that is silent while a reply waits to be read.
func TestIdle(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *strict, l *one) {
		p := dial(t, l)
		p.want("421 4.4.2 ")
		p.ended()
	})
	bubble(t, Options{}, func(t *testing.T, h *strict, l *one) {
		deaf := dial(t, l)
		deaf.write("EHLO c.example\r\n")
		time.Sleep(2 * writeTimeout)
		if _, err := io.WriteString(deaf, "NOOP\r\n"); err == nil {
			t.Error("the server waits for a client that does not read")
		}
	})
}

// TestMemory bounds the message bytes of all connections together.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &open{}
		l := newOne()
		stop := serving(t, h, Options{MaxSize: 40 << 10, MemoryBytes: 44 << 10}, l)
		half := strings.Repeat(strings.Repeat("x", 1022)+"\r\n", 20)
		first, next := dial(t, l), dial(t, l)
		first.begin()
		first.write(half) // holds 32 KiB
		next.begin()      // holds 8 KiB, and 4 are left
		synctest.Wait()

		third := dial(t, l)
		third.say("EHLO c.example", "250 ")
		third.say("MAIL FROM:<a@eksempel.example>", "250 ")
		third.say("RCPT TO:<b@borger.example>", "250 ")
		begun := time.Now()
		third.say("DATA", "452 4.3.1 ")
		if d := time.Since(begun); d != memoryWait {
			t.Errorf("waited %v, want %v", d, memoryWait)
		}

		next.write(half) // wants 16 KiB: refused after a wait, read to its end
		next.write(half)
		next.say(".", "452 4.3.1 ")

		third.say("DATA", "354 ") // what next held is free again
		first.say(".", "250 2.0.0 ")
		third.write(half)
		third.say(".", "250 2.0.0 ")

		first.say("MAIL FROM:<a@eksempel.example> SIZE=40960", "250 ")
		first.say("RCPT TO:<b@borger.example>", "250 ")
		first.say("DATA", "354 ") // holds all
		next.write("MAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nBDAT 10000\r\n")
		next.want("250 ")
		next.want("250 ")
		next.write(half[:10000])
		next.want("452 4.3.1 ")
		next.say("NOOP", "250 ")
		first.say(".", "250 2.0.0 ")
		for _, p := range []*peer{first, next, third} {
			p.say("QUIT", "221 ")
		}
		stop()
	})
}

// open is a Handler that agrees to everything; Data waits for wait where there is one.
type open struct {
	began chan struct{}
	wait  chan struct{}
}

func (*open) Connect(context.Context, *Client) *Reply                      { return nil }
func (*open) Authenticate(context.Context, *Client, string, string) *Reply { return nil }
func (*open) Mail(context.Context, *Client, mail.Address) *Reply           { return nil }
func (*open) Rcpt(context.Context, *Envelope, Recipient) *Reply            { return nil }
func (h *open) Data(ctx context.Context, _ *Envelope, _ []byte) *Reply {
	if h.wait == nil {
		return nil
	}
	close(h.began)
	select {
	case <-h.wait:
		return nil
	case <-ctx.Done():
		return &Reply{Code: 451, Enhanced: "4.3.2", Text: "stopped"}
	}
}

// TestGracefulStop stops with one idle client, one before the end of its message, and one whose message is being decided.
func TestGracefulStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := &open{began: make(chan struct{}), wait: make(chan struct{})}, newOne()
		stop := serving(t, h, Options{}, l)
		idle, sending, deciding := dial(t, l), dial(t, l), dial(t, l)
		sending.begin()
		deciding.begin()
		deciding.write("x\r\n.\r\n")
		<-h.began
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		idle.want("421 4.3.2 ")
		idle.ended()

		h2 := h.wait
		close(h2)
		deciding.want("250 2.0.0 ")
		deciding.want("421 4.3.2 ")
		deciding.ended()

		h.wait = nil
		sending.write("x\r\n.\r\n")
		sending.want("250 2.0.0 ")
		sending.want("421 4.3.2 ")
		sending.ended()
		<-stopped
	})
}

// TestStopBetween stops while the next transaction is in the buffer already: it does not begin.
func TestStopBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := &open{began: make(chan struct{}), wait: make(chan struct{})}, newOne()
		stop := serving(t, h, Options{}, l)
		p := dial(t, l)
		p.begin()
		p.write("x\r\n.\r\nNOOP\r\nMAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\n")
		<-h.began
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		close(h.wait)
		p.want("250 2.0.0 ")
		p.want("250 2.0.0 ")
		p.want("421 4.3.2 ")
		p.ended()
		<-stopped
	})
}

// TestGraceEnds cuts what is not done in time; the Handler decides by its context.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := &open{began: make(chan struct{}), wait: make(chan struct{})}, newOne()
		stop := serving(t, h, Options{}, l)
		sending, deciding := dial(t, l), dial(t, l)
		sending.begin()
		deciding.begin()
		deciding.write("x\r\n.\r\n")
		<-h.began
		begun := time.Now()
		stop()
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("stopped after %v, want the grace of 1m", d)
		}
		sending.ended()
		deciding.ended()
	})
}
