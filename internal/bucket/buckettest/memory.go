// Package buckettest holds what tests of bodies in an object store need: a strict store in memory with faults, the contract
// that every bucket.Bucket passes, and a real server.
package buckettest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"postvagt/internal/bucket"
)

// Memory is an object store in memory. The zero value is empty.
type Memory struct {
	// Fault, when set, is asked before each step: "put", "put-done", "get", "delete", "delete-done" and "list", with the object's
	// name. An error makes the step fail; at "…-done" it is done all the same.
	Fault func(point, name string) error
	// Now is the store's clock; nil: the machine's.
	Now func() time.Time

	mu      sync.Mutex
	objects map[string]object
}

type object struct {
	data    []byte
	changed time.Time
}

var _ bucket.Bucket = (*Memory)(nil)

func (m *Memory) String() string { return "https://memory.example/bodies/" }

// step asks for the fault of a step and takes the lock when there is none.
func (m *Memory) step(ctx context.Context, point, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Fault != nil {
		if err := m.Fault(point, name); err != nil {
			return err
		}
	}
	m.mu.Lock()
	if m.objects == nil {
		m.objects = map[string]object{}
	}
	return nil
}

func (m *Memory) done(ctx context.Context, point, name string) error {
	m.mu.Unlock()
	if m.Fault == nil {
		return nil
	}
	return m.Fault(point, name)
}

func (m *Memory) Put(ctx context.Context, name string, data []byte) error {
	if err := m.step(ctx, "put", name); err != nil {
		return err
	}
	if _, taken := m.objects[name]; taken {
		m.mu.Unlock()
		return fmt.Errorf("put %s: %w", name, bucket.ErrExists)
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	m.objects[name] = object{bytes.Clone(data), now()}
	return m.done(ctx, "put-done", name)
}

func (m *Memory) Get(ctx context.Context, name string, most int64) ([]byte, error) {
	if err := m.step(ctx, "get", name); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	o, there := m.objects[name]
	if !there {
		return nil, fmt.Errorf("get %s: %w", name, bucket.ErrNone)
	}
	if int64(len(o.data)) > most {
		return nil, fmt.Errorf("get %s: larger than %d bytes", name, most)
	}
	return bytes.Clone(o.data), nil
}

func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := m.step(ctx, "delete", name); err != nil {
		return err
	}
	delete(m.objects, name)
	return m.done(ctx, "delete-done", name)
}

func (m *Memory) List(ctx context.Context, after string, max int) ([]bucket.Object, error) {
	if err := m.step(ctx, "list", after); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var all []bucket.Object
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		if name > after && len(all) < max {
			all = append(all, bucket.Object{Name: name, Size: int64(len(m.objects[name].data)), Changed: m.objects[name].changed})
		}
	}
	return all, nil
}

// Names lists all objects.
func (m *Memory) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Damage replaces an object's bytes, as a store that lies would.
func (m *Memory) Damage(name string, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[name]
	o.data = change(bytes.Clone(o.data))
	m.objects[name] = o
}
