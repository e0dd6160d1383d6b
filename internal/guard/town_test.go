package guard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// town is several guards over one ledger and before one world, in virtual time. Each can be stopped like a process by SIGSTOP, killed,
// cut off from the ledger, and have a clock of its own.
type town struct {
	*stage // its ledger, keys, log and next hop; no guard of its own
	nodes  []*node

	mu      sync.Mutex
	running map[string]int // attempts under way, by next hop
	most    int            // of one next hop, so far
}

// newTown is a town without guards. Call it inside a synctest bubble.
func newTown(t *testing.T, authority string, names ...string) *town {
	t.Helper()
	w := &town{stage: emptyStage(t, authority, 0, 0), running: map[string]int{}}
	w.open()
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.calm()
			n.halt()
		}
		w.laws()
	})
	for _, name := range names {
		w.add(name)
	}
	return w
}

// grown is a town whose nodes have all come to their share of the limits.
func grown(t *testing.T, authority string, names ...string) *town {
	t.Helper()
	w := newTown(t, authority, names...)
	w.pass(lifeTime + 2*beatTime)
	return w
}

// add starts another node.
func (w *town) add(name string) *node {
	w.Helper()
	n := &node{town: w, name: name}
	w.nodes = append(w.nodes, n)
	n.start()
	return n
}

// node is one guard, and what stands between it and the ledger and the world.
type node struct {
	town  *town
	name  string
	guard *Guard
	stop  context.CancelFunc
	ended chan error // nil: it does not run
	began []deliver.Job

	mu    sync.Mutex
	held  chan struct{}           // not nil while stopped: closed by resume
	cut   bool                    // the ledger is out of reach
	dead  bool                    // killed: nothing it does reaches anybody
	ahead time.Duration           // of its clock, as the nodes' beats are compared by
	hook  func(op string, d bool) // called before (d false) and after each call of the ledger; may be nil
}

func (n *node) start() {
	n.town.Helper()
	n.mu.Lock()
	n.dead = false
	n.mu.Unlock()
	o := n.town.options(n.name, view{n}, door{n})
	o.Cluster = view{n}
	n.guard, n.stop, n.ended = n.town.run(o)
}

// end waits for the guard and returns how it ended.
func (n *node) end() error {
	err := <-n.ended
	n.ended = nil
	return err
}

// halt stops the guard gracefully.
func (n *node) halt() {
	n.town.Helper()
	if n.ended == nil {
		return
	}
	n.stop()
	if err := n.end(); err != nil && !errors.Is(err, errAway) && !errors.Is(err, errFault) && !errors.Is(err, context.DeadlineExceeded) { // it may have found no ledger to begin with
		n.town.Errorf("node %s ended with: %v", n.name, err)
	}
}

// kill ends the process at once: what is under way goes no further.
func (n *node) kill() {
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
	n.calm()
	if n.ended == nil {
		return
	}
	n.stop()
	n.end()
}

// pause stops the process where it is.
func (n *node) pause() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held == nil {
		n.held = make(chan struct{})
	}
}

func (n *node) resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held != nil {
		close(n.held)
		n.held = nil
	}
}

// calm lets the process go on, and forgets where it was to be stopped.
func (n *node) calm() {
	n.mu.Lock()
	n.hook = nil
	n.mu.Unlock()
	n.resume()
}

func (n *node) paused() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held != nil
}

func (n *node) away(is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = is
}

func (n *node) clock(ahead time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ahead = ahead
}

