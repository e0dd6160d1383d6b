// Package crash kills the real program at random moments under load, restarts it, and shows that what it had accepted is
// delivered, told or still open: nothing lost, and twice only what is marked as possibly delivered.
package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postvagt/internal/lab"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/spool"
)

var (
	kills = flag.Int("kills", 200, "how often the program is killed")
	seed  = flag.Uint64("seed", 0, "seed of the moments; 0 picks one and prints it")
)

func TestKilledAnywhere(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("replay with -kills %d -seed %d", *kills, *seed)
	random := rand.New(rand.NewPCG(*seed, 1))
	s := newScene(t, t.TempDir())
	s.load.Start(t.Context(), 6, 0)
	for n := range *kills {
		p := s.start(t)
		s.load.Wanted.Store(true)
		time.Sleep(time.Duration(50+random.IntN(350)) * time.Millisecond)
		if n%10 == 9 { // some die with the load off, in the middle of what waits
			s.load.Wanted.Store(false)
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		}
		p.Kill(t)
		s.clean(t, p)
	}
	s.load.Wanted.Store(false)
	s.load.End()
	s.sink.Gentle.Store(true)
	s.settle(t, s.start(t))
	if n := len(s.load.Accepted()); n < *kills {
		t.Errorf("only %d messages were accepted: that is no load", n)
	}
}

// scene is a program to kill, a load on it, and a next hop that counts.
type scene struct {
	binary, config, dir string
	addr                string
	sink                *lab.Sink
	load                *lab.Load
}

// newScene builds the program and sets everything up with its ledger in dir; nothing is started yet but the sink.
func newScene(t *testing.T, dir string) *scene {
	t.Helper()
	s := &scene{dir: dir, sink: lab.NewSink(), binary: lab.Build(t), addr: lab.FreeAddr(t)}
	s.config = filepath.Join(s.dir, "postvagt.yaml")
	err := os.WriteFile(s.config, fmt.Appendf(nil, `
host: vagt.eksempel.example
authorities: [{name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example}]
listen: {smtp: %q}
trusted: [127.0.0.0/8]
store: {sqlite: %q}
log: {level: warn}
delivery: {retry: [1s]}
routes: [{to: "*", smarthost: %q, level: cleartext}]
`, s.addr, filepath.Join(s.dir, "ledger.db"), s.sink.Open(t).Addr()), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.load = lab.NewLoad(func(_, n int) (addr, to string, done func(error, time.Duration)) {
		if n%10 == 3 {
			return s.addr, lab.NoMailbox, nil
		}
		return s.addr, "modtager@borger.example", nil
	})
	t.Cleanup(s.load.End)
	return s
}

func (s *scene) start(t *testing.T) *lab.Process {
	t.Helper()
	return lab.Start(t, s.binary, s.config, s.addr)
}

// clean checks that the program complained of nothing.
func (s *scene) clean(t *testing.T, p *lab.Process) {
	t.Helper()
	for _, line := range p.Complaints("panic", "level=ERROR") {
		t.Errorf("the program says: %s", line)
	}
}

// settle lets everything end, stops the program and holds what was promised against what arrived.
func (s *scene) settle(t *testing.T, p *lab.Process) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(s.dir, "ledger.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	lab.Drain(t, store, time.Minute)
	p.Stop(t)
	keys, err := spool.Load(filepath.Join(s.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	lab.Check(t, store, keys.Open, s.load, s.sink)
}
