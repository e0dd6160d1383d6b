package ledgertest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

var seedFlag = flag.Uint64("ledger.seed", 0, "seed of the random lives; 0: a fresh one, which is printed")

// testRandom lets chance do everything that the guard and people do, with faults and openings in between, and checks
// the laws again and again. -ledger.seed repeats a run.
func testRandom(t *testing.T, open Open) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ledger.seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, r: r, now: start, delivered: map[ledger.DeliveryID]ledger.State{}}
	w.open(open)
	defer func() { w.s.Close() }()
	for step := range 400 {
		w.step(open)
		if step%40 == 39 {
			w.check()
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
}

// Live fills a ledger: chance lives through so many steps of what the guard and people do, so that deliveries of every kind stand in
// every state. open is called again and again; the ledger is closed at the end. The seed is printed, and -ledger.seed repeats it.
func Live(t *testing.T, open Open, steps int) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-ledger.seed=%d", seed)
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 0)), now: start, delivered: map[ledger.DeliveryID]ledger.State{}}
	whole := func(func(string) error) (ledger.Store, error) { return open(nil) }
	w.open(whole)
	for range steps {
		w.step(whole)
	}
	if err := w.s.Close(); err != nil {
		t.Error(err)
	}
}

// world is a ledger and what the test knows of it.
type world struct {
	t         *testing.T
	r         *rand.Rand
	s         ledger.Store
	now       time.Time
	all       []ledger.MessageID
	held      []ledger.Delivery // leases that the node believes to have
	accepted  int64
	unsure    int64                              // deliveries and notices that a fault left in doubt
	delivered map[ledger.DeliveryID]ledger.State // final states that were seen
}

