package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postvagt/internal/ledger"
)

// Accept makes a durable (law 1): message, bodies, deliveries, notices and their events, in one transaction.
func (s *Store) Accept(ctx context.Context, a ledger.Acceptance) ([]ledger.Claimed, error) {
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	size := 4096
	for _, b := range a.Bodies {
		size += len(b)
	}
	var work []ledger.Claimed
	err := s.do(ctx, size, func(t *tx) (err error) {
		work, err = t.accept(a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	return work, nil
}

func (t *tx) accept(a ledger.Acceptance) ([]ledger.Claimed, error) {
	known, err := t.known(a)
	if err != nil {
		return nil, err
	}
	if known {
		return t.leasedAtAccept(a)
	}
	m, err := t.addMessage(a.Message, a.Bodies)
	if err != nil {
		return nil, err
	}
	at := a.Message.AcceptedAt
	if err := t.record(event{authority: m.authority, message: m.no, at: micros(at), kind: ledger.KindAccepted, detail: a.Recipients()}); err != nil {
		return nil, err
	}
	told := make([]string, len(a.Deliveries))
	for _, n := range a.Notices {
		for _, i := range n.About {
			told[i] = join(told[i], n.Tells)
		}
	}
	ids := make([]int64, len(a.Deliveries))
	var work ledger.Grouping
	for i, nd := range a.Deliveries {
		d := fresh(a.Message.ID, nd)
		d.Told = kinds(told[i])
		if a.Claim != nil && d.State == ledger.Queued && !d.Due.After(at) {
			d.Attempts, d.Node, d.Due = 1, a.Claim.Node, at.Add(a.Claim.Lease)
		}
		no, err := t.addDelivery(m, i, d, at)
		if err != nil {
			return nil, err
		}
		ids[i], d.ID = no, ledger.DeliveryID(no)
		if d.Node != "" {
			work.Add(a.Message, d)
		}
		if d.State != ledger.Queued {
			if err := t.record(event{authority: m.authority, message: m.no, delivery: no, at: micros(at), kind: string(d.State)}); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range a.Notices {
		about := make([]int64, len(n.About))
		for j, i := range n.About {
			about[j] = ids[i]
		}
		if err := t.addNotice(n, about, at); err != nil {
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
	m, err := t.messageByID(context.Background(), a.Message.ID)
	if err != nil {
		return nil, err
	}
	rows, err := t.deliveries(context.Background(), "SELECT "+deliveryColumns+" FROM delivery AS d WHERE d.message = ? AND d.state = 'queued' AND d.node = ? AND d.attempts = 1 AND d.due = ? ORDER BY d.n",
		m.no, a.Claim.Node, micros(a.Message.AcceptedAt.Add(a.Claim.Lease)))
	if err != nil {
		return nil, err
	}
	var work ledger.Grouping
	for _, d := range rows {
		d.Message = m.ID
		work.Add(m.Message, d.Delivery)
	}
	return work.All, nil
}

// known reports whether the message was accepted already: then the caller asks again after an answer was lost.
func (t *tx) known(a ledger.Acceptance) (bool, error) {
	var size, recipients int64
	found, err := t.one(context.Background(), func(r row) { size, recipients = r.int(0), r.int(1) },
		`SELECT size, (SELECT count(*) FROM delivery WHERE message = message.no) FROM message WHERE id = ?`, string(a.Message.ID))
	if err != nil || !found {
		return false, err
	}
	if size != int64(a.Message.Size) || recipients != int64(len(a.Deliveries)) {
		return false, fmt.Errorf("another message has this id")
	}
	return true, nil
}

// stored is a message's row.
type stored struct {
	no, authority int64
	notice        bool
}

func (t *tx) addMessage(m ledger.Message, bodies [][]byte) (stored, error) {
	authority, err := t.authority(m.Authority)
	if err != nil {
		return stored{}, err
	}
	findings, err := list(m.Findings)
	if err != nil {
		return stored{}, err
	}
	repairs, err := list(m.Repairs)
	if err != nil {
		return stored{}, err
	}
	no, err := t.insert(`INSERT INTO message (id, authority, kind, direction, sender, sender_sealed, sender_key, header_id, size, client,
		ret, envid, utf8, eight_bit, tell_sender, unit, language, accepted_at, findings, repairs)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(m.ID), authority, string(m.Kind), string(m.Direction), m.Sender.Shown, blob(m.Sender.Sealed), ledger.AddressKey(m.Sender.Shown),
		m.HeaderID, int64(m.Size), m.Client, m.Ret, m.EnvID, flag(m.UTF8), flag(m.EightBit), flag(m.TellSender), m.Unit, m.Language,
		micros(m.AcceptedAt), findings, repairs)
	if err != nil {
		return stored{}, err
	}
	for i, b := range bodies {
		if _, err := t.exec("INSERT INTO body (no, data) VALUES (?, ?)", bodyNo(no, i), b); err != nil {
			return stored{}, err
		}
	}
	return stored{no, authority, m.Kind == ledger.Notice}, nil
}

// bodyNo is the row of a message's body.
func bodyNo(message int64, body int) int64 { return message*8 + int64(body) }

// list is v as JSON, or NULL when it is empty.
func list[T any](v []T) (value, error) {
	if len(v) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// fresh is a new delivery as it will stand.
func fresh(message ledger.MessageID, n ledger.NewDelivery) ledger.Delivery {
	return ledger.Delivery{
		Message: message, Recipient: n.Recipient, Notify: n.Notify, ORcpt: n.ORcpt, Inside: n.Inside, State: n.State, Verdict: n.Verdict,
		Body: n.Body, Lane: n.Lane, Owner: n.Owner, Due: n.Due, Deadline: n.Deadline, Watch: n.Watch, Rung: n.Rung,
	}
}

func (t *tx) addDelivery(m stored, n int, d ledger.Delivery, at time.Time) (int64, error) {
	verdict, err := json.Marshal(d.Verdict)
	if err != nil {
		return 0, err
	}
	var started value
	if d.Node != "" {
		started = micros(at)
	}
	if d.State == ledger.Queued && d.Due.IsZero() {
		d.Due = at
	}
	t.count(m.authority, tallyAccepted, 1)
	t.count(m.authority, string(d.State), 1)
	return t.insert(`INSERT INTO delivery (message, n, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside, state, verdict,
		body, lane, owner, due, deadline, watch, attempts, node, started, possibly, told, rung, ended_at, ended_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, NULL, '')`,
		m.no, int64(n), flag(m.notice), d.Recipient.Shown, blob(d.Recipient.Sealed), ledger.AddressKey(d.Recipient.Shown), d.Notify, d.ORcpt,
		flag(d.Inside), string(d.State), string(verdict), int64(d.Body), d.Lane, d.Owner, micros(d.Due), micros(d.Deadline), watch(d.Watch),
		int64(d.Attempts), d.Node, started, toldText(d.Told), int64(d.Rung))
}

// watch is a Watch as the table keeps it.
func watch(t time.Time) value {
	if !t.Before(ledger.Never) {
		return nil
	}
	return micros(t)
}

// addNotice stores a notice, its delivery and what it is about; the subjects' Told is the caller's.
func (t *tx) addNotice(n ledger.NewNotice, about []int64, at time.Time) error {
	if n.Message.AcceptedAt.IsZero() {
		n.Message.AcceptedAt = at
	}
	m, err := t.addMessage(n.Message, [][]byte{n.Body})
	if err != nil {
		return err
	}
	if _, err := t.addDelivery(m, 0, fresh(n.Message.ID, n.Delivery), at); err != nil {
		return err
	}
	for _, id := range about {
		if _, err := t.exec("INSERT INTO link (notice, about, tells) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", m.no, id, string(n.Tells)); err != nil {
			return err
		}
	}
	return t.record(event{authority: m.authority, message: m.no, at: micros(at), kind: ledger.KindNotice, detail: string(n.Tells)})
}

func toldText(told []ledger.TellKind) string {
	s := ""
	for _, k := range told {
		s = join(s, k)
	}
	return s
}

func join(told string, k ledger.TellKind) string {
	if told == "" {
		return string(k)
	}
	return told + "," + string(k)
}

func kinds(told string) []ledger.TellKind {
	if told == "" {
		return nil
	}
	parts := strings.Split(told, ",")
	all := make([]ledger.TellKind, len(parts))
	for i, p := range parts {
		all[i] = ledger.TellKind(p)
	}
	return all
}
