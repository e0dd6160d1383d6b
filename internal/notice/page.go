package notice

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // notices tell Danish time on machines that have no zone files

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// page is what the templates write from: everything in it is text, masked and in the page's language.
type page struct {
	Lang      string
	Rung      int
	Untold    Untold
	Unit      bool
	Inbound   bool
	ToSender  bool // the reader wrote the message
	Authority string
	Contact   string
	Owner     string
	Deadline  string
	By, Why   string
	Since     string // digest
	At        string
	Sent      string // when the message was accepted
	ID        string // the message's
	Sender    string
	To        string // the one recipient, or "3 modtagere"
	Restored  bool   // it may have been delivered before the ledger was brought back from a copy
	Groups    []group
}

// group is the recipients of whom the same is to be told.
type group struct {
	Recipients []string
	Domain     string // of the first recipient
	Problem    Problem
	Reason     policy.Reason
	Rule       string
	Verdict    string   // the policy's sentence
	Class      string   // "fortrolige"
	Required   string   // level in words; "" none
	Reached    string   // level in words, as "reached" puts it
	AsIf       bool     // Class is not what was found, but what is assumed of what could not be read
	Unread     string   // what kept it from being read: "locked", "kind" (of file), "" something else or several
	Places     []string // "emnet: 010170-••••"
	Remote     string
	Said       string // "550 5.1.1 …"
	Possibly   bool
	Sent       string // digest: when that message was accepted
	Cause      string
	Advice     string
}

var danish = func() *time.Location {
	l, err := time.LoadLocation("Europe/Copenhagen")
	if err != nil {
		panic(fmt.Sprintf("notice: %v", err)) // cannot be: the zone files are built in
	}
	return l
}()

var danishMonths = [...]string{"januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober", "november", "december"}

// clock says a time as people in Denmark do: "22. november 2026 kl. 09.15".
func clock(t time.Time, lang string) string {
	if t.IsZero() {
		return ""
	}
	t = t.In(danish)
	if lang == "da" {
		return fmt.Sprintf("%d. %s %d kl. %s", t.Day(), danishMonths[t.Month()-1], t.Year(), t.Format("15.04"))
	}
	return t.Format("2 January 2006 at 15:04")
}

// write makes the document in one language.
func write(n Notice, lang string) (document, error) {
	w := words[lang]
	p := newPage(n, lang)
	for _, s := range n.About {
		if err := p.add(n, s, w); err != nil {
			return document{}, err
		}
	}
	p.To = p.recipients(len(n.About))
	subject, err := w.run(string(n.Tells)+".subject", p)
	if err != nil {
		return document{}, err
	}
	body, err := w.run("page", map[string]any{"P": p, "PassOn": !forOwner(n.Tells), "Body": func() (string, error) { return w.run(string(n.Tells), p) }})
	if err != nil {
		return document{}, err
	}
	if n.Rung > 0 && !forOwner(n.Tells) {
		if subject, err = w.run("rung.subject", subject); err != nil {
			return document{}, err
		}
	}
	return document{lang, flat(subject, 400), parseBlocks(body)}, nil
}

// forOwner says which notices are for whoever decides, not for the sender: they are no notice to pass on.
func forOwner(k ledger.TellKind) bool { return k == ledger.TellReminder || k == ledger.TellEscalated }

func newPage(n Notice, lang string) *page {
	if n.Tells == ledger.TellDigest {
		n.Message.ID = "" // it is about many messages
	}
	return &page{
		Lang: lang, Rung: n.Rung, Untold: n.Untold, Unit: n.Unit, Inbound: n.Message.Direction == policy.Inbound,
		ToSender:  n.Rung == 0 && strings.EqualFold(safe(string(n.To), 320), n.Message.Sender),
		Authority: n.Authority, Contact: n.Contact, Owner: n.Owner, By: n.By, Why: n.Why,
		Deadline: clock(n.Deadline, lang), Since: clock(n.Since, lang), At: clock(n.At, lang), Sent: clock(n.Message.AcceptedAt, lang),
		ID: string(n.Message.ID), Sender: n.Message.Sender,
	}
}

func (p *page) recipients(n int) string {
	switch {
	case n == 1:
		return p.Groups[0].Recipients[0]
	case p.Lang == "da":
		return fmt.Sprintf("%d modtagere", n)
	}
	return fmt.Sprintf("%d recipients", n)
}

// add puts a subject with those of whom the same is told, or begins a new group.
func (p *page) add(n Notice, s Subject, w *wording) error {
	g, err := newGroup(n, s, w)
	if err != nil {
		return err
	}
	p.Restored = p.Restored || s.Verdict.Reason == policy.Restored
	for i := range p.Groups {
		if p.Groups[i].same(g) {
			p.Groups[i].Recipients = append(p.Groups[i].Recipients, g.Recipients...)
			return nil
		}
	}
	p.Groups = append(p.Groups, g)
	return nil
}

