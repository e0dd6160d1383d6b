package partners

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// chain is Postfix in front, the guard, and Postfix behind, which keeps the mail of all.
type chain struct {
	front, back *postfix
	guard       *guard
	root        string
}

// newChain starts all three. config begins with the guard's host and authorities; its routes are added.
func newChain(t *testing.T, config string) *chain {
	t.Helper()
	need(t, "postfix", "postfix")
	c := &chain{}
	c.back, c.root = keeping(t, nil, anna, bo, "net@eksempel.example", "gerda@nabo.example", "søren@borger.example")
	dir := t.TempDir()
	cert, key, _ := newCA(t, dir).issue(t, certificate{name: "vagt.eksempel.example"})
	c.guard = newGuard(t, "", config+fmt.Sprintf("tls: {cert: %q, key: %q}\ndelivery: {retry: [1s]}\nroutes: [{to: \"*\", smarthost: %q, level: cleartext}]\n", cert, key, c.back.addr)).start(t)
	host, port, err := net.SplitHostPort(c.guard.smtp)
	if err != nil {
		t.Fatal(err)
	}
	c.front = newPostfix(t, map[string]string{"myhostname": "post.front.example", "relayhost": "[" + host + "]:" + port,
		"smtp_tls_security_level": "may", "smtp_tls_loglevel": "1"})
	return c
}

// numbers waits until so many numbered mails have arrived for an address, and checks that they are want, each once.
func (c *chain) numbers(t *testing.T, address string, want []string) {
	t.Helper()
	var got []string
	asked := 0
	eventually(t, fmt.Sprintf("%d mails to %s", len(want), address), func() bool {
		if asked++; asked%20 == 0 {
			c.front.flush()
		}
		got = got[:0]
		for _, m := range arrived(t, c.root, address) {
			if n := numberOf(m); slices.Contains(want, n) {
				got = append(got, n)
			}
		}
		return len(got) >= len(want)
	})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("arrived for %s:\n%v\nwant each once:\n%v", address, got, want)
	}
}

