package guard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
	"postvagt/internal/notice"
	"postvagt/internal/policy"
	"postvagt/internal/spool"
)

// teller is the notify step: it turns what happened into notices that become durable with it (law 3). Guard and
// Operator share it.
type teller struct {
	cfg      *config.Config
	keys     spool.Authorities
	store    ledger.Store
	senders  SenderCheck
	policies map[string]*policy.Policy // by authority
}

func newTeller(c *config.Config, k spool.Authorities, s SenderCheck, store ledger.Store) (*teller, error) {
	t := &teller{cfg: c, keys: k, store: store, senders: s, policies: map[string]*policy.Policy{}}
	for _, a := range c.Authorities {
		p, err := policy.New(a.Policy)
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", a.Name, err)
		}
		t.policies[a.Name] = p
	}
	return t, nil
}

// authorityNamed returns an authority by name. One that is not in the configuration has nothing but its name: see stuck.
func (t *teller) authorityNamed(name string) *config.Authority {
	if a := t.cfg.AuthorityNamed(name); a != nil {
		return a
	}
	return &config.Authority{Name: name}
}

// atAcceptance writes the notices that are due the moment a message is accepted: what is held and what is returned.
func (t *teller) atAcceptance(ctx context.Context, a ledger.Acceptance) ([]ledger.NewNotice, error) {
	tell := gathered{teller: t, message: a.Message}
	for i, n := range a.Deliveries {
		tr := trial{delivery: asDelivery(a.Message.ID, n), at: a.Message.AcceptedAt}
		switch n.State {
		case ledger.Held:
			tell.add(ledger.TellHeld, i, tr)
		case ledger.Returning:
			tell.add(ledger.TellReturned, i, tr)
		}
	}
	var notices []ledger.NewNotice
	for _, k := range tell.kinds {
		n, err := t.write(ctx, telling{tells: k.tells, message: a.Message, trials: tell.trials[k], at: a.Message.AcceptedAt})
		if err != nil {
			return nil, err
		}
		if n != nil {
			n.About = tell.changes[k]
			notices = append(notices, *n)
		}
	}
	return notices, nil
}

// asDelivery is a delivery before the ledger has given it its number.
func asDelivery(id ledger.MessageID, n ledger.NewDelivery) ledger.Delivery {
	return ledger.Delivery{Message: id, Recipient: n.Recipient, Notify: n.Notify, ORcpt: n.ORcpt, Inside: n.Inside, State: n.State,
		Verdict: n.Verdict, Body: n.Body, Lane: n.Lane, Owner: n.Owner, Due: n.Due, Deadline: n.Deadline, Watch: n.Watch}
}

// gathered collects what an attempt's results call for, so that one message gives one notice of a kind, not one per
// recipient. Recipients whose NOTIFY differs are told of apart, for NOTIFY decides who is told.
type gathered struct {
	teller  *teller
	message ledger.Message
	by, why string         // released, withdrawn: the person and the reason
	kinds   []gatheredKind // in the order they came
	trials  map[gatheredKind][]trial
	changes map[gatheredKind][]int
	also    map[gatheredKind][]trial // what the notice tells of besides, which does not change now
}

type gatheredKind struct {
	tells  ledger.TellKind
	notify string
}

func (g *gathered) add(tells ledger.TellKind, change int, t trial) {
	k := gatheredKind{tells, t.delivery.Notify}
	if g.trials == nil {
		g.trials, g.changes = map[gatheredKind][]trial{}, map[gatheredKind][]int{}
	}
	if g.trials[k] == nil {
		g.kinds = append(g.kinds, k)
	}
	g.trials[k] = append(g.trials[k], t)
	g.changes[k] = append(g.changes[k], change)
}

// arrival adds what a delivered message calls for: a repair is told when the mail has been sent to the first recipient, of all who get it repaired.
func (g *gathered) arrival(change int, t trial, rest beside) {
	if g.message.Kind == ledger.Notice {
		return
	}
	d := t.delivery
	if d.Body == 1 && !told(d, ledger.TellRepaired) && !slices.Contains(rest.told[d.ID], ledger.TellRepaired) && g.teller.authorityNamed(g.message.Authority).Notices.Repaired == "each" {
		g.add(ledger.TellRepaired, change, trial{delivery: d, at: t.at})
		g.repairedToo(d.Notify, rest.repaired)
	}
	if wants(d.Notify, "SUCCESS") && !t.receipt.DSN {
		g.add(ledger.TellDelivered, change, t) // RFC 3461, section 5.2.2: relayed to a hop that does not offer DSN
	}
}

