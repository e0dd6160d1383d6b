package detect

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// alone reports whether a number of plain digits is all that a file is called, or the only digits of a subject: whoever
// writes a citizen's number and nothing else needs no label.
func alone(t *Text, w *window) bool {
	before, after := t.Content[:w.start], t.Content[w.end:]
	switch {
	case t.Place.Kind == InFileName:
		return strings.TrimSpace(before) == "" && (strings.TrimSpace(after) == "" || strings.TrimLeft(after, " ")[0] == '.')
	case t.Place.Kind == InHeader && strings.EqualFold(t.Place.Name, "Subject"):
		return nextDigit(before, 0) < 0 && nextDigit(after, 0) < 0
	}
	return false
}

// recent is how many years back a date counts as a day of work rather than a birth.
const recent = 3

// clock reports whether a window can be a recent day and a time of day, and a word near it says so, as scanners and
// recorders name their files. A person with that number would be a hundred years old.
func clock(s string, w *window, limit date) bool {
	d := &w.digits
	year := 2000 + int(d[4])*10 + int(d[5])
	if d[6]*10+d[7] >= 24 || d[8] >= 6 || year > limit.year || year < limit.year-recent {
		return false
	}
	const near = 24
	before := s[max(0, w.start-near):w.start]
	if i := strings.LastIndexAny(before, "\r\n"); i >= 0 {
		before = before[i+1:]
	}
	words := strings.FieldsFunc(strings.ToLower(before), func(r rune) bool { return !unicode.IsLetter(r) })
	for _, word := range words {
		if timeWords[word] {
			return true
		}
	}
	return false
}

// timeWords say that a day or a time follows, in lower case.
var timeWords = map[string]bool{"scan": true, "scannet": true, "scanning": true, "scanned": true, "skan": true, "skannet": true, "img": true,
	"image": true, "billede": true, "foto": true, "photo": true, "video": true, "optagelse": true, "recording": true, "screenshot": true,
	"skærmbillede": true, "kl": true, "klokken": true, "tid": true, "tidspunkt": true, "time": true, "dato": true, "date": true,
	"fax": true, "backup": true, "log": true, "print": true}

// postcode reports whether the last four digits can be a Danish postcode: a blank and a word with a capital follow, as in
// "12.05.24 8000 Aarhus".
func postcode(s string, w *window) bool {
	rest, ok := strings.CutPrefix(s[w.end:], " ")
	if !ok || w.digits[6] == 0 {
		return false
	}
	r, n := utf8.DecodeRuneInString(rest)
	next, _ := utf8.DecodeRuneInString(rest[n:])
	return unicode.IsUpper(r) && unicode.IsLower(next)
}
