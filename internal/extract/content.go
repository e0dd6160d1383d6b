package extract

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// form is how a part's content is read.
type form uint8

const (
	asText      form = iota // as it stands
	asHTML                  // by its mark-up
	asFlowed                // lines that end in a blank go on (RFC 3676)
	asFolded                // calendars and cards: lines go on after a line end and a blank (RFC 5545, section 3.1)
	asJSON                  // text with escapes
	asXML                   // text with entities and tags
	asMessage               // an attached message in a transfer encoding of its own
	asSignature             // a detached signature: bytes that say nothing
	asSMIME                 // S/MIME
	asBinary                // not read
	asNothing               // its parts are read
)

// forms by media type, for what the prefixes in formOf do not say.
var forms = map[string]form{
	"text/html": asHTML, "application/xhtml+xml": asHTML, "text/x-amp-html": asHTML, "text/watch-html": asHTML,
	"text/calendar": asFolded, "text/vcard": asFolded, "text/x-vcard": asFolded, "text/directory": asFolded, "application/ics": asFolded,
	"application/json": asJSON, "text/json": asJSON, "application/javascript": asJSON, "text/javascript": asJSON,
	"application/xml": asXML, "text/xml": asXML, "application/xml-dtd": asXML,
	"application/csv": asText, "application/x-csv": asText, "application/sql": asText, "application/yaml": asText, "application/x-yaml": asText,
	"application/pgp-encrypted": asText, "application/pgp-keys": asText, "application/pgp-signature": asText,
	"application/pkcs7-signature": asSignature, "application/x-pkcs7-signature": asSignature,
	"application/pkcs7-mime": asSMIME, "application/x-pkcs7-mime": asSMIME,
	"message/rfc822": asMessage, "message/global": asMessage, "message/news": asMessage,
	"message/partial": asBinary, "text/rtf": asBinary, "text/richtext-compressed": asBinary,
}

func formOf(p *mail.Part) form {
	if len(p.Parts) > 0 {
		return asNothing
	}
	t := p.MediaType
	if t == "text/plain" && strings.EqualFold(p.Params["format"], "flowed") {
		return asFlowed
	}
	if f, ok := forms[t]; ok {
		return f
	}
	switch {
	case strings.HasSuffix(t, "+json"):
		return asJSON
	case strings.HasSuffix(t, "+xml"):
		return asXML
	case strings.HasPrefix(t, "text/"), strings.HasPrefix(t, "message/"), strings.HasPrefix(t, "multipart/"):
		return asText
	}
	return asBinary
}

// content reads what p holds and sets the facts its type tells. main says that p begins the body.
func (e *extractor) content(src source, p *mail.Part, main bool) {
	switch p.MediaType {
	case "multipart/signed":
		e.facts.Signed = e.facts.Signed || !src.inside
	case "multipart/encrypted":
		e.facts.Encrypted = e.facts.Encrypted || !src.inside
		e.unread(src, p, "encrypted: "+shown(p.Params["protocol"]))
	case "message/external-body":
		e.unread(src, p, "the content lies elsewhere: "+p.MediaType)
	}
	if p.Body.Len() == 0 {
		return
	}
	switch f := formOf(p); f {
	case asNothing:
	case asMessage:
		e.attachedMessage(src, p)
	case asSMIME:
		e.smime(src, p, main)
	case asSignature:
		if !signature(p) {
			e.binary(src, p, main)
		}
	case asBinary:
		e.binary(src, p, main)
	default:
		e.textual(src, p, f, main)
	}
}

// signature reports whether p is what its type says: the second part of a signed one, and no larger than signatures with
// their certificates are.
func signature(p *mail.Part) bool {
	const most = 64 << 10
	up := p.Parent
	return up != nil && up.MediaType == "multipart/signed" && len(up.Parts) == 2 && up.Parts[1] == p && p.Body.Len() <= most
}

