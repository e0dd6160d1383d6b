package sqlite

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/ledger"
)

// scans are the plans that walk a whole table or index on purpose: what they walk is small, or they say that they grow.
var scans = []string{
	"SCAN a",     // authorities: a handful
	"SCAN tally", // a line per authority and state
	"SCAN lane",  // the lanes found so far
	"SCAN delivery USING COVERING INDEX delivery_alarms", // as many as there are alarms
	"SCAN d USING INDEX delivery_queue",                  // Recover, Find of queued: grow with the queue
	"SCAN d USING COVERING INDEX delivery_queue",         //
	"SCAN m USING INDEX message_accepted",                // Find without a selective field: newest first, up to its limit
	"SCAN node",                                          // nodes at work: a handful
	"SCAN duty",                                          //
	"SCAN CONSTANT ROW",
}

// TestPlans: no statement of the daily work walks a table. All statements that the work below prepared are asked.
func TestPlans(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "ledger.db"), Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	workOnEverything(t, s)
	r := <-s.readers
	defer func() { s.readers <- r }()
	queries := map[string]bool{}
	for _, c := range []*conn{s.writer, r} { // the writer is idle: nobody has a command waiting
		for q := range c.stmts {
			queries[q] = true
		}
	}
	explained := 0
	for q := range queries {
		word, _, _ := strings.Cut(q, " ")
		if !slices.Contains([]string{"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"}, word) {
			continue
		}
		var plan []string
		args := make([]value, strings.Count(q, "?"))
		if strings.Contains(q, "?1") {
			args = args[:2]
		}
		err := r.query(context.Background(), func(r row) error { plan = append(plan, r.str(3)); return nil }, "EXPLAIN QUERY PLAN "+q, args...)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		explained++
		for _, line := range plan {
			if strings.HasPrefix(line, "SCAN") && !slices.Contains(scans, line) || strings.Contains(line, "AUTOMATIC") {
				t.Errorf("%s\nis done by:\n\t%s", q, strings.Join(plan, "\n\t"))
				break
			}
		}
		if q == pieceQuery && !strings.Contains(plan[0], "(message=?)") {
			t.Errorf("a claim walks its lane for each message: %s", plan[0])
		}
		t.Logf("%s\n\t%s", q, strings.Join(plan, "\n\t"))
	}
	if explained < 40 {
		t.Errorf("only %d statements were explained", explained)
	}
}

// workOnEverything uses every method that belongs to the daily work.
func workOnEverything(t *testing.T, s *Store) {
	t.Helper()
	ctx, now := t.Context(), time.Now().UTC()
	a := benchAcceptance("a.example", []byte("sealed"))
	a.Deliveries = append(a.Deliveries, a.Deliveries[0], a.Deliveries[0])
	if _, err := s.Accept(ctx, a); err != nil {
		t.Fatal(err)
	}
	claim := func() []ledger.Delivery {
		w, err := s.Claim(ctx, now.Add(time.Second), ledger.Claim{Node: "n1", Lane: "a.example", Max: 10, Lease: time.Minute})
		if err != nil || len(w) == 0 {
			t.Fatal(w, err)
		}
		return w[0].Deliveries
	}
	claim()
	if _, err := s.Recover(ctx, now, "n1"); err != nil {
		t.Fatal(err)
	}
	ds := claim()
	change := func(d ledger.Delivery, to ledger.State) ledger.Change {
		return ledger.Change{Delivery: d.ID, From: ledger.Queued, To: to, At: now, Attempt: &ledger.Attempt{No: d.Attempts, Node: d.Node, Outcome: "x"}}
	}
	notice := benchAcceptance("inside", []byte("notice"))
	notice.Message.Kind = ledger.Notice
	back := change(ds[0], ledger.Returning)
	back.Notices = []ledger.NewNotice{{Tells: ledger.TellReturned, Message: notice.Message, Body: notice.Bodies[0], Delivery: notice.Deliveries[0], AboutIDs: []ledger.DeliveryID{ds[1].ID}}}
	for i, err := range s.Apply(ctx, back, change(ds[1], ledger.Returning), change(ds[2], ledger.Held)) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	st, err := s.Story(ctx, notice.Message.ID)
	if err != nil {
		t.Fatal(err)
	}
	nd, one := st.Deliveries[0], 0
	errs := s.Apply(ctx,
		ledger.Change{Delivery: ds[2].ID, From: ledger.Held, To: ledger.Queued, At: now, Body: &one, Lane: "b.example"},
		ledger.Change{Delivery: nd.ID, From: ledger.Queued, To: ledger.Queued, At: now, Climb: &ledger.Climb{Lane: "c.example", Body: []byte("x")}},
		ledger.Change{Delivery: nd.ID, From: ledger.Queued, To: ledger.Withdrawn, At: now},
		ledger.Change{Delivery: nd.ID, From: ledger.Queued, To: ledger.Withdrawn, At: now, Event: ledger.Event{By: "Anna"}})
	if errs[0] != nil || errs[1] != nil || errs[2] == nil || errs[3] != nil {
		t.Fatal(errs)
	}
	look := []error{s.Seal(ctx, now), s.Note(ctx, ledger.Event{Message: a.Message.ID, Kind: "x"}), s.Put(ctx, "a", "b")}
	keep := func(_ any, err error) { look = append(look, err) }
	for _, node := range []string{"n1", "n2"} {
		keep(s.Beat(ctx, now, node, "x", time.Minute))
		keep(s.Duty(ctx, now, "watch", node, time.Minute))
	}
	keep(s.Beat(ctx, now.Add(59*time.Second), "n1", "x", time.Minute))
	_, _, err = s.Reap(ctx, now.Add(time.Minute), "n1")
	look = append(look, err, s.Leave(ctx, "n1", "x"))
	keep(s.Lanes(ctx))
	keep(s.Watch(ctx, now.Add(9*time.Hour), 10))
	keep(s.Sums(ctx))
	keep(s.Get(ctx, "a"))
	keep(s.Story(ctx, a.Message.ID))
	keep(s.Delivery(ctx, ds[0].ID))
	keep(s.Body(ctx, a.Message.ID, 0))
	for _, q := range []ledger.Query{
		{}, {ID: a.Message.ID[:9]}, {HeaderID: "x"}, {Sender: "a@b.example"}, {Recipient: "@b.example"}, {Since: now}, {States: []ledger.State{ledger.Held}},
		{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}}, {States: []ledger.State{ledger.Delivered}},
	} {
		keep(s.Find(ctx, q))
	}
	for _, err := range look {
		if err != nil {
			t.Fatal(err)
		}
	}
}
