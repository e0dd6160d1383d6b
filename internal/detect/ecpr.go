package detect

import (
	"unicode"
	"unicode/utf8"
)

// An e-CPR (DOMAIN section 1) is what health care gives to those who have no number: DDMMYYCAAG, where C names the century
// and the issuer and AA are letters. Ids are full of digits and letters, so it counts only between the bounds of a word,
// and in capitals, as it is written.

// lettered looks whether an e-CPR's digits end with the newest group, and its letters and last digit follow.
func (sc *scanner) lettered(w *window) bool {
	last := sc.back(0)
	first, cut := last, none
	if last.n == 1 {
		if sc.n < 2 || sc.back(1).n != 6 || last.joint.weak() {
			return false
		}
		first, cut = sc.back(1), last.joint
	}
	s, at := sc.s, last.end
	if at+3 > len(s) || !capital(s[at]) || !capital(s[at+1]) || s[at+2]-'0' > 9 || wordBefore(s, first.start) || wordAfter(s, at+3) {
		return false
	}
	*w = window{start: first.start, end: at + 3, shape: lettered, cut: cut, inner: cut, last: cut}
	n := copy(w.digits[:], first.digits[:first.n])
	if first != last {
		w.digits[n] = last.digits[0]
	}
	w.digits[7], w.digits[8], w.digits[9] = s[at]-'A'+10, s[at+1]-'A'+10, s[at+2]-'0'
	if !plausible(&w.digits) || eCentury(w.digits[6]) == 0 {
		return false
	}
	sc.pos, sc.n = at+3, 0 // its last digit begins no group, not even with a mark that takes no room behind it
	return true
}

// eCentury returns the century of an e-CPR, 0 where there is none: national 1 and 7, decentral 5, 0 and 6.
func eCentury(c byte) int {
	switch c {
	case 5:
		return 1800
	case 0, 1:
		return 1900
	case 6, 7:
		return 2000
	}
	return 0
}

func capital(c byte) bool { return c >= 'A' && c <= 'Z' }

// wordBefore reports whether a letter, a digit or a sign of ids stands directly before s[i], wordAfter whether one stands at it.
func wordBefore(s string, i int) bool {
	r, n := utf8.DecodeLastRuneInString(s[:i])
	return n > 0 && inWord(r)
}

func wordAfter(s string, i int) bool {
	r, n := utf8.DecodeRuneInString(s[i:])
	return n > 0 && inWord(r)
}

func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '=' || r == '+' || r == '/' || r == '@'
}
