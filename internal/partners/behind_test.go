package partners

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// behind is a guard with Postfix behind it: the authority's mailboxes and the world in one. borger.example is reached by a
// route that can prove Postfix's name, nabo.example by one that cannot.
func behind(t *testing.T) (g *guard, p *postfix, root string, full *atomic.Bool) {
	t.Helper()
	need(t, "postfix", "postfix")
	dir := reachable(t)
	authorityOfTheTest := newCA(t, dir)
	cert, key, _ := authorityOfTheTest.issue(t, certificate{name: "post.behind.example"})
	service, full := fullMailbox(t, "fuld@borger.example")
	p, root = keeping(t, map[string]string{
		"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key,
		"smtpd_recipient_restrictions": "check_policy_service inet:" + service,
	}, anna, bo, "fuld@borger.example", "gerda@nabo.example", "net@eksempel.example", "søren@borger.example")
	// The default of 20 connections per hop is kept; retries come fast.
	g = newGuard(t, "", authority+fmt.Sprintf(`delivery: {retry: [1s]}
routes:
  - {to: borger.example, smarthost: %q, tls_name: post.behind.example, root_cas: %q, level: cleartext}
  - {to: "*", smarthost: %[1]q, level: cleartext}
`, p.addr, authorityOfTheTest.roots)).start(t)
	return g, p, root, full
}

// fullMailbox is a policy service of Postfix's (SMTPD_POLICY_README) that says 452 for an address while full is true.
func fullMailbox(t *testing.T, address string) (service string, full *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	full = new(atomic.Bool)
	full.Store(true)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				asked := ""
				for in := bufio.NewScanner(c); in.Scan(); {
					if r, ok := strings.CutPrefix(in.Text(), "recipient="); ok {
						asked = r
					}
					if in.Text() != "" {
						continue
					}
					action := "DUNNO"
					if asked == address && full.Load() {
						action = "452 4.2.2 Mailbox full"
					}
					fmt.Fprintf(c, "action=%s\n\n", action)
				}
			}()
		}
	}()
	return l.Addr().String(), full
}

