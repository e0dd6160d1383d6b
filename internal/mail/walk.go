package mail

import (
	"bytes"
	"strconv"
	"strings"
)

// walker reads a message once from start to end. pos is where it stands; it only goes back to the start of a header
// that turned out to be none.
type walker struct {
	m      *Message
	raw    []byte
	lim    Limits
	pos    int
	parts  int              // so far, the root included
	named  int              // fields so far, of all headers
	bounds []boundary       // of the open multiparts, outermost first
	ended  map[string]*Part // boundaries of multiparts that are over: a line like that confuses readers
	fields []Field          // of the header being read

	loneCR       bool // CRs without LF stand in the message: they end lines, too
	nextLF       int  // first LF at or after the last line asked for; valid when ≥ pos
	nextCR       int
	crRun, runTo int // the run of CRs looked at last
}

// boundary is an open multipart's.
type boundary struct {
	part   *Part
	values [][]byte // without the two hyphens; more than one where the parameter can be read in several ways
	near   bool     // its DefectNearBoundary was reported
}

// stop is what ended a part: a boundary line, or the end of the message.
type stop struct {
	level int  // index into walker.bounds, -1 for the end of the message
	close bool // it was a closing boundary
	line  int  // where the boundary line begins
	next  int  // where the line after it begins
	end   int  // where the content before it ends: line without the line end before it, which is the boundary's
}

func (w *walker) defect(p *Part, k DefectKind) {
	w.m.Defects = append(w.m.Defects, Defect{Part: p.Path, What: k})
}

// part reads the part that begins at w.pos, with everything in it, and returns what ended it.
func (w *walker) part(p *Part, depth int, defaultType string) stop {
	s, ended := w.head(p)
	w.describe(p, defaultType)
	if ended {
		p.Body = Range{s.line, s.line}
		if isMultipart(p.MediaType) {
			w.notSplit(p)
		}
		return s
	}
	p.Body = Range{w.pos, w.pos}
	switch {
	case isMultipart(p.MediaType) && w.deeper(p, depth):
		s = w.multipart(p, depth)
	case isMessage(p.MediaType) && identity(p.Encoding) && w.deeper(p, depth) && w.more(p):
		c := w.add(p, p.Path+".0")
		s = w.part(c, depth+1, "text/plain")
	default:
		s = w.scan()
	}
	p.Body.End = max(p.Body.Start, s.end)
	if n := len(p.Parts); n > 0 { // a header cut off by an outer boundary keeps its line end
		p.Body.End = max(p.Body.End, p.Parts[n-1].Body.End)
	}
	if isMultipart(p.MediaType) {
		if p.Epilogue.End = p.Body.End; p.Epilogue.Start < 0 {
			p.Epilogue.Start = p.Body.End
		}
		if len(p.Parts) == 0 {
			w.notSplit(p)
		}
	}
	return s
}

// deeper reports whether p, at depth, may be split; if not it becomes a leaf.
func (w *walker) deeper(p *Part, depth int) bool {
	if depth < w.lim.Depth {
		return true
	}
	w.defect(p, DefectDepth)
	p.MediaType = "application/octet-stream"
	return false
}

// more reports whether another part may be made inside p; if not p becomes a leaf.
func (w *walker) more(p *Part) bool {
	if w.parts < w.lim.Parts {
		return true
	}
	w.defect(p, DefectParts)
	p.MediaType = "application/octet-stream"
	return false
}

// notSplit makes a leaf of a multipart in which no part was found: its text is there to be read.
func (w *walker) notSplit(p *Part) {
	if last := len(w.m.Defects) - 1; last < 0 || w.m.Defects[last] != (Defect{p.Path, DefectBoundary}) {
		w.defect(p, DefectBoundary)
	}
	p.MediaType = "text/plain"
	p.Preamble, p.Epilogue = Range{}, Range{}
}

func (w *walker) add(parent *Part, path string) *Part {
	w.parts++
	c := &Part{Path: strings.TrimPrefix(path, "."), Parent: parent}
	parent.Parts = append(parent.Parts, c)
	return c
}

