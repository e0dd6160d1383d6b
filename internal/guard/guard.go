// Package guard is the arrow of DESIGN section 4: accept → inspect → decide → queue → deliver → notify. Each step is a
// file of its own, in this order: accept.go, decide.go, dispatch.go, conclude.go, tell.go; watch.go looks after what
// waits too long and operate.go does what a person asks for. Steps hand over through the ledger only; what a step keeps
// in memory (a body on its way, a lane's backoff) is a copy that may be lost at any instant.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/policy"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

// Deliverer makes attempts; *deliver.Client is the real one.
type Deliverer interface {
	// Attempt tries once and returns one result per recipient, in order, also when ctx ends.
	Attempt(ctx context.Context, j deliver.Job) (deliver.Receipt, []deliver.Result)
	Close() error
}

// Options make a Guard.
type Options struct {
	Config    *config.Config
	Store     ledger.Store
	Cluster   ledger.Cluster            // the same ledger, where several nodes serve it; nil: this process alone does
	Keys      spool.Authorities         // *spool.Keys where all authorities share a key file
	Deliverer Deliverer                 // nil: a deliver.Client by the configuration
	Senders   SenderCheck               // nil: SPF and DKIM by the system's name servers
	Listeners map[string][]net.Listener // by name ("smtp", "submission", "smtps", "metrics"); nil: opened by the configuration
	Registry  *prometheus.Registry      // nil: a fresh one
	Log       *slog.Logger              // nil: discarded
	Node      string                    // name of this node in leases, another for each node of a cluster; default the host's name
	Grace     time.Duration             // for transactions and attempts under way at the end, default 20 s
	Ready     func()                    // called once mail can be accepted; may be nil

	// Times that tests in virtual time change, where no attempt lasts and days pass in milliseconds.
	lease time.Duration // default leaseTime
	look  time.Duration // default lookTime
}

// Guard is the running program. Make one with New, run it with Run; the Store stays the caller's to close.
type Guard struct {
	cfg        *config.Config
	store      ledger.Store
	keys       spool.Authorities
	log        *slog.Logger
	node       string
	grace      time.Duration
	lease      time.Duration
	look       time.Duration
	ready      func()
	listeners  map[string][]net.Listener
	deliverer  Deliverer
	teller     *teller
	dispatch   *dispatcher
	heart      *heart // nil: alone
	metrics    *metrics
	tls        *certificate
	passwords  passwordCache
	rates      rates
	recipients recipients
	turns      *turns
	unsealed   chan struct{}  // capacity 1: events were written that the chain does not hold yet
	busy       sync.WaitGroup // goroutines of Run
}

