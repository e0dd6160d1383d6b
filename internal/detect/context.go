package detect

import (
	"bytes"
	"strings"
	"unicode"
)

// near is how many bytes before a number are read for labels, beside how many after it. Rules and blanks of a table count
// once: reach is how many bytes are looked at for them.
const (
	near   = 72
	beside = 20
	reach  = 3 * near
)

// label is a word that says which number stands beside it, in lower case. Labels are glued and inflected in Danish
// ("cprnr", "fakturanummeret", "betalingskonto"), so most are sought as parts of words.
type label struct {
	text  string
	word  bool // only where no letter stands before it: the short ones are parts of other words ("ean" of "ocean")
	thing bool // it names a thing, about which a mail on a citizen may be: a number follows where "nr." or the like says so
}

// speaksFor say that a CPR number stands beside them, speaksAgainst that another number does.
var (
	speaksFor = []label{{text: "cpr"}, {text: "personnummer"}, {text: "personnumre"}, {text: "personnr"}, {text: "person-nr"},
		{text: "pers.nr"}, {text: "c.p.r", word: true}, {text: "sygesikring"}, {text: "sundhedskort"}, {text: "person nr"}, {text: "født"},
		{text: "foedt"}, {text: "fødsel"}, {text: "foedsel"}, {text: "personal id"}, {text: "personid"}, {text: "person-id"}, {text: "national id"}, {text: "identity number"},
		{text: "social security"}, {text: numberOID, word: true}, {text: "civil registration"}, {text: "civilregistration"}, {text: "date of birth"}, {text: "born", word: true}}
	speaksAgainst = []label{{text: "faktura", thing: true}, {text: "invoice", thing: true}, {text: "ordre"}, {text: "order", word: true},
		{text: "tlf", word: true}, {text: "telefon", thing: true}, {text: "mobil", thing: true}, {text: "phone", thing: true},
		{text: "fax", word: true}, {text: "konto", thing: true}, {text: "account", thing: true}, {text: "p-nr", word: true},
		{text: "p-nummer", word: true}, {text: "p.nr", word: true}, {text: "p nr", word: true},
		{text: "p-number", word: true}, {text: "produktionsenhed"}, {text: "cvr", word: true}, {text: "ean", word: true},
		{text: "gln", word: true}, {text: "varenr"}, {text: "varenummer"}, {text: "artikel", thing: true}, {text: "kundenr"},
		{text: "kundenummer"}, {text: "bilag", thing: true}, {text: "kvittering", thing: true}, {text: "voucher", thing: true},
		{text: "gavekort", thing: true}, {text: "licens", thing: true}, {text: "license", thing: true}, {text: "serienr"},
		{text: "serienummer"}, {text: "imei", word: true}, {text: "isbn", word: true}, {text: "girokort"}, {text: "timestamp"},
		{text: "betalings-id"}, {text: "t=", word: true}, {text: "x=", word: true}, {text: "ts=", word: true},
		{text: "track", word: true, thing: true}, {text: "tracking", word: true, thing: true}, {text: "trace", word: true, thing: true}, {text: "reference", thing: true}, {text: "ref", word: true, thing: true},
		{text: "sag:", word: true, thing: true}, {text: "case:", word: true, thing: true}, {text: "kreditnota", thing: true}, {text: "booking", word: true, thing: true}, {text: "epoch", word: true}, {text: "boundary", word: true},
		{text: "_part_"}, {text: "content-length"}, {text: "message-id"}, {text: "po", word: true, thing: true}, {text: "ocr", word: true, thing: true},
		{text: "produkt", word: true, thing: true}, {text: "product", word: true, thing: true}, {text: "sporing", word: true, thing: true}, {text: "rekvisition", word: true, thing: true}, {text: "bestilling", word: true, thing: true},
		{text: "måler", thing: true}, {text: "reservation", word: true, thing: true}, {text: "session", word: true, thing: true}, {text: "beløb", thing: true},
		{text: "ticket", word: true, thing: true}, {text: "incident", word: true, thing: true}, {text: "amount", word: true, thing: true}, {text: "iban", word: true}, {text: "uuid", word: true}, {text: "guid", word: true}, {text: "s/n", word: true}, {text: "bfe", word: true}, {text: "dk:p", word: true}}
)

