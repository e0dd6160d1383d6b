package repair

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"postvagt/internal/mail"
)

// decodeWords decodes a stretch of a header as package mail decodes a whole field, so that both read alike.
func decodeWords(s string) string { return oneLine(mail.DecodeHeader(s)) }

// unfolded takes the line ends out of s (RFC 5322, section 2.2.3: the blanks stay).
func unfolded(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }

// oneLine makes s safe to show on one line: valid UTF-8, control characters as blanks.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s))
}

// headerText writes text as an unstructured field's value, folded; used is how much of the first line is taken.
func headerText(text string, used int, eol string) string {
	if !plain(text) || longWord(text) || strings.Contains(text, "  ") {
		return encodeWords(text, used, eol)
	}
	var b strings.Builder
	for i, w := range strings.Split(text, " ") {
		switch {
		case i == 0:
		case used+1+len(w) > 76:
			b.WriteString(eol)
			used = 0
			fallthrough
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(w)
		used += len(w)
	}
	return b.String()
}

func longWord(s string) bool {
	for w := range strings.SplitSeq(s, " ") {
		if len(w) > 500 {
			return true
		}
	}
	return false
}

// encodeWords writes text as encoded words in UTF-8 (RFC 2047), one a line where they are many. Only characters that
// are allowed in a phrase stay as they are (section 5, rule 3), so that the words fit everywhere.
func encodeWords(text string, used int, eol string) string {
	const overhead = len("=?UTF-8?Q??=")
	var out, word strings.Builder
	room := max(75-overhead-used, 12)
	flush := func() {
		if word.Len() == 0 {
			return
		}
		if out.Len() > 0 {
			out.WriteString(eol + " ")
		}
		out.WriteString("=?UTF-8?Q?" + word.String() + "?=")
		word.Reset()
		room = 75 - overhead
	}
	for _, r := range text {
		q := qWord(r)
		if word.Len()+len(q) > room {
			flush()
		}
		word.WriteString(q)
	}
	flush()
	return out.String()
}

func qWord(r rune) string {
	switch {
	case r == ' ':
		return "_"
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!*+-/", r):
		return string(r)
	}
	var b strings.Builder
	for _, c := range []byte(string(r)) {
		fmt.Fprintf(&b, "=%02X", c)
	}
	return b.String()
}

// quotedPrintable encodes text with the line end eol (RFC 2045, section 6.7): exact, so that decoding gives b again.
func quotedPrintable(b []byte, eol string) []byte {
	var out []byte
	col := 0
	for len(b) > 0 {
		if bytes.HasPrefix(b, []byte(eol)) {
			out = append(out, eol...)
			b = b[len(eol):]
			col = 0
			continue
		}
		c := b[0]
		rest := b[1:]
		lineEnds := len(rest) == 0 || bytes.HasPrefix(rest, []byte(eol))
		var s string
		switch {
		case c == '=' || c > '~' || (c < ' ' && c != '\t'), (c == ' ' || c == '\t') && lineEnds, col == 0 && (c == '.' || bytes.HasPrefix(b, []byte("From "))):
			s = fmt.Sprintf("=%02X", c) // a dot or "From " first on a line does not survive every server
		default:
			s = string(rune(c))
		}
		if col+len(s) > 75 {
			out = append(out, "="+eol...)
			col = 0
			continue
		}
		out = append(out, s...)
		col += len(s)
		b = rest
	}
	return out
}

// base64Lines encodes b in lines of 76.
func base64Lines(b []byte, eol string) []byte {
	s := base64.StdEncoding.EncodeToString(b)
	var out []byte
	for len(s) > 76 {
		out = append(append(out, s[:76]...), eol...)
		s = s[76:]
	}
	return append(append(out, s...), eol...)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// longLine reports whether a line of b is too long to travel as it is (RFC 5322, section 2.1.1: 998).
func longLine(b []byte) bool {
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if len(line) > 990 {
			return true
		}
	}
	return false
}
