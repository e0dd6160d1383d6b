package ledger

import (
	"context"
	"errors"
	"time"
)

// Cluster is what several nodes over one ledger need beside Store: who lives, and who does what only one may do. An engine
// that several nodes can share implements it; the embedded one does too, so that tests in virtual time can run many nodes
// over one ledger.
//
// A node's leases are as good as its beat. A node whose beat ran out is dead to the others: they take its work back
// (Reap), its attempts end as "cut off" and their deliveries are marked Possibly. A node that was only slow finds its attempts
// fenced, and begins none while it cannot tell that it lives: see Beat.
type Cluster interface {
	// Beat says that this life of the node is at work until now+ttl. life is random, chosen at each start. ErrTaken: another
	// life of that name is at work. The node must not begin an attempt later than ttl (less a margin) after the last Beat that
	// returned nil was called. A failed Beat changes nothing that others see.
	Beat(ctx context.Context, now time.Time, node, life string, ttl time.Duration) (Alive, error)
	// Leave ends the beat of a node that stops in good order, so that nobody waits for it: it no longer counts, its duties are
	// free, and what it still holds is taken back by the next Reap. A life that is not the node's own any more does nothing.
	Leave(ctx context.Context, node, life string) error
	// Reap takes back what dead nodes hold, as Recover does, and forgets them. Only a node that has been beating without a break
	// for its ttl buries others: after the ledger itself was away, everybody first has the time to come back. dead are the names, in
	// order, of those whose beat ran out and of those that left with something in their hands.
	Reap(ctx context.Context, now time.Time, node string) (dead []string, cutOff int, err error)
	// Duty asks for work that one node does for all ("watch", "seal", "prune" …): mine until now+ttl, and mine again when asked
	// again in time. Who holds a duty may be slow, so what it does must be harmless when two do it: Change.Seen.
	Duty(ctx context.Context, now time.Time, duty, node string, ttl time.Duration) (mine bool, err error)
}

// Alive is who is at work, as of a Beat.
type Alive struct {
	Nodes int           // with this one
	Rank  int           // how many of them have a name before this one's: by it they share what cannot be halved
	Since time.Time     // since when this node's beat has not stopped
	Skew  time.Duration // how far this node's clock is ahead of the ledger's; 0 where the engine has no clock of its own
}

// ErrTaken: two processes use one node name, which would let each take the other's leases for its own.
var ErrTaken = errors.New("another process is at work under this node's name")
