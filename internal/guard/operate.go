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

// NewOperator returns an Operator. Only safety checks need k: a nil k cannot tell anybody.
func NewOperator(c *config.Config, store ledger.Store, k *spool.Keys, s SenderCheck) (*Operator, error) {
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

// Release lets held deliveries go on. The level they need stays: a person may let a message out, not onto a weaker channel.
func (o *Operator) Release(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Held}, func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, ledger.TellKind) {
		tell := ledger.TellReleased
		if m.Kind == ledger.Notice {
			tell = "" // an alarm that is tried again
		}
		return ledger.Change{To: ledger.Queued, Due: at, Deadline: at.Add(o.cfg.Delivery.Return), Watch: at.Add(o.cfg.Delivery.Delay),
			Event: ledger.Event{Kind: "released"}}, tell
	})
}

// Withdraw ends deliveries that have not left. For a notice whose ladder is exhausted it is how a named person takes it:
// they have told the sender themselves.
func (o *Operator) Withdraw(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Held, ledger.Queued}, func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, ledger.TellKind) {
		tell := ledger.TellWithdrawn
		if m.Kind == ledger.Notice {
			tell = ""
		}
		return ledger.Change{To: ledger.Withdrawn, Event: ledger.Event{Kind: "withdrawn"}}, tell
	})
}

// Retry makes queued deliveries due at once.
func (o *Operator) Retry(ctx context.Context, c Choice, act Act) (done int, err error) {
	return o.each(ctx, c, act, []ledger.State{ledger.Queued}, func(m ledger.Message, d ledger.Delivery, at time.Time) (ledger.Change, ledger.TellKind) {
		return ledger.Change{To: ledger.Queued, Due: at, Event: ledger.Event{Kind: "hurried"}}, ""
	})
}

// each applies one change to every chosen delivery in one of the states, and tells what is to be told.
func (o *Operator) each(ctx context.Context, c Choice, act Act, states []ledger.State,
	change func(ledger.Message, ledger.Delivery, time.Time) (ledger.Change, ledger.TellKind)) (done int, err error) {
	if err := act.check(); err != nil {
		return 0, err
	}
	act = Act{By: detect.Mask(act.By), Reason: detect.Mask(act.Reason)}
	story, err := o.store.Story(ctx, c.Message)
	if err != nil {
		return 0, err
	}
	at := now()
	var problems []error
	for _, d := range story.Deliveries {
		if c.Recipient != "" && !strings.EqualFold(d.Recipient.Shown, detect.Mask(c.Recipient)) || !slices.Contains(states, d.State) {
			continue
		}
		ch, tells := change(story.Message, d, at)
		ch.Delivery, ch.From, ch.At = d.ID, d.State, at
		ch.Event.By, ch.Event.Detail = act.By, act.Reason
		if tells != "" {
			n, err := o.teller.write(ctx, telling{tells: tells, message: story.Message, trials: []trial{lastTrial(story, d.ID)}, at: at, by: act.By, why: act.Reason})
			if err != nil {
				return done, err
			}
			if n != nil {
				ch.Notices = append(ch.Notices, *n)
			}
		}
		if err := o.store.Apply(ctx, ch)[0]; err != nil {
			problems = append(problems, fmt.Errorf("to %s: %w", d.Recipient.Shown, err))
			continue
		}
		done++
	}
	return done, errors.Join(problems...)
}
