package guard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/smtpin"
)

// listener is one open socket and what serves it.
type listener struct {
	name  string
	l     net.Listener
	serve func(context.Context) error
}

// open returns all listeners, opened; on an error none stays open.
func (g *Guard) open() (out []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				l.l.Close()
			}
			out = nil
		}
	}()
	if g.listeners == nil {
		if g.listeners, err = inherited(); err != nil {
			return nil, err
		}
	}
	for _, s := range []struct {
		name  string
		addrs []string
	}{{"smtp", g.cfg.Listen.SMTP}, {"submission", g.cfg.Listen.Submission}, {"smtps", g.cfg.Listen.SMTPS}, {"metrics", nonEmpty(g.cfg.Listen.Metrics)}} {
		if s.name == "submission" || s.name == "smtps" {
			if g.tls == nil && (len(s.addrs) > 0 || len(g.listeners[s.name]) > 0) {
				return out, fmt.Errorf("listen %s: passwords travel over TLS only; set tls.cert and tls.key", s.name)
			}
		}
		open := g.listeners[s.name]
		if len(open) == 0 {
			for _, a := range s.addrs {
				l, err := net.Listen("tcp", a)
				if err != nil {
					return out, fmt.Errorf("listen for %s: %w; is another server running on that port, or may only root use it?", s.name, err)
				}
				open = append(open, l)
			}
		}
		for _, l := range open {
			out = append(out, listener{s.name, l, g.server(s.name, l)})
			g.log.Info("listening", "name", s.name, "address", l.Addr().String())
		}
	}
	return out, nil
}

// server returns what serves a listener of that name.
func (g *Guard) server(name string, l net.Listener) func(context.Context) error {
	if name == "metrics" {
		return func(ctx context.Context) error { return g.metrics.serve(ctx, l) }
	}
	s := smtpin.New(intake{g, name}, g.smtpOptions(name))
	return func(ctx context.Context) error { return s.Serve(ctx, l, g.grace) }
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// inherited returns the sockets systemd hands over (sd_listen_fds(3)), by their names.
func inherited() (map[string][]net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS is not a number: %w", err)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	out := map[string][]net.Listener{}
	for i := range n {
		name := "smtp"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		f := os.NewFile(uintptr(3+i), name)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %q from systemd: %w", name, err)
		}
		switch name {
		case "smtp", "submission", "smtps", "metrics":
			out[name] = append(out[name], l)
		default:
			return nil, fmt.Errorf("systemd hands over a socket named %q; FileDescriptorName= must be smtp, submission, smtps or metrics", name)
		}
	}
	return out, nil
}

// certificate is our TLS certificate, read anew when its files change.
type certificate struct {
	files   config.TLS
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	stamp   [2]time.Time // of the files last read; owned by watch
	bad     [2]time.Time // of the files that could not be used, said at saidAt; owned by watch
	saidAt  time.Time
	asked   chan struct{} // capacity 1
}

// loadCertificate reads the certificate; nil when none is configured.
func loadCertificate(files config.TLS, log *slog.Logger) (*certificate, error) {
	if files.Cert == "" {
		return nil, nil
	}
	c := &certificate{files: files, log: log, asked: make(chan struct{}, 1)}
	c.stamp = c.stamps()
	return c, c.read()
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("read the TLS certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) stamps() (s [2]time.Time) {
	for i, name := range []string{c.files.Cert, c.files.Key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = info.ModTime()
		}
	}
	return s
}

// watch reads the files anew within a few seconds of a change, or at once when asked. A pair that cannot be read leaves the old one in use.
func (c *certificate) watch(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.asked:
		case <-tick.C:
		}
		c.look()
	}
}

// look reads the files anew when they have changed.
func (c *certificate) look() {
	s := c.stamps()
	if s == c.stamp {
		return
	}
	if err := c.read(); err != nil {
		if s != c.bad || now().Sub(c.saidAt) >= time.Hour {
			c.log.Error("the new TLS certificate cannot be used; the old one stays", "err", err)
			c.bad, c.saidAt = s, now()
		}
		return // files are often replaced one after the other: look again
	}
	c.stamp = s
	c.log.Info("TLS certificate read anew", "file", c.files.Cert)
}

// Reload looks at once whether the certificate's files have changed; without it that takes a few seconds.
func (g *Guard) Reload() {
	if g.tls == nil {
		return
	}
	select {
	case g.tls.asked <- struct{}{}:
	default:
	}
}

// config is the server side's TLS configuration; nil without a certificate. Clients are asked for a certificate, for the
// trusted ones that prove themselves by it; whoever has none is served all the same.
func (c *certificate) config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		ClientAuth: tls.RequestClientCert}
}

// chains reports whether a client's certificate leads to a root of the system's.
func chains(s *tls.ConnectionState) bool {
	if s == nil || len(s.PeerCertificates) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	return err == nil
}

// addrOf is ip as netip knows it, without an IPv4-in-IPv6 wrapping.
func addrOf(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

// serveHTTP runs h on l until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
