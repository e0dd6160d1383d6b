package mail

import (
	"bytes"
	"strings"
)

// Content returns a part's body with its transfer encoding undone, at most limit bytes. What does not follow the
// encoding is read as far as possible and reported as a Defect. The result may share memory with Raw: the caller must
// not change it.
func (m *Message) Content(p *Part, limit int) ([]byte, []Defect) {
	body := m.Bytes(p.Body)
	limit = max(limit, 0)
	var out []byte
	clean := true
	switch p.Encoding {
	case "base64":
		out, clean = decodeBase64(body, limit)
	case "quoted-printable":
		out, clean = decodeQP(body, limit)
	case "x-uuencode", "uuencode", "x-uue", "uue":
		out, clean = decodeUU(body, limit)
	default:
		out = body
	}
	var defects []Defect
	if !clean {
		defects = append(defects, Defect{p.Path, DefectBadEncoding})
	}
	if len(out) > limit {
		out = out[:limit:limit]
		defects = append(defects, Defect{p.Path, DefectDecodedLimit})
	}
	return out, defects
}

// identity reports whether the encoding leaves bytes as they are; unknown ones do, for lack of better.
func identity(encoding string) bool {
	switch encoding {
	case "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return false
	}
	return true
}

func knownEncoding(encoding string) bool {
	switch encoding {
	case "7bit", "8bit", "binary":
		return true
	}
	return !identity(encoding)
}

// encodingName reads the value of Content-Transfer-Encoding: its first word, comments and stray punctuation aside.
func encodingName(value string) string {
	i := skipBlanks(value, 0)
	s := strings.ToLower(value[i:])
	if i := strings.IndexAny(s, " \t\r\n;,("); i >= 0 {
		s = s[:i]
	}
	return usualName(strings.Trim(s, `"'.`))
}

// usualName returns the standard's name of an encoding.
func usualName(s string) string {
	switch s {
	case "":
		return "7bit"
	case "7-bit", "8-bit", "7bits", "8bits":
		return s[:1] + "bit"
	}
	return s
}

// oneEncoding reports whether the value of Content-Transfer-Encoding names one encoding, and not others behind it that a
// reader may take.
func oneEncoding(value string) bool {
	name := encodingName(value)
	for i := skipBlanks(value, 0); i < len(value); i = skipBlanks(value, i) {
		n := strings.IndexAny(value[i:], " \t\r\n;,(")
		if n < 0 {
			n = len(value) - i
		}
		if s := strings.ToLower(strings.Trim(value[i:i+n], `"'.`)); s != "" && knownEncoding(usualName(s)) && usualName(s) != name {
			return false
		}
		i += max(n, 1)
	}
	return true
}

// base64Values maps characters to their six bits; others are 64 and more.
var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = 64
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// decodeBase64 decodes RFC 2045, section 6.8 up to a little more than limit bytes (all of it for -1). Other characters are
// skipped and padding may be missing or stand in the middle: clean is then false. So it is for blanks between characters
// of one line, since that is what text looks like that never was base64.
func decodeBase64(src []byte, limit int) (out []byte, clean bool) {
	size := len(src)/4*3 + 3
	if limit >= 0 {
		size = min(size, limit+4)
	}
	out = make([]byte, 0, size)
	clean = true
	var acc uint32
	n, padded, blank := 0, false, false
	for i := 0; i < len(src); {
		if n == 0 && !blank && !padded {
			for i+4 <= len(src) {
				a, b, c, d := base64Values[src[i]], base64Values[src[i+1]], base64Values[src[i+2]], base64Values[src[i+3]]
				if a|b|c|d >= 64 {
					break
				}
				out = append(out, a<<2|b>>4, b<<4|c>>2, c<<6|d)
				i += 4
				if limit >= 0 && len(out) > limit {
					return out, clean
				}
			}
			if i == len(src) {
				break
			}
		}
		c := src[i]
		i++
		v := base64Values[c]
		switch {
		case v < 64:
			if padded || blank {
				clean, padded, blank = false, false, false
			}
			acc = acc<<6 | uint32(v)
			if n++; n == 4 {
				out = append(out, byte(acc>>16), byte(acc>>8), byte(acc))
				n, acc = 0, 0
			}
		case c == '\r' || c == '\n':
			blank = false
		case c == ' ' || c == '\t':
			blank = len(out) > 0 || n > 0
		case c == '=':
			if n == 1 || n == 0 && !padded {
				clean = false
			}
			out = flushBits(out, acc, n)
			n, acc, padded = 0, 0, true
		default:
			clean = false
		}
		if limit >= 0 && len(out) > limit {
			return out, clean
		}
	}
	if n > 0 {
		clean = false
	}
	return flushBits(out, acc, n), clean
}

