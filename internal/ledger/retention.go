package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"postvagt/internal/class"
)

// Retention says for one authority how long what is final is kept, by the message's class: the highest class among its
// deliveries' verdicts, and for a notice also of what it tells of. Bodies go when the last delivery is final, always; then the
// details, then the rows.
type Retention map[class.Class]Keep

// Keep counts from when a message's last delivery became final. Zero keeps for ever.
type Keep struct {
	// Details: after it nothing is left that tells of a person: addresses, Message-ID, client, owner, findings, repairs, replies, and
	// what events say in words. States, times, levels, receipts' technical facts and the chain stay.
	Details time.Duration
	// Rows: after it the message is gone but for its count in the sums and the hashes in the chain.
	Rows time.Duration
}

// Stage is a step of removal.
type Stage string

const (
	Details Stage = "details" // what tells of a person
	Rows    Stage = "rows"    // the rest
)

// Stages lists the stages in their order.
var Stages = []Stage{Details, Rows}

// After is how long k keeps what the stage removes; 0: for ever. Details go with the rows at the latest.
func (k Keep) After(s Stage) time.Duration {
	if s == Rows || k.Rows > 0 && (k.Details <= 0 || k.Details > k.Rows) {
		return max(k.Rows, 0)
	}
	return max(k.Details, 0)
}

// Pruned is what one Prune removed.
type Pruned struct {
	Details, Rows int  // messages
	More          bool // the round ended at max, or after looking at as much as one round may: ask again
}

// Proof is what stays of what was removed, beside the chain: what one Prune took of one class. The event of KindPruned says the
// same (String), so that the chain covers it.
type Proof struct {
	At         time.Time
	Stage      Stage
	Class      class.Class
	Messages   int64
	Deliveries map[State]int64 // with Rows: how the deliveries ended; nil with Details
	Events     int64           // with Rows: events that went
	Until      time.Time       // everything removed was final by then
	IDs        Hash            // SHA-256 over the messages' ids in their order, each with a line feed behind it
}

// String is the detail of the proof's event. It names no person and no message.
func (p Proof) String() string {
	s := fmt.Sprintf("%s of %d %s messages, final until %s", p.Stage, p.Messages, p.Class, p.Until.UTC().Format(time.RFC3339Nano))
	if p.Stage == Rows {
		s += fmt.Sprintf("; %d delivered, %d returned, %d withdrawn; %d events", p.Deliveries[Delivered], p.Deliveries[Returned], p.Deliveries[Withdrawn], p.Events)
	}
	return s + fmt.Sprintf("; SHA-256 of the ids %x", p.IDs)
}

// HashIDs is Proof.IDs.
func HashIDs(ids []MessageID) Hash {
	h := sha256.New()
	for _, id := range ids {
		h.Write([]byte(id))
		h.Write([]byte{'\n'})
	}
	return sum(h)
}

// Pruner is what keeps a ledger small. Both engines implement it.
type Pruner interface {
	// Prune removes what the retention no longer allows, in about the order of acceptance, in one transaction with its proofs: at
	// most max messages of each stage, or the rows of a whole month where the engine can take them at once. Never touched is a
	// message with an open delivery, or that an open notice tells of; and a notice loses nothing before all it tells of has lost it.
	// Rows go only where the details have gone. An engine may keep the rows of the newest message, so that its numbers are not given
	// again. Verify still passes: sums, chain and proofs agree. Doing it again, also after an error that may have hidden a success,
	// removes nothing more than the retention says.
	Prune(ctx context.Context, now time.Time, authority string, r Retention, max int) (Pruned, error)
	// WouldPrune counts what Prune would remove until nothing is left to it, and removes nothing. Its cost grows with the ledger.
	WouldPrune(ctx context.Context, now time.Time, authority string, r Retention) (Pruned, error)
	// Proofs sums up what was removed from an authority: one Proof for each stage and class, with the latest At and Until and no IDs.
	Proofs(ctx context.Context, authority string) ([]Proof, error)
}
