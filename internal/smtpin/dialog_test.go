package smtpin

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDialogs runs testdata/dialog/*.txt, each a session. Lines are:
//
//	options WORD=VALUE …   before all else: tls, implicit, auth, authrequired, size, rcpts, errors, transactions, listener
//	C: text                sent with CRLF; \r \n \t \\ \xHH are escapes, \{100*text} repeats
//	C~ text                sent as it is, without CRLF
//	S: text                a reply line; a "*" at its end stands for anything
//	TLS                    the client's handshake
//	END                    the server closes
//	ENV: text              the next message's envelope
//	DATA: text             and its data, with escapes, or "N bytes"
//
// Each message must be named by ENV or DATA: a message too many fails the dialogue.
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/dialog/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runDialog(t, file)
		})
	}
}

type dialog struct {
	t       *testing.T
	at      string // file:line
	h       *strict
	conn    net.Conn
	r       *bufio.Reader
	sends   chan []byte
	sent    chan struct{}
	matched int // messages named
}

func runDialog(t *testing.T, file string) {
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	d := &dialog{t: t, h: &strict{t: t}, sends: make(chan []byte), sent: make(chan struct{})}
	o := Options{Log: log.logger(), ReadTimeout: 20 * time.Second, RequireTLS: true}
	var stop func()
	start := func() {
		if d.conn != nil {
			return
		}
		ours, theirs := net.Pipe()
		d.conn, d.r = ours, bufio.NewReader(ours)
		stop = serving(t, d.h, o, newOne(theirs))
		ours.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { ours.Close() })
		go d.writer()
	}
	for i, line := range strings.Split(string(script), "\n") {
		d.at = fmt.Sprintf("%s:%d", file, i+1)
		if words, ok := strings.CutPrefix(line, "options "); ok {
			d.options(&o, words)
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		start()
		d.step(line)
	}
	d.at = file
	close(d.sends)
	d.conn.Close()
	<-d.sent
	stop()
	if n := len(d.h.taken()); n != d.matched {
		t.Errorf("%s: %d messages were taken, %d expected: %+v", file, n, d.matched, d.h.taken())
	}
	if holdsNumber(log.String()) || strings.Contains(log.String(), "hemmelig") {
		t.Errorf("%s: the log tells too much:\n%s", file, log.String())
	}
}

// writer sends while the dialogue reads: a pipe holds nothing.
func (d *dialog) writer() {
	defer close(d.sent)
	for b := range d.sends {
		d.conn.Write(b)
	}
}

func (d *dialog) options(o *Options, words string) {
	for word := range strings.FieldsSeq(words) {
		key, value, _ := strings.Cut(word, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "tls":
			o.TLS = testTLS(d.t)
		case "implicit":
			o.TLS, o.ImplicitTLS = testTLS(d.t), true
		case "auth":
			o.Auth = true
		case "authrequired":
			o.Auth, o.AuthRequired = true, true
		case "size":
			o.MaxSize = int64(n)
		case "rcpts":
			o.MaxRecipients = n
		case "errors":
			o.MaxErrors = n
		case "transactions":
			o.MaxTransactions = n
		case "listener":
			o.Name = value
		default:
			d.t.Fatalf("%s: option %q", d.at, word)
		}
	}
}

func (d *dialog) step(line string) {
	t := d.t
	key, text, _ := strings.Cut(line, " ")
	switch key {
	case "C:":
		d.sends <- append(unescape(t, d.at, text), '\r', '\n')
	case "C~":
		d.sends <- unescape(t, d.at, text)
	case "S:":
		got, err := d.r.ReadString('\n')
		got, crlf := strings.CutSuffix(got, "\r\n")
		want, any := strings.CutSuffix(text, "*")
		if err != nil || !crlf || (got != want && !(any && strings.HasPrefix(got, want))) {
			t.Fatalf("%s:\n got %q (%v)\nwant %q", d.at, got, err, text)
		}
	case "TLS":
		d.sends <- nil // when this is taken, all before it was written
		c := tls.Client(d.conn, trusting())
		if err := c.Handshake(); err != nil {
			t.Fatalf("%s: %v", d.at, err)
		}
		d.conn, d.r = c, bufio.NewReader(c)
	case "END":
		if b, err := d.r.ReadByte(); err == nil {
			rest, _ := d.r.ReadString('\n')
			t.Fatalf("%s: the server says %q instead of closing", d.at, string(b)+rest)
		}
	case "ENV:":
		d.messages(1)
		if got := showEnvelope(d.h.taken()[d.matched-1].env); got != text {
			t.Errorf("%s:\n got %s\nwant %s", d.at, got, text)
		}
	case "DATA:":
		if d.matched == 0 || len(d.h.taken()) > d.matched {
			d.messages(1)
		}
		if got, want := d.h.taken()[d.matched-1].data, string(unescape(t, d.at, text)); got != want && fmt.Sprintf("%d bytes", len(got)) != text {
			t.Errorf("%s:\n got %.300q\nwant %.300q", d.at, got, want)
		}
	default:
		t.Fatalf("%s: %q", d.at, line)
	}
}

// messages expects n more messages than were named so far.
func (d *dialog) messages(n int) {
	d.matched += n
	if got := len(d.h.taken()); got != d.matched {
		d.t.Fatalf("%s: %d messages were taken, want %d: %+v", d.at, got, d.matched, d.h.taken())
	}
}

func showEnvelope(e Envelope) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<%s>", e.Sender)
	for _, r := range e.Recipients {
		fmt.Fprintf(&b, " <%s>", r.Address)
		if r.Notify != "" {
			fmt.Fprintf(&b, " notify=%s", r.Notify)
		}
		if r.ORcpt != "" {
			fmt.Fprintf(&b, " orcpt=%s", r.ORcpt)
		}
	}
	for _, f := range []struct {
		on   bool
		word string
	}{{e.Ret != "", "ret=" + e.Ret}, {e.EnvID != "", "envid=" + e.EnvID}, {e.UTF8, "utf8"}, {e.EightBit, "8bit"},
		{e.RequireTLS, "requiretls"}, {e.Client.TLS != nil, "tls"}, {e.Client.User != "", "user=" + e.Client.User},
		{!e.Client.ESMTP, "helo"}} {
		if f.on {
			b.WriteString(" " + f.word)
		}
	}
	return b.String()
}

// unescape reads \r \n \t \\ \xHH and \{N*text}.
func unescape(t testing.TB, at, s string) []byte {
	t.Helper()
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '\\':
			out = append(out, '\\')
		case 'x':
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			out = append(out, byte(v))
			i += 2
		case '{':
			end := i + strings.IndexByte(s[i:], '}')
			count, text, _ := strings.Cut(s[i+1:end], "*")
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			out = append(out, strings.Repeat(string(unescape(t, at, text)), n)...)
			i = end
		default:
			t.Fatalf("%s: escape \\%c", at, s[i])
		}
	}
	return out
}
