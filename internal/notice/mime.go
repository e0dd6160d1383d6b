package notice

import (
	"bytes"
	"mime/quotedprintable"
	netmail "net/mail"
	"regexp"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// mimeWriter writes the message. Boundaries follow from the notice's id; "=_" never stands in quoted-printable, and the
// status part's lines never begin with "--".
type mimeWriter struct {
	id string
	b  bytes.Buffer
}

func (m *mimeWriter) bytes() []byte { return m.b.Bytes() }

func (m *mimeWriter) line(s string) { m.b.WriteString(s + "\r\n") }

// head writes the message's own fields, all but the content type.
func (m *mimeWriter) head(n Notice, subject string) {
	m.line("Date: " + stamp(n.At))
	m.line(fold("From: "+mailbox(n.Authority+" (Postvagt)", n.From), 76))
	m.line(fold("To: "+mailbox("", n.To), 76))
	m.line(fold("Subject: "+encoded(detect.Mask(subject)), 76))
	m.line(fold("Message-ID: <"+m.id+"@"+n.Reporting+">", 76))
	kind := "auto-generated"
	if toSender(n) {
		kind = "auto-replied" // RFC 3834, section 5
		if id := headerID(n.Message.HeaderID); id != "" {
			m.line(fold("In-Reply-To: "+id, 76))
			m.line(fold("References: "+id, 76))
		}
	}
	m.line("Auto-Submitted: " + kind)
	m.line("X-Auto-Response-Suppress: All")
	m.line("MIME-Version: 1.0")
}

// headerIDForm is an id that can stand in In-Reply-To as it is.
var headerIDForm = regexp.MustCompile(`^<[!-;=?-~]{1,250}@[!-;=?-~]{1,250}>$`)

// headerID returns the original's Message-ID if it is well formed and certainly holds no number.
func headerID(id string) string {
	if !headerIDForm.MatchString(id) || detect.HoldsCPR(id) || strings.Contains(id, "=?") {
		return ""
	}
	return id
}

// mailbox writes a name and an address. An address that cannot stand in a 7-bit header, or would show a number there, is
// written as an empty group with the masked address as its name, as RFC 6857 does; the envelope has it.
func mailbox(name string, a mail.Address) string {
	s := string(a)
	if _, err := netmail.ParseAddress("<" + s + ">"); err != nil || !ascii(s) || detect.HoldsCPR(s) || strings.Contains(s, "=?") {
		return phrase(strings.TrimSpace(name+" "+safe(s, 320))) + ":;"
	}
	if name == "" {
		return "<" + s + ">"
	}
	return phrase(name) + " <" + s + ">"
}

// phrase writes a display name: encoded words where it is not plain, else a quoted string.
func phrase(s string) string {
	s = strings.ReplaceAll(s, "=?", "= ?")
	if !ascii(s) || len(s) > 60 {
		return encodedAlways(s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func encoded(s string) string {
	s = strings.ReplaceAll(s, "=?", "= ?")
	if ascii(s) && longest(s) < 70 {
		return s
	}
	return encodedAlways(s)
}

func longest(s string) int {
	most := 0
	for _, w := range strings.Fields(s) {
		most = max(most, len(w))
	}
	return most
}

// encodedAlways writes encoded words of RFC 2047 also for ASCII, so that long words can be folded. In a phrase only
// letters, digits and a few signs may stand unencoded (section 5, rule 3), so everything else is encoded everywhere.
func encodedAlways(s string) string {
	const open, closing, most = "=?utf-8?q?", "?=", 66
	var b strings.Builder
	word := open
	for _, r := range s {
		var piece string
		switch {
		case r == ' ':
			piece = "_"
		case r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!*+-/", r)):
			piece = string(r)
		default:
			const hex = "0123456789ABCDEF"
			for _, c := range []byte(string(r)) {
				piece += string([]byte{'=', hex[c>>4], hex[c&15]})
			}
		}
		if len(word)+len(piece)+len(closing) > most {
			b.WriteString(word + closing + " ")
			word = open
		}
		word += piece
	}
	return b.String() + word + closing
}

// alternative writes the text and the HTML.
func (m *mimeWriter) alternative(docs []document) {
	b := "=_" + m.id + ".a"
	m.line("Content-Type: multipart/alternative;")
	m.line(` boundary="` + b + `"`)
	m.line("Content-Language: " + docs[0].lang + ", " + docs[1].lang)
	m.line("")
	m.line("--" + b)
	m.leaf("text/plain; charset=utf-8", plain(docs))
	m.line("--" + b)
	m.leaf("text/html; charset=utf-8", asHTML(docs))
	m.line("--" + b + "--")
}

// report writes a multipart/report (RFC 6522) without the third part: a returned subject would be a new leak.
func (m *mimeWriter) report(first func(), p part) {
	b := "=_" + m.id + ".r"
	m.line("Content-Type: multipart/report; report-type=" + strings.TrimPrefix(p.mediaType, "message/") + ";")
	m.line(` boundary="` + b + `"`)
	m.line("")
	m.line("--" + b)
	first()
	m.line("--" + b)
	if p.global {
		m.leaf(p.mediaType, strings.ReplaceAll(p.content, "\r\n", "\n"))
	} else {
		m.line("Content-Type: " + p.mediaType)
		m.line("")
		m.b.WriteString(p.content)
	}
	m.line("--" + b + "--")
}

// leaf writes a part in quoted-printable. content has LF line ends.
func (m *mimeWriter) leaf(mediaType, content string) {
	m.line("Content-Type: " + mediaType)
	m.line("Content-Transfer-Encoding: quoted-printable")
	m.line("")
	w := quotedprintable.NewWriter(&m.b)
	w.Write([]byte(content)) // a bytes.Buffer takes everything
	w.Close()
	if !strings.HasSuffix(content, "\n") {
		m.line("")
	}
}

// fold breaks a field at blanks into lines of at most width characters. A single word longer than that stays whole, up
// to the limit of RFC 5322, section 2.1.1.
func fold(s string, width int) string {
	name, value, _ := strings.Cut(s, ": ")
	var b strings.Builder
	b.WriteString(name + ":")
	col := len(name) + 1
	for i, w := range strings.Fields(value) {
		if len(w) > 900 {
			w = w[:900]
		}
		if i > 0 && col+1+len(w) > width {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(" " + w)
		col += 1 + len(w)
	}
	return b.String()
}