// repairedToo adds to what is told of a repair the recipients who get the same later.
func (g *gathered) repairedToo(notify string, waiting []ledger.Delivery) {
	k := gatheredKind{ledger.TellRepaired, notify}
	if g.also[k] != nil {
		return
	}
	if g.also == nil {
		g.also = map[gatheredKind][]trial{}
	}
	for _, d := range waiting {
		if d.Notify == notify {
			g.also[k] = append(g.also[k], trial{delivery: d})
		}
	}
}

// into writes the notices and hangs each on the first change it is about.
func (g *gathered) into(ctx context.Context, changes []ledger.Change) error {
	for _, k := range g.kinds {
		first := &changes[g.changes[k][0]]
		trials := g.trials[k]
		for i, c := range g.changes[k] { // the notice tells the new owner and deadline
			trials[i].delivery.Owner = cmp.Or(changes[c].Owner, trials[i].delivery.Owner)
			if !changes[c].Deadline.IsZero() && k.tells == ledger.TellHeld {
				trials[i].delivery.Deadline = changes[c].Deadline
			}
		}
		trials = append(trials, g.also[k]...)
		n, err := g.teller.write(ctx, telling{tells: k.tells, message: g.message, trials: trials, at: first.At, by: g.by, why: g.why})
		if err != nil {
			return err
		}
		if n == nil {
			continue
		}
		for _, t := range trials[1:] {
			n.AboutIDs = append(n.AboutIDs, t.delivery.ID)
		}
		first.Notices = append(first.Notices, *n)
	}
	return nil
}

// telling is a notice to be written.
type telling struct {
	id      ledger.MessageID // the notice's own; "": a fresh one
	tells   ledger.TellKind
	message ledger.Message
	trials  []trial
	at      time.Time
	since   time.Time // digest: the beginning of its period
	by, why string    // released, withdrawn
}

// write composes and seals a notice on its first rung. nil means that nobody is to be told: only what does not gate an
// ending can be so.
func (t *teller) write(ctx context.Context, w telling) (*ledger.NewNotice, error) {
	if !t.wanted(w) {
		return nil, nil
	}
	r := t.rungFrom(ctx, w.tells, w.message, w.trials[0].delivery, 0, "")
	if r == nil {
		if w.tells == ledger.TellReturned || w.tells == ledger.TellHeld {
			return nil, fmt.Errorf("no rung to tell %s on", w.tells) // unreachable: the safety net is required configuration
		}
		return nil, nil
	}
	if w.tells == ledger.TellDelivered && r.no > 0 {
		return nil, nil // nobody but the one who asked wants to know
	}
	return t.addressed(w, *r)
}

// wanted reports whether a kind of notice that gates nothing is to be sent at all.
func (t *teller) wanted(w telling) bool {
	d := w.trials[0].delivery
	switch w.tells {
	case ledger.TellDelayed:
		return w.message.Direction == policy.Inbound || d.Notify == "" || wants(d.Notify, "DELAY") // RFC 3461, section 4.1
	case ledger.TellRepaired, ledger.TellReleased:
		return !wants(d.Notify, "NEVER") && (w.message.TellSender || w.message.Direction == policy.Inbound && w.tells == ledger.TellReleased)
	}
	return true
}

// addressed composes and seals a notice to one rung.
func (t *teller) addressed(w telling, r rung) (*ledger.NewNotice, error) {
	id := cmp.Or(w.id, ledger.NewMessageID())
	n := t.facts(w, r)
	n.ID = id
	raw, err := notice.Compose(n)
	if err != nil {
		return nil, fmt.Errorf("compose a notice: %w", err)
	}
	sealed, err := t.seal(w.message.Authority, id, raw)
	if err != nil {
		return nil, fmt.Errorf("seal a notice: %w", err)
	}
	shown, err := t.address(w.message.Authority, id, r.to)
	if err != nil {
		return nil, err
	}
	a := t.authorityNamed(w.message.Authority)
	return &ledger.NewNotice{Tells: w.tells, Body: sealed,
		Message: ledger.Message{ID: id, Authority: w.message.Authority, Kind: ledger.Notice, Direction: w.message.Direction,
			HeaderID: "<" + string(id) + "@" + t.cfg.Host + ">", Size: len(raw), Client: "the guard", UTF8: !r.to.ASCII(),
			Unit: w.message.Unit, Language: w.message.Language, AcceptedAt: w.at},
		Delivery: ledger.NewDelivery{Recipient: shown, Inside: t.policyOf(a.Name).Inside(r.to), State: ledger.Queued,
			Verdict: policy.Verdict{Action: policy.Send, Reason: policy.Clean, Rule: policy.RuleNotice, Policy: t.policyOf(a.Name).Version()},
			Lane:    t.lane(a, r.to), Owner: a.SafetyNet, Due: w.at, Deadline: w.at.Add(t.cfg.Delivery.Return),
			Watch: w.at.Add(t.cfg.Delivery.Delay), Rung: r.no}}, nil
}

