package deliver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"postvagt/internal/level"
)

// BenchmarkAttempt delivers to a sink in the same process over loopback, whose work is counted in; -cpuprofile tells
// the two apart.
func BenchmarkAttempt(b *testing.B) {
	a := newAuthority(b)
	secure := a.issue(b, "smart.example", time.Now().Add(time.Hour))
	for _, bench := range []struct {
		name string
		size int
		idle time.Duration
		tls  *tls.Config
	}{
		{"4KiB/reused", 4 << 10, 0, nil},
		{"4KiB/new", 4 << 10, -1, nil},
		{"100KiB/reused", 100 << 10, 0, nil},
		{"100KiB/new", 100 << 10, -1, nil},
		{"4KiB/TLS/reused", 4 << 10, 0, secure},
		{"4KiB/TLS/new", 4 << 10, -1, secure},
		{"100KiB/TLS/reused", 100 << 10, 0, secure},
	} {
		b.Run(bench.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go discard(l, bench.tls)
			c := New(Options{Resolver: anywhere{}, Idle: bench.idle, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
			}})
			defer c.Close()
			j := job(level.None, "b@borger.example")
			j.Body = []byte("Subject: hej\r\n\r\n" + strings.Repeat(strings.Repeat("a", 76)+"\r\n", bench.size/78))
			j.Size = int64(len(j.Head) + len(j.Body))
			b.ReportAllocs()
			b.SetBytes(j.Size)
			for b.Loop() {
				if _, results := c.Attempt(b.Context(), j); results[0].Outcome != Delivered {
					b.Fatal(results[0].Text)
				}
			}
		})
	}
}

// discard is the cheapest server that pipelines: it looks for the ends of commands and data only.
func discard(l net.Listener, config *tls.Config) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go discardMail(conn, config)
	}
}

func discardMail(conn net.Conn, config *tls.Config) {
	defer func() { conn.Close() }()
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	w.WriteString("220 sink\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")) && config != nil:
			w.WriteString("250-sink\r\n250-STARTTLS\r\n250 PIPELINING\r\n")
		case bytes.HasPrefix(line, []byte("EHLO")):
			w.WriteString("250-sink\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
		case bytes.HasPrefix(line, []byte("STARTTLS")):
			w.WriteString("220 go\r\n")
			w.Flush()
			conn = tls.Server(conn, config)
			config = nil
			r, w = bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
		case bytes.HasPrefix(line, []byte("DATA")):
			w.WriteString("354 go\r\n")
			w.Flush()
			for !bytes.Equal(line, []byte(".\r\n")) {
				if line, err = r.ReadSlice('\n'); err != nil {
					return
				}
			}
			w.WriteString("250 2.0.0 ok\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			return
		default:
			w.WriteString("250 2.1.0 ok\r\n")
		}
	}
}
