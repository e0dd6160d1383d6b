package sqlite

import (
	"context"
	"fmt"
	"time"

	"postvagt/internal/ledger"
)

// Note appends an event that changes no delivery. An event with a message belongs to that message's authority; one
// without needs its Authority.
func (s *Store) Note(ctx context.Context, e ledger.Event) error {
	if e.Kind == "" {
		return fmt.Errorf("note: the event has no kind")
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	err := s.do(ctx, 512, func(t *tx) error {
		ev := event{delivery: int64(e.Delivery), at: micros(e.At), kind: e.Kind, by: e.By, detail: e.Detail}
		if e.Message != "" {
			m, err := t.messageByID(ctx, e.Message)
			if err != nil {
				return err
			}
			ev.message, ev.authority = m.no, m.stored.authority
			return t.record(ev)
		}
		authority, err := t.authority(e.Authority)
		if err != nil {
			return err
		}
		ev.authority = authority
		return t.record(ev)
	})
	if err != nil {
		return fmt.Errorf("note %s: %w", e.Kind, err)
	}
	return nil
}

// Get returns a fact; "" when it was never put.
func (s *Store) Get(ctx context.Context, name string) (v string, err error) {
	err = s.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { v = r.str(0) }, "SELECT value FROM fact WHERE name = ?", name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("get %s: %w", name, err)
	}
	return v, nil
}

// Put keeps a fact.
func (s *Store) Put(ctx context.Context, name, v string) error {
	err := s.do(ctx, 512, func(t *tx) error {
		_, err := t.exec("INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, v)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}
