// Package crash kills the real program at random moments under load, restarts it, and shows that what it had accepted is
// delivered, told or still open: nothing lost, and twice only what is marked as possibly delivered.
package crash

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

var (
	kills = flag.Int("kills", 200, "how often the program is killed")
	seed  = flag.Uint64("seed", 0, "seed of the moments; 0 picks one and prints it")
)

func TestKilledAnywhere(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("replay with -kills %d -seed %d", *kills, *seed)
	random := rand.New(rand.NewPCG(*seed, 1))
	s := newScene(t, t.TempDir())
	s.startLoad(t)
	for n := range *kills {
		p := s.start(t)
		s.wantLoad.Store(true)
		time.Sleep(time.Duration(50+random.IntN(350)) * time.Millisecond)
		if n%10 == 9 { // some die with the load off, in the middle of what waits
			s.wantLoad.Store(false)
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		}
		p.kill(t)
	}
	s.wantLoad.Store(false)
	s.endLoad()
	s.sink.gentle.Store(true)
	p := s.start(t)
	s.drain(t)
	p.stop(t)
	s.check(t)
	if len(s.accepted) < *kills {
		t.Errorf("only %d messages were accepted: that is no load", len(s.accepted))
	}
}

// scene is a program to kill, a load on it, and a next hop that counts.
type scene struct {
	binary, config, dir string
	addr                string
	sink                *sink
	wantLoad            atomic.Bool
	loadDone            sync.WaitGroup
	loadStop            context.CancelFunc

	mu       sync.Mutex
	accepted map[string]string // our own number of each message with a 250 → the id that the reply named
}

const loaders = 6

// newScene builds the program and sets everything up with its ledger in dir; nothing is started yet but the sink.
func newScene(t *testing.T, dir string) *scene {
	t.Helper()
	s := &scene{dir: dir, accepted: map[string]string{}, sink: &sink{copies: map[string]int{}}, loadStop: func() {}}
	s.binary = filepath.Join(t.TempDir(), "postvagt") // not in dir: that may be a small disk
	if out, err := exec.Command("go", "build", "-o", s.binary, "postvagt/cmd/postvagt").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		smtpin.New(s.sink, smtpin.Options{Name: "smtp", Host: "sink.example"}).Serve(ctx, l, time.Second)
	}()
	s.addr = freeAddr(t)
	s.config = filepath.Join(s.dir, "postvagt.yaml")
	err = os.WriteFile(s.config, fmt.Appendf(nil, `
host: vagt.eksempel.example
authorities: [{name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example}]
listen: {smtp: %q}
trusted: [127.0.0.0/8]
store: {sqlite: %q}
log: {level: warn}
delivery: {retry: [1s]}
routes: [{to: "*", smarthost: %q, level: cleartext}]
`, s.addr, filepath.Join(s.dir, "ledger.db"), l.Addr()), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.endLoad(); stop(); <-done })
	return s
}

func (s *scene) startLoad(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s.loadStop = stop
	for i := range loaders {
		s.loadDone.Go(func() { s.load(ctx, i) })
	}
}

func (s *scene) endLoad() { s.loadStop(); s.loadDone.Wait() }

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// load sends numbered messages, a connection each, whenever it is wanted and the program is up.
func (s *scene) load(ctx context.Context, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		if !s.wantLoad.Load() {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		number := fmt.Sprintf("w%d-%d", worker, n)
		to := "modtager@borger.example"
		if n%10 == 3 {
			to = "findesikke@borger.example" // refused: its sender must be told
		}
		id, err := send(s.addr, number, to)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		s.accepted[number] = id
		s.mu.Unlock()
	}
}

// send hands over one message; an error means that no 250 came for it.
func send(addr, number, to string) (id string, err error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(c)
	body := "Number: " + number + "\r\nFrom: anna@eksempel.example\r\nSubject: besked\r\n\r\n" + strings.Repeat("Kun tekst, ingen tal.\r\n", 60) + ".\r\n"
	for _, step := range []struct{ line, want string }{{"", "220"}, {"HELO crash.example\r\n", "250"}, {"MAIL FROM:<anna@eksempel.example>\r\n", "250"},
		{"RCPT TO:<" + to + ">\r\n", "250"}, {"DATA\r\n", "354"}, {body, "250"}} {
		if _, err := c.Write([]byte(step.line)); err != nil {
			return "", err
		}
		reply, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(reply, step.want) {
			return "", errors.New(reply)
		}
		id = reply
	}
	_, id, _ = strings.Cut(strings.TrimSpace(id), "Accepted as ")
	return id, nil
}

