package policy

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// Findings as an inspection gives them.
var (
	inSubject    = finding(detect.CPR, detect.InHeader, "Subject")
	inText       = finding(detect.CPR, detect.InText, "")
	inFileName   = finding(detect.CPR, detect.InFileName, "")
	inAttachment = finding(detect.CPR, detect.InAttachment, "skema.txt")
	unread       = detect.Finding{Kind: detect.Uninspected, Place: detect.Place{Kind: detect.InAttachment, Name: "skema.zip"}}
	blind        = detect.Finding{Kind: detect.Uninspected, Place: detect.Place{Kind: detect.InHeader}}
	unsure       = detect.Finding{Kind: detect.CPR, Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Confidence: 0.49}
	inTo         = detect.Finding{Kind: detect.CPR, Place: detect.Place{Kind: detect.InHeader, Name: "To"}, Confidence: 1, Address: true}
	inEnvelope   = detect.Finding{Kind: detect.CPR, Place: detect.Place{Kind: detect.InEnvelope}, Confidence: 1, Address: true}
	health       = finding("health", detect.InText, "")
)

func finding(k detect.Kind, p detect.PlaceKind, name string) detect.Finding {
	return detect.Finding{Kind: k, Place: detect.Place{Kind: p, Name: name}, Confidence: 0.9}
}

const (
	outside  mail.Address = "borger@borger.example"
	inside   mail.Address = "sagsbehandler@eksempel.example"
	citizen  mail.Address = "0101705008@borger.example"
	gateway  mail.Address = "0101705008@42.sikker.example"
	gateway2 mail.Address = "person@sikker.example"
)

func options() Options {
	return Options{Domains: []string{"eksempel.example", ".eksempel.example"}, Gateways: []string{"sikker.example", ".sikker.example"}, RepairInbound: true}
}

func with(change func(*Options)) Options { o := options(); change(&o); return o }

func rules(rs ...Rule) Options { return with(func(o *Options) { o.Rules = rs }) }

func out(fs ...detect.Finding) Facts {
	return Facts{Direction: Outbound, Sender: inside, Findings: fs, Changeable: true, Recipients: 1}
}

func in(fs ...detect.Finding) Facts {
	return Facts{Direction: Inbound, Sender: outside, Findings: fs, Changeable: true, Recipients: 1}
}

func fixed(f Facts) Facts   { f.Changeable, f.Obstacle = false, "encrypted"; return f }
func looping(f Facts) Facts { f.Looping = true; return f }
func from(a mail.Address, f Facts) Facts {
	f.Sender = a
	return f
}

