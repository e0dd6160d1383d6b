package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
)

// takes makes every attempt last for d.
func (h *hop) takes(d time.Duration) {
	h.wait = func(ctx context.Context, _ deliver.Job) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
}

// narrow lets two attempts run at a time.
const narrow = "delivery: {concurrency: 2}\n"

// rounds counts how often the dispatcher asks which lanes have work.
type rounds struct {
	ledger.Store
	n atomic.Int64
}

func (r *rounds) Lanes(ctx context.Context) ([]ledger.LaneDue, error) {
	r.n.Add(1)
	return r.Store.Lanes(ctx)
}

// A queue far longer than the concurrency leaves in the order it came, new mail behind it; a free seat is taken at once,
// and a full lane costs no looking.
func TestBacklogIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, narrow)
		var counted *rounds
		s.wrap = func(l ledger.Store) ledger.Store { counted = &rounds{Store: l}; return counted }
		s.restart()
		s.hop.takes(10 * time.Second)
		const n = 60
		started := time.Now()
		for i := range n {
			s.send("anna@eksempel.example", []string{fmt.Sprintf("b%d@borger.example", i)}, letter("Hej", "Hej"))
			time.Sleep(time.Millisecond)
		}
		s.pass(n/2*10*time.Second + 5*time.Second)
		if got := len(s.hop.got); got != n {
			t.Fatalf("%d of %d arrived in the time that two at a time need", got, n)
		}
		for i, g := range s.hop.got {
			var no int
			fmt.Sscanf(string(g.to), "b%d@", &no)
			if no < i-12 || no > i+12 { // what was accepted hot may overtake a little: its seat was free
				t.Errorf("number %d arrived as the %dth", no, i)
			}
		}
		// One round per poll, per message accepted and per seat freed is plenty.
		if got, most := counted.n.Load(), int64(time.Since(started)/(5*time.Second))+3*n; got > most {
			t.Errorf("%d rounds, want at most %d", got, most)
		}
	})
}

// A hop that answers slowly, or not at all, is nobody else's trouble.
func TestLanesAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, narrow)
		s.hop.wait = func(ctx context.Context, j deliver.Job) {
			if j.Hop.SmartHost == "outside.example:25" {
				select {
				case <-time.After(10 * time.Minute):
				case <-ctx.Done():
				}
			}
		}
		for range 40 {
			s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		}
		for i := range 10 {
			id := s.receive("fremmed@borger.example", []string{"bo@eksempel.example"}, letter("Hej", "Hej"))
			s.is(id, "bo@eksempel.example delivered")
			if got := len(s.hop.to("bo@eksempel.example")); got != i+1 {
				t.Errorf("%d arrived", got)
			}
		}
	})
}

// A graceful stop under load: attempts under way may finish, the rest waits, nothing is lost, sent twice or marked.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	for _, last := range []time.Duration{500 * time.Millisecond, time.Minute} { // shorter and longer than the grace time
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, narrow)
			s.hop.takes(last)
			promised := map[ledger.MessageID]bool{}
			for range 30 {
				promised[s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))] = true
			}
			s.halt()
			s.store.Close()
			s.hop.wait = nil
			s.start()
			s.pass(5 * time.Minute)
			checkAll(s, promised)
			for id := range promised {
				if d := s.story(id).Deliveries[0]; d.Possibly || d.State != ledger.Delivered {
					t.Errorf("%s possibly=%v:\n%s", d.State, d.Possibly, tale(s.story(id)))
				}
			}
			if got := len(s.hop.got); got != 30 {
				t.Errorf("%d arrived", got)
			}
		})
	}
}

// What a node held that died is taken over when its lease has run out, and marked.
func TestLeaseOfDeadNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(450, "4.2.0") })
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		d := s.story(id).Deliveries[0]
		work, err := s.store.Claim(t.Context(), d.Due, ledger.Claim{Node: "dead", Lane: d.Lane, Max: 1, Lease: 30 * time.Minute})
		if err != nil || len(work) != 1 {
			t.Fatalf("%v, %v", work, err)
		}
		s.hop.set(nil)
		s.pass(29 * time.Minute)
		s.is(id, "x@borger.example queued")
		s.pass(3 * time.Minute)
		s.is(id, "x@borger.example delivered")
		if !s.story(id).Deliveries[0].Possibly {
			t.Error("not marked")
		}
	})
}

// sick is a ledger whose bodies cannot be read for a while.
type sick struct {
	ledger.Store
	ill atomic.Bool
}

func (s *sick) Body(ctx context.Context, id ledger.MessageID, n int) ([]byte, error) {
	if s.ill.Load() {
		return nil, errors.New("read the body: input/output error")
	}
	return s.Store.Body(ctx, id, n)
}

// EIO: a body that cannot be read waits and says why; nothing leaves; it goes when it can be read.
func TestBodyUnreadable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, quick, 10*time.Second, 0)
		var ill *sick
		s.wrap = func(l ledger.Store) ledger.Store { ill = &sick{Store: l}; return ill }
		s.restart()
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(450, "4.2.0") })
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		ill.ill.Store(true)
		s.hop.set(nil)
		s.pass(40 * time.Second)
		s.is(id, "x@borger.example queued")
		if e := s.story(id).Events; e[len(e)-1].Kind != "unreadable" {
			t.Errorf("the story does not say why:\n%s", tale(s.story(id)))
		}
		ill.ill.Store(false)
		s.pass(2 * time.Minute)
		s.is(id, "x@borger.example delivered")

		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(450, "4.2.0") })
		id = s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		ill.ill.Store(true)
		s.hop.set(nil)
		s.pass(5 * time.Minute) // until its time is up, and the notices are hard to read, too: held, for it is not known to be lost
		ill.ill.Store(false)
		s.pass(2 * time.Minute)
		s.is(id, "x@borger.example held")
		if owner := s.story(id).Deliveries[0].Owner; owner != "sikkerhedsnet@eksempel.example" {
			t.Errorf("its owner is %s", owner)
		}
		for _, to := range []mail.Address{"anna@eksempel.example", "familie@eksempel.example", "sikkerhedsnet@eksempel.example"} {
			for _, n := range s.hop.to(to) {
				if text := plainText(t, n.raw); strings.Contains(text, "forbindelse til modtagerens") || strings.Contains(text, "blev ikke leveret") {
					t.Errorf("%s is told what is not so:\n%s", to, text)
				}
			}
		}
		if n, err := s.operator.Release(context.Background(), Choice{Message: id}, Act{"Bo Hansen", "nøglen er fundet"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		s.pass(time.Minute)
		s.is(id, "x@borger.example delivered")
	})
}

// An attempt cut off by the stop after the end of data is possibly delivered: it is repeated, marked.
func TestUnknownAtStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result {
			return deliver.Result{Outcome: deliver.Unknown, Text: "connection lost", Reached: true}
		})
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.halt()
		s.store.Close()
		s.hop.set(nil)
		s.start()
		s.pass(5 * time.Minute)
		checkAll(s, map[ledger.MessageID]bool{id: true})
		if n := len(s.hop.to("x@borger.example")); n != 2 {
			t.Errorf("arrived %d times", n)
		}
	})
}
