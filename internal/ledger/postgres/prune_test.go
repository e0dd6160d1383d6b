package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

func TestPruner(t *testing.T) { ledgertest.ExercisePruner(t, freshLedger) }

// yearOld accepts mail of a month a year ago and delivers it, with a notice; every tenth is confidential. Its partitions are there.
func yearOld(t *testing.T, s *Store, n int) (from time.Time, ids []ledger.MessageID) {
	t.Helper()
	now := time.Now().UTC()
	from = time.Date(now.Year()-1, now.Month(), 1, 0, 0, 0, 0, time.UTC)
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		for _, table := range parted {
			m := from.AddDate(0, i, 0)
			if err := makePartition(t.Context(), conn.Conn(), table+m.Format("_2006_01"), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn.Release()
	for i := range n {
		ids = append(ids, oldMail(t, s, "Eksempel Kommune", from.Add(time.Duration(i)*time.Hour), i))
		if i%3 == 0 {
			if err := s.Seal(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	return from, ids
}

// oldMail is a mail that was delivered a second after at, and the sender told of it.
func oldMail(t *testing.T, s *Store, authority string, at time.Time, i int) ledger.MessageID {
	t.Helper()
	a := benchAcceptance(fmt.Sprintf("lane %s %d", authority, i), []byte("sealed"))
	a.Message.ID, a.Message.Authority, a.Message.AcceptedAt = ledger.MessageIDFrom(at, fmt.Sprint(authority, i)), authority, at
	d := &a.Deliveries[0]
	d.Due, d.Deadline = at, at.Add(24*time.Hour)
	if i%10 == 0 {
		d.Verdict.Class = class.Confidential
	}
	n := benchAcceptance(d.Lane, []byte("notice"))
	n.Message.ID, n.Message.Authority, n.Message.Kind, n.Message.AcceptedAt = ledger.MessageIDFrom(at.Add(time.Millisecond), fmt.Sprint(authority, i, "n")), authority, ledger.Notice, at
	n.Deliveries[0].Due, n.Deliveries[0].Deadline = at, at.Add(24*time.Hour)
	a.Notices = []ledger.NewNotice{{Tells: ledger.TellRepaired, About: []int{0}, Message: n.Message, Body: n.Bodies[0], Delivery: n.Deliveries[0]}}
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	work, err := s.Claim(t.Context(), at, ledger.Claim{Node: "n", Lane: d.Lane, Max: 9, Lease: time.Hour})
	if err != nil || len(work) != 2 {
		t.Fatal(work, err)
	}
	for _, w := range work {
		if errs := s.Apply(t.Context(), ledger.Change{Delivery: w.Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: at.Add(time.Second),
			Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered", Text: "ok"}, Event: ledger.Event{Detail: "ok"}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	return a.Message.ID
}

func pruneAll(t *testing.T, s *Store, now time.Time, k ledger.Keep) (rounds []ledger.Pruned) {
	t.Helper()
	r := ledger.Retention{class.Ordinary: k, class.Confidential: k, class.Sensitive: k}
	for more := true; more; {
		n, err := s.Prune(t.Context(), now, "Eksempel Kommune", r, 50)
		if err != nil {
			t.Fatal(err)
		}
		if n != (ledger.Pruned{}) {
			rounds = append(rounds, n)
		}
		more = n.More
	}
	ledgertest.CheckLaws(t, s)
	return rounds
}

func hasMonth(t *testing.T, s *Store, from time.Time) (there bool) {
	t.Helper()
	err := s.read(t.Context(), func(x *tx) error {
		return x.query(func(r row) error { there = r.bool(0); return nil }, "SELECT to_regclass($1) IS NOT NULL", "message"+from.Format("_2006_01"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// TestPruneMonth: a month of which everything may go goes at once, and everything still adds up.
func TestPruneMonth(t *testing.T) {
	s := openStore(t, database(t), Options{})
	from, ids := yearOld(t, s, 60)
	now := time.Now().UTC()
	if rounds := pruneAll(t, s, now, ledger.Keep{Details: 24 * time.Hour}); len(rounds) < 3 {
		t.Errorf("rounds of details: %+v", rounds)
	}
	rounds := pruneAll(t, s, now, ledger.Keep{Rows: 48 * time.Hour})
	if len(rounds) != 1 || rounds[0].Rows != 120 {
		t.Errorf("rounds of rows: %+v, want one of 120 messages", rounds)
	}
	if hasMonth(t, s, from) {
		t.Error("its partitions are still there")
	}
	for _, id := range ids {
		if _, err := s.Story(t.Context(), id); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("%s: %v", id, err)
		}
	}
	v := ledgertest.CheckLaws(t, s)
	if v.Pruned != 120 || v.Accepted != 120 {
		t.Errorf("%+v", v)
	}
	proofs, err := s.Proofs(t.Context(), "Eksempel Kommune")
	if err != nil || len(proofs) != 4 || proofs[2].Messages != 114 || proofs[3].Messages != 6 || proofs[2].Events != 240 {
		t.Errorf("proofs: %+v, %v", proofs, err)
	}
	oldMail(t, s, "Eksempel Kommune", now, 99) // and it goes on
	ledgertest.CheckLaws(t, s)
}

// TestPruneMonthMixed: what must stay keeps its month, whose other rows go one by one; an empty month is dropped.
func TestPruneMonthMixed(t *testing.T) {
	const rows = 48 * time.Hour
	for name, test := range map[string]struct {
		stays func(t *testing.T, s *Store, from time.Time)
		left  int // messages
		month bool
	}{
		"an open delivery": {func(t *testing.T, s *Store, from time.Time) {
			a := benchAcceptance("held", []byte("sealed"))
			a.Message.ID, a.Message.AcceptedAt, a.Deliveries[0].State = ledger.MessageIDFrom(from, "held"), from, ledger.Held
			if _, err := s.Accept(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}, 1, true},
		"another authority's mail": {func(t *testing.T, s *Store, from time.Time) { oldMail(t, s, "Anden Kommune", from, 1) }, 2, true},
		"mail that ended lately": {func(t *testing.T, s *Store, from time.Time) {
			a := benchAcceptance("late", []byte("sealed"))
			a.Message.ID, a.Message.AcceptedAt, a.Deliveries[0].State = ledger.MessageIDFrom(from, "late"), from, ledger.Held
			if _, err := s.Accept(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			st, err := s.Story(t.Context(), a.Message.ID)
			if err != nil {
				t.Fatal(err)
			}
			if errs := s.Apply(t.Context(), ledger.Change{Delivery: st.Deliveries[0].ID, From: ledger.Held, To: ledger.Withdrawn, At: time.Now(), Event: ledger.Event{By: "Anna"}}); errs[0] != nil {
				t.Fatal(errs[0])
			}
		}, 1, true},
		"a note of today in its chain": {func(t *testing.T, s *Store, from time.Time) {
			if err := s.Note(t.Context(), ledger.Event{Authority: "Eksempel Kommune", At: from, Kind: ledger.KindPolicy}); err != nil {
				t.Fatal(err)
			}
			oldMail(t, s, "Eksempel Kommune", from.AddDate(0, 1, 3), 1)
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, database(t), Options{})
			from, _ := yearOld(t, s, 8)
			test.stays(t, s, from.Add(time.Hour))
			pruneAll(t, s, time.Now().UTC(), ledger.Keep{Rows: rows})
			pruneAll(t, s, time.Now().UTC(), ledger.Keep{Rows: rows})
			left, err := s.Find(t.Context(), ledger.Query{Limit: 1000})
			if err != nil || len(left) != test.left {
				t.Errorf("%d messages are left, want %d: %v", len(left), test.left, err)
			}
			if got := hasMonth(t, s, from); got != test.month {
				t.Errorf("the month is there: %v, want %v", got, test.month)
			}
		})
	}
}

// TestPruneDropFails: a month that cannot be dropped is told of, and keeps nothing else from going.
func TestPruneDropFails(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := openStore(t, dsn, Options{})
	from, _ := yearOld(t, s, 0)
	now := time.Now().UTC()
	oldMail(t, s, "Eksempel Kommune", now.Add(-2*time.Hour), 1)
	view := "CREATE VIEW watched AS SELECT * FROM message" + from.Format("_2006_01")
	if err := raw(t, dsn, view); err != nil {
		t.Fatal(err)
	}
	k := ledger.Keep{Details: time.Second, Rows: time.Hour}
	r := ledger.Retention{class.Ordinary: k, class.Confidential: k, class.Sensitive: k}
	rows, err := 0, error(nil)
	for n := (ledger.Pruned{More: true}); n.More; rows += n.Rows {
		n, err = s.Prune(t.Context(), now, "Eksempel Kommune", r, 50)
	}
	if err == nil || rows != 2 {
		t.Errorf("removed %d rows, %v", rows, err)
	}
	if err := raw(t, dsn, "DROP VIEW watched"); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, s, now, k)
	if hasMonth(t, s, from) {
		t.Error("the empty month is still there")
	}
}

// somePruned is a ledger of which retention has removed rows, and details of others.
func somePruned(t *testing.T, dsn string) *Store {
	t.Helper()
	s := openStore(t, dsn, Options{})
	now := time.Now().UTC()
	for i := range 8 {
		at := now.Add(-2 * time.Hour)
		if i >= 4 {
			at = now.Add(-time.Minute)
		}
		oldMail(t, s, "Eksempel Kommune", at, i*10+1)
		if i%2 == 1 {
			if err := s.Seal(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Accept(t.Context(), benchAcceptance("open", []byte("sealed"))); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, s, now, ledger.Keep{Details: time.Second, Rows: time.Hour})
	if err := s.Seal(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPruneConstraints: what Prune may do, nobody else may, and Prune itself may not do more.
func TestPruneConstraints(t *testing.T) {
	dsn := database(t)
	s := somePruned(t, dsn)
	const erased = "(SELECT min(id) FROM message WHERE erased_at IS NOT NULL)"
	for name, script := range map[string]string{
		"an open message is marked":       "INSERT INTO pruning SELECT message, 'rows' FROM delivery",
		"a message without a mark":        "DELETE FROM message WHERE id = " + erased,
		"a delivery without a mark":       "DELETE FROM delivery_final WHERE message = " + erased,
		"an event without its leaf":       "INSERT INTO pruning VALUES (" + erased + ", 'rows'); DELETE FROM event WHERE message = " + erased,
		"rows under a mark for details":   "INSERT INTO pruning VALUES (" + erased + ", 'details'); DELETE FROM delivery_final WHERE message = " + erased,
		"words of an event are put back":  "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE event SET words = NULL, detail = 'x' WHERE message = " + erased,
		"an event's kind with the words":  "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE event SET words = sha256(''), kind = 'x' WHERE message = " + erased,
		"an attempt's outcome":            "INSERT INTO pruning VALUES (" + erased + ", 'details'); UPDATE attempt SET text = '', outcome = 'x'",
		"a link is changed":               "INSERT INTO pruning SELECT subject, 'rows' FROM link; UPDATE link SET tells = 'x'",
		"a leaf whose batch holds events": "INSERT INTO leaf SELECT authority, seq, sha256('') FROM event; DELETE FROM leaf",
		"a proof is deleted":              "DELETE FROM proof",
		"a proof is changed":              "UPDATE proof SET messages = messages + 1",
	} {
		if err := raw(t, dsn, "BEGIN; "+script+"; ROLLBACK"); err == nil {
			t.Errorf("%s: the schema let it happen", name)
		}
	}
	ledgertest.CheckLaws(t, s)
}

// TestPruneTampering: a removal without proof, and a proof without a removal, are broken laws.
func TestPruneTampering(t *testing.T) {
	const free, erased = "SET session_replication_role = replica; ", "(SELECT min(id) FROM message WHERE erased_at IS NOT NULL)"
	for name, test := range map[string]struct{ script, chain, want string }{
		"rows gone without proof":    {"INSERT INTO leaf SELECT authority, seq, sha256('') FROM event WHERE message = " + erased + "; DELETE FROM event WHERE message = " + erased + "; DELETE FROM delivery_final WHERE message = " + erased, "broken", "that retention removed"},
		"details gone without proof": {"UPDATE message SET erased_at = now() WHERE erased_at IS NULL", "ok", "1 off what retention has proofs for"},
		"a proof changed":            {"UPDATE proof SET until = until + interval '1 second' WHERE stage = 'details'", "ok", "do not say what the event chain says"},
		"a proof gone":               {"DELETE FROM proof WHERE stage = 'rows'", "broken", "do not say what the event chain says"},
		"a proof too many":           {"INSERT INTO proof SELECT * FROM proof WHERE stage = 'rows' LIMIT 1", "broken", "retention has proofs for"},
		"an erased event's kind":     {"UPDATE event SET kind = 'x' WHERE words IS NOT NULL", "broken", "was changed"},
		"an erased event's words":    {"UPDATE event SET words = sha256('') WHERE words IS NOT NULL", "broken", "was changed"},
		"words gone from another":    {"UPDATE event SET words = sha256(''), by = '', detail = '' WHERE words IS NULL AND message <> ''", "broken", "have lost their words"},
		"a leaf cut short":           {"ALTER TABLE leaf DROP CONSTRAINT leaf_hash_check; INSERT INTO leaf SELECT authority, seq, 'short' FROM event WHERE message = " + erased + "; DELETE FROM event WHERE message = " + erased, "broken", "was changed"},
		"the hash of an empty batch": {"UPDATE seal SET batch = sha256('') WHERE first = 1", "broken", "was changed"},
		"a whole batch without proof": {"DELETE FROM event WHERE seq > (SELECT first FROM seal ORDER BY first DESC LIMIT 1) - 1; DELETE FROM leaf WHERE seq > (SELECT first FROM seal ORDER BY first DESC LIMIT 1) - 1",
			"broken", "events are gone, but retention has proofs for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t)
			s := somePruned(t, dsn)
			ledgertest.CheckLaws(t, s)
			if err := raw(t, dsn, free+test.script); err != nil {
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
