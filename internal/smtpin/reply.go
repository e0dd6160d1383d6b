package smtpin

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"postvagt/internal/detect"
)

const (
	replyLine  = 400 // octets of text in a reply line; RFC 5321, section 4.5.3.1.5, allows 512 with code and CRLF
	replyLines = 40
)

// appendReply appends r in wire form (RFC 5321, section 4.2.1). text may hold several lines. Without an enhanced code
// none is written: the greeting, 3yz and the answer to EHLO have none (RFC 2034, section 4).
func appendReply(out []byte, code int, enhanced, text string) []byte {
	for {
		line, rest, more := strings.Cut(text, "\n")
		out = strconv.AppendInt(out, int64(code), 10)
		if more {
			out = append(out, '-')
		} else {
			out = append(out, ' ')
		}
		if enhanced != "" {
			out = append(out, enhanced...)
			out = append(out, ' ')
		}
		out = append(out, line...)
		out = append(out, '\r', '\n')
		if !more {
			return out
		}
		text = rest
	}
}

// usable makes a Handler's Reply fit for the wire: a code and an enhanced code that agree, a text without numbers,
// control characters and overlong lines. A reply that is none (no 2yz, 4yz or 5yz) becomes 451, as nothing may be lost by it.
func usable(r *Reply, utf8OK bool) *Reply {
	if class := r.Code / 100; class != 2 && class != 4 && class != 5 {
		return &Reply{Code: 451, Enhanced: "4.3.0", Text: textLocalError,
			Err: fmt.Errorf("handler gave the reply code %d, which is no answer", r.Code)}
	}
	u := *r
	if !validEnhanced(u.Enhanced) || u.Enhanced[0] != byte('0'+u.Code/100) {
		u.Enhanced = strconv.Itoa(u.Code/100) + ".0.0"
	}
	u.Text = cleanText(u.Text, utf8OK)
	return &u
}

// validEnhanced reports whether s is an enhanced status code (RFC 3463, section 2).
func validEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || (parts[0] != "2" && parts[0] != "4" && parts[0] != "5") {
		return false
	}
	for _, p := range parts[1:] {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// cleanText returns text fit for a reply: CPR numbers masked (law 6), no control characters but the line feeds between
// lines, lines of at most replyLine octets, and ASCII only where the client has not asked for SMTPUTF8 (RFC 6531, section 3.7.4).
func cleanText(text string, utf8OK bool) string {
	text = strings.ReplaceAll(detect.Mask(text), "\r\n", "\n")
	var b strings.Builder
	lines, width := 1, 0
	for _, r := range strings.TrimSpace(text) {
		if r == '\n' || width >= replyLine {
			if lines == replyLines {
				break
			}
			b.WriteByte('\n')
			lines, width = lines+1, 0
			if r == '\n' {
				continue
			}
		}
		s := replyRune(r, utf8OK)
		b.WriteString(s)
		width += len(s)
	}
	return strings.Trim(b.String(), " \n")
}

// asciiFor spells out what Danish texts are full of for clients that read ASCII only.
var asciiFor = map[rune]string{'æ': "ae", 'ø': "oe", 'å': "aa", 'Æ': "Ae", 'Ø': "Oe", 'Å': "Aa", 'é': "e", 'É': "E",
	'ü': "u", 'ö': "o", 'ä': "a", '–': "-", '—': "-", '’': "'", '”': `"`, '“': `"`, '»': `"`, '«': `"`, '…': "...", '•': "*", '\u00a0': " "}

func replyRune(r rune, utf8OK bool) string {
	switch {
	case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029':
		return " "
	case r < utf8.RuneSelf || utf8OK:
		return string(r)
	case asciiFor[r] != "":
		return asciiFor[r]
	}
	return "?"
}
