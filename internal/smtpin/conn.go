package smtpin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"postvagt/internal/detect"
)

const (
	textLocalError = "local error, try again later"
	textClosing    = "closing, try again later"

	writeTimeout     = time.Minute
	handshakeTimeout = time.Minute
	// lingerTime and lingerBytes bound the reading on after a refusal that closes: a socket closed with unread input
	// is reset, and the client would never see why.
	lingerTime  = time.Second
	lingerBytes = 1 << 20
	// maxIdleCommands is how many commands that bring no mail forward (NOOP, RSET, VRFY …) one message may cost.
	maxIdleCommands = 100
	outputSize      = 4096
)

var errStopping = errors.New("the server is stopping")

// conn is one client's connection. All fields but those under mu belong to the goroutine that runs serve.
type conn struct {
	s      *Server
	id     int64
	raw    net.Conn // the socket, under TLS or not
	ctx    context.Context
	in     input
	out    []byte // replies not written yet
	client *Client
	done   bool // nothing more is read; out is still to be written
	linger bool // input may still be on its way: see lingerTime

	env          *Envelope // nil: no transaction
	declared     int64     // SIZE= of the transaction
	chunks       *chunks   // nil: no BDAT yet in this transaction
	held         int64     // bytes of Server.memory that this connection has
	transactions int
	errors       int // commands that were none, over the whole connection
	idle         int // commands since the last message that brought no mail forward
	authFailures int
	refusals     int // recipients refused by the Handler, over the whole connection

	mu       sync.Mutex
	nc       net.Conn // guarded by mu for writing; only serve's goroutine sets it
	waiting  bool     // guarded by mu: reading a command outside a transaction
	shaking  bool     // guarded by mu: in the TLS handshake
	stopping bool     // guarded by mu
}

func newConn(s *Server, nc net.Conn, ip netip.Addr) *conn {
	return &conn{s: s, id: s.seq.Add(1), raw: nc, nc: nc, in: input{nc: nc}, client: &Client{IP: ip, Listener: s.o.Name}}
}

// serve runs the connection from greeting to end.
func (c *conn) serve(ctx context.Context) {
	defer c.close()
	defer c.recoverBug()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ctx = ctx
	if c.s.o.ImplicitTLS && !c.handshake() {
		return
	}
	c.greet()
	for !c.done {
		line, err := c.readLine(commandLimit)
		if err != nil {
			c.ended(err)
			break
		}
		c.command(line)
		c.limitErrors()
	}
	c.flush()
	c.lingerOn()
}

// greet asks the Handler and says who we are (RFC 5321, section 3.1).
func (c *conn) greet() {
	r := c.ask("connect", func(ctx context.Context) *Reply { return c.s.h.Connect(ctx, c.client) })
	if r != nil && r.Code/100 != 2 {
		c.answer(r)
		c.done = true
		return
	}
	c.reply(220, "", c.s.o.Host+" ESMTP")
}

// readLine returns the next command line without its CRLF. Replies collected so far are written before it waits.
func (c *conn) readLine(limit int) (string, error) {
	defer c.resume()
	armed := false
	for {
		limit := limit
		if limit == commandLimit && c.in.begins("AUTH ") { // its initial response may be as long as a response
			limit = authLimit
		}
		line, ok, err := c.in.line(limit)
		if ok || err != nil {
			return string(line), err
		}
		if !armed {
			if err := c.flush(); err != nil {
				return "", err
			}
			if err := c.arm(); err != nil {
				return "", err
			}
			armed = true
		}
		if err := c.in.fill(limit); err != nil {
			return "", err
		}
	}
}

// arm sets the time a command line may take, however slowly its bytes come, and lets stop interrupt the wait where
// no transaction is under way.
func (c *conn) arm() error {
	deadline := time.Now().Add(c.s.o.ReadTimeout)
	if c.chunks != nil {
		deadline = c.chunks.pace.deadline(c.s.o.ReadTimeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && c.env == nil {
		return errStopping
	}
	c.waiting = c.env == nil
	return c.nc.SetReadDeadline(deadline)
}

func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
}

// stop ends the connection: now where it waits for a command outside a transaction or for the TLS handshake, else after
// the transaction.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.waiting {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	if c.shaking {
		c.raw.Close()
	}
}

// cut closes the socket under whatever goes on, without TLS's farewell, for which a dead peer would make us wait.
func (c *conn) cut() { c.raw.Close() }

func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

