package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

// Mail between two authorities of one installation leaves the one by its rules and arrives at the other by the other's: two
// messages, each its own authority's, with a delivery of the first in between whose next hop is this guard.

// handOverLane is where mail to another authority here waits.
const handOverLane = "here:"

// handOver gives deliveries of one authority's message into the custody of another authority here. It is an attempt like any
// other: delivered means that the other's acceptance is durable. The second message's id follows from the first, its recipients
// and the other authority: an attempt that is repeated gives it over once to whoever the domain belongs to.
func (g *Guard) handOver(ctx context.Context, to *config.Authority, c ledger.Claimed, j deliver.Job) (deliver.Receipt, []deliver.Result) {
	started := time.Now()
	receipt := deliver.Receipt{Hop: g.cfg.Host, Level: level.Tunnel, Verified: "in one process", DSN: true, Started: started.UTC()}
	results := make([]deliver.Result, len(j.Recipients))
	if j.Required > receipt.Level {
		for i := range results {
			results[i] = deliver.Result{Outcome: deliver.TooLow, Reached: true}
		}
		return receipt, results
	}
	in := intake{g, "here"}
	e := &smtpin.Envelope{Client: &smtpin.Client{Hello: g.cfg.Host, Listener: in.listener, ESMTP: true}, Sender: j.Sender, Ret: j.Ret, EnvID: j.EnvID, UTF8: j.UTF8, EightBit: j.EightBit}
	key := fmt.Sprintf("handed over %s to %q", c.Message.ID, to.Name)
	var taken []int
	for i, r := range j.Recipients {
		if no := in.unknownRecipient(ctx, to, r.Address); no != nil {
			results[i] = answered(no)
			continue
		}
		taken = append(taken, i)
		e.Recipients = append(e.Recipients, smtpin.Recipient{Address: r.Address, Notify: r.Notify, ORcpt: r.ORcpt})
		key += fmt.Sprintf(" %d", c.Deliveries[i].ID)
	}
	if len(taken) > 0 {
		id := ledger.MessageIDFrom(c.Message.AcceptedAt, key)
		reply := in.arrive(ctx, id, c.Message.Authority, to, e, slices.Concat(j.Head, j.Body))
		if reply.Err != nil {
			g.log.Warn("another authority here cannot take a message just now", "message", c.Message.ID, "to", to.Name, "code", reply.Code,
				"err", detect.Mask(reply.Err.Error()))
		}
		result := answered(reply)
		for _, i := range taken {
			results[i] = result
		}
	}
	receipt.Took = time.Since(started)
	return receipt, results
}

// answered is a reply as the outcome of an attempt.
func answered(r *smtpin.Reply) deliver.Result {
	out := deliver.Result{Outcome: deliver.Delivered, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Reached: true}
	switch r.Code / 100 {
	case 4:
		out.Outcome = deliver.Deferred
	case 5:
		out.Outcome = deliver.Refused
	}
	return out
}

// arrive is the accept step for a message that another authority here hands over.
func (in intake) arrive(ctx context.Context, id ledger.MessageID, from string, to *config.Authority, e *smtpin.Envelope, data []byte) *smtpin.Reply {
	there, err := in.store.Story(ctx, id)
	if err == nil && there.Message.Authority == to.Name {
		return accepted(to, id)
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return temporary("The ledger could not be asked.", err)
	}
	m := mail.Parse(data, mail.Limits{})
	w := &incoming{id: id, at: now(), envelope: e, message: m, direction: policy.Inbound, authority: to, from: from, headerID: headerID(m)}
	if no := in.take(ctx, w, now()); no.Code != 250 {
		return no
	}
	return accepted(to, id)
}

// accepted is the answer to the authority that hands over.
func accepted(to *config.Authority, id ledger.MessageID) *smtpin.Reply {
	return &smtpin.Reply{Code: 250, Enhanced: "2.0.0", Text: "handed over to " + to.Name + ", guarded here too, as " + string(id)}
}

// handedBy begins the Client of a message that another authority here handed over; no client's address begins so.
const handedBy = "here: "

// handedOver reports whether a message's sender is proven because the authority here that it belongs to handed it over: that
// authority's guard took the message from it.
func (t *teller) handedOver(m ledger.Message, sender mail.Address) bool {
	from, ok := strings.CutPrefix(m.Client, handedBy)
	if !ok || sender == "" {
		return false
	}
	a := t.cfg.AuthorityOf(sender.Domain())
	return a != nil && a.Name == from
}

// send makes the attempt: to another server, or to another authority here.
func (d *dispatcher) send(c ledger.Claimed, j deliver.Job) (deliver.Receipt, []deliver.Result) {
	if to := d.g.teller.neighbour(c.Message.Authority, j.Recipients[0].Address); to != nil {
		return d.g.handOver(d.attempts, to, c, j)
	}
	return d.g.deliverer.Attempt(d.attempts, j)
}

// neighbour is the other authority here to which mail for an address is handed over; nil when it goes to another server.
func (t *teller) neighbour(from string, a mail.Address) *config.Authority {
	return t.cfg.AuthorityNamed(t.cfg.RouteOf(t.authorityNamed(from), a.Domain()).HandOver)
}

