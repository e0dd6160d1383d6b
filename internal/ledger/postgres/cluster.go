package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postvagt/internal/ledger"
)

// left is the end of the beat of a node that left with something in its hands, or that is being buried.
var left = time.Unix(0, 0).UTC()

// Beat says that this life of the node is at work until now+ttl.
func (s *Store) Beat(ctx context.Context, now time.Time, node, life string, ttl time.Duration) (a ledger.Alive, err error) {
	if node == "" || life == "" || ttl < time.Microsecond {
		return a, fmt.Errorf("beat: node, life and ttl are needed")
	}
	begin := time.Now()
	err = s.do(ctx, func(t *tx) (err error) {
		a, err = t.beat(begin, now, node, life, ttl)
		return err
	})
	if err != nil {
		return ledger.Alive{}, fmt.Errorf("beat of %s: %w", node, err)
	}
	return a, nil
}

// beatQuery is one step, so that of two lives that begin at once one finds the other.
const beatQuery = `INSERT INTO node (name, life, since, until, ttl) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (name) DO UPDATE SET life = excluded.life, until = excluded.until, ttl = excluded.ttl,
		since = CASE WHEN node.until > excluded.since THEN node.since ELSE excluded.since END
	WHERE node.life = excluded.life OR node.until <= excluded.since
	RETURNING since`

// beat is Beat; begin is when the caller's clock said now.
func (t *tx) beat(begin, now time.Time, node, life string, ttl time.Duration) (a ledger.Alive, err error) {
	t.writes++
	// Of two nodes that begin at the same moment the second sees the first.
	t.ask(nil, "SELECT pg_advisory_xact_lock($1, $2)", lockClass, lockBeat)
	taken := true
	t.ask(func(r row) error { taken, a.Since = false, r.time(0); return nil }, beatQuery, node, life, moment(now), moment(now.Add(ttl)), ttl.Microseconds())
	t.ask(func(r row) error { a.Nodes, a.Rank = int(r.int(0)), int(r.int(1)); return nil },
		"SELECT count(*), count(*) FILTER (WHERE name < $1) FROM node WHERE until > $2", node, moment(now))
	if err := t.flush(); err != nil {
		return a, err
	}
	if taken {
		return a, ledger.ErrTaken
	}
	// The database's clock was read about half-way between asking and hearing; the steps before may have waited for something.
	asked := time.Now()
	var theirs time.Time
	if err := t.query(func(r row) error { theirs = r.time(0); return nil }, "SELECT clock_timestamp()"); err != nil {
		return a, err
	}
	ours := now.Add(asked.Sub(begin) + time.Since(asked)/2)
	a.Skew = ours.Sub(theirs)
	return a, nil
}

// Leave ends the beat of a node that stops in good order. What it still holds is taken back by the next Reap.
func (s *Store) Leave(ctx context.Context, node, life string) error {
	err := s.do(ctx, func(t *tx) error {
		same := false
		_, err := t.one(func(r row) { same = r.str(0) == life }, "SELECT life FROM node WHERE name = $1 FOR UPDATE", node)
		if err != nil || !same {
			return err
		}
		holds, err := t.exists("SELECT 1 FROM delivery AS d WHERE d.state = 'queued' AND d.node = $1 LIMIT 1", node)
		if err != nil {
			return err
		}
		if holds {
			t.exec("UPDATE node SET until = $2 WHERE name = $1", node, left)
		} else {
			t.exec("DELETE FROM node WHERE name = $1", node)
		}
		t.exec("DELETE FROM duty WHERE node = $1", node)
		return nil
	})
	if err != nil {
		return fmt.Errorf("leave of %s: %w", node, err)
	}
	return nil
}

// Reap takes back what dead nodes hold and forgets them. Its cost grows with the queue, when somebody died.
func (s *Store) Reap(ctx context.Context, now time.Time, node string) (dead []string, cutOff int, err error) {
	for more := true; more; {
		var buried []string
		n := 0
		err := s.do(ctx, func(t *tx) (err error) {
			buried, n, more, err = t.reap(now, node)
			return err
		})
		if err != nil {
			return dead, cutOff, fmt.Errorf("reap: %w", err)
		}
		dead, cutOff = append(dead, buried...), cutOff+n
	}
	slices.Sort(dead)
	return dead, cutOff, nil
}

// reap buries dead nodes whose hands are empty, or emptied here; more: one holds still more than one transaction takes back.
func (t *tx) reap(now time.Time, node string) (buried []string, cutOff int, more bool, err error) {
	able, err := t.exists("SELECT 1 FROM node WHERE name = $1 AND until > $2::timestamptz AND since <= $2::timestamptz - make_interval(secs => ttl / 1e6)", node, moment(now))
	if err != nil || !able {
		return nil, 0, false, err
	}
	// One that beats again meanwhile, or that another is just burying, is waited for and then seen as it is.
	var dead []string
	err = t.query(func(r row) error { dead = append(dead, r.str(0)); return nil }, "SELECT name FROM node WHERE until <= $1 ORDER BY name FOR UPDATE", moment(now))
	if err != nil {
		return nil, 0, false, err
	}
	for _, name := range dead {
		n, err := t.takeBack(now, name)
		if err != nil {
			return nil, 0, false, err
		}
		if cutOff += n; n == takeBatch {
			t.exec("UPDATE node SET until = $2 WHERE name = $1", name, left) // by no clock it goes on in this life
			return buried, cutOff, true, nil
		}
		t.exec("DELETE FROM duty WHERE node = $1", name)
		t.exec("DELETE FROM node WHERE name = $1", name)
		buried = append(buried, name)
	}
	return buried, cutOff, false, nil
}

// dutyQuery is one step, so that of two that ask at once one gets it.
const dutyQuery = `INSERT INTO duty AS d (name, node, until) VALUES ($1, $2, $3)
	ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until WHERE d.node = excluded.node OR d.until <= $4
	RETURNING 1`

// Duty asks for work that one node does for all.
func (s *Store) Duty(ctx context.Context, now time.Time, duty, node string, ttl time.Duration) (mine bool, err error) {
	if duty == "" || node == "" || ttl < time.Microsecond {
		return false, fmt.Errorf("duty: its name, node and ttl are needed")
	}
	err = s.do(ctx, func(t *tx) (err error) {
		t.writes++
		mine, err = t.exists(dutyQuery, duty, node, moment(now.Add(ttl)), moment(now))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("duty %s: %w", duty, err)
	}
	return mine, nil
}
