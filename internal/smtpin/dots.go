package smtpin

import (
	"bytes"
	"encoding/binary"
)

// lineFault is what is wrong with a message's line ends.
type lineFault uint8

const (
	lineOK lineFault = iota
	bareLF
	bareCR
	nulByte // some readers end a line or the message there
)

// dots finds the end of DATA and undoes dot-stuffing in place (RFC 5321, section 4.5.2), without copying while no line
// began with a dot. Only CRLF ends a line, so only CRLF.CRLF ends the data (and ".CRLF" at its very start); a bare CR or
// LF, or a NUL, is noted and does not begin a line.
//
// buf[:clean] is the message so far, buf[start:] is read and not looked through; buf[start:look] holds no LF.
type dots struct {
	buf   []byte
	clean int
	start int
	look  int
	bol   bool // start is the beginning of a line
	fault lineFault
	drop  bool // the message is refused: only its end is looked for
}

// scan looks through what was appended to buf and reports whether the end was found; then buf[start:] follows it.
func (d *dots) scan() bool {
	for {
		i := bytes.IndexByte(d.buf[d.look:], '\n')
		if i < 0 {
			d.look = len(d.buf)
			return false
		}
		end := d.look + i + 1
		line := d.buf[d.start:end]
		if d.bol && line[0] == '.' {
			if len(line) == 3 && line[1] == '\r' {
				d.start, d.look = end, end
				return true
			}
			d.start++
			line = line[1:]
		}
		d.bol = len(line) >= 2 && line[len(line)-2] == '\r'
		if !d.drop {
			d.keep(line)
		}
		d.start, d.look = end, end
	}
}

// keep checks a line, which ends in LF, and adds it to the message.
func (d *dots) keep(line []byte) {
	switch {
	case !d.bol:
		d.fault = bareLF
	case bytes.IndexByte(line, '\r') != len(line)-2:
		d.fault = bareCR
	case bytes.IndexByte(line, 0) >= 0:
		d.fault = nulByte
	default:
		if d.clean != d.start {
			copy(d.buf[d.clean:], line)
		}
		d.clean += len(line)
		return
	}
	d.drop = true
}

// size returns how large the message is at least, while the end is not found. Of an unfinished line two bytes may be the
// end's ".CR".
func (d *dots) size() int { return d.clean + max(0, len(d.buf)-d.start-2) }

// compact closes the gap that undone dots have left, so that buf has room at its end again. When the message is dropped
// it keeps of the unfinished line only what decides whether CRLF.CRLF follows.
func (d *dots) compact() {
	if d.drop {
		d.clean = 0
		if len(d.buf)-d.start > 2 {
			d.start, d.bol = len(d.buf)-1, false
		}
	}
	n := copy(d.buf[d.clean:], d.buf[d.start:])
	d.start, d.look = d.clean, d.clean+n
	d.buf = d.buf[:d.look]
}

// lineEnds checks a message that came by BDAT.
func lineEnds(b []byte) lineFault {
	if bytes.IndexByte(b, 0) >= 0 {
		return nulByte
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if bytes.IndexByte(b, '\r') >= 0 {
				return bareCR
			}
			return lineOK
		}
		switch cr := bytes.IndexByte(b[:i], '\r'); {
		case i == 0 || b[i-1] != '\r':
			return bareLF
		case cr != i-1:
			return bareCR
		}
		b = b[i+1:]
	}
	return lineOK
}

// eightBit reports whether b holds bytes over 127.
func eightBit(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		w := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if w&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
