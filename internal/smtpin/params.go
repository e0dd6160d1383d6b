package smtpin

import (
	"fmt"
	"strconv"
	"strings"

	"postvagt/internal/mail"
)

const (
	maxPath  = 254 // octets without the angle brackets (RFC 5321, section 4.5.3.1.3)
	maxEnvID = 100 // characters (RFC 3461, section 4.4)
	maxORcpt = 500 // characters (RFC 3461, section 4.2)
)

// offers is what the connection's state lets parameters say.
type offers struct {
	tls        bool
	requireTLS bool
	auth       bool
	host       string // where <postmaster> without a domain is
}

// mailArgs is what MAIL FROM said.
type mailArgs struct {
	sender     mail.Address
	size       uint64 // SIZE=; 0 where none was given
	ret, envID string
	utf8       bool
	eightBit   bool
	requireTLS bool
}

func syntax(enhanced, format string, args ...any) *Reply {
	return &Reply{Code: 501, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}

// parseMail reads "FROM:<path> parameters". Texts of its replies name parameters by our own words only.
func parseMail(arg string, o offers) (m mailArgs, bad *Reply) {
	path, params, bad := parseArgs(arg, "FROM:")
	if bad != nil {
		return m, bad
	}
	seen := map[string]bool{}
	for _, p := range params {
		if bad := m.set(p, o); bad != nil {
			return m, bad
		}
		if seen[p.key] {
			return m, syntax("5.5.4", "a parameter stands twice")
		}
		seen[p.key] = true
	}
	if path == "" {
		return m, nil
	}
	m.sender, bad = parseMailbox(path, m.utf8, "5.1.7", "sender")
	return m, bad
}

// set takes one parameter of MAIL.
func (m *mailArgs) set(p param, o offers) *Reply {
	switch p.key {
	case "SIZE": // RFC 1870, section 4
		if len(p.value) == 0 || len(p.value) > 20 || strings.Trim(p.value, "0123456789") != "" {
			return syntax("5.5.4", "SIZE takes a number of at most 20 digits")
		}
		m.size, _ = strconv.ParseUint(p.value, 10, 64) // beyond 64 bits it stays at the largest
		return nil
	case "BODY": // RFC 6152
		switch upper(p.value) {
		case "7BIT":
		case "8BITMIME":
			m.eightBit = true
		case "BINARYMIME":
			return &Reply{Code: 504, Enhanced: "5.5.4", Text: "BINARYMIME is not offered"}
		default:
			return syntax("5.5.4", "BODY takes 7BIT or 8BITMIME")
		}
		return nil
	case "RET": // RFC 3461, section 4.3
		m.ret = upper(p.value)
		if m.ret != "FULL" && m.ret != "HDRS" {
			return syntax("5.5.4", "RET takes FULL or HDRS")
		}
		return nil
	case "ENVID": // RFC 3461, section 4.4
		if p.value == "" || len(p.value) > maxEnvID || !isXtext(p.value, '~') {
			return syntax("5.5.4", "ENVID takes at most %d characters of xtext", maxEnvID)
		}
		m.envID = p.value
		return nil
	case "SMTPUTF8": // RFC 6531, section 3.4
		m.utf8 = true
		return p.alone()
	case "REQUIRETLS": // RFC 8689, section 2
		if !o.requireTLS { // who asks for it hears at once that we cannot promise it
			return &Reply{Code: 555, Enhanced: "5.5.4", Text: "REQUIRETLS is not offered"}
		}
		if !o.tls {
			return &Reply{Code: 530, Enhanced: "5.7.0", Text: "REQUIRETLS over TLS only; say STARTTLS first"}
		}
		m.requireTLS = true
		return p.alone()
	case "AUTH": // RFC 4954, section 5: who submitted it first, as others claim. We believe nobody, and drop it.
		if o.auth && (p.value == "<>" || (p.value != "" && isXtext(p.value, '~'))) {
			return nil
		}
		if o.auth {
			return syntax("5.5.4", "AUTH takes a mailbox in xtext or <>")
		}
	}
	return unknownParam()
}

// parseRcpt reads "TO:<path> parameters".
func parseRcpt(arg string, utf8OK bool, o offers) (r Recipient, bad *Reply) {
	path, params, bad := parseArgs(arg, "TO:")
	if bad != nil {
		return r, bad
	}
	seen := map[string]bool{}
	for _, p := range params {
		if bad := r.set(p, utf8OK); bad != nil {
			return r, bad
		}
		if seen[p.key] {
			return r, syntax("5.5.4", "a parameter stands twice")
		}
		seen[p.key] = true
	}
	if path == "" {
		return r, syntax("5.1.3", "a recipient is needed")
	}
	if strings.EqualFold(path, "postmaster") { // RFC 5321, section 4.1.1.3
		path += "@" + o.host
	}
	r.Address, bad = parseMailbox(path, utf8OK, "5.1.3", "recipient")
	return r, bad
}

// set takes one parameter of RCPT.
func (r *Recipient) set(p param, utf8OK bool) *Reply {
	switch p.key {
	case "NOTIFY": // RFC 3461, section 4.1
		r.Notify = upper(p.value)
		if !validNotify(r.Notify) {
			return syntax("5.5.4", "NOTIFY takes NEVER, or SUCCESS, FAILURE and DELAY each at most once")
		}
		return nil
	case "ORCPT": // RFC 3461, section 4.2; RFC 6533, section 3
		kind, addr, ok := strings.Cut(p.value, ";")
		good := ok && isAtom(kind) && addr != "" && len(p.value) <= maxORcpt
		if strings.EqualFold(kind, "utf-8") {
			good = good && isUTF8Xtext(addr, utf8OK)
		} else {
			good = good && isXtext(addr, 0xff)
		}
		if !good {
			return syntax("5.5.4", "ORCPT takes an address type, a semicolon and an address in xtext")
		}
		r.ORcpt = p.value
		return nil
	}
	return unknownParam()
}

func unknownParam() *Reply {
	return &Reply{Code: 555, Enhanced: "5.5.4", Text: "a parameter is not offered here"}
}

// parseMailbox reads a path that is not empty. Addresses over 7 bits need SMTPUTF8 (RFC 6531, section 3.5).
func parseMailbox(path string, utf8OK bool, enhanced, whose string) (mail.Address, *Reply) {
	if !utf8OK && !isASCII(path) {
		return "", &Reply{Code: 553, Enhanced: "5.6.7", Text: "a " + whose + " address beyond ASCII needs SMTPUTF8"}
	}
	if len(path) > maxPath {
		return "", syntax(enhanced, "the %s address is too long", whose)
	}
	a, err := mail.ParseAddress(path)
	if err != nil || a == "" {
		return "", syntax(enhanced, "the %s address is not well formed", whose)
	}
	return a, nil
}

// param is one ESMTP parameter (RFC 5321, section 4.1.2); key is in upper case.
type param struct {
	key, value string
	valued     bool
}

// alone is for parameters that take no value.
func (p param) alone() *Reply {
	if p.valued {
		return syntax("5.5.4", "a parameter that takes no value has one")
	}
	return nil
}

// parseArgs splits "FROM:<path> KEY=VALUE …".
//
// QUIRK: blanks between the colon and the path are taken (RFC 5321, section 3.3 forbids them), as old clients write them.
func parseArgs(arg, word string) (path string, params []param, bad *Reply) {
	if len(arg) < len(word) || !strings.EqualFold(arg[:len(word)], word) {
		return "", nil, syntax("5.5.4", "expected %s<address>", word)
	}
	path, rest, ok := cutPath(strings.TrimLeft(arg[len(word):], " "))
	if !ok {
		return "", nil, syntax("5.5.4", "expected %s<address>", word)
	}
	for _, word := range strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' }) {
		p, ok := parseParam(word)
		if !ok {
			return "", nil, syntax("5.5.4", "a parameter is not well formed")
		}
		params = append(params, p)
	}
	return path, params, nil
}

