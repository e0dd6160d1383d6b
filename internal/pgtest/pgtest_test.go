package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, dsn string) (n int) {
	t.Helper()
	do(t, connect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM thing").Scan(&n))
	return n
}

// TestNew: each test has a database of its own, and a prepared one is prepared once.
func TestNew(t *testing.T) {
	t.Parallel()
	prepared := 0
	prepare := func(dsn string) error {
		prepared++
		return exec1(dsn, "CREATE TABLE thing (n int); INSERT INTO thing VALUES (1)")
	}
	a, b, empty := NewFrom(t, "thing", prepare), NewFrom(t, "thing", prepare), New(t)
	do(t, exec1(a, "INSERT INTO thing VALUES (2)"))
	if got := fmt.Sprint(count(t, a), count(t, b), prepared); got != "2 1 1" {
		t.Errorf("got %s", got)
	}
	if err := exec1(empty, "SELECT FROM thing"); err == nil {
		t.Error("an empty database holds something")
	}
}

// TestKill: what was committed is there after the server was killed; a paused server answers nothing and goes on.
func TestKill(t *testing.T) {
	t.Parallel()
	s := Start(t)
	do(t, s.Exec("CREATE TABLE thing (n int); INSERT INTO thing VALUES (1)"))
	conn := connect(t, s.DSN("postgres"))
	do(t, s.Kill())
	if s.Running() || conn.Ping(t.Context()) == nil {
		t.Error("a killed server answers")
	}
	do(t, s.Run())
	do(t, s.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, s.DSN("postgres")); err == nil {
		t.Error("a paused server answers")
	}
	do(t, s.Resume())
	do(t, s.Stop())
	do(t, s.Run())
	if n := count(t, s.DSN("postgres")); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// TestStandby: what the primary committed the standby has, also when the primary dies; afterwards the dead one rejoins.
func TestStandby(t *testing.T) {
	t.Parallel()
	a := Start(t)
	b := a.Standby(t)
	do(t, a.Exec("CREATE TABLE thing (n int)"))
	do(t, a.Exec("INSERT INTO thing VALUES (1)"))
	do(t, a.Kill())
	do(t, b.Promote())
	do(t, b.Alone())
	do(t, b.Exec("INSERT INTO thing VALUES (2)"))
	if n := count(t, b.DSN("postgres")); n != 2 {
		t.Errorf("%d rows", n)
	}
	do(t, a.Rejoin(b))
	do(t, b.Exec("INSERT INTO thing VALUES (3)"))
	do(t, b.Kill())
	do(t, a.Promote())
	if n := count(t, a.DSN("postgres")); n != 3 {
		t.Errorf("%d rows after the way back", n)
	}
}

// TestRestore: a restore to a point in time holds what was committed before, and no more.
func TestRestore(t *testing.T) {
	t.Parallel()
	s := Start(t, Archiving()...)
	backup, err := s.Backup()
	do(t, err)
	do(t, s.Exec("CREATE TABLE thing (n int)"))
	do(t, s.Exec("INSERT INTO thing VALUES (1)"))
	var until time.Time
	do(t, connect(t, s.DSN("postgres")).QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&until))
	do(t, s.Exec("SELECT pg_sleep(0.05)"))
	do(t, s.Exec("INSERT INTO thing VALUES (2)"))
	do(t, s.Flush())
	then := backup.Restore(t, until)
	if n := count(t, then.DSN("postgres")); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	do(t, then.Exec("INSERT INTO thing VALUES (3)"))
}

// childEnv makes this test binary start a server, say where, and wait.
const childEnv = "POSTVAGT_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		s, err := shared()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.Dir, s.cmd.Process.Pid)
		os.Stdout.Close()
		select {}
	}
	os.Exit(m.Run())
}

// TestLeash: the server goes with the process that started it, even when that is killed.
func TestLeash(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	do(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	do(t, err)
	do(t, cmd.Start())
	var dir string
	var pid int
	if _, err := fmt.Fscan(out, &dir, &pid); err != nil {
		t.Fatal(err)
	}
	do(t, cmd.Process.Kill())
	cmd.Wait()
	for range 500 {
		_, dirErr := os.Stat(dir)
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if os.IsNotExist(dirErr) && (len(text) == 0 || strings.Contains(string(text), ") Z ")) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the server or its directory is still there: %s", dir)
}
