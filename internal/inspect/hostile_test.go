package inspect

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

const (
	number = "010170-5000"
	masked = "010170-••••"
)

func inspect(raw string, o Options) Report {
	return Message(mail.Parse([]byte(raw), mail.Limits{}), now, o)
}

// told reports whether r holds a finding of that kind, and with that in its Why.
func told(r Report, kind detect.Kind, why string) bool {
	for _, f := range r.Findings {
		if f.Kind == kind && strings.Contains(f.Why, why) {
			return true
		}
	}
	return false
}

// nested returns body wrapped in depth attached messages; encoded says in base64, one inside another.
func nested(depth int, body string, encoded bool) string {
	for range depth {
		if encoded {
			body = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(body))
			continue
		}
		body = "Content-Type: message/rfc822\r\n\r\n" + body
	}
	return body
}

// TestHostile runs messages made to break readers: each ends soon, and what was not read is told.
func TestHostile(t *testing.T) {
	parts := func(n int, part string) string {
		return "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n"+part+"\r\n", n) + "--x--\r\n"
	}
	deep := ""
	for i := range 1000 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	var addresses strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&addresses, "010170-%d@a.example, ", 5000+i%5000)
	}
	for _, c := range []struct {
		name, raw string
		kind      detect.Kind
		why       string
	}{
		{"10,000 parts", parts(10_000, "\r\nhej"), detect.Uninspected, string(mail.DefectParts)},
		{"10,000 unread parts", parts(1_900, "Content-Type: application/pdf\r\n\r\nx"), detect.Uninspected, "application/pdf"},
		{"1,000 multiparts deep", deep + "\r\n" + number, detect.Uninspected, string(mail.DefectDepth)},
		{"1,000 messages deep", nested(1000, "\r\n"+number, false), detect.Uninspected, string(mail.DefectDepth)},
		{"20 encoded messages deep", nested(20, "\r\n"+number, true), detect.Uninspected, string(mail.DefectDepth)},
		{"endless header", "Subject: " + strings.Repeat("a", 8<<20) + "\r\n\r\n" + number, detect.Uninspected, string(mail.DefectHeaderSize)},
		{"endless fields", strings.Repeat("X-A: 010170-5000\r\n", 50_000) + "\r\nhej", detect.CPR, ""},
		{"endless addresses", "To: " + strings.Repeat("010170-5000@a.example, ", 20_000) + "\r\n\r\nhej", detect.CPR, "local part"},
		{"endless addresses, coded", "To: =?utf-8?q?=C3=A6?= <a@b.example>, " + addresses.String() + "\r\n\r\nhej", detect.CPR, "local part"},
		{"endless pieces", "Content-Type: text/plain; a=010170-5000" + strings.Repeat(";a*=x", 150_000) + "\r\n\r\nhej", detect.CPR, ""},
		{"endless pieces, counted", "Content-Type: text/plain; a=010170-5000" + strings.Repeat(";a*1=x", 150_000) + "\r\n\r\nhej", detect.CPR, ""},
		{"endless brackets", "To: " + strings.Repeat("<", 500_000) + "010170-5000\r\n\r\nhej", detect.CPR, ""},
		{"endless parameters", "Content-Type: text/plain" + strings.Repeat("; name*0=010170-5000", 20_000) + "\r\n\r\nhej", detect.CPR, ""},
		{"endless encoded words", "Subject: " + strings.Repeat("=?utf-8?q?_010170=2D5000?= ", 30_000) + "\r\n\r\nhej", detect.CPR, ""},
		{"endless tags", "Content-Type: text/html\r\n\r\n" + strings.Repeat("<b style='display:none'>", 100_000) + number, detect.CPR, ""},
		{"endless comments", "Content-Type: text/html\r\n\r\n" + strings.Repeat("<!-- <b> "+number+" -->", 20_000), detect.CPR, ""},
		{"endless attributes", "Content-Type: text/html\r\n\r\n<a " + strings.Repeat("b=c ", 300_000) + ">" + number, detect.CPR, ""},
		{"numbers only", "\r\n" + strings.Repeat(number+" ", 300_000), detect.CPR, ""},
		{"pairs only", "\r\n" + strings.Repeat("01 ", 1_000_000), detect.CPR, ""},
		{"NULs", "Subject: a\x00b\r\n\r\n\x000\x001\x000\x001\x007\x000\x00-\x005\x000\x000\x000", detect.CPR, ""},
		{"bare line ends", "Subject: a\nX: b\rY: c\r\n\n" + number, detect.CPR, ""},
		{"8 bits where 7 were promised", "Content-Transfer-Encoding: 7bit\r\n\r\n\xe6\xf8\xe5 " + number, detect.CPR, ""},
		{"wrong charset", "Content-Type: text/plain; charset=utf-16\r\n\r\n" + number, detect.CPR, ""},
		{"EBCDIC that is not", "Content-Type: text/plain; charset=ibm037\r\n\r\n" + number, detect.CPR, ""},
		{"lying encoding", "Content-Transfer-Encoding: base64\r\n\r\nNummer: " + number + "!", detect.CPR, ""},
		{"lying encoding 2", "Content-Transfer-Encoding: x-uuencode\r\n\r\n" + number, detect.CPR, ""},
		{"text after base64's end", "Content-Transfer-Encoding: base64\r\n\r\naGVqCg==\r\n" + number + "\r\n", detect.CPR, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := mail.Parse([]byte(c.raw), mail.Limits{})
			began := time.Now()
			r := Message(m, now, Options{})
			if took := time.Since(began); took > 3*time.Second && !raceEnabled {
				t.Errorf("took %v, want at most three seconds on a busy machine", took)
			}
			if !told(r, c.kind, c.why) {
				t.Errorf("no finding of kind %s, %q; got %d: %.500v", c.kind, c.why, len(r.Findings), r.Findings)
			}
			if told(r, detect.Uninspected, "reader failed") {
				t.Error("a reader failed")
			}
			if len(r.Findings) > most {
				t.Errorf("%d findings, want at most %d", len(r.Findings), most)
			}
		})
	}
}

