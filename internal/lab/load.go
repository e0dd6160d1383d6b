package lab

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Refusal is an answer of the program that is not the one a good client hopes for.
type Refusal struct{ Line string }

func (r Refusal) Error() string { return r.Line }

// Temporary: the client keeps the message and comes again (RFC 5321, section 4.2.1).
func (r Refusal) Temporary() bool { return strings.HasPrefix(r.Line, "4") }

// patience is how long a client waits for the program. RFC 5321, section 4.5.3.2.6 gives it ten minutes; a test does not.
const patience = 30 * time.Second

// Send hands over one message and returns the id that the reply named. An error means that no 250 came for it; it is a
// Refusal when the program said so.
func Send(addr, number, to string) (id string, err error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	body := "Number: " + number + "\r\nMessage-ID: " + headerID(number) + "\r\nFrom: anna@eksempel.example\r\nSubject: besked\r\n\r\n" +
		strings.Repeat("Kun tekst, ingen tal.\r\n", 60) + ".\r\n"
	for _, step := range []struct{ line, want string }{{"", "220"}, {"HELO crash.example\r\n", "250"}, {"MAIL FROM:<anna@eksempel.example>\r\n", "250"},
		{"RCPT TO:<" + to + ">\r\n", "250"}, {"DATA\r\n", "354"}, {body, "250"}} {
		if _, err := c.Write([]byte(step.line)); err != nil {
			return "", err
		}
		reply, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if id = strings.TrimSpace(reply); !strings.HasPrefix(id, step.want) {
			return "", Refusal{id}
		}
	}
	_, id, _ = strings.Cut(id, "Accepted as ")
	return id, nil
}

func headerID(number string) string { return "<" + number + "@lab.example>" }

// Load is clients that send numbered messages, a connection each, for as long as it is wanted.
type Load struct {
	Wanted atomic.Bool
	// Pick chooses where the next message of a worker goes, and says afterwards what became of it; done may be nil.
	Pick func(worker, n int) (addr, to string, done func(err error, took time.Duration))

	stop    context.CancelFunc
	workers sync.WaitGroup
	mu      sync.Mutex
	sent    []string          // numbers that were begun, accepted or not
	ids     map[string]string // number of each message with a 250 → the id that the reply named
}

// NewLoad is a load that rests.
func NewLoad(pick func(worker, n int) (addr, to string, done func(err error, took time.Duration))) *Load {
	return &Load{Pick: pick, ids: map[string]string{}, stop: func() {}}
}

// Start lets the workers run until End; each rests for pause after each message.
func (l *Load) Start(ctx context.Context, workers int, pause time.Duration) {
	ctx, l.stop = context.WithCancel(ctx)
	for w := range workers {
		l.workers.Go(func() { l.work(ctx, w, pause) })
	}
}

// End returns when no worker runs any more.
func (l *Load) End() { l.stop(); l.workers.Wait() }

func (l *Load) work(ctx context.Context, worker int, pause time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		if !l.Wanted.Load() {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		number := "w" + strconv.Itoa(worker) + "-" + strconv.Itoa(n)
		addr, to, done := l.Pick(worker, n)
		begun := time.Now()
		id, err := Send(addr, number, to)
		if done != nil {
			done(err, time.Since(begun))
		}
		l.Note(number, id, err)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(pause)
	}
}

// Note takes down what became of a message that was sent.
func (l *Load) Note(number, id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, number)
	if err == nil {
		l.ids[number] = id
	}
}

// Accepted is what was promised so far: the id of each message with a 250, by its number.
func (l *Load) Accepted() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ids)
}

// Others are the numbers that were sent and got no 250. They may have been accepted all the same: the promise was not heard.
func (l *Load) Others() (numbers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.sent {
		if _, ok := l.ids[n]; !ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func (l *Load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d sent, %d with a 250", len(l.sent), len(l.ids))
}
