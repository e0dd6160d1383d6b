package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
)

const (
	leaseTime = 30 * time.Minute // longer than any attempt; only a node that died lets one run out
	lookTime  = 5 * time.Second  // how long work queued by another process may go unseen, and a watch time that has passed
	scoutTime = 20 * time.Second // between tries towards a hop that cannot be reached
)

// dispatcher is the deliver step's engine: it claims due deliveries lane by lane and runs attempts, at most
// Delivery.Concurrency per lane at once. All it holds can be lost: the ledger has it.
type dispatcher struct {
	g     *Guard
	woken chan struct{} // capacity 1

	attempts context.Context // ends when the graceful stop is over
	cut      context.CancelFunc
	running  sync.WaitGroup // attempts; added to under mu and never after stopping

	mu       sync.Mutex // guards what follows
	lanes    map[string]*lane
	limit    int // attempts at once per lane: this node's share
	hot      int64
	stopping bool
	held     map[ledger.DeliveryID]int // leased by us and in hand, from the claim until the attempt is over; 2 while the next claim overtakes that end
	unsure   time.Time                 // a commit that may have leased something was reported failed then; zero: none
}

// lane is what is known of a next hop, under dispatcher.mu.
type lane struct {
	gate    gate
	seats   int             // attempts under way or waiting for the gate
	waiting []chan struct{} // acceptances that wait for a seat, the first first; closed when it is their turn to look
	backlog bool            // more is due in the ledger: new mail queues behind it
	down    time.Time       // no contact: nothing but a scout before this
	fails   int             // tries without contact in a row
}

func newDispatcher(g *Guard) *dispatcher {
	d := &dispatcher{g: g, woken: make(chan struct{}, 1), lanes: map[string]*lane{}, held: map[ledger.DeliveryID]int{}, limit: g.cfg.Delivery.Concurrency}
	if g.heart != nil {
		d.limit = 0 // until the first beat says how many nodes there are
	}
	d.attempts, d.cut = context.WithCancel(context.Background())
	return d
}

// wake makes the dispatcher look into the ledger soon.
func (d *dispatcher) wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// run claims work until ctx ends.
func (d *dispatcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.woken:
		case <-timer.C:
		}
		next, err := d.round(ctx)
		if err != nil && ctx.Err() == nil {
			d.g.log.Error("the ledger could not be asked for due mail; trying again", "err", err)
		}
		timer.Reset(max(time.Millisecond, next.Sub(now())))
	}
}

// round claims once in every lane with due work and room. It returns when to look again at the latest.
func (d *dispatcher) round(ctx context.Context) (next time.Time, err error) {
	next = now().Add(d.g.look)
	if !d.g.heart.proven() {
		return next, nil // the next beat wakes us
	}
	if err := d.settleDoubt(ctx); err != nil {
		return next, err
	}
	due, err := d.g.store.Lanes(ctx)
	if err != nil {
		return next, err
	}
	for _, l := range due {
		at := now()
		if l.Due.After(at) {
			next = earliest(next, l.Due)
			continue
		}
		room, later := d.room(l.Lane, at)
		if room == 0 {
			next = earliest(next, later)
			continue
		}
		if claimErr := d.claim(ctx, l.Lane, room); claimErr != nil {
			err = errors.Join(err, claimErr) // the other lanes go on
		}
	}
	return next, err
}

// room is how many messages may be claimed in a lane now, and when to ask again if none.
func (d *dispatcher) room(name string, at time.Time) (int, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lane(name)
	switch {
	case d.stopping, d.limit == 0:
		return 0, at.Add(d.g.look)
	case at.Before(l.down):
		return 0, l.down
	case l.fails > 0 && l.seats == 0:
		return 1, at // a scout
	case l.fails > 0, l.seats >= d.limit*2:
		l.backlog = true
		return 0, at.Add(d.g.look) // a freed seat wakes us
	}
	return d.limit*2 - l.seats, at
}

// lane returns the lane of that name; d.mu is held.
func (d *dispatcher) lane(name string) *lane {
	l := d.lanes[name]
	if l == nil {
		l = &lane{}
		d.lanes[name] = l
	}
	return l
}

