package repair

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"postvagt/internal/detect"
)

// errStubborn: a text in which every number taken out leaves another one behind.
var errStubborn = errors.New("numbers without end in one line")

// clean puts Mark in the place of every number in the fields the survey named, and notes the lines they stood in.
func (j *job) clean(t tainted) error {
	for _, s := range t.spots {
		if err := j.cleanField(t, s); err != nil {
			return fmt.Errorf("field %s: %w", placeOf(s.part, s.part.Fields[s.index].Name).Name, err)
		}
	}
	if len(j.lines) == 0 {
		return errors.New("the numbers were not seen where they are said to be")
	}
	return nil
}

func (j *job) cleanField(t tainted, s spot) error {
	f := s.part.Fields[s.index]
	if place := placeOf(s.part, f.Name); !t.free(place, f.Name) { // setValue takes the number out of the name
		j.note("", oneLine(f.Name)+": "+oneLine(j.m.Decoded(f)))
	}
	switch s.sort {
	case addressField:
		return j.cleanNames(t, s)
	case paramField:
		return j.cleanParams(t, s)
	}
	return j.cleanText(t, s)
}

// note keeps a moved line, once, however many copies of it there were.
func (j *job) note(label, text string) { j.noteLine(line{label: label, text: text}) }

func (j *job) noteLine(l line) {
	if text := l.text; text != "" && !j.noted[l] {
		j.noted[l] = true
		j.lines = append(j.lines, l)
	}
}

// marked returns text with Mark for every number, and the numbers as they stood. It takes those of any confidence: a
// line that has to be changed is changed once.
func (t tainted) marked(place detect.Place, text string) (clean string, numbers []string, err error) {
	clean = text
	for range 8 { // with one number gone, two pieces may meet that look like another
		var cut []detect.Finding
		for _, f := range detect.Find(detect.Text{Place: place, Content: clean}, t.now) {
			if f.Kind == detect.CPR {
				cut = append(cut, f)
			}
		}
		if len(cut) == 0 {
			return clean, numbers, nil
		}
		var b strings.Builder
		at := 0
		for _, f := range cut {
			numbers = append(numbers, clean[f.Start:f.End])
			b.WriteString(clean[at:f.Start] + Mark)
			at = f.End
		}
		clean = b.String() + clean[at:]
	}
	return "", nil, errStubborn
}

// inPlace puts Mark over the numbers where they stand in raw, so that everything around them keeps its bytes. It is
// for the caller to see whether that reads as it should: a number may be written in pieces.
func inPlace(raw string, numbers []string) string {
	const most = 50 // each takes a walk over raw
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	for _, n := range numbers[:min(len(numbers), most)] {
		raw = strings.ReplaceAll(raw, n, Mark)
	}
	return raw
}

// cleanText cleans free text. Of three ways to write it the first is taken that reads right and shows no number to
// those who do not decode either.
func (j *job) cleanText(t tainted, s spot) error {
	f := s.part.Fields[s.index]
	place := placeOf(s.part, f.Name)
	value := string(j.raw(f.Value))
	text := oneLine(j.m.Decoded(f))
	clean, numbers, err := t.marked(place, text)
	if err != nil {
		return err
	}
	lead := value[:len(value)-len(strings.TrimLeft(value, " \t"))]
	if lead == "" && f.Name != "" { // a line that is no field stays one: with a blank it would fold into the one before
		lead = " "
	}
	used := f.Value.Start - f.Span.Start + len(lead)
	for _, v := range []string{
		inPlace(value, numbers),
		lead + headerText(clean, used, j.eol),
		lead + encodeWords(clean, used, j.eol),
	} {
		if decodeWords(v) == clean && t.free(place, unfolded(v)) {
			j.setValue(s.part, s.index, []byte(v))
			if v != value {
				j.note(f.Name, text)
			}
			return nil
		}
	}
	return errors.New("the line cannot be written anew so that it reads the same")
}

