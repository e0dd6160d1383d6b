package smtpin

import (
	"strconv"
	"strings"
	"time"
)

// chunks is a message that comes by BDAT (RFC 3030).
type chunks struct {
	buf  []byte
	pace pace
}

// bdat takes a chunk. Its bytes follow the command whatever we think of it, so they are always read, and where that
// cannot be done the connection ends. Any refusal ends the transaction, so that chunks sent ahead are refused too.
func (c *conn) bdat(arg string) {
	size, last, bad := parseChunk(arg)
	if bad != nil {
		c.fault(bad.Code, bad.Enhanced, bad.Text)
		c.done, c.linger = true, true
		return
	}
	if bad := c.chunkRefusal(size); bad != nil {
		c.refuseChunk(size, bad)
		return
	}
	if c.chunks == nil {
		c.chunks = &chunks{pace: pace{start: time.Now()}}
	}
	bad, err := c.readChunk(int(size))
	if err != nil {
		return
	}
	if bad != nil {
		c.reset()
		c.reply(bad.Code, bad.Enhanced, bad.Text)
		return
	}
	if !last {
		c.reply(250, "2.0.0", strconv.FormatUint(size, 10)+" bytes received")
		return
	}
	msg := c.chunks.buf
	if bad := lineEndReply(lineEnds(msg)); bad != nil {
		c.finish(nil, bad)
		return
	}
	if n := len(msg); n > 0 && msg[n-1] != '\n' {
		msg = append(msg, '\r', '\n') // as every DATA on its further way would; DKIM counts it as there (RFC 6376, section 3.4.3)
	}
	c.finish(msg, nil)
}

// parseChunk reads "size [LAST]".
func parseChunk(arg string) (size uint64, last bool, bad *Reply) {
	number, word, more := strings.Cut(arg, " ")
	if number == "" || len(number) > 20 || strings.Trim(number, "0123456789") != "" || (more && upper(word) != "LAST") {
		return 0, false, syntax("5.5.4", "BDAT takes a size and may take LAST; closing")
	}
	size, _ = strconv.ParseUint(number, 10, 64)
	return size, more, nil
}

// chunkRefusal says what speaks against taking a chunk, before its bytes are read.
func (c *conn) chunkRefusal(size uint64) *Reply {
	have := 0
	if c.chunks != nil {
		have = len(c.chunks.buf)
	}
	switch {
	case c.env == nil:
		return &Reply{Code: 503, Enhanced: "5.5.1", Text: "say MAIL first"}
	case len(c.env.Recipients) == 0:
		return &Reply{Code: 554, Enhanced: "5.5.1", Text: "no valid recipients"}
	case size > uint64(c.s.o.MaxSize)-uint64(have):
		return &Reply{Code: 552, Enhanced: "5.3.4", Text: c.tooLarge()}
	}
	return nil
}

// refuseChunk reads a chunk away and refuses it.
func (c *conn) refuseChunk(size uint64, bad *Reply) {
	c.reset()
	if size > uint64(c.s.o.MaxSize)+dropExtra {
		c.fault(bad.Code, bad.Enhanced, bad.Text)
		c.done, c.linger = true, true
		return
	}
	if c.dropChunk(int(size), &pace{start: time.Now(), drop: true}) == nil {
		c.idle++ // no fault: after a refused chunk those sent ahead are no mistake
		c.reply(bad.Code, bad.Enhanced, bad.Text)
	}
}

// dropChunk reads n bytes and forgets them.
func (c *conn) dropChunk(n int, p *pace) error {
	k := min(n, c.in.pending())
	c.in.r += k
	if n -= k; n == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	scratch := make([]byte, min(n, dropBuffer))
	for n > 0 {
		k, err := c.readBody(scratch[:min(n, len(scratch))], p)
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// readChunk adds n bytes to the message. An error means that the connection has ended.
func (c *conn) readChunk(n int) (*Reply, error) {
	b := c.chunks
	if c.in.pending() < n {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	for n > 0 {
		if len(b.buf) == cap(b.buf) {
			// The size of the chunk is believed as far as SIZE= is. Two more bytes may be wanted for a last CRLF.
			grown, ok := c.grow(b.buf, len(b.buf)+min(n, trustedSize)+2)
			if !ok {
				return &Reply{Code: 452, Enhanced: "4.3.1", Text: "too much mail at once, try again later"},
					c.dropChunk(n, &pace{start: time.Now(), drop: true})
			}
			b.buf = grown
		}
		room := b.buf[len(b.buf):min(cap(b.buf), len(b.buf)+n)]
		k := c.in.take(room)
		b.pace.bytes += int64(k)
		if k == 0 {
			var err error
			if k, err = c.readBody(room, &b.pace); err != nil {
				return nil, err
			}
		}
		b.buf = b.buf[:len(b.buf)+k]
		n -= k
	}
	return nil, nil
}
