package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/mail"
	"postvagt/internal/smtpin"
)

// trust says whether a client hands over the authority's own mail.
type trust int

const (
	distrusted  trust = iota // a stranger: mail to the authority only
	needsHeader              // trusted when the message holds the agreed header
	trusted                  // mail to anybody
)

// trust judges a client by authentication, network and certificate. Cloud networks are shared by all tenants: there a
// sender of the authority's and a secret header or a certificate must be added (DOMAIN section 9).
func (in intake) trust(c *smtpin.Client, sender mail.Address) trust {
	if c.User != "" {
		return trusted
	}
	best := distrusted
	for _, t := range in.cfg.Trusted {
		if !t.Net.Contains(c.IP.Unmap()) || t.OwnSenders && sender != "" && in.cfg.AuthorityOf(sender.Domain()) == nil {
			continue
		}
		if t.Certificate != "" && !provesName(c, t.Certificate) {
			continue
		}
		if t.Header != "" {
			best = max(best, needsHeader)
			continue
		}
		best = max(best, trusted)
	}
	return best
}

// headerTrust settles needsHeader once the message is there.
func (in intake) headerTrust(e *smtpin.Envelope, m *mail.Message) trust {
	for _, t := range in.cfg.Trusted {
		if t.Header == "" || !t.Net.Contains(e.Client.IP.Unmap()) || t.Certificate != "" && !provesName(e.Client, t.Certificate) {
			continue
		}
		if t.OwnSenders && e.Sender != "" && in.cfg.AuthorityOf(e.Sender.Domain()) == nil {
			continue
		}
		if hasLine(m, t.Header, t.Secret) {
			return trusted
		}
	}
	return distrusted
}

// provesName reports whether the client showed a certificate for name that chains to a root we know.
func provesName(c *smtpin.Client, name string) bool {
	if !chains(c.TLS) {
		return false
	}
	return c.TLS.PeerCertificates[0].VerifyHostname(name) == nil
}

// passwordCache spares the slow hash for a password that was right a short while ago. It holds only salted digests.
type passwordCache struct {
	mu    sync.Mutex
	known map[[32]byte]time.Time
}

const passwordTime = 5 * time.Minute

func (p *passwordCache) check(users []config.User, name, password string) bool {
	for _, u := range users {
		if u.Name != name {
			continue
		}
		key := sha256.Sum256([]byte(u.Name + "\x00" + u.Hash + "\x00" + password))
		if p.fresh(key) {
			return true
		}
		if !u.Check(password) {
			return false
		}
		p.keep(key)
		return true
	}
	absent().Check(password) // an unknown user takes as long as a wrong password
	return false
}

// absent is a user that nobody is: checking a password against it takes as long as against one made by hash-password.
var absent = sync.OnceValue(func() config.User { return config.User{Hash: config.HashPassword(rand.Text())} })

func (p *passwordCache) fresh(key [32]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.known[key]
	return ok && now().Before(until)
}

func (p *passwordCache) keep(key [32]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) > 10_000 {
		p.known = map[[32]byte]time.Time{}
	}
	p.known[key] = now().Add(passwordTime)
}
