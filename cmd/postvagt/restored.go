package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/detect"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
	"postvagt/internal/witness"
)

// seenFile is where this node keeps what it has seen of the ledger: beside the ledger's file, under a name that is not moved aside
// with it, or beside the keys.
func seenFile(c *config.Config) string {
	if c.Store.Postgres != "" {
		return filepath.Join(filepath.Dir(c.Store.Keys), "seen-"+filepath.Base(c.Store.Keys))
	}
	return filepath.Join(filepath.Dir(c.Store.SQLite), "seen-"+filepath.Base(c.Store.SQLite))
}

// witness is what this node remembers of the ledger.
func (i *installation) witness() (*witness.Witness, error) {
	if d, ok := i.engine().(*database); ok {
		return d.witness.Load(), nil
	}
	l, ok := i.engine().(witness.Ledger)
	if !ok {
		return nil, fmt.Errorf("the ledger %s does not show its chain", where(i.cfg))
	}
	return witness.New(seenFile(i.cfg), l)
}

// pastAdvice is what to do about a ledger that went back in time.
const pastAdvice = "\nRead docs/operate.md, 'A restored ledger is the past'. Then: postvagt restored --by NAME --reason TEXT [--reconcile LOG] holds what may have been\n" +
	"delivered since for a person, lists it, and lets the guards start. Or put the right ledger back"

type restoredCmd struct {
	withConfig
	signed
	Reconcile string `type:"path" placeholder:"FILE" help:"Logs of what was delivered since: the guard's own, the next hop's Postfix log (never that of the server before the guard), or a list of ids. - reads standard input."`
	Anyway    bool   `help:"Although this guard has seen nothing that the ledger lacks: it was off during the lost time."`
	JSON      bool   `name:"json" help:"Answer in JSON."`
}

// restoration is the answer of postvagt restored.
type restoration struct {
	Ledger  string           `json:"ledger"`
	Seen    *time.Time       `json:"last_seen,omitempty"` // when this guard last saw the ledger that is gone
	Noticed bool             `json:"noticed"`             // this guard has seen what the ledger lacks
	Doubts  []guard.Doubt    `json:"possibly_delivered"`
	Unknown []unknownMessage `json:"unknown"`
}

// unknownMessage is one that a log says was accepted, and that the ledger does not hold.
type unknownMessage struct {
	Message   ledger.MessageID `json:"message"`
	Delivered bool             `json:"delivered"` // the log has at least one of its deliveries
}

func (c restoredCmd) Run(s streams) error {
	if err := c.fromInput(s); err != nil {
		return err
	}
	known, err := c.arrivals(s)
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	i, err := open(cfg, s.err)
	if err != nil {
		return err
	}
	defer i.Close()
	ctx := context.Background()
	if err := i.alone(ctx); err != nil {
		return err
	}
	w, err := i.witness()
	if err != nil {
		return err
	}
	out := restoration{Ledger: where(cfg), Doubts: []guard.Doubt{}, Unknown: []unknownMessage{}}
	if at, ok := w.Seen(); ok {
		out.Seen = &at
		if err := w.Look(ctx); errors.Is(err, ledger.ErrPast) {
			out.Noticed = true
		} else if err != nil {
			return err
		}
		if !out.Noticed && !c.Anyway {
			return fmt.Errorf("the ledger %s holds everything that this guard has seen of it, so it does not look restored; nothing was done. "+
				"If it was restored all the same, say --anyway: all queued mail is then held for a person", where(cfg))
		}
	}
	if err := c.take(ctx, i, w, known, &out); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(out)
	}
	return tellRestoration(s, out)
}

func (c *restoredCmd) fromInput(s streams) (err error) {
	if c.Reconcile == "-" && c.Reason == "-" {
		return errors.New("standard input can give the reason or the log, not both")
	}
	c.Reason, err = orInput(c.Reason, s)
	return err
}

