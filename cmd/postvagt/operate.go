package main

import (
	"context"
	"encoding/json"
	"fmt"

	"postvagt/internal/guard"
	"postvagt/internal/ledger"
)

// target is what release, withdraw and retry are for.
type target struct {
	withAuthority
	ID        string `arg:"" help:"The message's id, or its first letters."`
	Recipient string `help:"Only this recipient; without it, all of the message's. - reads it from standard input, out of sight of other users."`
	JSON      bool   `name:"json" help:"Answer in JSON."`
}

// signed is who ends or lets out somebody's message, and why.
type signed struct {
	By     string `required:"" help:"The person who does it."`
	Reason string `required:"" help:"Why. It goes into the ledger and to the sender. - reads it from standard input."`
}

type (
	releaseCmd struct {
		target
		signed
	}
	withdrawCmd struct {
		target
		signed
	}
	retryCmd struct {
		target
		By     string `default:"operator" help:"The person who does it."`
		Reason string `default:"tried again at once" help:"Why."`
	}
)

func (c releaseCmd) Run(s streams) error {
	return c.run(s, "released", guard.Act(c.signed), (*guard.Operator).Release)
}

func (c withdrawCmd) Run(s streams) error {
	return c.run(s, "withdrawn", guard.Act(c.signed), (*guard.Operator).Withdraw)
}

func (c retryCmd) Run(s streams) error {
	return c.run(s, "due at once", guard.Act{By: c.By, Reason: c.Reason}, (*guard.Operator).Retry)
}

func (a target) run(s streams, done string, act guard.Act, do func(*guard.Operator, context.Context, guard.Choice, guard.Act) (int, error)) error {
	recipient, err := orInput(a.Recipient, s)
	if err != nil {
		return err
	}
	if act.Reason, err = orInput(act.Reason, s); err != nil {
		return err
	}
	i, o, err := a.operator()
	if err != nil {
		return err
	}
	defer i.Close()
	ctx := context.Background()
	id, err := i.one(ctx, a.ID)
	if err != nil {
		return err
	}
	n, err := do(o, ctx, guard.Choice{Message: id, Recipient: recipient}, act)
	if err != nil && n > 0 {
		return fmt.Errorf("%d of its deliveries %s, but: %w", n, done, err)
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("message %s has no delivery in a state for that; see 'postvagt trace %s'", id, id)
	}
	if a.JSON {
		return json.NewEncoder(s.out).Encode(map[string]any{"message": id, "deliveries": n, "done": done})
	}
	_, err = fmt.Fprintf(s.out, "%s: %d of its deliveries %s.\n", id, n, done)
	return err
}

// orInput is a flag's value, or for "-" the first line of standard input: a command line can be read by every user of the
// machine, and an address may hold a CPR number (law 6).
func orInput(value string, s streams) (string, error) {
	if value != "-" {
		return value, nil
	}
	line, err := readLine(s.in)
	if err != nil {
		return "", fmt.Errorf("read from standard input: %w", err)
	}
	return line, nil
}

// one is the message an id, or its beginning, names.
func (i *installation) one(ctx context.Context, id string) (ledger.MessageID, error) {
	if len(id) < 6 {
		return "", fmt.Errorf("%q is too short: give at least 6 letters of the message's id", id)
	}
	found, err := i.store.Find(ctx, ledger.Query{ID: ledger.MessageID(id), Limit: 2})
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no message has the id %s; 'postvagt trace --sender … --recipient … --since …' finds it by other marks", id)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("more than one message begins with %s: give more of the id", id)
}
