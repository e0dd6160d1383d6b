package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postvagt/internal/ledger"
)

// recorder notes every statement a store sends.
type recorder struct {
	sync.Mutex
	seen map[string]int // statement → number of parameters
}

func (r *recorder) note(sql string, args []any) {
	r.Lock()
	defer r.Unlock()
	r.seen[sql] = len(args)
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.note(d.SQL, d.Args)
	return ctx
}
func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (r *recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	r.note(d.SQL, d.Args)
}
func (r *recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// record has every statement noted that the store sends from now on.
func record(t *testing.T, s *Store) *recorder {
	t.Helper()
	rec := &recorder{seen: map[string]int{}}
	cfg := s.pool.Config()
	cfg.ConnConfig.Tracer = rec
	s.pool.Close()
	var err error
	if s.pool, err = pgxpool.NewWithConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return rec
}

// scans are statements that walk a table on purpose: what they walk is small, or they say that they grow.
var scans = map[string][]string{
	"FROM event_fresh AS e JOIN authority": {"authority"},                 // a handful
	"FROM duty WHERE node":                 {"duty"},                      // as many as there are duties
	"FROM tally":                           {"tally"},                     // a line per authority and slot
	"FROM authority":                       {"authority"},                 //
	"d.node = $1":                          {"delivery"},                  // Recover, Reap, Leave: grow with the queue
	"AND node = $1 AND started":            {"delivery"},                  // Unclaim: grows with the queue
	"d.state IN ('queued'":                 {"delivery"},                  // Find of queued: grows with the queue
	"FROM node":                            {"node"},                      // as many as there are nodes
	"coalesce(max(version), 0)":            {"schema_version"},            //
	"m.authority = (SELECT a.no":           {"authority"},                 //
	"FROM message AS m JOIN authority":     {"authority"},                 // a handful, beside the messages found
	"FROM unnest":                          {"authority", "pg_namespace"}, //
}

// planNode is a step of a plan.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Plans    []planNode `json:"Plans"`
}

// walks lists the tables that a plan reads from end to end, and the indexes it uses.
func (n planNode) walks() (tables, indexes []string) {
	if n.Type == "Seq Scan" {
		tables = append(tables, n.Relation)
	}
	if n.Index != "" {
		indexes = append(indexes, n.Index)
	}
	for _, p := range n.Plans {
		t, i := p.walks()
		tables, indexes = append(tables, t...), append(indexes, i...)
	}
	return tables, indexes
}

// base is a partition's table.
func base(relation string) string {
	for _, table := range parted {
		if strings.HasPrefix(relation, table+"_2") || relation == table+"_rest" {
			return table
		}
	}
	return relation
}

// TestPlans: no statement of the daily work walks a table. All statements that the work below sent are asked, in a ledger where
// walking is not cheaper only because there is so little to walk.
func TestPlans(t *testing.T) {
	dsn := database(t)
	s := openStore(t, dsn, Options{})
	rec := record(t, s)
	workOnEverything(t, s)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	explained := 0
	for q, n := range rec.seen {
		word, _, _ := strings.Cut(strings.TrimSpace(q), " ")
		if !slices.Contains([]string{"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"}, word) || strings.Contains(q, "pg_") || strings.Contains(q, "set_config") {
			continue
		}
		plan := explain(t, conn, q, n)
		explained++
		tables, indexes := plan.walks()
		for _, table := range tables {
			if !allowed(q, base(table)) {
				t.Errorf("%s\nwalks %s (and uses %v)", q, table, indexes)
			}
		}
		for part, want := range map[string]string{dueQuery: "delivery_queue", watchQuery: "delivery_watch", "m.header_id IN": "header_id", "m.sender_key >=": "sender_key"} {
			if strings.Contains(q, part) && !slices.ContainsFunc(indexes, func(i string) bool { return strings.Contains(i, want) }) {
				t.Errorf("%s\nuses %v, not %s", q, indexes, want)
			}
		}
	}
	if explained < 45 {
		t.Errorf("only %d statements were explained", explained)
	}
}

func allowed(q, table string) bool {
	for part, tables := range scans {
		if strings.Contains(q, part) && slices.Contains(tables, table) {
			return true
		}
	}
	return false
}

func explain(t *testing.T, conn *pgx.Conn, q string, params int) planNode {
	t.Helper()
	name := "asked"
	if _, err := conn.Exec(t.Context(), "PREPARE "+name+" AS "+q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	defer conn.Exec(context.Background(), "DEALLOCATE "+name)
	nulls := ""
	if params > 0 {
		nulls = "(" + strings.TrimSuffix(strings.Repeat("NULL, ", params), ", ") + ")"
	}
	var text string
	if err := conn.QueryRow(t.Context(), fmt.Sprintf("EXPLAIN (FORMAT JSON) EXECUTE %s%s", name, nulls), pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan
}

// workOnEverything uses every method that belongs to the daily work. At its end deliveries 1 and 2 are returned, 3 is queued, and 4, their
// notice's, was withdrawn by a person.
func workOnEverything(t *testing.T, s *Store) ledger.MessageID {
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
	keep(s.Lanes(ctx))
	keep(s.Watch(ctx, now.Add(9*time.Hour), 10))
	keep(s.Sums(ctx))
	keep(s.SumsOf(ctx, "Eksempel Kommune"))
	keep(s.Get(ctx, "a"))
	keep(s.Story(ctx, a.Message.ID))
	keep(s.Delivery(ctx, ds[0].ID))
	keep(s.Body(ctx, a.Message.ID, 0))
	keep(s.Beat(ctx, now, "n1", "life", time.Minute))
	keep(s.Beat(ctx, now.Add(-time.Hour), "n2", "life", time.Minute))
	keep(s.Duty(ctx, now, "watch", "n1", time.Minute))
	keep(s.Unclaim(ctx, now, "n1", now, nil))
	_, _, err = s.Reap(ctx, now.Add(50*time.Second), "n1")
	look = append(look, err, s.Leave(ctx, "n1", "life"))
	for _, q := range []ledger.Query{
		{}, {ID: a.Message.ID[:9]}, {HeaderID: "x"}, {Sender: "a@b.example"}, {Recipient: "@b.example"}, {Since: now}, {States: []ledger.State{ledger.Held}},
		{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}}, {States: []ledger.State{ledger.Delivered}},
		{ID: a.Message.ID, Authority: "Eksempel Kommune"},
	} {
		keep(s.Find(ctx, q))
	}
	for i, err := range look {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	return a.Message.ID
}
