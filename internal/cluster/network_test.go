package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// link is the network between one node and one database server, which can be cut, go silent and be slow.
type link struct {
	l      net.Listener
	target string

	mu      sync.Mutex
	cut     bool
	silent  chan struct{} // closed when the silence ends; nil: no silence
	delay   time.Duration // of every piece of data, each way
	conns   map[net.Conn]bool
	running sync.WaitGroup
}

// newLink makes a way to the target, on an address of its own, until the test ends.
func newLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, target: target, conns: map[net.Conn]bool{}}
	k.running.Go(k.accept)
	t.Cleanup(func() { l.Close(); k.setCut(true); k.setSilent(false); k.running.Wait() })
	return k
}

func (k *link) accept() {
	for {
		c, err := k.l.Accept()
		if err != nil {
			return
		}
		k.running.Go(func() { k.serve(c) })
	}
}

func (k *link) serve(near net.Conn) {
	defer near.Close()
	if !k.enter(near) {
		return
	}
	defer k.leave(near)
	k.pass()
	far, err := net.DialTimeout("tcp", k.target, time.Second)
	if err != nil {
		return
	}
	defer far.Close()
	if !k.enter(far) {
		return
	}
	defer k.leave(far)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.pump(near, far)
	}()
	k.pump(far, near)
	<-done
}

// enter notes a connection, unless the link is cut.
func (k *link) enter(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cut {
		return false
	}
	k.conns[c] = true
	return true
}

func (k *link) leave(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// pump carries one direction. When it ends both ends are closed, so that the other direction ends too.
func (k *link) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			k.pass()
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			k.pass() // an end is held back by a silence like everything else
			return
		}
	}
}

// pass waits for as long as the network holds everything back.
func (k *link) pass() {
	for {
		k.mu.Lock()
		silent, delay := k.silent, k.delay
		k.mu.Unlock()
		if silent == nil {
			time.Sleep(delay)
			return
		}
		<-silent
	}
}

// setCut breaks all connections and refuses new ones, or lets them come again.
func (k *link) setCut(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = on
	if on {
		for c := range k.conns {
			c.Close()
		}
	}
}

// setSilent holds everything back, connections staying open; when it ends what was held back arrives, late.
func (k *link) setSilent(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if on == (k.silent != nil) {
		return
	}
	if on {
		k.silent = make(chan struct{})
		return
	}
	close(k.silent)
	k.silent = nil
}

func (k *link) setDelay(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.delay = d
}
