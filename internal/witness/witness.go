// Package witness notices that a ledger went back in time. Beside the guard, outside the ledger, it keeps where the ledger's
// chains ended when this node last looked. A ledger that does not hold these seals is an earlier one, brought back from a
// copy: what waits in it may have been delivered since, and nobody serves it until a person has said so (postvagt restored).
//
// Every node keeps its own file. The ledger itself keeps when it was last declared restored; that forgives all that was seen
// before, on every node.
package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postvagt/internal/ledger"
)

// Ledger is what is watched over.
type Ledger interface {
	ledger.Chained
	Get(ctx context.Context, name string) (string, error)
	Put(ctx context.Context, name, value string) error
	Delivery(ctx context.Context, id ledger.DeliveryID) (ledger.Claimed, error)
	Story(ctx context.Context, id ledger.MessageID) (ledger.Story, error)
}

// restoredFact is the ledger's note of when it was last declared restored.
const restoredFact = "restored"

// Witness remembers. Safe for concurrent use.
type Witness struct {
	path string
	l    Ledger

	mu   sync.Mutex
	seen memory

	doubt atomic.Bool // the ledger may be another than at the last look: a connection was made since
	acked struct {
		sync.Mutex
		attempt *ledger.Attempt // the newest that the ledger said it has; nil: none
		at      time.Time
	}
}

// memory is the file: what was seen last, and when.
type memory struct {
	At    time.Time     `json:"at"`
	Heads []ledger.Head `json:"heads"`
	Lacks string        `json:"lacks,omitempty"` // what this node knew, before any seal, and the ledger had not: it is the past until declared restored
}

// New reads what this node has seen from the file at path; none is a node that has seen nothing yet.
func New(path string, l Ledger) (*Witness, error) {
	w := &Witness{path: path, l: l}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &w.seen)
	}
	if err != nil {
		return nil, fmt.Errorf("read what this guard has seen of the ledger: %s: %w; if the file is damaged, see whether the ledger was restored "+
			"(if so: 'postvagt restored'), then remove it", path, err)
	}
	return w, nil
}

// ErrForgetful: what was seen could not be written down. Nothing is wrong with the ledger.
var ErrForgetful = errors.New("what this guard sees of the ledger cannot be kept")

// Look compares the ledger with what was seen, and remembers where it stands now. ErrPast: something that was seen is missing;
// then nothing is remembered.
func (w *Witness) Look(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().UTC() // before the question: what is declared restored meanwhile is later
	doubt := w.doubt.Swap(false)
	err := w.look(ctx, at)
	if err != nil && doubt {
		w.doubt.Store(true)
	}
	return err
}

func (w *Witness) look(ctx context.Context, at time.Time) error {
	heads, missing, err := w.l.Heads(ctx, w.seen.Heads)
	if err != nil {
		return err
	}
	if len(missing) > 0 || w.seen.Lacks != "" {
		restored, err := w.restored(ctx)
		if err != nil {
			return err
		}
		if !restored.After(w.seen.At) {
			return w.past(missing)
		}
	}
	lacks, err := w.lacksAcked(ctx)
	if err != nil {
		return err
	}
	if lacks != "" {
		// Written down for the next start, which does not know what was acknowledged to this one. Where that fails, the past is still the past.
		_ = w.remember(memory{at, w.seen.Heads, lacks})
		w.seen.Lacks = lacks
		return w.past(nil)
	}
	if w.seen.Lacks == "" && same(heads, w.seen.Heads) {
		return nil
	}
	return w.remember(memory{At: at, Heads: heads})
}

// past says what is missing.
func (w *Witness) past(missing []ledger.Head) error {
	var what []string
	if w.seen.Lacks != "" {
		what = append(what, w.seen.Lacks)
	}
	for _, m := range missing {
		what = append(what, fmt.Sprintf("event %d of %s", m.Last, m.Authority))
	}
	return fmt.Errorf("%w: this guard has seen %s (%s), and the ledger does not hold it. It was brought back from a copy, or is another one. "+
		"What waits in it may have been delivered since, so nothing is sent", ledger.ErrPast, strings.Join(what, ", "), w.seen.At.Format(time.RFC3339))
}

// Connected says that a new connection was made: whatever it leads to is looked at before work is begun.
func (w *Witness) Connected() { w.doubt.Store(true) }

