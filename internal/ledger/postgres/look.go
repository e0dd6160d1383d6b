package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
)

// Body returns a sealed body.
func (s *Store) Body(ctx context.Context, id ledger.MessageID, body int) (data []byte, err error) {
	err = s.read(ctx, func(t *tx) error {
		found, err := t.one(func(r row) { data = r.bytes(0) }, "SELECT data FROM body WHERE message = $1 AND n = $2", string(id), body)
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
	err = s.read(ctx, func(t *tx) error {
		rows, err := t.deliveries("SELECT "+openColumns+" FROM delivery AS d WHERE d.no = $1", int64(id))
		if err == nil && len(rows) == 0 {
			rows, err = t.deliveries("SELECT "+finalColumns+" FROM delivery_final AS d WHERE d.no = $1", int64(id))
		}
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return ledger.ErrNotFound
		}
		m, err := t.message(rows[0].Message)
		found = ledger.Claimed{Message: m.Message, Deliveries: []ledger.Delivery{rows[0].Delivery}}
		return err
	})
	if err != nil {
		return ledger.Claimed{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	return found, nil
}

// Story is all the ledger knows of one message. Its newest events may have no number yet (Seq 0).
func (s *Store) Story(ctx context.Context, id ledger.MessageID) (story ledger.Story, err error) {
	err = s.read(ctx, func(t *tx) (err error) {
		story, err = t.story(id)
		return err
	})
	if err != nil {
		return ledger.Story{}, fmt.Errorf("story of %s: %w", id, err)
	}
	return story, nil
}

// storyDeliveries are a message's deliveries wherever they stand.
const storyDeliveries = "SELECT " + openColumns + " FROM delivery AS d WHERE d.message = $1 UNION ALL SELECT " + finalColumns +
	" FROM delivery_final AS d WHERE d.message = $1 ORDER BY 3"

func (t *tx) story(id ledger.MessageID) (ledger.Story, error) {
	found := make(map[ledger.MessageID]messageRow, 1)
	t.messages([]string{string(id)}, found)
	var rows []deliveryRow
	t.ask(gather(&rows), storyDeliveries, string(id))
	var story ledger.Story
	t.ask(func(r row) error {
		story.Attempts = append(story.Attempts, ledger.Attempt{
			Delivery: ledger.DeliveryID(r.int(0)), No: int(r.int(1)), Node: r.str(2), Started: r.time(3), Ended: r.time(4), Outcome: r.str(5),
			Code: int(r.int(6)), Enhanced: r.str(7), Text: r.str(8), Contact: r.bool(9), Receipt: r.bytes(10),
		})
		return nil
	}, `SELECT delivery, no, node, started, ended, outcome, code, enhanced, text, contact, receipt FROM attempt WHERE message = $1 ORDER BY delivery, no`,
		string(id))
	event := func(r row) error {
		story.Events = append(story.Events, ledger.Event{
			Seq: r.int(0), Message: id, Delivery: ledger.DeliveryID(r.int(1)), At: r.time(2), Kind: r.str(3), By: r.str(4), Detail: r.str(5),
		})
		return nil
	}
	t.ask(event, "SELECT seq, delivery, at, kind, by, detail FROM event WHERE message = $1 ORDER BY seq", string(id))
	t.ask(event, "SELECT 0::bigint, delivery, at, kind, by, detail FROM event_fresh WHERE message = $1 ORDER BY no", string(id))
	link := func(r row) error {
		story.Notices = append(story.Notices, ledger.NoticeLink{
			Notice: ledger.MessageID(r.str(0)), About: ledger.DeliveryID(r.int(1)), Subject: ledger.MessageID(r.str(2)), Tells: ledger.TellKind(r.str(3)),
		})
		return nil
	}
	t.ask(link, "SELECT notice, about, subject, tells FROM link WHERE notice = $1 ORDER BY about", string(id))
	t.ask(link, "SELECT notice, about, subject, tells FROM link WHERE subject = $1 ORDER BY notice, about", string(id))
	if err := t.flush(); err != nil {
		return story, err
	}
	m, ok := found[id]
	if !ok {
		return story, ledger.ErrNotFound
	}
	story.Message = m.Message
	for i := range story.Events {
		story.Events[i].Authority = m.Authority
	}
	for _, d := range rows {
		story.Deliveries = append(story.Deliveries, d.Delivery)
		if story.Policy == "" {
			story.Policy = d.Verdict.Policy
		}
	}
	return story, nil
}

// Find selects messages, newest first.
func (s *Store) Find(ctx context.Context, q ledger.Query) (ids []ledger.MessageID, err error) {
	query, args, ok := findQuery(q)
	if !ok {
		return nil, nil
	}
	err = s.read(ctx, func(t *tx) error {
		ids = nil
		// Which way is short depends on whom and what is asked for.
		t.planAnew()
		return t.query(func(r row) error {
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
func findQuery(q ledger.Query) (query string, args []any, ok bool) {
	var few, where []string // few: what leaves but a handful of messages, and is looked up first
	number := func(condition string, a []any) string {
		for _, v := range a {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		return condition
	}
	add := func(condition string, a ...any) { where = append(where, number(condition, a)) }
	if id := strings.ToLower(strings.TrimSpace(string(q.ID))); id != "" {
		if len(id) < shortestPrefix {
			return "", nil, false
		}
		few = append(few, number("m.id >= ? AND m.id < ?", []any{id, after(id)}))
	}
	if h := detect.Mask(ledger.BareID(q.HeaderID)); h != "" {
		few = append(few, number("m.header_id IN (?, ?) AND m.header_id <> ''", []any{h, "<" + h + ">"}))
	}
	if q.Sender != "" {
		low, high := addressRange(q.Sender)
		add("m.sender_key >= ? AND m.sender_key < ? AND m.sender_key <> ''", low, high)
	}
	if q.Recipient != "" {
		low, high := addressRange(q.Recipient)
		// An array, for a join would be planned as a walk through all messages.
		add(`m.id = ANY(ARRAY(SELECT d.message FROM delivery AS d WHERE d.recipient_key >= ? AND d.recipient_key < ?
			UNION ALL SELECT f.message FROM delivery_final AS f WHERE f.recipient_key >= ? AND f.recipient_key < ?))`, low, high, low, high)
	}
	if !q.Since.IsZero() {
		add("m.accepted_at >= ?", moment(q.Since))
	}
	if !q.Until.IsZero() {
		add("m.accepted_at < ?", moment(q.Until))
	}
	if q.Authority != "" {
		add("m.authority = (SELECT a.no FROM authority AS a WHERE a.name = ?)", q.Authority)
	}
	if !q.RepairedBy.IsZero() {
		// A body is delivered once, so it is among the final ones.
		add("m.repairs IS NOT NULL AND EXISTS (SELECT FROM delivery_final AS d WHERE d.message = m.id AND d.body = 1 AND d.state = 'delivered' AND d.ended_at > ?::timestamptz AND d.ended_at <= ?)",
			finite(q.RepairedAfter), moment(q.RepairedBy))
	}
	if q.Kind != "" {
		add("m.kind = ?", string(q.Kind))
	}
	if len(q.States) > 0 {
		add(statesCondition(q.States))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	query = "SELECT m.id FROM message AS m"
	if len(few) > 0 {
		query = "WITH m AS MATERIALIZED (SELECT * FROM message AS m WHERE " + strings.Join(few, " AND ") + ") SELECT m.id FROM m"
	}
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, limit)
	return query + fmt.Sprintf(" ORDER BY m.accepted_at DESC, m.id DESC LIMIT $%d", len(args)), args, true
}

// after is the first text behind all that begin with prefix: the last character of Unicode is in no id and no address.
func after(prefix string) string { return prefix + "\U0010FFFF" }

// addressRange is the range of keys of an address, or of all addresses of a domain when it begins with @.
func addressRange(s string) (low, high string) {
	key := ledger.AddressKey(detect.Mask(strings.Trim(strings.TrimSpace(s), "<>")))
	if strings.HasPrefix(strings.TrimSpace(s), "@") {
		return key, after(key)
	}
	return key, key + "\x01"
}

// statesCondition selects messages with a delivery in one of the states. What is open, and what did not simply go through, has an
// index of its own and is gathered from there; for the many delivered each message is asked.
func statesCondition(states []ledger.State) string {
	var open, final []string
	for _, st := range states {
		switch {
		case !knownState(st):
		case st.Final():
			final = append(final, "'"+string(st)+"'")
		default:
			open = append(open, "'"+string(st)+"'")
		}
	}
	var parts []string
	if open != nil {
		parts = append(parts, "m.id IN (SELECT d.message FROM delivery AS d WHERE d.state IN ("+strings.Join(open, ", ")+"))")
	}
	if final != nil {
		parts = append(parts, "EXISTS (SELECT FROM delivery_final AS f WHERE f.message = m.id AND f.state IN ("+strings.Join(final, ", ")+"))")
	}
	if parts == nil {
		return "false"
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

func knownState(st ledger.State) bool { return slices.Contains(ledger.States, st) }

// finite is a time as a parameter that is compared: the zero time comes before all.
func finite(t time.Time) any {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return moment(t)
}
