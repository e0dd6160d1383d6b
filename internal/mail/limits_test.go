package mail

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func defective(m *Message, what DefectKind) bool {
	return slices.ContainsFunc(m.Defects, func(d Defect) bool { return d.What == what })
}

// TestFieldsAreBounded shows that many small fields and parameters are a defect, and cost no multiple of the message.
func TestFieldsAreBounded(t *testing.T) {
	part := "--x\r\nContent-Type: text/plain" + strings.Repeat(";a=b", 64_000) + "\r\n\r\nhej\r\n"
	for name, raw := range map[string]string{
		"fields":               strings.Repeat("a:\r\n", 250_000) + "\r\nhej",
		"fields of many parts": "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n"+strings.Repeat("a:\r\n", 1000)+"\r\nhej\r\n", 200) + "--x--\r\n",
		"parameters":           "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat(part, 12) + "--x--\r\n",
		"of a disposition":     "Content-Disposition: attachment" + strings.Repeat("; a=b", 50_000) + "\r\n\r\nhej",
		"pieces":               "Content-Type: text/plain" + strings.Repeat("; name*0=b", 50_000) + "\r\n\r\nhej",
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := Parse([]byte(raw), Limits{})
		runtime.GC()
		runtime.ReadMemStats(&after)
		if !defective(m, DefectHeaderSize) {
			t.Errorf("%s: got %v, want %q", name, m.Defects, DefectHeaderSize)
		}
		if kept := int(after.HeapAlloc) - int(before.HeapAlloc); kept > 4*len(raw)+8<<20 {
			t.Errorf("%s: %d KiB stay for a message of %d KiB", name, kept>>10, len(raw)>>10)
		}
		runtime.KeepAlive(m)
	}
}

func TestHonestHeadersFit(t *testing.T) {
	raw := "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"+
		"Content-Transfer-Encoding: base64\r\nContent-ID: <a@b.example>\r\n\r\naGVq\r\n", 1_900) + "--x--\r\n"
	if m := Parse([]byte(raw), Limits{}); len(m.Defects) > 0 {
		t.Errorf("got %v, want no defects", m.Defects)
	}
}
