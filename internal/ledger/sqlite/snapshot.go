package sqlite

import "context"

// Ask runs one SELECT and calls f with each row: integers as int64, texts as string, blobs as []byte, NULL as nil. The row is valid until f
// returns; what was taken from it stays. f must not ask.
type Ask func(f func(row []any) error, query string, args ...any) error

// Snapshot lets f ask the ledger in SQL, as of one moment: for what takes all of it elsewhere.
func (s *Store) Snapshot(ctx context.Context, f func(Ask) error) error {
	return s.read(ctx, func(c *conn) error {
		return f(func(each func([]any) error, query string, args ...any) error {
			values := make([]value, len(args))
			for i, a := range args {
				values[i] = a
			}
			var out []any
			return c.query(ctx, func(r row) error {
				out = out[:0]
				for _, v := range r {
					out = append(out, v)
				}
				return each(out)
			}, query, values...)
		})
	})
}
