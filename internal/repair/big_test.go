package repair

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postvagt/internal/mail"
)

// TestHostile: what is made to be slow is repaired or refused in time. The bound is wide, for slow machines; without
// the care taken in clean.go some of these took minutes.
func TestHostile(t *testing.T) {
	const n = 1 << 20 / 32
	const quoted = "Subject: 010170-5000\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	distinct := func(field string) string {
		var b strings.Builder
		for i := range n / 2 {
			fmt.Fprintf(&b, field, i)
		}
		return b.String()
	}
	for name, head := range map[string]string{
		"one long subject":  "Subject: " + strings.Repeat("010170-5000\r\n ", n),
		"subjects":          strings.Repeat("Subject: 010170-5000\r\n", n/2),
		"fields":            strings.Repeat("X-Sag: 010170-5000\r\n", n/2),
		"topics":            strings.Repeat("Subject: 010170-5000\r\nThread-Topic: 0\r\n", n/4),
		"names":             "To: " + strings.Repeat("\"010170-5000\" <a@b>,\r\n ", n/2),
		"comments":          "To: " + strings.Repeat("(010170-5000", n/2),
		"quotes":            "To: 010170-5000 " + strings.Repeat("\"\\", n),
		"parameters":        "Content-Type: text/plain" + strings.Repeat("; name=0101705000", n/2),
		"other parameters":  "Content-Type: text/plain; name=0101705000" + strings.Repeat("; a=b", n),
		"pieces":            "Content-Type: text/plain; name*0=0101705000" + strings.Repeat("; name*1=b", n/2),
		"encoded words":     "Subject: 010170-5000" + strings.Repeat(" =?utf-8?Q?a?=", n),
		"unclosed comments": "To: 010170-5000 " + strings.Repeat("(", n),
		"unclosed brackets": "To: 010170-5000 " + strings.Repeat("<", 1<<20-100),
		"many topics":       distinct("Subject: %d 010170-5000\r\nThread-Topic: %[1]d 010170-5000\r\n"),
		"many subjects":     distinct("Comments: %d 010170-5000\r\n"),
		"blanks":            quoted + "<html><style>" + strings.Repeat(" ", 8<<20) + "x</style><body>hej</body></html>",
		"blanks in lines":   quoted + "<html><style>" + strings.Repeat(strings.Repeat(" ", 900)+"x=\r\n", 8<<10) + "</style><body>hej</body></html>",
		"equals and blanks": quoted + "<html><style>" + strings.Repeat("="+strings.Repeat(" ", 1<<10), 1<<10) + "</style><body>hej",
		"tags":              quoted + strings.Repeat("<html></head><!-- <body> -->", n),
		"open tags":         quoted + strings.Repeat("<body", n),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(head, "\r\n\r\n") {
				head = strings.TrimRight(head, "\r\n ") + "\r\n\r\nHej\r\n"
			}
			m := mail.Parse([]byte(head), mail.Limits{HeaderBytes: 4 << 20})
			findings := findingsOf(m)
			start := time.Now()
			_, _, err := Repair(m, findings, testOptions())
			took := time.Since(start)
			t.Logf("%s: %v, %d findings, %d bytes: %v", name, took, len(findings), len(head), err)
			if took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
