package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/lab"
	"postvagt/internal/pgtest"
)

// node is one gateway: a process that is started again whenever it ends, as a service manager would.
type node struct {
	name, binary, config, addr string
	links                      []*link // to each database server

	accepted atomic.Int64

	mu    sync.Mutex
	p     *lab.Process // nil while it is down
	alone time.Time    // since when it has been left alone; the zero time while it is not
	ended []string     // last words of lives that ended by themselves, while the ledger was away
	logs  []string     // of all lives that are over
}

// start runs the node and returns once it accepts mail or the time is over. With the ledger away a start may fail: then it is
// tried again.
func (n *node) start(t testing.TB, within time.Duration) bool {
	n.mu.Lock()
	n.p = lab.Begin(t, n.binary, n.config)
	n.mu.Unlock()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", n.addr, time.Second); err == nil {
			c.Close()
			return true
		}
		n.mu.Lock()
		if n.p.Ended() {
			n.ended = append(n.ended, lastLine(n.p.Log()))
			n.logs = append(n.logs, n.p.Log())
			n.p = lab.Begin(t, n.binary, n.config)
		}
		n.mu.Unlock()
		time.Sleep(90 * time.Millisecond)
	}
	return false
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

// kill ends the node at once.
func (n *node) kill(t testing.TB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.p.Kill(t)
	n.logs = append(n.logs, n.p.Log())
	n.p = nil
}

// stop ends the node in good order.
func (n *node) stop(t testing.TB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.p.Stop(t)
	n.logs = append(n.logs, n.p.Log())
	n.p = nil
}

func (n *node) signal(t testing.TB, s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.p.Signal(t, s)
}

// take and leave say whether a fault has the node itself in its hands, so that a client's wait is not held against it.
func (n *node) take()  { n.mu.Lock(); n.alone = time.Time{}; n.mu.Unlock() }
func (n *node) leave() { n.mu.Lock(); n.alone = time.Now(); n.mu.Unlock() }

// leftAloneFor reports whether no fault had the node itself in its hands for the last d.
func (n *node) leftAloneFor(d time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.alone.IsZero() && time.Since(n.alone) > d
}

// says are the lines of all the node's logs in which one of the words stands.
func (n *node) says(words ...string) (lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	logs := n.logs
	if n.p != nil {
		logs = append(slices.Clone(logs), n.p.Log())
	}
	for _, log := range logs {
		for line := range strings.Lines(log) {
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// newNode writes the configuration of a node that reaches the database servers at ports, each over a link of its own.
func newNode(t *testing.T, dir, binary string, i int, database string, ports []int, routes string) *node {
	t.Helper()
	n := &node{name: fmt.Sprintf("vagt%d.eksempel.example", i+1), binary: binary, addr: lab.FreeAddr(t), config: filepath.Join(dir, fmt.Sprintf("node%d.yaml", i+1))}
	var hosts []string
	for _, p := range ports {
		k := newLink(t, fmt.Sprintf("127.0.0.1:%d", p))
		n.links = append(n.links, k)
		hosts = append(hosts, k.l.Addr().String())
	}
	err := os.WriteFile(n.config, fmt.Appendf(nil, `
host: %s
node: vagt%d
authorities: [{name: Eksempel Kommune, domains: [eksempel.example], safety_net: net@eksempel.example}]
listen: {smtp: %q}
trusted: [127.0.0.0/8]
store: {postgres: "postgres://%s@%s/%s?sslmode=disable", keys: %q}
log: {level: info}
delivery: {retry: [1s], concurrency: %d}
routes:
%s`, n.name, i+1, n.addr, pgtest.User, strings.Join(hosts, ","), database, filepath.Join(dir, "keys"), concurrency, routes), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
