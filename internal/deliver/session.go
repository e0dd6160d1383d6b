package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// session is one connection to a hop. It belongs to one attempt at a time.
type session struct {
	client *Client
	ctx    context.Context // the running attempt's: it ends what waits on the connection, see watch
	raw    net.Conn        // as dialled; deadlines are set here, also for the TLS on top of it
	conn   net.Conn        // raw, or the TLS on top of it
	r      *bufio.Reader
	w      writer
	offers offers
	facts  Receipt // what was measured when the connection was made
	used   int     // messages tried over it
	broken bool    // not fit for another message

	expiry *time.Timer // while it is idle
}

// offers are the extensions in the hop's answer to EHLO.
type offers struct {
	pipelining, startTLS, eightBit, utf8, dsn, size bool
	maxSize                                         int64  // SIZE's limit (RFC 1870); 0: none said
	auth                                            string // the mechanisms, upper case, blank-separated
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxReplyLine) }}

var past = time.Unix(1, 0)

func (c *Client) newSession(ctx context.Context, conn net.Conn, facts Receipt) *session {
	s := &session{client: c, ctx: ctx, raw: conn, conn: conn, facts: facts, r: readers.Get().(*bufio.Reader)}
	s.r.Reset(conn)
	s.w.reset(conn)
	return s
}

// watch makes the end of ctx end every wait on the connection. The returned function stops watching and reports
// whether ctx has not interfered with the connection.
func (s *session) watch(ctx context.Context) (stop func() bool) {
	s.ctx = ctx
	return context.AfterFunc(ctx, func() { s.raw.SetDeadline(past) })
}

// wait allows d for what comes next. A context that ended just before is not overruled.
func (s *session) wait(d time.Duration) {
	s.raw.SetDeadline(time.Now().Add(d))
	if s.ctx.Err() != nil {
		s.raw.SetDeadline(past)
	}
}

// close ends the connection at once.
func (s *session) close() {
	if s.r == nil {
		return
	}
	s.raw.Close()
	s.r.Reset(nil)
	readers.Put(s.r)
	s.w.release()
	s.r = nil
}

// quit ends the connection politely where it still can, without waiting for the reply: nothing depends on it.
func (s *session) quit() {
	if s.r == nil {
		return
	}
	if !s.broken {
		s.raw.SetDeadline(time.Now().Add(time.Second))
		s.conn.Write([]byte("QUIT\r\n"))
	}
	s.close()
}

// over replaces the connection by the TLS on top of it.
func (s *session) over(t *tls.Conn) {
	s.conn = t
	s.r.Reset(t)
	s.w.reset(t)
}

// command sends one line and reads its reply.
func (s *session) command(line string) (reply, error) {
	s.wait(s.client.options.Command)
	s.w.add(line)
	s.w.add("\r\n")
	if err := s.w.flush(); err != nil {
		return reply{}, s.explain(err)
	}
	return s.read(s.client.options.Command, nil)
}

// read reads one reply within d.
func (s *session) read(d time.Duration, visit func(int, []byte)) (reply, error) {
	s.wait(d)
	r, err := readReply(s.r, visit)
	if err != nil {
		s.broken = true
		return reply{}, s.explain(err)
	}
	if r.code == 421 {
		s.broken = true // the hop closes the channel (RFC 5321, section 3.8)
	}
	return r, nil
}

// explain names the context's end where that is what broke the connection.
func (s *session) explain(err error) error {
	s.broken = true
	if s.ctx.Err() != nil {
		return errors.Join(context.Cause(s.ctx), err)
	}
	return err
}

// hello sends EHLO, or HELO to a server that knows no EHLO, and notes what is offered.
func (s *session) hello() (reply, error) {
	s.offers = offers{}
	s.w.add("EHLO ")
	s.w.add(s.client.options.Hello)
	s.w.add("\r\n")
	s.wait(s.client.options.Command)
	if err := s.w.flush(); err != nil {
		return reply{}, s.explain(err)
	}
	r, err := s.read(s.client.options.Command, func(n int, text []byte) {
		if n > 0 {
			s.offers.note(string(text))
		}
	})
	if err == nil && !r.ok() {
		s.offers = offers{}
	}
	if err == nil && r.code/100 == 5 {
		return s.command("HELO " + s.client.options.Hello)
	}
	return r, err
}

// note reads one extension line.
func (o *offers) note(line string) {
	keyword, params, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch strings.ToUpper(keyword) {
	case "PIPELINING":
		o.pipelining = true
	case "STARTTLS":
		o.startTLS = true
	case "8BITMIME":
		o.eightBit = true
	case "SMTPUTF8":
		o.utf8 = true
	case "DSN":
		o.dsn = true
	case "SIZE":
		o.size = true
		if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
			o.maxSize = n
		}
	case "AUTH":
		o.auth += " " + strings.ToUpper(params) + " "
	}
}

// knows reports whether the hop offers that AUTH mechanism.
func (o *offers) knows(mechanism string) bool {
	return strings.Contains(o.auth, " "+mechanism+" ")
}
