package extract

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"postvagt/internal/detect"
)

// HTML is read for every reader at once. What is shown is joined as it is shown, so that a number split by mark-up is
// whole again, while blocks and cells stay apart. What is not shown (comments, hidden elements, titles and alternative
// texts, fields' values) is text all the same: it travels with the mail, and some programs show it. Scripts, styles, links
// and ids are made by machines.

// page collects the texts of an HTML document.
type page struct {
	visible, hidden, machine strings.Builder
	comments                 []string // with mark-up in them: what Outlook shows by its conditional comments
	hiding                   string   // the element that hides what is in it; "" outside
	depth                    int      // of elements of that name within it
	kept                     int      // elements we are in that show blanks as they stand
	run                      blanks   // read and not written yet
	files                    []string // media types of the files that stand in data: links (RFC 2397)
	recoded                  bool     // a meta element names a charset that changes what digits are
	broken                   bool     // the last thing written keeps blocks or cells apart
}

// blanks is a run of blanks, which is shown as one.
type blanks uint8

const (
	noBlank blanks = iota
	oneBlank
	lineEnd // with a line end in it
)

// commentsDeep bounds comments with mark-up that hold comments with mark-up.
const commentsDeep = 2

// html hands out the texts of an HTML document; level counts how deep in comments it stood.
func (e *extractor) html(content string, place detect.Place, level int) {
	var p page
	p.read(content)
	hidden := place
	hidden.Kind = detect.InHidden
	if level > 0 {
		place = hidden
	}
	e.text(detect.Text{Place: place, Content: p.visible.String()})
	e.text(detect.Text{Place: hidden, Content: p.hidden.String()})
	e.text(detect.Text{Place: hidden, Content: p.machine.String(), Machine: true})
	if p.recoded {
		e.o.Unread(unread(place, "two character sets are named"))
	}
	for _, t := range p.files {
		at := place
		at.Kind = detect.InAttachment
		e.o.Unread(unread(at, "attachment content is not read yet: "+t+" within the HTML"))
	}
	for _, c := range p.comments {
		if level < commentsDeep {
			e.html(c, place, level+1)
			continue
		}
		e.text(detect.Text{Place: hidden, Content: c})
	}
}

// xml hands out the texts of an XML document: as HTML is read, but every element is a block, and as it stands where that
// holds a number the other reading does not.
func (e *extractor) xml(content string, place detect.Place) {
	p := page{}
	p.readXML(content)
	e.text(detect.Text{Place: place, Content: p.visible.String()})
	var known numbers
	known.add(p.visible.String())
	if known.add(content) {
		e.text(detect.Text{Place: place, Content: content})
	}
}

// mostToken bounds one token of mark-up in bytes: the tokenizer holds several copies of what it reads.
const mostToken = 1 << 20

// read takes all of content. A token over mostToken is taken as the text it is, and reading goes on behind it.
func (p *page) read(content string) {
	p.visible.Grow(len(content) / 4)
	for content != "" {
		n := p.tokens(content)
		if content = content[n:]; content == "" {
			return
		}
		n = min(len(content), mostToken)
		if i := strings.IndexAny(content[n:], "\n>"); i >= 0 { // not within a number
			n += i + 1
		}
		if i := strings.Index(content[:n], "data:"); i >= 0 {
			p.file([]byte(content[i:min(n, i+mostType)]))
		}
		p.hidden.WriteByte('\n')
		p.hidden.WriteString(html.UnescapeString(content[:n]))
		p.hidden.WriteByte('\n')
		content = content[n:]
	}
}

