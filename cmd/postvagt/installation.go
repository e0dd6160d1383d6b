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
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/offload"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/spool"
	"postvagt/internal/witness"
)

// withConfig is the flag every command on an installation has.
type withConfig struct {
	Config string `type:"path" env:"POSTVAGT_CONFIG" default:"/etc/postvagt/postvagt.yaml" placeholder:"FILE" help:"The configuration; else $POSTVAGT_CONFIG, else ${default}."`
}

// load reads the configuration for what concerns the whole installation.
func (w withConfig) load() (*config.Config, error) {
	if os.Getenv(limitEnv) != "" {
		return nil, errWhole
	}
	return config.Load(w.Config)
}

// installation is an opened configuration, ledger and key files.
type installation struct {
	cfg       *config.Config
	store     ledger.Store
	authority string // the one that store is a view of; "" all
	keys      spool.Authorities

	bodies *offload.Store // store's own view of where bodies lie
}

// engine is the ledger itself, without what stands before it.
func (i *installation) engine() ledger.Store { return i.bodies.Store }

func (i *installation) Close() error { return i.bodies.Close() }

// openLedger opens an existing ledger for a command beside the running guard.
func (w withConfig) openLedger() (*installation, error) {
	c, err := w.load()
	if err != nil {
		return nil, err
	}
	return besideGuard(c)
}

// besideGuard opens an existing ledger.
func besideGuard(c *config.Config) (*installation, error) {
	s, err := openStore(context.Background(), c, beside)
	if err != nil {
		return nil, err
	}
	return &installation{cfg: c, store: s.Ledger(), bodies: s}, nil
}

// readKeys reads the key files that are asked for; on an error the ledger is closed.
func (i *installation) readKeys(asked func(*config.Config) ([]*keyFile, error)) error {
	files, err := asked(i.cfg)
	if err == nil {
		i.keys, err = loadRing(i.cfg, files)
	}
	if err != nil {
		i.Close()
	}
	return err
}

// operator is what acts for a person on the ledger; on an error the ledger is closed.
func (i *installation) operator() (*installation, *guard.Operator, error) {
	o, err := guard.NewOperator(i.cfg, i.store, i.keys, nil)
	if err != nil {
		i.Close()
		return nil, nil, err
	}
	return i, o, nil
}

// start opens ledger and keys for serving, and refuses a ledger that went back in time.
func start(c *config.Config, say io.Writer) (*installation, *witness.Witness, error) {
	i, err := open(c, say)
	if err != nil {
		return nil, nil, err
	}
	w, err := i.witness()
	if err == nil {
		err = w.Look(context.Background())
	}
	if errors.Is(err, ledger.ErrPast) {
		err = fmt.Errorf("%s: %w%s", where(c), err, pastAdvice)
	}
	if err != nil {
		i.Close()
		return nil, nil, err
	}
	return i, w, nil
}

// open opens ledger and keys for one who has them alone, or shares them with other guards. A first start on a file makes both; a
// ledger without its keys is refused loudly, for its open mail could be neither delivered nor returned.
func open(c *config.Config, say io.Writer) (*installation, error) {
	if err := folderOf(c, say); err != nil {
		return nil, err
	}
	files := keyFiles(c)
	if common := files[0]; !common.own {
		if common.load(); errors.Is(common.err, fs.ErrNotExist) && firstStart(c) {
			if common.keys, common.err = spool.Create(common.path); common.err == nil {
				fmt.Fprintf(say, "postvagt: made the key file %s. Keep a copy apart from the ledger's backup: without it no waiting mail can be opened.\n", common.path)
			}
		}
		if common.err != nil && len(files) == 1 {
			return nil, missingKeys(c, common)
		}
	}
	ctx := context.Background()
	s, err := openStore(ctx, c, serving)
	if err != nil {
		return nil, err
	}
	i := &installation{cfg: c, store: s.Ledger(), bodies: s}
	if err = i.turn(ctx, files); err == nil {
		i.keys, err = openRing(ctx, c, i.store, files, say)
	}
	if err == nil {
		err = i.sayStrangers(ctx, say)
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// turn waits until nobody else notes keys in the ledger: two guards that begin on a new database at once would each note their own.
func (i *installation) turn(ctx context.Context, files []*keyFile) error {
	nodes, ok := i.engine().(ledger.Cluster)
	if !ok || i.cfg.Store.Postgres == "" {
		return nil
	}
	noted := true
	for _, f := range files {
		known, err := i.store.Get(ctx, f.fact())
		if err != nil {
			return err
		}
		noted = noted && known != ""
	}
	for range 100 {
		if noted {
			return nil
		}
		var err error
		if noted, err = nodes.Duty(ctx, time.Now().UTC(), "keys", i.cfg.Node, 2*time.Second); err != nil {
			return err
		}
		if !noted {
			time.Sleep(100 * time.Millisecond)
		}
	}
	return errors.New("another guard has been noting its keys in this ledger for too long; start again")
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

type backupCmd struct {
	withAuthority
	asJSON
	To string `required:"" type:"path" placeholder:"FILE" help:"Where to write the copy; must not exist."`
}

func (b backupCmd) Run(s streams) error {
	if b.limited() {
		return errWhole // a copy holds everybody's mail
	}
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
