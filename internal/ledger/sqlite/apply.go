package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"postvagt/internal/ledger"
)

// Apply makes each change durable with what belongs to it, or refuses it and leaves no trace; the changes of one call share
// a transaction. Repeating a change that was done gives ErrState or ErrFenced and does nothing. A lease that ran out no
// longer stands in the way of a change that holds no attempt: its attempt is then cut off first.
func (s *Store) Apply(ctx context.Context, changes ...ledger.Change) []error {
	errs := make([]error, len(changes))
	size := 1024 * len(changes)
	for _, c := range changes {
		if c.Climb != nil {
			size += len(c.Climb.Body)
		}
		for _, n := range c.Notices {
			size += len(n.Body)
		}
	}
	results := make([]error, len(changes)) // the writer's own: after ctx ended it may still write there
	err := s.await(ctx, &command{size: size, lazy: outcomes(changes), run: func(t *tx) error {
		for i, c := range changes {
			results[i] = t.step(func() error { return t.apply(c) })
			if errors.Is(results[i], errRedo) {
				return errRedo
			}
		}
		return nil
	}})
	for i, c := range changes {
		switch {
		case err != nil:
			errs[i] = fmt.Errorf("apply to delivery %d: %w", c.Delivery, err)
		case results[i] != nil:
			errs[i] = fmt.Errorf("apply to delivery %d: %w", c.Delivery, results[i])
		}
	}
	return errs
}

// outcomes reports whether the changes only end attempts: nobody waits for that.
func outcomes(changes []ledger.Change) bool {
	return !slices.ContainsFunc(changes, func(c ledger.Change) bool { return c.Attempt == nil })
}

func (t *tx) apply(c ledger.Change) error {
	d, err := t.delivery(context.Background(), c.Delivery)
	if err != nil {
		return err
	}
	if err := c.Check(d.Delivery, d.notice); err != nil {
		return err
	}
	if err := t.checkTold(c, d); err != nil {
		return err
	}
	if err := t.checkBody(c, d); err != nil {
		return err
	}
	m, err := t.storedMessage(d)
	if err != nil {
		return err
	}
	if c.Attempt == nil && d.Node != "" {
		if err := t.cutOff(m, &d, c.At); err != nil {
			return err
		}
	}
	if c.Attempt != nil {
		if err := t.endAttempt(*c.Attempt, &d, c.At); err != nil {
			return err
		}
	}
	if err := t.move(c, m, &d); err != nil {
		return err
	}
	if c.Climb != nil {
		if err := t.climb(*c.Climb, d); err != nil {
			return err
		}
	}
	if err := t.recordChange(c, m); err != nil {
		return err
	}
	for _, n := range c.Notices {
		if err := t.tell(n, c, d, m); err != nil {
			return err
		}
	}
	if !c.To.Final() {
		return nil
	}
	if m.notice && (c.To == ledger.Delivered || c.Event.By != "") {
		if err := t.returnSubjects(c, m); err != nil {
			return err
		}
	}
	return t.dropBodies(m.no)
}

// checkTold keeps law 3: what becomes returning has an open notice that tells so, what becomes returned one that
// arrived, and a notice that something waits for is not withdrawn without a person.
func (t *tx) checkTold(c ledger.Change, d deliveryRow) error {
	switch {
	case c.To == ledger.Returning && c.From != ledger.Returning:
		for _, n := range c.Notices {
			if n.Tells == ledger.TellReturned {
				return nil
			}
		}
		open, err := t.exists(`SELECT 1 FROM link JOIN delivery AS d ON d.message = link.notice
			WHERE link.about = ? AND link.tells = 'returned' AND d.state IN ('queued', 'held') LIMIT 1`, int64(d.ID))
		if err == nil && !open {
			err = fmt.Errorf("%w: returning without a notice that tells so", ledger.ErrTransition)
		}
		return err
	case c.To == ledger.Returned:
		told, err := t.exists(`SELECT 1 FROM link JOIN delivery AS d ON d.message = link.notice
			WHERE link.about = ? AND link.tells = 'returned'
			AND (d.state = 'delivered' OR (d.state = 'withdrawn' AND d.ended_by <> '')) LIMIT 1`, int64(d.ID))
		if err == nil && !told {
			err = fmt.Errorf("%w: returned before the notice has arrived", ledger.ErrTransition)
		}
		return err
	case c.To == ledger.Withdrawn && d.notice && c.Event.By == "":
		needed, err := t.exists(`SELECT 1 FROM link JOIN delivery AS d ON d.no = link.about
			WHERE link.notice = ? AND link.tells = 'returned' AND d.state = 'returning' LIMIT 1`, d.message)
		if err == nil && needed {
			err = fmt.Errorf("%w: only a person withdraws a notice that something waits for", ledger.ErrTransition)
		}
		return err
	}
	return nil
}

// checkBody refuses to send a body that is not there.
func (t *tx) checkBody(c ledger.Change, d deliveryRow) error {
	if c.Body == nil {
		return nil
	}
	there, err := t.exists("SELECT 1 FROM body WHERE no = ?", bodyNo(d.message, *c.Body))
	if err == nil && (!there || *c.Body < 0 || *c.Body > 1) {
		err = fmt.Errorf("the message has no body %d", *c.Body)
	}
	return err
}

func (t *tx) exists(query string, args ...value) (bool, error) {
	return t.one(context.Background(), func(row) {}, query, args...)
}

// storedMessage returns the row numbers of d's message.
func (t *tx) storedMessage(d deliveryRow) (stored, error) {
	m := stored{no: d.message, notice: d.notice}
	_, err := t.one(context.Background(), func(r row) { m.authority = r.int(0) }, "SELECT authority FROM message WHERE no = ?", d.message)
	return m, err
}

// endAttempt writes how the attempt ended. Its lease ends in move.
func (t *tx) endAttempt(a ledger.Attempt, d *deliveryRow, at time.Time) error {
	started := d.started
	if !a.Started.IsZero() {
		started = micros(a.Started)
	}
	ended := a.Ended
	if ended.IsZero() {
		ended = at
	}
	if a.Outcome == outcomeUnknown {
		d.Possibly = true
	}
	d.Node, d.started = "", nil
	_, err := t.exec(`INSERT INTO attempt (delivery, no, node, started, ended, outcome, code, enhanced, text, contact, receipt)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(d.ID), int64(a.No), a.Node, started, micros(ended), a.Outcome, int64(a.Code), a.Enhanced, a.Text, flag(a.Contact), blob(a.Receipt))
	return err
}

// outcomeUnknown is deliver.Unknown: the ledger does not know that room.
const outcomeUnknown = "unknown"

// move writes the delivery's new row.
func (t *tx) move(c ledger.Change, m stored, d *deliveryRow) error {
	c.Onto(&d.Delivery)
	by, ended := "", value(nil)
	due, deadline, look := micros(d.Due), micros(d.Deadline), watch(d.Watch)
	if c.To == ledger.Queued && due == nil || c.Attempt != nil && c.Due.IsZero() {
		due = micros(c.At) // what is kept would be the end of the lease
	}
	if c.To.Final() {
		by, ended, due, deadline, look = c.Event.By, micros(c.At), nil, nil, nil
	}
	for _, n := range c.Notices {
		d.told = join(d.told, n.Tells)
	}
	if c.From != c.To {
		t.count(m.authority, string(c.From), -1)
		t.count(m.authority, string(c.To), 1)
	}
	if plain := c.Climb == nil && c.Body == nil && c.Lane == "" && c.Verdict == nil; plain {
		_, err := t.exec(`UPDATE delivery SET state = ?, due = ?, deadline = ?, watch = ?, owner = ?, node = '', started = NULL,
			possibly = ?, told = ?, ended_at = ?, ended_by = ? WHERE no = ?`,
			string(c.To), due, deadline, look, d.Owner, flag(d.Possibly), d.told, ended, by, int64(d.ID))
		return err
	}
	verdict, err := json.Marshal(d.Verdict)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE delivery SET state = ?, due = ?, deadline = ?, watch = ?, owner = ?, node = '', started = NULL,
		possibly = ?, told = ?, ended_at = ?, ended_by = ?, body = ?, lane = ?, verdict = ?, recipient = ?, recipient_sealed = ?, recipient_key = ?,
		rung = ?, inside = ? WHERE no = ?`,
		string(c.To), due, deadline, look, d.Owner, flag(d.Possibly), d.told, ended, by, int64(d.Body), d.Lane, string(verdict),
		d.Recipient.Shown, blob(d.Recipient.Sealed), ledger.AddressKey(d.Recipient.Shown), int64(d.Rung), flag(d.Inside), int64(d.ID))
	return err
}

