package mail

import (
	"slices"
	"strings"
)

// head reads the header of p from w.pos to the blank line and leaves w.pos at the body. ended says that a boundary line
// came first.
func (w *walker) head(p *Part) (s stop, ended bool) {
	start := w.pos
	w.fields = w.fields[:0]
	pos, named, bad, over := start, 0, false, false
	for pos < len(w.raw) && !ended {
		end, next := w.line(pos)
		if end == pos {
			w.pos = next
			break
		}
		if s, ended = w.atBoundary(pos, end, next); ended {
			break
		}
		folded := isBlank(w.raw[pos])
		switch {
		case over:
		case next-start > w.lim.HeaderBytes:
			over = true
			if n := len(w.fields); folded && n > 0 {
				w.fields = w.fields[:n-1] // cut in the middle: better no field than half of one
			}
		case folded && len(w.fields) > 0:
			f := &w.fields[len(w.fields)-1]
			f.Span.End, f.Value.End = next, end
		case w.named+len(w.fields) >= w.lim.Fields:
			over = true
		default:
			f := Field{Span: Range{pos, next}, Value: Range{pos, end}}
			if c := colon(w.raw[pos:end]); c > 0 {
				f.Value.Start += c + 1
				named++
			} else {
				bad = true
			}
			w.fields = append(w.fields, f)
		}
		pos, w.pos = next, next
	}
	if bad {
		w.defect(p, DefectHeaderLine)
	}
	if over {
		w.defect(p, DefectHeaderSize)
	}
	if bad && named == 0 && !over { // no line of it is a field: it is no header, its blank line was forgotten
		p.Head = Range{start, start}
		w.back(start)
		return stop{}, false
	}
	p.Head = Range{start, pos}
	w.named += len(w.fields)
	w.name(p)
	return s, ended
}

// name copies the fields read to p and names them, all names in one string.
func (w *walker) name(p *Part) {
	n := len(w.fields)
	if n == 0 {
		return
	}
	p.Fields = make([]Field, n)
	copy(p.Fields, w.fields)
	text := string(w.raw[p.Head.Start:w.fields[n-1].Span.End])
	for i := range p.Fields {
		f := &p.Fields[i]
		if f.Value.Start > f.Span.Start {
			f.Name = strings.TrimRight(text[f.Span.Start-p.Head.Start:f.Value.Start-1-p.Head.Start], " \t")
		}
	}
}

// colon returns the index of the colon that ends a field's name, or -1 where the line does not begin with a name
// (RFC 5322, section 2.2; blanks before the colon are section 4.5).
func colon(line []byte) int {
	for i, c := range line {
		switch {
		case c == ':':
			return i
		case isBlank(c) && i > 0:
			for i < len(line) && isBlank(line[i]) {
				i++
			}
			if i < len(line) && line[i] == ':' {
				return i
			}
			return -1
		case c <= ' ' || c >= 0x7f:
			return -1
		}
	}
	return -1
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// once are the fields that may stand once (RFC 5322, section 3.6; RFC 2045), with the bit that remembers them.
var once = map[string]uint32{
	"date": 1 << 0, "from": 1 << 1, "sender": 1 << 2, "reply-to": 1 << 3, "to": 1 << 4, "cc": 1 << 5, "bcc": 1 << 6,
	"message-id": 1 << 7, "in-reply-to": 1 << 8, "references": 1 << 9, "subject": 1 << 10, "mime-version": 1 << 11,
	"content-type": ctBit, "content-transfer-encoding": cteBit, "content-disposition": dispBit,
	"content-id": 1 << 15, "content-description": 1 << 16,
}

const ctBit, cteBit, dispBit = 1 << 12, 1 << 13, 1 << 14

func onceBit(name string) uint32 {
	var low [32]byte
	if len(name) > len(low) {
		return 0
	}
	for i := range len(name) {
		low[i] = lower(name[i])
	}
	return once[string(low[:len(name)])]
}

// describe fills in what p's header says of its content.
func (w *walker) describe(p *Part, defaultType string) {
	p.MediaType, p.Encoding = defaultType, "7bit"
	var seen uint32
	var typeName, dispName string
	twice, many := false, false
	for _, f := range p.Fields {
		bit := onceBit(f.Name)
		if bit == 0 {
			continue
		}
		if seen&bit != 0 {
			twice = true
			continue
		}
		seen |= bit
		switch bit {
		case ctBit:
			t, params, all := readParams(string(w.m.Bytes(f.Value)))
			many = many || !all
			p.MediaType = mediaType(t, defaultType)
			p.Params = paramMap(params)
			typeName = p.Params["name"]
		case cteBit:
			v := string(w.m.Bytes(f.Value))
			if p.Encoding = encodingName(v); !knownEncoding(p.Encoding) || !oneEncoding(v) {
				w.defect(p, DefectEncoding)
			}
		case dispBit:
			t, params, all := readParams(string(w.m.Bytes(f.Value)))
			many = many || !all
			p.Disp = strings.ToLower(t)
			dispName = paramMap(params)["filename"]
		}
	}
	if p.FileName = dispName; dispName == "" {
		p.FileName = typeName
	}
	if twice {
		w.defect(p, DefectDuplicate)
	}
	if many {
		w.defect(p, DefectHeaderSize)
	}
}

// mediaType returns t in lower case, or def where it is no media type (RFC 2045, section 5.2).
func mediaType(t, def string) string {
	t = strings.ToLower(t)
	major, minor, ok := strings.Cut(t, "/")
	if ok && isToken(major) && isToken(minor) {
		return t
	}
	if t == "text" || t == "multipart" { // as before MIME (RFC 1049), or cut off
		return map[string]string{"text": "text/plain", "multipart": "multipart/mixed"}[t]
	}
	if ok && major == "multipart" { // read on all the same
		return "multipart/mixed"
	}
	return def
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// Get returns the first field of that name (case-insensitive), and whether there is one.
func (p *Part) Get(name string) (Field, bool) {
	for _, f := range p.Fields {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Field{}, false
}

// All returns the fields of that name (case-insensitive), in the order they stand.
func (p *Part) All(name string) []Field {
	var all []Field
	for _, f := range p.Fields {
		if strings.EqualFold(f.Name, name) {
			all = append(all, f)
		}
	}
	return all
}

// Unfolded returns a field's value on one line, undecoded, without surrounding blanks.
func (m *Message) Unfolded(f Field) string {
	return strings.Trim(unfold(string(m.Bytes(f.Value))), " \t")
}

// unfold takes the line ends out of s (RFC 5322, section 2.2.3: the blanks stay).
func unfold(s string) string {
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for {
		i := strings.IndexAny(s, "\r\n")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i+1:]
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// FileNames returns every name that p's header gives its content, each once: filename of Content-Disposition and name of
// Content-Type, in all the forms they stand in, since readers differ in which of them they show.
func (m *Message) FileNames(p *Part) []string {
	var names []string
	for _, f := range p.Fields {
		if bit := onceBit(f.Name); bit != ctBit && bit != dispBit {
			continue
		}
		for _, q := range m.Params(f) {
			if (q.Name == "filename" || q.Name == "name") && q.Value != "" && !slices.Contains(names, q.Value) {
				names = append(names, q.Value)
			}
		}
	}
	return names
}
