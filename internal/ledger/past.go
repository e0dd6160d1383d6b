package ledger

import (
	"context"
	"errors"
)

// Head is where an authority's chain ended when somebody looked: its newest seal.
type Head struct {
	Authority string `json:"authority"`
	Last      int64  `json:"last"` // the newest event that the seal covers
	Hash      []byte `json:"hash"`
}

// Chained shows where a ledger's chains end, so that what was seen of them can be looked for later: a ledger that lacks it is an
// earlier one, brought back from a copy. Both engines implement it.
type Chained interface {
	// Heads returns each authority's newest seal, by name, and which of the seals that were seen the ledger does not have: all as of
	// one moment.
	Heads(ctx context.Context, seen []Head) (heads, missing []Head, err error)
}

// ErrPast: the ledger has gone back in time. What it holds for waiting may have left long ago.
var ErrPast = errors.New("the ledger is the past")
