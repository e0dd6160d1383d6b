package mail

import "strings"

// Mailbox is one entry of an address field (From, To, Cc …), as far as it can be read.
type Mailbox struct {
	Name    string // display name or comment, decoded; may be empty
	Address string // as written, without angle brackets, comments and blanks; may be no valid Address
	Span    Range  // the entry without the comma after it
}

// Mailboxes returns the entries of an address field (RFC 5322, section 3.4). Names of groups are left out, their members
// are there. Nothing is an error: what cannot be read as an address stands in Name.
func (m *Message) Mailboxes(f Field) []Mailbox {
	value := string(m.Bytes(f.Value))
	var boxes []Mailbox
	for start := 0; start < len(value); {
		end, group := entryEnd(value, start)
		if !group {
			if b := mailbox(value[start:end]); b.Name != "" || b.Address != "" {
				b.Span = Range{f.Value.Start + start, f.Value.Start + end}
				boxes = append(boxes, b)
			}
		}
		start = end + 1
	}
	return boxes
}

// entryEnd returns where the entry that begins at s[i:] ends: at a comma or semicolon, or at the colon after a group's
// name.
func entryEnd(s string, i int) (end int, group bool) {
	angle, depth, inQuotes := false, 0, false
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (inQuotes || depth > 0):
			i++
		case c == '"' && depth == 0:
			inQuotes = !inQuotes
		case inQuotes:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' || c == ';':
			return i, false
		case c == ':' && !angle:
			return i, true
		}
	}
	return len(s), false
}

// mailbox reads one entry.
func mailbox(s string) Mailbox {
	var phrase, comment, addr strings.Builder
	angle, hasAngle := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			end := i + 1
			for end < len(s) && s[end] != '"' {
				if s[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(s))
			if angle {
				addr.WriteString(s[i:end])
			} else {
				phrase.WriteString(unquote(s[i:end]))
				if end < len(s) && s[end] == '@' { // a quoted local part without angle brackets
					phrase.Reset()
					phrase.WriteString(s[i:end])
				}
			}
			i = end - 1
		case c == '(' && !angle:
			depth := 0
			for ; i < len(s); i++ {
				if s[i] == '(' {
					depth++
				} else if s[i] == ')' {
					if depth--; depth == 0 {
						break
					}
				} else if s[i] == '\\' && i+1 < len(s) {
					i++
				}
				if depth > 1 || s[i] != '(' {
					comment.WriteByte(s[i])
				}
			}
		case c == '<':
			angle, hasAngle = true, true
		case c == '>':
			angle = false
		case angle:
			if !isSpace(c) {
				addr.WriteByte(c)
			}
		default:
			phrase.WriteByte(c)
		}
	}
	name := strings.TrimSpace(DecodeHeader(phrase.String()))
	address := addr.String()
	if !hasAngle && strings.IndexByte(name, '@') >= 0 && !strings.ContainsAny(name, " \t") {
		name, address = "", name
	}
	if name == "" {
		name = strings.TrimSpace(DecodeHeader(comment.String()))
	}
	return Mailbox{Name: name, Address: mixedUTF8(address)}
}
