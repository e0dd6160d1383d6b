package mail

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// checkTree fails t where the ranges of m do not hold what Part promises.
func checkTree(t *testing.T, m *Message, lim Limits) {
	t.Helper()
	paths := map[string]bool{}
	parts := 0
	var check func(p *Part, within Range, depth int)
	check = func(p *Part, within Range, depth int) {
		parts++
		if paths[p.Path] {
			t.Fatalf("path %q stands twice", p.Path)
		}
		paths[p.Path] = true
		if depth > lim.Depth {
			t.Fatalf("part %q is deeper than %d", p.Path, lim.Depth)
		}
		if !(within.Start <= p.Head.Start && p.Head.Start <= p.Head.End && p.Head.End <= p.Body.Start &&
			p.Body.Start <= p.Body.End && p.Body.End <= within.End) {
			t.Fatalf("part %q: head %v, body %v do not lie in order in %v", p.Path, p.Head, p.Body, within)
		}
		at := p.Head.Start
		for _, f := range p.Fields {
			if f.Span.Start != at || f.Value.Start < f.Span.Start || f.Value.End < f.Value.Start || f.Span.End < f.Value.End ||
				f.Span.End > p.Head.End || f.Span.Start == f.Span.End {
				t.Fatalf("part %q: field %q at %v, value %v in header %v", p.Path, f.Name, f.Span, f.Value, p.Head)
			}
			at = f.Span.End
		}
		at = p.Body.Start
		if isMultipart(p.MediaType) {
			if len(p.Parts) == 0 {
				t.Fatalf("part %q is %s without parts", p.Path, p.MediaType)
			}
			if p.Preamble.Start != at || p.Preamble.End < at || p.Epilogue.Start > p.Epilogue.End || p.Epilogue.End != p.Body.End {
				t.Fatalf("part %q: preamble %v, epilogue %v of body %v", p.Path, p.Preamble, p.Epilogue, p.Body)
			}
			at = p.Preamble.End
		}
		for _, c := range p.Parts {
			if c.Parent != p {
				t.Fatalf("part %q does not know its parent", c.Path)
			}
			check(c, Range{at, p.Body.End}, depth+1)
			at = c.Body.End
		}
		if isMultipart(p.MediaType) && p.Epilogue.Start < at {
			t.Fatalf("part %q: epilogue %v begins inside the last part, which ends at %d", p.Path, p.Epilogue, at)
		}
	}
	check(m.Root, Range{0, len(m.Raw)}, 0)
	if m.Root.Head.Start != 0 || m.Root.Body.End != len(m.Raw) {
		t.Fatalf("root covers %v and %v of %d bytes", m.Root.Head, m.Root.Body, len(m.Raw))
	}
	if max := lim.Parts + lim.Depth; parts > max { // at the limit each open multipart gets one leaf for what is left
		t.Fatalf("%d parts where %d are allowed", parts, lim.Parts)
	}
}

var defaults = Limits{Depth: 50, Parts: 2000, HeaderBytes: 1 << 20}

// readAll calls everything that reads from m.
func readAll(m *Message) {
	m.Walk(func(p *Part) {
		m.Content(p, 1<<20)
		m.Text(p, 1<<20)
		m.FileNames(p)
		for _, f := range p.Fields {
			m.Decoded(f)
			m.Unfolded(f)
			m.Params(f)
			m.Mailboxes(f)
		}
	})
}