// claim leases up to room messages of a lane and starts their attempts.
func (d *dispatcher) claim(ctx context.Context, name string, room int) error {
	era := d.g.heart.era() // as of before the claim
	work, err := d.g.store.Claim(ctx, now(), ledger.Claim{Node: d.g.node, Lane: name, Max: room, Lease: d.g.lease})
	if err != nil {
		d.doubt()
		return err
	}
	d.mu.Lock()
	if d.stopping {
		d.mu.Unlock()
		for _, c := range work {
			d.g.record(c, d.g.notBegun(c, "the guard stopped"))
		}
		return nil
	}
	defer d.mu.Unlock()
	l := d.lane(name)
	l.backlog = len(work) >= room
	for _, c := range work {
		l.seats++
		d.running.Add(1)
		d.hold(c, true)
		go d.attempt(l, c, job{era: era})
	}
	return nil
}

// hold notes that work is in our hands, or no longer; d.mu is held.
func (d *dispatcher) hold(c ledger.Claimed, in bool) {
	for _, each := range c.Deliveries {
		if in {
			d.held[each.ID]++
			continue
		}
		if d.held[each.ID]--; d.held[each.ID] == 0 {
			delete(d.held, each.ID)
		}
	}
}

// doubt says that a commit which was reported failed may have leased something to us that we do not know of.
func (d *dispatcher) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsure = now()
}

// doubtTime is how long work may be on its way from a commit to our hands.
const doubtTime = 20 * time.Second

