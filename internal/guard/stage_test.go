package guard

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/deliver"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
	"postvagt/internal/spool"
)

// stage is a whole guard in virtual time: real ledger, real keys, and a next hop that is a function.
type stage struct {
	*testing.T
	guard    *Guard
	store    *sqlite.Store
	keys     *spool.Keys
	apart    spool.Apart // each authority's own keys; nil: keys are everybody's
	cfg      *config.Config
	hop      *hop
	operator *Operator
	path     string
	log      bytes.Buffer
	logMu    sync.Mutex
	stop     context.CancelFunc
	ended    chan error
	faultMu  sync.Mutex
	fault    func(string) error
	senders  senderCheck
	lease    time.Duration // 0: as always
	look     time.Duration
	wrap     func(ledger.Store) ledger.Store // what the guard sees of the ledger; nil: all
}

// hop plays every next hop. answer says what becomes of a recipient; nil delivers at level verified. What was delivered
// is kept.
type hop struct {
	mu     sync.Mutex
	answer func(j deliver.Job, r deliver.Recipient) deliver.Result
	wait   func(ctx context.Context, j deliver.Job) // before the answer, without mu; may be nil
	level  level.Level
	plain  bool // offers no DSN
	got    []arrival
	tries  []deliver.Job
}

type arrival struct {
	from, to mail.Address
	raw      string
	at       time.Time
}

func (h *hop) Attempt(ctx context.Context, j deliver.Job) (deliver.Receipt, []deliver.Result) {
	if h.wait != nil {
		h.wait(ctx, j)
		if ctx.Err() != nil {
			return deliver.Receipt{}, slices.Repeat([]deliver.Result{{Outcome: deliver.Deferred, Text: "cut off before the end of data"}}, len(j.Recipients))
		}
	}
	if j.May != nil && !j.May() {
		return deliver.Receipt{}, slices.Repeat([]deliver.Result{{Outcome: deliver.Deferred, Text: "not begun"}}, len(j.Recipients))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries = append(h.tries, j)
	receipt := deliver.Receipt{Hop: "hop.example:25", Level: h.level, Started: time.Now(), DSN: !h.plain}
	var out []deliver.Result
	for _, r := range j.Recipients {
		result := deliver.Result{Outcome: deliver.Delivered, Code: 250, Reached: true}
		if need := max(j.Required, j.Hop.Least); h.level < need && j.Hop.Vouches < need {
			result = deliver.Result{Outcome: deliver.TooLow, Reached: true}
		} else if h.answer != nil {
			result = h.answer(j, r)
		}
		if result.Outcome == deliver.Delivered || result.Outcome == deliver.Unknown {
			h.got = append(h.got, arrival{j.Sender, r.Address, string(j.Head) + string(j.Body), time.Now()})
		}
		out = append(out, result)
	}
	return receipt, out
}

func (h *hop) Close() error { return nil }

// to returns what arrived for an address.
func (h *hop) to(a mail.Address) (out []arrival) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.got {
		if g.to == a {
			out = append(out, g)
		}
	}
	return out
}

