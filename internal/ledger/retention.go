package ledger

import (
	"context"
	"time"

	"postvagt/internal/class"
)

// Retention says for one authority how long what is final is kept, by the message's class: the highest class among its
// deliveries' verdicts. Bodies go when the last delivery is final, always; then the details, then the rows.
type Retention map[class.Class]Keep

// Keep counts from when a message's last delivery became final. Zero keeps for ever.
type Keep struct {
	// Details: after it nothing is left that tells of a person: addresses, Message-ID, client, findings, replies and details of
	// events. States, times, levels, receipts' technical facts and the chain stay.
	Details time.Duration
	// Rows: after it the message is gone but for its count in the sums and the hashes in the chain.
	Rows time.Duration
}

// Pruned is what one Prune removed.
type Pruned struct {
	Details, Rows int // messages
}

// Pruner is what keeps a ledger small. Both engines implement it.
type Pruner interface {
	// Prune removes what the retention no longer allows, oldest first, at most max messages of each kind, in one transaction with
	// its proof: an event that says how many, of which class, until when, and the SHA-256 over their ids. Open deliveries,
	// and what an open notice is about, are never touched. Verify still passes: sums, chain and proofs agree.
	Prune(ctx context.Context, now time.Time, authority string, r Retention, max int) (Pruned, error)
}
