package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Parted is what an engine answers for one authority as if there were no other. It stands beside Store, as Cluster and Pruner
// do; every engine, and everything that stands before one, implements it. An authority that the ledger has never heard
// of has sums of zero, a chain that holds and no problems.
type Parted interface {
	// SumsOf is Sums over the authority's own deliveries.
	SumsOf(ctx context.Context, authority string) (Sums, error)
	// VerifyOf is Verify over the authority's own rows, chain and bodies; its problems speak of nobody else's.
	VerifyOf(ctx context.Context, authority string, open func(id string, sealed []byte) ([]byte, error)) (Verification, error)
	// ResealOf is Reseal over the authority's own bodies and addresses; f sees no others.
	ResealOf(ctx context.Context, authority string, f func(id string, sealed []byte) ([]byte, error)) (n int, err error)
}

// Errors of a scoped store.
var (
	// ErrScoped: what moves all mail (accept, claim, recover, seal …) is not done through one authority's view.
	ErrScoped = errors.New("one authority's view does not do the work of the whole installation")
	// ErrWhole: the engine, or what stands before it, does not implement Parted.
	ErrWhole = errors.New("this ledger cannot answer for one authority alone")
)

// Scoped is s as if only authority existed: whatever belongs to another is ErrNotFound, in the words in which something that
// does not exist is, and stays untouched. It is for looking and for what a person does; the guard's own work (Accept, Claim,
// Lanes, Watch, Recover, Unclaim, Seal) is ErrScoped. Closing it leaves s open.
func Scoped(s Store, authority string) Store { return &scoped{s, authority} }

type scoped struct {
	all       Store
	authority string
}

// FactOf is the name under which a fact of one authority is kept among the installation's.
func FactOf(authority, name string) string { return name + "\x1f" + authority }

// owns reports whether a message is the authority's. It costs the same for one that does not exist and for another's.
func (s *scoped) owns(ctx context.Context, id MessageID) (bool, error) {
	found, err := s.all.Find(ctx, Query{ID: id, Authority: s.authority, Limit: 1})
	return len(found) == 1 && found[0] == id, err
}