// lane names the next hop of an address: deliveries of one lane share connections, concurrency and backoff.
func (t *teller) lane(from *config.Authority, a mail.Address) string {
	r := t.cfg.RouteOf(from, a.Domain())
	switch {
	case r.HandOver != "":
		return handOverLane + r.HandOver
	case r.SmartHost != "":
		return "host:" + r.SmartHost + routeMark(r)
	}
	if d := a.Domain(); detect.HoldsCPR(d) {
		if k, err := t.keys.Of(from.Name); err == nil {
			return "mx:" + k.MAC("lane "+d) // masked, two domains could look alike
		}
		return "mx:" + detect.Mask(d)
	}
	return "mx:" + a.Domain()
}

// routeMark keeps apart routes that share a smart host but ask something else of it. A login is its authority's own.
func routeMark(r config.Route) string {
	if r.Level == 0 && r.Vouches == 0 && r.TLSName == "" && r.RootCAs == "" && r.User == "" {
		return ""
	}
	mark := fmt.Sprintf("|%s|%s|%s|%s|%s", r.Level, r.Vouches, r.TLSName, r.RootCAs, r.User)
	if r.User != "" && r.Authority != "" {
		mark += "|" + r.Authority
	}
	return mark
}

// hop is where an authority's mail to an address goes.
func (t *teller) hop(from *config.Authority, a mail.Address) deliver.Hop {
	r := t.cfg.RouteOf(from, a.Domain())
	return deliver.Hop{SmartHost: r.SmartHost, Domain: a.Domain(), Least: r.Level, Vouches: r.Vouches, TLSName: r.TLSName,
		RootCAs: r.RootCAs, User: r.User, Password: r.Password}
}

// address is an address as the ledger keeps it for an authority (law 6).
func (t *teller) address(authority string, id ledger.MessageID, a mail.Address) (ledger.Address, error) {
	shown := detect.Mask(string(a))
	if shown == string(a) {
		return ledger.Address{Shown: shown}, nil
	}
	sealed, err := t.seal(authority, id, []byte(a))
	if err != nil {
		return ledger.Address{}, fmt.Errorf("seal an address: %w", err)
	}
	return ledger.Address{Shown: shown, Sealed: sealed}, nil
}

// open is the true address of one that stands in a message, or in a delivery of it.
func (t *teller) open(m ledger.Message, a ledger.Address) (mail.Address, error) {
	if a.Sealed == nil {
		return mail.Address(a.Shown), nil
	}
	plain, err := t.unseal(m, a.Sealed)
	if err != nil {
		return "", fmt.Errorf("open an address: %w", err)
	}
	return mail.Address(plain), nil
}

func (t *teller) seal(authority string, id ledger.MessageID, parts ...[]byte) ([]byte, error) {
	k, err := t.keys.Of(authority)
	if err != nil {
		return nil, err
	}
	return k.Seal(string(id), parts...)
}

// unseal opens what belongs to a message, with its authority's keys and no others.
func (t *teller) unseal(m ledger.Message, sealed []byte) ([]byte, error) {
	k, err := t.keys.Of(m.Authority)
	if err != nil {
		return nil, err
	}
	return k.Open(string(m.ID), sealed)
}

// errStranger: the ledger holds mail of an authority that this configuration does not name. It waits: nobody else's rules,
// mailboxes or keys are used for it.
var errStranger = errors.New("its authority is not in this configuration; put it back until its mail has ended")

// stuck says why nothing can be done about an authority's mail just now: it is not in the configuration, or its keys are lost. Such mail
// waits as it is, and the others' goes on.
func (t *teller) stuck(authority string) error {
	if t.policies[authority] == nil {
		return errStranger
	}
	if t.keys == nil {
		return spool.ErrLost
	}
	_, err := t.keys.Of(authority)
	return err
}

// stuckTime is how long mail that is stuck waits before it is looked at again.
const stuckTime = 15 * time.Minute

// putAside is the change for mail that is stuck: it stays as it is, and is looked at again.
func (g *Guard) putAside(c ledger.Claimed, why error) []ledger.Change {
	g.log.Error("mail waits because nothing can be done about it", "message", c.Message.ID, "authority", c.Message.Authority, "err", why)
	at := now()
	changes := make([]ledger.Change, len(c.Deliveries))
	for i, d := range c.Deliveries {
		changes[i] = ledger.Change{Delivery: d.ID, From: d.State, To: d.State, At: at, Event: ledger.Event{Kind: "stuck", Detail: why.Error()}}
		if d.Node == g.node { // claimed, not begun
			changes[i].Due = at.Add(stuckTime)
			changes[i].Attempt = &ledger.Attempt{Delivery: d.ID, No: d.Attempts, Node: g.node, Started: at, Ended: at, Outcome: string(deliver.Deferred), Text: why.Error()}
			continue
		}
		changes[i].Watch, changes[i].Seen = at.Add(stuckTime), d.Watch
	}
	return changes
}
