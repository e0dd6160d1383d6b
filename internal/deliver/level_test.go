package deliver

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/level"
)

// TestLevel is law 4: what is measured for every kind of hop, and that below the level nothing of the message leaves.
func TestLevel(t *testing.T) {
	good, stranger := newAuthority(t), newAuthority(t)
	tomorrow, yesterday := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
	right := good.issue(t, "smart.example", tomorrow)
	old := right.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	tls12 := right.Clone()
	tls12.MaxVersion = tls.VersionTLS12
	tests := []struct {
		name     string
		peer     manners
		hop      Hop
		measured level.Level // the highest that this hop can be measured at
		fallback string      // in the receipt where the mail went in cleartext after all
		verify   string      // in the receipt's VerifyError
	}{
		{name: "no TLS", measured: level.Cleartext},
		{name: "right name", peer: manners{tls: right}, measured: level.Verified},
		{name: "right name, TLS 1.2", peer: manners{tls: tls12}, measured: level.Verified},
		{name: "other name configured", peer: manners{tls: good.issue(t, "cert.example", tomorrow)},
			hop: Hop{SmartHost: "smart.example:25", TLSName: "cert.example"}, measured: level.Verified},
		{name: "unknown issuer", peer: manners{tls: stranger.issue(t, "smart.example", tomorrow)},
			measured: level.Encrypted, verify: "unknown authority"},
		{name: "wrong name", peer: manners{tls: good.issue(t, "evil.example", tomorrow)},
			measured: level.Encrypted, verify: "evil.example"},
		{name: "expired", peer: manners{tls: good.issue(t, "smart.example", yesterday)},
			measured: level.Encrypted, verify: "expired"},
		{name: "by MX", peer: manners{tls: good.issue(t, "mx.borger.example", tomorrow)}, hop: Hop{Domain: "borger.example"},
			measured: level.Encrypted, verify: "MX answer"},
		{name: "no roots file", peer: manners{tls: right}, hop: Hop{SmartHost: "smart.example:25", RootCAs: "/nonexistent/roots.pem"},
			measured: level.Encrypted, verify: "roots"},
		{name: "STARTTLS refused", peer: manners{tls: right, answer: answers("STARTTLS", "454 4.7.0 not now")},
			measured: level.Cleartext, fallback: "not now"},
		{name: "STARTTLS unknown after all", peer: manners{tls: right, answer: answers("STARTTLS", "502 5.5.1 what?")},
			measured: level.Cleartext, fallback: "what?"},
		{name: "STARTTLS hangs up", peer: manners{tls: right, answer: answers("STARTTLS", drop)},
			measured: level.Cleartext, fallback: "EOF"},
		{name: "TLS 1.1 only", peer: manners{tls: old}, measured: level.Cleartext, fallback: "TLS 1.2"},
		{name: "cleartext injected", peer: manners{tls: right, inject: "\n250 2.1.0 ok", lenient: true},
			measured: level.Cleartext, fallback: "more than its reply"},
		{name: "implicit TLS", peer: manners{tls: right, implicit: true}, hop: Hop{SmartHost: "smart.example:465"},
			measured: level.Verified},
		{name: "implicit TLS, wrong name", peer: manners{tls: good.issue(t, "evil.example", tomorrow), implicit: true},
			hop: Hop{SmartHost: "smart.example:465"}, measured: level.Encrypted, verify: "evil.example"},
	}
	for _, test := range tests {
		for required := level.None; required <= level.EndToEnd; required++ {
			t.Run(test.name+"/"+required.String(), func(t *testing.T) {
				p := &peer{t: t, manners: test.peer}
				p.offers = []string{"PIPELINING"}
				j := job(required, "b@borger.example")
				if test.hop != (Hop{}) {
					j.Hop = test.hop
				}
				if j.Hop.RootCAs == "" {
					j.Hop.RootCAs = good.roots
				}
				receipt, results := client(t, p.listen()).Attempt(t.Context(), j)

				want := Delivered
				if required > test.measured {
					want = TooLow
				}
				if results[0].Outcome != want {
					t.Errorf("outcome: got %s (%s), want %s", results[0].Outcome, results[0].Text, want)
				}
				if want == TooLow {
					nothingLeft(t, p)
				} else if len(p.took()) != 1 {
					t.Error("the peer took nothing")
				}
				checkReceipt(t, receipt, want, test.measured, test.fallback, test.verify)
				for _, m := range p.took() {
					if m.tls != (receipt.Level >= level.Encrypted) {
						t.Errorf("the receipt says %s, but the peer took the mail with TLS: %v", receipt.Level, m.tls)
					}
				}
			})
		}
	}
}

