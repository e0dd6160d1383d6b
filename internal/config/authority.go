package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// authority reads one guarded organisation.
func (r *reader) authority(s section) Authority {
	domains := many(s, "domains", parseZone)
	net := one(s, "safety_net", parseAddress)
	a := Authority{
		Name:      one(s, "name", parseText).value,
		Domains:   values(domains),
		SafetyNet: net.value,
		Contact:   one(s, "contact", parseText).value,

		VerifyRecipients: one(s, "verify_recipients", parseBool).value,
	}
	if a.Contact == "" {
		a.Contact = a.SafetyNet
	}
	r.inside(&a, net, "authorities.safety_net", "a notice that nobody else could get would leave the house")
	a.Keys = r.file(s, "keys")
	a.Routes = r.ownWays(s, a.Name)
	a.Policy = r.policy(s, a.Domains)
	for _, u := range s.mappings("units") {
		a.Units = append(a.Units, r.unit(u, &a))
	}
	a.Held = r.held(s.mapping("held"), &a)
	a.Notices = r.notices(s.mapping("notices"), &a)
	a.Retention = r.retention(s.mapping("retention"), a.Notices.Digest)
	return a
}

// inside warns of an address that should be the authority's own and is not.
func (r *reader) inside(a *Authority, addr located[string], name, why string) {
	_, domain, ok := strings.Cut(addr.value, "@")
	if ok && !slices.ContainsFunc(a.Domains, func(zone string) bool { return inZone(zone, domain) }) {
		r.warn(addr.line(), "%s %s is not in the authority's own domains: %s", name, quote(addr.value), why)
	}
}

func (r *reader) unit(s section, a *Authority) Unit {
	mailbox := one(s, "mailbox", parseAddress)
	r.inside(a, mailbox, "authorities.units.mailbox", "notices to the unit would leave the house")
	return Unit{
		Name:    one(s, "name", parseText).value,
		Senders: values(many(s, "senders", parsePattern)),
		Mailbox: mailbox.value,
	}
}

func (r *reader) held(s section, a *Authority) Held {
	owner, remind := one(s, "owner", parseAddress), many(s, "remind", parseDuration)
	h := Held{Owner: owner.value, Within: one(s, "within", parseDuration).value}
	r.inside(a, owner, "authorities.held.owner", "notices about held mail would leave the house")
	if h.Owner == "" {
		h.Owner = a.SafetyNet
	}
	for _, before := range remind {
		if before.value < h.Within {
			h.Remind = append(h.Remind, before.value)
		} else if s.given("remind") {
			r.mistake(before.line(), "authorities.held.remind is not shorter than held.within", "the reminder would come before the mail was held", "remind says how long before the deadline")
		}
	}
	slices.SortFunc(h.Remind, func(x, y time.Duration) int { return cmp.Compare(y, x) })
	return h
}

func (r *reader) notices(s section, a *Authority) Notices {
	from := one(s, "from", parseAddress)
	n := Notices{
		From:        from.value,
		Language:    one(s, "language", choice("da", "en")).value,
		Repaired:    one(s, "repaired", choice("each", "digest", "off")).value,
		Digest:      one(s, "digest", parseDuration).value,
		TellOutside: one(s, "tell_outside", choice("authenticated", "always", "never")).value,
	}
	if n.From == "" && len(a.Domains) > 0 {
		n.From = "postvagt@" + strings.TrimPrefix(a.Domains[0], ".")
	}
	r.inside(a, from, "authorities.notices.from", "answers to notices would leave the house")
	return n
}

// policy reads what decides, and lets the policy check it.
func (r *reader) policy(s section, domains []string) policy.Options {
	before := len(r.mistakes)
	o := policy.Options{
		Domains:       bothForms(domains),
		Gateways:      bothForms(values(many(s, "gateways", parseZone))),
		RepairInbound: one(s, "repair_inbound", parseBool).value,
		Confidence:    one(s, "confidence", parseFraction).value,
	}
	if s.given("matrix") {
		o.Matrix = r.matrix(s.mapping("matrix"))
	}
	if s.given("uninspected") {
		u := s.mapping("uninspected")
		o.Uninspected = r.then(u, "send", "hold", "return")
		if n := u.n.get("class"); n != nil && o.Uninspected.Class == class.Ordinary {
			o.UnreadAsRead = true // written out, so it is meant
			r.warn(n.line, "authorities.uninspected.class ordinary lets files that nobody could read leave as if nothing had been found in them: the authority must have assessed that risk itself")
		}
	}
	for _, rule := range s.mappings("rules") {
		o.Rules = append(o.Rules, r.rule(rule))
	}
	r.rulesOnce(s)
	if len(r.mistakes) == before && s.n != nil {
		r.policyStands(s, o)
	}
	return o
}

