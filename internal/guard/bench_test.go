package guard

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/policy"
)

// BenchmarkInspectDecide measures the way from the end of data to the verdicts for mail of 100 KiB, like bench/make-message.sh
// makes: a text full of near misses, the same with a number in the subject to repair, and a base64 attachment.
func BenchmarkInspectDecide(b *testing.B) {
	const size = 100 << 10
	for _, c := range []struct {
		name    string
		message []byte
		action  policy.Action
	}{
		{"text", benchText("Svar på henvendelse", size), policy.Send},
		{"repair", benchText("Vedr. borger 010170-5000", size), policy.Repair},
		{"attachment", benchAttachment(size), policy.Send},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := intake{newPlain(b, "").Guard, "smtp"}
			e := envelope(ours, "post@eksempel.example", "modtager@styrelse.example")
			e.EightBit = true
			b.SetBytes(int64(len(c.message)))
			b.ReportAllocs()
			var took []time.Duration
			for b.Loop() {
				started := time.Now()
				w, reply := in.read(e, c.message)
				if reply != nil {
					b.Fatal(reply)
				}
				if err := in.decide(b.Context(), w); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(started))
				if w.verdicts[0].Action != c.action {
					b.Fatalf("verdict %+v", w.verdicts[0])
				}
			}
			slices.Sort(took)
			b.ReportMetric(millis(took[len(took)/2]), "p50-ms")
			b.ReportMetric(millis(took[len(took)*99/100]), "p99-ms")
		})
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

const benchHead = "From: Sagsbehandler <post@eksempel.example>\r\nTo: Modtager <modtager@styrelse.example>\r\nSubject: %s\r\n" +
	"Date: Mon, 04 Mar 2024 09:15:00 +0100\r\nMessage-ID: <bench@eksempel.example>\r\nMIME-Version: 1.0\r\n"

// benchText is a letter with dates, case numbers, telephone numbers and amounts: many digits, near misses, no number.
func benchText(subject string, size int) []byte {
	r := rand.New(rand.NewPCG(20240229, 1))
	words := strings.Fields("borgeren kommunen afgørelsen brevet vedlagt venligst sagen har modtaget oplysninger om ansøgning til behandling efter loven frist uger kontakt møde rådhuset børn skole bolig tilskud")
	var b strings.Builder
	fmt.Fprintf(&b, benchHead+"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", subject)
	for b.Len() < size {
		line := ""
		for len(line) < 58 {
			switch r.IntN(14) {
			case 0:
				line += fmt.Sprintf("sag %d-%06d ", 2010+r.IntN(15), r.IntN(1_000_000))
			case 1:
				line += fmt.Sprintf("tlf. %d %02d %02d %02d ", 20+r.IntN(70), r.IntN(100), r.IntN(100), r.IntN(100))
			case 2:
				line += fmt.Sprintf("den %d.%d.%d ", 1+r.IntN(28), 1+r.IntN(12), 1990+r.IntN(35))
			case 3:
				line += fmt.Sprintf("kr. %d.%03d,00 ", 1+r.IntN(99), r.IntN(1000))
			default:
				line += words[r.IntN(len(words))] + " "
			}
		}
		b.WriteString(line + "\r\n")
	}
	return []byte(b.String())
}

// benchAttachment is a short text and one attachment that nobody can read into.
func benchAttachment(size int) []byte {
	r := rand.New(rand.NewPCG(20240229, 2))
	raw := make([]byte, size*3/4)
	for i := range raw {
		raw[i] = byte(r.IntN(256))
	}
	var b strings.Builder
	fmt.Fprintf(&b, benchHead+"Content-Type: multipart/mixed; boundary=\"=_del\"\r\n\r\n--=_del\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSe bilag.\r\n"+
		"--=_del\r\nContent-Type: application/octet-stream; name=\"bilag.bin\"\r\nContent-Transfer-Encoding: base64\r\n"+
		"Content-Disposition: attachment; filename=\"bilag.bin\"\r\n\r\n", "Svar")
	for coded := base64.StdEncoding.EncodeToString(raw); coded != ""; {
		n := min(76, len(coded))
		b.WriteString(coded[:n] + "\r\n")
		coded = coded[n:]
	}
	b.WriteString("--=_del--\r\n")
	return []byte(b.String())
}