// tokens takes the tokens of content and returns how many bytes they are: all, unless one is too large.
func (p *page) tokens(content string) (taken int) {
	z := html.NewTokenizer(strings.NewReader(content))
	z.SetMaxBuf(mostToken)
	for {
		t := z.Next()
		if t == html.ErrorToken {
			if z.Err() != html.ErrBufferExceeded {
				return len(content)
			}
			return taken
		}
		taken += len(z.Raw())
		switch t {
		case html.TextToken:
			p.text(z.Text())
		case html.CommentToken, html.DoctypeToken:
			p.comment(string(z.Text()))
		case html.StartTagToken:
			p.open(z, false)
		case html.SelfClosingTagToken:
			p.open(z, true)
		case html.EndTagToken:
			name, _ := z.TagName()
			p.close(name)
		}
	}
}

// out is where text goes now.
func (p *page) out() *strings.Builder {
	switch {
	case p.hiding == "":
		return &p.visible
	case p.hiding == "script" || p.hiding == "style":
		return &p.machine
	}
	return &p.hidden
}

// text takes text as it is shown: a run of blanks and line ends is one blank. Next to a cell or block it is nothing, and what
// stands on lines of its own there stays on them.
func (p *page) text(b []byte) {
	if unparsed[p.hiding] { // to the tokenizer this is no mark-up, to a reader without scripts or frames it is
		p.comment(string(b))
		return
	}
	if p.kept > 0 || p.hiding == "script" || p.hiding == "style" {
		p.flush()
		p.out().Write(b)
		return
	}
	for len(b) > 0 {
		n := blankRun(b)
		if n > 0 {
			p.flush()
			p.out().Write(b[:n])
			p.broken = false
		}
		for b = b[n:]; len(b) > 0 && isBlank(b[0]); b = b[1:] {
			if b[0] == '\n' || b[0] == '\r' {
				p.run = lineEnd
			}
			p.run = max(p.run, oneBlank)
		}
	}
}

// unparsed are the elements in which the tokenizer finds no mark-up, though some reader shows it.
var unparsed = map[string]bool{"noscript": true, "noembed": true, "noframes": true, "iframe": true}

// flush writes the run of blanks read.
func (p *page) flush() {
	switch {
	case p.run == lineEnd && p.broken:
		p.out().WriteByte('\n')
	case p.run != noBlank:
		p.out().WriteByte(' ')
	}
	p.run = noBlank
}

// blankRun returns where the first run of blanks begins that is not one blank between words.
func blankRun(b []byte) int {
	for i, c := range b {
		if c > ' ' || !isBlank(c) || c == ' ' && i > 0 && i+1 < len(b) && b[i+1] > ' ' {
			continue
		}
		return i
	}
	return len(b)
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func (p *page) comment(s string) {
	if strings.IndexByte(s, '<') >= 0 && len(p.comments) < 1000 {
		p.comments = append(p.comments, s)
		return
	}
	p.hidden.WriteByte('\n')
	p.hidden.WriteString(s)
	p.hidden.WriteByte('\n')
}

// open takes a start tag. single says that it was written as closed (<p/>), which HTML heeds for no element but the void.
func (p *page) open(z *html.Tokenizer, single bool) {
	raw, more := z.TagName()
	a := atom.Lookup(raw)
	p.separate(a)
	if keeps[a] {
		p.kept++
	}
	nested := p.hiding != "" && p.hiding == string(raw)
	hides := hiding[a]
	var name string
	if p.hiding == "" { // raw is the tokenizer's: gone with the first attribute
		if name = a.String(); a == 0 {
			name = string(raw)
		}
	}
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		hides = p.attribute(key, value) || hides
	}
	switch {
	case void[a] || a == 0 && single:
	case p.hiding == "" && hides:
		p.flush()
		p.hiding, p.depth = name, 1
	case nested:
		p.depth++
	}
}

func (p *page) close(name []byte) {
	a := atom.Lookup(name)
	if p.hiding != "" && p.hiding == string(name) {
		if p.depth--; p.depth <= 0 {
			p.flush()
			p.hiding = ""
		}
	}
	if keeps[a] && p.kept > 0 {
		p.kept--
	}
	p.separate(a)
}

