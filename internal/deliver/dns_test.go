package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postvagt/internal/level"
)

// zone is a name server of maps: records by "name TYPE", each in the form of a zone file, without the name.
type zone struct {
	records map[string][]string // "borger.example. MX": {"10 mx.borger.example."}; an alias is "name. CNAME"
	rcodes  map[string]int      // for "name. TYPE" or "name."
	shorten bool                // UDP answers are truncated
	quiet   int                 // how many queries go unanswered

	mu      sync.Mutex
	queries []string // "udp borger.example. MX"
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	network := w.LocalAddr().Network()
	name, kind := strings.ToLower(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
	z.mu.Lock()
	z.queries = append(z.queries, network+" "+name+" "+kind)
	silent := z.quiet > 0
	z.quiet--
	z.mu.Unlock()
	if silent {
		return
	}
	a := new(dns.Msg)
	a.SetReply(q)
	switch {
	case z.shorten && network == "udp":
		a.Truncated = true
	case z.rcodes[name] != 0:
		a.Rcode = z.rcodes[name]
	case z.rcodes[name+" "+kind] != 0:
		a.Rcode = z.rcodes[name+" "+kind]
	default:
		z.answer(a, name, kind)
	}
	w.WriteMsg(a)
}

// answer follows one alias, as a resolver does, and leaves the next to be asked for.
func (z *zone) answer(a *dns.Msg, name, kind string) {
	add := func(name, kind string) {
		for _, data := range z.records[name+" "+kind] {
			rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN %s %s", name, kind, data))
			if err != nil {
				panic(err)
			}
			a.Answer = append(a.Answer, rr)
		}
	}
	if alias := z.records[name+" CNAME"]; len(alias) > 0 {
		add(name, "CNAME")
		name = alias[0]
	}
	add(name, kind)
	known := false
	for key := range z.records {
		known = known || strings.HasPrefix(key, name+" ")
	}
	if !known {
		a.Rcode = dns.RcodeNameError
	}
}

// serve answers on loopback, UDP and TCP on the same port, until the test ends.
func (z *zone) serve(t *testing.T) string {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err != nil {
			udp.Close() // the port is taken for TCP: try another
			continue
		}
		for _, s := range []*dns.Server{{PacketConn: udp, Handler: z}, {Listener: tcp, Handler: z}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			done := make(chan struct{})
			go func() { defer close(done); s.ActivateAndServe() }()
			<-started
			t.Cleanup(func() { s.Shutdown(); <-done })
		}
		return udp.LocalAddr().String()
	}
	t.Fatal("no port free for UDP and TCP")
	return ""
}

func newDNS(t *testing.T, servers ...string) *DNS {
	t.Helper()
	d, err := NewDNS(servers)
	if err != nil {
		t.Fatal(err)
	}
	d.timeout = 2 * time.Second
	return d
}

func testZone() *zone {
	long := []string{}
	for i := range 60 {
		long = append(long, fmt.Sprintf("%d mx%d.many.example.", i, i))
	}
	return &zone{
		records: map[string][]string{
			"borger.example. MX":        {"20 MX2.borger.example.", "10 mx1.borger.example.", "30 mx3.borger.example."},
			"equal.example. MX":         {"10 a.equal.example.", "10 b.equal.example.", "5 first.equal.example."},
			"closed.example. MX":        {"0 ."},
			"oddly.example. MX":         {"0 .", "10 mx.oddly.example."},
			"plain.example. A":          {"192.0.2.7"},
			"six.example. AAAA":         {"2001:db8::7"},
			"both.example. A":           {"192.0.2.8", "192.0.2.9"},
			"both.example. AAAA":        {"2001:db8::8"},
			"half.example. AAAA":        {"2001:db8::9"},
			"text.example. TXT":         {"hello"},
			"alias.example. CNAME":      {"borger.example."},
			"twice.example. CNAME":      {"alias.example."},
			"loop1.example. CNAME":      {"loop2.example."},
			"loop2.example. CNAME":      {"loop1.example."},
			"dangling.example. CNAME":   {"gone.example."},
			"many.example. MX":          long,
			"xn--blbr-roah.example. MX": {"10 mx.borger.example."},
		},
		rcodes: map[string]int{"broken.example.": dns.RcodeServerFailure, "barred.example.": dns.RcodeRefused,
			"half.example. A": dns.RcodeServerFailure, "vague.example. MX": dns.RcodeSuccess, "shaky.example. A": dns.RcodeServerFailure,
			"shaky.example. AAAA": dns.RcodeServerFailure},
	}
}

