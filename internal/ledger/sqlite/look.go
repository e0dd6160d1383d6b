package sqlite

import (
	"context"
	"fmt"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
)

// Body returns a sealed body.
func (s *Store) Body(ctx context.Context, id ledger.MessageID, body int) (data []byte, err error) {
	err = s.read(ctx, func(c *conn) error {
		var message int64
		found, err := c.one(ctx, func(r row) { message = r.int(0) }, "SELECT no FROM message WHERE id = ?", string(id))
		if err == nil && found {
			found, err = c.one(ctx, func(r row) { data = r.bytes(0) }, "SELECT data FROM body WHERE no = ?", bodyNo(message, body))
		}
		if err == nil && !found {
			err = ledger.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("body %d of %s: %w", body, id, err)
	}
	return data, nil
}

// Delivery returns one delivery with its message.
func (s *Store) Delivery(ctx context.Context, id ledger.DeliveryID) (found ledger.Claimed, err error) {
	err = s.read(ctx, func(c *conn) error {
		d, err := c.delivery(ctx, id)
		if err != nil {
			return err
		}
		m, err := c.messageByNo(ctx, d.message)
		if err != nil {
			return err
		}
		d.Message = m.ID
		found = ledger.Claimed{Message: m.Message, Deliveries: []ledger.Delivery{d.Delivery}}
		return nil
	})
	if err != nil {
		return ledger.Claimed{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	return found, nil
}

// Story is all the ledger knows of one message.
func (s *Store) Story(ctx context.Context, id ledger.MessageID) (story ledger.Story, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		story, err = c.story(ctx, id)
		return err
	})
	if err != nil {
		return ledger.Story{}, fmt.Errorf("story of %s: %w", id, err)
	}
	return story, nil
}

func (c *conn) story(ctx context.Context, id ledger.MessageID) (ledger.Story, error) {
	m, err := c.messageByID(ctx, id)
	if err != nil {
		return ledger.Story{}, err
	}
	story := ledger.Story{Message: m.Message}
	rows, err := c.deliveries(ctx, "SELECT "+deliveryColumns+" FROM delivery AS d WHERE d.message = ? ORDER BY d.n", m.no)
	if err != nil {
		return story, err
	}
	for _, d := range rows {
		d.Message = m.ID
		story.Deliveries = append(story.Deliveries, d.Delivery)
		if story.Policy == "" {
			story.Policy = d.Verdict.Policy
		}
	}
	if err := c.attempts(ctx, m.no, &story); err != nil {
		return story, err
	}
	err = c.query(ctx, func(r row) error {
		story.Events = append(story.Events, ledger.Event{
			Seq: r.int(0), Authority: m.Authority, Message: m.ID, Delivery: ledger.DeliveryID(r.int(1)), At: r.time(2), Kind: r.str(3),
			By: r.str(4), Detail: r.str(5),
		})
		return nil
	}, "SELECT seq, delivery, at, kind, by, detail FROM event WHERE message = ? ORDER BY seq", m.no)
	if err != nil {
		return story, err
	}
	return story, c.links(ctx, m, &story)
}

func (c *conn) attempts(ctx context.Context, message int64, story *ledger.Story) error {
	return c.query(ctx, func(r row) error {
		story.Attempts = append(story.Attempts, ledger.Attempt{
			Delivery: ledger.DeliveryID(r.int(0)), No: int(r.int(1)), Node: r.str(2), Started: r.time(3), Ended: r.time(4), Outcome: r.str(5),
			Code: int(r.int(6)), Enhanced: r.str(7), Text: r.str(8), Contact: r.bool(9), Receipt: r.bytes(10),
		})
		return nil
	}, `SELECT a.delivery, a.no, a.node, a.started, a.ended, a.outcome, a.code, a.enhanced, a.text, a.contact, a.receipt
		FROM delivery AS d JOIN attempt AS a ON a.delivery = d.no WHERE d.message = ? ORDER BY d.n, a.no`, message)
}

// links finds the notices about a message, or what a notice is about.
func (c *conn) links(ctx context.Context, m messageRow, story *ledger.Story) error {
	add := func(r row) error {
		story.Notices = append(story.Notices, ledger.NoticeLink{
			Notice: ledger.MessageID(r.str(0)), About: ledger.DeliveryID(r.int(1)), Subject: ledger.MessageID(r.str(2)), Tells: ledger.TellKind(r.str(3)),
		})
		return nil
	}
	if m.notice {
		return c.query(ctx, add, `SELECT ?2, d.no, s.id, link.tells FROM link JOIN delivery AS d ON d.no = link.about
			JOIN message AS s ON s.no = d.message WHERE link.notice = ?1 ORDER BY d.no`, m.no, string(m.ID))
	}
	return c.query(ctx, add, `SELECT n.id, d.no, ?2, link.tells FROM delivery AS d JOIN link ON link.about = d.no
		JOIN message AS n ON n.no = link.notice WHERE d.message = ?1 ORDER BY n.no, d.n`, m.no, string(m.ID))
}

// Find selects messages, newest first.
func (s *Store) Find(ctx context.Context, q ledger.Query) (ids []ledger.MessageID, err error) {
	query, args, ok := findQuery(q)
	if !ok {
		return nil, nil
	}
	err = s.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) error {
			ids = append(ids, ledger.MessageID(r.str(0)))
			return nil
		}, query, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	return ids, nil
}

// shortestPrefix is how much of an id Find asks for at least, so that a slip does not list everything.
const shortestPrefix = 6

// findQuery writes the query; ok is false when nothing can match. There are only so many texts it can write, and each is
// prepared once per connection.
func findQuery(q ledger.Query) (query string, args []value, ok bool) {
	from := "message AS m"
	var where []string
	add := func(condition string, a ...value) {
		where = append(where, condition)
		args = append(args, a...)
	}
	if id := strings.ToLower(strings.TrimSpace(string(q.ID))); id != "" {
		if len(id) < shortestPrefix {
			return "", nil, false
		}
		add("m.id >= ? AND m.id < ?", id, after(id))
	}
	if h := detect.Mask(ledger.BareID(q.HeaderID)); h != "" {
		add("m.header_id IN (?, ?) AND m.header_id <> ''", h, "<"+h+">")
	}
	if q.Sender != "" {
		low, high := addressRange(q.Sender)
		add("m.sender_key >= ? AND m.sender_key < ? AND m.sender_key <> ''", low, high)
	}
	if q.Recipient != "" {
		low, high := addressRange(q.Recipient)
		add("m.no IN (SELECT d.message FROM delivery AS d WHERE d.recipient_key >= ? AND d.recipient_key < ?)", low, high)
	}
	if !q.Since.IsZero() {
		add("m.accepted_at >= ?", micros(q.Since))
	}
	if !q.Until.IsZero() {
		add("m.accepted_at < ?", micros(q.Until))
	}
	if q.Authority != "" {
		add("m.authority = (SELECT a.no FROM authority AS a WHERE a.name = ?)", q.Authority)
	}
	if !q.RepairedBy.IsZero() {
		add("m.repairs IS NOT NULL AND EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = m.no AND d.body = 1 AND d.state = 'delivered' AND d.ended_at > ? AND d.ended_at <= ?)",
			micros(q.RepairedAfter), micros(q.RepairedBy))
	}
	if q.Kind != "" {
		add("m.kind = ?", string(q.Kind))
	}
	if len(q.States) > 0 {
		condition, a := statesCondition(q.States)
		add(condition, a...)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	query = "SELECT m.id FROM " + from
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return query + " ORDER BY m.accepted_at DESC, m.no DESC LIMIT ?", append(args, int64(limit)), true
}

// after is the first text behind all that begin with prefix: no stored text holds a byte 0xff.
func after(prefix string) string { return prefix + "\xff" }

// addressRange is the range of keys of an address, or of all addresses of a domain when it begins with @.
func addressRange(s string) (low, high string) {
	key := ledger.AddressKey(detect.Mask(strings.Trim(strings.TrimSpace(s), "<>")))
	if strings.HasPrefix(strings.TrimSpace(s), "@") {
		return key, after(key)
	}
	return key, key + "\x00"
}

// statesCondition selects messages with a delivery in one of the states. What is queued or did not simply go through has an
// index of its own and is gathered from there; for the many delivered each message is asked.
func statesCondition(states []ledger.State) (string, []value) {
	var parts []string
	var args []value
	for _, st := range states {
		switch st {
		case ledger.Queued:
			parts = append(parts, "SELECT d.message FROM delivery AS d WHERE d.state = 'queued'")
		case ledger.Delivered:
			marks := strings.TrimSuffix(strings.Repeat("?, ", len(states)), ", ")
			args = args[:0]
			for _, s := range states {
				args = append(args, string(s))
			}
			return "EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = m.no AND d.state IN (" + marks + "))", args
		default:
			parts = append(parts, `SELECT d.message FROM delivery AS d
				WHERE d.state = ? AND d.state IN ('held', 'returning', 'returned', 'withdrawn')`)
			args = append(args, string(st))
		}
	}
	return "m.no IN (" + strings.Join(parts, " UNION ALL ") + ")", args
}
