package repair

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// Weak is the confidence below which a finding is taken for one only where people read: ten digits in a row that a
// program wrote mostly are something else. In what people read a repair cleans weak findings along where it can and
// leaves them where it cannot, as long as there is a stronger one to be taken out.
const Weak = 0.5

// Faint is the confidence below which a finding is no reason to change anything: such digits stand in the tokens of
// machines, and moved into the body they would only puzzle its readers.
const Faint = 0.2

// wanted returns the findings that a repair takes out: in what people read from Faint on, elsewhere from Weak on. Digits in
// the links and ids of programs mostly are no number, and changed, the link leads nowhere.
func wanted(findings []detect.Finding) []detect.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f detect.Finding) bool {
		return !taken(f) || f.Confidence < Faint || f.Confidence < Weak && !forPeople(f.Place)
	})
}

// forPeople reports whether the place is one that people write and read: a subject and its copies, what is said about the
// mail, names of people and of files.
func forPeople(p detect.Place) bool {
	if p.Kind == detect.InFileName {
		return true
	}
	n := strings.ToLower(strings.TrimSpace(p.Name))
	switch n {
	case "comments", "keywords", "content-description", "":
		return true
	}
	for _, s := range []string{"subject", "topic", "title", "titel", "emne"} {
		if strings.HasSuffix(n, s) {
			return true
		}
	}
	// A number in the very name, masked here: a torn line, and no field.
	return strings.Contains(n, "•") || sortOf(n) == addressField && !routed(n)
}

// taken reports whether a finding is of the sort a repair takes out: a number in a readable place that is no address.
func taken(f detect.Finding) bool {
	return f.Kind == detect.CPR && f.Place.Readable() && !f.Address
}

// spot is one header field in which a number stands.
type spot struct {
	part  *mail.Part
	index int // into part.Fields
	sort  fieldSort
}

// fieldSort says how a field is read, and so how it may be changed.
type fieldSort uint8

const (
	textField    fieldSort = iota // free text: Subject, Comments, X-…
	addressField                  // display names beside addresses (RFC 5322, section 3.4)
	paramField                    // value; name=value (RFC 2045, section 5.1): here file names stand
	machineField                  // identifiers and traces: must stay as they are
)

// tainted is what a survey found: the fields to change, and what cannot be changed.
type tainted struct {
	spots    []spot
	left     map[detect.Place]bool // weak findings here cannot be taken out and are left
	obstacle string
	now      time.Time
}

// survey finds the header fields that the findings speak of. A place names a field or a file name of a part, and every
// field of that name in the part is meant, since what stands twice is read twice.
func survey(m *mail.Message, findings []detect.Finding, now time.Time) tainted {
	t := tainted{now: now, left: map[detect.Place]bool{}}
	places := map[detect.Place]float64{} // the highest confidence of a finding there
	strongest := 0.0
	for _, f := range wanted(findings) {
		place := foldPlace(f.Place)
		places[place] = max(places[place], f.Confidence)
		strongest = max(strongest, f.Confidence)
	}
	counts := 0.0 // the confidence from which on a finding stands in the way
	if strongest >= Weak {
		counts = Weak
	}
	readable(m, func(p *mail.Part) {
		for i, f := range p.Fields {
			s := spot{p, i, sortOf(f.Name)}
			place := foldPlace(placeOf(p, f.Name))
			confidence, tainted := places[place]
			if s.sort == paramField {
				c, named := places[detect.Place{Kind: detect.InFileName, Part: p.Path}]
				confidence, tainted = max(confidence, c), tainted || named
			}
			if !tainted {
				continue
			}
			switch obstacle := t.inTheWay(m, s, counts); {
			case obstacle == "":
				t.spots = append(t.spots, s)
			case confidence >= counts:
				t.obstacle = cmp.Or(t.obstacle, obstacle)
			default:
				t.left[place] = true
			}
		}
	})
	if t.obstacle == "" && len(t.spots) == 0 {
		t.obstacle = ObstacleNothing
		if slices.ContainsFunc(findings, func(f detect.Finding) bool {
			return f.Kind == detect.CPR && f.Place.Readable() && f.Address
		}) {
			t.obstacle = ObstacleAddress
		}
	}
	return t
}

// foldPlace makes places comparable: one for all file names of a part, and names of fields in one case.
func foldPlace(p detect.Place) detect.Place {
	if p.Kind == detect.InFileName {
		p.Name = ""
	}
	p.Name = strings.ToLower(p.Name)
	return p
}

