package partners

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tlsCase is a peer and what a channel to it proves.
type tlsCase struct {
	name    string
	cert    certificate
	foreign bool     // issued by an authority that nobody knows
	args    []string // of openssl s_server
	refuse  bool     // STARTTLS is offered and refused
	inject  string   // comes with the 220 to STARTTLS
	noTLS   bool     // STARTTLS is stripped from its EHLO
	proves  string   // the level
	version string   // of TLS, where there is any
	says    string   // in verify_error or fallback
}

var good = certificate{name: "peer.example"}

var tlsCases = []tlsCase{
	{name: "tls10", cert: good, args: []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, proves: "cleartext", says: "protocol version"},
	{name: "tls11", cert: good, args: []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, proves: "cleartext", says: "protocol version"},
	{name: "tls12", cert: good, args: []string{"-tls1_2"}, proves: "verified", version: "TLS 1.2"},
	{name: "tls13", cert: good, args: []string{"-tls1_3"}, proves: "verified", version: "TLS 1.3"},
	{name: "othername", cert: certificate{name: "anden.example"}, proves: "encrypted", version: "TLS 1.3", says: "valid for anden.example, not peer.example"},
	{name: "expired", cert: certificate{name: "peer.example", expired: true}, proves: "encrypted", version: "TLS 1.3", says: "expired"},
	{name: "selfsigned", cert: certificate{name: "peer.example", selfSigned: true}, proves: "encrypted", version: "TLS 1.3", says: "unknown authority"},
	{name: "unknownca", cert: good, foreign: true, proves: "encrypted", version: "TLS 1.3", says: "unknown authority"},
	{name: "refused", cert: good, refuse: true, proves: "cleartext", says: "STARTTLS refused"},
	{name: "stripped", noTLS: true, proves: "cleartext"},
	{name: "injected", cert: good, inject: "\r\n250-peer.example\r\n250 PIPELINING", proves: "cleartext", says: "more than its reply"},
}

// needs are the ways in which a message asks for a level.
var needs = []struct {
	name, route, body, least string
}{
	{"ordinary", "cleartext", "Kære Bo, tak for i går.\r\n", "cleartext"},
	{"encrypted", "encrypted", "Kære Bo, tak for i går.\r\n", "encrypted"},
	{"confidential", "cleartext", "Borgerens CPR-nummer er 010170-5000.\r\n", "verified"},
}

var ranks = map[string]int{"cleartext": 1, "encrypted": 2, "verified": 3}

// Every peer with every need: what is strong enough gets the mail and the receipt says what the channel proved; what is not
// gets not one byte of it, and the sender is told at once.
func TestLevels(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	dir := t.TempDir()
	known, unknown := newCA(t, dir), newCA(t, dir)
	home := (&peer{}).start(t) // the authority's own mailboxes, where notices go
	routes := fmt.Sprintf("delivery: {retry: [2s]}\nroutes:\n  - {to: eksempel.example, smarthost: %q, level: cleartext}\n", home.addr)
	peers := map[string]*peer{}
	for _, c := range tlsCases {
		for _, n := range needs {
			p := &peer{refuse: c.refuse, inject: c.inject}
			if !c.noTLS {
				issuer := known
				if c.foreign {
					issuer = unknown
				}
				cert, key, _ := issuer.issue(t, c.cert)
				p.tls = append([]string{"-cert", cert, "-key", key}, c.args...)
			}
			domain := c.name + "." + n.name + ".example"
			peers[domain] = p.start(t)
			routes += fmt.Sprintf("  - {to: %s, smarthost: %q, tls_name: peer.example, root_cas: %q, level: %s}\n", domain, p.addr, known.roots, n.route)
		}
	}
	g := newGuard(t, "", authority+routes).start(t)
	for _, c := range tlsCases {
		for _, n := range needs {
			t.Run(c.name+"/"+n.name, func(t *testing.T) {
				t.Parallel()
				to := "bo@" + c.name + "." + n.name + ".example"
				p := peers[c.name+"."+n.name+".example"]
				id := hand(t, g.smtp, mailing{from: anna, fromParams: " BODY=8BITMIME", to: []string{to}, message: letter(c.name+n.name, n.body)})
				if ranks[c.proves] < ranks[n.least] {
					c.tooLow(t, g, p, home, id, n.least)
					return
				}
				c.delivered(t, g, p, id)
			})
		}
	}
}

func (c tlsCase) delivered(t *testing.T, g *guard, p *peer, id string) {
	d := g.until(t, id, "delivered", 1).Deliveries[0]
	r := d.Attempts[len(d.Attempts)-1].Receipt
	if d.LevelReached != c.proves || r.Level != c.proves || r.TLS != c.version || (r.Cipher != "") != (c.version != "") || (r.Verified == "webpki") != (c.proves == "verified") {
		t.Errorf("reached %s, receipt %+v; want %s over %q", d.LevelReached, r, c.proves, c.version)
	}
	if said := r.VerifyError + r.Fallback; !strings.Contains(said, c.says) || (c.says == "") != (said == "") {
		t.Errorf("the receipt says %q, want %q", said, c.says)
	}
	clear, secured, messages := p.lines()
	if messages != 1 {
		t.Errorf("the peer took %d messages", messages)
	}
	in, other := clear, secured
	if c.version != "" {
		in, other = secured, clear
	}
	if !slices.ContainsFunc(in, mailBytes) || slices.ContainsFunc(other, mailBytes) {
		t.Errorf("the peer read in cleartext\n%q\nand inside TLS\n%q", clear, secured)
	}
}

