package partners

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the built binary, made once for the whole package.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postvagt")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "postvagt")
	build := exec.Command("go", "build", "-o", program, "postvagt/cmd/postvagt")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience is how long a test waits for what must happen; the machine may be busy.
const patience = 60 * time.Second

// need returns the path of a partner's command. Without it the test is skipped, or fails where nothing may be skipped.
func need(t *testing.T, command, debian string) string {
	t.Helper()
	for _, name := range []string{command, "/usr/sbin/" + command, "/usr/lib/systemd/" + command} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "%s is not installed: sudo apt-get install --no-install-recommends %s", command, debian)
	return ""
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("POSTVAGT_STRICT") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// freeAddr is a loopback address that nobody listens on, and that nobody is given before a partner has bound it, or while
// it is restarted: the kernel picks ports for connections, and for listeners on port 0, from a range above.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// given are the addresses that freeAddr has given out.
var given sync.Map

// eventually asks until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("after %v still not: %s", patience, what)
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// output gathers what a process says, safely for a reader beside it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// guard is one installation of the real program.
type guard struct {
	dir, config string
	smtp        string // address of listen.smtp
	cmd         *exec.Cmd
	log         *output
}

// authority is the first lines of most configurations here.
const authority = `host: vagt.eksempel.example
authorities: [{name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example}]
trusted: [127.0.0.0/8]
`

// newGuard writes a configuration, to which listen and store are added; listen holds further listeners, as ", smtps: …".
func newGuard(t *testing.T, listen, rest string) *guard {
	t.Helper()
	g := &guard{dir: t.TempDir(), smtp: freeAddr(t), log: &output{}}
	g.config = write(t, filepath.Join(g.dir, "postvagt.yaml"), fmt.Sprintf("listen: {smtp: %q%s}\nstore: {sqlite: %q}\n%s",
		g.smtp, listen, filepath.Join(g.dir, "ledger.db"), rest))
	if err := os.Chmod(g.config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.stop(t)
		if t.Failed() {
			t.Logf("the guard's log:\n%s", g.log)
		}
	})
	return g
}

func (g *guard) start(t *testing.T) *guard {
	t.Helper()
	g.cmd = exec.Command(program, "serve", "--config", g.config)
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", g.smtp); err == nil {
			c.Close()
			return g
		}
	}
	t.Fatalf("the guard does not come up:\n%s", g.log)
	return g
}

// stop ends the program as systemd does, and checks that it had nothing to complain of.
func (g *guard) stop(t *testing.T) {
	t.Helper()
	if g.cmd == nil {
		return
	}
	g.cmd.Process.Signal(syscall.SIGTERM)
	g.ended(t)
}

// ended waits for a program that was told to stop.
func (g *guard) ended(t *testing.T) {
	t.Helper()
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("the guard did not stop gracefully: %v\n%s", err, g.log)
	}
	g.cmd = nil
	if log := g.log.String(); strings.Contains(log, "panic") {
		t.Errorf("the guard's log tells of a panic:\n%s", log)
	}
}

// run is an operator's command beside the guard.
func (g *guard) run(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, append([]string{command, "--config", g.config}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", command, args, err, out)
	}
	return string(out)
}

// story is what these tests read of trace --json.
type story struct {
	Message struct {
		ID       string `json:"id"`
		Kind     string `json:"kind"`
		Sender   string `json:"sender"`
		Client   string `json:"client"`
		Findings []any  `json:"findings"`
		Repairs  []any  `json:"repairs"`
	} `json:"message"`
	Deliveries []delivery                       `json:"deliveries"`
	Notices    []struct{ Notice, Tells string } `json:"notices"`
}

type delivery struct {
	Recipient     string    `json:"recipient"`
	State         string    `json:"state"`
	LevelRequired string    `json:"level_required"`
	LevelReached  string    `json:"level_reached"`
	Possibly      bool      `json:"possibly_delivered"`
	Attempts      []attempt `json:"attempts"`
}

type attempt struct {
	Outcome  string  `json:"outcome"`
	Code     int     `json:"code"`
	Enhanced string  `json:"enhanced"`
	Text     string  `json:"text"`
	Receipt  receipt `json:"receipt"`
}

type receipt struct {
	Level       string `json:"level"`
	TLS         string `json:"tls"`
	Cipher      string `json:"cipher"`
	Verified    string `json:"verified"`
	VerifyError string `json:"verify_error"`
	Fingerprint string `json:"fingerprint"`
	Fallback    string `json:"fallback"`
	DSN         bool   `json:"dsn"`
}

func (g *guard) trace(t *testing.T, id string) (s story) {
	t.Helper()
	out, err := exec.Command(program, "trace", "--config", g.config, "--json", id).Output()
	if err != nil {
		t.Fatalf("trace %s: %v\n%s", id, err, out)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("trace %s: %v\n%s", id, err, out)
	}
	return s
}

// until traces a message until every one of its deliveries is in the state, after at least so many attempts.
func (g *guard) until(t *testing.T, id, state string, attempts int) (s story) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		s = g.trace(t, id)
		there := len(s.Deliveries) > 0
		for _, d := range s.Deliveries {
			there = there && d.State == state && len(d.Attempts) >= attempts
		}
		if there {
			return s
		}
	}
	t.Fatalf("%s is not %s after %d attempts: %+v", id, state, attempts, s)
	return s
}

// sums is what verify --json says.
type sums struct {
	Accepted, Open, Final, Unaccounted int
	Chain, Bodies                      string
}

// settled waits until nothing is open any more and checks that the laws hold.
func (g *guard) settled(t *testing.T) (s sums) {
	t.Helper()
	eventually(t, "no open delivery", func() bool {
		out, err := exec.Command(program, "verify", "--config", g.config, "--json").Output()
		if err != nil {
			t.Fatalf("verify: %v\n%s", err, out)
		}
		if err := json.Unmarshal(out, &s); err != nil {
			t.Fatalf("verify: %v\n%s", err, out)
		}
		return s.Open == 0
	})
	if s.Unaccounted != 0 || s.Chain != "ok" || s.Bodies != "ok" || s.Accepted != s.Final {
		t.Errorf("the laws do not hold: %+v", s)
	}
	return s
}
