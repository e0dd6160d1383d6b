package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/spool"
)

// Operator does what a person asks for. It needs no running guard: it speaks to the ledger, and the guard sees it there.
type Operator struct {
	cfg    *config.Config
	store  ledger.Store
	teller *teller
}

// NewOperator returns an Operator. store may be one authority's view (ledger.Scoped): the others' mail is then not there.
func NewOperator(c *config.Config, store ledger.Store, k spool.Authorities, s SenderCheck) (*Operator, error) {
	if s == nil {
		s = dnsSenderCheck{}
	}
	t, err := newTeller(c, k, s, store)
	if err != nil {
		return nil, err
	}
	return &Operator{cfg: c, store: store, teller: t}, nil
}

// Act names who does something and why; both are needed, go into the ledger, and are told to the sender.
type Act struct{ By, Reason string }

func (a Act) check() error {
	if strings.TrimSpace(a.By) == "" || strings.TrimSpace(a.Reason) == "" {
		return errors.New("name the person with --by and the reason with --reason: both are kept in the ledger and told to the sender")
	}
	return nil
}

// Choice names what an operation is for: a message, and one of its recipients unless all are meant.
type Choice struct {
	Message   ledger.MessageID
	Recipient string // as shown; "" all
}

// step is what an operation does to one delivery; an error says why it does nothing.
type step func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, error)

// Release lets held deliveries go on. The level they need stays: a person may let a message out, not onto a weaker channel.
// An alarm that is released is tried again, and tells nobody.
func (o *Operator) Release(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Held}, ledger.TellReleased, func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, error) {
		return ledger.Change{To: ledger.Queued, Due: at, Deadline: at.Add(o.cfg.Delivery.Return), Watch: at.Add(o.cfg.Delivery.Delay),
			Lane: o.teller.laneOf(m, d), Event: ledger.Event{Kind: "released"}}, nil
	})
}

// Withdraw ends deliveries that have not left. For a notice whose ladder is exhausted it is how a named person takes it:
// they have told the sender themselves. A notice that is still being tried cannot be taken (law 3).
func (o *Operator) Withdraw(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Held, ledger.Queued}, ledger.TellWithdrawn, func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, error) {
		if m.Kind == ledger.Notice && d.State == ledger.Queued {
			return ledger.Change{}, errors.New("this is a notice that is still being delivered: it can be taken only once it is an alarm in 'postvagt held'")
		}
		return ledger.Change{To: ledger.Withdrawn, Event: ledger.Event{Kind: "withdrawn"}}, nil
	})
}

// Retry makes queued deliveries due at once.
func (o *Operator) Retry(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Queued}, "", func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, error) {
		return ledger.Change{To: ledger.Queued, Due: at, Lane: o.teller.laneOf(m, d), Event: ledger.Event{Kind: "hurried"}}, nil
	})
}

// each takes one step with every chosen delivery in one of the states, and tells of them in one notice. done counts
// those that took it; the error says what became of the others.
func (o *Operator) each(ctx context.Context, c Choice, act Act, states []ledger.State, tells ledger.TellKind, take step) (done int, err error) {
	if err := act.check(); err != nil {
		return 0, err
	}
	act = Act{By: detect.Mask(act.By), Reason: detect.Mask(act.Reason)}
	story, err := o.store.Story(ctx, c.Message)
	if err != nil {
		return 0, err
	}
	if why := o.teller.stuck(story.Message.Authority); why != nil {
		return 0, fmt.Errorf("message %s: %w", c.Message, why)
	}
	at := now()
	var problems []error
	var changes []ledger.Change
	tell := gathered{teller: o.teller, message: story.Message, by: act.By, why: act.Reason}
	for _, d := range story.Deliveries {
		if c.Recipient != "" && !strings.EqualFold(d.Recipient.Shown, detect.Mask(c.Recipient)) || !slices.Contains(states, d.State) {
			continue
		}
		ch, err := take(story.Message, d, at)
		if err != nil {
			problems = append(problems, fmt.Errorf("to %s: %w", d.Recipient.Shown, err))
			continue
		}
		ch.Delivery, ch.From, ch.At = d.ID, d.State, at
		ch.Event.By, ch.Event.Detail = act.By, act.Reason
		if tells != "" && story.Message.Kind == ledger.Mail {
			tell.add(tells, len(changes), lastTrial(story, d.ID))
		}
		changes = append(changes, ch)
	}
	if err := tell.into(ctx, changes); err != nil {
		return 0, err
	}
	for i, err := range o.store.Apply(ctx, changes...) {
		if err != nil {
			problems = append(problems, fmt.Errorf("delivery %d: %w", changes[i].Delivery, err))
			continue
		}
		done++
	}
	return done, errors.Join(problems...)
}
