package postgres

import (
	"fmt"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/pgtest"
	"postvagt/internal/policy"
)

// TestNumbersAfterFailover: a sequence may go back when the standby takes over, to before what a node has in its hands. No
// number is given twice all the same.
func TestNumbersAfterFailover(t *testing.T) {
	t.Parallel()
	a := pgtest.Start(t)
	b := a.Standby(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(a.Alone())
	dsn := fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", pgtest.User, a.Port, b.Port)
	open := func() *Store {
		s, err := Open(t.Context(), dsn, Options{Serve: true})
		check(err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	before := open()
	asked := func(s *Store, query string) (n int64) {
		check(s.read(t.Context(), func(t *tx) error { return t.query(func(r row) error { n = r.int(0); return nil }, query) }))
		return n
	}
	accept := func(s *Store) (err error) {
		id := ledger.NewMessageID()
		m := ledger.Message{ID: id, Authority: "Eksempel Kommune", Kind: ledger.Mail, Direction: policy.Outbound, Sender: ledger.Address{Shown: "anna@eksempel.example"},
			Size: 1, Language: "da", AcceptedAt: time.Now()}
		_, err = s.Accept(t.Context(), ledger.Acceptance{Message: m, Bodies: [][]byte{[]byte("x")}, Deliveries: []ledger.NewDelivery{{
			Recipient: ledger.Address{Shown: "bo@borger.example"}, State: ledger.Queued, Lane: "borger.example", Owner: "net@eksempel.example", Deadline: time.Now().Add(time.Hour)}}})
		return err
	}
	check(accept(before)) // the authority, and connections
	check(a.Exec("SELECT pg_sleep(0.1)"))
	check(b.Kill())
	check(a.Exec("SELECT nextval('delivery_no') FROM generate_series(1, 100)"))
	old := open()
	check(accept(old)) // takes a block that the standby never hears of
	mine := asked(old, "SELECT max(no) FROM delivery")
	check(a.Kill())
	check(b.Run())
	check(b.Promote())
	after := open()
	for asked(after, "SELECT last_value FROM delivery_no") < mine-block { // up to where that block is given again
		check(b.Exec("SELECT nextval('delivery_no')"))
	}
	accept(old) // ends its connection to the old primary
	for range 3 {
		check(accept(after))
		check(accept(old))
	}
	if twice := asked(after, "SELECT count(*) FROM (SELECT no FROM delivery UNION ALL SELECT no FROM delivery_final) AS d GROUP BY no HAVING count(*) > 1"); twice > 0 {
		t.Errorf("%d numbers were given twice", twice)
	}
}
