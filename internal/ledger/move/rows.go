package move

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/ledger/sqlite"
)

// source is where a table of the database comes from in the file. Messages have a number there and an id here; what is
// final stands apart here.
type source struct {
	table   string
	key     string // columns, separated by spaces; rows come in its order
	columns []column
	from    string // FROM, WHERE
}

// column is a column of the database and the expression in the file that it comes from.
type column struct{ name, expr string }

// words are columns of one table with equal names on both sides, those of d or m.
func words(alias, names string) (out []column) {
	for name := range strings.FieldsSeq(names) {
		out = append(out, column{name, alias + "." + name})
	}
	return out
}

const (
	openColumns  = "no n authority notice recipient recipient_sealed recipient_key notify orcpt inside state verdict body lane owner due deadline watch attempts node started possibly told rung"
	finalColumns = "no n authority notice recipient recipient_sealed recipient_key notify orcpt inside state verdict body lane owner attempts possibly told rung ended_at ended_by"
)

// ofDelivery are the columns of a delivery: its message by id, and its message's authority.
func ofDelivery(names string) []column {
	out := []column{{"message", "m.id"}}
	for _, c := range words("d", names) {
		if c.name == "authority" {
			c.expr = "m.authority"
		}
		out = append(out, c)
	}
	return out
}

var sources = []source{
	{"authority", "no", words("a", "no name"), "authority AS a"},
	{"message", "id", append(words("m", `id authority kind direction sender sender_sealed sender_key header_id size client ret envid utf8 eight_bit
		tell_sender unit language accepted_at findings repairs erased_at`),
		column{"recipients", "(SELECT count(*) FROM delivery AS d WHERE d.message = m.no)"}), "message AS m"},
	{"body", "message n", []column{{"message", "m.id"}, {"n", "b.no % 8"}, {"data", "b.data"}}, "body AS b JOIN message AS m ON m.no = b.no / 8"},
	{"delivery", "no", append(ofDelivery(openColumns), column{"many", "(SELECT count(*) > 1 FROM delivery AS o WHERE o.message = d.message)"}),
		"delivery AS d JOIN message AS m ON m.no = d.message WHERE d.ended_at IS NULL"},
	{"delivery_final", "message n", ofDelivery(finalColumns), "delivery AS d JOIN message AS m ON m.no = d.message WHERE d.ended_at IS NOT NULL"},
	{"link", "notice about", []column{{"notice", "n.id"}, {"about", "l.about"}, {"subject", "m.id"}, {"tells", "l.tells"}},
		"link AS l JOIN message AS n ON n.no = l.notice JOIN delivery AS d ON d.no = l.about JOIN message AS m ON m.no = d.message"},
	{"attempt", "message delivery no", append(words("a", "delivery no node started ended outcome code enhanced text contact receipt"), column{"message", "m.id"}),
		"attempt AS a JOIN delivery AS d ON d.no = a.delivery JOIN message AS m ON m.no = d.message"},
	{"event", "authority seq", append(words("e", "authority seq at kind by detail words"),
		column{"message", "coalesce(m.id, '')"}, column{"delivery", "coalesce(e.delivery, 0)"}), "event AS e LEFT JOIN message AS m ON m.no = e.message"},
	{"leaf", "authority seq", words("l", "authority seq hash"), "leaf AS l"},
	{"proof", "authority seq", words("p", "authority seq at stage class messages delivered returned withdrawn events until ids"), "proof AS p"},
	{"seal", "authority last", words("s", "authority first last batch hash at"), "seal AS s"},
	{"tally", "authority slot", tallyColumns(), "(SELECT DISTINCT authority FROM tally) AS a"},
	{"fact", "name", words("f", "name value"), "(SELECT name, value FROM fact WHERE name NOT IN ('" + movedFact + "', '" + fromFact + "') UNION ALL SELECT '" + fromFact + "', '%s') AS f"},
}

// tallyColumns: a line for each sum there, a column here.
func tallyColumns() []column {
	out := []column{{"authority", "a.authority"}, {"slot", "0"}}
	for _, what := range append([]string{"accepted", "events", "sealed"}, states()...) {
		out = append(out, column{what, "coalesce((SELECT n FROM tally AS t WHERE t.authority = a.authority AND t.what = '" + what + "'), 0)"})
	}
	return out
}

func states() (out []string) {
	for _, s := range ledger.States {
		out = append(out, string(s))
	}
	return out
}

// left are the tables of the file that are not moved: who is at work, and what is between two steps of retention. Every other one must
// have a source, so that a later migration forgets none.
var left = []string{"node", "duty", "pruning", "prune_cursor", "prune_wait"}

