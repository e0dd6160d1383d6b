package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"postvagt/internal/config"
	"postvagt/internal/ledger/move"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/ledger/sqlite"
)

type migrateCmd struct {
	withConfig
	asJSON
	To       string `placeholder:"URL" xor:"to" help:"The empty database: postgres://user@host/database. Its password comes from PGPASSFILE or ~/.pgpass."`
	ToConfig string `type:"path" placeholder:"FILE" xor:"to" help:"The configuration that will be served from: its store is the database."`
	Undo     bool   `xor:"to" help:"Take the file back into use. Only if no guard has run on the database since."`
}

// Run moves the ledger, or takes the move back.
func (c migrateCmd) Run(s streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if cfg.Store.SQLite == "" {
		return fmt.Errorf("%s names no ledger in a file: migrate-store moves one from SQLite to PostgreSQL", c.Config)
	}
	if _, err := os.Stat(cfg.Store.SQLite); err != nil {
		return fmt.Errorf("there is no ledger to move: %w", err)
	}
	to, err := c.target()
	if err != nil {
		return err
	}
	from, err := sqlite.Open(cfg.Store.SQLite, sqlite.Options{Exclusive: true})
	if err != nil {
		return err
	}
	defer from.Close()
	if c.Undo {
		return c.undo(s, from, cfg.Store.SQLite)
	}
	if err := stillHere(from, cfg.Store.SQLite); err != nil {
		return err
	}
	return c.move(s, from, cfg.Store.SQLite, to)
}

// target is the database to move to; "" with --undo.
func (c migrateCmd) target() (config.DSN, error) {
	switch {
	case c.Undo:
		return "", nil
	case c.ToConfig != "":
		cfg, err := config.Load(c.ToConfig)
		if err == nil && cfg.Store.Postgres == "" {
			err = fmt.Errorf("%s names no database: store: {postgres: …}", c.ToConfig)
		}
		if err != nil {
			return "", err
		}
		return cfg.Store.Postgres, nil
	case c.To == "":
		return "", errors.New("say where to: --to-config FILE, or --to URL")
	}
	dsn, err := config.ParseDSN(c.To)
	if err == nil && dsn.HasSecret() {
		err = errors.New("a password on the command line can be read by everybody on this machine: leave it to ~/.pgpass, or use --to-config")
	}
	return dsn, err
}

func (c migrateCmd) undo(s streams, from *sqlite.Store, file string) error {
	ctx := context.Background()
	went, err := move.Went(ctx, from)
	if err != nil {
		return err
	}
	if went == nil {
		return fmt.Errorf("the ledger %s was not moved; there is nothing to undo", file)
	}
	if err := move.Undo(ctx, from); err != nil {
		return err
	}
	return c.answer(s, map[string]string{"ledger": file, "undone": went.To},
		"%s may be served again. Drop the database %s, but only if no guard has run on it: what one accepted there is there alone.\n", file, went.To)
}

// moved is the answer in JSON.
type moved struct {
	From string `json:"from"`
	To   string `json:"to"`
	move.Proof
}

// notProven says what to do about two ledgers that differ. Where an earlier run had moved the rows, a guard may have gone on from there.
func notProven(err error, resumed bool, file string, dsn config.DSN) error {
	if resumed {
		return fmt.Errorf("THE TWO LEDGERS DIFFER. %w.\nAn earlier run had moved the rows. If a guard has run on the database %s since, this is why: what it accepted is there alone. "+
			"Do not drop the database, and do not serve the file %s: serve from the database. If no guard has run there, keep both as they are and report this", err, dsn, file)
	}
	return fmt.Errorf("THE MOVE IS NOT PROVEN. %w.\nThe file %s is as it was and may be served; drop the database and report this", err, file)
}

func (c migrateCmd) move(s streams, from *sqlite.Store, file string, dsn config.DSN) error {
	ctx := context.Background()
	to, err := postgres.Open(ctx, string(dsn), postgres.Options{Serve: true})
	if err != nil {
		return err
	}
	defer to.Close()
	p, err := move.Ledger(ctx, from, to, dsn.String())
	if errors.Is(err, move.ErrDiffers) {
		return notProven(err, p.Resumed, file, dsn)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return c.answer(s, moved{file, dsn.String(), p}, "")
	}
	if p.Resumed {
		fmt.Fprintln(s.out, "An earlier run had moved the rows; they were compared again.")
	}
	for _, t := range p.Tables {
		fmt.Fprintf(s.out, "%-15s %9d rows, the same on both sides, SHA-256 %x\n", t.Table, t.Rows, t.SHA256)
	}
	for _, h := range p.Heads {
		fmt.Fprintf(s.out, "The chain of %s holds on both sides and ends at event %d: %x\n", h.Authority, h.Last, h.Hash)
	}
	fmt.Fprintf(s.out, "accepted %d = open %d + final %d, unaccounted %d, on both sides\n", p.Sums.Accepted, p.Sums.Open, p.Sums.Final, p.Sums.Unaccounted)
	fmt.Fprintf(s.out, "The ledger is now in %s. The file %s stays as it is, and is not served any more. Give the guard the same key file.\n", dsn, file)
	return nil
}
