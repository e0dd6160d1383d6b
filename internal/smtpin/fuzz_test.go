package smtpin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unstuff is DATA by the book, a byte at a time: the message, what is wrong with it, and what follows its end.
func unstuff(in []byte) (msg, rest []byte, fault lineFault, ended bool) {
	end := -1
	padded := append([]byte("\r\n"), in...)
	if i := bytes.Index(padded, []byte("\r\n.\r\n")); i >= 0 {
		end = i // in in: the CRLF before the dot is at end-2
	}
	if end < 0 {
		return nil, nil, lineOK, false
	}
	body := in[:end]
	for i, b := range body {
		switch {
		case b == '\n' && (i == 0 || body[i-1] != '\r'):
			return nil, in[end+3:], bareLF, true
		case b == '\r' && (i+1 == len(body) || body[i+1] != '\n'):
			fault = bareCR
		case b == 0:
			fault = nulByte
		}
		if b == '\n' && fault != lineOK {
			break
		}
	}
	if fault != lineOK {
		return nil, in[end+3:], fault, true
	}
	bol := true
	for i, b := range body {
		if !bol || b != '.' {
			msg = append(msg, b)
		}
		bol = b == '\n' && body[i-1] == '\r'
	}
	return msg, in[end+3:], lineOK, true
}

// FuzzDot compares dots, fed in pieces, with unstuff.
func FuzzDot(f *testing.F) {
	for _, s := range []string{"", ".\r\n", "a\r\n.\r\nrest", "..\r\n.\r\n", ".\n.\r\n", "a\n.\r\n\r\n.\r\nx", "a\r.\r\n\r\n.\r\n", "\r\r\n.\r\n",
		"..a\r\n...\r\n.b\r\n.\r\n", "\r\n\r\n.\r\n.\r\n", "a\rb\nc\r\n.\r\n", "a\x00b\r\n.\r\n", strings.Repeat("x", 100) + "\r\n.\r\n"} {
		for _, step := range []byte{1, 2, 3, 5, 255} {
			f.Add([]byte(s), step, false)
			f.Add([]byte(s), step, true)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte, drop bool) {
		wantMsg, wantRest, wantFault, wantEnd := unstuff(in)
		d := dots{bol: true, drop: drop}
		ended, fed := false, 0
		for fed < len(in) && !ended {
			n := min(len(in)-fed, int(step)+1)
			d.buf = append(d.buf, in[fed:fed+n]...)
			fed += n
			if ended = d.scan(); !ended && (d.drop || step%2 == 0) {
				d.compact()
			}
		}
		if ended != wantEnd {
			t.Fatalf("%q: ended %v, want %v", in, ended, wantEnd)
		}
		if !ended {
			return
		}
		if rest := string(d.buf[d.start:]) + string(in[fed:]); rest != string(wantRest) {
			t.Fatalf("%q: rest %q, want %q", in, rest, wantRest)
		}
		if drop {
			return
		}
		if (d.fault != lineOK) != (wantFault != lineOK) {
			t.Fatalf("%q: fault %v, want %v", in, d.fault, wantFault)
		}
		if d.fault == lineOK && !bytes.Equal(d.buf[:d.clean], wantMsg) {
			t.Fatalf("%q: %q, want %q", in, d.buf[:d.clean], wantMsg)
		}
		if d.fault == lineOK && lineEnds(d.buf[:d.clean]) != lineOK {
			t.Fatalf("%q: dots and lineEnds disagree", in)
		}
	})
}

// FuzzServer plays random sessions, in clear or as if TLS were on. The strict Handler checks each call; here: the session ends, messages are confirmed only
// when taken, replies are well formed and repeat no number.
func FuzzServer(f *testing.F) {
	f.Add([]byte(opening+"x\r\n.\r\nQUIT\r\n"), byte(0), false)
	f.Add([]byte(opening+"x\n.\r\n"+second+".\r\nQUIT\r\n"), byte(1), false)
	f.Add([]byte("EHLO c\r\nMAIL FROM:<> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x\r\nRCPT TO:<b@borger.example> NOTIFY=NEVER ORCPT=rfc822;b\r\nBDAT 3 LAST\r\na\r\nQUIT\r\n"), byte(7), false)
	f.Add([]byte("EHLO c\r\nMAIL FROM:<panic@a.example>\r\nVRFY 0101705000\r\nAUTH PLAIN x\r\nSTARTTLS\r\n"), byte(3), false)
	dialogs, err := filepath.Glob("testdata/dialog/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range dialogs {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(clientSide(f, string(b)), byte(i), strings.Contains(string(b), "TLS\n"))
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte, secure bool) {
		s := &script{in: in, chunk: func() int { return int(step) + 1 }, tls: secure}
		got, replies := s.run(t, Options{MaxSize: 2000, MaxRecipients: 5, Auth: secure, AuthRequired: secure && step%2 == 1})
		if n := strings.Count(replies, "250 2.0.0 taken\r\n"); n > len(got) {
			t.Errorf("%d messages confirmed, %d taken", n, len(got))
		}
		checkReplies(t, replies)
	})
}

