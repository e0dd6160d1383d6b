package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
)

const someTime = 5 * time.Second

// counted is what a counter says.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

// Mail that comes to several nodes leaves once, whoever took it.
func TestSeveralNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a", "b", "c")
		w.hop.takes(time.Second)
		var ids []ledger.MessageID
		for i := range 30 {
			ids = append(ids, w.nodes[i%3].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")))
		}
		w.pass(10 * time.Second)
		w.whole(ids...)
		for _, id := range ids {
			w.arrived(id, "x@borger.example", 1, false)
		}
		for _, n := range w.nodes {
			if len(n.began) == 0 {
				t.Errorf("node %s has not worked", n.name)
			}
		}
	})
}

// A dead node's work is taken over within seconds, and marked.
func TestDeadNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a", "b")
		w.hop.takes(time.Hour)
		id := w.nodes[1].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		w.hop.wait = nil
		w.nodes[1].kill()
		w.pass(lifeTime - beatTime - time.Second)
		w.is(id, "x@borger.example queued")
		w.pass(beatTime + reapTime + time.Second)
		w.is(id, "x@borger.example delivered")
		w.arrived(id, "x@borger.example", 1, true)
		w.says("taken over", "[b]")
		if n := counted(w.nodes[0].guard.metrics.reapedNodes); n != 1 {
			t.Errorf("%v nodes reaped", n)
		}
	})
}

// A node that is stopped after it has claimed, and wakes up when another has taken over, sends nothing.
func TestPausedBeforeAttempt(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"accept", "claim", "body"} {
		synctest.Test(t, func(t *testing.T) {
			w := grown(t, "", "a", "b")
			a := w.nodes[0]
			w.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(450, "4.2.0") })
			if op != "accept" { // let it be found by the dispatcher
				w.nodes[1].kill()
				w.pass(time.Minute)
			}
			begins := make(chan int, 1)
			a.on(func(each string, done bool) bool {
				if each != op || !done {
					return false
				}
				a.pause()
				begins <- len(a.began)
				return true
			})
			replies := make(chan ledger.MessageID, 1)
			if op == "accept" {
				go func() { replies <- a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")) }()
			} else {
				replies <- a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
				w.pass(10 * time.Minute) // until the next try
			}
			w.hop.set(nil)
			if op != "accept" {
				w.nodes[1].start()
			}
			w.pass(time.Minute)
			before := <-begins
			if !a.paused() {
				t.Fatalf("never came to %s", op)
			}
			a.resume()
			w.pass(time.Minute)
			id := <-replies
			w.whole(id)
			w.arrived(id, "x@borger.example", 1, true)
			if len(a.began) != before {
				t.Errorf("paused at %s: the node began what it had lost", op)
			}
			w.says("silent for longer", "node=a")
		})
	}
}

// A node that is stopped in the middle of the conversation may have sent what another takes over: that is marked, and its outcome
// comes too late. One that is stopped while it reaches the hop sends nothing.
func TestPausedInConversation(t *testing.T) {
	t.Parallel()
	for op, times := range map[string]int{"begin": 1, "sent": 2} { // while the hop is being reached, or with all said
		synctest.Test(t, func(t *testing.T) {
			w := grown(t, "", "a", "b")
			a := w.nodes[0]
			a.on(func(each string, _ bool) bool {
				if each == op {
					a.pause()
				}
				return each == op
			})
			id := a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
			w.pass(30 * time.Second)
			w.is(id, "x@borger.example delivered")
			a.resume()
			w.pass(time.Minute)
			w.whole(id)
			w.arrived(id, "x@borger.example", times, true)
			w.says("taken back before its end could be recorded", string(id))
			if n := counted(a.guard.metrics.fenced); n != 1 {
				t.Errorf("%v outcomes fenced, want 1", n)
			}
		})
	}
}

// A short stop, within the beat's time, costs nothing.
func TestShortPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a", "b")
		a := w.nodes[0]
		a.on(func(op string, done bool) bool {
			if op == "accept" && done {
				a.pause()
				return true
			}
			return false
		})
		replies := make(chan ledger.MessageID, 1)
		go func() { replies <- a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")) }()
		w.pass(lifeTime - lifeMargin - beatTime - time.Second)
		a.resume()
		w.pass(time.Second)
		w.arrived(<-replies, "x@borger.example", 1, false)
	})
}

