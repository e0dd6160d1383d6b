package postgres

import (
	"strings"
	"unicode/utf8"
)

// PostgreSQL's text holds neither NUL nor what is no UTF-8, but mail brings both, and a reply that could not be stored would be an
// outcome that is never recorded. So a byte b that cannot stand in a text stands there as the private character U+10FF00+b, and so do
// the bytes of such a character itself. unescape(escape(s)) == s for every s.
const (
	escapeFirst = '\U0010FF00'
	escapeLast  = '\U0010FFFF'
	escapeLead  = 0xf4 // the first byte of each of them in UTF-8, and of no character below U+100000
)

func plain(s string) bool {
	return strings.IndexByte(s, 0) < 0 && strings.IndexByte(s, escapeLead) < 0 && utf8.ValidString(s)
}

func escape(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if bad := r == utf8.RuneError && n == 1; bad || r == 0 || r >= escapeFirst {
			for _, c := range []byte(s[i : i+n]) {
				b.WriteRune(escapeFirst + rune(c))
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, escapeLead) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r >= escapeFirst && r <= escapeLast {
			b = append(b, byte(r-escapeFirst))
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}
