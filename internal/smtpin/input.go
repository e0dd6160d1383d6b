package smtpin

import (
	"bytes"
	"errors"
	"net"
)

const (
	commandLimit = 2048  // RFC 5321, section 4.5.3.1.4, asks for 512; DSN parameters and UTF-8 addresses need more
	authLimit    = 12288 // RFC 4954, section 4
	inputSize    = 4096  // what a connection's command buffer starts with
)

var (
	errLineEnd  = errors.New("a line that does not end in CRLF")
	errLineLong = errors.New("a line longer than the limit")
)

// input is the reading side of a connection. Its error latches: after a read failed or timed out every later one
// fails the same way, so that the rest of a message can never be taken for commands.
type input struct {
	nc   net.Conn
	buf  []byte // buf[r:w] is read and not yet used
	r, w int
	err  error
}

// pending returns how many bytes have been read from the connection and not been used.
func (in *input) pending() int { return in.w - in.r }

// begins reports whether what is pending begins with word, in any case.
func (in *input) begins(word string) bool {
	return in.pending() >= len(word) && bytes.EqualFold(in.buf[in.r:in.r+len(word)], []byte(word))
}

// discard forgets what is pending.
func (in *input) discard() { in.r, in.w = 0, 0 }

// read reads from the connection, past the buffer, which must be empty.
func (in *input) read(p []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	n, err := in.nc.Read(p)
	in.err = err
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// take moves pending bytes into p.
func (in *input) take(p []byte) int {
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n
}

// giveBack makes p what is read next. The buffer must be empty.
func (in *input) giveBack(p []byte) {
	in.r, in.w = 0, 0
	if len(p) > len(in.buf) {
		in.buf = make([]byte, len(p))
	}
	in.w = copy(in.buf, p)
}

// line returns the next line of the buffer without its CRLF; ok is false where more must be read. The line is valid
// until the next fill. Only CRLF ends a line: a CR or LF that stands alone is errLineEnd, found as soon as it is seen.
func (in *input) line(limit int) (line []byte, ok bool, err error) {
	b := in.buf[in.r:in.w]
	i := bytes.IndexByte(b, '\n')
	if i < 0 && len(b) < limit {
		return nil, false, nil
	}
	if i < 0 || i >= limit {
		return nil, false, errLineLong
	}
	if i == 0 || bytes.IndexByte(b[:i], '\r') != i-1 {
		return nil, false, errLineEnd
	}
	in.r += i + 1
	return b[:i-1], true, nil
}

// fill reads more into the buffer, which grows up to limit.
func (in *input) fill(limit int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.w == len(in.buf) && in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		grown := make([]byte, max(inputSize, min(2*len(in.buf), limit+inputSize)))
		in.w = copy(grown, in.buf[:in.w])
		in.buf = grown
	}
	n, err := in.read(in.buf[in.w:])
	in.w += n
	return err
}
