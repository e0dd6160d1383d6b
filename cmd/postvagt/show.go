package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"postvagt/internal/deliver"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// traceCmd finds messages and tells their whole story.
type traceCmd struct {
	withAuthority
	ID        string `arg:"" optional:"" help:"A message's id, its first letters, or a Message-ID header."`
	Sender    string `help:"Messages from this address, or @domain; - reads it from standard input."`
	Recipient string `help:"Messages to this address, or @domain; - reads it from standard input."`
	Since     moment `help:"Accepted after this time: 2026-11-22, 2026-11-22T08:00:00Z, or 3h for so long ago."`
	Until     moment `help:"Accepted before this time."`
	Limit     int    `default:"20" help:"At most so many, newest first."`
	JSON      bool   `name:"json" help:"Answer in JSON: one object for an id, one a line otherwise."`
}

func (c traceCmd) Run(s streams) error {
	c.Limit = atMost(c.Limit)
	var err error
	if c.Sender, err = orInput(c.Sender, s); err != nil {
		return err
	}
	if c.Recipient, err = orInput(c.Recipient, s); err != nil {
		return err
	}
	i, err := c.openLedger()
	if err != nil {
		return err
	}
	defer i.Close()
	ctx := context.Background()
	ids, err := c.find(ctx, i)
	if err != nil {
		return err
	}
	ids, more := upTo(c.Limit, ids)
	for n, id := range ids {
		story, err := i.store.Story(ctx, id)
		if err != nil {
			return err
		}
		if c.JSON {
			if err := json.NewEncoder(s.out).Encode(storyJSON(story)); err != nil {
				return err
			}
			continue
		}
		if n > 0 {
			fmt.Fprintln(s.out)
		}
		tellStory(s.out, story)
	}
	return tellMore(s, more, c.Limit)
}

// atMost is a limit as the ledger takes it.
func atMost(limit int) int {
	if limit <= 0 {
		return 100
	}
	return limit
}

// upTo takes off what was asked for only to know whether there is more than is shown.
func upTo(limit int, ids []ledger.MessageID) (shown []ledger.MessageID, more bool) {
	if len(ids) <= limit {
		return ids, false
	}
	return ids[:limit], true
}

// tellMore says that there is more than was shown, beside the answer, which a script may read.
func tellMore(s streams, more bool, limit int) (err error) {
	if more {
		_, err = fmt.Fprintf(s.err, "postvagt: there is more than shown: only the newest %d messages are. --limit shows more.\n", limit)
	}
	return err
}

// find returns what the flags name; nothing found is an error that says so.
func (c traceCmd) find(ctx context.Context, i *installation) ([]ledger.MessageID, error) {
	q := ledger.Query{Sender: c.Sender, Recipient: c.Recipient, Since: c.Since.Time, Until: c.Until.Time, Limit: c.Limit + 1}
	switch {
	case strings.ContainsAny(c.ID, "@<"):
		q.HeaderID = c.ID
	case c.ID != "":
		id, err := i.one(ctx, c.ID)
		return []ledger.MessageID{id}, i.perhapsGone(ctx, err)
	case c.Sender == "" && c.Recipient == "" && c.Since.IsZero() && c.Until.IsZero():
		return nil, fmt.Errorf("say which message: an id, a Message-ID, --sender, --recipient, --since or --until")
	}
	ids, err := i.store.Find(ctx, q)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("no message in the ledger fits; a mail that was refused in the conversation was never accepted: see the sending server's log")
		err = i.perhapsGone(ctx, err)
	}
	return ids, err
}

