package detect

import "strings"

// A number whose zeros were lost: a spreadsheet makes 101705000 of 0101705000, and people write 1.1.70-5000. Nine digits
// are many things, so Find believes in one only with a label of its own or in a column of CPR numbers, and Mask masks them
// only in text that names CPR numbers at all. The latter is wider than the former, so that Mask masks what Find finds, and it
// does not change by masking, which takes no letters away.

// cropped looks whether such a number ends with the newest group.
func (sc *scanner) cropped(w *window) bool {
	last := sc.back(0)
	switch {
	case last.n == 9: // whatever it is joined to, which masking may change
		*w = window{start: last.start, end: last.end, shape: cropped, phone: last.plus}
		copy(w.digits[1:], last.digits[:9])
	case last.n == 4 && sc.n >= 4 && (last.joint == byDash || last.joint == bySpace) && sc.cropDate(w, last):
	default:
		return false
	}
	return plausible(&w.digits) && sc.names()
}

// cropDate fills the window where day and month stand before the newest group with fewer than two digits each.
func (sc *scanner) cropDate(w *window, last *group) bool {
	day, month, year := sc.back(3), sc.back(2), sc.back(1)
	if year.n != 2 || day.n > 2 || month.n > 2 || day.n+month.n > 3 || month.joint != year.joint ||
		month.joint != byDot && month.joint != bySlash && month.joint != byDash {
		return false
	}
	*w = window{start: day.start, end: last.end, shape: cropped, cut: last.joint, inner: month.joint, last: last.joint}
	copy(w.digits[2-day.n:2], day.digits[:day.n])
	copy(w.digits[4-month.n:4], month.digits[:month.n])
	copy(w.digits[4:6], year.digits[:2])
	copy(w.digits[6:], last.digits[:4])
	return true
}

// names reports whether the text names CPR numbers anywhere. It reads the text once. [CPR is what Redact's callers put in place
// of a number, and names none.
func (sc *scanner) names() bool {
	if !sc.read {
		sc.read, sc.named = true, namesCPR(sc.s)
	}
	return sc.named
}

func namesCPR(s string) bool {
	for i := 0; i+2 < len(s); i++ {
		switch s[i] | 0x20 {
		case 'c':
			if s[i+1]|0x20 == 'p' && s[i+2]|0x20 == 'r' && (i == 0 || s[i-1] != '[') {
				return true
			}
		case 'n':
			if i >= 6 && (s[i+1]|0x20 == 'r' || s[i+1]|0x20 == 'u') && fold(s[i-6:i]) == [6]byte{'p', 'e', 'r', 's', 'o', 'n'} {
				return true
			}
		}
	}
	return false
}

func fold(s string) (b [6]byte) {
	for i := range b {
		b[i] = s[i] | 0x20
	}
	return b
}

// croppedAlone reports whether the window is neither part of a longer token nor of a longer number.
func croppedAlone(s string, w *window) bool {
	if wordBefore(s, w.start) && s[w.start-1] != '=' || wordAfter(s, w.end) {
		return false
	}
	if n := w.start; n >= 2 && strings.IndexByte("-./_ ", s[n-1]) >= 0 && s[n-2]-'0' <= 9 {
		return false
	}
	rest := s[w.end:]
	return len(rest) < 2 || strings.IndexByte("-.,/_ ", rest[0]) < 0 || rest[1]-'0' > 9
}
