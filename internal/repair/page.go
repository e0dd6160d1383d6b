package repair

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"

	"postvagt/internal/detect"
	"postvagt/internal/extract"
	"postvagt/internal/mail"
)

// htmlTop returns where in an HTML text the moved lines are seen first: before the first thing there is to see. That is
// behind the body's opening tag, unless something to see stands before it: a <body> further down is that of an old mail,
// quoted or hidden. Where a line ends there, the place is behind the line end.
func htmlTop(b []byte) int {
	structure := 0 // behind the last tag that only frames what is to come
	if bytes.HasPrefix(b, []byte("\xEF\xBB\xBF")) {
		structure = 3
	}
	z := html.NewTokenizer(bytes.NewReader(b[structure:]))
	offset := structure
	var unseen skipped
	for {
		kind := z.Next()
		if kind == html.ErrorToken { // nothing to see at all
			return lineStart(b, structure)
		}
		start := offset
		offset += len(z.Raw())
		if kind == html.CommentToken {
			continue
		}
		if kind == html.DoctypeToken {
			structure = offset
			continue
		}
		if kind == html.TextToken {
			if unseen.depth == 0 && len(bytes.TrimSpace(z.Text())) > 0 {
				return lineStart(b, start)
			}
			continue
		}
		tag, _ := z.TagName()
		name := string(tag)
		switch {
		case unseen.within(name, kind):
		case kind == html.StartTagToken && name == "body":
			return lineStart(b, offset)
		case kind == html.StartTagToken && name == "html", kind == html.EndTagToken && name == "head":
			structure = offset
		case kind == html.StartTagToken && name == "head", headElements[name]:
		default:
			return lineStart(b, start)
		}
	}
}

// headElements stand in a document's head and show nothing (HTML Standard, section 4.2).
var headElements = map[string]bool{"meta": true, "link": true, "base": true}

// skipped is the element of a document's head whose content is not shown, while it is open.
type skipped struct {
	name  string
	depth int // of elements of that name, one inside another
}

// within takes a tag and reports whether it opens, closes or lies in such an element.
func (s *skipped) within(name string, kind html.TokenType) bool {
	switch {
	case s.depth > 0:
		if name == s.name && kind == html.StartTagToken {
			s.depth++
		}
		if name == s.name && kind == html.EndTagToken {
			s.depth--
		}
		return true
	case kind != html.StartTagToken:
		return false
	}
	switch name {
	case "title", "style", "script", "template", "noscript":
		s.name, s.depth = name, 1
		return true
	}
	return false
}

// inSight reports whether the moved lines, and who moved them, are what readers of an HTML text see first. What follows
// them has no say in that, and is not read.
func inSight(o Options, lines []line, eol, text string) bool {
	page, _, ok := strings.Cut(text, asHTML(o, lines, eol))
	if !ok {
		return false
	}
	var want []string
	for _, l := range lines {
		want = append(want, l.String())
	}
	in := intro(o.Authority, lines)
	want = append(want, in[0], in[1])
	seen := strings.TrimLeft(seenText(page+asHTML(o, lines, eol)), "\uFEFF \t\r\n")
	return words(seen) == words(strings.Join(want, " "))
}

// seenText returns what readers see of an HTML text, as package extract tells it from what is hidden.
func seenText(text string) string {
	const head = "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	var b strings.Builder
	extract.Message(mail.Parse([]byte(head+text), mail.Limits{}), extract.Options{
		TextBytes: textLimit,
		Text: func(t detect.Text) {
			if t.Place.Kind == detect.InText {
				b.WriteString(t.Content)
			}
		},
		Unread: func(detect.Finding) {},
	})
	return b.String()
}
