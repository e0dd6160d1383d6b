package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/pgtest"
	"postvagt/internal/policy"
)

// BenchmarkLife measures a whole life as the guard leads it: accepted and claimed at once, then applied as delivered, while events are
// sealed each second. Beside the time it gives the CPU seconds of 1,000 lives: of this process, and of the database.
func BenchmarkLife(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, callers := range []int{1, 20} {
			b.Run(fmt.Sprintf("size=%d/callers=%d", size, callers), func(b *testing.B) {
				benchLife(b, size, callers, 0)
			})
		}
	}
	b.Run("backlog=100000/size=4096/callers=20", func(b *testing.B) { benchLife(b, 4<<10, 20, 100_000) })
}

func openStore(tb testing.TB, dsn string, o Options) *Store {
	tb.Helper()
	o.Serve = true
	s, err := Open(context.Background(), dsn, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func benchLife(b *testing.B, size, callers, backlog int) {
	server := pgtest.Start(b, "shared_buffers = 512MB", "max_wal_size = 4GB")
	s := openStore(b, server.DSN("postgres"), Options{})
	fillBacklog(b, s, backlog)
	body := make([]byte, size)
	rand.Read(body)
	stop := sealing1(b, s)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	ours, theirs := cpuTime(b), serverCPU(b, server)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				live(b, s, body)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lives/s")
	b.ReportMetric((cpuTime(b)-ours).Seconds()*1000/float64(b.N), "cpu-s/1000")
	b.ReportMetric((serverCPU(b, server)-theirs).Seconds()*1000/float64(b.N), "db-cpu-s/1000")
	stop()
}

// sealing1 seals each second, as the guard does, until stop.
func sealing1(tb testing.TB, s *Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := s.Seal(context.Background(), time.Now()); err != nil {
					tb.Error(err)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU adds up what the processes of a server have used; those that ended meanwhile are not counted.
func serverCPU(b *testing.B, s *pgtest.Server) (sum time.Duration) {
	for _, pid := range s.Processes() {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			continue
		}
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		sum += time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
	}
	return sum
}

func benchAcceptance(lane string, body []byte) ledger.Acceptance {
	now := time.Now().UTC()
	return ledger.Acceptance{
		Message: ledger.Message{
			ID: ledger.NewMessageID(), Authority: "Eksempel Kommune", Kind: ledger.Mail, Direction: policy.Outbound,
			Sender: ledger.Address{Shown: "anna@eksempel.example"}, HeaderID: "<" + string(ledger.NewMessageID()) + "@eksempel.example>",
			Size: len(body), Client: "127.0.0.1", TellSender: true, Language: "da", AcceptedAt: now,
		},
		Bodies: [][]byte{body},
		Deliveries: []ledger.NewDelivery{{
			Recipient: ledger.Address{Shown: "bo@borger.example"}, State: ledger.Queued, Lane: lane, Owner: "postmester@eksempel.example",
			Verdict: policy.Verdict{Action: policy.Send, Reason: policy.Clean, Rule: "clean", Policy: "0123456789abcdef"},
			Due:     now, Deadline: now.Add(24 * time.Hour), Watch: now.Add(4 * time.Hour),
		}},
	}
}

func live(b *testing.B, s *Store, body []byte) {
	a := benchAcceptance("mx.borger.example", body)
	a.Claim = &ledger.Claim{Node: "node-1", Lease: 10 * time.Minute}
	work, err := s.Accept(b.Context(), a)
	if err != nil || len(work) != 1 {
		b.Error(len(work), err)
		return
	}
	now := time.Now().UTC()
	errs := s.Apply(b.Context(), ledger.Change{
		Delivery: work[0].Deliveries[0].ID, From: ledger.Queued, To: ledger.Delivered, At: now,
		Attempt: &ledger.Attempt{
			No: 1, Node: "node-1", Started: now, Ended: now, Outcome: "delivered", Code: 250, Text: "2.0.0 Ok: queued as 12345", Contact: true,
			Receipt: []byte(`{"host":"mx.borger.example","addr":"192.0.2.1:25","tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","level":"encrypted"}`),
		},
	})
	if errs[0] != nil {
		b.Error(errs[0])
	}
}

func fillBacklog(tb testing.TB, s *Store, n int) {
	tb.Helper()
	body := make([]byte, 1<<10)
	var wg sync.WaitGroup
	const callers = 32
	for w := range callers {
		wg.Go(func() {
			for i := w; i < n; i += callers {
				if _, err := s.Accept(context.Background(), benchAcceptance(fmt.Sprintf("lane-%d.example", i%100), body)); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkBacklog measures what the dispatcher and the watch ask all the time, with 100,000 deliveries queued in 100 lanes.
func BenchmarkBacklog(b *testing.B) {
	s := openStore(b, database(b), Options{})
	fillBacklog(b, s, 100_000)
	ctx, now := b.Context(), time.Now().UTC().Add(time.Hour)
	for _, q := range []struct {
		name string
		ask  func() error
	}{
		{"lanes", func() error { _, err := s.Lanes(ctx); return err }},
		{"watch nothing", func() error { _, err := s.Watch(ctx, now, 100); return err }},
		{"watch 100", func() error { _, err := s.Watch(ctx, now.Add(9*time.Hour), 100); return err }},
		{"sums", func() error { _, err := s.Sums(ctx); return err }},
		{"find newest", func() error { _, err := s.Find(ctx, ledger.Query{}); return err }},
		{"claim 1", func() error {
			now = now.Add(time.Millisecond)
			_, err := s.Claim(ctx, now, ledger.Claim{Node: "n1", Lane: "lane-7.example", Max: 1, Lease: 24 * time.Hour})
			return err
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if err := q.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	v, err := s.Verify(ctx, nil)
	if err != nil || len(v.Problems) > 0 {
		b.Errorf("%+v, %v", v, err)
	}
}
