package postgres

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
	err := s.do(ctx, func(t *tx) (err error) {
		work, err = t.claim(now, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim in lane %s: %w", c.Lane, err)
	}
	return work, nil
}

// dueQuery locks the longest waiting deliveries that are due and that nobody else is just claiming, at most one for each message wanted; and
// pieceQuery all that are due of the messages found.
const (
	dueQuery = `SELECT d.message FROM delivery AS d WHERE d.state = 'queued' AND d.lane = $1 AND d.due <= $2
		ORDER BY d.due LIMIT $3 FOR UPDATE SKIP LOCKED`
	pieceQuery = "SELECT " + openColumns + ` FROM delivery AS d WHERE d.message = ANY($1) AND d.state = 'queued' AND d.lane = $2 AND d.due <= $3
		FOR UPDATE SKIP LOCKED`
)

func (t *tx) claim(now time.Time, c ledger.Claim) ([]ledger.Claimed, error) {
	var order []string // messages, the longest waiting first
	pieces := make(map[string][]deliveryRow)
	for len(order) < c.Max {
		asked := c.Max - len(order)
		var ids []string
		found, known := 0, len(order)
		err := t.query(func(r row) error {
			found++
			id := r.str(0)
			if _, seen := pieces[id]; !seen {
				pieces[id] = nil
				ids, order = append(ids, id), append(order, id)
			}
			return nil
		}, dueQuery, c.Lane, moment(now), asked)
		if err != nil {
			return nil, err
		}
		if len(order) == known {
			break
		}
		rows, err := t.deliveries(pieceQuery, ids, c.Lane, moment(now))
		if err != nil {
			return nil, err
		}
		for _, d := range rows {
			pieces[string(d.Message)] = append(pieces[string(d.Message)], d)
		}
		t.lease(rows, now, c)
		if found < asked {
			break
		}
	}
	if len(order) == 0 {
		return nil, nil
	}
	messages := make(map[ledger.MessageID]messageRow, len(order))
	t.messages(order, messages)
	if err := t.flush(); err != nil {
		return nil, err
	}
	return leased(order, pieces, messages, now, c), nil
}

// lease writes the leases. What another held until now is cut off.
func (t *tx) lease(rows []deliveryRow, now time.Time, c ledger.Claim) {
	ids := make([]int64, len(rows))
	for i, d := range rows {
		ids[i] = int64(d.ID)
		if d.Node != "" {
			t.traceCut(&d, now)
		}
	}
	t.exec(`UPDATE delivery SET possibly = possibly OR node <> '', node = $2, attempts = attempts + 1, due = $3, started = $4 WHERE no = ANY($1)`,
		ids, c.Node, moment(now.Add(c.Lease)), moment(now))
}

// leased is the claimed work as it stands after lease: by message, the longest waiting first, and within one in the order of its
// recipients.
func leased(order []string, pieces map[string][]deliveryRow, messages map[ledger.MessageID]messageRow, now time.Time, c ledger.Claim) []ledger.Claimed {
	var work ledger.Grouping
	for _, id := range order {
		for _, d := range pieces[id] {
			d.Possibly = d.Possibly || d.Node != ""
			d.Node, d.Due = c.Node, now.Add(c.Lease)
			d.Attempts++
			work.Add(messages[d.Message].Message, d.Delivery)
		}
	}
	return work.All
}

// Recover takes back what this node had leased when it ended. Its cost grows with the queue: it runs once, at the start.
func (s *Store) Recover(ctx context.Context, now time.Time, node string) (int, error) {
	cutOff := 0
	for {
		n := 0
		err := s.do(ctx, func(t *tx) (err error) {
			n, err = t.takeBack(now, node)
			return err
		})
		if err != nil {
			return cutOff, fmt.Errorf("recover: %w", err)
		}
		if cutOff += n; n < takeBatch {
			return cutOff, nil
		}
	}
}

// takeBatch bounds what one transaction takes back, so that no hoard is too large to be taken back in time.
const takeBatch = 1000

// takeBack cuts off what a node holds, at most takeBatch deliveries.
func (t *tx) takeBack(now time.Time, node string) (int, error) {
	rows, err := t.deliveries("SELECT "+openColumns+" FROM delivery AS d WHERE d.state = 'queued' AND d.node = $1 ORDER BY d.no LIMIT $2 FOR UPDATE",
		node, takeBatch)
	for i := range rows {
		t.cutOff(&rows[i], now)
	}
	return len(rows), err
}

// Unclaim frees what this node leased until since and does not hold.
func (s *Store) Unclaim(ctx context.Context, now time.Time, node string, since time.Time, held []ledger.DeliveryID) (int, error) {
	ids := make([]int64, len(held))
	for i, id := range held {
		ids[i] = int64(id)
	}
	n := 0
	err := s.do(ctx, func(t *tx) error {
		var free []int64
		err := t.query(func(r row) error { free = append(free, r.int(0)); return nil },
			"SELECT no FROM delivery WHERE state = 'queued' AND node = $1 AND started <= $2 AND no <> ALL($3) ORDER BY no FOR UPDATE",
			node, moment(since), ids)
		if n = len(free); err != nil || n == 0 {
			return err
		}
		t.exec("UPDATE delivery SET node = '', started = NULL, attempts = attempts - 1, due = $2 WHERE no = ANY($1)", free, moment(now))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("unclaim: %w", err)
	}
	return n, nil
}

// lanesQuery jumps from lane to lane through the index delivery_queue.
const lanesQuery = `WITH RECURSIVE lane (name) AS (
		(SELECT d.lane FROM delivery AS d WHERE d.state = 'queued' ORDER BY d.lane LIMIT 1)
		UNION ALL
		SELECT (SELECT d.lane FROM delivery AS d WHERE d.state = 'queued' AND d.lane > lane.name ORDER BY d.lane LIMIT 1)
		FROM lane WHERE lane.name IS NOT NULL
	)
	SELECT name, (SELECT d.due FROM delivery AS d WHERE d.state = 'queued' AND d.lane = lane.name ORDER BY d.due LIMIT 1) FROM lane WHERE name IS NOT NULL`

// Lanes lists lanes with queued deliveries, leased ones by the end of their lease.
func (s *Store) Lanes(ctx context.Context) (lanes []ledger.LaneDue, err error) {
	err = s.read(ctx, func(t *tx) error {
		lanes = nil
		return t.query(func(r row) error {
			lanes = append(lanes, ledger.LaneDue{Lane: r.str(0), Due: r.time(1)})
			return nil
		}, lanesQuery)
	})
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	return lanes, nil
}

const watchQuery = "SELECT " + openColumns + ` FROM delivery AS d
	WHERE d.watch IS NOT NULL AND d.watch <= $1 AND (d.node = '' OR d.due <= $1) ORDER BY d.watch LIMIT $2`

// Watch lists open deliveries whose Watch has passed and that nobody holds, the oldest first, at most max deliveries;
// those of one message with the same body and lane stand together.
func (s *Store) Watch(ctx context.Context, now time.Time, max int) ([]ledger.Claimed, error) {
	var found ledger.Grouping
	err := s.read(ctx, func(t *tx) error {
		found = ledger.Grouping{}
		rows, err := t.deliveries(watchQuery, moment(now), max)
		if err != nil {
			return err
		}
		ids := make([]string, len(rows))
		for i, d := range rows {
			ids[i] = string(d.Message)
		}
		messages := make(map[ledger.MessageID]messageRow)
		t.messages(ids, messages)
		if err := t.flush(); err != nil {
			return err
		}
		for _, d := range rows {
			found.Add(messages[d.Message].Message, d.Delivery)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return found.All, nil
}
