package smtpin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	defaultMaxSize         = 50 << 20
	defaultMaxRecipients   = 1000
	defaultMaxConns        = 500
	defaultMaxConnsPerIP   = 100
	defaultMaxErrors       = 20
	defaultMemoryBytes     = 64 << 20
	defaultReadTimeout     = 5 * time.Minute
	defaultMaxTransactions = 1000

	// refusalTimeout bounds what a connection over the limits may cost.
	refusalTimeout = time.Second
	// acceptPause is the first wait after an Accept that failed for want of something (file descriptors, memory).
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Server serves one listener, or several of one kind (sockets handed over by systemd): limits count over all of them.
// It is safe for concurrent use.
type Server struct {
	o      Options
	h      Handler
	tls    *tls.Config         // nil: none
	memory *semaphore.Weighted // message bytes in flight
	seq    atomic.Int64        // numbers connections in the log
	usual  atomic.Int64        // a moving mean of message sizes

	mu    sync.Mutex
	total int                // guarded by mu: open connections
	perIP map[netip.Addr]int // guarded by mu: the same by client network
}

// New returns a Server for h. MemoryBytes is raised to hold at least one message of MaxSize, as otherwise the size
// announced in EHLO would be a lie. TLS below 1.2 is never spoken, whatever the caller's configuration says.
func New(h Handler, o Options) *Server {
	o.MaxSize = cmp.Or(o.MaxSize, defaultMaxSize)
	o.MaxRecipients = cmp.Or(o.MaxRecipients, defaultMaxRecipients)
	o.MaxConns = cmp.Or(o.MaxConns, defaultMaxConns)
	o.MaxConnsPerIP = cmp.Or(o.MaxConnsPerIP, defaultMaxConnsPerIP)
	o.MaxErrors = cmp.Or(o.MaxErrors, defaultMaxErrors)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, defaultReadTimeout)
	o.MaxTransactions = cmp.Or(o.MaxTransactions, defaultMaxTransactions)
	o.MemoryBytes = max(cmp.Or(o.MemoryBytes, defaultMemoryBytes), o.MaxSize+bufferSlack, firstBuffer)
	if o.Host == "" {
		o.Host, _ = os.Hostname()
		o.Host = cmp.Or(o.Host, "localhost")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, h: h, memory: semaphore.NewWeighted(o.MemoryBytes), perIP: map[netip.Addr]int{}}
	if o.TLS != nil {
		s.tls = o.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
	}
	return s
}

// Serve accepts connections from l until ctx is done; then it closes l, lets transactions under way finish (at most
// grace), tells idle clients 421 and returns when all connections are closed. A stop by ctx returns nil, a listener
// that fails its error. The context of Handler calls outlives ctx by grace, so that what is under way can finish.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	if s.o.ImplicitTLS && s.tls == nil {
		l.Close()
		return errors.New("serve smtp: implicit TLS without a TLS configuration")
	}
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	g := &group{conns: map[*conn]struct{}{}}
	closeListener := context.AfterFunc(ctx, func() { l.Close() })
	err := s.accept(ctx, work, l, g)
	closeListener()
	l.Close()
	g.stop()
	g.wait(grace, cut)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept smtp connection: %w", err)
}

// accept starts a goroutine for each connection and returns when l is closed or broken.
func (s *Server) accept(ctx, work context.Context, l net.Listener, g *group) error {
	pause := acceptPause
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || !temporary(err) {
				return err
			}
			s.o.Log.Warn("smtp accept failed, trying again", "listener", s.o.Name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = acceptPause
		s.start(work, nc, g)
	}
}

// temporary reports whether Accept may succeed later. net.Error.Temporary is deprecated for its vagueness, yet for
// accept it means exactly this: a connection that was gone already, or a shortage.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// start admits one connection, or refuses it, and runs it.
func (s *Server) start(work context.Context, nc net.Conn, g *group) {
	ip := remoteIP(nc)
	if !s.enter(ip) {
		s.o.Log.Info("smtp connection refused: too many connections", "listener", s.o.Name, "client", showIP(ip))
		if !s.o.ImplicitTLS {
			nc.SetWriteDeadline(time.Now().Add(refusalTimeout))
			fmt.Fprintf(nc, "421 4.7.0 %s too many connections, try again later\r\n", s.o.Host)
		}
		nc.Close()
		return
	}
	c := newConn(s, nc, ip)
	g.add(c)
	go func() {
		defer s.leave(ip)
		defer g.remove(c)
		c.serve(work)
	}()
}

// enter counts a connection in, unless a limit is reached.
func (s *Server) enter(ip netip.Addr) bool {
	key := network(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.o.MaxConns {
		return false
	}
	if counted := key.IsValid() && (s.o.Unlimited == nil || !s.o.Unlimited(ip)); counted && s.perIP[key] >= s.o.MaxConnsPerIP {
		return false
	}
	s.total++
	if key.IsValid() {
		s.perIP[key]++
	}
	return true
}

func (s *Server) leave(ip netip.Addr) {
	key := network(ip)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if !key.IsValid() {
		return
	}
	if s.perIP[key]--; s.perIP[key] == 0 {
		delete(s.perIP, key)
	}
}

// network is what MaxConnsPerIP counts by: an IPv4 address, or the /64 that one IPv6 customer has to himself.
func network(ip netip.Addr) netip.Addr {
	if !ip.Is6() {
		return ip
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip
	}
	return p.Addr()
}

// remoteIP returns the client's address; the zero Addr where the connection has none (a pipe, a Unix socket).
func remoteIP(nc net.Conn) netip.Addr {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// showIP is an address for the log.
func showIP(ip netip.Addr) string {
	if !ip.IsValid() {
		return "local"
	}
	return ip.String()
}

// group is the connections of one Serve, so that it can stop them and wait for them.
type group struct {
	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu
	wg    sync.WaitGroup
}

func (g *group) add(c *conn) {
	g.wg.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
}

func (g *group) remove(c *conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	g.wg.Done()
}

func (g *group) each(f func(*conn)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		f(c)
	}
}

// stop tells idle connections to end now and the others to end after their transaction.
func (g *group) stop() { g.each((*conn).stop) }

// wait returns when all connections are closed. After grace it calls cut and closes the sockets; a Handler that is
// still at work then decides by its context.
func (g *group) wait(grace time.Duration, cut context.CancelFunc) {
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	}
	cut()
	g.each((*conn).cut)
	<-done
}
