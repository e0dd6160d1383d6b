package cluster

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestLink: what the network is told to do it does, or the faults would be none.
func TestLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	k := newLink(t, echo.Addr().String())
	dial := func() net.Conn {
		c, err := net.Dial("tcp", k.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	answers := func(c net.Conn, within time.Duration) error {
		c.SetDeadline(time.Now().Add(within))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	c := dial()
	if err := answers(c, time.Second); err != nil {
		t.Errorf("open: %v", err)
	}
	k.setSilent(true)
	if answers(c, 50*time.Millisecond) == nil || answers(dial(), 50*time.Millisecond) == nil {
		t.Error("a silent link answers")
	}
	k.setSilent(false)
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("what was held back does not arrive: %v", err)
	}
	k.setDelay(60 * time.Millisecond)
	begun := time.Now()
	if err := answers(c, time.Second); err != nil || time.Since(begun) < 120*time.Millisecond {
		t.Errorf("a slow link answers after %v: %v", time.Since(begun), err)
	}
	k.setDelay(0)
	k.setCut(true)
	if answers(c, time.Second) == nil || answers(dial(), time.Second) == nil {
		t.Error("a cut link answers")
	}
	k.setCut(false)
	if err := answers(dial(), time.Second); err != nil {
		t.Errorf("healed: %v", err)
	}
}
