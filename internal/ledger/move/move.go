// Package move takes a ledger from SQLite to PostgreSQL: every row, in one transaction, and then proves that what arrived is what
// was sent. The file stays as it is but for a note that says where its ledger went, so that nobody serves both.
package move

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/ledger/sqlite"
)

// Facts of the two ledgers that tell of the move. Neither is moved.
const (
	movedFact = "moved to"   // in the file: Moved as JSON
	fromFact  = "moved from" // in the database: the fingerprint of what came
)

// Moved says where a file's ledger went, and when.
type Moved struct {
	To string    `json:"to"`
	At time.Time `json:"at"`
}

// Facts is what the note of a move stands in.
type Facts interface {
	Get(ctx context.Context, name string) (string, error)
	Put(ctx context.Context, name, value string) error
}

// Went says where the ledger went; nil when it is here.
func Went(ctx context.Context, l Facts) (*Moved, error) {
	text, err := l.Get(ctx, movedFact)
	if err != nil || text == "" {
		return nil, err
	}
	var m Moved
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("read where the ledger went: %w", err)
	}
	return &m, nil
}

// Undo takes back the note that the ledger went elsewhere.
func Undo(ctx context.Context, l Facts) error { return l.Put(ctx, movedFact, "") }

// Proof is what was compared after the move.
type Proof struct {
	Resumed bool          `json:"resumed"` // an earlier run had moved the rows already
	Sums    ledger.Sums   `json:"sums"`
	Tables  []TableProof  `json:"tables"`
	Heads   []ledger.Head `json:"chains"` // the newest seal of each authority, the same on both sides
}

// TableProof is one table's rows and the SHA-256 over all their values, the same on both sides.
type TableProof struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	SHA256 []byte `json:"sha256"`
}

// ErrDiffers: what arrived is not what was sent.
var ErrDiffers = errors.New("the two ledgers differ")

// Ledger moves everything that is in from, which nobody else may have open, to the empty ledger to, and proves it. name is what the
// note in the file will call to. When it fails, from is as it was; a run that was cut off is repeated, and takes up what is
// there already.
func Ledger(ctx context.Context, from *sqlite.Store, to *postgres.Store, name string) (p Proof, err error) {
	if err := settle(ctx, from); err != nil {
		return p, err
	}
	err = from.Snapshot(ctx, func(ask sqlite.Ask) error {
		print, err := fingerprint(ask)
		if err != nil {
			return err
		}
		tables, err := tablesFor(ctx, ask, to, print)
		if err != nil {
			return err
		}
		var sent []postgres.Digest
		if sent, p.Resumed, err = bring(ctx, ask, to, tables, print); err != nil {
			return err
		}
		got, err := to.Digests(ctx, tables)
		if err != nil {
			return fmt.Errorf("read back what arrived: %w", err)
		}
		p.Tables, err = compare(sent, got)
		return err
	})
	if err != nil {
		return p, err
	}
	if err := p.prove(ctx, from, to); err != nil {
		return p, err
	}
	note, err := json.Marshal(Moved{To: name, At: time.Now().UTC()})
	if err != nil {
		return p, err
	}
	return p, from.Put(ctx, movedFact, string(note))
}

// settle ends what no node will end any more, as a start of the guard would, and closes the chain over all events.
func settle(ctx context.Context, from *sqlite.Store) error {
	var nodes []string
	err := from.Snapshot(ctx, func(ask sqlite.Ask) error {
		return ask(func(row []any) error { nodes = append(nodes, row[0].(string)); return nil }, "SELECT DISTINCT node FROM delivery WHERE state = 'queued' AND node <> ''")
	})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, err := from.Recover(ctx, time.Now().UTC(), n); err != nil {
			return fmt.Errorf("take back what node %s held: %w", n, err)
		}
	}
	return from.Seal(ctx, time.Now().UTC())
}

// bring copies the tables, unless an earlier run has: then they are only read here.
func bring(ctx context.Context, ask sqlite.Ask, to *postgres.Store, tables []postgres.Table, print string) (sent []postgres.Digest, resumed bool, err error) {
	came, err := to.Get(ctx, fromFact)
	if err != nil {
		return nil, false, err
	}
	if came == print {
		sent, err = read(tables)
		return sent, true, err
	}
	months, err := monthsOf(ask)
	if err != nil {
		return nil, false, err
	}
	sent, err = to.Import(ctx, months, tables)
	if errors.Is(err, postgres.ErrNotEmpty) {
		return nil, false, fmt.Errorf("%w: a ledger is moved to an empty one only. Make another database, or drop this one if nothing in it is needed", err)
	}
	if err != nil {
		return nil, false, fmt.Errorf("nothing was moved: %w", err)
	}
	return sent, false, nil
}

// compare demands the same rows on both sides.
func compare(sent, got []postgres.Digest) (proofs []TableProof, err error) {
	for i, s := range sent {
		g := got[i]
		if s != g {
			err = errors.Join(err, fmt.Errorf("%w: table %s: %d rows were sent and %d are there (SHA-256 %x and %x)", ErrDiffers, s.Table, s.Rows, g.Rows, s.SHA256, g.SHA256))
		}
		proofs = append(proofs, TableProof{g.Table, g.Rows, g.SHA256[:]})
	}
	return proofs, err
}

// prove lets each engine verify its own side, and compares what they find.
func (p *Proof) prove(ctx context.Context, from *sqlite.Store, to *postgres.Store) error {
	before, err := from.Verify(ctx, nil)
	if err != nil {
		return err
	}
	after, err := to.Verify(ctx, nil)
	if err != nil {
		return err
	}
	p.Sums = after.Sums
	if a, b := inJSON(before.Sums), inJSON(after.Sums); !bytes.Equal(a, b) {
		return fmt.Errorf("%w: the sums were %s and are %s", ErrDiffers, a, b)
	}
	if before.Chain != "ok" || after.Chain != "ok" || len(after.Problems) > 0 {
		return fmt.Errorf("%w: the chain was %s and is %s; problems before %q, after %q", ErrDiffers, before.Chain, after.Chain, before.Problems, after.Problems)
	}
	was, _, err := from.Heads(ctx, nil)
	if err != nil {
		return err
	}
	heads, missing, err := to.Heads(ctx, was)
	if err != nil {
		return err
	}
	if len(missing) > 0 || !bytes.Equal(inJSON(was), inJSON(heads)) {
		return fmt.Errorf("%w: the chains ended at %s and end at %s", ErrDiffers, inJSON(was), inJSON(heads))
	}
	p.Heads = heads
	return nil
}

func inJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // sums and heads are plain
	}
	return b
}
