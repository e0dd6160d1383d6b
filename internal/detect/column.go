package detect

import "strings"

// A table's first line names its columns, and what it says counts for every number below it, however far away. A table here is a
// stretch of lines without an empty one that all hold the same separator.

// widest is how many bytes of a line are read before and after a number; a heading is at most as long as longestHeading.
const (
	widest         = 512
	longestHeading = 48
)

// table is the one that the last number stood in, so that its lines are walked only once.
type table struct {
	known      bool
	head, upto int // where its first line begins, and the last line that is known to be in it
	separator  byte
}

// column returns what the heading of the window's column says: that it holds CPR numbers, or other numbers, or neither. What
// stands in the number's own cell goes before it.
func (t *table) column(s string, w *window) (labelled, against bool) {
	from := max(0, w.start-widest)
	line := from + strings.LastIndexByte(s[from:w.start], '\n') + 1
	if line == 0 || line == from {
		return false, false // the first line, or too long a one
	}
	after := s[w.end:min(len(s), w.end+widest)]
	if i := strings.IndexByte(after, '\n'); i >= 0 {
		after = after[:i]
	}
	separator := separates(s[line:w.start])
	if separator == 0 {
		if separator = separates(after); separator == 0 {
			return false, false
		}
	}
	head := t.first(s, line, separator)
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
	return v == ofPersons, v == ofOthers
}

// separates returns the sign that parts the cells of a line, 0 where there is none.
func separates(line string) byte {
	for _, c := range [...]byte{'\t', ';', '|', ','} {
		if strings.IndexByte(line, c) >= 0 {
			return c
		}
	}
	return 0
}

// first returns where the table begins whose line begins at line.
func (t *table) first(s string, line int, separator byte) int {
	if t.separator != separator {
		t.known = false
	}
	head := line
	for head > 0 && !(t.known && head >= t.head && head <= t.upto) {
		previous := strings.LastIndexByte(s[:head-1], '\n') + 1
		if strings.IndexByte(s[previous:head], separator) < 0 {
			break
		}
		head = previous
	}
	if t.known && head >= t.head && head <= t.upto {
		head = t.head
	}
	*t = table{known: true, head: head, upto: line, separator: separator}
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
