package detect

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	prose  = strings.Repeat("Kære borger. Vi har modtaget din ansøgning og vender tilbage, så snart vi har læst den. Venlig hilsen Eksempel Kommune.\r\n", 800)
	agenda = strings.Repeat("Mødet er den 22.11.2026 kl. 13:20 i lokale 4, tlf. 70 10 20 30, sag 2026-12345. Vi ses, og tag gerne en god ven med dertil.\r\n", 800)
	marked = strings.Repeat("<td style=\"padding:0 12px;width:100%\" class=\"c1\"><a href=\"https://eksempel.example/a?id=18273645\">Læs mere</a></td>\r\n", 800)
)

// dense is a list of ten-digit numbers, none with a day that is one: nobody's.
var dense = func() string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range 8000 {
		fmt.Fprintf(&b, "%010d\n", 4_000_000_000+r.Int64N(2_000_000_000)) // days 40 to 59
	}
	return b.String()
}()

func BenchmarkFind(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"prose", prose}, {"dates", agenda}, {"markup", marked}, {"dense", dense}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if found := Find(Text{Content: c.text}, now); found != nil {
					b.Fatalf("found %+v", found[0])
				}
			}
		})
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	for _, text := range []string{prose, agenda, marked} {
		if n := testing.AllocsPerRun(3, func() { Find(Text{Content: text}, now); HoldsCPR(text); Mask(text) }); n != 0 {
			t.Errorf("%.20q…: %v allocations where nothing is found, want none", text, n)
		}
	}
}
