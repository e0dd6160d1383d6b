package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

// raw runs SQL behind the ledger's back, as somebody with a shell could.
func raw(t *testing.T, dsn, script string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), script, pgx.QueryExecModeSimpleProtocol)
	return err
}

// toFinal is what moves a row of delivery to delivery_final, as tx.finish does, but with a state and a person of one's choice. It
// deletes for itself, for where the triggers do not speak.
func toFinal(where, state, by string) string {
	return `INSERT INTO delivery_final SELECT no, message, n, authority, notice, recipient, recipient_sealed, recipient_key, notify, orcpt, inside, '` + state +
		`', verdict, body, lane, owner, attempts, possibly, told, rung, now(), '` + by + `' FROM delivery WHERE ` + where + `;
		DELETE FROM delivery WHERE ` + where
}

// TestConstraints: the schema itself refuses what the laws forbid, whoever writes.
func TestConstraints(t *testing.T) {
	dsn := database(t)
	s := openStore(t, dsn, Options{})
	workOnEverything(t, s)
	insert := func(changes string) string {
		return `INSERT INTO delivery SELECT (x).* FROM (SELECT jsonb_populate_record(d, '` + changes + `') AS x FROM delivery AS d WHERE no = 3) AS y`
	}
	if err := raw(t, dsn, "BEGIN; "+insert(`{"no": 98, "n": 97}`)+"; ROLLBACK"); err != nil {
		t.Fatalf("the way these tests insert: %v", err)
	}
	if err := raw(t, dsn, "BEGIN; "+toFinal("no = 3", "delivered", "")+"; ROLLBACK"); err != nil {
		t.Fatalf("the way these tests end a delivery: %v", err)
	}
	for name, script := range map[string]string{
		"a message is deleted":                  "DELETE FROM message",
		"a message is deleted in its partition": "DO $$ BEGIN EXECUTE (SELECT 'DELETE FROM ' || tableoid::regclass FROM message LIMIT 1); END $$",
		"an open delivery is deleted":           "DELETE FROM delivery WHERE no = 3",
		"a final delivery is deleted":           "DELETE FROM delivery_final WHERE no = 1",
		"an attempt is deleted":                 "DELETE FROM attempt",
		"an attempt is changed":                 "UPDATE attempt SET outcome = 'delivered'",
		"an event is deleted":                   "DELETE FROM event WHERE seq = 1",
		"an event is changed":                   "UPDATE event SET detail = 'x' WHERE seq = 1",
		"a fresh event is changed":              "UPDATE event_fresh SET detail = 'x'",
		"a seal is deleted":                     "DELETE FROM seal",
		"a seal is changed":                     "UPDATE seal SET at = now()",
		"a link is deleted":                     "DELETE FROM link",
		"a link is changed":                     "UPDATE link SET tells = 'delayed'",
		"a final state is changed":              "UPDATE delivery_final SET state = 'delivered' WHERE no = 1",
		"a final time is changed":               "UPDATE delivery_final SET ended_at = now() WHERE no = 1",
		"an open state among the final":         "UPDATE delivery_final SET state = 'queued' WHERE no = 1",
		"a final state among the open":          "UPDATE delivery SET state = 'delivered' WHERE no = 3",
		"returned without notice":               "UPDATE delivery SET state = 'returning' WHERE no = 3; " + toFinal("no = 3", "returned", ""),
		"queued to returned":                    toFinal("no = 3", "returned", ""),
		"held to delivered":                     "UPDATE delivery SET state = 'held' WHERE no = 3; " + toFinal("no = 3", "delivered", ""),
		"returning to queued":                   "UPDATE delivery SET state = 'returning' WHERE no = 3; UPDATE delivery SET state = 'queued' WHERE no = 3",
		"an unknown state":                      "UPDATE delivery SET state = 'discarded' WHERE no = 3",
		"open without owner":                    "UPDATE delivery SET owner = '' WHERE no = 3",
		"open without deadline":                 "UPDATE delivery SET deadline = NULL WHERE no = 3",
		"queued without a time":                 "UPDATE delivery SET due = NULL WHERE no = 3",
		"queued to nowhere":                     "UPDATE delivery SET lane = '' WHERE no = 3",
		"withdrawn by nobody":                   toFinal("no = 3", "withdrawn", ""),
		"a delivery moves to another":           "UPDATE delivery SET message = (SELECT id FROM message WHERE kind = 'notice') WHERE no = 3",
		"a delivery moves to another authority": "UPDATE delivery SET authority = 7 WHERE no = 3",
		"a lease without an attempt":            "UPDATE delivery SET node = 'n', started = NULL WHERE no = 3",
		"a delivery begins final":               "INSERT INTO delivery_final SELECT 99, message, 77, authority, notice, recipient, NULL, '', '', '', false, 'delivered', verdict, 0::smallint, lane, owner, 0, false, '', 0, now(), '' FROM delivery WHERE no = 3",
		"a second delivery of a notice":         insert(`{"no": 99, "n": 1, "notice": true}`),
		"the same recipient index twice":        insert(`{"no": 99}`),
		"an open delivery is deleted by a join": "DELETE FROM delivery USING message WHERE message.id = delivery.message",
		"a message of an unknown sort":          "UPDATE message SET kind = 'spam'",
	} {
		if err := raw(t, dsn, script); err == nil {
			t.Errorf("%s: the schema let it happen", name)
		}
	}
	ledgertest.CheckLaws(t, s)
}