// evidence is what the surroundings of a window say.
type evidence struct {
	labelled bool // a label for a CPR number stands near
	own      bool // it stands directly before this number
	against  bool // a label for another kind of number stands directly before this one
	blob     bool // inside a token of letters and digits: a hash, a key, an id
	amount   bool // decimals or a currency follow
}

// surroundings reads what stands around the window. Labels before it count by distance, the nearest wins; one that
// speaks against counts only where no other number stands between, so that it never takes a neighbour along.
func surroundings(s string, w *window) evidence {
	var buf [reach + beside]byte
	before := ruled(lower(buf[:0], s[max(0, w.start-reach):w.start]))
	after := lower(buf[reach:reach], s[w.end:min(len(s), w.end+beside)])

	if w.cut.weak() { // so weak a form needs a label of its own
		before = before[bytes.LastIndexAny(before, "0123456789")+1:]
	}
	e := evidence{blob: blob(s, w), amount: amount(after) || currency(before)}
	pro, contra, thing := lastLabels(before)
	if contra >= 0 {
		direct, numbered := directly(before[contra:], w.afterFour)
		// Six and four digits with a hyphen are a CPR number where nothing says that another number follows.
		if !direct || thing && !numbered && w.shape == sixFour && w.cut == byDash {
			contra = -1
		}
	}
	e.labelled = pro > contra
	if e.labelled {
		e.own, _ = directly(before[pro:], false)
	}
	e.against = contra > pro || pro < 0 && w.shape == plain && (otherNumber(before) || token(s, w) || unit(before, w))
	if !e.against && !e.labelled {
		pro, _, _ := lastLabels(untilNumber(after))
		e.labelled = pro >= 0 || registered(s[w.end:min(len(s), w.end+near)])
	}
	return e
}

// numberOID is the object identifier of CPR numbers, as HL7 and FHIR name whose number a value is.
const numberOID = "1.2.208.176.1.2"

// registered reports whether numberOID is the first number in after.
func registered(after string) bool {
	i := nextDigit(after, 0)
	if i < 0 {
		return false
	}
	rest, ok := strings.CutPrefix(after[i:], numberOID)
	return ok && (rest == "" || rest[0]-'0' > 9 && rest[0] != '.')
}

// ruled takes out what repeats a sign of a table's rules, or a blank, and returns the last of what remains.
func ruled(b []byte) []byte {
	n := 0
	for i, c := range b {
		if i > 0 && c == b[i-1] && strings.IndexByte("-=_|*. \t", c) >= 0 {
			continue
		}
		b[n] = c
		n++
	}
	return b[max(0, n-near):n]
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

// lastLabels returns where the last label for a CPR number and the last for another number end in b; -1 for none. thing
// says that the latter names a thing.
func lastLabels(b []byte) (pro, contra int, thing bool) {
	pro, contra = -1, -1
	for i, c := range b {
		for j := range labelsBy[c] {
			l := &labelsBy[c][j]
			end := i + len(l.text)
			if len(b) < end || string(b[i:end]) != l.text || l.word && i > 0 && (letter(b[i-1]) || b[i-1] >= 0x80) {
				continue
			}
			switch {
			case l.pro:
				pro = max(pro, end)
			case end > contra:
				contra, thing = end, l.thing
			}
		}
	}
	return pro, contra, thing
}

// directly reports whether what stands between a label and a number lets the label speak for that number: the rest of
// the label's word, punctuation, and words such as "nr." and "er". Other words, or another number, do not; but an account
// number has a registration number of four digits before it (afterFour). numbered says that "nr." or the like stood there.
func directly(gap []byte, afterFour bool) (yes, numbered bool) {
	rest := wordLen(gap)
	yes, numbered = inflected(string(gap[:rest])) // fakturanummeret
	if !yes {
		return false, false // another word that begins so, as kontoret
	}
	gap = gap[rest:]
	for len(gap) > 0 {
		n := wordLen(gap)
		if n > 0 && !linking[string(gap[:n])] {
			return false, false
		}
		numbered = numbered || naming[string(gap[:n])]
		digits := 0
		for n < len(gap) && gap[n] >= '0' && gap[n] <= '9' {
			n++
			digits++
		}
		if digits > 4 || digits == 4 && !afterFour {
			return false, false
		}
		gap = gap[max(n, 1):]
	}
	return true, numbered
}

// inflected reports whether rest ends a label's word without making another of it: an ending, or a word for a number.
func inflected(rest string) (yes, numbered bool) {
	if endings[rest] {
		return true, false
	}
	joined := strings.TrimPrefix(rest, "s") // produktionsenhedsnummer
	return naming[rest] || naming[joined], naming[rest] || naming[joined]
}

// endings of Danish and English nouns.
var endings = map[string]bool{"": true, "e": true, "en": true, "ens": true, "er": true, "erne": true, "ernes": true, "et": true, "ets": true,
	"n": true, "ne": true, "ns": true, "r": true, "s": true, "t": true}

// naming are the words that say that a number follows.
var naming = map[string]bool{"nr": true, "nummer": true, "nummeret": true, "numre": true, "numrene": true, "number": true, "numbers": true,
	"no": true, "num": true, "id": true, "kode": true, "koden": true, "code": true, "nøgle": true, "nøglen": true, "key": true, "ref": true}

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
var linking = func() map[string]bool {
	m := map[string]bool{"er": true, "is": true, "lyder": true, "vores": true, "jeres": true, "reg": true, "og": true, "hos": true, "os": true, "jer": true, "dig": true, "mig": true}
	for word := range naming {
		m[word] = true
	}
	return m
}()

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
	for _, unit := range []string{"kr", "dkk", "eur", "€", "stk", "kwh", "sek", "nok", "usd", "m3", "m²", "kg"} {
		if rest, ok := strings.CutPrefix(after, unit); ok && (rest == "" || !letter(rest[0])) {
			return true
		}
	}
	return false
}

