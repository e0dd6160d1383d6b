package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

var (
	// ErrNullMX says that the domain declares that it takes no mail (RFC 7505).
	ErrNullMX = errors.New("the domain takes no mail")
	// ErrNoDomain says that the name does not exist, or has neither exchanger nor address.
	ErrNoDomain = errors.New("no such domain")
)

// DNS is the Resolver that asks name servers. Safe for concurrent use.
type DNS struct {
	servers []string // "address:port", asked in this order
	timeout time.Duration
}

const (
	dnsTimeout = 5 * time.Second // for one server to answer
	dnsRounds  = 2               // how often each server is asked
	maxAliases = 8               // CNAMEs followed
	ednsSize   = 1232            // what fits any path without fragments (DNS flag day 2020)
)

// NewDNS returns a DNS that asks these servers ("address" or "address:port"); none means those of /etc/resolv.conf.
func NewDNS(servers []string) (*DNS, error) {
	if len(servers) == 0 {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fmt.Errorf("name servers: %w", err)
		}
		for _, s := range conf.Servers {
			servers = append(servers, net.JoinHostPort(s, conf.Port))
		}
	}
	d := &DNS{timeout: dnsTimeout}
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), "53")
		}
		d.servers = append(d.servers, s)
	}
	if len(d.servers) == 0 {
		return nil, errors.New("name servers: none in /etc/resolv.conf")
	}
	return d, nil
}

// systemResolver is NewDNS for this machine; without a readable /etc/resolv.conf, the local name server is asked, as resolv.conf(5) says.
func systemResolver() *DNS {
	d, err := NewDNS(nil)
	if err != nil {
		d = &DNS{servers: []string{"127.0.0.1:53"}, timeout: dnsTimeout}
	}
	return d
}

// MX implements Resolver.
func (d *DNS) MX(ctx context.Context, domain string) ([]string, error) {
	records, err := d.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var found []*dns.MX
	null := false
	for _, rr := range records {
		mx, ok := rr.(*dns.MX)
		switch {
		case !ok:
		case mx.Mx == ".":
			null = true
		default:
			found = append(found, mx)
		}
	}
	if len(found) == 0 && null {
		return nil, ErrNullMX
	}
	if len(found) == 0 {
		// RFC 5321, section 5.1: the domain is its own exchanger, if it has an address.
		if _, err := d.Addresses(ctx, domain); err != nil {
			return nil, err
		}
		return []string{domain}, nil
	}
	rand.Shuffle(len(found), func(i, k int) { found[i], found[k] = found[k], found[i] })
	slices.SortStableFunc(found, func(a, b *dns.MX) int { return int(a.Preference) - int(b.Preference) })
	hosts := make([]string, len(found))
	for i, mx := range found {
		hosts[i] = strings.ToLower(strings.TrimSuffix(mx.Mx, "."))
	}
	return hosts, nil
}

// Addresses implements Resolver. IPv4 comes first: more receivers judge a sender by it than by IPv6. One family that
// cannot be looked up does not hide the other.
func (d *DNS) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	var answers [2][]dns.RR
	var errs [2]error
	var wg sync.WaitGroup
	for i, kind := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
		wg.Go(func() { answers[i], errs[i] = d.lookup(ctx, host, kind) })
	}
	wg.Wait()
	var found []netip.Addr
	for _, rr := range slices.Concat(answers[0], answers[1]) {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			found = append(found, a.Unmap())
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrNoDomain) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w, or no address", host, ErrNoDomain)
}

// lookup returns the records of a kind that name has, itself or by alias. An existing name without any is no error.
func (d *DNS) lookup(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	name = dns.CanonicalName(name)
	for range maxAliases {
		answer, err := d.ask(ctx, name, kind)
		if err != nil {
			return nil, err
		}
		asked := name
		var found []dns.RR
		for range maxAliases {
			var next string
			for _, rr := range answer.Answer {
				switch {
				case dns.CanonicalName(rr.Header().Name) != name:
				case rr.Header().Rrtype == kind:
					found = append(found, rr)
				case rr.Header().Rrtype == dns.TypeCNAME:
					next = dns.CanonicalName(rr.(*dns.CNAME).Target)
				}
			}
			if len(found) > 0 || next == "" {
				break
			}
			name = next
		}
		switch {
		case len(found) > 0:
			return found, nil
		case answer.Rcode == dns.RcodeNameError:
			return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(name, "."), ErrNoDomain)
		case name == asked:
			return nil, nil
		}
		// The answer ended at an alias: go on from there.
	}
	return nil, fmt.Errorf("%s: too many aliases", strings.TrimSuffix(name, "."))
}

// ask asks the servers in turn until one gives an answer: records, none, or that the name does not exist.
func (d *DNS) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(name, kind)
	query.SetEdns0(ednsSize, false)
	var last error
	for range dnsRounds {
		for _, server := range d.servers {
			answer, err := d.exchange(ctx, query, server)
			switch {
			case ctx.Err() != nil:
				return nil, fmt.Errorf("name server: %w", context.Cause(ctx))
			case err != nil:
				last = fmt.Errorf("name server %s: %w", server, err)
			case answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError:
				return answer, nil
			default:
				last = fmt.Errorf("name server %s answers %s for %s", server, dns.RcodeToString[answer.Rcode], strings.TrimSuffix(name, "."))
			}
		}
	}
	return nil, last
}

// exchange asks one server over UDP, and again over TCP where the answer did not fit.
func (d *DNS) exchange(ctx context.Context, query *dns.Msg, server string) (*dns.Msg, error) {
	for _, network := range [...]string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: d.timeout}
		query := query.Copy()
		query.Id = dns.Id()
		answer, _, err := client.ExchangeContext(ctx, query, server)
		if err != nil {
			return nil, err
		}
		if !answer.Response || len(answer.Question) != 1 || answer.Question[0].Qtype != query.Question[0].Qtype ||
			dns.CanonicalName(answer.Question[0].Name) != query.Question[0].Name {
			return nil, errors.New("the answer is to another question")
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, errors.New("the answer is truncated over TCP")
}
