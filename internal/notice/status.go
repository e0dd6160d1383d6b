package notice

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
)

// part is a MIME part that machines read.
type part struct {
	mediaType string
	global    bool // holds UTF-8, so it needs an encoding (RFC 6533 and RFC 6532 allow quoted-printable for it)
	content   string
}

// status writes the delivery-status part (RFC 3464). Towards a reader with an address beyond ASCII, whose mail system
// must know RFC 6532, it is the internationalised form (RFC 6533) when some address asks for it.
func status(n Notice) part {
	global := !ascii(string(n.To)) && anyBeyondASCII(n)
	var f fields
	f.add("Reporting-MTA", "dns; "+domain(n.Reporting))
	f.add("Original-Envelope-Id", toASCII(n.Message.EnvID))
	f.date("Arrival-Date", n.Message.AcceptedAt)
	for _, s := range n.About {
		f.gap()
		f.add("Original-Recipient", originalRecipient(s.ORcpt, global))
		f.add("Final-Recipient", typedAddress(s.Recipient, global))
		f.add("Action", action(n.Tells))
		f.add("Status", enhanced(n.Tells, s))
		if s.Remote != "" {
			f.add("Remote-MTA", "dns; "+domain(s.Remote))
		}
		if s.Code >= 200 && s.Code <= 599 {
			f.add("Diagnostic-Code", "smtp; "+diagnostic(s))
		}
		f.date("Last-Attempt-Date", s.LastTry)
		if n.Tells == ledger.TellDelayed {
			f.date("Will-Retry-Until", n.Deadline)
		}
	}
	if global {
		return part{"message/global-delivery-status", true, f.String()}
	}
	return part{"message/delivery-status", false, f.String()}
}

// domain is a host as RFC 5321 writes a domain: an IP address stands in brackets (section 4.1.3), as RFC 3464, section 2.1.2 asks for too.
func domain(host string) string {
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case err != nil:
		return host
	case a.Unmap().Is4():
		return "[" + a.Unmap().String() + "]"
	}
	return "[IPv6:" + a.WithZone("").String() + "]"
}

func anyBeyondASCII(n Notice) bool {
	for _, s := range n.About {
		if !ascii(unmasked(s.Recipient)) || !ascii(unmasked(s.ORcpt)) {
			return true
		}
	}
	return false
}

// action is RFC 3464, section 2.3.3. A success is "relayed": the next hop took it, and we cannot see the mailbox.
func action(k ledger.TellKind) string {
	switch k {
	case ledger.TellReturned, ledger.TellWithdrawn:
		return "failed"
	case ledger.TellDelivered:
		return "relayed"
	}
	return "delayed"
}

var enhancedForm = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// Subject and detail of RFC 3463 codes, with the registry of RFC 5248 for X.7.10 (encryption needed).
var details = map[Problem]string{
	NoSuchAddress: "1.1",
	NoSuchDomain:  "1.2",
	MailboxFull:   "2.2",
	TooBig:        "3.4",
	RefusedThere:  "0.0",
	NoContact:     "4.1",
	NotAccepted:   "4.7",
	LevelTooLow:   "7.10",
	ByPolicy:      "7.1",
	Unsupported:   "3.3",
	OwnStore:      "3.0",
	OurSide:       "3.0",
}

// enhanced returns the status, whose class agrees with the action.
func enhanced(k ledger.TellKind, s Subject) string {
	given := ""
	if enhancedForm.MatchString(s.Enhanced) {
		given = s.Enhanced
	}
	detail, ok := details[s.Problem]
	if !ok {
		detail = "0.0"
	}
	switch action(k) {
	case "relayed":
		if strings.HasPrefix(given, "2.") {
			return given
		}
		return "2.0.0"
	case "delayed":
		if k == ledger.TellHeld {
			return "4.7.1"
		}
		if given != "" && given[0] != '2' {
			return "4" + given[1:]
		}
		return "4." + detail
	}
	if k == ledger.TellWithdrawn {
		return "5.7.1"
	}
	if given != "" && given[0] != '2' {
		return given // 4.X.X is right where it was given up after temporary failures (RFC 3464, section 2.3.4)
	}
	return "5." + detail
}