// smime tells an opaque S/MIME part (RFC 8551, section 3.2.2). Its type is what the sender says it is: signed content is
// as unread and as unchangeable as encrypted content, but it is not secret.
func (e *extractor) smime(src source, p *mail.Part, main bool) {
	switch strings.ToLower(p.Params["smime-type"]) {
	case "signed-data", "signed-receipt":
		e.facts.Signed = e.facts.Signed || main
		e.unread(src, p, "opaque-signed content is not read yet: S/MIME")
	case "certs-only", "compressed-data":
		e.unread(src, p, "attachment content is not read yet: "+p.MediaType+" "+strings.ToLower(p.Params["smime-type"]))
	default:
		e.facts.Encrypted = e.facts.Encrypted || main
		e.unread(src, p, "encrypted: S/MIME")
	}
}

// attachedMessage opens an attached message that its transfer encoding hid from the parser (RFC 2046, section 5.2.1
// forbids such encodings; programs write them all the same).
func (e *extractor) attachedMessage(src source, p *mail.Part) {
	if e.opened == 0 {
		e.unread(src, p, string(mail.DefectDepth))
		return
	}
	b, defects := src.m.Content(p, min(e.o.TextBytes, e.budget))
	e.budget -= len(b)
	e.undecoded(src, p, defects)
	e.opened--
	e.message(mail.Parse(b, mail.Limits{}), src.path(p.Path), true)
	e.opened++
}

// undecoded tells of content that did not decode.
func (e *extractor) undecoded(src source, p *mail.Part, defects []mail.Defect) {
	for _, d := range defects {
		switch {
		case unreadDefects[d.What]:
			e.unread(src, p, string(d.What))
		case d.What == mail.DefectBadEncoding && p.Encoding != "quoted-printable":
			// What quoted-printable leaves is there to be read; of the others nobody knows what is missing.
			e.unread(src, p, string(d.What))
		}
	}
}

// textual reads a part that is text of form f.
func (e *extractor) textual(src source, p *mail.Part, f form, main bool) {
	content, defects := src.m.Text(p, e.o.TextBytes)
	e.undecoded(src, p, defects)
	e.inline(src, p, content, main)
	place := src.contentPlace(p)
	switch f {
	case asHTML:
		e.html(content, place, 0)
	case asFolded:
		content = unfoldLines(content)
		if carries(content) {
			e.unread(src, p, "attachment content is not read yet: within a calendar or card")
		}
		e.text(detect.Text{Place: place, Content: content})
	case asJSON:
		e.variant(content, unescapeJSON(content), place)
	case asXML:
		e.xml(content, place)
	case asFlowed:
		e.variant(content, unflow(content, strings.EqualFold(p.Params["delsp"], "yes")), place)
	default:
		e.text(detect.Text{Place: place, Content: content})
	}
	e.misread(src, p, defects)
}

// misread hands out the bytes as they came where they did not follow their encoding: what stands there in the open must
// not hide behind a label that says it is encoded.
func (e *extractor) misread(src source, p *mail.Part, defects []mail.Defect) {
	for _, d := range defects {
		if d.What == mail.DefectBadEncoding {
			b := src.m.Bytes(p.Body)
			e.text(detect.Text{Place: src.place(detect.InHidden, p, p.FileName), Content: string(b[:min(len(b), e.o.TextBytes)])})
			return
		}
	}
}

// variant hands out a text, and another reading of it where that holds other numbers.
func (e *extractor) variant(content, reading string, place detect.Place) {
	e.text(detect.Text{Place: place, Content: content})
	if reading == content {
		return
	}
	var known numbers
	known.add(content)
	if known.add(reading) {
		e.text(detect.Text{Place: place, Content: reading})
	}
}

// inline finds what older programs put into plain text: PGP and uuencoded files.
func (e *extractor) inline(src source, p *mail.Part, content string, main bool) {
	switch {
	case strings.Contains(content, "-----BEGIN PGP MESSAGE-----"):
		e.facts.Encrypted = e.facts.Encrypted || main && !src.inside
		e.unread(src, p, "encrypted: PGP within the text")
	case strings.Contains(content, "-----BEGIN PGP SIGNED MESSAGE-----"):
		e.facts.Signed = e.facts.Signed || !src.inside
	}
	if uuencoded(content) {
		e.unread(src, p, "attachment content is not read yet: uuencoded within the text")
	}
	if p.MediaType != "text/html" && len(content) > 0 && binaryKind([]byte(content[:min(len(content), sniffed)])) != "" {
		e.unread(src, p, "declared as text, but it is "+binaryKind([]byte(content[:min(len(content), sniffed)])))
	}
}

