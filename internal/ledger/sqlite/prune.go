package sqlite

import (
	"context"
	"fmt"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

var _ ledger.Pruner = (*Store)(nil)

// pruneWindow is how many messages one round looks at for each stage and class.
const pruneWindow = 5000

// Prune looks for what may go in a snapshot, in nobody's way, and removes it in one transaction, which asks again of each
// message whether it may go. How far it has looked is kept (prune_cursor), so that each message is looked at once for each
// stage and class, and those that were not ready then stand in a list of their own (prune_wait).
func (s *Store) Prune(ctx context.Context, now time.Time, authority string, r ledger.Retention, max int) (ledger.Pruned, error) {
	if max <= 0 {
		return ledger.Pruned{}, fmt.Errorf("prune: max is needed")
	}
	var plan *prunePlan
	err := s.read(ctx, func(c *conn) (err error) {
		plan, err = c.planPrune(ctx, now, authority, r, max)
		return err
	})
	if err != nil {
		return ledger.Pruned{}, fmt.Errorf("look for what to prune: %w", err)
	}
	done := ledger.Pruned{More: plan.more}
	if plan.idle() {
		return done, nil
	}
	err = s.do(ctx, 4096*max, func(t *tx) (err error) {
		done = ledger.Pruned{More: plan.more}
		return t.prune(ctx, now, plan, &done)
	})
	if err != nil {
		return ledger.Pruned{}, fmt.Errorf("prune: %w", err)
	}
	return done, nil
}

// prunePlan is what one round of Prune will do.
type prunePlan struct {
	no      int64 // the authority
	r       ledger.Retention
	cursors []pruneCursor // that move
	wait    []waiting     // messages that are not ready
	victims []victim      // details before rows
	more    bool
}

// idle: there is nothing to write.
func (p *prunePlan) idle() bool { return len(p.cursors)+len(p.wait)+len(p.victims) == 0 }

type pruneCursor struct {
	stage    ledger.Stage
	class    class.Class
	from, to int64
}

type waiting struct {
	stage   ledger.Stage
	message int64
}

type victim struct {
	stage ledger.Stage
	prunable
}

// prunable is what decides about a message.
type prunable struct {
	no       int64
	id       ledger.MessageID
	accepted int64
	erased   bool
	notice   bool
	open     bool        // it has an open delivery
	final    int64       // when its last delivery became final
	own      class.Class // the highest among its deliveries
	class    class.Class // own or, for a notice, what it tells of, if that is higher
	told     bool        // an open notice tells of it
	unsure   bool        // a notice that tells of something open, whose class may still change
	behind   bool        // a notice that tells of something whose details are there
	linked   bool        // a notice that tells of something whose rows are there
	newest   bool
}

// prunableQuery reads prunables; the condition on m follows.
const prunableQuery = `SELECT m.no, m.id, m.accepted_at, m.erased_at IS NOT NULL, m.kind = 'notice',
	EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = m.no AND d.ended_at IS NULL),
	(SELECT max(d.ended_at) FROM delivery AS d WHERE d.message = m.no),
	(SELECT max(CASE d.verdict ->> '$.class' WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END) FROM delivery AS d WHERE d.message = m.no),
	EXISTS (SELECT 1 FROM delivery AS d JOIN link AS l ON l.about = d.no JOIN delivery AS n ON n.message = l.notice WHERE d.message = m.no AND n.ended_at IS NULL),
	(SELECT max(CASE d.verdict ->> '$.class' WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END)
		FROM link AS l JOIN delivery AS s ON s.no = l.about JOIN delivery AS d ON d.message = s.message WHERE l.notice = m.no),
	EXISTS (SELECT 1 FROM link AS l JOIN delivery AS s ON s.no = l.about JOIN delivery AS d ON d.message = s.message WHERE l.notice = m.no AND d.ended_at IS NULL),
	EXISTS (SELECT 1 FROM link AS l JOIN delivery AS s ON s.no = l.about JOIN message AS x ON x.no = s.message WHERE l.notice = m.no AND x.erased_at IS NULL),
	EXISTS (SELECT 1 FROM link AS l WHERE l.notice = m.no),
	m.no = (SELECT max(no) FROM message)
	FROM message AS m `

func prunableOf(r row) prunable {
	return prunable{
		no: r.int(0), id: ledger.MessageID(r.str(1)), accepted: r.int(2), erased: r.bool(3), notice: r.bool(4), open: r.bool(5), final: r.int(6),
		own: class.Class(r.int(7)), class: class.Class(max(r.int(7), r.int(9))), told: r.bool(8), unsure: r.bool(10), behind: r.bool(11), linked: r.bool(12), newest: r.bool(13),
	}
}

// ready reports whether p may go through the stage now.
func (p prunable) ready(s ledger.Stage, r ledger.Retention, now time.Time) bool {
	if p.open || p.told || p.unsure {
		return false
	}
	cutoff, ok := cutoff(s, p.class, r, now)
	if !ok || p.final > cutoff {
		return false
	}
	if s == ledger.Details {
		return !p.erased && !p.behind
	}
	return p.erased && !p.linked && !p.newest
}

// cutoff is until when what goes was final; ok is false where the class is kept for ever.
func cutoff(s ledger.Stage, c class.Class, r ledger.Retention, now time.Time) (micros int64, ok bool) {
	keep := r[c].After(s)
	return now.Add(-keep).UnixMicro(), keep > 0
}

func (c *conn) planPrune(ctx context.Context, now time.Time, authority string, r ledger.Retention, max int) (*prunePlan, error) {
	p := &prunePlan{r: r}
	found, err := c.one(ctx, func(r row) { p.no = r.int(0) }, "SELECT no FROM authority WHERE name = ?", authority)
	if err != nil || !found {
		return p, err
	}
	for _, stage := range ledger.Stages {
		left := max
		if err := c.planWaiting(ctx, now, p, stage, &left); err != nil {
			return p, err
		}
		for _, cl := range class.All {
			if err := c.planClass(ctx, now, p, stage, cl, &left); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// planWaiting takes from those that were passed before they were ready.
func (c *conn) planWaiting(ctx context.Context, now time.Time, p *prunePlan, stage ledger.Stage, left *int) error {
	return c.query(ctx, func(r row) error {
		m := prunableOf(r)
		if !m.ready(stage, p.r, now) {
			return nil
		}
		if *left == 0 {
			p.more = true
			return errStop
		}
		*left--
		p.victims = append(p.victims, victim{stage, m})
		return nil
	}, prunableQuery+"JOIN prune_wait AS w ON w.message = m.no WHERE w.authority = ? AND w.stage = ? ORDER BY m.no", p.no, string(stage))
}

// planClass looks on from the cursor of a stage and class.
func (c *conn) planClass(ctx context.Context, now time.Time, p *prunePlan, stage ledger.Stage, cl class.Class, left *int) error {
	until, ok := cutoff(stage, cl, p.r, now)
	if !ok || *left == 0 {
		p.more = p.more || ok
		return nil
	}
	cur := pruneCursor{stage: stage, class: cl}
	var newest int64
	_, err := c.one(ctx, func(r row) { cur.from, newest = r.int(0), r.int(1) },
		`SELECT coalesce((SELECT message FROM prune_cursor WHERE authority = ? AND stage = ? AND class = ?), 0), coalesce((SELECT max(no) FROM message), 0)`,
		p.no, string(stage), cl.String())
	if err != nil {
		return err
	}
	cur.to = min(cur.from+pruneWindow, newest)
	more := cur.to < newest
	err = c.query(ctx, func(r row) error {
		m := prunableOf(r)
		switch {
		case m.accepted > until: // so are those behind it
			cur.to, more = m.no-1, false
			return errStop
		case !m.open && !m.unsure && m.class != cl, stage == ledger.Details && m.erased:
			return nil // not this class's, for good
		case !m.ready(stage, p.r, now) || m.class != cl:
			p.wait = append(p.wait, waiting{stage, m.no})
		case *left == 0:
			cur.to, more = m.no-1, true
			return errStop
		default:
			*left--
			p.victims = append(p.victims, victim{stage, m})
		}
		return nil
	}, prunableQuery+"WHERE m.no > ? AND m.no <= ? AND m.authority = ? ORDER BY m.no", cur.from, cur.to, p.no)
	p.more = p.more || more
	if err == nil && cur.to > cur.from {
		p.cursors = append(p.cursors, cur)
	}
	return err
}

// prune does what was planned, with its proofs. What is no longer as it was in the snapshot is left for another round.
func (t *tx) prune(ctx context.Context, now time.Time, p *prunePlan, done *ledger.Pruned) error {
	moved, err := t.moveCursors(ctx, p)
	if err != nil {
		return err
	}
	if moved { // another process prunes too
		done.More = true
		return nil
	}
	if err := t.sealAll(ctx, p.no, now); err != nil {
		return err
	}
	// What is freed from here on is overwritten with zeros in the file.
	if err := t.script("PRAGMA secure_delete = on"); err != nil {
		return err
	}
	defer t.script("PRAGMA secure_delete = fast")
	for _, stage := range ledger.Stages {
		for _, cl := range class.All {
			n, err := t.pruneClass(ctx, now, p, stage, cl)
			if err != nil {
				return err
			}
			if stage == ledger.Details {
				done.Details += n
			} else {
				done.Rows += n
			}
		}
	}
	done.More = done.More || done.Details+done.Rows > 0 // what waited for these may go now
	return nil
}

// moveCursors writes how far the plan looked. moved: a cursor is not where the plan began.
func (t *tx) moveCursors(ctx context.Context, p *prunePlan) (moved bool, err error) {
	for _, c := range p.cursors {
		at := int64(0)
		if _, err := t.one(ctx, func(r row) { at = r.int(0) }, "SELECT message FROM prune_cursor WHERE authority = ? AND stage = ? AND class = ?",
			p.no, string(c.stage), c.class.String()); err != nil || at != c.from {
			return true, err
		}
	}
	for _, c := range p.cursors {
		if _, err := t.exec(`INSERT INTO prune_cursor (authority, stage, class, message) VALUES (?, ?, ?, ?)
			ON CONFLICT (authority, stage, class) DO UPDATE SET message = excluded.message`, p.no, string(c.stage), c.class.String(), c.to); err != nil {
			return false, err
		}
	}
	for _, w := range p.wait {
		if err := t.pruneLater(p.no, w.stage, w.message); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (t *tx) pruneLater(authority int64, stage ledger.Stage, message int64) error {
	_, err := t.exec("INSERT INTO prune_wait (authority, stage, message) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", authority, string(stage), message)
	return err
}

// sealAll extends the authority's chain to its newest event, so that whatever goes stands in it.
func (t *tx) sealAll(ctx context.Context, authority int64, now time.Time) error {
	for again := true; again; {
		again = false
		open, err := t.unsealed(ctx)
		if err != nil {
			return err
		}
		for _, u := range open {
			if u.authority != authority {
				continue
			}
			if err := t.seal(ctx, u, now); err != nil {
				return err
			}
			again = true
		}
	}
	return nil
}

// pruneClass takes a plan's victims of one stage and class, and writes their proof.
func (t *tx) pruneClass(ctx context.Context, now time.Time, p *prunePlan, stage ledger.Stage, cl class.Class) (int, error) {
	proof := ledger.Proof{At: now.UTC().Truncate(time.Microsecond), Stage: stage, Class: cl, Deliveries: map[ledger.State]int64{}}
	var ids []ledger.MessageID
	until := int64(0)
	gone := map[int64]bool{} // numbers of events
	for _, v := range p.victims {
		if v.stage != stage || v.class != cl {
			continue
		}
		m, found, err := t.prunable(ctx, v.no)
		if err != nil {
			return 0, err
		}
		if !found {
			continue
		}
		if !m.ready(stage, p.r, now) || m.class != cl {
			if stage == ledger.Rows || !m.erased {
				if err := t.pruneLater(p.no, stage, m.no); err != nil {
					return 0, err
				}
			}
			continue
		}
		if err := t.pruneOne(ctx, p, m, &proof, gone); err != nil {
			return 0, err
		}
		ids = append(ids, m.id)
		until = max(until, m.final)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	if err := t.dropLeaves(ctx, p.no, gone); err != nil {
		return 0, err
	}
	proof.Messages, proof.Events, proof.Until, proof.IDs = int64(len(ids)), int64(len(gone)), time.UnixMicro(until).UTC(), ledger.HashIDs(ids)
	return len(ids), t.prove(p.no, proof)
}

func (c *conn) prunable(ctx context.Context, no int64) (m prunable, found bool, err error) {
	found, err = c.one(ctx, func(r row) { m = prunableOf(r) }, prunableQuery+"WHERE m.no = ?", no)
	return m, found, err
}

func (t *tx) pruneOne(ctx context.Context, p *prunePlan, m prunable, proof *ledger.Proof, gone map[int64]bool) error {
	if _, err := t.exec("INSERT INTO pruning (message, stage) VALUES (?, ?)", m.no, string(proof.Stage)); err != nil {
		return err
	}
	var err error
	if proof.Stage == ledger.Details {
		err = t.eraseDetails(ctx, m, proof.At)
	} else {
		err = t.removeRows(ctx, p, m, proof, gone)
	}
	if err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM prune_wait WHERE authority = ? AND stage = ? AND message = ?", p.no, string(proof.Stage), m.no); err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM pruning WHERE message = ?", m.no)
	return err
}

// eraseDetails takes away what tells of people. The lane goes too, for it may be a person's own domain.
func (t *tx) eraseDetails(ctx context.Context, m prunable, at time.Time) error {
	for _, step := range []struct {
		query string
		args  []value
	}{
		{`UPDATE message SET sender = '', sender_sealed = NULL, sender_key = '', header_id = '', client = '', envid = '', unit = '',
			findings = NULL, repairs = NULL, erased_at = ? WHERE no = ?`, []value{micros(at), m.no}},
		{`UPDATE delivery SET recipient = '', recipient_sealed = NULL, recipient_key = '', orcpt = '', owner = '', lane = '',
			ended_by = CASE ended_by WHEN '' THEN '' ELSE '-' END WHERE message = ?`, []value{m.no}}, // that a person ended it stays
		{"UPDATE attempt SET text = '' WHERE delivery IN (SELECT no FROM delivery WHERE message = ?) AND text <> ''", []value{m.no}},
	} {
		if _, err := t.exec(step.query, step.args...); err != nil {
			return err
		}
	}
	type event struct {
		authority, seq int64
		words          ledger.Hash
	}
	var events []event
	err := t.query(ctx, func(r row) error {
		events = append(events, event{r.int(0), r.int(1), ledger.Words(ledger.Event{By: r.str(2), Detail: r.str(3)})})
		return nil
	}, "SELECT authority, seq, by, detail FROM event WHERE message = ? AND words IS NULL", m.no)
	if err != nil {
		return err
	}
	for _, e := range events {
		if _, err := t.exec("UPDATE event SET by = '', detail = '', words = ? WHERE authority = ? AND seq = ?", e.words[:], e.authority, e.seq); err != nil {
			return err
		}
	}
	return nil
}

// removeRows takes a message out of the ledger; what is counted and hashed of it stays.
func (t *tx) removeRows(ctx context.Context, p *prunePlan, m prunable, proof *ledger.Proof, gone map[int64]bool) error {
	err := t.query(ctx, func(r row) error { proof.Deliveries[ledger.State(r.str(0))] += r.int(1); return nil },
		"SELECT state, count(*) FROM delivery WHERE message = ? GROUP BY state", m.no)
	if err != nil {
		return err
	}
	type left struct {
		seq  int64
		leaf ledger.Hash
	}
	var leaves []left
	err = t.query(ctx, func(r row) error { leaves = append(leaves, left{r.int(0), leafOf(r)}); return nil },
		"SELECT "+eventColumns+" WHERE e.message = ?", m.no)
	if err != nil {
		return err
	}
	for _, l := range leaves {
		gone[l.seq] = true
		if _, err := t.exec("INSERT INTO leaf (authority, seq, hash) VALUES (?, ?, ?)", p.no, l.seq, l.leaf[:]); err != nil {
			return err
		}
	}
	// A notice about it may be of a lower class from now on, whose turn it has missed.
	for _, query := range []string{
		`INSERT INTO prune_wait (authority, stage, message) SELECT DISTINCT n.authority, 'details', n.no FROM delivery AS d JOIN link AS l ON l.about = d.no
			JOIN message AS n ON n.no = l.notice WHERE d.message = ? AND n.erased_at IS NULL ON CONFLICT DO NOTHING`,
		`INSERT INTO prune_wait (authority, stage, message) SELECT DISTINCT n.authority, 'rows', n.no FROM delivery AS d JOIN link AS l ON l.about = d.no
			JOIN message AS n ON n.no = l.notice WHERE d.message = ? ON CONFLICT DO NOTHING`,
		"DELETE FROM event WHERE message = ?",
		"DELETE FROM attempt WHERE delivery IN (SELECT no FROM delivery WHERE message = ?)",
		"DELETE FROM link WHERE about IN (SELECT no FROM delivery WHERE message = ?)",
		"DELETE FROM delivery WHERE message = ?",
		"DELETE FROM message WHERE no = ?",
	} {
		if _, err := t.exec(query, m.no); err != nil {
			return err
		}
	}
	return nil
}

// dropLeaves removes the leaves of batches that have no event left: the seal's own hash stands for them.
func (t *tx) dropLeaves(ctx context.Context, authority int64, gone map[int64]bool) error {
	type span struct{ first, last int64 }
	spans := map[span]bool{}
	for seq := range gone {
		var s span
		if _, err := t.one(ctx, func(r row) { s = span{r.int(0), r.int(1)} },
			"SELECT first, last FROM seal WHERE authority = ? AND last >= ? ORDER BY last LIMIT 1", authority, seq); err != nil {
			return err
		}
		spans[s] = true
	}
	for s := range spans {
		left, err := t.exists("SELECT 1 FROM event WHERE authority = ? AND seq BETWEEN ? AND ? LIMIT 1", authority, s.first, s.last)
		if err != nil {
			return err
		}
		if left {
			continue
		}
		if _, err := t.exec("DELETE FROM leaf WHERE authority = ? AND seq BETWEEN ? AND ?", authority, s.first, s.last); err != nil {
			return err
		}
	}
	return nil
}

// prove writes the proof and the event that says the same.
func (t *tx) prove(authority int64, p ledger.Proof) error {
	if err := t.record(event{authority: authority, at: micros(p.At), kind: ledger.KindPruned, detail: p.String()}); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO proof (authority, seq, at, stage, class, messages, delivered, returned, withdrawn, events, until, ids)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		authority, t.last[authority], micros(p.At), string(p.Stage), p.Class.String(), p.Messages,
		p.Deliveries[ledger.Delivered], p.Deliveries[ledger.Returned], p.Deliveries[ledger.Withdrawn], p.Events, micros(p.Until), p.IDs[:])
	return err
}

// WouldPrune counts what Prune would remove until nothing is left to it.
func (s *Store) WouldPrune(ctx context.Context, now time.Time, authority string, r ledger.Retention) (n ledger.Pruned, err error) {
	err = s.read(ctx, func(c *conn) error {
		count := func(m prunable) error {
			details, rows, err := c.fate(ctx, m, r, now)
			if details && !m.erased {
				n.Details++
			}
			if rows {
				n.Rows++
			}
			return err
		}
		var notices []prunable
		err := c.query(ctx, func(row row) error {
			m := prunableOf(row)
			if m.linked { // asks for what it tells of
				notices = append(notices, m)
				return nil
			}
			return count(m)
		}, prunableQuery+"WHERE m.authority = (SELECT no FROM authority WHERE name = ?)", authority)
		for _, m := range notices {
			if err == nil {
				err = count(m)
			}
		}
		return err
	})
	if err != nil {
		return ledger.Pruned{}, fmt.Errorf("count what to prune: %w", err)
	}
	return n, nil
}

// fate says which stages m will have gone through when nothing is left to Prune.
func (c *conn) fate(ctx context.Context, m prunable, r ledger.Retention, now time.Time) (details, rows bool, err error) {
	var subjects []prunable
	if m.linked {
		err = c.query(ctx, func(r row) error { subjects = append(subjects, prunableOf(r)); return nil },
			prunableQuery+"WHERE m.no IN (SELECT d.message FROM link AS l JOIN delivery AS d ON d.no = l.about WHERE l.notice = ?)", m.no)
	}
	first := m // as long as what it tells of is there
	m.class, m.linked, m.behind = m.own, false, false
	for _, s := range subjects {
		erased, gone, err := c.fate(ctx, s, r, now)
		if err != nil {
			return false, false, err
		}
		m.behind = m.behind || !erased
		if !gone { // its class counts while it is there
			m.class, m.linked = max(m.class, s.class), true
		}
	}
	first.behind = m.behind
	details = m.erased || m.ready(ledger.Details, r, now) || first.ready(ledger.Details, r, now)
	m.erased = details
	return details, m.ready(ledger.Rows, r, now), err
}

// Proofs sums up what was removed from an authority.
func (s *Store) Proofs(ctx context.Context, authority string) (proofs []ledger.Proof, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) error {
			p := proofOf(r)
			p.IDs = ledger.Hash{}
			proofs = append(proofs, p)
			return nil
		}, `SELECT max(p.at), p.stage, p.class, sum(p.messages), sum(p.delivered), sum(p.returned), sum(p.withdrawn), sum(p.events), max(p.until), NULL
			FROM proof AS p WHERE p.authority = (SELECT no FROM authority WHERE name = ?) GROUP BY p.stage, p.class
			ORDER BY p.stage, CASE p.class WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END`, authority)
	})
	if err != nil {
		return nil, fmt.Errorf("list proofs: %w", err)
	}
	return proofs, nil
}

// proofOf reads at, stage, class, messages, delivered, returned, withdrawn, events, until, ids.
func proofOf(r row) ledger.Proof {
	p := ledger.Proof{At: r.time(0), Stage: ledger.Stage(r.str(1)), Messages: r.int(3), Events: r.int(7), Until: r.time(8)}
	p.Class, _ = class.Parse(r.str(2)) // the table knows no other
	if p.Stage == ledger.Rows {
		p.Deliveries = map[ledger.State]int64{ledger.Delivered: r.int(4), ledger.Returned: r.int(5), ledger.Withdrawn: r.int(6)}
	}
	copy(p.IDs[:], r.bytes(9))
	return p
}
