package guard

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
)

// A notice whose mailbox only ever says "later" climbs after the delay time: it must reach somebody.
func TestNoticeClimbsWhenPutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, quick, 10*time.Second, 0)
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			switch r.Address {
			case "x@borger.example":
				return refuse(550, "5.1.1")
			case "anna@eksempel.example":
				return refuse(452, "4.2.2")
			}
			return arrives()
		})
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.pass(50 * time.Second)
		s.is(id, "x@borger.example returning")
		s.pass(time.Minute)
		s.is(id, "x@borger.example returned")
		s.told("familie@eksempel.example", 1, "ikke leveret")
	})
}

// A notice whose mailbox lies behind a dead hop climbs to one that does not; within the dead lane it waits for it.
func TestNoticeBehindDeadHop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    notices: {tell_outside: always}\n"+strings.TrimPrefix(quick, "    units: [{name: Familie, senders: [anna@eksempel.example], mailbox: familie@eksempel.example}]\n"), 10*time.Second, 0)
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if r.Address == "x@eksempel.example" {
				return refuse(550, "5.1.1")
			}
			if j.Hop.SmartHost == "outside.example:25" {
				return away()
			}
			return arrives()
		})
		s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej")) // the lane is known to be dead
		id := s.receive("fremmed@borger.example", []string{"x@eksempel.example"}, letter("Hej", "Hej"))
		s.is(id, "x@eksempel.example held")
		s.pass(50 * time.Second)
		n := len(s.notices("sikkerhedsnet@eksempel.example"))
		s.pass(30 * time.Second)
		if m := len(s.notices("sikkerhedsnet@eksempel.example")); m != n+1 {
			t.Errorf("the safety net has %d notices after the delay time and %d before", m, n)
		}
	})
}

// RFC 3461, section 4.1: what the sender asked to be told, and nothing else; what fails is told to somebody all the same.
func TestNotify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		notify        string
		delay, failed int // notices to the sender
	}{{"", 1, 1}, {"NEVER", 0, 0}, {"FAILURE", 0, 1}, {"DELAY", 1, 0}, {"FAILURE,DELAY", 1, 1}, {"SUCCESS", 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStageAt(t, quick, 10*time.Second, 0)
			s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
				if r.Address.Domain() == "borger.example" {
					return away()
				}
				return arrives()
			})
			to := "x@borger.example"
			if c.notify != "" {
				to += " NOTIFY=" + c.notify
			}
			id := s.send("anna@eksempel.example", []string{to}, letter("Hej", "Hej"))
			s.pass(100 * time.Second)
			s.told("anna@eksempel.example", c.delay, "forsinket")
			s.pass(2 * time.Minute)
			s.is(id, "x@borger.example returned")
			if n := len(s.notices("anna@eksempel.example")); n != c.delay+c.failed {
				t.Errorf("NOTIFY=%s: the sender has %d notices, want %d", c.notify, n, c.delay+c.failed)
			}
			if n := len(s.notices("familie@eksempel.example")); (n == 0) == (c.failed == 0) {
				t.Errorf("NOTIFY=%s: the unit has %d notices", c.notify, n)
			}
		})
	}
}

// Recipients of one message may be told of differently.
func TestNotifyDiffers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, quick, 10*time.Second, 0)
		s.hop.set(byName)
		id := s.send("anna@eksempel.example", []string{"findesikke@borger.example NOTIFY=NEVER", "findesikke@nabo.example"}, letter("Hej", "Hej"))
		s.is(id, "findesikke@borger.example returned, findesikke@nabo.example returned")
		s.told("anna@eksempel.example", 1, "findesikke@nabo.example")
		s.told("familie@eksempel.example", 1, "findesikke@borger.example")
	})
}

