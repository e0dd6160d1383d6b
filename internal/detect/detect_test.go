package detect

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Numbers here are harmless: births of 1858–1899 (seventh digit 5–8, year 58–99), or days 61–91. 010170-5005 and its like
// pass the check digit, 010170-5000 does not.

const threshold = 0.5

// find returns the findings of s at or above the threshold, as the text they stand for.
func find(s string) []string {
	var found []string
	for _, f := range Find(Text{Content: s}, now) {
		if f.Confidence >= threshold {
			found = append(found, s[f.Start:f.End])
		}
	}
	return found
}

func TestFindWritings(t *testing.T) {
	for _, number := range []string{
		"010170-5000", "010170–5000", "010170—5000", "010170‐5000", "010170‑5000", "010170‒5000", "010170−5000", "010170﹣5000", "010170－5000",
		"010170 5000", "010170\u00a05000", "010170\u20095000", "010170\u202f5000", "010170\u30005000", "010170\t5000",
		"010170.5000", "010170/5000", "010170 - 5000", "010170 – 5000", "010170- 5000", "010170_5000", "010170--5000", "010170-\r\n5000", "010170-\n 5000",
		"01.01.70-5000", "01/01/70-5000", "01-01-70-5000", "01 01 70 5000", "01.01.70 5000", "01 01 70-5000", "01.01.70 - 5000",
		"0 1 0 1 7 0 - 5 0 0 0", "0101 70-5000", "010170-50 00",
		"01\u200b0170-5000", "0\u00ad1\u00ad0\u00ad1\u00ad7\u00ad0\u00ad-5000", "010170\u200b5000", "010170\u2060-\u20605000", "010170\ufeff5000",
		"010170\u00ad5000", "0\x001\x000\x001\x007\x000\x00-\x005\x000\x000\x000",
		"０１０１７０-５０００", "０１０１７０－５０００", "٠١٠١٧٠-٥٠٠٠", "०१०१७०-५०००", "𝟎𝟏𝟎𝟏𝟕𝟎-𝟓𝟎𝟎𝟎", "0１0１70-5000",
		"0101705005", "０１０１７０５００５", "710170-5000", "910170-5000", "610170 5000",
		"290276-5000", "311299-5000", "010158-8000",
	} {
		for _, around := range []string{"%s", "x %s y", "Vedr. %s.", "(%s)", "[%s]", "\"%s\"", "journal_%s.pdf", "sag%s", "æ%så", "13:20 %s", "1. %s, ja",
			"kl 08.15, %s", "<%s>", "Nr. 2019: %s", "%s: hej", "a,%s,b"} {
			s := fmt.Sprintf(around, number)
			if got := find(s); len(got) != 1 || got[0] != number {
				if number == "0101705005" && around == "æ%så" {
					continue // plain digits inside a word
				}
				t.Errorf("Find(%+q) = %+q, want %+q", s, got, number)
			}
		}
	}
}

func TestFindNothing(t *testing.T) {
	for _, s := range []string{
		"", "-", "0", "010170", "010170-", "010170-500", "010170-50000", "1010170-5000", "010170-5000123456",
		"01017050001", "00101705005", "12345678901234567890", "3210170-5000",
		"320170-5000", "000170-5000", "600170-5000", "920170-5000", "011370-5000", "010070-5000", "310470-5000", "290277-5000", "300276-5000",
		"010136-5000", // 2036: not born yet
		"010130-4000", "010136-9000", "010136-4000",
		"010170:5000", "010170,5000", "010170+5000", "010170 og 5000", "010170\n5000", "010170\r\n\r\n5000",
		"+4501017050", "+45 01 01 70 50 00", "+0101705005", "(+45) 0101705005", "12 34 56 78", "70 10 20 30", "+45 7010 2030",
		"2010-10-20 12:30", "22.11.2026 03:58", "2026-11-22T03:58:00", "10.12.25 19.43", "1-800-336-1234",
		"550e8400-e29b-41d4-a716-446655440000", "5d010170-5000-41d4-a716-446655440000",
		"0101705000", // plain, no check digit, no label
		"a0101705005f",
		"fakturanr. 0101705005", "P-nr. 1001705005", "P-nr: 0101705005", "ordre 010170-5000", "tlf. 0101705005", "tlf 010170 5000", "konto 0101705005",
		"konto 1234 0101705005", "Reg. og kontonr.: 1234-0101705005", "kontonummeret er 0101705005", "Faktura nr. 0101705005", "EAN 0101705005",
		"0101705005,00", "0101705005 kr.", "CVR 12345678", "Ordre nr.: 0101705005",
		"010170-••••", "••••••-5000", "010170-xxxx",
	} {
		if got := find(s); got != nil {
			t.Errorf("Find(%+q) = %+q, want nothing", s, got)
		}
	}
}

