// Package lab is what tests need that end the real program in the middle of its work: the program as a process, a load
// on it, a next hop that counts, and the account at the end that holds what was promised against what arrived.
// internal/crash uses it for one node over SQLite, internal/cluster for several over PostgreSQL.
package lab

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build makes the program and returns its path.
func Build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "postvagt")
	if out, err := exec.Command("go", "build", "-o", binary, "postvagt/cmd/postvagt").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// FreeAddr is an address on loopback that nothing listened on a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Process is one life of the program.
type Process struct {
	cmd   *exec.Cmd
	log   lockedBuilder
	ended chan struct{} // closed when it has ended; then err is set
	err   error
}

// Start runs "binary serve --config config" and returns once it listens on addr.
func Start(t testing.TB, binary, config, addr string) *Process {
	t.Helper()
	p := Begin(t, binary, config)
	for range 2000 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return p
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.cmd.Process.Kill()
	<-p.ended
	t.Fatalf("the program does not come up:\n%s", p.Log())
	return nil
}

// Begin is Start without the wait: a ledger that is away may let it take its time.
func Begin(t testing.TB, binary, config string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(binary, "serve", "--config", config), ended: make(chan struct{})}
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() { // of a test that failed before it came to the end
		p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Log is what the program has said so far.
func (p *Process) Log() string { return p.log.String() }

// Pid is the process' number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the program without a warning. It must have been alive.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Errorf("the program had ended by itself: %v\n%s", err, p.Log())
		return
	}
	<-p.ended
	if !p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("the program had ended by itself: %v\n%s", p.cmd.ProcessState, p.Log())
	}
}

// Signal sends the program a signal, SIGSTOP or SIGCONT.
func (p *Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Errorf("the program had ended by itself: %v\n%s", err, p.Log())
	}
}

// Stop ends the program in good order.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if <-p.ended; p.err != nil {
		t.Errorf("the program did not stop gracefully: %v\n%s", p.err, p.Log())
	}
}

// Complaints are the lines of the log that one of the words stands in.
func (p *Process) Complaints(words ...string) (lines []string) {
	for line := range strings.Lines(p.Log()) {
		for _, w := range words {
			if strings.Contains(line, w) {
				lines = append(lines, line)
				break
			}
		}
	}
	return lines
}

// lockedBuilder gathers what a process writes while others read it.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
