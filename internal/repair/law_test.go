package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postvagt/internal/mail"
)

// lawful repairs m and checks, by means of its own, what the package promises. It returns how it went: "repaired", "nothing",
// "refused: …" or "failed: …".
func lawful(t *testing.T, raw []byte) string {
	t.Helper()
	kept := bytes.Clone(raw)
	m := mail.Parse(raw, mail.Limits{})
	findings := findingsOf(m)
	plan := Able(m, findings)
	out, changes, err := Repair(m, findings, testOptions())
	if !bytes.Equal(raw, kept) {
		t.Fatal("the message that came was written to")
	}
	switch {
	case plan.Obstacle == ObstacleNothing:
		if err != nil || len(changes) > 0 || !bytes.Equal(out, raw) {
			t.Fatalf("nothing to do, but %d changes and %v", len(changes), err)
		}
		return "nothing"
	case !plan.Possible:
		if !errors.Is(err, ErrImpossible) || out != nil {
			t.Fatalf("Able says %q, Repair %v", plan.Obstacle, err)
		}
		return "refused: " + plan.Obstacle
	case err != nil:
		if out != nil || changes != nil {
			t.Fatal("an error and a result")
		}
		return "failed: " + err.Error()
	}
	floor := floorOf(findings)
	after := mail.Parse(out, mail.Limits{})
	for _, f := range findingsOf(after) {
		fixed := sortOf(f.Place.Name) == machineField || strings.EqualFold(f.Place.Name, "Content-Type") || f.Place.Part != ""
		if taken(f) && f.Confidence >= floor && !(f.Confidence < Weak && fixed) {
			t.Fatalf("still there: %+v", f)
		}
	}
	sameFields(t, m, after)
	sameLeaves(t, m, after)
	return "repaired"
}

// sameFields checks that every field of the message's header that holds no number has the same bytes, in the same order,
// in the new header or, where the body moved, in that of the part it became.
func sameFields(t *testing.T, before, after *mail.Message) {
	t.Helper()
	var now []string
	for _, f := range after.Root.Fields {
		now = append(now, string(after.Bytes(f.Span)))
	}
	if len(after.Root.Parts) == 2 {
		for _, f := range after.Root.Parts[1].Fields {
			now = append(now, string(after.Bytes(f.Span)))
		}
	}
	marked := strings.Count(strings.Join(now, ""), Mark)
	at, lost := 0, 0
	for _, f := range before.Root.Fields {
		want := string(before.Bytes(f.Span))
		isContent := strings.HasPrefix(strings.ToLower(f.Name), "content-") || strings.EqualFold(f.Name, "mime-version")
		from := at
		if isContent {
			from = 0
		}
		found := -1
		for i := from; i < len(now); i++ {
			if now[i] == want {
				found = i
				break
			}
		}
		switch {
		case found < 0:
			lost++
		case !isContent:
			at = found + 1
		}
	}
	// A field that changed holds the mark, in some spelling; besides them only the description of a recoded text changes.
	if lost > marked+strings.Count(strings.Join(now, ""), "=5BCPR=5D")+strings.Count(strings.Join(now, ""), "%5BCPR%5D")+3 {
		t.Errorf("%d fields changed, %d marks", lost, marked)
	}
}

// sameLeaves checks that every leaf's body still stands in the message, its bytes unchanged or, where the line was
// written into it, its decoded content but for one insertion.
func sameLeaves(t *testing.T, before, after *mail.Message) {
	t.Helper()
	var now []*mail.Part
	after.Walk(func(p *mail.Part) { now = append(now, p) })
	k := 0
	before.Walk(func(p *mail.Part) {
		if len(p.Parts) > 0 {
			return
		}
		want := before.Bytes(p.Body)
		content, _ := before.Content(p, textLimit)
		for ; k < len(now); k++ {
			q := now[k]
			if len(q.Parts) > 0 {
				continue
			}
			if bytes.Equal(after.Bytes(q.Body), want) {
				k++
				return
			}
			if c, _ := after.Content(q, textLimit); inserted(content, c) {
				k++
				return
			}
		}
		t.Errorf("the body of part %q is gone", p.Path)
	})
}

// inserted reports whether b is a with one stretch put in.
func inserted(a, b []byte) bool {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return len(b) >= len(a) && bytes.HasSuffix(b, a[n:])
}

// taints are subjects that are put before real messages.
var taints = []string{
	"Subject: Sag 010170-5000",
	"Subject: =?utf-8?B?QsO4cm5lc2FnIDAxMDE3MDUwMDA=?=",
	"Subject: =?utf-8?Q?Sag_0101=3705000_=E2=80=93_=F0=9F=98=80?=\r\nThread-Topic: Sag\r\n 010170-5000",
}

// TestCorpora repairs odd and hostile messages of other projects, each with a number put into its subject.
func TestCorpora(t *testing.T) {
	dir := os.Getenv("POSTVAGT_CORPORA")
	if dir == "" {
		t.Skip("POSTVAGT_CORPORA is not set")
	}
	count := map[string]int{}
	err := filepath.WalkDir(filepath.Join(dir, "mime"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".jsonl") || strings.Contains(d.Name(), "LICENSE") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		for i, taint := range taints {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				eol := "\r\n"
				if !bytes.Contains(raw, []byte("\r\n")) {
					eol = "\n"
				}
				msg := append([]byte(strings.ReplaceAll(taint, "\r\n", eol)+eol), raw...)
				went := lawful(t, msg)
				count[went]++
				if strings.HasPrefix(went, "failed") || went == "nothing" {
					t.Log(went)
				}
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for went, n := range count {
		t.Logf("%4d %s", n, went)
	}
}
