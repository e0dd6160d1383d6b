package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/policy"
	"postvagt/internal/spool"
)

const threeAuthorities = `host: vagt.eksempel.example
authorities:
  - name: Eksempel Kommune
    domains: [eksempel.example]
    safety_net: net@eksempel.example
    keys: keys-a
  - name: Nabo Kommune
    domains: [nabo.example]
    safety_net: net@nabo.example
    keys: keys-b
    routes: [{to: "*", smarthost: "relay.nabo.example:25", level: verified}]
  - name: Region Prøve
    domains: [region.example]
    safety_net: net@region.example
    keys: keys-c
listen: {smtp: "127.0.0.1:0"}
trusted:
  - {net: 192.0.2.0/25, authorities: Eksempel Kommune}
  - {net: 192.0.2.128/25, authorities: [Nabo Kommune, Region Prøve]}
store: {sqlite: ledger.db}
routes:
  - {to: eksempel.example, smarthost: "a.example:25", level: cleartext}
  - {to: nabo.example, smarthost: "b.example:25", level: cleartext}
  - {to: region.example, smarthost: "c.example:25", level: cleartext}
`

// ward is what belongs to one authority of the installation on disk, and what an outsider might know of it.
type ward struct {
	name, domain, keys string
	messages           []ledger.MessageID
	marks              []string // what no other may ever be shown
}

// house is an installation with three authorities, each with mail in every state that lasts.
type house struct {
	*testing.T
	config string
	wards  []*ward
}

func newHouse(t *testing.T) *house {
	dir := t.TempDir()
	h := &house{T: t, config: filepath.Join(dir, "postvagt.yaml")}
	if err := os.WriteFile(h.config, []byte(threeAuthorities), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(h.config)
	if err != nil {
		t.Fatal(err)
	}
	i, err := open(c, &bytes.Buffer{}) // makes the keys
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for j, a := range c.Authorities {
		w := &ward{name: a.Name, domain: a.Domains[0], keys: a.Keys}
		k, err := i.keys.Of(a.Name)
		if err != nil {
			t.Fatal(err)
		}
		w.marks = append(k.IDs(), a.Name, a.Domains[0], filepath.Base(a.Keys))
		for n := range 2 {
			h.add(i.store, k, w, n+j)
		}
		h.wards = append(h.wards, w)
	}
	return h
}

// add stores a message: with deliveries that wait, are held, and are being returned, or one that was delivered.
func (h *house) add(s ledger.Store, k *spool.Keys, w *ward, n int) {
	now := time.Now().UTC()
	message := func(kind ledger.Kind) ledger.Message {
		id := ledger.NewMessageID()
		w.messages, w.marks = append(w.messages, id), append(w.marks, string(id))
		return ledger.Message{ID: id, Authority: w.name, Kind: kind, Direction: policy.Outbound, Sender: ledger.Address{Shown: "afsender@" + w.domain}, HeaderID: "<" + string(id) + "@" + w.domain + ">",
			Client: "192.0.2.1", Language: "da", AcceptedAt: now}
	}
	seal := func(m ledger.Message) []byte {
		b, err := k.Seal(string(m.ID), []byte("Subject: Hej\r\n\r\nHej\r\n"))
		if err != nil {
			h.Fatal(err)
		}
		return b
	}
	delivery := func(st ledger.State) ledger.NewDelivery {
		return ledger.NewDelivery{Recipient: ledger.Address{Shown: "modtager@for-" + w.domain}, State: st, Verdict: policy.Verdict{Action: policy.Send}, Lane: "mx:for-" + w.domain,
			Owner: "net@" + w.domain, Due: now.Add(time.Hour), Deadline: now.Add(48 * time.Hour), Watch: now.Add(24 * time.Hour)}
	}
	a := ledger.Acceptance{Message: message(ledger.Mail)}
	a.Bodies = [][]byte{seal(a.Message)}
	for j := range 3 {
		st := []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}[(n+j)%3]
		a.Deliveries = append(a.Deliveries, delivery(st))
		if st == ledger.Returning {
			note := ledger.NewNotice{Tells: ledger.TellReturned, About: []int{j}, Message: message(ledger.Notice), Delivery: delivery(ledger.Queued)}
			note.Body = seal(note.Message)
			a.Notices = append(a.Notices, note)
		}
	}
	if _, err := s.Accept(h.Context(), a); err != nil {
		h.Fatal(err)
	}
}