func TestMX(t *testing.T) {
	z := testZone()
	z.records["shaky.example. TXT"] = []string{"x"}
	d := newDNS(t, z.serve(t))
	tests := []struct {
		domain, want string
		err          error // errAny: some error that is neither of ours
	}{
		{"borger.example", "mx1.borger.example mx2.borger.example mx3.borger.example", nil},
		{"Borger.Example.", "mx1.borger.example mx2.borger.example mx3.borger.example", nil},
		{"closed.example", "", ErrNullMX},
		{"oddly.example", "mx.oddly.example", nil},
		{"plain.example", "plain.example", nil},
		{"six.example", "six.example", nil},
		{"text.example", "", ErrNoDomain},
		{"unknown.example", "", ErrNoDomain},
		{"alias.example", "mx1.borger.example mx2.borger.example mx3.borger.example", nil},
		{"twice.example", "mx1.borger.example mx2.borger.example mx3.borger.example", nil},
		{"dangling.example", "", ErrNoDomain},
		{"loop1.example", "", errAny},
		{"broken.example", "", errAny},
		{"barred.example", "", errAny},
		{"shaky.example", "", errAny}, // no MX, and whether it has an address is not known
	}
	for _, test := range tests {
		got, err := d.MX(t.Context(), test.domain)
		if strings.Join(got, " ") != test.want || !sameError(err, test.err) {
			t.Errorf("%s: got %s, %v; want %s, %v", test.domain, got, err, test.want, test.err)
		}
	}
}

var errAny = errors.New("an error of no known kind")

func sameError(got, want error) bool {
	if want == errAny {
		return got != nil && !errors.Is(got, ErrNullMX) && !errors.Is(got, ErrNoDomain)
	}
	return errors.Is(got, want)
}

func TestEqualExchangersAreShuffled(t *testing.T) {
	d := newDNS(t, testZone().serve(t))
	seen := map[string]bool{}
	for range 100 { // all alike by chance: 2^-99
		hosts, err := d.MX(t.Context(), "equal.example")
		if err != nil || len(hosts) != 3 || hosts[0] != "first.equal.example" {
			t.Fatalf("got %s, %v", hosts, err)
		}
		seen[hosts[1]] = true
	}
	if len(seen) != 2 {
		t.Errorf("second in line was always %v", seen)
	}
}

func TestAddresses(t *testing.T) {
	d := newDNS(t, testZone().serve(t))
	for host, want := range map[string]string{
		"both.example":    "[192.0.2.8 192.0.2.9 2001:db8::8] <nil>",
		"half.example":    "[2001:db8::9] <nil>",
		"192.0.2.1":       "[192.0.2.1] <nil>",
		"unknown.example": "[] unknown.example: no such domain, or no address",
	} {
		got, err := d.Addresses(t.Context(), host)
		if s := fmt.Sprint(got, err); s != want {
			t.Errorf("%s: got %s, want %s", host, s, want)
		}
	}
}

func TestTCPFallback(t *testing.T) {
	z := testZone()
	z.shorten = true
	hosts, err := newDNS(t, z.serve(t)).MX(t.Context(), "many.example")
	if err != nil || len(hosts) != 60 || hosts[59] != "mx59.many.example" {
		t.Errorf("got %d hosts, %v", len(hosts), err)
	}
	if want := []string{"udp many.example. MX", "tcp many.example. MX"}; !slices.Equal(z.queries, want) {
		t.Errorf("asked %q, want %q", z.queries, want)
	}
}

func TestNextServer(t *testing.T) {
	broken, silent, good := testZone(), testZone(), testZone()
	broken.rcodes["borger.example."] = dns.RcodeServerFailure
	silent.quiet = 1
	d := newDNS(t, broken.serve(t), silent.serve(t), good.serve(t))
	d.timeout = 300 * time.Millisecond
	hosts, err := d.MX(t.Context(), "borger.example")
	if err != nil || len(hosts) != 3 {
		t.Errorf("got %s, %v", hosts, err)
	}
}

func TestNoServerAnswers(t *testing.T) {
	z := testZone()
	z.quiet = 100
	d := newDNS(t, z.serve(t))
	d.timeout = 20 * time.Millisecond
	if _, err := d.MX(t.Context(), "borger.example"); !sameError(err, errAny) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.MX(ctx, "borger.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestByDNS is a whole attempt from the domain on.
func TestByDNS(t *testing.T) {
	z := testZone()
	for _, host := range []string{"mx1", "mx2", "mx3", "mx"} {
		z.records[host+".borger.example. A"] = []string{"192.0.2.1"}
	}
	p := &peer{t: t}
	c := New(Options{Resolver: newDNS(t, z.serve(t)), Dial: p.listen()})
	t.Cleanup(func() { c.Close() })
	for domain, want := range map[string]string{
		"borger.example":  "delivered 250 2.0.0",
		"blåbær.example":  "delivered 250 2.0.0",
		"plain.example":   "delivered 250 2.0.0",
		"closed.example":  "refused 0 5.1.10",
		"unknown.example": "refused 0 5.1.2",
		"text.example":    "refused 0 5.1.2",
		"broken.example":  "deferred 0 4.4.3",
		"oddly.example":   "deferred 0 4.4.1", // its exchanger has no address
	} {
		j := job(level.None, "b@borger.example")
		j.Hop = Hop{Domain: domain}
		_, results := c.Attempt(t.Context(), j)
		if got := outcomes(results); got != want || results[0].Reached != (results[0].Outcome == Delivered) {
			t.Errorf("%s: got %s (%s), want %s", domain, got, results[0].Text, want)
		}
	}
}
