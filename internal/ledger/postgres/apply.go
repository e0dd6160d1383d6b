package postgres

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
	errs, err := s.apply(ctx, changes)
	if len(changes) > 1 && alone(err) {
		// One of them broke the transaction that all shared: each has its own now, and none spoils another.
		for i := range changes {
			single, err := s.apply(ctx, changes[i:i+1])
			if errs[i] = single[0]; err != nil {
				errs[i] = err
			}
		}
		err = nil
	}
	for i, c := range changes {
		if err != nil {
			errs[i] = err
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("apply to delivery %d: %w", c.Delivery, errs[i])
		}
	}
	return errs
}

// alone reports whether a transaction failed by what one of its steps asked for, and not by the way.
func alone(err error) bool {
	c := code(err)
	return errors.As(err, new(redoError)) || len(c) == 5 && (c[:2] == "23" || c[:2] == "22" || c == "P0001")
}

// apply makes changes in one transaction; errs are why the ones did nothing that were refused, err why all did nothing.
func (s *Store) apply(ctx context.Context, changes []ledger.Change) (errs []error, err error) {
	errs = make([]error, len(changes))
	notices := 0
	for _, c := range changes {
		notices += len(c.Notices)
	}
	err = s.do(ctx, func(t *tx) error {
		first, err := t.reserve(notices)
		if err != nil {
			return err
		}
		a := applying{tx: t, rows: make(map[ledger.DeliveryID]*deliveryRow), next: first}
		if err := a.load(changes); err != nil {
			return err
		}
		for i, c := range changes {
			errs[i] = t.step(func() error { return a.apply(c) })
			if errors.As(errs[i], new(redoError)) || errs[i] != nil && !refusal(errs[i]) {
				return errs[i]
			}
		}
		if t.writes == 0 { // all were refused: for the caller that may mean that they had been done
			t.confirm()
		}
		return nil
	})
	return errs, err
}

// errRefused wraps refusals that have no name.
var errRefused = errors.New("refused")