// said runs a command and returns all that it says.
func (h *house) said(args ...string) string {
	var out, errs bytes.Buffer
	code := run(args, streams{strings.NewReader("en grund\n"), &out, &errs})
	return fmt.Sprintf("%d\n%s\n%s", code, out.String(), errs.String())
}

// picture is what the ledger and the key files hold of everybody but one.
func (h *house) picture(but *ward) string {
	s, err := sqlite.Open(filepath.Join(filepath.Dir(h.config), "ledger.db"), sqlite.Options{})
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	var b strings.Builder
	for _, w := range h.wards {
		if w == but {
			continue
		}
		for _, id := range w.messages {
			story, err := s.Story(context.Background(), id)
			if err != nil {
				h.Fatal(err)
			}
			body, _ := s.Body(context.Background(), id, 0)
			fmt.Fprintf(&b, "%+v %x\n", story, body)
		}
		keys, err := os.ReadFile(w.keys)
		fact, _ := s.Get(context.Background(), ledger.FactOf(w.name, "key ids"))
		fmt.Fprintf(&b, "%s %v %s\n", keys, err, fact)
	}
	return b.String()
}

// unasked are commands that touch no installation.
var unasked = []string{"detect", "demo", "hash-password", "version"}

// forAll are commands for the whole installation: one authority's operator is refused each of them.
var forAll = map[string][]string{
	"serve": nil, "backup": {"--to", "copy.db"}, "prune": {"--now"}, "restored": {"--by", "Anna", "--reason", "prøve"}, "migrate-store": {"--to", "postgres://localhost/x"},
}

// about are the ways to ask a command about a message of somebody else's, by its marks.
var about = map[string]func(id, domain, header string) [][]string{
	"trace": func(id, domain, header string) [][]string {
		return [][]string{{id}, {id[:20]}, {header}, {"--sender", "afsender@" + domain}, {"--recipient", "modtager@for-" + domain}, {"--sender", "@" + domain, "--json"}, {"--recipient", "@for-" + domain, "--since", "1h"}, {id, "--json"}}
	},
	"release": acts, "withdraw": acts, "retry": acts,
	"queue":       plainly,
	"held":        plainly,
	"verify":      plainly,
	"check":       func(string, string, string) [][]string { return [][]string{{}, {"--json"}, {"--lang", "en"}} },
	"keys list":   plainly,
	"keys make":   plainly,
	"keys rotate": plainly,
}

func plainly(string, string, string) [][]string { return [][]string{{}, {"--json"}} }

func acts(id, domain, _ string) [][]string {
	who := []string{"--by", "Anna", "--reason", "prøve"}
	return [][]string{append([]string{id}, who...), append([]string{id[:20]}, who...), append([]string{id, "--recipient", "modtager@for-" + domain, "--json"}, who...), append([]string{id, "--recipient", "-"}, who...)}
}

// everyCommand lists every command of the program, as it is typed.
func everyCommand(t reflect.Type, before string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if _, ok := f.Tag.Lookup("cmd"); !ok {
			continue
		}
		name := f.Tag.Get("name")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		if below := everyCommand(f.Type, before+name+" "); below != nil {
			names = append(names, below...)
			continue
		}
		names = append(names, before+name)
	}
	return names
}

// TestEveryCommand: with --authority, or where POSTVAGT_AUTHORITY limits the user, no command of the program shows anything of another
// authority, changes it, or says of it anything else than of what does not exist. A new command fails the test until it has its place.
func TestEveryCommand(t *testing.T) {
	h := newHouse(t)
	all := everyCommand(reflect.TypeFor[cli](), "")
	for _, name := range all {
		_, whole := forAll[name]
		if about[name] == nil && !whole && !slices.Contains(unasked, name) {
			t.Errorf("the command %q has no place here: what does it show one authority's operator of the others?", name)
		}
	}
	for _, me := range h.wards {
		before := h.picture(me)
		for _, limited := range []bool{false, true} {
			for _, name := range all {
				if about[name] != nil {
					h.ask(name, me, limited)
				}
			}
		}
		t.Setenv(limitEnv, me.name)
		for name, args := range forAll {
			if !slices.Contains(all, name) {
				continue
			}
			if got := h.said(append([]string{name, "--config", h.config}, args...)...); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, errWhole.Error()) {
				t.Errorf("%s for one authority's operator: %s", name, got)
			}
		}
		os.Unsetenv(limitEnv)
		if got := h.said("backup", "--config", h.config, "--to", filepath.Join(t.TempDir(), "x"), "--authority", me.name); !strings.Contains(got, errWhole.Error()) {
			t.Errorf("backup of one authority: %s", got)
		}
		if after := h.picture(me); after != before {
			t.Errorf("something of the others' changed through the commands of %s", me.name)
		}
	}
	if got := h.said("verify", "--config", h.config); !strings.HasPrefix(got, "0\n") || strings.Count(got, "bodies ok") != 3 {
		t.Errorf("afterwards: %s", got)
	}
}

