package postgres

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// row is the current row of a query, as the server sent it; it is valid until the function that got it returns, but the strings
// and bytes taken from it stay. Numbers, times and truths come in binary form.
type row struct {
	raw    [][]byte
	fields []pgconn.FieldDescription
}

func rowOf(rows pgx.Rows) row { return row{rows.RawValues(), rows.FieldDescriptions()} }

func (r row) null(i int) bool { return r.raw[i] == nil }

// int reads a whole number; 0 for NULL.
func (r row) int(i int) int64 {
	b := r.raw[i]
	if r.fields[i].Format == pgx.TextFormatCode {
		n, _ := strconv.ParseInt(string(b), 10, 64)
		return n
	}
	switch len(b) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case 8:
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r row) str(i int) string { return unescape(string(r.raw[i])) }

func (r row) bytes(i int) []byte {
	if r.raw[i] == nil {
		return nil
	}
	return append([]byte{}, r.raw[i]...)
}

func (r row) bool(i int) bool {
	b := r.raw[i]
	return len(b) == 1 && (b[0] == 1 || b[0] == 't')
}

// epoch is where PostgreSQL's times begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// time reads a time; the zero time for NULL.
func (r row) time(i int) time.Time {
	if len(r.raw[i]) != 8 {
		return time.Time{}
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(r.raw[i])) + epoch).UTC()
}

// moment is a time as a parameter: NULL for the zero time.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Microsecond)
}

// blob is bytes as a parameter: NULL for nil.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}
