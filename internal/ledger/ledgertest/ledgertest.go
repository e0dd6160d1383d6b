// Package ledgertest is the one contract suite that every engine of the ledger passes. It knows no engine: what it
// demands is what ledger.Store promises and what DESIGN section 2 calls the laws.
//
// An engine's test hands Exercise a function that makes a fresh ledger and returns how to open it, again and again.
package ledgertest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// Open opens one and the same ledger. fault, when set, is asked at each durable step; see the engine's Options.Fault:
// "begin" and "commit-before" fail as not done, "commit-after" as done but reported failed.
type Open func(fault func(point string) error) (ledger.Store, error)

// Exercise runs the whole suite. fresh makes an empty ledger for one test.
func Exercise(t *testing.T, fresh func(t *testing.T) Open) {
	tests := []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"accept", testAccept},
		{"accept twice", testAcceptTwice},
		{"accept refuses", testAcceptRefuses},
		{"accept claims", testAcceptClaims},
		{"claim", testClaim},
		{"claim order and limits", testClaimLimits},
		{"lease runs out", testLeaseRunsOut},
		{"recover", testRecover},
		{"unclaim", testUnclaim},
		{"every step", testEveryStep},
		{"final stays final", testFinalStays},
		{"fences", testFences},
		{"retry", testRetry},
		{"release", testRelease},
		{"told", testTold},
		{"told by a person", testToldByPerson},
		{"one notice for many", testOneNotice},
		{"ladder", testLadder},
		{"returning needs a notice", testReturningNeedsNotice},
		{"bodies go", testBodiesGo},
		{"lanes", testLanes},
		{"watch", testWatch},
		{"find", testFind},
		{"story", testStory},
		{"chain", testChain},
		{"facts", testFacts},
		{"reseal", testReseal},
		{"verify bodies", testVerifyBodies},
		{"group", testGroup},
		{"cancelled", testCancelled},
		{"closed", testClosed},
		{"faults", testFaults},
		{"one authority", testParted},
		{"notices stay with their authority", testNoticesStay},
		{"heads", testHeads},
		{"marked", testMarked},
		{"random lives", testRandom},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, fresh(t))
		})
	}
}

