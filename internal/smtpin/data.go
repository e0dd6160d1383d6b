package smtpin

import (
	"context"
	"log/slog"
	"time"
)

const (
	firstBuffer = 8 << 10   // what a message of unannounced size starts with at least,
	usualBuffer = 128 << 10 // and at most
	trustedSize = 256 << 10 // how far SIZE= is believed before the bytes are there
	readSize    = 64 << 10  // at most in one read
	bufferSlack = 4 << 10   // room beyond MaxSize for the end of data
	dropBuffer  = 16 << 10  // what is left of the buffer while a refused message is read to its end

	// minRate is what a message must come in at, in bytes a second, once ReadTimeout is used up: a client that sends one byte
	// just before each time limit would else hold its memory for years.
	minRate = 4 << 10
	// memoryWait is how long a message waits for memory that others hold.
	memoryWait = 10 * time.Second
	// dropExtra is how much of a refused message is read beyond MaxSize, so that its sender sees the reply.
	dropExtra = 1 << 20
)

// pace is the time a message may take.
type pace struct {
	start time.Time
	bytes int64 // came in so far
	drop  bool  // refused: no more time is earned
}

func (p *pace) deadline(idle time.Duration) time.Time {
	d := p.start.Add(idle)
	if !p.drop {
		d = d.Add(time.Duration(p.bytes) * time.Second / minRate)
	}
	if next := time.Now().Add(idle); next.Before(d) {
		return next
	}
	return d
}

// data takes the message by DATA (RFC 5321, section 4.1.1.4).
func (c *conn) data(arg string) {
	if bad := c.notReady(arg); bad != nil {
		c.fault(bad.Code, bad.Enhanced, bad.Text)
		c.refuseEarly()
		return
	}
	if c.refuseEarly() {
		return
	}
	buf, ok := c.grow(nil, c.firstSize())
	if !ok {
		c.reply(452, "4.3.1", "too much mail at once, try again later")
		return
	}
	c.reply(354, "", "go ahead, end with <CRLF>.<CRLF>")
	if c.flush() != nil {
		return
	}
	msg, bad := c.readData(buf)
	if c.done && bad == nil {
		return
	}
	c.finish(msg, bad)
}

// notReady says what speaks against DATA.
func (c *conn) notReady(arg string) *Reply {
	switch {
	case arg != "":
		return &Reply{Code: 501, Enhanced: "5.5.4", Text: "DATA takes no argument"}
	case c.env == nil:
		return &Reply{Code: 503, Enhanced: "5.5.1", Text: "say MAIL first"}
	case c.chunks != nil:
		return &Reply{Code: 503, Enhanced: "5.5.1", Text: "the message has begun by BDAT"}
	case len(c.env.Recipients) == 0:
		return &Reply{Code: 554, Enhanced: "5.5.1", Text: "no valid recipients"}
	}
	return nil
}

// refuseEarly ends the connection of a client that sent on after DATA without waiting for the answer (RFC 2920, section
// 3.1 makes DATA the last of a group). Had DATA been refused, the message would be read as commands.
func (c *conn) refuseEarly() bool {
	if c.in.pending() == 0 {
		return false
	}
	c.log(slog.LevelWarn, "smtp input after DATA without waiting refused")
	c.in.discard()
	c.reply(554, "5.5.0", "wait for the answer to DATA before you send on; closing")
	c.done, c.linger = true, true
	return true
}

// firstSize is how large a buffer begins: as announced, or as recent messages were, since one that must grow is copied.
func (c *conn) firstSize() int {
	if c.declared == 0 {
		usual := c.s.usual.Load()
		return int(min(max(firstBuffer, usual+usual/4), usualBuffer, c.s.o.MaxSize+bufferSlack))
	}
	return int(min(c.declared, trustedSize)) + bufferSlack
}

// readData reads to the end of data. Without a message the Reply says why; without either the connection has ended.
func (c *conn) readData(buf []byte) ([]byte, *Reply) {
	d := dots{buf: buf[:0], bol: true}
	p := pace{start: time.Now()}
	var bad *Reply
	for !d.scan() {
		if bad = c.checkData(&d, bad); d.drop {
			c.dropMessage(&d, &p)
		}
		if p.drop && p.bytes > 2*c.s.o.MaxSize+dropExtra {
			c.done, c.linger = true, true
			return nil, bad
		}
		if len(d.buf) == cap(d.buf) && d.start > d.clean {
			d.compact()
		}
		if len(d.buf) == cap(d.buf) {
			grown, ok := c.grow(d.buf, len(d.buf)+1)
			if !ok {
				d.drop = true
				bad = &Reply{Code: 452, Enhanced: "4.3.1", Text: "too much mail at once, try again later"}
				continue
			}
			d.buf = grown
		}
		n, err := c.readBody(d.buf[len(d.buf):cap(d.buf)], &p)
		if err != nil {
			return nil, nil
		}
		d.buf = d.buf[:len(d.buf)+n]
	}
	c.in.giveBack(d.buf[d.start:])
	d.buf = d.buf[:d.start]
	return d.buf[:d.clean:d.clean], c.checkData(&d, bad)
}

