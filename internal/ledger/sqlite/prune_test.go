package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

func TestPruner(t *testing.T) {
	ledgertest.ExercisePruner(t, func(t *testing.T) ledgertest.Open {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func(fault func(string) error) (ledger.Store, error) {
			return Open(path, Options{Exclusive: true, Fault: fault})
		}
	})
}

// brief keeps everything for a moment only.
var brief = ledger.Retention{class.Ordinary: {Details: time.Microsecond, Rows: time.Hour}}

// pruned is a ledger of which retention has removed something: of the oldest messages the rows, of others the details.
func pruned(t *testing.T, s *Store) {
	t.Helper()
	now := time.Now().UTC()
	for i := range 6 {
		a := benchAcceptance("x.example", []byte("sealed"))
		a.Message.AcceptedAt = now.Add(-2 * time.Hour)
		at := a.Message.AcceptedAt
		if i >= 3 {
			at = now.Add(-time.Minute)
		}
		a.Message.HeaderID = fmt.Sprintf("<hemmelig-%d@eksempel.example>", i)
		a.Deliveries[0].Recipient.Shown = fmt.Sprintf("hemmelig-%d@borger.example", i)
		a.Claim = &ledger.Claim{Node: "n", Lease: 9 * time.Hour}
		a.Deliveries[0].Due = a.Message.AcceptedAt
		work, err := s.Accept(t.Context(), a)
		if err != nil || len(work) != 1 {
			t.Fatal(work, err)
		}
		if errs := s.Apply(t.Context(), ledger.Change{Delivery: work[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: at,
			Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered", Text: "hemmelig ok"}, Event: ledger.Event{By: "Anna", Detail: "hemmelig"}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		if i%2 == 1 {
			if err := s.Seal(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Accept(t.Context(), benchAcceptance("y.example", []byte("sealed"))); err != nil {
		t.Fatal(err)
	}
	var sum ledger.Pruned
	for more := true; more; {
		n, err := s.Prune(t.Context(), now, "Eksempel Kommune", brief, 2)
		if err != nil {
			t.Fatal(err)
		}
		sum.Details, sum.Rows, more = sum.Details+n.Details, sum.Rows+n.Rows, n.More
	}
	if sum.Details != 6 || sum.Rows != 3 {
		t.Fatalf("pruned %+v, want 6 details and 3 rows", sum)
	}
}

// TestPruneConstraints: what Prune may do, nobody else may, and Prune itself may not do more.
func TestPruneConstraints(t *testing.T) {
	s := openTest(t, Options{})
	pruned(t, s)
	const open, erased = "(SELECT message FROM delivery WHERE ended_at IS NULL)", "(SELECT min(no) FROM message WHERE erased_at IS NOT NULL)"
	for name, script := range map[string]string{
		"an open message is marked":       "INSERT INTO pruning SELECT message, 'rows' FROM delivery WHERE ended_at IS NULL",
		"a mark of another sort":          "INSERT INTO pruning VALUES (" + erased + ", 'all')",
		"a message without a mark":        "DELETE FROM event WHERE message = " + erased + "; DELETE FROM message WHERE no = " + erased,
		"an event without its leaf":       "INSERT INTO pruning VALUES (" + erased + ", 'rows'); DELETE FROM event WHERE message = " + erased,
		"words of an event are put back":  "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE event SET words = NULL, detail = 'x' WHERE message = " + erased,
		"words of an event are kept":      "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE event SET detail = 'x' WHERE message = " + erased,
		"an event's kind with the words":  "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE event SET words = zeroblob(32), by = '', detail = '', kind = 'x' WHERE message = " + erased,
		"an attempt's outcome":            "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE attempt SET text = '', outcome = 'x'",
		"an open delivery under a mark":   "DROP TRIGGER pruning_final; INSERT INTO pruning SELECT message, 'rows' FROM delivery WHERE ended_at IS NULL; DELETE FROM delivery WHERE message = " + open,
		"a leaf whose batch holds events": "DELETE FROM leaf",
		"a leaf is changed":               "UPDATE leaf SET hash = zeroblob(32)",
		"a proof is deleted":              "DELETE FROM proof",
		"a proof is changed":              "UPDATE proof SET messages = messages + 1",
		"a proof of nothing":              "INSERT INTO proof SELECT authority, 99, at, stage, class, 0, 0, 0, 0, 0, until, ids FROM proof LIMIT 1",
	} {
		if err := raw(t, s, "BEGIN; "+script+"; ROLLBACK"); err == nil {
			t.Errorf("%s: the schema let it happen", name)
		}
	}
	ledgertest.CheckLaws(t, s)
}

// TestPruneTampering: a removal without proof, and a proof without a removal, are broken laws.
func TestPruneTampering(t *testing.T) {
	const gone = "PRAGMA foreign_keys = off; INSERT INTO pruning SELECT min(no), 'rows' FROM message WHERE erased_at IS NOT NULL; "
	tests := map[string]struct{ script, chain, want string }{
		"rows gone without proof": {gone + `INSERT INTO leaf SELECT authority, seq, zeroblob(32) FROM event WHERE message = (SELECT message FROM pruning);
			DELETE FROM event WHERE message = (SELECT message FROM pruning); DELETE FROM attempt WHERE delivery IN (SELECT no FROM delivery WHERE message = (SELECT message FROM pruning));
			DELETE FROM delivery WHERE message = (SELECT message FROM pruning); DELETE FROM message WHERE no = (SELECT message FROM pruning); DELETE FROM pruning`, "broken", "with 3 that retention removed"},
		"details gone without proof":  {"UPDATE message SET erased_at = 1 WHERE erased_at IS NULL", "ok", "1 off what retention has proofs for"},
		"a proof changed":             {"DROP TRIGGER proof_same; UPDATE proof SET until = until + 1 WHERE stage = 'details'", "ok", "proofs of retention do not say what the event chain says"},
		"a proof gone":                {"DROP TRIGGER proof_stays; DELETE FROM proof WHERE stage = 'rows' AND seq = (SELECT max(seq) FROM proof)", "broken", "there is no proof of it"},
		"a proof too many":            {"INSERT INTO proof SELECT authority, 1, at, stage, class, messages, delivered, returned, withdrawn, events, until, ids FROM proof WHERE stage = 'rows' LIMIT 1", "broken", "retention has proofs for"},
		"an erased event's kind":      {"DROP TRIGGER event_same; UPDATE event SET kind = 'x' WHERE words IS NOT NULL", "broken", "was changed"},
		"an erased event's time":      {"DROP TRIGGER event_same; UPDATE event SET at = at + 1 WHERE words IS NOT NULL", "broken", "was changed"},
		"an erased event's words":     {"DROP TRIGGER event_same; UPDATE event SET words = zeroblob(32) WHERE words IS NOT NULL", "broken", "was changed"},
		"words gone from another":     {"DROP TRIGGER event_same; UPDATE event SET words = zeroblob(32), by = '', detail = '' WHERE words IS NULL AND message IS NOT NULL", "broken", "have lost their words"},
		"a leaf changed":              {"DROP TRIGGER leaf_same; UPDATE leaf SET hash = zeroblob(32)", "broken", "was changed"},
		"a leaf gone":                 {"DROP TRIGGER leaf_stays; DELETE FROM leaf WHERE seq = (SELECT max(seq) FROM leaf)", "broken", "is missing"},
		"the hash of an empty batch":  {"DROP TRIGGER seal_same; UPDATE seal SET batch = zeroblob(32) WHERE first = 1", "broken", "was changed"},
		"a whole batch without proof": {"DROP TRIGGER event_stays; DROP TRIGGER leaf_stays; DELETE FROM event WHERE seq BETWEEN 5 AND 8; DELETE FROM leaf WHERE seq BETWEEN 5 AND 8", "broken", "events are gone, but retention has proofs for"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t, Options{})
			pruned(t, s)
			if err := s.Seal(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			ledgertest.CheckLaws(t, s)
			if err := raw(t, s, test.script); err != nil {
				t.Fatal(err)
			}
			v, err := s.Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(v.Problems, "\n")
			if v.Chain != test.chain || !strings.Contains(all, test.want) {
				t.Errorf("chain %s, problems:\n%s\nwant %s and %q", v.Chain, all, test.chain, test.want)
			}
		})
	}
}

// TestPrunedBytes: what was removed does not stand in the file either, nor in what SQLite has freed in it.
func TestPrunedBytes(t *testing.T) {
	s := openTest(t, Options{})
	pruned(t, s)
	if err := s.Close(); err != nil { // writes the WAL back and removes it
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hemmelig", "Anna"} {
		if n := bytes.Count(data, []byte(name)); n > 0 {
			t.Errorf("%q stands %d times in the file", name, n)
		}
	}
}

// TestPrunePlans: no statement of retention walks a table, however long the ledger.
func TestPrunePlans(t *testing.T) {
	s := openTest(t, Options{Readers: 1})
	pruned(t, s)
	r := <-s.readers
	defer func() { s.readers <- r }()
	explained := 0
	for _, c := range []*conn{s.writer, r} {
		for _, q := range slices.Collect(maps.Keys(c.stmts)) {
			if strings.HasPrefix(q, "EXPLAIN") || !strings.Contains(q, "prune_") && !strings.Contains(q, "pruning") && !strings.Contains(q, "leaf") && !strings.HasPrefix(q, prunableQuery) {
				continue
			}
			explained++
			err := r.query(context.Background(), func(r row) error {
				if line := r.str(3); strings.HasPrefix(line, "SCAN") && line != "SCAN CONSTANT ROW" || strings.Contains(line, "AUTOMATIC") {
					t.Errorf("%s\nis done by: %s", q, line)
				}
				return nil
			}, "EXPLAIN QUERY PLAN "+q, make([]value, strings.Count(q, "?"))...)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
	}
	if explained < 15 {
		t.Errorf("only %d statements were explained", explained)
	}
}

// first makes a ledger of the first schema, with the rows that a postvagt of then wrote.
func first(t *testing.T, then string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ledger.db")
	c, err := openConn(path, "journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	schema, err := migrationFiles.ReadFile("migrations/0001_ledger.sql")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := os.ReadFile("testdata/first_schema_rows.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.script(string(schema)); err != nil {
		t.Fatal(err)
	}
	var begins string // the rows are not made step by step
	if _, err := c.one(t.Context(), func(r row) { begins = r.str(0) }, "SELECT sql FROM sqlite_schema WHERE name = 'delivery_begins_open'"); err != nil {
		t.Fatal(err)
	}
	if err := c.script("DROP TRIGGER delivery_begins_open; BEGIN; " + string(rows) + "; COMMIT; " + begins + "; PRAGMA user_version = 1; " + then); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUpgrade: a ledger of the first schema becomes like a fresh one, verifies, and can be pruned.
func TestUpgrade(t *testing.T) {
	s, err := Open(first(t, ""), Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v := ledgertest.CheckLaws(t, s); v.Accepted != 9 || v.Open != 3 || v.States[ledger.Returned] != 4 {
		t.Errorf("sums: %+v", v.Sums)
	}
	fresh := openTest(t, Options{})
	if got, want := schemaOf(t, s), schemaOf(t, fresh); got != want {
		t.Errorf("upgraded schema:\n%s\nfresh schema:\n%s", got, want)
	}
	end := time.Now()
	ids, err := s.Find(t.Context(), ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		st, err := s.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range st.Deliveries {
			if d.State.Final() {
				continue
			}
			if errs := s.Apply(t.Context(), ledger.Change{Delivery: d.ID, From: d.State, To: ledger.Withdrawn, At: end, Event: ledger.Event{By: "Anna"}}); errs[0] != nil {
				t.Fatal(errs[0])
			}
		}
	}
	var sum ledger.Pruned
	for more := true; more; {
		n, err := s.Prune(t.Context(), end.Add(9*time.Hour), "Eksempel Kommune", brief, 9)
		if err != nil {
			t.Fatal(err)
		}
		sum.Details, sum.Rows, more = sum.Details+n.Details, sum.Rows+n.Rows, n.More
		ledgertest.CheckLaws(t, s)
	}
	if sum.Details != 5 || sum.Rows != 4 { // the newest keeps its number
		t.Errorf("pruned %+v", sum)
	}
}

// TestUpgradeBroken: a chain that did not hold before does not hold afterwards.
func TestUpgradeBroken(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"changed": {"DROP TRIGGER event_same; UPDATE event SET detail = 'x' WHERE seq = 3", "was changed"},
		"missing": {"DROP TRIGGER event_stays; DELETE FROM event WHERE seq = 3", "event 3 is missing"},
		"seal":    {"DROP TRIGGER seal_same; UPDATE seal SET hash = zeroblob(32) WHERE first = 1; CREATE TRIGGER seal_same BEFORE UPDATE ON seal BEGIN SELECT 1; END", "was changed"},
	} {
		s, err := Open(first(t, test.script), Options{Exclusive: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v, err := s.Verify(t.Context(), nil)
		if all := strings.Join(v.Problems, "\n"); err != nil || v.Chain != "broken" || !strings.Contains(all, test.want) {
			t.Errorf("%s: chain %s, %v, problems:\n%s", name, v.Chain, err, all)
		}
		s.Close()
	}
}

func schemaOf(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	err := s.read(t.Context(), func(c *conn) error {
		return c.query(t.Context(), func(r row) error { fmt.Fprintln(&b, r.str(0)); return nil },
			"SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
