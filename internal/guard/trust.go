package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/smtpin"
)

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
