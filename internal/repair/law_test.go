package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postvagt/internal/detect"
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
		if taken(f) && f.Confidence >= floor && !(f.Confidence < Weak && (fixed || !forPeople(f.Place))) {
			t.Fatalf("still there: %+v", f)
		}
	}
	sameFields(t, m, after, findings)
	sameLeaves(t, m, after)
	return "repaired"
}

// sameFields checks that every field of the message's header that no finding speaks of, and that does not describe a
// recoded text, has the same bytes, in the same order, in the new header or, where the body moved, in the part it became.
func sameFields(t *testing.T, before, after *mail.Message, findings []detect.Finding) {
	t.Helper()
	free := map[string]bool{"content-type": true, "content-transfer-encoding": true, "content-md5": true}
	for _, f := range findings {
		if taken(f) && f.Place.Kind == detect.InFileName {
			free["content-disposition"] = true
		}
		if taken(f) { // also what is left: then it is the same, too
			free[strings.ToLower(f.Place.Name)] = true
		}
	}
	now := after.Root.Fields
	if len(after.Root.Parts) > 1 {
		now = append(slices.Clone(now), after.Root.Parts[1].Fields...)
	}
	at, inner := 0, 0
	for _, f := range before.Root.Fields {
		name := strings.ToLower(shownName(f.Name))
		if free[name] {
			continue
		}
		next := &at
		if strings.HasPrefix(name, "content-") { // these may have moved; they keep their order among themselves
			next = &inner
		}
		// The line end is no part of it: a message that ends inside its header gets one.
		want := bytes.TrimRight(before.Bytes(f.Span), "\r\n")
		for *next < len(now) && !bytes.Equal(bytes.TrimRight(after.Bytes(now[*next].Span), "\r\n"), want) {
			*next++
		}
		if *next++; *next > len(now) {
			t.Errorf("field %q is not what it was", name)
			return
		}
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
		text, _ := before.Text(p, textLimit)
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
			if c, _ := after.Text(q, textLimit); inserted([]byte(text), []byte(c)) { // it became UTF-8
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

// TestShapes repairs random messages of every shape, with a number in the subject, in file names, or in both, and in what
// machines write. None of them is refused.
func TestShapes(t *testing.T) {
	r := random(t)
	for i := range 300 {
		raw := randomMessage(r)
		if went := lawful(t, raw); went != "repaired" {
			t.Fatalf("message %d: %s\n%s", i, went, raw)
		}
	}
}

// TestPanic: what this package fails on is held, and never sent back to be tried again.
func TestPanic(t *testing.T) {
	findings := findingsOf(mail.Parse([]byte("Subject: "+number+"\r\n\r\n"), mail.Limits{}))
	if plan := Able(nil, findings); plan.Possible || plan.Obstacle != ObstacleUnread {
		t.Errorf("Able: %+v", plan)
	}
	if out, changes, err := Repair(nil, findings, testOptions()); out != nil || changes != nil || !errors.Is(err, ErrImpossible) {
		t.Errorf("Repair: %q, %v, %v", out, changes, err)
	}
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
