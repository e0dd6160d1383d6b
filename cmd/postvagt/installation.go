package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/offload"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/spool"
)

// withConfig is the flag every command on an installation has.
type withConfig struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"The configuration, postvagt.yaml."`
}

func (w withConfig) load() (*config.Config, error) { return config.Load(w.Config) }

// installation is an opened configuration, ledger and key file.
type installation struct {
	cfg   *config.Config
	store ledger.Store
	keys  *spool.Keys

	bodies *offload.Store // store's own view of where bodies lie
}

func (i *installation) Close() error { return i.store.Close() }

// openLedger opens an existing ledger for a command beside the running guard.
func (w withConfig) openLedger() (*installation, error) {
	c, err := w.load()
	if err != nil {
		return nil, err
	}
	s, err := openStore(context.Background(), c, beside)
	if err != nil {
		return nil, err
	}
	return &installation{cfg: c, store: s.Ledger(), bodies: s}, nil
}

// openWithKeys opens the ledger and the key file.
func (w withConfig) openWithKeys() (*installation, error) {
	i, err := w.openLedger()
	if err != nil {
		return nil, err
	}
	if i.keys, err = spool.Load(i.cfg.Store.Keys); err != nil {
		i.Close()
		return nil, missingKeys(i.cfg, err)
	}
	return i, nil
}

func (w withConfig) operator() (*installation, *guard.Operator, error) {
	i, err := w.openWithKeys()
	if err != nil {
		return nil, nil, err
	}
	o, err := guard.NewOperator(i.cfg, i.store, i.keys, nil)
	if err != nil {
		i.Close()
		return nil, nil, err
	}
	return i, o, nil
}

// start opens ledger and keys for serving. A first start on a file makes both; a ledger without its keys is refused loudly,
// for its open mail could be neither delivered nor returned.
func start(c *config.Config, say io.Writer) (*installation, error) {
	if err := folderOf(c); err != nil {
		return nil, err
	}
	keys, err := spool.Load(c.Store.Keys)
	if errors.Is(err, fs.ErrNotExist) && firstStart(c) {
		if keys, err = spool.Create(c.Store.Keys); err == nil {
			fmt.Fprintf(say, "postvagt: made the key file %s. Keep a copy apart from the ledger's backup: without it no waiting mail can be opened.\n", c.Store.Keys)
		}
	}
	if err != nil {
		return nil, missingKeys(c, err)
	}
	ctx := context.Background()
	s, err := openStore(ctx, c, serving)
	if err != nil {
		return nil, err
	}
	i := &installation{cfg: c, store: s.Ledger(), keys: keys, bodies: s}
	if err := i.checkKeys(ctx); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// keysFact is the ledger's note of the keys its bodies may be sealed with.
const keysFact = "key ids"

// checkKeys refuses a key file that is not this ledger's, and notes the file's keys.
func (i *installation) checkKeys(ctx context.Context) error {
	known, err := i.store.Get(ctx, keysFact)
	if err != nil {
		return fmt.Errorf("read which keys the ledger needs: %w", err)
	}
	have := i.keys.IDs()
	for id := range strings.FieldsSeq(known) {
		if !slices.Contains(have, id) {
			return fmt.Errorf("THE KEY FILE %s DOES NOT BELONG TO THIS LEDGER: key %s is missing, so mail that waits in %s could not be opened.\n"+
				"Put the right key file back (it was made at the first start; your backup of it), then start again", i.cfg.Store.Keys, id, where(i.cfg))
		}
	}
	return i.store.Put(ctx, keysFact, strings.Join(have, " "))
}

func missingKeys(c *config.Config, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.Store.Postgres != "" {
		return fmt.Errorf("THE KEY FILE %s IS MISSING, and the ledger %s needs it: mail that waits there could not be opened.\n"+
			"Copy it from another guard over this database, or from your backup of it. Only for a new ledger: 'postvagt keys make' makes one, once for all its guards (%w)", c.Store.Keys, where(c), err)
	}
	return fmt.Errorf("THE KEY FILE %s IS MISSING, and the ledger %s needs it: mail that waits there could not be opened.\n"+
		"Put the key file back from your backup of it, then try again. If it is lost for good, 'postvagt keys make' makes a new one: "+
		"what waits now stays sealed for ever and 'postvagt verify' lists it (%w)", c.Store.Keys, where(c), err)
}

type keysCmd struct {
	Make   keysMakeCmd   `cmd:"" help:"Make the key file. Never overwrites one."`
	Rotate keysRotateCmd `cmd:"" help:"Add a fresh key; new bodies are sealed with it, waiting ones are sealed anew."`
	List   keysListCmd   `cmd:"" help:"List the ids of the keys."`
}

// asJSON is the flag of commands whose answer is one sentence or list.
type asJSON struct {
	JSON bool `name:"json" help:"Answer in JSON."`
}

// answer writes v in JSON where that was asked for, else the words.
func (a asJSON) answer(s streams, v any, words string, args ...any) error {
	if a.JSON {
		return json.NewEncoder(s.out).Encode(v)
	}
	_, err := fmt.Fprintf(s.out, words, args...)
	return err
}

type keysMakeCmd struct {
	withConfig
	asJSON
}

func (k keysMakeCmd) Run(s streams) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	keys, err := spool.Create(c.Store.Keys)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a key file at %s already; 'postvagt keys rotate' adds a key to it", c.Store.Keys)
	}
	if err != nil {
		return err
	}
	if err := k.answer(s, map[string]string{"file": c.Store.Keys, "made": keys.Newest()}, "Made %s with key %s. Keep a copy apart from the ledger's backup.\n", c.Store.Keys, keys.Newest()); err != nil {
		return err
	}
	if firstStart(c) {
		return nil
	}
	store, err := openStore(context.Background(), c, beside)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Put(context.Background(), keysFact, keys.Newest()); err != nil {
		return err
	}
	return store.Note(context.Background(), ledger.Event{Authority: c.Authorities[0].Name, At: time.Now().UTC(), Kind: "keys", Detail: "made key " + keys.Newest() + "; older keys are gone"})
}

type keysRotateCmd struct {
	withConfig
	asJSON
}

func (k keysRotateCmd) Run(s streams) error {
	i, err := k.openWithKeys()
	if err != nil {
		return err
	}
	defer i.Close()
	keys, err := spool.Rotate(i.cfg.Store.Keys)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := i.store.Put(ctx, keysFact, strings.Join(keys.IDs(), " ")); err != nil {
		return err
	}
	n, err := i.store.Reseal(ctx, func(id string, sealed []byte) ([]byte, error) {
		plain, err := keys.Open(id, sealed)
		if err != nil {
			return nil, err
		}
		return keys.Seal(id, plain)
	})
	if err != nil {
		return fmt.Errorf("the new key %s is in the file, but sealing anew stopped after %d: %w; run the command again", keys.Newest(), n, err)
	}
	for _, a := range i.cfg.Authorities {
		if err := i.store.Note(ctx, ledger.Event{Authority: a.Name, At: time.Now().UTC(), Kind: "keys", Detail: "rotated to key " + keys.Newest()}); err != nil {
			return err
		}
	}
	return k.answer(s, map[string]any{"file": i.cfg.Store.Keys, "newest": keys.Newest(), "resealed": n},
		"Key %s is the newest; %d waiting bodies and addresses were sealed anew. Back the key file up.\n", keys.Newest(), n)
}

type keysListCmd struct {
	withConfig
	asJSON
}

func (k keysListCmd) Run(s streams) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	keys, err := spool.Load(c.Store.Keys)
	if err != nil {
		return err
	}
	if k.JSON {
		return k.answer(s, map[string]any{"file": c.Store.Keys, "newest": keys.Newest(), "keys": keys.IDs()}, "")
	}
	for _, id := range keys.IDs() {
		note := ""
		if id == keys.Newest() {
			note = "  seals new bodies"
		}
		fmt.Fprintf(s.out, "%s%s\n", id, note)
	}
	return nil
}

type backupCmd struct {
	withConfig
	asJSON
	To string `required:"" type:"path" placeholder:"FILE" help:"Where to write the copy; must not exist."`
}

func (b backupCmd) Run(s streams) error {
	i, err := b.openLedger()
	if err != nil {
		return err
	}
	defer i.Close()
	file, ok := i.bodies.Store.(*sqlite.Store)
	if !ok {
		return fmt.Errorf("the ledger is in the database %s, which PostgreSQL's own tools copy: pg_basebackup with an archive of its WAL, for any moment, "+
			"or pg_dump, for one (docs/operate.md, Backup and restore)", i.cfg.Store.Postgres)
	}
	if _, err := os.Stat(b.To); err == nil {
		return fmt.Errorf("%s exists already; a backup never overwrites", b.To)
	}
	if err := file.Backup(context.Background(), b.To); err != nil {
		return err
	}
	return b.answer(s, map[string]string{"wrote": b.To, "keys": i.cfg.Store.Keys}, "Wrote %s. The key file %s is not in it: keep that apart.\n", b.To, i.cfg.Store.Keys)
}

// readLine returns the first line of r.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}