// TestTampering: who goes around the constraints is found by Verify, which names what is wrong.
func TestTampering(t *testing.T) {
	const free = "SET session_replication_role = replica; " // no trigger speaks
	tests := map[string]struct{ script, chain, want string }{
		"an event changed":              {"UPDATE event SET detail = 'nothing' WHERE seq = 2", "broken", "an event from 1 to"},
		"an event's time changed":       {"UPDATE event SET at = at + interval '1 microsecond' WHERE seq = 2", "broken", "an event from 1 to"},
		"an event elsewhere":            {"UPDATE event SET message = (SELECT max(id) FROM message) WHERE seq = 1", "broken", "an event from 1 to"},
		"a sealed event gone":           {"DELETE FROM event WHERE seq = 3", "broken", "event 3 is missing"},
		"sealed events gone at the end": {"DELETE FROM event WHERE seq > 2", "broken", "event 3 is missing"},
		"a number twice":                {"INSERT INTO event SELECT authority, seq, 'x', delivery, at, kind, by, detail FROM event WHERE seq = 2", "broken", "event 3 is missing"},
		"a fresh event gone":            {"DELETE FROM event_fresh WHERE no = (SELECT max(no) FROM event_fresh)", "broken", "events were written"},
		"a seal gone":                   {"DELETE FROM seal WHERE first = 1", "broken", "the seal over event 1 is missing"},
		"events and seals gone":         {"DELETE FROM event; DELETE FROM seal", "broken", "the seal over event 1 is missing"},
		"an open delivery gone":         {"DELETE FROM delivery WHERE no = 3", "ok", "5 deliveries were accepted"},
		"a final delivery gone":         {"DELETE FROM delivery_final WHERE no = 1", "ok", "5 deliveries were accepted"},
		"a delivery twice":              {"INSERT INTO delivery_final SELECT no, message, n, authority, notice, recipient, NULL, '', '', '', false, 'delivered', verdict, 0::smallint, lane, owner, 0, false, '', 0, now(), '' FROM delivery WHERE no = 3", "ok", "Delivery 3 is open and final"},
		"a state changed":               {toFinal("no = 3", "delivered", ""), "ok", "The tally says"},
		"told of nothing":               {toFinal("no = 3", "returned", ""), "ok", "Delivery 3 is returned, but no notice"},
		"returning, not told":           {"UPDATE delivery SET state = 'returning' WHERE no = 3", "ok", "Delivery 3 is returning, but no open notice"},
		"an attempt gone":               {"DELETE FROM attempt WHERE delivery = 1 AND no = 1", "ok", "Delivery 1 has attempts without a trace"},
		"a message gone":                {"DELETE FROM message WHERE kind = 'notice'", "ok", "belongs to none"},
		"a recipient too many":          {"UPDATE message SET recipients = 2 WHERE kind = 'notice'", "ok", "1 messages have not as many deliveries"},
		"a delivery of no message":      {"UPDATE delivery SET message = 'nothing' WHERE no = 3", "ok", "belongs to none"},
		"another authority's":           {"UPDATE delivery SET authority = 7 WHERE no = 3", "ok", "does not fit its message"},
		"a body gone":                   {"DELETE FROM body", "ok", "cannot be read"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t)
			s := openStore(t, dsn, Options{})
			workOnEverything(t, s)
			if _, err := s.Accept(t.Context(), benchAcceptance("x.example", []byte("sealed"))); err != nil {
				t.Fatal(err)
			}
			ledgertest.CheckLaws(t, s)
			if err := raw(t, dsn, free+test.script); err != nil {
				t.Fatal(err)
			}
			v, err := s.Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(v.Problems, "\n")
			if v.Chain != test.chain || !strings.Contains(all, test.want) {
				t.Errorf("chain %s, problems:\n%s\nwant %s and %q", v.Chain, all, test.chain, test.want)
			}
		})
	}
}