// flushBits writes the whole bytes of a group of n characters that was cut off.
func flushBits(out []byte, acc uint32, n int) []byte {
	switch n {
	case 2:
		return append(out, byte(acc>>4))
	case 3:
		return append(out, byte(acc>>10), byte(acc>>2))
	}
	return out
}

// decodeQP decodes RFC 2045, section 6.7 up to a little more than limit bytes. An '=' that begins nothing is kept as it
// stands, as readers do; clean is then false.
func decodeQP(src []byte, limit int) (out []byte, clean bool) {
	out = make([]byte, 0, min(len(src), limit+1))
	clean = true
	for len(src) > 0 && len(out) <= limit {
		line, end := src, []byte(nil)
		if i := bytes.IndexByte(src, '\n'); i >= 0 {
			line, end, src = src[:i], src[i:i+1], src[i+1:]
			if i > 0 && line[i-1] == '\r' {
				line, end = line[:i-1], crlf
			}
		} else {
			src = nil
		}
		line = bytes.TrimRight(line, " \t\r") // rule 3: blanks at the end were added on the way
		if n := len(line); n > 0 && line[n-1] == '=' {
			line, end = line[:n-1], nil
		}
		for len(line) > 0 {
			i := bytes.IndexByte(line, '=')
			if i < 0 {
				out = append(out, line...)
				break
			}
			out = append(out, line[:i]...)
			if line = line[i:]; len(line) >= 3 {
				if h, l := unhex(line[1]), unhex(line[2]); h < 16 && l < 16 {
					out = append(out, h<<4|l)
					line = line[3:]
					continue
				}
			}
			clean = false
			if len(line) > 1 && line[1] == '\r' { // a soft break of a message whose lines end in CR
				line = line[2:]
				continue
			}
			out = append(out, '=')
			line = line[1:]
		}
		out = append(out, end...)
	}
	return out, clean
}

var crlf = []byte("\r\n")

// decodeUU decodes the first uuencoded file in src (POSIX uuencode) up to a little more than limit bytes. Where there is
// none, src itself is the result.
func decodeUU(src []byte, limit int) (out []byte, clean bool) {
	began, ended := false, false
	clean = true
	for rest := src; len(rest) > 0; {
		if len(out) > limit {
			return out, clean
		}
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		line = bytes.TrimRight(line, "\r")
		switch {
		case len(line) == 0 || began && line[0] == '`':
		case !began && len(line) > 6 && bytes.HasPrefix(line, []byte("begin ")) && '0' <= line[6] && line[6] <= '7':
			began = true
		case !began || ended: // text around it, which nobody may see
			clean = clean && len(bytes.TrimSpace(line)) == 0
		case string(bytes.TrimRight(line, " ")) == "end":
			ended = true
		default:
			out = append(out, decodeUULine(line)...)
		}
	}
	if !began {
		return src, len(bytes.TrimSpace(src)) == 0
	}
	return out, clean && ended
}

// decodeUULine decodes one line; blanks cut off at its end count as zero bits.
func decodeUULine(line []byte) []byte {
	n := int(line[0]-' ') & 63
	line = line[1:]
	at := func(i int) byte {
		if i < len(line) {
			return (line[i] - ' ') & 63
		}
		return 0
	}
	out := make([]byte, 0, 66)
	for i := 0; len(out) < n; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		out = append(out, a<<2|b>>4, b<<4|c>>2, c<<6|d)
	}
	return out[:n]
}
