// Package cluster breaks what several gateways over one PostgreSQL stand on, at random moments under load: nodes are killed and
// stopped, the network between a node and the database is cut, silent or slow, the primary dies and its synchronous standby takes
// over, the database restarts, hangs or refuses to write. Then it shows that what was accepted is delivered or told: nothing
// lost, and twice only what is marked as possibly delivered.
package cluster

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"postvagt/internal/lab"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/pgtest"
	"postvagt/internal/spool"
)

var (
	faults = flag.Int("faults", 40, "how many faults there are; make faults has 100")
	seed   = flag.Uint64("seed", 0, "seed of the faults; 0 picks one and prints it")
)

const (
	nodes       = 3
	concurrency = 6 // connections to one destination, of all nodes together
	workers     = 9
	// slow is how long a client may wait for an answer of a node that itself is well, whatever the database does: two tries of 10 s.
	slow = 25 * time.Second
)

func TestFaults(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("replay with -faults %d -seed %d", *faults, *seed)
	random := rand.New(rand.NewPCG(*seed, 1))
	s := newScene(t)
	s.load.Start(t.Context(), workers, 80*time.Millisecond)
	s.load.Wanted.Store(true)
	s.calm(t)
	begun := time.Now()
	for round := range slices.Chunk(plan(random, *faults), 50) {
		s.suffer(t, begun, round)
		s.calm(t)
	}
	s.load.Wanted.Store(false)
	s.load.End()
	s.sink.Gentle.Store(true)
	t.Logf("%d faults in %v; %v", *faults, time.Since(begun).Round(time.Second), s.load)
	s.settle(t)
	if n := len(s.load.Accepted()); n < 20**faults {
		t.Errorf("only %d messages were accepted: that is no load", n)
	}
}

