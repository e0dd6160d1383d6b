package deliver

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/level"
)

// deliver makes one attempt that must succeed.
func deliver(t *testing.T, c *Client, j Job) Receipt {
	t.Helper()
	receipt, results := c.Attempt(t.Context(), j)
	if results[0].Outcome != Delivered {
		t.Errorf("got %s (%s), want delivered", results[0].Outcome, results[0].Text)
	}
	return receipt
}

func TestReuse(t *testing.T) {
	a := newAuthority(t)
	p := &peer{t: t, manners: manners{offers: []string{"PIPELINING"}, tls: a.issue(t, "smart.example", time.Now().Add(time.Hour))}}
	c := client(t, p.listen())
	j := job(level.Verified, "b@borger.example")
	j.Hop.RootCAs = a.roots
	first := deliver(t, c, j)
	second := deliver(t, c, j)
	if first.DSN {
		t.Error("the receipt says that DSN was offered")
	}
	if p.connections() != 1 || len(p.took()) != 2 {
		t.Errorf("%d connections for %d messages", p.connections(), len(p.took()))
	}
	if !second.Started.After(first.Started) {
		t.Errorf("the second attempt started %s, the first %s", second.Started, first.Started)
	}
	second.Started, second.Took = first.Started, first.Took
	if first != second || second.Level != level.Verified {
		t.Errorf("receipts differ: %+v and %+v", first, second)
	}
}

// TestReuseHoldsTheLevel has a cleartext connection lie idle when a mail comes that needs more.
func TestReuseHoldsTheLevel(t *testing.T) {
	a := newAuthority(t)
	refuse := true
	var mu sync.Mutex
	p := &peer{t: t, manners: manners{tls: a.issue(t, "smart.example", time.Now().Add(time.Hour)), answer: func(c string) string {
		mu.Lock()
		defer mu.Unlock()
		if c == "STARTTLS" && refuse {
			return "454 4.7.0 not now"
		}
		return ""
	}}}
	c := client(t, p.listen())
	low, high := job(level.None, "b@borger.example"), job(level.Encrypted, "b@borger.example")
	if r := deliver(t, c, low); r.Level != level.Cleartext || r.Fallback == "" {
		t.Errorf("got %+v", r)
	}
	if _, results := c.Attempt(t.Context(), high); results[0].Outcome != TooLow {
		t.Errorf("got %s, want too-low", results[0].Outcome)
	}
	deliver(t, c, low) // leaves a cleartext connection idle again
	mu.Lock()
	refuse = false
	mu.Unlock()
	if r := deliver(t, c, high); r.Level != level.Encrypted {
		t.Errorf("got %+v", r)
	}
	// The same hop by another name for its certificate is another connection.
	other := high
	other.Hop.TLSName = "other.example"
	before := p.connections()
	deliver(t, c, other)
	if p.connections() != before+1 {
		t.Error("a connection was used for a hop with another name")
	}
}

func TestConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{t: t}
		c := New(Options{Dial: p.pipe, Resolver: anywhere{}, PerConnection: 3})
		j := job(level.None, "b@borger.example")
		for i := range 7 {
			j.Hop.Domain = fmt.Sprintf("borger-%d.example", i) // the smart host is the same for all
			deliver(t, c, j)
		}
		if p.connections() != 3 {
			t.Errorf("7 messages over %d connections, want 3", p.connections())
		}
		time.Sleep(6 * time.Second) // virtual: longer than Idle
		synctest.Wait()
		if quits := strings.Count(strings.Join(p.commands(), "\n"), "QUIT"); quits != 3 {
			t.Errorf("%d of 3 connections ended with QUIT", quits)
		}
		deliver(t, c, j)
		c.Close()
		p.wg.Wait()
		if quits := strings.Count(strings.Join(p.commands(), "\n"), "QUIT"); quits != 4 || p.connections() != 4 {
			t.Errorf("%d of %d connections ended with QUIT", quits, p.connections())
		}
		deliver(t, c, j) // after Close attempts still work, but nothing is kept
		p.wg.Wait()
	})
}

