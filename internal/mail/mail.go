// Package mail reads messages as byte ranges over the bytes that came in, so that what nobody needs to change stays
// the same bytes (signatures depend on it). Parse never fails: whatever is odd about a message becomes a Defect and
// what could be read is there. Depth, parts and header bytes are bounded by Limits.
package mail

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
	Path      string            // "" for the root, "1", "2.1" … in the numbering of IMAP (RFC 3501, section 6.4.5)
	Fields    []Field           // in the order they stand
	Head      Range             // the header, without the blank line after it
	Body      Range             // what follows the blank line; without the line end that belongs to a closing boundary
	MediaType string            // lower case; "text/plain" where nothing usable is said (RFC 2045, section 5.2)
	Params    map[string]string // of Content-Type, lower-case names, decoded (RFC 2231, RFC 2047 misuse)
	Encoding  string            // Content-Transfer-Encoding in lower case; "7bit" where none is given
	Disp      string            // Content-Disposition in lower case, without parameters; may be empty
	FileName  string            // decoded, from Content-Disposition's filename or Content-Type's name; may be empty
	Parts     []*Part           // the parts of a multipart; the one message of a message/rfc822
	Parent    *Part             // nil for the root
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
)

// Limits bound the work Parse does. Zero fields mean the default.
type Limits struct {
	Depth       int // multipart and message/rfc822 levels, default 50
	Parts       int // default 2,000
	HeaderBytes int // of one part, default 1 MiB
}

// Message is a message's bytes and what was read of them. It is immutable after Parse and safe for concurrent use.
type Message struct {
	Raw     []byte
	Root    *Part
	Defects []Defect
}

// Parse reads raw. It never fails: what cannot be read is a Defect, and an inner part that cannot be split any further
// is a leaf of type application/octet-stream or text/plain. raw is kept, not copied; the caller must not change it.
func Parse(raw []byte, lim Limits) *Message { panic("contract") }

// Get returns the first field of that name (case-insensitive), and whether there is one.
func (p *Part) Get(name string) (Field, bool) { panic("contract") }

// Unfolded returns a field's value on one line, undecoded, without surrounding blanks.
func (m *Message) Unfolded(f Field) string { panic("contract") }

// Decoded returns a field's value on one line with encoded words decoded (RFC 2047), also where they stand against
// the rules (inside quotes, glued together, split inside a character). Always valid UTF-8.
func (m *Message) Decoded(f Field) string { panic("contract") }

// Content returns a part's body with its transfer encoding undone, at most limit bytes. What does not follow the
// encoding is read as far as possible and reported as a Defect.
func (m *Message) Content(p *Part, limit int) ([]byte, []Defect) { panic("contract") }

// Text returns a text part's content as UTF-8: the declared charset, else UTF-8 where it is valid, else windows-1252.
func (m *Message) Text(p *Part, limit int) (string, []Defect) { panic("contract") }

// Walk calls visit for the root and every part below it, in the order they stand.
func (m *Message) Walk(visit func(*Part)) { panic("contract") }
