package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/pgtest"
)

// database is a primary and its synchronous standby, which change places.
type database struct {
	primary, standby *pgtest.Server
}

// fault is one thing that goes wrong, and comes right again.
type fault struct {
	kind
	node   int           // which one; of no meaning for faults of the database
	before time.Duration // how long it waits after the one before with the same victim
	length time.Duration // how long it lasts
}

// victim is the node, or nodes for the database.
func (f fault) victim() int {
	if f.ofNode == nil {
		return nodes
	}
	return f.node
}

func (f fault) String() string {
	if f.ofNode == nil {
		return fmt.Sprintf("%s, %v", f.name, f.length)
	}
	return fmt.Sprintf("node %d %s, %v", f.node+1, f.name, f.length)
}

// kind is a way to go wrong: of one node, or of the database.
type kind struct {
	name          string
	often         int // of a hundred
	least, most   time.Duration
	ofNode        func(t *testing.T, n *node, length time.Duration)
	ofTheDatabase func(d *database, length time.Duration) error
}

// dead is how long a node may be silent before the others take its work: lifeTime of package guard.
const dead = 12 * time.Second

var kinds = []kind{
	{name: "killed", often: 26, least: 0, most: 1500 * time.Millisecond, ofNode: killed},
	{name: "stopped past its beat", often: 5, least: dead + time.Second, most: dead + 3*time.Second, ofNode: stopped},
	{name: "stopped for a moment", often: 5, least: 100 * time.Millisecond, most: 3 * time.Second, ofNode: stopped},
	{name: "cut from the database", often: 18, least: 100 * time.Millisecond, most: 3 * time.Second, ofNode: cut},
	{name: "hears nothing from the database", often: 10, least: 100 * time.Millisecond, most: 3 * time.Second, ofNode: silent},
	{name: "hears nothing past its beat", often: 4, least: dead + time.Second, most: dead + 3*time.Second, ofNode: silent},
	{name: "far from the database", often: 6, least: 500 * time.Millisecond, most: 3 * time.Second, ofNode: far},
	{name: "primary lost, standby promoted", often: 8, most: time.Second, ofTheDatabase: failover},
	{name: "primary killed and back", often: 4, most: time.Second, ofTheDatabase: crashed},
	{name: "primary restarted", often: 4, most: time.Second, ofTheDatabase: restarted},
	{name: "standby away", often: 2, least: time.Second, most: 4 * time.Second, ofTheDatabase: standbyAway},
	{name: "standby away for long, then primary lost, standby promoted", often: 2, least: 11 * time.Second, most: 13 * time.Second, ofTheDatabase: unconfirmed},
	{name: "database hangs", often: 3, least: time.Second, most: 4 * time.Second, ofTheDatabase: hangs},
	{name: "database read-only", often: 3, least: 200 * time.Millisecond, most: 2 * time.Second, ofTheDatabase: readOnly},
}

// plan draws n faults; each kind that there is comes at least once when n allows it.
func plan(r *rand.Rand, n int) (faults []fault) {
	var all []kind
	for _, k := range kinds {
		for range k.often {
			all = append(all, k)
		}
	}
	for i := range n {
		k := all[r.IntN(len(all))]
		if i < len(kinds) && n > len(kinds) {
			k = kinds[i]
		}
		faults = append(faults, fault{kind: k, before: time.Duration(r.Int64N(int64(800 * time.Millisecond))),
			length: (k.least + time.Duration(r.Int64N(int64(k.most-k.least)))).Round(time.Millisecond)})
	}
	r.Shuffle(n, func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	next := r.IntN(nodes)
	for i, f := range faults { // in turn, so that none has all the long ones to itself
		if f.ofNode != nil {
			faults[i].node, next = next, (next+1)%nodes
		}
	}
	return faults
}

func killed(t *testing.T, n *node, length time.Duration) {
	n.take()
	defer n.leave()
	n.kill(t)
	time.Sleep(length)
	if !n.start(t, time.Minute) {
		t.Errorf("%s does not come back:\n%s", n.name, n.p.Log())
	}
}

func stopped(t *testing.T, n *node, length time.Duration) {
	n.take()
	defer n.leave()
	n.signal(t, syscall.SIGSTOP)
	time.Sleep(length)
	n.signal(t, syscall.SIGCONT)
}

func cut(_ *testing.T, n *node, length time.Duration) {
	for _, k := range n.links {
		k.setCut(true)
		defer k.setCut(false)
	}
	time.Sleep(length)
}

func silent(_ *testing.T, n *node, length time.Duration) {
	for _, k := range n.links {
		k.setSilent(true)
		defer k.setSilent(false)
	}
	time.Sleep(length)
}

func far(_ *testing.T, n *node, length time.Duration) {
	for _, k := range n.links {
		k.setDelay(40 * time.Millisecond)
		defer k.setDelay(0)
	}
	time.Sleep(length)
}

func failover(d *database, length time.Duration) error {
	err := d.primary.Kill()
	time.Sleep(length)
	d.primary, d.standby = d.standby, d.primary
	return errors.Join(err, d.primary.Promote(), d.standby.Rejoin(d.primary))
}

func crashed(d *database, length time.Duration) error {
	err := d.primary.Kill()
	time.Sleep(length)
	return errors.Join(err, d.primary.Run(), d.primary.WaitSynchronous())
}

func restarted(d *database, length time.Duration) error {
	err := d.primary.Stop()
	time.Sleep(length)
	return errors.Join(err, d.primary.Run(), d.primary.WaitSynchronous())
}

func standbyAway(d *database, length time.Duration) error {
	err := d.standby.Kill()
	time.Sleep(length)
	return errors.Join(err, d.standby.Run(), d.primary.WaitSynchronous())
}

// unconfirmed lets the primary commit what no standby confirms, for longer than anybody waits, and then loses it all.
func unconfirmed(d *database, length time.Duration) error {
	err := d.standby.Kill()
	time.Sleep(length)
	err = errors.Join(err, d.primary.Kill(), d.standby.Run())
	d.primary, d.standby = d.standby, d.primary
	return errors.Join(err, d.primary.Promote(), d.standby.Rejoin(d.primary))
}

func hangs(d *database, length time.Duration) error {
	err := d.primary.Pause()
	time.Sleep(length)
	return errors.Join(err, d.primary.Resume())
}

func readOnly(d *database, length time.Duration) error {
	err := errors.Join(d.primary.Configure("default_transaction_read_only = on"), d.primary.Reload())
	time.Sleep(length)
	return errors.Join(err, d.primary.Configure("default_transaction_read_only = off"), d.primary.Reload())
}