// TestStrangeText: bytes that PostgreSQL does not take come back as they were, and are found.
func TestStrangeText(t *testing.T) {
	s := openStore(t, database(t), Options{})
	strange := "a\x00b\xff\xc3(\U0010FF41\U0010FFFF\xe6"
	a := benchAcceptance("lane"+strange, []byte("sealed"))
	a.Message.Sender.Shown = strange + "@eksempel.example"
	a.Message.HeaderID, a.Message.Client = "<"+strange+">", strange
	a.Deliveries[0].Recipient.Shown = strange + "@borger.example"
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	work, err := s.Claim(t.Context(), now, ledger.Claim{Node: "n", Lane: "lane" + strange, Max: 1, Lease: time.Minute})
	if err != nil || len(work) != 1 || work[0].Deliveries[0].Recipient.Shown != strange+"@borger.example" || work[0].Message.Sender.Shown != a.Message.Sender.Shown {
		t.Fatalf("claimed %+v, %v", work, err)
	}
	d := work[0].Deliveries[0]
	errs := s.Apply(t.Context(), ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Delivered, At: now, Event: ledger.Event{Detail: strange},
		Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "delivered", Text: strange}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	st, err := s.Story(t.Context(), a.Message.ID)
	if err != nil || st.Message.Client != strange || st.Attempts[0].Text != strange || st.Events[len(st.Events)-1].Detail != strange {
		t.Errorf("%+v, %v", st, err)
	}
	for _, q := range []ledger.Query{{HeaderID: strange}, {Sender: strange + "@eksempel.example"}, {Recipient: "@borger.example"}} {
		if found, err := s.Find(t.Context(), q); err != nil || len(found) != 1 {
			t.Errorf("%+v: found %v, %v", q, found, err)
		}
	}
	ledgertest.CheckLaws(t, s)
}

// A transaction that is repeated passes the same arguments once more.
func TestEscapedTwice(t *testing.T) {
	args := []any{"a\x00b", []string{"c\xff"}, 7}
	first := fmt.Sprintf("%q", escaped(args))
	if again := fmt.Sprintf("%q", escaped(args)); again != first || first == fmt.Sprintf("%q", args) {
		t.Errorf("%q became %s, and then %s", args, first, again)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "Bo", "a\x00b", "\xff", "\U0010FF00", "\U0010FFFF\xf4\x8f\xbc", "æøå\xc3", "\U00100000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if strings.IndexByte(e, 0) >= 0 || strings.ToValidUTF8(e, "") != e {
			t.Errorf("%q is stored as %q", s, e)
		}
		if got := unescape(e); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
