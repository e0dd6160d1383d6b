package ledger

import (
	"fmt"
	"strings"
)

// Check finds what an engine can refuse before anything is written.
func (a Acceptance) Check() error {
	switch {
	case a.Message.ID == "":
		return fmt.Errorf("the message has no id")
	case a.Message.Authority == "":
		return fmt.Errorf("the message has no authority")
	case len(a.Deliveries) == 0:
		return fmt.Errorf("the message has no deliveries")
	case len(a.Bodies) == 0 || len(a.Bodies) > 2:
		return fmt.Errorf("%d bodies, want one or two", len(a.Bodies))
	case a.Message.Kind == Notice && len(a.Deliveries) != 1:
		return fmt.Errorf("a notice with %d deliveries, want one", len(a.Deliveries))
	}
	told := make([]bool, len(a.Deliveries)) // a notice that tells "returned" is about it
	for _, n := range a.Notices {
		if err := n.Check(); err != nil {
			return err
		}
		if n.Message.Authority != a.Message.Authority {
			return fmt.Errorf("notice %s belongs to another authority than its message", n.Message.ID)
		}
		for _, i := range n.About {
			if i < 0 || i >= len(a.Deliveries) {
				return fmt.Errorf("notice %s is about delivery %d of %d", n.Message.ID, i, len(a.Deliveries))
			}
			told[i] = told[i] || n.Tells == TellReturned
		}
	}
	for i, d := range a.Deliveries {
		switch {
		case d.State.Final() || !Allowed(d.State, d.State):
			return fmt.Errorf("delivery %d begins as %q: %w", i, d.State, ErrTransition)
		case d.State == Returning && !told[i]:
			return fmt.Errorf("delivery %d is returning without a notice that tells so: %w", i, ErrTransition)
		case d.State == Returning && a.Message.Kind == Notice:
			return fmt.Errorf("a notice cannot be returned: %w", ErrTransition)
		case d.Body < 0 || d.Body >= len(a.Bodies):
			return fmt.Errorf("delivery %d gets body %d of %d", i, d.Body, len(a.Bodies))
		case d.Owner == "" || d.Deadline.IsZero():
			return fmt.Errorf("delivery %d has no owner or no deadline", i)
		}
	}
	return nil
}

// Check finds what is wrong with a new notice.
func (n NewNotice) Check() error {
	switch {
	case n.Message.ID == "" || n.Message.Authority == "":
		return fmt.Errorf("a notice without id or authority")
	case n.Message.Kind != Notice:
		return fmt.Errorf("notice %s is of kind %q", n.Message.ID, n.Message.Kind)
	case n.Delivery.State != Queued && n.Delivery.State != Held:
		return fmt.Errorf("notice %s begins as %q: %w", n.Message.ID, n.Delivery.State, ErrTransition)
	case len(n.Body) == 0:
		return fmt.Errorf("notice %s has no body", n.Message.ID)
	case n.Delivery.Body != 0:
		return fmt.Errorf("notice %s has but one body", n.Message.ID)
	case n.Delivery.Owner == "" || n.Delivery.Deadline.IsZero():
		return fmt.Errorf("notice %s has no owner or no deadline", n.Message.ID)
	case n.Tells == "":
		return fmt.Errorf("notice %s tells nothing", n.Message.ID)
	}
	return nil
}

