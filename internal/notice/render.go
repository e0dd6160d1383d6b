package notice

import (
	"html"
	"strings"
	"unicode/utf8"

	"postvagt/internal/detect"
)

// document is a notice in one language.
type document struct {
	lang    string
	subject string
	blocks  []block
}

type blockKind uint8

const (
	paragraph blockKind = iota
	heading
	listItem
	command // something to type, on a line of its own
)

// block is one paragraph, heading, list item or command: plain text on one line, with no markup in it.
type block struct {
	kind blockKind
	text string
}

// parseBlocks reads what the templates write: blocks stand apart by blank lines; "# " begins a heading, "- " a list item
// (each on a line of its own), four spaces a command; other lines run together. Data cannot make a block, since it holds
// no line ends.
func parseBlocks(s string) []block {
	var blocks []block
	open := false // whether the last block goes on with the next plain line
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \t\r\n")
		text, kind := line, paragraph
		switch {
		case strings.TrimSpace(line) == "":
			open = false
			continue
		case strings.HasPrefix(line, "# "):
			text, kind = line[2:], heading
		case strings.HasPrefix(line, "- "):
			text, kind = line[2:], listItem
		case strings.HasPrefix(line, "    "):
			text, kind = line[4:], command
		case open:
			blocks[len(blocks)-1].text += " " + strings.TrimSpace(line)
			continue
		}
		blocks = append(blocks, block{kind, strings.Join(strings.Fields(text), " ")})
		open = kind == paragraph || kind == listItem
	}
	for i := range blocks {
		blocks[i].text = detect.Mask(blocks[i].text)
	}
	return blocks
}

// plain renders text of at most 72 columns, where words allow it.
func plain(docs []document) string {
	var b strings.Builder
	b.WriteString(otherBelow(docs) + "\n\n")
	for i, d := range docs {
		if i > 0 {
			b.WriteString("\n" + strings.Repeat("-", 60) + "\n\n")
		}
		for j, x := range d.blocks {
			if j > 0 && !(x.kind == listItem && d.blocks[j-1].kind == listItem) {
				b.WriteString("\n")
			}
			b.WriteString(x.plain() + "\n")
		}
	}
	return detect.Mask(b.String())
}

func (x block) plain() string {
	switch x.kind {
	case heading:
		return wrap(strings.ToUpper(x.text), "", "")
	case listItem:
		return wrap(x.text, "- ", "  ")
	case command:
		return "    " + x.text
	}
	return wrap(x.text, "", "")
}

func wrap(s, first, next string) string {
	var b strings.Builder
	b.WriteString(first)
	col := len(first)
	for i, w := range strings.Fields(s) {
		n := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case col+1+n > 72:
			b.WriteString("\n" + next)
			col = len(next)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(w)
		col += n
	}
	return b.String()
}

// otherBelow tells a reader of the second language that it is there.
func otherBelow(docs []document) string {
	if docs[0].lang == "da" {
		return "(English below)"
	}
	return "(Dansk nedenfor)"
}

// asHTML renders a page that needs no style sheet, picture or script, and nothing from the net.
func asHTML(docs []document) string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"" + docs[0].lang + "\">\n<head><meta charset=\"utf-8\"><title>" + html.EscapeString(docs[0].subject) + "</title></head>\n")
	b.WriteString("<body style=\"font-family:sans-serif;line-height:1.5;max-width:40em\">\n")
	b.WriteString("<p><small lang=\"" + docs[1].lang + "\">" + otherBelow(docs) + "</small></p>\n")
	for i, d := range docs {
		if i > 0 {
			b.WriteString("<hr>\n")
		}
		b.WriteString("<div lang=\"" + d.lang + "\">\n")
		for j, x := range d.blocks {
			b.WriteString(x.html(j == 0 || d.blocks[j-1].kind != listItem, j == len(d.blocks)-1 || d.blocks[j+1].kind != listItem))
		}
		b.WriteString("</div>\n")
	}
	b.WriteString("</body>\n</html>\n")
	return detect.Mask(b.String())
}

// html writes a block; first and last say where a list begins and ends.
func (x block) html(first, last bool) string {
	t := html.EscapeString(x.text)
	switch x.kind {
	case heading:
		return "<h1 style=\"font-size:large\">" + t + "</h1>\n"
	case command:
		return "<pre>" + t + "</pre>\n"
	case listItem:
		s := "<li>" + t + "</li>\n"
		if first {
			s = "<ul>\n" + s
		}
		if last {
			s += "</ul>\n"
		}
		return s
	}
	return "<p>" + t + "</p>\n"
}
