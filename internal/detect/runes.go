package detect

import (
	"unicode"
	"unicode/utf8"
)

// class is what one character means to the scanner.
type class uint8

const (
	other      class = iota
	digit            // any Unicode decimal digit (category Nd)
	space            // blanks within a line, no-break and thin ones included
	tab              // a column's end
	newline          // CR or LF
	dash             // every hyphen and dash
	dot              // full stop and its look-alikes
	slash            // solidus and its look-alikes
	underscore       // stands for a blank in file names
	sign             // other punctuation that people and formats put between two numbers
	mark             // takes no room: zero-width and direction marks, soft hyphen, variation selectors, control characters
	multibyte        // of a byte: it begins a character of several bytes, or stands in one
)

// byteClass classes bytes: ASCII by what it is, the others multibyte.
var byteClass = func() (t [256]class) {
	for b := range t {
		switch {
		case b >= utf8.RuneSelf:
			t[b] = multibyte
		case b < ' ':
			t[b] = mark // NULs and other controls: nothing to the eye
		case b >= '0' && b <= '9':
			t[b] = digit
		}
	}
	for b, c := range map[byte]class{
		' ': space, '\t': tab, '\r': newline, '\n': newline, '\v': newline, '\f': newline, '-': dash, '.': dot, '/': slash, '_': underscore,
		':': sign, ';': sign, ',': sign, '+': sign, '=': sign, '~': sign, '*': sign, '|': sign, '(': sign, '[': sign, '&': sign,
	} {
		t[b] = c
	}
	return t
}()

// nd are the first characters of Unicode's blocks of ten decimal digits, ascending.
var nd = func() []rune {
	var zeros []rune
	add := func(lo, hi rune) {
		for r := lo; r+9 <= hi; r += 10 {
			zeros = append(zeros, r)
		}
	}
	for _, t := range unicode.Nd.R16 {
		add(rune(t.Lo), rune(t.Hi))
	}
	for _, t := range unicode.Nd.R32 {
		add(rune(t.Lo), rune(t.Hi))
	}
	return zeros
}()

// raised are the digits that stand above or below the line; Unicode counts them as numbers, not as decimal digits.
var raised = func() map[rune]byte {
	m := map[rune]byte{0xB9: 1, 0xB2: 2, 0xB3: 3, 0x2070: 0}
	for v := byte(4); v <= 9; v++ {
		m[0x2070+rune(v)] = v
	}
	for v := range byte(10) {
		m[0x2080+rune(v)] = v
	}
	return m
}()

// mayBegin tells which bytes can begin a decimal digit: the scanner skips all others without decoding them.
var mayBegin = func() (t [256]bool) {
	for _, zero := range nd {
		for r := zero; r < zero+10; r++ {
			t[utf8.AppendRune(nil, r)[0]] = true
		}
	}
	for r := range raised {
		t[utf8.AppendRune(nil, r)[0]] = true
	}
	return t
}()

// decimal returns the value of a decimal digit outside ASCII, raised ones included.
func decimal(r rune) (byte, bool) {
	if r < 0x2090 && (r < 0x100 || r >= 0x2070) {
		v, ok := raised[r]
		return v, ok
	}
	lo, hi := 0, len(nd)
	for lo < hi {
		mid := (lo + hi) / 2
		if nd[mid] <= r {
			lo = mid + 1
			continue
		}
		hi = mid
	}
	if lo == 0 || r-nd[lo-1] > 9 {
		return 0, false
	}
	return byte(r - nd[lo-1]), true
}

// classAt classes the character at s[i] and returns its size in bytes; value is a digit's.
func classAt(s string, i int) (c class, value byte, size int) {
	if c = byteClass[s[i]]; c != multibyte {
		return c, s[i] - '0', 1
	}
	return classLong(s, i)
}

// classLong is classAt outside ASCII.
func classLong(s string, i int) (c class, value byte, size int) {
	b := s[i]
	r, size := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && size == 1 {
		return stray(b), 0, 1
	}
	if mayBegin[b] {
		if v, ok := decimal(r); ok {
			return digit, v, size
		}
	}
	return wide(r), 0, size
}

// stray classes a byte that is no UTF-8 as windows-1252 would: undecoded headers and file names hold such.
func stray(b byte) class {
	switch b {
	case 0xA0:
		return space
	case 0x96, 0x97:
		return dash
	case 0xAD:
		return mark
	case 0xB7:
		return dot
	}
	return other
}

// wide classes a character outside ASCII that is no digit.
func wide(r rune) class {
	switch r {
	case 0x85, 0x2028, 0x2029:
		return newline
	case 0x2212, 0x2043, 0x02D7, 0x2796: // minus sign, hyphen bullet, modifier minus, heavy minus: hyphens to the eye
		return dash
	case 0xB7, 0x2022 + 2, 0x2027, 0x22C5, 0x3002, 0xFE52, 0xFF0E: // U+2024 is the one dot leader
		return dot
	case 0x2044, 0x2215, 0x29F8, 0xFF0F:
		return slash
	case 0xFF3F:
		return underscore
	case 0xAD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0, 0x20E3:
		return mark
	}
	switch {
	case r >= 0x200B && r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2060 && r <= 0x206F,
		r >= 0xFE00 && r <= 0xFE0F, r >= 0xE0000 && r <= 0xE0FFF:
		return mark
	case unicode.Is(unicode.Zs, r):
		return space
	case unicode.Is(unicode.Pd, r):
		return dash
	case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		return mark
	}
	return other
}
