//go:build !race

package inspect

import (
	"bytes"
	"encoding/base64"
	"testing"

	"postvagt/internal/mail"
)

// TestMemory shows that a body of 25 MiB costs no more than about four times its size.
func TestMemory(t *testing.T) {
	const size = 25 << 20
	line := "<p>Vi har modtaget din ans&oslash;gning, sag 2026-12345, og vender tilbage.</p>\r\n"
	for name, raw := range map[string][]byte{
		"html": append([]byte("Content-Type: text/html; charset=iso-8859-1\r\n\r\n"), bytes.Repeat([]byte(line), size/len(line))...),
		"base64": append([]byte("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
			[]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(line), size*3/4/len(line))))...),
		"comment": append([]byte("Content-Type: text/html\r\n\r\n<!-- <b>"), bytes.Repeat([]byte(line), size/len(line))...),
	} {
		m := mail.Parse(raw, mail.Limits{})
		peak := heapPeak(func() { Message(m, now, Options{TextBytes: 32 << 20}) })
		t.Logf("%s: %d MiB at the peak, besides the message, for %d MiB", name, peak>>20, len(raw)>>20)
		if peak > 5*size {
			t.Errorf("%s: %d MiB at the peak, besides the message, for %d MiB", name, peak>>20, len(raw)>>20)
		}
	}
}