// currency reports whether an amount begins directly after b.
func currency(b []byte) bool {
	b = bytes.TrimRight(b, " .")
	for _, unit := range [...]string{"kr", "dkk", "eur", "€", "$"} {
		if rest, ok := bytes.CutSuffix(b, []byte(unit)); ok && (len(rest) == 0 || !letter(rest[len(rest)-1]) && rest[len(rest)-1] < 0x80) {
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

// otherNumber reports whether a noun and a word for a number stand directly before: the number of something that no list here
// names (rekvisitionsnr., policenummer, serial number, dok.id). Of persons it may be the CPR number.
func otherNumber(before []byte) bool {
	before = before[bytes.LastIndexAny(before, "\r\n,;|\t()0123456789")+1:]
	words := strings.FieldsFunc(string(before), func(r rune) bool { return !unicode.IsLetter(r) })
	numbered := false
	for i := len(words) - 1; i >= 0 && i >= len(words)-5; i-- {
		word := words[i]
		if numbered && !linking[word] {
			return !ofPerson(word)
		}
		for _, end := range [...]string{"nummeret", "nummer", "numre", "nr"} {
			if stem, ok := strings.CutSuffix(word, end); ok && stem != "" {
				return len(stem) > 2 && !ofPerson(stem)
			}
		}
		for _, end := range [...]string{"id", "number"} { // transactionId, customerNumber, but not "altid"
			if stem, ok := strings.CutSuffix(word, end); ok && len(stem) > 2 && key(before) {
				return !ofPerson(stem)
			}
		}
		if !linking[word] {
			return false
		}
		numbered = numbered || naming[word]
	}
	return false
}

// key reports whether before ends with the sign between a key and its value.
func key(before []byte) bool {
	before = bytes.TrimRight(before, " \"'")
	return len(before) > 0 && (before[len(before)-1] == ':' || before[len(before)-1] == '=')
}

// ofPerson reports whether a noun, or what stands for one, says that a number may be a person's.
func ofPerson(word string) bool {
	return personWords[word] || personWords[strings.TrimSuffix(word, "s")] || ownWords[word]
}

// ownWords say whose a number is, or that it is a person's, without naming one.
var ownWords = map[string]bool{"mit": true, "dit": true, "hans": true, "hendes": true, "deres": true, "sit": true, "my": true, "your": true,
	"his": true, "her": true, "their": true, "det": true, "the": true, "dansk": true, "danskt": true, "danish": true, "personal": true,
	"national": true, "identity": true, "pnr": true}

// token reports whether a window of plain digits belongs to an identifier: capitals are glued to it (INC0101705000), the groups of
// an IBAN stand before it, or more of an address's local part after it, as in message ids.
func token(s string, w *window) bool {
	i := w.start
	for i > 0 && capital(s[i-1]) {
		i--
	}
	if n := w.start - i; n >= 2 && n <= 6 && !wordBefore(s, i) && s[i:w.start] != "CPR" && s[i:w.start] != "PNR" {
		return true
	}
	return ofIBAN(s[max(0, w.start-16):w.start]) || beforeAt(s[w.end:min(len(s), w.end+near)])
}

// unit reports whether "pnr" before the window means the number of a production unit, which begins with 10 (DOMAIN section 1): in
// the registers of persons it means personnummer.
func unit(before []byte, w *window) bool {
	words := bytes.TrimRight(before, " :=\t\"'.")
	return w.digits[0] == 1 && w.digits[1] == 0 && bytes.HasSuffix(words, []byte("pnr"))
}

// ofIBAN reports whether before ends with a country's letters, check digits and at least one group of four (ISO 13616).
func ofIBAN(before string) bool {
	rest := strings.TrimRight(before, " 0123456789")
	n := len(rest)
	return len(before)-n >= 6 && n >= 2 && capital(rest[n-1]) && capital(rest[n-2]) && !wordBefore(rest, n-2) && before[n] != ' '
}

// beforeAt reports whether the rest of a local part, not empty, and an @ begin after.
func beforeAt(after string) bool {
	for i := range len(after) {
		switch c := after[i]; {
		case c == '@':
			return i > 1
		case !letter(c) && c-'0' > 9 && c != '.' && c != '_' && c != '-' && c != '+' && c != '$':
			return false
		}
	}
	return false
}

// personWords are words for whom a number may be of, in lower case.
var personWords = func() map[string]bool {
	m := make(map[string]bool)
	for _, word := range strings.Fields(`borger borgeren borgerens patient patienten klient klienten ansøger ansøgeren barn barnet elev eleven beboer beboeren
		kunde kunden medarbejder medarbejderen mor moderen far faderen søn sønnen datter datteren ægtefælle ægtefællen samlever værge værgen pensionist
		pensionisten pårørende person personen navn hr fru pt pnr person ydelsesmodtager ydelsesmodtageren skyldner skyldneren bruger brugeren lejer lejeren pårørende citizen patients resident applicant child mother father`) {
		m[word] = true
	}
	return m
}()

// besidePerson reports whether a word for a person or a name of two words stands directly before the window, or a name directly
// after it, with nothing but a blank or a bracket between.
func besidePerson(s string, w *window) bool {
	before := s[max(0, w.start-reach):w.start]
	before = strings.TrimRight(untagged(before[strings.LastIndexByte(before, '\n')+1:]), " \t(:,;|/=#\"'[<>")
	last := before[strings.LastIndexAny(before, " \t|;,/&?\"'<>-_:")+1:]
	if personWords[strings.ToLower(strings.TrimRight(last, "."))] {
		return true
	}
	first := strings.TrimRight(before[:len(before)-len(last)], " ")
	if properName(last) && properName(first[strings.LastIndexAny(first, " \t|;,>\"'")+1:]) {
		return true
	}
	after := s[w.end:min(len(s), w.end+reach)]
	if i := strings.IndexAny(after, "\r\n"); i >= 0 {
		after = after[:i]
	}
	words := strings.FieldsFunc(after, func(r rune) bool { return strings.ContainsRune(" \t|;,)", r) })
	return len(words) >= 2 && properName(words[0]) && properName(words[1])
}

// untagged takes the mark-up off the end of s.
func untagged(s string) string {
	for strings.HasSuffix(s, ">") {
		i := strings.LastIndexByte(s, '<')
		if i < 0 {
			break
		}
		s = strings.TrimRight(s[:i], " ")
	}
	return s
}

// properName reports whether word is written as a name is: a capital, and nothing but small letters and hyphens after it.
func properName(word string) bool {
	n := 0
	for i, r := range word {
		switch {
		case i == 0 && !unicode.IsUpper(r), i > 0 && !unicode.IsLower(r) && r != '-':
			return false
		}
		n++
	}
	return n >= 2
}

// enumerating reports whether nothing but a comma, a blank or "og" stands between two numbers.
func enumerating(between string) bool {
	if len(between) > 8 {
		return false
	}
	switch strings.Trim(between, " ,;/\t") {
	case "", "og", "and", "samt", "&":
		return true
	}
	return false
}