func TestTimeRunsOut(t *testing.T) {
	r := inspect("Subject: "+number+"\r\n\r\nhej", Options{Time: time.Nanosecond})
	if !told(r, detect.Uninspected, "time") {
		t.Errorf("got %+v, want a finding that the time ran out", r.Findings)
	}
}

func TestAddress(t *testing.T) {
	for a, want := range map[mail.Address]int{"010170-5000@post.example": 1, "0101705000@post.example": 1, "a@post.example": 0, "": 0, "bruger0101705000@post.example": 0} {
		n := 0
		for _, f := range Address(a, now) {
			if f.Place.Kind != detect.InEnvelope || !f.Address || f.Masked != masked {
				t.Errorf("%s: %+v", a, f)
			}
			if f.Confidence >= 0.5 {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d findings, want %d", detect.Mask(string(a)), n, want)
		}
	}
}

// heapPeak returns how far the heap grows while run runs, sampled each millisecond with the collector close behind. The
// margin of its callers allows for what the collector has not taken yet.
func heapPeak(run func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before, peak := read(), uint64(0)
	done, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, read())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	run()
	close(done)
	<-sampled
	return peak - min(before, peak)
}

func FuzzInspect(f *testing.F) {
	for _, s := range []string{
		"Subject: 010170-5000\r\n\r\nhej",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\na\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>0101</b>70-5000\r\n--x\r\nContent-Type: application/pdf; name*0=a\r\n\r\nx\r\n--x--\r\nb",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogYQ0KDQpi",
		"To: \"a\" <0101705000@b.example>, c@d (e)\r\nFrom: =?utf-8?q?a?=\r\n\r\n",
		"Content-Type: text/calendar\r\n\r\nA:b\r\n c", "Content-Type: application/json\r\n\r\n\"\\u0030\"", "Content-Type: application/pkcs7-mime\r\n\r\nx",
		"Content-Transfer-Encoding: base64\r\n\r\n!", "\x00\r\n\xff", "Content-Disposition: attachment; filename=\"=?utf-8?b?MDEwMQ==?=\"\r\n\r\nPK\x03\x04",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := Message(mail.Parse(raw, mail.Limits{}), now, Options{})
		for _, f := range r.Findings {
			if strings.Contains(f.Why, "reader failed") {
				t.Fatalf("a reader failed: %+v", f)
			}
			if detect.HoldsCPR(f.Place.Name) || detect.HoldsCPR(f.Why) || detect.HoldsCPR(f.Masked) {
				t.Errorf("a finding holds a number: %+v", f)
			}
			if f.Start < 0 || f.End < f.Start || f.Confidence < 0 || f.Confidence > 1 {
				t.Errorf("not a finding: %+v", f)
			}
		}
	})
}
