package guard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/level"
)

// TestTowns lets everything happen to several nodes in any order, from a seed: mail, moods and slowness of the hop, stops, deaths, cuts,
// clocks that jump, nodes that join and leave, faults of the ledger, people. The laws hold after each step, no attempt begins of
// what the ledger has given to another (door), and at the end everything has ended, twice only where it is marked.
func TestTowns(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	for i := range uint64(8+raceFactor-1) / raceFactor {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runTown(t, rand.New(rand.NewPCG(seed, i))) })
		})
	}
}

// wild is one random run.
type wild struct {
	*machine
	*town
	said []string // what was done, for failures
}

func runTown(t *testing.T, r *rand.Rand) {
	w := newTown(t, strings.Replace(quick, "delay:", "concurrency: 3, delay:", 1), "a", "b", "c")
	m := &wild{town: w, machine: &machine{lived: &lived{stage: w.stage, once: map[string]int{}, promised: map[ledger.MessageID]bool{}}, r: r, moods: map[string]int{}}}
	w.hop.set(m.answer)
	w.breaks(m.fails)
	w.hop.takes(time.Duration(r.IntN(8)) * time.Second)
	for range 100 {
		m.step()
		m.lawful()
		if t.Failed() {
			t.Log(strings.Join(m.said, "\n"))
			return
		}
	}
	m.calm()
	m.lawful()
	checkAll(w.stage, m.promised)
	if t.Failed() {
		t.Log(strings.Join(m.said, "\n"))
		w.logMu.Lock()
		t.Log(w.log.String())
		w.logMu.Unlock()
	}
}

// calm lets everything work again, and time for all to end.
func (m *wild) calm() {
	m.failIn.Store(0)
	m.hop.mu.Lock()
	m.hop.answer, m.hop.wait, m.hop.level = nil, nil, level.Verified
	m.hop.mu.Unlock()
	for _, n := range m.nodes {
		n.calm()
		n.away(false)
		if n.ended == nil {
			n.start()
		}
	}
	m.town.pass(30 * time.Minute)
}

func (m *wild) say(format string, args ...any) {
	m.said = append(m.said, clock(time.Now())+" "+fmt.Sprintf(format, args...))
}

func (m *wild) step() {
	n := m.nodes[m.r.IntN(len(m.nodes))]
	switch m.r.IntN(17) {
	case 0, 1, 2:
		m.say("mail out by %s", n.name)
		m.mail(n, ours, m.one(insiders[:2]), outsiders, insiders)
	case 3:
		m.say("mail in by %s", n.name)
		m.mail(n, theirs, m.one(append(outsiders, "")), insiders)
	case 4:
		m.hop.mu.Lock()
		m.moods[m.one(append(outsiders, insiders...))] = m.r.IntN(moodCount)
		m.hop.level = []level.Level{level.Encrypted, level.Verified, level.Verified}[m.r.IntN(3)]
		m.hop.mu.Unlock()
	case 5, 6, 7:
		d := time.Duration(m.r.Int64N(int64(20 * time.Second)))
		m.say("%v pass", d)
		m.town.pass(d)
	case 8:
		m.say("%s is stopped", n.name)
		n.pause()
	case 9:
		op := m.one([]string{"accept", "claim", "body", "apply", "begin", "sent", "beat", "reap", "duty", "watch", "unclaim", "delivery"})
		after := m.r.IntN(2) == 0
		m.say("%s will be stopped at %s, after: %v", n.name, op, after)
		n.on(func(each string, done bool) bool {
			if each == op && done == after {
				n.pause()
			}
			return each == op && done == after
		})
	case 10, 11:
		m.say("%s goes on", n.name)
		n.resume()
	case 12:
		m.say("%s is killed, or begins", n.name)
		if n.ended == nil {
			n.start()
		} else {
			n.kill()
		}
	case 13:
		m.say("%s stops in good order, or begins", n.name)
		if n.ended == nil {
			n.start()
			break
		}
		n.calm()
		if n.halt(); m.r.IntN(2) == 0 && len(m.nodes) < 6 {
			m.say("and another joins")
			m.add(fmt.Sprint("d", len(m.nodes)))
		}
	case 14:
		is := m.r.IntN(2) == 0
		m.say("%s is cut off: %v", n.name, is)
		n.away(is)
	case 15:
		m.say("%s's clock jumps, or the ledger fails", n.name)
		n.clock(time.Duration(m.r.Int64N(int64(3*time.Second))) - 1500*time.Millisecond)
		m.point.Store([]string{"begin", "commit-before", "commit-after"}[m.r.IntN(3)])
		m.failIn.Store(1 + m.r.Int64N(6))
	case 16:
		m.person()
	}
	settle()
}

// mail hands a message to a node that runs; the client gives up when it hears nothing or is put off.
func (m *wild) mail(n *node, ip, from string, to ...[]string) {
	if n.ended == nil {
		return
	}
	some, message := m.letter(to...)
	go func() {
		r := taken(n.guard, ip, from, some, message)
		if r.Code == 250 {
			id := ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as "))
			m.town.mu.Lock()
			m.promised[id], m.ids = true, append(m.ids, id)
			m.town.mu.Unlock()
		}
	}()
}
