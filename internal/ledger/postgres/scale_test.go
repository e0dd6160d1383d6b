package postgres

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
	"postvagt/internal/pgtest"
)

var scaleFlag = flag.Int("ledger.scale", 0, "deliveries in the long ledger of TestScale, which then measures; 0: a short one, of which only the plans are asked")

// scaleFunctions make ids as ledger.NewMessageID does, with something of i's own where that one has chance.
const scaleFunctions = `
CREATE FUNCTION scale_id(at timestamptz, i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT string_agg(substr('234567abcdefghijklmnopqrstuvwxyz', ((((extract(epoch FROM at) * 1000)::bigint << 2) >> (45 - 5 * k)) & 31)::int + 1, 1), '' ORDER BY k)
		|| translate(substr(md5(i::text), 1, 16), '0189', 'ghij')
	FROM generate_series(0, 9) AS k
$$;
CREATE FUNCTION scale_at(i bigint, n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT date_trunc('milliseconds', now()) - interval '365 days' + i * (interval '365 days' / n)
$$;`

// scaleRows are messages $1 to $2 of $3 of the past year, of the first authority, each with two deliveries that went through at the first
// attempt; one in fifty is confidential.
const scaleRows = `WITH m AS MATERIALIZED (
	SELECT i, scale_id(at, i) AS id, at, 'medarbejder' || i % 5000 || '@eksempel.example' AS sender, 'eksempel.example@medarbejder' || i % 5000 AS sender_key
	FROM (SELECT i, scale_at(i, $3) AS at FROM generate_series($1::bigint, $2::bigint) AS i) AS i
), d AS MATERIALIZED (
	SELECT m.*, 2 * i + n AS no, n, 'borger' || (i * 7919 + n) % 400000 || '@post.example' AS recipient, 'post.example@borger' || (i * 7919 + n) % 400000 AS recipient_key
	FROM m, generate_series(0, 1) AS n
), a AS (
	INSERT INTO message (id, authority, kind, direction, sender, sender_sealed, sender_key, header_id, size, recipients, client, ret, envid, utf8, eight_bit,
		tell_sender, unit, language, accepted_at, findings, repairs)
	SELECT id, 1, 'mail', 'out', sender, NULL, sender_key, '<' || id || '@eksempel.example>', 4096, 2, '192.0.2.7', '', '', false, true, true, '', 'da', at, NULL, NULL FROM m
), b AS (
	INSERT INTO delivery_final (no, message, n, authority, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside, state, verdict, body, lane, owner,
		attempts, possibly, told, rung, ended_at, ended_by)
	SELECT no, id, n, 1, false, recipient, NULL, recipient_key, '', '', false, 'delivered',
		'{"action":"send","class":"' || CASE WHEN i % 50 = 0 THEN 'confidential' ELSE 'ordinary' END || '","level":"none","rule":"matrix","reason":"clean","policy":"0123456789abcdef"}',
		0, 'post.example', 'postmester@eksempel.example', 1, false, '', 0, at + interval '1 second', '' FROM d
), c AS (
	INSERT INTO attempt (message, delivery, no, node, started, ended, outcome, code, enhanced, text, contact, receipt)
	SELECT id, no, 1, 'vagt-1', at, at + interval '1 second', 'delivered', 250, '2.0.0', 'Ok: queued', true,
		'{"hop":"mx.post.example:25","ip":"192.0.2.25","level":"verified","tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","verified":"webpki","took":31000000}' FROM d
)
INSERT INTO event (authority, seq, message, delivery, at, kind, by, detail)
SELECT 1, 3 * (i - 1) + 1, id, 0, at, 'accepted', '', '2 recipients' FROM m
UNION ALL SELECT 1, 3 * (i - 1) + 2 + n, id, no, at + interval '1 second', 'delivered', '', '250 2.0.0 Ok: queued' FROM d`

