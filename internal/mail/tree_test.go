package mail

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// writer makes messages of which it knows the outline.
type writer struct {
	t       *rapid.T
	end     string // line end
	parts   int
	outline strings.Builder
}

// TestTree: a message written by the rules is read as it was written, whatever its shape and line ends.
func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{t: t, end: rapid.SampledFrom([]string{"\r\n", "\n"}).Draw(t, "line end")}
		raw := w.entity("", "", 0)
		m := Parse([]byte(raw), Limits{})
		if got := outline(m); got != w.outline.String() {
			t.Fatalf("%q is read as\n%swant\n%s", raw, got, w.outline.String())
		}
		for _, d := range m.Defects {
			if d.What != DefectBareLineEnd || w.end == "\r\n" {
				t.Fatalf("%q: %v", raw, d)
			}
		}
	})
}

// entity returns the header and body of the part at path; prefix is what its parts' paths begin with.
func (w *writer) entity(path, prefix string, depth int) string {
	w.parts++
	kind := "leaf"
	if depth < 4 && w.parts < 30 {
		kind = rapid.SampledFrom([]string{"leaf", "multipart", "message"}).Draw(w.t, "kind")
	}
	head := rapid.SampledFrom([]string{"", "X: y" + w.end, "Subject: a" + w.end + " b:" + w.end}).Draw(w.t, "head")
	switch kind {
	case "multipart":
		boundary := fmt.Sprintf("=_%d=", w.parts)
		fmt.Fprintf(&w.outline, "%s multipart/mixed\n", path)
		s := head + "Content-Type: multipart/mixed;" + w.end + "\tboundary=\"" + boundary + "\"" + w.end + w.end + w.text("preamble")
		for i := range rapid.IntRange(1, 3).Draw(w.t, "parts") {
			sub := strings.TrimPrefix(fmt.Sprintf("%s.%d", prefix, i+1), ".")
			s += w.end + "--" + boundary + w.end + w.entity(sub, sub, depth+1)
		}
		return s + w.end + "--" + boundary + "--" + w.end + w.text("epilogue")
	case "message":
		fmt.Fprintf(&w.outline, "%s message/rfc822\n", path)
		inner := strings.TrimPrefix(path+".0", ".")
		return head + "Content-Type: message/rfc822" + w.end + w.end + w.entity(inner, path, depth+1)
	}
	body := w.text("body")
	fmt.Fprintf(&w.outline, "%s text/plain %q\n", path, body)
	return head + w.end + body
}

func (w *writer) text(label string) string {
	lines := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "-", "--", "---", "a: b", " c", "--x"}), 0, 4).Draw(w.t, label)
	return strings.Join(lines, w.end)
}
