package sqlite

import (
	flags "flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

var scaleFlag = flags.Int("ledger.scale", 20_000, "deliveries in the long ledger of TestScale; make bench-scale measures ten million")

// scaleScript fills tables with messages %[1]d to %[2]d of %[3]d of the past year (%[4]d is its begin in microseconds), each with two deliveries
// that went through at the first attempt; one in fifty is confidential. %[5]s makes ids of i: not as real ones are, but as long, and ascending.
const scaleScript = `BEGIN;
CREATE TEMP TABLE IF NOT EXISTS part (i INTEGER PRIMARY KEY, at INTEGER, id TEXT);
DELETE FROM part;
INSERT INTO part WITH RECURSIVE n (i) AS (SELECT %[1]d UNION ALL SELECT i + 1 FROM n WHERE i < %[2]d)
	SELECT i, %[4]d + i * (31536000000000 / %[3]d), %[5]s || 'z' FROM n;
INSERT INTO message (no, id, authority, kind, direction, sender, sender_sealed, sender_key, header_id, size, client, ret, envid, utf8, eight_bit, tell_sender, unit,
	language, accepted_at, findings, repairs)
	SELECT i + 10, id, 1, 'mail', 'out', 'medarbejder' || (i %% 5000) || '@eksempel.example', NULL, 'eksempel.example@medarbejder' || (i %% 5000), '<' || id || '@eksempel.example>',
	4096, '192.0.2.7', '', '', 0, 1, 1, '', 'da', at, NULL, NULL FROM part;
INSERT INTO delivery (no, message, n, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside, state, verdict, body, lane, owner, due, deadline, watch,
	attempts, node, started, possibly, told, rung, ended_at, ended_by)
	SELECT 2 * i + n + 10, i + 10, n, 0, 'borger' || ((i * 7919 + n) %% 400000) || '@post.example', NULL, 'post.example@borger' || ((i * 7919 + n) %% 400000), '', '', 0, 'delivered',
	'{"action":"send","class":"' || CASE WHEN i %% 50 = 0 THEN 'confidential' ELSE 'ordinary' END || '","level":"none","rule":"matrix","reason":"clean","policy":"0123456789abcdef"}',
	0, 'post.example', 'postmester@eksempel.example', NULL, NULL, NULL, 1, '', NULL, 0, '', 0, at + 1000000, '' FROM part, (SELECT 0 AS n UNION ALL SELECT 1);
INSERT INTO attempt SELECT 2 * i + n + 10, 1, 'vagt-1', at, at + 1000000, 'delivered', 250, '2.0.0', 'Ok: queued', 1,
	CAST('{"hop":"mx.post.example:25","ip":"192.0.2.25","level":"verified","tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","verified":"webpki","took":31000000}' AS BLOB)
	FROM part, (SELECT 0 AS n UNION ALL SELECT 1);
INSERT INTO event SELECT 1, 3 * i - 2 + k, i + 10, CASE k WHEN 0 THEN NULL ELSE 2 * i + k + 9 END, at, CASE k WHEN 0 THEN 'accepted' ELSE 'delivered' END, '', '250 2.0.0 Ok: queued', NULL
	FROM part, (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2);
COMMIT`

// scaleID is an id as an expression of i, in letters only, so that none looks like somebody's number.
func scaleID() string {
	expr := "printf('%025d', i)"
	for d := range 10 {
		expr = fmt.Sprintf("replace(%s, '%d', '%c')", expr, d, 'a'+d)
	}
	return expr
}

// TestScale asks of a long ledger what people and the dispatcher ask, and of one of a million deliveries or more also how long it takes:
// see docs/scale.md. The hashes of its chain are not real.
func TestScale(t *testing.T) {
	n := int64(*scaleFlag)
	s := openTest(t, Options{})
	began, messages := time.Now(), n/2
	if _, err := s.writer.exec("INSERT INTO authority (no, name) VALUES (1, 'Eksempel Kommune')"); err != nil {
		t.Fatal(err)
	}
	script := func(text string) {
		t.Helper()
		if err := s.writer.script(text); err != nil {
			t.Fatal(err)
		}
	}
	var begins string
	if _, err := s.writer.one(t.Context(), func(r row) { begins = r.str(0) }, "SELECT sql FROM sqlite_schema WHERE name = 'delivery_begins_open'"); err != nil {
		t.Fatal(err)
	}
	script("PRAGMA synchronous = off; PRAGMA cache_size = -1000000; DROP TRIGGER delivery_begins_open; DROP INDEX delivery_find; DROP INDEX message_sender; DROP INDEX message_header_id")
	const step = 100_000
	for i := int64(1); i <= messages; i += step {
		script(fmt.Sprintf(scaleScript, i, min(i+step-1, messages), messages, time.Now().AddDate(-1, 0, 0).UnixMicro(), scaleID()))
	}
	script(begins + `; CREATE INDEX delivery_find ON delivery (recipient_key); CREATE INDEX message_sender ON message (sender_key) WHERE sender_key <> '';
		CREATE INDEX message_header_id ON message (header_id) WHERE header_id <> ''`)
	script(fmt.Sprintf(`WITH RECURSIVE f (f) AS (SELECT 1 UNION ALL SELECT f + 2000 FROM f WHERE f + 2000 <= %[1]d)
		INSERT INTO seal SELECT 1, f, min(f + 1999, %[1]d), min(f + 1999, %[1]d) - f + 1, randomblob(32), randomblob(32), 1 FROM f;
		INSERT INTO tally VALUES (1, 'accepted', %[2]d), (1, 'delivered', %[2]d), (1, 'events', %[1]d), (1, 'sealed', %[1]d);
		PRAGMA synchronous = full; PRAGMA cache_size = -16384; PRAGMA wal_checkpoint(truncate)`, 3*messages, 2*messages))
	const lanes = 100
	var callers sync.WaitGroup
	for lane := range lanes {
		callers.Go(func() {
			for range 100 {
				if _, err := s.Accept(t.Context(), benchAcceptance(fmt.Sprintf("lane-%d.example", lane), make([]byte, 1024))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d deliveries of %d messages, 10000 queued in %d lanes: %d MB, built in %v", n, messages, lanes, info.Size()>>20, time.Since(began).Round(time.Second))
	measureScale(t, s, messages)
}

func measureScale(t *testing.T, s *Store, messages int64) {
	ctx, now := t.Context(), time.Now().UTC()
	var ids []ledger.MessageID
	err := s.read(ctx, func(c *conn) error {
		for k := range int64(200) {
			if _, err := c.one(ctx, func(r row) { ids = append(ids, ledger.MessageID(r.str(0))) }, "SELECT id FROM message WHERE no = ?", 11+messages*k/200); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(ids) != 200 {
		t.Fatal(len(ids), err)
	}
	find := func(q ledger.Query) error {
		found, err := s.Find(ctx, q)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%+v finds nothing", q)
		}
		return err
	}
	only := func(id ledger.MessageID, q ledger.Query) error {
		found, err := s.Find(ctx, q)
		if err == nil && (len(found) != 1 || found[0] != id) {
			err = fmt.Errorf("%+v finds %v, not %s", q, found, id)
		}
		return err
	}
	trace := func(id ledger.MessageID) error {
		st, err := s.Story(ctx, id)
		if err == nil && (st.Message.ID != id || len(st.Deliveries) != 2 || len(st.Events) != 3 || len(st.Attempts) != 2) {
			err = fmt.Errorf("the story of %s: %+v", id, st)
		}
		return err
	}
	retention := func(i int, k ledger.Keep) error {
		if i >= 20 {
			return nil
		}
		_, err := s.Prune(ctx, now, "Eksempel Kommune", ledger.Retention{class.Ordinary: k}, 100)
		return err
	}
	const long = 300 * 24 * time.Hour
	for _, q := range []struct {
		name  string
		limit time.Duration // of the 95th percentile; 0: none
		ask   func(i int) error
	}{
		{"trace by id", 100 * time.Millisecond, func(i int) error { return trace(ids[i]) }},
		{"find by id", 100 * time.Millisecond, func(i int) error { return only(ids[i], ledger.Query{ID: ids[i]}) }},
		{"find by Message-ID", 100 * time.Millisecond, func(i int) error {
			return only(ids[i], ledger.Query{HeaderID: "<" + string(ids[i]) + "@eksempel.example>"})
		}},
		{"find by recipient", 100 * time.Millisecond, func(i int) error {
			return find(ledger.Query{Recipient: fmt.Sprintf("borger%d@post.example", (messages*int64(i)/200+1)*7919%400000)})
		}},
		{"find by sender", 100 * time.Millisecond, func(i int) error {
			return find(ledger.Query{Sender: fmt.Sprintf("medarbejder%d@eksempel.example", i), Limit: 20})
		}},
		{"claim one", 10 * time.Millisecond, func(i int) error {
			w, err := s.Claim(ctx, now.Add(time.Hour), ledger.Claim{Node: "n", Lane: fmt.Sprintf("lane-%d.example", i%100), Max: 1, Lease: time.Hour})
			if err == nil && len(w) != 1 {
				err = fmt.Errorf("claimed %d", len(w))
			}
			return err
		}},
		{"lanes", 0, func(int) error { _, err := s.Lanes(ctx); return err }},
		{"sums", 0, func(int) error { _, err := s.Sums(ctx); return err }},
		{"a whole life", 0, func(int) error {
			a := benchAcceptance("mx.borger.example", make([]byte, 4096))
			a.Claim = &ledger.Claim{Node: "n", Lease: time.Hour}
			w, err := s.Accept(ctx, a)
			if err != nil {
				return err
			}
			return s.Apply(ctx, ledger.Change{Delivery: w[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: now, Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered"}})[0]
		}},
		{"retention: 100 messages of details", 0, func(i int) error { return retention(i, ledger.Keep{Details: long}) }},
		{"retention: 100 messages of rows", 0, func(i int) error { return retention(i, ledger.Keep{Details: long, Rows: long}) }},
	} {
		var took []time.Duration
		for i := range ids {
			began := time.Now()
			if err := q.ask(i); err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			if d := time.Since(began); d > 5*time.Microsecond {
				took = append(took, d)
			}
		}
		slices.Sort(took)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		p95 := took[len(took)*95/100]
		t.Logf("| %s | %.1f | %.1f | %.1f |", q.name, ms(took[len(took)/2]), ms(p95), ms(took[len(took)-1]))
		if messages >= 500_000 && q.limit > 0 && p95 > q.limit {
			t.Errorf("%s takes %v, more than %v", q.name, p95, q.limit)
		}
	}
}