// ended says goodbye after a read that gave no command line, where there is somebody to say it to.
func (c *conn) ended(err error) {
	c.done = true
	switch {
	case errors.Is(err, errStopping) || (c.isStopping() && c.env == nil && isTimeout(err)):
		c.reply(421, "4.3.2", c.s.o.Host+" "+textClosing)
	case errors.Is(err, errLineEnd):
		c.log(slog.LevelWarn, "smtp command with a bare CR or LF refused")
		c.reply(500, "5.5.2", "a command must end in CRLF and hold no other CR or LF; closing")
		c.linger = true
	case errors.Is(err, errLineLong):
		c.reply(500, "5.5.2", "line too long; closing")
		c.linger = true
	case isTimeout(err):
		c.log(slog.LevelInfo, "smtp client timed out")
		c.reply(421, "4.4.2", c.s.o.Host+" timeout, closing")
	default:
		c.log(slog.LevelDebug, "smtp client went away")
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// limitErrors ends the connection of a client that speaks something else than mail.
func (c *conn) limitErrors() {
	if c.done {
		return
	}
	if c.errors >= c.s.o.MaxErrors || c.idle > maxIdleCommands || c.refusals >= c.s.o.MaxRecipients {
		c.log(slog.LevelInfo, "smtp client made too many errors")
		c.reply(421, "4.7.0", c.s.o.Host+" too many errors, closing")
		c.done, c.linger = true, true
	}
}

// reply queues a reply of our own words.
func (c *conn) reply(code int, enhanced, text string) {
	c.out = appendReply(c.out, code, enhanced, text)
	if len(c.out) > outputSize {
		c.flush()
	}
}

// fault queues a reply to a command that was wrong, and counts it.
func (c *conn) fault(code int, enhanced, text string) {
	c.errors++
	c.reply(code, enhanced, text)
}

// answer queues a Handler's reply; 421 and 521 also end the connection (RFC 5321, section 3.8; RFC 7504).
func (c *conn) answer(r *Reply) {
	utf8OK := c.env != nil && c.env.UTF8
	r = usable(r, utf8OK)
	if r.Err != nil {
		c.log(slog.LevelInfo, "smtp reply", slog.Int("code", r.Code), slog.String("err", detect.Mask(r.Err.Error())))
	}
	c.reply(r.Code, r.Enhanced, r.Text)
	if r.Code == 421 || r.Code == 521 {
		c.done = true
	}
}

// flush writes the queued replies. After an error nothing more is read.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.done, c.linger = true, false
		c.in.discard()
		c.in.err = err
	}
	return err
}

// ask calls the Handler. A panic there is a bug that costs this client a 451 and nobody anything else. The panic's
// value may quote the message, so only a runtime error's own words are logged (law 6).
func (c *conn) ask(what string, f func(context.Context) *Reply) (r *Reply) {
	defer func() {
		if p := recover(); p != nil {
			c.logPanic(what, p)
			r = &Reply{Code: 451, Enhanced: "4.3.0", Text: textLocalError}
		}
	}()
	return f(c.ctx)
}

// recoverBug is for panics in this package.
func (c *conn) recoverBug() {
	if p := recover(); p != nil {
		c.logPanic("connection", p)
		c.out = appendReply(nil, 421, "4.3.0", c.s.o.Host+" "+textLocalError)
		c.flush()
	}
}

func (c *conn) logPanic(what string, p any) {
	words := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		words = detect.Mask(e.Error())
	}
	c.log(slog.LevelError, "smtp panic", slog.String("in", what), slog.String("panic", words),
		slog.String("stack", stack()))
}

// stack is the way to a panic by function and line. debug.Stack would add arguments in hex, which may be pieces of a message.
func stack() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s %s:%d\n", f.Function, filepath.Base(f.File), f.Line)
		if !more {
			return b.String()
		}
	}
}

// log writes a line with the connection's attributes. Nothing of what the client sent is among them.
func (c *conn) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if !c.s.o.Log.Enabled(context.Background(), level) {
		return
	}
	attrs = append(attrs, slog.String("listener", c.client.Listener), slog.Int64("conn", c.id),
		slog.String("client", showIP(c.client.IP)), slog.Bool("tls", c.client.TLS != nil))
	c.s.o.Log.LogAttrs(context.Background(), level, msg, attrs...)
}

// handshake turns the connection into TLS.
func (c *conn) handshake() bool {
	t := tls.Server(c.nc, c.s.tls)
	ctx, cancel := context.WithTimeout(c.ctx, min(handshakeTimeout, c.s.o.ReadTimeout))
	defer cancel()
	c.nc.SetDeadline(time.Time{})
	if !c.setShaking(true) {
		c.done = true
		return false
	}
	defer c.setShaking(false)
	if err := t.HandshakeContext(ctx); err != nil {
		c.log(slog.LevelInfo, "smtp tls handshake failed", slog.String("err", detect.Mask(err.Error())))
		c.done = true
		return false
	}
	state := t.ConnectionState()
	if state.Version < tls.VersionTLS12 { // a GetConfigForClient of the caller's could have allowed it
		c.done = true
		return false
	}
	c.client = &Client{IP: c.client.IP, Listener: c.client.Listener, TLS: &state}
	c.mu.Lock()
	c.nc = t
	c.mu.Unlock()
	c.in = input{nc: t}
	return true
}

// setShaking tells stop of the handshake; false where it came before.
func (c *conn) setShaking(on bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shaking = on
	return !c.stopping
}

// lingerOn reads on for a moment after the last reply.
func (c *conn) lingerOn() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !c.linger || !ok || w.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c.nc, lingerBytes)
}

func (c *conn) close() {
	c.release()
	c.nc.Close()
}

// reset ends the transaction (RFC 5321, section 4.1.1.5).
func (c *conn) reset() {
	c.env, c.chunks, c.declared = nil, nil, 0
	c.release()
}

// upper returns the upper case of a protocol word. Beyond ASCII nothing is one ("ſ" must not become an S).
func upper(s string) string {
	if !isASCII(s) {
		return s
	}
	return strings.ToUpper(s)
}
