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
	var phrase, comments, addr strings.Builder
	angle, hasAngle, quotedLocal := false, false, false
	for i := 0; i < len(s); {
		c, next := s[i], i+1
		switch {
		case c == '"':
			next = quoteEnd(s, i)
			switch {
			case angle:
				addr.WriteString(unfold(s[i:next]))
			case next < len(s) && s[next] == '@': // a local part without angle brackets
				quotedLocal = true
				phrase.Reset()
				phrase.WriteString(unfold(s[i:next]))
			default:
				phrase.WriteString(unquote(s[i:next]))
			}
		case c == '(' && !angle:
			next = commentEnd(s, i)
			comments.WriteString(strings.TrimSuffix(s[i+1:next], ")"))
		case c == '<':
			angle, hasAngle = true, true
		case c == '>':
			angle = false
		case !angle:
			phrase.WriteByte(c)
		case !isSpace(c):
			addr.WriteByte(c)
		}
		i = next
	}
	b := Mailbox{Name: strings.TrimSpace(DecodeHeader(phrase.String())), Address: oneLine(mixedUTF8(addr.String()))}
	if !hasAngle && strings.IndexByte(b.Name, '@') >= 0 && (quotedLocal || !strings.ContainsAny(b.Name, " \t")) {
		b.Name, b.Address = "", b.Name
	}
	if b.Name == "" {
		b.Name = strings.TrimSpace(DecodeHeader(comments.String()))
	}
	return b
}

// quoteEnd returns where the quoted string at s[i] ends: behind its quote, or at the end of s.
func quoteEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// commentEnd is quoteEnd for comments, which nest.
func commentEnd(s string, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}
