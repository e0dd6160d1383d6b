// Package demo plays the true events of DESIGN section 1 as real SMTP traffic on this machine, through a whole guard for
// the invented Eksempel Kommune, and tells in the terminal what happened to each message and who was told. Names and
// numbers are invented; the numbers cannot belong to anybody alive (births in the 1800s).
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/spool"
)

// Options of a demo.
type Options struct {
	Out  io.Writer
	Stay bool // go on after the events, until ctx ends, so that somebody can send mail to it
}

// stage is everything the demo runs on.
type stage struct {
	out     io.Writer
	dir     string
	cfg     *config.Config
	store   *sqlite.Store
	keys    *spool.Keys
	outside *Mailboxes
	inside  *Mailboxes
	addr    string // of the guard
	running sync.WaitGroup
	stop    context.CancelFunc
	failed  chan error
}

// waitTime bounds how long the demo waits for something that must happen; it takes milliseconds.
const waitTime = 15 * time.Second

// Run plays the demo. Its error is what kept the events from happening as told.
func Run(ctx context.Context, o Options) (err error) {
	s, err := setUp(ctx, o.Out)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.tearDown(); err == nil {
			err = e
		}
	}()
	s.say("Postvagt guards Eksempel Kommune, on this machine only. Two mail servers stand beside it: the outside world and the\nmunicipality's own mailboxes. Each event below happened in a Danish municipality; names and numbers are invented.")
	for i, e := range events {
		s.say("\n%d. %s\n   %s", i+1, e.title, e.happened)
		ctx, stop := context.WithTimeout(ctx, waitTime)
		err := e.play(ctx, s)
		stop()
		if err != nil {
			return fmt.Errorf("event %d (%s): %w", i+1, e.title, err)
		}
	}
	if err := s.sum(ctx); err != nil {
		return err
	}
	if o.Stay {
		return s.stay(ctx)
	}
	return nil
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// setUp starts both mail servers and the guard.
func setUp(ctx context.Context, out io.Writer) (s *stage, err error) {
	dir, err := os.MkdirTemp("", "postvagt-demo-")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s = &stage{out: out, dir: dir, stop: stop, failed: make(chan error, 4),
		outside: &Mailboxes{Closed: map[mail.Address]bool{"pensionist@borger.example": true}},
		inside:  &Mailboxes{Closed: map[mail.Address]bool{"gammelt.fagsystem@eksempel.example": true}}}
	defer func() {
		if err != nil {
			s.tearDown()
		}
	}()
	certificate, roots, err := SelfSigned(dir, "post.nabo.example")
	if err != nil {
		return s, err
	}
	secure, plain, own, err := s.listen3()
	if err != nil {
		return s, err
	}
	s.serve(func() error { return s.outside.Serve(ctx, secure, "post.nabo.example", certificate) })
	s.serve(func() error { return s.outside.Serve(ctx, plain, "post.revisor.example", nil) })
	s.serve(func() error { return s.inside.Serve(ctx, own, "postkasser.eksempel.example", nil) })
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	s.addr = front.Addr().String()
	s.cfg, err = config.Parse("demo.yaml", fmt.Appendf(nil, configuration, s.addr, filepath.Join(dir, "ledger.db"), own.Addr(), plain.Addr(), secure.Addr(), roots))
	if err != nil {
		return s, err
	}
	if s.keys, err = spool.Create(s.cfg.Store.Keys); err != nil {
		return s, err
	}
	if s.store, err = sqlite.Open(s.cfg.Store.SQLite, sqlite.Options{Exclusive: true}); err != nil {
		return s, err
	}
	g, err := guard.New(guard.Options{Config: s.cfg, Store: s.store, Keys: s.keys, Listeners: map[string][]net.Listener{"smtp": {front}}, Grace: 2 * time.Second})
	if err != nil {
		return s, err
	}
	s.serve(func() error { return g.Run(ctx) })
	return s, nil
}

// configuration of the demo's guard: what a municipality would write, with this machine's ports.
const configuration = `
host: postvagt.eksempel.example
authorities:
  - name: Eksempel Kommune
    domains: [eksempel.example]
    safety_net: sikkerhedsnet@eksempel.example
listen:
  smtp: %s
trusted: [127.0.0.0/8]
store: {sqlite: %q}
routes:
  - {to: eksempel.example, smarthost: "%s", level: cleartext}
  - {to: revisor.example, smarthost: "%s", level: cleartext}
  - {to: "*", smarthost: "%s", level: encrypted, tls_name: post.nabo.example, root_cas: %q}
`