func crlfs(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// outline writes one line a part: path, type, body.
func outline(m *Message) string {
	var b strings.Builder
	m.Walk(func(p *Part) {
		if len(p.Parts) > 0 {
			fmt.Fprintf(&b, "%s %s\n", p.Path, p.MediaType)
			return
		}
		fmt.Fprintf(&b, "%s %s %q\n", p.Path, p.MediaType, m.Bytes(p.Body))
	})
	return b.String()
}

func defectsOf(m *Message) []DefectKind {
	var kinds []DefectKind
	for _, d := range m.Defects {
		kinds = append(kinds, d.What)
	}
	return kinds
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, raw string
		want      string
		defects   []DefectKind
	}{
		{"empty", "", " text/plain \"\"\n", nil},
		{"no body", "Subject: x\n", " text/plain \"\"\n", nil},
		{"only body", "\nx\n", " text/plain \"x\\r\\n\"\n", nil},
		{"not mail", "hello\nworld", " text/plain \"hello\\r\\nworld\"\n", []DefectKind{DefectHeaderLine}},
		{"line without colon", "A: b\nhello\nSubject: x\n\nbody", " text/plain \"body\"\n", []DefectKind{DefectHeaderLine}},
		{"mixed", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b\nContent-Type: TEXT/HTML\n\ntwo\n\n--b--\nepi\n",
			" multipart/mixed\n1 text/plain \"one\"\n2 text/html \"two\\r\\n\"\n", nil},
		{"empty parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\n\n--b--",
			" multipart/mixed\n1 text/plain \"\"\n2 text/plain \"\"\n3 text/plain \"\"\n", nil},
		{"boundary in quotes with blanks", "Content-Type: multipart/mixed; boundary=\"a b\"\n\n--a b \t\n\none\n--a b--\t\n",
			" multipart/mixed\n1 text/plain \"one\"\n", nil},
		{"prefix of the inner boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=b2\n\n--b2\n\none\n--b2--\n--b\n\ntwo\n--b--\n",
			" multipart/mixed\n1 multipart/alternative\n1.1 text/plain \"one\"\n2 text/plain \"two\"\n", nil},
		{"same boundary inside", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n",
			" multipart/mixed\n1 multipart/alternative\n1.1 text/plain \"one\"\n2 text/plain \"two\"\n", nil},
		{"unclosed inside", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\none\n--b\n\ntwo\n--b--\n",
			" multipart/mixed\n1 multipart/alternative\n1.1 text/plain \"one\"\n2 text/plain \"two\"\n", []DefectKind{DefectUnclosed}},
		{"header cut off by the boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\nX: y\n--b--\n",
			" multipart/mixed\n1 multipart/alternative\n1.1 text/plain \"\"\n", []DefectKind{DefectUnclosed}},
		{"text where a header should be", "Content-Type: multipart/mixed; boundary=b\n\n--b\nhello there\nyou\n--b--\n",
			" multipart/mixed\n1 text/plain \"hello there\\r\\nyou\"\n", []DefectKind{DefectHeaderLine}},
		{"no boundary", "Content-Type: multipart/mixed\n\nhello\n", " text/plain \"hello\\r\\n\"\n", []DefectKind{DefectBoundary}},
		{"no boundary, but parts", "Content-Type: multipart/mixed\n\n--x\nContent-Type: text/html\n\none\n--x--\n",
			" multipart/mixed\n1 text/html \"one\"\n", []DefectKind{DefectBoundary}},
		{"two boundaries", "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\n\none\n--b\n\ntwo\n--b--\n",
			" multipart/mixed\n1 text/plain \"one\"\n2 text/plain \"two\"\n", []DefectKind{DefectBoundary}},
		{"boundary after the end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n",
			" multipart/mixed\n1 text/plain \"one\"\n", []DefectKind{DefectNearBoundary}},
		{"nearly a boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bb\n--b--\n",
			" multipart/mixed\n1 text/plain \"one\\r\\n--bb\"\n", []DefectKind{DefectNearBoundary}},
		{"message", "Content-Type: message/rfc822\n\nSubject: in\n\nbody", " message/rfc822\n0 text/plain \"body\"\n", nil},
		{"message of parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\none\n--c--\n--b--",
			" multipart/mixed\n1 message/rfc822\n1.0 multipart/mixed\n1.1 text/plain \"one\"\n", nil},
		{"message in base64", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQTogYg==", " message/rfc822 \"QTogYg==\"\n", nil},
		{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--",
			" multipart/digest\n1 message/rfc822\n1.0 text/plain \"one\"\n2 text/plain \"two\"\n", nil},
		{"unknown encoding", "Content-Transfer-Encoding: base9000\n\nx", " text/plain \"x\"\n", []DefectKind{DefectEncoding}},
		{"unusable type", "Content-Type: nonsense\n\nx", " text/plain \"x\"\n", nil},
		{"twice", "Subject: a\nSubject: b\n\nx", " text/plain \"x\"\n", []DefectKind{DefectDuplicate}},
		{"two encodings", "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 8bit \n\nx", " text/plain \"x\"\n", []DefectKind{DefectDuplicate}},
		{"NUL", "Subject: a\x00\n\nx", " text/plain \"x\"\n", []DefectKind{DefectNUL}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := Parse(crlfs(tt.raw), Limits{})
			checkTree(t, m, defaults)
			if got := outline(m); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			if got := defectsOf(m); !slices.Equal(got, tt.defects) {
				t.Errorf("defects %q, want %q", got, tt.defects)
			}
		})
	}
}

