package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/notice"
	"postvagt/internal/policy"
)

// conclude turns an attempt's results into one change per delivery, each with the notice it calls for.
func (g *Guard) conclude(ctx context.Context, c ledger.Claimed, receipt deliver.Receipt, results []deliver.Result, started time.Time) []ledger.Change {
	evidence, err := json.Marshal(receipt)
	if err != nil {
		evidence = []byte("{}") // unreachable: a Receipt holds only plain values
	}
	at := now()
	changes := make([]ledger.Change, len(results))
	for i, r := range results {
		d := c.Deliveries[i]
		changes[i] = ledger.Change{Delivery: d.ID, From: ledger.Queued, At: at, Attempt: &ledger.Attempt{Delivery: d.ID, No: d.Attempts,
			Node: g.node, Started: started, Ended: at, Outcome: string(r.Outcome), Code: r.Code, Enhanced: r.Enhanced,
			Text: r.Text, Contact: r.Reached, Receipt: evidence}}
	}
	g.settle(ctx, c, receipt, results, changes)
	return changes
}

// end concludes an attempt and records it. Lanes of one message that end at the same time take turns, so that each sees what the one before has told.
func (g *Guard) end(ctx context.Context, c ledger.Claimed, receipt deliver.Receipt, results []deliver.Result, started time.Time) {
	if tells(c, results) {
		defer g.turns.take(c.Message.ID)()
	}
	g.record(c, g.conclude(ctx, c, receipt, results, started))
}

// settle fills in where each delivery goes from here. Notices about several recipients of the message are one, also where
// they have different next hops: see beside.
func (g *Guard) settle(ctx context.Context, c ledger.Claimed, receipt deliver.Receipt, results []deliver.Result, changes []ledger.Change) {
	tell := gathered{teller: g.teller, message: c.Message}
	var rest beside
	if tells(c, results) {
		rest = g.beside(ctx, c)
	}
	for i, r := range results {
		ch, t := &changes[i], trial{delivery: c.Deliveries[i], result: r, receipt: receipt, at: changes[i].At}
		switch {
		case r.Outcome == deliver.Delivered:
			ch.To = ledger.Delivered
			ch.Event = ledger.Event{Kind: "delivered", Detail: t.words()}
			tell.arrival(i, t, rest)
		case c.Message.Kind == ledger.Notice:
			g.noticeFailed(ctx, c.Message, t, ch)
		case r.Outcome == unreadable && !t.last():
			g.later(t, ch)
		case r.Outcome == unreadable:
			g.heldUnread(c.Message, t, ch)
			tell.add(ledger.TellHeld, i, t)
		case !t.last() && !g.tooOften(ctx, t):
			g.later(t, ch)
			if r.Outcome == deliver.TooLow && !told(t.delivery, ledger.TellDelayed) {
				// Told at once: a channel seldom gets stronger by itself, and the sender can act.
				if ch.Watch = rest.meet; ch.Watch.IsZero() {
					tell.add(ledger.TellDelayed, i, t)
					ch.Watch = t.delivery.Deadline
				}
			}
		case c.Message.Direction == policy.Inbound && r.Outcome == deliver.Deferred && !r.Reached:
			g.later(t, ch) // our own server is away: the mail is late, not lost, and that is said again each time
			ch.Deadline = ch.At.Add(g.cfg.Delivery.Return)
			tell.add(ledger.TellDelayed, i, t)
		case c.Message.Direction == policy.Inbound:
			g.heldInside(c.Message, t, ch)
			tell.add(ledger.TellHeld, i, t)
		case t.last() && !rest.meet.IsZero(): // the watch returns it, together with what else has ended by then
			ch.To, ch.Due, ch.Watch = ledger.Queued, ch.At.Add(stuckTime), rest.meet
			ch.Event = ledger.Event{Kind: "deferred", Detail: t.words() + "; other recipients are waited for, so that one notice tells of all"}
		default:
			g.returning(t, ch)
			tell.add(ledger.TellReturned, i, t)
		}
	}
	if err := tell.into(ctx, changes); err != nil {
		g.keepTrying(c, changes, err)
	}
	for i, d := range c.Deliveries { // routes may have changed since it was queued
		if lane := g.teller.laneOf(c.Message, d); changes[i].To == ledger.Queued && changes[i].Climb == nil && lane != d.Lane {
			changes[i].Lane = lane
		}
	}
}

