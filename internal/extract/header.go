package extract

import (
	"bytes"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// header hands out every field of p's header, its name and its value.
func (e *extractor) header(src source, p *mail.Part) {
	kind := detect.InHeader
	if p.Parent != nil {
		kind = detect.InPartHeader
	}
	for i := range p.Fields {
		f := p.Fields[i]
		place := src.place(kind, p, f.Name)
		if detect.HoldsCPR(f.Name) {
			e.text(detect.Text{Place: place, Content: f.Name})
		}
		switch fieldSort(f.Name) {
		case described:
			continue // names reads them
		case addressed:
			e.addresses(src, f, place)
		case traced:
			e.value(src, f, detect.Text{Place: place, Machine: true})
		case routed:
			e.routed(src, f, place)
		case phrased:
			e.phrased(src, f, place)
		default:
			e.value(src, f, detect.Text{Place: place})
		}
	}
}

// value hands out a field's value as decoded, and as it stands where that holds a number the decoded form does not.
func (e *extractor) value(src source, f mail.Field, t detect.Text) {
	raw := src.m.Unfolded(f)
	t.Content = raw
	if coded(raw) {
		t.Content = src.m.Decoded(f)
	}
	e.text(t)
	if t.Content == raw {
		return
	}
	var known numbers
	known.add(t.Content)
	if known.add(raw) {
		t.Content = raw
		e.text(t)
	}
}

// coded reports whether decoding may change s: it has an encoded word, or bytes that are no ASCII.
func coded(s string) bool {
	if strings.Contains(s, "=?") {
		return true
	}
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == 0x1b {
			return true
		}
	}
	return false
}

// sort of field: how its value is to be read.
type sort uint8

const (
	plain     sort = iota // a person may have written it
	described             // Content-Type and Content-Disposition: their parameters are names
	addressed             // a list of addresses
	routed                // a trace field that holds envelope addresses
	traced                // made by machines
	phrased               // words, and an id in angle brackets (RFC 2919)
)

// sorts of the fields that are not plain, by lower-case name.
//
// Trace fields and ids are machine-made: full of digits, and a number in Message-ID, In-Reply-To or References cannot be
// repaired without breaking the thread. They stay readable all the same, so they are searched, but as Machine text: only a
// number that is well marked counts (a hyphen and the check digit, or a label as in <cpr-…@fagsystem.example>), for a
// random run of digits would otherwise hold a harmless mail every day.
var sorts = map[string]sort{
	"content-type": described, "content-disposition": described,

	"from": addressed, "to": addressed, "cc": addressed, "bcc": addressed, "sender": addressed, "reply-to": addressed,
	"resent-from": addressed, "resent-to": addressed, "resent-cc": addressed, "resent-bcc": addressed, "resent-sender": addressed,
	"resent-reply-to": addressed, "mail-followup-to": addressed, "mail-reply-to": addressed, "followup-to": addressed,
	"disposition-notification-to": addressed, "return-receipt-to": addressed, "errors-to": addressed, "apparently-to": addressed,
	"x-confirm-reading-to": addressed, "x-original-from": addressed, "x-sender": addressed, "x-receiver": addressed,

	"received": routed, "x-received": routed, "return-path": routed, "delivered-to": routed, "x-original-to": routed,
	"envelope-to": routed, "x-envelope-to": routed, "x-envelope-from": routed, "x-rcpt-to": routed, "original-recipient": routed,
	"authentication-results": routed, "received-spf": routed, "x-forwarded-to": routed, "x-forwarded-for": routed,

	"message-id": traced, "in-reply-to": traced, "references": traced, "resent-message-id": traced, "content-id": traced,
	"x-ms-exchange-parent-message-id": traced, "x-microsoft-original-message-id": traced, "original-message-id": traced,
	"date": traced, "resent-date": traced, "delivery-date": traced, "expires": traced, "mime-version": traced,
	"dkim-signature": traced, "x-google-dkim-signature": traced, "domainkey-signature": traced, "autocrypt": traced,
	"thread-index": traced, "user-agent": traced, "x-mailer": traced, "x-originating-ip": traced, "x-gm-message-state": traced,
	"feedback-id": traced, "x-entity-id": traced, "x-sg-eid": traced, "x-sg-id": traced, "x-uid": traced, "x-uidl": traced,
	"x-mimeole": traced, "x-mdid": traced, "x-face": traced, "face": traced, "content-md5": traced, "content-length": traced,
	"list-unsubscribe": traced, "list-id": phrased, "list-unsubscribe-post": traced, "x-report-abuse": traced,
}

// tracedPrefixes begin the names of machine-made families.
var tracedPrefixes = []string{"arc-", "x-ms-exchange-", "x-ms-office365-", "x-microsoft-antispam", "x-forefront-", "x-exchange-antispam",
	"x-spam-", "x-google-", "x-proofpoint-", "x-barracuda-", "x-mimecast-", "x-tmase-", "x-tm-", "x-mailgun-", "x-ironport-", "x-pm-", "x-ses-",
	"x-virus-", "x-eopattributedmessage", "x-eoptenantattributedmessage", "x-amp-", "x-halone-", "x-rspamd-", "x-spamd-"}

