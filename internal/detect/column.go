package detect

import "strings"

// A table's first line names its columns, and what it says counts for every number below it, however far away. A table here is a
// stretch of lines without an empty one that all hold the same separator.

// widest is how many bytes of a line are read before and after a number; a heading is at most as long as longestHeading.
const (
	widest         = 512
	longestHeading = 48
)

// separators part the cells of a line, the likeliest first.
const separators = "\t;|,"

// tables are those that the last numbers stood in, by their separators, so that lines are walked only once for each: a mail may
// hold many numbers in very many lines.
type tables [len(separators)]struct {
	known      bool
	head, upto int // where its first line begins, and the last line that is known to be in it
}

// column returns what the heading of the window's column says: that it holds CPR numbers, or other numbers, or neither. What
// stands in the number's own cell goes before it.
func (t *tables) column(s string, w *window) (labelled, against bool) {
	from := max(0, w.start-widest)
	line := from + strings.LastIndexByte(s[from:w.start], '\n') + 1
	if line == 0 || line == from {
		return false, false // the first line, or too long a one
	}
	after := s[w.end:min(len(s), w.end+widest)]
	if i := strings.IndexByte(after, '\n'); i >= 0 {
		after = after[:i]
	}
	which := separates(s[line:w.start])
	if which < 0 {
		if which = separates(after); which < 0 {
			return false, false
		}
	}
	head, separator := t.first(s, line, which), separators[which]
	if head == line {
		return false, false
	}
	index, cell := 0, line
	for i, quoted := line, false; i < w.start; i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			index, cell = index+1, i+1
		}
	}
	if says(s[cell:w.start]) != nothing {
		return false, false
	}
	v := says(heading(s[head:line], separator, index))
	if v == ofOthers && says(s[line:w.start]) == ofPersons {
		return false, false // its own line knows better than a heading
	}
	return v == ofPersons, v == ofOthers
}

// separates returns which of the separators parts the cells of a line, -1 where none does.
func separates(line string) int {
	for i := range len(separators) {
		if strings.IndexByte(line, separators[i]) >= 0 {
			return i
		}
	}
	return -1
}

// first returns where the table begins whose line begins at line.
func (t *tables) first(s string, line, which int) int {
	at, head := &t[which], line
	for head > 0 {
		if at.known && head >= at.head && head <= at.upto {
			head = at.head
			break
		}
		previous := strings.LastIndexByte(s[:head-1], '\n') + 1
		if strings.IndexByte(s[previous:head], separators[which]) < 0 {
			break
		}
		head = previous
	}
	at.known, at.head, at.upto = true, head, line
	return head
}

// heading returns the cell of that index of the first line of s; empty where there is none, or it is too long for a heading.
func heading(s string, separator byte, index int) string {
	s = s[:min(len(s), 2*widest)]
	start, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
			continue
		case s[i] == '\n':
		case s[i] != separator || quoted:
			continue
		}
		if index == 0 {
			if i-start > longestHeading {
				return ""
			}
			return strings.Trim(s[start:i], " \t\r\"'*_")
		}
		if s[i] == '\n' {
			return ""
		}
		index--
		start = i + 1
	}
	return ""
}

// said is what words say about a number.
type said uint8

const (
	nothing said = iota
	ofPersons
	ofOthers
)

// says returns what the words say about the number below or directly after them.
func says(words string) said {
	if len(words) > longestHeading {
		words = words[len(words)-longestHeading:]
	}
	var buf [longestHeading]byte
	b := lower(buf[:0], words)
	pro, contra, _ := lastLabels(b)
	if contra >= 0 {
		if yes, _ := directly(b[contra:], false); !yes {
			contra = -1
		}
	}
	switch {
	case pro > contra:
		return ofPersons
	case contra >= 0 || otherNumber(b):
		return ofOthers
	}
	return nothing
}
