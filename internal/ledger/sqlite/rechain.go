package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
)

// rechain belongs to migration 3. The seals of the first schema were hashes over the events themselves; they become hashes over leaves.
// A seal that did not hold keeps its hash, and so does not hold afterwards either.
func rechain(c *conn) error {
	type oldSeal struct {
		authority, first, last int64
		hash                   []byte
		at                     value
	}
	var seals []oldSeal
	err := c.query(context.Background(), func(r row) error {
		seals = append(seals, oldSeal{r.int(0), r.int(1), r.int(2), r.bytes(3), r[4]})
		return nil
	}, "SELECT authority, first, last, hash, at FROM seal_old ORDER BY authority, last")
	if err != nil {
		return err
	}
	var before, oldBefore []byte
	for i, s := range seals {
		if i == 0 || seals[i-1].authority != s.authority {
			before, oldBefore = nil, nil
		}
		old, oldErr := c.hashEventsWhole(s.authority, s.first, s.last, oldBefore)
		hash, batch, err := c.hashEvents(context.Background(), s.authority, s.first, s.last, before)
		var gap errGap
		if err != nil && !errors.As(err, &gap) || oldErr != nil {
			return errors.Join(err, oldErr)
		}
		sum := hash[:]
		if !bytes.Equal(old, s.hash) {
			sum = s.hash
		}
		if _, err := c.exec("INSERT INTO seal (authority, first, last, count, hash, batch, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			s.authority, s.first, s.last, s.last-s.first+1, sum, batch[:], s.at); err != nil {
			return err
		}
		before, oldBefore = sum, s.hash
	}
	return c.script("DROP TABLE seal_old")
}

// hashEventsWhole is what a seal of the first schema was: SHA-256 of the seal before and the events in their canonical form.
func (c *conn) hashEventsWhole(authority, first, last int64, before []byte) ([]byte, error) {
	h := sha256.New()
	h.Write(before)
	err := c.query(context.Background(), func(r row) error { writeWhole(h, r); return nil },
		`SELECT e.seq, a.name, coalesce(m.id, ''), coalesce(e.delivery, 0), e.at, e.kind, e.by, e.detail
		FROM event AS e JOIN authority AS a ON a.no = e.authority LEFT JOIN message AS m ON m.no = e.message
		WHERE e.authority = ? AND e.seq BETWEEN ? AND ? ORDER BY e.seq`, authority, first, last)
	return h.Sum(nil), err
}

// writeWhole writes an event: numbers as 8 bytes big-endian, texts with their length in bytes before them.
func writeWhole(h hash.Hash, r row) {
	var b [8]byte
	for _, v := range r {
		switch v := v.(type) {
		case int64:
			binary.BigEndian.PutUint64(b[:], uint64(v))
			h.Write(b[:])
		case string:
			binary.BigEndian.PutUint64(b[:], uint64(len(v)))
			h.Write(b[:])
			h.Write([]byte(v))
		}
	}
}