func TestDecide(t *testing.T) {
	const c, s, v = class.Confidential, class.Sensitive, level.Verified
	clean := Rule{ID: "own", Then: Then{Action: Send}}
	for _, tt := range []struct {
		name string
		o    Options
		f    Facts
		rcpt mail.Address
		want Verdict
	}{
		{"nothing found", options(), out(), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},
		{"number in the text", options(), out(inText), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"number in an attachment", options(), out(inAttachment), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"another kind", options(), out(health), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"below the threshold", options(), out(unsure), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},
		{"a lower threshold", with(func(o *Options) { o.Confidence = 0.49 }), out(unsure), outside, Verdict{Repair, c, v, true, ruleReadable, ReadableNumber, ""}},
		{"number in the subject", options(), out(inSubject), outside, Verdict{Repair, c, v, true, ruleReadable, ReadableNumber, ""}},
		{"number in a file name", options(), out(inFileName), outside, Verdict{Repair, c, v, true, ruleReadable, ReadableNumber, ""}},
		{"the same, unchangeable", options(), fixed(out(inSubject)), outside, Verdict{Hold, c, v, false, ruleReadable, CannotRepair, ""}},
		{"unchangeable, but only in the text", options(), fixed(out(inText)), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"to a gateway a subject is repaired too", options(), out(inSubject), gateway2, Verdict{Repair, c, v, true, ruleReadable, ReadableNumber, ""}},

		{"inside", options(), out(inSubject), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"inside, below the domain", options(), out(inText), "a@skole.eksempel.example", Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"inside and unreadable", with(func(o *Options) { o.Uninspected.Action = Hold }), in(unread), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"inside, the address is a number", options(), in(), "0101705008@eksempel.example", Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"arriving with a tainted subject", options(), in(inSubject), inside, Verdict{Repair, c, 0, true, ruleArrival, ReadableNumber, ""}},
		{"the same, unchangeable", options(), fixed(in(inSubject)), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"the same, switched off", with(func(o *Options) { o.RepairInbound = false }), in(inSubject), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"arriving with a number as address", options(), in(inTo), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},

		{"loop", options(), looping(out()), outside, Verdict{Hold, 0, 0, false, ruleLoop, Loop, ""}},
		{"loop inside", options(), looping(in()), inside, Verdict{Hold, 0, 0, false, ruleLoop, Loop, ""}},
		{"loop with a subject to be released repaired", options(), looping(out(inSubject)), outside, Verdict{Hold, c, v, true, ruleLoop, Loop, ""}},

		{"number as address, internet", options(), out(), citizen, Verdict{Return, c, v, false, ruleAddress, NumberAddress, ""}},
		{"number as address, with a hyphen", options(), out(), "010170-5008@borger.example", Verdict{Return, c, v, false, ruleAddress, NumberAddress, ""}},
		{"number as address, gateway", options(), out(inTo), gateway, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"another's number in To", options(), out(inTo), outside, Verdict{Hold, c, v, false, ruleAddressSeen, NumberAddress, ""}},
		{"another's number in the envelope only", options(), out(inEnvelope), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},
		{"the sender is a number", options(), from("0101705008@eksempel.example", out()), outside, Verdict{Hold, c, v, false, ruleAddressSeen, NumberAddress, ""}},
		{"null sender", options(), from("", out()), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},

		{"unread", options(), out(unread), outside, Verdict{Send, c, v, false, ruleUninspected, ClassAllows, ""}},
		{"unread and a number", options(), out(unread, inText), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"unread in the header", options(), out(blind), outside, Verdict{Hold, c, v, false, ruleUninspected, NotInspected, ""}},
		{"unread in the header, inside", options(), in(blind), inside, Verdict{Send, c, 0, false, ruleInside, InsideRecipient, ""}},
		{"unread in the header, returned", with(func(o *Options) { o.Uninspected = Then{Action: Return} }), out(blind), outside, Verdict{Return, c, v, false, ruleUninspected, NotInspected, ""}},
		{"unread, held", with(func(o *Options) { o.Uninspected = Then{Action: Hold, Class: s} }), out(unread, inSubject), outside, Verdict{Hold, s, v, true, ruleUninspected, NotInspected, ""}},
		{"unread, returned", with(func(o *Options) { o.Uninspected = Then{Action: Return} }), out(unread), outside, Verdict{Return, c, v, false, ruleUninspected, NotInspected, ""}},
		{"unread, held, no class given", with(func(o *Options) { o.Uninspected = Then{Action: Hold} }), out(unread), outside, Verdict{Hold, c, v, false, ruleUninspected, NotInspected, ""}},
		{"unread, a lower level, no class given", with(func(o *Options) { o.Uninspected = Then{Level: level.Encrypted} }), out(unread), outside, Verdict{Send, c, v, false, ruleUninspected, ClassAllows, ""}},
		{"unread, a higher level, no class given", with(func(o *Options) { o.Uninspected = Then{Level: level.Tunnel} }), out(unread), outside, Verdict{Send, c, level.Tunnel, false, ruleUninspected, ClassAllows, ""}},
		{"unread, ordinary by decision", with(func(o *Options) { o.UnreadAsRead = true }), out(unread), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},
		{"unread, ordinary by decision, held", with(func(o *Options) { o.Uninspected, o.UnreadAsRead = Then{Action: Hold}, true }), out(unread), outside, Verdict{Hold, 0, 0, false, ruleUninspected, NotInspected, ""}},
		{"unread, ordinary by decision, level", with(func(o *Options) { o.Uninspected, o.UnreadAsRead = Then{Level: level.Encrypted}, true }), out(unread), outside, Verdict{Send, 0, level.Encrypted, false, ruleMatrix, Clean, ""}},

		{"own matrix", with(func(o *Options) { o.Matrix = Matrix{c: level.Encrypted} }), out(inText), outside, Verdict{Send, c, level.Encrypted, false, ruleMatrix, ClassAllows, ""}},
		{"own rule holds", rules(Rule{"own", When{Recipients: []string{"borger.example"}}, Then{Action: Hold}}), out(inSubject), outside, Verdict{Hold, c, v, true, "own", OwnRule, ""}},
		{"own rule returns", rules(Rule{"own", When{MinRecipients: 1}, Then{Action: Return}}), out(), outside, Verdict{Return, 0, 0, false, "own", OwnRule, ""}},
		{"own rule is not asked inside", rules(Rule{"own", When{}, Then{Action: Hold}}), out(), inside, Verdict{Send, 0, 0, false, ruleInside, InsideRecipient, ""}},
		{"the first that matches wins", rules(Rule{"no", When{Direction: Inbound}, Then{Action: Send}}, Rule{"own", When{Senders: []string{"*@eksempel.example"}}, Then{Level: level.Tunnel}}, Rule{"late", When{}, Then{Action: Hold}}), out(), outside, Verdict{Send, 0, level.Tunnel, false, "own", OwnRule, ""}},
		{"own rule raises the class", rules(Rule{"own", When{}, Then{Class: s}}), out(), outside, Verdict{Send, s, v, false, "own", OwnRule, ""}},
		{"own rule raises class inside", rules(Rule{"own", When{}, Then{Class: s}}), out(), inside, Verdict{Send, s, 0, false, "own", OwnRule, ""}},
		{"no rule lowers the level unasked", rules(Rule{"own", When{}, Then{Level: level.Encrypted}}), out(inText), outside, Verdict{Send, c, v, false, "own", OwnRule, ""}},
		{"unless it names the class", rules(Rule{"own", When{Class: c}, Then{Level: level.Encrypted}}), out(inText), outside, Verdict{Send, c, level.Encrypted, false, "own", OwnRule, ""}},
		{"and exactly this class", with(func(o *Options) {
			o.Uninspected.Class, o.Rules = s, []Rule{{"own", When{Class: c}, Then{Level: level.Encrypted}}}
		}), out(unread), outside, Verdict{Send, s, v, false, "own", OwnRule, ""}},
		{"a lower class does not match", rules(Rule{"own", When{Class: c}, Then{Action: Hold}}), out(), outside, Verdict{Send, 0, 0, false, ruleMatrix, Clean, ""}},
		{"sending does not undo the repair", rules(clean), out(inSubject), outside, Verdict{Repair, c, v, true, ruleReadable, ReadableNumber, ""}},
		{"unless it names the kind", rules(Rule{"own", When{Kinds: []detect.Kind{detect.CPR}}, Then{Action: Send}}), out(inSubject), outside, Verdict{Send, c, v, false, "own", OwnRule, ""}},
		{"or the place", rules(Rule{"own", When{Places: []detect.PlaceKind{detect.InHeader}}, Then{Action: Send}}), fixed(out(inSubject)), outside, Verdict{Send, c, v, false, "own", OwnRule, ""}},
		{"kind and place of one finding", rules(Rule{"own", When{Kinds: []detect.Kind{detect.CPR}, Places: []detect.PlaceKind{detect.InAttachment}}, Then{Action: Hold}}), out(inText, unread), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
		{"sending does not open the internet to numbers", rules(Rule{"own", When{Kinds: []detect.Kind{detect.CPR}}, Then{Action: Send}}), out(inText), citizen, Verdict{Return, c, v, false, ruleAddress, NumberAddress, ""}},
		{"own rule sends the unread", with(func(o *Options) { o.Uninspected.Action = Hold; o.Rules = []Rule{clean} }), out(unread), outside, Verdict{Send, c, v, false, "own", OwnRule, ""}},
		{"own rule repairs on arrival", with(func(o *Options) {
			o.RepairInbound = false
			o.Rules = []Rule{{"own", When{Direction: Inbound}, Then{Action: Repair}}}
		}), in(inSubject), inside, Verdict{Repair, c, 0, true, "own", ReadableNumber, ""}},
		{"own rule leaves a partner's subjects", rules(Rule{"own", When{Senders: []string{"borger.example"}, Direction: Inbound}, Then{Action: Send}}), in(inSubject), inside, Verdict{Send, c, 0, false, "own", OwnRule, ""}},
		{"many recipients", rules(Rule{"own", When{MinRecipients: 2, Class: c}, Then{Action: Hold}}), out(inText), outside, Verdict{Send, c, v, false, ruleMatrix, ClassAllows, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			got := p.Decide(tt.f, tt.rcpt)
			tt.want.Policy = p.Version()
			if got != tt.want {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
			for _, lang := range []string{"da", "en"} {
				s := Explain(got, lang)
				if !strings.HasSuffix(s, ".") || strings.Count(s, ". ") > 0 || detect.HoldsCPR(s) || strings.Contains(s, "(") && got.Level != level.Tunnel {
					t.Errorf("not one plain sentence: %q", s)
				}
			}
		})
	}
}

// The laws, over every combination of the facts and a set of rules that try to break them.
func TestLaws(t *testing.T) {
	places := []detect.Finding{inSubject, inText, inFileName, inAttachment, unread, unsure, inTo, inEnvelope, health}
	for _, o := range []Options{
		options(),
		with(func(o *Options) { o.Uninspected.Action = Hold; o.RepairInbound = false }),
		rules(Rule{"all", When{}, Then{Action: Return}}),
		rules(Rule{"all", When{}, Then{Action: Hold}}),
		rules(Rule{"all", When{}, Then{Action: Send, Level: level.Cleartext}}),
		rules(Rule{"all", When{}, Then{Level: level.Encrypted}}),
	} {
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		for set := range 1 << len(places) {
			for _, f := range []Facts{out(pick(places, set)...), in(pick(places, set)...), fixed(out(pick(places, set)...)), fixed(in(pick(places, set)...))} {
				for _, rcpt := range []mail.Address{outside, inside, citizen, gateway, gateway2} {
					v := p.Decide(f, rcpt)
					checkLaws(t, p, f, rcpt, v)
				}
			}
		}
	}
}

func checkLaws(t *testing.T, p *Policy, f Facts, rcpt mail.Address, v Verdict) {
	t.Helper()
	leaves := v.Action == Send || v.Action == Repair
	readable := slices.ContainsFunc(f.Findings, func(x detect.Finding) bool {
		return x.Kind == detect.CPR && x.Confidence >= 0.5 && x.Place.Readable() && !x.Address
	})
	bad := ""
	switch {
	case p.Inside(rcpt) && !leaves:
		bad = "a recipient inside was blocked"
	case p.Inside(rcpt) && v.Level != level.None:
		bad = "a level was required inside"
	case !p.Inside(rcpt) && v.Action == Send && readable:
		bad = "a readable number left"
	case v.Action == Repair && (!f.Changeable || !v.Repaired):
		bad = "a repair that cannot be"
	case rcpt == citizen && leaves, rcpt == outside && leaves && slices.Contains(f.Findings, inTo):
		bad = "a number left as an address"
	case !p.Inside(rcpt) && v.Class >= class.Confidential && v.Level < level.Verified:
		bad = "the level is below the matrix"
	}
	if bad != "" {
		t.Fatalf("%s: %+v to %s gave %+v", bad, f, rcpt, v)
	}
}

func pick(all []detect.Finding, set int) (some []detect.Finding) {
	for i, f := range all {
		if set&(1<<i) != 0 {
			some = append(some, f)
		}
	}
	return some
}

func TestVersion(t *testing.T) {
	version := func(o Options) string {
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return p.Version()
	}
	a := Rule{"a", When{Recipients: []string{"nabo.example", "*@borger.example"}}, Then{Action: Hold}}
	b := Rule{"b", When{Kinds: []detect.Kind{detect.CPR, detect.Uninspected}}, Then{Level: level.Tunnel}}
	base := version(rules(a, b))
	if detect.HoldsCPR(base) || len(base) != 16 {
		t.Errorf("version %q", base)
	}
	turned := Rule{"a", When{Recipients: []string{"*@BORGER.example", "nabo.example", "Nabo.example"}}, a.Then}
	for name, o := range map[string]Options{
		"order and case of lists": with(func(o *Options) {
			o.Rules = []Rule{turned, b}
			o.Domains = []string{".eksempel.example", "EKSEMPEL.example"}
		}),
		"defaults said aloud": with(func(o *Options) {
			o.Rules, o.Matrix, o.Confidence, o.Uninspected = []Rule{a, b}, DefaultMatrix(), 0.5, Then{Class: class.Confidential}
		}),
	} {
		if got := version(o); got != base {
			t.Errorf("%s: version changed from %s to %s", name, base, got)
		}
	}
	for name, o := range map[string]Options{
		"order of rules": rules(b, a),
		"a domain that is another's": with(func(o *Options) {
			o.Rules, o.Others = []Rule{a, b}, []string{"skole.eksempel.example"}
		}),
		"a rule less": rules(a),
		"matrix":      with(func(o *Options) { o.Rules, o.Matrix = []Rule{a, b}, Matrix{class.Sensitive: level.Tunnel} }),
		"confidence":  with(func(o *Options) { o.Rules, o.Confidence = []Rule{a, b}, 0.6 }),
		"arrival":     with(func(o *Options) { o.Rules, o.RepairInbound = []Rule{a, b}, false }),
		"gateways":    with(func(o *Options) { o.Rules, o.Gateways = []Rule{a, b}, nil }),
		"domains":     with(func(o *Options) { o.Rules, o.Domains = []Rule{a, b}, []string{"eksempel.example"} }),
		"unread":      with(func(o *Options) { o.Rules, o.Uninspected = []Rule{a, b}, Then{Action: Hold} }),
	} {
		if version(o) == base {
			t.Errorf("%s: version did not change", name)
		}
	}
}

// A policy keeps its own copy: what the caller does with the options afterwards is of no matter.
func TestImmutable(t *testing.T) {
	o := rules(Rule{"own", When{Recipients: []string{"borger.example"}, Kinds: []detect.Kind{detect.CPR}}, Then{Action: Hold}})
	o.Matrix = DefaultMatrix()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	before := p.Decide(out(inText), outside)
	o.Matrix[class.Confidential], o.Rules[0].When.Recipients[0], o.Rules[0].When.Kinds[0], o.Domains[0] = level.None, "x.example", "x", "borger.example"
	if after := p.Decide(out(inText), outside); after != before {
		t.Errorf("got %+v, before %+v", after, before)
	}
	if v := LevelFor(o, class.Sensitive); v != level.Verified {
		t.Errorf("LevelFor sensitive: %v", v)
	}
}

func TestNewMistakes(t *testing.T) {
	rule := func(w When, then Then) Options { return rules(Rule{"own", w, then}) }
	for _, tt := range []struct {
		want string
		o    Options
	}{
		{`rule "own": unknown action "drop": use send, repair, hold or return`, rule(When{}, Then{Action: "drop"})},
		{`rule "own": it says nothing about what is to happen`, rule(When{}, Then{})},
		{`rule "own": mail that comes in goes to recipients inside, and they are never blocked`, rule(When{Direction: Inbound}, Then{Action: Hold})},
		{`rule "own": all its recipients are inside, and they are never blocked`, rule(When{Recipients: []string{"*@eksempel.example", "a@skole.eksempel.example"}}, Then{Action: Return})},
		{`where no level is required`, rule(When{Recipients: []string{"eksempel.example"}}, Then{Level: level.Tunnel})},
		{`rule "own": it returns the message and asks for level tunnel`, rule(When{}, Then{Action: Return, Level: level.Tunnel})},
		{`rule "own": it matches sensitive mail and raises it to confidential`, rule(When{Class: class.Sensitive}, Then{Class: class.Confidential})},
		{`pattern "*@*.example": "*" cannot stand in the domain: write`, rule(When{Senders: []string{"*@*.example"}}, Then{Action: Hold})},
		{`pattern "@x.example": nothing stands before the "@"`, rule(When{Recipients: []string{"@x.example"}}, Then{Action: Hold})},
		{`unknown kind "name": use "cpr" or "uninspected"`, rule(When{Kinds: []detect.Kind{"name"}}, Then{Action: Hold})},
		{`unknown place "subject": use "header", `, rule(When{Places: []detect.PlaceKind{"subject"}}, Then{Action: Hold})},
		{`unknown direction "up": use in or out`, rule(When{Direction: "up"}, Then{Action: Hold})},
		{`a message cannot have -1 recipients`, rule(When{MinRecipients: -1}, Then{Action: Hold})},
		{`class(9) is no class`, rule(When{Class: 9}, Then{Action: Hold})},
		{`level(9) is no level`, rule(When{}, Then{Level: 9})},
		{`rule number 2: it has no id`, rules(Rule{"a", When{}, Then{Action: Hold}}, Rule{"", When{}, Then{Action: Hold}})},
		{`rule "a": another rule has the same id`, rules(Rule{"a", When{}, Then{Action: Hold}}, Rule{"a", When{}, Then{Action: Hold}})},
		{`rule "loop": this is the id of a built-in rule`, rules(Rule{"loop", When{}, Then{Action: Hold}})},
		{`its id looks like a CPR number`, rules(Rule{"010170-5008", When{}, Then{Action: Hold}})},
		{`its id holds blanks`, rules(Rule{"a b", When{}, Then{Action: Hold}})},
		{`gateway "x.eksempel.example": it is one of the authority's own domains`, with(func(o *Options) { o.Gateways = []string{"x.eksempel.example"} })},
		{`domain "a@b.example": this is an address`, with(func(o *Options) { o.Domains = []string{"a@b.example"} })},
		{`domain "": the domain is missing`, with(func(o *Options) { o.Domains = []string{""} })},
		{`matrix: sensitive mail would need encrypted only, which is less than confidential mail with tunnel`, with(func(o *Options) {
			o.Matrix = Matrix{class.Confidential: level.Tunnel, class.Sensitive: level.Encrypted}
		})},
		{`matrix: class(7) is no class`, with(func(o *Options) { o.Matrix = Matrix{7: level.Tunnel} })},
		{`uninspected: what cannot be read cannot be repaired`, with(func(o *Options) { o.Uninspected.Action = Repair })},
		{`uninspected: unknown action "wait"`, with(func(o *Options) { o.Uninspected.Action = "wait" })},
		{`confidence: 1.5 is not between 0 and 1`, with(func(o *Options) { o.Confidence = 1.5 })},
	} {
		_, err := New(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
	_, err := New(rules(Rule{"a", When{}, Then{}}, Rule{"b", When{}, Then{Action: "drop"}}))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("want both mistakes at once, got %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pat  string
		a    mail.Address
		want bool
	}{
		{"eksempel.example", "a@eksempel.example", true},
		{"Eksempel.EXAMPLE", "a@eksempel.example", true},
		{"eksempel.example", "a@b.eksempel.example", false},
		{"eksempel.example", "a@xeksempel.example", false},
		{".eksempel.example", "a@b.eksempel.example", true},
		{".eksempel.example", "a@c.b.eksempel.example", true},
		{".eksempel.example", "a@eksempel.example", false},
		{".eksempel.example", "a@xeksempel.example", false},
		{"*@skole.eksempel.example", "rektor@skole.eksempel.example", true},
		{"*@.eksempel.example", "rektor@skole.eksempel.example", true},
		{"social*@eksempel.example", "Socialafdelingen@eksempel.example", true},
		{"social*@eksempel.example", "social@eksempel.example", true},
		{"social*@eksempel.example", "asocial@eksempel.example", false},
		{"a*b*c@x.example", "abc@x.example", true},
		{"a*b*c@x.example", "a--b--b--c@x.example", true},
		{"a*b*c@x.example", "ac@x.example", false},
		{"a*a@x.example", "a@x.example", false},
		{"**@x.example", "a@x.example", true},
		{"a@x.example", "a@x.example", true},
		{"a@x.example", "ab@x.example", false},
		{"blåbær.example", "a@xn--blbr-roah.example", true},
		{"åse@x.example", "ÅSE@x.example", true},
		{"x.example", "", false},
		{"*", "a@x.example", false},
		{"", "a@x.example", false},
	} {
		if got := Match(tt.pat, tt.a); got != tt.want {
			t.Errorf("Match(%q, %q) = %v, want %v", tt.pat, tt.a, got, tt.want)
		}
	}
	if a := mail.Address("a@" + compared("blåbær.example")); !Match("blåbær.example", a) || !Match(string(a.Domain()), "a@blåbær.example") {
		t.Errorf("U-label and A-label of one domain do not match: %s", a)
	}
}

// A pattern that is accepted matches what it was made from, and an accepted pattern means the same in capitals.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"*@skole.eksempel.example", "social*@eksempel.example", "eksempel.example", ".eksempel.example", "a*b**c@x.example", "@x", "*@*", "å@blåbær.example", "\"a@b\"@x.example", "a@[127.0.0.1]", "..", "xn--0.example"} {
		f.Add(s, "socialafdelingen", "eksempel.example")
	}
	f.Fuzz(func(t *testing.T, pat, local, domain string) {
		a := mail.Address(local + "@" + domain)
		got := Match(pat, a)
		if CheckPattern(pat) != nil {
			if got {
				t.Fatalf("refused pattern %q matches %q", pat, a)
			}
			return
		}
		at := strings.LastIndexByte(pat, '@')
		d := compared(strings.TrimPrefix(pat[at+1:], "."))
		if pat[at+1] == '.' {
			d = "under." + d
		}
		sample := mail.Address(cmp.Or(strings.ReplaceAll(pat[:max(at, 0)], "*", ""), "x") + "@" + d)
		if at > 0 && strings.Trim(pat[:at], "*") == "" || at < 0 {
			sample = mail.Address("x@" + d)
		}
		if !Match(pat, sample) {
			t.Fatalf("%q does not match %q, which was made from it", pat, sample)
		}
	})
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestDescribe(t *testing.T) {
	cases := map[string]Options{
		"defaults":        {Domains: []string{"eksempel.example"}},
		"unread-held":     with(func(o *Options) { o.Uninspected = Then{Action: Hold} }),
		"unread-ordinary": with(func(o *Options) { o.UnreadAsRead = true }),
		"rules": with(func(o *Options) {
			o.Matrix = Matrix{class.Ordinary: level.Encrypted, class.Sensitive: level.Tunnel}
			o.Uninspected = Then{Action: Hold, Class: class.Sensitive}
			o.Rules = []Rule{
				{"emner-til-nabo", When{Direction: Outbound, Senders: []string{"social*@eksempel.example"}, Recipients: []string{"nabo.example", ".nabo.example"},
					Kinds: []detect.Kind{detect.CPR}, Places: []detect.PlaceKind{detect.InHeader, detect.InFileName}, MinRecipients: 5}, Then{Action: Send}},
				{"aftale", When{Class: class.Confidential, Recipients: []string{"borger.example"}}, Then{Level: level.Encrypted}},
				{"laast", When{Kinds: []detect.Kind{detect.Uninspected}}, Then{Action: Return}},
				{"alt-andet", When{}, Then{Action: Send, Class: class.Confidential, Level: level.Tunnel}},
			}
		}),
	}
	for name, o := range cases {
		for _, lang := range []string{"da", "en"} {
			if _, err := New(o); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(Describe(o, lang), "\n") + "\n"
			file := filepath.Join("testdata", "describe-"+name+"."+lang+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; look at it, then run with -update. got:\n%s", file, got)
			}
		}
	}
}

// Every reason has its own words in both languages, for each action it can come with.
func TestExplainAll(t *testing.T) {
	seen := map[string]Verdict{}
	for _, r := range []Reason{Clean, ClassAllows, InsideRecipient, ReadableNumber, CannotRepair, NumberAddress, NotInspected, OwnRule, Loop} {
		for _, lang := range []string{"da", "en"} {
			v := Verdict{Action: Hold, Reason: r, Rule: "own"}
			s := Explain(v, lang)
			if strings.Contains(s, "("+string(r)+")") {
				t.Errorf("%s has no words in %q: %s", r, lang, s)
			}
			if other, ok := seen[s]; ok {
				t.Errorf("%s and %s read the same: %s", r, other.Reason, s)
			}
			seen[s] = v
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p, err := New(rules(Rule{"own", When{Recipients: []string{"nabo.example", "social*@borger.example"}}, Then{Action: Hold}}))
	if err != nil {
		b.Fatal(err)
	}
	f := out(inText, inAttachment)
	for b.Loop() {
		p.Decide(f, outside)
	}
}

// TestInsideOthers: what belongs to another authority below one's own domain is outside; the closest match decides.
func TestInsideOthers(t *testing.T) {
	p, err := New(Options{Domains: []string{"eksempel.example", ".eksempel.example", "a.skole.eksempel.example"}, Others: []string{".skole.eksempel.example", "bad.eksempel.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[mail.Address]bool{
		"x@eksempel.example": true, "x@vej.eksempel.example": true, "x@skole.eksempel.example": true, "x@b.SKOLE.eksempel.example": false, "x@a.skole.eksempel.example": true,
		"x@c.a.skole.eksempel.example": false, "x@Bad.eksempel.example": false, "x@ude.bad.eksempel.example": true, "x@borger.example": false, "": false,
	} {
		if got := p.Inside(a); got != want {
			t.Errorf("%s: inside is %v", a, got)
		}
	}
	if _, err := New(Options{Domains: []string{".eksempel.example"}, Others: []string{"a b"}}); err == nil {
		t.Error("a domain that is none was taken")
	}
}
