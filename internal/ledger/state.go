package ledger

// State is where a delivery stands. Every delivery is in exactly one, always (law 2).
type State string

const (
	Queued    State = "queued"    // open: waits for an attempt, or is in one
	Held      State = "held"      // open: waits for a person
	Returning State = "returning" // open: will not arrive; waits until its sender has been told
	Delivered State = "delivered" // final: the next hop took responsibility
	Returned  State = "returned"  // final: the notice to its sender was itself delivered (law 3)
	Withdrawn State = "withdrawn" // final: a named person ended it, with a reason, and the sender is told
)

// States lists all states, open ones first.
var States = []State{Queued, Held, Returning, Delivered, Returned, Withdrawn}

// Final reports whether nothing can happen to the delivery any more.
func (s State) Final() bool { return s == Delivered || s == Returned || s == Withdrawn }

// steps is the state machine. A step that is not here does not exist in the program (law 2: there is no discard).
var steps = map[State]map[State]bool{
	Queued:    {Queued: true, Held: true, Returning: true, Delivered: true, Withdrawn: true},
	Held:      {Held: true, Queued: true, Withdrawn: true, Returning: true},
	Returning: {Returning: true, Returned: true},
}

// Allowed reports whether the state machine knows the step.
func Allowed(from, to State) bool { return steps[from][to] }
