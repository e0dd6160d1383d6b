// Package level says what a channel proves about itself. Levels are ordered from weak to strong and compared with <.
//
// A message's class and its recipient decide the least level (law 4); a delivery records the level that was reached.
package level

import "fmt"

// Level is what a channel proves. The zero value means that no level was established or asked for.
type Level uint8

const (
	None      Level = iota // nothing established, or nothing required
	Cleartext              // plain SMTP: anybody on the way can read it
	Encrypted              // TLS 1.2 or newer; whose key it is has not been proven
	Verified               // TLS 1.2 or newer, the name proven by WebPKI, DANE or a pin
	Tunnel                 // verified, and both ends pinned by agreement
	EndToEnd               // the message itself is encrypted to the recipient (S/MIME)
)

var names = [...]string{"none", "cleartext", "encrypted", "verified", "tunnel", "end-to-end"}

// All lists the levels a configuration may name, from weak to strong.
var All = []Level{Cleartext, Encrypted, Verified, Tunnel, EndToEnd}

func (l Level) String() string {
	if int(l) < len(names) {
		return names[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// Parse reads a level's name. "none" is not a level anybody may ask for.
func Parse(s string) (Level, error) {
	for _, l := range All {
		if l.String() == s {
			return l, nil
		}
	}
	return None, fmt.Errorf("unknown level %q: use cleartext, encrypted, verified, tunnel or end-to-end", s)
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the level's name; "none" is accepted here, because receipts hold it.
func (l *Level) UnmarshalText(b []byte) (err error) {
	if string(b) == "none" {
		*l = None
		return nil
	}
	*l, err = Parse(string(b))
	return err
}