func fieldSort(name string) sort {
	var buf [64]byte
	if len(name) > len(buf) {
		return plain
	}
	low := append(buf[:0], name...)
	for i, c := range low {
		if c >= 'A' && c <= 'Z' {
			low[i] = c + 'a' - 'A'
		}
	}
	if bytes.HasSuffix(low, []byte("subject")) || bytes.HasSuffix(low, []byte("topic")) {
		return plain // a copy of what a person wrote, whoever's field it is
	}
	if s, ok := sorts[string(low)]; ok {
		return s
	}
	for _, prefix := range tracedPrefixes {
		if len(low) >= len(prefix) && string(low[:len(prefix)]) == prefix {
			return traced
		}
	}
	return plain
}

// addresses hands out a list of addresses in two texts of the same length as the value: one with the addresses blanked,
// where a number is somebody's name, and one with everything else blanked. Addresses are sought in the undecoded value,
// so that an encoded word cannot pretend to be one (RFC 2047, section 5, rule 3).
func (e *extractor) addresses(src source, f mail.Field, place detect.Place) {
	raw := src.m.Unfolded(f)
	display := raw
	if coded(raw) {
		display = src.m.Decoded(f)
	}
	if !detect.HoldsCPR(raw) && !detect.HoldsCPR(display) && !(quoting(display) && detect.HoldsCPR(unquote(display))) {
		return
	}
	same := display == raw
	rest, only := []byte(raw), []byte(raw)
	at, numbered := 0, 0
	addrSpecs(raw, func(start, end int) {
		blank(only[at:start])
		blank(rest[start:end])
		at = end
		if !same && numbered < mostNumbered && detect.HoldsCPR(raw[start:end]) {
			numbered++
			display = strings.ReplaceAll(display, raw[start:end], strings.Repeat("\n", end-start))
		}
	})
	blank(only[at:])
	if same {
		display = string(rest)
	}
	e.text(detect.Text{Place: place, Content: display})
	e.text(detect.Text{Place: place, Content: string(only), Address: true})
	var known numbers
	known.add(display)
	known.add(string(only))
	e.unquoted(&known, detect.Text{Place: place, Content: display})
	e.unquoted(&known, detect.Text{Place: place, Content: string(only), Address: true})
	if !same && known.add(raw) { // a number that no text above had
		e.text(detect.Text{Place: place, Content: raw})
	}
}

// quoting reports whether s holds quotes or backslashes that people do not see, and digits enough for a number.
func quoting(s string) bool { return strings.ContainsAny(s, "\"\\") && digits(s) }

// unquoted hands out t as people read it, without quotes and backslashes (RFC 5322, sections 3.2.1 and 3.2.4), where a
// number stands in it that is not known.
func (e *extractor) unquoted(known *numbers, t detect.Text) {
	if !quoting(t.Content) {
		return
	}
	if t.Content = unquote(t.Content); known.add(t.Content) {
		e.text(t)
	}
}

// mostNumbered bounds how many addresses with a number are sought in a decoded value; further ones count as names.
const mostNumbered = 100

// phrased hands out the words of a field and the id behind them.
func (e *extractor) phrased(src source, f mail.Field, place detect.Place) {
	s := src.m.Decoded(f)
	i := strings.LastIndexByte(s, '<')
	if i < 0 {
		i = 0
	}
	e.text(detect.Text{Place: place, Content: s[:i]})
	e.text(detect.Text{Place: place, Content: s[i:], Machine: true})
}

// routed hands out a trace field's value in the same way: the addresses in angle brackets or with an @ are the envelope's.
func (e *extractor) routed(src source, f mail.Field, place detect.Place) {
	raw := src.m.Unfolded(f)
	if !detect.HoldsCPR(raw) {
		return
	}
	rest, only := []byte(raw), []byte(raw)
	at := 0
	addrSpecs(raw, func(start, end int) {
		blank(only[at:start])
		blank(rest[start:end])
		at = end
	})
	blank(only[at:])
	e.text(detect.Text{Place: place, Content: string(rest), Machine: true})
	e.text(detect.Text{Place: place, Content: string(only), Machine: true, Address: true})
}

// blank overwrites b with line ends, which join nothing.
func blank(b []byte) {
	for i := range b {
		b[i] = '\n'
	}
}

// addrSpecs calls yield for every addr-spec in s (RFC 5322, section 3.4.1): what stands in angle brackets and holds an @,
// and outside of them every word with an @. Quoted strings and comments are names, but for a quoted local part.
func addrSpecs(s string, yield func(start, end int)) {
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			end := quotedEnd(s, i)
			if end < len(s) && s[end] == '@' {
				end = wordEnd(s, end)
				yield(i, end)
			}
			i = end
		case '(':
			i = commentEnd(s, i)
		case '<':
			end := strings.IndexByte(s[i:], '>')
			if end < 0 {
				end = len(s) - i
			}
			if strings.IndexByte(s[i:i+end], '@') >= 0 {
				yield(i+1, i+end)
			}
			i += max(end, 1)
		case ' ', '\t', ',', ';', ':', '>', '[', ']', ')':
			i++
		default:
			end := wordEnd(s, i)
			if strings.IndexByte(s[i:end], '@') > 0 {
				yield(i, end)
			}
			i = max(end, i+1)
		}
	}
}

func quotedEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

func commentEnd(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

func wordEnd(s string, i int) int {
	if n := strings.IndexAny(s[i:], " \t,;<>()\""); n >= 0 {
		return i + n
	}
	return len(s)
}
