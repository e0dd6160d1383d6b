package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

var _ ledger.Pruner = (*Store)(nil)

// pruneWindow is how many messages one round looks at for each stage and class.
const pruneWindow = 2000

// Prune looks for what may go and removes it, in one transaction; who finds another node at it has nothing to do. How far it has looked
// is kept (prune_cursor), so that each message is looked at once for each stage and class, and those that were not ready then stand
// in a list of their own (prune_wait). A month that has become empty loses its partitions.
func (s *Store) Prune(ctx context.Context, now time.Time, authority string, r ledger.Retention, max int) (done ledger.Pruned, err error) {
	if max <= 0 {
		return done, fmt.Errorf("prune: max is needed")
	}
	if err := s.Seal(ctx, now); err != nil { // what goes stands in the chain
		return done, fmt.Errorf("prune: %w", err)
	}
	if rows, err := s.pruneMonth(ctx, now, authority, r); err != nil || rows > 0 {
		return ledger.Pruned{Rows: rows, More: err == nil}, err
	}
	err = s.do(ctx, func(t *tx) error {
		done = ledger.Pruned{}
		mine := false
		if _, err := t.one(func(r row) { mine = r.bool(0) }, "SELECT pg_try_advisory_xact_lock($1, $2)", lockClass, lockPrune); err != nil || !mine {
			return err
		}
		p := pruning{tx: t, now: now, r: r, done: &done}
		found, err := t.one(func(r row) { p.authority = int32(r.int(0)) }, "SELECT no FROM authority WHERE name = $1", authority)
		if err != nil || !found {
			return err
		}
		return p.round(max)
	})
	if err == nil && !done.More {
		err = s.dropMonths(ctx) // nothing was left to remove
	}
	if err != nil {
		return ledger.Pruned{}, fmt.Errorf("prune: %w", err)
	}
	return done, nil
}

// pruning is one round.
type pruning struct {
	*tx
	now       time.Time
	authority int32
	r         ledger.Retention
	done      *ledger.Pruned
}

// prunable is what decides about a message.
type prunable struct {
	id       string
	accepted time.Time
	erased   bool
	open     bool        // it has an open delivery
	final    time.Time   // when its last delivery became final
	own      class.Class // the highest among its deliveries
	class    class.Class // own or, for a notice, what it tells of, if that is higher
	told     bool        // an open notice tells of it
	unsure   bool        // a notice that tells of something open, whose class may still change
	behind   bool        // a notice that tells of something whose details are there
	linked   bool        // a notice that tells of something whose rows are there
	fresh    bool        // it has events that are in no chain yet
	subjects []string    // what a notice tells of
}

