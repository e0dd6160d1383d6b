// Package detect finds sensitive data in text. It is pure: located text in, findings out; it reads no clock but the
// one handed in, no file and no configuration. A finding never holds the value itself (law 6).
//
// A CPR number is found by its form first (the scanner of scan.go, which works on offsets and allocates nothing), then
// by its birth date (cpr.go), and then weighed by its writing, its check digit and the words around it (context.go).
package detect

import (
	"math"
	"sort"
	"strings"
	"time"
)

// Kind is what a finding is of.
type Kind string

const (
	CPR         Kind = "cpr"         // a Danish personal identification number (DOMAIN section 1)
	Uninspected Kind = "uninspected" // something that could not be read (law 5); Why says what and why
)

// PlaceKind says in which sort of place a text stood.
type PlaceKind string

const (
	InHeader     PlaceKind = "header"      // a header field of the message: stays readable on the way
	InPartHeader PlaceKind = "part header" // a header field of an inner part (Content-Description …)
	InFileName   PlaceKind = "file name"   // an attachment's name: stays readable with most secure mail
	InText       PlaceKind = "text"        // the message's text
	InHidden     PlaceKind = "hidden text" // text a reader does not see at once: comments, hidden HTML, preambles
	InAttachment PlaceKind = "attachment"  // the content of an attachment
	InEnvelope   PlaceKind = "envelope"    // sender or recipient address
)

// Place is where a text stood. It is safe to show: Name is masked.
type Place struct {
	Kind PlaceKind `json:"kind"`
	Name string    `json:"name,omitempty"` // header field's name, or the attachment's masked file name
	Part string    `json:"part,omitempty"` // mail.Part.Path; empty for the root
}

// Readable reports whether what stands in this place can be read by others than sender and recipient even when the
// mail's body is encrypted: header fields and file names.
func (p Place) Readable() bool {
	return p.Kind == InHeader || p.Kind == InPartHeader || p.Kind == InFileName
}

// Text is a piece of text and its place.
type Text struct {
	Place   Place
	Content string
	Address bool // the text is an address (addr-spec) of an address field or of the envelope
	Machine bool // a machine wrote it (ids, trace fields, links): full of digits, so only a well marked number counts

	// Numbers, when set, are those of the same message. Find adds what it believes in text that people wrote; in a Machine text a
	// number that people wrote elsewhere counts in full.
	Numbers *Numbers
}

// Numbers is a set of CPR numbers, for as long as one message is read. The zero value is empty.
type Numbers struct{ set map[[10]byte]bool }

// believed is the confidence from which on a number is one of the message's.
const believed = 0.5

func (n *Numbers) add(digits [10]byte) {
	if n == nil || len(n.set) >= Most {
		return
	}
	if n.set == nil {
		n.set = make(map[[10]byte]bool)
	}
	n.set[digits] = true
}

func (n *Numbers) has(digits [10]byte) bool { return n != nil && n.set[digits] }

// Finding is one piece of sensitive data, or one thing that could not be read.
type Finding struct {
	Kind       Kind    `json:"kind"`
	Place      Place   `json:"place"`
	Start      int     `json:"start"` // byte offsets into the text's Content
	End        int     `json:"end"`
	Masked     string  `json:"masked,omitempty"`  // 010170-••••
	Confidence float64 `json:"confidence"`        // 0..1
	Why        string  `json:"why"`               // one line, never with the value
	Address    bool    `json:"address,omitempty"` // inside an address (addr-spec) of an address field: From, To, Cc …
}

// Most is how many findings Find returns of one text at most: what holds so many is a list, and its length is bounded.
const Most = 10_000

// Find returns what stands in the text, in the order it stands, without overlaps. now bounds birth dates; a zero now
// bounds nothing.
func Find(t Text, now time.Time) []Finding {
	var (
		sc    = scanner{s: t.Content}
		w     window
		limit = upTo(now)
		chain []candidate // overlapping candidates, of which the likelier are kept
		g     = gathering{text: t}
	)
	for len(g.found) < Most && sc.next(&w) {
		c, ok := g.weigh(&w, limit)
		if !ok {
			continue
		}
		if n := len(chain); n > 0 && (c.start >= chain[n-1].end || n >= Most) {
			g.settle(chain)
			chain = chain[:0]
		}
		if len(chain) == 0 && len(g.found) > 0 && c.start < g.found[len(g.found)-1].End {
			continue // only where a chain was cut for its length
		}
		chain = append(chain, c)
	}
	g.settle(chain)
	g.listed(sc.tens)
	return g.found
}

