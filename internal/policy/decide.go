package policy

import (
	"slices"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// Ids of the built-in rules, as they stand in Verdict.Rule. No rule of an authority may carry one of them.
const (
	ruleLoop        = "loop"
	ruleInside      = "inside"
	ruleArrival     = "clean-on-arrival"
	ruleAddress     = "number-address"
	ruleAddressSeen = "number-address-seen" // in From, To, Cc … as others than the gateway would read it
	ruleReadable    = "readable-number"
	ruleUninspected = "uninspected"
	ruleMatrix      = "matrix"
)

var builtIn = []string{ruleLoop, ruleInside, ruleArrival, ruleAddress, ruleAddressSeen, ruleReadable, ruleUninspected, ruleMatrix}

// Decide gives the verdict for one recipient.
func (p *Policy) Decide(f Facts, rcpt mail.Address) Verdict {
	c := p.weigh(f, rcpt)
	v := p.answer(c)
	v.Policy = p.version
	return v
}

// matter is one recipient's case: the facts, weighed once, for the rules to ask.
type matter struct {
	f       Facts
	rcpt    mail.Address
	inside  bool
	gateway bool

	counted    []detect.Finding // what is sure enough, and everything unread
	numbers    bool             // a CPR number anywhere, also in this recipient's or the sender's address
	unread     bool             // something could not be inspected
	blind      bool             // and that in a place that stays readable
	readable   bool             // a CPR number stays readable, addresses apart
	address    bool             // this recipient's address is a number
	addressOut bool             // a number as an address of somebody: in an address field, or the sender

	class class.Class
	level level.Level
}

func (p *Policy) weigh(f Facts, rcpt mail.Address) *matter {
	m := &matter{f: f, rcpt: rcpt, inside: p.Inside(rcpt), gateway: anyDomain(p.gateways, rcpt.Domain())}
	for _, x := range f.Findings {
		if x.Place.Kind == detect.InEnvelope {
			continue // it may be another recipient's, which this one never sees; ours and the sender's are asked below
		}
		if x.Kind != detect.Uninspected && x.Confidence < p.o.Confidence {
			continue
		}
		m.counted = append(m.counted, x)
		m.weighOne(x)
	}
	if m.address = p.isNumber(rcpt); m.address {
		m.numbers = true
	}
	if p.isNumber(f.Sender) {
		m.numbers, m.addressOut = true, true
	}
	if m.numbers {
		m.class = max(m.class, class.Confidential)
	}
	if m.unread {
		m.class = max(m.class, p.o.Uninspected.Class)
	}
	m.level = p.levelFor(m.class)
	if m.unread {
		m.level = max(m.level, p.o.Uninspected.Level)
	}
	return m
}

func (m *matter) weighOne(x detect.Finding) {
	switch {
	case x.Kind == detect.Uninspected:
		m.unread = true
		m.blind = m.blind || x.Place.Readable()
	case x.Kind != detect.CPR:
		m.class = max(m.class, class.Confidential) // a kind this package has no rule for is still something found
	case x.Address:
		m.numbers, m.addressOut = true, true
	default:
		m.numbers = true
		m.readable = m.readable || x.Place.Readable()
	}
}

// levelFor is the matrix; a class it has never heard of needs the most it asks for anything.
func (p *Policy) levelFor(c class.Class) level.Level {
	if l, ok := p.o.Matrix[c]; ok {
		return l
	}
	return p.o.Matrix[class.Sensitive]
}

// isNumber reports whether an address's local part is or holds a CPR number. The zero time bounds no birth date, since
// Decide reads no clock: what will be a number next year is treated as one today.
func (p *Policy) isNumber(a mail.Address) bool {
	if a == "" {
		return false
	}
	text := detect.Text{Place: detect.Place{Kind: detect.InEnvelope}, Content: string(a), Address: true}
	local := len(a) - len(a.Domain())
	return slices.ContainsFunc(detect.Find(text, time.Time{}), func(x detect.Finding) bool {
		return x.Kind == detect.CPR && x.Confidence >= p.o.Confidence && x.Start < local
	})
}

// answer asks the rules in their order; each gives a verdict or passes the matter on.
func (p *Policy) answer(m *matter) Verdict {
	if m.f.Looping {
		return m.held(ruleLoop, Loop)
	}
	r := p.own(m)
	if r != nil {
		p.apply(r, m)
		if a := r.Then.Action; a == Hold || a == Return {
			return Verdict{Action: a, Class: m.class, Level: m.level, Repaired: a == Hold && m.repairable(), Rule: r.ID, Reason: OwnRule}
		}
	}
	if m.inside {
		return m.toInside(r, p.o.RepairInbound)
	}
	return m.toOutside(r, p.o.Uninspected.Action)
}

// own returns the first of the authority's own rules that speaks of this matter; nil when none does.
func (p *Policy) own(m *matter) *rule {
	for i := range p.rules {
		r := &p.rules[i]
		blocks := r.Then.Action == Hold || r.Then.Action == Return
		if !(m.inside && blocks) && r.matches(m) {
			return r
		}
	}
	return nil
}

func (r *rule) matches(m *matter) bool {
	w := r.When
	return (w.Direction == "" || w.Direction == m.f.Direction) &&
		(len(r.senders) == 0 || anyPattern(r.senders, m.f.Sender)) &&
		(len(r.recipients) == 0 || anyPattern(r.recipients, m.rcpt)) &&
		m.class >= w.Class &&
		m.f.Recipients >= w.MinRecipients &&
		w.found(m.counted)
}

// found reports whether one finding is of a kind and in a place that are asked for.
func (w When) found(findings []detect.Finding) bool {
	if len(w.Kinds) == 0 && len(w.Places) == 0 {
		return true
	}
	return slices.ContainsFunc(findings, func(x detect.Finding) bool {
		return (len(w.Kinds) == 0 || slices.Contains(w.Kinds, x.Kind)) &&
			(len(w.Places) == 0 || slices.Contains(w.Places, x.Place.Kind))
	})
}

// speaksOfNumbers reports whether the rule names what the built-in repair is about, so that it may set it aside.
func (w When) speaksOfNumbers() bool {
	return slices.Contains(w.Kinds, detect.CPR) ||
		slices.ContainsFunc(w.Places, func(k detect.PlaceKind) bool { return detect.Place{Kind: k}.Readable() })
}

// apply lets an own rule change class and level. The class is raised only, and the level lowered only by a rule for
// exactly this class: "confidential mail to this partner may go encrypted" says nothing of sensitive mail.
func (p *Policy) apply(r *rule, m *matter) {
	named := r.When.Class != class.Ordinary && r.When.Class == m.class && r.Then.Class <= m.class
	if r.Then.Class > m.class {
		m.class = r.Then.Class
		m.level = max(m.level, p.levelFor(m.class))
	}
	switch {
	case r.Then.Level == level.None:
	case named:
		m.level = r.Then.Level
	default:
		m.level = max(m.level, r.Then.Level)
	}
}

// toInside: the authority's own recipients get their mail. The level is only recorded there, never required.
func (m *matter) toInside(r *rule, clean bool) Verdict {
	m.level = level.None
	if r != nil && r.Then.Action != "" {
		clean = r.Then.Action == Repair
	}
	if clean && m.f.Direction == Inbound && m.repairable() {
		return m.repaired(ruleArrival, r)
	}
	return m.sent(ruleInside, InsideRecipient, r)
}

func (m *matter) toOutside(r *rule, unread Action) Verdict {
	if m.address && !m.gateway {
		// Nothing has left yet and the address is a mistake that only the sender can put right: he is told at once.
		v := m.held(ruleAddress, NumberAddress)
		v.Action, v.Repaired = Return, false
		return v
	}
	if m.addressOut && !m.gateway {
		return m.held(ruleAddressSeen, NumberAddress)
	}
	leave := r != nil && r.Then.Action == Send && r.When.speaksOfNumbers()
	if m.readable && !leave && !m.f.Changeable {
		return m.held(ruleReadable, CannotRepair)
	}
	if m.unread && (unread == Hold || unread == Return) && (r == nil || r.Then.Action == "") {
		v := m.held(ruleUninspected, NotInspected)
		if v.Action = unread; unread == Return {
			v.Repaired = false
		}
		return v
	}
	if m.blind && !leave { // nobody knows whether a number stands there, so nobody can take it out
		return m.held(ruleUninspected, NotInspected)
	}
	if m.readable && !leave {
		return m.repaired(ruleReadable, r)
	}
	switch {
	case m.class == class.Ordinary:
		return m.sent(ruleMatrix, Clean, r)
	case m.unread && !m.numbers:
		return m.sent(ruleUninspected, ClassAllows, r)
	}
	return m.sent(ruleMatrix, ClassAllows, r)
}

func (m *matter) repairable() bool { return m.readable && m.f.Changeable }

func (m *matter) held(id string, why Reason) Verdict {
	return Verdict{Action: Hold, Class: m.class, Level: m.level, Repaired: m.repairable(), Rule: id, Reason: why}
}

// repaired and sent name the own rule where one spoke, since its words are the ones that explain class and level.
func (m *matter) repaired(id string, r *rule) Verdict {
	if r != nil && r.Then.Action == Repair {
		id = r.ID
	}
	return Verdict{Action: Repair, Class: m.class, Level: m.level, Repaired: true, Rule: id, Reason: ReadableNumber}
}

func (m *matter) sent(id string, why Reason, r *rule) Verdict {
	if r != nil {
		id, why = r.ID, OwnRule
	}
	return Verdict{Action: Send, Class: m.class, Level: m.level, Rule: id, Reason: why}
}