// The JSON of trace; scripts rely on these names.
type (
	traceMessage struct {
		ID         ledger.MessageID `json:"id"`
		Authority  string           `json:"authority"`
		Kind       ledger.Kind      `json:"kind"`
		Direction  policy.Direction `json:"direction"`
		Sender     string           `json:"sender"`
		HeaderID   string           `json:"message_id,omitempty"`
		Size       int              `json:"size"`
		Client     string           `json:"client"`
		AcceptedAt time.Time        `json:"accepted_at"`
		Findings   any              `json:"findings"`
		Repairs    any              `json:"repairs,omitempty"`
		ErasedAt   *time.Time       `json:"erased_at,omitempty"` // retention took away what told of people
	}
	traceDelivery struct {
		ID            ledger.DeliveryID `json:"id"`
		Recipient     string            `json:"recipient"`
		State         ledger.State      `json:"state"`
		Verdict       policy.Verdict    `json:"verdict"`
		Why           string            `json:"why"`
		LevelRequired level.Level       `json:"level_required"`
		LevelReached  level.Level       `json:"level_reached"`
		Vouched       level.Level       `json:"level_vouched"`
		Possibly      bool              `json:"possibly_delivered"`
		Owner         string            `json:"owner,omitempty"`
		Deadline      *time.Time        `json:"deadline,omitempty"`
		EndedAt       *time.Time        `json:"ended_at,omitempty"`
		Told          []ledger.TellKind `json:"told"`
		Attempts      []traceAttempt    `json:"attempts"`
	}
	traceAttempt struct {
		No       int             `json:"no"`
		Started  time.Time       `json:"started"`
		Ended    time.Time       `json:"ended"`
		Outcome  string          `json:"outcome"`
		Code     int             `json:"code,omitempty"`
		Enhanced string          `json:"enhanced,omitempty"`
		Text     string          `json:"text,omitempty"`
		Receipt  json.RawMessage `json:"receipt,omitempty"`
	}
	traceNotice struct {
		Notice ledger.MessageID  `json:"notice"`
		Tells  ledger.TellKind   `json:"tells"`
		About  ledger.DeliveryID `json:"about"`
	}
	traceStory struct {
		Message    traceMessage    `json:"message"`
		Deliveries []traceDelivery `json:"deliveries"`
		Notices    []traceNotice   `json:"notices"`
		Events     []traceEvent    `json:"events"`
	}
	traceEvent struct {
		At       time.Time         `json:"at"`
		Kind     string            `json:"kind"`
		Delivery ledger.DeliveryID `json:"delivery,omitempty"`
		By       string            `json:"by,omitempty"`
		Detail   string            `json:"detail,omitempty"`
	}
)

func storyJSON(s ledger.Story) traceStory {
	m := s.Message
	out := traceStory{Message: traceMessage{m.ID, m.Authority, m.Kind, m.Direction, m.Sender.Shown, m.HeaderID, m.Size, m.Client, m.AcceptedAt, m.Findings, nil, given(m.ErasedAt)},
		Deliveries: []traceDelivery{}, Notices: []traceNotice{}, Events: []traceEvent{}}
	if len(m.Repairs) > 0 {
		out.Message.Repairs = m.Repairs
	}
	for _, d := range s.Deliveries {
		t := traceDelivery{ID: d.ID, Recipient: d.Recipient.Shown, State: d.State, Verdict: d.Verdict, Why: policy.Explain(d.Verdict, "en"),
			LevelRequired: d.Verdict.Level, Possibly: d.Possibly, Owner: d.Owner, Deadline: given(d.Deadline), EndedAt: given(d.EndedAt),
			Told: append([]ledger.TellKind{}, d.Told...), Attempts: []traceAttempt{}}
		for _, a := range s.Attempts {
			if a.Delivery != d.ID {
				continue
			}
			t.Attempts = append(t.Attempts, traceAttempt{a.No, a.Started, a.Ended, a.Outcome, a.Code, a.Enhanced, a.Text, a.Receipt})
			if r := receiptOf(a); a.Outcome == string(deliver.Delivered) || d.State != ledger.Delivered {
				t.LevelReached, t.Vouched = r.Level, r.Vouched
			}
		}
		out.Deliveries = append(out.Deliveries, t)
	}
	for _, n := range s.Notices {
		out.Notices = append(out.Notices, traceNotice{n.Notice, n.Tells, n.About})
	}
	for _, e := range s.Events {
		out.Events = append(out.Events, traceEvent{e.At, e.Kind, e.Delivery, e.By, e.Detail})
	}
	return out
}

func receiptOf(a ledger.Attempt) (r deliver.Receipt) {
	if a.Receipt != nil && json.Unmarshal(a.Receipt, &r) != nil {
		return deliver.Receipt{}
	}
	return r
}

