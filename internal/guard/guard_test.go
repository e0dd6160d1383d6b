package guard

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
)

func TestOrdinaryMailArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		id := s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Vi ses."))
		s.is(id, "ven@borger.example delivered")
		s.told("anna@eksempel.example", 0, "")
		got := s.hop.to("ven@borger.example")
		if len(got) != 1 || !strings.HasSuffix(got[0].raw, "\r\n\r\nVi ses.\r\n") || !strings.HasPrefix(got[0].raw, "Postvagt-Trace: "+string(id)) {
			t.Errorf("arrived as %+v", got)
		}
	})
}

func TestNumberInSubjectIsRepairedAndTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		id := s.send("anna@eksempel.example", []string{"sag@nabo.example", "carl@eksempel.example"}, letter("Sag 010170-5000", "Se sagen."))
		s.is(id, "sag@nabo.example delivered, carl@eksempel.example delivered")
		out, in := s.hop.to("sag@nabo.example")[0].raw, s.hop.to("carl@eksempel.example")[0].raw
		head, body, _ := strings.Cut(out, "\r\n\r\n")
		if strings.Contains(head, "010170") || !strings.Contains(body, "010170-5000") {
			t.Errorf("the outside got %q", out)
		}
		if !strings.Contains(in, "Subject: Sag 010170-5000\r\n") {
			t.Errorf("inside is not left as it was: %q", in)
		}
		s.told("anna@eksempel.example", 1, "CPR")
	})
}

func TestInboundSubjectIsCleaned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.receive("sag@nabo.example", []string{"bo@eksempel.example"}, letter("Vedr. 020280-6000", "Se sagen."))
		got := s.hop.to("bo@eksempel.example")
		if len(got) != 1 || strings.Contains(strings.Split(got[0].raw, "\r\n\r\n")[0], "020280") {
			t.Errorf("arrived as %+v", got)
		}
		s.told("sag@nabo.example", 0, "") // nothing to tell a stranger
	})
}

// Law 4: a level that the hop does not reach is told at once, waits, and is returned with that reason.
func TestLevelTooLow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "", time.Minute, 0)
		s.hop.level = level.Encrypted
		id := s.send("anna@eksempel.example", []string{"kontrol@revisor.example"}, letter("Anmeldelse", "CPR-nr.: 030390-7000"))
		s.is(id, "kontrol@revisor.example queued")
		s.told("anna@eksempel.example", 1, "forsinket")
		s.pass(24*time.Hour + time.Minute)
		s.is(id, "kontrol@revisor.example returned")
		s.told("anna@eksempel.example", 2, "ikke leveret")
		if n := len(s.hop.to("kontrol@revisor.example")); n != 0 {
			t.Errorf("%d messages left below their level", n)
		}
	})
}

// Law 3: returned only once the notice has arrived; the ladder when it does not; the alarm; a person takes it.
func TestLadder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    units: [{name: Familie, senders: [anna@eksempel.example], mailbox: familie@eksempel.example}]\n", time.Minute, 0)
		closed := map[mail.Address]bool{"x@borger.example": true, "anna@eksempel.example": true}
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if closed[r.Address] {
				return refuse(550, "5.1.1")
			}
			return arrives()
		})
		id := s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.is(id, "x@borger.example returned")
		s.told("familie@eksempel.example", 1, "ikke leveret")

		closed["familie@eksempel.example"] = true
		id = s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.is(id, "x@borger.example returned")
		s.told("sikkerhedsnet@eksempel.example", 1, "ikke leveret")

		closed["sikkerhedsnet@eksempel.example"] = true
		id = s.send("anna@eksempel.example", []string{"x@borger.example"}, letter("Hej", "Hej"))
		s.is(id, "x@borger.example returning")
		s.pass(100 * time.Hour)
		s.is(id, "x@borger.example returning")
		sums, _ := s.store.Sums(context.Background())
		if sums.Alarms != 1 {
			t.Fatalf("%d alarms, want 1", sums.Alarms)
		}
		notice := s.story(id).Notices[0].Notice
		if n, err := s.operator.Withdraw(context.Background(), Choice{Message: notice}, Act{By: "Dorte", Reason: "ringet til Anna"}); n != 1 || err != nil {
			t.Fatalf("taking the alarm: %d, %v", n, err)
		}
		s.is(id, "x@borger.example returned")
	})
}

// A hop that is away: a delay notice after 4 hours, the return after 24, tries all along.
func TestHopAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "", time.Minute, 0)
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if j.Hop.SmartHost == "outside.example:25" {
				return away()
			}
			return arrives()
		})
		id := s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		s.pass(3*time.Hour + 59*time.Minute)
		s.told("anna@eksempel.example", 0, "")
		s.pass(2 * time.Minute)
		s.told("anna@eksempel.example", 1, "forsinket")
		s.pass(19 * time.Hour)
		s.is(id, "ven@borger.example queued")
		s.pass(2 * time.Hour)
		s.is(id, "ven@borger.example returned")
		s.told("anna@eksempel.example", 2, "ikke leveret")
		if n := len(s.story(id).Attempts); n < 15 || n > 60 {
			t.Errorf("%d attempts in a day", n)
		}
	})
}

func TestHopComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "", time.Minute, 0)
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return away() })
		var ids []string
		for range 300 {
			id := s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
			ids = append(ids, string(id))
		}
		s.pass(2 * time.Hour)
		if n := len(s.hop.tries); n > 600 {
			t.Errorf("%d tries towards a hop that is away", n)
		}
		s.hop.set(nil)
		s.pass(70 * time.Minute)
		if n := len(s.hop.to("ven@borger.example")); n != len(ids) {
			t.Errorf("%d of %d arrived after the hop came back", n, len(ids))
		}
	})
}

func TestMixedOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			switch r.Address.Local() {
			case "findesikke":
				return refuse(550, "5.1.1")
			case "fuld":
				return refuse(452, "4.2.2")
			}
			return arrives()
		})
		id := s.send("anna@eksempel.example", []string{"ven@borger.example", "findesikke@borger.example", "fuld@borger.example", "bo@eksempel.example"}, letter("Hej", "Hej"))
		s.pass(20 * time.Second) // while other hops were asked, nobody was told
		s.is(id, "ven@borger.example delivered, findesikke@borger.example returned, fuld@borger.example queued, bo@eksempel.example delivered")
		s.told("anna@eksempel.example", 1, "findesikke@borger.example")
		s.hop.set(nil)
		s.pass(2 * time.Hour)
		s.is(id, "ven@borger.example delivered, findesikke@borger.example returned, fuld@borger.example delivered, bo@eksempel.example delivered")
		if n := len(s.hop.to("ven@borger.example")); n != 1 {
			t.Errorf("arrived %d times", n)
		}
	})
}

// Inbound mail that our own server refuses is held and raised inside; the stranger is told only when proven.
func TestInboundRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, "    held: {owner: post@eksempel.example, within: 72h, remind: [24h, 4h]}\n", time.Minute, 0)
		s.senders["kendt@borger.example"] = true
		s.hop.set(func(j deliver.Job, r deliver.Recipient) deliver.Result {
			if r.Address == "lukket@eksempel.example" {
				return refuse(550, "5.1.1")
			}
			return arrives()
		})
		forged := s.receive("offer@borger.example", []string{"lukket@eksempel.example"}, letter("Underretning", "Om et barn"))
		proven := s.receive("kendt@borger.example", []string{"lukket@eksempel.example"}, letter("Underretning", "Om et barn"))
		s.pass(2 * time.Minute)
		s.is(forged, "lukket@eksempel.example held")
		s.told("offer@borger.example", 0, "")
		s.told("kendt@borger.example", 1, "")
		if n := len(s.notices("post@eksempel.example")); n != 2 {
			t.Errorf("the owner was told %d times of 2 held messages", n)
		}
		s.pass(73 * time.Hour)
		if n := len(s.notices("post@eksempel.example")); n != 6 {
			t.Errorf("the owner has %d notices, want a first one and two reminders for each", n)
		}
		if n := len(s.notices("sikkerhedsnet@eksempel.example")); n < 2 {
			t.Errorf("the deadline passed and the safety net has %d notices", n)
		}
		s.is(proven, "lukket@eksempel.example held") // a deadline never sends or deletes
		s.hop.set(nil)
		for _, id := range []string{string(forged), string(proven)} {
			if n, err := s.operator.Release(context.Background(), Choice{Message: ledger.MessageID(id)}, Act{By: "Bo", Reason: "postkassen er åbnet igen"}); n != 1 || err != nil {
				t.Errorf("release: %d, %v", n, err)
			}
		}
		s.pass(2 * time.Minute)
		s.is(forged, "lukket@eksempel.example delivered")
		s.is(proven, "lukket@eksempel.example delivered")
	})
}

func TestLoopIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		back := strings.ReplaceAll(s.hop.to("ven@borger.example")[0].raw, "\r\n", "\n")
		again := s.send("anna@eksempel.example", []string{"ven@borger.example"}, back)
		s.is(again, "ven@borger.example held")
		other := s.receive("ven@borger.example", []string{"bo@eksempel.example"}, back) // a list, a forward: no loop
		s.is(other, "bo@eksempel.example delivered")
		forged := s.send("anna@eksempel.example", []string{"ven@borger.example"}, strings.Replace(back, "Postvagt-Trace: ", "Postvagt-Trace: x", 1))
		s.is(forged, "ven@borger.example delivered")
	})
}

func TestStrangersDoNotRelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		if r := s.take(theirs, "x@borger.example", []string{"y@borger.example"}, letter("Hej", "Hej")); r.Code != 550 {
			t.Errorf("a stranger relays: %v", r)
		}
	})
}

// A message under way at a graceful stop, and everything that waits, goes on at the next start.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		s.hop.set(func(deliver.Job, deliver.Recipient) deliver.Result { return refuse(450, "4.2.0") })
		id := s.send("anna@eksempel.example", []string{"ven@borger.example"}, letter("Hej", "Hej"))
		s.halt()
		s.store.Close()
		s.hop.set(nil)
		time.Sleep(30 * time.Hour) // longer than the return time: it is tried before it is returned
		s.start()
		s.pass(5 * time.Minute)
		s.is(id, "ven@borger.example delivered")
	})
}