// prunables finds what decides about messages; those that are not there are not found. Each table is asked once for all of them, within the range
// of their ids, so that months beside it are not looked at.
func (t *tx) prunables(ids []string) (map[string]prunable, error) {
	found := make(map[string]prunable, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	in := inRange(ids)
	change := func(f func(*prunable, row)) func(row) error {
		return func(r row) error {
			m, ok := found[r.str(0)]
			if ok {
				f(&m, r)
				found[m.id] = m
			}
			return nil
		}
	}
	t.ask(func(r row) error {
		found[r.str(0)] = prunable{id: r.str(0), accepted: r.time(1), erased: r.bool(2)}
		return nil
	}, "SELECT id, accepted_at, erased_at IS NOT NULL FROM message WHERE id = ANY($1) AND id BETWEEN $2 AND $3", in...)
	t.ask(change(func(m *prunable, _ row) { m.open = true }), "SELECT message FROM delivery WHERE message = ANY($1) AND message BETWEEN $2 AND $3", in...)
	t.ask(change(func(m *prunable, r row) { m.final, m.own = r.time(1), class.Class(r.int(2)) }),
		`SELECT message, max(ended_at), max(CASE verdict::json ->> 'class' WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END)
		FROM delivery_final WHERE message = ANY($1) AND message BETWEEN $2 AND $3 GROUP BY message`, in...)
	t.ask(change(func(m *prunable, _ row) { m.told = true }), "SELECT l.subject FROM link AS l JOIN delivery AS n ON n.message = l.notice WHERE l.subject = ANY($1)", ids)
	var links []linked
	t.ask(func(r row) error { links = append(links, linked{r.str(0), r.str(1)}); return nil },
		"SELECT DISTINCT notice, subject FROM link WHERE notice = ANY($1) AND notice BETWEEN $2 AND $3", in...)
	t.ask(change(func(m *prunable, _ row) { m.fresh = true }), "SELECT message FROM event_fresh WHERE message = ANY($1)", ids)
	if err := t.flush(); err != nil {
		return nil, err
	}
	return found, t.follow(links, found)
}

// linked is a notice and what it tells of.
type linked struct{ notice, subject string }

// inRange is ids as three parameters: all, the first and the last.
func inRange(ids []string) []any { return []any{ids, slices.Min(ids), slices.Max(ids)} }

// follow fills in what notices have from what they tell of.
func (t *tx) follow(links []linked, found map[string]prunable) error {
	for id, m := range found {
		m.class = m.own
		found[id] = m
	}
	if len(links) == 0 {
		return nil
	}
	subjects := make([]string, len(links))
	for i, l := range links {
		subjects[i] = l.subject
	}
	in := inRange(subjects)
	there, erased, open, classes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]class.Class{}
	t.ask(func(r row) error { there[r.str(0)], erased[r.str(0)] = true, r.bool(1); return nil },
		"SELECT id, erased_at IS NOT NULL FROM message WHERE id = ANY($1) AND id BETWEEN $2 AND $3", in...)
	t.ask(func(r row) error { open[r.str(0)] = true; return nil }, "SELECT message FROM delivery WHERE message = ANY($1) AND message BETWEEN $2 AND $3", in...)
	t.ask(func(r row) error { classes[r.str(0)] = max(classes[r.str(0)], class.Class(r.int(1))); return nil },
		`SELECT message, CASE verdict::json ->> 'class' WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END
		FROM delivery_final WHERE message = ANY($1) AND message BETWEEN $2 AND $3`, in...)
	if err := t.flush(); err != nil {
		return err
	}
	for _, l := range links {
		m := found[l.notice]
		m.subjects, m.linked = append(m.subjects, l.subject), true
		m.unsure, m.behind = m.unsure || open[l.subject], m.behind || there[l.subject] && !erased[l.subject]
		m.class = max(m.class, classes[l.subject])
		found[l.notice] = m
	}
	return nil
}

// ready reports whether m may go through the stage now.
func (m prunable) ready(s ledger.Stage, r ledger.Retention, now time.Time) bool {
	if m.open || m.told || m.unsure || m.fresh {
		return false
	}
	cutoff, ok := cutoff(s, m.class, r, now)
	if !ok || m.final.After(cutoff) {
		return false
	}
	if s == ledger.Details {
		return !m.erased && !m.behind
	}
	return m.erased && !m.linked
}

// cutoff is until when what goes was final; ok is false where the class is kept for ever.
func cutoff(s ledger.Stage, c class.Class, r ledger.Retention, now time.Time) (t time.Time, ok bool) {
	keep := r[c].After(s)
	return now.Add(-keep).Truncate(time.Microsecond), keep > 0
}

func (p *pruning) round(max int) error {
	for _, stage := range ledger.Stages {
		left := max
		victims, err := p.fromWaiting(stage, &left)
		for _, c := range class.All {
			if err == nil {
				err = p.fromCursor(stage, c, &left, victims)
			}
		}
		if err != nil {
			return err
		}
		for _, c := range class.All {
			if len(victims[c]) == 0 {
				continue
			}
			if err := p.take(stage, c, victims[c]); err != nil {
				return err
			}
		}
	}
	p.done.More = p.done.More || p.done.Details+p.done.Rows > 0 // what waited for these may go now
	return nil
}

// victims are what goes through a stage, by class.
type victims map[class.Class][]prunable

