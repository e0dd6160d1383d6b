package lab

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// NoMailbox is the recipient that the sink refuses for good: its sender must be told.
const NoMailbox = "findesikke@borger.example"

// Sink is the next hop and the authority's own mailboxes in one. It counts copies and connections, and is slow now and then,
// so that faults fall between its reply and the ledger.
type Sink struct {
	Gentle atomic.Bool   // answers at once
	Away   atomic.Bool   // takes nothing
	Slow   time.Duration // how long it may think where it is slow

	mu     sync.Mutex
	copies map[string]int // by "Number:" header
	told   []string       // texts of notices
}

// NewSink is a sink without a door yet.
func NewSink() *Sink { return &Sink{copies: map[string]int{}, Slow: 30 * time.Millisecond} }

// Door is one address of the sink: one destination.
type Door struct {
	net.Listener
	mu   sync.Mutex
	open int
	peak int
}

// Open makes the sink listen on one more address until the test ends.
func (k *Sink) Open(t testing.TB) *Door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &Door{Listener: l}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		smtpin.New(k, smtpin.Options{Name: "smtp", Host: "sink.example", MaxConnsPerIP: 1000, MaxConns: 1000}).Serve(ctx, d, time.Second)
	}()
	t.Cleanup(func() { stop(); <-done })
	return d
}

// Accept counts the connection as open until it is closed.
func (d *Door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	d.peak = max(d.peak, d.open)
	return &counted{Conn: c, d: d}, nil
}

// Peak is the most connections that were open at once since the last call.
func (d *Door) Peak() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.peak
	d.peak = d.open
	return p
}

type counted struct {
	net.Conn
	d    *Door
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.d.mu.Lock()
		defer c.d.mu.Unlock()
		c.d.open--
	})
	return c.Conn.Close()
}

// Copies is how often the message of that number arrived.
func (k *Sink) Copies(number string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.copies[number]
}

// Connect admits everybody.
func (k *Sink) Connect(context.Context, *smtpin.Client) *smtpin.Reply { return nil }

// Authenticate admits nobody.
func (k *Sink) Authenticate(context.Context, *smtpin.Client, string, string) *smtpin.Reply {
	return &smtpin.Reply{Code: 535, Enhanced: "5.7.8", Text: "no"}
}

// Mail puts off while the sink is away.
func (k *Sink) Mail(context.Context, *smtpin.Client, mail.Address) *smtpin.Reply {
	if k.Away.Load() {
		return &smtpin.Reply{Code: 450, Enhanced: "4.3.2", Text: "Later"}
	}
	return nil
}

// Rcpt refuses NoMailbox.
func (k *Sink) Rcpt(_ context.Context, _ *smtpin.Envelope, r smtpin.Recipient) *smtpin.Reply {
	if r.Address == NoMailbox {
		return &smtpin.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such mailbox"}
	}
	return nil
}

// Data counts a copy, or keeps a notice's text.
func (k *Sink) Data(_ context.Context, _ *smtpin.Envelope, data []byte) *smtpin.Reply {
	m := mail.Parse(data, mail.Limits{})
	k.mu.Lock()
	if f, ok := m.Root.Get("Number"); ok {
		k.copies[m.Unfolded(f)]++
	} else {
		text := ""
		m.Walk(func(p *mail.Part) {
			if p.MediaType == "text/plain" {
				t, _ := m.Text(p, 1<<20)
				text += t
			}
		})
		k.told = append(k.told, text)
	}
	k.mu.Unlock()
	if !k.Gentle.Load() && rand.IntN(10) == 0 {
		time.Sleep(rand.N(k.Slow))
	}
	return nil
}