// cleanNames cleans the display names, group names and comments of an address field.
func (j *job) cleanNames(t tainted, s spot) error {
	f := s.part.Fields[s.index]
	place := placeOf(s.part, f.Name)
	value := string(j.raw(f.Value))
	names := readNames(value)
	slices.SortFunc(names, func(a, b name) int { return a.at.Start - b.at.Start })
	var b strings.Builder
	at := 0
	for _, n := range names {
		text := n.text()
		clean, numbers, err := t.marked(place, text)
		if err != nil {
			return err
		}
		if len(numbers) == 0 && t.free(place, unfolded(n.raw)) {
			continue
		}
		with := renamed(n, clean, j.eol)
		if v := inPlace(n.raw, numbers); n.literal() && (name{raw: v, comment: n.comment}).text() == clean && t.free(place, unfolded(v)) {
			with = v
		}
		b.WriteString(value[at:n.at.Start] + with)
		at = n.at.End
		j.note(f.Name, text)
	}
	j.setValue(s.part, s.index, []byte(b.String()+value[at:]))
	return nil
}

// literal reports whether Mark may stand in the name as it is written: in quotes or in parentheses brackets need no
// quoting of their own (RFC 5322, sections 3.2.2 and 3.2.4).
func (n name) literal() bool {
	return n.comment || len(n.raw) >= 2 && n.raw[0] == '"' && quotedEnd(n.raw, 0) == len(n.raw)
}

// mostParams is how many parameters of one field are written anew at most: each takes a walk over the field.
const mostParams = 20

// cleanParams cleans the parameters of Content-Type and Content-Disposition, file names before all, and what else stands
// there: a comment, words that are no parameter.
func (j *job) cleanParams(t tainted, s spot) error {
	f := s.part.Fields[s.index]
	place := placeOf(s.part, f.Name)
	value := bytes.Clone(j.raw(f.Value))
	list := paramsOf(value)
	for i, written := 0, 0; i < len(list); i++ {
		p := list[i]
		if p.Name == "boundary" { // the survey saw to it
			continue
		}
		text := oneLine(p.Value)
		clean, numbers, err := t.marked(place, text)
		if err == nil && len(numbers) == 0 && strings.Contains(text, "%") { // some readers undo the signs in any value
			if plain, e := url.PathUnescape(text); e == nil {
				clean, numbers, err = t.marked(place, oneLine(plain))
			}
		}
		if err != nil {
			return err
		}
		raw := unfolded(pieces(value, p))
		hidden := !t.free(place, raw)
		if len(numbers) == 0 && !hidden {
			continue
		}
		if !isFileName(p) && t.weight(place, text) < Weak && t.weight(place, raw) < Weak { // see wanted
			continue
		}
		if isFileName(p) {
			clean = j.files.name(j.m, s.part, clean)
			j.noteLine(line{label: fileLabel, text: text, now: clean})
		} else {
			j.note(f.Name, p.Name+"="+text)
		}
		value = rewritten(value, p, clean, j.eol)
		list = paramsOf(value) // they have moved
		if written++; written > mostParams {
			return errors.New("numbers in more parameters than a mail program writes")
		}
	}
	text := decodeWords(string(value))
	_, numbers, err := t.marked(place, text)
	if err != nil {
		return err
	}
	if len(numbers) > 0 && t.weight(place, strings.ReplaceAll(text, Mark, "[-]")) >= Weak { // Mark's letters would speak for what follows
		v := []byte(inPlace(string(value), numbers))
		if boundaryOf(v) == boundaryOf(value) {
			value = v
			j.note(f.Name, text)
		}
	}
	if !bytes.Equal(value, j.raw(f.Value)) {
		j.setValue(s.part, s.index, value)
	}
	return nil
}

func boundaryOf(value []byte) string {
	for _, p := range paramsOf(value) {
		if p.Name == "boundary" {
			return p.Value
		}
	}
	return ""
}