// TestLineEnds: the same message with any line end has the same parts, and all but CRLF are reported.
func TestLineEnds(t *testing.T) {
	const raw = "Subject: a\n folded\nContent-Type: multipart/mixed;\n\tboundary=b\n\npre\n--b\n\none\n--b\nX: y\n\ntwo\n--b--\nepi"
	want := outline(Parse([]byte(strings.ReplaceAll(raw, "\n", "\r\n")), Limits{}))
	for _, end := range []string{"\r\n", "\n", "\r"} {
		m := Parse([]byte(strings.ReplaceAll(raw, "\n", end)), Limits{})
		checkTree(t, m, defaults)
		if got := outline(m); got != want {
			t.Errorf("%q: got\n%swant\n%s", end, got, want)
		}
		if odd := slices.Contains(defectsOf(m), DefectBareLineEnd); odd != (end != "\r\n") {
			t.Errorf("%q: reported as bare: %v", end, odd)
		}
		if f, _ := m.Root.Get("subject"); m.Unfolded(f) != "a folded" {
			t.Errorf("%q: subject %q", end, m.Unfolded(f))
		}
	}
	// CRCRLF is one line end, or it would end the header after its first field.
	m := Parse([]byte("Subject: a\r\r\nX: y\r\r\n\r\nbody\r\n"), Limits{})
	if got := string(m.Bytes(m.Root.Body)); len(m.Root.Fields) != 2 || got != "body\r\n" {
		t.Errorf("CRCRLF: %d fields, body %q", len(m.Root.Fields), got)
	}
}

// TestConcurrent: a Message may be read by many at once (the race detector looks on).
func TestConcurrent(t *testing.T) {
	m := Parse(typical(4096), Limits{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { readAll(m) })
	}
	wg.Wait()
}

func TestPreambleAndEpilogue(t *testing.T) {
	m := Parse(crlfs("Content-Type: multipart/mixed; boundary=b\n\npre\namble\n--b\n\none\n--b--\nepi\nlogue\n"), Limits{})
	if got := string(m.Bytes(m.Root.Preamble)); got != "pre\r\namble" {
		t.Errorf("preamble %q", got)
	}
	if got := string(m.Bytes(m.Root.Epilogue)); got != "epi\r\nlogue\r\n" {
		t.Errorf("epilogue %q", got)
	}
}

func TestLimits(t *testing.T) {
	t.Run("depth", func(t *testing.T) {
		lim := Limits{Depth: 3, Parts: 100, HeaderBytes: 1000}
		for _, raw := range []string{nestedMultiparts(10), nestedMessages(10)} {
			m := Parse([]byte(raw), lim)
			checkTree(t, m, lim)
			if got := defectsOf(m); !slices.Contains(got, DefectDepth) {
				t.Errorf("defects %q", got)
			}
		}
	})
	t.Run("parts", func(t *testing.T) {
		lim := Limits{Depth: 50, Parts: 10, HeaderBytes: 1000}
		m := Parse([]byte(manyParts(20)), lim)
		checkTree(t, m, lim)
		if got := defectsOf(m); !slices.Equal(got, []DefectKind{DefectParts}) {
			t.Errorf("defects %q", got)
		}
		last := m.Root.Parts[len(m.Root.Parts)-1]
		if last.MediaType != "application/octet-stream" || !bytes.Contains(m.Bytes(last.Body), []byte("part 19")) {
			t.Errorf("what is left is %s %q", last.MediaType, m.Bytes(last.Body))
		}
	})
	t.Run("header", func(t *testing.T) {
		lim := Limits{Depth: 50, Parts: 10, HeaderBytes: 100}
		m := Parse(crlfs("Subject: a\nX: "+strings.Repeat("x\n ", 100)+"\nTo: b\n\nbody"), lim)
		checkTree(t, m, lim)
		if got := defectsOf(m); !slices.Equal(got, []DefectKind{DefectHeaderSize}) {
			t.Errorf("defects %q", got)
		}
		if len(m.Root.Fields) != 1 || string(m.Bytes(m.Root.Body)) != "body" {
			t.Errorf("fields %v, body %q", m.Root.Fields, m.Bytes(m.Root.Body))
		}
	})
}

func nestedMultiparts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String() + "\r\nhello\r\n"
}

func nestedMessages(n int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n) + "Subject: x\r\n\r\nhello\r\n"
}

