package repair

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"postvagt/internal/mail"
)

// textLimit bounds what is read of one text, in decoded bytes. It is more than package inspect reads.
const textLimit = 64 << 20

// tell puts the moved lines at the top of the body: into the text and the HTML that people see, or, where that cannot
// be done without risk to what is there, into a part of its own before it.
func (j *job) tell() {
	if j.files.few() {
		for i := range j.lines {
			j.lines[i].now = ""
		}
	}
	j.lines = shown(j.lines)
	parts, ok := seen(j.m.Root)
	if ok {
		bodies := make([]func(), len(parts))
		for i, p := range parts {
			if bodies[i] = j.writer(p); bodies[i] == nil {
				ok = false
				break
			}
		}
		if ok {
			for i, write := range bodies {
				write()
				j.written[parts[i]] = true
			}
			return
		}
	}
	j.newPart = true
	root := j.m.Root
	if line := j.delimiter(root); root.MediaType == "multipart/mixed" && line != nil {
		j.insertPart(root, line)
		return
	}
	j.wrap()
}

// seen returns the text parts that a mail program shows first, all forms of them; not ok: there are none that may be
// written to.
func seen(p *mail.Part) (parts []*mail.Part, ok bool) {
	switch p.MediaType {
	case "text/plain", "text/html":
		return []*mail.Part{p}, p.Disp != "attachment" && p.FileName == "" && len(p.Parts) == 0
	case "multipart/alternative":
		for _, c := range p.Parts {
			if c.MediaType == "text/calendar" { // shown as an appointment beside the text, never instead of it
				continue
			}
			more, ok := seen(c)
			if !ok {
				return nil, false
			}
			parts = append(parts, more...)
		}
		return parts, len(parts) > 0
	case "multipart/related":
		if len(p.Parts) > 0 && p.Params["start"] == "" { // RFC 2387, section 3.2: the first is the one shown
			return seen(p.Parts[0])
		}
	case "multipart/mixed", "multipart/report":
		if len(p.Parts) > 0 {
			return seen(p.Parts[0])
		}
	}
	return nil, false
}

// writer returns what writes the lines into a text part, or nil where that is not safe. It changes nothing yet, so
// that of two alternatives not one alone is written to.
func (j *job) writer(p *mail.Part) func() {
	body := j.raw(p.Body)
	content, defects := j.m.Content(p, textLimit)
	broken := len(defects) > 0
	if broken && !tolerable(p, defects) || len(content) >= textLimit || !knownCharset(p.Params["charset"]) ||
		bytes.Contains(content, []byte("-----BEGIN PGP ")) || declaredOther(j, p) {
		return nil
	}
	if p.MediaType == "text/html" {
		return j.htmlWriter(p, body, content)
	}
	return j.textWriter(p, body, content, broken)
}

// tolerable reports whether lines can be put into a body in spite of its defects: a wrong sign in quoted-printable, of
// which there are many, concerns its own line alone.
func tolerable(p *mail.Part, defects []mail.Defect) bool {
	return p.Encoding == "quoted-printable" && !slices.ContainsFunc(defects, func(d mail.Defect) bool { return d.What != mail.DefectBadEncoding })
}

// declaredOther reports whether a part that is read as text says it is something else, or says it twice.
func declaredOther(j *job, p *mail.Part) bool {
	is := indexes(p, "content-type")
	if len(is) == 0 {
		return false
	}
	v := strings.ToLower(strings.TrimSpace(string(j.raw(p.Fields[is[0]].Value))))
	return len(is) > 1 || len(indexes(p, "content-transfer-encoding")) > 1 || !strings.HasPrefix(v, p.MediaType)
}

// textWriter writes into plain text, in the part's own charset where that can hold the lines. What is broken is not
// recoded.
func (j *job) textWriter(p *mail.Part, body, content []byte, broken bool) func() {
	block := asText(j.o, j.lines, strings.EqualFold(p.Params["format"], "flowed"), j.eol)
	charset := p.Params["charset"]
	bom := 0
	if bytes.HasPrefix(content, []byte("\xEF\xBB\xBF")) {
		bom = 3
	}
	if b, ok := encodeIn(charset, block); ok {
		return j.inserter(p, body, content, b, bom, "")
	}
	if asciiCharset(charset) {
		if utf8.Valid(content) {
			return j.inserter(p, body, content, []byte(block), bom, "utf-8")
		}
		if b, ok := encodeIn("windows-1252", block); ok { // which package mail takes it for, and most readers do
			return j.inserter(p, body, content, b, 0, "")
		}
		return nil
	}
	text, ok := inUTF8(charset, content)
	if !ok || broken {
		return nil
	}
	// The charset cannot hold the lines: the part becomes UTF-8 as a whole, since a letter in a second part behind
	// them is an attachment to some mail programs.
	all := append([]byte(block), text...)
	if p.Encoding == "base64" {
		return j.newBody(p, base64Lines(all, j.eol), "utf-8", "")
	}
	return j.newBody(p, quotedPrintable(all, j.eol), "utf-8", "quoted-printable")
}

// inserter puts b into the body at the decoded content's offset at, in the part's transfer encoding.
func (j *job) inserter(p *mail.Part, body, content, b []byte, at int, charset string) func() {
	switch p.Encoding {
	case "7bit", "8bit", "binary":
		fits := p.Encoding != "7bit" || isASCII(b) || !isASCII(content)
		if !fits || longLine(b) {
			return j.newBody(p, quotedPrintable(spliced(content, at, b), j.eol), charset, "quoted-printable")
		}
		return j.newBody(p, spliced(body, at, b), charset, "")
	case "quoted-printable":
		rawAt, ok := quotedOffset(body, at)
		if !ok {
			return nil
		}
		return j.newBody(p, spliced(body, rawAt, quotedPrintable(b, j.eol)), charset, "")
	case "base64":
		if at > 0 {
			return j.newBody(p, base64Lines(spliced(content, at, b), j.eol), charset, "")
		}
		// Filled up to a multiple of three bytes the lines end on a whole group of base64 (RFC 2045, section 6.8), so
		// that what follows need not be encoded anew.
		for len(b)%3 != 0 {
			b = append(b, j.eol...)
		}
		return j.newBody(p, spliced(body, 0, base64Lines(b, j.eol)), charset, "")
	}
	return nil
}

