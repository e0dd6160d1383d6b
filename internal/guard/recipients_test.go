package guard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/mail"
)

// askedHop is a hop that can be asked about recipients.
type askedHop struct {
	*hop
	answers map[mail.Address]deliver.Result
	asked   int
}

func (h *askedHop) Probe(_ context.Context, _ deliver.Hop, to mail.Address) deliver.Result {
	h.asked++
	if r, ok := h.answers[to]; ok {
		return r
	}
	return arrives()
}

// Mail from strangers to a mailbox that does not exist is refused in the conversation; in doubt it is taken.
func TestUnknownRecipients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "")
		h := &askedHop{hop: s.hop, answers: map[mail.Address]deliver.Result{
			"lukket@eksempel.example":      refuse(550, "5.1.1"),
			"uden-kode@eksempel.example":   refuse(550, ""),
			"kun-internt@eksempel.example": refuse(550, "5.7.1"),
			"fuld@eksempel.example":        refuse(452, "4.2.2"),
			"vaek@eksempel.example":        away(),
		}}
		s.guard.deliverer = h
		for to, want := range map[string]int{"anna@eksempel.example": 250, "lukket@eksempel.example": 550, "uden-kode@eksempel.example": 550,
			"kun-internt@eksempel.example": 250, "fuld@eksempel.example": 250, "vaek@eksempel.example": 250} {
			if r := s.take(theirs, "x@borger.example", []string{to}, letter("Hej", "Hej")); r.Code != want {
				t.Errorf("a stranger's mail to %s: %v, want %d", to, r, want)
			}
		}
		if r := s.take(ours, "bo@eksempel.example", []string{"lukket@eksempel.example"}, letter("Hej", "Hej")); r.Code != 250 {
			t.Errorf("our own mail is refused: %v", r)
		}
		before := h.asked
		s.take(theirs, "x@borger.example", []string{"lukket@eksempel.example"}, letter("Hej", "Hej"))
		if h.asked != before {
			t.Error("an answer is not kept")
		}
		delete(h.answers, "lukket@eksempel.example") // opened again
		time.Sleep(noMailboxTime + time.Second)
		if r := s.take(theirs, "x@borger.example", []string{"lukket@eksempel.example"}, letter("Hej", "Hej")); r.Code != 250 {
			t.Errorf("the mailbox was opened and is still refused: %v", r)
		}
	})
}