// tablesFor makes the tables as this database has them. What has no place there must be empty in the file.
func tablesFor(ctx context.Context, ask sqlite.Ask, to *postgres.Store, print string) (tables []postgres.Table, err error) {
	if err := allKnown(ask, sources); err != nil {
		return nil, err
	}
	for _, s := range sources {
		if s.table == "fact" { // the mark goes with the rows, so that a run that was cut off afterwards knows them again
			s.from = fmt.Sprintf(s.from, print)
		}
		here, err := to.Columns(ctx, s.table)
		if err != nil {
			return nil, err
		}
		var columns []column
		for _, c := range s.columns {
			if slices.Contains(here, c.name) {
				columns = append(columns, c)
			} else if err := s.mustLack(ask, c); err != nil {
				return nil, err
			}
		}
		if len(columns) > 0 {
			tables = append(tables, s.rows(ask, columns))
		}
	}
	return tables, nil
}

// allKnown refuses a file with a table that nobody here has thought of.
func allKnown(ask sqlite.Ask, sources []source) error {
	var unknown []string
	err := ask(func(row []any) error {
		name, _ := row[0].(string)
		if !slices.Contains(left, name) && !slices.ContainsFunc(sources, func(s source) bool { return s.table == name }) {
			unknown = append(unknown, name)
		}
		return nil
	}, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("the file has tables that would not be moved: %s", strings.Join(unknown, ", "))
	}
	return err
}

// mustLack refuses to leave something behind.
func (s source) mustLack(ask sqlite.Ask, c column) error {
	where := " WHERE "
	if strings.Contains(s.from, " WHERE ") {
		where = " AND "
	}
	return ask(func([]any) error {
		return fmt.Errorf("the file holds %s.%s, for which the database has no place", s.table, c.name)
	}, "SELECT 1 FROM "+s.from+where+"("+c.expr+") IS NOT NULL LIMIT 1")
}

// rows is a source as a table on its way.
func (s source) rows(ask sqlite.Ask, columns []column) postgres.Table {
	t := postgres.Table{Name: s.table, Key: strings.Fields(s.key)}
	var exprs []string
	for _, c := range columns {
		t.Columns = append(t.Columns, c.name)
		exprs = append(exprs, c.expr+` AS "`+c.name+`"`)
	}
	query := "SELECT " + strings.Join(exprs, ", ") + " FROM " + s.from + " ORDER BY " + strings.Join(quoted(t.Key), ", ")
	t.Rows = func(yield func([]any) error) error { return ask(yield, query) }
	return t
}

func quoted(names []string) (out []string) {
	for _, n := range names {
		out = append(out, `"`+n+`"`)
	}
	return out
}

// read hashes the tables as Import does on the way.
func read(tables []postgres.Table) (sent []postgres.Digest, err error) {
	for _, t := range tables {
		d, err := t.Digest()
		if err != nil {
			return nil, err
		}
		sent = append(sent, d)
	}
	return sent, nil
}

// fingerprint tells this ledger, as it stands, from every other: where its chains end, and what it has counted.
func fingerprint(ask sqlite.Ask) (string, error) {
	h := sha256.New()
	for _, query := range []string{"SELECT a.name, s.last, hex(s.hash) FROM authority AS a JOIN seal AS s ON s.authority = a.no ORDER BY a.name, s.last",
		"SELECT a.name, t.what, t.n FROM authority AS a JOIN tally AS t ON t.authority = a.no ORDER BY a.name, t.what"} {
		if err := ask(func(row []any) error { fmt.Fprintf(h, "%q\n", row); return nil }, query); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// monthsOf lists the months from the first message's acceptance to the last one's, at most 240: their ids begin with these, but for
// the random ones of the first versions.
func monthsOf(ask sqlite.Ask) (months []time.Time, err error) {
	oldest, newest := time.Time{}, time.Time{}
	err = ask(func(row []any) error {
		first, ok1 := row[0].(int64)
		last, ok2 := row[1].(int64)
		if ok1 && ok2 {
			oldest, newest = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		}
		return nil
	}, "SELECT min(accepted_at), max(accepted_at) FROM message")
	if err != nil || oldest.IsZero() {
		return nil, err
	}
	for m := time.Date(oldest.Year(), oldest.Month(), 1, 0, 0, 0, 0, time.UTC); !m.After(newest) && len(months) < 240; m = m.AddDate(0, 1, 0) {
		months = append(months, m)
	}
	return months, nil
}
