package extract

import (
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// numbers remembers which possible CPR numbers were handed out, so that the same one in another spelling of the same
// thing is not told twice. It lives for one part only.
type numbers struct{ seen [][10]byte }

// add takes the numbers of s and reports whether any was new.
func (n *numbers) add(s string) bool {
	fresh := false
	if !detect.HoldsCPR(s) {
		return false
	}
	detect.Replace(s, func(d *[10]byte) string {
		for i := range n.seen {
			if n.seen[i] == *d {
				return ""
			}
		}
		fresh = true
		if len(n.seen) < 1000 {
			n.seen = append(n.seen, *d)
		}
		return ""
	})
	return fresh
}

// names hands out the file name of p as the reader sees it, and whatever else Content-Type and Content-Disposition hold:
// other spellings of the name (two parameters that disagree, RFC 2231 pieces, RFC 2047 where it must not stand, percent
// signs) and other parameters, each only where it holds a number that was not handed out before.
func (e *extractor) names(src source, p *mail.Part) {
	var known numbers
	name := src.place(detect.InFileName, p, p.FileName)
	e.text(detect.Text{Place: name, Content: p.FileName})
	known.add(p.FileName)

	for i := range p.Fields {
		f := p.Fields[i]
		if fieldSort(f.Name) != described {
			continue
		}
		raw := src.m.Unfolded(f)
		if !mayHold(raw) {
			continue
		}
		field := src.place(detect.InPartHeader, p, f.Name)
		if p.Parent == nil {
			field = src.place(detect.InHeader, p, f.Name)
		}
		params := parameters(raw)
		for _, q := range src.m.Params(f) {
			params = append(params, parameter{q.Name, q.Value})
		}
		for _, q := range params {
			t := detect.Text{Place: field, Machine: machineParams[q.name]}
			if q.name == "name" || q.name == "filename" {
				t.Place = name
			}
			for _, s := range []string{q.value, unpercent(q.value), unquote(q.value)} {
				if known.add(s) {
					t.Content = s
					e.text(t)
				}
			}
		}
		for _, s := range []string{src.m.Decoded(f), raw} {
			if known.add(s) {
				e.text(detect.Text{Place: field, Content: s})
			}
		}
	}
}

// mayHold reports whether any spelling in a structured field's value can hold a number: it has ten digits (percent signs
// need digits, too), or something that decoding turns into digits.
func mayHold(raw string) bool {
	return strings.Contains(raw, "=?") || strings.ContainsAny(raw, "*\x1b") || digits(raw)
}

// machineParams are the parameters that programs make up.
var machineParams = map[string]bool{"boundary": true, "micalg": true, "size": true, "id": true, "start": true, "creation-date": true,
	"modification-date": true, "read-date": true}

// mostParameters bounds the second opinion; the field as it stands is searched whole.
const mostParameters = 200

// parameter is one of a field, its pieces (RFC 2231, section 3) put together in the order they stand.
type parameter struct{ name, value string }

// parameters splits a field's value leniently: this is a second opinion beside package mail's, for spellings that some
// reader may take.
func parameters(s string) []parameter {
	var all []parameter
	var joined strings.Builder // the pieces of the newest parameter
	flush := func() {
		if n := len(all); n > 0 && joined.Len() > 0 {
			all[n-1].value = joined.String()
			joined.Reset()
		}
	}
	for first := true; s != "" && len(all) < mostParameters; first = false {
		var piece string
		piece, s = cutPiece(s)
		key, value, ok := strings.Cut(piece, "=")
		if !ok {
			if !first || strings.ContainsAny(piece, "0123456789") {
				flush()
				all = append(all, parameter{value: strings.TrimSpace(piece)})
			}
			continue
		}
		key, _, pieces := strings.Cut(strings.ToLower(strings.TrimSpace(key)), "*")
		if n := len(all); n == 0 || all[n-1].name != key || !pieces {
			flush()
			all = append(all, parameter{name: key})
		}
		joined.WriteString(unquote(strings.TrimSpace(value)))
	}
	flush()
	return all
}

// cutPiece cuts s at the first semicolon outside of quotes.
func cutPiece(s string) (piece, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ';':
			if !quoted {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func unquote(s string) string {
	if !strings.ContainsAny(s, "\"\\") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			continue
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unpercent undoes percent signs where two hexadecimal digits follow.
func unpercent(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
