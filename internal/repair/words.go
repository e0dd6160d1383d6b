package repair

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// line is one moved line: where it stood, as a field name or fileLabel, and all of it, since half a subject says nothing.
type line struct {
	label, text string
	now         string // of several files: the name that this one has now
}

// fileLabel marks the lines that were file names.
const fileLabel = "\x00file"

// labels are the Danish words for the fields people know; any other field is called by its name. The words keep to
// ASCII, and so do those of intro, so that a plain text part need not be recoded to take them up.
var labels = map[string]string{
	"subject":             "Emne",
	fileLabel:             "Filnavn",
	"from":                "Fra",
	"sender":              "Fra",
	"to":                  "Til",
	"cc":                  "Cc",
	"reply-to":            "Svar til",
	"content-description": "Beskrivelse",
}

// String is the line as readers see it.
func (l line) String() string {
	label, ok := labels[strings.ToLower(l.label)]
	if !ok {
		label = oneLine(l.label)
	}
	if label == "" {
		return l.text
	}
	if l.now != "" {
		label += " (" + l.now + ")"
	}
	return label + ": " + l.text
}

func (l line) isSubject() bool { return strings.EqualFold(l.label, "subject") }

// shown returns the lines for the readers: the subject first, file names last, and not Outlook's copy of the subject beside it.
func shown(lines []line) (out []line) {
	rank := func(l line) int {
		switch {
		case l.isSubject():
			return 0
		case l.label == fileLabel:
			return 2
		}
		return 1
	}
	const most = 10 // a message has one subject
	var subjects []line
	for _, l := range lines {
		if l.isSubject() && len(subjects) < most {
			subjects = append(subjects, l)
		}
	}
	told := map[string]bool{}
	for _, l := range lines {
		copied := strings.EqualFold(l.label, "thread-topic") && slices.ContainsFunc(subjects, func(s line) bool {
			return strings.HasSuffix(s.text, l.text) // but for "Re: "
		})
		if !copied && !told[l.String()] {
			told[l.String()] = true
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b line) int { return rank(a) - rank(b) })
	return out
}

// intro says, in Danish and in English, who moved the lines, and why. One sentence each: it stands above somebody
// else's letter.
func intro(authority string, lines []line) [2]string {
	subject := slices.ContainsFunc(lines, line.isSubject)
	files, others := 0, 0
	for _, l := range lines {
		switch {
		case l.label == fileLabel:
			files++
		case !l.isSubject():
			others++
		}
	}
	da, en := "herind i mailen", "into the mail itself" // from several places, which the lines name
	switch {
	case subject && files == 0 && others == 0:
		da, en = "fra emnelinjen", "from the subject line"
	case !subject && files == 1 && others == 0:
		da, en = "fra filnavnet", "from the file name"
	case !subject && files > 1 && others == 0:
		da, en = "fra filnavnene", "from the file names"
	}
	authority = oneLine(authority)
	if authority == "" {
		return [2]string{
			fmt.Sprintf("Dette er flyttet %s, fordi andre ellers kan se det undervejs.", da),
			fmt.Sprintf("This was moved %s, as others could otherwise see it on the way.", en),
		}
	}
	return [2]string{
		fmt.Sprintf("%s har flyttet dette %s, fordi andre ellers kan se det undervejs.", authority, da),
		fmt.Sprintf("%s moved this %s, as others could otherwise see it on the way.", authority, en),
	}
}

// rule ends the moved lines. It is neither a signature's dashes nor a line that mail programs take for a quotation.
const rule = "* * *"

// asText writes the moved lines for a text part. flowed: RFC 3676, where a line must not end in a blank, nor begin
// with one, with ">" or with "From " unless it is stuffed.
func asText(o Options, lines []line, flowed bool, eol string) string {
	in := intro(o.Authority, lines)
	var all []string
	for _, l := range lines {
		all = append(all, l.String())
	}
	all = append(all, "", in[0], in[1], "", rule, "")
	var b strings.Builder
	for _, s := range all {
		s = strings.TrimRight(s, " ")
		if flowed && (strings.HasPrefix(s, " ") || strings.HasPrefix(s, ">") || strings.HasPrefix(s, "From ")) {
			s = " " + s
		}
		b.WriteString(s + eol)
	}
	return b.String()
}

// asHTML writes the moved lines for an HTML part, in ASCII alone: it fits every charset that has ASCII in it.
func asHTML(o Options, lines []line, eol string) string {
	in := intro(o.Authority, lines)
	var b strings.Builder
	b.WriteString(`<div style="border-bottom:1px solid #767676;margin:0 0 1em 0;padding:0 0 0.5em 0">` + eol)
	for _, l := range lines {
		b.WriteString("<p><b>" + ascii(l.String()) + "</b></p>" + eol)
	}
	b.WriteString(`<p lang="da">` + ascii(in[0]) + `<br>` + eol + `<span lang="en">` + ascii(in[1]) + "</span></p>" + eol + "</div>" + eol)
	return b.String()
}

// ascii escapes for HTML, every character beyond ASCII as a number.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range html.EscapeString(s) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "&#%d;", r)
	}
	return b.String()
}
