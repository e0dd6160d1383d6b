package repair

import (
	"bytes"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

func asciiCharset(cs string) bool {
	switch strings.ToLower(strings.TrimSpace(cs)) {
	case "", "us-ascii", "ascii", "ansi_x3.4-1968":
		return true
	}
	return false
}

// wide are the charsets in which an ASCII character is not its own byte, or need not be.
func wide(cs string) bool {
	cs = strings.ToLower(cs)
	for _, s := range []string{"utf-16", "utf16", "utf-32", "utf32", "utf-7", "utf7", "unicode", "csunicode", "x-unicode", "ucs",
		"iso-10646", "ebcdic", "cp037", "ibm037", "ibm-037", "ibm1047", "cp1047", "cp500", "ibm500", "cp1140", "ibm1140", "ibm01140",
		"hz-gb", "replacement"} {
		if strings.HasPrefix(cs, s) {
			return true
		}
	}
	return false
}

// knownCharset reports whether ASCII text can be put into a text of the charset as it is.
func knownCharset(cs string) bool {
	cs = strings.TrimSpace(cs)
	return asciiCharset(cs) || !wide(cs) && charsetOf(cs) != nil
}

// charsetOf returns the charset by its strict meaning where the register of IANA has one.
func charsetOf(cs string) encoding.Encoding {
	cs = strings.ToLower(strings.TrimSpace(cs))
	for _, name := range []string{cs, strings.NewReplacer("_", "-", "iso8859", "iso-8859", "win1252", "windows-1252").Replace(cs)} {
		if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
			return e
		}
		if e, err := htmlindex.Get(name); err == nil {
			return e
		}
	}
	return nil
}

// inUTF8 returns b, text in the charset, as UTF-8; not ok: it would not be the same text again.
func inUTF8(cs string, b []byte) ([]byte, bool) {
	if strings.HasPrefix(strings.ToLower(cs), "iso-2022") { // a text can be written there in many ways
		return nil, false
	}
	e, err := htmlindex.Get(cs) // as mail programs read it: what says ISO-8859-1 is windows-1252
	if err != nil {
		e = charsetOf(cs)
	}
	if e == nil {
		return nil, false
	}
	text, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return nil, false
	}
	back, err := e.NewEncoder().Bytes(text)
	return text, err == nil && bytes.Equal(back, b)
}

// encodeIn writes s in the charset; not ok: it cannot, or not so that it reads the same.
func encodeIn(cs, s string) ([]byte, bool) {
	cs = strings.ToLower(strings.TrimSpace(cs))
	if isASCII([]byte(s)) {
		return []byte(s), true
	}
	if asciiCharset(cs) || strings.HasPrefix(cs, "iso-2022") {
		return nil, false
	}
	if cs == "utf-8" || cs == "utf8" {
		return []byte(s), true
	}
	e := charsetOf(cs)
	if e == nil {
		return nil, false
	}
	b, err := e.NewEncoder().Bytes([]byte(s))
	if err != nil {
		return nil, false
	}
	back, err := e.NewDecoder().Bytes(b)
	return b, err == nil && string(back) == s
}

// lineStart moves at behind a line end that follows right there.
func lineStart(b []byte, at int) int {
	switch {
	case bytes.HasPrefix(b[at:], []byte("\r\n")):
		return at + 2
	case bytes.HasPrefix(b[at:], []byte("\n")):
		return at + 1
	}
	return at
}

// quotedOffset returns the place in quoted-printable text at which n decoded bytes have been read.
func quotedOffset(b []byte, n int) (int, bool) {
	i := 0
	for n > 0 && i < len(b) {
		if b[i] != '=' {
			blanks := len(b[i:]) - len(bytes.TrimLeft(b[i:], " \t"))
			if blanks > 0 && lineStart(b, i+blanks) > i+blanks {
				i += blanks // blanks before a line end are padding (rule 3)
				continue
			}
			k := min(max(blanks, 1), n) // all of a run at once, or each blank would look at the rest of it
			i += k
			n -= k
			continue
		}
		rest := b[i+1:]
		trimmed := bytes.TrimLeft(rest, " \t")
		switch {
		case bytes.HasPrefix(trimmed, []byte("\r\n")):
			i += 1 + len(rest) - len(trimmed) + 2
		case bytes.HasPrefix(trimmed, []byte("\n")):
			i += 1 + len(rest) - len(trimmed) + 1
		case len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1]):
			i += 3
			n--
		default:
			return 0, false // broken here: where the tag ends cannot be said
		}
	}
	return i, n == 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
