package detect

import (
	"bytes"
	"strings"
)

// near is how many bytes before a number are read for labels, beside how many after it.
const (
	near   = 72
	beside = 20
)

// label is a word that says which number stands beside it, in lower case. Labels are glued and inflected in Danish
// ("cprnr", "fakturanummeret", "betalingskonto"), so most are sought as parts of words.
type label struct {
	text string
	word bool // only where no letter stands before it: the short ones are parts of other words ("ean" of "ocean")
}

// speaksFor say that a CPR number stands beside them, speaksAgainst that another number does.
var (
	speaksFor = []label{{"cpr", false}, {"personnummer", false}, {"personnumre", false}, {"personnr", false}, {"person-nr", false}, {"pers.nr", false}, {"c.p.r", true},
		{"sygesikring", false}, {"sundhedskort", false},
		{"person nr", false}, {"født", false}, {"foedt", false}, {"fødsel", false}, {"foedsel", false}, {"civil registration", false},
		{"date of birth", false}, {"born", true}}
	speaksAgainst = []label{{"faktura", false}, {"invoice", false}, {"ordre", false}, {"order", true}, {"tlf", true}, {"telefon", false},
		{"mobil", false}, {"phone", false}, {"fax", true}, {"konto", false}, {"account", false}, {"p-nr", true}, {"p-nummer", true},
		{"p.nr", true}, {"p nr", true}, {"pnr", true}, {"p-number", true}, {"produktionsenhed", false}, {"cvr", true}, {"ean", true},
		{"gln", true}, {"varenr", false}, {"varenummer", false}, {"artikel", false}, {"kundenr", false}, {"kundenummer", false},
		{"bilag", false}, {"kvittering", false}, {"voucher", false}, {"gavekort", false}, {"licens", false}, {"license", false},
		{"serienr", false}, {"serienummer", false}, {"imei", true}, {"isbn", true}, {"girokort", false}, {"timestamp", false},
		{"betalings-id", false}, {"t=", true}, {"x=", true}, {"ts=", true}}
)

// evidence is what the surroundings of a window say.
type evidence struct {
	labelled bool // a label for a CPR number stands near
	against  bool // a label for another kind of number stands directly before this one
	blob     bool // inside a token of letters and digits: a hash, a key, an id
	amount   bool // decimals or a currency follow
}

// surroundings reads what stands around the window. Labels before it count by distance, the nearest wins; one that
// speaks against counts only where no other number stands between, so that it never takes a neighbour along.
func surroundings(s string, w *window) evidence {
	var buf [near + beside]byte
	before := lower(buf[:0], s[max(0, w.start-near):w.start])
	after := lower(buf[len(before):len(before)], s[w.end:min(len(s), w.end+beside)])

	if w.cut == byLine { // so weak a form needs a label of its own
		before = before[bytes.LastIndexAny(before, "0123456789")+1:]
	}
	e := evidence{blob: blob(s, w), amount: amount(after)}
	pro, contra := lastLabels(before)
	if contra >= 0 && !directly(before[contra:], w.afterFour) {
		contra = -1
	}
	e.labelled = pro > contra
	e.against = contra > pro
	if !e.against && !e.labelled {
		pro, _ := lastLabels(untilNumber(after))
		e.labelled = pro >= 0
	}
	return e
}

// lower appends s in lower case; of letters outside ASCII only Æ, Ø and Å are folded (two bytes each way).
func lower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case i > 0 && s[i-1] == 0xC3 && c >= 0x80 && c <= 0x9E:
			c += 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// labelsBy are all labels by their first byte, for one pass over the text to find them.
var labelsBy = func() (t [256][]sided) {
	for _, l := range speaksFor {
		t[l.text[0]] = append(t[l.text[0]], sided{l, true})
	}
	for _, l := range speaksAgainst {
		t[l.text[0]] = append(t[l.text[0]], sided{l, false})
	}
	return t
}()

type sided struct {
	label
	pro bool
}

// lastLabels returns where the last label for a CPR number and the last for another number end in b; -1 for none.
func lastLabels(b []byte) (pro, contra int) {
	pro, contra = -1, -1
	for i, c := range b {
		for j := range labelsBy[c] {
			l := &labelsBy[c][j]
			if len(b)-i < len(l.text) || string(b[i:i+len(l.text)]) != l.text || l.word && i > 0 && (letter(b[i-1]) || b[i-1] >= 0x80) {
				continue
			}
			if l.pro {
				pro = max(pro, i+len(l.text))
			} else {
				contra = max(contra, i+len(l.text))
			}
		}
	}
	return pro, contra
}

