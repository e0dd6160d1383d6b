package guard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"postvagt/internal/ledger"
)

// Times of a node among others. A beat that is due every beatTime and lasts lifeTime may fail twice without harm. The margin covers what
// lies between a node's own reckoning and the others': clocks that differ by what is left of their difference once it is
// measured, and the moment between the last look at the proof and the first byte sent.
const (
	beatTime   = 3 * time.Second
	beatLimit  = 2500 * time.Millisecond // for one beat: a hanging ledger must not keep the next from being tried
	lifeTime   = 12 * time.Second        // after so long without a beat a node is dead to the others
	lifeMargin = 4 * time.Second
	reapTime   = 3 * time.Second
	skewLimit  = 3 * time.Second         // how far clocks may differ before it is a fault: deadlines are read by all
	offLimit   = 1500 * time.Millisecond // and before what was said by it is not believed
	skewMost   = leaseTime / 6           // and before the others' leases are misread
	dutyTime   = 12 * time.Second
	dutyAsk    = 3 * time.Second // between two questions for a duty that another has
	startLimit = 20 * time.Second
)

// heart keeps this node's place among the nodes over one ledger (ledger.Cluster): it beats, buries the dead, and says what this
// node may do. A nil heart is that of a node alone: it may do everything.
//
// What keeps two nodes from sending the same message is the lease in the ledger, and a lease is as good as its node's
// beat. So an attempt begins only while the others cannot yet hold this node for dead (proven). A process that was stopped and
// wakes up finds its proof too old, whatever it held in memory, until it has beaten again; and then whatever was claimed before the
// gap is looked up in the ledger first (dispatcher.hindered). What cannot be helped is a stop in the middle of the conversation with the next
// hop: the message may then leave after another node has taken the delivery over. The other has marked it.
type heart struct {
	g       *Guard
	cluster ledger.Cluster
	life    string // random: tells this process from an earlier one of the same name

	mu     sync.Mutex // guards what follows
	last   time.Time  // when the last good beat was called; zero: none yet
	alive  ledger.Alive
	joined time.Time // when the beat that began alive.Since was called
	// Our clock and the ledger's at the same instant, as last measured: nodes whose clocks differ agree on who is alive, and none
	// is misled by a clock that is put right under its feet.
	here, there time.Time
	err         error // why the last beat failed; nil: it did not
	duties      map[string]duty
}

// duty is what we know of one: until when it is ours, or when we last asked in vain.
type duty struct{ until, asked time.Time }

func newHeart(g *Guard, c ledger.Cluster) *heart {
	if c == nil {
		return nil
	}
	return &heart{g: g, cluster: c, life: rand.Text(), duties: map[string]duty{}}
}

