package repair

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	netmail "net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"postvagt/internal/mail"
)

var seed = flag.Uint64("seed", 0, "seed of the random messages; 0: a new one")

// TestBytes builds random messages whose texts need no recoding, repairs them and takes out again what the repair put
// in: the mark, the lines, a part of its own. What is left must be the very bytes that came.
func TestBytes(t *testing.T) {
	r := random(t)
	for i := range 300 {
		raw := randomMessage(r)
		m := mail.Parse(raw, mail.Limits{})
		findings := findingsOf(m)
		out, _, err := Repair(m, findings, testOptions())
		if err != nil {
			t.Fatalf("message %d: %v\n%s", i, err, raw)
		}
		if bytes.Contains(out, []byte("wrapping")) {
			lawful(t, raw) // a wrapping moves fields: TestSigned looks at its bytes
			continue
		}
		undone := string(out)
		lines := shown(movedLines(raw))
		for _, flowed := range []bool{false, true} {
			undone = strings.ReplaceAll(undone, asText(testOptions(), lines, flowed, "\r\n"), "")
		}
		undone = strings.ReplaceAll(undone, ownHead, "")
		undone = strings.ReplaceAll(undone, asHTML(testOptions(), lines, "\r\n"), "")
		undone = numberedMark.ReplaceAllString(undone, number)
		if undone != string(raw) {
			t.Fatalf("message %d\n%s\nbecame\n%s\nundone\n%s", i, raw, out, undone)
		}
	}
}

var numberedMark = regexp.MustCompile(`\[CPR\]( \d+\b)?`)

// random returns a source whose seed is told and can be given.
func random(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

const (
	number  = "010170-5000"
	ownHead = "--mixed\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\nContent-Disposition: inline\r\n\r\n"
)

// movedLines returns what is to be moved out of a random message.
func movedLines(raw []byte) (lines []line) {
	if s := subjectOf(raw); strings.Contains(s, number) {
		lines = append(lines, line{label: "Subject", text: s})
	}
	count := map[string]int{}
	files := strings.Split(string(raw), "; name=\"")[1:]
	for _, s := range files {
		s, _, _ = strings.Cut(s, "\"")
		now := strings.Replace(s, number, Mark, 1)
		if count[s]++; count[s] > 1 {
			now = strings.Replace(s, number, fmt.Sprint(Mark, " ", count[s]), 1)
		}
		if len(files) == 1 {
			now = ""
		}
		lines = append(lines, line{label: fileLabel, text: s, now: now})
	}
	return lines
}

func subjectOf(raw []byte) string {
	_, s, _ := strings.Cut(string(raw), "\r\nSubject: ")
	s, _, _ = strings.Cut(s, "\r\n")
	return s
}

// randomMessage makes a message with a number in its subject, or in the names of its files, or in both.
func randomMessage(r *rand.Rand) []byte {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	var b strings.Builder
	b.WriteString("Received: from x\r\n\tby y;\r\n  Mon, 05 Jan 2026 09:00:00 +0100\r\n")
	part := randomPart(r, 0)
	if strings.Contains(part, number) && r.IntN(2) == 0 {
		b.WriteString("Subject: Scan\r\n")
	} else {
		b.WriteString("Subject: " + pick("", "Re: ", "SV: VS: ") + pick("Sag ", "", "CPR-nr.: ") + number + pick("", " og mere", ", haster!") + "\r\n")
	}
	b.WriteString(pick("", "X-Odd:no blank\r\n", "X-Odd  :  blanks  \r\n", "X-8bit: k\xE6re\r\n", "no colon here\r\n"))
	b.WriteString("MIME-Version: 1.0\r\n")
	b.WriteString(part)
	return []byte(b.String())
}

// randomPart makes a part: its Content fields, the blank line and its body.
func randomPart(r *rand.Rand, depth int) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	multi := func(kind, boundary string, parts ...string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "Content-Type: multipart/%s; boundary=%s\r\n\r\n%s", kind, boundary, pick("", "preamble\r\n"))
		for _, p := range parts {
			fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p)
		}
		return b.String() + "--" + boundary + "--\r\n" + pick("", "epilogue")
	}
	plain := "Content-Type: text/plain; charset=" + pick("utf-8", "us-ascii", "windows-1252", "utf-8; format=flowed") +
		"\r\nContent-Transfer-Encoding: " + pick("7bit", "8bit") + "\r\n\r\n" + pick("", "Hej\r\n", "Hej\r\n\r\n.\r\nFrom her\r\n-- \r\nBo")
	html := "Content-Type: text/html; charset=" + pick("utf-8", "iso-8859-1") + "\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		pick("<p>Hej", "<!-- <body> --><html>\r\n<BODY\r\n class='a>b'>\r\nHej</BODY>", "<html><head></head>\r\n<p>Hej", "<style>p{}</style>\r\nHej\r\n", "Hej<div hidden><html><body>\r\nGammelt</body></div>")
	file := "Content-Type: application/pdf" + pick("", "", "; name=\"010170-5000.pdf\"", "; name=\"Scan af 010170-5000.pdf\"") + "\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKJcOkw7zDtsOf\r\n"
	if depth > 2 {
		return pick(plain, html)
	}
	switch r.IntN(6) {
	case 0:
		return plain
	case 1:
		return html
	case 2:
		return multi("alternative", fmt.Sprint("alt", depth), plain, html)
	case 3:
		return multi("related", fmt.Sprint("rel", depth), pick(html, randomPart(r, depth+1)), file)
	case 4:
		return multi("mixed", fmt.Sprint("mixed", strings.Repeat("x", depth)), randomPart(r, depth+1), file)
	}
	return multi("mixed", fmt.Sprint("mixed", strings.Repeat("x", depth)), file, plain)
}

// TestSigned reads a wrapped signed message with the standard library: the signed part must have kept every byte.
func TestSigned(t *testing.T) {
	const signed = "Content-Type: text/plain;\r\n\tcharset=us-ascii\r\nX-Odd  : y \r\n\r\nHej \r\n\r\n. \r\n"
	const entity = "Preamble\r\n--sig\r\n" + signed + "\r\n--sig\r\nContent-Type: application/pgp-signature\r\n\r\nabc\r\n--sig--\r\nEpilogue"
	raw := "Subject: Sag " + number + "\r\nContent-Type: multipart/signed; boundary=sig;\r\n protocol=\"application/pgp-signature\"\r\nMIME-Version: 1.0\r\n\r\n" + entity
	m := mail.Parse([]byte(raw), mail.Limits{})
	out, _, err := Repair(m, findingsOf(m), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	msg, err := netmail.ReadMessage(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if got := msg.Header.Get("Content-Type"); got != `multipart/mixed; boundary="wrapping"` {
		t.Fatalf("Content-Type %s", got)
	}
	parts := multipart.NewReader(msg.Body, "wrapping")
	first, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(first); !strings.HasPrefix(string(b), "Emne: Sag "+number+"\r\n") {
		t.Errorf("first part %q", b)
	}
	second, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	if got := second.Header.Get("Content-Type"); !strings.HasPrefix(got, "multipart/signed") {
		t.Errorf("second part %s", got)
	}
	if b, _ := io.ReadAll(second); string(b) != entity {
		t.Errorf("got  %q\nwant %q", b, entity)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("after the second part: %v", err)
	}
}