// on calls f at each call of the ledger, until f says that it is done.
func (n *node) on(f func(op string, done bool) (over bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = func(op string, done bool) {
		if f(op, done) {
			n.mu.Lock()
			n.hook = nil
			n.mu.Unlock()
		}
	}
}

var errAway = errors.New("the network says no")

// step is where a process may be stopped, cut off or dead.
func (n *node) step(ctx context.Context, op string, done bool) error {
	n.mu.Lock()
	hook := n.hook
	n.mu.Unlock()
	if hook != nil {
		hook(op, done)
	}
	for {
		n.mu.Lock()
		held := n.held
		n.mu.Unlock()
		if held == nil {
			break
		}
		<-held
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.dead, n.cut:
		return errAway
	case !done:
		return ctx.Err() // the answer would come too late for it
	}
	return nil
}

// send hands a message to this node; it says what was promised.
func (n *node) send(from string, to []string, message string) ledger.MessageID {
	n.town.Helper()
	return n.town.accepted(n.take(from, to, message))
}

func (n *node) take(from string, to []string, message string) *smtpin.Reply {
	return taken(n.guard, ours, from, to, message)
}

// door is the way out of a node. No attempt may begin here of what the ledger has given to another.
type door struct{ *node }

func (d door) Attempt(ctx context.Context, j deliver.Job) (deliver.Receipt, []deliver.Result) {
	w := d.town
	d.mu.Lock()
	dead := d.dead
	d.mu.Unlock()
	if !dead && !d.paused() { // what a stopped process still runs here is our imperfection: it will be held in step
		d.mustHold(j)
	}
	hop := j.Hop.SmartHost
	w.mu.Lock()
	d.began = append(d.began, j)
	w.running[hop]++
	w.most = max(w.most, w.running[hop])
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.running[hop]--
		w.mu.Unlock()
	}()
	d.step(ctx, "begin", false)
	d.mu.Lock()
	dead = d.dead
	d.mu.Unlock()
	if dead {
		return deliver.Receipt{}, slices.Repeat([]deliver.Result{{Outcome: deliver.Deferred, Text: "killed"}}, len(j.Recipients))
	}
	receipt, results := w.hop.Attempt(ctx, j)
	d.step(ctx, "sent", true)
	return receipt, results
}

// mustHold demands that the ledger says at this instant that the job is this node's.
func (d door) mustHold(j deliver.Job) {
	id := idOf(arrival{raw: string(j.Head) + string(j.Body)})
	story, err := d.town.store.Story(context.Background(), id)
	if err != nil {
		d.town.Errorf("node %s begins an attempt of %s: %v", d.name, id, err)
		return
	}
	for _, r := range j.Recipients {
		i := slices.IndexFunc(story.Deliveries, func(is ledger.Delivery) bool { return is.Recipient.Shown == string(r.Address) })
		if i < 0 || story.Deliveries[i].Node != d.name {
			d.town.Errorf("node %s begins an attempt of %s to %s, which it does not hold:\n%s", d.name, id, r.Address, tale(story))
		}
	}
}

func (d door) Close() error { return nil }

// view is the ledger as a node sees it, with a clock that may differ from the node's.
type view struct{ n *node }

// call is one call of the ledger: it may not happen, or happen and be reported failed.
func call[T any](v view, ctx context.Context, op string, f func() (T, error)) (T, error) {
	var none T
	if err := v.n.step(ctx, op, false); err != nil {
		return none, err
	}
	t, err := f()
	if away := v.n.step(ctx, op, true); away != nil {
		return none, away
	}
	return t, err
}

type nothing struct{}

func (v view) store() ledger.Store { return v.n.town.store }

func (v view) at(now time.Time) time.Time {
	v.n.mu.Lock()
	defer v.n.mu.Unlock()
	return now.Add(v.n.ahead)
}

