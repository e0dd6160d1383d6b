// Package policy decides. Decide is a pure function from a message's facts and one recipient to a Verdict that can be
// explained in one sentence; the same policy, facts and recipient always give the same verdict.
//
// The order in which rules are asked (decide.go, the first that answers wins):
//
//  1. a looping message is held;
//  2. the authority's own rules, as far as they may say something about this recipient;
//  3. recipients inside get their mail, cleaned on arrival where the authority wants that;
//  4. a CPR number as an address leaves for the secure gateways only;
//  5. a CPR number in what stays readable is repaired, or held where the body cannot be changed;
//  6. what could not be read raises the class, or is held where the authority says so;
//  7. the class decides the least level by the matrix.
//
// It reads no clock, no file and no network, and holds no state. It does not find anything itself, except that it asks
// package detect whether an envelope address is a number.
package policy

import (
	"maps"
	"slices"

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
	NumberAddress   Reason = "number-address"  // a CPR number as an address towards a domain that is no secure gateway: the recipient's own is returned, one in From, To or Cc is held
	NotInspected    Reason = "not-inspected"   // the authority holds what cannot be read
	OwnRule         Reason = "rule"            // a rule of the authority's own; Rule names it
	Loop            Reason = "loop"            // the message has been here before or went through too many hops
	Restored        Reason = "restored"        // the ledger was brought back from a copy: the message may have left since. No rule gives it, a person does
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
	Action   Action      `json:"action"`
	Class    class.Class `json:"class"`
	Level    level.Level `json:"level"`              // the least level towards this recipient; None: none required
	Repaired bool        `json:"repaired,omitempty"` // the repaired body is the one that may leave: now, or when a person releases it
	Rule     string      `json:"rule"`               // the rule's id: built in, or the authority's own
	Reason   Reason      `json:"reason"`
	Policy   string      `json:"policy"` // version of the policy that gave it: a hash of its rules
}

// Matrix is the least level towards recipients outside, by class. A class without an entry has the default's.
type Matrix map[class.Class]level.Level

// DefaultMatrix asks for nothing where nothing was found, and for TLS 1.2 or newer with a proven name where something
// was (DOMAIN section 2: forced TLS 1.2 is the least for confidential data; a name nobody proved may be anybody's).
func DefaultMatrix() Matrix {
	return Matrix{class.Ordinary: level.None, class.Confidential: level.Verified, class.Sensitive: level.Verified}
}

// Rule is one of the authority's own: when all given conditions hold, then. The first rule that matches wins over the
// built-in ones, with these limits, so that a rule cannot undo by accident what it does not speak of:
//
//   - recipients inside are never blocked: a rule that holds or returns is not asked for them;
//   - the level is lowered below the matrix only by a rule whose When.Class is exactly the message's class;
//   - a CPR number stays in a readable place only by a rule that sends and names the kind cpr or a readable place;
//   - a CPR number as an address leaves for the secure gateways only (Options.Gateways is where that is said).
type Rule struct {
	ID   string
	When When
	Then Then
}

// When lists conditions; empty ones hold always. Within a list one match is enough. With both Kinds and Places one
// finding must be of such a kind in such a place.
type When struct {
	Direction     Direction
	Senders       []string // patterns, see Match: "*@skole.eksempel.example", "eksempel.example"
	Recipients    []string // patterns, as Senders
	Kinds         []detect.Kind
	Places        []detect.PlaceKind
	Class         class.Class // at least
	MinRecipients int         // the message has at least so many
}

// Then says what happens. Without an action the built-in rules choose it.
type Then struct {
	Action Action
	Class  class.Class // raises the class to
	Level  level.Level // requires at least; in a rule for exactly this class: requires
}

// Options make a Policy. Zero fields mean the safe defaults.
type Options struct {
	Domains       []string // the authority's own: recipients in them are inside; ".eksempel.example" means all below
	Others        []string // domains below Domains that are another authority's of the installation, and so outside; the closest match decides
	Gateways      []string // secure-gateway domains, as Domains: a CPR number may be the recipient address there (DOMAIN section 6)
	Matrix        Matrix
	Uninspected   Then    // its class, when not given: confidential, whatever else is said here
	UnreadAsRead  bool    // Uninspected.Class Ordinary is meant: the authority has decided that what cannot be read raises nothing
	RepairInbound bool    // clean subjects on arrival
	Confidence    float64 // findings below it are not counted, default 0.5
	Rules         []Rule
}

// Policy is one authority's policy. Immutable after New; safe for concurrent use.
type Policy struct {
	o        Options // complete: no zero field left that has a default
	domains  []domainPattern
	others   []domainPattern
	gateways []domainPattern
	rules    []rule
	version  string
}

// rule is a Rule with its patterns read.
type rule struct {
	Rule
	senders, recipients []pattern
}

// New checks o and returns the policy. The error joins every mistake found; each names the rule and says what to do.
func New(o Options) (*Policy, error) {
	if err := check(o); err != nil {
		return nil, err
	}
	o = complete(o)
	p := &Policy{o: o, version: version(o)}
	p.domains = readDomains(o.Domains)
	p.others = readDomains(o.Others)
	p.gateways = readDomains(o.Gateways)
	for _, r := range o.Rules {
		p.rules = append(p.rules, rule{r, readPatterns(r.When.Senders), readPatterns(r.When.Recipients)})
	}
	return p, nil
}

// complete returns a copy of o with the defaults filled in, which shares no memory with o.
func complete(o Options) Options {
	m := DefaultMatrix()
	maps.Copy(m, o.Matrix)
	o.Matrix = m
	if o.Uninspected.Class == class.Ordinary && !o.UnreadAsRead {
		o.Uninspected.Class = class.Confidential // also beside an action or a level: what a person releases needs the matrix's level still
	}
	if o.Confidence == 0 {
		o.Confidence = 0.5
	}
	o.Domains, o.Others, o.Gateways = slices.Clone(o.Domains), slices.Clone(o.Others), slices.Clone(o.Gateways)
	o.Rules = slices.Clone(o.Rules)
	for i := range o.Rules {
		w := &o.Rules[i].When
		w.Senders, w.Recipients = slices.Clone(w.Senders), slices.Clone(w.Recipients)
		w.Kinds, w.Places = slices.Clone(w.Kinds), slices.Clone(w.Places)
	}
	return o
}

// Inside reports whether a is the authority's own address.
func (p *Policy) Inside(a mail.Address) bool {
	if len(p.others) == 0 {
		return anyDomain(p.domains, a.Domain())
	}
	return closest(p.domains, a.Domain()) > closest(p.others, a.Domain())
}

// Version is a hash of everything that decides: it changes exactly when a verdict could. Letters and digits 2–7 only.
func (p *Policy) Version() string { return p.version }