// returning gives a delivery up.
func (g *Guard) returning(t trial, ch *ledger.Change) {
	ch.To, ch.Watch, ch.Deadline = ledger.Returning, ledger.Never, ch.At.Add(g.cfg.Delivery.Return)
	ch.Event = ledger.Event{Kind: "returning", Detail: t.words()}
}

// mostUnknown is how often a delivery is repeated after an attempt that ended without an answer. Each may have arrived:
// a hop that takes the mail and never answers would fill a mailbox with copies.
const mostUnknown = 4

// tooOften reports whether too many attempts of a delivery have ended without an answer, this one included.
func (g *Guard) tooOften(ctx context.Context, t trial) bool {
	if t.result.Outcome != deliver.Unknown {
		return false
	}
	story, err := g.store.Story(ctx, t.delivery.Message)
	if err != nil {
		return false
	}
	n := 1
	for _, a := range story.Attempts {
		if a.Delivery == t.delivery.ID && a.Outcome == string(deliver.Unknown) {
			n++
		}
	}
	return n > mostUnknown
}

// last reports whether a failed attempt was the last: refused for good, or its time is up.
func (t trial) last() bool {
	return t.result.Outcome == deliver.Refused || !t.at.Before(t.delivery.Deadline)
}

// later queues a delivery for another attempt, the last one at its deadline.
func (g *Guard) later(t trial, ch *ledger.Change) {
	ch.To, ch.Due = ledger.Queued, ch.At.Add(g.backoff(t.delivery.Attempts))
	if t.at.Before(t.delivery.Deadline) {
		ch.Due = earliest(ch.Due, t.delivery.Deadline)
	}
	ch.Event = ledger.Event{Kind: "deferred", Detail: t.words()}
	switch t.result.Outcome {
	case deliver.Unknown:
		ch.Event.Kind = "unknown"
	case unreadable:
		ch.Event.Kind = "unreadable"
	}
}

// heldInside holds mail that its own authority's server does not take, and raises it inside: its sender is a stranger who may
// be forged, and is told only when the sender check says so (DESIGN section 6).
func (g *Guard) heldInside(m ledger.Message, t trial, ch *ledger.Change) {
	held := g.teller.authorityNamed(m.Authority).Held
	ch.To, ch.Owner, ch.Deadline, ch.Watch = ledger.Held, held.Owner, ch.At.Add(held.Within), ch.At
	ch.Event = ledger.Event{Kind: "held", Detail: t.words()}
}

// heldUnread holds for the safety net what could not be read until its time was up. Nobody is told that it failed: the message
// may be whole, and once it can be read, somebody releases it.
func (g *Guard) heldUnread(m ledger.Message, t trial, ch *ledger.Change) {
	a := g.teller.authorityNamed(m.Authority)
	ch.To, ch.Owner, ch.Deadline, ch.Watch = ledger.Held, a.SafetyNet, ch.At.Add(a.Held.Within), ch.At
	ch.Event = ledger.Event{Kind: "held", Detail: t.words()}
	g.log.Error("a message could not be read from the ledger until its time was up; it is held, see postvagt held", "message", m.ID)
}

// noticeFailed moves a notice on: it is tried again until its watch time, which the watch clears, or climbs the ladder (law 3). A notice whose next rung lies behind
// the same dead hop stays on its rung: climbing would only lose it a reader.
func (g *Guard) noticeFailed(ctx context.Context, m ledger.Message, t trial, ch *ledger.Change) {
	if t.result.Outcome != deliver.Refused && ch.At.Before(t.delivery.Watch) {
		g.later(t, ch)
		return
	}
	g.climb(ctx, m, t, ch)
}

