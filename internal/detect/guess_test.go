package detect

import "testing"

func TestAlone(t *testing.T) {
	for _, c := range []struct {
		text Text
		want bool
	}{
		{Text{Content: "0101705000.pdf", Place: Place{Kind: InFileName}}, true},
		{Text{Content: "0101705000", Place: Place{Kind: InFileName}}, true},
		{Text{Content: "a 0101705000.pdf", Place: Place{Kind: InFileName}}, false},
		{Text{Content: "0101705000-2.pdf", Place: Place{Kind: InFileName}}, false},
		{Text{Content: "Vedr. 0101705000", Place: Place{Kind: InHeader, Name: "Subject"}}, true},
		{Text{Content: "Sag 17 vedr. 0101705000", Place: Place{Kind: InHeader, Name: "Subject"}}, false},
		{Text{Content: "Faktura nr. 0101705000", Place: Place{Kind: InHeader, Name: "Subject"}}, false},
		{Text{Content: "0101705000 kr.", Place: Place{Kind: InHeader, Name: "Subject"}}, false},
		{Text{Content: "0101705000", Place: Place{Kind: InHeader, Name: "X-Other"}}, false},
		{Text{Content: "0101705000", Place: Place{Kind: InText}}, false},
	} {
		found := Find(c.text, now)
		if got := len(found) > 0 && found[0].Confidence >= threshold; got != c.want {
			t.Errorf("%q in %s: counts %v, want %v", Mask(c.text.Content), c.text.Place.Kind, got, c.want)
		}
	}
}

// TestWhen uses days raised by 60 where it can; a clock's day must be a day, so those numbers are nobody's of our time:
// they would be a hundred years old.
func TestWhen(t *testing.T) {
	for s, want := range map[string]int{
		"Scan_750124-1023.pdf": 0, "kl. 750125-1943": 0, "Scan 750170-1023": 1, "Scan 750124-2523": 1, "Scan 750124-1063": 1,
		"journal_750124-1023.pdf": 1, "Scan, CPR 750124-1023": 1, "Scan\n750124-1023": 1,
		"72.05.70 8000 Aarhus": 0, "72.05.70-8000 Aarhus": 1, "72.05.70 8000 aarhus": 1, "CPR 72.05.70 8000 Aarhus": 1, "72.05.70 8000": 1,
	} {
		if got := len(find(s)); got != want {
			t.Errorf("%q: %d numbers, want %d", s, got, want)
		}
	}
}
