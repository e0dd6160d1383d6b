package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	driverpkg "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It is used by one goroutine at a time.
//
// It speaks to the driver itself and not through database/sql: the writer keeps one connection for life anyway, and
// the way through database/sql cost about as much as the statements.
type conn struct {
	dc     driver.Conn
	stmts  map[string]driver.Stmt // by their text, which is a constant
	args   []driver.NamedValue    // reused by every statement
	writes int                    // statements that may have written, ever
	// deaf: contexts do not end its queries. SQLite would roll back the whole transaction, which other callers share.
	deaf bool
}

type value = driver.Value

// row is the current row of a query; it is valid until the function that got it returns, but its strings and bytes stay.
type row []driver.Value

func (r row) int(i int) int64    { n, _ := r[i].(int64); return n }
func (r row) str(i int) string   { s, _ := r[i].(string); return s }
func (r row) bytes(i int) []byte { b, _ := r[i].([]byte); return b }
func (r row) bool(i int) bool    { return r.int(i) != 0 }

// time reads a time kept in microseconds; the zero time for NULL.
func (r row) time(i int) time.Time {
	n, ok := r[i].(int64)
	if !ok {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// micros is a time as the tables keep it; NULL for the zero time.
func micros(t time.Time) value {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func flag(b bool) value {
	if b {
		return int64(1)
	}
	return int64(0)
}

// blob is b, or NULL when there is none.
func blob(b []byte) value {
	if len(b) == 0 {
		return nil
	}
	return b
}

func openConn(path string, pragmas ...string) (*conn, error) {
	q := url.Values{"_pragma": pragmas}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	connector, err := driverpkg.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	return &conn{dc: dc, stmts: make(map[string]driver.Stmt)}, nil
}

func (c *conn) close() error { return errors.Join(c.forget(), c.dc.Close()) }

// forget closes the prepared statements.
func (c *conn) forget() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	clear(c.stmts)
	return errors.Join(errs...)
}

func (c *conn) prepare(query string) (driver.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.dc.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) named(args []value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement that returns no rows.
func (c *conn) exec(query string, args ...value) (driver.Result, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	c.writes++
	return s.(driver.StmtExecContext).ExecContext(context.Background(), c.named(args))
}

// insert runs an INSERT and returns the number of the row.
func (c *conn) insert(query string, args ...value) (int64, error) {
	r, err := c.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// errStop ends a query early and is no error.
var errStop = errors.New("stop")

// query calls f with each row, until f returns an error; errStop ends it without one. f must not use c.
func (c *conn) query(ctx context.Context, f func(row) error, query string, args ...value) (err error) {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	if c.deaf {
		ctx = context.Background()
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, c.named(args))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	r := make(row, len(rows.Columns()))
	for {
		switch err := rows.Next(r); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := f(r); err == errStop {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// one calls f with the first row and reports whether there was one.
func (c *conn) one(ctx context.Context, f func(row), query string, args ...value) (found bool, err error) {
	err = c.query(ctx, func(r row) error { found = true; f(r); return errStop }, query, args...)
	return found, err
}

// script runs several statements.
func (c *conn) script(text string) error {
	s, err := c.dc.Prepare(text)
	if err != nil {
		return err
	}
	defer s.Close()
	c.writes++
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	return err
}
