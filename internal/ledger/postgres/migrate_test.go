package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/pgtest"
)

// TestSchemas: a newer schema is refused, and who does not serve neither makes nor upgrades one.
func TestSchemas(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	open := func(serve bool) error {
		s, err := Open(t.Context(), dsn, Options{Serve: serve})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open(false); !errors.Is(err, ErrNoLedger) {
		t.Errorf("an empty database: got %v, want %v", err, ErrNoLedger)
	}
	do(t, open(true))
	do(t, open(false))
	do(t, raw(t, dsn, "INSERT INTO schema_version (version) VALUES (1000)"))
	for _, serve := range []bool{true, false} {
		if err := open(serve); !errors.Is(err, ledger.ErrNewer) {
			t.Errorf("a newer schema, serve %v: got %v, want %v", serve, err, ledger.ErrNewer)
		}
	}
}

// oldest makes the first schema there was and puts a little into it, as a program of that time did.
func oldest(t *testing.T, dsn string) {
	t.Helper()
	all, err := migrations()
	do(t, err)
	id := string(ledger.FirstID(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))) // its month has no partition
	do(t, raw(t, dsn, strings.ReplaceAll("CREATE TABLE schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); "+all[0].text+
		`; INSERT INTO schema_version (version) VALUES (1);
		INSERT INTO authority (name) VALUES ('Eksempel Kommune');
		INSERT INTO message (id, authority, kind, direction, sender, sender_key, header_id, size, recipients, client, ret, envid, utf8, eight_bit, tell_sender, unit, language, accepted_at)
			VALUES ('MESSAGE-ID', 1, 'mail', 'out', 'anna@eksempel.example', 'eksempel.example@anna', '', 1, 1, '', '', '', false, false, true, '', 'da', now());
		INSERT INTO body VALUES ('MESSAGE-ID', 0, 'sealed');
		INSERT INTO delivery (no, message, n, many, authority, notice, recipient, recipient_key, notify, orcpt, inside, state, verdict, body, lane, owner, due, deadline, attempts, node, possibly, told, rung)
			VALUES (nextval('delivery_no'), 'MESSAGE-ID', 0, false, 1, false, 'bo@borger.example', 'borger.example@bo', '', '', false, 'queued', '{}', 0, 'old', 'net', now(), now(), 0, '', false, '', 0);
		INSERT INTO event_fresh (authority, message, delivery, at, kind, by, detail) VALUES (1, 'MESSAGE-ID', 0, now(), 'accepted', '', '1 recipient');
		INSERT INTO tally VALUES (1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0)`, "MESSAGE-ID", id)))
}

// shape describes everything in a schema, so that two can be compared.
func shape(t *testing.T, dsn string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	do(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `
		SELECT format('column %s.%s %s %s %s', table_name, column_name, data_type, is_nullable, collation_name) FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT format('sequence %s %s', sequencename, increment_by) FROM pg_sequences WHERE schemaname = 'public'`)
	do(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	do(t, err)
	slices.Sort(all)
	return all
}

// TestUpgrade: the oldest schema, with mail in it, becomes what a fresh one is, and the mail goes on.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	old, fresh := pgtest.New(t), pgtest.New(t)
	oldest(t, old)
	s := openStore(t, old, Options{})
	openStore(t, fresh, Options{})
	got, want := shape(t, old), shape(t, fresh)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("only in the upgraded: %s", line)
			}
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("only in the fresh: %s", line)
			}
		}
	}
	if len(want) < 150 {
		t.Errorf("only %d things were compared", len(want))
	}
	ledgertest.CheckLaws(t, s)
	work, err := s.Claim(t.Context(), time.Now(), ledger.Claim{Node: "n", Lane: "old", Max: 1, Lease: time.Minute})
	if err != nil || len(work) != 1 {
		t.Fatal(work, err)
	}
	do(t, s.Apply(t.Context(), delivered(work[0].Deliveries[0]))[0])
	ledgertest.CheckLaws(t, s)
}

// TestPartitions: what comes stands in its month, also when a month begins without anybody having seen to it, and what has no month
// stands in the rest.
func TestPartitions(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := openStore(t, dsn, Options{})
	count := func(table string) (n int64) {
		do(t, s.read(t.Context(), func(tx *tx) error {
			return tx.query(func(r row) error { n = r.int(0); return nil }, "SELECT count(*) FROM "+table)
		}))
		return n
	}
	accept := func(id ledger.MessageID) {
		a := benchAcceptance("x.example", []byte("sealed"))
		a.Message.ID = id
		a.Claim = &ledger.Claim{Node: "n", Lease: time.Minute}
		work, err := s.Accept(t.Context(), a)
		do(t, err)
		do(t, s.Apply(t.Context(), delivered(work[0].Deliveries[0]))[0])
		do(t, s.Seal(t.Context(), time.Now()))
	}
	month := time.Now().UTC().Format("_2006_01")
	accept(ledger.NewMessageID())
	later := time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)
	accept(ledger.FirstID(later) + "x")
	for _, table := range []string{"message", "delivery_final", "attempt"} {
		if got := fmt.Sprint(count(table+month), count(table+"_rest")); got != "1 1" {
			t.Errorf("%s: %s in this month and in the rest, want 1 1", table, got)
		}
	}
	if count("event"+month) != 2 || count("event_rest") != 2 {
		t.Errorf("events: %d and %d", count("event"+month), count("event_rest"))
	}
	// The month comes; the one that begins with rows in the rest stays there, and those after it get their partitions.
	do(t, s.makePartitions(t.Context(), later))
	accept(ledger.FirstID(later.AddDate(0, 1, 0)))           // the first of June
	accept(ledger.FirstID(later.AddDate(0, 2, 0).Add(-1e6))) // the last millisecond of June
	if got := fmt.Sprint(count("message_rest"), count("message_2031_06"), count("message_2031_07")); got != "1 2 0" {
		t.Errorf("later: %s, want 1 2 0", got)
	}
	do(t, s.makePartitions(t.Context(), later))
	ledgertest.CheckLaws(t, s)
	for _, line := range shape(t, dsn) {
		if strings.HasPrefix(line, "trigger ") && strings.Contains(line, "message_2031_06") {
			return
		}
	}
	t.Error("a partition that was made later knows no law")
}
