package guard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
)

// TestMachine lets everything happen in any order, from a seed: mail in and out, hops that change their mind, time, stops,
// crashes, faults, and people who release, withdraw and retry. The laws hold after each step, and at the end everything
// has ended.
func TestMachine(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	for i := range uint64(12+raceFactor-1) / raceFactor {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runMachine(t, rand.New(rand.NewPCG(seed, i))) })
		})
	}
}

// machine is one random run.
type machine struct {
	*lived
	r      *rand.Rand
	moods  map[string]int // by recipient address
	ids    []ledger.MessageID
	failIn atomic.Int64 // durable steps until one fails; 0: none
	point  atomic.Value // string
}

func runMachine(t *testing.T, r *rand.Rand) {
	m := &machine{lived: &lived{stage: newStageAt(t, quick, 15*time.Second, 90*time.Second), once: map[string]int{}, promised: map[ledger.MessageID]bool{}},
		r: r, moods: map[string]int{}}
	m.hop.set(m.answer)
	m.breaks(m.fails)
	for range 60 {
		m.step()
		m.again()
		m.lawful()
		if t.Failed() {
			return
		}
	}
	m.hop.mu.Lock()
	m.hop.level = level.Verified
	m.failIn.Store(0)
	clear(m.moods)
	m.hop.answer = nil
	m.hop.mu.Unlock()
	m.pass(20 * time.Minute)
	m.lawful()
	checkAll(m.stage, m.promised)
}

// fails is asked by the ledger's one writer.
func (m *machine) fails(point string) error {
	if m.gone.Load() || point == m.point.Load() && m.failIn.Load() > 0 && m.failIn.Add(-1) == 0 {
		return errFault
	}
	return nil
}

const (
	takes = iota
	refuses
	isBusy
	isAway
	isCutOff
	moodCount
)

func (m *machine) answer(_ deliver.Job, r deliver.Recipient) deliver.Result {
	switch m.moods[string(r.Address)] {
	case refuses:
		return refuse(550, "5.1.1")
	case isBusy:
		return refuse(451, "4.3.0")
	case isAway:
		return away()
	case isCutOff:
		return deliver.Result{Outcome: deliver.Unknown, Text: "connection lost", Reached: true}
	}
	return arrives()
}

var (
	outsiders = []string{"a@borger.example", "b@borger.example", "c@nabo.example", "d@nabo.example"}
	insiders  = []string{"anna@eksempel.example", "bo@eksempel.example", "familie@eksempel.example", "ejer@eksempel.example", "sikkerhedsnet@eksempel.example"}
	letters   = []string{letter("Hej", "Hej"), letter("Sag 010170-5000", "Se sagen."), letter("Hej", "CPR-nr.: 030390-7000")}
)

func (m *machine) step() {
	switch m.r.IntN(12) {
	case 0, 1, 2:
		m.mail(ours, m.one(insiders[:2]), outsiders, insiders)
	case 3, 4:
		m.mail(theirs, m.one(append(outsiders, "")), insiders)
	case 5:
		m.hop.mu.Lock()
		m.moods[m.one(append(outsiders, insiders...))] = m.r.IntN(moodCount)
		m.hop.level = []level.Level{level.Cleartext, level.Encrypted, level.Verified, level.Verified}[m.r.IntN(4)]
		m.hop.mu.Unlock()
	case 6, 7:
		m.pass(time.Duration(m.r.Int64N(int64(2 * time.Minute))))
	case 8:
		m.halt()
		m.store.Close()
		m.gone.Store(false)
		m.failIn.Store(0) // a guard that cannot read its ledger at the start does not start
		m.start()
	case 9:
		m.failIn.Store(0)
		m.gone.Store(true) // what is under way never becomes known
		m.pass(time.Duration(m.r.Int64N(int64(time.Second))))
	case 10:
		m.point.Store([]string{"begin", "commit-before", "commit-after"}[m.r.IntN(3)])
		m.failIn.Store(1 + m.r.Int64N(6))
	case 11:
		m.person()
	}
}

func (m *machine) one(of []string) string { return of[m.r.IntN(len(of))] }

// mail hands over a message once; a client that is put off gives up.
func (m *machine) mail(ip, from string, to ...[]string) {
	some, message := m.letter(to...)
	r := m.take(ip, from, some, message)
	switch {
	case r.Code == 250:
		id := ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as "))
		m.promised[id], m.ids = true, append(m.ids, id)
	case r.Err == nil && r.Temporary():
		m.Errorf("put off for no reason: %v", r)
	}
	settle()
}

// letter is a message and some of the recipients.
func (m *machine) letter(to ...[]string) (some []string, message string) {
	var all []string
	for _, t := range to {
		all = append(all, t...)
	}
	for _, i := range m.r.Perm(len(all))[:1+m.r.IntN(3)] {
		some = append(some, all[i]+m.one([]string{"", "", "", " NOTIFY=NEVER", " NOTIFY=SUCCESS,FAILURE", " NOTIFY=DELAY"}))
	}
	message = m.one(letters)
	if got := m.hop.to("a@borger.example"); len(got) > 0 && m.r.IntN(6) == 0 {
		message = strings.ReplaceAll(got[len(got)-1].raw, "\r\n", "\n") // comes back: a loop, or a forward
	}
	return some, message
}

// person releases, withdraws or retries something, which may not be possible.
func (m *machine) person() {
	if len(m.ids) == 0 {
		return
	}
	c, act := Choice{Message: m.ids[m.r.IntN(len(m.ids))]}, Act{By: "Bo", Reason: "derfor"}
	switch m.r.IntN(3) {
	case 0:
		m.operator.Release(context.Background(), c, act)
	case 1:
		m.operator.Withdraw(context.Background(), c, act)
	case 2:
		m.operator.Retry(context.Background(), c, act)
	}
	settle()
}

// lawful checks what must hold at every instant.
func (m *machine) lawful() {
	m.Helper()
	v, err := m.store.Verify(context.Background(), m.keys.Open)
	if err != nil || v.Unaccounted != 0 || v.Accepted != v.Open+v.Final || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		m.Errorf("the laws do not hold: %+v, %v", v, err)
	}
	for id := range m.promised {
		if _, err := m.store.Story(context.Background(), id); err != nil {
			m.Errorf("message %s was promised: %v", id, err)
		}
	}
}
