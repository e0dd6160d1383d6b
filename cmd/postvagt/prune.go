package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// pruneCmd says what retention would remove, and removes it when asked; the guard does so by itself.
type pruneCmd struct {
	withConfig
	Now  bool `help:"Remove it now. Without this, only say what would go."`
	JSON bool `name:"json" help:"Answer in JSON."`
}

// prunedWords is the answer for one authority.
type prunedWords struct {
	Authority string `json:"authority"`
	Done      bool   `json:"done"`
	Details   int    `json:"details"`
	Rows      int    `json:"rows"`
}

const pruneBatch = 100 // messages in one transaction: the guard, which may be at work, waits for it

func (c pruneCmd) Run(s streams) error {
	i, err := c.openLedger()
	if err != nil {
		return err
	}
	defer i.Close()
	p, ok := i.store.(ledger.Pruner)
	if !ok {
		return fmt.Errorf("this ledger removes nothing")
	}
	ctx, now := context.Background(), time.Now().UTC()
	for _, a := range i.cfg.Authorities {
		w := prunedWords{Authority: a.Name, Done: c.Now}
		if c.Now {
			err = w.prune(ctx, p, now, a)
		} else {
			var would ledger.Pruned
			would, err = p.WouldPrune(ctx, now, a.Name, a.Retention)
			w.Details, w.Rows = would.Details, would.Rows
		}
		if err != nil {
			return err
		}
		if c.JSON {
			err = json.NewEncoder(s.out).Encode(w)
		} else {
			err = w.tell(s.out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *prunedWords) prune(ctx context.Context, p ledger.Pruner, now time.Time, a config.Authority) error {
	for {
		n, err := p.Prune(ctx, now, a.Name, a.Retention, pruneBatch)
		if err != nil {
			return err
		}
		w.Details, w.Rows = w.Details+n.Details, w.Rows+n.Rows
		if !n.More {
			return nil
		}
	}
}

func (w prunedWords) tell(out io.Writer) error {
	verb := "would be"
	if w.Done {
		verb = "have been"
	}
	_, err := fmt.Fprintf(out, "%s: what tells of people %s removed from %d messages, and the rows of %d.\n", w.Authority, verb, w.Details, w.Rows)
	return err
}

// perhapsGone says with an error that a message was not found how many are not there any more, so that nobody takes
// it for never accepted.
func (i *installation) perhapsGone(ctx context.Context, err error) error {
	p, ok := i.bodies.Ledger().(ledger.Pruner)
	if err == nil || !ok {
		return err
	}
	for _, a := range i.cfg.Authorities {
		if i.authority != "" && i.authority != a.Name {
			continue
		}
		proofs, lookErr := p.Proofs(ctx, a.Name)
		if lookErr != nil {
			return err
		}
		for _, proof := range proofs {
			if proof.Stage == ledger.Rows {
				err = fmt.Errorf("%w\n%s: retention has removed %d messages with %s information that had ended by %s, so it may have been one of them", err,
					a.Name, proof.Messages, policy.ClassWords(proof.Class, "en"), clock(proof.Until))
			}
		}
	}
	return err
}

// removed stands where something was that told of a person.
const removed = "(removed)"

// tellErased says what is left of a message, and why.
func tellErased(w io.Writer, m ledger.Message) {
	fmt.Fprintf(w, "  what told of people was removed %s, as the authority's retention says: who sent and received it, what was found, names, reasons and replies.\n", clock(m.ErasedAt))
	fmt.Fprintln(w, "  what is left: when it came and ended and how, which level was required and reached, and the hashes that prove the rest unchanged.")
}

// retentionWords says how long what has ended is kept.
func retentionWords(r ledger.Retention, da bool) (lines []string) {
	for _, c := range class.All {
		k := r[c]
		words := policy.ClassWords(c, map[bool]string{true: "da", false: "en"}[da])
		details, rows := days(k.After(ledger.Details)), days(k.After(ledger.Rows))
		switch {
		case details == 0:
			lines = append(lines, fmt.Sprintf(pick(da, "Sporet af afsluttede beskeder med %s oplysninger (%s) gemmes, indtil myndigheden bestemmer andet (retention).",
				"What the ledger holds of ended messages with %s information (%s) is kept until the authority decides otherwise (retention)."), words, c))
		case rows == 0:
			lines = append(lines, fmt.Sprintf(pick(da, "%d dage efter at en besked med %s oplysninger (%s) er afsluttet, fjernes alt, der fortæller om personer. Resten gemmes.",
				"%d days after a message with %s information (%s) has ended, all that tells of people is removed. The rest is kept."), details, words, c))
		case rows == details:
			lines = append(lines, fmt.Sprintf(pick(da, "%d dage efter at en besked med %s oplysninger (%s) er afsluttet, fjernes den fra regnskabet. Kun optællingen og beviset for, at den blev fjernet, bliver tilbage.",
				"%d days after a message with %s information (%s) has ended, it is removed from the ledger. Only its count and the proof of its removal stay."), rows, words, c))
		default:
			lines = append(lines, fmt.Sprintf(pick(da, "%d dage efter at en besked med %s oplysninger (%s) er afsluttet, fjernes alt, der fortæller om personer; efter %d dage fjernes resten. Kun optællingen og beviset for, at den blev fjernet, bliver tilbage.",
				"%d days after a message with %s information (%s) has ended, all that tells of people is removed; after %d days the rest is. Only its count and the proof of its removal stay."), details, words, c, rows))
		}
	}
	return lines
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }
