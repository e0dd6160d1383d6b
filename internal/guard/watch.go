package guard

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

const (
	watchBatch = 200
	againTime  = 24 * time.Hour // between escalations of what nobody decides
)

// watch looks after what waits: delay notices, deadlines, reminders to those who hold, digests. Nothing it does sends or
// deletes held mail: a deadline that passes is told further up, again and again.
func (g *Guard) watch(ctx context.Context) {
	tick := time.NewTicker(g.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !g.heart.has(ctx, "watch") {
			continue
		}
		if err := g.watchOnce(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("the watch over deadlines could not finish its round; it goes on", "err", err)
		}
	}
}

func (g *Guard) watchOnce(ctx context.Context) error {
	for {
		waiting, err := g.store.Watch(ctx, now(), watchBatch)
		if err != nil {
			return fmt.Errorf("ask for what waits: %w", err)
		}
		n, failed := 0, false
		for _, c := range waiting {
			n += len(c.Deliveries)
			if err := g.overdue(ctx, c); err != nil {
				// One that cannot be told of must not keep the others waiting.
				failed = true
				g.log.Error("the watch over a message failed; it is tried again", "message", c.Message.ID, "err", err)
			}
		}
		if n < watchBatch || failed || ctx.Err() != nil {
			break
		}
		if !g.heart.has(ctx, "watch") {
			return nil // slow; another may have gone on
		}
	}
	var failed []error // one authority's trouble is not the others'
	for i := range g.cfg.Authorities {
		if a := &g.cfg.Authorities[i]; a.Notices.Repaired == "digest" && g.teller.stuck(a.Name) == nil {
			failed = append(failed, g.digest(ctx, a))
		}
	}
	return errors.Join(failed...)
}

// overdue does what the watch time of a message's deliveries calls for. Notices about several of them are one.
func (g *Guard) overdue(ctx context.Context, c ledger.Claimed) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of the guard's own (%T) at %s", r, stack())
		}
	}()
	if why := g.teller.stuck(c.Message.Authority); why != nil {
		g.record(c, g.putAside(c, why))
		return nil
	}
	story, err := g.store.Story(ctx, c.Message.ID)
	if err != nil {
		return fmt.Errorf("read its story: %w", err)
	}
	at := now()
	c.Deliveries = due(story.Deliveries, at)
	if len(c.Deliveries) == 0 {
		return nil // others of its lanes came first, and took it along
	}
	changes := make([]ledger.Change, len(c.Deliveries))
	tell := gathered{teller: g.teller, message: c.Message}
	for i, d := range c.Deliveries {
		changes[i] = ledger.Change{Delivery: d.ID, From: d.State, To: d.State, At: at, Seen: d.Watch}
		g.waited(ctx, c.Message, lastTrial(story, d.ID), i, &changes[i], &tell)
	}
	if err := tell.into(ctx, changes); err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	g.record(c, changes)
	return nil
}

// due lists the deliveries of a message, whatever their lanes, whose watch time has come and that nobody holds.
func due(all []ledger.Delivery, at time.Time) (out []ledger.Delivery) {
	for _, d := range all {
		if !d.State.Final() && !d.Watch.IsZero() && !d.Watch.After(at) && (d.Node == "" || !d.Due.After(at)) {
			out = append(out, d)
		}
	}
	return out
}

// waited is one delivery whose watch time has come.
func (g *Guard) waited(ctx context.Context, m ledger.Message, t trial, i int, ch *ledger.Change, tell *gathered) {
	d := t.delivery
	switch {
	case d.State == ledger.Held:
		g.heldTooLong(m, t, i, ch, tell)
	case d.State == ledger.Returning:
		ch.Watch = ledger.Never // its notice is watched in its stead
	case m.Kind == ledger.Notice && g.dispatch.isDown(d.Lane):
		t.at, t.result = ch.At, deliver.Result{Outcome: deliver.Deferred}
		g.climb(ctx, m, t, ch)
	case m.Kind == ledger.Notice:
		ch.Due, ch.Watch = earliest(d.Due, ch.At), ledger.Never // one more try; the attempt that fails climbs
		ch.Event = ledger.Event{Kind: "hurried"}
	case m.Direction != policy.Inbound && t.tried() && t.result.Outcome != unreadable && t.last(): // it waited for the other recipients
		g.giveUp(t, i, ch, tell)
	case ch.At.Before(d.Deadline):
		g.delayed(t, i, ch, tell)
	case t.result.Outcome == unreadable:
		g.heldUnread(m, t, ch)
		tell.add(ledger.TellHeld, i, t)
	default:
		g.outOfTime(m, t, i, ch, tell)
	}
}

