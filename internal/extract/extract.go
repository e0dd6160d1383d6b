// Package extract turns a message into located texts and an honest list of what it could not read (law 5).
//
// What is read, in this order: the header of the message, then every part with its header, its file name in every
// spelling, and its content where that is text of some kind; what stands before and after the parts of a multipart;
// and attached messages, to any depth within the limits. What is not read yet (PDF, office files, images, archives),
// cannot be read (encrypted, broken) or can be read in two ways is handed out as a finding of kind Uninspected.
//
// Texts are handed out one at a time, so that no more than one part's text is in memory at once.
package extract

import (
	"fmt"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// Options bound the work and say where the results go. Zero fields mean the defaults.
type Options struct {
	TextBytes int // decoded bytes read of one text, default 16 MiB
	Messages  int // attached messages in a transfer encoding of their own that are opened, one inside another, default 8

	// Text takes a piece of text. Unread takes what could not be read. Neither may be nil.
	Text   func(detect.Text)
	Unread func(detect.Finding)

	// Stop is asked between texts; true ends the reading, which is then a finding of its own. May be nil.
	Stop func() bool
}

// Facts are what the form of the message says about it.
type Facts struct {
	Signed    bool // a signature stands over the body, so that it must not be changed
	Encrypted bool // the body is encrypted
}

// Message reads m.
func Message(m *mail.Message, o Options) Facts {
	if o.TextBytes <= 0 {
		o.TextBytes = 16 << 20
	}
	if o.Messages <= 0 {
		o.Messages = 8
	}
	e := &extractor{o: o, opened: o.Messages, budget: 4 * max(len(m.Raw), o.TextBytes)}
	e.message(m, "", false)
	if e.stopped {
		at := detect.Place{Kind: detect.InText}
		if e.missed {
			at.Kind = detect.InPartHeader
		}
		e.o.Unread(unread(at, "the time for reading ran out"))
	}
	return e.facts
}

type extractor struct {
	o       Options
	facts   Facts
	opened  int // how many more encoded messages may be opened inside one another
	budget  int // bytes of attached messages that may still be decoded
	stopped bool
	missed  bool // stopped before a header field or file name was read, which stays readable on the way
}

// source is a message being read: the one that came in, or one attached to it.
type source struct {
	m      *mail.Message
	prefix string // Part path of the attachment that this message was decoded from
	inside bool   // it is an attached message: all of it is protected as the body is
}

func (e *extractor) stop() bool {
	if !e.stopped && e.o.Stop != nil && e.o.Stop() {
		e.stopped = true
	}
	return e.stopped
}

// message reads all of m. prefix is the path of the attachment it was decoded from; inside says that it was attached.
func (e *extractor) message(m *mail.Message, prefix string, inside bool) {
	src := source{m: m, prefix: prefix, inside: inside}
	e.defects(src, m.Defects)
	e.part(src, m.Root, true)
}

// part reads p and everything in it. main says that p is, or begins, the body that the reader sees first.
func (e *extractor) part(src source, p *mail.Part, main bool) {
	if e.stop() {
		e.missed = e.missed || !src.inside
		return
	}
	e.guard(src, p, src.headerPlace(p), func() {
		e.header(src, p)
		e.names(src, p)
		e.twice(src, p)
	})
	e.guard(src, p, src.contentPlace(p), func() { e.content(src, p, main && !src.inside) })
	inner := src
	if isMessage(p.MediaType) {
		inner.inside = true
	}
	e.around(src, p, p.Preamble)
	for i, c := range p.Parts {
		e.part(inner, c, main && i == 0 && !inner.inside)
	}
	e.around(src, p, p.Epilogue)
}

// guard runs read, which reads what stands at a place, and makes a finding of its panic: one broken part must not hide the
// others.
func (e *extractor) guard(src source, p *mail.Part, at detect.Place, read func()) {
	defer func() {
		if r := recover(); r != nil { // the value may quote content: it goes nowhere
			e.o.Unread(unread(at, "the reader failed on this part"))
		}
	}()
	read()
}

// around hands out what stands before or after the parts of a multipart: readers do not show it.
func (e *extractor) around(src source, p *mail.Part, r mail.Range) {
	if r.Len() == 0 || e.stop() {
		return
	}
	b := src.m.Bytes(r)
	if len(b) > e.o.TextBytes {
		e.unread(src, p, string(mail.DefectDecodedLimit))
		b = b[:e.o.TextBytes]
	}
	e.text(detect.Text{Place: src.place(detect.InHidden, p, ""), Content: string(b)})
}

// text hands out t unless there is nothing in it.
func (e *extractor) text(t detect.Text) {
	switch {
	case t.Content == "":
	case e.stop():
		e.missed = e.missed || t.Place.Readable()
	default:
		e.o.Text(t)
	}
}

// place locates something of p. Whatever belongs to an attached message is text of the body, not a readable header.
func (src source) place(kind detect.PlaceKind, p *mail.Part, name string) detect.Place {
	if src.inside && (kind == detect.InHeader || kind == detect.InPartHeader || kind == detect.InFileName) {
		kind = detect.InText
	}
	return detect.Place{Kind: kind, Name: shown(name), Part: src.path(p.Path)}
}

func (src source) path(path string) string {
	switch {
	case src.prefix == "":
		return path
	case path == "":
		return src.prefix + ".0"
	}
	return src.prefix + "." + path
}

// unread hands out that p, or something of it, was not read.
func (e *extractor) unread(src source, p *mail.Part, why string) {
	e.o.Unread(unread(src.contentPlace(p), why))
}

// contentPlace is where p's content stands.
func (src source) contentPlace(p *mail.Part) detect.Place {
	kind := detect.InText
	if attached(p) {
		kind = detect.InAttachment
	}
	return src.place(kind, p, p.FileName)
}

// headerPlace is where p's header stands.
func (src source) headerPlace(p *mail.Part) detect.Place {
	kind := detect.InPartHeader
	if p.Parent == nil {
		kind = detect.InHeader
	}
	return src.place(kind, p, "")
}

func unread(at detect.Place, why string) detect.Finding {
	return detect.Finding{Kind: detect.Uninspected, Place: at, Confidence: 1, Why: shown(why)} // a media type may hold anything
}

// shown makes a name safe to show: masked, on one line, of bounded length.
func shown(name string) string {
	const most = 120
	if name == "" {
		return ""
	}
	name = strings.ToValidUTF8(name, "\uFFFD")
	if quoting(name) && detect.HoldsCPR(unquote(name)) {
		name = unquote(name) // lest a backslash keep a number from being masked
	}
	name = detect.Mask(name)
	var b strings.Builder
	for i, r := range name {
		if i >= most {
			b.WriteString("…")
			break
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		b.WriteRune(r)
	}
	return detect.Mask(b.String()) // a blank for a control sign may have joined what was apart
}

// attached reports whether p is an attachment rather than part of what the reader sees.
func attached(p *mail.Part) bool {
	if p.Disp == "attachment" || p.FileName != "" {
		return true
	}
	major, _, _ := strings.Cut(p.MediaType, "/")
	return major != "text" && major != "multipart" && major != "message"
}

// unreadDefects are the defects that mean that something was not read, or can be read in two ways, with what is said
// about them. A text that breaks its charset's rules, bare line ends and NULs are read all the same.
var unreadDefects = map[mail.DefectKind]bool{
	mail.DefectDepth: true, mail.DefectParts: true, mail.DefectHeaderSize: true, mail.DefectEncoding: true,
	mail.DefectCharset: true, mail.DefectDecodedLimit: true, mail.DefectBoundary: true, mail.DefectNearBoundary: true,
}

// headerDefects are those by which header fields, or the headers of parts, were not read: what stands there stays readable
// on the way, whatever is done for the body.
var headerDefects = map[mail.DefectKind]bool{mail.DefectHeaderSize: true, mail.DefectDepth: true, mail.DefectParts: true}

// mostDefects bounds how many defects of a message are told one by one.
const mostDefects = 100

func (e *extractor) defects(src source, defects []mail.Defect) {
	seen := make(map[mail.Defect]bool)
	var headers map[string]detect.Place // of the parts, by path; made when it is needed
	for _, d := range defects {
		// A multipart in a transfer encoding is the only content that Parse itself finds badly encoded.
		if !unreadDefects[d.What] && d.What != mail.DefectBadEncoding || seen[d] {
			continue
		}
		if len(seen) == mostDefects {
			at := detect.Place{Kind: detect.InText, Part: src.prefix}
			for _, rest := range defects {
				if headerDefects[rest.What] && !src.inside {
					at.Kind = detect.InPartHeader
				}
			}
			e.o.Unread(unread(at, fmt.Sprintf("more than %d parts are defective", mostDefects)))
			return
		}
		seen[d] = true
		at := detect.Place{Kind: detect.InText, Part: src.path(d.Part)}
		if headerDefects[d.What] {
			if headers == nil {
				headers = src.headers()
			}
			at = headers[d.Part]
		}
		e.o.Unread(unread(at, string(d.What)))
	}
}

// headers returns where the headers of all parts stand, by path.
func (src source) headers() map[string]detect.Place {
	at := make(map[string]detect.Place)
	var walk func(src source, p *mail.Part)
	walk = func(src source, p *mail.Part) {
		at[p.Path] = src.headerPlace(p)
		src.inside = src.inside || isMessage(p.MediaType)
		for _, c := range p.Parts {
			walk(src, c)
		}
	}
	walk(src, src.m.Root)
	return at
}

// twice reports fields that decide how the part is read and stand more than once: readers take different ones.
func (e *extractor) twice(src source, p *mail.Part) {
	var types, encodings int
	for i := range p.Fields {
		switch name := p.Fields[i].Name; {
		case strings.EqualFold(name, "Content-Type"):
			types++
		case strings.EqualFold(name, "Content-Transfer-Encoding"):
			encodings++
		}
	}
	if types > 1 || encodings > 1 {
		e.unread(src, p, "the field that says how to read this part stands twice")
	}
	if f, ok := p.Get("Content-Type"); ok {
		charset := ""
		for _, q := range src.m.Params(f) {
			if q.Name == "charset" && charset != "" && !strings.EqualFold(charset, q.Value) {
				e.unread(src, p, "two character sets are named")
				break
			}
			if q.Name == "charset" {
				charset = q.Value
			}
		}
	}
}

func isMessage(mediaType string) bool {
	return mediaType == "message/rfc822" || mediaType == "message/global" || mediaType == "message/news"
}
