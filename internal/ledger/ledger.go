// Package ledger is the one truth about every message: messages, deliveries, attempts and events, with the laws of
// DESIGN section 2 as one state machine (state.go) and as SQL constraints in each engine. The open delivery rows are
// the queue; there is no second one.
//
// The order of a life: Accept makes the message, its bodies and one delivery per recipient durable in one transaction
// (law 1). Claim (or Accept itself, see Acceptance.Claim) leases due deliveries and thereby writes the intent of an
// attempt. Apply ends the attempt, moves the delivery and stores the notice that this calls for in one transaction
// (law 3). Deliveries are never deleted and never leave their state but through Apply.
//
// Nothing in the ledger holds a CPR number: addresses that hold one are masked, with the true address sealed beside it.
package ledger

import (
	"context"
	"errors"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/policy"
)

// MessageID is a message's id: 26 characters of lower-case base32. Make one with NewMessageID.
type MessageID string

// DeliveryID is a delivery's row number, unique in its ledger.
type DeliveryID int64

// Kind tells what people wrote from what the guard writes about it.
type Kind string

const (
	Mail   Kind = "mail"
	Notice Kind = "notice" // one message with one delivery; law 7
)

// Address is a mailbox as the ledger keeps it.
type Address struct {
	Shown  string // masked; the whole truth when it holds no number
	Sealed []byte // the true address, sealed for the message's id; nil when Shown is the whole truth
}

// Message is one accepted SMTP transaction, or one notice.
type Message struct {
	ID         MessageID
	Authority  string
	Kind       Kind
	Direction  policy.Direction
	Sender     Address // Shown "" is the null reverse-path
	HeaderID   string  // the Message-ID field, masked; may be empty
	Size       int     // bytes of body 0
	Client     string  // who handed it over: IP address, and user where authenticated
	Ret, EnvID string  // RFC 3461
	UTF8       bool    // needs SMTPUTF8
	EightBit   bool    // holds 8-bit content
	TellSender bool    // whether notices may go to the sender (false: null path, list, unauthenticated outsider …)
	Unit       string  // the second rung of the ladder for this sender; "" none
	Language   string  // "da" or "en": which stands first in notices
	AcceptedAt time.Time
	Findings   []detect.Finding // masked
	Repairs    []Repair         // what body 1 changed; empty when there is none
	ErasedAt   time.Time        // when retention took away what tells of people; zero: it is all there
}

// Repair is one value that was moved.
type Repair struct {
	Place  detect.Place `json:"place"`
	Masked string       `json:"masked"`
}

// Delivery is one (message, recipient): the unit of accounting.
type Delivery struct {
	ID        DeliveryID
	Message   MessageID
	Recipient Address
	Notify    string // RFC 3461 NOTIFY; "" none
	ORcpt     string // RFC 3461 ORCPT, masked when it holds a number
	Inside    bool   // the recipient is the authority's own
	State     State
	Verdict   policy.Verdict
	Body      int        // which of the message's bodies it gets: 0 as accepted, 1 repaired
	Lane      string     // next hop: deliveries of one lane share connections, concurrency and backoff
	Owner     string     // who must see to it that it ends: a name or address
	Due       time.Time  // queued: not before; while leased: when the lease ends
	Deadline  time.Time  // queued: return after; held: escalate after; returning: alarm after. Zero once final
	Watch     time.Time  // when the watch looks next (delay notice, reminder, deadline); zero: never
	Attempts  int        // attempts begun so far; the number of the newest is its fence
	Node      string     // who holds the lease; "" nobody
	Possibly  bool       // an attempt was cut off: it may have arrived already, and the next attempt may repeat it
	Told      []TellKind // what its sender has been sent so far, oldest first
	Rung      int        // notices only: rung of the ladder it stands on, 0 the sender
	EndedAt   time.Time  // final states
}

// Attempt is one try, ended or cut off.
type Attempt struct {
	Delivery DeliveryID
	No       int
	Node     string
	Started  time.Time
	Ended    time.Time
	Outcome  string // deliver.Outcome, or "cut off"
	Code     int
	Enhanced string
	Text     string // the remote's words, masked
	Contact  bool   // the hop was spoken to
	Receipt  []byte // deliver.Receipt as JSON; nil when cut off
}

// TellKind is what a notice tells.
type TellKind string

const (
	TellReturned  TellKind = "returned" // could not be delivered: gates returning → returned (law 3)
	TellDelayed   TellKind = "delayed"
	TellHeld      TellKind = "held"
	TellReminder  TellKind = "reminder"  // to the owner of a held delivery
	TellEscalated TellKind = "escalated" // a held delivery's deadline passed
	TellReleased  TellKind = "released"
	TellWithdrawn TellKind = "withdrawn"
	TellRepaired  TellKind = "repaired"
	TellDigest    TellKind = "digest"    // repairs of a period, gathered
	TellDelivered TellKind = "delivered" // RFC 3461 NOTIFY=SUCCESS
)

