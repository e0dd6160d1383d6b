package witness

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
)

// chain is a ledger of one chain: its seals, and its facts. A copy of it is a backup.
type chain struct {
	seals [][]byte
	facts map[string]string
	ended []ledger.Attempt
	away  error
}

func (c *chain) Delivery(_ context.Context, id ledger.DeliveryID) (ledger.Claimed, error) {
	if int(id) > len(c.ended) {
		return ledger.Claimed{}, ledger.ErrNotFound
	}
	return ledger.Claimed{Message: ledger.Message{ID: "m"}}, c.away
}

func (c *chain) Story(context.Context, ledger.MessageID) (ledger.Story, error) {
	return ledger.Story{Attempts: c.ended}, c.away
}

func (c *chain) copy() *chain {
	facts := map[string]string{}
	for k, v := range c.facts {
		facts[k] = v
	}
	return &chain{seals: slices.Clone(c.seals), facts: facts, ended: slices.Clone(c.ended)}
}

func (c *chain) seal(b byte) { c.seals = append(c.seals, bytes.Repeat([]byte{b}, 32)) }

func (c *chain) Heads(_ context.Context, seen []ledger.Head) (heads, missing []ledger.Head, err error) {
	if n := len(c.seals); n > 0 {
		heads = []ledger.Head{{Authority: "a", Last: int64(n), Hash: c.seals[n-1]}}
	}
	for _, s := range seen {
		if s.Authority != "a" || s.Last > int64(len(c.seals)) || !bytes.Equal(c.seals[s.Last-1], s.Hash) {
			missing = append(missing, s)
		}
	}
	return heads, missing, c.away
}

func (c *chain) Get(_ context.Context, name string) (string, error) { return c.facts[name], c.away }
func (c *chain) Put(_ context.Context, name, value string) error {
	if c.facts == nil {
		c.facts = map[string]string{}
	}
	c.facts[name] = value
	return c.away
}

func newWitness(t *testing.T, path string, l Ledger) *Witness {
	t.Helper()
	w, err := New(path, l)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func look(t *testing.T, w *Witness, past bool) {
	t.Helper()
	if err := w.Look(t.Context()); past != errors.Is(err, ledger.ErrPast) || !past && err != nil {
		t.Fatalf("look: %v, want the past: %v", err, past)
	}
}

// TestPast: what was seen must be there, over restarts, until the ledger is declared restored; and that again after the next restore.
func TestPast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	live := &chain{}
	w := newWitness(t, path, live)
	look(t, w, false) // nothing yet
	live.seal(1)
	look(t, w, false)
	backup := live.copy()
	live.seal(2)
	live.seal(3)
	look(t, w, false)

	look(t, newWitness(t, path, live), false)
	past := backup.copy()
	w = newWitness(t, path, past)
	look(t, w, true)
	look(t, newWitness(t, path, past), true) // looking forgives nothing
	past.seal(9)
	past.seal(9)
	past.seal(9)
	look(t, w, true) // nor does going on: it is another chain now
	if err := w.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	look(t, w, false)
	look(t, newWitness(t, path, past), false)

	look(t, newWitness(t, path, backup), true) // a second restore, to before the first was declared
	look(t, newWitness(t, path, &chain{}), true)
}

// TestNodes: what is declared on one node holds for those that saw the lost time before; not for what they see afterwards.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		live := &chain{}
		live.seal(1)
		backup := live.copy()
		live.seal(2)
		one, two := newWitness(t, filepath.Join(dir, "one"), live), newWitness(t, filepath.Join(dir, "two"), live)
		look(t, one, false)
		look(t, two, false)
		time.Sleep(time.Minute)
		past := backup.copy()
		one.l, two.l = past, past
		look(t, one, true)
		look(t, two, true)
		if err := one.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		look(t, two, false)
		time.Sleep(time.Minute)
		declared := past.copy()
		past.seal(5)
		look(t, one, false)
		look(t, two, false)
		one.l, two.l = declared, declared
		look(t, one, true)
		look(t, two, true)
	})
}