// uuencoded reports whether a line of s begins a file as uuencode writes it: "begin ", the file's mode, and its name.
func uuencoded(s string) bool {
	const word = "begin "
	for {
		i := strings.Index(s, word)
		if i < 0 {
			return false
		}
		lineStart := i == 0 || s[i-1] == '\n'
		s = s[i+len(word):]
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		if lineStart && (n == 3 || n == 4) && n < len(s) && s[n] == ' ' {
			return true
		}
	}
}

// sniffed is how many bytes are looked at to tell what content is.
const sniffed = 1024

// binary tells of content that is not read, unless it is text under another name.
func (e *extractor) binary(src source, p *mail.Part, main bool) {
	head, _ := src.m.Content(p, sniffed)
	if len(bytes.TrimSpace(head)) == 0 {
		return
	}
	name := strings.ToLower(p.FileName)
	switch {
	case strings.HasSuffix(name, ".p7m"):
		e.facts.Encrypted = e.facts.Encrypted || main
		e.unread(src, p, "encrypted: S/MIME")
		return
	case bytes.HasPrefix(head, []byte("-----BEGIN PGP MESSAGE-----")):
		e.facts.Encrypted = e.facts.Encrypted || main
		e.unread(src, p, "encrypted: PGP")
		return
	case p.Parent != nil && p.Parent.MediaType == "multipart/encrypted":
		return // told at the parent
	case zipEncrypted(head):
		e.unread(src, p, "encrypted archive: "+p.MediaType)
		return
	case generic(p.MediaType) && readable(head):
		b, defects := src.m.Content(p, e.o.TextBytes)
		if !readable(b) {
			break
		}
		if looksLikeMessage(name, head) {
			e.attachedMessage(src, p)
			return
		}
		e.undecoded(src, p, defects)
		f := asText
		if looksLikeHTML(name, head) {
			f = asHTML
		}
		if f == asText && coded64(b) {
			e.unread(src, p, "attachment content is not read yet: base64 within the text")
		}
		e.textual(src, p, f, main)
		return
	}
	e.unread(src, p, "attachment content is not read yet: "+p.MediaType)
	if p.MediaType == "text/rtf" || p.MediaType == "application/rtf" {
		e.textual(src, p, asText, main) // its words stand in the open but for their commands
	}
}

// generic reports whether a media type says nothing about the content.
func generic(t string) bool {
	switch t {
	case "application/octet-stream", "binary/octet-stream", "application/unknown", "application/x-unknown", "application/download",
		"application/x-download", "application/force-download":
		return true
	}
	return false
}

// readable reports whether b is plain text: UTF-8 without control characters, and no format we know.
func readable(b []byte) bool {
	if binaryKind(b) != "" {
		return false
	}
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' || c == 0x7f {
			return false
		}
	}
	for cut := range min(utf8.UTFMax, len(b)+1) { // the last character may have been cut off by a limit
		if utf8.Valid(b[:len(b)-cut]) {
			return true
		}
	}
	return false
}