// fromWaiting takes from those that were passed before they were ready.
func (p *pruning) fromWaiting(stage ledger.Stage, left *int) (victims, error) {
	v := victims{}
	var waiting []string
	if err := p.query(func(r row) error { waiting = append(waiting, r.str(0)); return nil },
		"SELECT message FROM prune_wait WHERE authority = $1 AND stage = $2 ORDER BY message", p.authority, string(stage)); err != nil {
		return nil, err
	}
	found, err := p.prunables(waiting)
	for _, id := range waiting {
		m, ok := found[id]
		switch {
		case !ok || !m.ready(stage, p.r, p.now):
		case *left == 0:
			p.done.More = true
		default:
			*left--
			v[m.class] = append(v[m.class], m)
		}
	}
	return v, err
}

// fromCursor looks on from the cursor of a stage and class.
func (p *pruning) fromCursor(stage ledger.Stage, cl class.Class, left *int, v victims) error {
	until, ok := cutoff(stage, cl, p.r, p.now)
	if !ok || *left == 0 {
		p.done.More = p.done.More || ok
		return nil
	}
	var from, to prunable
	from.accepted = time.Unix(0, 0).UTC()
	if _, err := p.one(func(r row) { from.accepted, from.id = r.time(0), r.str(1) },
		"SELECT accepted_at, message FROM prune_cursor WHERE authority = $1 AND stage = $2 AND class = $3", p.authority, string(stage), cl.String()); err != nil {
		return err
	}
	to = from
	taken := map[string]bool{}
	for _, m := range v[cl] { // it waited, and this class's turn comes to it only now
		taken[m.id] = true
	}
	ids, err := p.window(p.authority, from.accepted, from.id, until)
	if err != nil {
		return err
	}
	found, err := p.prunables(ids)
	if err != nil {
		return err
	}
	full := false
	var wait []string
	for _, id := range ids {
		m := found[id]
		switch {
		case !m.open && !m.unsure && m.class != cl, stage == ledger.Details && m.erased, taken[id]:
			// not this class's, for good
		case !m.ready(stage, p.r, p.now) || m.class != cl:
			wait = append(wait, id)
		case *left == 0:
			full = true
		default:
			*left--
			v[cl] = append(v[cl], m)
		}
		if full {
			break
		}
		to = m
	}
	p.done.More = p.done.More || full || len(ids) == pruneWindow
	if to.id != from.id {
		p.exec(`INSERT INTO prune_cursor (authority, stage, class, accepted_at, message) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (authority, stage, class) DO UPDATE SET accepted_at = excluded.accepted_at, message = excluded.message`,
			p.authority, string(stage), cl.String(), moment(to.accepted), to.id)
	}
	if len(wait) > 0 {
		p.exec("INSERT INTO prune_wait (authority, stage, message) SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING", p.authority, string(stage), wait)
	}
	return nil
}

// window lists messages of an authority behind one, in the order of acceptance.
func (t *tx) window(authority int32, accepted time.Time, id string, until time.Time) (ids []string, err error) {
	err = t.query(func(r row) error { ids = append(ids, r.str(0)); return nil },
		`SELECT id FROM message WHERE authority = $1 AND (accepted_at, id) > ($2, $3) AND accepted_at <= $4 ORDER BY accepted_at, id LIMIT $5`,
		authority, moment(accepted), id, moment(until), pruneWindow)
	return ids, err
}

// take removes messages of one class and writes the proof.
func (p *pruning) take(stage ledger.Stage, cl class.Class, messages []prunable) error {
	proof := ledger.Proof{At: p.now.UTC().Truncate(time.Microsecond), Stage: stage, Class: cl, Messages: int64(len(messages)), Deliveries: map[ledger.State]int64{}}
	ids, all := make([]string, len(messages)), make([]ledger.MessageID, len(messages))
	for i, m := range messages {
		ids[i], all[i] = m.id, ledger.MessageID(m.id)
		if m.final.After(proof.Until) {
			proof.Until = m.final
		}
	}
	proof.IDs = ledger.HashIDs(all)
	p.exec("INSERT INTO pruning (message, stage) SELECT unnest($1::text[]), $2", ids, string(stage))
	var err error
	if stage == ledger.Details {
		p.done.Details += len(ids)
		err = p.eraseDetails(ids, proof.At)
	} else {
		p.done.Rows += len(ids)
		err = p.removeRows(ids, &proof)
	}
	if err != nil {
		return err
	}
	p.exec("DELETE FROM prune_wait WHERE authority = $1 AND stage = $2 AND message = ANY($3)", p.authority, string(stage), ids)
	p.exec("DELETE FROM pruning WHERE message = ANY($1)", ids)
	p.prove(p.authority, proof)
	return nil
}