func TestPostfixBehind(t *testing.T) {
	t.Parallel()
	g, p, root, full := behind(t)
	t.Run("byte for byte", func(t *testing.T) {
		message := letter("bytes", "Kære Bo\r\n\r\n.\r\n..to prikker\r\n.prik\r\n \t blanke til sidst \t \r\n"+strings.Repeat("lang linje ", 400)+
			"\r\nÆØÅ æøå \u2022\r\n\r\n\r\n-- \r\nAnna\r\n\r\n")
		id := hand(t, g.smtp, mailing{from: anna, fromParams: " BODY=8BITMIME", to: []string{bo, "gerda@nabo.example", anna}, message: message})
		for _, to := range []string{bo, "gerda@nabo.example", anna} {
			got := await(t, root, to, "Number: bytes")
			below(t, to, got, id, message)
		}
		g.until(t, id, "delivered", 1)
	})
	t.Run("level", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, to: []string{bo, "gerda@nabo.example"}, message: letter("level", "Goddag\r\n")})
		for _, d := range g.until(t, id, "delivered", 1).Deliveries {
			want := map[string]string{bo: "verified", "gerda@nabo.example": "encrypted"}[d.Recipient]
			r := d.Attempts[0].Receipt
			if d.LevelReached != want || r.TLS != "TLS 1.3" || r.Cipher == "" || (r.VerifyError == "") != (want == "verified") || len(r.Fingerprint) != 64 {
				t.Errorf("%s: level %s, receipt %+v, want %s over TLS 1.3", d.Recipient, d.LevelReached, r, want)
			}
		}
	})
	t.Run("confidential", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, to: []string{bo}, message: letter("confidential", "Borgerens CPR-nummer er 010170-5000.\r\n")})
		d := g.until(t, id, "delivered", 1).Deliveries[0]
		if d.LevelRequired != "verified" || d.LevelReached != "verified" {
			t.Errorf("required %s, reached %s, want verified", d.LevelRequired, d.LevelReached)
		}
	})
	t.Run("confidential to many", func(t *testing.T) {
		// One message over one hop: what each recipient requires is its own.
		id := hand(t, g.smtp, mailing{from: anna, to: []string{bo, "gerda@nabo.example", anna}, message: letter("many", "Borgerens CPR-nummer er 010170-5000.\r\n")})
		want := map[string]string{bo: "delivered", anna: "delivered", "gerda@nabo.example": "queued"}
		eventually(t, "delivered to bo and anna, too low for gerda", func() bool {
			for _, d := range g.trace(t, id).Deliveries {
				if d.State != want[d.Recipient] || len(d.Attempts) == 0 {
					return false
				}
			}
			return true
		})
		for _, d := range g.trace(t, id).Deliveries {
			if d.State == "delivered" && len(d.Attempts) != 1 {
				t.Errorf("%s was kept waiting for what another recipient requires: %+v", d.Recipient, d.Attempts)
			}
		}
		for _, m := range arrived(t, root, "gerda@nabo.example") {
			if numberOf(m) == "many" {
				t.Errorf("what needs verified went out on encrypted:\n%s", m)
			}
		}
		g.run(t, "withdraw", id, "--by", "Prøve", "--reason", "prøven er slut")
	})
	t.Run("dsn", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, fromParams: " RET=HDRS ENVID=sag-42", to: []string{bo + "> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bo@Borger.example"},
			message: letter("dsn", "Goddag\r\n")})
		if d := g.until(t, id, "delivered", 1).Deliveries[0]; !d.Attempts[0].Receipt.DSN {
			t.Errorf("the receipt does not say that the DSN parameters were passed on: %+v", d)
		}
		report := await(t, root, anna, "multipart/report", "sag-42")
		for _, want := range []string{"Original-Envelope-Id: sag-42", "Original-Recipient: rfc822;Bo@Borger.example", "Action: delivered", "post.behind.example"} {
			if !strings.Contains(report, want) {
				t.Errorf("Postfix's report lacks %q:\n%s", want, report)
			}
		}
	})
	t.Run("no such mailbox", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, to: []string{bo, "ukendt@borger.example"}, message: letter("unknown", "Goddag\r\n")})
		await(t, root, bo, "Number: unknown")
		notice := await(t, root, anna, "ukendt@borger.example", "multipart/report")
		for _, want := range []string{"Return-Path: <>", "Auto-Submitted: auto-replied", "Action: failed", "Status: 5.1.1", "Final-Recipient: rfc822; ukendt@borger.example"} {
			if !strings.Contains(strings.ReplaceAll(notice, "rfc822;ukendt", "rfc822; ukendt"), want) {
				t.Errorf("the notice lacks %q:\n%s", want, notice)
			}
		}
		eventually(t, "one delivered, one returned", func() bool {
			states := map[string]string{}
			for _, d := range g.trace(t, id).Deliveries {
				states[d.Recipient] = d.State
			}
			return states[bo] == "delivered" && states["ukendt@borger.example"] == "returned"
		})
		for _, d := range g.trace(t, id).Deliveries {
			if a := d.Attempts[0]; d.Recipient != bo && (a.Outcome != "refused" || a.Code != 550 || a.Enhanced != "5.1.1") {
				t.Errorf("the attempt is recorded as %+v, want 550 5.1.1", a)
			}
		}
	})
	t.Run("utf-8 address", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, fromParams: " SMTPUTF8 BODY=8BITMIME", to: []string{"søren@borger.example"}, message: letter("utf8", "Goddag\r\n")})
		g.until(t, id, "delivered", 1)
		await(t, root, "søren@borger.example", "Number: utf8")
	})
	t.Run("mailbox full", func(t *testing.T) {
		id := hand(t, g.smtp, mailing{from: anna, to: []string{"fuld@borger.example"}, message: letter("full", "Goddag\r\n")})
		d := g.until(t, id, "queued", 2).Deliveries[0]
		if a := d.Attempts[0]; a.Outcome != "deferred" || a.Code != 452 || a.Enhanced != "4.2.2" || !strings.Contains(a.Text, "Mailbox full") {
			t.Errorf("the attempt is recorded as %+v, want 452 4.2.2", a)
		}
		full.Store(false)
		g.until(t, id, "delivered", 3)
		if n := len(arrived(t, root, "fuld@borger.example")); n != 1 {
			t.Errorf("it arrived %d times", n)
		}
	})
	g.settled(t)
	if log := p.log(); strings.Contains(log, "fatal:") || strings.Contains(log, "improper command") {
		t.Errorf("Postfix complains:\n%s", log)
	}
}

// below checks that got is the trace fields of Postfix and the guard, and below them message, to the byte. A Maildir's
// lines end in LF.
func below(t *testing.T, to, got, id, message string) {
	t.Helper()
	message = strings.ReplaceAll(message, "\r\n", "\n")
	top, ok := strings.CutSuffix(got, message)
	if !ok {
		t.Errorf("%s got other bytes:\n%q\nwant at the end:\n%q", to, got, message)
		return
	}
	for line := range strings.Lines(top) {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case line[0] == '\t' || line[0] == ' ':
		case name == "Return-Path", name == "X-Original-To", name == "Delivered-To", name == "Received", name == "Postvagt-Trace":
		default:
			t.Errorf("%s got a field that is none of the trace: %q", to, line)
		}
	}
	if !strings.Contains(top, "Postvagt-Trace: "+id) || strings.Count(top, "Received:") != 2 {
		t.Errorf("%s got the trace fields\n%s", to, top)
	}
}