// The ledger is away for all: nothing is accepted, nothing begun beyond the proof of life; attempts under way end and are recorded when it
// is back; nobody is buried, nothing marked.
func TestLedgerAwayForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, narrow, "a", "b")
		w.hop.takes(someTime)
		var ids []ledger.MessageID
		for i := range 12 {
			ids = append(ids, w.nodes[i%2].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")))
		}
		for _, n := range w.nodes {
			n.away(true)
		}
		if r := w.nodes[0].take("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")); !r.Temporary() {
			t.Errorf("accepted into a ledger that is away: %v", r)
		}
		w.pass(lifeTime)
		begun := len(w.hop.tries)
		for _, n := range w.nodes {
			if err := n.guard.heart.unready(); err == nil || !strings.Contains(err.Error(), "network") {
				t.Errorf("ready while its beat is lost: %v", err)
			}
		}
		w.pass(time.Minute)
		if len(w.hop.tries) != begun {
			t.Errorf("%d attempts began while nobody could tell who is alive", len(w.hop.tries)-begun)
		}
		for _, n := range w.nodes {
			n.away(false)
		}
		w.pass(2 * time.Minute)
		w.whole(ids...)
		for _, id := range ids {
			w.arrived(id, "x@borger.example", 1, false)
		}
		for _, n := range w.nodes {
			if err := n.guard.heart.unready(); err != nil {
				t.Errorf("not ready again: %v", err)
			}
			if counted(n.guard.metrics.beatFailures) == 0 || counted(n.guard.metrics.reapedNodes) != 0 {
				t.Error("beats that failed are not counted, or somebody was buried")
			}
		}
	})
}

// One node is cut off from the ledger, not from the world: it begins nothing once the others may take over.
func TestCutOffFromLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, narrow, "a", "b")
		a := w.nodes[0]
		w.hop.takes(someTime)
		var ids []ledger.MessageID
		for range 5 {
			ids = append(ids, a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")))
		}
		a.away(true)
		w.pass(2 * time.Minute) // door checks that it begins nothing of what b has taken
		w.whole(ids...)
		a.away(false)
		w.pass(time.Minute)
		w.whole(ids...)
		if err := a.guard.heart.unready(); err != nil {
			t.Error(err)
		}
	})
}

// Clocks that differ are measured and allowed for; when they differ too much the node is not ready, and still harms nobody.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-time.Hour, -5 * time.Second, 2 * time.Second, 10 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := grown(t, "", "a")
			b := &node{town: w, name: "b", ahead: ahead}
			w.nodes = append(w.nodes, b)
			b.start()
			var ids []ledger.MessageID
			for i := range 20 {
				w.pass(2 * time.Second)
				ids = append(ids, w.nodes[i%2].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")))
			}
			w.pass(time.Minute)
			w.whole(ids...)
			for _, id := range ids {
				w.arrived(id, "x@borger.example", 1, false)
			}
			if (len(b.began) == 0) != (ahead.Abs() > skewMost) {
				t.Errorf("%v ahead: %d attempts", ahead, len(b.began))
			}
			if err := b.guard.heart.unready(); (err != nil) != (ahead.Abs() > skewLimit) {
				t.Errorf("%v ahead: %v", ahead, err)
			} else if err != nil {
				w.says("clock", "node=b", "ahead="+ahead.String())
			}
			if err := w.nodes[0].guard.heart.unready(); err != nil {
				t.Error(err)
			}
			if n := counted(w.nodes[0].guard.metrics.reapedNodes) + counted(b.guard.metrics.reapedNodes); n != 0 {
				t.Errorf("%v nodes were buried alive", n)
			}
		})
	}
}

// The limit per next hop holds across nodes, also while nodes join, leave and die, and all of it is used.
func TestLimitAcrossNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 5
		w := newTown(t, "delivery: {concurrency: 5}\n", "c")
		w.hop.takes(time.Second)
		busy := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.running["outside.example:25"]
		}
		feed := func(d time.Duration) {
			for range d / time.Second {
				for _, n := range w.nodes {
					if n.ended == nil {
						continue
					}
					for range limit * 2 / len(w.nodes) {
						n.take("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
					}
				}
				w.pass(time.Second)
			}
		}
		settled := func(when string) {
			t.Helper()
			feed(2 * lifeTime)
			for range 10 {
				w.pass(300 * time.Millisecond)
				for range 50 { // between the end of one attempt and the next its outcome is written
					if busy() == limit {
						break
					}
					w.pass(time.Millisecond)
				}
				if n := busy(); n != limit {
					t.Errorf("%s: %d attempts under way, want %d", when, n, limit)
					break
				}
				feed(time.Second)
			}
		}
		feed(beatTime)
		if n := busy(); n == 0 {
			t.Error("the first node waits for nobody")
		}
		settled("one node")
		w.add("a")
		settled("two nodes")
		w.add("b")
		settled("three nodes")
		for i := range 4 {
			w.add(fmt.Sprint("d", i))
		}
		settled("seven nodes, limit five")
		w.nodes[1].halt()
		settled("six nodes")
		w.nodes[2].kill()
		w.nodes[0].halt()
		settled("four nodes")
		w.pass(time.Hour)
		w.mu.Lock()
		if w.most > limit {
			t.Errorf("%d attempts were under way at once, limit %d", w.most, limit)
		}
		w.mu.Unlock()
		w.whole()
	})
}

