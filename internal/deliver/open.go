package deliver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"postvagt/internal/level"
)

// open opens a session that reaches n.least. A hop that offers STARTTLS and then fails at it gets a second, cleartext
// connection where cleartext is enough (RFC 7435, opportunistic security): refusing would only make more mail wait.
func (c *Client) open(ctx context.Context, t target, a netip.Addr, hop Hop, n need) (*session, *failure) {
	s, fail := c.establish(ctx, t, a, hop, n, "")
	if fail == nil || !fail.noTLS || n.least > level.Cleartext || t.implicitTLS || hop.User != "" || ctx.Err() != nil {
		return s, fail
	}
	return c.establish(ctx, t, a, hop, n, fail.result.Text)
}

// establish connects and takes the conversation to where MAIL may follow. cleartext, where not empty, is why STARTTLS
// is left out.
func (c *Client) establish(ctx context.Context, t target, a netip.Addr, hop Hop, n need, cleartext string) (*session, *failure) {
	facts := Receipt{Hop: net.JoinHostPort(t.host, t.port), IP: a.Unmap().String(), Fallback: cleartext}
	dialCtx, cancel := context.WithTimeout(ctx, c.options.Connect)
	conn, err := c.options.Dial(dialCtx, "tcp", net.JoinHostPort(a.Unmap().String(), t.port))
	cancel()
	if err != nil {
		return nil, noContact(t, facts, err)
	}
	s := c.newSession(ctx, conn, facts)
	stop := s.watch(ctx)
	defer stop()
	fail := s.converse(t, hop, n, cleartext == "")
	if fail == nil && s.facts.Level < n.least {
		fail = tooLow(s.facts, n)
	}
	if fail == nil && hop.User != "" && hop.SmartHost != "" {
		fail = s.login(hop)
	}
	if fail != nil {
		fail.receipt = s.facts
		s.quit()
		return nil, fail
	}
	return s, nil
}

// converse is greeting, EHLO and TLS.
func (s *session) converse(t target, hop Hop, n need, startTLS bool) *failure {
	if t.implicitTLS {
		if err := s.secure(t, hop); err != nil {
			return s.noTLS(n, reply{text: err.Error()})
		}
	}
	if r, err := s.read(s.client.options.Command, nil); err != nil || r.code != 220 {
		return s.failed(stageGreeting, r, err)
	}
	if r, err := s.hello(); err != nil || !r.ok() {
		return s.failed(stageHello, r, err)
	}
	if s.facts.Level < level.Cleartext {
		s.facts.Level = level.Cleartext
	}
	if t.implicitTLS || !startTLS || !s.offers.startTLS {
		return nil
	}
	if fail := s.startTLS(t, hop, n); fail != nil {
		return fail
	}
	if r, err := s.hello(); err != nil || !r.ok() {
		return s.failed(stageHello, r, err)
	}
	return nil
}

// startTLS turns the connection into TLS (RFC 3207). Bytes that came with the reply in cleartext would be read as
// if they had come inside TLS: that is an attack or a broken hop, and no TLS is taken from it.
func (s *session) startTLS(t target, hop Hop, n need) *failure {
	r, err := s.command("STARTTLS")
	switch {
	case err != nil:
		return s.noTLS(n, reply{text: "STARTTLS: " + err.Error()})
	case r.code != 220:
		r.text = "STARTTLS refused: " + r.text
		return s.noTLS(n, r)
	case s.r.Buffered() > 0:
		s.broken = true
		return s.noTLS(n, reply{text: "STARTTLS: the hop sent more than its reply before the handshake"})
	}
	if err := s.secure(t, hop); err != nil {
		return s.noTLS(n, reply{text: "STARTTLS: " + err.Error()})
	}
	return nil
}

// noTLS is the failure of a hop that promised TLS and did not keep it: too low a level where more than cleartext is
// needed, unless we or the hop were about to stop anyway.
func (s *session) noTLS(n need, r reply) *failure {
	s.facts.Level = level.None
	f := s.failed(stageTLS, r, nil)
	f.noTLS = r.code != 421 && s.ctx.Err() == nil
	if f.noTLS && n.least > level.Cleartext {
		f.result.Outcome = TooLow
		f.result.Enhanced = "5.7.10"
	}
	s.broken = true
	return f
}

// failed is the failure to get past a stage: by a reply, or by an error instead of one.
func (s *session) failed(at stage, r reply, err error) *failure {
	result := resultOf(at, r)
	if err != nil {
		result = brokenOff(at, err)
	}
	return &failure{at: at, result: result, final: at == stageAuth}
}

// login is AUTH (RFC 4954) with PLAIN, or LOGIN where the hop knows nothing better. The password goes out only
// under TLS, and only over a channel of the level asked of this hop.
func (s *session) login(hop Hop) *failure {
	if s.facts.Level < max(level.Encrypted, hop.Least) {
		return s.failed(stageAuth, reply{}, errors.New("the user name and password were not sent, because the channel is not encrypted: let the smart host offer STARTTLS, or remove the login from the route"))
	}
	var r reply
	var err error
	switch {
	case s.offers.knows("PLAIN"):
		r, err = s.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+hop.User+"\x00"+hop.Password)))
	case s.offers.knows("LOGIN"):
		r, err = s.command("AUTH LOGIN")
		for _, answer := range [...]string{hop.User, hop.Password} {
			if err == nil && r.code == 334 {
				r, err = s.command(base64.StdEncoding.EncodeToString([]byte(answer)))
			}
		}
	default:
		return s.failed(stageAuth, reply{}, fmt.Errorf("the smart host offers neither AUTH PLAIN nor AUTH LOGIN"))
	}
	if err == nil && r.code == 235 {
		return nil
	}
	return s.failed(stageAuth, r, err)
}
