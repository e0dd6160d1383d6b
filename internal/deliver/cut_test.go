package deliver

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"postvagt/internal/level"
)

// cut is a connection that breaks after a number of bytes in one direction. One goroutine uses it.
type cut struct {
	net.Conn
	out, in int  // bytes still let through; below 0 there is no bound
	swallow bool // bytes that do not get through are reported as written, as by a kernel that buffers
	total   *totals
}

type totals struct{ out, in int }

var errCut = errors.New("connection reset by test")

func (c *cut) Write(b []byte) (int, error) {
	c.total.out += len(b)
	n := len(b)
	if c.out >= 0 {
		n = min(n, c.out)
		c.out -= n
	}
	written, err := c.Conn.Write(b[:n])
	if err == nil && n < len(b) {
		c.Conn.Close()
		if c.swallow {
			return len(b), nil
		}
		err = errCut
	}
	return written, err
}

func (c *cut) Read(b []byte) (int, error) {
	if c.in == 0 {
		c.Conn.Close()
		return 0, errCut
	}
	if c.in > 0 && len(b) > c.in {
		b = b[:c.in]
	}
	n, err := c.Conn.Read(b)
	c.total.in += n
	if c.in > 0 {
		c.in -= n
	}
	return n, err
}

// TestCut breaks the connection after every byte of the dialogue, in both directions, and holds the outcome against what
// the peer knows.
func TestCut(t *testing.T) {
	a := newAuthority(t)
	secure := a.issue(t, "smart.example", time.Now().Add(time.Hour))
	secure.SessionTicketsDisabled = true // a ticket nobody reads yet would block net.Pipe
	for name, m := range map[string]manners{
		"one by one": {lenient: true},
		"pipelining": {lenient: true, offers: []string{"PIPELINING", "SIZE", "8BITMIME"}},
		"TLS":        {lenient: true, offers: []string{"PIPELINING"}, tls: secure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole totals
			if got := cutAt(t, m, a.roots, cut{out: -1, in: -1, total: &whole}); got != Delivered {
				t.Fatalf("uncut: %s", got)
			}
			step := 1
			if m.tls != nil {
				step = 7 // record boundaries differ from run to run, so that every place is met in time
			}
			seen := map[string]int{}
			for at := 0; at <= whole.out; at += step {
				seen["out "+string(cutAt(t, m, a.roots, cut{out: at, in: -1, total: new(totals)}))]++
				seen["swallowed "+string(cutAt(t, m, a.roots, cut{out: at, in: -1, swallow: true, total: new(totals)}))]++
			}
			for at := 0; at <= whole.in; at += step {
				seen["in "+string(cutAt(t, m, a.roots, cut{out: -1, in: at, total: new(totals)}))]++
			}
			for _, want := range []string{"out deferred", "swallowed deferred", "swallowed unknown", "in deferred", "in unknown"} {
				if seen[want] == 0 {
					t.Errorf("no cut led to %s: %v", want, seen)
				}
			}
			if seen["out unknown"] > 0 {
				t.Errorf("unknown, although the connection had not taken the end of data: %v", seen)
			}
		})
	}
}

// cutAt delivers once over a connection that is cut as given and returns the outcome. A second connection, as after a
// failed STARTTLS, is not to be had.
func cutAt(t *testing.T, m manners, roots string, how cut) Outcome {
	t.Helper()
	p := &peer{t: t, manners: m}
	first := true
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := p.pipe(ctx, network, addr)
		if !first {
			conn.Close()
			return nil, errors.New("one connection only")
		}
		first = false
		how.Conn = conn
		return &how, err
	}
	c := New(Options{Dial: dial, Resolver: anywhere{}, Idle: -1})
	j := job(level.None, "b@borger.example")
	j.Hop.RootCAs = roots
	_, results := c.Attempt(t.Context(), j)
	c.Close()
	p.wg.Wait()
	oracle(t, p, results)
	if t.Failed() {
		t.Fatalf("cut at out %d, in %d, swallow %v", how.out, how.in, how.swallow)
	}
	return results[0].Outcome
}