// ask asks a command about everything of the others', as one authority's operator.
func (h *house) ask(command string, me *ward, limited bool) {
	h.Helper()
	base := append(strings.Fields(command), "--config", h.config)
	if limited {
		h.Setenv(limitEnv, me.name)
		defer os.Unsetenv(limitEnv)
	} else {
		base = append(base, "--authority", me.name)
	}
	unknown := ledger.MessageID("zzzzzzzzzzzzzzzzzzzzzzzzzz")
	var want []string
	for _, args := range about[command](string(unknown), "findes-ikke.example", "<ingen@findes-ikke.example>") {
		want = append(want, h.blurred(h.said(append(slices.Clone(base), args...)...), string(unknown), "findes-ikke.example"))
	}
	for _, other := range h.wards {
		if other == me {
			continue
		}
		for _, id := range other.messages {
			for i, args := range about[command](string(id), other.domain, "<"+string(id)+"@"+other.domain+">") {
				raw := h.said(append(slices.Clone(base), args...)...)
				got := h.blurred(raw, string(id), other.domain)
				if command != "keys rotate" && got != want[i] {
					h.Fatalf("%s %v as %s:\n%s\nof what does not exist:\n%s", command, args, me.name, got, want[i])
				}
				for _, mark := range other.marks {
					if strings.Contains(got, mark) && !strings.Contains(strings.Join(args, " "), mark) {
						h.Fatalf("%s %v shows %s of %s to %s:\n%s", command, args, mark, other.name, me.name, raw)
					}
				}
			}
			if len(about[command]("xxxxxxxxxxxxxxxxxxxxxxxxxx", "", "")) <= 3 {
				break // the answer does not depend on what is asked about
			}
		}
		if !limited {
			continue
		}
		// The limit cannot be lifted: the others are as little there as one that does not exist.
		for _, args := range about[command](string(other.messages[0]), other.domain, "<x@"+other.domain+">") {
			got := h.said(append(append(slices.Clone(base), args...), "--authority", other.name)...)
			want := h.said(append(append(slices.Clone(base), args...), "--authority", "Ukendt Kommune")...)
			if got = strings.ReplaceAll(got, other.name, "Ukendt Kommune"); got != want || !strings.HasPrefix(got, "1\n") {
				h.Fatalf("%s --authority %s, limited to %s:\n%s\nan unknown one:\n%s", command, other.name, me.name, got, want)
			}
		}
	}
}

// blurred takes out what the asker said himself.
func (h *house) blurred(said, id, domain string) string {
	for _, mark := range []string{id, id[:20], domain} {
		said = strings.ReplaceAll(said, mark, "…")
	}
	return said
}

// TestOwnCommands: what is one's own is shown and moved as if there were nobody else.
func TestOwnCommands(t *testing.T) {
	h := newHouse(t)
	me := h.wards[1]
	for _, limited := range []bool{false, true} {
		args := []string{"--config", h.config, "--authority", me.name}
		if limited {
			args = args[:2]
			t.Setenv(limitEnv, me.name)
		}
		for command, want := range map[string]string{"queue": "modtager@for-" + me.domain, "held": "modtager@for-" + me.domain, "verify": "unaccounted 0", "check": "relay.nabo.example", "keys list": "seals new bodies"} {
			if got := h.said(append(strings.Fields(command), args...)...); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, want) {
				t.Errorf("%s: %s", command, got)
			}
		}
		if got := h.said(append([]string{"trace", string(me.messages[0])}, args...)...); !strings.Contains(got, "from afsender@"+me.domain) {
			t.Errorf("trace: %s", got)
		}
		act := append([]string{string(me.messages[0]), "--by", "Anna", "--reason", "prøve"}, args...)
		if got := h.said(append([]string{"retry"}, act...)...); !strings.HasPrefix(got, "0\n") {
			t.Errorf("retry: %s", got)
		}
		if got := h.said(append([]string{"keys", "rotate"}, args...)...); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, "sealed anew") {
			t.Errorf("rotate: %s", got)
		}
	}
}

// TestMore: a list that was cut says so, and one that was not does not. What a script reads is not cut.
func TestMore(t *testing.T) {
	h := newHouse(t)
	for _, args := range [][]string{{"queue"}, {"held"}, {"queue", "--json"}, {"trace", "--since", "1h"}, {"trace", "--since", "1h", "--json"}} {
		args = append(args, "--config", h.config)
		if got := h.said(append(args, "--limit", "1")...); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, "more than shown: only the newest 1 messages") {
			t.Errorf("%v: %s", args, got)
		}
		if got := h.said(append(args, "--limit", "1000")...); !strings.HasPrefix(got, "0\n") || strings.Contains(got, "more than shown") {
			t.Errorf("%v: %s", args, got)
		}
	}
	text := "550 " + strings.Repeat("fordi ", 40)
	story := ledger.Story{Attempts: []ledger.Attempt{{Delivery: 1, Outcome: "deferred", Text: text}}}
	if got := lastOutcome(story, 1); got != "deferred "+text || len([]rune(short(got))) != 70 {
		t.Errorf("got %q", got)
	}
}

// TestLostKeyFile: one authority's lost file is said loudly, by name, and is its own affair only.
func TestLostKeyFile(t *testing.T) {
	h := newHouse(t)
	lost := h.wards[1]
	if err := os.Rename(lost.keys, lost.keys+".away"); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(h.config)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	i, err := open(c, &said)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range h.wards {
		if _, err := i.keys.Of(w.name); (err == nil) != (w != lost) {
			t.Errorf("keys of %s: %v", w.name, err)
		}
	}
	i.Close()
	for _, want := range []string{"THE KEY FILE", lost.keys, "keys make --authority \"Nabo Kommune\"", "mail of Nabo Kommune is neither taken"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the start does not say %q:\n%s", want, said.String())
		}
	}
	if _, err := os.Stat(lost.keys); err == nil {
		t.Error("a new key file was made in place of the lost one")
	}
	if got := h.said("verify", "--config", h.config); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "Bodies of Nabo Kommune cannot be read") || strings.Count(got, "bodies ok") != 2 {
		t.Errorf("verify: %s", got)
	}
	if got := h.said("verify", "--config", h.config, "--authority", lost.name); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "IS MISSING") {
		t.Errorf("verify of the lost one: %s", got)
	}
	if got := h.said("verify", "--config", h.config, "--authority", "Eksempel Kommune"); !strings.HasPrefix(got, "0\n") || strings.Contains(got, "Nabo") {
		t.Errorf("verify of another: %s", got)
	}
	if got := h.said("keys", "list", "--config", h.config); !strings.HasPrefix(got, "1\n") || strings.Count(got, "seals new bodies") != 2 {
		t.Errorf("keys list: %s", got)
	}
	if got := h.said("keys", "make", "--config", h.config, "--authority", lost.name); !strings.HasPrefix(got, "0\n") {
		t.Errorf("keys make: %s", got)
	}
	if got := h.said("verify", "--config", h.config); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "Bodies of Nabo Kommune cannot be read") {
		t.Errorf("a new file opens what the lost one sealed: %s", got)
	}
}

// TestStrangerSaid: mail of an authority that has left the configuration is said at the start and by verify.
func TestStrangerSaid(t *testing.T) {
	h := newHouse(t)
	head, rest, _ := strings.Cut(threeAuthorities, "  - name: Region Prøve")
	_, rest, _ = strings.Cut(rest, "listen:")
	less := strings.Replace(head+"listen:"+rest, ", Region Prøve", "", 1)
	if err := os.WriteFile(h.config, []byte(less), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(h.config)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	i, err := open(c, &said)
	if err != nil {
		t.Fatal(err)
	}
	i.Close()
	if !strings.Contains(said.String(), "8 OPEN DELIVERIES BELONG TO Region Prøve, WHICH THE CONFIGURATION DOES NOT NAME") {
		t.Errorf("the start says %q", said.String())
	}
	if got := h.said("verify", "--config", h.config); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "8 open deliveries belong to Region Prøve, which the configuration does not name") {
		t.Errorf("verify: %s", got)
	}
}

// TestKeysMoveOut: an authority that gets a key file of its own takes its waiting mail with it, and nobody else's.
func TestKeysMoveOut(t *testing.T) {
	shared := strings.NewReplacer("    keys: keys-a\n", "", "    keys: keys-b\n", "", "    keys: keys-c\n", "").Replace(threeAuthorities)
	for _, content := range []string{shared, threeAuthorities} {
		dir := t.TempDir()
		h := &house{T: t, config: filepath.Join(dir, "postvagt.yaml")}
		for _, stage := range []string{shared, content} {
			if err := os.WriteFile(h.config, []byte(stage), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(h.config)
			if err != nil {
				t.Fatal(err)
			}
			i, err := open(c, &bytes.Buffer{})
			if err != nil {
				t.Fatal(err)
			}
			if h.wards == nil {
				for _, a := range c.Authorities {
					w := &ward{name: a.Name, domain: a.Domains[0]}
					k, _ := i.keys.Of(a.Name)
					h.add(i.store, k, w, 0)
					h.wards = append(h.wards, w)
				}
			}
			i.Close()
		}
		if got := h.said("verify", "--config", h.config); !strings.HasPrefix(got, "0\n") || strings.Count(got, "bodies ok") != 3 {
			t.Errorf("verify: %s", got)
		}
		if got := h.said("keys", "rotate", "--config", h.config, "--authority", "Nabo Kommune"); strings.HasPrefix(got, "0\n") != (content == threeAuthorities) {
			t.Errorf("one authority's operator rotates a file: %s", got)
		}
	}
}

// TestKeysMoveOutLate: waiting mail is taken over also when the key file stood there before the first start with it: copied in, or made by a
// start that was cut off.
func TestKeysMoveOutLate(t *testing.T) {
	shared := strings.Replace(threeAuthorities, "    keys: keys-b\n", "", 1)
	for _, way := range []string{"copied in", "cut off", "common keys away"} {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			h := &house{T: t, config: filepath.Join(dir, "postvagt.yaml")}
			begin := func(content string) (*installation, string) {
				if err := os.WriteFile(h.config, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := config.Load(h.config)
				if err != nil {
					t.Fatal(err)
				}
				var said bytes.Buffer
				i, err := open(c, &said)
				if err != nil {
					t.Fatal(err)
				}
				return i, said.String()
			}
			i, _ := begin(shared)
			k, err := i.keys.Of("Nabo Kommune")
			if err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				h.add(i.store, k, &ward{name: "Nabo Kommune", domain: "nabo.example"}, n)
			}
			i.Close()
			own := filepath.Join(dir, "keys-b")
			switch way {
			case "copied in":
				if _, err := spool.Create(own); err != nil {
					t.Fatal(err)
				}
			case "cut off":
				if err := os.WriteFile(h.config, []byte(threeAuthorities), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := config.Load(h.config)
				if err != nil {
					t.Fatal(err)
				}
				s, err := openStore(t.Context(), c, serving)
				if err != nil {
					t.Fatal(err)
				}
				files := keyFiles(c)
				f := files[slices.IndexFunc(files, func(f *keyFile) bool { return f.path == own })]
				f.load()
				away := cutOff{s.Ledger(), s.Ledger().(ledger.Parted)}
				if err := f.begin(t.Context(), away, earlierKeys(c), &bytes.Buffer{}); err == nil {
					t.Fatal("the start was not cut off")
				}
				s.Close()
				if _, err := os.Stat(own); err != nil {
					t.Fatal(err)
				}
			case "common keys away":
				common := filepath.Join(dir, "keys")
				if _, err := spool.Create(own); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(common, common+".away"); err != nil {
					t.Fatal(err)
				}
				withShared := strings.Replace(threeAuthorities, "    keys: keys-a\n", "", 1)
				i, said := begin(withShared)
				if _, err := i.keys.Of("Nabo Kommune"); err == nil || !strings.Contains(said, "not taken into use") {
					t.Errorf("keys without the earlier ones: %v; said %s", err, said)
				}
				i.Close()
				if err := os.Rename(common+".away", common); err != nil {
					t.Fatal(err)
				}
			}
			if got := h.said("keys", "rotate", "--config", h.config, "--authority", "Nabo Kommune"); strings.HasPrefix(got, "0\n") {
				t.Errorf("rotated before the mail was taken over: %s", got)
			}
			i, said := begin(threeAuthorities)
			i.Close()
			if !strings.Contains(said, "were sealed anew") {
				t.Errorf("the start says %q", said)
			}
			if err := os.Remove(filepath.Join(dir, "keys")); err != nil { // nothing needs it any more
				t.Fatal(err)
			}
			if got := h.said("verify", "--config", h.config, "--authority", "Nabo Kommune"); !strings.HasPrefix(got, "0\n") {
				t.Errorf("verify: %s", got)
			}
			i, said = begin(threeAuthorities)
			i.Close()
			if strings.Contains(said, "sealed anew") {
				t.Errorf("taken over twice: %q", said)
			}
		})
	}
}

// TestKeysMoveOutDamaged: a damaged body does not keep the guard from starting, nor the others' mail from being taken over.
func TestKeysMoveOutDamaged(t *testing.T) {
	h := &house{T: t, config: filepath.Join(t.TempDir(), "postvagt.yaml")}
	var said bytes.Buffer
	broken := ledger.NewMessageID()
	for _, stage := range []string{strings.Replace(threeAuthorities, "    keys: keys-b\n", "", 1), threeAuthorities} {
		if err := os.WriteFile(h.config, []byte(stage), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(h.config)
		if err != nil {
			t.Fatal(err)
		}
		said.Reset()
		i, err := open(c, &said)
		if err != nil {
			t.Fatal(err)
		}
		if stage != threeAuthorities {
			k, err := i.keys.Of("Nabo Kommune")
			if err != nil {
				t.Fatal(err)
			}
			w := &ward{name: "Nabo Kommune", domain: "nabo.example"}
			h.add(i.store, k, w, 0)
			body, err := i.store.Body(t.Context(), w.messages[0], 0)
			if err != nil {
				t.Fatal(err)
			}
			damaged := ledger.Acceptance{Message: ledger.Message{ID: broken, Authority: w.name, Kind: ledger.Mail, Direction: policy.Outbound, AcceptedAt: time.Now().UTC()},
				Bodies: [][]byte{body}, // another message's, which it does not open for
				Deliveries: []ledger.NewDelivery{{Recipient: ledger.Address{Shown: "b@borger.example"}, State: ledger.Queued, Verdict: policy.Verdict{Action: policy.Send},
					Lane: "mx:borger.example", Owner: "net@nabo.example", Due: time.Now(), Deadline: time.Now().Add(time.Hour)}}}
			if _, err := i.store.Accept(t.Context(), damaged); err != nil {
				t.Fatal(err)
			}
		}
		i.Close()
	}
	if got := said.String(); !strings.Contains(got, "what was sealed for 1 messages is damaged") || !strings.Contains(got, "were sealed anew") {
		t.Errorf("the start says %q", got)
	}
	if got := h.said("verify", "--config", h.config, "--authority", "Nabo Kommune"); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, string(broken)) {
		t.Errorf("verify: %s", got)
	}
}

// cutOff is a ledger that goes away when mail is to be sealed anew.
type cutOff struct {
	ledger.Store
	ledger.Parted
}

func (cutOff) ResealOf(context.Context, string, func(string, []byte) ([]byte, error)) (int, error) {
	return 0, errors.New("the database is away")
}

// TestDamagedCommonKeys: common keys that are there and cannot be read stop the start, for mail may be sealed with them.
func TestDamagedCommonKeys(t *testing.T) {
	h := newHouse(t)
	common := filepath.Join(filepath.Dir(h.config), "keys")
	if err := os.WriteFile(common, []byte("no keys\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(h.config)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := open(c, &bytes.Buffer{}); err == nil {
		i.Close()
		t.Error("started over common keys that cannot be read")
	}
	if err := os.Remove(h.wards[1].keys); err != nil {
		t.Fatal(err)
	}
	if got := h.said("keys", "make", "--config", h.config, "--authority", h.wards[1].name); strings.HasPrefix(got, "0\n") {
		t.Errorf("keys make: %s", got)
	}
}
