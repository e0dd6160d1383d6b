package extract

import (
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
}

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

func (p *page) read(content string) {
	z := html.NewTokenizer(strings.NewReader(content))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.TextToken:
			p.out().Write(z.Text())
		case html.CommentToken, html.DoctypeToken:
			p.comment(string(z.Text()))
		case html.StartTagToken:
			p.open(z, false)
		case html.SelfClosingTagToken:
			p.open(z, true)
		case html.EndTagToken:
			name, _ := z.TagName()
			p.close(string(name))
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
	name := a.String()
	if a == 0 {
		name = string(raw)
	}
	p.separate(a)
	hides := hiding[a]
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		hides = p.attribute(string(key), string(value)) || hides
	}
	switch {
	case void[a] || a == 0 && single:
	case p.hiding == "" && hides:
		p.hiding, p.depth = name, 1
	case p.hiding == name:
		p.depth++
	}
}

func (p *page) close(name string) {
	a := atom.Lookup([]byte(name))
	if p.hiding != "" && p.hiding == name {
		if p.depth--; p.depth <= 0 {
			p.hiding = ""
		}
	}
	p.separate(a)
}

// separate writes what keeps blocks and cells apart.
func (p *page) separate(a atom.Atom) {
	if sep := separators[a]; sep != 0 {
		p.out().WriteByte(sep)
	}
}

// attribute takes an attribute and reports whether it hides its element.
func (p *page) attribute(key, value string) bool {
	switch key {
	case "hidden":
		return true
	case "style":
		if value != "" && hidesByStyle(value) {
			return true
		}
		return false
	case "type":
		return strings.EqualFold(value, "hidden")
	case "width", "height", "border", "cellpadding", "cellspacing", "align", "valign", "bgcolor", "color", "size", "face", "class", "dir", "lang",
		"colspan", "rowspan", "target", "rel":
		if len(value) < 8 {
			return false
		}
	}
	b := &p.hidden
	if machineMade[key] {
		b = &p.machine
	}
	if value != "" {
		b.WriteByte('\n')
		b.WriteString(value)
		if plain := unpercent(value); plain != value {
			b.WriteByte('\n')
			b.WriteString(plain)
		}
		b.WriteByte('\n')
	}
	if strings.ContainsAny(key, "0123456789") {
		b.WriteString(key)
		b.WriteByte('\n')
	}
	return false
}

// hidesByStyle reports whether a style attribute hides its element from the reader.
func hidesByStyle(style string) bool {
	style = strings.ToLower(strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, style))
	for _, s := range []string{"display:none", "visibility:hidden", "font-size:0", "opacity:0", "mso-hide:all", "max-height:0", "line-height:0"} {
		i := strings.Index(style, s)
		if i < 0 {
			continue
		}
		if !strings.HasSuffix(s, "0") || i+len(s) == len(style) || style[i+len(s)] == ';' || strings.HasPrefix(style[i+len(s):], "p") {
			return true
		}
	}
	return false
}

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
