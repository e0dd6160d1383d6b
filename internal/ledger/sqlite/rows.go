package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// messageColumns and deliveryColumns are what messageOf and deliveryOf read, in their order.
const (
	messageColumns = `m.no, m.id, a.name, m.kind, m.direction, m.sender, m.sender_sealed, m.header_id, m.size, m.client, m.ret, m.envid,
		m.utf8, m.eight_bit, m.tell_sender, m.unit, m.language, m.accepted_at, m.findings, m.repairs, m.authority, m.erased_at`
	deliveryColumns = `d.no, d.message, d.n, d.notice, d.recipient, d.recipient_sealed, d.notify, d.orcpt, d.inside, d.state, d.verdict, d.body,
		d.lane, d.owner, d.due, d.deadline, d.watch, d.attempts, d.node, d.started, d.possibly, d.told, d.rung, d.ended_at`
)

// messageRow is a message with its row numbers.
type messageRow struct {
	stored
	ledger.Message
}

func messageOf(r row) (messageRow, error) {
	m := messageRow{
		stored: stored{no: r.int(0), authority: r.int(20), notice: r.str(3) == string(ledger.Notice)},
		Message: ledger.Message{
			ID: ledger.MessageID(r.str(1)), Authority: r.str(2), Kind: ledger.Kind(r.str(3)), Direction: policy.Direction(r.str(4)),
			Sender: ledger.Address{Shown: r.str(5), Sealed: r.bytes(6)}, HeaderID: r.str(7), Size: int(r.int(8)), Client: r.str(9),
			Ret: r.str(10), EnvID: r.str(11), UTF8: r.bool(12), EightBit: r.bool(13), TellSender: r.bool(14), Unit: r.str(15),
			Language: r.str(16), AcceptedAt: r.time(17), ErasedAt: r.time(21),
		},
	}
	if s := r.str(18); s != "" {
		if err := json.Unmarshal([]byte(s), &m.Findings); err != nil {
			return m, fmt.Errorf("findings of %s: %w", m.ID, err)
		}
	}
	if s := r.str(19); s != "" {
		if err := json.Unmarshal([]byte(s), &m.Repairs); err != nil {
			return m, fmt.Errorf("repairs of %s: %w", m.ID, err)
		}
	}
	return m, nil
}

// deliveryRow is a delivery with its row numbers; its Delivery.Message is not filled in.
type deliveryRow struct {
	message int64
	notice  bool
	started value
	told    string
	ledger.Delivery
}

func deliveryOf(r row) (deliveryRow, error) {
	d := deliveryRow{
		message: r.int(1), notice: r.bool(3), started: r[19], told: r.str(21),
		Delivery: ledger.Delivery{
			ID: ledger.DeliveryID(r.int(0)), Recipient: ledger.Address{Shown: r.str(4), Sealed: r.bytes(5)}, Notify: r.str(6), ORcpt: r.str(7),
			Inside: r.bool(8), State: ledger.State(r.str(9)), Body: int(r.int(11)), Lane: r.str(12), Owner: r.str(13), Due: r.time(14),
			Deadline: r.time(15), Watch: r.time(16), Attempts: int(r.int(17)), Node: r.str(18), Possibly: r.bool(20),
			Told: kinds(r.str(21)), Rung: int(r.int(22)), EndedAt: r.time(23),
		},
	}
	if err := json.Unmarshal([]byte(r.str(10)), &d.Verdict); err != nil {
		return d, fmt.Errorf("verdict of delivery %d: %w", d.ID, err)
	}
	return d, nil
}

// messageByNo returns a message; ErrNotFound.
func (c *conn) messageByNo(ctx context.Context, no int64) (messageRow, error) {
	return c.oneMessage(ctx, "SELECT "+messageColumns+" FROM message AS m JOIN authority AS a ON a.no = m.authority WHERE m.no = ?", no)
}

func (c *conn) messageByID(ctx context.Context, id ledger.MessageID) (messageRow, error) {
	return c.oneMessage(ctx, "SELECT "+messageColumns+" FROM message AS m JOIN authority AS a ON a.no = m.authority WHERE m.id = ?", string(id))
}

func (c *conn) oneMessage(ctx context.Context, query string, arg value) (m messageRow, err error) {
	var rowErr error
	found, err := c.one(ctx, func(r row) { m, rowErr = messageOf(r) }, query, arg)
	switch {
	case err != nil:
		return m, err
	case !found:
		return m, ledger.ErrNotFound
	}
	return m, rowErr
}

// delivery returns a delivery; ErrNotFound.
func (c *conn) delivery(ctx context.Context, id ledger.DeliveryID) (d deliveryRow, err error) {
	var rowErr error
	found, err := c.one(ctx, func(r row) { d, rowErr = deliveryOf(r) }, "SELECT "+deliveryColumns+" FROM delivery AS d WHERE d.no = ?", int64(id))
	switch {
	case err != nil:
		return d, err
	case !found:
		return d, ledger.ErrNotFound
	}
	return d, rowErr
}

// deliveries returns what the query finds; it selects deliveryColumns.
func (c *conn) deliveries(ctx context.Context, query string, args ...value) (all []deliveryRow, err error) {
	err = c.query(ctx, func(r row) error {
		d, err := deliveryOf(r)
		all = append(all, d)
		return err
	}, query, args...)
	return all, err
}