// gathering is what was found in a text so far.
type gathering struct {
	text   Text
	found  []Finding
	bare   []int // findings of ten plain digits that nothing speaks for or against but their form
	pro    int   // where the last number with a label ended; 0: there is none
	contra int   // where the last number with another number's label ended
	tables tables
}

// leastListed is how many bare numbers make a list, and how many of a text's runs of ten digits they have to be, in percent. Of
// random runs 3 % are valid birth dates: three in a row are hardly chance.
const (
	leastListed      = 3
	leastListedShare = 80
)

// listed believes bare numbers where the text is a list of them.
func (g *gathering) listed(tens int) {
	if len(g.bare) < leastListed || len(g.bare)*100 < tens*leastListedShare {
		return
	}
	for _, i := range g.bare {
		f := &g.found[i]
		f.Confidence = max(f.Confidence, 0.6)
		f.Why += ", in a list of such numbers"
	}
}

// candidate is a window with a possible birth date.
type candidate struct {
	start, end int
	digits     [10]byte
	confidence float64
	why        reasons
	bare       bool // ten plain digits that nothing speaks for or against
	lost       bool // overlaps one more likely
}

// reasons are the facts that a confidence rests on.
type reasons struct {
	mod11, replacement, separated, labelled, against, blob, amount, phone bool

	machine bool // in machine-made text
	cropped bool // zeros were lost
	known   bool // it stands elsewhere in the message, too
	mailbox bool // the whole local part of an address

	lettered bool // an e-CPR: it has no check digit
	alone    bool // all there is in a subject or a file's name
	person   bool // a word for a person, or a name, stands directly beside it
	when     bool // a recent day and a time of day, by a word for it
	postcode bool // a day, and a postcode with its town
}

// listGap is how far apart numbers of a list may stand for a label at its head to speak for all.
const listGap = 96

// weigh gives a window its confidence; ok is false where it cannot be a CPR number.
func (g *gathering) weigh(w *window, limit date) (c candidate, ok bool) {
	t, s := &g.text, g.text.Content
	w.phone = w.phone || bracketedPrefix(s, w.start)
	b, replacement, ok := birth(&w.digits)
	if w.shape == lettered {
		b, replacement, ok = bornIn(&w.digits, eCentury(w.digits[6]))
	}
	if !ok || b.after(limit) || w.phone && w.shape != sixFour || timestamp(w) {
		return candidate{}, false
	}
	e := surroundings(s, w)
	if labelled, against := g.tables.column(s, w); labelled || against {
		e.labelled, e.against, e.own = labelled, against, labelled
	}
	if w.shape == cropped && (!e.own || t.Machine || e.amount || !croppedAlone(s, w)) {
		return candidate{}, false
	}
	if !e.labelled && !e.against && g.pro > 0 && w.start-g.pro < listGap && w.shape <= sixFour && !w.cut.weak() {
		e.labelled = true
	}
	if !e.labelled && !e.against && g.contra > 0 && g.contra <= w.start && enumerating(s[g.contra:w.start]) {
		e.against = true
	}
	if e.labelled {
		g.pro = w.end
	}
	if e.against {
		g.contra = w.end
	}
	c = candidate{start: w.start, end: w.end, digits: w.digits}
	c.why = reasons{mod11: w.shape != lettered && mod11(&w.digits), lettered: w.shape == lettered, replacement: replacement, separated: w.shape != plain && w.shape != cropped, labelled: e.labelled, against: e.against,
		blob: e.blob, amount: e.amount && (w.shape == plain || w.shape == sixFour && w.cut == bySpace), phone: w.phone, machine: t.Machine, cropped: w.shape == cropped, known: t.Machine && t.Numbers.has(w.digits), mailbox: t.Address && wholeLocal(s, w)}
	c.why.when = w.shape != plain && w.shape != lettered && !e.labelled && clock(s, w, limit)
	c.why.postcode = w.shape == dated && w.cut == bySpace && !e.labelled && postcode(s, w)
	c.why.person = w.shape == plain && !e.labelled && !e.against && !e.blob && !c.why.amount && !t.Address && besidePerson(s, w)
	c.bare = w.shape == plain && !e.labelled && !e.against && !e.blob && !c.why.amount && !w.phone && !t.Machine
	with, without := form(w)
	c.confidence = c.why.adjust(with, without)
	if w.shape == plain && alone(t, w) && !(e.against || e.blob || c.why.amount || t.Machine) {
		c.why.alone = true
		c.confidence = max(c.confidence, 0.5)
	}
	return c, true
}