// settleDoubt frees what such a commit leased, once everything that was on its way then must have arrived.
func (d *dispatcher) settleDoubt(ctx context.Context) error {
	d.mu.Lock()
	since := d.unsure
	if since.IsZero() || now().Before(since.Add(doubtTime)) {
		d.mu.Unlock()
		return nil
	}
	held := slices.Collect(maps.Keys(d.held))
	d.mu.Unlock()
	n, err := d.g.store.Unclaim(ctx, now(), d.g.node, since, held)
	if err != nil {
		return err
	}
	if n > 0 {
		d.g.log.Warn("deliveries were leased by a commit that was reported failed; they are free again", "deliveries", n)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsure.Equal(since) {
		d.unsure = time.Time{}
	}
	return nil
}

// job is a body on its way; without one it is read from the ledger.
type job struct {
	head, body []byte
	done       func()
	era        time.Time // of the claim: see heart.era
}

// attempt is one try for deliveries of one message, from the gate to the recorded result.
func (d *dispatcher) attempt(l *lane, c ledger.Claimed, j job) {
	defer d.running.Done()
	contact := unsaid
	entered := d.enter(l)
	if entered {
		for _, part := range d.g.teller.byHop(c) {
			contact = max(contact, d.try(part, j))
		}
	} else {
		d.putDown(c, "no part of the limit towards this hop is left for this node")
	}
	if j.done != nil {
		j.done()
	}
	d.mu.Lock()
	if entered {
		l.gate.exit(d.limit)
	}
	d.hold(c, false)
	l.seats--
	l.next()
	again := l.backlog || contact == touched && l.fails > 0
	switch contact {
	case touched:
		l.fails, l.down = 0, time.Time{}
	case missed:
		l.fails++
		l.down = now().Add(jitter(scoutTime))
	}
	if l.seats == 0 && l.fails == 0 && !l.backlog && len(l.waiting) == 0 && d.lanes[c.Deliveries[0].Lane] == l {
		delete(d.lanes, c.Deliveries[0].Lane) // nothing to remember of it
	}
	d.mu.Unlock()
	if again {
		d.wake()
	}
}

// byHop parts the work by next hop and by the level each recipient requires. The lane says what the hop was when the
// delivery was queued; routes may have changed since. And an attempt is made at one level: a recipient inside does not
// wait for a channel that only one outside asks for.
func (t *teller) byHop(c ledger.Claimed) (parts []ledger.Claimed) {
	type way struct {
		lane string
		need level.Level
	}
	var ways []way
	for _, d := range c.Deliveries {
		w := way{t.laneOf(c.Message, d), required(d)}
		i := slices.Index(ways, w)
		if i < 0 {
			i, ways, parts = len(parts), append(ways, w), append(parts, ledger.Claimed{Message: c.Message})
		}
		parts[i].Deliveries = append(parts[i].Deliveries, d)
	}
	return parts
}

// laneOf is a delivery's lane by the routes of today. An address that cannot be opened keeps its lane: the attempt says why.
func (t *teller) laneOf(m ledger.Message, d ledger.Delivery) string {
	to, err := t.open(m, d.Recipient)
	if err != nil {
		return d.Lane
	}
	return t.lane(t.authorityNamed(m.Authority), to)
}

// required is what a delivery asks of the channel; requirements apply to recipients outside.
func required(d ledger.Delivery) level.Level {
	if d.Inside {
		return level.None
	}
	return d.Verdict.Level
}

// contact says what an attempt learned of its lane.
type contact int

const (
	unsaid  contact = iota // nothing: it never came so far
	missed                 // the hop could not be spoken to
	touched                // it answered
)

// try runs the attempt and records it.
func (d *dispatcher) try(c ledger.Claimed, j job) (heard contact) {
	log := d.g.log.With("message", c.Message.ID)
	defer func() {
		if r := recover(); r != nil { // a bug of ours: the delivery keeps its backoff and its deadline
			log.Error("an attempt ended in a panic; it is repeated", "panic", fmt.Sprintf("%T", r), "stack", stack())
			d.g.record(c, d.g.broken(c))
		}
	}()
	if why := d.g.teller.stuck(c.Message.Authority); why != nil {
		d.g.record(c, d.g.putAside(c, why))
		return unsaid
	}
	if why := d.hindered(c, j); why != "" {
		d.putDown(c, why)
		return unsaid
	}
	started := now()
	request, err := d.request(c, j)
	if err != nil {
		log.Error("a message could not be read from the ledger; it waits", "err", err)
		d.g.unread(context.WithoutCancel(d.attempts), c, started, err)
		return unsaid
	}
	if why := d.hindered(c, j); why != "" { // reading the body took its time
		d.putDown(c, why)
		return unsaid
	}
	var lost string
	request.May = func() bool { lost = d.unproven(c, j); return lost == "" } // and reaching the hop
	receipt, results := d.send(c, request)
	if lost != "" {
		d.putDown(c, lost)
		return unsaid
	}
	d.g.end(context.WithoutCancel(d.attempts), c, receipt, results, started)
	d.g.metrics.attempted(c, receipt, results)
	for i, r := range results {
		log.Info("attempted", "delivery", c.Deliveries[i].ID, "outcome", r.Outcome, "code", r.Code, "text", r.Text, "hop", receipt.Hop, "level", receipt.Level, "took", receipt.Took)
		if r.Reached {
			heard = touched
		}
	}
	if heard == unsaid && len(results) > 0 && results[0].Outcome == deliver.Deferred && d.attempts.Err() == nil {
		return missed
	}
	return heard
}

// hindered says why an attempt must not begin; "" when it may.
func (d *dispatcher) hindered(c ledger.Claimed, j job) string {
	switch {
	case d.attempts.Err() != nil:
		return "the guard stopped"
	case now().After(c.Deliveries[0].Due.Add(-d.g.lease / 2)):
		return "its turn came so late that the lease could end under way"
	}
	return d.unproven(c, j)
}

// unproven says why this node can no longer be sure that the work is its own; "" when it is sure.
func (d *dispatcher) unproven(c ledger.Claimed, j job) string {
	switch {
	case !d.g.heart.proven():
		return "this node could not tell whether the others still count it as alive"
	case !d.g.heart.era().Equal(j.era) && !d.ours(c):
		return "this node was silent for a while, and the work is no longer its own"
	}
	return ""
}

// ours reports whether the ledger says that we still hold all of this work.
func (d *dispatcher) ours(c ledger.Claimed) bool {
	for _, each := range c.Deliveries {
		is, err := d.g.store.Delivery(d.attempts, each.ID)
		if err != nil || len(is.Deliveries) != 1 || is.Deliveries[0].Node != each.Node || is.Deliveries[0].Attempts != each.Attempts {
			return false
		}
	}
	return true
}

// putDown frees work that is not begun. What the ledger has taken back from us already stays as it is.
func (d *dispatcher) putDown(c ledger.Claimed, why string) {
	d.g.record(c, d.g.notBegun(c, why))
	d.wake()
}

// request is what the deliverer is asked to do.
func (d *dispatcher) request(c ledger.Claimed, j job) (deliver.Job, error) {
	m, first := c.Message, c.Deliveries[0]
	sender, err := d.g.teller.open(m, m.Sender)
	if err != nil {
		return deliver.Job{}, err
	}
	r := deliver.Job{Sender: sender, Ret: m.Ret, EnvID: unmasked(m.EnvID), UTF8: m.UTF8, EightBit: m.EightBit, Head: j.head, Body: j.body}
	for _, each := range c.Deliveries {
		to, err := d.g.teller.open(m, each.Recipient)
		if err != nil {
			return r, err
		}
		r.Recipients = append(r.Recipients, deliver.Recipient{Address: to, Notify: notifyOnward(m, each), ORcpt: unmasked(each.ORcpt)})
		r.Required = max(r.Required, required(each))
	}
	r.Hop = d.g.teller.hop(d.g.teller.authorityNamed(m.Authority), r.Recipients[0].Address)
	if r.Body == nil {
		sealed, err := d.g.store.Body(d.attempts, m.ID, first.Body)
		if err != nil {
			return r, fmt.Errorf("read the body: %w", err)
		}
		if r.Body, err = d.g.teller.unseal(m, sealed); err != nil {
			return r, fmt.Errorf("open the body: %w", err)
		}
	}
	return r, nil
}

// notifyOnward is the NOTIFY handed to the next hop. A notice asks for no report about itself (law 7).
func notifyOnward(m ledger.Message, d ledger.Delivery) string {
	if m.Kind == ledger.Notice {
		return "NEVER"
	}
	return d.Notify
}

// unmasked is a DSN parameter as it came, or nothing: one that held a number is kept only masked, and is no longer what
// the sender gave.
func unmasked(s string) string {
	if strings.Contains(s, "•") {
		return ""
	}
	return s
}

// record makes the outcome durable. A ledger that is away for a while is asked again: the attempt has happened, and
// only the ledger can say so. What is not recorded before the process ends is found by Recover, marked.
func (g *Guard) record(c ledger.Claimed, changes []ledger.Change) {
	defer g.happened()
	const shortest = 50 * time.Millisecond
	for wait := shortest; ; wait = min(2*wait, 10*time.Second) {
		errs := g.store.Apply(context.Background(), changes...)
		var left []ledger.Change
		for i, err := range errs {
			switch {
			case err == nil, errors.Is(err, ledger.ErrFenced), errors.Is(err, ledger.ErrState), errors.Is(err, ledger.ErrLeased):
				// ErrState and ErrFenced after a failed commit mean that it had happened; otherwise another has it, as with
				// ErrLeased: the watch comes back to what is being tried just now.
				if err != nil && changes[i].Attempt != nil && wait == shortest {
					g.metrics.fenced.Inc()
					g.log.Warn("an attempt was taken back before its end could be recorded: its delivery is marked, and tried again", "message", c.Message.ID, "delivery", changes[i].Delivery)
				}
			case errors.Is(err, ledger.ErrTransition), errors.Is(err, ledger.ErrClosed), errors.Is(err, ledger.ErrNotFound):
				g.log.Error("an outcome could not be recorded; the attempt will be repeated and marked", "message", c.Message.ID, "err", err)
			default:
				left = append(left, changes[i])
				g.log.Error("an outcome could not be recorded yet; trying again", "message", c.Message.ID, "err", err)
			}
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-g.dispatch.attempts.Done():
			return
		}
		changes = left
	}
	for _, ch := range changes {
		if len(ch.Notices) > 0 || ch.To == ledger.Queued {
			g.dispatch.wake()
			return
		}
	}
}

// stop claims nothing more and lets attempts finish for the grace time; then it cuts them off, which they record.
func (d *dispatcher) stop(grace time.Duration) {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	finished := make(chan struct{})
	go func() { d.running.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(grace):
		d.cut()
		<-finished
	}
	d.cut()
}

// isDown reports whether a lane's hop is known to be out of reach now.
func (d *dispatcher) isDown(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[name]
	return l != nil && l.fails > 0
}

// backoff is when a delivery is tried next after its n-th attempt, jittered by a fifth.
func (g *Guard) backoff(n int) time.Duration {
	steps := g.cfg.Delivery.Retry
	return jitter(steps[min(max(n-1, 0), len(steps)-1)])
}

// jitter spreads d by a fifth either way, so that what failed together is not tried together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