// climb re-addresses a notice to its next rung, or raises the alarm when there is none: it is then held until a named
// person takes it.
func (g *Guard) climb(ctx context.Context, m ledger.Message, t trial, ch *ledger.Change) {
	d := t.delivery
	next, err := g.teller.nextRung(ctx, m, d)
	switch {
	case errors.Is(err, errNoSubject) && !t.last():
		g.later(t, ch)
		return
	case errors.Is(err, errNoSubject), err == nil && next == nil:
		g.alarm(m, t, ch)
		return
	}
	if err == nil && !t.result.Reached && g.teller.lane(g.teller.authorityNamed(m.Authority), next.to) == d.Lane && ch.At.Before(d.Deadline) {
		g.later(t, ch)
		ch.Watch = ch.At.Add(g.cfg.Delivery.Delay)
		return
	}
	if err == nil {
		ch.Climb, err = g.teller.climb(ctx, m, d, *next)
	}
	if err != nil {
		g.log.Error("a notice could not be readdressed; it stays on its rung", "notice", m.ID, "err", err)
		g.later(t, ch)
		return
	}
	ch.To, ch.Due = ledger.Queued, ch.At
	ch.Deadline, ch.Watch = ch.At.Add(g.cfg.Delivery.Return), ch.At.Add(g.cfg.Delivery.Delay)
	ch.Event = ledger.Event{Kind: "climbed", Detail: fmt.Sprintf("to rung %d: %s", next.no, t.words())}
}

// alarm holds a notice that reached nobody until a named person takes it (law 3).
func (g *Guard) alarm(m ledger.Message, t trial, ch *ledger.Change) {
	a := g.teller.authorityNamed(m.Authority)
	ch.To, ch.Owner = ledger.Held, a.SafetyNet
	ch.Deadline, ch.Watch = ch.At.Add(a.Held.Within), ch.At.Add(againTime)
	ch.Event = ledger.Event{Kind: "alarm", Detail: "nobody could be told: " + t.words()}
	g.log.Error("ALARM: a notice reached nobody; see postvagt held, tell the sender yourself and take it with postvagt withdraw --by --reason", "notice", m.ID)
}

// keepTrying is for a notice that could not be made: the delivery stays open and is tried or told again, never lost.
func (g *Guard) keepTrying(c ledger.Claimed, changes []ledger.Change, err error) {
	g.log.Error("a notice could not be written; the delivery stays open", "message", c.Message.ID, "err", err)
	for i := range changes {
		ch := &changes[i]
		ch.Notices = nil
		if ch.To == ledger.Returning || ch.To == ledger.Held {
			ch.To, ch.Due, ch.Watch, ch.Deadline, ch.Owner = ledger.Queued, ch.At.Add(g.backoff(5)), time.Time{}, time.Time{}, ""
			ch.Event.Kind = "deferred"
		}
	}
}

// broken is the change for an attempt that ended in a panic. What came of it is not known, so it counts as one that got
// no answer: repeated a few times, marked, and then told.
func (g *Guard) broken(c ledger.Claimed) (changes []ledger.Change) {
	at, why := now(), "the attempt ended in a fault of the guard's own"
	defer func() {
		if recover() == nil {
			return
		}
		for _, d := range c.Deliveries { // what settles attempts is itself at fault
			changes = append(changes, ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Queued, At: at, Due: at.Add(g.backoff(max(d.Attempts, 5))),
				Event:   ledger.Event{Kind: "unknown", Detail: why},
				Attempt: &ledger.Attempt{Delivery: d.ID, No: d.Attempts, Node: g.node, Started: at, Ended: at, Outcome: string(deliver.Unknown), Text: why}})
		}
	}()
	failed := deliver.Result{Outcome: deliver.Unknown, Text: why}
	return g.conclude(context.Background(), c, deliver.Receipt{}, slices.Repeat([]deliver.Result{failed}, len(c.Deliveries)), at)
}