// answers gives one command its own reply.
func answers(command, reply string) func(string) string {
	return func(c string) string {
		if strings.HasPrefix(c, command) {
			return reply
		}
		return ""
	}
}

// nothingLeft fails the test if the peer saw anything of a message, its envelope included.
func nothingLeft(t *testing.T, p *peer) {
	t.Helper()
	for _, line := range p.commands() {
		line = strings.TrimPrefix(line, "tls:")
		if !strings.HasPrefix(line, "EHLO ") && line != "STARTTLS" && line != "QUIT" {
			t.Errorf("below the level, the peer saw %q", line)
		}
	}
}

func checkReceipt(t *testing.T, r Receipt, o Outcome, measured level.Level, fallback, verify string) {
	t.Helper()
	switch {
	case o == Delivered && r.Level != measured:
		t.Errorf("level: got %s, want %s", r.Level, measured)
	case r.Level > measured:
		t.Errorf("level: got %s, above %s", r.Level, measured)
	}
	if (r.Verified == "webpki") != (r.Level == level.Verified) {
		t.Errorf("level %s verified by %q", r.Level, r.Verified)
	}
	if tls := r.Level >= level.Encrypted; tls != (r.TLSVersion != "") || tls != (r.Cipher != "") || tls != (len(r.Fingerprint) == 64) {
		t.Errorf("TLS facts of a %s channel: %+v", r.Level, r)
	}
	if o == Delivered && (!strings.Contains(r.Fallback, fallback) || fallback == "" && r.Fallback != "") {
		t.Errorf("fallback: got %q, want %q", r.Fallback, fallback)
	}
	if r.Level >= level.Encrypted && (!strings.Contains(r.VerifyError, verify) || verify == "" && r.VerifyError != "") {
		t.Errorf("verify error: got %q, want %q", r.VerifyError, verify)
	}
	if r.IP == "" || r.Hop == "" || r.Started.IsZero() || r.Took <= 0 || r.Vouched != level.None {
		t.Errorf("receipt: %+v", r)
	}
}

// TestSilentAtStartTLS has the hop fall silent after it offered TLS: cleartext is the second try, where it is enough.
func TestSilentAtStartTLS(t *testing.T) {
	for required, want := range map[level.Level]Outcome{level.None: Delivered, level.Encrypted: TooLow} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{t: t, manners: manners{answer: answers("STARTTLS", hang),
				tls: newAuthority(t).issue(t, "smart.example", time.Now().Add(time.Hour))}}
			c := client(t, p.pipe)
			receipt, results := c.Attempt(t.Context(), job(required, "b@borger.example"))
			c.Close()
			p.wg.Wait()
			if results[0].Outcome != want || receipt.Took != 5*time.Minute {
				t.Errorf("required %s: got %s (%s) after %s", required, results[0].Outcome, results[0].Text, receipt.Took)
			}
			if want == TooLow {
				nothingLeft(t, p)
			}
		})
	}
}

func TestVouched(t *testing.T) {
	a := newAuthority(t)
	encrypted := a.issue(t, "other.example", time.Now().Add(time.Hour))
	tests := []struct {
		required, least, vouches level.Level
		tls                      *tls.Config
		want                     Outcome
		measured, vouched        level.Level
	}{
		{level.Verified, level.Cleartext, level.Verified, nil, Delivered, level.Cleartext, level.Verified},
		{level.Verified, level.Cleartext, level.Encrypted, nil, TooLow, level.Cleartext, level.None},
		{level.Encrypted, level.None, level.Tunnel, nil, Delivered, level.Cleartext, level.Tunnel},
		{level.Verified, level.Encrypted, level.Verified, nil, TooLow, level.Cleartext, level.None},
		{level.Verified, level.Encrypted, level.Verified, encrypted, Delivered, level.Encrypted, level.Verified},
		{level.Cleartext, level.Encrypted, level.Verified, nil, TooLow, level.Cleartext, level.None},
		{level.Cleartext, level.Encrypted, level.None, encrypted, Delivered, level.Encrypted, level.None},
		{level.Encrypted, level.Encrypted, level.Verified, encrypted, Delivered, level.Encrypted, level.None}, // measured suffices: nothing to vouch for
		{level.None, level.None, level.Verified, nil, Delivered, level.Cleartext, level.None},
	}
	for _, test := range tests {
		p := &peer{t: t, manners: manners{tls: test.tls}}
		j := job(test.required, "b@borger.example")
		j.Hop.Least, j.Hop.Vouches = test.least, test.vouches
		receipt, results := client(t, p.listen()).Attempt(t.Context(), j)
		if results[0].Outcome != test.want || receipt.Level != test.measured || receipt.Vouched != test.vouched {
			t.Errorf("required %s, least %s, vouches %s: got %s, measured %s, vouched %s; want %s, %s, %s", test.required, test.least,
				test.vouches, results[0].Outcome, receipt.Level, receipt.Vouched, test.want, test.measured, test.vouched)
		}
		if test.want == TooLow {
			nothingLeft(t, p)
		}
	}
}