// begin beats for the first time. A name that is taken may be that of this node's former life, which was killed: it is waited for as
// long as its beat can last. A name that is still taken then belongs to another process.
func (h *heart) begin(ctx context.Context) error {
	if h == nil {
		return nil
	}
	compared := false
	for began := now(); ; {
		err := h.beat(ctx)
		if err == nil && h.ahead().Abs() > offLimit && !compared { // said by a wrong clock: unsay it
			compared = true
			h.leave()
			err = h.beat(ctx)
		}
		switch {
		case err == nil:
			return nil
		case now().Sub(began) < startLimit:
			h.g.log.Warn("this node cannot begin yet; trying again", "node", h.g.node, "err", err)
		case errors.Is(err, ledger.ErrTaken):
			return h.taken(err)
		default:
			return fmt.Errorf("say in the ledger that node %s is at work: %w", h.g.node, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (h *heart) taken(err error) error {
	return fmt.Errorf("node %s: %w; give every node over one ledger a name of its own", h.g.node, err)
}

// run beats and buries until ctx ends. When another process has taken this node's name, as may happen while it is stopped, fall
// is told: the two would take each other's work for their own.
func (h *heart) run(ctx context.Context, fall func(error)) {
	if h == nil {
		return
	}
	var reaping sync.WaitGroup
	reaping.Go(func() { every(ctx, reapTime, func() { h.reap(ctx) }) }) // beside the beat, which must not wait for it
	defer reaping.Wait()
	every(ctx, beatTime, func() {
		if err := h.beat(ctx); errors.Is(err, ledger.ErrTaken) {
			fall(h.taken(err))
		}
	})
}

// every calls f at each tick until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

// beat says once that this node is at work, and takes note of who else is. A beat that was said by a wrong clock proves
// nothing: the clock is corrected, and the beat said again.
func (h *heart) beat(ctx context.Context) error {
	called, a, err := h.say(ctx)
	if err == nil && a.Skew.Abs() > offLimit {
		called, a, err = h.say(ctx)
	}
	if err == nil && a.Skew.Abs() > offLimit {
		err = errors.New("the ledger's clock is not steady")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		h.missed(err)
		return err
	}
	h.mu.Lock()
	was, lost, could := h.alive, h.err, h.proof(called)
	if !a.Since.Equal(h.alive.Since) {
		h.joined = called
	}
	h.last, h.alive, h.err = called, a, nil
	h.mu.Unlock()
	h.tell(was, a, lost)
	if h.g.dispatch.setLimit(h.share(called)) || !could {
		h.g.dispatch.wake()
	}
	return nil
}

// say is one beat, and measures the clocks by it.
func (h *heart) say(ctx context.Context) (called time.Time, a ledger.Alive, err error) {
	ctx, stop := context.WithTimeout(ctx, beatLimit)
	defer stop()
	called = now()
	at := h.clock(called)
	a, err = h.cluster.Beat(ctx, at, h.g.node, h.life, lifeTime)
	if err != nil {
		return called, a, err
	}
	if since(called, now()) > time.Second {
		a.Skew = 0 // what took so long measures the wait, not the clock
	}
	apart := h.ahead()
	h.mu.Lock()
	h.here, h.there = called, at.Add(-a.Skew)
	h.mu.Unlock()
	if ahead := h.ahead(); tooFar(ahead) && !tooFar(apart) {
		h.g.log.Warn("this node's clock and the ledger's differ too much: it is not ready until they agree; see to its time synchronisation",
			"node", h.g.node, "ahead", ahead.Round(time.Millisecond))
	}
	return called, a, nil
}

// missed notes a failed beat.
func (h *heart) missed(err error) {
	h.mu.Lock()
	first := h.err == nil
	h.err = err
	h.mu.Unlock()
	h.g.metrics.beatFailures.Inc()
	if first {
		h.g.log.Error("this node's beat failed: unless one succeeds, nothing is sent after "+(lifeTime-lifeMargin).String()+
			" from the last, and the other nodes take this one's work after "+lifeTime.String(), "node", h.g.node, "err", err)
	}
}

// tell logs what has changed with a good beat.
func (h *heart) tell(was, is ledger.Alive, lost error) {
	log := h.g.log.With("node", h.g.node)
	switch {
	case was.Since.IsZero():
		log.Info("this node is at work", "nodes", is.Nodes)
	case !was.Since.Equal(is.Since):
		log.Warn("this node was silent for longer than its beat lasts: what it had claimed before is begun only if it is still its own", "nodes", is.Nodes)
	case lost != nil:
		log.Info("this node's beat is back")
	}
	if was.Nodes != is.Nodes && !was.Since.IsZero() {
		log.Info("nodes at work have changed", "were", was.Nodes, "are", is.Nodes)
	}
}

func tooFar(skew time.Duration) bool { return skew.Abs() > skewLimit }

// clock is the ledger's time at an instant of ours, counted from the last comparison by the monotonic clock.
func (h *heart) clock(at time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.here.IsZero() {
		return at
	}
	return h.there.Add(at.Sub(h.here)).Round(0)
}

// ahead is how far our clock is ahead of the ledger's.
func (h *heart) ahead() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.apart()
}

// apart is ahead; h.mu is held.
func (h *heart) apart() time.Duration { return h.here.Round(0).Sub(h.there.Round(0)) }

// ledgerTime is now by the ledger's clock: what is removed for good is not removed early because one node's clock is ahead.
func (h *heart) ledgerTime() time.Time {
	if h == nil {
		return now()
	}
	return h.clock(now())
}

// reap takes back what dead nodes hold.
func (h *heart) reap(ctx context.Context) {
	if !h.proven() {
		return
	}
	limited, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	h.mu.Lock()
	at := h.there // not later: who is dead was dead when the clocks were last compared
	h.mu.Unlock()
	dead, cut, err := h.cluster.Reap(limited, at, h.g.node)
	if err != nil {
		if ctx.Err() == nil {
			h.g.log.Error("the ledger could not be asked for dead nodes; trying again", "err", err)
		}
		return
	}
	if len(dead) == 0 {
		return
	}
	h.g.log.Warn("nodes are silent for longer than their beat lasts, or left with work in their hands: it is taken over, and marked as possibly delivered",
		"dead", dead, "deliveries", cut)
	h.g.metrics.reapedNodes.Add(float64(len(dead)))
	h.g.metrics.reapedDeliveries.Add(float64(cut))
	h.g.happened()
	h.g.dispatch.wake()
}

// leave ends the beat, so that nobody waits for it.
func (h *heart) leave() {
	if h == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), beatLimit)
	defer stop()
	if err := h.cluster.Leave(ctx, h.g.node, h.life); err != nil {
		h.g.log.Warn("this node could not take its leave in the ledger; the others will find out", "node", h.g.node, "err", err)
	}
}

// proven reports whether an attempt may begin now: the others cannot hold this node for dead yet.
func (h *heart) proven() bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proof(now())
}

