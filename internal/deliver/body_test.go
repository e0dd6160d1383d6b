package deliver

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sink is a connection that keeps what is written.
type sink struct {
	net.Conn
	bytes.Buffer
	writes int
	err    error // reported by Write, which takes every byte nevertheless
}

func (s *sink) Write(b []byte) (int, error) {
	s.writes++
	s.Buffer.Write(b)
	return len(b), s.err
}

func (s *sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Close() error                     { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func sent(t testing.TB, head, body []byte) *sink {
	t.Helper()
	out := &sink{}
	s := New(Options{Resolver: anywhere{}}).newSession(context.Background(), out, Receipt{})
	if err := s.sendMessage(head, body); err != nil {
		t.Error(err)
	}
	s.close()
	return out
}

func TestSendMessage(t *testing.T) {
	big := strings.Repeat(strings.Repeat("a", 76)+"\r\n", 10_000)
	dots := strings.Repeat(".\r\n", 100_000)
	tests := []struct{ head, body, want string }{
		{"", "", ".\r\n"},
		{"A: b\r\n", "", "A: b\r\n.\r\n"},
		{"", "a", "a\r\n.\r\n"},
		{"A: b\r\n", "\r\n.\r\n", "A: b\r\n\r\n..\r\n.\r\n"},
		{"A: b\r\n", ".a\r\n", "A: b\r\n..a\r\n.\r\n"},
		{".A: b", ".a", "..A: b.a\r\n.\r\n"},
		{"A: b\r", "\n", "A: b\r\n.\r\n"},
		{"A: b\r\n", "\n", "A: b\r\n\n\r\n.\r\n"},
		{"A: b\r\n", "a\n.\r\nb\r.\rc", "A: b\r\na\n..\r\nb\r..\rc\r\n.\r\n"},
		{"A: b\r\n", "a\r", "A: b\r\na\r\r\n.\r\n"},
		{"A: b\r\n", big, "A: b\r\n" + big + ".\r\n"},
		{"A: b\r\n", dots, "A: b\r\n" + strings.Repeat("..\r\n", 100_000) + ".\r\n"},
	}
	for _, test := range tests {
		out := sent(t, []byte(test.head), []byte(test.body))
		if got := out.String(); got != test.want {
			t.Errorf("%.40q + %.40q: got %.80q, want %.80q", test.head, test.body, got, test.want)
		}
	}
	if out := sent(t, []byte("A: b\r\n"), []byte(dots)); out.writes > 40 {
		t.Errorf("%d writes for 400 kB of short lines", out.writes)
	}
}

// TestTakenAndBroken is a connection that takes the end of data and fails at once: the hop may have the message.
func TestTakenAndBroken(t *testing.T) {
	out := &sink{err: errCut}
	s := New(Options{Resolver: anywhere{}}).newSession(context.Background(), out, Receipt{})
	defer s.close()
	tx := &transaction{session: s, job: &Job{Head: []byte(head), Body: []byte(body)}, results: make([]Result, 1)}
	tx.message()
	if tx.results[0].Outcome != Unknown {
		t.Errorf("got %s, want unknown", tx.results[0].Outcome)
	}
}

var anyEnd = regexp.MustCompile(`(^|[\r\n])\.\r?\n|(^|[\r\n])\.\r`)

// FuzzSendMessage: the end of data stands once, at the end, for receivers of every laxity about line ends; and a strict
// receiver gets the message back, where it is one a strict sender would send.
func FuzzSendMessage(f *testing.F) {
	f.Add([]byte("A: b\r\n"), []byte("\r\n.\r\n..\r\nx"))
	f.Add([]byte(""), []byte("a\n.\r\nb\r.\rc\r.\n"))
	f.Add([]byte("A"), []byte("\n"))
	f.Add([]byte("."), []byte("."))
	f.Fuzz(func(t *testing.T, head, body []byte) {
		whole := append(bytes.Clone(head), body...)
		got := sent(t, head, body).Bytes()
		if !bytes.Equal(whole[:len(head)], head) {
			t.Error("the message was changed")
		}
		if at := anyEnd.FindIndex(got); at == nil || at[1] < len(got)-1 {
			t.Errorf("an end of data at %v of %d in %q", at, len(got), got)
		}
		message, ok := bytes.CutSuffix(got, []byte(".\r\n"))
		if !ok || len(message) > 0 && !bytes.HasSuffix(message, []byte("\r\n")) {
			t.Fatalf("no end of data: %q", got)
		}
		bare := bytes.ReplaceAll(whole, []byte("\r\n"), nil)
		if bytes.ContainsAny(bare, "\r\n") {
			return // what smtpin refuses: only the end of data matters
		}
		var back []byte
		for line := range bytes.SplitAfterSeq(message, []byte("\r\n")) {
			back = append(back, bytes.TrimPrefix(line, []byte("."))...)
		}
		if !bytes.Equal(back, whole) && !bytes.Equal(back, append(whole, "\r\n"...)) {
			t.Errorf("got %q back from %q", back, whole)
		}
	})
}