func (v view) Accept(ctx context.Context, a ledger.Acceptance) ([]ledger.Claimed, error) {
	return call(v, ctx, "accept", func() ([]ledger.Claimed, error) { return v.store().Accept(ctx, a) })
}
func (v view) Claim(ctx context.Context, now time.Time, c ledger.Claim) ([]ledger.Claimed, error) {
	return call(v, ctx, "claim", func() ([]ledger.Claimed, error) { return v.store().Claim(ctx, now, c) })
}
func (v view) Lanes(ctx context.Context) ([]ledger.LaneDue, error) {
	return call(v, ctx, "lanes", func() ([]ledger.LaneDue, error) { return v.store().Lanes(ctx) })
}
func (v view) Body(ctx context.Context, id ledger.MessageID, body int) ([]byte, error) {
	return call(v, ctx, "body", func() ([]byte, error) { return v.store().Body(ctx, id, body) })
}
func (v view) Apply(ctx context.Context, changes ...ledger.Change) []error {
	errs, err := call(v, ctx, "apply", func() ([]error, error) { return v.store().Apply(ctx, changes...), nil })
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	return errs
}
func (v view) Watch(ctx context.Context, now time.Time, max int) ([]ledger.Claimed, error) {
	return call(v, ctx, "watch", func() ([]ledger.Claimed, error) { return v.store().Watch(ctx, now, max) })
}
func (v view) Recover(ctx context.Context, now time.Time, node string) (int, error) {
	return call(v, ctx, "recover", func() (int, error) { return v.store().Recover(ctx, now, node) })
}
func (v view) Unclaim(ctx context.Context, now time.Time, node string, since time.Time, held []ledger.DeliveryID) (int, error) {
	return call(v, ctx, "unclaim", func() (int, error) { return v.store().Unclaim(ctx, now, node, since, held) })
}
func (v view) Find(ctx context.Context, q ledger.Query) ([]ledger.MessageID, error) {
	return call(v, ctx, "find", func() ([]ledger.MessageID, error) { return v.store().Find(ctx, q) })
}
func (v view) Story(ctx context.Context, id ledger.MessageID) (ledger.Story, error) {
	return call(v, ctx, "story", func() (ledger.Story, error) { return v.store().Story(ctx, id) })
}
func (v view) Delivery(ctx context.Context, id ledger.DeliveryID) (ledger.Claimed, error) {
	return call(v, ctx, "delivery", func() (ledger.Claimed, error) { return v.store().Delivery(ctx, id) })
}
func (v view) Sums(ctx context.Context) (ledger.Sums, error) {
	return call(v, ctx, "sums", func() (ledger.Sums, error) { return v.store().Sums(ctx) })
}
func (v view) Seal(ctx context.Context, now time.Time) error {
	_, err := call(v, ctx, "seal", func() (nothing, error) { return nothing{}, v.store().Seal(ctx, now) })
	return err
}
func (v view) Verify(ctx context.Context, open func(string, []byte) ([]byte, error)) (ledger.Verification, error) {
	return call(v, ctx, "verify", func() (ledger.Verification, error) { return v.store().Verify(ctx, open) })
}
func (v view) Note(ctx context.Context, e ledger.Event) error {
	_, err := call(v, ctx, "note", func() (nothing, error) { return nothing{}, v.store().Note(ctx, e) })
	return err
}
func (v view) Get(ctx context.Context, name string) (string, error) {
	return call(v, ctx, "get", func() (string, error) { return v.store().Get(ctx, name) })
}
func (v view) Put(ctx context.Context, name, value string) error {
	_, err := call(v, ctx, "put", func() (nothing, error) { return nothing{}, v.store().Put(ctx, name, value) })
	return err
}
func (v view) Reseal(ctx context.Context, f func(string, []byte) ([]byte, error)) (int, error) {
	return call(v, ctx, "reseal", func() (int, error) { return v.store().Reseal(ctx, f) })
}
func (v view) Close() error { return nil }

func (v view) Beat(ctx context.Context, now time.Time, node, life string, ttl time.Duration) (ledger.Alive, error) {
	return call(v, ctx, "beat", func() (ledger.Alive, error) {
		a, err := v.n.town.store.Beat(ctx, v.at(now), node, life, ttl)
		a.Skew = time.Until(v.at(now)) // as an engine with a clock of its own says
		return a, err
	})
}
func (v view) Leave(ctx context.Context, node, life string) error {
	_, err := call(v, ctx, "leave", func() (nothing, error) { return nothing{}, v.n.town.store.Leave(ctx, node, life) })
	return err
}
func (v view) Reap(ctx context.Context, now time.Time, node string) ([]string, int, error) {
	type burial struct {
		dead []string
		cut  int
	}
	b, err := call(v, ctx, "reap", func() (b burial, err error) {
		b.dead, b.cut, err = v.n.town.store.Reap(ctx, v.at(now), node)
		return b, err
	})
	return b.dead, b.cut, err
}
func (v view) Duty(ctx context.Context, now time.Time, duty, node string, ttl time.Duration) (bool, error) {
	return call(v, ctx, "duty", func() (bool, error) { return v.n.town.store.Duty(ctx, v.at(now), duty, node, ttl) })
}

// arrived checks how often a message has arrived at an address, and whether its delivery is marked.
func (w *town) arrived(id ledger.MessageID, to string, times int, possibly bool) {
	w.Helper()
	n := 0
	for _, a := range w.hop.to(mail.Address(to)) {
		if idOf(a) == id {
			n++
		}
	}
	d := w.story(id).Deliveries[0]
	if n != times || d.Possibly != possibly {
		w.Errorf("arrived %d times, want %d; marked %v, want %v:\n%s", n, times, d.Possibly, possibly, tale(w.story(id)))
	}
}

// says checks that the log has a line with all these words.
func (w *town) says(words ...string) {
	w.Helper()
	w.logMu.Lock()
	defer w.logMu.Unlock()
	for line := range strings.Lines(w.log.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return
		}
	}
	w.Errorf("no line of the log has %q:\n%s", words, w.log.String())
}

// whole demands that everything promised has ended as the laws want it.
func (w *town) whole(ids ...ledger.MessageID) {
	w.Helper()
	promised := map[ledger.MessageID]bool{}
	for _, id := range ids {
		promised[id] = true
	}
	synctest.Wait()
	checkAll(w.stage, promised)
}
