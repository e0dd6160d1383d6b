package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sys/unix"
)

// slots is how many slots of the tally connections are spread over.
const slots = 64

// session is what belongs to one connection.
type session struct {
	slot  int32
	doubt atomic.Bool // a commit was acknowledged without its standby
}

const sessionKey = "postvagt"

func sessionOf(c *pgconn.PgConn) *session {
	own, _ := c.CustomData()[sessionKey].(*session)
	return own
}

// connect makes the pool; connections are opened when they are needed, the first one here.
func (s *Store) connect(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	cfg, err := s.poolConfig(dsn)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.o.Timeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// poolConfig reads dsn and adds what keeps a hung or lost database from hanging its callers.
func (s *Store) poolConfig(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// The parser's words may repeat what it could not read, a password among it.
		return nil, errors.New("the database's address cannot be read: write it as postgres://user@host/database")
	}
	if s.o.Conns > 0 {
		cfg.MaxConns = int32(s.o.Conns)
	} else if !asksFor(dsn, "pool_max_conns") {
		cfg.MaxConns = 16
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.HealthCheckPeriod = 10 * time.Second
	cfg.PingTimeout = s.o.Timeout / 4
	c := cfg.ConnConfig
	if !asksFor(dsn, "application_name") {
		c.RuntimeParams["application_name"] = "postvagt"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = s.o.Timeout / 2
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	c.DialFunc = s.dial
	c.OnNotice = notice
	c.AfterConnect = s.greet
	return cfg, nil
}

// asksFor reports whether the address sets a parameter itself.
func asksFor(dsn, parameter string) bool {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return false
	}
	_, ok := cfg.RuntimeParams[parameter]
	return ok
}

// dial opens a connection that the kernel gives up within seconds when the other side no longer answers.
func (s *Store) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         s.o.Timeout / 2,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			var err error
			controlErr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(s.o.Timeout.Milliseconds()))
			})
			return errors.Join(controlErr, err)
		},
	}
	return d.DialContext(ctx, network, address)
}

// greet sets up a fresh connection: no step may hang, and a commit is durable when it returns, on the standby too where there
// is one. It is the session that is set, not the connection's start, for poolers refuse unknown parameters there.
func (s *Store) greet(ctx context.Context, c *pgconn.PgConn) error {
	if s.o.Connected != nil {
		s.o.Connected()
	}
	ms := s.o.Timeout.Milliseconds()
	// A node that loses its power in the middle of a transaction holds locks until the server lets go.
	err := c.Exec(ctx, fmt.Sprintf(`SET statement_timeout = %d; SET lock_timeout = %d; SET idle_in_transaction_session_timeout = %d;
		SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
		SET timezone = 'UTC'; SET default_transaction_isolation = 'read committed';
		SET plan_cache_mode = 'force_generic_plan'; -- but for planAnew: most have one good plan, and planning costs more than they do
		SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')`,
		ms, ms*2/3, ms/2)).Close()
	if err != nil {
		return err
	}
	s.slots.Lock()
	defer s.slots.Unlock()
	s.slots.next = (s.slots.next + 1) % slots
	c.CustomData()[sessionKey] = &session{slot: s.slots.next}
	return nil
}

// notice hears of commits that were cut loose from their standby: the server then reports success, with a warning (01000), but
// the commit may be lost when the standby takes over.
func notice(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.Code == "01000" {
		if l := sessionOf(c); l != nil {
			l.doubt.Store(true)
		}
	}
}

// SQLSTATE codes that something is decided on.
const (
	codeUnique        = "23505"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeReadOnly      = "25006"
	codeStalePlan     = "0A000" // a prepared statement's result type has changed with a migration
	codeExists        = "42P07"
	codeCheck         = "23514"
	codeLockTimeout   = "55P03"
	codeNoTable       = "42P01"
)

// code is an error's SQLSTATE; "" when it does not come from the server.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// again reports whether a transaction that failed so was rolled back and may succeed when it is simply repeated.
func again(err error) bool {
	switch code(err) {
	case codeSerialization, codeDeadlock, codeStalePlan:
		return true
	}
	return pgconn.SafeToRetry(err)
}

// lost reports whether the server that the connection leads to no longer serves: it was demoted, shuts down, or does not answer.
func lost(err error) bool {
	c := code(err)
	return errors.Is(err, context.DeadlineExceeded) || c == codeReadOnly || len(c) == 5 && (c[:3] == "57P" || c[:2] == "08")
}

// discard closes a connection whose state is not known, or that leads nowhere.
func discard(c *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Conn().Close(ctx)
}

// idle reports whether the connection is alive and outside any transaction.
func idle(c *pgx.Conn) bool { return !c.IsClosed() && c.PgConn().TxStatus() == 'I' }
