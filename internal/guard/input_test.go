package guard

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// outward and inward are the two ways a message takes in these tests.
var ways = []struct{ ip, from, to string }{
	{ours, "anna@eksempel.example", "ven@borger.example"},
	{theirs, "fremmed@borger.example", "bo@eksempel.example"},
}

// offer hands a message over in both directions and checks that it gets a clear answer, and, when taken, leaves as it came
// or waits visibly.
func offer(t *testing.T, p *plain, name string, data []byte) {
	t.Helper()
	for _, w := range ways {
		p.hop.got = nil
		r := p.take(envelope(w.ip, w.from, w.to), data)
		if r.Code/100 == 5 && r.Text != "" {
			continue
		}
		if r.Code != 250 {
			t.Errorf("%s from %s: answered %v (%v)", name, w.from, r, r.Err)
			continue
		}
		id := ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as "))
		story := p.story(id)
		d := story.Deliveries[0]
		switch {
		case d.State == ledger.Held:
			if d.Owner == "" || len(p.hop.got) > 0 && idOf(p.hop.got[0]) == id {
				t.Errorf("%s from %s: held by %q, and %d left", name, w.from, d.Owner, len(p.hop.got))
			}
		case d.State != ledger.Delivered:
			t.Errorf("%s from %s stands at %s:\n%s", name, w.from, d.State, tale(story))
		case d.Body == 0 && !endsWith(p.hop.got[0].raw, data):
			t.Errorf("%s from %s: arrived as other bytes than it came", name, w.from)
		case d.Body == 1 && len(story.Message.Repairs) == 0:
			t.Errorf("%s from %s: changed, and the ledger does not say what", name, w.from)
		}
	}
}

// endsWith reports whether raw is our two fields and then data.
func endsWith(raw string, data []byte) bool {
	head, ok := strings.CutSuffix(raw, string(data))
	return ok && strings.HasPrefix(head, traceField+": ") && strings.Count(head, "\r\nReceived: ") == 1
}

// lines makes every line end in CRLF, as the SMTP server guarantees.
func lines(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	if !bytes.HasSuffix(data, []byte("\r\n")) {
		data = append(data, "\r\n"...)
	}
	return data
}

// TestCorpus sends the corpora of mail that broke other programs through the whole arrow; without them, the files here.
func TestCorpus(t *testing.T) {
	p := newPlain(t, "")
	root := filepath.Join(cmp.Or(os.Getenv("POSTVAGT_CORPORA"), "testdata"), "mime")
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".jsonl" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		name, _ := filepath.Rel(root, path)
		offer(t, p, name, lines(data))
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files: %v", n, err)
	}
	t.Logf("%d files", n)
}

// TestHostileInput: what is made to hurt gets its answer within two seconds and in bounded memory.
func TestHostileInput(t *testing.T) {
	p := newPlain(t, "")
	head := "From: a@eksempel.example\r\nSubject: Hej\r\nMIME-Version: 1.0\r\n"
	for _, c := range []struct {
		name    string
		message string
	}{
		{"10,000 parts", head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: text/plain\r\n\r\nHej\r\n", 10_000) + "--b--\r\n"},
		{"10,000 attachments", head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", 10_000) + "--b--\r\n"},
		{"1,000 deep", deep(1000)},
		{"1,000 messages in messages", strings.Repeat("Subject: Hej\r\nContent-Type: message/rfc822\r\n\r\n", 1000) + "Subject: Hej\r\n\r\nHej\r\n"},
		{"20,000 fields", head + strings.Repeat("X-Lang: 1\r\n", 20_000) + "\r\nHej\r\n"},
		{"a field of 1 MiB", head + "X-Lang: " + strings.Repeat("a b", 350_000) + "\r\n\r\nHej\r\n"},
		{"a field folded 50,000 times", head + "X-Lang: a" + strings.Repeat("\r\n a", 50_000) + "\r\n\r\nHej\r\n"},
		{"a header that never ends", strings.Repeat("X-Lang: 1\r\n", 20_000)},
		{"20,000 encoded words", "Subject: " + strings.Repeat("=?utf-8?q?=C3=A6?=\r\n ", 20_000) + "\r\n\r\nHej\r\n"},
		{"NULs", head + "X-\x00: \x00\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("\x00Hej\x00\r\n", 1000)},
		{"no such charset", head + "Content-Type: text/plain; charset=klingon\r\n\r\nHej\r\n"},
		{"the wrong charset", head + "Content-Type: text/plain; charset=utf-16\r\n\r\nHej med dig\r\n"},
		{"lying base64", head + "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!! det er det ikke !!!\r\n"},
		{"lying quoted-printable", head + "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ=1=\r\n=\r\n==\r\n"},
		{"an encoding of its own", head + "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-rot13\r\n\r\nUrw\r\n"},
		{"8-bit where 7 was promised", head + "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\nBl\xe5b\xe6r \xc3\xa6\r\n"},
		{"8-bit in the header", "Subject: Bl\xe5b\xe6r\r\n\r\nHej\r\n"},
		{"nothing", "\r\n"},
		{"no header", "Hej\r\n"},
		{"a boundary within itself", head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHej\r\n--b--\r\n"},
		{"1 MiB of digits", head + "\r\n" + strings.Repeat(strings.Repeat("0101705000 ", 7)+"\r\n", 13_000)},
		{"a line of 1 MiB", head + "\r\n" + strings.Repeat("0", 1<<20) + "\r\n"},
		{"HTML of 100,000 open tags", head + "Content-Type: text/html\r\n\r\n" + strings.Repeat("<div><b>\r\n", 50_000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			started := cpu()
			offer(t, p, c.name, []byte(c.message))
			took := (cpu() - started) / time.Duration(len(ways)) / raceFactor
			runtime.ReadMemStats(&after)
			if took > 2*time.Second {
				t.Errorf("took %s of the processor", took)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 2*300<<20 {
				t.Errorf("used %d MiB for %d KiB, twice", got>>20, len(c.message)>>10)
			}
			t.Logf("%d KiB: %s, %d MiB passed through memory", len(c.message)>>10, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>21)
		})
	}
}

// deep is a message of n multiparts, each in the one before.
func deep(n int) string {
	var b strings.Builder
	b.WriteString("Subject: Hej\r\nMIME-Version: 1.0\r\n")
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("Content-Type: text/plain\r\n\r\nHej\r\n")
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.String()
}

// cpu is the processor time that this process has used; other programs on the machine do not count.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestDamagedInput cuts and changes messages at random places.
func TestDamagedInput(t *testing.T) {
	seed := randomSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	p := newPlain(t, "")
	whole := []string{string(benchText("Vedr. 010170-5000", 2000)), string(benchAttachment(2000)), deep(5),
		"Subject: =?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte("Sag 010170-5000")) + "?=\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>Hej</p>\r\n--x--\r\n"}
	for i := range 150 {
		data := []byte(whole[r.IntN(len(whole))])
		for range 1 + r.IntN(5) {
			at := r.IntN(len(data))
			switch r.IntN(3) {
			case 0:
				data[at] = byte(r.IntN(256))
			case 1:
				data = append(data[:at:at], data[min(len(data), at+r.IntN(40)):]...)
			case 2:
				data = append(data[:at:at], append([]byte("=\"';\r\n--x"[:r.IntN(9)]), data[at:]...)...)
			}
			if len(data) == 0 {
				data = []byte("x")
			}
		}
		offer(t, p, fmt.Sprintf("damaged %d (seed %d)", i, seed), lines(data))
	}
}