// notBegun is the change for work that was leased and never tried: it is free again, and not marked.
func (g *Guard) notBegun(c ledger.Claimed, why string) []ledger.Change {
	at, why := now(), "the attempt did not begin: "+why
	var changes []ledger.Change
	for _, d := range c.Deliveries {
		changes = append(changes, ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Queued, At: at, Due: at, Event: ledger.Event{Kind: "deferred", Detail: why},
			Attempt: &ledger.Attempt{Delivery: d.ID, No: d.Attempts, Node: g.node, Started: at, Ended: at, Outcome: string(deliver.Deferred), Text: why}})
	}
	return changes
}

// unreadable is the outcome of an attempt for which the message could not be read from the guard's own store: its key is not
// there, or its body. The hop was not asked.
const unreadable deliver.Outcome = "unreadable"

// unread ends the attempt for a message that could not be read. It stays queued, and is tried again: a key or a store that comes back
// still saves the mail. When its time is up it is held for the safety net.
func (g *Guard) unread(ctx context.Context, c ledger.Claimed, started time.Time, err error) {
	failed := deliver.Result{Outcome: unreadable, Text: "the message could not be read from the guard's own store: " + detect.Mask(err.Error())}
	results := slices.Repeat([]deliver.Result{failed}, len(c.Deliveries))
	g.end(ctx, c, deliver.Receipt{}, results, started)
	g.metrics.attempted(c, deliver.Receipt{}, results)
}

// trial is an attempt's result for one delivery, as notices need it.
type trial struct {
	of       *ledger.Message // digest: the message it belongs to
	delivery ledger.Delivery
	result   deliver.Result
	receipt  deliver.Receipt
	at       time.Time
}

// words is the trial in one line, for an event.
func (t trial) words() string {
	r := t.result
	s := string(r.Outcome)
	if t.receipt.Hop != "" {
		s += " at " + t.receipt.Hop
	}
	if r.Outcome == deliver.Delivered || r.Outcome == deliver.TooLow {
		s += ", level " + t.receipt.Level.String()
		if t.receipt.Vouched != 0 {
			s += ", vouched " + t.receipt.Vouched.String()
		}
	}
	if r.Code != 0 {
		s += fmt.Sprintf(": %d", r.Code)
		if r.Enhanced != "" {
			s += " " + r.Enhanced
		}
	}
	switch {
	case r.Text != "" && r.Code == 0:
		s += ": " + r.Text
	case r.Text != "":
		s += " " + r.Text
	}
	return s
}

// problem is why it failed, in a value that has words for people.
func (t trial) problem() notice.Problem {
	r := t.result
	class := r.Enhanced
	switch {
	case r.Outcome == deliver.TooLow:
		return notice.LevelTooLow
	case r.Outcome == unreadable:
		return notice.OwnStore
	case r.Outcome == untried, r.Outcome == deliver.Unknown && !r.Reached: // the second: a fault of the guard's own
		return notice.OurSide
	case r.Outcome != deliver.Refused && !r.Reached:
		return notice.NoContact
	case r.Outcome != deliver.Refused:
		return notice.NotAccepted
	case class == "5.1.2" || class == "5.1.10" || class == "5.4.4":
		return notice.NoSuchDomain
	case class == "5.1.1" || class == "5.1.3" || class == "5.1.6" || class == "5.1.0":
		return notice.NoSuchAddress
	case class == "5.2.2":
		return notice.MailboxFull
	case class == "5.3.4" || class == "5.2.3" || r.Code == 552:
		return notice.TooBig
	case class == "5.6.7" || class == "5.7.10" || class == "5.7.30":
		return notice.Unsupported
	case class == "" && (r.Code == 550 || r.Code == 551 || r.Code == 553):
		return notice.NoSuchAddress
	}
	return notice.RefusedThere
}

func stack() string { return string(debug.Stack()) }
