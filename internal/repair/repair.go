// Package repair moves a CPR number out of what stays readable (subject, its copies, file names) into the protected
// body. Every byte that need not change does not change.
package repair

import (
	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// Mark replaces a number in a header. It is the same every time, so that mail programs keep a thread together, and
// never repeats the number.
const Mark = "[CPR]"

// Plan is what Repair would do.
type Plan struct {
	Possible bool
	Obstacle string // why not, in a few words ("encrypted", "no header to repair"), when not Possible
}

// Change is one thing that was moved, for the notice and the ledger.
type Change struct {
	Place  detect.Place `json:"place"`
	Masked string       `json:"masked"`
}

// Options say in which words the moved lines are introduced.
type Options struct {
	Authority string        // name shown to readers
	Boundary  func() string // a fresh MIME boundary; nil: crypto/rand
}

// Able says whether the findings in readable places can be repaired in m.
func Able(m *mail.Message, findings []detect.Finding) Plan { panic("contract") }

// Repair returns the repaired message and what was changed. The result, parsed and inspected again, has no finding in
// a readable place; an error means it could not be done, and the caller holds the message.
func Repair(m *mail.Message, findings []detect.Finding, o Options) ([]byte, []Change, error) {
	panic("contract")
}