// separate writes what keeps blocks and cells apart.
func (p *page) separate(a atom.Atom) {
	if sep := separators[a]; sep != 0 {
		if p.run == lineEnd {
			p.out().WriteByte('\n')
		}
		p.run, p.broken = noBlank, true
		p.out().WriteByte(sep)
	}
}

// attribute takes an attribute and reports whether it hides its element.
func (p *page) attribute(key, value []byte) bool {
	switch string(key) {
	case "hidden":
		return true
	case "style":
		p.figures(value)
		return len(value) > 0 && hidesByStyle(value)
	case "type":
		p.figures(value)
		return strings.EqualFold(string(value), "hidden")
	case "srcdoc":
		p.comment(string(value))
		return false
	}
	p.recoded = p.recoded || (string(key) == "charset" || string(key) == "content") && recodes(value)
	p.file(value)
	b := &p.hidden
	if machineMade[string(key)] {
		b = &p.machine
	}
	if digits(value) {
		b.WriteByte('\n')
		b.Write(value)
		if bytes.IndexByte(value, '%') >= 0 {
			b.WriteByte('\n')
			b.WriteString(unpercent(string(value)))
		}
		b.WriteByte('\n')
	}
	if digits(key) {
		b.Write(key)
		b.WriteByte('\n')
	}
	return false
}

// figures keeps an attribute that is full of harmless figures only where a number stands in it.
func (p *page) figures(value []byte) {
	if digits(value) && detect.HoldsCPR(string(value)) {
		p.hidden.WriteByte('\n')
		p.hidden.Write(value)
		p.hidden.WriteByte('\n')
	}
}

// recodes reports whether a charset of a meta element, or a content that names one, writes digits otherwise than ASCII does:
// a reader that heeds it sees another text than we do. Others are left behind by programs that recode mail, and do no harm.
func recodes(value []byte) bool {
	low := bytes.ToLower(value)
	if i := bytes.Index(low, []byte("charset=")); i >= 0 {
		low = low[i+len("charset="):]
	}
	low = bytes.Trim(low, " \t\"'")
	for _, c := range []string{"utf-7", "utf7", "unicode-1-1-utf-7", "utf-16", "utf-32", "ucs-", "iso-10646", "ibm037", "cp037", "ebcdic", "iso-2022", "hz-"} {
		if bytes.HasPrefix(low, []byte(c)) {
			return true
		}
	}
	return false
}

// mostType bounds a media type in a data: link, in bytes.
const mostType = 100

// file notes a link that holds a file.
func (p *page) file(link []byte) {
	const scheme = "data:"
	if len(link) > 0 && link[0] <= ' ' {
		link = bytes.TrimLeft(link, " \t\r\n\f")
	}
	if len(link) <= len(scheme) || !strings.EqualFold(string(link[:len(scheme)]), scheme) {
		return
	}
	t := string(link[len(scheme):min(len(link), mostType)])
	if i := strings.IndexAny(t, ";,"); i >= 0 {
		t = t[:i]
	}
	if t == "" {
		t = "text/plain"
	}
	if !slices.Contains(p.files, t) && len(p.files) < 20 {
		p.files = append(p.files, t)
	}
}

// digits reports whether b holds so much that could be digits that it is worth keeping: most attributes do not.
func digits[T string | []byte](b T) bool {
	n := 0
	for i := range len(b) {
		if c := b[i]; c >= '0' && c <= '9' || c >= 0x80 {
			if n++; n == 10 {
				return true
			}
		}
	}
	return false
}

// hidesByStyle reports whether a style attribute hides its element from the reader.
func hidesByStyle(value []byte) bool {
	var buf [128]byte
	style := buf[:0] // lower case, without blanks
	for _, c := range value {
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c >= 'A' && c <= 'Z':
			style = append(style, c+'a'-'A')
		default:
			style = append(style, c)
		}
	}
	for _, s := range hidingStyles {
		rest := style
		for {
			i := bytes.Index(rest, s)
			if i < 0 {
				break
			}
			rest = rest[i+len(s):]
			if s[len(s)-1] != '0' || zero(rest) {
				return true
			}
		}
	}
	return false
}