func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// tellStory tells a message's story in plain words.
func tellStory(w io.Writer, s ledger.Story) {
	m := s.Message
	what := "Message"
	if m.Kind == ledger.Notice {
		what = "Notice"
	}
	fmt.Fprintf(w, "%s %s, accepted %s\n", what, m.ID, clock(m.AcceptedAt))
	if !m.ErasedAt.IsZero() {
		tellErased(w, m)
	}
	if m.Kind == ledger.Mail {
		fmt.Fprintf(w, "  from %s by %s, %d bytes, %s\n", shownSender(m), cmp.Or(m.Client, removed), m.Size, directionWords(m))
	}
	if m.HeaderID != "" {
		fmt.Fprintf(w, "  Message-ID %s\n", m.HeaderID)
	}
	for _, f := range m.Findings {
		fmt.Fprintf(w, "  found %s %s in %s %s: %s\n", f.Kind, f.Masked, f.Place.Kind, f.Place.Name, f.Why)
	}
	for _, r := range m.Repairs {
		fmt.Fprintf(w, "  moved %s out of %s %s\n", r.Masked, r.Place.Kind, r.Place.Name)
	}
	for _, d := range s.Deliveries {
		tellDelivery(w, s, d)
	}
	for _, n := range s.Notices {
		if n.Notice == m.ID {
			fmt.Fprintf(w, "  it is about delivery %d of message %s: %s\n", n.About, n.Subject, n.Tells)
			continue
		}
		fmt.Fprintf(w, "  notice %s tells: %s (delivery %d); see 'postvagt trace %s' for who got it\n", n.Notice, n.Tells, n.About, n.Notice)
	}
}

func tellDelivery(w io.Writer, s ledger.Story, d ledger.Delivery) {
	fmt.Fprintf(w, "  to %s: %s\n", cmp.Or(d.Recipient.Shown, removed), stateWords(d))
	fmt.Fprintf(w, "    verdict: %s (rule %s)\n", policy.Explain(d.Verdict, "en"), d.Verdict.Rule)
	switch {
	case d.Possibly && d.Verdict.Reason == policy.Restored:
		fmt.Fprintf(w, "    it may have arrived in the time that was lost when the ledger was restored from a copy\n")
	case d.Possibly:
		fmt.Fprintf(w, "    an attempt was cut off when the message may have been handed over already: it may have arrived, and may arrive twice\n")
	}
	for _, e := range s.Events {
		if e.Delivery != d.ID && e.Delivery != 0 {
			continue
		}
		by := ""
		if e.By != "" {
			by = " by " + e.By
		}
		fmt.Fprintf(w, "    %s  %s%s  %s\n", clock(e.At), e.Kind, by, e.Detail)
	}
}

func shownSender(m ledger.Message) string {
	if !m.ErasedAt.IsZero() {
		return removed
	}
	if m.Sender.Shown == "" {
		return "<> (no sender: a report or automatic reply)"
	}
	return m.Sender.Shown
}

func directionWords(m ledger.Message) string {
	if m.Direction == policy.Inbound {
		return "to " + m.Authority
	}
	return "from " + m.Authority
}

func stateWords(d ledger.Delivery) string {
	switch d.State {
	case ledger.Queued:
		if d.Node != "" {
			return "an attempt is under way"
		}
		return fmt.Sprintf("waits to be delivered, next try %s; if nothing helps, a person is told %s", clock(d.Due), clock(d.Deadline))
	case ledger.Held:
		return fmt.Sprintf("held; %s decides before %s", d.Owner, clock(d.Deadline))
	case ledger.Returning:
		return "will not arrive; its sender is being told"
	case ledger.Returned:
		return "did not arrive; the notice below says who was told " + clock(d.EndedAt)
	case ledger.Delivered:
		return "delivered " + clock(d.EndedAt) + " (the next server took it over)"
	}
	return string(d.State) + " " + clock(d.EndedAt)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// moment is a time on the command line.
type moment struct{ time.Time }

// UnmarshalText reads a time, a date (midnight, local time) or how long ago.
func (m *moment) UnmarshalText(b []byte) (err error) {
	s := string(b)
	if d, err := time.ParseDuration(s); err == nil {
		m.Time = time.Now().Add(-d)
		return nil
	}
	if m.Time, err = time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, s); err != nil {
		return fmt.Errorf("%q is no time: write 2026-11-22, 2026-11-22T08:00:00Z, or 3h for so long ago", s)
	}
	return nil
}