// cutPath takes "<path>" off s and a source route off the path (RFC 5321, appendix C: accept and ignore). What follows is
// empty or begins with a blank.
func cutPath(s string) (path, rest string, ok bool) {
	end := closingBracket(s)
	if end < 0 {
		return "", "", false
	}
	path, rest = s[1:end], s[end+1:]
	if rest != "" && rest[0] != ' ' {
		return "", "", false
	}
	if strings.HasPrefix(path, "@") {
		route, mailbox, found := strings.Cut(path, ":")
		if !found || mailbox == "" || !validRoute(route) {
			return "", "", false
		}
		path = mailbox
	}
	return path, rest, true
}

// closingBracket returns where the ">" of the "<" at the start of s stands, outside quotes; -1 where there is none.
func closingBracket(s string) int {
	if s == "" || s[0] != '<' {
		return -1
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		case s[i] == '<' && !quoted:
			return -1
		}
	}
	return -1
}

// validRoute reports whether s is "@domain,@domain" of RFC 5321, section 4.1.2 (A-d-l), roughly: it is not used.
func validRoute(s string) bool {
	for _, d := range strings.Split(s, ",") {
		if len(d) < 2 || d[0] != '@' || strings.ContainsAny(d[1:], "@<>\" \\") {
			return false
		}
	}
	return true
}

