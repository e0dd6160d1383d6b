package postgres

import (
	"fmt"
	"testing"

	"postvagt/internal/pgtest"
)

// TestNumbersAfterFailover: a sequence may go back when the standby takes over, to before what a node has in its hands. No
// number is given twice all the same.
func TestNumbersAfterFailover(t *testing.T) {
	t.Parallel()
	a := pgtest.Start(t)
	b := a.Standby(t)
	do(t, a.Alone())
	dsn := fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", pgtest.User, a.Port, b.Port)
	before := openStore(t, dsn, Options{})
	asked := func(s *Store, query string) (n int64) {
		do(t, s.read(t.Context(), func(t *tx) error { return t.query(func(r row) error { n = r.int(0); return nil }, query) }))
		return n
	}
	accept := func(s *Store) error { _, err := acceptOne(t, s); return err }
	do(t, accept(before)) // the authority, and connections
	do(t, a.Exec("SELECT pg_sleep(0.1)"))
	do(t, b.Kill())
	do(t, a.Exec("SELECT nextval('delivery_no') FROM generate_series(1, 100)"))
	old := openStore(t, dsn, Options{})
	do(t, accept(old)) // takes a block that the standby never hears of
	mine := asked(old, "SELECT max(no) FROM delivery")
	do(t, a.Kill())
	do(t, b.Run())
	do(t, b.Promote())
	after := openStore(t, dsn, Options{})
	for asked(after, "SELECT last_value FROM delivery_no") < mine-block { // up to where that block is given again
		do(t, b.Exec("SELECT nextval('delivery_no')"))
	}
	accept(old) // ends its connection to the old primary
	for range 3 {
		do(t, accept(after))
		do(t, accept(old))
	}
	if twice := asked(after, "SELECT count(*) FROM (SELECT no FROM delivery UNION ALL SELECT no FROM delivery_final) AS d GROUP BY no HAVING count(*) > 1"); twice > 0 {
		t.Errorf("%d numbers were given twice", twice)
	}
}