// NewDelivery is a delivery as Accept is given it; the ledger gives the ID.
type NewDelivery struct {
	Recipient Address
	Notify    string
	ORcpt     string
	Inside    bool
	State     State // Queued, Held or Returning
	Verdict   policy.Verdict
	Body      int
	Lane      string
	Owner     string
	Due       time.Time
	Deadline  time.Time
	Watch     time.Time
	Rung      int
}

// NewNotice is a notice that becomes durable with the change it tells of. It belongs to the authority of what it tells of: an engine
// refuses one that does not, and one that is about another authority's delivery.
type NewNotice struct {
	Tells    TellKind
	About    []int        // with Accept: indexes of Acceptance.Deliveries
	AboutIDs []DeliveryID // with Apply: deliveries; the changed one is added by itself
	Message  Message      // Kind Notice
	Body     []byte       // sealed for Message.ID
	Delivery NewDelivery  // State Queued
}

// Acceptance is everything that a 250 promises (law 1).
type Acceptance struct {
	Message    Message
	Bodies     [][]byte // sealed for Message.ID; [0] as accepted, [1] repaired
	Deliveries []NewDelivery
	Notices    []NewNotice
	Claim      *Claim // when set, the queued deliveries start out leased, as if claimed at once; Lane and Max are not read
}

// Claim asks for work.
type Claim struct {
	Node  string
	Lane  string
	Max   int           // messages, not deliveries
	Lease time.Duration // after which another may take it
}

// Claimed is work: deliveries of one message with one body and one lane, leased, their intent written.
type Claimed struct {
	Message    Message
	Deliveries []Delivery // Attempts is the fence to hand to Apply
}

// Change is one transition of one delivery, with all that must be durable with it. Apply refuses what the state
// machine does not know (ErrTransition).
type Change struct {
	Delivery DeliveryID
	From     State // the state the caller saw; ErrState when it is another by now
	To       State // may equal From (retry, reminder, climbing)
	At       time.Time
	Attempt  *Attempt  // ends the attempt the caller holds: No is the fence, ErrFenced when it was lost. nil: the caller holds none, and a delivery leased by anybody is ErrLeased; a lease that ran out by At is cut off first
	Due      time.Time // new values; zero keeps the old, but a Watch of Never clears it
	Deadline time.Time
	Watch    time.Time
	Owner    string
	Body     *int            // a release: which body goes; nil keeps the old
	Lane     string          // a release: the next hop; "" keeps the old
	Verdict  *policy.Verdict // a release: what the person decided; nil keeps the old
	Climb    *Climb          // notices only: next rung
	Possibly bool            // marks the delivery: it may have arrived in a time that the ledger knows nothing of
	Event    Event           // Kind and Detail; the ledger fills in the rest
	Notices  []NewNotice
	Seen     time.Time // the Watch that the caller saw: ErrState when it is another by now, for then another has seen to it; zero: not asked
}

// Never clears a Watch.
var Never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Climb re-addresses a notice to the next rung of its ladder. Its body is replaced.
type Climb struct {
	Recipient Address
	Lane      string
	Rung      int
	Body      []byte // sealed for the notice's message id
	Inside    bool
}

// Event is one line of the append-only story, sealed into a hash chain per authority.
type Event struct {
	Seq       int64 // its number in the authority's story; 0: not sealed yet
	Authority string
	Message   MessageID
	Delivery  DeliveryID // 0: concerns the message or the installation
	At        time.Time
	Kind      string // "accepted", "delivered", "released" …: EventKinds lists them
	By        string // a person, "" the guard itself
	Detail    string // masked, one line
}

// Sums is the conservation sum over deliveries of mail and notices: Accepted = Open + Final, always (law 2).
type Sums struct {
	Accepted    int64           `json:"accepted"`
	Open        int64           `json:"open"`
	Final       int64           `json:"final"`
	Unaccounted int64           `json:"unaccounted"`
	States      map[State]int64 `json:"states"`
	Alarms      int64           `json:"alarms"` // notices whose ladder is exhausted and that nobody has taken
}

// Query selects messages; empty fields do not restrict. Text fields are masked before they are compared, ignoring case.
type Query struct {
	ID        MessageID
	HeaderID  string // with or without angle brackets
	Sender    string
	Recipient string
	Since     time.Time
	Until     time.Time
	States    []State // messages with a delivery in one of these
	Kind      Kind    // "" both
	Authority string
	// RepairedAfter and RepairedBy select messages of which a repaired body was delivered after the one and not after the other.
	RepairedAfter, RepairedBy time.Time
	Limit                     int // 0: 100
}

