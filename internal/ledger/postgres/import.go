package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Table is all rows of one table on their way into an empty ledger. Values are int64 (numbers, truths as 0 and 1, times in
// microseconds since 1970), string, []byte and nil; what they become follows from the columns they go to.
type Table struct {
	Name    string
	Columns []string
	Key     []string                                // rows come in its order
	Rows    func(yield func(row []any) error) error // the row may be used again after yield
}

// Digest is what a table held: how many rows, and SHA-256 over all of their values in the order of the key.
type Digest struct {
	Table  string
	Rows   int64
	SHA256 [sha256.Size]byte
}

// ErrNotEmpty: the database holds a ledger with something in it.
var ErrNotEmpty = errors.New("the database holds a ledger that is not empty")

// Columns lists the columns of a table; none when there is no such table.
func (s *Store) Columns(ctx context.Context, table string) (columns []string, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.query(func(r row) error { columns = append(columns, r.str(0)); return nil },
			"SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum", table)
	})
	return columns, err
}

// Import fills an empty ledger, in one transaction: all of it or nothing. The rows are taken as they are: the triggers that
// allow only steps rest meanwhile, and the caller proves what has come of it (Digests, Verify). Months with rows get their partitions first.
func (s *Store) Import(ctx context.Context, months []time.Time, tables []Table) (digests []Digest, err error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	for _, from := range months {
		for _, table := range parted {
			name := table + from.Format("_2006_01")
			if err := makePartition(ctx, conn.Conn(), name, from); err != nil {
				return nil, fmt.Errorf("make the partition %s: %w", name, err)
			}
		}
	}
	if err := s.fault("begin"); err != nil {
		return nil, err
	}
	session := sessionOf(conn.Conn().PgConn())
	session.doubt.Store(false)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := s.quiet(ctx, tx); err != nil {
			return err
		}
		for _, t := range tables {
			d, err := t.copyInto(ctx, tx)
			if err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
			digests = append(digests, d)
		}
		if err := loud(ctx, tx); err != nil {
			return err
		}
		return s.fault("commit-before")
	})
	if err == nil && session.doubt.Load() {
		err = errDoubt
	}
	if err == nil {
		err = s.fault("commit-after")
	}
	if err != nil {
		return nil, err
	}
	return digests, analyze(ctx, conn)
}

// analyze lets the planner know what came, without waiting for the autovacuum.
func analyze(ctx context.Context, conn *pgxpool.Conn) error {
	_, err := conn.Exec(ctx, "SET statement_timeout = 0")
	if err == nil {
		_, err = conn.Exec(ctx, "ANALYZE")
	}
	discard(conn) // its settings are changed
	return err
}

// holders are the tables of which one row makes a ledger that is not empty.
var holders = []string{"authority", "message", "event", "event_fresh", "seal", "fact"}

// empty refuses a ledger that holds anything, or on which a guard is at work.
func (s *Store) empty(ctx context.Context) error {
	return s.read(ctx, func(t *tx) error {
		for _, table := range holders {
			if there, err := t.exists("SELECT 1 FROM " + table + " LIMIT 1"); err != nil || there {
				return errors.Join(err, only(there, ErrNotEmpty))
			}
		}
		busy, err := t.exists("SELECT 1 FROM node WHERE until > now() LIMIT 1")
		return errors.Join(err, only(busy, errors.New("a guard is at work on the database: stop it first")))
	})
}

func only(when bool, err error) error {
	if when {
		return err
	}
	return nil
}