// longLedger fills a ledger with n final deliveries by SQL; the hashes of its chain are not real.
func longLedger(t *testing.T, s *Store, n int64) {
	t.Helper()
	ctx, messages := t.Context(), n/2
	a := benchAcceptance("elsewhere", []byte("sealed")) // makes the authority
	if _, err := s.Accept(ctx, a); err != nil {
		t.Fatal(err)
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%.60s: %v", sql, err)
		}
	}
	from := time.Now().UTC().AddDate(-1, 0, 0)
	for m := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC); m.Before(time.Now()); m = m.AddDate(0, 1, 0) {
		for _, table := range parted {
			if err := makePartition(ctx, conn.Conn(), table+m.Format("_2006_01"), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec("SET statement_timeout = 0; SET session_replication_role = replica; SET synchronous_commit = off; SET plan_cache_mode = auto; SET work_mem = '256MB'; SET maintenance_work_mem = '512MB'")
	defer conn.Conn().Close(ctx) // with its settings
	exec(scaleFunctions)
	indexes := secondIndexes(t, conn.Conn())
	for name := range indexes {
		exec("DROP INDEX " + name)
	}
	const step = 50_000
	for i := int64(1); i <= messages; i += step {
		exec(scaleRows, i, min(i+step-1, messages), messages)
		if i%1_000_000 == 1 && i > 1 {
			t.Logf("%d deliveries", 2*(i-1))
		}
	}
	for _, sql := range indexes {
		exec(sql)
	}
	exec(`INSERT INTO seal (authority, first, last, batch, hash, at) SELECT 1, f, least(f + 1999, $1), sha256(f::text::bytea), sha256(f::text::bytea), now()
		FROM generate_series(1::bigint, $1, 2000) AS f`, 3*messages)
	exec("INSERT INTO tally VALUES (1, 999, $1, 0, 0, 0, $1, 0, 0, $2, $2)", 2*messages, 3*messages)
	exec("SELECT setval('delivery_no', $1)", 4*n+512)
	exec("VACUUM ANALYZE")
}

// secondIndexes are the indexes of the partitioned tables beside their keys, with how they are made.
func secondIndexes(t *testing.T, conn *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
		WHERE c.relname = ANY($1) AND NOT i.indisprimary`, parted)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]string{}
	var name, sql string
	_, err = pgx.ForEachRow(rows, []any{&name, &sql}, func() error { made[name] = strings.Replace(sql, " ON ONLY ", " ON ", 1); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestScale asks of a long ledger what people and the dispatcher ask. -ledger.scale measures: see docs/scale.md.
func TestScale(t *testing.T) {
	n := int64(*scaleFlag)
	if n == 0 {
		scaleOf(t, openStore(t, database(t), Options{}), 40_000, false)
		return
	}
	server := pgtest.Start(t, "shared_buffers = 1GB", "max_wal_size = 20GB", "fsync = off", "full_page_writes = off", "autovacuum = off")
	s := openStore(t, server.DSN("postgres"), Options{})
	began := time.Now()
	scaleOf(t, s, n, true)
	t.Logf("all in %v", time.Since(began).Round(time.Second))
}

func scaleOf(t *testing.T, s *Store, n int64, measure bool) {
	began := time.Now()
	longLedger(t, s, n)
	lanes := 100
	fillBacklog(t, s, lanes*min(100, int(n/2000)))
	ctx, messages := t.Context(), n/2
	var built string
	var ids []ledger.MessageID
	err := s.read(ctx, func(t *tx) error {
		t.ask(func(r row) error { ids = append(ids, ledger.MessageID(r.str(0))); return nil },
			"SELECT DISTINCT message FROM event WHERE authority = 1 AND seq = ANY(SELECT 3 * ($1 * k / 200) + 1 FROM generate_series(0, 199) AS k)", messages)
		t.ask(func(r row) error { built = r.str(0); return nil }, "SELECT pg_size_pretty(pg_database_size(current_database()))")
		return t.flush()
	})
	if err != nil || len(ids) < 190 {
		t.Fatal(len(ids), err)
	}
	t.Logf("%d deliveries of %d messages, %d queued in %d lanes: %s, built in %v", n, messages, lanes*min(100, int(n/2000)), lanes, built, time.Since(began).Round(time.Second))

	var rec *recorder
	if !measure {
		rec = record(t, s)
	}
	now := time.Now().UTC()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []struct {
		name  string
		limit time.Duration // of the 95th percentile; 0: none
		ask   func(i int)
	}{
		{"trace by id", 100 * time.Millisecond, func(i int) {
			st, err := s.Story(ctx, ids[i])
			must(err)
			if len(st.Deliveries) != 2 || len(st.Events) != 3 || len(st.Attempts) != 2 {
				t.Fatalf("the story of %s: %+v", ids[i], st)
			}
		}},
		{"find by id", 100 * time.Millisecond, func(i int) { found(t, s, ledger.Query{ID: ids[i]}) }},
		{"find by Message-ID", 100 * time.Millisecond, func(i int) { found(t, s, ledger.Query{HeaderID: "<" + string(ids[i]) + "@eksempel.example>"}) }},
		{"find by recipient, and a trace", 100 * time.Millisecond, func(i int) {
			st, err := s.Story(ctx, ids[i])
			must(err)
			found(t, s, ledger.Query{Recipient: st.Deliveries[0].Recipient.Shown})
		}},
		{"find by sender", 100 * time.Millisecond, func(i int) {
			found(t, s, ledger.Query{Sender: fmt.Sprintf("medarbejder%d@eksempel.example", i), Limit: 20})
		}},
		{"claim one", 10 * time.Millisecond, func(i int) {
			w, err := s.Claim(ctx, now, ledger.Claim{Node: "n", Lane: fmt.Sprintf("lane-%d.example", i%lanes), Max: 1, Lease: time.Hour})
			must(err)
			if len(w) != 1 {
				t.Fatalf("claimed %d", len(w))
			}
		}},
		{"lanes", 0, func(int) { _, err := s.Lanes(ctx); must(err) }},
		{"sums", 0, func(int) { _, err := s.Sums(ctx); must(err) }},
		{"a whole life", 0, func(int) {
			a := benchAcceptance("mx.borger.example", make([]byte, 4096))
			a.Claim = &ledger.Claim{Node: "n", Lease: time.Hour}
			w, err := s.Accept(ctx, a)
			must(err)
			errs := s.Apply(ctx, ledger.Change{Delivery: w[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: now, Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered"}})
			must(errs[0])
		}},
		{"retention: 100 messages of details", 0, func(i int) {
			if i < 20 {
				_, err := s.Prune(ctx, now, "Eksempel Kommune", ledger.Retention{class.Ordinary: {Details: 300 * 24 * time.Hour}}, 100)
				must(err)
			}
		}},
		{"retention: 100 messages of rows", 0, func(i int) {
			if i < 20 {
				_, err := s.Prune(ctx, now, "Eksempel Kommune", ledger.Retention{class.Ordinary: {Details: 300 * 24 * time.Hour, Rows: 300 * 24 * time.Hour}}, 100)
				must(err)
			}
		}},
	} {
		rounds := min(200, len(ids))
		if !measure {
			rounds = 3
		}
		var took []time.Duration
		for i := range rounds {
			began := time.Now()
			q.ask(i)
			if d := time.Since(began); d > 20*time.Microsecond {
				took = append(took, d)
			}
		}
		slices.Sort(took)
		p95 := took[len(took)*95/100]
		if measure {
			t.Logf("| %s | %.1f | %.1f | %.1f |", q.name, ms(took[len(took)/2]), ms(p95), ms(took[len(took)-1]))
		}
		if measure && q.limit > 0 && p95 > q.limit {
			t.Errorf("%s takes %v, more than %v", q.name, p95, q.limit)
		}
	}
	if !measure {
		noWalks(t, s, rec)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func found(t *testing.T, s *Store, q ledger.Query) {
	t.Helper()
	if ids, err := s.Find(t.Context(), q); err != nil || len(ids) == 0 {
		t.Fatalf("%+v: %v, %v", q, ids, err)
	}
}

// noWalks: with the statistics that the planner has of such a ledger, no statement reads a table of messages from end to end.
func noWalks(t *testing.T, s *Store, rec *recorder) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "SET plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	long := map[string]bool{}
	rows, err := conn.Query(t.Context(), "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND reltuples > 1000 AND relname NOT LIKE 'pg\\_%'")
	if err != nil {
		t.Fatal(err)
	}
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error { long[name] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(long) < 40 {
		t.Errorf("only %d tables are long", len(long))
	}
	explained := 0
	for q, n := range rec.seen {
		word, _, _ := strings.Cut(strings.TrimSpace(q), " ")
		if !slices.Contains([]string{"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"}, word) || strings.Contains(q, "pg_") || strings.HasPrefix(q, "SELECT EXISTS (SELECT FROM") ||
			strings.HasPrefix(q, "SELECT 1 FROM ") && strings.HasSuffix(q, " LIMIT 1") && !strings.Contains(q, "WHERE") {
			continue // the last two ask whether a table is empty
		}
		tables, indexes := explain(t, conn, q, n).walks()
		explained++
		for _, table := range tables {
			if long[table] {
				t.Errorf("%s\nwalks %s (and uses %v)", q, table, indexes)
			}
		}
	}
	if explained < 25 {
		t.Errorf("only %d statements were explained", explained)
	}
}