// New puts a guard together. It opens nothing yet but the TLS certificate, so that a bad one is said at once.
func New(o Options) (*Guard, error) {
	g := &Guard{cfg: o.Config, store: o.Store, keys: o.Keys, log: o.Log, node: o.Node, grace: o.Grace, lease: o.lease, look: o.look, ready: o.Ready,
		listeners: o.Listeners, deliverer: o.Deliverer, unsealed: make(chan struct{}, 1), turns: newTurns()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.node == "" {
		g.node = o.Config.Host
	}
	if g.grace == 0 {
		g.grace = 20 * time.Second
	}
	if g.lease == 0 {
		g.lease = leaseTime
	}
	if g.look == 0 {
		g.look = lookTime
	}
	if g.ready == nil {
		g.ready = func() {}
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	var err error
	if g.tls, err = loadCertificate(o.Config.TLS, g.log); err != nil {
		return nil, err
	}
	if g.deliverer == nil {
		g.deliverer = deliver.New(deliver.Options{Hello: o.Config.Host, PerConnection: o.Config.Delivery.PerConnection,
			IdlePerHop: o.Config.Delivery.Concurrency})
	}
	if o.Senders == nil {
		o.Senders = &dnsSenderCheck{}
	}
	if g.teller, err = newTeller(o.Config, o.Keys, o.Senders, o.Store); err != nil {
		return nil, err
	}
	g.heart = newHeart(g, o.Cluster)
	g.metrics = newMetrics(o.Registry, g)
	g.dispatch = newDispatcher(g)
	return g, nil
}

// Run accepts and delivers until ctx ends, then stops gracefully: no new connections, transactions and attempts under
// way may finish for the grace time, everything else waits in the ledger. It returns when all its goroutines have ended.
func (g *Guard) Run(ctx context.Context) error {
	if err := g.heart.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer g.heart.leave()                                         // the last: until then this node's work is its own
	inner, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the graceful stop
	defer g.busy.Wait()
	defer stop()
	ctx, fall := context.WithCancelCause(ctx)
	defer fall(nil)
	g.busy.Go(func() { g.heart.run(inner, fall) })
	cut, err := g.store.Recover(ctx, now(), g.node)
	if err != nil {
		return fmt.Errorf("take back what was under way at the last stop: %w", err)
	}
	if cut > 0 {
		g.log.Warn("attempts were cut off when the guard last ended; they are repeated and marked", "deliveries", cut)
	}
	if err := g.beginDigests(ctx); err != nil {
		return err
	}
	listeners, err := g.open()
	if err != nil {
		return err
	}
	g.busy.Go(func() { g.dispatch.run(inner) })
	g.busy.Go(func() { g.watch(inner) })
	g.busy.Go(func() { g.seal(inner) })
	g.busy.Go(func() { g.prune(inner) })
	if g.tls != nil {
		g.busy.Go(func() { g.tls.watch(inner) })
	}
	serveErr := g.serve(ctx, listeners)
	g.dispatch.stop(g.grace)
	stop()
	g.busy.Wait()
	g.deliverer.Close()
	if cause := context.Cause(ctx); errors.Is(cause, ledger.ErrTaken) {
		return cause
	}
	return serveErr
}

// serve runs all listeners until ctx ends or one of them fails, and returns when all have ended.
func (g *Guard) serve(ctx context.Context, listeners []listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	errs := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		wg.Go(func() {
			if err := l.serve(ctx); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("listener %s on %s: %w", l.name, l.l.Addr(), err)
				stop()
			}
		})
	}
	g.ready()
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// smtpOptions are the options of one SMTP listener.
func (g *Guard) smtpOptions(name string) smtpin.Options {
	l := g.cfg.Limits
	return smtpin.Options{Name: name, Host: g.cfg.Host, TLS: g.tls.config(), ImplicitTLS: name == "smtps",
		Auth: name != "smtp", AuthRequired: name != "smtp", MaxSize: l.MessageBytes, MaxRecipients: l.Recipients,
		MaxConns: l.Connections, MaxConnsPerIP: l.ConnectionsPerIP, Unlimited: g.inTrustedNetwork, MemoryBytes: l.MemoryBytes, Log: g.log}
}

// seal extends the hash chain within a second of every event of ours (DESIGN section 5); a command beside the guard seals
// its own when it closes the ledger.
func (g *Guard) seal(ctx context.Context) {
	if g.heart != nil {
		every(ctx, 2*sealTime, func() { g.sealForAll(ctx) })
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.unsealed:
		}
		select {
		case <-ctx.Done():
			return // Close of the ledger seals
		case <-time.After(sealTime):
		}
		if err := g.store.Seal(ctx, now()); err != nil && ctx.Err() == nil {
			g.log.Error("the event chain could not be extended", "err", err)
			g.happened()
		}
	}
}

// sealForAll extends the chain over every node's events, where that is this node's duty: all sealing the same would only be in
// each other's way. Sealing nothing new costs a look.
func (g *Guard) sealForAll(ctx context.Context) {
	if !g.heart.has(ctx, "seal") {
		return
	}
	if err := g.store.Seal(ctx, now()); err != nil && ctx.Err() == nil {
		g.log.Error("the event chain could not be extended", "err", err)
	}
}

// sealTime gathers events for one seal.
const sealTime = 500 * time.Millisecond

// happened says that events were written.
func (g *Guard) happened() {
	select {
	case g.unsealed <- struct{}{}:
	default:
	}
}

// policyOf returns the policy of an authority by name; every accepted message has one.
func (t *teller) policyOf(authority string) *policy.Policy { return t.policies[authority] }

// now is the program's clock, in UTC; virtual in tests under synctest.
func now() time.Time { return time.Now().UTC() }