// TestFindNeighbours shows that no neighbour hides a number, and that a label speaks for its own number only.
func TestFindNeighbours(t *testing.T) {
	for _, c := range []struct {
		s    string
		want string // the found numbers, joined by "|"
	}{
		{"010170-5000 010171-5000", "010170-5000|010171-5000"},
		{"010170-5000-010171-5000", "010170-5000|010171-5000"},
		{"010170 5000 010171 5000", "010170 5000|010171 5000"},
		{"12 010170-5000 34", "010170-5000"},
		{"1234 010170-5000", "010170-5000"},
		{"123456 010170-5000", "010170-5000"},
		{"12345678 010170-5000", "010170-5000"},
		{"010170-5000 12345678", "010170-5000"},
		{"2024-010170-5000-01", "010170-5000"},
		{"faktura 12345678 for 0101705005", "0101705005"},
		{"fakturanr. 0101705005, cpr 0101715000", "0101715000"},
		{"CPR: 0101705000, fakturanr: 0101705005", "0101705000"},
		{"fakturanr. 1234567 010170-5000", "010170-5000"},
		{"CPR-nr. 0101705000", "0101705000"},
		{"cprnr:0101705000", "0101705000"},
		{"CPR\n0101705000", "0101705000"},
		{"Personnummer 0101705000", "0101705000"},
		{"født 0101705000", "0101705000"},
		{"FØDT DEN 0101705000", "0101705000"},
		{"0101705000 (cpr)", "0101705000"},
		{"CPR:\n0101705000\n0101715000\n0101725000", "0101705000|0101715000|0101725000"},
		{"barn 010170-5000 mor 010160-5000 far 010159-5000", "010170-5000|010160-5000|010159-5000"},
		{"+45 12345678 010170-5000", "010170-5000"},
		{"in the border 0101705005", "0101705005"},
		{"efter ordre fra lægen: borger 010170-5000", "010170-5000"},
		{"har betalt fakturaen. Borger 0101705005", "0101705005"},
		{"navn;cpr;adresse\nAnna;0101705000;Vej 1\nBo;0101715000;Vej 2", "0101705000|0101715000"},
		{"Navn\tCPR\nAnna\t0101705000\nBo\t0101715000", "0101705000|0101715000"},
		{"320170-5000 010170-5000", "010170-5000"},
		{"CPR: 010170\n5000", "010170\n5000"},
		{"Kære Anna, tak for din ordre\nborgerens cpr er her, 010170-5000", "010170-5000"}, // no table, though commas part it
		{"Kære Anna, tak for din ordre\nborgerens cpr er her, 0101705005", "0101705005"},
		{"Borger 0101705000 har klaget", "0101705000"},
		{"ansøgeren (0101705000)", "0101705000"},
		{"Anna Testesen, 0101705000", "0101705000"},
		{"0101705000 Anna Testesen", "0101705000"},
		{"Prøvenr. 0101705000 Anna Testesen", ""},
		{"0101705000\n0101715000\n0101725000", "0101705000|0101715000|0101725000"},
		{"0101705000\n0101725000\n1234567890", ""}, // two of three are no list
		{"P-nummer 0101705005 og 0101715001", ""},
		{"Rekvisitionsnr. 0101705005", ""},
		{"Jeres policenummer hos os er 0101705005", ""},
		{"Patientnr. 0101705005", "0101705005"},
		{"Perioden 01.01.70-31.12.70 og 01-01-70-02-02", ""},
		{"|navn|personnummer|status|\n|------------------------|----------------------------|--------------------|\n|  x          | 0101705000 | y |", "0101705000"},
		{"CPR: 010170:5000", "010170:5000"},
		{"cpr 010170+5000, cpr 010171+5000", "010170+5000|010171+5000"},
		{"Personnr. 010170 (5000)", "010170 (5000"},
		{"CPR=010170=5000;navn=Anna", "010170=5000"},
		{"cpr;010170;5000;cpr;010171;5000", "010170;5000|010171;5000"},
		{"12,cpr 010170,5000,34", "010170,5000"},
		{"CPR ⁰¹⁰¹⁷⁰-⁵⁰⁰⁰ og ₀₁₀₁₇₁-₅₀₀₀", "⁰¹⁰¹⁷⁰-⁵⁰⁰⁰|₀₁₀₁₇₁-₅₀₀₀"},
		{"NAD+PAT+0101705000::CPR'", "0101705000"},
		{"BGM+CPR+0101705005+9'", "0101705005"},
		{"12,345678,0101 010170-5000", "010170-5000"},
		{"CPR 01.01.1870-5000", "01.01.1870-5000"},
		{"cpr 01011870-5000", "01011870-5000"},
		{"cpr-nr. 01-01-1870 5000, 01/01/1871-5000", "01-01-1870 5000|01/01/1871-5000"},
		{"01.01.1870-5000", ""},
		{"CPR 01.01.1970-5000", ""}, // the seventh digit says another century
		{"CPR 01.01.1870\n5000", ""},
		{"e-CPR 0203291WQ3.", "0203291WQ3"},
		{"Vedr. 0101705AB0", "0101705AB0"},
		{"(010170-5AB0), 710170 5AB4", "010170-5AB0|710170 5AB4"},
		{"0101705ab0", ""},
		{"0101708AB0", ""}, // no such century
		{"320170-5AB0 001370-5AB0", ""},
		{"x0101705AB0 0101705AB0x 0101705AB01 0101705ÆB0 0101705AB0=", ""},
		{"010170\n5AB0", ""},
		{"0203291WQ3 010170-5000", "0203291WQ3|010170-5000"},
		{"010170-5AB0-010171-5000", "010170-5AB0|010171-5000"},
		{"Bilag til 010170-5000", "010170-5000"},
		{"Bilag 010170-5000", "010170-5000"},
		{"bilagene: 010170-5000", "010170-5000"},
		{"Telefonnotat 010170-5000", "010170-5000"},
		{"Telefonsamtale med 010170-5000", "010170-5000"},
		{"telefonbesked fra 0101705005", "0101705005"},
		{"Borgerkontoret: 010170-5000", "010170-5000"},
		{"Lægekontoret: 010170-5000", "010170-5000"},
		{"Lægekontoret: 0101705005", "0101705005"},
		{"Faktura til 010170-5000", "010170-5000"},
		{"Kvittering til 0101705005", "0101705005"},
		{"Ansøgning om mobilitetsstøtte 010170-5000", "010170-5000"},
		{"Fakturanr. 010170-5000", ""},
		{"Faktura nr. 010170-5000", ""},
		{"kontonummer: 010170-5000", ""},
		{"produktionsenhedsnummer 010170-5000", ""},
		{"P-nr. 010170-5000", ""},
		{"Invoice no. 010170-5000", ""},
		{"borgeren med CPR 010170 \r\n 5000 har", "010170 \r\n 5000"},
		{"CPR 010170\n\n5000", ""},
		{"CPR 010170\n- 5000", ""},
		{"CPR 0101\n70\n5000", ""},
		{"CPR: 010171-5000\n010170\n5000\n", "010171-5000"},
		{"010170\n010171-5000\n5000", "010171-5000"},
		{"+45\n0101705005", "0101705005"},
		{"0101705000 010170-5000", "010170-5000"},
	} {
		if got := strings.Join(find(c.s), "|"); got != c.want {
			t.Errorf("Find(%q) = %q, want %q", c.s, got, c.want)
		}
	}
}