// delayed tells the sender that a delivery is late.
func (g *Guard) delayed(t trial, i int, ch *ledger.Change, tell *gathered) {
	ch.Watch = t.delivery.Deadline
	ch.Event = ledger.Event{Kind: "late"}
	if !told(t.delivery, ledger.TellDelayed) {
		tell.add(ledger.TellDelayed, i, t.asItStands(g.dispatch.isDown(t.delivery.Lane)))
	}
}

// untried is the outcome for a delivery that no attempt was made for, though its hop may be there: it waits here.
const untried deliver.Outcome = "untried"

// tried reports whether the trial is one of an attempt.
func (t trial) tried() bool { return t.result.Outcome != "" }

// asItStands is the trial; of a delivery that was never tried, what is known: whether its hop is out of reach.
func (t trial) asItStands(down bool) trial {
	switch {
	case t.tried():
	case down:
		t.result.Outcome = deliver.Deferred
	default:
		t.result.Outcome = untried
	}
	return t
}

// outOfTime: the deadline of a queued delivery has passed. It is tried once more, unless its hop is known to be out of
// reach now; the attempt's end settles it (conclude.go). Mail for our own server goes on waiting.
func (g *Guard) outOfTime(m ledger.Message, t trial, i int, ch *ledger.Change, tell *gathered) {
	d := t.delivery
	if m.Direction == policy.Inbound || !g.dispatch.isDown(d.Lane) {
		ch.Due, ch.Watch = earliest(d.Due, ch.At), ch.At.Add(g.cfg.Delivery.Delay)
		ch.Event = ledger.Event{Kind: "hurried"}
		return
	}
	g.giveUp(t.asItStands(true), i, ch, tell)
}

// giveUp returns a delivery that will not be tried again. One that is due is put off first: nothing can begin to try it then while the notice
// is written that it is over, and what else of its message ends in the meantime is told with it.
func (g *Guard) giveUp(t trial, i int, ch *ledger.Change, tell *gathered) {
	if !t.delivery.Due.After(ch.At) {
		ch.Due, ch.Watch = ch.At.Add(stuckTime), ch.At.Add(gatherTime)
		ch.Event = ledger.Event{Kind: "late", Detail: "out of time"}
		return
	}
	g.returning(t, ch)
	tell.add(ledger.TellReturned, i, t)
}

// heldTooLong reminds the owner of a held delivery, and escalates once its deadline has passed.
func (g *Guard) heldTooLong(m ledger.Message, t trial, i int, ch *ledger.Change, tell *gathered) {
	d := t.delivery
	if m.Kind == ledger.Notice { // an alarm: it stays until a named person takes it
		ch.Watch = ch.At.Add(againTime)
		ch.Event = ledger.Event{Kind: "alarm", Detail: "still not taken"}
		g.log.Error("ALARM: a notice reached nobody and nobody has taken it; see postvagt held", "notice", m.ID)
		return
	}
	if !ch.At.Before(d.Deadline) {
		ch.Watch = ch.At.Add(againTime)
		ch.Event = ledger.Event{Kind: "escalated"}
		tell.add(ledger.TellEscalated, i, t)
		return
	}
	ch.Watch = nextReminder(ch.At, d.Deadline, g.teller.authorityNamed(m.Authority).Held.Remind)
	ch.Event = ledger.Event{Kind: "reminded", Detail: "owner " + d.Owner}
	tell.add(ledger.TellReminder, i, t)
}

// nextReminder is the next time to remind before the deadline, else the deadline.
func nextReminder(at, deadline time.Time, before []time.Duration) time.Time {
	next := deadline
	for _, b := range before {
		if r := deadline.Add(-b); r.After(at) {
			next = earliest(next, r)
		}
	}
	return next
}

