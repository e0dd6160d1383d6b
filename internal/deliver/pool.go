package deliver

import (
	"slices"
	"sync"
	"time"

	"postvagt/internal/level"
)

// pool keeps sessions for the next message to the same hop.
type pool struct {
	keep   time.Duration
	perHop int

	mu     sync.Mutex
	closed bool
	conns  map[Hop][]*session // the youngest last
	ending sync.WaitGroup     // sessions whose time is up
}

// same is hop without what does not belong to the connection: what is asked of it, what is said about it, and, where a smart
// host takes the mail for every domain, the domain.
func same(h Hop) Hop {
	h.Least, h.Vouches = level.None, level.None
	if h.SmartHost != "" {
		h.Domain = ""
	}
	return h
}

// take returns an idle session that reaches the level, or nil.
func (p *pool) take(h Hop, least level.Level) *session {
	h = same(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns[h]
	for i, s := range slices.Backward(conns) {
		// A timer that has fired belongs to expire, which waits for the lock.
		if s.facts.Level >= least && s.expiry.Stop() {
			p.remove(h, i)
			return s
		}
	}
	return nil
}

// put keeps s for a while; false means that there is no room.
func (p *pool) put(h Hop, s *session) bool {
	h = same(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.keep < 0 || len(p.conns[h]) >= p.perHop {
		return false
	}
	s.ctx = nil
	p.conns[h] = append(p.conns[h], s)
	s.expiry = time.AfterFunc(p.keep, func() { p.expire(h, s) })
	return true
}

// expire ends a session nobody took.
func (p *pool) expire(h Hop, s *session) {
	p.mu.Lock()
	i := slices.Index(p.conns[h], s)
	if i < 0 || p.closed {
		p.mu.Unlock()
		return // taken, or ended by close
	}
	p.remove(h, i)
	p.ending.Add(1)
	p.mu.Unlock()
	s.quit()
	p.ending.Done()
}

func (p *pool) remove(h Hop, i int) {
	p.conns[h] = slices.Delete(p.conns[h], i, i+1)
	if len(p.conns[h]) == 0 {
		delete(p.conns, h)
	}
}

// close ends the idle sessions and keeps no more.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*session
	for _, conns := range p.conns {
		all = append(all, conns...)
	}
	clear(p.conns)
	p.mu.Unlock()
	for _, s := range all {
		s.expiry.Stop()
		p.ending.Go(s.quit)
	}
	p.ending.Wait()
}
