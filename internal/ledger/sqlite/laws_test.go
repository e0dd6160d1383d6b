package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

func openTest(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "ledger.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// raw runs SQL behind the ledger's back, as somebody with a shell could.
func raw(t *testing.T, s *Store, script string) error {
	t.Helper()
	c, err := openConn(s.path, "busy_timeout(10000)", "foreign_keys(on)")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	return c.script(script)
}

// TestConstraints: the schema itself refuses what the laws forbid, whoever writes.
func TestConstraints(t *testing.T) {
	s := openTest(t, Options{})
	workOnEverything(t, s)
	for name, script := range map[string]string{
		"a message is deleted":            "DELETE FROM message",
		"a delivery is deleted":           "DELETE FROM delivery WHERE no = 1",
		"an attempt is deleted":           "DELETE FROM attempt",
		"an attempt is changed":           "UPDATE attempt SET outcome = 'delivered'",
		"an event is deleted":             "DELETE FROM event WHERE seq = 1",
		"an event is changed":             "UPDATE event SET detail = 'x' WHERE seq = 1",
		"a seal is deleted":               "DELETE FROM seal",
		"a seal is changed":               "UPDATE seal SET at = 0",
		"a link is deleted":               "DELETE FROM link",
		"a link is changed":               "UPDATE link SET tells = 'delayed'",
		"a final state is changed":        "UPDATE delivery SET state = 'queued', ended_at = NULL, due = 1, deadline = 1 WHERE state = 'returned'",
		"returned without notice":         "BEGIN; UPDATE delivery SET state = 'returning', deadline = 1 WHERE no = 3; UPDATE delivery SET state = 'returned', ended_at = 1, deadline = NULL, due = NULL, watch = NULL WHERE no = 3",
		"queued to returned":              "UPDATE delivery SET state = 'returned', ended_at = 1, deadline = NULL, due = NULL, watch = NULL WHERE no = 3",
		"an unknown state":                "UPDATE delivery SET state = 'discarded' WHERE no = 3",
		"open without owner":              "UPDATE delivery SET owner = '' WHERE no = 3",
		"open without deadline":           "UPDATE delivery SET deadline = NULL WHERE no = 3",
		"final without an end":            "UPDATE delivery SET ended_at = NULL WHERE state = 'returned'",
		"withdrawn by nobody":             "UPDATE delivery SET state = 'withdrawn', ended_at = 1, deadline = NULL, due = NULL, watch = NULL WHERE no = 3",
		"a delivery moves to another":     "UPDATE delivery SET message = 2 WHERE no = 3",
		"a lease without an attempt":      "UPDATE delivery SET node = 'n', started = NULL WHERE no = 3",
		"a delivery begins delivered":     "INSERT INTO delivery SELECT 99, message, 77, 0, recipient, NULL, '', '', '', 0, 'delivered', verdict, 0, lane, owner, NULL, NULL, NULL, 0, '', NULL, 0, '', 0, 1, '' FROM delivery WHERE no = 3",
		"a second delivery of a notice":   "INSERT INTO delivery SELECT 99, 2, 1, 1, recipient, NULL, '', '', '', 0, 'queued', verdict, 0, lane, owner, 1, 1, NULL, 0, '', NULL, 0, '', 0, NULL, '' FROM delivery WHERE no = 3",
		"the same recipient index twice":  "INSERT INTO delivery SELECT 99, message, n, notice, recipient, NULL, '', '', '', 0, 'queued', verdict, 0, lane, owner, 1, 1, NULL, 0, '', NULL, 0, '', 0, NULL, '' FROM delivery WHERE no = 3",
		"an event of nobody":              "INSERT INTO event VALUES (99, 1, NULL, NULL, 1, 'x', '', '')",
		"a message of an unknown sort":    "UPDATE message SET kind = 'spam'",
		"a delivery of a missing message": "INSERT INTO delivery SELECT 99, 4711, 0, 0, recipient, NULL, '', '', '', 0, 'queued', verdict, 0, lane, owner, 1, 1, NULL, 0, '', NULL, 0, '', 0, NULL, '' FROM delivery WHERE no = 3",
	} {
		if err := raw(t, s, script); err == nil {
			t.Errorf("%s: the schema let it happen", name)
		}
	}
	ledgertest.CheckLaws(t, s)
}

// TestTampering: who goes around the constraints is found by Verify, which names what is wrong.
func TestTampering(t *testing.T) {
	tests := map[string]struct{ script, chain, want string }{
		"an event changed":              {"DROP TRIGGER event_same; UPDATE event SET detail = 'nothing' WHERE seq = 2", "broken", "an event from 1 to"},
		"an event's time changed":       {"DROP TRIGGER event_same; UPDATE event SET at = at + 1 WHERE seq = 2", "broken", "an event from 1 to"},
		"a sealed event gone":           {"DROP TRIGGER event_stays; DELETE FROM event WHERE seq = 3", "broken", "event 3 is missing"},
		"the newest event gone":         {"DROP TRIGGER event_stays; DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "broken", "is missing"},
		"a new event gone":              {"DROP TRIGGER event_stays; DELETE FROM event WHERE seq = (SELECT max(seq) - 1 FROM event)", "broken", "is missing"},
		"sealed events gone at the end": {"DROP TRIGGER event_stays; DELETE FROM event WHERE seq > 2", "broken", "event 3 is missing"},
		"a seal gone":                   {"DROP TRIGGER seal_stays; DELETE FROM seal WHERE first = 1", "broken", "the seal over event 1 is missing"},
		"a delivery gone":               {"PRAGMA foreign_keys = off; DROP TRIGGER delivery_stays; DELETE FROM delivery WHERE no = 3", "ok", "5 deliveries were accepted"},
		"a state changed":               {"DROP TRIGGER delivery_steps; UPDATE delivery SET state = 'delivered', ended_at = 1, due = NULL, watch = NULL, deadline = NULL WHERE no = 3", "ok", "The tally says"},
		"told of nothing":               {"DROP TRIGGER delivery_told; DROP TRIGGER delivery_steps; UPDATE delivery SET state = 'returned', ended_at = 1, due = NULL, watch = NULL, deadline = NULL WHERE no = 3", "ok", "Delivery 3 is returned, but no notice"},
		"an attempt gone":               {"DROP TRIGGER attempt_stays; DELETE FROM attempt WHERE delivery = 1 AND no = 1", "ok", "Delivery 1 has attempts without a trace"},
		"a body gone":                   {"DELETE FROM body", "ok", "cannot be read"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t, Options{})
			workOnEverything(t, s)
			if _, err := s.Accept(t.Context(), benchAcceptance("x.example", []byte("sealed"))); err != nil {
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

func TestNewerSchema(t *testing.T) {
	s := openTest(t, Options{})
	if err := raw(t, s, "PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.path, Options{}); !errors.Is(err, ledger.ErrNewer) || !strings.Contains(err.Error(), s.path) {
		t.Errorf("got %v, want %v and the file's name", err, ledger.ErrNewer)
	}
}

// TestServeLock: one serves, others may work beside it.
func TestServeLock(t *testing.T) {
	s := openTest(t, Options{Exclusive: true})
	if _, err := Open(s.path, Options{Exclusive: true}); err == nil || !strings.Contains(err.Error(), s.path+".lock") {
		t.Errorf("a second one serves, or is not told why not: %v", err)
	}
	beside, err := Open(s.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Put(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}
	if v, err := s.Get(t.Context(), "a"); v != "b" || err != nil {
		t.Errorf("the neighbour's fact: %q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.path, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestDurableSettings: what a promise rests on is really set, and nobody else may read the file.
func TestDurableSettings(t *testing.T) {
	s := openTest(t, Options{})
	workOnEverything(t, s)
	for pragma, want := range map[string]any{"journal_mode": "wal", "synchronous": int64(2), "foreign_keys": int64(1)} {
		var got any
		if _, err := s.writer.one(t.Context(), func(r row) { got = r[0] }, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", pragma, got, err, want)
		}
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(s.path + end); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", s.path+end, info, err)
		}
	}
	err := s.read(t.Context(), func(c *conn) error { _, err := c.exec("DELETE FROM body"); return err })
	if err == nil {
		t.Error("a reading connection wrote")
	}
}

func TestBackup(t *testing.T) {
	s := openTest(t, Options{})
	workOnEverything(t, s)
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a backup over another: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	copied, err := Open(path, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if got, want := ledgertest.CheckLaws(t, copied), ledgertest.CheckLaws(t, s); got.Accepted != want.Accepted || got.Open != want.Open {
		t.Errorf("copy %+v, want %+v", got, want)
	}
	if problems, err := copied.CheckIntegrity(t.Context()); len(problems) != 0 || err != nil {
		t.Errorf("integrity: %v, %v", problems, err)
	}
	if err := raw(t, s, "PRAGMA foreign_keys = off; DROP TRIGGER message_stays; DELETE FROM message WHERE no = 1"); err != nil {
		t.Fatal(err)
	}
	if problems, err := s.CheckIntegrity(t.Context()); len(problems) == 0 || err != nil {
		t.Errorf("a missing row was not seen: %v, %v", problems, err)
	}
}

// TestFull: on a full disk callers get errors, nothing is half done, and when there is room again the work goes on.
func TestFull(t *testing.T) {
	s := openTest(t, Options{})
	workOnEverything(t, s)
	before := ledgertest.CheckLaws(t, s)
	limit := func(pages string) { // the writer is idle
		if err := s.writer.script("PRAGMA max_page_count = " + pages); err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // SQLite makes of it what the file has now
	big := make([]byte, 1<<20)
	failed := make(chan error)
	for range 8 {
		go func() {
			_, err := s.Accept(context.Background(), benchAcceptance("x.example", big))
			failed <- err
		}()
	}
	for range 8 {
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "full") {
			t.Errorf("on a full disk: %v", err)
		}
	}
	if v := ledgertest.CheckLaws(t, s); v.Accepted != before.Accepted {
		t.Errorf("something is half done: %+v", v.Sums)
	}
	limit("1000000")
	if _, err := s.Accept(t.Context(), benchAcceptance("x.example", big)); err != nil {
		t.Fatal(err)
	}
	if v := ledgertest.CheckLaws(t, s); v.Accepted != before.Accepted+1 {
		t.Errorf("afterwards: %+v", v.Sums)
	}
}

// TestBubble: the ledger lives in virtual time, and leaves no goroutine behind.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(filepath.Join(t.TempDir(), "ledger.db"), Options{Exclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		work, err := s.Accept(t.Context(), benchAcceptance("x.example", []byte("sealed")))
		if err != nil {
			t.Fatal(work, err)
		}
		time.Sleep(5 * 24 * time.Hour)
		if w, err := s.Claim(t.Context(), time.Now(), ledger.Claim{Node: "n", Lane: "x.example", Max: 1, Lease: time.Minute}); err != nil || len(w) != 1 {
			t.Fatal(w, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