// Story is all the ledger knows of one message.
type Story struct {
	Message    Message
	Deliveries []Delivery
	Attempts   []Attempt
	Events     []Event
	Notices    []NoticeLink // notices about this message, or, for a notice, what it is about
	Policy     string
}

// NoticeLink ties a notice to what it tells of.
type NoticeLink struct {
	Notice  MessageID
	About   DeliveryID
	Subject MessageID // the message About belongs to
	Tells   TellKind
}

// LaneDue is a lane with queued work.
type LaneDue struct {
	Lane string
	Due  time.Time // of the earliest; a leased delivery counts with the end of its lease
}

// Verification is what Verify found; Problems are complete sentences for an operator.
type Verification struct {
	Sums
	Pruned   int64    `json:"pruned,omitempty"` // final deliveries of which retention removed the rows, with proof; Sums counts them
	Chain    string   `json:"chain"`            // "ok" or "broken"
	Bodies   string   `json:"bodies"`           // "ok" or "unreadable"
	Problems []string `json:"problems,omitempty"`
}

// Errors that callers decide on.
var (
	ErrState      = errors.New("the delivery is in another state by now")
	ErrFenced     = errors.New("the attempt was lost to another")
	ErrLeased     = errors.New("an attempt is under way")
	ErrTransition = errors.New("the state machine knows no such step")
	ErrNotFound   = errors.New("no such message")
	ErrNewer      = errors.New("the ledger was written by a newer postvagt")
	ErrClosed     = errors.New("the ledger is closed")
)

// Store is an engine. Every method that writes is durable when it returns nil, and did nothing when it returns an
// error, except after a failed commit, where it may have done all of it: callers ask again and every command can be
// repeated safely (Accept by message id, Apply by fence or state). All methods are safe for concurrent use; concurrent
// Accepts and Applies share commits. Times are UTC; now is always handed in.
type Store interface {
	// Accept makes a durable; with a.Claim it returns the work, leased. Repeating a message id with the same acceptance changes nothing;
	// with a.Claim it returns the work that the first one leased to the same node and nobody has touched since.
	Accept(ctx context.Context, a Acceptance) ([]Claimed, error)
	// Claim leases due work of one lane and writes its intent. A delivery whose lease ran out is marked Possibly and its
	// attempt ended as "cut off" in the same transaction.
	Claim(ctx context.Context, now time.Time, c Claim) ([]Claimed, error)
	// Lanes lists lanes with queued deliveries, leased ones by the end of their lease. Its cost grows with lanes, not with deliveries.
	Lanes(ctx context.Context) ([]LaneDue, error)
	// Body returns a sealed body. ErrNotFound when it was dropped: bodies go when the message's last delivery is final.
	Body(ctx context.Context, id MessageID, body int) ([]byte, error)
	// Apply makes each change and what belongs to it durable, each by itself or not at all; errs[i] is nil, or why change i did nothing.
	// When a notice that tells TellReturned reaches Delivered, or is withdrawn by a person, what it is about becomes Returned with it.
	Apply(ctx context.Context, changes ...Change) (errs []error)
	// Watch lists open deliveries whose Watch has passed and that nobody holds, oldest first.
	Watch(ctx context.Context, now time.Time, max int) ([]Claimed, error)
	// Recover takes back what this node had leased when it ended: each such delivery is marked Possibly, its attempt ended as
	// "cut off", and it is due at once. Call it before the first Claim.
	Recover(ctx context.Context, now time.Time, node string) (cutOff int, err error)
	// Unclaim frees what this node leased until since and does not hold: a claim whose commit happened and was reported failed.
	// No attempt began, so nothing is marked. Its cost grows with the queue.
	Unclaim(ctx context.Context, now time.Time, node string, since time.Time, held []DeliveryID) (freed int, err error)

	Find(ctx context.Context, q Query) ([]MessageID, error) // newest first
	Story(ctx context.Context, id MessageID) (Story, error)
	Delivery(ctx context.Context, id DeliveryID) (Claimed, error)
	Sums(ctx context.Context) (Sums, error)

	// Seal extends the hash chain over all committed events. Called within a second of any event, and by Close.
	Seal(ctx context.Context, now time.Time) error
	// Verify checks the laws, the chain and that every open delivery's body can be read (open is spool.Keys.Open).
	Verify(ctx context.Context, open func(id string, sealed []byte) ([]byte, error)) (Verification, error)
	// Note appends an event that changes no delivery ("key rotated", "policy loaded", "body opened").
	Note(ctx context.Context, e Event) error
	// Get and Put keep small facts of the installation ("canary", "key id").
	Get(ctx context.Context, name string) (string, error)
	Put(ctx context.Context, name, value string) error
	// Reseal walks the sealed bodies and addresses through f, in batches: key rotation.
	Reseal(ctx context.Context, f func(id string, sealed []byte) ([]byte, error)) (n int, err error)

	Close() error
}
