// Package policy decides. Decide is a pure function from a message's facts and one recipient to a Verdict that can be
// explained in one sentence; the same policy, facts and recipient always give the same verdict.
package policy

import (
	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// Direction tells mail from the authority from mail to it.
type Direction string

const (
	Outbound Direction = "out" // from the authority: a trusted network or an authenticated submitter
	Inbound  Direction = "in"  // from the world to the authority
)

// Action is what is to happen to one delivery.
type Action string

const (
	Send   Action = "send"
	Repair Action = "repair" // send the repaired body
	Hold   Action = "hold"   // wait for a person
	Return Action = "return" // do not send; tell the sender
)

// Reason is why, as a value with words in notice and check (never free text put together on the spot).
type Reason string

const (
	Clean           Reason = "clean"           // nothing found
	ClassAllows     Reason = "class-allows"    // something found; the channel must reach Level
	InsideRecipient Reason = "inside"          // recipients inside are never blocked
	ReadableNumber  Reason = "readable-number" // a CPR number in what stays readable: repaired
	CannotRepair    Reason = "cannot-repair"   // the same, in a body that cannot be changed (end-to-end encrypted): held
	NumberAddress   Reason = "number-address"  // the recipient address is a CPR number and the domain is no secure gateway
	NotInspected    Reason = "not-inspected"   // the authority holds what cannot be read
	OwnRule         Reason = "rule"            // a rule of the authority's own; Rule names it
	Loop            Reason = "loop"            // the message has been here before or went through too many hops
)

// Facts is what a verdict rests on.
type Facts struct {
	Direction  Direction
	Sender     mail.Address // may be empty: null reverse-path
	Findings   []detect.Finding
	Changeable bool   // whether a repair can be made safely
	Obstacle   string // when not Changeable: why, in a few words for the log
	Looping    bool   // too many hops, or our own trace header came back
	Recipients int    // how many recipients the message has
}

// Verdict is the policy's answer for one delivery.
type Verdict struct {
	Action Action      `json:"action"`
	Class  class.Class `json:"class"`
	Level  level.Level `json:"level"` // the least level towards this recipient; None: none required
	Rule   string      `json:"rule"`  // the rule's id: built in, or the authority's own
	Reason Reason      `json:"reason"`
	Policy string      `json:"policy"` // version of the policy that gave it: a hash of its rules
}

// Matrix is the least level towards recipients outside, by class.
type Matrix map[class.Class]level.Level

// DefaultMatrix: DOMAIN section 2 (TLS 1.2 at least, and for the sensitive a proven name).
func DefaultMatrix() Matrix { panic("contract") }

// Rule is one of the authority's own: when all given conditions hold, then. The first rule that matches wins over the
// built-in ones, except that recipients inside are never blocked and a level is never lowered below the matrix by a rule
// that does not name its class.
type Rule struct {
	ID   string
	When When
	Then Then
}

// When lists conditions; empty ones hold always.
type When struct {
	Direction     Direction
	Senders       []string // patterns: "*@skole.eksempel.example", "eksempel.example"
	Recipients    []string // patterns, as Senders
	Kinds         []detect.Kind
	Places        []detect.PlaceKind
	Class         class.Class // at least
	MinRecipients int         // the message has at least so many
}

// Then says what happens.
type Then struct {
	Action Action
	Class  class.Class // raises the class to
	Level  level.Level // requires at least
}

// Policy is one authority's policy. Immutable after New; safe for concurrent use.
type Policy struct{ o Options }

// Options make a Policy. Zero fields mean the safe defaults.
type Options struct {
	Domains       []string // the authority's own: recipients in them are inside
	Gateways      []string // secure-gateway domains: a CPR number may be the recipient address there (DOMAIN section 6)
	Matrix        Matrix
	Uninspected   Then    // default: class confidential
	RepairInbound bool    // clean subjects on arrival
	Confidence    float64 // findings below it are not counted, default 0.5
	Rules         []Rule
}

// New checks o and returns the policy.
func New(o Options) (*Policy, error) { panic("contract") }

// Decide gives the verdict for one recipient.
func (p *Policy) Decide(f Facts, rcpt mail.Address) Verdict { panic("contract") }

// Inside reports whether a is the authority's own address.
func (p *Policy) Inside(a mail.Address) bool { panic("contract") }

// Version is a hash of everything that decides: it changes exactly when a verdict could.
func (p *Policy) Version() string { panic("contract") }

// Explain says a verdict in one sentence, in "da" or "en".
func Explain(v Verdict, lang string) string { panic("contract") }