func (w *walker) multipart(p *Part, depth int) stop {
	values := w.boundaryValues(p)
	if len(values) != 1 {
		w.defect(p, DefectBoundary)
	}
	if !identity(p.Encoding) { // RFC 2045, section 6.4 forbids it; nobody can tell which reading the sender meant
		w.defect(p, DefectBadEncoding)
	}
	level := len(w.bounds)
	w.bounds = append(w.bounds, boundary{part: p, values: values})
	prefix, inner := p.Path, "text/plain"
	if p.Parent != nil && isMessage(p.Parent.MediaType) {
		prefix = p.Parent.Path
	}
	if p.MediaType == "multipart/digest" { // RFC 2046, section 5.1.5
		inner = "message/rfc822"
	}

	s := w.scan()
	p.Preamble = Range{p.Body.Start, max(p.Body.Start, s.end)}
	for s.level == level && !s.close {
		w.pos = s.next
		c := w.add(p, prefix+"."+strconv.Itoa(len(p.Parts)+1))
		if w.parts > w.lim.Parts {
			s = w.rest(c, level)
			break
		}
		s = w.part(c, depth+1, inner)
	}
	w.leave(level)
	if s.level == level {
		w.pos = s.next
		s = w.scan()
		p.Epilogue = Range{min(w.pos, s.end), s.end}
	} else {
		if len(p.Parts) > 0 {
			w.defect(p, DefectUnclosed)
		}
		p.Epilogue = Range{-1, -1} // part knows where it belongs
	}
	return s
}

// leave closes the multipart at level.
func (w *walker) leave(level int) {
	if w.ended == nil {
		w.ended = map[string]*Part{}
	}
	for _, v := range w.bounds[level].values {
		w.ended[string(v)] = w.bounds[level].part
	}
	w.bounds = w.bounds[:level]
}

// rest makes c a leaf of all that is left in the multipart at level, since no more parts may be made.
func (w *walker) rest(c *Part, level int) stop {
	w.defect(c, DefectParts)
	c.Head = Range{w.pos, w.pos}
	c.Body = c.Head
	c.MediaType, c.Encoding = "application/octet-stream", "binary"
	s := w.scan()
	for s.level == level && !s.close {
		w.pos = s.next
		s = w.scan()
	}
	c.Body.End = max(c.Body.Start, s.end)
	return s
}

// boundaryValues returns the strings p's boundary may be. More than one where the parameter stands twice or where it
// has blanks that readers treat differently; none where it is missing.
func (w *walker) boundaryValues(p *Part) [][]byte {
	f, ok := p.Get("Content-Type")
	if !ok {
		return nil
	}
	var values [][]byte
	add := func(s string) {
		if strings.Trim(s, " \t") == "" || len(values) == 4 {
			return
		}
		for _, v := range values {
			if string(v) == s {
				return
			}
		}
		values = append(values, []byte(s))
	}
	_, params := parseParams(string(w.m.Bytes(f.Value)))
	for _, q := range params {
		if q.Name != "boundary" {
			continue
		}
		add(q.plain)
		add(strings.TrimRight(q.plain, " \t")) // it may not end in a blank, and then some readers keep it and some do not
		if i := strings.IndexAny(q.plain, " \t"); i > 0 && !q.quoted {
			add(q.plain[:i])
		}
	}
	return values
}

// scan goes on from w.pos to the next line that is an open boundary, or to the end.
func (w *walker) scan() stop {
	if len(w.bounds) > 0 || len(w.ended) > 0 {
		for pos := w.pos; pos < len(w.raw); {
			if bytes.HasPrefix(w.raw[pos:], dashes) {
				end, next := w.line(pos)
				if s, ok := w.atBoundary(pos, end, next); ok {
					return s
				}
			}
			if w.loneCR {
				_, pos = w.line(pos)
				continue
			}
			i := bytes.Index(w.raw[pos:], newlineDashes)
			if i < 0 {
				break
			}
			pos += i + 1
		}
	}
	n := len(w.raw)
	return stop{level: -1, line: n, next: n, end: n}
}

var dashes, newlineDashes = []byte("--"), []byte("\n--")