// binaryKind names the format b begins as, "" where it is none we know.
func binaryKind(b []byte) string {
	for _, k := range [...]struct{ magic, name string }{
		{"%PDF-", "PDF"}, {"PK\x03\x04", "a ZIP archive or office file"}, {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older office file"},
		{"{\\rtf", "RTF"}, {"\x89PNG\r\n", "an image"}, {"GIF8", "an image"}, {"\xff\xd8\xff", "an image"}, {"Rar!\x1a", "an archive"},
		{"7z\xbc\xaf\x27\x1c", "an archive"}, {"\x1f\x8b\x08", "an archive"}, {"BZh", "an archive"}, {"%!PS", "PostScript"}, {"MZ\x90", "a program"},
		{"\x7fELF", "a program"}, {"\x78\x9f\x3e\x22", "TNEF"},
	} {
		if strings.HasPrefix(string(b[:min(len(b), 16)]), k.magic) {
			return k.name
		}
	}
	return ""
}

// zipEncrypted reports whether b begins with the local header of an encrypted ZIP entry (APPNOTE.TXT, section 4.4.4).
func zipEncrypted(b []byte) bool {
	return len(b) > 7 && string(b[:4]) == "PK\x03\x04" && b[6]&1 != 0
}

// looksLikeMessage reports whether text of no known type is a message: by its file's name, or because it begins as one
// does, with two fields of which one is a message's.
func looksLikeMessage(name string, b []byte) bool {
	for _, end := range []string{".eml", ".mht", ".mhtml", ".nws"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	known := false
	for n := 0; ; n++ {
		line, rest, ok := bytes.Cut(b, []byte{'\n'})
		if !ok {
			return false
		}
		b = rest
		if n > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			continue
		}
		field, _, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(field) == 0 || bytes.ContainsAny(field, " \t") {
			return known && n > 1 && len(bytes.TrimSpace(line)) == 0
		}
		s := fieldSort(string(field))
		known = known || s == addressed || s == routed || s == described || strings.EqualFold(string(field), "Subject") ||
			strings.EqualFold(string(field), "MIME-Version") || strings.EqualFold(string(field), "Message-ID")
		if known && n >= 3 {
			return true
		}
	}
}

// coded64 reports whether b holds a run of base64 so long that it is a file: some hundred characters, in lines that are
// long and have no blanks.
func coded64(b []byte) bool {
	const line, all = 40, 256
	run, here := 0, 0 // characters of the run, and of its newest line
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '+' || c == '/' || c == '=':
			here++
			if run++; run >= all && here >= line {
				return true
			}
		case c == '\r':
		case c == '\n' && here >= line:
			here = 0
		default:
			run, here = 0, 0
		}
	}
	return false
}

func looksLikeHTML(name string, b []byte) bool {
	for _, end := range []string{".html", ".htm", ".xhtml", ".shtml"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	low := bytes.ToLower(bytes.TrimLeft(b, "\ufeff \t\r\n"))
	return bytes.HasPrefix(low, []byte("<!doctype html")) || bytes.HasPrefix(low, []byte("<html")) || bytes.HasPrefix(low, []byte("<head")) || bytes.HasPrefix(low, []byte("<body"))
}

// carries reports whether a calendar or card, unfolded, holds a file (RFC 5545, section 3.2.7; RFC 6350, section 5.1; the
// older ENCODING=BASE64 of vCard 2.1).
func carries(s string) bool {
	for s != "" {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name, value = strings.ToLower(name)+";", strings.ToLower(value[:min(len(value), 5)])
		if value == "data:" || strings.Contains(name, ";encoding=b;") || strings.Contains(name, ";encoding=base64;") || strings.Contains(name, ";base64;") {
			return true
		}
	}
	return false
}

// unfoldLines joins lines that go on after a line end and one blank (RFC 5545, section 3.1; RFC 6350, section 3.2).
func unfoldLines(s string) string {
	for _, fold := range []string{"\r\n ", "\r\n\t", "\n ", "\n\t"} {
		s = strings.ReplaceAll(s, fold, "")
	}
	return s
}

// unflow joins the lines of a paragraph as RFC 3676, section 4 does: a line that ends in a blank goes on in the next of the
// same depth of quotation. delSp says that the blank was added for that.
func unflow(s string, delSp bool) string {
	var b strings.Builder
	b.Grow(len(s))
	open, depth := false, 0 // a line that goes on, and its depth
	for len(s) > 0 {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		line = strings.TrimSuffix(line, "\r")
		text := strings.TrimLeft(line, ">")
		quotes := len(line) - len(text)
		text = strings.TrimPrefix(text, " ") // stuffed
		if b.Len() > 0 && !(open && quotes == depth && text != "-- ") {
			b.WriteByte('\n')
		}
		open, depth = strings.HasSuffix(text, " ") && text != "-- ", quotes
		if open && delSp {
			text = text[:len(text)-1]
		}
		b.WriteString(text)
	}
	return b.String()
}

// unescapeJSON undoes \uXXXX and \/ wherever they stand.
func unescapeJSON(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i++; s[i] == 'u' && i+4 < len(s) {
			if r, ok := hex4(s[i+1 : i+5]); ok {
				b.WriteRune(r)
				i += 4
				continue
			}
		}
		switch s[i] {
		case 'n', 'r':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hex4(s string) (rune, bool) {
	var r rune
	for i := range len(s) {
		d := hexDigit(s[i])
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}
