package repair

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"postvagt/internal/mail"
)

// paramsOf reads the parameters of a Content-Type or Content-Disposition value as package mail does, with offsets into
// the value.
func paramsOf(value []byte) []mail.Param {
	m := &mail.Message{Raw: value}
	return m.Params(mail.Field{Value: mail.Range{Start: 0, End: len(value)}})
}

// isFileName reports whether the parameter is an attachment's name.
func isFileName(p mail.Param) bool { return p.Name == "name" || p.Name == "filename" }

// rewritten returns value with the parameter given another text, in the spelling it had: quoted, as an encoded word in
// quotes (against RFC 2047, section 5, but it is what some mail programs write and read), or by RFC 2231.
func rewritten(value []byte, p mail.Param, text, eol string) []byte {
	first := p.Pieces[0]
	raw := string(value[first.Value.Start:first.Value.End])
	var with string
	switch {
	case strings.Contains(first.Name, "*"):
		with = extended(p.Name, text, eol)
	case plain(text):
		with = first.Name + "=" + quote(text)
	case strings.Contains(raw, "=?"):
		with = first.Name + `="` + encodeWords(text, len(first.Name)+3, eol) + `"`
	case utf8.ValidString(raw):
		with = first.Name + "=" + quote(text) // 8-bit, as it was
	default:
		with = extended(p.Name, text, eol)
	}
	var out []byte
	at := 0
	for i, q := range inOrder(p) {
		out = append(out, value[at:q.Span.Start]...)
		at = q.Value.End
		if i > 0 {
			continue
		}
		lead := value[q.Span.Start:q.Value.Start] // "; filename=", of which the name is written anew
		if k := bytes.LastIndex(lead, []byte(q.Name)); k >= 0 {
			lead = lead[:k]
		}
		out = append(append(out, lead...), with...)
	}
	return append(out, value[at:]...)
}

// pieces returns the parameter's values as they stand, in the order they stand.
func pieces(value []byte, p mail.Param) string {
	var b strings.Builder
	for _, q := range inOrder(p) {
		b.Write(bytes.Trim(value[q.Value.Start:q.Value.End], `"`))
	}
	return b.String()
}

// inOrder returns the parameter's pieces in the order they stand, which need not be that in which they are joined.
func inOrder(p mail.Param) []mail.Piece {
	return slices.SortedFunc(slices.Values(p.Pieces), func(a, b mail.Piece) int { return a.Span.Start - b.Span.Start })
}

// extended writes a parameter by RFC 2231, in UTF-8, continued on a new line where it is long.
func extended(base, text, eol string) string {
	const width = 60
	pct := strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
	pct = strings.ReplaceAll(pct, "~", "%7E")
	if len(pct) <= width {
		return base + "*=UTF-8''" + pct
	}
	var b strings.Builder
	for n := 0; pct != ""; n++ {
		cut := min(width, len(pct))
		for k := 1; k <= 2 && cut < len(pct); k++ { // never inside a %xx
			if pct[cut-k] == '%' {
				cut -= k
				break
			}
		}
		charset := ""
		if n == 0 {
			charset = "UTF-8''"
		} else {
			b.WriteString(";" + eol + " ")
		}
		fmt.Fprintf(&b, "%s*%d*=%s%s", base, n, charset, pct[:cut])
		pct = pct[cut:]
	}
	return b.String()
}

// setParam returns value with one parameter set to a token.
func setParam(value []byte, name, to string) []byte {
	for _, p := range paramsOf(value) {
		if p.Name == name {
			q := p.Pieces[0]
			return spliced(append(bytes.Clone(value[:q.Value.Start]), value[q.Value.End:]...), q.Value.Start, []byte(to))
		}
	}
	t := bytes.TrimRight(value, " \t\r\n;")
	return append(bytes.Clone(t), "; "+name+"="+to...)
}
