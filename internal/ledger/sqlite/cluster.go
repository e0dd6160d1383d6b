package sqlite

import (
	"context"
	"fmt"
	"time"

	"postvagt/internal/ledger"
)

var _ ledger.Cluster = (*Store)(nil)

// nodeRow is a node as its last Beat left it. Times are microseconds.
type nodeRow struct {
	life       string
	since, ttl int64
	until      int64
}

func (t *tx) node(name string) (n nodeRow, found bool, err error) {
	found, err = t.one(context.Background(), func(r row) { n = nodeRow{r.str(0), r.int(1), r.int(2), r.int(3)} },
		"SELECT life, since, ttl, until FROM node WHERE name = ?", name)
	return n, found, err
}

// Beat says that this life of the node is at work until now+ttl. The ledger has no clock of its own: Skew is 0.
func (s *Store) Beat(ctx context.Context, now time.Time, node, life string, ttl time.Duration) (ledger.Alive, error) {
	if node == "" || life == "" || ttl < time.Microsecond {
		return ledger.Alive{}, fmt.Errorf("beat: node, life and ttl are needed")
	}
	var a ledger.Alive
	err := s.do(ctx, 256, func(t *tx) (err error) {
		a, err = t.beat(now.UnixMicro(), node, life, ttl.Microseconds())
		return err
	})
	if err != nil {
		return ledger.Alive{}, fmt.Errorf("beat of %s: %w", node, err)
	}
	return a, nil
}

func (t *tx) beat(now int64, node, life string, ttl int64) (a ledger.Alive, err error) {
	n, found, err := t.node(node)
	if err != nil {
		return a, err
	}
	since := now
	if found && n.until > now {
		if n.life != life {
			return a, ledger.ErrTaken
		}
		since = n.since
	}
	if _, err := t.exec(`INSERT INTO node (name, life, since, until, ttl) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET life = excluded.life, since = excluded.since, until = excluded.until, ttl = excluded.ttl`,
		node, life, since, now+ttl, ttl); err != nil {
		return a, err
	}
	a.Since = time.UnixMicro(since).UTC()
	_, err = t.one(context.Background(), func(r row) { a.Nodes, a.Rank = int(r.int(0)), int(r.int(1)) },
		"SELECT count(*), coalesce(sum(name < ?), 0) FROM node WHERE until > ?", node, now)
	return a, err
}

// Leave ends the beat of a node that stops in good order. What it still holds is taken back by the next Reap.
func (s *Store) Leave(ctx context.Context, node, life string) error {
	err := s.do(ctx, 256, func(t *tx) error {
		n, found, err := t.node(node)
		if err != nil || !found || n.life != life {
			return err
		}
		holds, err := t.exists("SELECT 1 FROM delivery AS d WHERE d.state = 'queued' AND d.node = ? LIMIT 1", node)
		if err != nil {
			return err
		}
		if holds {
			_, err = t.exec("UPDATE node SET until = 0 WHERE name = ?", node)
		} else {
			_, err = t.exec("DELETE FROM node WHERE name = ?", node)
		}
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM duty WHERE node = ?", node)
		return err
	})
	if err != nil {
		return fmt.Errorf("leave of %s: %w", node, err)
	}
	return nil
}

// Reap takes back what dead nodes hold and forgets them. Its cost grows with the queue, when somebody died.
func (s *Store) Reap(ctx context.Context, now time.Time, node string) ([]string, int, error) {
	var dead []string // the writer's own until it is done: after ctx ended it may still write there
	var cutOff int
	err := s.do(ctx, 4096, func(t *tx) error {
		dead, cutOff = nil, 0
		at := now.UnixMicro()
		own, found, err := t.node(node)
		if err != nil || !found || own.until <= at || at-own.since < own.ttl {
			return err
		}
		err = t.query(ctx, func(r row) error { dead = append(dead, r.str(0)); return nil }, "SELECT name FROM node WHERE until <= ? ORDER BY name", at)
		if err != nil {
			return err
		}
		for _, name := range dead {
			n, err := t.takeBack(now, name)
			if err != nil {
				return err
			}
			cutOff += n
			if _, err := t.exec("DELETE FROM duty WHERE node = ?", name); err != nil {
				return err
			}
			if _, err := t.exec("DELETE FROM node WHERE name = ?", name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reap: %w", err)
	}
	return dead, cutOff, nil
}

// Duty asks for work that one node does for all.
func (s *Store) Duty(ctx context.Context, now time.Time, duty, node string, ttl time.Duration) (bool, error) {
	if duty == "" || node == "" || ttl < time.Microsecond {
		return false, fmt.Errorf("duty: its name, node and ttl are needed")
	}
	var mine bool // the writer's own until it is done
	err := s.do(ctx, 256, func(t *tx) error {
		mine = false
		var holder string
		var until int64
		found, err := t.one(ctx, func(r row) { holder, until = r.str(0), r.int(1) }, "SELECT node, until FROM duty WHERE name = ?", duty)
		if err != nil || found && holder != node && until > now.UnixMicro() {
			return err
		}
		mine = true
		_, err = t.exec(`INSERT INTO duty (name, node, until) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until`, duty, node, now.Add(ttl).UnixMicro())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("duty %s: %w", duty, err)
	}
	return mine, nil
}