func parseParam(s string) (param, bool) {
	key, value, valued := strings.Cut(s, "=")
	if !isKeyword(key) || (valued && value == "") || strings.Contains(value, "=") {
		return param{}, false
	}
	return param{key: upper(key), value: value, valued: valued}, true
}

func isKeyword(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

func isAlnum(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
}

// isAtom reports whether s is an atom of RFC 5322, the form of an address type.
func isAtom(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// isXtext reports whether s is xtext (RFC 3461, section 4): printable ASCII without "=", and "+" only before two upper
// case hex digits. What it hides must be printable too, or it would come out of a DSN as a line of its own, and at most
// last: '~', or 0xff in ORCPT, where Postfix hides the bytes of UTF-8 ("rfc822;s+C3+B8ren@…").
func isXtext(s string, last uint64) bool {
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b < '!' || b > '~' || b == '=':
			return false
		case b == '+':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			if v, _ := strconv.ParseUint(s[i+1:i+3], 16, 8); v < ' ' || v == 0x7f || v > last {
				return false
			}
			i += 2
		}
	}
	return true
}

func isHex(b byte) bool { return b >= '0' && b <= '9' || b >= 'A' && b <= 'F' }

// isUTF8Xtext reports whether s is utf-8-addr-xtext or, with SMTPUTF8, utf-8-addr-unitext (RFC 6533, section 3): "\x{HEX}"
// stands for a character.
func isUTF8Xtext(s string, utf8OK bool) bool {
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b >= 0x80:
			if !utf8OK {
				return false
			}
		case b < '!' || b > '~' || b == '=' || b == '+':
			return false
		case b == '\\':
			end := strings.IndexByte(s[i:], '}')
			if !strings.HasPrefix(s[i:], "\\x{") || end < 5 || end > 9 {
				return false
			}
			v, err := strconv.ParseUint(s[i+3:i+end], 16, 32)
			if err != nil || v < ' ' || (v >= 0x7f && v < 0xa0) || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) {
				return false
			}
			i += end
		}
	}
	return true
}

func validNotify(s string) bool {
	if s == "NEVER" {
		return true
	}
	seen := map[string]bool{}
	for _, word := range strings.Split(s, ",") {
		if (word != "SUCCESS" && word != "FAILURE" && word != "DELAY") || seen[word] {
			return false
		}
		seen[word] = true
	}
	return true
}