func TestLogin(t *testing.T) {
	a := newAuthority(t)
	right := a.issue(t, "smart.example", time.Now().Add(time.Hour))
	wrong := a.issue(t, "other.example", time.Now().Add(time.Hour))
	tests := []struct {
		name  string
		peer  manners
		least level.Level
		want  Outcome
		auth  string // what the peer saw of the login
	}{
		{name: "plain", peer: manners{tls: right, offers: []string{"AUTH LOGIN PLAIN"}}, want: Delivered, auth: "tls:AUTH PLAIN AHZhZ3QAaGVtbWVsaWc="},
		{name: "unproven name", peer: manners{tls: wrong, offers: []string{"AUTH PLAIN"}}, least: level.Encrypted, want: Delivered, auth: "tls:AUTH PLAIN AHZhZ3QAaGVtbWVsaWc="},
		{name: "unproven name, verified asked", peer: manners{tls: wrong, offers: []string{"AUTH PLAIN"}}, least: level.Verified, want: TooLow},
		{name: "no TLS", peer: manners{offers: []string{"AUTH PLAIN"}}, want: Deferred},
		{name: "TLS fails", peer: manners{tls: right, offers: []string{"AUTH PLAIN"}, answer: answers("STARTTLS", "454 no")}, want: Deferred},
		{name: "nothing offered", peer: manners{tls: right}, want: Deferred},
		{name: "refused", peer: manners{tls: right, offers: []string{"AUTH PLAIN"}, answer: answers("AUTH", "535 5.7.8 wrong")}, want: Deferred, auth: "tls:AUTH PLAIN AHZhZ3QAaGVtbWVsaWc="},
		{name: "login", peer: manners{tls: right, offers: []string{"AUTH NTLM LOGIN"}, answer: loginAnswers()}, want: Delivered, auth: "tls:AUTH LOGIN tls:dmFndA== tls:aGVtbWVsaWc="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &peer{t: t, manners: test.peer}
			j := job(level.None, "b@borger.example")
			j.Hop.User, j.Hop.Password, j.Hop.RootCAs, j.Hop.Least = "vagt", "hemmelig", a.roots, test.least
			_, results := client(t, p.listen()).Attempt(t.Context(), j)
			if results[0].Outcome != test.want {
				t.Errorf("got %s (%s), want %s", results[0].Outcome, results[0].Text, test.want)
			}
			var auth []string
			for _, line := range p.commands() {
				if l := strings.TrimPrefix(line, "tls:"); strings.HasPrefix(l, "AUTH") || !strings.Contains(l, " ") && strings.HasSuffix(l, "=") {
					auth = append(auth, line)
				}
			}
			if got := strings.Join(auth, " "); got != test.auth {
				t.Errorf("login: got %q, want %q", got, test.auth)
			}
			if strings.Contains(results[0].Text, "hemmelig") {
				t.Error("the password is in the result")
			}
		})
	}
}

// TestLoginIsTriedOnce keeps a wrong password from locking the account: no other address is tried with it.
func TestLoginIsTriedOnce(t *testing.T) {
	a := newAuthority(t)
	p := &peer{t: t, manners: manners{tls: a.issue(t, "smart.example", time.Now().Add(time.Hour)), offers: []string{"AUTH PLAIN"},
		answer: answers("AUTH", "535 5.7.8 wrong")}}
	c := New(Options{Dial: p.listen(), Resolver: twice{}})
	j := job(level.None, "b@borger.example")
	j.Hop.User, j.Hop.Password = "vagt", "hemmelig"
	_, results := c.Attempt(t.Context(), j)
	if got := outcomes(results); got != "deferred 535 5.7.8" || p.connections() != 1 {
		t.Errorf("got %s over %d connections", got, p.connections())
	}
}

// twice is a Resolver that gives every host two addresses.
type twice struct{ anywhere }

func (twice) Addresses(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
}

func loginAnswers() func(string) string {
	return func(c string) string {
		switch c {
		case "AUTH LOGIN":
			return "334 VXNlcm5hbWU6"
		case "dmFndA==":
			return "334 UGFzc3dvcmQ6"
		case "aGVtbWVsaWc=":
			return "235 2.7.0 welcome"
		}
		return ""
	}
}
