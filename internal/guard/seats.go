package guard

import (
	"context"
	"slices"
	"time"

	"postvagt/internal/ledger"
)

const (
	hotBytes   = 48 << 20    // bodies handed from accept to the first attempt in memory
	queueDepth = 4           // attempts waiting in memory per attempt under way in a lane
	seatWait   = time.Second // how long an acceptance waits for a seat in a lane that moves
)

// seats are places in lanes, taken before a message is accepted, so that its first attempt can follow at once.
type seats struct {
	d      *dispatcher
	lanes  map[string]int
	h      hot
	size   int64
	era    time.Time // when they were taken: see heart.era
	taken  bool
	called bool // its turn to look has come
}

// gate lets a lane's attempts through, at most so many at once as this node's share of the limit is just then; the
// dispatcher's mu guards it.
type gate struct {
	busy  int         // attempts under way
	queue []chan bool // attempts that wait, the first first; true: go, false: this node has no share any more
}

// enter waits until an attempt may go through the lane's gate. false: it is not to be made here.
func (d *dispatcher) enter(l *lane) bool {
	turn := make(chan bool, 1)
	d.mu.Lock()
	l.gate.queue = append(l.gate.queue, turn)
	l.gate.admit(d.limit)
	d.mu.Unlock()
	return <-turn
}

// exit ends an attempt; the dispatcher's mu is held.
func (g *gate) exit(limit int) {
	g.busy--
	g.admit(limit)
}

// admit lets through what the limit allows. A limit of 0 sends all away: who knows when there will be a share again.
func (g *gate) admit(limit int) {
	for len(g.queue) > 0 && (limit == 0 || g.busy < limit) {
		if limit > 0 {
			g.busy++
		}
		g.queue[0] <- limit > 0
		g.queue = g.queue[1:]
	}
}

// setLimit sets how many attempts may be under way in each lane, and reports whether that is another number than before. Those
// under way beyond a lower limit may end.
func (d *dispatcher) setLimit(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == d.limit {
		return false
	}
	d.limit = n
	for _, l := range d.lanes {
		l.gate.admit(n)
		for range len(l.waiting) {
			l.next()
		}
	}
	return true
}

// reserve takes a seat for every job the acceptance makes, or none at all (nil). Where a lane is full and moves it waits a
// moment: then mail that comes faster than it leaves slows down, instead of all going through the ledger.
func (d *dispatcher) reserve(ctx context.Context, a ledger.Acceptance, h hot) *seats {
	s := d.needed(a, h)
	if len(s.lanes) == 0 {
		return nil
	}
	if turn := d.take(s, true); turn != nil {
		timer := time.NewTimer(seatWait)
		defer timer.Stop()
		for turn != nil {
			select {
			case <-turn:
				s.called = true
				turn = d.take(s, true)
				continue
			case <-timer.C:
			case <-ctx.Done():
			}
			d.leave(s, turn)
			turn = d.take(s, false)
		}
	}
	if !s.taken {
		return nil
	}
	return s
}

// needed are the seats that the acceptance's jobs need: one for each lane and body.
func (d *dispatcher) needed(a ledger.Acceptance, h hot) *seats {
	s := &seats{d: d, lanes: map[string]int{}, h: h}
	type key struct {
		lane string
		body int
	}
	jobs := map[key]bool{}
	for _, n := range a.Deliveries {
		if n.State == ledger.Queued && !jobs[key{n.Lane, n.Body}] {
			jobs[key{n.Lane, n.Body}] = true
			s.lanes[n.Lane]++
		}
	}
	for _, b := range h.bodies {
		s.size += int64(len(b))
	}
	return s
}

// take takes the seats if there is room for all. If not, and with wait, and waiting can help, it queues up for the lane
// that is full and returns the channel that is closed when it is worth another try.
func (d *dispatcher) take(s *seats, wait bool) (turn chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || !d.g.heart.proven() {
		return nil
	}
	var full *lane
	for name, n := range s.lanes {
		l := d.lane(name)
		if l.backlog || l.fails > 0 {
			return nil // new mail goes behind what is waiting
		}
		if d.hot+s.size > hotBytes || l.seats+n > d.limit*(1+queueDepth) || wait && !s.called && len(l.waiting) > 0 {
			full = l // a newcomer does not go before those who wait
		}
	}
	switch {
	case full == nil:
	case wait && full.seats > 0:
		turn = make(chan struct{})
		at := len(full.waiting)
		if s.called {
			at = 0 // its turn had come, but it needs more than was free
		}
		full.waiting = slices.Insert(full.waiting, at, turn)
		return turn
	default:
		return nil
	}
	s.taken, s.era = true, d.g.heart.era()
	d.hot += s.size
	for name, n := range s.lanes {
		d.lane(name).seats += n
		d.running.Add(n)
	}
	return nil
}

// leave gives up a place in the queue for seats. If its turn came just then it is used up: the caller looks once more.
func (d *dispatcher) leave(s *seats, turn chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range s.lanes {
		l := d.lane(name)
		if i := slices.Index(l.waiting, turn); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return
		}
	}
}

// next tells the first that waits for a seat in the lane to look; the dispatcher's mu is held.
func (l *lane) next() {
	if len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// free gives the seats back unused. A nil s is none.
func (s *seats) free() {
	if s == nil {
		return
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.giveBack()
	s.d.hot -= s.size
}

// giveBack frees the seats that no attempt has taken; who was turned away meanwhile may have them. d.mu is held.
func (s *seats) giveBack() {
	for name, n := range s.lanes {
		l := s.d.lane(name)
		l.seats -= n
		for range n {
			l.next()
		}
		s.d.running.Add(-n)
		if n > 0 && l.backlog {
			s.d.wake()
		}
	}
}

// start begins the attempts for the accepted work. A nil s is none.
func (s *seats) start(work []ledger.Claimed) {
	if s == nil {
		return
	}
	left := len(work)
	done := func() {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		if left--; left == 0 {
			s.d.hot -= s.size
		}
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if left == 0 {
		s.d.hot -= s.size
	}
	for _, c := range work {
		l := s.d.lane(c.Deliveries[0].Lane)
		s.lanes[c.Deliveries[0].Lane]--
		s.d.hold(c, true)
		go s.d.attempt(l, c, job{head: s.h.head, body: s.h.bodies[c.Deliveries[0].Body], done: done, era: s.era})
	}
	s.giveBack() // fewer jobs than seats
}
