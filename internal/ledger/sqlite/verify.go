package sqlite

import (
	"context"
	"fmt"

	"postvagt/internal/ledger"
)

// mostProblems bounds how many problems of one sort Verify writes out.
const mostProblems = 20

// Verify counts every row instead of trusting the tally, follows the chain and opens every open delivery's body. It reads
// one snapshot and is in nobody's way.
func (s *Store) Verify(ctx context.Context, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	err = s.read(ctx, func(c *conn) error {
		v, err = c.verify(ctx, whole, open)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	return v, nil
}

func (c *conn) verify(ctx context.Context, p part, open func(id string, sealed []byte) ([]byte, error)) (v ledger.Verification, err error) {
	if err := c.verifySums(ctx, p, &v); err != nil {
		return v, err
	}
	if err := c.verifyLaws(ctx, p, &v); err != nil {
		return v, err
	}
	if err := c.verifyProofs(ctx, p, &v); err != nil {
		return v, err
	}
	problems, err := c.chainProblems(ctx, p)
	if err != nil {
		return v, err
	}
	v.Chain = "ok"
	if len(problems) > 0 {
		v.Chain, v.Problems = "broken", append(v.Problems, problems...)
	}
	return v, c.verifyBodies(ctx, p, &v, open)
}

// verifySums compares what was counted when it was accepted with the rows there are now and those that retention removed.
func (c *conn) verifySums(ctx context.Context, p part, v *ledger.Verification) error {
	tally, err := c.sums(ctx, p)
	if err != nil {
		return err
	}
	v.Sums = ledger.NoSums()
	v.Accepted, v.Alarms = tally.Accepted, tally.Alarms
	err = c.query(ctx, func(r row) error {
		v.States[ledger.State(r.str(0))] = r.int(1)
		return nil
	}, "SELECT d.state, count(*) FROM delivery AS d"+p.ofMessage("d.message")+" GROUP BY d.state")
	if err != nil {
		return err
	}
	_, err = c.one(ctx, func(r row) {
		for i, st := range []ledger.State{ledger.Delivered, ledger.Returned, ledger.Withdrawn} {
			v.States[st] += r.int(i)
			v.Pruned += r.int(i)
		}
	}, "SELECT sum(delivered), sum(returned), sum(withdrawn) FROM proof"+p.where("authority"))
	if err != nil {
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

// lawQueries each select delivery numbers that break a law; the constraints forbid most of it, and this looks whether
// somebody went around them.
var lawQueries = []struct{ problem, query string }{
	{"Delivery %d is returning, but no open notice tells its sender.", `SELECT no FROM delivery AS d WHERE state = 'returning' AND NOT EXISTS (
		SELECT 1 FROM link JOIN delivery AS n ON n.message = link.notice
		WHERE link.about = d.no AND link.tells = 'returned' AND n.state IN ('queued', 'held'))`},
	{"Delivery %d is returned, but no notice that tells so was delivered or taken by a person.", `SELECT no FROM delivery AS d WHERE state = 'returned' AND NOT EXISTS (
		SELECT 1 FROM link JOIN delivery AS n ON n.message = link.notice
		WHERE link.about = d.no AND link.tells = 'returned' AND (n.state = 'delivered' OR (n.state = 'withdrawn' AND n.ended_by <> '')))`},
	{"Delivery %d is withdrawn, but no person is named.", `SELECT no FROM delivery WHERE state = 'withdrawn' AND notice = 0 AND ended_by = ''`},
	{"Delivery %d is open without owner or deadline.", `SELECT no FROM delivery WHERE state IN ('queued', 'held', 'returning') AND (owner = '' OR deadline IS NULL)`},
	{"Delivery %d is in a state that does not exist.", `SELECT no FROM delivery WHERE state NOT IN ('queued', 'held', 'returning', 'delivered', 'returned', 'withdrawn')`},
	{"Delivery %d is a notice's, but its message is not, or the other way round.", `SELECT d.no FROM delivery AS d JOIN message AS m ON m.no = d.message
		WHERE d.notice <> (m.kind = 'notice')`},
	{"Delivery %d belongs to no message.", `SELECT d.no FROM delivery AS d WHERE NOT EXISTS (SELECT 1 FROM message AS m WHERE m.no = d.message)`},
	{"Delivery %d has attempts without a trace: an ended attempt has no row.", `SELECT d.no FROM delivery AS d
		WHERE d.attempts - (d.node <> '') <> (SELECT count(*) FROM attempt AS a WHERE a.delivery = d.no)`},
}

func (c *conn) verifyLaws(ctx context.Context, p part, v *ledger.Verification) error {
	for _, q := range lawQueries {
		n := 0
		err := c.query(ctx, func(r row) error {
			if n++; n <= mostProblems {
				v.Problems = append(v.Problems, fmt.Sprintf(q.problem, r.int(0)))
			}
			return nil
		}, p.of(q.query))
		if err != nil {
			return err
		}
		if n > mostProblems {
			v.Problems = append(v.Problems, fmt.Sprintf("There are %d more of this kind.", n-mostProblems))
		}
	}
	var without int64
	_, err := c.one(ctx, func(r row) { without = r.int(0) },
		"SELECT count(*) FROM (SELECT m.no, m.authority FROM message AS m WHERE NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = m.no)) AS m"+p.where("m.authority"))
	if err == nil && without > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d messages have no delivery.", without))
	}
	return err
}

// verifyProofs compares each proof with the event that says the same, which the chain covers, and the proofs with what is left.
func (c *conn) verifyProofs(ctx context.Context, p part, v *ledger.Verification) error {
	wrong := 0
	err := c.query(ctx, func(r row) error {
		if r.str(10) != proofOf(r).String() || r[11] != r[0] {
			wrong++
		}
		return nil
	}, `SELECT p.at, p.stage, p.class, p.messages, p.delivered, p.returned, p.withdrawn, p.events, p.until, p.ids, e.detail, e.at
		FROM proof AS p LEFT JOIN event AS e ON e.authority = p.authority AND e.seq = p.seq AND e.kind = 'pruned' AND e.message IS NULL`+p.where("p.authority"))
	if err != nil {
		return err
	}
	if wrong > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d proofs of retention do not say what the event chain says.", wrong))
	}
	for _, q := range []struct{ problem, query string }{
		{"%d events say that retention removed something, but there is no proof of it.", `SELECT count(*) FROM event AS e WHERE e.kind = 'pruned'
			AND NOT EXISTS (SELECT 1 FROM proof AS p WHERE p.authority = e.authority AND p.seq = e.seq)` + p.and("e.authority")},
		{"The messages that have lost their details are %d off what retention has proofs for.", `SELECT abs(
			(SELECT count(*) FROM message WHERE erased_at IS NOT NULL` + p.and("authority") + `)
			- (SELECT coalesce(sum(CASE stage WHEN 'details' THEN messages ELSE -messages END), 0) FROM proof` + p.where("authority") + "))"},
		{"%d events have lost their words, but their messages have not lost their details.", `SELECT count(*) FROM event AS e
			LEFT JOIN message AS m ON m.no = e.message WHERE e.words IS NOT NULL AND m.erased_at IS NULL` + p.and("e.authority")},
	} {
		var n int64
		if _, err := c.one(ctx, func(r row) { n = r.int(0) }, q.query); err != nil {
			return err
		}
		if n > 0 {
			v.Problems = append(v.Problems, fmt.Sprintf(q.problem, n))
		}
	}
	return nil
}

// verifyBodies opens the body of every open delivery, each once.
func (c *conn) verifyBodies(ctx context.Context, p part, v *ledger.Verification, open func(id string, sealed []byte) ([]byte, error)) error {
	v.Bodies = "ok"
	unreadable := 0
	problem := func(id string, body int64, err error) {
		v.Bodies = "unreadable"
		if unreadable++; unreadable <= mostProblems {
			v.Problems = append(v.Problems, fmt.Sprintf("Body %d of message %s cannot be read: %v.", body, id, err))
		}
	}
	// A returning delivery needs its body no longer, but the message keeps it until its last delivery is final.
	err := c.query(ctx, func(r row) error {
		id, body := r.str(0), r.int(1)
		if r[2] == nil {
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
	}, `SELECT m.id, d.body, b.data FROM (SELECT DISTINCT message, body FROM delivery WHERE ended_at IS NULL) AS d
		JOIN message AS m ON m.no = d.message LEFT JOIN body AS b ON b.no = d.message * 8 + d.body`+p.where("m.authority"))
	if unreadable > mostProblems {
		v.Problems = append(v.Problems, fmt.Sprintf("%d more bodies cannot be read.", unreadable-mostProblems))
	}
	return err
}