func diagnostic(s Subject) string {
	d := strconv.Itoa(s.Code)
	if enhancedForm.MatchString(s.Enhanced) && !strings.HasPrefix(s.Said, s.Enhanced) {
		d += " " + s.Enhanced
	}
	return toASCII(strings.TrimSpace(d + " " + s.Said))
}

// originalRecipient decodes ORCPT (RFC 3461, section 4.2) for Original-Recipient; "" when there is none to show.
func originalRecipient(orcpt string, global bool) string {
	kind, value, ok := strings.Cut(orcpt, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if !ok || value == "" {
		return ""
	}
	switch kind {
	case "utf-8":
		return typedAddress(safe(unembed(value), 320), global)
	case "rfc822":
		return typedAddress(safe(xtext(value), 320), global)
	}
	return "" // another sort of address, which nobody here can mask
}

// typedAddress writes "rfc822; a@b", or "utf-8; …" for an address beyond ASCII: as it is in the internationalised form,
// else as utf-8-addr-xtext (RFC 6533, section 3).
func typedAddress(shown string, global bool) string {
	a := strings.ReplaceAll(unmasked(shown), " ", "_")
	switch {
	case a == "":
		return ""
	case ascii(a):
		return "rfc822; " + a
	case global:
		return "utf-8; " + a
	}
	return "utf-8; " + embedUnicode(a)
}

// unmasked writes the masking character in ASCII: an address is not beyond ASCII because we masked it.
func unmasked(s string) string { return strings.ReplaceAll(s, "•", "*") }

// embedUnicode writes utf-8-addr-xtext: everything but printable ASCII, and "+", "=" and "\", as \x{HEX}.
func embedUnicode(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0x20 && r < 0x7f && r != '+' && r != '=' && r != '\\' {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\x{%02X}`, r)
	}
	return b.String()
}

var embedded = regexp.MustCompile(`\\x\{[0-9A-Fa-f]{2,6}\}`)

func unembed(s string) string {
	return embedded.ReplaceAllStringFunc(s, func(e string) string {
		v, err := strconv.ParseUint(e[3:len(e)-1], 16, 32)
		if err != nil || v > utf8.MaxRune {
			return "\uFFFD"
		}
		return string(rune(v))
	})
}

var hexChar = regexp.MustCompile(`\+[0-9A-F]{2}`)

// xtext decodes RFC 3461, section 4.
func xtext(s string) string {
	return hexChar.ReplaceAllStringFunc(s, func(e string) string {
		v, _ := strconv.ParseUint(e[1:], 16, 8)
		return string([]byte{byte(v)})
	})
}

// toASCII writes what may stand where only ASCII may.
func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '•':
			return '*'
		case r == '…':
			return '.'
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}

func ascii(s string) bool { return mail.Address(s).ASCII() }

// fields writes groups of header-like fields.
type fields struct{ strings.Builder }

// add leaves out a field without a value, and one that would show a number in spite of everything.
func (f *fields) add(name, value string) {
	if value == "" {
		return
	}
	f.WriteString(fold(name+": "+detect.Mask(value), 76) + "\r\n")
}

// date is not masked: its digits are ours, and "04:08:30 +0000" has the shape of a number.
func (f *fields) date(name string, t time.Time) {
	if !t.IsZero() {
		f.WriteString(name + ": " + stamp(t) + "\r\n")
	}
}

func (f *fields) gap() { f.WriteString("\r\n") }

// stamp is a date-time of RFC 5322 in Danish time.
func stamp(t time.Time) string { return t.In(danish).Format("Mon, 2 Jan 2006 15:04:05 -0700") }
