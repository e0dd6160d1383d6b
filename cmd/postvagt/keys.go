package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/offload"
	"postvagt/internal/ledger/postgres"
	"postvagt/internal/spool"
)

// keyFile is one key file and the authorities whose mail its keys seal: one that names a file of its own, or all that name none.
type keyFile struct {
	path string
	of   []*config.Authority
	own  bool // named by its one authority
	keys *spool.Keys
	err  error // why there are no keys
}

// keyFiles lists the files of an installation, not yet read: the common one first where anybody uses it.
func keyFiles(c *config.Config) (files []*keyFile) {
	common := &keyFile{path: c.Store.Keys}
	for i := range c.Authorities {
		a := &c.Authorities[i]
		if a.Keys == "" {
			common.of = append(common.of, a)
			continue
		}
		files = append(files, &keyFile{path: a.Keys, of: []*config.Authority{a}, own: true})
	}
	if common.of != nil {
		files = append([]*keyFile{common}, files...)
	}
	return files
}

func (f *keyFile) load() { f.keys, f.err = spool.Load(f.path) }

// names are the authorities whose mail the file's keys seal.
func (f *keyFile) names() string {
	var names []string
	for _, a := range f.of {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// fact is the ledger's note of the keys that bodies may be sealed with.
func (f *keyFile) fact() string {
	const name = "key ids"
	if f.own {
		return ledger.FactOf(f.of[0].Name, name)
	}
	return name
}

// check makes a file unusable that is not this ledger's, and notes the keys of one that is.
func (f *keyFile) check(ctx context.Context, store ledger.Store, c *config.Config) error {
	if f.keys == nil {
		return nil
	}
	known, err := store.Get(ctx, f.fact())
	if err != nil {
		return fmt.Errorf("read which keys the ledger needs: %w", err)
	}
	have := f.keys.IDs()
	for id := range strings.FieldsSeq(known) {
		if !slices.Contains(have, id) {
			f.keys, f.err = nil, fmt.Errorf("THE KEY FILE %s DOES NOT BELONG TO THIS LEDGER: key %s is missing, so mail that waits in %s could not be opened.\n"+
				"Put the right key file back (it was made at the first start; your backup of it), then start again", f.path, id, where(c))
			return nil
		}
	}
	return store.Put(ctx, f.fact(), strings.Join(have, " "))
}

// begin gives an authority the use of a key file of its own: makes it where there never was one, and seals anew what the earlier,
// common keys sealed for it. It is done when the ledger has the file's keys noted, and repeated until then, whoever made the file.
func (f *keyFile) begin(ctx context.Context, store ledger.Store, before earlier, say io.Writer) error {
	missing := errors.Is(f.err, fs.ErrNotExist)
	if !f.own || f.keys == nil && !missing {
		return nil
	}
	if known, err := store.Get(ctx, f.fact()); err != nil || known != "" {
		return err
	}
	if before.err != nil { // what they sealed could never be opened again once the file's own keys are noted
		f.keys, f.err = nil, fmt.Errorf("the key file %s of %s is not taken into use while the common keys, which sealed its mail before, cannot be read: %v", f.path, f.names(), before.err)
		return nil
	}
	if missing {
		if f.keys, f.err = spool.Create(f.path); f.err != nil {
			return f.err
		}
		fmt.Fprintf(say, "postvagt: made the key file %s of %s. Keep a copy apart from the ledger's backup: without it no waiting mail can be opened.\n", f.path, f.names())
	}
	n, err := f.takeOver(ctx, store, before.keys, say)
	if n > 0 {
		fmt.Fprintf(say, "postvagt: %d bodies and addresses that waited were sealed anew with it.\n", n)
	}
	return err
}

// takeOver seals anew, with the file's keys, what before, the common ones, sealed for its authority. It may be repeated. What is damaged or
// lost stays as it is and is said: nothing would be won by stopping everybody's mail for it.
func (f *keyFile) takeOver(ctx context.Context, store ledger.Store, before *spool.Keys, say io.Writer) (n int, err error) {
	if !f.own || before == nil {
		return 0, nil
	}
	damaged := map[string]bool{}
	n, err = ledger.Scoped(store, f.of[0].Name).Reseal(ctx, func(id string, sealed []byte) ([]byte, error) {
		if !slices.Contains(before.IDs(), spool.SealedBy(sealed)) {
			return nil, nil
		}
		fresh, err := anew(f.keys, before, id, sealed)
		if errors.Is(err, spool.ErrSealed) {
			damaged[id] = true
			return nil, nil
		}
		return fresh, err
	})
	var left error
	if errors.Is(err, offload.ErrLost) { // it comes when all else is done
		left, err = err, nil
	}
	if len(damaged) > 0 {
		left = errors.Join(left, fmt.Errorf("what was sealed for %d messages is damaged", len(damaged)))
	}
	if err == nil && left != nil {
		fmt.Fprintf(say, "postvagt: not all that waits for %s could be sealed anew with %s: %v. 'postvagt verify' lists it. Keep the common key file, for what may be found again.\n", f.names(), f.path, left)
	}
	return n, err
}

// earlier are the common keys, from before an authority had its own; without either there never were any.
type earlier struct {
	keys *spool.Keys
	err  error
}

// earlierKeys reads them. A file that is not there is an error only where somebody still uses it.
func earlierKeys(c *config.Config) (e earlier) {
	e.keys, e.err = spool.Load(c.Store.Keys)
	if errors.Is(e.err, fs.ErrNotExist) && keyFiles(c)[0].own {
		e.err = nil
	}
	return e
}

func anew(to, from *spool.Keys, id string, sealed []byte) ([]byte, error) {
	plain, err := from.Open(id, sealed)
	if err != nil {
		return nil, err
	}
	return to.Seal(id, plain)
}

// ring is what the files hold, by authority. One file for all serves as it is.
func ring(files []*keyFile) spool.Authorities {
	if len(files) == 1 && files[0].keys != nil {
		return files[0].keys
	}
	apart := spool.Apart{}
	for _, f := range files {
		for _, a := range f.of {
			apart[a.Name] = f.keys
		}
	}
	return apart
}

// loadRing reads the files for a command beside the guard. It fails when no file can be used; one lost among several is its own
// authority's affair.
func loadRing(c *config.Config, files []*keyFile) (spool.Authorities, error) {
	usable := 0
	for _, f := range files {
		if f.load(); f.err == nil {
			usable++
		}
	}
	if usable == 0 {
		return nil, missingKeys(c, files[0])
	}
	return ring(files), nil
}

// openRing reads the files for serving. Files that were never made are made. One that is lost is said loudly and stops its own
// authorities' mail only; when all are lost there is nothing to serve.
func openRing(ctx context.Context, c *config.Config, store ledger.Store, files []*keyFile, say io.Writer) (spool.Authorities, error) {
	common := earlier{files[0].keys, files[0].err} // read before the ledger is opened
	if files[0].own {
		if common = earlierKeys(c); common.err != nil {
			return nil, fmt.Errorf("the common keys, from before each authority had its own: %w", common.err)
		}
	}
	usable := 0
	for i, f := range files {
		if i > 0 || f.own {
			f.load()
		}
		if err := f.begin(ctx, store, common, say); err != nil {
			return nil, err
		}
		if err := f.check(ctx, store, c); err != nil {
			return nil, err
		}
		if f.keys != nil {
			usable++
		}
	}
	for _, f := range files {
		switch {
		case f.keys != nil:
		case usable == 0:
			return nil, missingKeys(c, f)
		default:
			fmt.Fprintf(say, "postvagt: %v\npostvagt: until the key file is back and the guard started again, mail of %s is neither taken (451) nor delivered; nothing of it is lost. The others' mail goes on.\n", missingKeys(c, f), f.names())
		}
	}
	return ring(files), nil
}

// missingKeys says what to do about a file without keys.
func missingKeys(c *config.Config, f *keyFile) error {
	if !errors.Is(f.err, fs.ErrNotExist) {
		return f.err
	}
	command := "postvagt keys make"
	if f.own {
		command += fmt.Sprintf(" --authority %q", f.of[0].Name)
	}
	if c.Store.Postgres != "" {
		return fmt.Errorf("THE KEY FILE %s IS MISSING, and the ledger %s needs it: mail that waits there could not be opened.\n"+
			"Copy it from another guard over this database, or from your backup of it. Only for a new ledger: '%s' makes one, once for all its guards (%w)", f.path, where(c), command, f.err)
	}
	return fmt.Errorf("THE KEY FILE %s IS MISSING, and the ledger %s needs it: mail that waits there could not be opened.\n"+
		"Put the key file back from your backup of it, then try again. If it is lost for good, '%s' makes a new one: "+
		"what waits now stays sealed for ever and 'postvagt verify' lists it (%w)", f.path, where(c), command, f.err)
}

type keysCmd struct {
	Make   keysMakeCmd   `cmd:"" help:"Make the key file, or with --authority an authority's own. Never overwrites one."`
	Rotate keysRotateCmd `cmd:"" help:"Add a fresh key; new bodies are sealed with it, waiting ones are sealed anew."`
	List   keysListCmd   `cmd:"" help:"List the ids of the keys."`
}

// asked are the files that a command is for: all, or the one of an authority.
func (k withAuthority) asked(c *config.Config) ([]*keyFile, error) {
	name, err := k.scope(c)
	if err != nil {
		return nil, err
	}
	files := keyFiles(c)
	if name == "" {
		return files, nil
	}
	for _, f := range files {
		if slices.ContainsFunc(f.of, func(a *config.Authority) bool { return a.Name == name }) {
			return []*keyFile{f}, nil
		}
	}
	return nil, errors.New("every authority has a key file") // unreachable: keyFiles gives each one
}

type keysMakeCmd struct {
	withAuthority
	asJSON
	Lost bool `help:"The keys of a ledger in PostgreSQL are lost for good, on every guard."`
}

// mayMake keeps the second guard over a database from making keys of its own: it is given the first one's.
func (k keysMakeCmd) mayMake(ctx context.Context, c *config.Config, f *keyFile, store ledger.Store) error {
	known, err := store.Get(ctx, f.fact())
	if err != nil || known == "" || k.Lost || c.Store.Postgres == "" {
		return err
	}
	return fmt.Errorf("the guards over %s have keys already (%s): copy the key file of one of them to %s. Only if it is lost on all of them, say --lost: "+
		"what waits now then stays sealed for ever", where(c), known, f.path)
}

func (k keysMakeCmd) Run(s streams) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	files, err := k.asked(c)
	if err != nil {
		return err
	}
	f := files[0] // without --authority the common one, or where nobody uses it the first authority's
	if k.limited() && !f.own && len(c.Authorities) > 1 {
		return errShared(f)
	}
	if f.load(); f.err == nil || !errors.Is(f.err, fs.ErrNotExist) {
		return fmt.Errorf("there is a key file at %s already; 'postvagt keys rotate' adds a key to it", f.path)
	}
	ctx := context.Background()
	var store ledger.Store
	if !firstStart(c) {
		i, err := besideGuard(c)
		switch {
		case errors.Is(err, postgres.ErrNoLedger): // a new database
		case err != nil:
			return err
		default:
			defer i.Close()
			store = i.store
			if err := k.mayMake(ctx, c, f, store); err != nil {
				return err
			}
		}
	}
	var before earlier
	if f.own && store != nil {
		if before = earlierKeys(c); before.err != nil {
			return fmt.Errorf("what waits may be sealed with the common keys, and they cannot be read: %w", before.err)
		}
	}
	if f.keys, err = spool.Create(f.path); err != nil {
		return err
	}
	made, err := f.takeOver(ctx, store, before.keys, s.err)
	if err != nil {
		return fmt.Errorf("the file %s is made, but sealing anew stopped after %d: %w; the next start of the guard goes on with it", f.path, made, err)
	}
	if err := k.answer(s, map[string]any{"file": f.path, "made": f.keys.Newest(), "resealed": made}, "Made %s with key %s. Keep a copy apart from the ledger's backup.\n", f.path, f.keys.Newest()); err != nil {
		return err
	}
	if store == nil {
		return nil
	}
	if err := store.Put(ctx, f.fact(), f.keys.Newest()); err != nil {
		return err
	}
	return f.note(ctx, store, "made key "+f.keys.Newest()+"; older keys are gone")
}

// note writes an event of each authority whose keys they are.
func (f *keyFile) note(ctx context.Context, store ledger.Store, detail string) error {
	for _, a := range f.of {
		if err := store.Note(ctx, ledger.Event{Authority: a.Name, At: time.Now().UTC(), Kind: "keys", Detail: detail}); err != nil {
			return err
		}
	}
	return nil
}

// errShared keeps one authority's operator from changing the keys of others.
func errShared(f *keyFile) error {
	return fmt.Errorf("the key file %s is not this authority's alone: its keys are made and rotated for the whole installation", f.path)
}

type keysRotateCmd struct {
	withAuthority
	asJSON
}

// rotation is what became of one key file.
type rotation struct {
	File        string   `json:"file"`
	Authorities []string `json:"authorities"`
	Newest      string   `json:"newest"`
	Resealed    int      `json:"resealed"`
}

func (k keysRotateCmd) Run(s streams) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	files, err := k.asked(c)
	if err != nil {
		return err
	}
	if k.limited() && !files[0].own && len(c.Authorities) > 1 {
		return errShared(files[0])
	}
	if _, err := loadRing(c, files); err != nil {
		return err
	}
	i, err := besideGuard(c)
	if err != nil {
		return err
	}
	defer i.Close()
	var failed []error
	for _, f := range files {
		r, err := f.rotate(context.Background(), i.store)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if err := k.answer(s, r, "Key %s is the newest of %s; %d waiting bodies and addresses were sealed anew. Back the key file up.\n", r.Newest, r.File, r.Resealed); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func (f *keyFile) rotate(ctx context.Context, store ledger.Store) (r rotation, err error) {
	if f.err != nil {
		return r, fmt.Errorf("keys of %s: %w", f.names(), f.err)
	}
	known, err := store.Get(ctx, f.fact())
	if err != nil {
		return r, err
	}
	if f.own && known == "" {
		return r, fmt.Errorf("no guard has been started with the key file %s yet: its first start seals anew what the common keys sealed. Start it, then rotate", f.path)
	}
	if f.keys, err = spool.Rotate(f.path); err != nil {
		return r, err
	}
	r = rotation{File: f.path, Newest: f.keys.Newest()}
	if err := store.Put(ctx, f.fact(), strings.Join(f.keys.IDs(), " ")); err != nil {
		return r, err
	}
	for _, a := range f.of {
		n, err := ledger.Scoped(store, a.Name).Reseal(ctx, func(id string, sealed []byte) ([]byte, error) { return anew(f.keys, f.keys, id, sealed) })
		if err != nil {
			return r, fmt.Errorf("the new key %s is in the file, but sealing anew stopped after %d: %w; run the command again", r.Newest, r.Resealed+n, err)
		}
		r.Authorities, r.Resealed = append(r.Authorities, a.Name), r.Resealed+n
	}
	return r, f.note(ctx, store, "rotated to key "+r.Newest)
}

type keysListCmd struct {
	withAuthority
	asJSON
}

// listedKeys is one key file in the answer of keys list.
type listedKeys struct {
	File        string   `json:"file"`
	Authorities []string `json:"authorities"`
	Newest      string   `json:"newest,omitempty"`
	Keys        []string `json:"keys"`
	Problem     string   `json:"problem,omitempty"`
}

// Run answers one object a line in JSON, and exits 1 when a file cannot be used.
func (k keysListCmd) Run(s streams) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	files, err := k.asked(c)
	if err != nil {
		return err
	}
	var bad error
	for _, f := range files {
		f.load()
		l := listedKeys{File: f.path, Keys: []string{}}
		words := ""
		if len(c.Authorities) > 1 && !k.limited() {
			words = fmt.Sprintf("%s (%s)\n", f.path, f.names())
			for _, a := range f.of {
				l.Authorities = append(l.Authorities, a.Name)
			}
		}
		if f.err != nil {
			l.Problem, bad = f.err.Error(), errFound
			words += "! " + l.Problem + "\n"
		} else {
			l.Newest, l.Keys = f.keys.Newest(), f.keys.IDs()
		}
		for _, id := range l.Keys {
			words += id
			if id == l.Newest {
				words += "  seals new bodies"
			}
			words += "\n"
		}
		if err := k.answer(s, l, "%s", words); err != nil {
			return err
		}
	}
	return bad
}
