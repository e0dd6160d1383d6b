package main

import (
	"reflect"
	"strings"
	"testing"
)

// What is published holds: at least 600 texts, recall at least 99.5 % and precision at least 99 %.
func TestPublishedFigures(t *testing.T) {
	t.Parallel()
	all, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 600 {
		t.Errorf("%d texts, want at least 600", len(all))
	}
	var sum score
	for _, text := range all {
		sum.add(text, ours(text.content))
	}
	if sum.recall() < 0.995 || sum.precision() < 0.99 {
		t.Errorf("recall %.4f, precision %.4f; go run ./corpus -v shows where", sum.recall(), sum.precision())
	}
}

// The corpus is the same each time, and marks are filled in where they stand.
func TestTextsAreTheSame(t *testing.T) {
	t.Parallel()
	first, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	second, _ := texts()
	if !reflect.DeepEqual(first, second) {
		t.Error("two runs made other texts")
	}
	numbers := 0
	for _, text := range first {
		numbers += len(text.numbers)
		if strings.Contains(text.content, "{#") || strings.Contains(text.content, "{c") || strings.Contains(text.content, "{navn") {
			t.Errorf("%s: a mark was left: %q", text.category, text.content)
		}
		if strings.HasPrefix(text.category, "none") != (len(text.numbers) == 0) {
			t.Errorf("%s: %d numbers in %q", text.category, len(text.numbers), text.content)
		}
	}
	if numbers < 400 {
		t.Errorf("%d numbers", numbers)
	}
}

// A scorer that cannot tell good from bad would prove nothing.
func TestScore(t *testing.T) {
	t.Parallel()
	text := text{content: "a 010170-5000 b 010171-5000", numbers: []span{{2, 13}, {16, 27}}}
	for _, c := range []struct {
		found []span
		want  score
	}{
		{nil, score{missed: 2}},
		{[]span{{2, 13}, {16, 27}}, score{hit: 2}},
		{[]span{{2, 8}}, score{hit: 1, missed: 1}},
		{[]span{{0, 2}, {13, 16}}, score{missed: 2, wrong: 2}},
		{[]span{{2, 13}, {14, 15}, {16, 20}}, score{hit: 2, wrong: 1}},
	} {
		var got score
		if got.add(text, c.found); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.found, got, c.want)
		}
	}
}
