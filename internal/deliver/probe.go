package deliver

import (
	"context"

	"postvagt/internal/level"
	"postvagt/internal/mail"
)

// Probe asks a hop whether it would take mail for a recipient: MAIL with the null reverse-path, RCPT, RSET. No message is
// sent. The Result is that of the RCPT; Delivered means that the hop would take it, anything but Refused that it is not
// known.
func (c *Client) Probe(ctx context.Context, hop Hop, to mail.Address) Result {
	if !ascii(spoken(to)) {
		return Result{Outcome: Deferred, Text: "not asked: the address needs SMTPUTF8"}
	}
	n := need{full: max(hop.Least, level.Cleartext), least: max(hop.Least, level.Cleartext)}
	s := c.idle.take(hop, n.least)
	if s == nil {
		var fail *failure
		if s, fail = c.reach(ctx, hop, n); fail != nil {
			return Result{Outcome: Deferred, Text: fail.result.Text}
		}
	}
	stop := s.watch(ctx)
	result := s.probe(to)
	s.used++
	if !stop() || s.broken || s.used >= c.options.PerConnection || s.r.Buffered() != 0 || !c.idle.put(hop, s) {
		s.quit()
	}
	return result
}

// probe speaks MAIL, RCPT and RSET. Only a refusal of the RCPT says something about the recipient.
func (s *session) probe(to mail.Address) Result {
	unknown := Result{Outcome: Deferred, Text: "the hop did not say"}
	if r, err := s.command("MAIL FROM:<>"); err != nil || !r.ok() {
		s.broken = true
		return unknown
	}
	r, err := s.command("RCPT TO:<" + spoken(to) + ">")
	if err != nil {
		s.broken = true
		return unknown
	}
	if r.code == 421 {
		s.broken = true
		return unknown
	}
	if reset, err := s.command("RSET"); err != nil || !reset.ok() {
		s.broken = true
	}
	if r.ok() {
		return Result{Outcome: Delivered, Code: r.code, Enhanced: r.enhanced, Reached: true}
	}
	return resultOf(stageRcpt, r)
}