// TestFindByColumn: a column's heading counts for every number below it, and for no other column.
func TestFindByColumn(t *testing.T) {
	filler := strings.Repeat("Ib Testesen;0101705000;kr\n", 40)
	for in, want := range map[string]int{
		"Navn;CPR;Type\n" + filler:                                                                 40,
		"Navn;Fakturanr;Type\n" + filler:                                                           0,
		"Navn;Rekvisitionsnr.;Type\n" + filler:                                                     0,
		"Faktura\tCPR\n0101705005\t0101705000\n0101705005\t0101705000":                             2,
		"CPR\tFaktura\n0101705000\t0101705005\n0101705000\t0101705005":                             2,
		"| Varenr. | Tekst |\n|---|---|\n| 0101705005 | Papir |":                                   0,
		"\"Ordre, nr.\",\"Navn, for\",\"Cpr-nr.\"\n\"0101705005\",\"Testesen, Ib\",\"0101705000\"": 1,
		"Fakturanr;Beløb\n12;30\n\nNavn;Tal\nIb Testesen;0101705005":                               1, // another table
		"Fakturanr;Tekst\n12;CPR 0101705000":                                                       1, // the cell's own label goes before
	} {
		if got := find(in); len(got) != want {
			t.Errorf("Find(%.60q…) = %d findings, want %d", in, len(got), want)
		}
	}
}

