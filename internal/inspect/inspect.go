// Package inspect reads a whole message and says what it holds: its located texts (package extract) searched by
// package detect, and everything that could not be read as a finding of its own (law 5). A parser that panics or takes
// too long is such a finding, never a pass and never a crash.
package inspect

import (
	"time"

	"postvagt/internal/detect"
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

// Message inspects m. now is the day that bounds birth dates.
func Message(m *mail.Message, now time.Time, o Options) Report { panic("contract") }

// Address returns the findings in an envelope address.
func Address(a mail.Address, now time.Time) []detect.Finding { panic("contract") }