func TestIdlePerHop(t *testing.T) {
	gate := make(chan struct{})
	var waiting atomic.Int32
	p := &peer{t: t, manners: manners{answer: func(c string) string {
		if c == "." {
			waiting.Add(1)
			<-gate
		}
		return ""
	}}}
	dial := p.listen()
	c := New(Options{Dial: dial, Resolver: anywhere{}, IdlePerHop: 2, Idle: time.Minute})
	t.Cleanup(func() { c.Close() })
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { deliver(t, c, job(level.None, "b@borger.example")) })
	}
	for range 5 {
		gate <- struct{}{} // five at once, each over its own connection
	}
	wg.Wait()
	c.idle.mu.Lock()
	defer c.idle.mu.Unlock()
	if got := len(c.idle.conns[same(job(level.None).Hop)]); got != 2 {
		t.Errorf("%d idle connections, want 2", got)
	}
}

// TestStale has the hop end an idle connection in every way; the next message goes over a fresh one and nobody notices.
func TestStale(t *testing.T) {
	for _, reply := range []string{drop, "421 4.4.2 idle too long"} {
		for _, offers := range [][]string{nil, {"PIPELINING"}} {
			t.Run(fmt.Sprintf("%.4s/%v", reply, offers), func(t *testing.T) {
				var mails atomic.Int32
				p := &peer{t: t, manners: manners{offers: offers, answer: func(c string) string {
					if strings.HasPrefix(c, "MAIL") {
						if mails.Add(1) == 2 {
							return reply
						}
					}
					return ""
				}}}
				c := client(t, p.listen())
				deliver(t, c, job(level.None, "b@borger.example"))
				deliver(t, c, job(level.None, "b@borger.example"))
				if p.connections() != 2 || len(p.took()) != 2 {
					t.Errorf("%d connections, %d messages taken", p.connections(), len(p.took()))
				}
			})
		}
	}
}

// TestTooManyReplies is a hop that says more than it was asked: its connection is out of step and is not used again.
func TestTooManyReplies(t *testing.T) {
	p := &peer{t: t, manners: manners{answer: answers(".", "250 2.0.0 taken\n250 2.0.0 taken again")}}
	c := client(t, p.listen())
	deliver(t, c, job(level.None, "b@borger.example"))
	deliver(t, c, job(level.None, "b@borger.example"))
	if p.connections() != 2 {
		t.Errorf("%d connections, want 2", p.connections())
	}
}

// TestFreshConnectionBreaks has every connection break at MAIL: it is tried once, not for ever.
func TestFreshConnectionBreaks(t *testing.T) {
	p := &peer{t: t, manners: manners{answer: answers("MAIL", drop)}}
	_, results := client(t, p.listen()).Attempt(t.Context(), job(level.None, "b@borger.example"))
	if results[0].Outcome != Deferred || p.connections() != 1 {
		t.Errorf("got %s over %d connections", results[0].Outcome, p.connections())
	}
}

// TestExchangers tries hosts in order until one takes up the conversation.
func TestExchangers(t *testing.T) {
	hosts := []string{"mx1.borger.example", "mx2.borger.example", "mx3.borger.example"}
	addresses := map[string]string{hosts[0]: "192.0.2.1", hosts[1]: "192.0.2.2", hosts[2]: "192.0.2.3"}
	tests := []struct {
		name  string
		first manners
		down  bool // the first host does not answer
		want  string
		tried string
	}{
		{"first takes it", manners{}, false, "delivered 250 2.0.0", "192.0.2.1"},
		{"no contact", manners{}, true, "delivered 250 2.0.0", "192.0.2.1 192.0.2.2"},
		{"554 greeting", manners{answer: answers("greeting", "554 go away")}, false, "delivered 250 2.0.0", "192.0.2.1 192.0.2.2"},
		{"EHLO refused", manners{answer: func(c string) string {
			if strings.Contains(c, "LO ") {
				return "550 no"
			}
			return ""
		}}, false, "delivered 250 2.0.0", "192.0.2.1 192.0.2.2"},
		{"421", manners{answer: answers("greeting", "421 busy")}, false, "delivered 250 2.0.0", "192.0.2.1 192.0.2.2"},
		{"MAIL refused", manners{answer: answers("MAIL", "550 5.7.1 no")}, false, "refused 550 5.7.1", "192.0.2.1"},
		{"RCPT deferred", manners{answer: answers("RCPT", "450 4.2.0 later")}, false, "deferred 450 4.2.0", "192.0.2.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			first, second := &peer{t: t, manners: test.first}, &peer{t: t}
			dials := map[string]func(context.Context, string, string) (net.Conn, error){"192.0.2.1:25": first.listen(), "192.0.2.2:25": second.listen()}
			var tried []string
			c := New(Options{Resolver: resolver{map[string][]string{"borger.example": hosts}, addresses},
				Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					tried = append(tried, strings.TrimSuffix(addr, ":25"))
					if test.down && len(tried) == 1 {
						return nil, errCut
					}
					return dials[addr](ctx, network, addr)
				}})
			t.Cleanup(func() { c.Close() })
			j := job(level.None, "b@borger.example")
			j.Hop = Hop{Domain: "borger.example"}
			receipt, results := c.Attempt(t.Context(), j)
			if got := outcomes(results); got != test.want || strings.Join(tried, " ") != test.tried {
				t.Errorf("got %s after %s, want %s after %s", got, tried, test.want, test.tried)
			}
			if last := tried[len(tried)-1]; receipt.IP != last || receipt.Hop != hosts[slices.Index(tried, last)]+":25" {
				t.Errorf("receipt names %s %s, tried %s", receipt.Hop, receipt.IP, tried)
			}
		})
	}
}

