package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// messageColumns, openColumns and finalColumns are what messageOf and deliveryOf read, in their order.
const (
	messageColumns = `m.id, a.name, m.kind, m.direction, m.sender, m.sender_sealed, m.header_id, m.size, m.client, m.ret, m.envid,
		m.utf8, m.eight_bit, m.tell_sender, m.unit, m.language, m.accepted_at, m.findings, m.repairs, m.authority, m.erased_at`
	messageTables = "message AS m JOIN authority AS a ON a.no = m.authority"

	openColumns = `d.no, d.message, d.n, d.notice, d.recipient, d.recipient_sealed, d.notify, d.orcpt, d.inside, d.state, d.verdict, d.body,
		d.lane, d.owner, d.due, d.deadline, d.watch, d.attempts, d.node, d.started, d.possibly, d.told, d.rung, d.authority,
		NULL::timestamptz AS ended_at, d.many`
	finalColumns = `d.no, d.message, d.n, d.notice, d.recipient, d.recipient_sealed, d.notify, d.orcpt, d.inside, d.state, d.verdict, d.body,
		d.lane, d.owner, NULL::timestamptz AS due, NULL::timestamptz AS deadline, NULL::timestamptz AS watch, d.attempts, '' AS node,
		NULL::timestamptz AS started, d.possibly, d.told, d.rung, d.authority, d.ended_at, false AS many`
)

// messageRow is a message with its authority's number.
type messageRow struct {
	authority int32
	ledger.Message
}

func messageOf(r row) (messageRow, error) {
	m := messageRow{
		authority: int32(r.int(19)),
		Message: ledger.Message{
			ID: ledger.MessageID(r.str(0)), Authority: r.str(1), Kind: ledger.Kind(r.str(2)), Direction: policy.Direction(r.str(3)),
			Sender: ledger.Address{Shown: r.str(4), Sealed: r.bytes(5)}, HeaderID: r.str(6), Size: int(r.int(7)), Client: r.str(8),
			Ret: r.str(9), EnvID: r.str(10), UTF8: r.bool(11), EightBit: r.bool(12), TellSender: r.bool(13), Unit: r.str(14),
			Language: r.str(15), AcceptedAt: r.time(16), ErasedAt: r.time(20),
		},
	}
	if s := r.str(17); s != "" {
		if err := json.Unmarshal([]byte(s), &m.Findings); err != nil {
			return m, fmt.Errorf("findings of %s: %w", m.ID, err)
		}
	}
	if s := r.str(18); s != "" {
		if err := json.Unmarshal([]byte(s), &m.Repairs); err != nil {
			return m, fmt.Errorf("repairs of %s: %w", m.ID, err)
		}
	}
	return m, nil
}

// deliveryRow is a delivery with what the table says beside.
type deliveryRow struct {
	authority int32
	notice    bool
	many      bool // the message has other deliveries
	started   time.Time
	told      string
	ledger.Delivery
}

func deliveryOf(r row) (deliveryRow, error) {
	d := deliveryRow{
		notice: r.bool(3), started: r.time(19), told: r.str(21), authority: int32(r.int(23)), many: r.bool(25),
		Delivery: ledger.Delivery{
			ID: ledger.DeliveryID(r.int(0)), Message: ledger.MessageID(r.str(1)),
			Recipient: ledger.Address{Shown: r.str(4), Sealed: r.bytes(5)}, Notify: r.str(6), ORcpt: r.str(7),
			Inside: r.bool(8), State: ledger.State(r.str(9)), Body: int(r.int(11)), Lane: r.str(12), Owner: r.str(13), Due: r.time(14),
			Deadline: r.time(15), Watch: r.time(16), Attempts: int(r.int(17)), Node: r.str(18), Possibly: r.bool(20),
			Told: kinds(r.str(21)), Rung: int(r.int(22)), EndedAt: r.time(24),
		},
	}
	if err := json.Unmarshal([]byte(r.str(10)), &d.Verdict); err != nil {
		return d, fmt.Errorf("verdict of delivery %d: %w", d.ID, err)
	}
	return d, nil
}

// list is v as JSON, or NULL when it is empty.
func list[T any](v []T) (any, error) {
	if len(v) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
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

// watch is a Watch as the table keeps it.
func watch(t time.Time) any {
	if !t.Before(ledger.Never) {
		return nil
	}
	return moment(t)
}

// planAnew has the questions that follow in this transaction planned for what they ask about: a plan for anything would lock the
// partitions of all months, this one takes a moment longer and locks only those that it needs.
func (t *tx) planAnew() { t.ask(nil, "SET LOCAL plan_cache_mode = force_custom_plan") }

// messages asks for messages by their ids; they are there after the next flush. The range tells the planner their months.
func (t *tx) messages(ids []string, found map[ledger.MessageID]messageRow) {
	if len(ids) == 0 {
		return
	}
	t.planAnew()
	t.ask(func(r row) error {
		m, err := messageOf(r)
		found[m.ID] = m
		return err
	}, "SELECT "+messageColumns+" FROM "+messageTables+" WHERE m.id = ANY($1) AND m.id >= $2 AND m.id <= $3", ids, slices.Min(ids), slices.Max(ids))
}

// message returns a message; ErrNotFound.
func (t *tx) message(id ledger.MessageID) (messageRow, error) {
	found := make(map[ledger.MessageID]messageRow, 1)
	t.messages([]string{string(id)}, found)
	if err := t.flush(); err != nil {
		return messageRow{}, err
	}
	m, ok := found[id]
	if !ok {
		return m, ledger.ErrNotFound
	}
	return m, nil
}

// deliveries returns what the query finds; it selects openColumns or finalColumns.
func (t *tx) deliveries(query string, args ...any) (all []deliveryRow, err error) {
	err = t.query(gather(&all), query, args...)
	return all, err
}

func gather(all *[]deliveryRow) func(row) error {
	return func(r row) error {
		d, err := deliveryOf(r)
		*all = append(*all, d)
		return err
	}
}
