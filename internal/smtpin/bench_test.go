package smtpin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// benchMessage is a message of n bytes in wire form, with its end.
func benchMessage(n int) []byte {
	line := strings.Repeat("x", 74) + "\r\n"
	return []byte("Subject: x\r\n\r\n" + strings.Repeat(line, n/len(line)) + ".\r\n")
}

// BenchmarkServer sends over loopback TCP, the client in the same process: one message a connection, as the load
// generators of other servers do, or all on one connection for each goroutine.
func BenchmarkServer(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, kept := range []bool{false, true} {
			name := fmt.Sprintf("%dKiB/new connection", size>>10)
			if kept {
				name = fmt.Sprintf("%dKiB/kept connection", size>>10)
			}
			b.Run(name, func(b *testing.B) { benchServer(b, benchMessage(size), kept) })
		}
	}
}

func benchServer(b *testing.B, msg []byte, kept bool) {
	l := listen(b)
	stop := serving(b, &open{}, Options{MaxTransactions: 1 << 30}, l)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	b.SetParallelism(10)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var c *benchClient
		for pb.Next() {
			if c == nil {
				c = newBenchClient(b, l)
			}
			c.send(msg)
			if !kept {
				c.nc.Close()
				c = nil
			}
		}
		if c != nil {
			c.nc.Close()
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	stop()
}

type benchClient struct {
	b  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func newBenchClient(b testing.TB, l net.Listener) *benchClient {
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Error(err)
		return nil
	}
	c := &benchClient{b, nc, bufio.NewReader(nc)}
	c.replies(1)
	io.WriteString(nc, "HELO c.example\r\n")
	c.replies(1)
	return c
}

func (c *benchClient) send(msg []byte) {
	io.WriteString(c.nc, "MAIL FROM:<a@eksempel.example>\r\nRCPT TO:<b@borger.example>\r\nDATA\r\n")
	c.replies(3)
	c.nc.Write(msg)
	c.replies(1)
}

func (c *benchClient) replies(n int) {
	for range n {
		if line, err := c.r.ReadSlice('\n'); err != nil || line[0] > '3' {
			c.b.Errorf("%q %v", line, err)
		}
	}
}

// BenchmarkDots is the scan alone: plain text, text with a dot to undo at its beginning, and dots everywhere.
func BenchmarkDots(b *testing.B) {
	plain := benchMessage(100 << 10)
	for name, wire := range map[string][]byte{
		"plain":     plain,
		"one dot":   append([]byte("..x\r\n"), plain...),
		"many dots": append(bytes.ReplaceAll(plain[:len(plain)-3], []byte("\nx"), []byte("\n..")), ".\r\n"...),
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, len(wire))
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				copy(buf, wire)
				d := dots{buf: buf, bol: true}
				if !d.scan() || d.fault != lineOK {
					b.Fatal("no end")
				}
			}
		})
	}
}

// BenchmarkData is a session without sockets: what the server itself costs.
func BenchmarkData(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			in := append([]byte(opening), benchMessage(size)...)
			s := New(&open{}, Options{})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				c := &script{in: in}
				newConn(s, c, remoteIP(c)).serve(b.Context())
			}
		})
	}
}
