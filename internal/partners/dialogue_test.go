package partners

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dialogue is a plain SMTP client that says what it is told to.
type dialogue struct {
	c  net.Conn
	in *bufio.Reader
}

func dial(addr string) (*dialogue, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	d := &dialogue{c, bufio.NewReaderSize(c, 64<<10)}
	if _, err := d.reply("220"); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := d.say("250", "EHLO klient.eksempel.example"); err != nil {
		c.Close()
		return nil, err
	}
	return d, nil
}

// reply reads one reply, all its lines, and wants a code that begins so.
func (d *dialogue) reply(want string) (string, error) {
	var all strings.Builder
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			return "", fmt.Errorf("got %q, want %s", line, want)
		}
		return all.String(), nil
	}
}

func (d *dialogue) say(want, line string) (string, error) {
	if _, err := d.c.Write([]byte(line + "\r\n")); err != nil {
		return "", err
	}
	r, err := d.reply(want)
	if err != nil {
		err = fmt.Errorf("%.80s: %w", line, err)
	}
	return r, err
}

// mailing is one transaction. Lines of the message end in CRLF.
type mailing struct {
	from, fromParams string
	to               []string // each may carry parameters after the ">": "a@b> NOTIFY=NEVER"
	message          string
}

// send hands m over in one transaction and returns the reply to its end of data.
func (d *dialogue) send(m mailing) (string, error) {
	if _, err := d.say("250", "MAIL FROM:<"+m.from+">"+m.fromParams); err != nil {
		return "", err
	}
	for _, to := range m.to {
		if !strings.Contains(to, ">") {
			to += ">"
		}
		if _, err := d.say("250", "RCPT TO:<"+to); err != nil {
			return "", err
		}
	}
	if _, err := d.say("354", "DATA"); err != nil {
		return "", err
	}
	return d.say("250", strings.ReplaceAll("\r\n"+m.message, "\r\n.", "\r\n..")[2:]+".")
}

var acceptedAs = regexp.MustCompile(`Accepted as (\w+)`)

// hand gives m to the server at addr over a connection of its own and returns the id by which a guard accepted it.
func hand(t *testing.T, addr string, m mailing) string {
	t.Helper()
	d, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer d.c.Close()
	r, err := d.send(m)
	if err != nil {
		t.Fatal(err)
	}
	if id := acceptedAs.FindStringSubmatch(r); id != nil {
		return id[1]
	}
	return ""
}

const (
	anna = "anna@eksempel.example"
	bo   = "bo@borger.example"
)

// letter is a message with a number to know it by.
func letter(number, body string) string {
	return "From: Anna <" + anna + ">\r\nTo: Bo <" + bo + ">\r\nSubject: Brev " + number + "\r\nDate: Sun, 22 Nov 2026 08:00:00 +0100\r\n" +
		"Message-ID: <" + number + "@eksempel.example>\r\nNumber: " + number + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
}

// numberOf is the Number field of a message that letter made; "" when it is another.
func numberOf(raw string) string {
	header, _, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", "\n"), "\n\n")
	for line := range strings.Lines(header) {
		if n, ok := strings.CutPrefix(line, "Number: "); ok {
			return strings.TrimSpace(n)
		}
	}
	return ""
}
