package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postvagt/internal/detect"
)

// Mistake is one thing wrong in a configuration file.
type Mistake struct {
	File string
	Line int    // from 1; 0 when it is of the file as a whole
	What string // what is wrong
	Why  string // why it matters; may be empty
	Hint string // what to write instead; may be empty
}

// Error gives "file:line: what: why (hint)".
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d", m.Line)
	}
	b.WriteString(": " + m.What)
	if m.Why != "" {
		b.WriteString(": " + m.Why)
	}
	if m.Hint != "" {
		b.WriteString(" (" + m.Hint + ")")
	}
	return b.String()
}

// Mistakes is every mistake of a file, in the order of its lines. As an error it is one line per mistake.
type Mistakes []Mistake

func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted orders by line; mistakes of one line stay in the order in which they were found.
func (ms Mistakes) sorted() Mistakes {
	slices.SortStableFunc(ms, func(a, b Mistake) int { return cmp.Compare(a.Line, b.Line) })
	return ms
}

// problem is a mistake that does not know its line yet: what the value parsers return.
type problem struct{ what, why, hint string }

func (p *problem) Error() string { return Mistake{What: p.what, Why: p.why, Hint: p.hint}.Error() }

// quote shows a value from the file: shortened, and masked, for a configuration may hold a number by accident (law 6).
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(detect.Mask(s))
}

// didYouMean is a hint naming the word nearest to got, or all of them when none is near.
func didYouMean(got string, words []string) string {
	if near := nearest(got, words); near != "" {
		return "did you mean " + strconv.Quote(near) + "?"
	}
	return "known here: " + strings.Join(words, ", ")
}

// nearest is the word most like got; "" when none is like it.
func nearest(got string, words []string) string {
	if len(got) > 100 {
		return ""
	}
	best, least := "", len(got)/3+2
	for _, w := range words {
		if d := distance(strings.ToLower(got), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with a neighbour to make b of a.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
