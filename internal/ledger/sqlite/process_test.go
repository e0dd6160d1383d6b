package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
)

// childEnv makes this test binary be another process: "<what it does> <file>".
const childEnv = "POSTVAGT_LEDGER_CHILD"

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := child(what, path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(what, path string) error {
	switch what {
	case "serve":
		return childServe(path)
	case "withdraw":
		return childWithdraw(path)
	case "noroom":
		return childNoRoom(path)
	}
	return fmt.Errorf("unknown work %q", what)
}

func startChild(t *testing.T, what, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+what+" "+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// childServe accepts and delivers without end, from several goroutines. It prints the id of each accepted message after the
// ledger has promised to keep it, and "done <id>" after it has promised that it is delivered.
func childServe(path string) error {
	s, err := Open(path, Options{Exclusive: true})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := s.Recover(ctx, time.Now(), "n1"); err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 6 {
		go func() {
			body := make([]byte, 3000*(g+1))
			for {
				a := benchAcceptance("x.example", body)
				a.Claim = &ledger.Claim{Node: "n1", Lease: time.Hour}
				work, err := s.Accept(ctx, a)
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(a.Message.ID)
				d := work[0].Deliveries[0]
				errs := s.Apply(ctx, ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Delivered, At: time.Now(),
					Attempt: &ledger.Attempt{No: d.Attempts, Node: "n1", Outcome: "delivered"}})
				if errs[0] != nil {
					failed <- errs[0]
					return
				}
				fmt.Println("done", a.Message.ID)
			}
		}()
	}
	return <-failed
}

// TestKill: a process that is killed at any moment loses nothing that it had promised, and holds no lock afterwards.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	promised := map[string]string{}
	for round := range 6 {
		cmd, out := startChild(t, "serve", path)
		for range 40 + 37*round {
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatalf("the child ended by itself: %v", err)
			}
			ledgertest.Promise(promised, line)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(out) // what it had still said before it died
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(rest)) {
			if strings.HasSuffix(line, "\n") {
				ledgertest.Promise(promised, line)
			}
		}
		cmd.Wait()
	}
	s, err := Open(path, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Recover(t.Context(), time.Now(), "n1"); err != nil {
		t.Fatal(err)
	}
	ledgertest.CheckLaws(t, s)
	ledgertest.CheckPromises(t, s, promised)
	if len(promised) < 200 {
		t.Errorf("only %d promises", len(promised))
	}
}

// childWithdraw does what the command line does while another process serves: it finds what is held and withdraws it.
func childWithdraw(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for n := 0; n < 20; {
		ids, err := s.Find(ctx, ledger.Query{States: []ledger.State{ledger.Held}})
		if err != nil {
			return err
		}
		for _, id := range ids {
			st, err := s.Story(ctx, id)
			if err != nil {
				return err
			}
			errs := s.Apply(ctx, ledger.Change{Delivery: st.Deliveries[0].ID, From: ledger.Held, To: ledger.Withdrawn, At: time.Now(), Event: ledger.Event{By: "Anna"}})
			if errs[0] != nil {
				return errs[0]
			}
			n++
		}
	}
	return s.Close()
}

// TestTwoProcesses: a person works in one process while another serves.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := Open(path, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd, out := startChild(t, "withdraw", path)
	for i := range 20 {
		a := benchAcceptance("x.example", make([]byte, 2000))
		a.Deliveries[0].State = ledger.Held
		if _, err := s.Accept(t.Context(), a); err != nil {
			t.Fatalf("accept %d: %v", i, err)
		}
		if err := s.Seal(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	said, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the other process: %v: %s", err, said)
	}
	if v := ledgertest.CheckLaws(t, s); v.States[ledger.Withdrawn] != 20 || v.Open != 0 {
		t.Errorf("sums: %+v", v.Sums)
	}
}

// childNoRoom lets the system refuse writes beyond a size, which SQLite sees as an I/O error, and then lifts the limit.
func childNoRoom(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := s.Accept(ctx, benchAcceptance("x.example", make([]byte, 1000))); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ) // the write fails with EFBIG instead
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 512 << 10, Max: old.Max}); err != nil {
		return err
	}
	kept := 1
	failed := 0
	for range 30 {
		a := benchAcceptance("x.example", make([]byte, 100<<10))
		if _, err := s.Accept(ctx, a); err != nil {
			failed++
		} else {
			kept++
		}
	}
	if failed == 0 {
		return fmt.Errorf("no write failed")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	if _, err := s.Accept(ctx, benchAcceptance("x.example", make([]byte, 100<<10))); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	v, err := s.Verify(ctx, nil)
	if err != nil {
		return err
	}
	if v.Accepted != int64(kept+1) || v.Unaccounted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		return fmt.Errorf("%d were kept, the ledger says %+v", kept+1, v)
	}
	return s.Close()
}

// TestIOError: a write that the system refuses half-way is an error to the caller, leaves nothing half done, and the
// store works on when writing works again.
func TestIOError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	cmd, out := startChild(t, "noroom", path)
	said, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ledgertest.CheckLaws(t, s)
	if problems, err := s.CheckIntegrity(t.Context()); len(problems) > 0 || err != nil {
		t.Errorf("integrity: %v, %v", problems, err)
	}
}