// refusal reports whether a step was refused, as opposed to broken.
func refusal(err error) bool {
	for _, known := range []error{ledger.ErrState, ledger.ErrFenced, ledger.ErrLeased, ledger.ErrTransition, ledger.ErrNotFound, errRefused} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// applying is a transaction with the deliveries it has locked, as they stand in it.
type applying struct {
	*tx
	rows    map[ledger.DeliveryID]*deliveryRow
	touched map[ledger.DeliveryID]deliveryRow // by the step under way; they stand in rows when it is through
	next    int64                             // number of the next notice's delivery
}

// load locks all deliveries that the changes speak of, in one order so that no two transactions wait for each other; those that are
// final need no lock. Where a message may lose its last open delivery, its bodies are locked too: of two transactions that end the last two
// deliveries at once, the second must see what the first did.
func (a *applying) load(changes []ledger.Change) error {
	var all []int64
	ending := make(map[ledger.DeliveryID]bool)
	for _, c := range changes {
		all = append(all, int64(c.Delivery))
		for _, n := range c.Notices {
			for _, id := range n.AboutIDs {
				all = append(all, int64(id))
			}
		}
		if c.To.Final() {
			ending[c.Delivery] = true
		}
	}
	rows, err := a.deliveries("SELECT "+openColumns+" FROM delivery AS d WHERE d.no = ANY($1) ORDER BY d.no FOR UPDATE", all)
	if err != nil {
		return err
	}
	var shared []int64
	for i, d := range rows {
		a.rows[d.ID] = &rows[i]
		if d.many && ending[d.ID] {
			shared = append(shared, int64(d.ID))
		}
	}
	if shared != nil {
		a.ask(nil, lockBodies, shared)
	}
	var missing []int64
	for _, no := range all {
		if a.rows[ledger.DeliveryID(no)] == nil {
			missing = append(missing, no)
		}
	}
	if missing == nil {
		return nil
	}
	rows, err = a.deliveries("SELECT "+finalColumns+" FROM delivery_final AS d WHERE d.no = ANY($1)", missing)
	for i := range rows {
		a.rows[rows[i].ID] = &rows[i]
	}
	return err
}

// lockBodies locks the bodies of the messages of deliveries that are not their only ones.
const lockBodies = `SELECT 1 FROM body AS b WHERE b.message IN (SELECT d.message FROM delivery AS d WHERE d.no = ANY($1) AND d.many)
	ORDER BY b.message, b.n FOR UPDATE`

func (a *applying) apply(c ledger.Change) error {
	d := a.rows[c.Delivery]
	if d == nil {
		return ledger.ErrNotFound
	}
	if err := check(c, d); err != nil {
		return err
	}
	if err := a.checkTold(c, d); err != nil {
		return err
	}
	if err := a.checkBody(c, d); err != nil {
		return err
	}
	after := *d
	a.touched = make(map[ledger.DeliveryID]deliveryRow)
	if c.Attempt == nil && after.Node != "" {
		a.cutOff(&after, c.At)
	}
	if c.Attempt != nil {
		a.endAttempt(*c.Attempt, &after, c.At)
	}
	if err := a.move(c, &after); err != nil {
		return err
	}
	if c.Climb != nil && len(c.Climb.Body) > 0 {
		// It says why it came to the next rung.
		a.exec("UPDATE body SET data = $2 WHERE message = $1 AND n = 0", string(after.Message), c.Climb.Body)
	}
	a.recordChange(c, &after)
	if err := a.tellAll(c, &after); err != nil {
		return err
	}
	if c.To.Final() {
		a.dropBodies(after.Message)
		if after.notice && (c.To == ledger.Delivered || c.Event.By != "") {
			if err := a.returnSubjects(c, &after); err != nil {
				return err
			}
		}
	}
	a.touched[d.ID] = after
	for id, d := range a.touched {
		if a.rows[id] != nil {
			*a.rows[id] = d
		}
	}
	return nil
}

// check refuses what does not fit the delivery as it stands; nothing has been written yet.
func check(c ledger.Change, d *deliveryRow) error {
	err := c.Check(d.Delivery, d.notice)
	if err != nil && !refusal(err) {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// checkTold keeps law 3: what becomes returning has an open notice that tells so, what becomes returned one that
// arrived, and a notice that something waits for is not withdrawn without a person. A notice that is relied on is locked, so that it
// does not end meanwhile without seeing who relies on it.
func (a *applying) checkTold(c ledger.Change, d *deliveryRow) error {
	switch {
	case c.To == ledger.Returning && c.From != ledger.Returning:
		for _, n := range c.Notices {
			if n.Tells == ledger.TellReturned {
				return nil
			}
		}
		open, err := a.exists(`SELECT 1 FROM delivery AS d WHERE d.message IN (SELECT notice FROM link
			WHERE subject = $1 AND about = $2 AND tells = 'returned') LIMIT 1 FOR SHARE`, string(d.Message), int64(d.ID))
		if err == nil && !open {
			err = fmt.Errorf("%w: returning without a notice that tells so", ledger.ErrTransition)
		}
		return err
	case c.To == ledger.Returned:
		// Whoever could call it so: the notice's own arrival has done it already.
		return fmt.Errorf("%w: returned before the notice has arrived", ledger.ErrTransition)
	case c.To == ledger.Withdrawn && d.notice && c.Event.By == "":
		needed, err := a.exists(`SELECT 1 FROM link JOIN delivery AS d ON d.no = link.about
			WHERE link.notice = $1 AND link.tells = 'returned' AND d.state = 'returning' LIMIT 1`, string(d.Message))
		if err == nil && needed {
			err = fmt.Errorf("%w: only a person withdraws a notice that something waits for", ledger.ErrTransition)
		}
		return err
	}
	return nil
}

// checkBody refuses to send a body that is not there.
func (a *applying) checkBody(c ledger.Change, d *deliveryRow) error {
	if c.Body == nil {
		return nil
	}
	there := false
	if *c.Body == 0 || *c.Body == 1 {
		var err error
		if there, err = a.exists("SELECT 1 FROM body WHERE message = $1 AND n = $2", string(d.Message), *c.Body); err != nil {
			return err
		}
	}
	if !there {
		return fmt.Errorf("%w: the message has no body %d", errRefused, *c.Body)
	}
	return nil
}

const addAttempt = `INSERT INTO attempt (message, delivery, no, node, started, ended, outcome, code, enhanced, text, contact, receipt)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// endAttempt writes how the attempt ended. Its lease ends in move.
func (t *tx) endAttempt(a ledger.Attempt, d *deliveryRow, at time.Time) {
	started, ended := d.started, at
	if !a.Started.IsZero() {
		started = a.Started
	}
	if !a.Ended.IsZero() {
		ended = a.Ended
	}
	if a.Outcome == outcomeUnknown {
		d.Possibly = true
	}
	t.exec(addAttempt, string(d.Message), int64(d.ID), a.No, a.Node, moment(started), moment(ended), a.Outcome, a.Code, a.Enhanced,
		a.Text, a.Contact, blob(a.Receipt))
}

// outcomeUnknown is deliver.Unknown: the ledger does not know that room.
const outcomeUnknown = "unknown"

// cutOff ends an attempt whose holder was lost: what it did outside is not known, so the delivery is marked.
func (t *tx) cutOff(d *deliveryRow, now time.Time) {
	t.exec("UPDATE delivery SET node = '', started = NULL, possibly = true, due = $2 WHERE no = $1", int64(d.ID), moment(now))
	t.traceCut(d, now)
	d.Node, d.Possibly, d.Due, d.started = "", true, now, time.Time{}
}

// traceCut writes the attempt and the event of an attempt that was cut off.
func (t *tx) traceCut(d *deliveryRow, now time.Time) {
	t.exec(addAttempt, string(d.Message), int64(d.ID), d.Attempts, d.Node, moment(d.started), moment(now), "cut off", 0, "", "", false, nil)
	t.record(event{authority: d.authority, message: d.Message, delivery: d.ID, at: now, kind: ledger.KindCutOff,
		detail: fmt.Sprintf("attempt %d of %s", d.Attempts, d.Node)})
}

// move writes the delivery's new row.
func (t *tx) move(c ledger.Change, d *deliveryRow) error {
	c.Onto(&d.Delivery)
	d.Node, d.started = "", time.Time{}
	if c.To == ledger.Queued && d.Due.IsZero() || c.Attempt != nil && c.Due.IsZero() {
		d.Due = c.At // what is kept would be the end of the lease
	}
	for _, n := range c.Notices {
		d.told = join(d.told, n.Tells)
	}
	d.Told = kinds(d.told)
	if c.From != c.To {
		t.countState(d.authority, c.From, -1)
		t.countState(d.authority, c.To, 1)
	}
	var verdict any // unchanged
	if c.Verdict != nil {
		b, err := json.Marshal(d.Verdict)
		if err != nil {
			return err
		}
		verdict = string(b)
	}
	if c.To.Final() {
		d.EndedAt, d.Due, d.Deadline, d.Watch = c.At, time.Time{}, time.Time{}, time.Time{}
		t.finish(d, verdict, c.Event.By)
		return nil
	}
	if c.Climb == nil {
		t.exec(`UPDATE delivery SET state = $2, due = $3, deadline = $4, watch = $5, owner = $6, node = '', started = NULL,
			possibly = $7, told = $8, body = $9, lane = $10, verdict = coalesce($11, verdict) WHERE no = $1`,
			int64(d.ID), string(d.State), moment(d.Due), moment(d.Deadline), watch(d.Watch), d.Owner, d.Possibly, d.told, d.Body, d.Lane, verdict)
		return nil
	}
	t.exec(`UPDATE delivery SET state = $2, due = $3, deadline = $4, watch = $5, owner = $6, node = '', started = NULL,
		possibly = $7, told = $8, body = $9, lane = $10, verdict = coalesce($11, verdict), recipient = $12, recipient_sealed = $13, recipient_key = $14,
		rung = $15, inside = $16 WHERE no = $1`,
		int64(d.ID), string(d.State), moment(d.Due), moment(d.Deadline), watch(d.Watch), d.Owner, d.Possibly, d.told, d.Body, d.Lane, verdict,
		d.Recipient.Shown, blob(d.Recipient.Sealed), ledger.AddressKey(d.Recipient.Shown), d.Rung, d.Inside)
	return nil
}

// finish moves a delivery to where the final ones stand: the trigger there takes it out of the open ones.
func (t *tx) finish(d *deliveryRow, verdict any, by string) {
	t.exec(`INSERT INTO delivery_final (no, message, n, authority, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside,
		state, verdict, body, lane, owner, attempts, possibly, told, rung, ended_at, ended_by)
		SELECT d.no, d.message, d.n, d.authority, d.notice, d.recipient, d.recipient_sealed, d.recipient_key, d.notify, d.orcpt, d.inside,
		$2::text, coalesce($3::text, d.verdict), $4::smallint, $5::text, $6::text, d.attempts, $7::boolean, $8::text, d.rung, $9::timestamptz, $10::text
		FROM delivery AS d WHERE d.no = $1`,
		int64(d.ID), string(d.State), verdict, d.Body, d.Lane, d.Owner, d.Possibly, d.told, moment(d.EndedAt), by)
}

// recordChange writes the change's event.
func (t *tx) recordChange(c ledger.Change, d *deliveryRow) {
	at := c.Event.At
	if at.IsZero() {
		at = c.At
	}
	t.record(event{authority: d.authority, message: d.Message, delivery: d.ID, at: at, kind: c.EventKind(), by: c.Event.By, detail: c.Event.Detail})
}

// tellAll stores the change's notices, each about the changed delivery and those in AboutIDs, and marks them as told. Notices do not
// cross from one authority to another.
func (a *applying) tellAll(c ledger.Change, d *deliveryRow) error {
	for _, n := range c.Notices {
		no, ok := a.s.authorities.Load(n.Message.Authority)
		if !ok {
			if found, err := a.one(func(r row) { no = int32(r.int(0)) }, "SELECT no FROM authority WHERE name = $1", n.Message.Authority); err != nil {
				return err
			} else if !found {
				no = int32(0)
			}
		}
		if no.(int32) != d.authority {
			return fmt.Errorf("%w: notice %s belongs to another authority than what it tells of", errRefused, n.Message.ID)
		}
		if err := a.tell(n, c, d); err != nil {
			return err
		}
	}
	return nil
}

func (a *applying) tell(n ledger.NewNotice, c ledger.Change, d *deliveryRow) error {
	about := []subject{{d.ID, d.Message}}
	for _, id := range n.AboutIDs {
		if slices.ContainsFunc(about, func(s subject) bool { return s.delivery == id }) {
			continue
		}
		other, ok := a.touched[id]
		if row := a.rows[id]; !ok && row != nil {
			other, ok = *row, true
		}
		if !ok || other.authority != d.authority {
			return fmt.Errorf("notice %s is about delivery %d: %w", n.Message.ID, id, ledger.ErrNotFound)
		}
		about = append(about, subject{id, other.Message})
		other.told = join(other.told, n.Tells)
		other.Told = kinds(other.told)
		a.touched[id] = other
		if other.State.Final() {
			a.exec("UPDATE delivery_final SET told = $3 WHERE message = $1 AND no = $2", string(other.Message), int64(id), other.told)
			continue
		}
		a.exec("UPDATE delivery SET told = $2 WHERE no = $1", int64(id), other.told)
	}
	no := a.next
	a.next++
	return a.addNotice(n, d.authority, no, about, c.At)
}

// returnSubjects makes returned what waited for this notice (law 3).
func (a *applying) returnSubjects(c ledger.Change, notice *deliveryRow) error {
	var subjects []deliveryRow
	a.ask(gather(&subjects), "SELECT "+openColumns+` FROM delivery AS d WHERE d.no IN (SELECT about FROM link
		WHERE notice = $1 AND tells = 'returned') AND d.state = 'returning' ORDER BY d.no FOR UPDATE`, string(notice.Message))
	if err := a.flush(); err != nil || len(subjects) == 0 {
		return err
	}
	ids := make([]int64, len(subjects))
	for i, d := range subjects {
		ids[i] = int64(d.ID)
	}
	a.ask(nil, lockBodies, ids)
	detail := "the notice arrived"
	if c.To == ledger.Withdrawn {
		detail = "a person took the notice"
	}
	for _, d := range subjects {
		d.State, d.EndedAt = ledger.Returned, c.At
		d.Due, d.Deadline, d.Watch = time.Time{}, time.Time{}, time.Time{}
		a.countState(d.authority, ledger.Returning, -1)
		a.countState(d.authority, ledger.Returned, 1)
		a.finish(&d, nil, c.Event.By)
		a.record(event{authority: d.authority, message: d.Message, delivery: d.ID, at: c.At, kind: string(ledger.Returned), by: c.Event.By, detail: detail})
		a.dropBodies(d.Message)
		a.touched[d.ID] = d
	}
	return nil
}

// dropBodies deletes the message's bodies when its last delivery is final: mail is kept no longer than needed (law 6).
func (t *tx) dropBodies(message ledger.MessageID) {
	t.exec("DELETE FROM body WHERE message = $1 AND NOT EXISTS (SELECT FROM delivery WHERE message = $1)", string(message))
}
