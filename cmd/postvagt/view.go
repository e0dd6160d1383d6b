package main

import (
	"errors"
	"fmt"
	"os"

	"postvagt/internal/config"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
)

// limitEnv names the one authority that everything a user runs is limited to. It is for rules like sudo's, which set it where the user
// cannot change it: --authority then narrows nothing further and opens nothing.
const limitEnv = "POSTVAGT_AUTHORITY"

// withAuthority is the flag of the commands that can look at one authority alone.
type withAuthority struct {
	withConfig
	Authority string `placeholder:"NAME" help:"Only this authority, as if there were no other."`
}

// load reads the configuration, also for one who may see one authority only.
func (w withAuthority) load() (*config.Config, error) { return config.Load(w.Config) }

// limited reports whether the command is for one authority only.
func (w withAuthority) limited() bool { return w.Authority != "" || os.Getenv(limitEnv) != "" }

// scope is the authority that the command is limited to; "" the whole installation. One that may not be looked at is told like one
// that does not exist.
func (w withAuthority) scope(c *config.Config) (string, error) {
	limit := os.Getenv(limitEnv)
	name := w.Authority
	if name == "" {
		name = limit
	}
	if name == "" {
		return "", nil
	}
	if limit != "" && name != limit || c.AuthorityNamed(name) == nil {
		return "", fmt.Errorf("there is no authority %q here; write its name as the configuration does", name)
	}
	return name, nil
}

// errWhole refuses what concerns the whole installation.
var errWhole = errors.New("this is done for the whole installation only, not for one authority")

// openLedger opens the ledger, or one authority's view of it.
func (w withAuthority) openLedger() (*installation, error) {
	c, err := w.load()
	if err != nil {
		return nil, err
	}
	name, err := w.scope(c)
	if err != nil {
		return nil, err
	}
	i, err := besideGuard(c)
	if err == nil && name != "" {
		i.authority, i.store = name, ledger.Scoped(i.store, name)
	}
	return i, err
}

// openWithKeys opens the ledger and the key files that are asked for.
func (w withAuthority) openWithKeys() (*installation, error) {
	i, err := w.openLedger()
	if err != nil {
		return nil, err
	}
	return i, i.readKeys(w.asked)
}

func (w withAuthority) operator() (*installation, *guard.Operator, error) {
	i, err := w.openWithKeys()
	if err != nil {
		return nil, nil, err
	}
	return i.operator()
}