// NOTIFY=SUCCESS: the guard tells of success where the next hop cannot, and only the one who asked.
func TestNotifySuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, quick, 10*time.Second, 0)
		s.hop.plain = true
		s.send("anna@eksempel.example", []string{"ven@borger.example NOTIFY=SUCCESS"}, letter("Hej", "Hej"))
		s.told("anna@eksempel.example", 1, "")
		s.receive("fremmed@borger.example", []string{"bo@eksempel.example NOTIFY=SUCCESS"}, letter("Hej", "Hej"))
		s.told("fremmed@borger.example", 0, "")
		s.told("sikkerhedsnet@eksempel.example", 0, "")
		s.hop.plain = false
		s.send("anna@eksempel.example", []string{"ven@borger.example NOTIFY=SUCCESS"}, letter("Hej", "Hej"))
		s.told("anna@eksempel.example", 1, "")
	})
}

// Digest: each sender is told once a day of what was repaired, also when the guard is started anew in between.
func TestDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    notices: {repaired: digest}\n", time.Minute, 0)
		for _, from := range []string{"anna@eksempel.example", "anna@eksempel.example", "bo@eksempel.example"} {
			s.pass(time.Hour)
			s.send(from, []string{"sag@nabo.example"}, letter("Sag 010170-5000", "Se sagen."))
		}
		s.told("anna@eksempel.example", 0, "")
		s.restart()
		s.pass(25 * time.Hour)
		s.told("anna@eksempel.example", 1, "")
		s.told("bo@eksempel.example", 1, "")
		raw := s.hop.to("anna@eksempel.example")[0].raw
		if id := idOf(s.hop.to("anna@eksempel.example")[0]); s.story(id).Message.Kind != ledger.Notice {
			t.Errorf("a digest's Message-ID is not the ledger's:\n%s", raw)
		}
		s.restart()
		s.pass(49 * time.Hour)
		s.told("anna@eksempel.example", 1, "")
	})
}

// A digest that is refused becomes an alarm, not an endless try.
func TestDigestRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    notices: {repaired: digest, digest: 1h}\n", time.Minute, 0)
		s.hop.set(byName)
		s.pass(2 * time.Minute)
		s.send("findesikke@eksempel.example", []string{"sag@nabo.example"}, letter("Sag 010170-5000", "Se sagen."))
		s.pass(2 * time.Hour)
		if sums, _ := s.store.Sums(context.Background()); sums.Alarms != 1 {
			t.Errorf("%+v, want one alarm", sums)
		}
	})
}

// An outside sender is told only as the authority says, and never one that pretends to be from inside.
func TestTellOutside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode                   string
		proven, unproven, ours int
	}{{"authenticated", 1, 0, 0}, {"always", 1, 1, 0}, {"never", 0, 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStageAt(t, "    notices: {tell_outside: "+c.mode+"}\n"+strings.TrimLeft(quick[strings.Index(quick, "    held"):], "\n"), 10*time.Second, 0)
			s.senders["kendt@borger.example"] = true
			s.hop.set(byName)
			for _, from := range []string{"kendt@borger.example", "ukendt@borger.example", "forfalsket@eksempel.example", ""} {
				s.receive(from, []string{"findesikke@eksempel.example"}, letter("Hej", "Hej"))
			}
			s.pass(time.Minute)
			for a, want := range map[mail.Address]int{"kendt@borger.example": c.proven, "ukendt@borger.example": c.unproven, "forfalsket@eksempel.example": c.ours} {
				if n := len(s.notices(a)); n != want {
					t.Errorf("tell_outside %s: %s has %d notices, want %d", c.mode, a, n, want)
				}
			}
			if n := len(s.notices("sikkerhedsnet@eksempel.example")); n < 4-c.proven-c.unproven {
				t.Errorf("tell_outside %s: the safety net has %d notices", c.mode, n)
			}
		})
	}
}

// Our own server is away for 30 hours: inbound mail waits beyond the return time and then arrives.
func TestOwnServerAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "", time.Minute, 0)
		s.senders["kendt@borger.example"] = true
		gone := true
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if gone && j.Hop.SmartHost == "inside.example:25" {
				return away()
			}
			return arrives()
		})
		id := s.receive("kendt@borger.example", []string{"bo@eksempel.example"}, letter("Hej", "Hej"))
		s.pass(5 * time.Hour)
		s.told("kendt@borger.example", 1, "forsinket")
		s.pass(25 * time.Hour)
		s.is(id, "bo@eksempel.example queued")
		s.hop.mu.Lock()
		gone = false
		s.hop.mu.Unlock()
		s.pass(2 * time.Hour)
		s.is(id, "bo@eksempel.example delivered")
		s.told("kendt@borger.example", 2, "forsinket") // after 4 and after 24 hours
	})
}

