// Package class says how much protection data needs. Classes are ordered and compared with <.
package class

import "fmt"

// Class is a message's need of protection, set by its gravest finding. The zero value is Ordinary.
type Class uint8

const (
	Ordinary     Class = iota // nothing found that asks for protection
	Confidential              // fortrolig: CPR numbers and the like; databeskyttelsesloven section 11
	Sensitive                 // følsom: GDPR article 9
)

var names = [...]string{"ordinary", "confidential", "sensitive"}

// All lists the classes from low to high.
var All = []Class{Ordinary, Confidential, Sensitive}

func (c Class) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Parse reads a class's name.
func Parse(s string) (Class, error) {
	for _, c := range All {
		if c.String() == s {
			return c, nil
		}
	}
	return Ordinary, fmt.Errorf("unknown class %q: use ordinary, confidential or sensitive", s)
}

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the class's name.
func (c *Class) UnmarshalText(b []byte) (err error) { *c, err = Parse(string(b)); return err }
