package main

import (
	"regexp"
	"strconv"
	"time"

	"postvagt/internal/detect"
)

// finder is a way of finding CPR numbers.
type finder struct {
	name string
	find func(string) []span
}

// threshold is the confidence at which a finding counts, the configuration's default.
const threshold = 0.5

var finders = []finder{
	{"Postvagt", ours},
	{`\b\d{6}-?\d{4}\b`, matches(regexp.MustCompile(`\b\d{6}-?\d{4}\b`), nil)},
	{"the same, mod 11", matches(regexp.MustCompile(`\b\d{6}-?\d{4}\b`), mod11)},
	{"[- ]?, valid date", matches(regexp.MustCompile(`\b\d{6}[- ]?\d{4}\b`), validDate)}, // what python-stdnum's dk.cpr checks
}

func ours(s string) (found []span) {
	for _, f := range detect.Find(detect.Text{Content: s}, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)) {
		if f.Kind == detect.CPR && f.Confidence >= threshold {
			found = append(found, span{f.Start, f.End})
		}
	}
	return found
}

func matches(re *regexp.Regexp, holds func(digits string) bool) func(string) []span {
	return func(s string) (found []span) {
		for _, m := range re.FindAllStringIndex(s, -1) {
			match := s[m[0]:m[1]]
			if holds == nil || holds(match[:6]+match[len(match)-4:]) {
				found = append(found, span{m[0], m[1]})
			}
		}
		return found
	}
}

func mod11(n string) bool {
	sum := 0
	for i, w := range [...]int{4, 3, 2, 7, 6, 5, 4, 3, 2, 1} {
		sum += w * int(n[i]-'0')
	}
	return sum%11 == 0
}

// validDate reports whether the first six digits are a birth date that has been, by the seventh digit's century.
func validDate(n string) bool {
	year, _ := strconv.Atoi(n[4:6])
	switch seventh := n[6]; {
	case seventh <= '3':
		year += 1900
	case (seventh == '4' || seventh == '9') && year <= 36:
		year += 2000
	case seventh == '4' || seventh == '9':
		year += 1900
	case year <= 57:
		year += 2000
	default:
		year += 1800
	}
	born, err := time.Parse("02012006", n[:4]+strconv.Itoa(year))
	return err == nil && born.Before(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
}

// score counts numbers found, numbers missed and findings that are none.
type score struct{ hit, missed, wrong int }

func (s score) recall() float64    { return share(s.hit, s.missed) }
func (s score) precision() float64 { return share(s.hit, s.wrong) }

func share(good, bad int) float64 {
	if good+bad == 0 {
		return 1
	}
	return float64(good) / float64(good+bad)
}

// add scores what was found in t. A finding that overlaps a number finds it.
func (s *score) add(t text, found []span) {
	used := make([]bool, len(found))
	for _, n := range t.numbers {
		hit := false
		for i, f := range found {
			if f.start < n.end && n.start < f.end {
				used[i], hit = true, true
			}
		}
		if hit {
			s.hit++
		} else {
			s.missed++
		}
	}
	for _, u := range used {
		if !u {
			s.wrong++
		}
	}
}