// inTheWay says why the field must stay as it is; empty: it may be changed.
func (t tainted) inTheWay(m *mail.Message, s spot, counts float64) string {
	switch {
	case s.sort == machineField:
		return machineObstacle(s.part.Fields[s.index].Name)
	case underSignature(s.part):
		return ObstacleSigned
	case s.sort == paramField:
		f := s.part.Fields[s.index]
		place := placeOf(s.part, f.Name)
		for _, p := range m.Params(f) {
			if p.Name != "boundary" || t.free(place, p.Value) {
				continue
			}
			if t.weight(place, p.Value) >= max(counts, Weak) {
				return ObstacleBoundary
			}
		}
	}
	return ""
}

// weight returns the highest confidence of a number in s.
func (t tainted) weight(place detect.Place, s string) (w float64) {
	for _, f := range detect.Find(detect.Text{Place: place, Content: s}, t.now) {
		w = max(w, f.Confidence)
	}
	return w
}

// free reports whether no number stands in s.
func (t tainted) free(place detect.Place, s string) bool {
	for _, f := range detect.Find(detect.Text{Place: place, Content: s}, t.now) {
		if f.Kind == detect.CPR {
			return false
		}
	}
	return true
}

// readable visits every part whose header is readable on the way. What lies inside an attached message is its content:
// it is protected as the body is, and is not ours to edit.
func readable(m *mail.Message, visit func(*mail.Part)) {
	var walk func(p *mail.Part)
	walk = func(p *mail.Part) {
		visit(p)
		if strings.HasPrefix(p.MediaType, "message/") {
			return
		}
		for _, c := range p.Parts {
			walk(c)
		}
	}
	walk(m.Root)
}

// placeOf is the field's place as package extract names it.
func placeOf(p *mail.Part, name string) detect.Place {
	pl := detect.Place{Kind: detect.InHeader, Name: shownName(name), Part: p.Path}
	if p.Parent != nil {
		pl.Kind = detect.InPartHeader
	}
	return pl
}

// sortOf says how the field of that name is read. Unknown fields are free text.
func sortOf(name string) fieldSort {
	n := strings.ToLower(strings.TrimSpace(name))
	switch n {
	case "content-type", "content-disposition":
		return paramField
	case "from", "sender", "reply-to", "to", "cc", "bcc",
		"resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to",
		"disposition-notification-to", "return-receipt-to", "errors-to", "mail-reply-to", "mail-followup-to",
		"followup-to", "x-confirm-reading-to", "x-original-from":
		return addressField
	}
	if routed(n) {
		return addressField
	}
	if machineObstacle(n) != "" {
		return machineField
	}
	return textField
}

// routed reports whether the field of that lower-case name repeats the envelope: addresses that servers and programs wrote.
func routed(name string) bool {
	switch name {
	case "delivered-to", "apparently-to", "envelope-to", "envelope-from", "original-recipient",
		"x-original-to", "x-envelope-to", "x-envelope-from", "x-rcpt-to", "x-sender", "x-receiver", "x-forwarded-to", "x-forwarded-for":
		return true
	}
	return false
}

// machineObstacle names what changing a machine-made field would break; empty for all other fields.
func machineObstacle(name string) string {
	n := strings.ToLower(strings.TrimSpace(name))
	switch n {
	case "message-id", "resent-message-id", "in-reply-to", "references", "content-id", "thread-index",
		"x-ms-exchange-parent-message-id", "x-microsoft-original-message-id", "original-message-id":
		return ObstacleMessageID
	case "received", "x-received", "return-path", "dkim-signature", "domainkey-signature", "x-google-dkim-signature",
		"authentication-results", "x-authentication-results", "received-spf":
		return ObstacleTrace
	}
	if strings.HasPrefix(n, "arc-") {
		return ObstacleTrace
	}
	return ""
}

// shownName makes a field's name safe to show, as package extract does: masked, on one line, of bounded length.
func shownName(name string) string {
	const most = 120
	name = detect.Mask(strings.ToValidUTF8(name, "\uFFFD"))
	var b strings.Builder
	for i, r := range name {
		if i >= most {
			b.WriteString("…")
			break
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		b.WriteRune(r)
	}
	return detect.Mask(b.String())
}
