package spool

import (
	"errors"
	"fmt"
)

// Authorities gives the keys of each authority of an installation. A key file alone serves all of them: see Keys.Of.
type Authorities interface {
	// Of returns the keys that seal and open an authority's bodies and addresses, and make its MACs. ErrLost.
	Of(authority string) (*Keys, error)
}

// ErrLost: the authority's key file is missing, or is not the ledger's.
var ErrLost = errors.New("the authority's key file cannot be used")

// Of returns k, whatever the authority: one key file for the whole installation.
func (k *Keys) Of(string) (*Keys, error) { return k, nil }

// Apart holds the keys of authorities by name, where they have key files of their own. One that is nil or missing is lost: its
// mail is neither taken nor opened, and the others' goes on.
type Apart map[string]*Keys

// Of returns an authority's keys; ErrLost.
func (a Apart) Of(authority string) (*Keys, error) {
	if k := a[authority]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("keys of %s: %w", authority, ErrLost)
}