func manyParts(n int) string {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for i := range n {
		fmt.Fprintf(&b, "--b\r\nContent-Type: text/plain; name=f%d\r\n\r\npart %d\r\n", i, i)
	}
	return b.String() + "--b--\r\n"
}

// TestHostile reads messages made to be slow. Each takes milliseconds; anything quadratic would take minutes.
func TestHostile(t *testing.T) {
	const big = 1 << 19
	wide := Limits{Depth: 50, Parts: 20000, HeaderBytes: 4 << 20}
	params := "Content-Type: text/plain"
	tests := map[string]string{
		"10,000 parts":             manyParts(10000),
		"1,000 multiparts deep":    nestedMultiparts(1000),
		"1,000 messages deep":      nestedMessages(1000),
		"100,000 header lines":     strings.Repeat("X-A: b\r\n", 100000) + "\r\nbody",
		"100,000 lines no header":  strings.Repeat("xxxxx\r\n", 100000) + "\r\nbody",
		"endless header line":      "Subject: " + strings.Repeat("x", 4*big),
		"endless fold":             "Subject: x" + strings.Repeat("\r\n y", big),
		"only CR":                  strings.Repeat("\r", big),
		"only LF":                  strings.Repeat("\n", big),
		"CRs and a part":           "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("\r", big) + "x",
		"only NUL":                 strings.Repeat("\x00", big),
		"only hyphens":             nestedMultiparts(40) + strings.Repeat("--\r\n", big/4),
		"nearly boundaries":        nestedMultiparts(40) + strings.Repeat("--b\r\n--b39x\r\n", big/12),
		"open comments":            params + strings.Repeat(";(", big/2) + ")\r\n\r\n",
		"nested comments":          params + ";" + strings.Repeat("(", big/2) + "\r\n\r\n",
		"open quotes":              params + strings.Repeat(";a=\"\\", big/5) + "\r\n\r\n",
		"one backslash after all":  params + strings.Repeat(";a=\"x\" b", big/8) + "\\\r\n\r\n",
		"escaped quotes":           params + strings.Repeat(";a=\"\\\"", big/6) + "\r\n\r\n",
		"many params":              params + strings.Repeat(";a=b", big/4) + "\r\n\r\n",
		"many continuations":       params + strings.Repeat(";a*9*=b", big/7) + "\r\n\r\n",
		"names that never end":     params + strings.Repeat(";a b c d ", big/9) + "\r\n\r\n",
		"types twice":              "Content-Type: " + strings.Repeat("\r\n ", big/6) + strings.Repeat("\r\nContent-Type:", big/30) + "\r\n\r\n",
		"open words":               "Subject: " + strings.Repeat("=?utf-8?q?", big/10) + "\r\n\r\n",
		"words":                    "Subject: " + strings.Repeat("=?utf-8?q?a?= ", big/14) + "\r\n\r\n",
		"words of many charsets":   "Subject: " + strings.Repeat("=?utf-8?q?a?= =?utf-7?b?YQ==?= ", big/30) + "\r\n\r\n",
		"base64 words that are no": "Subject: " + strings.Repeat("=?utf-8?b?", big/10) + "-?=\r\n\r\n",
		"commas":                   "To: " + strings.Repeat(",<", big/2) + "\r\n\r\n",
		"quotes":                   "To: " + strings.Repeat("\"\\", big/2) + "\r\n\r\n",
		"brackets":                 "To: " + strings.Repeat("(a", big/2) + "\r\n\r\n",
		"padding":                  "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("QQ==", big/4),
		"equals":                   "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat("=", big),
		"blanks in lines":          "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(" ", big),
		"uuencode":                 "Content-Transfer-Encoding: uuencode\r\n\r\nbegin 644 a\r\n" + strings.Repeat("M\r\n", big/3),
		"utf-7":                    "Content-Type: text/plain; charset=utf-7\r\n\r\n" + strings.Repeat("+", big),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			m := Parse([]byte(raw), wide)
			parsed := time.Since(start)
			checkTree(t, m, wide)
			readAll(m)
			t.Logf("%d bytes: parsed in %v, read in %v", len(raw), parsed, time.Since(start)-parsed)
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

type manifestLine struct {
	File     string
	Expected struct {
		Parts   int
		Texts   []string
		Decoded []struct{ Part, Sha256, Text string }
	}
}

// TestCorpora reads every message of the corpora, and compares what other parsers' golden files say where that is more
// than another taste.
func TestCorpora(t *testing.T) {
	root := os.Getenv("POSTVAGT_CORPORA")
	if root == "" {
		t.Skip("POSTVAGT_CORPORA is not set")
	}
	f, err := os.Open(filepath.Join(root, "mime", "manifest.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	files, texts, sums := 0, 0, 0
	for lines.Scan() {
		var l manifestLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(root, "mime", l.File))
		if err != nil {
			t.Fatal(err)
		}
		files++
		m := Parse(raw, Limits{})
		checkTree(t, m, defaults)
		readAll(m)
		texts += compareTexts(t, m, l)
		sums += compareSums(t, m, l)
	}
	t.Logf("%d files, %d texts and %d decoded bodies as expected", files, texts, sums)
	if files < 100 {
		t.Errorf("only %d files", files)
	}
}

// TestBounces reads the bounces of the corpora.
func TestBounces(t *testing.T) {
	root := os.Getenv("POSTVAGT_CORPORA")
	if root == "" {
		t.Skip("POSTVAGT_CORPORA is not set")
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(root, "bounces"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		m := Parse(raw, Limits{})
		checkTree(t, m, defaults)
		readAll(m)
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}

// otherTaste are messages that the golden files read in another way, with the reason for ours.
var otherTaste = map[string]string{
	"stalwart/malformed_004.eml":                               "takes any line that begins with the boundary for one; here it is a Defect, and the text is in the leaf",
	"stalwart/malformed_012.eml":                               "does not see an outer boundary inside a message (against RFC 2046, section 5.1.2)",
	"stalwart/malformed_016.eml":                               "goes on with multiparts that an outer boundary has ended; here it is a Defect, and the text is in the part",
	"mime4j/testmsgs_malformedHeaderStartsBody-nocrlfcrlf.msg": "begins the body at a line without colon; here the header goes on to the blank line",
	"mime4j/testmsgs_missing-inner-boundary.msg":               "has an empty part where a multipart has none",
	"mime4j/testmsgs_very-very-long-boundary.msg":              "minds blanks at the end of a boundary; here both readings are boundaries",
}

// compareTexts looks for each expected text at the beginning of some part's.
func compareTexts(t *testing.T, m *Message, l manifestLine) (found int) {
	var have []string
	m.Walk(func(p *Part) {
		s, _ := m.Text(p, 1<<20)
		have = append(have, strings.Join(strings.Fields(s), " "))
	})
	for _, want := range l.Expected.Texts {
		w := strings.Join(strings.Fields(want), " ")
		if slices.ContainsFunc(have, func(s string) bool { return strings.HasPrefix(s, w) }) {
			found++
			continue
		}
		if otherTaste[l.File] == "" {
			t.Errorf("%s: no part begins with %q", l.File, want)
		}
	}
	return found
}

// compareSums looks for each expected decoded body among the contents of the parts.
func compareSums(t *testing.T, m *Message, l manifestLine) (found int) {
	have := map[string]bool{}
	var sum func(m *Message)
	sum = func(m *Message) {
		m.Walk(func(p *Part) {
			b, _ := m.Content(p, 1<<20)
			h := sha256.Sum256(b)
			have[fmt.Sprintf("%x", h[:8])] = true
			if isMessage(p.MediaType) && len(p.Parts) == 0 { // a message in base64
				sum(Parse(b, Limits{}))
			}
		})
	}
	sum(m)
	for _, want := range l.Expected.Decoded {
		if have[want.Sha256] {
			found++
			continue
		}
		if otherTaste[l.File] == "" {
			t.Errorf("%s: no part decodes to %s %.60q", l.File, want.Part, want.Text)
		}
	}
	return found
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "\r\n", "Subject: x\r\n\r\nbody", manyParts(3), nestedMultiparts(5), nestedMessages(5),
		"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b--\r\nepi",
		"Content-Type: multipart/digest; boundary=\"b \"\r\n\r\n--b\r\nhello\r\n--b \r\n\r\n--b  --",
		"Content-Type: multipart/mixed\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\none\r\n--x--\r\n",
		"A: b\rContent-Type: multipart/mixed; boundary=b\r\r--b\r\rone\r--b--\r",
		"A: b\r\r\n c\r\r\r\r\n\r\nx",
	} {
		f.Add([]byte(s))
	}
	lim := Limits{Depth: 4, Parts: 12, HeaderBytes: 200}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m := Parse(raw, lim)
		checkTree(t, m, lim)
		readAll(m)
		if !bytes.Equal(raw, before) {
			t.Fatal("the message was changed")
		}
	})
}
