// Package mail reads messages as byte ranges over the bytes that came in, so that what nobody needs to change stays
// the same bytes (signatures depend on it). Parse never fails: whatever is odd about a message becomes a Defect and
// what could be read is there. Depth, parts and header bytes are bounded by Limits.
package mail

import "strings"

// Range is a half-open range of byte offsets into Message.Raw.
type Range struct{ Start, End int }

// Field is one header field as it stands in the message.
type Field struct {
	Name  string // as written, without the colon
	Span  Range  // the whole field, its folds and its final line end included
	Value Range  // what follows the colon, folds included, without the final line end
}

// Part is one node of the MIME tree. The root is the message itself.
type Part struct {
	Path      string            // "" for the root, "1", "2.1" … in the numbering of IMAP (RFC 3501, section 6.4.5); see Parse
	Fields    []Field           // in the order they stand; a line that is no field has an empty Name and all of it as Value
	Head      Range             // the header, without the blank line after it
	Body      Range             // what follows the blank line; without the line end that belongs to a closing boundary
	MediaType string            // lower case; "text/plain" where nothing usable is said (RFC 2045, section 5.2)
	Params    map[string]string // of Content-Type, lower-case names, decoded (RFC 2231, RFC 2047 misuse)
	Encoding  string            // Content-Transfer-Encoding in lower case; "7bit" where none is given
	Disp      string            // Content-Disposition in lower case, without parameters; may be empty
	FileName  string            // decoded, from Content-Disposition's filename or Content-Type's name; may be empty
	Parts     []*Part           // the parts of a multipart; the one message of a message/rfc822
	Parent    *Part             // nil for the root
	Preamble  Range             // of a multipart: what stands before its first part
	Epilogue  Range             // of a multipart: what stands after its closing boundary
}

// Defect is something about a message that is not as the standards ask. It carries no content.
type Defect struct {
	Part string // Part.Path
	What DefectKind
}

// DefectKind enumerates what can be wrong with a message.
type DefectKind string

const (
	DefectHeaderLine   DefectKind = "header line without a colon"
	DefectHeaderSize   DefectKind = "header larger than the limit"
	DefectBoundary     DefectKind = "multipart without a usable boundary"
	DefectUnclosed     DefectKind = "multipart without its closing boundary"
	DefectDepth        DefectKind = "nested deeper than the limit"
	DefectParts        DefectKind = "more parts than the limit"
	DefectEncoding     DefectKind = "unknown transfer encoding"
	DefectBadEncoding  DefectKind = "content does not follow its transfer encoding"
	DefectCharset      DefectKind = "unknown character set"
	DefectDuplicate    DefectKind = "header field that may stand once stands twice"
	DefectBareLineEnd  DefectKind = "bare CR or LF"
	DefectNUL          DefectKind = "NUL byte"
	DefectDecodedLimit DefectKind = "decoded content larger than the limit"
	DefectNearBoundary DefectKind = "line that some readers take for a boundary"
	DefectBadCharset   DefectKind = "text does not follow its character set"
)

// Limits bound the work Parse does. Zero fields mean the default.
type Limits struct {
	Depth       int // multipart and message/rfc822 levels, default 50
	Parts       int // default 2,000
	HeaderBytes int // of one part, default 1 MiB
	Fields      int // of all headers together, default 10,000: a field of three bytes costs many times that in memory
}

// mostParams bounds the parameters read of one field, for the same reason; honest fields have a dozen at most. What stands
// behind them is a DefectHeaderSize.
const mostParams = 200

// Message is a message's bytes and what was read of them. It is immutable after Parse and safe for concurrent use.
type Message struct {
	Raw     []byte
	Root    *Part
	Defects []Defect
}

// Parse reads raw. It never fails: what cannot be read is a Defect, and an inner part that cannot be split any further
// is a leaf of type application/octet-stream or text/plain. raw is kept, not copied; the caller must not change it.
//
// The time is linear in len(raw), times Limits.Depth for messages made to be slow. Children lie inside their parent's
// Body, in order and without overlap. A message/rfc822 whose own transfer encoding hides it (base64 against RFC 2046,
// section 5.2.1) is a leaf of that type: parse its Content anew.
//
// Paths are unique. The message inside a message/rfc822 "2" is "2.0", and its parts are "2.1", "2.2" as in IMAP, which
// has no number for that message itself.
func Parse(raw []byte, lim Limits) *Message {
	if lim.Depth <= 0 {
		lim.Depth = 50
	}
	if lim.Parts <= 0 {
		lim.Parts = 2000
	}
	if lim.HeaderBytes <= 0 {
		lim.HeaderBytes = 1 << 20
	}
	if lim.Fields <= 0 {
		lim.Fields = 10_000
	}
	m := &Message{Raw: raw, Root: &Part{}}
	w := &walker{m: m, raw: raw, lim: lim}
	w.lineEnds()
	w.parts = 1
	w.part(m.Root, 0, "text/plain")
	return m
}

// Walk calls visit for the root and every part below it, in the order they stand.
func (m *Message) Walk(visit func(*Part)) {
	var walk func(*Part)
	walk = func(p *Part) {
		visit(p)
		for _, c := range p.Parts {
			walk(c)
		}
	}
	walk(m.Root)
}

// Bytes returns what stands in r. The caller must not change it.
func (m *Message) Bytes(r Range) []byte { return m.Raw[r.Start:r.End:r.End] }

// Len returns the number of bytes in r.
func (r Range) Len() int { return r.End - r.Start }

// Multipart reports whether p was split at boundaries.
func (p *Part) Multipart() bool {
	return len(p.Parts) > 0 && strings.HasPrefix(p.MediaType, "multipart/")
}
