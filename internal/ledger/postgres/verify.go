package postgres

import (
	"context"
	"fmt"
	"strings"

	"postvagt/internal/ledger"
)

// mostProblems bounds how many problems of one sort Verify writes out.
const mostProblems = 20

// Verify counts every row instead of trusting the tally, follows the chain and opens every open delivery's body. It reads
// one snapshot and is in nobody's way.
func (s *Store) Verify(ctx context.Context, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	err = s.look(ctx, true, func(t *tx) (err error) {
		v, err = t.verify(whole, open)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

// VerifyOf is Verify over one authority's rows, chain and bodies.
func (s *Store) VerifyOf(ctx context.Context, authority string, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	err = s.look(ctx, true, func(t *tx) error {
		p, err := t.part(authority)
		if err == nil {
			v, err = t.verify(p, open)
		}
		return err
	})
	if err != nil {
		return v, fmt.Errorf("verify one authority: %w", err)
	}
	return v, nil
}

func (t *tx) verify(p part, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	if err := t.verifySums(p, &v); err != nil {
		return v, err
	}
	if err := t.verifyLaws(p, &v); err != nil {
		return v, err
	}
	if err := t.verifyProofs(p, &v); err != nil {
		return v, err
	}
	problems, err := t.chainProblems(p)
	if err != nil {
		return v, err
	}
	v.Chain = "ok"
	if len(problems) > 0 {
		v.Chain, v.Problems = "broken", append(v.Problems, problems...)
	}
	return v, t.verifyBodies(p, &v, open)
}

// verifySums compares what was counted when it was accepted with the rows there are now and those that retention removed.
func (t *tx) verifySums(p part, v *ledger.Verification) error {
	tally, err := t.sums(p)
	if err != nil {
		return err
	}
	v.Sums = ledger.NoSums()
	v.Accepted, v.Alarms = tally.Accepted, tally.Alarms
	err = t.query(func(r row) error {
		v.States[ledger.State(r.str(0))] = r.int(1)
		return nil
	}, "SELECT state, count(*) FROM delivery"+p.where("authority")+" GROUP BY state UNION ALL SELECT state, count(*) FROM delivery_final"+
		p.where("authority")+" GROUP BY state")
	if err != nil {
		return err
	}
	if err := t.verifyPruned(p, v); err != nil {
		return err
	}
	v.Sums.Balance()
	if v.Unaccounted != 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d deliveries were accepted, but %d are open and %d are final, with %d that retention removed.", v.Accepted, v.Open, v.Final, v.Pruned))
	}
	for _, st := range ledger.States {
		if tally.States[st] != v.States[st] {
			v.Problems = append(v.Problems, fmt.Sprintf("The tally says that %d deliveries are %s, but there are %d.", tally.States[st], st, v.States[st]))
		}
	}
	return nil
}

// lawQueries each select delivery numbers that break a law, as "no", of a table d with an authority; the constraints forbid most of it, and this
// looks whether somebody went around them. They join whole tables, so that a long ledger is read once and not asked row by row.
var lawQueries = []struct{ problem, query string }{
	{"Delivery %d is returning, but no open notice tells its sender.", `SELECT d.no FROM delivery AS d WHERE d.state = 'returning' AND NOT EXISTS (
		SELECT FROM link JOIN delivery AS n ON n.message = link.notice WHERE link.about = d.no AND link.subject = d.message AND link.tells = 'returned')`},
	{"Delivery %d is returned, but no notice that tells so was delivered or taken by a person.", `SELECT d.no FROM delivery_final AS d
		WHERE d.state = 'returned' AND NOT EXISTS (SELECT FROM link JOIN delivery_final AS n ON n.message = link.notice
		WHERE link.about = d.no AND link.subject = d.message AND link.tells = 'returned' AND (n.state = 'delivered' OR (n.state = 'withdrawn' AND n.ended_by <> '')))`},
	{"Delivery %d is withdrawn, but no person is named.", `SELECT d.no FROM delivery_final AS d WHERE d.state = 'withdrawn' AND NOT d.notice AND d.ended_by = ''`},
	{"Delivery %d is open without owner or deadline.", `SELECT d.no FROM delivery AS d WHERE (d.owner = '' OR d.deadline IS NULL)`},
	{"Delivery %d is in a state that does not exist.", `SELECT d.no FROM delivery AS d WHERE d.state NOT IN ('queued', 'held', 'returning')`},
	{"Delivery %d is in a state that does not exist.", `SELECT d.no FROM delivery_final AS d WHERE d.state NOT IN ('delivered', 'returned', 'withdrawn')`},
	{"Delivery %d is open and final.", `SELECT d.no FROM delivery AS d JOIN delivery_final AS f ON f.message = d.message AND f.n = d.n WHERE true`},
	{"Delivery %d does not fit its message, or belongs to none.", `SELECT d.no FROM delivery AS d LEFT JOIN message AS m ON m.id = d.message
		WHERE (m.id IS NULL OR d.notice <> (m.kind = 'notice') OR d.authority <> m.authority)`},
	{"Delivery %d does not fit its message, or belongs to none.", `SELECT d.no FROM delivery_final AS d LEFT JOIN message AS m ON m.id = d.message
		WHERE (m.id IS NULL OR d.notice <> (m.kind = 'notice') OR d.authority <> m.authority)`},
	{"Delivery %d has attempts without a trace: an ended attempt has no row.", `SELECT d.no FROM (
			SELECT no, message, authority, attempts - (node <> '')::integer AS ended FROM delivery
			UNION ALL SELECT no, message, authority, attempts FROM delivery_final) AS d
		LEFT JOIN (SELECT message, delivery, count(*) AS n FROM attempt GROUP BY message, delivery) AS a ON a.message = d.message AND a.delivery = d.no
		WHERE d.ended <> coalesce(a.n, 0)`},
}

func (t *tx) verifyLaws(p part, v *ledger.Verification) error {
	for _, q := range lawQueries {
		n := 0
		err := t.query(func(r row) error {
			if n++; n <= mostProblems {
				v.Problems = append(v.Problems, fmt.Sprintf(q.problem, r.int(0)))
			}
			return nil
		}, q.query+p.and("d.authority")+" ORDER BY d.no")
		if err != nil {
			return err
		}
		if n > mostProblems {
			v.Problems = append(v.Problems, fmt.Sprintf("There are %d more of this kind.", n-mostProblems))
		}
	}
	var short, strange int64
	t.ask(func(r row) error { short = r.int(0); return nil }, `SELECT count(*) FROM message AS m LEFT JOIN (
			SELECT message, count(*) AS n FROM (SELECT message FROM delivery UNION ALL SELECT message FROM delivery_final) AS d GROUP BY message) AS d
		ON d.message = m.id WHERE m.recipients <> coalesce(d.n, 0)`+p.and("m.authority"))
	if p == whole {
		t.ask(func(r row) error { strange = r.int(0); return nil },
			"SELECT count(*) FROM message AS m WHERE NOT EXISTS (SELECT FROM authority AS a WHERE a.no = m.authority)")
	}
	if err := t.flush(); err != nil {
		return err
	}
	if short > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d messages have not as many deliveries as recipients.", short))
	}
	if strange > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d messages belong to no authority.", strange))
	}
	return nil
}

