package guard

import (
	"slices"

	"postvagt/internal/config"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/smtpin"
)

// own returns for which authorities a client may speak: those that the conversation has proven, and those that a header in the
// message may still prove. Once the message is there, m, the header is looked at, and open is empty. Cloud networks are shared by
// all tenants: there a sender of the authority's and a secret header or a certificate must be added (DOMAIN section 9).
func (in intake) own(c *smtpin.Client, sender mail.Address, m *mail.Message) (sure, open []*config.Authority) {
	if c.User != "" {
		if u := in.user(c.User); u != nil {
			sure = in.cfg.Bound(u.Authorities)
		}
		return sure, nil
	}
	for _, t := range in.cfg.Trusted {
		if !t.Net.Contains(c.IP.Unmap()) || t.Certificate != "" && !provesName(c, t.Certificate) {
			continue
		}
		bound := in.cfg.Bound(t.Authorities)
		if t.OwnSenders && sender != "" && !slices.Contains(bound, in.cfg.AuthorityOf(sender.Domain())) {
			continue
		}
		switch {
		case t.Header == "" || m != nil && hasLine(m, t.Header, t.Secret):
			sure = append(sure, bound...)
		case m == nil:
			open = append(open, bound...)
		}
	}
	return sure, open
}

func (in intake) user(name string) *config.User {
	i := slices.IndexFunc(in.cfg.Users, func(u config.User) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &in.cfg.Users[i]
}

// whose says whose message it is and which way it goes, for a client that may speak for own. Mail from an authority is what such
// a client hands over with one of its addresses as sender, or without an address of anybody here towards anybody outside: a
// forward keeps its outside sender, and still leaves. What goes to one authority alone is mail to it. The rest is nobody's:
// what a stranger would relay, and what a client would send as an authority that it may not speak for.
func (in intake) whose(e *smtpin.Envelope, own []*config.Authority) (policy.Direction, *config.Authority) {
	sender, to := in.authorityOf(e.Sender), in.soleRecipient(e)
	switch {
	case sender != nil && slices.Contains(own, sender):
		return policy.Outbound, sender
	case to != nil && (len(own) == 0 || slices.Contains(own, to)):
		return policy.Inbound, to
	case sender == nil && len(own) > 0:
		return policy.Outbound, own[0]
	}
	return "", nil
}

func (in intake) authorityOf(a mail.Address) *config.Authority {
	if a == "" {
		return nil
	}
	return in.cfg.AuthorityOf(a.Domain())
}

// soleRecipient is the authority that all recipients belong to; nil when there is none.
func (in intake) soleRecipient(e *smtpin.Envelope) *config.Authority {
	var to *config.Authority
	for i, r := range e.Recipients {
		a := in.authorityOf(r.Address)
		if a == nil || i > 0 && a != to {
			return nil
		}
		to = a
	}
	return to
}

// mayName refuses in the conversation a recipient with which the message could not become anybody's, as whose settles in the end.
// Recipients of two authorities are asked for one transaction each (RFC 5321, section 4.5.3.1.10): each then gets its own message.
func (in intake) mayName(e *smtpin.Envelope, own []*config.Authority, to *config.Authority) *smtpin.Reply {
	sender := in.authorityOf(e.Sender)
	if sender != nil && slices.Contains(own, sender) {
		return nil
	}
	var first *config.Authority
	if len(e.Recipients) > 0 {
		first = in.authorityOf(e.Recipients[0].Address)
	}
	mine := func(a *config.Authority) bool { return a != nil && (len(own) == 0 || slices.Contains(own, a)) }
	switch {
	case mine(to) && mine(first) && first != to:
		return &smtpin.Reply{Code: 452, Enhanced: "4.5.3", Text: "Send to this recipient in a transaction of its own."}
	case mine(to), sender == nil && len(own) > 0:
		return nil
	case sender != nil && len(own) > 0:
		return &smtpin.Reply{Code: 550, Enhanced: "5.7.1", Text: "You may not send as this address. Ask your mail administrator."}
	}
	return &smtpin.Reply{Code: 550, Enhanced: "5.7.1", Text: "This server does not relay mail from your address to that domain."}
}
