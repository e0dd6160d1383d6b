package mail

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Room in a header line (RFC 2047, section 2: 76 with encoded words in it, 75 for a word), and what is left of the first
// line for the field's name.
const (
	maxHeaderLine = 76
	maxWord       = 75
	nameRoom      = 22
	maxToken      = 900 // unbroken ASCII that still fits the 998 of RFC 5322, section 2.1.1
)

// EncodeHeader writes text as the value of an unstructured field or as a display name: as it is where it is plain ASCII,
// else as encoded words (RFC 2047), folded with CRLF. The first line leaves room for a name of up to 20 characters, its
// colon and a blank. Line ends in text become blanks. DecodeHeader gives the text back.
func EncodeHeader(text string) string {
	text = oneLine(mixedUTF8(text))
	if !needsWords(text) {
		return foldPlain(text)
	}
	q, b := qLength(text), base64.StdEncoding.EncodedLen(len(text))
	var out strings.Builder
	line := nameRoom
	for first := true; text != ""; first = false {
		room := min(maxWord, maxHeaderLine-line)
		var word string
		if q <= b {
			word, text = qWord(text, room)
		} else {
			word, text = bWord(text, room)
		}
		if !first {
			out.WriteString("\r\n ")
		}
		out.WriteString(word)
		line = 1
	}
	return out.String()
}

func needsWords(s string) bool {
	if s == "" {
		return false
	}
	if isBlank(s[0]) || isBlank(s[len(s)-1]) || strings.Contains(s, "=?") {
		return true
	}
	fold := 0 // the last place where the line could be folded
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x7f || c < ' ' && c != '\t' || i-fold > maxToken:
			return true
		case isBlank(c) && i > 0 && !isBlank(s[i-1]):
			fold = i
		}
	}
	return false
}

// foldPlain folds ASCII text before blanks.
func foldPlain(s string) string {
	if nameRoom+len(s) <= maxHeaderLine {
		return s
	}
	var out strings.Builder
	line := nameRoom
	for s != "" {
		blanks := 0
		for blanks < len(s) && isBlank(s[blanks]) {
			blanks++
		}
		n := strings.IndexAny(s[blanks:], " \t")
		if n < 0 {
			n = len(s) - blanks
		}
		n += blanks
		if blanks > 0 && line+n > maxHeaderLine {
			out.WriteString("\r\n")
			line = 0
		}
		out.WriteString(s[:n])
		line += n
		s = s[n:]
	}
	return out.String()
}

const qStart, bStart, wordEnd = "=?utf-8?q?", "=?utf-8?b?", "?="

// qSafe are the bytes that stand for themselves, also in a display name (RFC 2047, section 5).
func qSafe(c byte) bool { return isAlnum(c) || strings.IndexByte("!*+-/", c) >= 0 }

func qLength(s string) int {
	n := 0
	for i := range len(s) {
		if qSafe(s[i]) || s[i] == ' ' {
			n++
		} else {
			n += 3
		}
	}
	return n
}

// EncodeParam writes name=value as a parameter of a structured field, without the ';' before it: quoted where value is
// short printable ASCII, else percent-encoded UTF-8 (RFC 2231), in several pieces on folded lines where it is long. Line
// ends in value become blanks. ParseParams gives the value back.
func EncodeParam(name, value string) string {
	value = oneLine(mixedUTF8(value))
	if quoted := quote(value); !needsWords(value) && strings.IndexByte(value, '\t') < 0 && len(name)+len(quoted) < maxHeaderLine-2 {
		return name + "=" + quoted
	}
	const charset = "utf-8''"
	value = charset + percent(value)
	if len(name)+len("*=")+len(value) < maxHeaderLine-2 {
		return name + "*=" + value
	}
	var pieces []string
	for i := 0; value != ""; i++ {
		head := name + "*" + strconv.Itoa(i) + "*="
		n := min(len(value), max(maxHeaderLine-3-len(head), len(charset)+3))
		for k := 1; k <= 2 && n < len(value); k++ { // not inside of a %XX
			if value[n-k] == '%' {
				n -= k
				break
			}
		}
		pieces = append(pieces, head+value[:n])
		value = value[n:]
	}
	return strings.Join(pieces, ";\r\n ")
}

// quote makes a quoted string of s (RFC 5322, section 3.2.4).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func percent(s string) string {
	b := make([]byte, 0, len(s)*2)
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

const upperHex = "0123456789ABCDEF"

// qWord makes a word of at most room bytes from the beginning of s. It never splits a character (RFC 2047, section 5).
func qWord(s string, room int) (word, rest string) {
	room -= len(qStart) + len(wordEnd)
	b := []byte(qStart)
	for s != "" {
		_, n := utf8.DecodeRuneInString(s)
		size := qLength(s[:n])
		if size > room {
			break
		}
		room -= size
		for i := range n {
			switch c := s[i]; {
			case c == ' ':
				b = append(b, '_')
			case qSafe(c):
				b = append(b, c)
			default:
				b = append(b, '=', upperHex[c>>4], upperHex[c&15])
			}
		}
		s = s[n:]
	}
	return string(append(b, wordEnd...)), s
}

// bWord is qWord in base64.
func bWord(s string, room int) (word, rest string) {
	room = (room - len(bStart) - len(wordEnd)) / 4 * 3
	n := 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		if n+size > room {
			break
		}
		n += size
	}
	return bStart + base64.StdEncoding.EncodeToString([]byte(s[:n])) + wordEnd, s[n:]
}