// share adds up to the limit for every number of nodes, and no mixture of old and new knowledge, as when a node has gone, exceeds it.
func TestShare(t *testing.T) {
	g := &Guard{cfg: newTestConfig(t)}
	share := func(limit, nodes, rank int) int {
		g.cfg.Delivery.Concurrency = limit
		return (&heart{g: g, alive: ledger.Alive{Nodes: nodes, Rank: rank}, joined: time.Now().Add(-lifeTime)}).share(time.Now())
	}
	for limit := 1; limit <= 25; limit++ {
		for nodes := 1; nodes <= 30; nodes++ {
			sum := 0
			for rank := range nodes {
				n := share(limit, nodes, rank)
				sum += n
				if n < limit/nodes || n > limit/nodes+1 {
					t.Errorf("limit %d, node %d of %d: %d", limit, rank, nodes, n)
				}
				if nodes > 1 { // another node has gone: one that was before it, or after
					for _, r := range []int{rank, rank - 1} {
						if r >= 0 && r < nodes-1 && share(limit, nodes-1, r) < n {
							t.Errorf("limit %d: the share of node %d of %d sinks as another goes", limit, rank, nodes)
						}
					}
				}
			}
			if sum != limit {
				t.Errorf("limit %d, %d nodes: the shares add up to %d", limit, nodes, sum)
			}
		}
	}
	if n := (&heart{g: g, alive: ledger.Alive{Nodes: 2}, joined: time.Now().Add(time.Second - lifeTime)}).share(time.Now()); n != 0 {
		t.Errorf("a newcomer's share is %d", n)
	}
}

// Nobody is told twice by two watchers: not while one has the duty, not when the duty moves on, not when its holder was asleep.
func TestWatchedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, quick, "a", "b", "c")
		w.hop.set(func(_ deliver.Job, r deliver.Recipient) deliver.Result {
			if r.Address.Domain() == "borger.example" {
				return refuse(450, "4.2.0")
			}
			return arrives()
		})
		id := w.nodes[2].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		var watcher *node
		for _, n := range w.nodes {
			n.on(func(op string, done bool) bool {
				if op != "watch" || !done {
					return false
				}
				if n.town.story(id).Deliveries[0].Watch.After(time.Now()) {
					return false
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if watcher == nil { // it has seen what is overdue, and falls asleep over it
					watcher = n
					n.pause()
				}
				return true
			})
		}
		w.pass(90 * time.Second)
		if watcher == nil {
			t.Fatal("nobody has watched")
		}
		w.told("anna@eksempel.example", 1, "forsinket")
		watcher.resume()
		w.pass(30 * time.Second)
		w.told("anna@eksempel.example", 1, "forsinket")
		w.pass(5 * time.Minute)
		w.told("anna@eksempel.example", 2, "ikke leveret")
		w.whole(id)
	})
}

// What is held is reminded of and escalated once, with three nodes as with one.
func TestHeldRemindedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, quick, "a", "b", "c")
		id := w.nodes[0].send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		w.whole(id)
		held := w.nodes[1].send("anna@eksempel.example", []string{"ven@borger.example"}, strings.ReplaceAll(w.hop.to("ven@borger.example")[0].raw, "\r\n", "\n"))
		w.is(held, "ven@borger.example held")
		w.nodes[0].kill() // whoever has the duty loses it
		w.pass(3 * time.Minute)
		w.nodes[1].kill()
		w.pass(4 * time.Minute)
		events := map[string]int{}
		for _, e := range w.story(held).Events {
			events[e.Kind]++
		}
		if events["reminded"] != 2 || events["escalated"] != 1 {
			t.Errorf("events: %v", events)
		}
		n := map[ledger.TellKind]int{}
		for _, l := range w.story(held).Notices {
			n[l.Tells]++
		}
		if n[ledger.TellReminder] != 2 || n[ledger.TellEscalated] != 1 {
			t.Errorf("notices: %v", n)
		}
	})
}

// Events of all nodes are sealed within seconds, by whoever has the duty.
func TestSealedForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a", "b")
		seals := map[string]int{}
		for _, n := range w.nodes {
			n.on(func(op string, done bool) bool {
				if op == "seal" && done {
					w.mu.Lock()
					seals[n.name]++
					w.mu.Unlock()
				}
				return false
			})
		}
		w.nodes[0].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		w.nodes[1].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		w.pass(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(seals) != 1 {
			t.Errorf("sealed by %v, want one node", seals)
		}
	})
}