// dropMessage goes on with a refused message: it is read to its end, so that its sender gets the reply, but holds no memory
// and earns no time.
func (c *conn) dropMessage(d *dots, p *pace) {
	if !p.drop {
		p.start, p.drop = time.Now(), true
	}
	d.compact()
	if cap(d.buf) > dropBuffer {
		d.buf = append(make([]byte, 0, dropBuffer), d.buf...)
		c.release()
	}
}

// checkData says what is wrong with the message so far, the first fault first.
func (c *conn) checkData(d *dots, bad *Reply) *Reply {
	if bad != nil {
		return bad
	}
	if int64(d.size()) > c.s.o.MaxSize {
		d.drop = true
		return &Reply{Code: 552, Enhanced: "5.3.4", Text: c.tooLarge()}
	}
	return lineEndReply(d.fault)
}

// lineEndReply refuses a message in which something else than CRLF may be taken for a line end by others: it could
// smuggle a second message past us.
func lineEndReply(f lineFault) *Reply {
	const rest = "; nothing of this message was taken. Lines must end in CRLF, and neither may stand alone (RFC 5321, section 2.3.8)"
	switch f {
	case bareLF:
		return &Reply{Code: 550, Enhanced: "5.6.11", Text: "the message holds a line feed without carriage return before it" + rest}
	case bareCR:
		return &Reply{Code: 550, Enhanced: "5.6.11", Text: "the message holds a carriage return without line feed after it" + rest}
	case nulByte:
		return &Reply{Code: 550, Enhanced: "5.6.11", Text: "the message holds a NUL byte; nothing of this message was taken. Send such bytes in base64 (RFC 5322, section 3.5)"}
	}
	return nil
}

// readBody reads message bytes from the connection under p.
func (c *conn) readBody(b []byte, p *pace) (int, error) {
	c.nc.SetReadDeadline(p.deadline(c.s.o.ReadTimeout))
	n, err := c.in.read(b[:min(len(b), readSize)])
	p.bytes += int64(n)
	if err == nil {
		return n, nil
	}
	c.done = true
	if isTimeout(err) {
		c.log(slog.LevelInfo, "smtp client timed out in a message")
		c.reply(421, "4.4.2", c.s.o.Host+" timeout, closing; nothing of this message was taken")
		return 0, err
	}
	c.log(slog.LevelInfo, "smtp client went away in a message")
	return 0, err
}

// finish hands a complete message over, or refuses it, and ends the transaction.
func (c *conn) finish(msg []byte, bad *Reply) {
	env := c.env
	defer c.reset()
	if bad != nil {
		c.log(slog.LevelInfo, "smtp message refused", slog.Int("code", bad.Code), slog.String("why", bad.Enhanced))
		c.reply(bad.Code, bad.Enhanced, bad.Text)
		return
	}
	// A confirmation of an earlier message must not wait for this one to be durable: who misses it sends twice.
	if c.flush() != nil {
		return
	}
	env.EightBit = env.EightBit || eightBit(msg)
	c.idle = 0
	usual := c.s.usual.Load()
	c.s.usual.Store(usual + (int64(len(msg))-usual)/8) // a guess: that another connection may overwrite it is no harm
	r := c.ask("data", func(ctx context.Context) *Reply { return c.s.h.Data(ctx, env, msg) })
	if !yes(r) {
		c.answer(r)
		return
	}
	c.agree(r, "2.0.0", "taken")
}

// grow returns buf with room for need bytes, and counts the room against the memory of all connections; ok is false
// where there was none in time.
func (c *conn) grow(buf []byte, need int) (grown []byte, ok bool) {
	size := min(max(need, 2*cap(buf), firstBuffer), int(c.s.o.MaxSize)+bufferSlack)
	size = max(size, need)
	if !c.reserve(int64(size - cap(buf))) {
		return buf, false
	}
	return append(make([]byte, 0, size), buf...), true
}

// reserve takes n bytes of the memory budget, waiting a little where others have it.
func (c *conn) reserve(n int64) bool {
	if !c.s.memory.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(c.ctx, memoryWait)
		defer cancel()
		if c.s.memory.Acquire(ctx, n) != nil {
			c.log(slog.LevelWarn, "smtp message refused: memory budget used up")
			return false
		}
	}
	c.held += n
	return true
}

// release gives the budget back. A message handed over is the Handler's to bound from then on.
func (c *conn) release() {
	if c.held > 0 {
		c.s.memory.Release(c.held)
		c.held = 0
	}
}