// policyStands tells what the policy itself objects to: each objection at the line of the rule or key it names.
func (r *reader) policyStands(s section, o policy.Options) {
	_, err := policy.New(o)
	if err == nil {
		return
	}
	objections := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		objections = joined.Unwrap()
	}
	for _, e := range objections {
		r.mistake(lineOfObjection(s.n, e.Error()), "authorities: "+detect.Mask(e.Error()), "", "")
	}
}

// lineOfObjection finds what an objection of the policy's speaks of: its texts begin with the rule's id or the key.
func lineOfObjection(authority *node, text string) int {
	for _, key := range []string{"gateways", "matrix", "uninspected", "confidence", "rules"} {
		n := authority.get(key)
		if n == nil {
			continue
		}
		if key == "rules" {
			for _, rule := range n.items {
				if id := rule.get("id"); id != nil && strings.HasPrefix(text, fmt.Sprintf("rule %q:", id.text)) {
					return id.line
				}
			}
		}
		if strings.HasPrefix(text, strings.TrimSuffix(key, "s")) {
			return n.line
		}
	}
	return authority.line
}

// bothForms lists each internationalised domain as A-label and as U-label, for an address may carry either.
func bothForms(domains []string) []string {
	var out []string
	for _, d := range domains {
		out = append(out, d)
		if u, err := idna.Lookup.ToUnicode(strings.TrimPrefix(d, ".")); err == nil && u != strings.TrimPrefix(d, ".") {
			out = append(out, d[:len(d)-len(strings.TrimPrefix(d, "."))]+u)
		}
	}
	return out
}

// matrix reads the levels by class; what is not given keeps its safe default.
func (r *reader) matrix(s section) policy.Matrix {
	m := policy.DefaultMatrix()
	for _, c := range class.All {
		given := one(s, c.String(), named(level.All))
		if given.value == level.None {
			continue
		}
		if given.value < m[c] {
			r.warn(given.line(), "authorities.matrix.%s asks only %s, less than the default %s: the authority must have assessed that risk itself", c, given.value, m[c])
		}
		m[c] = given.value
	}
	return m
}

func (r *reader) rule(s section) policy.Rule {
	w := s.mapping("when")
	return policy.Rule{
		ID: one(s, "id", parseText).value,
		When: policy.When{
			Direction:     policy.Direction(one(w, "direction", choice("out", "in")).value),
			Senders:       values(many(w, "senders", parsePattern)),
			Recipients:    values(many(w, "recipients", parsePattern)),
			Kinds:         typed[detect.Kind](many(w, "kinds", choice("cpr", "uninspected"))),
			Places:        typed[detect.PlaceKind](many(w, "places", choice(placeNames...))),
			Class:         one(w, "class", named(class.All)).value,
			MinRecipients: one(w, "min_recipients", number(1, mostNumber)).value,
		},
		Then: r.then(s.mapping("then"), "send", "repair", "hold", "return"),
	}
}

var placeNames = []string{
	string(detect.InHeader), string(detect.InPartHeader), string(detect.InFileName), string(detect.InText),
	string(detect.InHidden), string(detect.InAttachment),
}

// typed gives strings their meaning.
func typed[T ~string](ls []located[string]) []T {
	var out []T
	for _, l := range ls {
		out = append(out, T(l.value))
	}
	return out
}

func (r *reader) then(s section, actions ...string) policy.Then {
	t := policy.Then{
		Action: policy.Action(one(s, "action", choice(actions...)).value),
		Class:  one(s, "class", named(class.All)).value,
		Level:  one(s, "level", named(level.All)).value,
	}
	if s.n != nil && len(s.n.pairs) == 0 {
		r.mistake(s.n.line, nameOf(s.path)+" says nothing", "it would change nothing", "write action, class or level")
	}
	return t
}

// rulesOnce tells rules of one id: the ledger and notices name a rule by it.
func (r *reader) rulesOnce(s section) {
	first := map[string]int{}
	rules := s.n.get("rules")
	if rules == nil {
		return
	}
	for _, rule := range rules.items {
		id := rule.get("id")
		if id == nil || id.text == "" {
			continue
		}
		if line := first[id.text]; line > 0 {
			r.mistake(id.line, "authorities.rules.id "+quote(id.text)+" is given twice", "nobody could tell from the ledger which of them decided", "rename it or the one in line "+strconv.Itoa(line))
			continue
		}
		first[id.text] = id.line
	}
}
