package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Address is a mailbox in the form of RFC 5321, section 4.1.2 ("local-part@domain"), UTF-8 where SMTPUTF8 allows it.
// The domain is lower case, with U-labels as given; the local part is as the client wrote it. The empty Address is the
// null reverse-path. Make one with ParseAddress, so that the rest of the program can rely on its form.
type Address string

// Sizes in octets: RFC 5321, section 4.5.3.1, and section 4.5.3.1.3 less the angle brackets of a path.
const (
	maxLocal   = 64
	maxDomain  = 255
	maxAddress = 254
)

// ParseAddress reads a mailbox without angle brackets. Quoted local parts and address literals are allowed. Errors do not
// repeat the address, which may hold a CPR number.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxAddress {
		return "", fmt.Errorf("address longer than %d octets", maxAddress)
	}
	if !utf8.ValidString(s) {
		return "", errors.New("address is not UTF-8")
	}
	at := localEnd(s)
	if at < 0 {
		return "", errors.New("address without @")
	}
	local, domain := s[:at], strings.ToLower(s[at+1:])
	if err := checkLocal(local); err != nil {
		return "", err
	}
	if err := checkDomain(domain); err != nil {
		return "", err
	}
	if len(local)+1+len(domain) > maxAddress { // lower case may be longer
		return "", fmt.Errorf("address longer than %d octets", maxAddress)
	}
	return Address(local + "@" + domain), nil
}

// localEnd returns the index of the @ that ends the local part, -1 where there is none.
func localEnd(s string) int {
	if !strings.HasPrefix(s, `"`) {
		return strings.IndexByte(s, '@')
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i+1 < len(s) && s[i+1] == '@' {
				return i + 1
			}
			return -1
		}
	}
	return -1
}

func checkLocal(s string) error {
	if s == "" {
		return errors.New("address without local part")
	}
	if len(s) > maxLocal {
		return fmt.Errorf("local part longer than %d octets", maxLocal)
	}
	if s[0] == '"' { // localEnd has seen to the closing quote
		for _, r := range s[1 : len(s)-1] {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				return errors.New("control character in local part")
			}
		}
		return nil
	}
	for _, atom := range strings.Split(s, ".") {
		if atom == "" {
			return errors.New("dot at the edge of the local part, or two together")
		}
		for _, r := range atom {
			if !isAtom(r) {
				return errors.New("character in local part that must be quoted")
			}
		}
	}
	return nil
}

// isAtom is atext of RFC 5322, section 3.2.3 with the UTF-8 of RFC 6531, section 3.3.
func isAtom(r rune) bool {
	if r >= utf8.RuneSelf {
		return !unicode.IsControl(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r)
	}
	return isAlnum(byte(r)) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(r)) >= 0
}

func checkDomain(s string) error {
	if s == "" {
		return errors.New("address without domain")
	}
	if len(s) > maxDomain {
		return fmt.Errorf("domain longer than %d octets", maxDomain)
	}
	if s[0] == '[' {
		return checkLiteral(s)
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 && isASCII(label) {
			return errors.New("domain with an empty or too long label")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("hyphen at the edge of a domain label")
		}
		for _, r := range label {
			if r < utf8.RuneSelf && !isAlnum(byte(r)) && r != '-' && r != '_' ||
				r >= utf8.RuneSelf && !unicode.In(r, unicode.L, unicode.M, unicode.N) {
				return errors.New("character in domain that may not stand there")
			}
		}
	}
	return nil
}

// checkLiteral checks an address literal in lower case (RFC 5321, section 4.1.3); general literals are not accepted.
func checkLiteral(s string) error {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return errors.New("address literal without closing bracket")
	}
	v6, is6 := strings.CutPrefix(inner, "ipv6:")
	ip, err := netip.ParseAddr(v6)
	if err != nil || ip.Zone() != "" || ip.Is6() != is6 {
		return errors.New("address literal that is no IP address")
	}
	return nil
}

// Local returns the local part, as written.
func (a Address) Local() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 { // no domain holds an @
		return string(a[:i])
	}
	return string(a)
}

// Domain returns the domain in lower case; an address literal keeps its brackets.
func (a Address) Domain() string {
	if i := strings.LastIndexByte(string(a), '@'); i >= 0 {
		return string(a[i+1:])
	}
	return ""
}

// ASCII reports whether the address can travel without SMTPUTF8 (RFC 6531).
func (a Address) ASCII() bool { return isASCII(string(a)) }

// Key returns a form for comparing: two addresses with the same Key reach the same mailbox with every mail server seen,
// though RFC 5321, section 2.4 would let the local parts differ in case. A quoted local part is kept as it is.
func (a Address) Key() string {
	local := a.Local()
	if a == "" || strings.HasPrefix(local, `"`) {
		return string(a)
	}
	return strings.ToLower(local) + "@" + a.Domain()
}
