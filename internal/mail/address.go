package mail

// Address is a mailbox in the form of RFC 5321, section 4.1.2 ("local-part@domain"), UTF-8 where SMTPUTF8 allows it.
// The domain is lower case, with U-labels as given; the local part is as the client wrote it. The empty Address is the
// null reverse-path. Make one with ParseAddress, so that the rest of the program can rely on its form.
type Address string

// ParseAddress reads a mailbox without angle brackets. Quoted local parts and address literals are allowed.
func ParseAddress(s string) (Address, error) { panic("contract") }

// Local returns the local part, as written.
func (a Address) Local() string { panic("contract") }

// Domain returns the domain in lower case; an address literal keeps its brackets.
func (a Address) Domain() string { panic("contract") }

// ASCII reports whether the address can travel without SMTPUTF8 (RFC 6531).
func (a Address) ASCII() bool { panic("contract") }