// scene is three nodes over a database with a standby, a load on all of them, and a next hop that counts, at two addresses.
type scene struct {
	dir, binary string
	db          *database
	nodes       []*node
	keys        *spool.Keys
	sink        *lab.Sink
	doors       []*lab.Door
	load        *lab.Load

	mu      sync.Mutex
	refused int           // 4yz
	wrong   []string      // answers that must not be
	slowest time.Duration // answer of a node that was left alone
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{dir: t.TempDir(), binary: lab.Build(t), sink: lab.NewSink()}
	s.sink.Slow = 500 * time.Millisecond
	for range 2 {
		s.doors = append(s.doors, s.sink.Open(t))
	}
	var err error
	if s.keys, err = spool.Create(filepath.Join(s.dir, "keys")); err != nil {
		t.Fatal(err)
	}
	primary := pgtest.Start(t, "wal_retrieve_retry_interval = 200ms")
	if err := primary.Exec("CREATE DATABASE ledger"); err != nil {
		t.Fatal(err)
	}
	s.db = &database{primary: primary, standby: primary.Standby(t)}
	routes := fmt.Sprintf("  - {to: nabo.example, smarthost: %q, level: cleartext}\n  - {to: \"*\", smarthost: %q, level: cleartext}\n", s.doors[1].Addr(), s.doors[0].Addr())
	for i := range nodes {
		s.nodes = append(s.nodes, newNode(t, s.dir, s.binary, i, "ledger", []int{s.db.primary.Port, s.db.standby.Port}, routes))
	}
	s.load = lab.NewLoad(s.pick)
	t.Cleanup(s.load.End)
	var starting sync.WaitGroup
	for _, n := range s.nodes { // all at once: one makes the schema, the others wait for it
		starting.Go(func() {
			if !n.start(t, time.Minute) {
				t.Errorf("%s does not come up:\n%s", n.name, n.p.Log())
			}
			n.leave()
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return s
}

// pick sends a worker's n-th message to the nodes in turn, and judges how it was answered.
func (s *scene) pick(worker, n int) (addr, to string, done func(error, time.Duration)) {
	to = []string{"modtager@borger.example", "modtager@nabo.example", "anden@borger.example", lab.NoMailbox, "bo@eksempel.example"}[n%5]
	at := s.nodes[(worker+n)%len(s.nodes)]
	return at.addr, to, func(err error, took time.Duration) { s.answered(at, err, took) }
}

func (s *scene) answered(n *node, err error, took time.Duration) {
	if err == nil {
		n.accepted.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var refusal lab.Refusal
	if errors.As(err, &refusal) {
		s.refused++
		if !refusal.Temporary() {
			s.wrong = append(s.wrong, fmt.Sprintf("%s refused for good: %s", n.name, refusal))
		}
	}
	if n.leftAloneFor(took) {
		s.slowest = max(s.slowest, took)
	}
}

// suffer lets the faults happen: those of one victim one after another, those of several side by side.
func (s *scene) suffer(t *testing.T, begun time.Time, faults []fault) {
	var running sync.WaitGroup
	of := map[int][]fault{}
	for _, f := range faults {
		of[f.victim()] = append(of[f.victim()], f)
	}
	for _, faults := range of {
		running.Go(func() {
			for _, f := range faults {
				time.Sleep(f.before)
				t.Logf("%6.1f s: %v", time.Since(begun).Seconds(), f)
				if f.ofNode != nil {
					f.ofNode(t, s.nodes[f.node], f.length)
				} else if err := f.ofTheDatabase(s.db, f.length); err != nil {
					t.Errorf("%v: %v", f, err)
				}
			}
		})
	}
	running.Wait()
}

// calm asks that, when no fault is left, every node serves again by itself and that no destination has more connections
// than it may.
func (s *scene) calm(t *testing.T) {
	t.Helper()
	over := time.Now()
	before := s.accepted()
	for resumed := false; !resumed; time.Sleep(20 * time.Millisecond) {
		resumed = true
		for i, n := range s.accepted() {
			resumed = resumed && n > before[i]
		}
		if time.Since(over) > time.Minute {
			t.Fatalf("a minute after the last fault not every node accepts: %v, then %v\n%s", before, s.accepted(), s.nodes[0].p.Log())
		}
	}
	resumed := time.Since(over)
	time.Sleep(dead + 2*time.Second) // until each node knows how many share a destination
	for _, d := range s.doors {
		d.Peak()
	}
	before = s.accepted()
	time.Sleep(2 * time.Second)
	for i, d := range s.doors {
		p := d.Peak()
		if p > concurrency {
			t.Errorf("destination %d had %d connections at once, may have %d", i, p, concurrency)
		}
		t.Logf("calm: served again after %v; destination %d had %d connections at most; accepted by node %v, then %v", resumed.Round(time.Millisecond), i, p, before, s.accepted())
	}
}

func (s *scene) accepted() (each []int64) {
	for _, n := range s.nodes {
		each = append(each, n.accepted.Load())
	}
	return each
}

// settle lets everything end, stops the nodes and holds what was promised against what arrived.
func (s *scene) settle(t *testing.T) {
	t.Helper()
	store, err := postgres.Open(t.Context(), s.db.primary.DSN("ledger"), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	lab.Drain(t, store, 2*time.Minute)
	for _, n := range s.nodes {
		n.stop(t)
	}
	s.verify(t)
	a := lab.Check(t, store, s.keys.Open, s.load, s.sink)
	for _, n := range s.nodes {
		for _, line := range n.says("panic", "will be repeated and marked") {
			t.Errorf("%s says: %s", n.name, line)
		}
		t.Logf("%s accepted %d, ended by itself at its start %d times", n.name, n.accepted.Load(), len(n.ended))
		slices.Sort(n.ended)
		for _, words := range slices.Compact(n.ended) {
			t.Logf("  %s", words)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wrong {
		t.Error(w)
	}
	t.Logf("refused with 4yz %d; the slowest answer of a node that was well took %v; marked %d of %d", s.refused, s.slowest.Round(time.Millisecond), a.Marked, a.Accepted)
	if s.slowest > slow {
		t.Errorf("a node that was well let a client wait for %v", s.slowest)
	}
}

// verify asks the program itself.
func (s *scene) verify(t *testing.T) {
	t.Helper()
	out, err := exec.Command(s.binary, "verify", "--config", s.nodes[0].config, "--json").CombinedOutput()
	if err != nil {
		t.Errorf("postvagt verify: %v\n%s", err, out)
	}
	var v ledger.Verification
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("postvagt verify says %s: %v", out, err)
	}
	if v.Unaccounted != 0 || v.Open != 0 || v.Chain != "ok" || v.Bodies != "ok" {
		t.Errorf("postvagt verify: %s", out)
	}
	t.Logf("postvagt verify: %s", out)
}