// newBody gives a part a new body, with the charset and the transfer encoding it has (empty: as before).
func (j *job) newBody(p *mail.Part, body []byte, charset, encoding string) func() {
	return func() {
		j.bodies[p] = body
		j.describe(p, charset, encoding)
	}
}

// htmlWriter writes into HTML, before all there is to see. Where all of the page is hidden, it does not.
func (j *job) htmlWriter(p *mail.Part, body, content []byte) func() {
	block := []byte(asHTML(j.o, j.lines, j.eol))
	at := htmlTop(content)
	if at > 0 && content[at-1] != '\n' {
		block = append([]byte(j.eol), block...)
	}
	if !inSight(j.o, j.lines, j.eol, strings.ToValidUTF8(string(content[:at]), "?")+string(block)) {
		return nil
	}
	return j.inserter(p, body, content, block, at, "")
}

// describe says of a part what its body now is (empty: as before).
func (j *job) describe(p *mail.Part, charset, encoding string) {
	if (charset != "" || encoding != "") && p.Parent == nil {
		j.needVersion()
	}
	if charset != "" {
		if is := indexes(p, "content-type"); len(is) > 0 {
			j.setValue(p, is[0], setParam(j.value(p, is[0]), "charset", charset))
		} else {
			j.addField(p, "Content-Type: "+p.MediaType+"; charset="+charset)
		}
	}
	if encoding != "" {
		if is := indexes(p, "content-transfer-encoding"); len(is) > 0 {
			j.setValue(p, is[0], []byte(" "+encoding))
		} else {
			j.addField(p, "Content-Transfer-Encoding: "+encoding)
		}
	}
	for _, i := range indexes(p, "content-md5") { // RFC 1864: of the content that was
		j.setField(p, i, nil)
	}
}

// needVersion makes the message say that it follows MIME (RFC 2045, section 4).
func (j *job) needVersion() {
	if len(indexes(j.m.Root, "mime-version")) == 0 {
		j.addField(j.m.Root, "MIME-Version: 1.0")
	}
}

// ownPart is the part that holds the lines alone, without the line end before the next boundary.
func (j *job) ownPart() []byte {
	text := []byte(asText(j.o, j.lines, false, j.eol))
	encoding := "7bit"
	if !isASCII(text) || longLine(text) {
		encoding = "quoted-printable"
		text = quotedPrintable(text, j.eol)
	}
	head := "Content-Type: text/plain; charset=utf-8" + j.eol + "Content-Transfer-Encoding: " + encoding + j.eol +
		"Content-Disposition: inline" + j.eol + j.eol
	return append([]byte(head), text...)
}

// delimiter returns the boundary line before a multipart's first part, as it stands; nil where there is none.
func (j *job) delimiter(p *mail.Part) []byte {
	if !p.Multipart() {
		return nil
	}
	end := p.Parts[0].Head.Start
	start := end - 1
	for start > p.Body.Start && j.m.Raw[start-1] != '\n' {
		start--
	}
	line := j.m.Raw[max(start, p.Body.Start):end]
	if !bytes.HasPrefix(line, []byte("--")) || !bytes.HasSuffix(line, []byte(j.eol)) {
		return nil
	}
	return line
}

// insertPart puts the lines into a new first part of a multipart/mixed, with another delimiter line after it.
func (j *job) insertPart(root *mail.Part, delimiter []byte) {
	at := root.Parts[0].Head.Start
	with := append(j.ownPart(), delimiter...)
	j.inserts = append(j.inserts, splice{mail.Range{Start: at, End: at}, with})
}

// wrap makes the message a multipart/mixed of the lines and, byte for byte, what the message was: its Content fields go
// with it, so a signature over the inner part stays whole.
func (j *job) wrap() {
	j.wrapped = true
	root := j.m.Root
	var inner []byte
	for i, f := range root.Fields {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(f.Name)), "content-") {
			b := j.field(root, i)
			inner = append(inner, b...)
			if len(b) > 0 && b[len(b)-1] != '\n' && b[len(b)-1] != '\r' {
				inner = append(inner, j.eol...)
			}
			j.setField(root, i, nil)
		}
	}
	boundary := j.o.boundary()
	for bytes.Contains(j.m.Raw, []byte("--"+boundary)) {
		boundary += "-x"
	}
	j.needVersion()
	j.addField(root, "Content-Type: multipart/mixed; boundary=\""+boundary+"\"")
	open := []byte("--" + boundary + j.eol)
	open = append(open, j.ownPart()...)
	open = append(open, "--"+boundary+j.eol...)
	open = append(open, inner...)
	open = append(open, j.eol...)
	end := j.eol + "--" + boundary + "--" + j.eol
	j.inserts = append(j.inserts,
		splice{mail.Range{Start: root.Body.Start, End: root.Body.Start}, open},
		splice{mail.Range{Start: root.Body.End, End: root.Body.End}, []byte(end)})
}

func spliced(b []byte, at int, with []byte) []byte {
	out := make([]byte, 0, len(b)+len(with))
	out = append(out, b[:at]...)
	out = append(out, with...)
	return append(out, b[at:]...)
}