// climb replaces the notice's body: it says why it came to the next rung.
func (t *tx) climb(c ledger.Climb, d deliveryRow) error {
	if len(c.Body) == 0 {
		return nil
	}
	_, err := t.exec("UPDATE body SET data = ? WHERE no = ?", c.Body, bodyNo(d.message, 0))
	return err
}

// recordChange writes the change's event.
func (t *tx) recordChange(c ledger.Change, m stored) error {
	at := c.Event.At
	if at.IsZero() {
		at = c.At
	}
	return t.record(event{authority: m.authority, message: m.no, delivery: int64(c.Delivery), at: micros(at), kind: c.EventKind(), by: c.Event.By, detail: c.Event.Detail})
}

// tell stores a notice about the changed delivery and those in AboutIDs, and marks them as told. Notices do not cross from one
// authority to another.
func (t *tx) tell(n ledger.NewNotice, c ledger.Change, d deliveryRow, m stored) error {
	same, err := t.exists("SELECT 1 FROM authority WHERE no = ? AND name = ?", m.authority, n.Message.Authority)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("notice %s belongs to another authority than what it tells of", n.Message.ID)
	}
	about := []int64{int64(d.ID)}
	for _, id := range n.AboutIDs {
		if id == c.Delivery {
			continue
		}
		var told string
		found, err := t.one(context.Background(), func(r row) { told = r.str(0) }, "SELECT d.told FROM delivery AS d JOIN message AS m ON m.no = d.message WHERE d.no = ? AND m.authority = ?", int64(id), m.authority)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("notice %s is about delivery %d: %w", n.Message.ID, id, ledger.ErrNotFound)
		}
		if _, err := t.exec("UPDATE delivery SET told = ? WHERE no = ?", join(told, n.Tells), int64(id)); err != nil {
			return err
		}
		about = append(about, int64(id))
	}
	return t.addNotice(n, about, c.At)
}

// returnSubjects makes returned what waited for this notice (law 3).
func (t *tx) returnSubjects(c ledger.Change, notice stored) error {
	type subject struct{ delivery, message, authority int64 }
	var subjects []subject
	err := t.query(context.Background(), func(r row) error {
		subjects = append(subjects, subject{r.int(0), r.int(1), r.int(2)})
		return nil
	}, `SELECT d.no, d.message, m.authority FROM link JOIN delivery AS d ON d.no = link.about JOIN message AS m ON m.no = d.message
		WHERE link.notice = ? AND link.tells = 'returned' AND d.state = 'returning'`, notice.no)
	if err != nil || len(subjects) == 0 {
		return err
	}
	detail := "the notice arrived"
	if c.To == ledger.Withdrawn {
		detail = "a person took the notice"
	}
	for _, s := range subjects {
		if _, err := t.exec(`UPDATE delivery SET state = 'returned', due = NULL, deadline = NULL, watch = NULL, ended_at = ?, ended_by = ? WHERE no = ?`,
			micros(c.At), c.Event.By, s.delivery); err != nil {
			return err
		}
		t.count(s.authority, string(ledger.Returning), -1)
		t.count(s.authority, string(ledger.Returned), 1)
		e := event{authority: s.authority, message: s.message, delivery: s.delivery, at: micros(c.At), kind: string(ledger.Returned), by: c.Event.By, detail: detail}
		if err := t.record(e); err != nil {
			return err
		}
		if err := t.dropBodies(s.message); err != nil {
			return err
		}
	}
	return nil
}

// dropBodies deletes the message's bodies when its last delivery is final: mail is kept no longer than needed
// (law 6), and the pages serve the next message.
func (t *tx) dropBodies(message int64) error {
	// From the last to the first: deliveries mostly end in their order, so an open one is found at once.
	open, err := t.exists("SELECT 1 FROM delivery WHERE message = ? AND ended_at IS NULL ORDER BY n DESC LIMIT 1", message)
	if err != nil || open {
		return err
	}
	_, err = t.exec("DELETE FROM body WHERE no BETWEEN ? AND ?", bodyNo(message, 0), bodyNo(message, 1))
	return err
}
