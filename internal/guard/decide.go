package guard

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/detect"
	"postvagt/internal/inspect"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/repair"
)

// decide is the inspect and decide steps: what the message holds, a verdict per recipient, and the repaired body where
// a verdict asks for one.
func (in intake) decide(ctx context.Context, w *incoming) error {
	w.report = inspect.Message(w.message, w.at, inspect.Options{})
	plan := repair.Able(w.message, w.report.Findings)
	looped, err := in.loops(ctx, w)
	if err != nil {
		return err
	}
	pol := in.teller.policyOf(w.authority.Name)
	facts := policy.Facts{Direction: w.direction, Sender: w.envelope.Sender, Findings: w.report.Findings,
		Changeable: plan.Possible, Obstacle: plan.Obstacle, Recipients: len(w.envelope.Recipients)}
	for _, r := range w.envelope.Recipients {
		facts.Looping = looped(r.Address)
		w.verdicts = append(w.verdicts, pol.Decide(facts, r.Address))
	}
	in.repair(w, facts, pol)
	return nil
}

// repair makes the repaired body when a verdict asks for it. When it cannot be made after all, those recipients get
// the verdict of a message that cannot be changed.
func (in intake) repair(w *incoming, facts policy.Facts, pol *policy.Policy) {
	wanted := false
	for _, v := range w.verdicts {
		wanted = wanted || repairs(v)
	}
	if !wanted {
		return
	}
	var err error
	w.repaired, w.changes, err = repair.Repair(w.message, w.report.Findings, repair.Options{Authority: w.authority.Name, Now: w.at})
	if err == nil {
		return
	}
	in.log.Warn("a repair could not be made; the message is treated as one that cannot be changed", "message", w.id, "err", detect.Mask(err.Error()))
	w.repaired, w.changes = nil, nil
	facts.Changeable, facts.Obstacle = false, "the repair failed"
	for i, r := range w.envelope.Recipients {
		if repairs(w.verdicts[i]) {
			w.verdicts[i] = pol.Decide(facts, r.Address)
		}
	}
}

// repairs reports whether a verdict lets only the repaired body leave: now, or when a person releases it.
func repairs(v policy.Verdict) bool { return v.Action == policy.Repair || v.Repaired }

// traceField is our own trace header: the message's id and a keyed hash of it, so that nobody else can write one.
const traceField = "Postvagt-Trace"

// traceHead is what we put on top: our trace field and Received (RFC 5321, section 4.4).
func (in intake) traceHead(w *incoming) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s\r\n", traceField, w.id, in.traceMAC(w.authority, w.id))
	e := w.envelope
	stamp := w.at.In(time.Local).Format("Mon, 2 Jan 2006 15:04:05 -0700")
	if w.from != "" {
		fmt.Fprintf(&b, "Received: by %s (handed over between two authorities guarded here)\r\n\twith local id %s;\r\n\t%s\r\n", in.cfg.Host, w.id, stamp)
		return []byte(b.String())
	}
	with := "SMTP"
	if e.Client.ESMTP {
		with = "ESMTP"
		if e.UTF8 {
			with = "UTF8SMTP" // RFC 6531, section 4.3
		}
		if e.Client.TLS != nil {
			with += "S"
		}
		if e.Client.User != "" {
			with += "A"
		}
	}
	fmt.Fprintf(&b, "Received: from %s ([%s])\r\n\tby %s with %s id %s;\r\n\t%s\r\n", helloName(e.Client.Hello), ipLiteral(e.Client.IP),
		in.cfg.Host, with, w.id, stamp)
	return []byte(b.String())
}

// ipLiteral is an address as it stands between brackets (RFC 5321, section 4.1.3).
func ipLiteral(ip netip.Addr) string {
	if ip = ip.Unmap(); ip.Is6() {
		return "IPv6:" + ip.WithZone("").String()
	}
	return ip.String()
}

// helloName is what the client called itself, as far as it fits a Received field; masked (law 6).
func helloName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > 0x20 && r < 0x7f && !strings.ContainsRune("()<>,;:\\\"", r) || r == ':' {
			return r
		}
		return -1
	}, detect.Mask(s))
	if s == "" {
		return "unknown"
	}
	return s[:min(len(s), 255)]
}

// traceMAC is "" where the authority's keys are lost; nothing of it is accepted then.
func (in intake) traceMAC(a *config.Authority, id ledger.MessageID) string {
	k, err := in.keys.Of(a.Name)
	if err != nil {
		return ""
	}
	return k.MAC("trace " + string(id))
}

// loops tells for which recipients the message is in a loop: it went through too many hops, or it carries our trace
// field of a message that went to the same recipient. The ledger knows to whom it went, so a mail that rightly comes
// back to somebody else, through a list or a forward, is none.
func (in intake) loops(ctx context.Context, w *incoming) (func(mail.Address) bool, error) {
	hops, seen := 0, map[string]bool{}
	for _, f := range w.message.Root.Fields {
		switch {
		case strings.EqualFold(f.Name, "Received"):
			hops++
		case strings.EqualFold(f.Name, traceField) && len(seen) < 1000:
			if err := in.sentBefore(ctx, w.authority, w.message.Unfolded(f), seen); err != nil {
				return nil, err
			}
		}
	}
	if hops >= in.cfg.Limits.Hops {
		return func(mail.Address) bool { return true }, nil
	}
	return func(a mail.Address) bool { return seen[strings.ToLower(detect.Mask(string(a)))] }, nil
}

// sentBefore adds the recipients of the message that a trace field names, if the field is the authority's own: what another one
// here has sent on its way is no loop of this one's.
func (in intake) sentBefore(ctx context.Context, a *config.Authority, value string, seen map[string]bool) error {
	id, mac, _ := strings.Cut(value, " ")
	if want := in.traceMAC(a, ledger.MessageID(id)); want == "" || !hmac.Equal([]byte(mac), []byte(want)) {
		return nil
	}
	story, err := in.store.Story(ctx, ledger.MessageID(id))
	if errors.Is(err, ledger.ErrNotFound) { // from before a restored backup, or of another installation with our keys
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the message's earlier way: %w", err)
	}
	if story.Message.Authority != a.Name { // authorities may share a key file
		return nil
	}
	for _, d := range story.Deliveries {
		seen[strings.ToLower(d.Recipient.Shown)] = true
	}
	return nil
}