// TestFindByColumnIsLinear: two separators in every line, which the numbers' lines choose from in turn, must not make every number
// walk all lines again.
func TestFindByColumnIsLinear(t *testing.T) {
	s := "Navn,x;CPR\n" + strings.Repeat(";,\n", 1<<20) + strings.Repeat("a,0101705000;\nb;0101705000,\n", 4000)
	if n := len(Find(Text{Content: s}, now)); n != 8000 {
		t.Errorf("%d findings, want 8000", n)
	}
}

// TestFindCropped: numbers that lost zeros need a label of their own, and Mask masks what Find finds.
func TestFindCropped(t *testing.T) {
	for in, want := range map[string]string{
		"CPR-nr. 101705000": "CPR-nr. 010170-••••", "cpr: 1.1.70-5000": "cpr: 010170-••••", "Cpr 1/1/70-5000.": "Cpr 010170-••••.",
		"CPR 01.1.70 5000": "CPR 010170-••••", "Navn;CPR\nIb;101705000\n": "Navn;CPR\nIb;010170-••••\n", "personnr=101705000": "personnr=010170-••••",
	} {
		if got := find(in); len(got) != 1 {
			t.Errorf("Find(%q) = %q, want one", in, got)
		}
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
		checkFind(t, in)
		checkMask(t, in)
	}
	for _, in := range []string{"101705000", "Fakturanr. 101705000", "version 1.1.70-5000", "CPR 0101705000, ordre 101705000", "CPR, Navn, 101705000,50",
		"cpr 401705000x", "CPR og adresse hos 101705000", "Navn;CPR;Beløb\nIb;;101705000"} {
		for _, got := range find(in) {
			if got != "0101705000" {
				t.Errorf("Find(%q) = %q, want none", in, got)
			}
		}
	}
	for _, in := range []string{"id=101705000", "version 1.1.70-5000", "[CPR] 101705000"} {
		if got := Mask(in); got != in {
			t.Errorf("Mask(%q) = %q, want it unchanged", in, got)
		}
	}
}

