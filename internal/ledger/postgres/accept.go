package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postvagt/internal/ledger"
)

// Accept makes a durable (law 1): message, bodies, deliveries, notices and their events, in one transaction and one exchange with
// the server.
func (s *Store) Accept(ctx context.Context, a ledger.Acceptance) ([]ledger.Claimed, error) {
	work, err := s.accept(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	return work, nil
}

func (s *Store) accept(ctx context.Context, a ledger.Acceptance) ([]ledger.Claimed, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	authority, err := s.authority(ctx, a.Message.Authority)
	if err != nil {
		return nil, err
	}
	var work []ledger.Claimed
	err = s.do(ctx, func(t *tx) error {
		first, err := t.reserve(len(a.Deliveries) + len(a.Notices))
		if err != nil {
			return err
		}
		work, err = t.accept(a, authority, first)
		return err
	})
	if code(err) != codeUnique {
		return work, err
	}
	work, known, repeatErr := s.repeated(ctx, a)
	if known || repeatErr != nil {
		err = repeatErr
	}
	return work, err
}

// repeated is the answer to an acceptance that was made before.
func (s *Store) repeated(ctx context.Context, a ledger.Acceptance) (work []ledger.Claimed, known bool, err error) {
	err = s.do(ctx, func(t *tx) error {
		known, err = t.known(a)
		if err == nil && known {
			t.confirm()
			work, err = t.leasedAtAccept(a)
		}
		return err
	})
	return work, known, err
}

// block is how many numbers the sequence delivery_no gives at a time, as its INCREMENT says.
const block = 256

// numbers of deliveries, reserved by a connection and not used yet: [next, end).
type numbers struct{ next, end int64 }

const numbersKey = "postvagt numbers"

// reserve takes n numbers for deliveries, one after another. Those that are never used are nobody's.
//
// A block belongs to the connection it came over. After a crash, and when a standby takes over, the sequence may go back to before
// a block that nothing durable has been numbered from, and give it again; whoever held it has then lost the connection too.
func (t *tx) reserve(n int) (first int64, err error) {
	if n == 0 {
		return 0, nil
	}
	data := t.conn.Conn().PgConn().CustomData()
	own, _ := data[numbersKey].(*numbers)
	if own == nil {
		own = &numbers{}
		data[numbersKey] = own
	}
	for own.end-own.next < int64(n) {
		*own = numbers{}
		// Another node may take blocks in between; what begins anew is then left to nobody.
		err := t.query(func(r row) error {
			if no := r.int(0); no != own.end {
				own.next = no
			}
			own.end = r.int(0) + block
			return nil
		}, "SELECT nextval('delivery_no') FROM generate_series(1, $1)", (n+block-1)/block)
		if err != nil {
			*own = numbers{}
			return 0, err
		}
	}
	first = own.next
	own.next += int64(n)
	return first, nil
}

// authority returns the number of the authority, which it makes when it is new: in a step of its own, for others may wait for it.
func (s *Store) authority(ctx context.Context, name string) (int32, error) {
	if name == "" {
		return 0, errors.New("no authority is named")
	}
	if no, ok := s.authorities.Load(name); ok {
		return no.(int32), nil
	}
	var no int32
	get := func(t *tx) (bool, error) {
		return t.one(func(r row) { no = int32(r.int(0)) }, "SELECT no FROM authority WHERE name = $1", name)
	}
	err := s.do(ctx, func(t *tx) error {
		found, err := get(t)
		if err != nil {
			return err
		}
		if found {
			t.confirm() // a number that is remembered here must be durable
			return nil
		}
		t.exec("INSERT INTO authority (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", name)
		_, err = get(t)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.authorities.Store(name, no)
	return no, nil
}

func (t *tx) accept(a ledger.Acceptance, authority int32, first int64) ([]ledger.Claimed, error) {
	if err := t.addMessage(a.Message, authority, len(a.Deliveries), a.Bodies); err != nil {
		return nil, err
	}
	at := a.Message.AcceptedAt
	t.record(event{authority: authority, message: a.Message.ID, at: at, kind: ledger.KindAccepted, detail: a.Recipients()})
	told := make([]string, len(a.Deliveries))
	for _, n := range a.Notices {
		for _, i := range n.About {
			told[i] = join(told[i], n.Tells)
		}
	}
	var work ledger.Grouping
	for i, nd := range a.Deliveries {
		d := fresh(a.Message, authority, nd)
		d.ID, d.many, d.told, d.Told = ledger.DeliveryID(first+int64(i)), len(a.Deliveries) > 1, told[i], kinds(told[i])
		if a.Claim != nil && d.State == ledger.Queued && !d.Due.After(at) {
			d.Attempts, d.Node, d.Due, d.started = 1, a.Claim.Node, at.Add(a.Claim.Lease), at
		}
		if err := t.addDelivery(i, d, at); err != nil {
			return nil, err
		}
		if d.Node != "" {
			work.Add(a.Message, d.Delivery)
		}
		if d.State != ledger.Queued {
			t.record(event{authority: authority, message: a.Message.ID, delivery: d.ID, at: at, kind: string(d.State)})
		}
	}
	for k, n := range a.Notices {
		about := make([]subject, len(n.About))
		for j, i := range n.About {
			about[j] = subject{ledger.DeliveryID(first + int64(i)), a.Message.ID}
		}
		if err := t.addNotice(n, authority, first+int64(len(a.Deliveries)+k), about, at); err != nil {
			return nil, err
		}
	}
	return work.All, nil
}

// leasedAtAccept is the work of an acceptance that is repeated after its commit was reported failed: what that commit
// leased to this node and nobody has touched since.
func (t *tx) leasedAtAccept(a ledger.Acceptance) ([]ledger.Claimed, error) {
	if a.Claim == nil {
		return nil, nil
	}
	m, err := t.message(a.Message.ID)
	if err != nil {
		return nil, err
	}
	rows, err := t.deliveries("SELECT "+openColumns+` FROM delivery AS d
		WHERE d.message = $1 AND d.node = $2 AND d.attempts = 1 AND d.started = $3 ORDER BY d.n`,
		string(m.ID), a.Claim.Node, moment(m.AcceptedAt))
	if err != nil {
		return nil, err
	}
	var work ledger.Grouping
	for _, d := range rows {
		work.Add(m.Message, d.Delivery)
	}
	return work.All, nil
}

// known reports whether the message was accepted already: then the caller asks again after an answer was lost.
func (t *tx) known(a ledger.Acceptance) (bool, error) {
	var size, recipients int64
	found, err := t.one(func(r row) { size, recipients = r.int(0), r.int(1) }, "SELECT size, recipients FROM message WHERE id = $1", string(a.Message.ID))
	if err != nil || !found {
		return false, err
	}
	if size != int64(a.Message.Size) || recipients != int64(len(a.Deliveries)) {
		return false, fmt.Errorf("another message has this id")
	}
	return true, nil
}

func (t *tx) addMessage(m ledger.Message, authority int32, recipients int, bodies [][]byte) error {
	findings, err := list(m.Findings)
	if err != nil {
		return err
	}
	repairs, err := list(m.Repairs)
	if err != nil {
		return err
	}
	t.exec(`INSERT INTO message (id, authority, kind, direction, sender, sender_sealed, sender_key, header_id, size, recipients, client,
		ret, envid, utf8, eight_bit, tell_sender, unit, language, accepted_at, findings, repairs)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
		string(m.ID), authority, string(m.Kind), string(m.Direction), m.Sender.Shown, blob(m.Sender.Sealed), ledger.AddressKey(m.Sender.Shown),
		m.HeaderID, int64(m.Size), recipients, m.Client, m.Ret, m.EnvID, m.UTF8, m.EightBit, m.TellSender, m.Unit, m.Language,
		moment(m.AcceptedAt), findings, repairs)
	for i, b := range bodies {
		t.exec("INSERT INTO body (message, n, data) VALUES ($1, $2, $3)", string(m.ID), i, b)
	}
	return nil
}

// fresh is a new delivery as it will stand.
func fresh(m ledger.Message, authority int32, n ledger.NewDelivery) deliveryRow {
	return deliveryRow{authority: authority, notice: m.Kind == ledger.Notice, Delivery: ledger.Delivery{
		Message: m.ID, Recipient: n.Recipient, Notify: n.Notify, ORcpt: n.ORcpt, Inside: n.Inside, State: n.State, Verdict: n.Verdict,
		Body: n.Body, Lane: n.Lane, Owner: n.Owner, Due: n.Due, Deadline: n.Deadline, Watch: n.Watch, Rung: n.Rung,
	}}
}

func (t *tx) addDelivery(n int, d deliveryRow, at time.Time) error {
	verdict, err := json.Marshal(d.Verdict)
	if err != nil {
		return err
	}
	if d.State == ledger.Queued && d.Due.IsZero() {
		d.Due = at
	}
	t.count(d.authority, func(c *counts) { c.accepted++ })
	t.countState(d.authority, d.State, 1)
	t.exec(`INSERT INTO delivery (no, message, n, many, authority, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside,
		state, verdict, body, lane, owner, due, deadline, watch, attempts, node, started, possibly, told, rung)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, false, $24, $25)`,
		int64(d.ID), string(d.Message), n, d.many, d.authority, d.notice, d.Recipient.Shown, blob(d.Recipient.Sealed),
		ledger.AddressKey(d.Recipient.Shown), d.Notify, d.ORcpt, d.Inside, string(d.State), string(verdict), d.Body, d.Lane, d.Owner,
		moment(d.Due), moment(d.Deadline), watch(d.Watch), d.Attempts, d.Node, moment(d.started), d.told, d.Rung)
	return nil
}

// subject is a delivery that a notice tells of.
type subject struct {
	delivery ledger.DeliveryID
	message  ledger.MessageID
}

// addNotice stores a notice, its delivery with the number no, and what it is about; the subjects' Told is the caller's.
func (t *tx) addNotice(n ledger.NewNotice, authority int32, no int64, about []subject, at time.Time) error {
	if n.Message.AcceptedAt.IsZero() {
		n.Message.AcceptedAt = at
	}
	if err := t.addMessage(n.Message, authority, 1, [][]byte{n.Body}); err != nil {
		return err
	}
	d := fresh(n.Message, authority, n.Delivery)
	d.ID = ledger.DeliveryID(no)
	if err := t.addDelivery(0, d, at); err != nil {
		return err
	}
	for _, s := range about {
		t.exec("INSERT INTO link (notice, about, subject, tells) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
			string(n.Message.ID), int64(s.delivery), string(s.message), string(n.Tells))
	}
	t.record(event{authority: authority, message: n.Message.ID, at: at, kind: ledger.KindNotice, detail: string(n.Tells)})
	return nil
}

// event is one line of the story, about to be written.
type event struct {
	authority        int32
	message          ledger.MessageID
	delivery         ledger.DeliveryID
	at               time.Time
	kind, by, detail string
}

// record appends an event. It gets its number when it is sealed.
func (t *tx) record(e event) {
	t.exec("INSERT INTO event_fresh (authority, message, delivery, at, kind, by, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		e.authority, string(e.message), int64(e.delivery), moment(e.at), e.kind, e.by, e.detail)
	t.count(e.authority, func(c *counts) { c.events++ })
}