// sink is the next hop and the authority's own mailboxes in one. It counts copies, and is slow now and then, so that
// kills fall between its reply and the ledger.
type sink struct {
	gentle atomic.Bool // answers at once
	away   atomic.Bool // takes nothing
	mu     sync.Mutex
	copies map[string]int // by "Number:" header
	told   []string       // texts of notices
}

func (k *sink) Connect(context.Context, *smtpin.Client) *smtpin.Reply { return nil }
func (k *sink) Authenticate(context.Context, *smtpin.Client, string, string) *smtpin.Reply {
	return &smtpin.Reply{Code: 535, Enhanced: "5.7.8", Text: "no"}
}
func (k *sink) Mail(context.Context, *smtpin.Client, mail.Address) *smtpin.Reply {
	if k.away.Load() {
		return &smtpin.Reply{Code: 450, Enhanced: "4.3.2", Text: "Later"}
	}
	return nil
}

func (k *sink) Rcpt(_ context.Context, _ *smtpin.Envelope, r smtpin.Recipient) *smtpin.Reply {
	if r.Address == "findesikke@borger.example" {
		return &smtpin.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such mailbox"}
	}
	return nil
}
func (k *sink) Data(_ context.Context, e *smtpin.Envelope, data []byte) *smtpin.Reply {
	k.mu.Lock()
	m := mail.Parse(data, mail.Limits{})
	if f, ok := m.Root.Get("Number"); ok {
		k.copies[m.Unfolded(f)]++
	} else {
		text := ""
		m.Walk(func(p *mail.Part) {
			if p.MediaType == "text/plain" {
				t, _ := m.Text(p, 1<<20)
				text += t
			}
		})
		k.told = append(k.told, text)
	}
	k.mu.Unlock()
	if !k.gentle.Load() && rand.IntN(10) == 0 {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
	return nil
}

// process is one life of the program.
type process struct {
	cmd *exec.Cmd
	log *strings.Builder
}

func (s *scene) start(t *testing.T) *process {
	t.Helper()
	p := &process{cmd: exec.Command(s.binary, "serve", "--config", s.config), log: &strings.Builder{}}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return p
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	t.Fatalf("the program does not come up again:\n%s", p.log)
	return nil
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("the program had ended by itself: %v\n%s", err, p.log)
	}
	p.cmd.Wait()
	p.clean(t)
}

// clean checks that the program complained of nothing.
func (p *process) clean(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
			t.Errorf("the program says: %s", line)
		}
	}
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the program did not stop gracefully: %v\n%s", err, p.log)
	}
}

// drain waits until nothing is open any more.
func (s *scene) drain(t *testing.T) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(s.dir, "ledger.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var sums ledger.Sums
	for range 2400 {
		if sums, err = store.Sums(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sums.Open == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ids, err := store.Find(t.Context(), ledger.Query{States: []ledger.State{ledger.Queued, ledger.Held, ledger.Returning}, Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		story, err := store.Story(t.Context(), id)
		t.Logf("open: %+v\nattempts %+v\nevents %+v (%v)", story.Deliveries, story.Attempts, story.Events, err)
	}
	t.Fatalf("still open after two minutes: %+v", sums)
}

// check holds what was promised against what arrived.
func (s *scene) check(t *testing.T) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(s.dir, "ledger.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	keys, err := spool.Load(filepath.Join(s.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := store.Verify(t.Context(), keys.Open)
	if err != nil {
		t.Fatal(err)
	}
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		t.Errorf("the laws do not hold: %+v", v)
	}
	told := strings.Join(s.sink.told, "\n")
	var delivered, returned, twice, marked, lost int
	for number, id := range s.accepted {
		story, err := store.Story(t.Context(), ledger.MessageID(id))
		if err != nil {
			t.Errorf("%s was promised as %s: %v", number, id, err)
			lost++
			continue
		}
		d, copies := story.Deliveries[0], s.sink.copies[number]
		if d.Possibly {
			marked++
		}
		switch {
		case d.State == ledger.Delivered && copies > 0:
			delivered++
		case d.State == ledger.Returned && strings.Contains(told, id):
			returned++
		default:
			lost++
			t.Errorf("%s (%s) is %s with %d copies", number, id, d.State, copies)
		}
		if copies > 1 {
			twice++
			if !d.Possibly {
				t.Errorf("%s (%s) arrived %d times and is not marked", number, id, copies)
			}
		}
	}
	t.Logf("accepted %d = delivered %d + told %d + open 0; lost %d; arrived twice %d, all among %d marked",
		len(s.accepted), delivered, returned, lost, twice, marked)
}
