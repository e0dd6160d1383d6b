package lab

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// Drain waits until nothing in the ledger is open any more. A question that fails is asked again.
func Drain(t testing.TB, store ledger.Store, within time.Duration) {
	t.Helper()
	var sums ledger.Sums
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if sums, err = store.Sums(t.Context()); err == nil && sums.Open == 0 {
			return
		}
	}
	ids, findErr := store.Find(t.Context(), ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}, Limit: 3})
	if findErr != nil {
		t.Error(findErr)
	}
	for _, id := range ids {
		story, err := store.Story(t.Context(), id)
		t.Logf("open: %+v\nattempts %+v\nevents %+v (%v)", story.Deliveries, story.Attempts, story.Events, err)
	}
	t.Fatalf("still open after %v: %+v, %v", within, sums, err)
}

// Account is the sum at the end of a run.
type Account struct {
	Accepted, Delivered, Told, Lost int
	Twice, Marked                   int // messages that arrived more than once, and deliveries marked as possibly delivered
	Unheard                         int // messages without a 250 that arrived: their promise was made and not heard
}

// Check holds what the load was promised against what arrived at the sink, when nothing is open any more: nothing lost, and
// twice only what the ledger marks. open is spool.Keys.Open.
func Check(t testing.TB, store ledger.Store, open func(id string, sealed []byte) ([]byte, error), l *Load, k *Sink) (a Account) {
	t.Helper()
	v, err := store.Verify(t.Context(), open)
	if err != nil {
		t.Fatal(err)
	}
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		t.Errorf("the laws do not hold: %+v", v)
	}
	k.mu.Lock()
	told := strings.Join(k.told, "\n")
	k.mu.Unlock()
	var mu sync.Mutex
	accepted := l.Accepted()
	each(slices.Collect(maps.Keys(accepted)), func(number string) {
		story, err := store.Story(t.Context(), ledger.MessageID(accepted[number]))
		mu.Lock()
		defer mu.Unlock()
		if a.Accepted++; err != nil {
			t.Errorf("%s was promised as %s: %v", number, accepted[number], err)
			a.Lost++
			return
		}
		a.count(t, number, story, k.Copies(number), strings.Contains(told, accepted[number]))
	})
	each(l.Others(), func(number string) {
		copies := k.Copies(number)
		if copies > 1 && !marked(t.Context(), t, store, number) {
			t.Errorf("%s arrived %d times and is not marked", number, copies)
		}
		mu.Lock()
		defer mu.Unlock()
		if copies > 0 {
			a.Unheard++
		}
	})
	t.Logf("accepted %d = delivered %d + told %d + open 0; lost %d; arrived twice %d, all among %d marked; %d more arrived whose 250 was not heard",
		a.Accepted, a.Delivered, a.Told, a.Lost, a.Twice, a.Marked, a.Unheard)
	return a
}

// count adds a promised message to the account.
func (a *Account) count(t testing.TB, number string, story ledger.Story, copies int, told bool) {
	t.Helper()
	d := story.Deliveries[0]
	if d.Possibly {
		a.Marked++
	}
	switch {
	case d.State == ledger.Delivered && copies > 0:
		a.Delivered++
	case d.State == ledger.Returned && told:
		a.Told++
	default:
		a.Lost++
		t.Errorf("%s (%s) is %s with %d copies", number, story.Message.ID, d.State, copies)
	}
	if copies > 1 {
		a.Twice++
		if !d.Possibly {
			t.Errorf("%s (%s) arrived %d times and is not marked\nattempts %+v", number, story.Message.ID, copies, story.Attempts)
		}
	}
}

// each calls f for every number, several at once.
func each(numbers []string, f func(number string)) {
	var wg sync.WaitGroup
	next := make(chan string)
	for range 8 {
		wg.Go(func() {
			for n := range next {
				f(n)
			}
		})
	}
	for _, n := range numbers {
		next <- n
	}
	close(next)
	wg.Wait()
}

// marked reports whether the ledger marks the message of that number as possibly delivered.
func marked(ctx context.Context, t testing.TB, store ledger.Store, number string) bool {
	t.Helper()
	ids, err := store.Find(ctx, ledger.Query{HeaderID: headerID(number)})
	if err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		story, err := store.Story(ctx, id)
		if err != nil {
			t.Error(err)
			continue
		}
		if story.Deliveries[0].Possibly {
			return true
		}
	}
	return false
}