// TestFindOtherNumbers: 0101705005 passes every test of form, and only what stands beside it tells that it is another number.
func TestFindOtherNumbers(t *testing.T) {
	for _, in := range []string{
		"Serial number %s", "Dok.id %s", "Ansøgning nr. %s", "J.nr. %s", "Ref. nr.: %s", "Vores reference %s", "Sag: %s", "PO: %s", "Kreditnota %s", // a noun and a word for numbers
		`{"customerNumber":"%s"}`, `{"transactionId": %s}`, "S/N: %s", "INC%s", "IBAN DK42 6829 %s", "<%s.4204@mail.example>", "----=_Part_%s_74225", `schemeID="DK:P">%s<`, // tokens
		"kr. %s", "DKK %s", "%s stk. skruer", "%s kr.", "%s kWh", // amounts
	} {
		if got := find(fmt.Sprintf(in, "0101705005")); len(got) != 0 {
			t.Errorf("Find(%q) = %q, want none", in, got)
		}
	}
	for _, in := range []string{
		"Danish personal ID: %s", "National ID no. %s", "social security number %s", "PNR\t%s", "where pnr = '%s'", "Mit nummer er %s", "Patient-id: %s",
		`"system":"urn:oid:1.2.208.176.1.2","value":"%s"`, `"value": "%s", "system": "urn:oid:1.2.208.176.1.2"`,
		"/borger/%s/sag", "X-Borger: %s", "Pt. %s indlagt", "<td>Ib Testesen</td><td>%s</td>", "Skyldner %s",
	} {
		want := 1
		if got := find(fmt.Sprintf(in, "0101705000")); len(got) != want && !strings.Contains(in, "Mit nummer") && !strings.Contains(in, "Patient-id") {
			t.Errorf("Find(%q) = %q, want %d", in, got, want)
		}
		if got := find(fmt.Sprintf(in, "0101705005")); len(got) != want {
			t.Errorf("Find(%q) with a check digit = %q, want %d", in, got, want)
		}
	}
	if got := find("PNR 1001705007"); len(got) != 0 {
		t.Errorf("a production unit's number was found: %q", got)
	}
}

func TestConfidence(t *testing.T) {
	of := func(text Text) float64 {
		t.Helper()
		found := Find(text, now)
		if len(found) != 1 {
			t.Fatalf("Find(%q): got %d findings, want 1", text.Content, len(found))
		}
		return found[0].Confidence
	}
	rising := []string{"faktura 0101705000", "0101705000", "0101705005", "cpr 0101705005"}
	last := 0.0
	for _, s := range rising {
		if c := of(Text{Content: s}); c <= last {
			t.Errorf("%q: confidence %v, want more than %v", s, c, last)
		} else {
			last = c
		}
	}
	if with, without := of(Text{Content: "010170-5005"}), of(Text{Content: "010170-5000"}); with <= without || without < threshold {
		t.Errorf("the check digit must raise and never exclude: %v with, %v without", with, without)
	}
	for s, counts := range map[string]bool{"<010170-5000@x>": false, "<0101705005@x>": false, "<010170-5005@x>": true, "<cpr-0101705000@x>": true} {
		if c := of(Text{Content: s, Machine: true}); c >= threshold != counts {
			t.Errorf("%s in machine-made text: confidence %v, counts %v", s, c, !counts)
		}
	}
	if c := of(Text{Content: "0101705000@post.example", Address: true}); c < threshold {
		t.Errorf("a number as local part: confidence %v", c)
	}
}

func TestCentury(t *testing.T) {
	for _, c := range []struct {
		yy      int
		seventh byte
		want    int
	}{
		{0, 0, 1900}, {99, 3, 1900}, {36, 4, 2000}, {37, 4, 1900}, {99, 4, 1900}, {0, 5, 2000}, {57, 5, 2000}, {57, 8, 2000},
		{58, 5, 1800}, {99, 8, 1800}, {36, 9, 2000}, {37, 9, 1900}, {57, 9, 1900}, {99, 9, 1900},
	} {
		if got := century(c.yy, c.seventh); got != c.want {
			t.Errorf("century(%d, %d) = %d, want %d", c.yy, c.seventh, got, c.want)
		}
	}
}

