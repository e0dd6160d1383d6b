package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Standby makes a standby of the running server and runs it; the server from then on commits only what the standby has
// written, too. It ends with the test.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby, err := s.standby(t)
	if err != nil {
		t.Fatal(err)
	}
	return standby
}

func (s *Server) standby(t testing.TB) (*Server, error) {
	b, err := create(t)
	if err != nil {
		return nil, err
	}
	if err := b.copyOf(s); err != nil {
		return nil, err
	}
	if err := b.followFrom(s); err != nil {
		return nil, err
	}
	if err := b.runOnFreePort(); err != nil {
		return nil, err
	}
	if err := s.Configure("synchronous_standby_names = '*'"); err != nil {
		return nil, err
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return b, s.WaitSynchronous()
}

// copyOf fills b's data directory with a base backup of the running server from.
func (b *Server) copyOf(from *Server) error {
	out, err := b.command("pg_basebackup", "-D", b.Data(), "-d", from.DSN("postgres"), "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	// The copy has the other's settings, its socket directory among them.
	return b.Configure("synchronous_standby_names = ''")
}

// followFrom makes the stopped server a standby of another from its next Run on.
func (b *Server) followFrom(primary *Server) error {
	err := b.Configure(fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=%s application_name=standby'", primary.Port, User))
	return errors.Join(err, b.touch("standby.signal"))
}

// touch makes an empty file in the data directory, for the server's owner.
func (b *Server) touch(name string) error {
	path := filepath.Join(b.Data(), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if b.owner == nil {
		return nil
	}
	return os.Chown(path, int(b.owner.Uid), int(b.owner.Gid))
}

// WaitSynchronous returns when a synchronous standby follows the server.
func (s *Server) WaitSynchronous() error {
	return s.waitFor("a synchronous standby", "SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))")
}

// waitFor waits until the query, asked in the database "postgres", answers true.
func (s *Server) waitFor(what, query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		var done bool
		if err := conn.QueryRow(ctx, query).Scan(&done); err != nil {
			return fmt.Errorf("wait for %s: %w: %s", what, err, s.Log())
		}
		if done {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Alone lets the server commit without a standby again.
func (s *Server) Alone() error {
	return errors.Join(s.Configure("synchronous_standby_names = ''"), s.Reload())
}

// Promote makes the standby a primary and returns when it takes writes.
func (b *Server) Promote() error {
	if err := b.Exec("SELECT pg_promote(false)"); err != nil {
		return err
	}
	return b.waitFor("the promotion", "SELECT NOT pg_is_in_recovery()")
}

// Rejoin makes a stopped former primary a standby of the new one and runs it, synchronously followed by nobody. What it had
// written and the new one never saw is thrown away, by copying the new one again.
func (s *Server) Rejoin(primary *Server) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Data()); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.Dir, "configured")); err != nil {
		return err
	}
	if err := s.copyOf(primary); err != nil {
		return err
	}
	if err := s.followFrom(primary); err != nil {
		return err
	}
	if err := s.Run(); err != nil {
		return err
	}
	if err := primary.Configure("synchronous_standby_names = '*'"); err != nil {
		return err
	}
	return errors.Join(primary.Reload(), primary.WaitSynchronous())
}

// Archiving makes the server archive its WAL in Archive, for a restore to a point in time. Give it to Start.
func Archiving() []string {
	return []string{"archive_mode = on", `archive_command = 'mkdir -p ../archive && test ! -f ../archive/%f && cp %p ../archive/%f'`, "archive_timeout = 60"}
}

// Backup is a base backup in a directory of the server.
type Backup struct {
	from *Server
	dir  string
}

// Backup takes a base backup of the running server.
func (s *Server) Backup() (Backup, error) {
	dir, err := os.MkdirTemp(s.Dir, "backup")
	if err != nil {
		return Backup{}, err
	}
	if s.owner != nil {
		if err := os.Chown(dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return Backup{}, err
		}
	}
	out, err := s.command("pg_basebackup", "-D", dir, "-d", s.DSN("postgres"), "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput()
	if err != nil {
		return Backup{}, fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	return Backup{s, dir}, nil
}

// Flush archives what has been written so far; s runs with Archiving.
func (s *Server) Flush() error {
	if err := s.Exec("SELECT pg_switch_wal()"); err != nil {
		return err
	}
	return s.waitFor("the archive", `SELECT NOT EXISTS (SELECT 1 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')
		AND (SELECT last_archived_wal FROM pg_stat_archiver) IS NOT NULL`)
}

// Restore runs a fresh server from the backup, with the archived WAL up to the time. It ends with the test.
func (b Backup) Restore(t testing.TB, until time.Time) *Server {
	t.Helper()
	s, err := b.restore(t, until)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b Backup) restore(t testing.TB, until time.Time) (*Server, error) {
	s, err := create(t)
	if err != nil {
		return nil, err
	}
	cp := s.command("/bin/cp", "-a", b.dir, s.Data())
	if out, err := cp.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the backup: %w: %s", err, out)
	}
	err = s.Configure("archive_mode = off", "synchronous_standby_names = ''",
		fmt.Sprintf("restore_command = 'cp %s/%%f %%p'", b.from.Archive()),
		fmt.Sprintf("recovery_target_time = '%s'", until.UTC().Format("2006-01-02 15:04:05.999999+00")), "recovery_target_action = 'promote'")
	if err := errors.Join(err, s.touch("recovery.signal")); err != nil {
		return nil, err
	}
	if err := s.runOnFreePort(); err != nil {
		return nil, err
	}
	return s, s.waitFor("the restore", "SELECT NOT pg_is_in_recovery()")
}
