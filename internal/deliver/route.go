package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// target is one host of a hop.
type target struct {
	name        string // the name its certificate must prove; an address literal's address
	host        string // as looked up
	port        string
	fromMX      bool // found by MX, so that its name proves nothing
	implicitTLS bool // TLS from the first byte (RFC 8314): port 465
}

// Bounds on how far one attempt goes looking.
const (
	maxHosts     = 8
	maxAddresses = 4 // of one host
)

// reach opens a session to the first of the hop's hosts, in order of preference, that takes up the conversation at the
// level. Otherwise the failure is the one that says most: too low before deferred, spoken to before not.
func (c *Client) reach(ctx context.Context, hop Hop, n need) (*session, *failure) {
	targets, fail := c.targets(ctx, hop)
	if fail != nil {
		return nil, fail
	}
	var worst *failure
	for _, t := range targets[:min(len(targets), maxHosts)] {
		addresses, err := c.addresses(ctx, t)
		if err != nil || len(addresses) == 0 {
			worst = telling(worst, noContact(t, Receipt{Hop: net.JoinHostPort(t.host, t.port)}, err))
		}
		for _, a := range addresses[:min(len(addresses), maxAddresses)] {
			s, fail := c.open(ctx, t, a, hop, n)
			if fail == nil {
				return s, nil
			}
			worst = telling(worst, fail)
			if fail.final || ctx.Err() != nil {
				return nil, fail
			}
		}
	}
	return nil, worst
}

// telling returns the failure that says more, the earlier one of two equals.
func telling(a, b *failure) *failure {
	rank := func(f *failure) int {
		switch {
		case f == nil:
			return 0
		case f.result.Outcome == TooLow:
			return 3
		case f.result.Reached:
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

func noContact(t target, r Receipt, err error) *failure {
	if err == nil {
		err = errors.New("no address")
	}
	return &failure{at: stageRoute, receipt: r, result: Result{
		Outcome: Deferred, Enhanced: "4.4.1", Text: tidy(fmt.Sprintf("no contact with %s: %v", t.host, err))}}
}

// targets lists the hosts of a hop: the smart host, the address of an address literal, or the domain's exchangers.
func (c *Client) targets(ctx context.Context, hop Hop) ([]target, *failure) {
	if hop.SmartHost != "" {
		return []target{smartHost(hop)}, nil
	}
	if literal, ok := strings.CutPrefix(hop.Domain, "["); ok {
		literal = strings.TrimSuffix(literal, "]")
		if strings.HasPrefix(strings.ToLower(literal), "ipv6:") {
			literal = literal[len("ipv6:"):]
		}
		a, err := netip.ParseAddr(literal)
		if err != nil {
			return nil, noRoute(hop.Domain, Refused, "5.1.2", "the address literal cannot be read")
		}
		return []target{{name: a.String(), host: a.String(), port: "25", fromMX: true}}, nil
	}
	domain, err := asciiDomain(strings.TrimSuffix(hop.Domain, "."))
	if err != nil {
		return nil, noRoute(hop.Domain, Refused, "5.1.2", "the domain name is not valid")
	}
	hosts, err := c.options.Resolver.MX(ctx, domain)
	switch {
	case errors.Is(err, ErrNullMX):
		return nil, noRoute(domain, Refused, "5.1.10", "the domain takes no mail (null MX)")
	case errors.Is(err, ErrNoDomain):
		return nil, noRoute(domain, Refused, "5.1.2", "the domain does not exist or has no mail server")
	case err != nil:
		return nil, noRoute(domain, Deferred, "4.4.3", err.Error())
	case len(hosts) == 0:
		return nil, noRoute(domain, Deferred, "4.4.3", "the name servers gave no mail server")
	}
	targets := make([]target, len(hosts))
	for i, h := range hosts {
		targets[i] = target{name: h, host: h, port: "25", fromMX: true}
	}
	return targets, nil
}

// asciiDomain is a domain name as DNS knows it (RFC 5891). A name in ASCII is not judged by the rules for others: names with
// an underscore do receive mail.
func asciiDomain(name string) (string, error) {
	if !ascii(name) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", err
		}
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", errors.New("not a domain name")
	}
	return strings.ToLower(name), nil
}

func noRoute(domain string, o Outcome, enhanced, why string) *failure {
	return &failure{at: stageRoute, final: true, receipt: Receipt{Hop: tidy(domain)}, result: Result{
		Outcome: o, Enhanced: enhanced, Text: tidy(domain + ": " + why)}}
}

// smartHost is the target of a configured host: "name:port", "name", "192.0.2.1:25", "[2001:db8::1]:25".
func smartHost(hop Hop) target {
	host, port, err := net.SplitHostPort(hop.SmartHost)
	if err != nil {
		host, port = strings.Trim(hop.SmartHost, "[]"), "25"
	}
	t := target{name: host, host: host, port: port, implicitTLS: port == "465"}
	if name, err := asciiDomain(host); err == nil {
		t.name, t.host = name, name
	}
	if hop.TLSName != "" {
		t.name = hop.TLSName
	}
	return t
}

// addresses finds a target's addresses. A smart host may be known to this machine only (its hosts file, its search
// list), so the system's own resolver is asked for it, unless the Resolver is not the real one.
func (c *Client) addresses(ctx context.Context, t target) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(t.host); err == nil {
		return []netip.Addr{a}, nil
	}
	if _, system := c.options.Resolver.(*DNS); system && !t.fromMX {
		ctx, cancel := context.WithTimeout(ctx, c.options.Connect)
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", t.host)
	}
	return c.options.Resolver.Addresses(ctx, t.host)
}