func (s *stage) listen3() (a, b, c net.Listener, err error) {
	var l [3]net.Listener
	for i := range l {
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, nil, nil, err
		}
	}
	return l[0], l[1], l[2], nil
}

func (s *stage) serve(f func() error) {
	s.running.Go(func() {
		if err := f(); err != nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	})
}

func (s *stage) tearDown() error {
	s.stop()
	s.running.Wait()
	var err error
	if s.store != nil {
		err = s.store.Close()
	}
	os.RemoveAll(s.dir)
	select {
	case e := <-s.failed:
		return e
	default:
		return err
	}
}

// send hands a message to the guard by SMTP.
func (s *stage) send(from string, to []string, message string) error {
	if err := smtp.SendMail(s.addr, nil, from, to, []byte(strings.ReplaceAll(message, "\n", "\r\n"))); err != nil {
		return fmt.Errorf("hand the message to the guard: %w", err)
	}
	return nil
}

// sum tells the conservation sum, verified (law 2).
func (s *stage) sum(ctx context.Context) error {
	if err := s.store.Seal(ctx, time.Now().UTC()); err != nil {
		return err
	}
	v, err := s.store.Verify(ctx, s.keys.Open)
	if err != nil {
		return err
	}
	s.say("\nThe sum, over every message and every notice: accepted %d = open %d + final %d, unaccounted %d. Event chain %s, bodies %s.",
		v.Accepted, v.Open, v.Final, v.Unaccounted, v.Chain, v.Bodies)
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		return fmt.Errorf("the laws do not hold: %v", v.Problems)
	}
	return nil
}

// stay keeps everything up and says how to send a message.
func (s *stage) stay(ctx context.Context) error {
	s.say("\nThe guard stays up at %s until you press Ctrl-C. Send it a message, for instance:\n"+
		"  swaks --server %s --from anna@eksempel.example --to sagsbehandler@nabo.example --header 'Subject: Sag 010170-5000' --body Hej\n"+
		"What arrives outside and inside is shown here.", s.addr, s.addr)
	shown := map[*Mailboxes]int{s.outside: len(s.outside.All()), s.inside: len(s.inside.All())}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			return err
		case <-time.After(200 * time.Millisecond):
		}
		for box, where := range map[*Mailboxes]string{s.outside: "outside", s.inside: "inside"} {
			all := box.All()
			for _, m := range all[shown[box]:] {
				s.say("  arrived %s at %s: %q", where, m.To, Subject(mail.Parse(m.Raw, mail.Limits{})))
			}
			shown[box] = len(all)
		}
	}
}

// story waits until a message from sender to recipient has a delivery in one of the states, and returns its story.
func (s *stage) story(ctx context.Context, sender, recipient string, states ...ledger.State) (ledger.Story, ledger.Delivery, error) {
	for {
		ids, err := s.store.Find(ctx, ledger.Query{Sender: sender, Recipient: recipient, Kind: ledger.Mail, Limit: 1})
		if err != nil {
			return ledger.Story{}, ledger.Delivery{}, err
		}
		for _, id := range ids {
			story, err := s.store.Story(ctx, id)
			if err != nil {
				return story, ledger.Delivery{}, err
			}
			for _, d := range story.Deliveries {
				if strings.EqualFold(d.Recipient.Shown, recipient) {
					for _, st := range states {
						if d.State == st && (st != ledger.Queued || len(d.Told) > 0) {
							return story, d, nil
						}
					}
				}
			}
		}
		select {
		case <-ctx.Done():
			return ledger.Story{}, ledger.Delivery{}, fmt.Errorf("the message from %s to %s did not come to be %v in time", sender, recipient, states)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// tell says what became of a delivery, in the guard's own words.
func (s *stage) tell(d ledger.Delivery) {
	s.say("   → to %s: %s. %s", d.Recipient.Shown, d.State, policy.Explain(d.Verdict, "en"))
}

// told waits for a notice in a mailbox inside and shows its subject and first lines.
func (s *stage) told(ctx context.Context, to mail.Address, words ...string) error {
	m := s.inside.Wait(ctx, to, words...)
	if m == nil {
		return fmt.Errorf("no notice reached %s", to)
	}
	texts := Texts(mail.Parse(m.Raw, mail.Limits{}))
	s.say("   ✉ told %s: %s", to, texts[0])
	if len(texts) > 1 {
		s.say("%s", indent(firstLines(texts[1], 6)))
	}
	return nil
}

func firstLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
		if len(lines) == n {
			break
		}
	}
	return strings.Join(lines, "\n")
}

func indent(text string) string { return "     │ " + strings.ReplaceAll(text, "\n", "\n     │ ") }