func (h *hop) set(f func(j deliver.Job, r deliver.Recipient) deliver.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

// senderCheck proves the addresses in it.
type senderCheck map[mail.Address]bool

func (s senderCheck) Proven(_ context.Context, _ net.IP, a mail.Address, _ []byte) bool { return s[a] }

// basic is the configuration of most tests; authority settings can be added by indentation after it.
const basic = `
host: vagt.eksempel.example
listen: {smtp: 127.0.0.1:2525}
trusted: [192.0.2.0/24]
store: {sqlite: %s}
routes:
  - {to: eksempel.example, smarthost: "inside.example:25", level: cleartext}
  - {to: "*", smarthost: "outside.example:25", level: cleartext}
authorities:
  - name: Eksempel Kommune
    domains: [eksempel.example]
    safety_net: sikkerhedsnet@eksempel.example
`

// basicFor is the configuration with more after it; what that says of trusted networks stands for what basic says.
func basicFor(more string) string {
	if strings.Contains(more, "\ntrusted:") {
		return strings.Replace(basic, "trusted: [192.0.2.0/24]\n", "", 1) + more
	}
	return basic + more
}

// newStage starts a guard. Call it inside a synctest bubble.
func newStage(t *testing.T, authority string) *stage {
	t.Helper()
	return newStageAt(t, authority, 0, 0)
}

// newStageAt starts a guard that looks into its ledger as seldom as it is told, so that days pass sooner.
func newStageAt(t *testing.T, authority string, look, lease time.Duration) *stage {
	t.Helper()
	s := emptyStage(t, authority, look, lease)
	s.start()
	t.Cleanup(func() { s.halt(); s.laws() })
	return s
}

// emptyStage is a stage on which no guard runs yet.
func emptyStage(t *testing.T, authority string, look, lease time.Duration) *stage {
	t.Helper()
	s := &stage{T: t, hop: &hop{level: level.Verified}, path: filepath.Join(t.TempDir(), "ledger.db"), senders: senderCheck{}, look: look, lease: lease}
	var err error
	s.cfg, err = config.Parse("test.yaml", fmt.Appendf(nil, basicFor(authority), s.path))
	if err != nil {
		t.Fatal(err)
	}
	if s.keys, err = spool.Create(s.cfg.Store.Keys); err != nil {
		t.Fatal(err)
	}
	return s
}

// start opens the ledger and runs a guard over it.
func (s *stage) start() {
	s.Helper()
	s.open()
	var store ledger.Store = s.store
	if s.wrap != nil {
		store = s.wrap(store)
	}
	s.guard, s.stop, s.ended = s.run(s.options("node", store, s.hop))
}

// options are those of a guard on this stage.
func (s *stage) options(node string, store ledger.Store, hop Deliverer) Options {
	return Options{Config: s.cfg, Store: store, Keys: s.authorities(), Deliverer: hop, Senders: s.senders,
		Listeners: map[string][]net.Listener{"smtp": {&quiet{done: make(chan struct{})}}}, Node: node, Grace: time.Second, lease: s.lease, look: s.look,
		Log: slog.New(slog.NewTextHandler(lockedWriter{s}, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// run runs a guard until stop is called; ended then says how it ended.
func (s *stage) run(o Options) (g *Guard, stop context.CancelFunc, ended chan error) {
	s.Helper()
	g, err := New(o)
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	synctest.Wait()
	return g, stop, ended
}

// breaks sets what fails in the ledger from now on.
func (s *stage) breaks(fault func(string) error) {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.fault = fault
}

// open opens the ledger.
func (s *stage) open() {
	s.Helper()
	var err error
	s.store, err = sqlite.Open(s.path, sqlite.Options{Exclusive: true, Fault: func(point string) error {
		s.faultMu.Lock()
		fault := s.fault
		s.faultMu.Unlock()
		if fault != nil {
			return fault(point)
		}
		return nil
	}})
	if err != nil {
		s.Fatal(err)
	}
	if s.operator, err = NewOperator(s.cfg, s.store, s.authorities(), s.senders); err != nil {
		s.Fatal(err)
	}
}

// restart stops the guard and starts it anew.
func (s *stage) restart() {
	s.Helper()
	s.halt()
	s.store.Close()
	s.start()
}

// halt stops the guard gracefully.
func (s *stage) halt() {
	s.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	if err := <-s.ended; err != nil {
		s.Error("the guard ended with:", err)
	}
	s.stop = nil
}

func (s *stage) authorities() spool.Authorities {
	if s.apart != nil {
		return s.apart
	}
	return s.keys
}

// laws verifies the ledger and that nothing that was logged holds a number; it closes the ledger.
func (s *stage) laws() {
	s.Helper()
	s.breaks(nil)
	open := s.keys.Open
	if s.apart != nil {
		open = nil
		for name, k := range s.apart {
			if v, err := s.store.VerifyOf(context.Background(), name, k.Open); err != nil || v.Bodies != "ok" {
				s.Errorf("bodies of %s: %+v, %v", name, v, err)
			}
		}
	}
	v, err := s.store.Verify(context.Background(), open)
	if err != nil {
		s.Error(err)
	}
	if v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		s.Errorf("the laws do not hold: %+v", v)
	}
	s.store.Close()
	s.logMu.Lock()
	defer s.logMu.Unlock()
	for line := range strings.Lines(s.log.String()) {
		if detect.HoldsCPR(line) {
			s.Errorf("the log holds a number: %s", detect.Mask(line))
		}
	}
}

// take hands a message to the guard as its SMTP server would, from a client at ip.
func (s *stage) take(ip, from string, to []string, message string) *smtpin.Reply {
	return taken(s.guard, ip, from, to, message)
}

func taken(g *Guard, ip, from string, to []string, message string) *smtpin.Reply {
	e := &smtpin.Envelope{Client: &smtpin.Client{IP: netip.MustParseAddr(ip), Hello: "client.example", Listener: "smtp", ESMTP: true}, Sender: mail.Address(from)}
	in := intake{g, "smtp"}
	for _, each := range to {
		address, notify, _ := strings.Cut(each, " NOTIFY=")
		r := smtpin.Recipient{Address: mail.Address(address), Notify: notify}
		if reply := in.Rcpt(context.Background(), e, r); reply != nil {
			return reply
		}
		e.Recipients = append(e.Recipients, r)
	}
	return in.Data(context.Background(), e, []byte(strings.ReplaceAll(message, "\n", "\r\n")))
}

const (
	ours   = "192.0.2.1"    // a trusted client
	theirs = "198.51.100.1" // a stranger
)

// send hands over a message from the authority and returns its id; wait passes until everything that can happen now has.
func (s *stage) send(from string, to []string, message string) ledger.MessageID {
	s.Helper()
	return s.accepted(s.take(ours, from, to, message))
}

// receive hands over a message from the world.
func (s *stage) receive(from string, to []string, message string) ledger.MessageID {
	s.Helper()
	return s.accepted(s.take(theirs, from, to, message))
}

func (s *stage) accepted(r *smtpin.Reply) ledger.MessageID {
	s.Helper()
	if r.Code != 250 {
		s.Fatalf("not accepted: %v (%v)", r, r.Err)
	}
	settle()
	return ledger.MessageID(strings.TrimPrefix(r.Text, "Accepted as "))
}

// settle lets everything happen that can happen now. The ledger takes a few milliseconds for what nobody waits for.
func settle() {
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
}

// pass lets virtual time go by.
func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// story returns all about a message.
func (s *stage) story(id ledger.MessageID) ledger.Story {
	s.Helper()
	story, err := s.store.Story(context.Background(), id)
	if err != nil {
		s.Fatal(err)
	}
	return story
}

// state is a message's delivery states by recipient, in order: "a@x delivered, b@y queued".
func (s *stage) state(id ledger.MessageID) string {
	s.Helper()
	var out []string
	for _, d := range s.story(id).Deliveries {
		out = append(out, d.Recipient.Shown+" "+string(d.State))
	}
	return strings.Join(out, ", ")
}

// is checks a message's states.
func (s *stage) is(id ledger.MessageID, want string) {
	s.Helper()
	if got := s.state(id); got != want {
		s.Errorf("the message stands at %q, want %q", got, want)
	}
}

// notices returns the subjects of the notices that arrived at an address.
func (s *stage) notices(a mail.Address) (out []string) {
	for _, g := range s.hop.to(a) {
		m := mail.Parse([]byte(g.raw), mail.Limits{})
		if f, ok := m.Root.Get("Auto-Submitted"); ok && m.Unfolded(f) != "no" {
			subject, _ := m.Root.Get("Subject")
			out = append(out, m.Decoded(subject))
			if g.from != "" {
				s.Errorf("a notice has the sender %q, not the null path (law 7)", g.from)
			}
			if detect.HoldsCPR(m.Decoded(subject)) {
				s.Errorf("a notice's subject holds a number")
			}
		}
	}
	return out
}

// told checks how many notices an address has got, and that the newest speaks of word.
func (s *stage) told(a mail.Address, n int, word string) {
	s.Helper()
	got := s.notices(a)
	if len(got) != n || n > 0 && !strings.Contains(got[n-1], word) {
		s.Errorf("%s has the notices %q, want %d, the newest with %q", a, got, n, word)
	}
}

func refuse(code int, enhanced string) deliver.Result {
	o := deliver.Refused
	if code/100 == 4 {
		o = deliver.Deferred
	}
	return deliver.Result{Outcome: o, Code: code, Enhanced: enhanced, Text: "says the hop", Reached: true}
}

func away() deliver.Result {
	return deliver.Result{Outcome: deliver.Deferred, Text: "connection refused"}
}

func arrives() deliver.Result {
	return deliver.Result{Outcome: deliver.Delivered, Code: 250, Reached: true}
}

// letter is an ordinary message.
func letter(subject, text string) string {
	return "From: anna@eksempel.example\nSubject: " + subject + "\nMessage-ID: <1@eksempel.example>\nContent-Type: text/plain; charset=utf-8\n\n" + text + "\n"
}

// quiet is a listener that nobody calls.
type quiet struct {
	once sync.Once
	done chan struct{}
}

func (q *quiet) Accept() (net.Conn, error) { <-q.done; return nil, net.ErrClosed }
func (q *quiet) Close() error              { q.once.Do(func() { close(q.done) }); return nil }
func (q *quiet) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

type lockedWriter struct{ s *stage }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.s.logMu.Lock()
	defer w.s.logMu.Unlock()
	return w.s.log.Write(p)
}