func (c tlsCase) tooLow(t *testing.T, g *guard, p, home *peer, id, least string) {
	s := g.until(t, id, "queued", 2) // and a second attempt changes nothing
	for _, a := range s.Deliveries[0].Attempts {
		// A channel that came to be is recorded as what it proved; one that did not is none.
		if a.Outcome != "too-low" || !strings.Contains(a.Text+a.Receipt.VerifyError, c.says) || a.Receipt.Verified != "" || a.Receipt.TLS != c.version {
			t.Errorf("the attempt is recorded as %+v", a)
		}
		want := c.proves
		if c.proves == "cleartext" && !c.noTLS {
			want = "none"
		}
		if a.Receipt.Level != want {
			t.Errorf("the receipt says level %s, want %s", a.Receipt.Level, want)
		}
	}
	if !slices.ContainsFunc(s.Notices, func(n struct{ Notice, Tells string }) bool { return n.Tells == "delayed" }) {
		t.Errorf("no notice to the sender: %+v", s.Notices)
	}
	eventually(t, "the notice at the sender's mailbox", func() bool {
		notices, _, _ := home.lines()
		return slices.ContainsFunc(notices, func(line string) bool {
			return strings.HasPrefix(line, "Final-Recipient: ") && strings.HasSuffix(line, s.Deliveries[0].Recipient)
		})
	})
	g.run(t, "withdraw", id, "--by", "Prøve", "--reason", "prøven er slut")
	clear, secured, messages := p.lines()
	if messages != 0 || slices.ContainsFunc(append(clear, secured...), mailBytes) {
		t.Errorf("%s is required, and the peer read in cleartext\n%q\nand inside TLS\n%q", least, clear, secured)
	}
	if len(clear) == 0 {
		t.Error("the peer was not even spoken to")
	}
}

// mailBytes tells a line that belongs to an envelope or a message from those that come before one.
func mailBytes(line string) bool {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	return !slices.Contains([]string{"EHLO", "STARTTLS", "QUIT", "RSET", "NOOP"}, verb)
}

// The old peers do speak the old versions: what fails above fails for that and for nothing else.
func TestOldPeersWork(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "openssl")
	for _, c := range tlsCases[:2] {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cert, key, _ := newCA(t, t.TempDir()).issue(t, c.cert)
			p := (&peer{tls: append([]string{"-cert", cert, "-key", key}, c.args...)}).start(t)
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			for _, line := range []string{"", "EHLO a.example", "STARTTLS"} {
				if line != "" {
					fmt.Fprintf(conn, "%s\r\n", line)
				}
				if _, err := conn.Read(make([]byte, 4096)); err != nil {
					t.Fatal(err)
				}
			}
			old := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
			if err := old.Handshake(); err != nil {
				t.Fatalf("no old TLS either: %v", err)
			}
			if v := old.ConnectionState().Version; v > tls.VersionTLS11 {
				t.Errorf("it speaks %s", tls.VersionName(v))
			}
		})
	}
}

// A certificate and its key that are replaced while the guard runs are shown at the next handshake.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	openssl := need(t, "openssl", "openssl")
	dir := t.TempDir()
	authorityOfTheTest := newCA(t, dir)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	serials := []string{}
	replace := func() {
		c, k, n := authorityOfTheTest.issue(t, certificate{name: "vagt.eksempel.example"})
		copyFile(t, c, cert)
		copyFile(t, k, key)
		serials = append(serials, n.String())
	}
	replace()
	smtps := freeAddr(t)
	g := newGuard(t, fmt.Sprintf(", smtps: %q", smtps), authority+fmt.Sprintf("tls: {cert: %q, key: %q}\n", cert, key)).start(t)
	shows := func(addr string, args ...string) string {
		return shown(t, openssl, authorityOfTheTest.roots, addr, args...)
	}
	if got := shows(g.smtp, "-starttls", "smtp"); got != serials[0] {
		t.Fatalf("the guard shows %s, want %s", got, serials[0])
	}
	replace()
	begun := time.Now()
	eventually(t, "the new certificate over STARTTLS", func() bool { return shows(g.smtp, "-starttls", "smtp") == serials[1] })
	t.Logf("the new certificate was shown after %v", time.Since(begun).Round(time.Millisecond))
	if got := shows(smtps); got != serials[1] {
		t.Errorf("smtps shows %s, want %s", got, serials[1])
	}
	write(t, key, "not a key\n") // half a replacement: the old pair stays in use
	g.cmd.Process.Signal(hangUp)
	eventually(t, "a complaint in the log", func() bool { return strings.Contains(g.log.String(), "the old one stays") })
	if got := shows(g.smtp, "-starttls", "smtp"); got != serials[1] {
		t.Errorf("with a broken key the guard shows %s, want %s", got, serials[1])
	}
	replace()
	g.cmd.Process.Signal(hangUp)
	eventually(t, "the third certificate", func() bool { return shows(g.smtp, "-starttls", "smtp") == serials[2] })
}

const hangUp = syscall.SIGHUP

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// shown is the serial number of the certificate that openssl s_client is shown, its name and chain proven.
func shown(t *testing.T, openssl, roots, addr string, args ...string) string {
	t.Helper()
	cmd := exec.Command(openssl, append([]string{"s_client", "-connect", addr, "-CAfile", roots, "-verify_hostname", "vagt.eksempel.example",
		"-verify_return_error"}, args...)...)
	cmd.Stdin = strings.NewReader("QUIT\r\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl s_client %s: %v\n%s", addr, err, out)
	}
	block, _ := pem.Decode(out[max(0, strings.Index(string(out), "-----BEGIN CERTIFICATE")):])
	if block == nil {
		t.Fatalf("openssl s_client shows no certificate:\n%s", out)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.String()
}
