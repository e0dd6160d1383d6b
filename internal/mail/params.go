package mail

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Param is one parameter of a structured field (Content-Type, Content-Disposition) as a reader sees it: the pieces of
// RFC 2231, section 3 put together and decoded. A name that stands twice is two Params.
type Param struct {
	Name   string  // lower case, without the "*0*" of its pieces
	Value  string  // decoded, valid UTF-8
	Span   Range   // of the first piece; to change a Param of several, replace this and take the others out
	Pieces []Piece // at least one, in the order they are joined

	plain    string // the value before any decoding of charsets and encoded words: what a boundary is compared with
	quoted   bool
	extended bool // RFC 2231 was used: wins over a plain parameter of the same name (RFC 6266, section 4.3)
}

// Piece is one "; name=value" as it stands in the message.
type Piece struct {
	Name  string // as written: "filename*0*"
	Span  Range  // from its ';' to before the next one, or to the end of the field's value
	Value Range  // what follows the '=', quotes included, without blanks around
}

// Params returns the parameters of a structured field, in the order their first pieces stand.
func (m *Message) Params(f Field) []Param {
	_, params := parseParams(string(m.Bytes(f.Value)))
	for i := range params {
		p := &params[i]
		for j := range p.Pieces {
			q := &p.Pieces[j]
			q.Span.Start, q.Span.End = q.Span.Start+f.Value.Start, q.Span.End+f.Value.Start
			q.Value.Start, q.Value.End = q.Value.Start+f.Value.Start, q.Value.End+f.Value.Start
		}
		p.Span = p.Pieces[0].Span
	}
	return params
}

// ParseParams reads the value of a structured field: what stands before the first ';' (a media type or disposition, in
// lower case) and the parameters by lower-case name, decoded. It accepts what senders do against RFC 2045 and RFC 2231:
// unquoted values with blanks, missing quotes and semicolons, encoded words. Of a name that stands twice the RFC 2231 form
// wins, then the first.
func ParseParams(value string) (mediaType string, params map[string]string) {
	main, list := parseParams(value)
	return strings.ToLower(main), paramMap(list)
}

func paramMap(params []Param) map[string]string {
	if len(params) == 0 {
		return nil
	}
	m := make(map[string]string, len(params))
	for _, extended := range []bool{true, false} {
		for _, p := range params {
			if _, there := m[p.Name]; !there && p.extended == extended {
				m[p.Name] = p.Value
			}
		}
	}
	return m
}

// piece is one parameter as it stands.
type piece struct {
	Piece
	base     string // lower case
	index    int    // of a continuation; -1: none
	extended bool   // it ends in '*': percent-encoded
	quoted   bool
	text     string // quotes and line ends undone
}

// parseParams is ParseParams with offsets into value.
func parseParams(value string) (main string, params []Param) {
	main, params, _ = readParams(value)
	return main, params
}

// readParams is parseParams; all is false where there were more than mostParams.
func readParams(value string) (main string, params []Param, all bool) {
	main, pieces, all := splitParams(value)
	if len(pieces) == 0 {
		return main, nil, all
	}
	params = make([]Param, 0, len(pieces))
	var groups map[string][]piece // the continuations, by name
	for _, p := range pieces {
		if p.index < 0 {
			params = append(params, join([]piece{p}))
			continue
		}
		if groups == nil {
			groups = map[string][]piece{}
		}
		if _, there := groups[p.base]; !there {
			params = append(params, Param{Name: p.base}) // its place; its pieces follow
		}
		groups[p.base] = append(groups[p.base], p)
	}
	for i := range params {
		if params[i].Pieces == nil {
			params[i] = join(groups[params[i].Name])
		}
	}
	return main, params, all
}

// join makes one Param of its pieces.
func join(g []piece) Param {
	slices.SortStableFunc(g, func(a, b piece) int { return cmp.Compare(a.index, b.index) })
	p := Param{Name: g[0].base, quoted: g[0].quoted, Pieces: make([]Piece, len(g))}
	var charset string
	texts := make([]string, len(g))
	for i, q := range g {
		p.Pieces[i], texts[i] = q.Piece, q.text
		if q.extended {
			if i == 0 {
				charset, texts[i] = cutCharset(q.text)
			}
			texts[i] = unpercent(texts[i])
		}
		p.extended = p.extended || q.extended || q.index >= 0
	}
	p.Span = p.Pieces[0].Span
	p.plain = strings.Join(texts, "")
	if g[0].extended {
		p.Value = oneLine(decodeText(charset, p.plain))
		return p
	}
	p.Value = strings.Trim(DecodeHeader(p.plain), " \t")
	return p
}

// cutCharset splits charset'language'text (RFC 2231, section 4). Text without the two quotes is text.
func cutCharset(s string) (charset, text string) {
	charset, rest, ok := strings.Cut(s, "'")
	if !ok {
		return "", s
	}
	_, text, ok = strings.Cut(rest, "'")
	if !ok {
		return "", s
	}
	return charset, text
}

