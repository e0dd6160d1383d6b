package mail

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// Text returns a text part's content as UTF-8: the declared charset, else UTF-8 where it is valid, else windows-1252.
// Text that is not what it declares is read as well as possible and reported as a Defect.
func (m *Message) Text(p *Part, limit int) (string, []Defect) {
	b, defects := m.Content(p, limit)
	s, known, clean := decodeCharset(p.Params["charset"], string(b))
	if !known {
		defects = append(defects, Defect{p.Path, DefectCharset})
	}
	if !clean {
		defects = append(defects, Defect{p.Path, DefectBadCharset})
	}
	return s, defects
}

// decodeText is decodeCharset for those who do not ask how it went.
func decodeText(charset, s string) string {
	text, _, _ := decodeCharset(charset, s)
	return text
}

// decodeCharset returns s as valid UTF-8. known says that the charset is one we know (none is), clean that s follows it.
func decodeCharset(charset, s string) (text string, known, clean bool) {
	name := charsetName(charset)
	switch name {
	case "", "us-ascii", "ascii", "utf-8", "utf8", "unknown-8bit", "x-unknown", "binary":
		// Nothing said, or nothing that 8-bit text would break: UTF-8 where it is that.
		if utf8.ValidString(s) {
			return s, true, true
		}
		return mixedUTF8(s), true, !strings.HasPrefix(name, "utf") || cutShort(s)
	case "utf-7", "utf7", "unicode-1-1-utf-7", "csunicode11utf7", "x-unicode-1-1-utf-7":
		text, clean = decodeUTF7(s)
		return text, true, clean
	}
	e, wide := lookup(name, s)
	if e == nil {
		return mixedUTF8(s), false, true
	}
	if wide && s != "" && isPlain(s) { // it says UTF-16 or EBCDIC and is ASCII or UTF-8 all the same
		return mixedUTF8(s), true, false
	}
	if !wide && !shifts(name) && isASCII(s) {
		return s, true, true
	}
	if e == charmap.Windows1252 { // what most 8-bit mail is, iso-8859-1 included
		return fromWindows1252(s), true, true
	}
	text, err := e.NewDecoder().String(s)
	if err != nil {
		return mixedUTF8(s), true, false
	}
	clean = strings.Count(text, "\uFFFD") == 0
	return strings.ToValidUTF8(text, "\uFFFD"), true, clean
}

func charsetName(s string) string {
	s = strings.TrimPrefix(strings.ToLower(strings.Trim(s, " \t\"'")), "charset=")
	if i := strings.IndexAny(s, " \t;,"); i >= 0 {
		s = s[:i]
	}
	return s
}

// lookup returns the encoding of that lower-case name, nil where there is none. wide says that ASCII bytes do not mean
// ASCII characters in it. Of text it is asked only in which order the bytes of UTF-16 stand.
func lookup(name, text string) (e encoding.Encoding, wide bool) {
	switch name {
	case "utf-16", "utf16", "ucs-2", "ucs2", "unicode", "csunicode", "iso-10646-ucs-2":
		return unicode.UTF16(byteOrder(text), unicode.UseBOM), true
	case "utf-16le", "utf16le", "unicodefeff":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), true
	case "utf-16be", "utf16be", "unicodefffe":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM), true
	case "utf-32", "utf32", "utf-32be", "utf32be", "ucs-4", "iso-10646-ucs-4":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM), true
	case "utf-32le", "utf32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.UseBOM), true
	}
	for _, n := range []string{name, respell(name)} {
		if n == "" {
			continue
		}
		if e, err := htmlindex.Get(n); err == nil && e != nil && e != encoding.Replacement {
			return e, false
		}
		if e, err := ianaindex.IANA.Encoding(n); err == nil && e != nil {
			switch e {
			case charmap.CodePage037, charmap.CodePage1047, charmap.CodePage1140: // EBCDIC
				return e, true
			}
			return e, false
		}
	}
	return nil, false
}

// shifts reports whether ASCII bytes can shift to other characters in this charset.
func shifts(name string) bool {
	return strings.HasPrefix(name, "iso-2022") || strings.HasPrefix(name, "csiso2022") || strings.HasPrefix(name, "hz")
}

// byteOrder guesses the order of UTF-16 without a byte order mark from where the zero bytes of its ASCII stand. RFC 2781,
// section 4.3 says big-endian; what sends it without mark is Windows.
func byteOrder(text string) unicode.Endianness {
	zeros := [2]int{}
	for i := range min(len(text), 1024) {
		if text[i] == 0 {
			zeros[i&1]++
		}
	}
	if zeros[0] > zeros[1] {
		return unicode.BigEndian
	}
	return unicode.LittleEndian
}

// respell writes names as the indexes have them: "iso8859-15", "iso_8859-15", "win1252", "cp-1252".
func respell(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if isAlnum(name[i]) {
			b.WriteByte(name[i])
		}
	}
	s := b.String()
	for _, p := range []struct{ from, to string }{
		{"iso8859", "iso-8859-"}, {"8859", "iso-8859-"}, {"latin", "latin"}, {"windows", "windows-"}, {"win", "windows-"},
		{"cp125", "windows-125"}, {"cp", "cp"}, {"ibm", "ibm"}, {"koi8", "koi8-"},
	} {
		if rest, ok := strings.CutPrefix(s, p.from); ok {
			return p.to + rest
		}
	}
	return ""
}

// isPlain reports whether s is ASCII or UTF-8 text without NULs.
func isPlain(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// cutShort reports whether s, which is not UTF-8, is that but for a character cut off at its end by a limit.
func cutShort(s string) bool {
	for i := 1; i <= 3 && i <= len(s); i++ {
		if utf8.RuneStart(s[len(s)-i]) {
			return !utf8.FullRuneInString(s[len(s)-i:]) && utf8.ValidString(s[:len(s)-i])
		}
	}
	return false
}

func windows1252(b byte) rune { return charmap.Windows1252.DecodeByte(b) }

func fromWindows1252(s string) string {
	b := make([]byte, 0, len(s)+len(s)/8)
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b = append(b, s[i])
		} else {
			b = utf8.AppendRune(b, windows1252(s[i]))
		}
	}
	return string(b)
}

func isASCII(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		if (s[0]|s[1]|s[2]|s[3]|s[4]|s[5]|s[6]|s[7])&utf8.RuneSelf != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
