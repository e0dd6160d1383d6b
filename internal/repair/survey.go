package repair

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// Weak is the confidence below which a finding does not stand in the way of a repair: in identifiers and trace fields,
// which cannot be changed, ten digits in a row mostly are something else. A repair cleans weak findings along where it
// can and leaves them where it cannot, as long as there is a stronger one to be taken out.
const Weak = 0.5

// Faint is the confidence below which a finding is no reason to change anything: such digits stand in the tokens of
// machines, and moved into the body they would only puzzle its readers.
const Faint = 0.2

// wanted returns the findings that a repair takes out.
func wanted(findings []detect.Finding) []detect.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f detect.Finding) bool { return !taken(f) || f.Confidence < Faint })
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
			if t.weight(place, p.Value) >= counts {
				return ObstacleBoundary
			}
			t.left[foldPlace(place)] = true
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
		"followup-to", "x-confirm-reading-to",
		"delivered-to", "apparently-to", "envelope-to", "envelope-from", "original-recipient",
		"x-original-to", "x-envelope-to", "x-envelope-from", "x-rcpt-to", "x-sender", "x-receiver",
		"x-forwarded-to", "x-forwarded-for", "x-original-from":
		return addressField
	}
	if machineObstacle(n) != "" {
		return machineField
	}
	return textField
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

// bodyObstacle says why m's body may not be written to, whatever the finding; empty: it may.
func bodyObstacle(m *mail.Message) (obstacle string) {
	readable(m, func(p *mail.Part) {
		switch {
		case obstacle != "":
		case encrypted(m, p):
			obstacle = ObstacleEncrypted
		case p.MediaType == "message/partial":
			obstacle = ObstacleFragment
		}
	})
	return obstacle
}

// encrypted reports whether p can be read by its recipient alone: S/MIME (RFC 8551, section 3.3), PGP/MIME (RFC 3156,
// section 4) or PGP in the text.
func encrypted(m *mail.Message, p *mail.Part) bool {
	switch p.MediaType {
	case "multipart/encrypted":
		return true
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		switch strings.ToLower(p.Params["smime-type"]) {
		case "signed-data", "signed-receipt", "certs-only", "compressed-data":
			return false
		}
		return first(p) // enveloped-data, authEnveloped-data, or nothing said: then it is not ours to guess
	case "text/plain", "text/html":
		const armour = "-----BEGIN PGP MESSAGE-----"
		text, _ := m.Text(p, textLimit)
		return p.Disp != "attachment" && (strings.HasPrefix(text, armour) || strings.Contains(text, "\n"+armour))
	}
	return false
}

// first reports whether p is the body or begins it; anything further down is a file beside it.
func first(p *mail.Part) bool {
	for ; p.Parent != nil; p = p.Parent {
		if p.Parent.Parts[0] != p {
			return false
		}
	}
	return true
}

// underSignature reports whether p's header is covered by a signature: RFC 1847, section 2.1, signs the whole part.
func underSignature(p *mail.Part) bool {
	for a := p.Parent; a != nil; a = a.Parent {
		if a.MediaType == "multipart/signed" {
			return true
		}
	}
	return false
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
