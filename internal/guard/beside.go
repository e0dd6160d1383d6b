package guard

import (
	"context"
	"hash/maphash"
	"slices"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
)

// gatherTime is how long what is to be told of one recipient waits for the other recipients of its message, while those are being
// tried towards other next hops: a sender is told once of what happened at once.
const gatherTime = 10 * time.Second

// beside is what goes on with the rest of a message while some of its deliveries end.
type beside struct {
	meet     time.Time         // when the watch tells of what has ended by then; zero: nothing else is under way, tell now
	repaired []ledger.Delivery // waiting to be sent repaired, and not told of
	told     map[ledger.DeliveryID][]ledger.TellKind
}

// tells reports whether the end of an attempt may call for a notice.
func tells(c ledger.Claimed, results []deliver.Result) bool {
	return c.Message.Kind == ledger.Mail && (slices.ContainsFunc(results, func(r deliver.Result) bool { return r.Outcome != deliver.Delivered }) ||
		slices.ContainsFunc(c.Deliveries, func(d ledger.Delivery) bool { return d.Body == 1 }))
}

// beside looks at the rest of a message. In doubt there is none: then more notices are sent, not fewer.
func (g *Guard) beside(ctx context.Context, c ledger.Claimed) beside {
	b := beside{told: map[ledger.DeliveryID][]ledger.TellKind{}}
	story, err := g.store.Story(ctx, c.Message.ID)
	if err != nil {
		return b
	}
	at := now()
	soon := at.Add(gatherTime)
	for _, d := range story.Deliveries {
		b.told[d.ID] = d.Told
		if d.State != ledger.Queued || slices.ContainsFunc(c.Deliveries, func(own ledger.Delivery) bool { return own.ID == d.ID }) {
			continue
		}
		if d.Body == 1 && !told(d, ledger.TellRepaired) {
			b.repaired = append(b.repaired, d)
		}
		switch {
		case d.Watch.After(at) && !d.Watch.After(soon):
			b.meet, soon = d.Watch, d.Watch // others wait already
		case b.meet.IsZero() && (d.Node != "" || !d.Due.After(at)):
			b.meet = soon
		}
	}
	return b
}

// turns are locks by message: channels, since whoever waits for one waits for a commit of the ledger.
type turns struct {
	seed  maphash.Seed
	locks [64]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.locks {
		t.locks[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for a message's turn; the turn ends with what it returns.
func (t *turns) take(id ledger.MessageID) (end func()) {
	c := t.locks[maphash.String(t.seed, string(id))%uint64(len(t.locks))]
	c <- struct{}{}
	return func() { <-c }
}
