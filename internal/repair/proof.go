package repair

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"postvagt/internal/detect"
	"postvagt/internal/inspect"
	"postvagt/internal/mail"
)

// errProof is in the chain when the repaired message was not as it must be.
var errProof = errors.New("the repaired message failed its proof")

// prove reads the repaired message anew and compares it with the one that came. What it does not find as promised in
// the package's doc is an error: a half repair is worse than a message held.
func (j *job) prove(after []byte, left map[detect.Place]bool, floor float64) error {
	m := mail.Parse(after, mail.Limits{})
	err := j.proveClean(m, left, floor)
	for _, check := range []func(*mail.Message) error{j.proveTree, j.proveBytes, j.proveTold} {
		if err == nil {
			err = check(m)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	return nil
}

// proveClean: no number is left in a readable place, none is new there, and nothing is unread that was read before, for
// what was not looked at proves nothing.
func (j *job) proveClean(m *mail.Message, left map[detect.Place]bool, floor float64) error {
	after := inspect.Message(m, j.o.now(), inspect.Options{}).Findings
	before := sync.OnceValue(func() []detect.Finding { // the caller may have kept some to itself
		return inspect.Message(j.m, j.o.now(), inspect.Options{}).Findings
	})
	type stood struct {
		place  detect.Place
		masked string
	}
	old := sync.OnceValue(func() map[stood]bool {
		all := map[stood]bool{}
		for _, b := range before() {
			all[stood{foldPlace(b.Place), b.Masked}] = true
		}
		return all
	})
	for _, f := range wanted(after) {
		place := foldPlace(f.Place)
		if f.Confidence < Weak && left[place] {
			continue
		}
		if f.Confidence >= floor || !old()[stood{place, f.Masked}] {
			return fmt.Errorf("a number is left in %s %s", f.Place.Kind, detect.Mask(f.Place.Name))
		}
	}
	if !allIn(unread(after), unread(j.findings)) && !allIn(unread(after), unread(before())) {
		return errors.New("something can no longer be read")
	}
	return nil
}

// unread counts the things that could not be read, by why. Their places may move with a repair.
func unread(findings []detect.Finding) map[string]int {
	n := map[string]int{}
	for _, f := range findings {
		if f.Kind == detect.Uninspected {
			n[f.Why]++
		}
	}
	return n
}

func allIn(a, b map[string]int) bool {
	for why, n := range a {
		if n > b[why] {
			return false
		}
	}
	return true
}

// shape lists the parts of a message in order.
func shape(m *mail.Message) (parts []*mail.Part) {
	m.Walk(func(p *mail.Part) { parts = append(parts, p) })
	return parts
}

// partner returns the parts after the repair that the parts before it became.
func (j *job) partner(m *mail.Message) ([]*mail.Part, error) {
	after := shape(m)
	if !j.newPart {
		return after, nil
	}
	if len(m.Root.Parts) < 2 || len(after) < 2 {
		return nil, errors.New("the new part is missing")
	}
	own := m.Root.Parts[0]
	if own.MediaType != "text/plain" || len(own.Parts) > 0 {
		return nil, errors.New("the new part is not text")
	}
	after = slices.DeleteFunc(after, func(p *mail.Part) bool { return p == own })
	if j.wrapped {
		after = after[1:] // the new root
		if len(m.Root.Parts) != 2 {
			return nil, errors.New("the wrapping holds other than two parts")
		}
	}
	return after, nil
}

// proveTree: the same parts, of the same types, as deep as before.
func (j *job) proveTree(m *mail.Message) error {
	before := shape(j.m)
	after, err := j.partner(m)
	if err != nil {
		return err
	}
	if len(before) != len(after) {
		return fmt.Errorf("%d parts became %d", len(before), len(after))
	}
	for i := range before {
		children := len(before[i].Parts)
		if i == 0 && j.newPart && !j.wrapped {
			children++
		}
		if before[i].MediaType != after[i].MediaType || children != len(after[i].Parts) {
			return fmt.Errorf("part %d changed its type or its parts", i)
		}
	}
	return nil
}

// proveBytes: what was not written to has the bytes it had.
func (j *job) proveBytes(m *mail.Message) error {
	before := shape(j.m)
	after, err := j.partner(m)
	if err != nil {
		return err
	}
	for i, p := range before {
		q := after[i]
		if j.holdsWritten(p) {
			continue
		}
		if !bytes.Equal(j.raw(p.Body), m.Raw[q.Body.Start:q.Body.End]) {
			return fmt.Errorf("the body of part %d changed", i)
		}
	}
	return nil
}

// holdsWritten reports whether anything was to be changed in p's body.
func (j *job) holdsWritten(p *mail.Part) bool {
	if j.written[p] {
		return true
	}
	if p.Parent == nil && j.newPart && !j.wrapped {
		return true
	}
	for _, c := range p.Parts {
		if len(j.fields[c]) > 0 || len(j.added[c]) > 0 || j.holdsWritten(c) {
			return true
		}
	}
	return false
}

// proveTold: every moved line stands whole in every text that was written to, at its top. Of HTML it is what readers see
// that counts.
func (j *job) proveTold(m *mail.Message) error {
	var told []*mail.Part
	if j.newPart {
		told = m.Root.Parts[:1]
	} else {
		after := shape(m)
		for i, p := range shape(j.m) {
			if j.written[p] {
				told = append(told, after[i])
			}
		}
	}
	if len(told) == 0 || len(j.lines) == 0 {
		return errors.New("nothing was told")
	}
	top := len(asText(j.o, j.lines, true, j.eol)) + 2*len(j.lines) + len("\uFEFF") // no further down, flowed or not
	for _, p := range told {
		text, _ := m.Text(p, textLimit)
		if p.MediaType == "text/html" {
			if !inSight(j.o, j.lines, j.eol, text) {
				return fmt.Errorf("the moved lines are not what is seen first in part %q", p.Path)
			}
			continue
		}
		text = words(text[:min(len(text), top)])
		for _, l := range j.lines { // they stand in this order, so each is sought behind the one before
			_, rest, ok := strings.Cut(text, words(l.String()))
			if !ok {
				return fmt.Errorf("a moved line is missing in part %q", p.Path)
			}
			text = rest
		}
	}
	return nil
}

// words makes blanks comparable: HTML and format=flowed do not keep them.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }
