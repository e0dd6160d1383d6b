package repair

import (
	"strings"

	"postvagt/internal/mail"
)

// name is a stretch of an address field that is shown to people: a display name, a group's name, a comment. What lies
// between the stretches (addresses, commas) is never touched.
type name struct {
	at      mail.Range // in the field's value
	raw     string     // as it stands
	comment bool       // at lies between the parentheses
}

// text returns what people read.
func (n name) text() string {
	s := decodeWords(n.raw)
	if n.comment {
		return unescape(s)
	}
	return unquote(s)
}

// readNames finds the shown stretches of an address field's value. It reads broken ones too: what is in doubt whether
// it is a name counts as one, unless it has an at sign.
func readNames(v string) (names []name) {
	start := 0 // of the mailbox's words
	lastClose := strings.LastIndexByte(v, '>')
	var comments []name
	flush := func(end int, isName bool) {
		for _, s := range between(v, start, end, comments) {
			if isName || !strings.Contains(s.raw, "@") {
				names = append(names, s)
				continue
			}
			names = append(names, wordsWithoutAt(s)...)
		}
		names = append(names, comments...)
		comments = nil
	}
	for i := 0; i < len(v); {
		switch v[i] {
		case '"':
			i = quotedEnd(v, i)
		case '(':
			end := commentEnd(v, i)
			inner := mail.Range{Start: i + 1, End: end - 1}
			if v[end-1] != ')' || end-1 <= i {
				inner.End = end
			}
			comments = append(comments, name{inner, v[inner.Start:inner.End], true})
			i = end
		case '<':
			flush(i, true)
			if i < lastClose {
				i += strings.IndexByte(v[i:], '>')
			}
			i++
			start = i
		case ',', ';':
			flush(i, false)
			i++
			start = i
		case ':':
			flush(i, true)
			i++
			start = i
		default:
			i++
		}
	}
	flush(len(v), false)
	return names
}

// between returns the trimmed stretches of v[start:end] that lie between comments.
func between(v string, start, end int, comments []name) (out []name) {
	add := func(a, b int) {
		if a > b {
			return
		}
		for a < b && isSpace(v[a]) {
			a++
		}
		for b > a && isSpace(v[b-1]) {
			b--
		}
		if a < b {
			out = append(out, name{at: mail.Range{Start: a, End: b}, raw: v[a:b]})
		}
	}
	for _, c := range comments {
		add(start, c.at.Start-1)
		start = min(c.at.End+1, end)
	}
	add(start, end)
	return out
}

// wordsWithoutAt returns the words beside a bare address: "Hans hans@borger.example".
func wordsWithoutAt(n name) (names []name) {
	start := 0
	for i := 0; i <= len(n.raw); {
		if i < len(n.raw) && n.raw[i] == '"' {
			i = quotedEnd(n.raw, i)
			continue
		}
		if i == len(n.raw) || isSpace(n.raw[i]) {
			if w := n.raw[start:i]; w != "" && !strings.Contains(w, "@") {
				names = append(names, name{at: mail.Range{Start: n.at.Start + start, End: n.at.Start + i}, raw: w})
			}
			start = i + 1
		}
		i++
	}
	return names
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// quotedEnd returns where the quoted string that opens at i has ended; an unclosed one ends with the value.
func quotedEnd(v string, i int) int {
	for k := i + 1; k < len(v); k++ {
		switch v[k] {
		case '\\':
			k++
		case '"':
			return k + 1
		}
	}
	return len(v)
}

// commentEnd returns where the comment that opens at i has ended; an unclosed one ends with the value.
func commentEnd(v string, i int) int {
	depth := 0
	for k := i; k < len(v); k++ {
		switch v[k] {
		case '\\':
			k++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return k + 1
			}
		}
	}
	return len(v)
}

// unquote takes quotes and backslashes of quoted strings away.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '"' {
			b.WriteByte(s[i])
			i++
			continue
		}
		end := quotedEnd(s, i)
		inner := s[i+1 : end]
		if end-i >= 2 && s[end-1] == '"' { // else it is unclosed
			inner = inner[:len(inner)-1]
		}
		b.WriteString(unescape(inner))
		i = end
	}
	return b.String()
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// renamed writes a shown stretch anew.
func renamed(n name, text, eol string) string {
	switch {
	case n.comment && plain(text) && !strings.ContainsAny(text, `()\`):
		return text
	case !n.comment && plain(text):
		return quote(text)
	}
	return encodeWords(text, len(eol)+1, eol)
}

// plain reports whether s can stand in a header as it is: printable ASCII that is not taken for an encoded word.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return !strings.Contains(s, "=?")
}

func quote(s string) string {
	s = strings.ReplaceAll(s, `\`, `\\`)
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}