// directly reports whether what stands between a label and a number lets the label speak for that number: the rest of
// the label's word, punctuation, and words such as "nr." and "er". Other words, or another number, do not; but an account
// number has a registration number of four digits before it (afterFour).
func directly(gap []byte, afterFour bool) bool {
	gap = gap[wordLen(gap):] // fakturanummeret
	for len(gap) > 0 {
		n := wordLen(gap)
		if n > 0 && !linking[string(gap[:n])] {
			return false
		}
		digits := 0
		for n < len(gap) && gap[n] >= '0' && gap[n] <= '9' {
			n++
			digits++
		}
		if digits > 4 || digits == 4 && !afterFour {
			return false
		}
		gap = gap[max(n, 1):]
	}
	return true
}

// wordLen returns how many bytes of letters b begins with: ASCII's, and those of two bytes such as æ, ø and å.
func wordLen(b []byte) int {
	n := 0
	for n < len(b) {
		switch {
		case letter(b[n]):
			n++
		case b[n] == 0xC3 && n+1 < len(b):
			n += 2
		default:
			return n
		}
	}
	return n
}

// linking are the words that may stand between a label and its number.
var linking = map[string]bool{"nr": true, "nummer": true, "number": true, "no": true, "num": true, "id": true, "er": true, "is": true, "lyder": true,
	"vores": true, "jeres": true, "reg": true, "og": true, "på": true, "via": true, "til": true, "fra": true, "ref": true, "kode": true}

// untilNumber cuts b at its first digit or line end.
func untilNumber(b []byte) []byte {
	for i, c := range b {
		if c >= '0' && c <= '9' || c == '\n' {
			return b[:i]
		}
	}
	return b
}

// amount reports whether what follows makes the number an amount of money.
func amount(b []byte) bool {
	after := string(b[:min(len(b), 8)])
	if len(after) >= 2 && after[0] == ',' && after[1] >= '0' && after[1] <= '9' {
		return true
	}
	after = strings.TrimLeft(after, " ")
	for _, unit := range []string{"kr", "dkk", "eur", "€"} {
		if strings.HasPrefix(after, unit) {
			return true
		}
	}
	return false
}

// blob reports whether the window stands inside a token made by a machine: letters directly on both sides of ten plain
// digits, or a UUID.
func blob(s string, w *window) bool {
	if w.start == 0 || w.end == len(s) {
		return false
	}
	if w.shape == plain {
		return letter(s[w.start-1]) && letter(s[w.end])
	}
	return w.shape == sixFour && w.start >= 2 && hex(s[w.start-1]) && hex(s[w.start-2]) && uuidTail(s[w.end:])
}

// uuidTail reports whether s goes on as a UUID does after its first two groups (RFC 9562, section 4).
func uuidTail(s string) bool {
	const tail = "-xxxx-xxxx-xxxxxxxxxxxx"
	if len(s) < len(tail) {
		return false
	}
	for i := range len(tail) {
		if tail[i] == '-' && s[i] != '-' || tail[i] == 'x' && !hex(s[i]) {
			return false
		}
	}
	return true
}

// bracketedPrefix reports whether an international prefix in brackets, (+45) or (0045), stands before start.
func bracketedPrefix(s string, start int) bool {
	before := strings.TrimRight(s[max(0, start-10):start], " ")
	before, ok := strings.CutSuffix(before, ")")
	if !ok {
		return false
	}
	_, inside, ok := strings.Cut(before, "(")
	return ok && (strings.HasPrefix(inside, "+") || strings.HasPrefix(inside, "00"))
}

// wholeLocal reports whether the window is all that stands before an address's @.
func wholeLocal(s string, w *window) bool {
	if w.end >= len(s) || s[w.end] != '@' && !(s[w.end] == '"' && w.end+1 < len(s) && s[w.end+1] == '@') {
		return false
	}
	return w.start == 0 || s[w.start-1] == '"' || s[w.start-1] == '\n'
}

func letter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

func hex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