// hidingStyles are the declarations that leave nothing to see; of those that end in 0, zero has the last word.
var hidingStyles = [][]byte{[]byte("display:none"), []byte("visibility:hidden"), []byte("mso-hide:all"), []byte("font-size:0"), []byte("opacity:0"),
	[]byte("max-height:0"), []byte("line-height:0")}

// zero reports whether a figure that began with 0 is nothing, given what follows.
func zero(rest []byte) bool {
	rest = bytes.TrimLeft(rest, ".0")
	return len(rest) == 0 || rest[0] < '0' || rest[0] > '9'
}

// keeps are the elements that show blanks as they stand.
var keeps = map[atom.Atom]bool{atom.Pre: true, atom.Textarea: true, atom.Listing: true, atom.Xmp: true, atom.Plaintext: true}

// hiding are the elements whose text is not shown.
var hiding = map[atom.Atom]bool{atom.Script: true, atom.Style: true, atom.Title: true, atom.Template: true, atom.Noscript: true, atom.Noframes: true,
	atom.Datalist: true, atom.Object: true, atom.Iframe: true, atom.Noembed: true}

// void are the elements that have no end (HTML Standard, section 13.1.2).
var void = map[atom.Atom]bool{atom.Area: true, atom.Base: true, atom.Br: true, atom.Col: true, atom.Embed: true, atom.Hr: true, atom.Img: true,
	atom.Input: true, atom.Link: true, atom.Meta: true, atom.Source: true, atom.Track: true, atom.Wbr: true, atom.Param: true}

// machineMade are the attributes that programs write: links with tokens in them, ids and the like.
var machineMade = map[string]bool{"href": true, "src": true, "id": true, "class": true, "name": true, "srcset": true, "background": true, "action": true,
	"cite": true, "data-auth": true, "originalsrc": true, "shash": true, "xmlns": true, "for": true, "headers": true}

// separators are what elements put between what stands before and after them.
var separators = func() map[atom.Atom]byte {
	m := map[atom.Atom]byte{atom.Td: '\t', atom.Th: '\t'}
	for _, a := range []atom.Atom{atom.Address, atom.Article, atom.Aside, atom.Blockquote, atom.Body, atom.Br, atom.Button, atom.Caption, atom.Center,
		atom.Dd, atom.Details, atom.Dir, atom.Div, atom.Dl, atom.Dt, atom.Fieldset, atom.Figcaption, atom.Figure, atom.Footer, atom.Form, atom.H1,
		atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Head, atom.Header, atom.Hr, atom.Html, atom.Legend, atom.Li, atom.Main, atom.Menu,
		atom.Nav, atom.Ol, atom.Optgroup, atom.Option, atom.P, atom.Pre, atom.Section, atom.Select, atom.Summary, atom.Table, atom.Tbody,
		atom.Textarea, atom.Tfoot, atom.Thead, atom.Title, atom.Tr, atom.Ul, atom.Script, atom.Style, atom.Template} {
		m[a] = '\n'
	}
	return m
}()

// readXML collects character data, attributes and comments, each tag a line's end.
func (p *page) readXML(content string) {
	z := html.NewTokenizer(strings.NewReader(content))
	z.AllowCDATA(true)
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.TextToken, html.CommentToken, html.DoctypeToken:
			p.visible.Write(z.Text())
		case html.StartTagToken, html.SelfClosingTagToken:
			p.visible.WriteByte('\n')
			_, more := z.TagName()
			for more {
				var value []byte
				_, value, more = z.TagAttr()
				p.visible.Write(value)
				p.visible.WriteByte('\n')
			}
		case html.EndTagToken:
			p.visible.WriteByte('\n')
		}
	}
}