// What nobody decides is told again every day, to the safety net.
func TestEscalationRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    held: {owner: ejer@eksempel.example, within: 24h, remind: [4h]}\n", time.Minute, 0)
		s.hop.set(byName)
		id := s.receive("fremmed@borger.example", []string{"findesikke@eksempel.example"}, letter("Hej", "Hej"))
		s.pass(23 * time.Hour)
		before := len(s.notices("sikkerhedsnet@eksempel.example"))
		if n := len(s.notices("ejer@eksempel.example")); n != 2 {
			t.Errorf("the owner has %d notices, want one at once and one 4 hours before the end", n)
		}
		s.pass(3 * 24 * time.Hour)
		if n := len(s.notices("sikkerhedsnet@eksempel.example")) - before; n != 3 {
			t.Errorf("escalated %d times in three days", n)
		}
		s.is(id, "findesikke@eksempel.example held")
	})
}

// A released message that fails again is held or returned again, and told again.
func TestReleasedFailsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, quick, 10*time.Second, 0)
		s.hop.set(byName)
		bo := Act{By: "Bo", Reason: "prøv igen"}
		in := s.receive("fremmed@borger.example", []string{"findesikke@eksempel.example"}, letter("Hej", "Hej"))
		s.pass(15 * time.Second)
		if n, err := s.operator.Release(t.Context(), Choice{Message: in}, bo); n != 1 || err != nil {
			t.Fatalf("release: %d, %v", n, err)
		}
		s.pass(15 * time.Second)
		s.is(in, "findesikke@eksempel.example held")
		s.pass(time.Minute)
		if n := len(s.notices("ejer@eksempel.example")); n != 2 {
			t.Errorf("the owner was told %d times of 2 holds", n)
		}
		first := s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		_ = first
		looped := strings.ReplaceAll(s.hop.to("ven@borger.example")[0].raw, "\r\n", "\n")
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return arrives() })
		out := s.send("anna@eksempel.example", []string{"ven@borger.example"}, looped)
		s.is(out, "ven@borger.example held")
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if r.Address == "ven@borger.example" {
				return refuse(550, "5.1.1")
			}
			return arrives()
		})
		if n, err := s.operator.Release(t.Context(), Choice{Message: out}, bo); n != 1 || err != nil {
			t.Fatalf("release: %d, %v", n, err)
		}
		s.pass(15 * time.Second)
		s.is(out, "ven@borger.example returned")
	})
}

// Mail with the null path that fails has nobody to answer to: the safety net is told.
func TestNullSenderFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(byName)
		id := s.send("", []string{"findesikke@borger.example"}, letter("Læst: Hej", "Læst"))
		s.is(id, "findesikke@borger.example returned")
		s.told("sikkerhedsnet@eksempel.example", 1, "ikke leveret")
	})
}

// Too many hops are a loop, and are held.
func TestHopsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "limits: {hops: 5}\n")
		received := "Received: from a.example by b.example; Mon, 4 Mar 2024 09:15:00 +0100\n"
		s.is(s.send("anna@eksempel.example", []string{"ven@borger.example"}, strings.Repeat(received, 4)+letter("Hej", "Hej")), "ven@borger.example delivered")
		s.is(s.send("anna@eksempel.example", []string{"ven@borger.example"}, strings.Repeat(received, 5)+letter("Hej", "Hej")), "ven@borger.example held")
	})
}

// The same mailbox twice, spelt differently, is two recipients to the client: each has an ending of its own.
func TestTwoSpellings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		id := s.send("anna@eksempel.example", []string{"ven@borger.example", "VEN@Borger.example"}, letter("Hej", "Hej"))
		s.is(id, "ven@borger.example delivered, VEN@Borger.example delivered")
	})
}