// proof is proven at a time; h.mu is held.
func (h *heart) proof(at time.Time) bool {
	return !h.last.IsZero() && since(h.last, at) < lifeTime-lifeMargin
}

// since is the time from then to at, by the clock that says more: a monotonic clock may stand still while a virtual machine is stopped,
// and a wall clock may be set back.
func since(then, at time.Time) time.Duration {
	return max(at.Sub(then), at.Round(0).Sub(then.Round(0)))
}

// era names the time since which this node's beat has not stopped. What was claimed in another era may have been taken back.
func (h *heart) era() time.Time {
	if h == nil {
		return time.Time{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alive.Since
}

// share is how many attempts towards one next hop this node may make at once, so that all nodes together keep to the limit: an equal
// part, where the first in the order of names have one more when it does not come out even, and none for the last when nodes
// outnumber the limit.
//
// A node that joins has no part until the others must have heard of it: by then each has either beaten again, and knows it,
// or may begin nothing. A node whose clock is far off has no part either. When a node is gone the others' parts grow as each hears of it, which never makes their sum too much.
func (h *heart) share(at time.Time) int {
	limit := h.g.cfg.Delivery.Concurrency
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alive.Nodes <= 1 {
		return limit // who comes later finds us here, and waits
	}
	if at.Sub(h.joined) < lifeTime || h.apart().Abs() > skewMost {
		return 0
	}
	return (limit + h.alive.Nodes - 1 - h.alive.Rank) / h.alive.Nodes
}

// has reports whether a duty that one node does for all is this node's now. Alone it has every duty.
func (h *heart) has(ctx context.Context, name string) bool {
	if h == nil {
		return true
	}
	if !h.proven() {
		return false
	}
	at := now()
	h.mu.Lock()
	d := h.duties[name]
	h.mu.Unlock()
	switch {
	case at.Before(d.until.Add(-dutyTime / 2)):
		return true
	case at.Before(d.asked.Add(dutyAsk)):
		return false
	}
	mine, err := h.cluster.Duty(ctx, h.clock(at), name, h.g.node, dutyTime)
	if err != nil {
		if ctx.Err() == nil {
			h.g.log.Error("the ledger could not be asked who has a duty; trying again", "duty", name, "err", err)
		}
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case mine && d.until.IsZero():
		h.g.log.Info("this node has a duty for all", "duty", name, "node", h.g.node)
		fallthrough
	case mine:
		h.duties[name] = duty{until: at.Add(dutyTime)}
	default:
		h.duties[name] = duty{asked: at}
	}
	return mine
}

// unready says why this node should be sent no mail just now; nil: it may.
func (h *heart) unready() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch at := now(); {
	case h.last.IsZero():
		return errors.New("this node has not begun yet")
	case !h.proof(at):
		return fmt.Errorf("this node has not beaten for %s, so it sends nothing; the ledger says: %v", since(h.last, at).Round(time.Second), h.err)
	case tooFar(h.apart()):
		return fmt.Errorf("this node's clock is %s ahead of the ledger's", h.apart().Round(time.Millisecond))
	}
	return nil
}
