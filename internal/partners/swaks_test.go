package partners

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postvagt/internal/demo"
	"postvagt/internal/mail"
)

// submission is a guard with all its listeners, a user, and mailboxes behind it.
type submission struct {
	guard             *guard
	mailboxes         *demo.Mailboxes
	submission, smtps string
	swaks             string
}

const password = "hemmelig sætning 7"

func newSubmission(t *testing.T) *submission {
	t.Helper()
	s := &submission{swaks: need(t, "swaks", "swaks libnet-ssleay-perl"), submission: freeAddr(t), smtps: freeAddr(t), mailboxes: &demo.Mailboxes{}}
	support, _ := exec.Command(s.swaks, "--support").CombinedOutput()
	if !strings.Contains(string(support), "=== TLS supported") {
		missing(t, "swaks speaks no TLS here: sudo apt-get install libnet-ssleay-perl")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.mailboxes.Serve(ctx, l, "hop.example", nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	hash := exec.Command(program, "hash-password")
	hash.Stdin = strings.NewReader(password + "\n")
	hashed, err := hash.Output()
	if err != nil {
		t.Fatalf("hash-password: %v", err)
	}
	cert, key, _ := newCA(t, t.TempDir()).issue(t, certificate{name: "vagt.eksempel.example"})
	s.guard = newGuard(t, fmt.Sprintf(", submission: %q, smtps: %q", s.submission, s.smtps), authority+fmt.Sprintf(`tls: {cert: %q, key: %q}
users: [{name: anna, hash: %q, senders: [%s]}]
routes: [{to: "*", smarthost: %q, level: cleartext, vouches: verified}]
`, cert, key, strings.TrimSpace(string(hashed)), anna, l.Addr())).start(t)
	return s
}

// run runs swaks towards addr and returns what it says and whether the mail was taken.
func (s *submission) run(t *testing.T, addr string, args ...string) (said string, taken bool) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(s.swaks, append([]string{"--server", addr, "--from", anna, "--to", bo, "--helo", "klient.eksempel.example"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err == nil
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	s := newSubmission(t)
	login := func(kind, password string) []string {
		return []string{"--auth", kind, "--auth-user", "anna", "--auth-password", password}
	}
	for _, c := range []struct {
		name, addr string
		args       []string
		taken      bool
		says       []string // all of them
		never      string
	}{
		{"plain", s.guard.smtp, nil, true, []string{"STARTTLS", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8", "250-CHUNKING", "250-DSN", "Accepted as"}, "XCLIENT"},
		{"starttls", s.guard.smtp, []string{"--tls"}, true, []string{"TLS started with cipher TLSv1.3", "Accepted as"}, ""},
		{"pipelining", s.guard.smtp, []string{"--pipeline"}, true, []string{"-> RCPT TO:<bo@borger.example>\n -> DATA\n<-  250", "Accepted as"}, ""},
		{"plain auth", s.submission, append(login("PLAIN", password), "--tls"), true, []string{"235 2.7.0", "Accepted as"}, ""},
		{"login auth", s.submission, append(login("LOGIN", password), "--tls"), true, []string{"235 2.7.0", "Accepted as"}, ""},
		{"plain auth over smtps", s.smtps, append(login("PLAIN", password), "--tls-on-connect"), true, []string{"235 2.7.0", "Accepted as"}, ""},
		{"login auth over smtps", s.smtps, append(login("LOGIN", password), "--tls-on-connect"), true, []string{"235 2.7.0", "Accepted as"}, ""},
		{"wrong password", s.submission, append(login("PLAIN", "hemmelig"), "--tls"), false, []string{"535 5.7.8"}, "Accepted as"},
		{"wrong password over smtps", s.smtps, append(login("LOGIN", "hemmelig"), "--tls-on-connect"), false, []string{"535 5.7.8"}, "Accepted as"},
		{"auth without tls", s.submission, login("PLAIN", password), false, []string{"STARTTLS"}, "-> AUTH"},
		{"no auth", s.submission, []string{"--tls"}, false, []string{"530 5.7.0"}, "Accepted as"},
		{"no auth on smtp", s.guard.smtp, append(login("PLAIN", password), "--tls"), false, nil, "250-AUTH"},
		{"sender not one's own", s.submission, append(login("PLAIN", password), "--tls", "--from", "borgmester@eksempel.example"), false, []string{"553 5.7.1"}, "Accepted as"},
		{"xclient", s.guard.smtp, []string{"--xclient", "ADDR=192.0.2.1"}, false, nil, "Accepted as"},
		{"proxy", s.guard.smtp, []string{"--proxy", "TCP4 192.0.2.1 127.0.0.1 25 25"}, false, nil, "Accepted as"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			said, taken := s.run(t, c.addr, c.args...)
			if taken != c.taken {
				t.Errorf("taken: %v, want %v\n%s", taken, c.taken, said)
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			if c.never != "" && strings.Contains(said, c.never) {
				t.Errorf("it says %q:\n%s", c.never, said)
			}
		})
	}
	t.Run("auth said without tls", func(t *testing.T) {
		t.Parallel()
		d, err := dial(s.submission)
		if err != nil {
			t.Fatal(err)
		}
		defer d.c.Close()
		if _, err := d.say("538 5.7.11", "AUTH PLAIN AGFubmEAaGVtbWVsaWc="); err != nil {
			t.Error(err)
		}
	})
	t.Run("file name", func(t *testing.T) {
		t.Parallel()
		file := write(t, filepath.Join(t.TempDir(), "Sag 010170-5000 referat.txt"), "Referat af mødet.\n")
		said, _ := s.run(t, s.submission, append(login("PLAIN", password), "--tls", "--header", "Subject: Referat af møde i udvalget", "--attach-type", "text/plain", "--attach", "@"+file,
			"--attach-name", "Sag 010170-5000 referat.txt", "--body", "Hermed referatet.")...)
		m := s.arrives(t, said, bo)
		text := string(m.Raw)
		header, _, _ := strings.Cut(text, "\r\n\r\n")
		for line := range strings.Lines(text) {
			if strings.Contains(strings.ToLower(line), "name") && strings.Contains(line, "5000") {
				t.Errorf("the number still stands in a file name: %q", line)
			}
		}
		if strings.Contains(header, "5000") || !strings.Contains(strings.Join(demo.Texts(mail.Parse(m.Raw, mail.Limits{})), "\n"), "010170-5000") {
			t.Errorf("the number stands in the header, or not in the body:\n%s", text)
		}
		if subject := demo.Subject(mail.Parse(m.Raw, mail.Limits{})); subject != "Referat af møde i udvalget" {
			t.Errorf("the subject became %q", subject)
		}
	})
	t.Run("utf-8 subject", func(t *testing.T) {
		t.Parallel()
		said, _ := s.run(t, s.submission, append(login("PLAIN", password), "--tls", "--header", "Subject: Møde på Ærø æøå", "--body", "Kære Bo")...)
		m := s.arrives(t, said, bo)
		if !bytes.Contains(m.Raw, []byte("Subject: Møde på Ærø æøå\r\n")) {
			t.Errorf("the subject is another:\n%s", m.Raw)
		}
		if !bytes.Contains(m.Raw, []byte("with ESMTPSA id ")) {
			t.Errorf("the Received field tells of no submission:\n%s", m.Raw)
		}
	})
}

// arrives waits for the mail that swaks handed over.
func (s *submission) arrives(t *testing.T, said string, to mail.Address) *demo.Mail {
	t.Helper()
	id := acceptedAs.FindStringSubmatch(said)
	if id == nil {
		t.Fatalf("it was not accepted:\n%s", said)
	}
	var found *demo.Mail
	eventually(t, "the mail "+id[1], func() bool {
		for _, m := range s.mailboxes.All() {
			if m.To == to && bytes.Contains(m.Raw, []byte("Postvagt-Trace: "+id[1])) {
				found = &m
			}
		}
		return found != nil
	})
	return found
}