func (w *world) open(open Open) {
	w.t.Helper()
	chance := rand.New(rand.NewPCG(w.r.Uint64(), 1))
	s, err := open(func(string) error { // called by one goroutine only
		if chance.IntN(25) == 0 {
			return errFault
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
	for {
		_, err := s.Recover(w.t.Context(), w.now, "n1")
		if err == nil {
			break
		}
	}
	w.held = nil
}

func (w *world) step(open Open) {
	w.now = w.now.Add(time.Duration(w.r.IntN(120)) * time.Second)
	switch n := w.r.IntN(100); {
	case n < 30:
		w.accept()
	case n < 50:
		w.claim()
	case n < 85 && len(w.held) > 0:
		w.end()
	case n < 93 && len(w.all) > 0:
		w.person()
	case n < 96:
		w.ignore(w.s.Seal(w.t.Context(), w.now))
	case n < 98:
		if err := w.s.Close(); err != nil && !errors.Is(err, errFault) {
			w.t.Errorf("close: %v", err)
		}
		w.open(open)
	}
}

// ignore accepts the errors that may come to somebody whose knowledge is old, or through a fault.
func (w *world) ignore(err error) {
	w.t.Helper()
	for _, known := range []error{errFault, ledger.ErrState, ledger.ErrFenced, ledger.ErrLeased} {
		if errors.Is(err, known) {
			return
		}
	}
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) accept() {
	a := mail(1 + w.r.IntN(3))
	a.Message.AcceptedAt = w.now
	var about []int
	for i := range a.Deliveries {
		d := &a.Deliveries[i]
		d.Verdict.Class = class.All[w.r.IntN(len(class.All))]
		d.Lane, d.Due, d.Deadline = fmt.Sprintf("lane%d", w.r.IntN(3)), w.now, w.now.Add(time.Hour)
		switch w.r.IntN(6) {
		case 0:
			d.State = ledger.Held
		case 1:
			d.State = ledger.Returning
			about = append(about, i)
		}
	}
	if about != nil {
		n := w.notice(ledger.TellReturned)
		n.About = about
		a.Notices = []ledger.NewNotice{n}
	}
	if w.r.IntN(2) == 0 {
		a.Claim = &ledger.Claim{Node: "n1", Lease: time.Minute}
	}
	work, err := w.s.Accept(w.t.Context(), a)
	if errors.Is(err, errFault) { // a client whose mail was not taken for sure sends it again
		for err != nil {
			_, err = w.s.Accept(w.t.Context(), a)
			if err != nil && !errors.Is(err, errFault) {
				w.t.Error(err)
				return
			}
		}
	}
	w.ignore(err)
	w.all = append(w.all, a.Message.ID)
	w.accepted += int64(len(a.Deliveries) + len(a.Notices))
	for _, c := range work {
		w.held = append(w.held, c.Deliveries...)
	}
}

func (w *world) notice(tells ledger.TellKind) ledger.NewNotice {
	n := notice(tells)
	n.Message.AcceptedAt, n.Delivery.Due, n.Delivery.Deadline = w.now, w.now, w.now.Add(time.Hour)
	n.Delivery.Lane = fmt.Sprintf("lane%d", w.r.IntN(3))
	return n
}

func (w *world) claim() {
	node := "n1"
	if w.r.IntN(4) == 0 {
		node = "n2"
	}
	work, err := w.s.Claim(w.t.Context(), w.now, ledger.Claim{Node: node, Lane: fmt.Sprintf("lane%d", w.r.IntN(3)), Max: 1 + w.r.IntN(4), Lease: time.Minute})
	w.ignore(err)
	for _, c := range work {
		w.held = append(w.held, c.Deliveries...)
	}
}

// end ends an attempt, somehow, perhaps one that was lost long ago, perhaps twice.
func (w *world) end() {
	i := w.r.IntN(len(w.held))
	d := w.held[i]
	if w.r.IntN(8) > 0 {
		w.held = append(w.held[:i], w.held[i+1:]...)
	}
	c, err := w.s.Delivery(w.t.Context(), d.ID)
	if err != nil {
		w.t.Error(err)
		return
	}
	to := []ledger.State{ledger.Delivered, ledger.Delivered, ledger.Queued, ledger.Held, ledger.Returning}[w.r.IntN(5)]
	if c.Message.Kind == ledger.Notice && to == ledger.Returning {
		to = ledger.Delivered
	}
	change := ended(d, to, w.now)
	change.Due, change.Deadline = w.now.Add(time.Minute), w.now.Add(time.Hour)
	if c.Message.Kind == ledger.Notice && to == ledger.Queued {
		change.Climb = &ledger.Climb{Recipient: ledger.Address{Shown: "net@eksempel.example"}, Lane: "lane0", Rung: 1, Body: []byte("next rung")}
	}
	if to == ledger.Returning {
		change.Notices = []ledger.NewNotice{w.notice(ledger.TellReturned)}
	}
	w.apply(change)
}

// person releases or withdraws something, or takes a notice.
func (w *world) person() {
	st, err := w.s.Story(w.t.Context(), w.all[w.r.IntN(len(w.all))])
	if err != nil {
		w.t.Error(err)
		return
	}
	d := st.Deliveries[w.r.IntN(len(st.Deliveries))]
	if len(st.Notices) > 0 && w.r.IntN(2) == 0 {
		n, err := w.s.Story(w.t.Context(), st.Notices[0].Notice)
		if err != nil {
			w.t.Error(err)
			return
		}
		d = n.Deliveries[0]
	}
	if d.State.Final() || d.State == ledger.Returning {
		return
	}
	c := ledger.Change{Delivery: d.ID, From: d.State, To: ledger.Withdrawn, At: w.now, Due: w.now, Deadline: w.now.Add(time.Hour), Event: ledger.Event{By: "Anna"}}
	if d.State == ledger.Held && w.r.IntN(2) == 0 {
		c.To = ledger.Queued
	}
	if w.r.IntN(3) == 0 {
		c.Notices = []ledger.NewNotice{w.notice(ledger.TellWithdrawn)}
	}
	w.apply(c)
}

func (w *world) apply(c ledger.Change) {
	err := w.s.Apply(w.t.Context(), c)[0]
	w.ignore(err)
	if errors.Is(err, errFault) {
		w.unsure += int64(len(c.Notices))
	}
	if err == nil {
		w.accepted += int64(len(c.Notices))
	}
}

// check demands the laws, that nothing accepted is missing, and that what was final is as it was.
func (w *world) check() {
	v := CheckLaws(w.t, w.s)
	if v.Accepted < w.accepted || v.Accepted > w.accepted+w.unsure {
		w.t.Errorf("accepted: the ledger says %d, the callers %d and perhaps %d more", v.Accepted, w.accepted, w.unsure)
	}
	for _, id := range w.all {
		st, err := w.s.Story(w.t.Context(), id)
		if err != nil {
			w.t.Error(err)
			continue
		}
		for _, d := range st.Deliveries {
			if was, ok := w.delivered[d.ID]; ok && was != d.State {
				w.t.Errorf("delivery %d was %s and is %s", d.ID, was, d.State)
			}
			if d.State.Final() {
				w.delivered[d.ID] = d.State
			}
		}
	}
}
