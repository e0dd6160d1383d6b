package main

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strings"
)

//go:embed texts.txt
var templates string

// variants is how many texts are made of each template, with other numbers and names each time.
const variants = 3

// text is one labelled text: every CPR number in it, as byte offsets.
type text struct {
	category string
	content  string
	numbers  []span
}

type span struct{ start, end int }

// texts makes the corpus: the same each time.
func texts() ([]text, error) {
	var all []text
	category := ""
	for _, block := range strings.Split("\n"+templates, "\n== ")[1:] {
		var rest string
		category, rest, _ = strings.Cut(block, "\n")
		for i, template := range strings.Split(strings.TrimRight(rest, "\n"), "\n--\n") {
			for v := range variants {
				g := maker{r: rand.New(rand.NewPCG(uint64(len(all)), uint64(v)))}
				t, err := g.text(template)
				if err != nil {
					return nil, fmt.Errorf("%s, text %d: %w", category, i+1, err)
				}
				t.category = category
				all = append(all, t)
			}
		}
	}
	return all, nil
}

// maker fills in a template.
type maker struct {
	r *rand.Rand
}

// text puts something in the place of everything in braces: see README.md.
func (g *maker) text(template string) (t text, err error) {
	var b strings.Builder
	for rest := template; ; {
		before, tail, ok := strings.Cut(rest, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		inside, after, ok := strings.Cut(tail, "}")
		put, number, known := g.put(inside)
		if !ok || !known { // a brace of the text itself
			b.WriteString("{")
			rest = tail
			continue
		}
		start := b.Len()
		b.WriteString(put)
		if number {
			t.numbers = append(t.numbers, span{start, b.Len()})
		}
		rest = after
	}
	t.content = b.String()
	return t, nil
}

// put is what stands in the place of a mark; number says that it is a CPR number.
func (g *maker) put(mark string) (s string, number, known bool) {
	kind, arg, has := strings.Cut(mark, ":")
	switch kind {
	case "navn":
		return g.name(), false, !has
	case "c":
		if !has {
			arg = "-"
		}
		n := g.number(0)
		return n[:6] + arg + n[6:], true, true
	case "p":
		return g.number(0), true, !has
	case "d":
		cut := []rune(arg)
		if len(cut) != 2 {
			return "", false, false
		}
		n, sep := g.number(0), string(cut[0])
		return n[:2] + sep + n[2:4] + sep + n[4:6] + string(cut[1]) + n[6:], true, true
	case "g":
		n := g.number(0)
		return n[:2] + "." + n[2:4] + ".18" + n[4:6] + "-" + n[6:], true, !has
	case "f":
		n := g.number(0)
		return shifted(n[:6], '０') + "－" + shifted(n[6:], '０'), true, !has
	case "u":
		n := g.number(0)
		return shifted(n[:6], '٠') + "-" + shifted(n[6:], '٠'), true, !has
	case "z":
		n := g.number(0)
		return n[:2] + "\u200b" + n[2:4] + "\u200b" + n[4:6] + "\u2060-" + n[6:], true, !has
	case "y":
		n := g.number(0)
		return n[:6] + "\u00ad-\u00ad" + n[6:8] + "\u00ad" + n[8:], true, !has
	case "k":
		n := g.number(0)
		return strings.Join(strings.Split(n[:6], ""), " ") + " - " + strings.Join(strings.Split(n[6:], ""), " "), true, !has
	case "r":
		n := g.number(60)
		return n[:6] + "-" + n[6:], true, !has
	case "e":
		n := g.number(0)
		return n[:6] + "5" + string(rune('A'+g.r.IntN(26))) + string(rune('A'+g.r.IntN(26))) + n[9:], true, !has
	case "v":
		n := g.number(0)
		return n[:6] + arg + n[6:], false, true
	case "m":
		for {
			if n := g.number(0); mod11(n) {
				return n, true, !has
			}
		}
	case "n":
		return g.early()[1:], true, !has
	case "s":
		cut := []rune(arg)
		if len(cut) != 2 {
			return "", false, false
		}
		n, sep := g.early(), string(cut[0])
		return n[1:2] + sep + n[3:4] + sep + n[4:6] + string(cut[1]) + n[6:], true, true
	case "o":
		n := strings.NewReplacer("0", "O", "1", "l").Replace(g.early())
		return n[:6] + "-" + n[6:], true, !has
	case "x":
		n := g.number(0)
		return fmt.Sprintf("%02d%02d%s%s%s", 32+g.r.IntN(20), 13+g.r.IntN(80), n[4:6], arg, n[6:]), false, true
	case "#":
		if arg == "" {
			return "", false, false
		}
		return g.digits(arg), false, true
	}
	return "", false, false
}

// number is a CPR number that nobody living has: a birth of 1858 to 1899 by the century table, of which every second passes
// the check digit. raise is added to the day.
func (g *maker) number(raise int) string {
	check := g.r.IntN(2) == 0
	for {
		n := fmt.Sprintf("%02d%02d%02d%d%03d", 1+g.r.IntN(28)+raise, 1+g.r.IntN(12), 58+g.r.IntN(42), 5+g.r.IntN(4), g.r.IntN(1000))
		if mod11(n) == check {
			return n
		}
	}
}

// early is a number whose day and month have one digit each.
func (g *maker) early() string {
	for {
		if n := g.number(0); n[0] == '0' && n[2] == '0' {
			return n
		}
	}
}

// digits fills each # of the pattern with a digit, so that no stretch of it could be a number of somebody.
func (g *maker) digits(pattern string) string {
	for {
		var b, plain strings.Builder
		for _, c := range pattern {
			if c == '#' {
				c = rune('0' + g.r.IntN(10))
			}
			if c >= '0' && c <= '9' {
				plain.WriteRune(c)
			}
			b.WriteRune(c)
		}
		if !(pattern[0] == '#' && b.String()[0] == '0') && !mayBeSomebody(plain.String()) {
			return b.String()
		}
	}
}

func mayBeSomebody(digits string) bool {
	for i := 0; i+10 <= len(digits); i++ {
		if validDate(digits[i : i+10]) {
			return true
		}
	}
	return false
}

func shifted(digits string, zero rune) string {
	return strings.Map(func(r rune) rune { return r - '0' + zero }, digits)
}

var (
	firstNames = strings.Fields("Anna Bo Carl Dorte Emil Freja Gustav Hanne Ida Jens Karen Lars Mette Niels Oda Poul Rikke Søren Tove Viggo Åse Fatima Yusuf Zofia")
	lastNames  = strings.Fields("Testesen Prøvesen Eksempelsen Attrup Bæksted Dummersen Opdigtsen Skabelund Mønsterby Kladdegaard")
)

func (g *maker) name() string {
	return firstNames[g.r.IntN(len(firstNames))] + " " + lastNames[g.r.IntN(len(lastNames))]
}
