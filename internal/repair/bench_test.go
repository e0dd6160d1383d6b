package repair

import (
	"strings"
	"testing"

	"postvagt/internal/mail"
)

// BenchmarkRepair repairs a letter of 100 KiB in quoted-printable with its number in the subject; most of the time is
// the proof's reading of it.
func BenchmarkRepair(b *testing.B) {
	line := "Vi skriver til dig om din sag, k=C3=A6re borger.\r\n"
	raw := []byte("Subject: Sag 010170-5000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(line, 100<<10/len(line)))
	m := mail.Parse(raw, mail.Limits{})
	findings := findingsOf(m)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Repair(m, findings, testOptions()); err != nil {
			b.Fatal(err)
		}
	}
}
