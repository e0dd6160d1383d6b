package mail

import (
	"strings"
	"unicode/utf8"
)

// Decoded returns a field's value on one line with encoded words decoded (RFC 2047), also where they stand against
// the rules (inside quotes, glued together, split inside a character). Always valid UTF-8.
func (m *Message) Decoded(f Field) string {
	return strings.Trim(DecodeHeader(string(m.Bytes(f.Value))), " \t")
}

// DecodeHeader decodes the encoded words in s, which may be folded, and the 8-bit bytes beside them: UTF-8 where they
// are that, else windows-1252. The result is one line of valid UTF-8.
func DecodeHeader(s string) string {
	s = unfold(s)
	if !strings.Contains(s, "=?") {
		return oneLine(mixedUTF8(s))
	}
	d := wordDecoder{s: s, end: -1}
	d.out.Grow(len(s))
	return oneLine(d.run())
}

// word is one encoded word; text is undecoded.
type word struct {
	charset string
	base64  bool
	text    string
}

type wordDecoder struct {
	s   string
	end int // the first "?=" at or after the last place asked for; len(s): none
	out strings.Builder

	run0  word     // charset and encoding of the words put off
	parts []string // their undecoded texts: characters may be split between them
	open  bool
}

func (d *wordDecoder) run() string {
	done := 0 // all before it is written
	for i := 0; ; {
		j := strings.Index(d.s[i:], "=?")
		if j < 0 {
			break
		}
		i += j
		w, next, ok := d.word(i)
		if !ok {
			i += 2
			continue
		}
		between := d.s[done:i]
		if !(d.open && strings.Trim(between, " \t") == "") { // blanks between words are not shown (RFC 2047, section 6.2)
			d.flush()
			d.out.WriteString(mixedUTF8(between))
		}
		d.add(w)
		i, done = next, next
	}
	d.flush()
	d.out.WriteString(mixedUTF8(d.s[done:]))
	return d.out.String()
}

// word reads the encoded word at s[i:], if one stands there.
func (d *wordDecoder) word(i int) (w word, next int, ok bool) {
	const longestCharset = 64
	head := d.s[i+2:]
	n := strings.IndexByte(head[:min(len(head), longestCharset)], '?')
	if n < 1 || n+2 >= len(head) || head[n+2] != '?' || strings.ContainsAny(head[:n], " \t\"<>()@,;:") {
		return w, 0, false
	}
	switch lower(head[n+1]) {
	case 'b':
		w.base64 = true
	case 'q':
	default:
		return w, 0, false
	}
	w.charset, _, _ = strings.Cut(head[:n], "*") // RFC 2231, section 5: a language may follow
	start := i + 2 + n + 3
	if d.end < start {
		d.end = len(d.s)
		if e := strings.Index(d.s[start:], "?="); e >= 0 {
			d.end = start + e
		}
	}
	if d.end == len(d.s) {
		return w, 0, false
	}
	w.text = d.s[start:d.end]
	if w.base64 && !isBase64(w.text) { // a reader would show it as it stands
		return w, 0, false
	}
	return w, d.end + 2, true
}

func isBase64(s string) bool {
	for i := range len(s) {
		if c := s[i]; base64Values[c] >= 64 && c != '=' && !isSpace(c) {
			return false
		}
	}
	return true
}

func (d *wordDecoder) add(w word) {
	if d.open && (w.base64 != d.run0.base64 || !strings.EqualFold(w.charset, d.run0.charset)) {
		d.flush()
	}
	d.open, d.run0 = true, w
	d.parts = append(d.parts, w.text)
}

func (d *wordDecoder) flush() {
	if !d.open {
		return
	}
	var b []byte
	if d.run0.base64 {
		b, _ = decodeBase64([]byte(strings.Join(d.parts, "")), -1)
	} else {
		b = decodeQ(strings.Join(d.parts, ""))
	}
	d.out.WriteString(decodeText(d.run0.charset, string(b)))
	d.open, d.parts = false, d.parts[:0]
}

// decodeQ decodes RFC 2047, section 4.2.
func decodeQ(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(s) {
			if h, l := unhex(s[i+1]), unhex(s[i+2]); h < 16 && l < 16 {
				c = h<<4 | l
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

// unhex returns the value of a hexadecimal digit of either case, 255 for others.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// oneLine puts a blank for each line end that came out of decoding.
func oneLine(s string) string {
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, s)
}

// mixedUTF8 keeps what is UTF-8 in s and reads other bytes over 127 as windows-1252.
func mixedUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = windows1252(s[i])
		}
		b.WriteRune(r)
		i += n
	}
	return b.String()
}