func TestBirthIsBounded(t *testing.T) {
	// Day 61–91 keeps the numbers harmless; 7th digit 5 and year 26 say 2026.
	for _, c := range []struct {
		s    string
		want int
	}{{"821126-5000", 1}, {"831126-5000", 1}, {"841126-5000", 0}, {"611226-5000", 0}} {
		if got := len(Find(Text{Content: c.s}, now)); got != c.want {
			t.Errorf("%s on %s: %d findings, want %d", c.s, now.Format(time.DateOnly), got, c.want)
		}
	}
	if got := len(Find(Text{Content: "611226-5000"}, time.Time{})); got != 1 {
		t.Errorf("a zero now must bound nothing, got %d findings", got)
	}
}

func TestOffsetsArePlain(t *testing.T) {
	s := "æøå ０１０１７０–５０００ \u00a0 slut"
	found := Find(Text{Content: s, Place: Place{Kind: InText, Part: "1"}}, now)
	if len(found) != 1 || s[found[0].Start:found[0].End] != "０１０１７０–５０００" {
		t.Fatalf("got %+v", found)
	}
	if f := found[0]; f.Masked != "010170-••••" || f.Kind != CPR || f.Place.Part != "1" {
		t.Errorf("got %+v", f)
	}
}

func TestFindIsBounded(t *testing.T) {
	began := time.Now()
	for _, s := range []string{
		strings.Repeat("010170-5000 ", 200_000), strings.Repeat("01 ", 500_000), strings.Repeat("1", 2_000_000), strings.Repeat("0 1 ", 500_000),
		strings.Repeat("1\u200b", 500_000), strings.Repeat("010170-", 300_000), strings.Repeat("01-", 500_000), strings.Repeat("0101705000x", 200_000),
		"1" + strings.Repeat("\u200b", 1_000_000) + "x",
	} {
		if n := len(Find(Text{Content: s}, now)); n > Most {
			t.Errorf("%.12q…: %d findings, want at most %d", s, n, Most)
		}
		Mask(s)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"intet her":                  "intet her",
		"010170-5000":                "010170-••••",
		"Vedr. 0101705000":           "Vedr. 010170-••••",
		"a010170-5000b":              "a010170-••••b",
		"01.01.70 5000, 010171-5000": "010170-••••, 010171-••••",
		"faktura 0101365005":         "faktura 010136-••••", // not born yet, but who knows
		"9999999999":                 "9999999999",
		"0203291WQ3":                 "020329-••••",
		"<abcdef0101705ab0ghijklmnop@eksempel.example>": "<abcdef0101705ab0ghijklmnop@eksempel.example>",
		"0101705ab0":                  "0101705ab0",
		"310270-5000":                 "310270-••••", // no such day, but it could be a slip
		"910170-5000":                 "910170-••••",
		"010170 50 01 01 70 5008":     "010170-••••", // whichever of the two it is
		"1 010170-5000":               "1 010170-••••",
		"0101 010170-5000":            "0101 010170-••••",
		"０１０１７０－５０００":                 "010170-••••",
		"12345678901":                 "12345678901",
		"22.11.2026 03:58":            "22.11.2026 03:58",
		"0101705000@eksempel.example": "010170-••••@eksempel.example",
	} {
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
		checkMask(t, in)
	}
}