func (c restoredCmd) arrivals(s streams) (*arrivals, error) {
	switch c.Reconcile {
	case "":
		return readArrivals(strings.NewReader(""))
	case "-":
		return readArrivals(s.in)
	}
	f, err := os.Open(c.Reconcile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readArrivals(f)
}

// alone refuses a ledger on which other guards are at work.
func (i *installation) alone(ctx context.Context) error {
	c, ok := i.engine().(ledger.Cluster)
	if !ok {
		return nil
	}
	life := rand.Text()
	a, err := c.Beat(ctx, time.Now().UTC(), i.cfg.Node, life, 5*time.Second)
	if errors.Is(err, ledger.ErrTaken) {
		return fmt.Errorf("a guard named %s is at work on this ledger, or was some seconds ago: stop it, wait a quarter of a minute, and try again", i.cfg.Node)
	}
	if err != nil {
		return err
	}
	if err := c.Leave(ctx, i.cfg.Node, life); err != nil {
		return err
	}
	if a.Nodes > 1 {
		return fmt.Errorf("%d other guards are at work on this ledger: stop them all, wait a quarter of a minute, and try again", a.Nodes-1)
	}
	return nil
}

// take takes the ledger into use as it stands. The last step says so in the ledger; before it, all can be repeated.
func (c restoredCmd) take(ctx context.Context, i *installation, w *witness.Witness, known *arrivals, out *restoration) error {
	o, err := guard.NewOperator(i.cfg, i.store, i.keys, nil)
	if err != nil {
		return err
	}
	doubts, err := o.Restored(ctx, guard.Act(c.signed), known.of)
	out.Doubts = append(out.Doubts, doubts...)
	if err != nil {
		return fmt.Errorf("after %d deliveries: %w; run the command again", len(doubts), err)
	}
	ids, delivered := known.all()
	for _, id := range ids {
		_, err := i.store.Story(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			out.Unknown = append(out.Unknown, unknownMessage{id, delivered[id]})
		} else if err != nil {
			return err
		}
	}
	for _, a := range i.cfg.Authorities {
		detail := fmt.Sprintf("the ledger was restored from a copy; %d open deliveries may have arrived since, %d messages in the log are unknown: %s",
			len(out.Doubts), len(out.Unknown), detect.Mask(c.Reason))
		if err := i.store.Note(ctx, ledger.Event{Authority: a.Name, At: time.Now().UTC(), Kind: guard.KindRestored, By: detect.Mask(c.By), Detail: detail}); err != nil {
			return err
		}
	}
	if err := i.store.Seal(ctx, time.Now().UTC()); err != nil {
		return err
	}
	return w.Accept(ctx)
}

func tellRestoration(s streams, r restoration) error {
	arrived := 0
	for _, d := range r.Doubts {
		if d.Arrived {
			arrived++
		}
	}
	fmt.Fprintf(s.out, "%s is taken into use as it stands. %d open deliveries may have been delivered since it was copied; all are held for a person, "+
		"and marked. %d of them are known to have arrived.\n", r.Ledger, len(r.Doubts), arrived)
	if len(r.Doubts) > 0 {
		t := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "MESSAGE\tTO\tMESSAGE-ID\tARRIVED")
		for _, d := range r.Doubts {
			known := "not known"
			if d.Arrived {
				known = "yes: " + d.Known
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Message, d.Recipient, orDash(d.HeaderID), known)
		}
		t.Flush()
		fmt.Fprintln(s.out, "What has arrived: postvagt withdraw ID --recipient ADDRESS. What has not: postvagt release ID --recipient ADDRESS. Both with --by and --reason.")
	}
	if len(r.Unknown) > 0 {
		fmt.Fprintf(s.out, "%d messages that the log says were accepted are not in this ledger:\n", len(r.Unknown))
		for _, u := range r.Unknown {
			what := "no word that it was delivered: its sender has to be told by a person"
			if u.Delivered {
				what = "delivered at least once; what else became of it is not known"
			}
			fmt.Fprintf(s.out, "%s  %s\n", u.Message, what)
		}
	}
	return nil
}