// beginDigests notes where the first period begins for each authority that gathers repairs and has no such note yet. It is done
// before any mail is taken, so that no repair comes before it. The period begins a little earlier than now: nodes that start
// together may each write the note, and neither may leave out what the other has taken.
func (g *Guard) beginDigests(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, digestLead/2)
	defer stop()
	for i := range g.cfg.Authorities {
		a := &g.cfg.Authorities[i]
		if a.Notices.Repaired != "digest" {
			continue
		}
		if _, err := g.digestSince(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

const digestLead = time.Minute

// digestSince is where the period that is gathered now begins; without a note of it, or with a damaged one, one begins now.
func (g *Guard) digestSince(ctx context.Context, a *config.Authority) (time.Time, error) {
	key := "digest " + a.Name
	last, err := g.store.Get(ctx, key)
	if err != nil {
		return time.Time{}, fmt.Errorf("read when the last digest was made: %w", err)
	}
	since, err := time.Parse(time.RFC3339, last)
	if err == nil {
		return since, nil
	}
	since = now().Truncate(time.Second).Add(-digestLead)
	return since, g.store.Put(ctx, key, since.Format(time.RFC3339))
}

// digest tells each sender once per period what was repaired. The notice's id follows from sender and period, so that a
// round that is cut off and repeated tells nobody twice.
func (g *Guard) digest(ctx context.Context, a *config.Authority) error {
	since, err := g.digestSince(ctx, a)
	if err != nil {
		return err
	}
	until := now().Truncate(time.Second)
	if until.Sub(since) < a.Notices.Digest {
		return nil
	}
	until = since.Add(a.Notices.Digest)
	repaired, err := g.repairedBetween(ctx, a, since, until)
	if err != nil {
		return err
	}
	for _, w := range repaired {
		n, err := g.teller.write(ctx, w)
		if err != nil {
			return fmt.Errorf("write a digest: %w", err)
		}
		if n == nil {
			continue
		}
		_, err = g.store.Accept(ctx, ledger.Acceptance{Message: n.Message, Bodies: [][]byte{n.Body}, Deliveries: []ledger.NewDelivery{n.Delivery}})
		if err != nil {
			return fmt.Errorf("store a digest: %w", err)
		}
	}
	g.dispatch.wake()
	return g.store.Put(ctx, "digest "+a.Name, until.Format(time.RFC3339))
}

// repairedBetween gathers a period's repairs by sender.
func (g *Guard) repairedBetween(ctx context.Context, a *config.Authority, since, until time.Time) ([]telling, error) {
	ids, err := g.store.Find(ctx, ledger.Query{Kind: ledger.Mail, Authority: a.Name, RepairedAfter: since, RepairedBy: until, Limit: 1_000_000})
	if err != nil {
		return nil, fmt.Errorf("find what was repaired: %w", err)
	}
	slices.Reverse(ids) // oldest first
	var out []telling
	bySender := map[string]int{}
	for _, id := range ids {
		s, err := g.store.Story(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("read what was repaired: %w", err)
		}
		for _, d := range s.Deliveries {
			if d.Body != 1 || told(d, ledger.TellRepaired) || d.State != ledger.Delivered || !d.EndedAt.After(since) || d.EndedAt.After(until) {
				continue
			}
			key := strings.ToLower(s.Message.Sender.Shown)
			i, ok := bySender[key]
			if !ok {
				i = len(out)
				bySender[key] = i
				out = append(out, telling{id: digestID(a.Name, key, until), tells: ledger.TellDigest, message: s.Message, at: until, since: since})
			}
			t := lastTrial(s, d.ID)
			t.of = &s.Message
			out[i].trials = append(out[i].trials, t)
		}
	}
	return out, nil
}

// digestID follows from sender and period.
func digestID(authority, sender string, until time.Time) ledger.MessageID {
	sum := sha256.Sum256([]byte("digest " + authority + " " + sender + " " + until.Format(time.RFC3339)))
	return ledger.MessageID(strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26]))
}