// checkMask checks what Mask promises of any text.
func checkMask(t *testing.T, s string) {
	t.Helper()
	m := Mask(s)
	if again := Mask(m); again != m {
		t.Errorf("Mask(%q) = %q, and masked again %q", s, m, again)
	}
	if HoldsCPR(m) {
		t.Errorf("Mask(%q) = %q, which holds a number", s, m)
	}
	if HoldsCPR(s) != (m != s) {
		t.Errorf("HoldsCPR(%q) = %v, but Mask gives %q", s, HoldsCPR(s), m)
	}
	for _, at := range []time.Time{now, {}} {
		for _, f := range Find(Text{Content: m}, at) {
			t.Errorf("Mask(%q) = %q, in which Find finds %+v", s, m, f)
		}
	}
	if r := Redact(s, "[CPR]"); HoldsCPR(r) {
		t.Errorf("Redact(%q) = %q, which holds a number", s, r)
	}
}

// checkFind checks what Find promises of any text.
func checkFind(t *testing.T, s string) {
	t.Helper()
	last := 0
	for _, f := range Find(Text{Content: s}, now) {
		if f.Start < last || f.End <= f.Start || f.End > len(s) {
			t.Fatalf("Find(%q): offsets %d–%d after %d, length %d", s, f.Start, f.End, last, len(s))
		}
		last = f.End
		if f.Confidence < 0 || f.Confidence > 1 || f.Masked == "" || f.Why == "" {
			t.Errorf("Find(%q): %+v", s, f)
		}
		if !maskedInside(s, f.Start, f.End) {
			t.Errorf("Find(%q): found %d–%d, which Mask does not mask", s, f.Start, f.End)
		}
		if cropped := strings.Contains(f.Why, "without its leading zeros"); !cropped && Mask(s[f.Start:f.End]) != f.Masked {
			t.Errorf("Find(%q): masked form %q, but Mask gives %q", s, f.Masked, Mask(s[f.Start:f.End]))
		}
		if HoldsCPR(f.Why) || HoldsCPR(f.Masked) {
			t.Errorf("Find(%q): the finding holds the value: %+v", s, f)
		}
	}
	spans := 0
	Spans(s, func(start, end int) {
		if start < spans || end <= start || end > len(s) {
			t.Fatalf("Spans(%q): %d–%d after %d", s, start, end, spans)
		}
		spans = end
	})
}

// maskedInside reports whether Mask masks all of s[start:end].
func maskedInside(s string, start, end int) (yes bool) {
	Spans(s, func(from, to int) { yes = yes || from <= start && end <= to })
	return yes
}

var seeds = []string{
	"CPR 101705000", "101705000 cpr 0101705000", "[CPR] 101705000", "Navn;CPR\nIb;101705000\nBo;010170;5000", "cpr 1.1.70-5000", "personnr 12 1.1.70-5000 1.1.70 5000",
	"a,cpr\n1,010170-5000\n\n\"x\",101705000", "CPR\t1\n1/1/70-5000-101705000",
	"01.01.1870-5000", "01011870 5000 01 01", "70 01 01 1870 5000-01.01.1870.5000", "01011870-5000-5000",
	"010170-5000", "0101705005", "010170 50 01 01 70 5008", "0101 010170-5000", "01 01 01 01 01 01 01 01", "０１０１７０－５０００", "1\u200b0101705000",
	"010170-••••", "+45 0101705005", "010170-\n5000", "\xff010170\xa05000\x96", "010170 -- 5000", "CPR 0101705000 kr", "5d010170-5000-41d4-a716-446655440000",
	"0101705AB0\x1f0101705AB0", "0101705AB0", "cpr 010170-5AB0", "010170-5AB0-0101705AB0", "010170 1AB0101705000", "0101705AB0\u0661", "0101705000 cpr 0101705AB0",
	"010170\n5000", "010170\r\n5000\n010171-5000", "010170\n010171\n5000-010171", "CPR 010170 \r\n 5000",
	"01.01.70. 5000", "010170\u00ad5000", "0 1 0 1 7 0 5 0 0 0 5", "010170-5000010171-5000", "\u0660\u0661", "010170\t \t5000",
}

func FuzzFind(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(checkFind)
}

func FuzzMask(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(checkMask)
}
