package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/level"
)

// The words a rule may use.
var (
	knownKinds  = []detect.Kind{detect.CPR, detect.Uninspected}
	knownPlaces = []detect.PlaceKind{detect.InHeader, detect.InPartHeader, detect.InFileName, detect.InText, detect.InHidden, detect.InAttachment}
)

// check finds every mistake in o.
func check(o Options) error {
	var errs []error
	bad := func(where string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	for _, d := range o.Domains {
		bad(fmt.Sprintf("domain %q", d), checkDomain(d))
	}
	for _, d := range o.Others {
		bad(fmt.Sprintf("domain %q", d), checkDomain(d))
	}
	for _, g := range o.Gateways {
		bad(fmt.Sprintf("gateway %q", g), checkGateway(o, g))
	}
	bad("matrix", checkMatrix(o.Matrix))
	bad("uninspected", checkUninspected(o.Uninspected))
	if !(o.Confidence >= 0 && o.Confidence <= 1) {
		bad("confidence", fmt.Errorf("%v is not between 0 and 1: leave it out for 0.5", o.Confidence))
	}
	ids := map[string]bool{}
	for i, r := range o.Rules {
		where := fmt.Sprintf("rule %q", r.ID)
		switch {
		case r.ID == "":
			where = fmt.Sprintf("rule number %d", i+1)
			bad(where, errors.New("it has no id: give it one, such as \"health-to-nabo\", for notices and the ledger to name it by"))
		case strings.ContainsFunc(r.ID, func(c rune) bool { return c <= ' ' || c == 0x7f }):
			bad(where, errors.New("its id holds blanks or control characters: use letters, digits and hyphens"))
		case detect.HoldsCPR(r.ID):
			bad(where, errors.New("its id looks like a CPR number, and the id is shown in notices: choose a word"))
		case slices.Contains(builtIn, r.ID):
			bad(where, errors.New("this is the id of a built-in rule: choose another"))
		case ids[r.ID]:
			bad(where, errors.New("another rule has the same id: choose another"))
		}
		ids[r.ID] = true
		for _, err := range checkRule(o, r) {
			bad(where, err)
		}
	}
	return errors.Join(errs...)
}

func checkDomain(d string) error {
	if strings.Contains(d, "@") {
		return errors.New("this is an address: write the domain only")
	}
	return CheckPattern(d)
}

func checkGateway(o Options, g string) error {
	if err := checkDomain(g); err != nil {
		return err
	}
	if insideDomain(o, g) {
		return errors.New("it is one of the authority's own domains, where recipients are inside: take it out of domains, or out of gateways")
	}
	return nil
}

// insideDomain reports whether every address that a domain pattern fits is inside.
func insideDomain(o Options, pat string) bool {
	d, err := readDomain(pat)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(o.Domains, func(s string) bool {
		in, err := readDomain(s)
		return err == nil && (in == d || in[0] == '.' && strings.HasSuffix(string(d), string(in)))
	})
}

func checkMatrix(m Matrix) error {
	for c, l := range m {
		if !slices.Contains(class.All, c) {
			return fmt.Errorf("%v is no class: use ordinary, confidential or sensitive", c)
		}
		if l > level.EndToEnd {
			return fmt.Errorf("%v is no level: use cleartext, encrypted, verified, tunnel or end-to-end", l)
		}
	}
	full := complete(Options{Matrix: m}).Matrix
	for i, c := range class.All[1:] {
		if low := class.All[i]; full[c] < full[low] {
			return fmt.Errorf("%s mail would need %s only, which is less than %s mail with %s: raise %s to %s at least", c, full[c], low, full[low], c, full[low])
		}
	}
	return nil
}

func checkUninspected(t Then) error {
	switch t.Action {
	case "", Send, Hold, Return:
	case Repair:
		return errors.New("what cannot be read cannot be repaired: use hold, or leave the action out")
	default:
		return unknownAction(t.Action)
	}
	return checkThen(t)
}

func unknownAction(a Action) error {
	return fmt.Errorf("unknown action %q: use send, repair, hold or return, or leave it out to change class or level only", a)
}

func checkThen(t Then) error {
	if t.Level > level.EndToEnd {
		return fmt.Errorf("%v is no level: use cleartext, encrypted, verified, tunnel or end-to-end", t.Level)
	}
	if t.Class > class.Sensitive {
		return fmt.Errorf("%v is no class: use ordinary, confidential or sensitive", t.Class)
	}
	if t.Action == Return && t.Level != level.None {
		return fmt.Errorf("it returns the message and asks for level %s, but what is returned is never sent: take out one of them", t.Level)
	}
	return nil
}

func checkRule(o Options, r Rule) (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	switch r.Then.Action {
	case "", Send, Repair, Hold, Return:
	default:
		add(unknownAction(r.Then.Action))
	}
	if r.Then == (Then{}) {
		add(errors.New("it says nothing about what is to happen: give then an action, a class or a level"))
	}
	add(checkThen(r.Then))
	for _, err := range checkWhen(r.When) {
		add(err)
	}
	if r.Then.Class != class.Ordinary && r.Then.Class <= r.When.Class {
		add(fmt.Errorf("it matches %s mail and raises it to %s, which changes nothing: raise it higher, or take out class from then", r.When.Class, r.Then.Class))
	}
	add(checkInside(o, r))
	return errs
}

func checkWhen(w When) (errs []error) {
	switch w.Direction {
	case "", Inbound, Outbound:
	default:
		errs = append(errs, fmt.Errorf("unknown direction %q: use in or out", w.Direction))
	}
	for _, pat := range slices.Concat(w.Senders, w.Recipients) {
		if err := CheckPattern(pat); err != nil {
			errs = append(errs, fmt.Errorf("pattern %q: %w", pat, err))
		}
	}
	for _, k := range w.Kinds {
		if !slices.Contains(knownKinds, k) {
			errs = append(errs, fmt.Errorf("unknown kind %q: use %s", k, list(knownKinds)))
		}
	}
	for _, k := range w.Places {
		if !slices.Contains(knownPlaces, k) {
			errs = append(errs, fmt.Errorf("unknown place %q: use %s", k, list(knownPlaces)))
		}
	}
	if w.Class > class.Sensitive {
		errs = append(errs, fmt.Errorf("%v is no class: use ordinary, confidential or sensitive", w.Class))
	}
	if w.MinRecipients < 0 {
		errs = append(errs, fmt.Errorf("a message cannot have %d recipients: use 1 or more", w.MinRecipients))
	}
	return errs
}

// checkInside refuses rules that could only ever speak of recipients inside and say there what is never done.
func checkInside(o Options, r Rule) error {
	why := ""
	switch w := r.When; {
	case w.Direction == Inbound:
		why = "mail that comes in goes to recipients inside"
	case len(w.Recipients) > 0 && !slices.ContainsFunc(w.Recipients, func(pat string) bool { return !insideDomain(o, pat[strings.LastIndexByte(pat, '@')+1:]) }):
		why = "all its recipients are inside"
	default:
		return nil
	}
	switch {
	case r.Then.Action == Hold || r.Then.Action == Return:
		return fmt.Errorf("%s, and they are never blocked: use the action repair or send, or raise the class", why)
	case r.Then.Action == "" && r.Then.Class == class.Ordinary && r.Then.Level != level.None:
		return fmt.Errorf("%s, where no level is required: take out level, or name recipients outside", why)
	}
	return nil
}

func list[S ~string](words []S) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", string(w))
	}
	return b.String()
}