// adjust turns what the writing alone is worth into the confidence.
func (r reasons) adjust(with, without float64) float64 {
	v := without
	if r.mod11 {
		v = with
	}
	for _, a := range [...]struct {
		holds bool
		by    float64
	}{{r.replacement, -0.05}, {r.against, -0.35}, {r.phone, -0.3}, {r.blob, -0.4}, {r.amount, -0.4}, {r.machine, -0.35},
		{r.when, -0.35}, {r.postcode, -0.3}} {
		if a.holds {
			v += a.by
		}
	}
	if r.labelled {
		v += (1 - v) * 0.6
	}
	if r.person {
		v += (1 - v) * 0.4
	}
	if r.known {
		v = max(v, 0.8)
	}
	if r.mailbox { // as secure gateways write it: the number itself is the recipient (DOMAIN section 6)
		v = max(v, 0.8)
	}
	return math.Round(min(max(v, 0.05), 0.99)*100) / 100
}

// String says the facts on one line.
func (r reasons) String() string {
	var b strings.Builder
	b.WriteString("a valid birth date")
	say := func(holds bool, words string) {
		if holds {
			b.WriteString(", ")
			b.WriteString(words)
		}
	}
	say(r.replacement, "replacement number")
	say(r.mod11, "check digit holds")
	say(r.lettered, "an e-CPR with letters")
	say(r.cropped, "without its leading zeros")
	say(!r.mod11 && !r.lettered, "check digit does not hold")
	say(r.separated, "written as a CPR number")
	say(r.labelled, "a label beside it")
	say(r.person, "a person's name or a word for a person beside it")
	say(r.against, "a label for another number before it")
	say(r.blob, "inside a token")
	say(r.amount, "an amount")
	say(r.alone, "nothing else stands there")
	say(r.when, "perhaps a day and a time")
	say(r.postcode, "perhaps a day and a postcode")
	say(r.phone, "an international prefix before it")
	say(r.machine, "in text made by machines")
	say(r.known, "the same number stands elsewhere in the message")
	say(r.mailbox, "the whole local part of an address")
	return b.String()
}

// settle keeps the likeliest candidates of the chain that do not overlap. Candidates ascend in both start and end, and
// each has at most ten groups, so that one overlaps only a few neighbours on either side.
func (g *gathering) settle(chain []candidate) {
	if len(chain) > 1 {
		drop(chain)
	}
	for i := range chain {
		c := &chain[i]
		if c.lost || len(g.found) >= Most {
			continue
		}
		if c.confidence >= believed && !g.text.Machine {
			g.text.Numbers.add(c.digits)
		}
		if c.bare {
			g.bare = append(g.bare, len(g.found))
		}
		g.found = append(g.found, Finding{
			Kind: CPR, Place: g.text.Place, Start: c.start, End: c.end, Masked: masked(&c.digits),
			Confidence: c.confidence, Why: c.why.String(), Address: g.text.Address,
		})
	}
}

// drop marks the candidates that overlap a likelier one; of equals the first is kept.
func drop(chain []candidate) {
	order := make([]int, len(chain))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return chain[order[a]].confidence > chain[order[b]].confidence })
	for _, i := range order {
		c := &chain[i]
		if c.lost {
			continue
		}
		for j := i - 1; j >= 0 && chain[j].end > c.start; j-- {
			chain[j].lost = true
		}
		for j := i + 1; j < len(chain) && chain[j].start < c.end; j++ {
			chain[j].lost = true
		}
	}
}