// atBoundary says whether the line from pos to end is one of the open boundaries, the innermost first. Blanks may
// follow it (RFC 2046, section 5.1.1); anything else makes it another line, but one worth a Defect.
func (w *walker) atBoundary(pos, end, next int) (stop, bool) {
	if end-pos < 2 || w.raw[pos] != '-' || w.raw[pos+1] != '-' {
		return stop{}, false
	}
	text := w.raw[pos+2 : end]
	near := -1
	for level := len(w.bounds) - 1; level >= 0; level-- {
		b := &w.bounds[level]
		for _, v := range b.values {
			if !bytes.HasPrefix(text, v) {
				continue
			}
			after := bytes.TrimRight(text[len(v):], " \t")
			closing := string(after) == "--"
			if len(after) == 0 || closing {
				return stop{level: level, close: closing, line: pos, next: next, end: w.beforeLine(pos)}, true
			}
			near = level
		}
	}
	if top := len(w.bounds) - 1; top >= 0 && len(w.bounds[top].values) == 0 && w.announcesPart(text, next) {
		w.bounds[top].values = [][]byte{bytes.TrimRight(text, " \t")}
		return stop{level: top, line: pos, next: next, end: w.beforeLine(pos)}, true
	}
	if near >= 0 && !w.bounds[near].near {
		w.bounds[near].near = true
		w.defect(w.bounds[near].part, DefectNearBoundary)
	}
	if late := string(bytes.TrimRight(text, " \t")); w.ended[late] != nil {
		w.defect(w.ended[late], DefectNearBoundary)
		delete(w.ended, late)
	}
	return stop{}, false
}

// announcesPart guesses whether a line of hyphens and text begins a part of a multipart that names no boundary: the
// next line would have to be a Content field.
func (w *walker) announcesPart(text []byte, next int) bool {
	const field = "content-"
	return len(bytes.TrimSpace(text)) > 0 && len(w.raw)-next >= len(field) && strings.EqualFold(string(w.raw[next:next+len(field)]), field)
}

// beforeLine returns where the content before the line at pos ends.
func (w *walker) beforeLine(pos int) int {
	switch {
	case pos >= 2 && w.raw[pos-1] == '\n' && w.raw[pos-2] == '\r':
		return pos - 2
	case pos >= 1:
		return pos - 1
	}
	return pos
}

// lineEnds finds out which line ends the message has, and reports the bare ones and NULs.
func (w *walker) lineEnds() {
	lf, pairs := 0, 0
	for i := 0; i < len(w.raw); {
		j := bytes.IndexByte(w.raw[i:], '\n')
		if j < 0 {
			break
		}
		lf++
		if i += j; i > 0 && w.raw[i-1] == '\r' {
			pairs++
		}
		i++
	}
	w.loneCR = bytes.Count(w.raw, []byte{'\r'}) != pairs
	w.nextLF, w.nextCR = -1, -1
	if w.loneCR || lf != pairs {
		w.defect(w.m.Root, DefectBareLineEnd)
	}
	if bytes.IndexByte(w.raw, 0) >= 0 {
		w.defect(w.m.Root, DefectNUL)
	}
}

// line returns where the line that begins at pos ends and where the next begins. CRLF, LF, CR and CR…CRLF end lines;
// the last is what some programs make of CRLF, and is one line end, lest it end a header.
func (w *walker) line(pos int) (end, next int) {
	n := len(w.raw)
	if w.nextLF < pos {
		w.nextLF = n
		if i := bytes.IndexByte(w.raw[pos:], '\n'); i >= 0 {
			w.nextLF = pos + i
		}
	}
	lf := w.nextLF
	if !w.loneCR {
		if lf == n {
			return n, n
		}
		if lf > pos && w.raw[lf-1] == '\r' {
			return lf - 1, lf + 1
		}
		return lf, lf + 1
	}
	if w.nextCR < pos {
		w.nextCR = n
		if i := bytes.IndexByte(w.raw[pos:], '\r'); i >= 0 {
			w.nextCR = pos + i
		}
	}
	cr := w.nextCR
	if lf <= cr { // also at the end of the message, where both are n
		return lf, min(lf+1, n)
	}
	if cr < w.crRun || cr >= w.runTo {
		w.crRun, w.runTo = cr, cr+1
		for w.runTo < n && w.raw[w.runTo] == '\r' {
			w.runTo++
		}
	}
	if w.runTo < n && w.raw[w.runTo] == '\n' {
		return cr, w.runTo + 1
	}
	return cr, cr + 1
}

// back puts the walker to pos, before where it stands.
func (w *walker) back(pos int) {
	w.pos, w.nextLF, w.nextCR = pos, -1, -1
}

func isMultipart(mediaType string) bool { return strings.HasPrefix(mediaType, "multipart/") }

func isMessage(mediaType string) bool {
	return mediaType == "message/rfc822" || mediaType == "message/global" || mediaType == "message/news"
}