// own returns a delivery of the authority's; ErrNotFound.
func (s *scoped) own(ctx context.Context, id DeliveryID) (Claimed, error) {
	c, err := s.all.Delivery(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && c.Message.Authority != s.authority {
		return Claimed{}, ErrNotFound
	}
	return c, err
}

func (s *scoped) Find(ctx context.Context, q Query) ([]MessageID, error) {
	if q.Authority != "" && q.Authority != s.authority {
		return nil, nil
	}
	q.Authority = s.authority
	return s.all.Find(ctx, q)
}

func (s *scoped) Story(ctx context.Context, id MessageID) (Story, error) {
	mine, err := s.owns(ctx, id)
	if err == nil && !mine {
		err = ErrNotFound
	}
	if err != nil {
		return Story{}, fmt.Errorf("story of %s: %w", id, err)
	}
	story, err := s.all.Story(ctx, id)
	if err != nil {
		return Story{}, err
	}
	story.Notices, err = s.ownLinks(ctx, story.Notices)
	return story, err
}

// ownLinks leaves out links that lead to another authority. The guard makes none; a view does not rely on it.
func (s *scoped) ownLinks(ctx context.Context, links []NoticeLink) (own []NoticeLink, err error) {
	for _, l := range links {
		notice, err := s.owns(ctx, l.Notice)
		if err != nil {
			return nil, err
		}
		subject, err := s.owns(ctx, l.Subject)
		if err != nil {
			return nil, err
		}
		if notice && subject {
			own = append(own, l)
		}
	}
	return own, nil
}

func (s *scoped) Delivery(ctx context.Context, id DeliveryID) (Claimed, error) {
	c, err := s.own(ctx, id)
	if err != nil {
		return Claimed{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	return c, nil
}

func (s *scoped) Body(ctx context.Context, id MessageID, body int) ([]byte, error) {
	mine, err := s.owns(ctx, id)
	var data []byte
	if err == nil && mine {
		data, err = s.all.Body(ctx, id, body)
	}
	if err == nil && !mine || errors.Is(err, ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("body %d of %s: %w", body, id, err)
	}
	return data, nil
}

// Apply passes on the changes that are the authority's own affair, all in one call, and refuses the others.
func (s *scoped) Apply(ctx context.Context, changes ...Change) []error {
	errs := make([]error, len(changes))
	var mine []Change
	var at []int
	for i, c := range changes {
		if err := s.ownChange(ctx, c); err != nil {
			errs[i] = fmt.Errorf("apply to delivery %d: %w", c.Delivery, err)
			continue
		}
		mine, at = append(mine, c), append(at, i)
	}
	if len(mine) == 0 {
		return errs
	}
	for i, err := range s.all.Apply(ctx, mine...) {
		errs[at[i]] = err
	}
	return errs
}

// ownChange refuses a change of another's delivery, and one whose notices touch another: by what they are about, by whose
// they are, or by a message id that is taken there.
func (s *scoped) ownChange(ctx context.Context, c Change) error {
	if _, err := s.own(ctx, c.Delivery); err != nil {
		return err
	}
	for _, n := range c.Notices {
		if n.Message.Authority != s.authority {
			return ErrNotFound
		}
		for _, id := range n.AboutIDs {
			if _, err := s.own(ctx, id); err != nil {
				return err
			}
		}
		taken, err := s.all.Find(ctx, Query{ID: n.Message.ID, Limit: 1})
		if err != nil {
			return err
		}
		mine, err := s.owns(ctx, n.Message.ID)
		if err != nil {
			return err
		}
		if len(taken) == 1 && taken[0] == n.Message.ID && !mine {
			return ErrNotFound
		}
	}
	return nil
}

// Note writes an event of the authority's own.
func (s *scoped) Note(ctx context.Context, e Event) error {
	if err := s.ownEvent(ctx, e); err != nil {
		return fmt.Errorf("note %s: %w", e.Kind, err)
	}
	e.Authority = s.authority
	return s.all.Note(ctx, e)
}

func (s *scoped) ownEvent(ctx context.Context, e Event) error {
	if e.Authority != "" && e.Authority != s.authority {
		return ErrNotFound
	}
	if e.Message != "" {
		mine, err := s.owns(ctx, e.Message)
		if err != nil {
			return err
		}
		if !mine {
			return ErrNotFound
		}
	}
	if e.Delivery == 0 {
		return nil
	}
	c, err := s.own(ctx, e.Delivery)
	if err == nil && c.Message.ID != e.Message {
		err = ErrNotFound
	}
	return err
}

func (s *scoped) parted() (Parted, error) {
	p, ok := s.all.(Parted)
	if !ok {
		return nil, ErrWhole
	}
	return p, nil
}

func (s *scoped) Sums(ctx context.Context) (Sums, error) {
	p, err := s.parted()
	if err != nil {
		return Sums{}, err
	}
	return p.SumsOf(ctx, s.authority)
}

func (s *scoped) Verify(ctx context.Context, open func(id string, sealed []byte) ([]byte, error)) (Verification, error) {
	p, err := s.parted()
	if err != nil {
		return Verification{}, err
	}
	return p.VerifyOf(ctx, s.authority, open)
}

func (s *scoped) Reseal(ctx context.Context, f func(id string, sealed []byte) ([]byte, error)) (int, error) {
	p, err := s.parted()
	if err != nil {
		return 0, err
	}
	return p.ResealOf(ctx, s.authority, f)
}

// Get and Put know the authority's own facts only.
func (s *scoped) Get(ctx context.Context, name string) (string, error) {
	if strings.Contains(name, "\x1f") {
		return "", nil // no fact has such a name, and this one could be another's
	}
	v, err := s.all.Get(ctx, FactOf(s.authority, name))
	return v, renamed(err, "get", name)
}

func (s *scoped) Put(ctx context.Context, name, value string) error {
	if strings.Contains(name, "\x1f") {
		return fmt.Errorf("put: a fact's name holds no control characters")
	}
	return renamed(s.all.Put(ctx, FactOf(s.authority, name), value), "put", name)
}

func renamed(err error, did, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s of one authority: %w", did, name, err)
}

func (s *scoped) Close() error { return nil }

// What moves all mail.

func (s *scoped) Accept(context.Context, Acceptance) ([]Claimed, error)      { return nil, ErrScoped }
func (s *scoped) Claim(context.Context, time.Time, Claim) ([]Claimed, error) { return nil, ErrScoped }
func (s *scoped) Lanes(context.Context) ([]LaneDue, error)                   { return nil, ErrScoped }
func (s *scoped) Watch(context.Context, time.Time, int) ([]Claimed, error)   { return nil, ErrScoped }
func (s *scoped) Recover(context.Context, time.Time, string) (int, error)    { return 0, ErrScoped }
func (s *scoped) Seal(context.Context, time.Time) error                      { return ErrScoped }
func (s *scoped) Unclaim(context.Context, time.Time, string, time.Time, []DeliveryID) (int, error) {
	return 0, ErrScoped
}
