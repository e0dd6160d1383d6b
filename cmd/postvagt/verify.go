package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"postvagt/internal/ledger"
)

type verifyCmd struct {
	withAuthority
	JSON bool `name:"json" help:"Answer in JSON."`
}

// verified is the answer of verify: the whole, and with several authorities each of them.
type verified struct {
	ledger.Verification
	Authorities map[string]ledger.Verification `json:"authorities,omitempty"`
}

// Run exits 0 only if all holds.
func (c verifyCmd) Run(s streams) error {
	i, err := c.openWithKeys()
	if err != nil {
		return err
	}
	defer i.Close()
	v, err := i.verify(context.Background())
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(s.out).Encode(v); err != nil {
			return err
		}
	} else {
		v.tell(s.out)
	}
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		return errFound
	}
	return nil
}

// verify verifies what the installation, or the one authority that it is limited to, holds. Each authority's bodies must open with its
// own keys.
func (i *installation) verify(ctx context.Context) (v verified, err error) {
	if i.authority != "" {
		v.Verification, err = i.store.Verify(ctx, i.opener(i.authority))
		return v, err
	}
	gone, err := i.strangers(ctx)
	if err != nil {
		return v, err
	}
	if len(i.cfg.Authorities) == 1 && len(gone) == 0 {
		v.Verification, err = i.store.Verify(ctx, i.opener(i.cfg.Authorities[0].Name))
		return v, err
	}
	if v.Verification, err = i.store.Verify(ctx, nil); err != nil {
		return v, err
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		v.Problems = append(v.Problems, fmt.Sprintf("%d open deliveries belong to %s, which the configuration does not name: put it back until its mail has ended.", gone[name], name))
	}
	v.Authorities = map[string]ledger.Verification{}
	for _, a := range i.cfg.Authorities {
		one, err := ledger.Scoped(i.store, a.Name).Verify(ctx, i.opener(a.Name))
		if err != nil {
			return v, err
		}
		v.Authorities[a.Name] = one
		if one.Bodies != "ok" {
			v.Bodies = one.Bodies
			v.Problems = append(v.Problems, fmt.Sprintf("Bodies of %s cannot be read.", a.Name))
		}
		for _, p := range one.Problems {
			if !slices.Contains(v.Problems, p) {
				v.Problems = append(v.Problems, p)
			}
		}
	}
	return v, nil
}

// namesFact is the ledger's note of all authorities that were ever served with it, apart by control characters, which no name holds.
const namesFact, namesApart = "authorities", "\x1f"

// strangers are the authorities that the ledger holds open mail of and the configuration does not name, with how much of it.
func (i *installation) strangers(ctx context.Context) (map[string]int64, error) {
	noted, err := i.store.Get(ctx, namesFact)
	if err != nil {
		return nil, err
	}
	open := map[string]int64{}
	for name := range strings.SplitSeq(noted, namesApart) {
		if i.cfg.AuthorityNamed(name) != nil {
			continue
		}
		sums, err := ledger.Scoped(i.store, name).Sums(ctx)
		if err != nil {
			return nil, err
		}
		if sums.Open > 0 {
			open[name] = sums.Open
		}
	}
	return open, nil
}

// sayStrangers notes at the start whom the ledger serves, and says that mail waits whose authority has left the configuration.
func (i *installation) sayStrangers(ctx context.Context, say io.Writer) error {
	noted, err := i.store.Get(ctx, namesFact)
	if err != nil {
		return err
	}
	names := strings.Split(noted, namesApart)
	for _, a := range i.cfg.Authorities {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
	if now := strings.Join(names, namesApart); now != noted {
		if err := i.store.Put(ctx, namesFact, now); err != nil {
			return err
		}
	}
	open, err := i.strangers(ctx)
	for _, name := range slices.Sorted(maps.Keys(open)) {
		fmt.Fprintf(say, "postvagt: %d OPEN DELIVERIES BELONG TO %s, WHICH THE CONFIGURATION DOES NOT NAME: they wait as they are. Put it back until its mail has ended.\n", open[name], name)
	}
	return err
}

// opener opens an authority's bodies with its keys; with lost ones it opens none and says so.
func (i *installation) opener(authority string) func(string, []byte) ([]byte, error) {
	k, err := i.keys.Of(authority)
	if err != nil {
		return func(string, []byte) ([]byte, error) { return nil, err }
	}
	return k.Open
}

func (v verified) tell(w io.Writer) {
	fmt.Fprintf(w, "accepted %d = open %d + final %d, unaccounted %d\nevent chain: %s\nbodies: %s\n", v.Accepted, v.Open, v.Final, v.Unaccounted, v.Chain, v.Bodies)
	for _, name := range slices.Sorted(maps.Keys(v.Authorities)) {
		one := v.Authorities[name]
		fmt.Fprintf(w, "%s: accepted %d = open %d + final %d, unaccounted %d, event chain %s, bodies %s\n", name, one.Accepted, one.Open, one.Final, one.Unaccounted, one.Chain, one.Bodies)
	}
	if v.Alarms > 0 {
		fmt.Fprintf(w, "alarms: %d notices reached nobody; see 'postvagt held'\n", v.Alarms)
	}
	for _, p := range v.Problems {
		fmt.Fprintln(w, "PROBLEM:", p)
	}
}
