// Package pgtest starts private PostgreSQL servers for tests, from Debian's package: on loopback, in a temporary directory, with
// fsync on, and gone with the test process however that ends.
//
// New gives a test a fresh database in one server that all tests of a binary share; Start gives it a server of its own, to be
// killed, paused, backed up, restored and promoted.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// User is the superuser of every server; it needs no password.
const User = "postvagt"

// Server is one PostgreSQL server. Its methods are for one goroutine at a time.
type Server struct {
	Dir  string // of everything that belongs to it: data, log, archive
	Port int    // on 127.0.0.1; it stays over Stop and Run

	t     testing.TB // nil for the shared one
	bin   string
	owner *syscall.Credential // whom it runs as; nil: as this process
	cmd   *exec.Cmd           // nil while it is stopped
	ended chan struct{}       // closed when cmd has ended
	leash io.Closer           // when this closes, the server goes
}

// Start makes a server of the test's own and runs it with these settings, each "name = value". It ends with the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := create(t)
	if err == nil {
		err = s.initialise(settings)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// create makes the directory and the leash of a server, not yet the server.
func create(t testing.TB) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{t: t, bin: bin}
	if s.owner, err = owner(); err != nil {
		return nil, err
	}
	if s.Dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if s.leash, err = leash(s.Dir); err != nil {
		os.RemoveAll(s.Dir)
		return nil, err
	}
	if t != nil {
		t.Cleanup(s.close)
	}
	if s.owner == nil {
		return s, nil
	}
	return s, os.Chown(s.Dir, int(s.owner.Uid), int(s.owner.Gid))
}

func (s *Server) initialise(settings []string) error {
	if out, err := s.command("initdb", "-D", s.Data(), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := s.Configure(settings...); err != nil {
		return err
	}
	return s.runOnFreePort()
}

// runOnFreePort runs the server for the first time. Between finding a free port and using it another may take it.
func (s *Server) runOnFreePort() (err error) {
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		if err = s.Run(); err == nil {
			return nil
		}
	}
	return err
}

// defaults are small and quick without giving up durability.
var defaults = []string{
	"fsync = on",
	"shared_buffers = 64MB",
	"max_connections = 200",
	"max_wal_size = 512MB",
	"wal_level = replica",
	"wal_retrieve_retry_interval = 100ms", // a standby hears of its promotion no sooner
	"listen_addresses = '127.0.0.1'",
	"timezone = 'UTC'",
	"log_timezone = 'UTC'",
	"log_line_prefix = '%m [%p] '",
}

// Configure adds settings, each "name = value", for the next Run or Reload. Later ones win.
func (s *Server) Configure(settings ...string) error {
	path := filepath.Join(s.Data(), "postgresql.conf")
	if _, err := os.Stat(filepath.Join(s.Dir, "configured")); err != nil {
		settings = slices.Concat(defaults, []string{"unix_socket_directories = '" + s.Dir + "'"}, settings)
		if err := os.WriteFile(filepath.Join(s.Dir, "configured"), nil, 0o600); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(settings, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// Data is the data directory.
func (s *Server) Data() string { return filepath.Join(s.Dir, "data") }

// Archive is where archived WAL goes: see Archiving.
func (s *Server) Archive() string { return filepath.Join(s.Dir, "archive") }

// DSN is how to reach a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", User, s.Port, database)
}

// Run starts the server and returns when it takes connections.
func (s *Server) Run() error {
	log, err := os.OpenFile(s.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command("postgres", "-D", s.Data(), "-p", strconv.Itoa(s.Port))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	return s.wait()
}

// wait waits until the server takes connections.
func (s *Server) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			s.cmd = nil
			return fmt.Errorf("PostgreSQL ended at once: %s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL takes no connections: %w: %s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server in good order: connections are cut, everything is written.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill ends the server at once, as a loss of power would, all its processes.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	// The backends first stop with the postmaster, so that none can finish a commit after it.
	return errors.Join(s.signal(syscall.SIGSTOP), s.end(syscall.SIGKILL))
}

// Pause stops all processes of the server without ending them: connections stay open and answer nothing.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

// Running reports whether the server has been started and has not ended.
func (s *Server) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// signal reaches every process of the server. Backends make sessions of their own, so each is asked for by its parent.
func (s *Server) signal(sig syscall.Signal) error {
	if s.cmd == nil {
		return errors.New("the server is stopped")
	}
	for _, pid := range s.Processes() {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// children lists the processes that pid started and that live.
func children(pid int) (all []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for _, f := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// end signals the postmaster, and for SIGKILL its children, and waits for the end.
func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	pids := []int{s.cmd.Process.Pid}
	if sig == syscall.SIGKILL {
		pids = append(pids, children(s.cmd.Process.Pid)...)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		return fmt.Errorf("PostgreSQL does not end: %s", s.Log())
	}
	s.cmd = nil
	return s.gone(pids)
}

// gone waits until the processes are no more, so that the data directory is free.
func (s *Server) gone(pids []int) error {
	for range 500 {
		if !slices.ContainsFunc(pids, func(pid int) bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err == nil && !strings.Contains(string(text), ") Z ")
		}) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("processes of PostgreSQL do not end")
}

// Reload makes the running server read its settings again.
func (s *Server) Reload() error {
	if s.cmd == nil {
		return errors.New("the server is stopped")
	}
	return syscall.Kill(s.cmd.Process.Pid, syscall.SIGHUP)
}

// Exec runs SQL in the database "postgres".
func (s *Server) Exec(sql string) error { return exec1(s.DSN("postgres"), sql) }

func exec1(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// Log is the end of the server's log.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.logPath())
	return string(text[max(0, len(text)-4000):])
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "log") }

func (s *Server) close() {
	if s.t != nil && s.t.Failed() {
		s.t.Logf("PostgreSQL's log:\n%s", s.Log())
	}
	if s.cmd != nil {
		s.signal(syscall.SIGCONT) // a paused one cannot end
		if err := s.end(syscall.SIGQUIT); err != nil && s.t != nil {
			s.t.Error(err)
		}
	}
	s.leash.Close()
	os.RemoveAll(s.Dir)
}

// command is a program of PostgreSQL, or of the system when name is a whole path, as the server's owner.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.bin, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PG") }), "LC_ALL=C", "TZ=UTC")
	// A group of its own: an interrupt at the terminal is for the test, which then ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.owner}
	return cmd
}

// leash starts a process that ends the server of the directory and removes it when the returned pipe closes, which it also
// does when this process dies. Parent-death signals would not do: they come when a thread ends.
func leash(dir string) (io.Closer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null
[ -d "$1" ] || exit 0
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -CONT "$pid" && kill -QUIT "$pid" && sleep 1
rm -rf "$1"`, "sh", dir)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	go cmd.Wait()
	return w, nil
}

// binaries is the directory of PostgreSQL's programs, the newest version there is.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: run scripts/install-test-tools, or apt-get install postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	best := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(best), nil
}

// owner is whom PostgreSQL runs as, for it refuses root.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses root, and there is neither a user postgres nor nobody")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Processes lists the ids of the server's processes; none when it is stopped.
func (s *Server) Processes() []int {
	if s.cmd == nil {
		return nil
	}
	return append([]int{s.cmd.Process.Pid}, children(s.cmd.Process.Pid)...)
}