// Check refuses what does not fit the delivery as it stands; notice says whether it is a notice's. What else must be true of
// other rows (law 3, the body) the engine asks itself.
func (c Change) Check(d Delivery, notice bool) error {
	if d.State != c.From {
		return ErrState
	}
	if !c.Seen.IsZero() && d.Watch.UnixMicro() != c.Seen.UnixMicro() {
		return ErrState
	}
	if c.Attempt == nil && d.Node != "" && d.Due.After(c.At) {
		return ErrLeased
	}
	if a := c.Attempt; a != nil && (d.Node == "" || a.No != d.Attempts || a.Node != d.Node) {
		return ErrFenced
	}
	if !Allowed(c.From, c.To) {
		return ErrTransition
	}
	switch {
	case notice && c.To == Returning:
		return fmt.Errorf("%w: a notice climbs, it is not returned", ErrTransition)
	case c.To == Withdrawn && !notice && c.Event.By == "":
		return fmt.Errorf("%w: only a person withdraws mail", ErrTransition)
	case c.Climb != nil && (!notice || c.To != Queued):
		return fmt.Errorf("%w: only a notice that goes on climbs", ErrTransition)
	case c.Attempt != nil && c.From != Queued:
		return ErrFenced
	}
	for _, n := range c.Notices {
		if err := n.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Onto writes the change's fields over the delivery's. What else follows from the change (its lease, Told, a Due that the change does not
// name) the engine sees to.
func (c Change) Onto(d *Delivery) {
	d.State, d.Possibly = c.To, d.Possibly || c.Possibly
	if !c.Due.IsZero() {
		d.Due = c.Due
	}
	if !c.Deadline.IsZero() {
		d.Deadline = c.Deadline
	}
	if !c.Watch.IsZero() {
		d.Watch = c.Watch
	}
	if c.Owner != "" {
		d.Owner = c.Owner
	}
	if c.Body != nil {
		d.Body = *c.Body
	}
	if c.Lane != "" {
		d.Lane = c.Lane
	}
	if c.Verdict != nil {
		d.Verdict = *c.Verdict
	}
	if cl := c.Climb; cl != nil {
		d.Recipient, d.Lane, d.Rung, d.Inside = cl.Recipient, cl.Lane, cl.Rung, cl.Inside
	}
}

// EventKind is the kind of the change's event.
func (c Change) EventKind() string {
	switch {
	case c.Event.Kind != "":
		return c.Event.Kind
	case c.Climb != nil:
		return KindClimbed
	case c.From == Queued && c.To == Queued && c.Attempt != nil:
		return KindRetry
	case c.From == c.To:
		return KindUpdated
	}
	return string(c.To)
}

// AddressKey is domain@local in lower case, so that one index finds an address and all addresses of a domain.
func AddressKey(shown string) string {
	shown = strings.ToLower(shown)
	at := strings.LastIndexByte(shown, '@')
	if at < 0 {
		return shown
	}
	return shown[at+1:] + "@" + shown[:at]
}

// Grouping gathers deliveries into Claimed: by message, body and lane, in the order they come. The zero value is ready.
type Grouping struct {
	All   []Claimed
	index map[groupKey]int
}

type groupKey struct {
	message MessageID
	body    int
	lane    string
}

// Add puts the delivery with its like.
func (g *Grouping) Add(m Message, d Delivery) {
	k := groupKey{m.ID, d.Body, d.Lane}
	if i, ok := g.index[k]; ok {
		g.All[i].Deliveries = append(g.All[i].Deliveries, d)
		return
	}
	if g.index == nil {
		g.index = make(map[groupKey]int)
	}
	g.index[k] = len(g.All)
	g.All = append(g.All, Claimed{Message: m, Deliveries: []Delivery{d}})
}

// Recipients is the detail of an acceptance's event.
func (a Acceptance) Recipients() string {
	if len(a.Deliveries) == 1 {
		return "1 recipient"
	}
	return fmt.Sprintf("%d recipients", len(a.Deliveries))
}

// BareID is a Message-ID without angle brackets.
func BareID(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
}

// NoSums are the sums of an empty ledger.
func NoSums() Sums {
	sums := Sums{States: make(map[State]int64, len(States))}
	for _, st := range States {
		sums.States[st] = 0
	}
	return sums
}

// Balance adds up the states.
func (s *Sums) Balance() {
	s.Open, s.Final = 0, 0
	for st, n := range s.States {
		if st.Final() {
			s.Final += n
		} else {
			s.Open += n
		}
	}
	s.Unaccounted = max(s.Accepted-(s.Open+s.Final), s.Open+s.Final-s.Accepted)
}