// start is when every test begins.
var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// must opens the ledger without faults and closes it with the test.
func must(t *testing.T, open Open) ledger.Store {
	t.Helper()
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// mail is an acceptance with so many recipients, all queued in one lane and due at once.
func mail(recipients int) ledger.Acceptance {
	a := ledger.Acceptance{Message: message(ledger.Mail), Bodies: [][]byte{[]byte("sealed 0")}}
	for i := range recipients {
		a.Deliveries = append(a.Deliveries, to(fmt.Sprintf("bo%d@borger.example", i)))
	}
	return a
}

func message(kind ledger.Kind) ledger.Message {
	id := ledger.NewMessageID()
	return ledger.Message{
		ID: id, Authority: "Eksempel Kommune", Kind: kind, Direction: policy.Outbound, Sender: ledger.Address{Shown: "anna@eksempel.example"},
		HeaderID: "<" + string(id) + "@eksempel.example>", Size: 8, Client: "192.0.2.7", Ret: "HDRS", EnvID: "QQ314159", UTF8: true,
		EightBit: true, TellSender: true, Unit: "bogholderi@eksempel.example", Language: "da", AcceptedAt: start,
		Findings: []detect.Finding{{Kind: detect.CPR, Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Start: 3, End: 14, Masked: "010170-••••", Confidence: 0.9, Why: "a number and the word cpr"}},
		Repairs:  []ledger.Repair{{Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Masked: "010170-••••"}},
	}
}

func to(recipient string) ledger.NewDelivery {
	return ledger.NewDelivery{
		Recipient: ledger.Address{Shown: recipient}, Notify: "FAILURE", ORcpt: "rfc822;" + recipient, State: ledger.Queued,
		Verdict: policy.Verdict{Action: policy.Send, Class: class.Confidential, Level: level.Encrypted, Rule: "matrix", Reason: policy.ClassAllows, Policy: "p1"},
		Lane:    "mx.borger.example", Owner: "postmester@eksempel.example", Due: start, Deadline: start.Add(24 * time.Hour), Watch: start.Add(4 * time.Hour),
	}
}

// notice is a notice to the sender, about the deliveries with these indexes or ids.
func notice(tells ledger.TellKind) ledger.NewNotice {
	m := message(ledger.Notice)
	m.Sender, m.HeaderID = ledger.Address{}, "<"+string(m.ID)+"@vagt.eksempel.example>"
	d := to("anna@eksempel.example")
	d.Lane, d.Inside = "inside", true
	return ledger.NewNotice{Tells: tells, Message: m, Body: []byte("notice 0"), Delivery: d}
}

// accept stores a and returns its story.
func accept(t *testing.T, s ledger.Store, a ledger.Acceptance) ledger.Story {
	t.Helper()
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return story(t, s, a.Message.ID)
}

func story(t *testing.T, s ledger.Store, id ledger.MessageID) ledger.Story {
	t.Helper()
	st, err := s.Story(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// claim leases everything due in a lane.
func claim(t *testing.T, s ledger.Store, now time.Time, node, lane string) []ledger.Claimed {
	t.Helper()
	work, err := s.Claim(t.Context(), now, ledger.Claim{Node: node, Lane: lane, Max: 1000, Lease: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return work
}

// claimOne leases the one delivery that is due in a lane.
func claimOne(t *testing.T, s ledger.Store, now time.Time, node, lane string) ledger.Delivery {
	t.Helper()
	work := claim(t, s, now, node, lane)
	if len(work) != 1 || len(work[0].Deliveries) != 1 {
		t.Fatalf("claimed %+v, want one delivery", work)
	}
	return work[0].Deliveries[0]
}

// ended is a change that ends the attempt which the claimed delivery stands for.
func ended(d ledger.Delivery, to ledger.State, at time.Time) ledger.Change {
	outcome := map[ledger.State]string{ledger.Queued: "deferred", ledger.Delivered: "delivered"}[to]
	if outcome == "" {
		outcome = "refused"
	}
	return ledger.Change{
		Delivery: d.ID, From: ledger.Queued, To: to, At: at,
		Attempt: &ledger.Attempt{No: d.Attempts, Node: d.Node, Started: at.Add(-time.Second), Ended: at, Outcome: outcome, Code: 250, Enhanced: "2.0.0", Text: "ok", Contact: true, Receipt: []byte(`{"host":"mx"}`)},
		Event:   ledger.Event{Kind: string(to), Detail: outcome},
	}
}

// apply makes changes that must succeed.
func apply(t *testing.T, s ledger.Store, changes ...ledger.Change) {
	t.Helper()
	for i, err := range s.Apply(t.Context(), changes...) {
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}

func delivery(t *testing.T, s ledger.Store, id ledger.DeliveryID) ledger.Delivery {
	t.Helper()
	c, err := s.Delivery(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Deliveries) != 1 || c.Deliveries[0].ID != id || c.Message.ID != c.Deliveries[0].Message {
		t.Fatalf("delivery %d: got %+v", id, c)
	}
	return c.Deliveries[0]
}

// states are the states of a message's deliveries, in the order of its recipients.
func states(t *testing.T, s ledger.Store, id ledger.MessageID) string {
	t.Helper()
	var all []string
	for _, d := range story(t, s, id).Deliveries {
		all = append(all, string(d.State))
	}
	return strings.Join(all, " ")
}

func wantStates(t *testing.T, s ledger.Store, id ledger.MessageID, want string) {
	t.Helper()
	if got := states(t, s, id); got != want {
		t.Errorf("states of %s: got %s, want %s", id, got, want)
	}
}

// CheckLaws seals and verifies, and demands that every law holds. Other rooms' tests may call it too.
func CheckLaws(t testing.TB, s ledger.Store) ledger.Verification {
	t.Helper()
	v, err := s.Verify(t.Context(), readable)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, p := range v.Problems {
		t.Error(p)
	}
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" {
		t.Errorf("verify: %+v", v)
	}
	sums, err := s.Sums(t.Context())
	if err != nil {
		t.Fatalf("sums: %v", err)
	}
	if fmt.Sprint(sums) != fmt.Sprint(v.Sums) {
		t.Errorf("sums: kept %+v, counted %+v", sums, v.Sums)
	}
	return v
}

// readable opens every body: the ledger does not know what is sealed.
func readable(_ string, sealed []byte) ([]byte, error) { return sealed, nil }

// once fails the n-th time that a point is reached, and only then.
type once struct {
	point string
	left  atomic.Int64
	hit   atomic.Bool
}

func failOnce(point string, n int64) *once {
	o := &once{point: point}
	o.left.Store(n)
	return o
}

var errFault = fmt.Errorf("a fault of the test")

func (o *once) fault(point string) error {
	if point == o.point && o.left.Add(-1) == 0 {
		o.hit.Store(true)
		return errFault
	}
	return nil
}
