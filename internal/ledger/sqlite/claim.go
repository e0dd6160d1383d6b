package sqlite

import (
	"context"
	"fmt"
	"time"

	"postvagt/internal/ledger"
)

// Claim leases due work of one lane. The lease is the intent: the row then says who tries, since when, which time.
func (s *Store) Claim(ctx context.Context, now time.Time, c ledger.Claim) ([]ledger.Claimed, error) {
	if c.Node == "" || c.Max <= 0 || c.Lease <= 0 {
		return nil, fmt.Errorf("claim: node, max and lease are needed")
	}
	var work []ledger.Claimed
	err := s.do(ctx, 4096, func(t *tx) (err error) {
		work, err = t.claim(now, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim in lane %s: %w", c.Lane, err)
	}
	return work, nil
}

func (t *tx) claim(now time.Time, c ledger.Claim) ([]ledger.Claimed, error) {
	due, err := t.dueMessages(now, c)
	if err != nil {
		return nil, err
	}
	var work ledger.Grouping
	for _, w := range due {
		m, err := t.messageByNo(context.Background(), w.message)
		if err != nil {
			return nil, err
		}
		rows, err := t.deliveries(context.Background(), pieceQuery, w.message, c.Lane, w.body, micros(now))
		if err != nil {
			return nil, err
		}
		for _, d := range rows {
			if d.Node != "" {
				if err := t.cutOff(m.stored, &d, now); err != nil {
					return nil, err
				}
			}
			d.Message, d.Node, d.Due = m.ID, c.Node, now.Add(c.Lease)
			d.Attempts++
			if _, err := t.exec("UPDATE delivery SET node = ?, attempts = ?, due = ?, started = ? WHERE no = ?",
				d.Node, int64(d.Attempts), micros(d.Due), micros(now), int64(d.ID)); err != nil {
				return nil, err
			}
			work.Add(m.Message, d.Delivery)
		}
	}
	return work.All, nil
}

// pieceQuery finds a message's due deliveries by the message; the plus signs keep SQLite from walking the lane instead.
const pieceQuery = "SELECT " + deliveryColumns + ` FROM delivery AS d
	WHERE d.message = ? AND +d.state = 'queued' AND +d.lane = ? AND d.body = ? AND +d.due <= ? ORDER BY d.n`

// piece is one body of one message.
type piece struct{ message, body int64 }

// dueMessages finds at most c.Max messages with due deliveries, the longest waiting first.
func (t *tx) dueMessages(now time.Time, c ledger.Claim) ([]piece, error) {
	var pieces []piece
	seen := make(map[piece]bool)
	messages := make(map[int64]bool)
	err := t.query(context.Background(), func(r row) error {
		p := piece{r.int(0), r.int(1)}
		if seen[p] {
			return nil
		}
		if !messages[p.message] && len(messages) == c.Max {
			return errStop
		}
		seen[p], messages[p.message] = true, true
		pieces = append(pieces, p)
		return nil
	}, "SELECT message, body FROM delivery WHERE state = 'queued' AND lane = ? AND due <= ? ORDER BY due", c.Lane, micros(now))
	return pieces, err
}

// cutOff ends an attempt whose holder was lost: what it did outside is not known, so the delivery is marked.
func (t *tx) cutOff(m stored, d *deliveryRow, now time.Time) error {
	if _, err := t.exec(`INSERT INTO attempt (delivery, no, node, started, ended, outcome, code, enhanced, text, contact, receipt)
		VALUES (?, ?, ?, ?, ?, 'cut off', 0, '', '', 0, NULL)`,
		int64(d.ID), int64(d.Attempts), d.Node, d.started, micros(now)); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE delivery SET node = '', started = NULL, possibly = 1, due = ? WHERE no = ?", micros(now), int64(d.ID)); err != nil {
		return err
	}
	detail := fmt.Sprintf("attempt %d of %s", d.Attempts, d.Node)
	d.Node, d.Possibly, d.Due, d.started = "", true, now, nil
	return t.record(event{authority: m.authority, message: m.no, delivery: int64(d.ID), at: micros(now), kind: ledger.KindCutOff, detail: detail})
}

// Recover takes back what this node had leased when it ended. Its cost grows with the queue: it runs once, at the start.
func (s *Store) Recover(ctx context.Context, now time.Time, node string) (int, error) {
	n := 0
	err := s.do(ctx, 4096, func(t *tx) (err error) {
		n, err = t.takeBack(now, node)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("recover: %w", err)
	}
	return n, nil
}

// takeBack cuts off all that a node holds.
func (t *tx) takeBack(now time.Time, node string) (n int, err error) {
	rows, err := t.deliveries(context.Background(), "SELECT "+deliveryColumns+" FROM delivery AS d WHERE d.state = 'queued' AND d.node = ?", node)
	if err != nil {
		return 0, err
	}
	for _, d := range rows {
		m, err := t.messageByNo(context.Background(), d.message)
		if err != nil {
			return n, err
		}
		if err := t.cutOff(m.stored, &d, now); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Unclaim frees what this node leased until since and does not hold.
func (s *Store) Unclaim(ctx context.Context, now time.Time, node string, since time.Time, held []ledger.DeliveryID) (int, error) {
	holds := map[ledger.DeliveryID]bool{}
	for _, id := range held {
		holds[id] = true
	}
	n := 0
	err := s.do(ctx, 4096, func(t *tx) error {
		n = 0
		rows, err := t.deliveries(ctx, "SELECT "+deliveryColumns+" FROM delivery AS d WHERE d.state = 'queued' AND d.node = ? AND d.started <= ?", node, micros(since))
		if err != nil {
			return err
		}
		for _, d := range rows {
			if holds[d.ID] {
				continue
			}
			if _, err := t.exec("UPDATE delivery SET node = '', started = NULL, attempts = attempts - 1, due = ? WHERE no = ?", micros(now), int64(d.ID)); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("unclaim: %w", err)
	}
	return n, nil
}

// lanesQuery jumps from lane to lane through the index delivery_queue.
const lanesQuery = `WITH RECURSIVE lane (name) AS (
		SELECT min(lane) FROM delivery WHERE state = 'queued'
		UNION ALL
		SELECT (SELECT min(d.lane) FROM delivery AS d WHERE d.state = 'queued' AND d.lane > lane.name) FROM lane WHERE lane.name IS NOT NULL
	)
	SELECT name, (SELECT min(d.due) FROM delivery AS d WHERE d.state = 'queued' AND d.lane = lane.name) FROM lane WHERE name IS NOT NULL`

// Lanes lists lanes with queued deliveries, leased ones by the end of their lease.
func (s *Store) Lanes(ctx context.Context) (lanes []ledger.LaneDue, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) error {
			lanes = append(lanes, ledger.LaneDue{Lane: r.str(0), Due: r.time(1)})
			return nil
		}, lanesQuery)
	})
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	return lanes, nil
}

const watchQuery = "SELECT " + deliveryColumns + ` FROM delivery AS d
	WHERE d.watch IS NOT NULL AND d.watch <= ?1 AND (d.node = '' OR d.due <= ?1) ORDER BY d.watch LIMIT ?2`

// Watch lists open deliveries whose Watch has passed and that nobody holds, the oldest first, at most max deliveries;
// those of one message with the same body and lane stand together.
func (s *Store) Watch(ctx context.Context, now time.Time, max int) ([]ledger.Claimed, error) {
	var found ledger.Grouping
	err := s.read(ctx, func(c *conn) error {
		rows, err := c.deliveries(ctx, watchQuery, micros(now), int64(max))
		if err != nil {
			return err
		}
		messages := make(map[int64]messageRow)
		for _, d := range rows {
			m, ok := messages[d.message]
			if !ok {
				if m, err = c.messageByNo(ctx, d.message); err != nil {
					return err
				}
				messages[d.message] = m
			}
			d.Message = m.ID
			found.Add(m.Message, d.Delivery)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return found.All, nil
}
