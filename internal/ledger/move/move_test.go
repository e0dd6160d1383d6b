package move

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/pgtest"
)

// lived is a file in which chance has lived; what a node held when it was killed is still leased.
func lived(t *testing.T, steps int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	ledgertest.Live(t, func(fault func(string) error) (ledger.Store, error) {
		return sqlite.Open(path, sqlite.Options{Fault: fault})
	}, steps)
	return path
}

func openFile(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(path, sqlite.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func database(t *testing.T) string {
	t.Helper()
	return pgtest.NewFrom(t, "move", func(dsn string) error {
		s, err := postgres.Open(context.Background(), dsn, postgres.Options{Serve: true})
		if err != nil {
			return err
		}
		return s.Close()
	})
}

func exec(t *testing.T, dsn, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func openDatabase(t *testing.T, dsn string, fault func(string) error) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{Serve: true, Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestMove: every life, in every state, is there with every attempt, notice and event; the chain goes on where it stood, and the
// ledger works.
func TestMove(t *testing.T) {
	t.Parallel()
	from, to := openFile(t, lived(t, 600)), openDatabase(t, database(t), nil)
	proof, err := Ledger(t.Context(), from, to, "postgres://db/x")
	if err != nil {
		t.Fatal(err)
	}
	if proof.Resumed || proof.Sums.Accepted == 0 || proof.Sums.Unaccounted != 0 || len(proof.Heads) == 0 {
		t.Errorf("proof %+v", proof)
	}
	for _, st := range []ledger.State{ledger.Queued, ledger.Held, ledger.Delivered, ledger.Returned} {
		if proof.Sums.States[st] == 0 {
			t.Errorf("no delivery is %s: this proves little", st)
		}
	}
	same(t, from, to)
	went, err := Went(t.Context(), from)
	if err != nil || went == nil || went.To != "postgres://db/x" || went.At.IsZero() {
		t.Errorf("the file says that it went to %+v, %v", went, err)
	}
	if went, err := Went(t.Context(), to); err != nil || went != nil {
		t.Errorf("the database says that it went to %+v, %v", went, err)
	}
	if err := Undo(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	if went, err := Went(t.Context(), from); err != nil || went != nil {
		t.Errorf("after undo the file says that it went to %+v, %v", went, err)
	}
	goOn(t, to)
}

// same compares the two ledgers as callers see them.
func same(t *testing.T, from, to ledger.Store) {
	t.Helper()
	ids, err := from.Find(t.Context(), ledger.Query{Limit: 1_000_000})
	if err != nil || len(ids) == 0 {
		t.Fatalf("%d messages, %v", len(ids), err)
	}
	for _, id := range ids {
		a, err := from.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		b, err := to.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range []*ledger.Story{&a, &b} { // in which order they come is nobody's promise, nor what a notice about a notice is to that
			st.Notices = slices.DeleteFunc(st.Notices, func(l ledger.NoticeLink) bool { return st.Message.Kind == ledger.Notice && l.Notice != id })
			slices.SortFunc(st.Notices, func(x, y ledger.NoticeLink) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("the story of %s (-was +is):\n%s", id, diff)
		}
		for body := range 2 {
			x, errA := from.Body(t.Context(), id, body)
			y, errB := to.Body(t.Context(), id, body)
			if string(x) != string(y) || errors.Is(errA, ledger.ErrNotFound) != errors.Is(errB, ledger.ErrNotFound) {
				t.Fatalf("body %d of %s: %d bytes, %v; %d bytes, %v", body, id, len(x), errA, len(y), errB)
			}
		}
	}
}

// goOn works on a moved ledger: new numbers collide with none that came, and open work is there to be claimed.
func goOn(t *testing.T, s *postgres.Store) {
	t.Helper()
	lanes, err := s.Lanes(t.Context())
	if err != nil || len(lanes) == 0 {
		t.Fatalf("lanes %v, %v", lanes, err)
	}
	now := time.Now().UTC()
	done := 0
	for _, l := range lanes {
		work, err := s.Claim(t.Context(), now, ledger.Claim{Node: "n9", Lane: l.Lane, Max: 10, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range work {
			for _, d := range c.Deliveries {
				err := s.Apply(t.Context(), ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Delivered, At: now,
					Attempt: &ledger.Attempt{Delivery: d.ID, No: d.Attempts, Node: "n9", Started: now, Ended: now, Outcome: "delivered", Code: 250}})[0]
				if err != nil {
					t.Fatal(err)
				}
				done++
			}
		}
	}
	if done == 0 {
		t.Error("nothing could be claimed")
	}
	ledgertest.Live(t, func(func(string) error) (ledger.Store, error) { return lasting{s}, nil }, 50)
	if err := s.Seal(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	v, err := s.Verify(t.Context(), nil)
	if err != nil || v.Chain != "ok" || v.Unaccounted != 0 || len(v.Problems) > 0 {
		t.Errorf("after going on: %+v, %v", v, err)
	}
}

// lasting is a store that Live does not close.
type lasting struct{ *postgres.Store }

func (lasting) Close() error { return nil }

// TestMoveCutOff: a move that ends in the middle leaves nothing, one that ends after the commit is taken up; the file's guard is
// refused only in the end.
func TestMoveCutOff(t *testing.T) {
	t.Parallel()
	path, dsn := lived(t, 200), database(t)
	from := openFile(t, path)
	away := errors.New("pulled the plug")
	for _, c := range []struct {
		point   string
		resumed bool
	}{{"begin", false}, {"commit-before", false}, {"commit-after", true}} {
		to := openDatabase(t, dsn, func(point string) error {
			if point == c.point {
				return away
			}
			return nil
		})
		if _, err := Ledger(t.Context(), from, to, "x"); !errors.Is(err, away) {
			t.Fatalf("%s: %v", c.point, err)
		}
		if went, err := Went(t.Context(), from); err != nil || went != nil {
			t.Fatalf("%s: the file says that it went to %v, %v", c.point, went, err)
		}
		sums, err := openDatabase(t, dsn, nil).Sums(t.Context())
		if err != nil || (sums.Accepted > 0) != c.resumed {
			t.Fatalf("%s: the database holds %d deliveries, %v", c.point, sums.Accepted, err)
		}
	}
	proof, err := Ledger(t.Context(), from, openDatabase(t, dsn, nil), "x")
	if err != nil || !proof.Resumed {
		t.Fatalf("taken up: %v, %v", proof.Resumed, err)
	}
}

// TestMoveRefused: a ledger that holds something, one that is served, and one with a newer schema are left as they are.
func TestMoveRefused(t *testing.T) {
	t.Parallel()
	path := lived(t, 60)
	from := openFile(t, path)
	t.Run("not empty", func(t *testing.T) {
		to := openDatabase(t, database(t), nil)
		if err := to.Put(t.Context(), "key ids", "0123abcd"); err != nil {
			t.Fatal(err)
		}
		if _, err := Ledger(t.Context(), from, to, "x"); !errors.Is(err, postgres.ErrNotEmpty) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("served", func(t *testing.T) {
		to := openDatabase(t, database(t), nil)
		if _, err := to.Beat(t.Context(), time.Now(), "n1", "life", time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := Ledger(t.Context(), from, to, "x"); err == nil || !strings.Contains(err.Error(), "stop it first") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("newer", func(t *testing.T) {
		dsn := database(t)
		if err := exec(t, dsn, "INSERT INTO schema_version (version) VALUES (1000)"); err != nil {
			t.Fatal(err)
		}
		if _, err := postgres.Open(t.Context(), dsn, postgres.Options{Serve: true}); !errors.Is(err, ledger.ErrNewer) {
			t.Errorf("got %v", err)
		}
	})
	if went, err := Went(t.Context(), from); err != nil || went != nil {
		t.Errorf("the file says that it went to %v, %v", went, err)
	}
}

// TestMoveUnknownTable: a table of a later schema that nobody has given a place is not left behind in silence.
func TestMoveUnknownTable(t *testing.T) {
	t.Parallel()
	from := openFile(t, lived(t, 20))
	err := from.Snapshot(t.Context(), func(ask sqlite.Ask) error {
		return allKnown(ask, slices.DeleteFunc(slices.Clone(sources), func(s source) bool { return s.table == "attempt" }))
	})
	if err == nil || !strings.Contains(err.Error(), "attempt") {
		t.Errorf("got %v", err)
	}
}

// TestMoveDiffers: a row that changed on its way is told.
func TestMoveDiffers(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	from, to := openFile(t, lived(t, 100)), openDatabase(t, dsn, nil)
	if _, err := Ledger(t.Context(), from, to, "x"); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		"UPDATE body SET data = data || '\\x00' WHERE (message, n) IN (SELECT message, n FROM body LIMIT 1)",
		"UPDATE delivery SET possibly = NOT possibly WHERE no IN (SELECT no FROM delivery LIMIT 1)",
	} {
		if err := exec(t, dsn, change); err != nil {
			t.Fatal(err)
		}
		if _, err := Ledger(t.Context(), from, to, "x"); !errors.Is(err, ErrDiffers) {
			t.Errorf("after %s: %v", change, err)
		}
	}
}