// Sure looks when a connection was made since the last look. Ask it before and after work is taken from the ledger: what was
// taken over the new connection may be of the past.
func (w *Witness) Sure(ctx context.Context) error {
	if !w.doubt.Load() {
		return nil
	}
	err := w.Look(ctx)
	if errors.Is(err, ErrForgetful) {
		return nil
	}
	return err
}

// Acked notes attempts that the ledger has said it holds. The seals come later: in between, this is what was seen.
func (w *Witness) Acked(changes []ledger.Change, errs []error) {
	for i, c := range changes {
		if c.Attempt != nil && errs[i] == nil {
			w.acked.Lock()
			w.acked.attempt, w.acked.at = c.Attempt, time.Now()
			w.acked.Unlock()
		}
	}
}

// ackedFor is how long an attempt is looked for: long before retention may take it, and long after it was sealed.
const ackedFor = 10 * time.Minute

// lacksAcked looks for the newest attempt that the ledger has said it holds, and names it when it is not there.
func (w *Witness) lacksAcked(ctx context.Context) (string, error) {
	w.acked.Lock()
	a, at := w.acked.attempt, w.acked.at
	w.acked.Unlock()
	if a == nil || time.Since(at) > ackedFor {
		return "", nil
	}
	c, err := w.l.Delivery(ctx, a.Delivery)
	if err == nil {
		var story ledger.Story
		if story, err = w.l.Story(ctx, c.Message.ID); err == nil && slices.ContainsFunc(story.Attempts, func(b ledger.Attempt) bool {
			return b.Delivery == a.Delivery && b.No == a.No && b.Node == a.Node
		}) {
			return "", nil
		}
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return "", err
	}
	return fmt.Sprintf("the end of attempt %d of delivery %d", a.No, a.Delivery), nil
}

// restored is when the ledger was last declared restored; the zero time: never.
func (w *Witness) restored(ctx context.Context) (time.Time, error) {
	text, err := w.l.Get(ctx, restoredFact)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, text)
}

// Accept declares the ledger, as it stands now, the one that counts, for every node.
func (w *Witness) Accept(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().UTC()
	if err := w.l.Put(ctx, restoredFact, at.Format(time.RFC3339Nano)); err != nil {
		return err
	}
	heads, _, err := w.l.Heads(ctx, nil)
	if err != nil {
		return err
	}
	return w.remember(memory{At: at, Heads: heads})
}

// Seen is when the ledger last held what was seen, and whether anything was.
func (w *Witness) Seen() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.At, len(w.seen.Heads) > 0
}

// remember writes the file, whole or not at all.
func (w *Witness) remember(m memory) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := replace(w.path, append(data, '\n')); err != nil {
		return fmt.Errorf("%w beside its keys or its ledger: %w", ErrForgetful, err)
	}
	w.seen = m
	return nil
}

func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func same(a, b []ledger.Head) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Authority != b[i].Authority || a[i].Last != b[i].Last || string(a[i].Hash) != string(b[i].Hash) {
			return false
		}
	}
	return true
}

// Watch looks again and again until ctx ends, and tells fall when the ledger has gone back, and log, once, when what is seen cannot be
// kept. Other errors are of a ledger that is away: there is nothing to see then.
func (w *Witness) Watch(ctx context.Context, every time.Duration, log *slog.Logger, fall func(error)) {
	forgetful := false
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.Look(ctx)
		if errors.Is(err, ledger.ErrPast) {
			fall(err)
			return
		}
		is := errors.Is(err, ErrForgetful)
		if is && !forgetful {
			log.Error("a restored ledger would not be noticed until this is mended", "err", err)
		}
		forgetful = is
	}
}

// Before is c with a look before every beat: a node whose ledger was away, and came back as another, does not live in it.
func (w *Witness) Before(c ledger.Cluster) ledger.Cluster { return watched{c, w} }

type watched struct {
	ledger.Cluster
	w *Witness
}

func (c watched) Beat(ctx context.Context, now time.Time, node, life string, ttl time.Duration) (ledger.Alive, error) {
	if err := c.w.Look(ctx); err != nil && !errors.Is(err, ErrForgetful) {
		return ledger.Alive{}, err
	}
	return c.Cluster.Beat(ctx, now, node, life, ttl)
}
