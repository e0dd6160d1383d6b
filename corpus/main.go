// Command corpus measures how well CPR numbers are found: it makes the labelled texts of texts.txt, searches them with
// package detect and with the patterns that people use, and prints a table by category. With -v it shows what went wrong.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
)

func main() {
	verbose := flag.Bool("v", false, "show the texts in which Postvagt misses a number or finds one that is none")
	flag.Parse()
	all, err := texts()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
	table(all)
	if *verbose {
		mistakes(all)
	}
}

// table prints recall and precision of every finder by category.
func table(all []text) {
	var categories []string
	numbers := map[string]int{}
	count := map[string]int{}
	by := map[string][]score{}
	const total = "all"
	for _, t := range all {
		if by[t.category] == nil {
			categories = append(categories, t.category)
		}
		for _, c := range []string{t.category, total} {
			if by[c] == nil {
				by[c] = make([]score, len(finders))
			}
			count[c]++
			numbers[c] += len(t.numbers)
			for i, f := range finders {
				by[c][i].add(t, f.find(t.content))
			}
		}
	}
	fmt.Print("| category | texts | numbers |")
	for _, f := range finders {
		fmt.Printf(" %s |", f.name)
	}
	fmt.Print("\n|---|---|---|")
	for range finders {
		fmt.Print("---|")
	}
	fmt.Println()
	for _, c := range slices.Concat(categories, []string{total}) {
		fmt.Printf("| %s | %d | %d |", c, count[c], numbers[c])
		for _, s := range by[c] {
			fmt.Printf(" %s |", s)
		}
		fmt.Println()
	}
}

// String says recall and precision in percent, or how many findings were wrong where there was nothing to find.
func (s score) String() string {
	if s.hit+s.missed == 0 {
		return fmt.Sprintf("%d wrong", s.wrong)
	}
	return fmt.Sprintf("%.1f / %.1f", 100*s.recall(), 100*s.precision())
}

func mistakes(all []text) {
	for _, t := range all {
		var s score
		s.add(t, ours(t.content))
		if s.missed+s.wrong > 0 {
			fmt.Printf("\n%s: %d missed, %d wrong in %q\n", t.category, s.missed, s.wrong, t.content)
		}
	}
}
