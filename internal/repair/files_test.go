package repair

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postvagt/internal/mail"
)

// TestManyFiles: however many files there are, no two of them get one name, and each line tells which is its own.
func TestManyFiles(t *testing.T) {
	var b strings.Builder
	b.WriteString("Subject: Scan\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHej\r\n")
	const n = 1500
	names := make([]string, n)
	for i := range n {
		names[i] = []string{"010170-5000.pdf", "[CPR] 7.pdf", "0101705000.PDF", fmt.Sprintf("%d 010170-5000.pdf", i)}[i%4]
		if i%4 == 1 && i > 1 {
			names[i] = fmt.Sprintf("Bilag %d.pdf", i)
		}
		fmt.Fprintf(&b, "--b\r\nContent-Type: image/png; name=\"%s\"\r\n\r\nx\r\n", names[i])
	}
	b.WriteString("--b--\r\n")
	m := mail.Parse([]byte(b.String()), mail.Limits{})
	start := time.Now()
	out, _, err := Repair(m, findingsOf(m), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	after := mail.Parse(out, mail.Limits{})
	text, _ := after.Text(after.Root.Parts[0], textLimit)
	seen := map[string]bool{}
	for i, p := range after.Root.Parts[1:] {
		low := strings.ToLower(p.FileName)
		if seen[low] {
			t.Fatalf("a second %s", p.FileName)
		}
		seen[low] = true
		if !strings.Contains(names[i], "5000") {
			if p.FileName != names[i] {
				t.Errorf("%s became %s", names[i], p.FileName)
			}
			continue
		}
		if l := "Filnavn (" + p.FileName + "): " + names[i] + "\r\n"; !strings.Contains(text, l) {
			t.Errorf("no line %s", l)
		}
	}
}