// quiet locks the ledger, looks once more that nothing came meanwhile, and lets the triggers rest until loud.
func (s *Store) quiet(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true),
		set_config('lock_timeout', '60s', true)`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(append([]string{"delivery", "delivery_final"}, holders...), ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return err
	}
	for _, table := range holders {
		there := false
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+table+")").Scan(&there); err != nil || there {
			return errors.Join(err, only(there, ErrNotEmpty))
		}
	}
	return triggers(ctx, tx, "DISABLE")
}

// loud ends what quiet began, and lets numbers go on after those that came.
func loud(ctx context.Context, tx pgx.Tx) error {
	if err := triggers(ctx, tx, "ENABLE"); err != nil {
		return err
	}
	for _, q := range []string{
		"SELECT setval('delivery_no', greatest(1, (SELECT max(no) FROM delivery), (SELECT max(no) FROM delivery_final), (SELECT max(delivery) FROM event)))",
		"SELECT setval(pg_get_serial_sequence('authority', 'no'), greatest(1, (SELECT max(no) FROM authority)), EXISTS (SELECT FROM authority))",
	} {
		if _, err := tx.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// triggers disables or enables the row triggers of delivery_final, partition by partition: they allow a final delivery only as a step
// from an open one.
func triggers(ctx context.Context, tx pgx.Tx, how string) error {
	rows, err := tx.Query(ctx, "SELECT relid::regclass::text FROM pg_partition_tree('delivery_final')")
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, table := range tables {
		if _, err := tx.Exec(ctx, "ALTER TABLE ONLY "+table+" "+how+" TRIGGER final_step"); err != nil {
			return err
		}
	}
	return nil
}

// errStopped ends the reading of rows that nobody wants any more.
var errStopped = errors.New("stopped")

// copyInto copies the rows and hashes them on their way.
func (t Table) copyInto(ctx context.Context, tx pgx.Tx) (Digest, error) {
	types, err := t.types(ctx, tx)
	if err != nil {
		return Digest{}, err
	}
	h := newDigester(t.Name)
	next, stop := make(chan []any), make(chan struct{})
	read := make(chan error, 1)
	go func() {
		defer close(next)
		read <- t.Rows(func(row []any) error {
			h.add(row)
			out := make([]any, len(row))
			for i, v := range row {
				var err error
				if out[i], err = fitted(v, types[i]); err != nil {
					return fmt.Errorf("column %s: %w", t.Columns[i], err)
				}
			}
			select {
			case next <- out:
				return nil
			case <-stop:
				return errStopped
			}
		})
	}()
	_, copyErr := tx.CopyFrom(ctx, pgx.Identifier{t.Name}, t.Columns, pgx.CopyFromFunc(func() ([]any, error) {
		row, ok := <-next
		if !ok {
			readErr := <-read
			read <- readErr
			return nil, readErr
		}
		return row, nil
	}))
	close(stop)
	readErr := <-read // h is this goroutine's again
	if copyErr != nil {
		return Digest{}, copyErr
	}
	return h.digest(), readErr
}

// Digest reads the rows at their source.
func (t Table) Digest() (Digest, error) {
	h := newDigester(t.Name)
	err := t.Rows(func(row []any) error { h.add(row); return nil })
	return h.digest(), err
}

// types is what the columns hold, as format_type names it.
func (t Table) types(ctx context.Context, tx pgx.Tx) ([]string, error) {
	types := make([]string, len(t.Columns))
	for i, column := range t.Columns {
		if err := tx.QueryRow(ctx, "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped",
			t.Name, column).Scan(&types[i]); err != nil {
			return nil, fmt.Errorf("column %s: %w", column, err)
		}
	}
	return types, nil
}

// fitted is a value as its column takes it.
func fitted(v any, typ string) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if typ == "text" {
			return escape(v), nil
		}
	case []byte:
		if typ == "bytea" {
			return slices.Clone(v), nil
		}
	case int64:
		switch typ {
		case "bigint", "integer", "smallint":
			return v, nil
		case "boolean":
			return v != 0, nil
		case "timestamp with time zone":
			return time.UnixMicro(v).UTC(), nil
		}
	}
	return nil, fmt.Errorf("a %T does not go into %s", v, typ)
}

// Digests reads the tables' columns back, as of one moment, and hashes them as Import did.
func (s *Store) Digests(ctx context.Context, tables []Table) (digests []Digest, err error) {
	err = s.look(ctx, true, func(t *tx) error {
		digests = digests[:0]
		for _, table := range tables {
			d, err := t.digestOf(table)
			if err != nil {
				return fmt.Errorf("table %s: %w", table.Name, err)
			}
			digests = append(digests, d)
		}
		return nil
	})
	return digests, err
}

func (t *tx) digestOf(table Table) (Digest, error) {
	columns := quoted(table.Columns)
	var types []string
	err := t.query(func(r row) error { types = append(types, r.str(0)); return nil },
		`SELECT format_type(a.atttypid, NULL) FROM unnest($2::text[]) WITH ORDINALITY AS c (name, n)
		JOIN pg_attribute AS a ON a.attrelid = to_regclass($1) AND a.attname = c.name AND NOT a.attisdropped ORDER BY c.n`, table.Name, table.Columns)
	if err != nil {
		return Digest{}, err
	}
	if len(types) != len(columns) {
		return Digest{}, errors.New("a column is missing")
	}
	h := newDigester(table.Name)
	values := make([]any, len(columns))
	err = t.query(func(r row) error {
		for i, typ := range types {
			values[i] = r.value(i, typ)
		}
		h.add(values)
		return nil
	}, "SELECT "+strings.Join(columns, ", ")+" FROM "+table.Name+" ORDER BY "+strings.Join(table.order(types), ", "))
	return h.digest(), err
}

// order is the key as ORDER BY takes it: texts by their bytes, whatever the database's language.
func (t Table) order(types []string) []string {
	key := quoted(t.Key)
	for i, k := range t.Key {
		if n := slices.Index(t.Columns, k); n >= 0 && types[n] == "text" {
			key[i] += ` COLLATE "C"`
		}
	}
	return key
}

func quoted(names []string) (out []string) {
	for _, n := range names {
		out = append(out, pgx.Identifier{n}.Sanitize())
	}
	return out
}

// value is what fitted was given.
func (r row) value(i int, typ string) any {
	switch {
	case r.null(i):
		return nil
	case typ == "text":
		return r.str(i)
	case typ == "bytea":
		return r.bytes(i)
	case typ == "boolean":
		return map[bool]int64{true: 1}[r.bool(i)]
	case typ == "timestamp with time zone":
		return r.time(i).UnixMicro()
	}
	return r.int(i)
}

// digester hashes rows: each value with its kind and length before it, so that no two tables have the same form.
type digester struct {
	table string
	rows  int64
	h     hash.Hash
}

func newDigester(table string) *digester { return &digester{table: table, h: sha256.New()} }

func (d *digester) add(row []any) {
	d.rows++
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			d.h.Write([]byte{0})
		case int64:
			d.h.Write(binary.BigEndian.AppendUint64([]byte{1}, uint64(v)))
		case string:
			d.h.Write(binary.BigEndian.AppendUint64([]byte{2}, uint64(len(v))))
			d.h.Write([]byte(v))
		case []byte:
			d.h.Write(binary.BigEndian.AppendUint64([]byte{3}, uint64(len(v))))
			d.h.Write(v)
		}
	}
}

func (d *digester) digest() Digest {
	out := Digest{Table: d.table, Rows: d.rows}
	d.h.Sum(out.SHA256[:0])
	return out
}