// TestNoRoute is what never comes to a conversation.
func TestNoRoute(t *testing.T) {
	down := func(context.Context, string, string) (net.Conn, error) { return nil, errCut }
	r := resolver{map[string][]string{"borger.example": {"mx.borger.example"}, "lost.example": {"nowhere.example"}, "empty.example": {}},
		map[string]string{"mx.borger.example": "192.0.2.1"}}
	for domain, want := range map[string]string{
		"borger.example":     "deferred 0 4.4.1",
		"lost.example":       "deferred 0 4.4.1",
		"empty.example":      "deferred 0 4.4.3",
		"unknown.example":    "refused 0 5.1.2",
		"":                   "refused 0 5.1.2",
		"a b.example":        "refused 0 5.1.2",
		"xn--a-ø.example":    "refused 0 5.1.2",
		"[192.0.2.1]":        "deferred 0 4.4.1",
		"[IPv6:2001:db8::1]": "deferred 0 4.4.1",
		"[192.0.2.1.5]":      "refused 0 5.1.2",
		"[general:postvagt]": "refused 0 5.1.2",
	} {
		c := New(Options{Resolver: r, Dial: down})
		j := job(level.None, "b@borger.example")
		j.Hop = Hop{Domain: domain}
		_, results := c.Attempt(t.Context(), j)
		if got := outcomes(results); got != want || results[0].Reached {
			t.Errorf("%q: got %s (%s), reached %v, want %s", domain, got, results[0].Text, results[0].Reached, want)
		}
	}
}

func TestSmartHostForms(t *testing.T) {
	for given, want := range map[string]target{
		"smart.example:2525": {name: "smart.example", host: "smart.example", port: "2525"},
		"Smart.example":      {name: "smart.example", host: "smart.example", port: "25"},
		"192.0.2.1:25":       {name: "192.0.2.1", host: "192.0.2.1", port: "25"},
		"[2001:db8::1]:465":  {name: "2001:db8::1", host: "2001:db8::1", port: "465", implicitTLS: true},
		"[2001:db8::1]":      {name: "2001:db8::1", host: "2001:db8::1", port: "25"},
		"blåbær.example:25":  {name: "xn--blbr-roah.example", host: "xn--blbr-roah.example", port: "25"},
	} {
		if got := smartHost(Hop{SmartHost: given}); got != want {
			t.Errorf("%s: got %+v, want %+v", given, got, want)
		}
	}
}

// TestMayNot: who has lost the right to send while the hop was being reached sends nothing of the message; the connection stays of use.
func TestMayNot(t *testing.T) {
	p := &peer{t: t}
	c := client(t, p.listen())
	for i, may := range []bool{false, true, false} {
		j := job(level.None, "b@borger.example", "c@borger.example")
		j.May = func() bool { return may }
		_, results := c.Attempt(t.Context(), j)
		if len(results) != 2 {
			t.Fatalf("%d results", len(results))
		}
		for _, r := range results {
			if (r.Outcome == Delivered) != may || !may && (r.Outcome != Deferred || !r.Reached) {
				t.Errorf("%d, may %v: got %+v", i, may, r)
			}
		}
		if i == 0 {
			nothingLeft(t, p)
		}
	}
	if n := len(p.took()); n != 1 || p.connections() != 1 {
		t.Errorf("%d messages over %d connections, want one over one", n, p.connections())
	}
}