// TestAway: a ledger that does not answer is not the past, and what was seen stays.
func TestAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	live := &chain{}
	live.seal(1)
	w := newWitness(t, path, live)
	look(t, w, false)
	live.away = errors.New("away")
	if err := w.Look(t.Context()); err == nil || errors.Is(err, ledger.ErrPast) {
		t.Fatalf("a ledger that is away: %v", err)
	}
	if at, ok := w.Seen(); !ok || at.IsZero() {
		t.Fatal("what was seen is forgotten")
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(path, &chain{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("a damaged file: %v", err)
	}
}

// nodes counts beats.
type nodes struct {
	ledger.Cluster
	beats int
}

func (n *nodes) Beat(context.Context, time.Time, string, string, time.Duration) (ledger.Alive, error) {
	n.beats++
	return ledger.Alive{Nodes: 1}, nil
}

// TestBeforeBeat: a node does not beat in the past, and so begins nothing there; that its disk is full does not stop it.
func TestBeforeBeat(t *testing.T) {
	dir := t.TempDir()
	live := &chain{}
	live.seal(1)
	backup := live.copy()
	w, n := newWitness(t, filepath.Join(dir, "state", "seen"), live), &nodes{}
	beat := func() error {
		_, err := w.Before(n).Beat(t.Context(), time.Now(), "n1", "life", time.Second)
		return err
	}
	if err := w.Look(t.Context()); !errors.Is(err, ErrForgetful) {
		t.Fatalf("a folder that is not there: %v", err)
	}
	if err := beat(); err != nil || n.beats != 1 {
		t.Fatalf("a beat of one who cannot remember: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	live.seal(2)
	if err := beat(); err != nil || n.beats != 2 {
		t.Fatal(err)
	}
	w.l = backup
	if err := beat(); !errors.Is(err, ledger.ErrPast) || n.beats != 2 {
		t.Fatalf("a beat in the past: %v, %d beats", err, n.beats)
	}
}

// TestWatch: the running guard is told once the ledger has gone back.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := &chain{}
		live.seal(1)
		backup := live.copy()
		live.seal(2)
		w := newWitness(t, filepath.Join(t.TempDir(), "seen"), live)
		look(t, w, false)
		fell := make(chan error, 1)
		go w.Watch(t.Context(), time.Second, slog.New(slog.DiscardHandler), func(err error) { fell <- err })
		time.Sleep(10 * time.Second)
		if len(fell) > 0 {
			t.Fatal(<-fell)
		}
		w.mu.Lock()
		w.l = backup
		w.mu.Unlock()
		if err := <-fell; !errors.Is(err, ledger.ErrPast) {
			t.Fatal(err)
		}
	})
}

// TestAcked: an attempt that the ledger said it holds must be there, before any seal covers it; and a new connection is looked at
// before work is taken over it, and after.
func TestAcked(t *testing.T) {
	live, path := &chain{}, filepath.Join(t.TempDir(), "seen")
	live.seal(1)
	w := newWitness(t, path, live)
	look(t, w, false)
	backup := live.copy()
	end := func(no int, err error) {
		a := ledger.Attempt{Delivery: 1, No: no, Node: "n1"}
		if err == nil {
			live.ended = append(live.ended, a)
		}
		w.Acked([]ledger.Change{{Attempt: &a}}, []error{err})
	}
	end(1, nil)
	end(2, errors.New("perhaps not"))
	look(t, w, false)
	between := live.copy()
	end(2, nil)
	look(t, w, false)
	for _, past := range []*chain{backup, between} {
		w.l = past
		if err := w.Sure(t.Context()); err != nil {
			t.Fatalf("without a new connection: %v", err)
		}
		w.Connected()
		for range 2 { // it stays in doubt
			if err := w.Sure(t.Context()); !errors.Is(err, ledger.ErrPast) {
				t.Fatalf("over a new connection: %v", err)
			}
		}
		// The next start does not know what was acknowledged, but that something was missing; until it is declared restored.
		next := newWitness(t, path, past)
		look(t, next, true)
		if err := next.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		look(t, newWitness(t, path, past), false)
		w.seen = memory{} // as it was
		w.l = live
		look(t, w, false)
	}
}