// prove writes a proof and the event that says the same.
func (t *tx) prove(authority int32, p ledger.Proof) {
	t.record(event{authority: authority, at: p.At, kind: ledger.KindPruned, detail: p.String()})
	t.exec(`INSERT INTO proof (authority, at, stage, class, messages, delivered, returned, withdrawn, events, until, ids)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, authority, moment(p.At), string(p.Stage), p.Class.String(), p.Messages,
		p.Deliveries[ledger.Delivered], p.Deliveries[ledger.Returned], p.Deliveries[ledger.Withdrawn], p.Events, moment(p.Until), p.IDs[:])
}

// eraseDetails takes away what tells of people. The lane goes too, for it may be a person's own domain.
func (p *pruning) eraseDetails(ids []string, at time.Time) error {
	in := inRange(ids)
	p.exec(`UPDATE message SET sender = '', sender_sealed = NULL, sender_key = '', header_id = '', client = '', envid = '', unit = '',
		findings = NULL, repairs = NULL, erased_at = $4 WHERE id = ANY($1) AND id BETWEEN $2 AND $3`, append(inRange(ids), moment(at))...)
	p.exec(`UPDATE delivery_final SET recipient = '', recipient_sealed = NULL, recipient_key = '', orcpt = '', owner = '', lane = '',
		ended_by = CASE ended_by WHEN '' THEN '' ELSE '-' END WHERE message = ANY($1) AND message BETWEEN $2 AND $3`, in...) // that a person ended it stays
	p.exec("UPDATE attempt SET text = '' WHERE message = ANY($1) AND message BETWEEN $2 AND $3 AND text <> ''", in...)
	var authorities []int32
	var seqs []int64
	var messages []string
	var words [][]byte
	err := p.query(func(r row) error {
		w := ledger.Words(ledger.Event{By: r.str(3), Detail: r.str(4)})
		authorities, seqs = append(authorities, int32(r.int(0))), append(seqs, r.int(1))
		messages, words = append(messages, r.str(2)), append(words, w[:])
		return nil
	}, "SELECT authority, seq, message, by, detail FROM event WHERE message = ANY($1) AND message BETWEEN $2 AND $3 AND words IS NULL", in...)
	if err != nil {
		return err
	}
	p.exec(`UPDATE event AS e SET by = '', detail = '', words = u.words FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::bytea[]) AS u (authority, seq, message, words)
		WHERE e.authority = u.authority AND e.seq = u.seq AND e.message = u.message AND e.message BETWEEN $5 AND $6`, authorities, seqs, messages, words, in[1], in[2])
	return nil
}

// removeRows takes messages out of the ledger; what is counted and hashed of them stays.
func (p *pruning) removeRows(ids []string, proof *ledger.Proof) error {
	in := inRange(ids)
	p.ask(func(r row) error { proof.Deliveries[ledger.State(r.str(0))] += r.int(1); return nil },
		"SELECT state, count(*) FROM delivery_final WHERE message = ANY($1) AND message BETWEEN $2 AND $3 GROUP BY state", in...)
	var notices []string
	p.ask(func(r row) error { notices = append(notices, r.str(0)); return nil }, "SELECT DISTINCT notice FROM link WHERE subject = ANY($1)", ids)
	var seqs []int64
	var leaves [][]byte
	err := p.query(func(r row) error {
		seq, leaf := leafOf(r)
		seqs, leaves = append(seqs, seq), append(leaves, leaf[:])
		return nil
	}, leafColumns+" WHERE e.message = ANY($1) AND e.message BETWEEN $2 AND $3", in...)
	if err != nil {
		return err
	}
	proof.Events = int64(len(seqs))
	p.exec("INSERT INTO leaf (authority, seq, hash) SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])", p.authority, seqs, leaves)
	p.missed(notices)
	p.exec("DELETE FROM event WHERE message = ANY($1) AND message BETWEEN $2 AND $3", in...)
	p.exec("DELETE FROM attempt WHERE message = ANY($1) AND message BETWEEN $2 AND $3", in...)
	p.exec("DELETE FROM link WHERE subject = ANY($1)", ids)
	p.exec("DELETE FROM delivery_final WHERE message = ANY($1) AND message BETWEEN $2 AND $3", in...)
	p.exec("DELETE FROM message WHERE id = ANY($1) AND id BETWEEN $2 AND $3", in...)
	// Batches that have no event left lose their leaves: the seal's own hash stands for them.
	p.exec(`WITH touched AS MATERIALIZED (SELECT DISTINCT s.first, s.last FROM unnest($2::bigint[]) AS u (seq),
			LATERAL (SELECT first, last FROM seal WHERE authority = $1 AND last >= u.seq ORDER BY last LIMIT 1) AS s),
		gone AS MATERIALIZED (SELECT first, last FROM touched AS s
			WHERE NOT EXISTS (SELECT FROM event AS e WHERE e.authority = $1 AND e.seq BETWEEN s.first AND s.last))
		DELETE FROM leaf AS l USING gone AS s WHERE l.authority = $1 AND l.seq BETWEEN s.first AND s.last`, p.authority, seqs)
	return p.flush()
}

// missed puts notices on the waiting lists whose subjects go: they may be of a lower class from now on, whose turn they have missed.
func (t *tx) missed(notices []string) {
	if len(notices) > 0 {
		t.exec(`INSERT INTO prune_wait (authority, stage, message) SELECT n.authority, s.stage, n.id FROM message AS n, unnest(ARRAY['details', 'rows']) AS s (stage)
			WHERE n.id = ANY($1) AND n.id BETWEEN $2 AND $3 AND (s.stage = 'rows' OR n.erased_at IS NULL) ON CONFLICT DO NOTHING`, inRange(notices)...)
	}
}

// leafColumns reads events as leafOf takes them; conditions on e follow.
const leafColumns = `SELECT e.seq, a.name, e.message, e.delivery, e.at, e.kind, e.by, e.detail, e.words FROM event AS e JOIN authority AS a ON a.no = e.authority`

// leafOf is an event's leaf, whether its words are there or not.
func leafOf(r row) (seq int64, leaf ledger.Hash) {
	e := ledger.Event{Seq: r.int(0), Authority: r.str(1), Message: ledger.MessageID(r.str(2)), Delivery: ledger.DeliveryID(r.int(3)), At: r.time(4),
		Kind: r.str(5), By: r.str(6), Detail: r.str(7)}
	words := ledger.Words(e)
	if !r.null(8) {
		copy(words[:], r.bytes(8))
	}
	return e.Seq, ledger.Leaf(e, words)
}

// WouldPrune counts what Prune would remove until nothing is left to it.
func (s *Store) WouldPrune(ctx context.Context, now time.Time, authority string, r ledger.Retention) (n ledger.Pruned, err error) {
	err = s.look(ctx, true, func(t *tx) error {
		n = ledger.Pruned{}
		p, err := t.part(authority)
		if err != nil || p == nowhere {
			return err
		}
		last := prunable{accepted: time.Unix(0, 0).UTC()}
		for {
			ids, err := t.window(int32(p), last.accepted, last.id, now)
			if err != nil || len(ids) == 0 {
				return err
			}
			found, err := t.prunables(ids)
			if err != nil {
				return err
			}
			for _, id := range ids {
				details, rows, err := t.fate(found[id], r, now)
				if err != nil {
					return err
				}
				if details && !found[id].erased {
					n.Details++
				}
				if rows {
					n.Rows++
				}
			}
			last = found[ids[len(ids)-1]]
		}
	})
	if err != nil {
		return ledger.Pruned{}, fmt.Errorf("count what to prune: %w", err)
	}
	return n, nil
}

// fate says which stages m will have gone through when nothing is left to Prune.
func (t *tx) fate(m prunable, r ledger.Retention, now time.Time) (details, rows bool, err error) {
	subjects, err := t.prunables(m.subjects)
	if err != nil {
		return false, false, err
	}
	m.fresh = false // Prune seals first
	first := m      // as long as what it tells of is there
	m.class, m.linked, m.behind = m.own, false, false
	for _, s := range subjects {
		erased, gone, err := t.fate(s, r, now)
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
	err = s.read(ctx, func(t *tx) error {
		proofs = nil
		return t.query(func(r row) error {
			p := proofOf(r)
			p.IDs = ledger.Hash{}
			proofs = append(proofs, p)
			return nil
		}, `SELECT max(p.at), p.stage, p.class, sum(p.messages)::bigint, sum(p.delivered)::bigint, sum(p.returned)::bigint, sum(p.withdrawn)::bigint,
			sum(p.events)::bigint, max(p.until), ''::bytea FROM proof AS p WHERE p.authority = (SELECT no FROM authority WHERE name = $1)
			GROUP BY p.stage, p.class ORDER BY p.stage, CASE p.class WHEN 'ordinary' THEN 0 WHEN 'confidential' THEN 1 ELSE 2 END`, authority)
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

// verifyPruned counts what retention removed, with proof, into the states.
func (t *tx) verifyPruned(p part, v *ledger.Verification) error {
	return t.query(func(r row) error {
		for i, st := range []ledger.State{ledger.Delivered, ledger.Returned, ledger.Withdrawn} {
			v.States[st] += r.int(i)
			v.Pruned += r.int(i)
		}
		return nil
	}, "SELECT coalesce(sum(delivered), 0)::bigint, coalesce(sum(returned), 0)::bigint, coalesce(sum(withdrawn), 0)::bigint FROM proof"+p.where("authority"))
}

// verifyProofs compares the proofs with the events that say the same, which the chain covers, and with what is left.
func (t *tx) verifyProofs(p part, v *ledger.Verification) error {
	type said struct {
		authority int64
		at        time.Time
		words     string
	}
	balance := map[said]int{}
	t.ask(func(r row) error { balance[said{r.int(10), r.time(0), proofOf(r).String()}]++; return nil },
		"SELECT at, stage, class, messages, delivered, returned, withdrawn, events, until, ids, authority::bigint FROM proof"+p.where("authority"))
	told := func(r row) error { balance[said{r.int(0), r.time(1), r.str(2)}]--; return nil }
	t.ask(told, "SELECT authority::bigint, at, detail FROM event WHERE message = '' AND kind = 'pruned'"+p.and("authority"))
	t.ask(told, "SELECT authority::bigint, at, detail FROM event_fresh WHERE message = '' AND kind = 'pruned'"+p.and("authority"))
	var erased, worded int64
	t.ask(func(r row) error { erased = r.int(0); return nil }, "SELECT abs((SELECT count(*) FROM message WHERE erased_at IS NOT NULL"+p.and("authority")+
		") - (SELECT coalesce(sum(CASE stage WHEN 'details' THEN messages ELSE -messages END), 0) FROM proof"+p.where("authority")+"))::bigint")
	t.ask(func(r row) error { worded = r.int(0); return nil }, `SELECT count(*) FROM event AS e LEFT JOIN message AS m ON m.id = e.message
		WHERE e.words IS NOT NULL AND m.erased_at IS NULL`+p.and("e.authority"))
	if err := t.flush(); err != nil {
		return err
	}
	wrong := 0
	for _, n := range balance {
		if n != 0 {
			wrong++
		}
	}
	if wrong > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d proofs of retention do not say what the event chain says.", wrong))
	}
	if erased > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("The messages that have lost their details are %d off what retention has proofs for.", erased))
	}
	if worded > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d events have lost their words, but their messages have not lost their details.", worded))
	}
	return nil
}
