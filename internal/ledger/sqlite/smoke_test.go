package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

func TestSmoke(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "l.db"), Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	nd := ledger.NewDelivery{Recipient: ledger.Address{Shown: "a@borger.example"}, State: ledger.Queued, Lane: "l", Owner: "o", Deadline: now.Add(time.Hour), Watch: now.Add(time.Minute)}
	a := ledger.Acceptance{Message: ledger.Message{ID: ledger.NewMessageID(), Authority: "e", Kind: ledger.Mail, Sender: ledger.Address{Shown: "b@eksempel.example"}, AcceptedAt: now},
		Bodies: [][]byte{[]byte("hello")}, Deliveries: []ledger.NewDelivery{nd, nd}, Claim: &ledger.Claim{Node: "n", Lease: time.Minute}}
	w, err := s.Accept(ctx, a)
	if err != nil || len(w) != 1 || len(w[0].Deliveries) != 2 {
		t.Fatal(w, err)
	}
	d := w[0].Deliveries
	errs := s.Apply(ctx, ledger.Change{Delivery: d[0].ID, From: ledger.Queued, To: ledger.Delivered, At: now, Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered"}},
		ledger.Change{Delivery: d[1].ID, From: ledger.Queued, To: ledger.Returning, At: now, Deadline: now.Add(time.Hour), Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "refused"},
			Notices: []ledger.NewNotice{{Tells: ledger.TellReturned, Message: ledger.Message{ID: "notice", Authority: "e", Kind: ledger.Notice}, Body: []byte("n"), Delivery: nd}}})
	t.Log(errs)
	sums, err := s.Sums(ctx)
	t.Log(sums, err)
	c, err := s.Claim(ctx, now, ledger.Claim{Node: "n", Lane: "l", Max: 1, Lease: time.Minute})
	t.Log(c, err)
	errs = s.Apply(ctx, ledger.Change{Delivery: c[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: now, Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered"}})
	sums, err = s.Sums(ctx)
	t.Log(errs, sums, err)
	story, err := s.Story(ctx, a.Message.ID)
	t.Logf("%+v %v", story, err)
	t.Log(s.Lanes(ctx))
	t.Log(s.Watch(ctx, now, 10))
	if _, err := Open(s.path, Options{Exclusive: true}); err == nil {
		t.Error("second exclusive open")
	} else {
		t.Log(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