// facts is what a notice is made of.
func (t *teller) facts(w telling, r rung) notice.Notice {
	a := t.authorityNamed(w.message.Authority)
	m := w.message
	n := notice.Notice{Tells: w.tells, Lang: m.Language, At: w.at, From: mail.Address(a.Notices.From), To: r.to, Rung: r.no,
		Reporting: t.cfg.Host, Authority: a.Name, Contact: a.Contact, By: w.by, Why: w.why,
		Message: original(m), Since: w.since, Untold: r.untold, Unit: m.Unit != "",
		Owner: w.trials[0].delivery.Owner, Deadline: w.trials[0].delivery.Deadline}
	for _, tr := range w.trials {
		if tr.of == nil {
			n.About = append(n.About, subject(w.tells, m, tr))
			continue
		}
		s, of := subject(w.tells, *tr.of, tr), original(*tr.of)
		s.Message = &of
		n.About = append(n.About, s)
	}
	return n
}

func original(m ledger.Message) notice.Original {
	return notice.Original{ID: m.ID, HeaderID: m.HeaderID, Sender: m.Sender.Shown, AcceptedAt: m.AcceptedAt, EnvID: m.EnvID, Direction: m.Direction}
}

// subject is one delivery as a notice tells of it.
func subject(tells ledger.TellKind, m ledger.Message, t trial) notice.Subject {
	d, r := t.delivery, t.result
	s := notice.Subject{Recipient: d.Recipient.Shown, ORcpt: d.ORcpt, Verdict: d.Verdict, Required: d.Verdict.Level, Reached: t.receipt.Level,
		Class: d.Verdict.Class, Possibly: d.Possibly || r.Outcome == deliver.Unknown}
	if d.Body == 1 || d.Verdict.Reason != policy.Clean {
		for _, f := range m.Findings {
			if f.Place.Readable() || d.Body == 0 {
				s.Places = append(s.Places, notice.Place{Place: f.Place, Kind: f.Kind, Masked: f.Masked, Why: f.Why})
			}
		}
	}
	if r.Outcome == "" {
		if tells == ledger.TellReturned {
			s.Problem = notice.ByPolicy
		}
		return s
	}
	s.LastTry, s.Code, s.Enhanced, s.Said = t.at, r.Code, r.Enhanced, r.Text
	if r.Reached {
		s.Remote = t.receipt.Hop
	}
	if r.Outcome != deliver.Delivered {
		s.Problem = t.problem()
	}
	return s
}

// rung is one step of the ladder sender → unit → safety net (law 3).
type rung struct {
	no     int
	to     mail.Address
	untold notice.Untold // from 1 on: why not the sender
}

// rungFrom returns the first rung from no on that has an address other than last; nil when the ladder is exhausted.
func (t *teller) rungFrom(ctx context.Context, tells ledger.TellKind, m ledger.Message, d ledger.Delivery, no int, last mail.Address) *rung {
	a := t.authorityNamed(m.Authority)
	untold := notice.Failed
	if no == 2 { // the unit was tried; whether the sender was before it follows from what is known
		untold = t.whyNotSender(ctx, tells, m, d)
	}
	for ; no <= 2; no++ {
		var to mail.Address
		switch {
		case no == 2:
			to = mail.Address(a.SafetyNet)
		case tells == ledger.TellReminder:
			if no == 0 {
				to = mail.Address(d.Owner)
			}
		case tells == ledger.TellEscalated:
		case no == 1:
			to = mail.Address(m.Unit)
		default:
			if untold = t.whyNotSender(ctx, tells, m, d); untold == notice.Failed {
				to = t.senderOf(m)
			}
		}
		if to != "" && to != last {
			return &rung{no, to, untold}
		}
	}
	return nil
}

// senderOf is a message's sender; "" for the null path, and for an address that cannot be opened: then nobody knows it any more.
func (t *teller) senderOf(m ledger.Message) mail.Address {
	sender, err := t.open(m, m.Sender)
	if err != nil {
		return ""
	}
	return sender
}