// same compares all but the recipients; what depends on the domain differs in Cause then.
func (g group) same(o group) bool {
	return g.Cause == o.Cause && g.Advice == o.Advice && g.Verdict == o.Verdict && g.Said == o.Said && g.Remote == o.Remote &&
		g.Possibly == o.Possibly && g.Reached == o.Reached && g.Sent == o.Sent && strings.Join(g.Places, "\n") == strings.Join(o.Places, "\n")
}

func newGroup(n Notice, s Subject, w *wording) (group, error) {
	v := s.Verdict
	required := max(s.Required, v.Level)
	g := group{
		Recipients: []string{s.Recipient}, Problem: s.Problem, Reason: v.Reason, Rule: v.Rule, Verdict: policy.Explain(v, w.lang),
		Class: policy.ClassWords(max(s.Class, v.Class), w.lang), Remote: s.Remote, Possibly: s.Possibly,
		AsIf: s.assumed(), Unread: s.unread(),
	}
	if at := strings.LastIndexByte(s.Recipient, '@'); at >= 0 {
		g.Domain = s.Recipient[at+1:]
	}
	if max(s.Class, v.Class) == class.Ordinary {
		g.Class = ""
	}
	if required > level.Cleartext {
		g.Required = policy.LevelWords(required, w.lang)
	}
	if s.Code > 0 {
		g.Said = strings.TrimSpace(fmt.Sprintf("%d %s", s.Code, s.Said))
	}
	if s.Message != nil {
		g.Sent = clock(s.Message.AcceptedAt, w.lang)
	}
	var err error
	if g.Reached, err = w.run("reached", s.Reached.String()); err != nil {
		return group{}, err
	}
	if g.Places, err = places(n.Tells, s, w); err != nil {
		return group{}, err
	}
	if g.Cause, err = w.first(g, causes(n.Tells, s, "cause")...); err != nil {
		return group{}, err
	}
	g.Advice, err = w.first(g, causes(n.Tells, s, "advice")...)
	return g, err
}

// mostPlaces is how many places are named; what holds more is a list, and the reader knows which.
const mostPlaces = 10

// places says where something was found, each place once, in notices in which that is the reason.
func places(k ledger.TellKind, s Subject, w *wording) ([]string, error) {
	if !whyItIs(k, s) {
		return nil, nil
	}
	var named []string
	more := 0
	for _, pl := range s.Places {
		t, err := w.run("place", pl)
		if err != nil {
			return nil, err
		}
		switch t = flat(t, 400); {
		case slices.Contains(named, t):
		case len(named) == mostPlaces:
			more++
		default:
			named = append(named, t)
		}
	}
	if more > 0 {
		t, err := w.run("places.more", more)
		return append(named, t), err
	}
	return named, nil
}

// whyItIs reports whether what was found is why it happened.
func whyItIs(k ledger.TellKind, s Subject) bool {
	switch k {
	case ledger.TellReturned, ledger.TellDelayed:
		return byPolicy(s) || s.Problem == LevelTooLow
	case ledger.TellHeld, ledger.TellReminder, ledger.TellEscalated:
		return !s.broken() && s.Verdict.Reason != policy.Restored
	case ledger.TellRepaired, ledger.TellDigest:
		return true
	}
	return false
}

func byPolicy(s Subject) bool { return s.Problem == ByPolicy || s.Problem == "" }

// broken tells what is held because it failed on its way from what the policy held.
func (s Subject) broken() bool {
	return s.Verdict.Action == policy.Send || s.Verdict.Action == policy.Repair
}

// assumed reports whether the class stands for what could not be read alone: nothing else was found.
func (s Subject) assumed() bool {
	if s.Verdict.Rule != string(detect.Uninspected) && s.Verdict.Reason != policy.NotInspected {
		return false
	}
	return !slices.ContainsFunc(s.Places, func(p Place) bool { return p.Kind != detect.Uninspected })
}

// unread says in one word why something could not be read, from the reasons package extract gives; "" when there are
// several, for then no single advice is right.
func (s Subject) unread() string {
	why := ""
	for _, p := range s.Places {
		if p.Kind != detect.Uninspected {
			continue
		}
		this := ""
		switch {
		case strings.HasPrefix(p.Why, "encrypted"):
			this = "locked"
		case strings.Contains(p.Why, "not read yet"):
			this = "kind"
		}
		if this == "" || why != "" && why != this {
			return ""
		}
		why = this
	}
	return why
}

// causes lists the templates that may say why (or what to do), the most fitting first.
func causes(k ledger.TellKind, s Subject, what string) []string {
	prefix := string(k) + "." + what
	switch k {
	case ledger.TellReturned:
		if byPolicy(s) {
			return []string{prefix + "." + string(s.Verdict.Reason), prefix}
		}
	case ledger.TellHeld, ledger.TellReminder, ledger.TellEscalated:
		if !s.broken() {
			return []string{"held." + what + "." + string(s.Verdict.Reason), "held." + what}
		}
		if what == "cause" {
			return []string{"returned.cause." + string(s.Problem), "held.cause.broken"}
		}
		return []string{"held.advice.broken"} // it is not lost, so nobody need send it again
	case ledger.TellDelayed:
	default:
		return nil // what happened is the cause
	}
	return []string{prefix + "." + string(s.Problem), prefix}
}
