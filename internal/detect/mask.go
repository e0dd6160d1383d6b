package detect

import "strings"

// Mask returns s with every possible CPR number masked: for log lines, notices, the ledger. It errs to the side of
// masking: whatever Find would find at any confidence is masked, and so is any run that could be one: ten digits that
// begin as day and month do, in any writing the scanner knows.
//
// Mask(Mask(s)) == Mask(s), and Find finds nothing in Mask(s): the dots of a masked number end its row of digits, and
// the six digits that stay are one group that no window can end with.
func Mask(s string) string { return Replace(s, masked) }

// Redact returns s with every possible CPR number, as Mask knows them, replaced by mark. mark must not hold digits, or
// the result might hold a number again.
func Redact(s, mark string) string { return Replace(s, func(*[10]byte) string { return mark }) }

// HoldsCPR reports whether Mask would change s.
func HoldsCPR(s string) bool {
	sc := scanner{s: s}
	var w window
	return sc.next(&w)
}

// Replace returns s with every stretch that Mask would mask replaced by put; its argument holds the values (0–9) of the
// first number of the stretch. Where possible numbers overlap they are one stretch, so that no part of any remains.
func Replace(s string, put func(digits *[10]byte) string) string {
	sc := scanner{s: s}
	var w window
	if !sc.next(&w) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	copied := 0
	for more := true; more; {
		start, end, digits := w.start, w.end, w.digits
		for more = sc.next(&w); more && w.start < end; more = sc.next(&w) {
			end = w.end
		}
		b.WriteString(s[copied:start])
		b.WriteString(put(&digits))
		copied = end
	}
	b.WriteString(s[copied:])
	return b.String()
}

// Spans calls yield for every stretch of s that Mask would mask, as byte offsets, in ascending order.
func Spans(s string, yield func(start, end int)) {
	sc := scanner{s: s}
	var w window
	for more := sc.next(&w); more; {
		start, end := w.start, w.end
		for more = sc.next(&w); more && w.start < end; more = sc.next(&w) {
			end = w.end
		}
		yield(start, end)
	}
}

// masked is the form of DESIGN, law 6: the birth date and four dots.
func masked(d *[10]byte) string {
	var b [7]byte
	for i := range 6 {
		b[i] = '0' + d[i]
	}
	b[6] = '-'
	return string(b[:]) + "••••"
}