// whyNotSender says why a sender is not told; notice.Failed when nothing keeps us from trying. Never a null path, never against NOTIFY, and
// outside senders (of inbound mail, of what was forwarded on) only when they are proven or the authority says so (DESIGN
// section 6: a notice to a forged sender is backscatter).
func (t *teller) whyNotSender(ctx context.Context, tells ledger.TellKind, m ledger.Message, d ledger.Delivery) notice.Untold {
	if m.Sender.Shown == "" || wants(d.Notify, "NEVER") {
		return notice.NotAsked
	}
	if tells == ledger.TellReturned && d.Notify != "" && !wants(d.Notify, "FAILURE") || tells == ledger.TellDelayed && d.Notify != "" && !wants(d.Notify, "DELAY") {
		return notice.NotAsked
	}
	sender := t.senderOf(m)
	a := t.authorityNamed(m.Authority)
	inside := sender != "" && t.policyOf(a.Name).Inside(sender)
	switch {
	case sender == "", m.Direction == policy.Outbound && inside:
		return notice.Failed
	case a.Notices.TellOutside == "never":
		return notice.NeverTold
	case a.Notices.TellOutside == "always" && !inside, t.proven(ctx, m, sender):
		return notice.Failed
	}
	return notice.Unproven
}

// nextRung is where a failed notice goes next; nil when nobody is left.
func (t *teller) nextRung(ctx context.Context, n ledger.Message, d ledger.Delivery) (*rung, error) {
	last, err := t.open(n, d.Recipient)
	if err != nil {
		return nil, err
	}
	w, err := t.again(ctx, n)
	if err != nil {
		return nil, err
	}
	return t.rungFrom(ctx, w.tells, w.message, w.trials[0].delivery, d.Rung+1, last), nil
}

// climb writes a notice anew for its next rung.
func (t *teller) climb(ctx context.Context, n ledger.Message, d ledger.Delivery, r rung) (*ledger.Climb, error) {
	w, err := t.again(ctx, n)
	if err != nil {
		return nil, err
	}
	facts := t.facts(w, r)
	facts.ID = n.ID
	raw, err := notice.Compose(facts)
	if err != nil {
		return nil, fmt.Errorf("compose a notice anew: %w", err)
	}
	c := &ledger.Climb{Lane: t.lane(t.authorityNamed(n.Authority), r.to), Rung: r.no, Inside: t.policyOf(n.Authority).Inside(r.to)}
	if c.Body, err = t.seal(n.Authority, n.ID, raw); err != nil {
		return nil, fmt.Errorf("seal a notice: %w", err)
	}
	c.Recipient, err = t.address(n.Authority, n.ID, r.to)
	return c, err
}

// errNoSubject: a notice that is tied to no delivery. A digest is so: it is about many messages.
var errNoSubject = errors.New("the notice is tied to no delivery")

// again gathers from the ledger what a notice tells of.
func (t *teller) again(ctx context.Context, n ledger.Message) (telling, error) {
	story, err := t.store.Story(ctx, n.ID)
	if err != nil {
		return telling{}, fmt.Errorf("read the notice's story: %w", err)
	}
	var w telling
	for _, link := range story.Notices {
		if link.Notice != n.ID {
			continue
		}
		about, err := t.store.Story(ctx, link.Subject)
		if err != nil {
			return w, fmt.Errorf("read the story the notice is about: %w", err)
		}
		w.tells, w.message, w.at = link.Tells, about.Message, now()
		w.trials = append(w.trials, lastTrial(about, link.About))
		w.by, w.why = lastAct(about, link)
	}
	if len(w.trials) == 0 {
		return w, errNoSubject
	}
	return w, nil
}

// lastTrial is a delivery with its newest attempt.
func lastTrial(s ledger.Story, id ledger.DeliveryID) trial {
	var t trial
	for _, d := range s.Deliveries {
		if d.ID == id {
			t.delivery = d
		}
	}
	for _, a := range s.Attempts {
		if a.Delivery != id || a.Receipt == nil {
			continue
		}
		t.at = a.Ended
		t.result = deliver.Result{Outcome: deliver.Outcome(a.Outcome), Code: a.Code, Enhanced: a.Enhanced, Text: a.Text, Reached: a.Contact}
		if json.Unmarshal(a.Receipt, &t.receipt) != nil {
			t.receipt = deliver.Receipt{}
		}
	}
	return t
}

// lastAct is who released or withdrew a delivery, and why.
func lastAct(s ledger.Story, l ledger.NoticeLink) (by, why string) {
	for _, e := range s.Events {
		if e.Delivery == l.About && e.Kind == string(l.Tells) {
			by, why = e.By, e.Detail
		}
	}
	return by, why
}

// wants reports whether a NOTIFY list holds word.
func wants(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(w), word) {
			return true
		}
	}
	return false
}

func told(d ledger.Delivery, k ledger.TellKind) bool { return slices.Contains(d.Told, k) }