// verifyBodies opens the body of every open delivery, each once.
func (t *tx) verifyBodies(p part, v *ledger.Verification, open func(id string, sealed []byte) ([]byte, error)) error {
	v.Bodies = "ok"
	unreadable := 0
	problem := func(id string, body int64, err error) {
		v.Bodies = "unreadable"
		if unreadable++; unreadable <= mostProblems {
			v.Problems = append(v.Problems, fmt.Sprintf("Body %d of message %s cannot be read: %v.", body, id, err))
		}
	}
	// A returning delivery needs its body no longer, but the message keeps it until its last delivery is final.
	err := t.query(func(r row) error {
		id, body := r.str(0), r.int(1)
		if r.null(2) {
			problem(id, body, ledger.ErrNotFound)
			return nil
		}
		if open == nil {
			return nil
		}
		if _, err := open(id, r.bytes(2)); err != nil {
			problem(id, body, err)
		}
		return nil
	}, strings.Join([]string{"SELECT d.message, d.body, b.data FROM (SELECT DISTINCT message, body FROM delivery", p.where("authority"),
		") AS d LEFT JOIN body AS b ON b.message = d.message AND b.n = d.body ORDER BY d.message, d.body"}, ""))
	if unreadable > mostProblems {
		v.Problems = append(v.Problems, fmt.Sprintf("%d more bodies cannot be read.", unreadable-mostProblems))
	}
	return err
}
