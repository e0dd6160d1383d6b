package config

import (
	"net/netip"
	"net/textproto"
	"strings"
)

// trusted reads the networks of the authority's own mail servers.
func (r *reader) trusted(s section) []Trust {
	n := s.child("trusted")
	if n == nil {
		return nil
	}
	items := []*node{n}
	if n.kind == isList {
		items = n.items
	}
	var out []Trust
	for _, item := range items {
		var t Trust
		if item.kind == isMapping {
			t = r.trust(r.section(item, "trusted[]"))
		} else {
			t.Net = valueOf(r, item, "trusted[].net", parseNetwork).value
		}
		r.notEverybody(item, t)
		out = append(out, t)
	}
	return out
}

// trust reads an entry in its long form.
func (r *reader) trust(s section) Trust {
	t := Trust{
		Net:         one(s, "net", parseNetwork).value,
		Certificate: one(s, "certificate", parseDomain).value,
		Authorities: values(many(s, "authorities", parseText)),
	}
	header := one(s, "header", parseSecret)
	if file := r.secret(s, "header_file"); file != "" {
		header.value = file
	}
	t.Header, t.Secret = r.secretHeader(header, s)
	if t.Certificate == "mail.protection.outlook.com" && t.Header == "" && r.mayJudge(s) {
		r.mistake(s.n.get("certificate").at(), "trusted.certificate "+quote(t.Certificate)+" is shown by every customer of Exchange Online", "each of them could send as the authority",
			"ask for a secret header as well: docs/operate.md shows the transport rule")
	}
	shared := t.Header != "" || t.Certificate != "" || s.given("header_file")
	senders := one(s, "senders", choice("own", "any")).value
	t.OwnSenders = senders == "own" || senders == "" && shared
	return t
}

// mayJudge reports whether the entry's secret header is known: Parse reads no header_file.
func (r *reader) mayJudge(s section) bool { return r.readFile != nil || !s.given("header_file") }

// secretHeader splits "X-Name: secret". What is wrong is told without the secret.
func (r *reader) secretHeader(l located[string], s section) (name, secret string) {
	if l.value == "" {
		return "", ""
	}
	line := l.line()
	if line == 0 {
		line = s.n.line
	}
	name, secret, ok := strings.Cut(l.value, ":")
	name, secret = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(secret)
	switch {
	case !ok || !isFieldName(name):
		r.mistake(line, "trusted.header is no header line", "", `write "X-Name: secret"`)
	case len(secret) < 16:
		r.mistake(line, "trusted.header has a secret of fewer than 16 characters", "whoever guesses it may send as the authority", "make one with: openssl rand -hex 24")
	}
	return name, secret
}

// isFieldName follows RFC 5322, section 2.2: printable US-ASCII but the colon.
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
}

// notEverybody refuses trust that would make the guard an open relay, and warns of what comes near.
func (r *reader) notEverybody(n *node, t Trust) {
	proves := t.Header != "" || t.Certificate != "" || n.get("header_file") != nil
	if !t.Net.IsValid() || proves {
		return
	}
	if t.Net.Bits() == 0 {
		r.mistake(n.line, "trusted.net "+t.Net.String()+" is the whole internet", "anybody could send as the authority", "name the mail servers' own addresses, or ask for a header or certificate")
		return
	}
	wide := 16
	if t.Net.Addr().Is6() {
		wide = 40
	}
	if t.Net.Bits() < wide && !private(t.Net.Addr()) {
		r.warn(n.line, "trusted.net %s is a wide public network: every host in it may send as the authority", t.Net)
	}
}

func private(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }
