package postgres

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
	if err := s.note(ctx, e); err != nil {
		return fmt.Errorf("note %s: %w", e.Kind, err)
	}
	return nil
}

func (s *Store) note(ctx context.Context, e ledger.Event) (err error) {
	ev := event{message: e.Message, delivery: e.Delivery, at: e.At, kind: e.Kind, by: e.By, detail: e.Detail}
	if e.Message == "" {
		if ev.authority, err = s.authority(ctx, e.Authority); err != nil {
			return err
		}
	}
	return s.do(ctx, func(t *tx) error {
		if e.Message != "" {
			found, err := t.one(func(r row) { ev.authority = int32(r.int(0)) }, "SELECT authority FROM message WHERE id = $1", string(e.Message))
			if err != nil {
				return err
			}
			if !found {
				return ledger.ErrNotFound
			}
		}
		t.record(ev)
		return nil
	})
}

// Get returns a fact; "" when it was never put.
func (s *Store) Get(ctx context.Context, name string) (v string, err error) {
	err = s.read(ctx, func(t *tx) error {
		v = ""
		_, err := t.one(func(r row) { v = r.str(0) }, "SELECT value FROM fact WHERE name = $1", name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("get %s: %w", name, err)
	}
	return v, nil
}

// Put keeps a fact.
func (s *Store) Put(ctx context.Context, name, v string) error {
	err := s.do(ctx, func(t *tx) error {
		t.exec("INSERT INTO fact (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, v)
		return nil
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}
