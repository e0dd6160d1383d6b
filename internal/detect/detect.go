// Package detect finds sensitive data in text. It is pure: located text in, findings out; it reads no clock but the
// one handed in, no file and no configuration. A finding never holds the value itself (law 6).
package detect

import "time"

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
}

// Finding is one piece of sensitive data, or one thing that could not be read.
type Finding struct {
	Kind       Kind    `json:"kind"`
	Place      Place   `json:"place"`
	Start      int     `json:"start"` // byte offsets into the text's Content
	End        int     `json:"end"`
	Masked     string  `json:"masked,omitempty"` // 010170-••••
	Confidence float64 `json:"confidence"`       // 0..1
	Why        string  `json:"why"`              // one line, never with the value
}

// Find returns what stands in the text, in the order it stands, without overlaps. now bounds birth dates.
func Find(t Text, now time.Time) []Finding { panic("contract") }

// Mask returns s with every possible CPR number masked: for log lines, notices, the ledger. It errs to the side of
// masking: whatever Find would find at any confidence is masked, and so is any run that could be one.
func Mask(s string) string { panic("contract") }

// HoldsCPR reports whether Mask would change s.
func HoldsCPR(s string) bool { panic("contract") }