// handMany gives numbered letters to Postfix in front, over several connections with several letters each.
func (c *chain) handMany(t *testing.T, prefix string, connections, each int) (numbers []string) {
	t.Helper()
	var wg sync.WaitGroup
	failed := make(chan error, connections)
	for i := range connections {
		for j := range each {
			numbers = append(numbers, fmt.Sprintf("%s-%d-%d", prefix, i, j))
		}
		wg.Go(func() {
			d, err := dial(c.front.addr)
			for j := 0; err == nil && j < each; j++ {
				_, err = d.send(mailing{from: anna, to: []string{bo}, message: letter(fmt.Sprintf("%s-%d-%d", prefix, i, j), "Kære Bo\r\n")})
			}
			if err != nil {
				failed <- err
				return
			}
			_, err = d.say("221", "QUIT")
			failed <- errors.Join(err, d.c.Close())
		})
	}
	wg.Wait()
	for range connections {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	return numbers
}

// sendmail hands a message to Postfix in front as a program on its own machine does.
func (c *chain) sendmail(t *testing.T, message string, args ...string) {
	t.Helper()
	cmd := exec.Command(need(t, "sendmail", "postfix"), append([]string{"-C", c.front.etc, "-i", "-f", anna}, args...)...)
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(message, "\r\n", "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
}

func TestPostfixInFront(t *testing.T) {
	t.Parallel()
	c := newChain(t, authority)
	t.Run("200", func(t *testing.T) {
		c.numbers(t, bo, c.handMany(t, "200", 10, 20))
	})
	t.Run("smtp-source", func(t *testing.T) {
		cmd := exec.Command(need(t, "smtp-source", "postfix"), "-s", "5", "-m", "40", "-l", "20000", "-f", anna, "-t", "gerda@nabo.example", c.front.addr)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("smtp-source: %v\n%s", err, out)
		}
		eventually(t, "40 mails", func() bool { return len(arrived(t, c.root, "gerda@nabo.example")) >= 40 })
	})
	t.Run("sendmail", func(t *testing.T) {
		c.sendmail(t, letter("sendmail", "Kære Bo\r\n"), bo)
		m := await(t, c.root, bo, "Number: sendmail")
		if !strings.Contains(m, "with ESMTPS") {
			t.Errorf("Postfix did not come over STARTTLS:\n%s", m)
		}
	})
	t.Run("8bit and long lines", func(t *testing.T) {
		long := strings.Repeat("æøå ", 400) // 2,800 bytes: more than SMTP promises, less than Postfix folds at as it is configured
		c.sendmail(t, letter("long", long+"\r\nslut\r\n"), bo)
		m := await(t, c.root, bo, "Number: long")
		_, body, _ := strings.Cut(m, "\n\n")
		if got := strings.ReplaceAll(body, "\n ", ""); got != long+"\nslut\n" { // RFC 5321 allows 998: Postfix folds
			t.Errorf("the body is another:\n%q", body)
		}
	})
	t.Run("5 MB", func(t *testing.T) {
		body := strings.Repeat("Det er en lang besked uden tal i, og den bliver ved.\r\n", 100_000)
		c.sendmail(t, letter("big", body), bo)
		m := await(t, c.root, bo, "Number: big")
		if _, got, _ := strings.Cut(m, "\n\n"); got != strings.ReplaceAll(body, "\r\n", "\n") {
			t.Errorf("%d bytes arrived, another body than the %d sent", len(got), len(body))
		}
	})
	t.Run("utf-8 address", func(t *testing.T) {
		d, err := dial(c.front.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer d.c.Close()
		if _, err := d.send(mailing{from: anna, fromParams: " SMTPUTF8 BODY=8BITMIME", to: []string{"søren@borger.example"}, message: letter("utf8", "Kære Søren\r\n")}); err != nil {
			t.Fatal(err)
		}
		if m := await(t, c.root, "søren@borger.example", "Number: utf8"); !strings.Contains(m, "with UTF8SMTPS id ") {
			t.Errorf("it came without SMTPUTF8:\n%s", m)
		}
	})
	t.Run("guard away", func(t *testing.T) {
		first := c.handMany(t, "before", 4, 10) // some of them are under way when it stops
		c.guard.stop(t)
		second := c.handMany(t, "away", 4, 5)
		if c.front.queued() == 0 {
			t.Error("Postfix has nothing in its queue while the guard is away")
		}
		c.guard.start(t)
		c.numbers(t, bo, append(first, second...))
	})
	eventually(t, "Postfix's queue is empty", func() bool { return c.front.queued() == 0 })
	c.guard.settled(t)
	if log := c.front.log(); !strings.Contains(log, "Untrusted TLS connection established to 127.0.0.1") && !strings.Contains(log, "TLS connection established to 127.0.0.1") {
		t.Error("Postfix's log tells of no TLS to the guard")
	}
}

// The guard says 452 to the second authority's recipient, and Postfix sends to it in a transaction of its own, as it should.
func TestPostfixRetries(t *testing.T) {
	t.Parallel()
	c := newChain(t, `host: vagt.eksempel.example
authorities:
  - {name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example}
  - {name: Nabo Kommune, domains: [nabo.example], safety_net: net@nabo.example}
trusted:
  - {net: 127.0.0.0/8, authorities: [Eksempel Kommune, Nabo Kommune]}
`)
	d, err := dial(c.front.addr)
	if err == nil {
		_, err = d.send(mailing{from: bo, to: []string{anna, "gerda@nabo.example"}, message: letter("two", "Kære begge\r\n")})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.numbers(t, anna, []string{"two"})
	c.numbers(t, "gerda@nabo.example", []string{"two"})
	if log := c.front.log(); !strings.Contains(log, "status=deferred (host 127.0.0.1[127.0.0.1] said: 452 4.5.3") {
		t.Errorf("Postfix tells of no 452:\n%s", log)
	}
	eventually(t, "Postfix's queue is empty", func() bool { return c.front.queued() == 0 })
	c.guard.settled(t)
}

// A guard that does not trust Postfix refuses to relay, and Postfix tells the sender, through the guard.
func TestPostfixBounces(t *testing.T) {
	t.Parallel()
	c := newChain(t, strings.Replace(authority, "127.0.0.0/8", "192.0.2.0/24", 1))
	c.sendmail(t, letter("refused", "Kære Bo\r\n"), bo)
	m := await(t, c.root, anna, "550 5.7.1", bo)
	if !strings.Contains(m, "does not relay mail") || !strings.Contains(m, "Return-Path: <>") {
		t.Errorf("the bounce is:\n%s", m)
	}
	if n := len(arrived(t, c.root, bo)); n != 0 {
		t.Errorf("%d mails came through", n)
	}
	eventually(t, "Postfix's queue is empty", func() bool { return c.front.queued() == 0 })
	c.guard.settled(t)
}

// swaks hands a message to Postfix in front, so that two real clients stand before the guard.
func TestSwaksThroughPostfix(t *testing.T) {
	t.Parallel()
	swaks := need(t, "swaks", "swaks")
	c := newChain(t, authority)
	var out bytes.Buffer
	cmd := exec.Command(swaks, "--server", c.front.addr, "--from", anna, "--to", bo, "--pipeline", "--header", "Subject: Brev om 010170-5000", "--body", "Kære Bo")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out.String())
	}
	eventually(t, "the guard tells Anna that it does not leave", func() bool {
		return slices.ContainsFunc(arrived(t, c.root, anna), func(m string) bool { return strings.Contains(m, "Auto-Submitted:") })
	})
	if n := len(arrived(t, c.root, bo)); n != 0 {
		t.Errorf("a confidential mail went out in cleartext %d times", n)
	}
}
