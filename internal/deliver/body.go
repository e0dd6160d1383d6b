package deliver

import (
	"bytes"
	"crypto/tls"
	"net"
	"sync"
)

// writer gathers what goes out into few and large writes: small pieces are copied together, large ones are handed to
// the kernel where they lie (writev on plain TCP).
type writer struct {
	conn    net.Conn
	small   int         // pieces below this many bytes are copied
	scratch []byte      // small pieces, in use up to its length
	open    int         // where in scratch the part begins that is not in pieces yet
	pieces  net.Buffers // what the next flush writes, in order
	pending int         // bytes to flush
}

const (
	scratchSize = 16 << 10
	maxPieces   = 64
	maxPending  = 256 << 10 // so that a deadline holds for a bounded block
)

var scratches = sync.Pool{New: func() any { b := make([]byte, 0, scratchSize); return &b }}

func (w *writer) reset(conn net.Conn) {
	w.release()
	*w = writer{conn: conn, small: 1 << 10, scratch: *scratches.Get().(*[]byte), pieces: w.pieces[:0]}
	if _, ok := conn.(*tls.Conn); ok {
		w.small = scratchSize / 2 // each piece becomes a record of its own
	}
}

func (w *writer) release() {
	if w.scratch != nil {
		b := w.scratch[:0]
		scratches.Put(&b)
		w.scratch = nil
	}
}

// add takes a command, or part of one.
func (w *writer) add(s string) {
	w.scratch = append(w.scratch, s...)
	w.pending += len(s)
}

// take takes a piece of the message, which must stay unchanged until the flush.
func (w *writer) take(p []byte) {
	if len(p) < w.small {
		w.scratch = append(w.scratch, p...)
	} else {
		w.seal()
		w.pieces = append(w.pieces, p)
	}
	w.pending += len(p)
}

// seal makes the open part of scratch a piece.
func (w *writer) seal() {
	if w.open < len(w.scratch) {
		w.pieces = append(w.pieces, w.scratch[w.open:])
		w.open = len(w.scratch)
	}
}

func (w *writer) full() bool {
	return w.pending >= maxPending || len(w.pieces) >= maxPieces || cap(w.scratch)-len(w.scratch) < w.small
}

// flush writes all that was taken. An error means that not all of it was written: a connection that took every byte
// and yet reports an error counts as having taken them, because the peer may hold them.
func (w *writer) flush() error {
	w.seal()
	var n int64
	var err error
	if len(w.pieces) == 1 {
		var one int
		one, err = w.conn.Write(w.pieces[0])
		n = int64(one)
	} else {
		rest := w.pieces // WriteTo consumes its receiver
		n, err = rest.WriteTo(w.conn)
	}
	if n >= int64(w.pending) {
		err = nil
	}
	clear(w.pieces)
	w.pieces, w.scratch, w.open, w.pending = w.pieces[:0], w.scratch[:0], 0, 0
	return err
}

// sendMessage writes the message and the end of data. A nil error means that the connection took every byte up to the
// last of CRLF.CRLF, so that the hop may have accepted; an error means that it did not, so that the hop, which has not
// been told where the message ends, cannot have.
func (s *session) sendMessage(head, body []byte) error {
	last := byte('\n') // what stands before the next byte
	for _, part := range [...][]byte{head, body} {
		if len(part) == 0 {
			continue
		}
		if part[0] == '.' && (last == '\n' || last == '\r') {
			s.w.add(".")
		}
		if err := s.stuff(part); err != nil {
			return err
		}
		last = part[len(part)-1]
	}
	if end := ended(head, body); !end {
		s.w.add("\r\n")
	}
	s.w.add(".\r\n")
	s.wait(s.client.options.Command)
	return s.w.flush()
}

// ended reports whether the message is empty or ends with CRLF, so that the dot may follow at once. A bare LF does not
// count: LF.CRLF is no end of data to a strict hop.
func ended(head, body []byte) bool {
	if len(body) >= 2 || len(head) == 0 {
		return len(body) == 0 || bytes.HasSuffix(body, []byte("\r\n"))
	}
	tail := append(head[max(0, len(head)-2):len(head):len(head)], body...)
	return bytes.HasSuffix(tail, []byte("\r\n"))
}

// stuff writes p with a dot added before each dot that begins a line (RFC 5321, section 4.5.2). What follows a bare CR
// or LF counts as a line too: the intake refuses these, but should one come this far, no hop that is less strict about
// line ends shall see an end of data inside a message.
func (s *session) stuff(p []byte) error {
	start := 0 // what of p has been put
	for at := 0; ; at++ {
		next := bytes.IndexByte(p[at:], '.')
		if next < 0 {
			return s.put(p[start:])
		}
		at += next
		if at == 0 || p[at-1] != '\n' && p[at-1] != '\r' {
			continue // the first byte of p is sendMessage's to judge
		}
		if err := s.put(p[start:at]); err != nil {
			return err
		}
		s.w.add(".")
		start = at
	}
}

// put hands p on, flushing as needed, each block under its own deadline (RFC 5321, section 4.5.3.2.5).
func (s *session) put(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPending)
		s.w.take(p[:n])
		p = p[n:]
		if !s.w.full() {
			continue
		}
		s.wait(s.client.options.Command)
		if err := s.w.flush(); err != nil {
			return err
		}
	}
	return nil
}