func unpercent(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if h, l := unhex(s[i+1]), unhex(s[i+2]); h < 16 && l < 16 {
				b = append(b, h<<4|l)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// splitParams cuts value into what stands before the first ';' and the pieces after it, mostParams at most.
func splitParams(s string) (main string, pieces []piece, all bool) {
	i := skipBlanks(s, 0)
	start := i
	for i < len(s) && s[i] != ';' && !isSpace(s[i]) && s[i] != '(' {
		i++
	}
	main = strings.Trim(s[start:i], `"'`)
	for i < len(s) {
		start := i
		i = skipBlanks(s, i)
		if i < len(s) && s[i] == ';' {
			start = i
			i = skipBlanks(s, i+1)
		}
		nameStart := i
		for i < len(s) && s[i] != '=' && s[i] != ';' && !(isSpace(s[i]) && len(pieces) == 0 && start == 0) {
			i++
		}
		if i == len(s) || s[i] != '=' {
			continue // no parameter
		}
		p := piece{}
		p.Name = strings.TrimRight(unfold(s[nameStart:i]), " \t")
		if !isParamName(p.Name) { // text before it, as where a ';' is missing: the last word is the name
			if j := strings.LastIndexAny(p.Name, " \t)\"'"); j >= 0 {
				p.Name = p.Name[j+1:]
			}
		}
		i = p.value(s, skipSpace(s, i+1))
		p.Span = Range{start, i}
		p.base, p.index, p.extended = splitName(p.Name)
		if p.base == "" {
			continue
		}
		if len(pieces) == mostParams {
			return main, pieces, false
		}
		pieces = append(pieces, p)
	}
	return main, pieces, true
}

func isParamName(s string) bool { return !strings.ContainsAny(s, " \t()\"") }

// value reads a parameter's value from s[i:] and returns where the parameter ends: at the next ';', the end, or where
// the next begins without a ';'.
func (p *piece) value(s string, i int) int {
	start := i
	if i < len(s) && s[i] == '"' {
		var ok bool
		if p.text, i, ok = quoted(s, i); ok {
			p.quoted = true
			p.Value = Range{start, i}
			after := skipBlanks(s, i)
			if after == len(s) || s[after] == ';' {
				return after
			}
			if startsParam(s, after) {
				return i
			}
			// More text behind the closing quote: some readers show it, so we read it.
			end := untilSemicolon(s, after)
			p.text += unquote(s[i:end])
			p.Value.End = start + len(strings.TrimRight(s[start:end], " \t\r\n"))
			return end
		}
	}
	end := untilSemicolon(s, i)
	raw := strings.TrimRight(s[start:end], " \t\r\n")
	p.text = strings.TrimPrefix(unfold(raw), `"`)
	p.Value = Range{start, start + len(raw)}
	return end
}

// quoted reads the quoted string that begins at s[i]; ok is false where it never ends.
func quoted(s string, i int) (text string, next int, ok bool) {
	n := strings.IndexByte(s[i+1:], '"')
	if n < 0 {
		return "", i, false
	}
	if raw := s[i+1 : i+1+n]; strings.IndexByte(raw, '\\') < 0 {
		return unfold(raw), i + n + 2, true
	}
	for j := i + 1; j < len(s); j++ {
		switch {
		case s[j] == '\\' && j+1 < len(s) && (s[j+1] == '"' || s[j+1] == '\\'):
			j++
		case s[j] == '"':
			return unquote(s[i : j+1]), j + 1, true
		}
	}
	// An escaped quote was meant to end it, as in "C:\".
	return unfold(s[i+1 : i+1+n]), i + n + 2, true
}

// unquote takes out quotes, line ends and the backslashes that protect a quote or backslash. Other backslashes stay:
// they are Windows paths.
func unquote(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b = append(b, s[i])
		case c != '"' && c != '\r' && c != '\n':
			b = append(b, c)
		}
	}
	return string(b)
}

func untilSemicolon(s string, i int) int {
	if n := strings.IndexByte(s[i:], ';'); n >= 0 {
		return i + n
	}
	return len(s)
}

// startsParam reports whether a name and '=' stand at s[i:].
func startsParam(s string, i int) bool {
	start := i
	for i < len(s) && i-start < 64 && (s[i] == '*' || s[i] == '-' || s[i] == '_' || isAlnum(s[i])) {
		i++
	}
	if i == start {
		return false
	}
	i = skipSpace(s, i)
	return i < len(s) && s[i] == '='
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'z'
}

// splitName takes "filename*0*" apart (RFC 2231, sections 3 and 4).
func splitName(name string) (base string, index int, extended bool) {
	base = strings.ToLower(name)
	if n := len(base); n > 0 && base[n-1] == '*' {
		base, extended = base[:n-1], true
	}
	if i := strings.LastIndexByte(base, '*'); i >= 0 && len(base)-i <= 7 {
		if n, err := strconv.ParseUint(base[i+1:], 10, 31); err == nil {
			return base[:i], int(n), extended
		}
	}
	return base, -1, extended
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

// maxComment bounds how far a comment's end is looked for, so that many open brackets cost no more than one each.
const maxComment = 256

// skipBlanks skips blanks, line ends and comments.
func skipBlanks(s string, i int) int {
	for {
		i = skipSpace(s, i)
		if i == len(s) || s[i] != '(' {
			return i
		}
		depth, j := 0, i
		for ; j < len(s) && j-i < maxComment; j++ {
			if s[j] == '\\' {
				j++
			} else if s[j] == '(' {
				depth++
			} else if s[j] == ')' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		if j >= len(s) || s[j] != ')' || depth != 0 {
			return i
		}
		i = j + 1
	}
}
