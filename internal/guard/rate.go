package guard

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/smtpin"
)

// rates bounds how many messages a minute a stranger's address or a submitting user hands over (DESIGN section 6: limits
// answer 4yz). Trusted networks have none: the authority's own server must never have to wait.
type rates struct {
	mu     sync.Mutex
	minute time.Time
	counts map[string]int
}

// mostCounted bounds the memory that one minute's addresses take; beyond it the rest share a count.
const mostCounted = 100_000

// allow counts one message of who and reports whether it is within the limit; 0 is none.
func (r *rates) allow(who string, limit int) bool {
	if limit == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := now().Truncate(time.Minute); m != r.minute {
		r.minute, r.counts = m, map[string]int{}
	}
	if _, known := r.counts[who]; !known && len(r.counts) >= mostCounted {
		who = ""
	}
	r.counts[who]++
	return r.counts[who] <= limit
}

// counted names who a client's messages count for; "" for trusted clients, which are not counted. An IPv6 network of 64
// bits is one sender: its addresses cost nothing.
func (in intake) counted(c *smtpin.Client) string {
	if c.User != "" {
		return "user " + c.User
	}
	ip := c.IP.Unmap()
	if in.inTrustedNetwork(ip) {
		return ""
	}
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

// inTrustedNetwork reports whether an address is in a trusted network. Such clients are not slowed down: the authority's
// own server must never have to wait.
func (g *Guard) inTrustedNetwork(ip netip.Addr) bool {
	return slices.ContainsFunc(g.cfg.Trusted, func(t config.Trust) bool { return t.Net.Contains(ip.Unmap()) })
}