// FuzzMessage sends the same message by DATA and by BDAT in chunks of all sizes: sound ones arrive unchanged, others never.
func FuzzMessage(f *testing.F) {
	for _, m := range []string{"", "\r\n", ".\r\n", "a\r\n.\r\nb\r\n", "a\nb\r\n", "a\rb\r\n", "no end", "..\r\n.x\r\n", "\r\n.\r\r\n", "x\r", "a\x00b"} {
		f.Add([]byte(m), byte(0))
		f.Add([]byte(m), byte(2))
	}
	f.Fuzz(func(t *testing.T, msg []byte, step byte) {
		if bytes.Contains(msg, []byte("DATA\r\n")) {
			return // script holds reads back there
		}
		sound := !bytes.ContainsAny(bytes.ReplaceAll(msg, []byte("\r\n"), nil), "\r\n\x00")
		want := string(msg)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		envelope := strings.TrimSuffix(opening, "DATA\r\n")
		chunks := []byte(envelope)
		for rest := msg; ; {
			n := min(int(step)+1, len(rest))
			last := ""
			if n == len(rest) {
				last = " LAST"
			}
			chunks = append(fmt.Appendf(chunks, "BDAT %d%s\r\n", n, last), rest[:n]...)
			if rest = rest[n:]; last != "" {
				break
			}
		}
		stuffed := strings.ReplaceAll("\r\n"+want, "\r\n.", "\r\n..")[2:]
		for name, in := range map[string][]byte{"BDAT": chunks, "DATA": []byte(opening + stuffed + ".\r\n")} {
			got, replies := (&script{in: in, chunk: func() int { return int(step)%7 + 1 }}).run(t, Options{MaxErrors: 1 << 20})
			if sound && (len(got) != 1 || got[0].data != want) {
				t.Errorf("%s %q: %+v\n%s", name, msg, got, replies)
			}
			if !sound && len(got) != 0 {
				t.Errorf("%s %q is taken", name, msg)
			}
		}
	})
}

// clientSide is what the client says in a dialogue.
func clientSide(t testing.TB, dialog string) []byte {
	var out []byte
	for line := range strings.SplitSeq(dialog, "\n") {
		if text, ok := strings.CutPrefix(line, "C: "); ok {
			out = append(append(out, unescape(t, "seed", text)...), '\r', '\n')
		}
		if text, ok := strings.CutPrefix(line, "C~ "); ok {
			out = append(out, unescape(t, "seed", text)...)
		}
	}
	return out[:min(len(out), 20_000)]
}

// checkReplies fails the test where a reply is no reply of RFC 5321, section 4.2.
func checkReplies(t testing.TB, replies string) {
	t.Helper()
	if replies == "" {
		t.Error("no greeting")
	}
	for line := range strings.SplitAfterSeq(replies, "\r\n") {
		if line == "" {
			continue
		}
		text, crlf := strings.CutSuffix(line, "\r\n")
		if !crlf || len(line) > 512 || len(text) < 4 || text[0] < '2' || text[0] > '5' || (text[3] != ' ' && text[3] != '-') ||
			strings.ContainsAny(text, "\r\n\x00") || strings.Contains(text, "0101705000") {
			t.Errorf("reply line %q", line)
		}
	}
}

// FuzzArgs feeds the parameters' parsers. What they accept they must accept again, put together anew.
func FuzzArgs(f *testing.F) {
	for _, s := range []string{"FROM:<a@eksempel.example> SIZE=1 BODY=8BITMIME", "TO:<b@borger.example> NOTIFY=DELAY ORCPT=rfc822;b",
		"FROM:<>", `FROM:<"a> \" b"@eksempel.example>`, "TO:<@x,@y:b@borger.example>", "FROM:<æ@ø.example> SMTPUTF8", "FROM:<a@[IPv6:::1]>"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, arg string, on bool) {
		o := offers{tls: on, requireTLS: true, auth: on, host: "mx.eksempel.example"}
		if m, bad := parseMail(arg, o); bad == nil {
			if m.requireTLS && !on || !m.utf8 && !isASCII(string(m.sender)) {
				t.Errorf("%q: %+v", arg, m)
			}
			if _, bad := parseMail("FROM:<"+string(m.sender)+"> SMTPUTF8", o); bad != nil {
				t.Errorf("%q: %q is not accepted again: %v", arg, m.sender, bad)
			}
		}
		if r, bad := parseRcpt(arg, on, o); bad == nil {
			if r.Address == "" || !on && !isASCII(string(r.Address)+r.ORcpt) || strings.ContainsAny(r.ORcpt+r.Notify, " \r\n=") {
				t.Errorf("%q: %+v", arg, r)
			}
		}
	})
}
