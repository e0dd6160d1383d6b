package guard

import (
	"context"
	"fmt"
	"math"
	"slices"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// A ledger that was brought back from a copy is the past: what waits in it may have been delivered since, and whether it was the
// ledger cannot say. Restored takes it into use: nothing goes out again unless a person has looked.

// Doubt is one delivery of a restored ledger that may have arrived.
type Doubt struct {
	Message   ledger.MessageID  `json:"message"`
	Delivery  ledger.DeliveryID `json:"delivery"`
	HeaderID  string            `json:"message_id,omitempty"`
	Recipient string            `json:"recipient"`
	Arrived   bool              `json:"arrived"`         // somebody's log says that the message was delivered
	Known     string            `json:"known,omitempty"` // in which words
}

// Arrival says what is known of a message from elsewhere: whether it was delivered to the recipient (as shown), and in which words; ""
// when nothing is known.
type Arrival func(m ledger.Message, d ledger.Delivery) (words string)

// KindRestored is the event of a delivery that waited in a ledger when that was brought back.
const KindRestored = "restored"

// restoredBatch is how many messages are dealt with before they are written.
const restoredBatch = 100

// Restored marks all mail that is open as possibly delivered, and holds what was queued for a person; senders and owners are told as
// of any hold. Notices that were under way are marked and sent again: one that comes twice does less harm than one that never
// does. It may be repeated after it was cut off, and with a fuller arrived. Mail that is stuck ends it with an error: its authority or its
// keys must come back first. No guard may be at work.
func (o *Operator) Restored(ctx context.Context, act Act, arrived Arrival) (doubts []Doubt, err error) {
	if err := act.check(); err != nil {
		return nil, err
	}
	act = Act{By: detect.Mask(act.By), Reason: detect.Mask(act.Reason)}
	for _, kind := range []ledger.Kind{ledger.Notice, ledger.Mail} { // notices first: those that this writes have not been sent
		ids, err := o.store.Find(ctx, ledger.Query{Kind: kind, States: []ledger.State{ledger.Queued, ledger.Held}, Limit: math.MaxInt32})
		if err != nil {
			return doubts, fmt.Errorf("find what is open: %w", err)
		}
		slices.Reverse(ids) // oldest first
		for batch := range slices.Chunk(ids, restoredBatch) {
			found, err := o.restoreBatch(ctx, batch, act, arrived)
			doubts = append(doubts, found...)
			if err != nil {
				return doubts, err
			}
		}
	}
	return doubts, nil
}

// restoreBatch deals with some messages in one transaction.
func (o *Operator) restoreBatch(ctx context.Context, ids []ledger.MessageID, act Act, arrived Arrival) (doubts []Doubt, err error) {
	var changes []ledger.Change
	for _, id := range ids {
		story, err := o.freed(ctx, id)
		if err != nil {
			return nil, err
		}
		if why := o.teller.stuck(story.Message.Authority); why != nil {
			return nil, fmt.Errorf("message %s of %s: %w", id, story.Message.Authority, why)
		}
		first := len(changes)
		tell := gathered{teller: o.teller, message: story.Message, by: act.By, why: act.Reason}
		for _, d := range story.Deliveries {
			if d.State != ledger.Queued && d.State != ledger.Held {
				continue
			}
			words := arrived(story.Message, d)
			if story.Message.Kind == ledger.Mail {
				doubts = append(doubts, Doubt{id, d.ID, story.Message.HeaderID, d.Recipient.Shown, words != "", words})
			}
			if ch, is := o.doubted(story, d, act, words); is {
				if ch.To != d.State {
					t := lastTrial(story, d.ID)
					t.delivery.Verdict, t.delivery.Possibly, t.result.Outcome = *ch.Verdict, true, ""
					tell.add(ledger.TellHeld, len(changes)-first, t)
				}
				changes = append(changes, ch)
			}
		}
		if err := tell.into(ctx, changes[first:]); err != nil {
			return nil, fmt.Errorf("write a notice about %s: %w", id, err)
		}
	}
	for i, err := range o.store.Apply(ctx, changes...) {
		if err != nil {
			return nil, fmt.Errorf("delivery %d: %w", changes[i].Delivery, err)
		}
	}
	return doubts, nil
}

// freed is a message's story when nothing of it is leased: what nodes of the past held was cut off.
func (o *Operator) freed(ctx context.Context, id ledger.MessageID) (ledger.Story, error) {
	for range 3 {
		story, err := o.store.Story(ctx, id)
		if err != nil {
			return story, err
		}
		i := slices.IndexFunc(story.Deliveries, func(d ledger.Delivery) bool { return d.Node != "" })
		if i < 0 {
			return story, nil
		}
		if _, err := o.store.Recover(ctx, now(), story.Deliveries[i].Node); err != nil {
			return story, fmt.Errorf("take back what node %s held: %w", story.Deliveries[i].Node, err)
		}
	}
	return ledger.Story{}, fmt.Errorf("message %s is being worked on: a guard is at work on this ledger; stop it first", id)
}

// doubted is what becomes of one delivery; is says whether anything does: what an earlier run dealt with is only told again when more
// is known of it now.
func (o *Operator) doubted(story ledger.Story, d ledger.Delivery, act Act, known string) (ch ledger.Change, is bool) {
	at, m := now(), story.Message
	ch = ledger.Change{Delivery: d.ID, From: d.State, To: d.State, At: at, Possibly: true,
		Event: ledger.Event{Kind: KindRestored, By: act.By, Detail: act.Reason}}
	if known != "" {
		ch.Event.Detail = "known to have arrived: " + known + "; " + act.Reason
	}
	switch {
	case d.State == ledger.Queued && m.Kind == ledger.Mail:
		held := o.teller.authorityNamed(m.Authority).Held
		v := d.Verdict
		v.Action, v.Reason, v.Rule = policy.Hold, policy.Restored, string(policy.Restored)
		ch.To, ch.Verdict, ch.Owner, ch.Deadline, ch.Watch = ledger.Held, &v, held.Owner, at.Add(held.Within), at
		return ch, true
	case d.State == ledger.Queued:
		ch.Due = d.Due // a notice goes on, marked
	}
	for _, e := range story.Events {
		if e.Delivery == d.ID && e.Kind == KindRestored && (known == "" || e.Detail == ch.Event.Detail) {
			return ch, false
		}
	}
	return ch, true
}
