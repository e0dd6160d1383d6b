package sqlite

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/policy"
)

// BenchmarkLife measures a whole life as the guard leads it: accepted and claimed at once, then applied as delivered. Beside
// the time it gives the CPU seconds (user and system) of 1,000 lives.
func BenchmarkLife(b *testing.B) {
	for _, page := range []int{4096, 8192, 16384} {
		for _, size := range []int{4 << 10, 100 << 10} {
			for _, callers := range []int{1, 20} {
				b.Run(fmt.Sprintf("page=%d/size=%d/callers=%d", page, size, callers), func(b *testing.B) {
					benchLife(b, Options{pageSize: page}, size, callers, 0)
				})
			}
		}
	}
	for _, callers := range []int{1, 20} {
		b.Run(fmt.Sprintf("backlog=100000/size=4096/callers=%d", callers), func(b *testing.B) {
			benchLife(b, Options{}, 4<<10, callers, 100_000)
		})
	}
}

func benchLife(b *testing.B, o Options, size, callers, backlog int) {
	path := filepath.Join(b.TempDir(), "ledger.db")
	s, err := Open(path, o)
	if err != nil {
		b.Fatal(err)
	}
	fillBacklog(b, s, backlog)
	s.Close() // writes the WAL back, which is not to be measured
	if s, err = Open(path, o); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := make([]byte, size)
	rand.Read(body)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	before := cpuTime(b)
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
	b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-s/1000")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
	const callers = 256
	for w := range callers {
		wg.Go(func() {
			for i := w; i < n; i += callers {
				if _, err := s.Accept(tb.Context(), benchAcceptance(fmt.Sprintf("lane-%d.example", i%100), body)); err != nil {
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
	s, err := Open(filepath.Join(b.TempDir(), "ledger.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
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
