package mail

import "strings"

// decodeUTF7 decodes RFC 2152. Bytes over 127 and broken runs are kept as they stand; clean is then false.
func decodeUTF7(s string) (text string, clean bool) {
	var b strings.Builder
	b.Grow(len(s))
	clean = true
	for i := 0; i < len(s); {
		if s[i] != '+' {
			j := strings.IndexByte(s[i:], '+')
			if j < 0 {
				j = len(s) - i
			}
			clean = clean && isASCII(s[i:i+j])
			b.WriteString(mixedUTF8(s[i : i+j]))
			i += j
			continue
		}
		i++
		if i < len(s) && s[i] == '-' {
			b.WriteByte('+')
			i++
			continue
		}
		start := i
		for i < len(s) && base64Values[s[i]] < 64 {
			i++
		}
		if i == start {
			b.WriteByte('+')
			clean = false
			continue
		}
		clean = writeUTF16(&b, s[start:i]) && clean
		if i < len(s) && s[i] == '-' {
			i++
		}
	}
	return b.String(), clean
}

// writeUTF16 writes the UTF-16 that the base64 characters of s hold.
func writeUTF16(b *strings.Builder, s string) (clean bool) {
	var acc uint32
	bits, high := 0, rune(0)
	clean = true
	for i := range len(s) {
		acc = acc<<6 | uint32(base64Values[s[i]])
		if bits += 6; bits < 16 {
			continue
		}
		bits -= 16
		u := rune(acc >> bits & 0xffff)
		switch {
		case 0xd800 <= u && u < 0xdc00:
			clean = clean && high == 0
			high = u
		case 0xdc00 <= u && u < 0xe000 && high != 0:
			b.WriteRune((high-0xd800)<<10 | (u - 0xdc00) + 0x10000)
			high = 0
		case 0xdc00 <= u && u < 0xe000:
			clean = false
		default:
			clean = clean && high == 0
			high = 0
			b.WriteRune(u)
		}
	}
	return clean && high == 0
}