type queueCmd struct {
	withAuthority
	Limit int  `default:"1000" help:"At most so many messages, newest first."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

func (c queueCmd) Run(s streams) error {
	return c.list(s, c.JSON, c.Limit, []ledger.State{ledger.Queued, ledger.Returning}, "Nothing waits to be delivered.")
}

type heldCmd struct {
	withAuthority
	Limit int  `default:"1000" help:"At most so many messages, newest first."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

func (c heldCmd) Run(s streams) error {
	return c.list(s, c.JSON, c.Limit, []ledger.State{ledger.Held}, "Nothing is held.")
}

// listed is one open delivery in a list.
type listed struct {
	Message   ledger.MessageID  `json:"message"`
	Delivery  ledger.DeliveryID `json:"delivery"`
	Kind      ledger.Kind       `json:"kind"`
	Alarm     bool              `json:"alarm"`
	State     ledger.State      `json:"state"`
	Sender    string            `json:"sender"`
	Recipient string            `json:"recipient"`
	Owner     string            `json:"owner"`
	Reason    policy.Reason     `json:"reason"`
	Level     level.Level       `json:"level_required"`
	Attempts  int               `json:"attempts"`
	Last      string            `json:"last_outcome,omitempty"`
	Due       *time.Time        `json:"due,omitempty"`
	Deadline  *time.Time        `json:"deadline,omitempty"`
	Since     time.Time         `json:"accepted_at"`
}

func (w withAuthority) list(s streams, asJSON bool, limit int, states []ledger.State, none string) error {
	limit = atMost(limit)
	i, err := w.openLedger()
	if err != nil {
		return err
	}
	defer i.Close()
	rows, more, err := i.open(context.Background(), states, limit)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(s.out)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return tellMore(s, more, limit)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(s.out, none)
		return err
	}
	t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "MESSAGE\tSTATE\tFROM\tTO\tWHY\tTRIES\tOWNER\tDEADLINE")
	for _, r := range rows {
		why := string(r.Reason)
		switch {
		case r.Alarm:
			why = "ALARM: nobody could be told"
		case r.Last != "":
			why = short(r.Last)
		case r.Kind == ledger.Notice:
			why = "notice"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.Message, r.State, orDash(r.Sender), r.Recipient, why, r.Attempts, r.Owner, clockOf(r.Deadline))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return tellMore(s, more, limit)
}

// open lists deliveries in the states, alarms first; more: of other messages, too.
func (i *installation) open(ctx context.Context, states []ledger.State, limit int) (rows []listed, more bool, err error) {
	ids, err := i.store.Find(ctx, ledger.Query{States: states, Limit: limit + 1})
	if err != nil {
		return nil, false, err
	}
	ids, more = upTo(limit, ids)
	var alarms []listed
	for _, id := range ids {
		story, err := i.store.Story(ctx, id)
		if err != nil {
			return nil, false, err
		}
		for _, d := range story.Deliveries {
			if d.State.Final() || d.State != states[0] && d.State != states[len(states)-1] {
				continue
			}
			r := listed{Message: id, Delivery: d.ID, Kind: story.Message.Kind, State: d.State, Sender: story.Message.Sender.Shown, Recipient: d.Recipient.Shown,
				Owner: d.Owner, Reason: d.Verdict.Reason, Level: d.Verdict.Level, Attempts: d.Attempts, Last: lastOutcome(story, d.ID), Deadline: given(d.Deadline), Since: story.Message.AcceptedAt}
			if d.State == ledger.Queued {
				r.Due = given(d.Due)
			}
			if r.Alarm = r.Kind == ledger.Notice && d.State == ledger.Held; r.Alarm {
				alarms = append(alarms, r)
				continue
			}
			rows = append(rows, r)
		}
	}
	return append(alarms, rows...), more, nil
}

// lastOutcome is how the newest attempt for a delivery ended.
func lastOutcome(s ledger.Story, id ledger.DeliveryID) (last string) {
	for _, a := range s.Attempts {
		if a.Delivery != id {
			continue
		}
		last = a.Outcome
		if a.Code != 0 {
			last += fmt.Sprintf(" %d", a.Code)
		}
		if a.Text != "" {
			last += " " + a.Text
		}
	}
	return last
}

// short cuts what is too long for a list.
func short(s string) string {
	if r := []rune(s); len(r) > 70 {
		return string(r[:69]) + "…"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func clockOf(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return clock(*t)
}