// Two processes of one name: the second does not begin, and says why.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a")
		second := w.add("a")
		w.pass(startLimit + 2*time.Second)
		err := second.end()
		if !errors.Is(err, ledger.ErrTaken) || !strings.Contains(err.Error(), "node a:") || !strings.Contains(err.Error(), "a name of its own") {
			t.Errorf("the second ended with: %v", err)
		}
		w.arrived(w.nodes[0].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")), "x@borger.example", 1, false)
	})
}

// A node that was killed begins anew under its name as soon as its former life is over.
func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a")
		a := w.nodes[0]
		w.hop.takes(time.Hour)
		id := a.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		w.hop.wait = nil
		a.kill()
		a.start()
		w.pass(lifeTime + 2*time.Second)
		w.is(id, "x@borger.example delivered")
		w.arrived(id, "x@borger.example", 1, true)
	})
}

// A process that wakes up while another has taken its name ends, and sends nothing.
func TestNameTakenWhileAsleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, "", "a")
		sleeper := w.nodes[0]
		sleeper.on(func(op string, done bool) bool {
			if op == "accept" && done {
				sleeper.pause()
				return true
			}
			return false
		})
		replies := make(chan ledger.MessageID, 1)
		go func() {
			replies <- sleeper.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		}()
		w.pass(time.Minute)
		w.add("a")
		w.pass(time.Minute)
		sleeper.resume()
		w.pass(time.Minute)
		if err := sleeper.end(); !errors.Is(err, ledger.ErrTaken) {
			t.Errorf("the sleeper ended with: %v", err)
		}
		if len(sleeper.began) > 0 {
			t.Error("the sleeper began an attempt")
		}
		id := <-replies
		w.arrived(id, "x@borger.example", 1, true)
		w.arrived(w.nodes[1].send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")), "x@borger.example", 1, false)
	})
}

// A node that stops in good order is not waited for, and leaves nothing marked.
func TestLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := grown(t, narrow, "a", "b")
		w.hop.takes(300 * time.Millisecond)
		var ids []ledger.MessageID
		var all sync.WaitGroup
		for _, n := range w.nodes {
			all.Go(func() {
				for range 8 {
					if r := n.take("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej")); r.Code == 250 {
						w.mu.Lock()
						ids = append(ids, ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as ")))
						w.mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		w.nodes[1].halt()
		w.pass(2 * beatTime)
		if n := w.nodes[0].guard.heart.share(time.Now()); n != 2 {
			t.Errorf("the share of the last node is %d, want all", n)
		}
		w.pass(5 * time.Minute) // what the stop cut off is tried again
		w.whole(ids...)
		for _, id := range ids {
			w.arrived(id, "x@borger.example", 1, false)
		}
		a, err := w.store.Beat(context.Background(), time.Now(), "z", "z", time.Second)
		if err != nil || a.Nodes != 2 {
			t.Errorf("%+v, %v; want a and z", a, err)
		}
	})
}

// What a load balancer and Prometheus are told of a node's standing.
func TestReadyAmongNodes(t *testing.T) {
	t.Parallel()
	p := newPlain(t, "")
	g, err := New(Options{Config: p.cfg, Store: p.store, Cluster: p.store.(ledger.Cluster), Keys: p.keys, Deliverer: p.hop, Senders: senderCheck{}, Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.metrics.serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	says := func(path string, code int, words ...string) {
		t.Helper()
		r, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != code {
			t.Errorf("%s: %d %s, %v, want %d", path, r.StatusCode, text, err, code)
		}
		for _, word := range words {
			if !strings.Contains(string(text), word) {
				t.Errorf("%s lacks %q:\n%s", path, word, text)
			}
		}
	}
	says("/readyz", 503, "has not begun")
	if err := g.heart.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("/readyz", 200, "ready")
	says("/metrics", 200, "postvagt_nodes 1", "postvagt_node_beat_age_seconds ", "postvagt_node_clock_ahead_seconds 0", "postvagt_node_beat_failures_total 0",
		"postvagt_nodes_reaped_total 0", "postvagt_deliveries_reaped_total 0", "postvagt_outcomes_fenced_total 0")
	g.heart.mu.Lock()
	g.heart.last = g.heart.last.Add(lifeMargin - lifeTime)
	g.heart.mu.Unlock()
	says("/readyz", 503, "has not beaten for")
	says("/healthz", 200)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func newTestConfig(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", fmt.Appendf(nil, basic, t.TempDir()+"/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
