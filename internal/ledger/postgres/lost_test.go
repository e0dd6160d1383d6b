package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/pgtest"
)

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func acceptOne(t *testing.T, s *Store) (ledger.MessageID, error) {
	t.Helper()
	a := benchAcceptance("x.example", []byte("sealed"))
	_, err := s.Accept(t.Context(), a)
	return a.Message.ID, err
}

// eventually repeats until it works, as callers do, and says how long it took.
func eventually(t *testing.T, f func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("after %v still: %v", time.Since(start), err)
		}
	}
}

// TestGone: a database that ends, hangs or only reads is an error within seconds, never a hang; when it is back the work goes on by itself.
func TestGone(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := openStore(t, server.DSN("postgres"), Options{Timeout: time.Second, Conns: 4})
	workOnEverything(t, s)
	for _, test := range []struct {
		name    string
		go_, is func() error
	}{
		{"killed", server.Kill, server.Run},
		{"stopped", server.Stop, server.Run},
		{"hung", server.Pause, server.Resume},
		{"reads only", func() error { return readOnly(server, "on") }, func() error { return readOnly(server, "off") }},
	} {
		for range 4 { // connections that then are idle
			acceptAll(t, s, 4)
		}
		do(t, test.go_())
		for range 3 {
			begin := time.Now()
			if id, err := acceptOne(t, s); err == nil {
				t.Errorf("%s: %s was accepted", test.name, id)
			} else if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("%s: an error only after %v: %v", test.name, took, err)
			}
		}
		do(t, test.is())
		took := eventually(t, func() error { _, err := acceptOne(t, s); return err })
		t.Logf("%s: works again after %v", test.name, took)
	}
	ledgertest.CheckLaws(t, s)
}

// readOnly lets the server refuse writes, also on connections that are open.
func readOnly(server *pgtest.Server, how string) error {
	return errors.Join(server.Exec("ALTER SYSTEM SET default_transaction_read_only = "+how), server.Reload(), settle(server, how))
}

// settle waits until the setting has reached the server.
func settle(server *pgtest.Server, how string) error {
	for range 100 {
		if err := server.Exec("DO $$ BEGIN IF current_setting('default_transaction_read_only') <> '" + how + "' THEN RAISE 'not yet'; END IF; END $$"); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the setting did not come")
}

// acceptAll accepts so many at the same time.
func acceptAll(t *testing.T, s *Store, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := acceptOne(t, s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestFailover: the primary dies under load and its synchronous standby takes over: what was promised is there, and the store goes on
// by itself.
func TestFailover(t *testing.T) {
	t.Parallel()
	a := pgtest.Start(t)
	b := a.Standby(t)
	dsn := fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", pgtest.User, a.Port, b.Port)
	s := openStore(t, dsn, Options{Timeout: 2 * time.Second})
	var mu sync.Mutex
	promised := map[ledger.MessageID]bool{}
	unsure := map[ledger.MessageID]ledger.Acceptance{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				m := benchAcceptance("x.example", []byte("sealed"))
				_, err := s.Accept(context.Background(), m)
				for err != nil && ctx.Err() == nil { // who got no answer asks again, soon
					time.Sleep(10 * time.Millisecond)
					_, err = s.Accept(context.Background(), m)
				}
				mu.Lock()
				if err == nil {
					promised[m.Message.ID] = true
				} else {
					unsure[m.Message.ID] = m
				}
				mu.Unlock()
			}
		})
	}
	before := func(n int) {
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(promised) < n {
				return errors.New("not yet")
			}
			return nil
		})
	}
	before(50)
	do(t, a.Kill())
	do(t, b.Promote())
	do(t, b.Alone())
	mu.Lock()
	n := len(promised)
	mu.Unlock()
	before(n + 50)
	stop()
	wg.Wait()
	for _, m := range unsure {
		if _, err := s.Accept(t.Context(), m); err != nil {
			t.Error(err)
		}
		promised[m.Message.ID] = true
	}
	for id := range promised {
		if _, err := s.Story(t.Context(), id); err != nil {
			t.Errorf("%s was promised: %v", id, err)
		}
	}
	if v := ledgertest.CheckLaws(t, s); v.Accepted != int64(len(promised)) {
		t.Errorf("%d accepted, %d promised", v.Accepted, len(promised))
	}
}

