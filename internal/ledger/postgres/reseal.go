package postgres

import (
	"context"
	"fmt"
)

// One transaction of Reseal takes at most so many sealed things, and begins no further one beyond so many bytes.
const (
	resealBatch = 64
	resealBytes = 8 << 20
)

// sealedThings are the columns that hold sealed bytes, each with how to walk, by message and number (%s: a condition on the authority), how
// to get and how to replace.
var sealedThings = []struct{ list, get, put string }{
	{
		`SELECT b.message, b.n::bigint, octet_length(b.data) FROM body AS b JOIN message AS m ON m.id = b.message
			WHERE (b.message, b.n) > ($1, $2::smallint)%s ORDER BY b.message, b.n LIMIT $3`,
		"SELECT data FROM body WHERE message = $1 AND n = $2::smallint FOR UPDATE",
		"UPDATE body SET data = $3 WHERE message = $1 AND n = $2::smallint",
	},
	{
		`SELECT m.id, 0::bigint, octet_length(m.sender_sealed) FROM message AS m
			WHERE (m.id, 0) > ($1, $2::integer) AND m.sender_sealed IS NOT NULL%s ORDER BY m.id LIMIT $3`,
		"SELECT sender_sealed FROM message WHERE id = $1 AND $2::integer = 0 FOR UPDATE",
		"UPDATE message SET sender_sealed = $3 WHERE id = $1 AND $2::integer = 0",
	},
	{
		`SELECT m.message, m.n::bigint, octet_length(m.recipient_sealed) FROM delivery AS m
			WHERE (m.message, m.n) > ($1, $2::integer) AND m.recipient_sealed IS NOT NULL%s ORDER BY m.message, m.n LIMIT $3`,
		"SELECT recipient_sealed FROM delivery WHERE message = $1 AND n = $2::integer FOR UPDATE",
		"UPDATE delivery SET recipient_sealed = $3 WHERE message = $1 AND n = $2::integer",
	},
	{ // after the open ones, for they come here
		`SELECT m.message, m.n::bigint, octet_length(m.recipient_sealed) FROM delivery_final AS m
			WHERE (m.message, m.n) > ($1, $2::integer) AND m.recipient_sealed IS NOT NULL%s ORDER BY m.message, m.n LIMIT $3`,
		"SELECT recipient_sealed FROM delivery_final WHERE message = $1 AND n = $2::integer FOR UPDATE",
		"UPDATE delivery_final SET recipient_sealed = $3 WHERE message = $1 AND n = $2::integer",
	},
}

// Reseal walks the sealed bodies and addresses through f, in batches of their own transactions: mail goes on meanwhile. f may return nil
// to leave one as it is; it must not use the ledger. n is how many were replaced. Dying half-way leaves some sealed anew and some not;
// both are readable while the key file holds both keys, and Reseal can simply run again.
func (s *Store) Reseal(ctx context.Context, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	return s.reseal(ctx, whole, f)
}

// ResealOf is Reseal over one authority's bodies and addresses.
func (s *Store) ResealOf(ctx context.Context, authority string, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	p := nowhere
	err = s.read(ctx, func(t *tx) (err error) {
		p, err = t.part(authority)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reseal: %w", err)
	}
	return s.reseal(ctx, p, f)
}

func (s *Store) reseal(ctx context.Context, p part, f func(id string, sealed []byte) ([]byte, error)) (n int, err error) {
	for _, thing := range sealedThings {
		at := place{"", -1}
		for done := false; !done; {
			var next place
			replaced := 0
			err := s.do(ctx, func(t *tx) (err error) {
				next, replaced, err = t.reseal(fmt.Sprintf(thing.list, p.and("m.authority")), thing.get, thing.put, at, f)
				return err
			})
			if err != nil {
				return n, fmt.Errorf("reseal: %w", err)
			}
			n, done, at = n+replaced, next == at, next
		}
	}
	return n, nil
}

// place is where a walk stands.
type place struct {
	message string
	n       int64
}

func (t *tx) reseal(list, get, put string, from place, f func(string, []byte) ([]byte, error)) (next place, replaced int, err error) {
	type item struct {
		place
		size int64
	}
	var items []item
	err = t.query(func(r row) error { items = append(items, item{place{r.str(0), r.int(1)}, r.int(2)}); return nil },
		list, from.message, from.n, resealBatch)
	next = from
	size := int64(0)
	for _, it := range items {
		if size += it.size; size > resealBytes && next != from {
			break
		}
		var sealed []byte
		there, err := t.one(func(r row) { sealed = r.bytes(0) }, get, it.message, it.n)
		if err != nil {
			return from, 0, err
		}
		next = it.place
		if !there || sealed == nil { // it went meanwhile
			continue
		}
		fresh, err := f(it.message, sealed)
		if err != nil {
			return from, 0, fmt.Errorf("message %s: %w", it.message, err)
		}
		if fresh != nil {
			t.exec(put, it.message, it.n, fresh)
			replaced++
		}
	}
	return next, replaced, err
}
