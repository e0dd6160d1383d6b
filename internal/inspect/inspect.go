// Package inspect reads a whole message and says what it holds: its located texts (package extract) searched by
// package detect, and everything that could not be read as a finding of its own (law 5). A parser that panics or takes
// too long is such a finding, never a pass and never a crash.
package inspect

import (
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/extract"
	"postvagt/internal/mail"
)

// Report is what is known about a message's content. It holds no values, only masked ones.
type Report struct {
	Findings  []detect.Finding
	Signed    bool // S/MIME or PGP signature over the body: a repair wraps it
	Encrypted bool // S/MIME or PGP encrypted: nobody here can read or change it
}

// Options bound the inspection. Zero fields mean defaults.
type Options struct {
	TextBytes int           // decoded bytes read of one text, default 16 MiB; more is an uninspected finding
	Time      time.Duration // for the whole message, default 10 s; running out is an uninspected finding
}

// mostOf bounds how many findings of a kind a report lists in places that are not readable (detect.Place.Readable): a
// list of citizens is told by a thousand of them as well as by all. Readable places are listed in full up to most, for
// a repair has to know them.
const (
	mostOf = 1_000
	most   = 20_000
)

// Message inspects m. now is the day that bounds birth dates. The time is looked at between texts; one text is bounded by
// TextBytes. Nothing is kept from one message to the next.
func Message(m *mail.Message, now time.Time, o Options) (r Report) {
	if o.Time <= 0 {
		o.Time = 10 * time.Second
	}
	c := collector{now: now, numbers: new(detect.Numbers)}
	defer func() {
		if p := recover(); p != nil { // the value may quote content: it goes nowhere
			c.add(detect.Finding{Kind: detect.Uninspected, Place: detect.Place{Kind: detect.InHeader}, Confidence: 1, Why: "the reader failed"})
		}
		r.Findings = c.found
	}()
	began := time.Now()
	facts := extract.Message(m, extract.Options{
		TextBytes: o.TextBytes,
		Text:      c.search,
		Unread:    c.add,
		Stop:      func() bool { return time.Since(began) > o.Time },
	})
	for _, t := range c.later {
		c.find(t)
	}
	r.Signed, r.Encrypted = facts.Signed, facts.Encrypted
	return r
}

// Address returns the findings in an envelope address.
func Address(a mail.Address, now time.Time) []detect.Finding {
	return detect.Find(detect.Text{Place: detect.Place{Kind: detect.InEnvelope}, Content: string(a), Address: true}, now)
}

// collector gathers findings.
type collector struct {
	now    time.Time
	found  []detect.Finding
	buried map[detect.Kind]int // findings in places that are not readable

	numbers *detect.Numbers
	later   []detect.Text // machine-made header fields: what stands in them counts by what people wrote
}

// search looks through a text; through a machine-made field of the header only once all else has been read.
func (c *collector) search(t detect.Text) {
	t.Numbers = c.numbers
	if t.Machine && t.Place.Readable() {
		if detect.HoldsCPR(t.Content) {
			c.later = append(c.later, t)
		}
		return
	}
	c.find(t)
}

func (c *collector) find(t detect.Text) {
	for _, f := range detect.Find(t, c.now) {
		c.add(f)
	}
}

func (c *collector) add(f detect.Finding) {
	if len(c.found) >= most {
		return
	}
	if !f.Place.Readable() {
		if c.buried == nil {
			c.buried = make(map[detect.Kind]int)
		}
		if c.buried[f.Kind]++; c.buried[f.Kind] > mostOf {
			return
		}
	}
	c.found = append(c.found, f)
}