// TestDoubt: a commit that the standby has not confirmed is no promise, not even when the server calls it done.
func TestDoubt(t *testing.T) {
	t.Parallel()
	a := pgtest.Start(t)
	b := a.Standby(t)
	s := openStore(t, a.DSN("postgres"), Options{Timeout: 3 * time.Second})
	if _, err := acceptOne(t, s); err != nil {
		t.Fatal(err)
	}
	do(t, b.Pause())
	got := make(chan error)
	go func() { _, err := acceptOne(t, s); got <- err }()
	eventually(t, func() error { // somebody cancels the waiting: the server then says that it has committed
		return a.Exec(`DO $$ BEGIN IF (SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep') = 0 THEN RAISE 'not yet'; END IF; END $$`)
	})
	if err := <-got; !errors.Is(err, errDoubt) {
		t.Errorf("the wait was cancelled: got %v, want %v", err, errDoubt)
	}
	begin := time.Now()
	if _, err := acceptOne(t, s); err == nil || time.Since(begin) > 8*time.Second {
		t.Errorf("nobody confirms: %v after %v", err, time.Since(begin))
	}
	do(t, b.Resume())
	eventually(t, func() error { _, err := acceptOne(t, s); return err })
	ledgertest.CheckLaws(t, s)
}

// TestSecrets: no error shows the password.
func TestSecrets(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	const secret = "hemmeligt"
	for _, dsn := range []string{
		"postgres://u:" + secret + "@127.0.0.1:1/x",
		"postgres://u:" + secret + "%zz@127.0.0.1/x",
		"postgres://u:" + secret + "@127.0.0.1:port/x",
		"postgres://u:" + secret + "@127.0.0.1/x?sslmode=" + secret,
		"postgres://u@127.0.0.1:1/x?password=" + secret,
		"postgres://u:a" + secret + "@b@127.0.0.1:1/x",
		"host=127.0.0.1 port=1 user=u password=" + secret + " bad",
		"host=127.0.0.1 password='" + secret,
		strings.Replace(server.DSN("nothing"), "@", ":"+secret+"@", 1),
		strings.Replace(server.DSN("postgres"), pgtest.User+"@", "nobody:"+secret+"@", 1),
	} {
		s, err := Open(t.Context(), dsn, Options{Timeout: time.Second})
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", dsn)
			continue
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

// TestSettings: what a promise rests on is really set.
func TestSettings(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	role := "ALTER ROLE postvagt IN DATABASE " + dsn[strings.LastIndexByte(dsn, '/')+1:strings.IndexByte(dsn, '?')]
	for weak, want := range map[string]string{"off": "on", "local": "on", "remote_write": "on", "remote_apply": "remote_apply"} {
		do(t, raw(t, dsn, role+" SET synchronous_commit = "+weak))
		settings(t, dsn, map[string]string{"synchronous_commit": want})
	}
	settings(t, dsn, map[string]string{"statement_timeout": "3s", "lock_timeout": "2s", "transaction_isolation": "read committed", "TimeZone": "UTC"})
}

// settings demands them of a connection.
func settings(t *testing.T, dsn string, settings map[string]string) {
	t.Helper()
	s := openStore(t, dsn, Options{Timeout: 3 * time.Second})
	for name, want := range settings {
		var got string
		do(t, s.do(t.Context(), func(tx *tx) error {
			return tx.query(func(r row) error { got = r.str(0); return nil }, "SELECT current_setting($1)", name)
		}))
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
