package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"postvagt/internal/mail"
	"postvagt/internal/policy"
)

// The parsers below read one value each; their error is a *problem without the key's name, which the reader puts in front.

func parseText(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", &problem{"is empty", "", "give it a value, or remove the line"}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", &problem{quote(s) + " holds a line break or control character", "", "write it on one line"}
	}
	return s, nil
}

// parseSecret reads a text that no message may show.
func parseSecret(s string) (string, error) {
	if _, err := parseText(s); err != nil {
		return "", &problem{"is empty or holds a line break or control character", "", "write it on one line"}
	}
	return s, nil
}

// choice returns a parser for one of words.
func choice(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if slices.Contains(words, s) {
			return s, nil
		}
		return "", &problem{quote(s) + " is not known", "", didYouMean(s, words)}
	}
}

// named returns a parser for one of the values that have a name.
func named[T fmt.Stringer](all []T) func(string) (T, error) {
	return func(s string) (T, error) {
		var none T
		var words []string
		for _, v := range all {
			if v.String() == s {
				return v, nil
			}
			words = append(words, v.String())
		}
		return none, &problem{quote(s) + " is not known", "", "one of " + strings.Join(words, ", ")}
	}
}

func parseBool(s string) (bool, error) { return s == "true", nil }

// parseDuration reads Go's durations and days: "90s", "4h", "3d", "1d12h".
func parseDuration(s string) (time.Duration, error) {
	bad := func(why, hint string) (time.Duration, error) {
		return 0, &problem{quote(s) + " is no length of time", why, hint}
	}
	hint := "write a number with its unit: 30s, 15m, 4h, 3d"
	if s == "" {
		return bad("", hint)
	}
	if strings.Trim(s, "0123456789") == "" {
		return bad("it has no unit", "did you mean "+short(s)+"h?")
	}
	rest, total := s, time.Duration(0)
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return bad("", hint)
		}
		total, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return bad("", hint)
		}
		if total > math.MaxInt64-d {
			return bad("it is too long", hint)
		}
		total += d
	}
	if total <= 0 {
		return bad("it must be more than nothing", hint)
	}
	return total, nil
}

func short(s string) string { return s[:min(len(s), 20)] }

// number returns a parser for whole numbers from low to high.
func number(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
		if err != nil {
			return 0, &problem{quote(s) + " is no whole number", "", "write it in digits"}
		}
		if n < low || n > high {
			return 0, &problem{short(s) + " is out of bounds", "", fmt.Sprintf("from %d to %d", low, high)}
		}
		return n, nil
	}
}

// parseFraction reads a certainty: above 0, up to 1.
func parseFraction(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0 && f <= 1) {
		return 0, &problem{quote(s) + " is no number above 0 and up to 1", "", "0.5 is the default, 0.01 counts everything"}
	}
	return f, nil
}

var units = []struct {
	name  string
	bytes int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1},
}

// parseSize reads bytes: "50MiB", "64 MB", "1048576".
func parseSize(s string) (int64, error) {
	digits, factor := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(digits, "_", ""), 10, 64)
	if err != nil {
		return 0, &problem{quote(s) + " is no size", "", "write bytes or a unit: 50MiB"}
	}
	if n < 0 || n > mostMessage/factor {
		return 0, &problem{quote(s) + " is out of bounds", "", "at most 1GiB"}
	}
	return n * factor, nil
}

// asciiDomain is a domain in lower case with A-labels (RFC 5890): the form in which domains are compared.
func asciiDomain(s string) (string, error) {
	return idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
}

func parseDomain(s string) (string, error) {
	bad := func(why, hint string) (string, error) { return "", &problem{quote(s) + " is no domain", why, hint} }
	switch {
	case strings.Contains(s, "@"):
		return bad("it is an address", "write what stands after the @")
	case strings.HasPrefix(s, "*."):
		return bad("", "for everything below a domain begin with a dot: "+short(s[1:]))
	case strings.Contains(s, "://"):
		return bad("it is a web address", "write the mail domain alone")
	}
	a, err := asciiDomain(s)
	if err != nil || a == "" || len(a) > 253 {
		return bad("", "letters, digits and hyphens between dots: eksempel.example")
	}
	for label := range strings.SplitSeq(a, ".") {
		if label == "" || len(label) > 63 {
			return bad("a part between the dots is empty or too long", "")
		}
	}
	return a, nil
}

// parseZone reads a domain or, with a leading dot, everything below one.
func parseZone(s string) (string, error) {
	below, dot := strings.CutPrefix(s, ".")
	d, err := parseDomain(below)
	if dot && err == nil {
		d = "." + d
	}
	return d, err
}

// parseDestination reads a zone or "*".
func parseDestination(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	return parseZone(s)
}

// parseAddress reads a mailbox at a domain.
func parseAddress(s string) (string, error) {
	bad := func(hint string) (string, error) {
		return "", &problem{quote(s) + " is no mail address", "people could not be told there", hint}
	}
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return bad("write name@domain")
	}
	if strings.ContainsAny(s, "<>") {
		return bad("leave out the name and the angle brackets")
	}
	d, err := parseDomain(s[at+1:])
	if err != nil {
		return bad("what stands after the @ is no domain")
	}
	a, err := mail.ParseAddress(s[:at+1] + d)
	if err != nil {
		return bad(err.Error())
	}
	return string(a), nil
}

// parsePattern reads an address pattern of the policy's.
func parsePattern(s string) (string, error) {
	if err := policy.CheckPattern(s); err != nil {
		return "", &problem{quote(s) + " is no pattern", err.Error(), `write "*@eksempel.example", "social*@eksempel.example" or "eksempel.example"`}
	}
	return s, nil
}

// parseHostPort reads the "host:port" of a server to connect to.
func parseHostPort(s string) (string, error) {
	host, port, err := splitHostPort(s, 1)
	if err != nil {
		return "", err
	}
	if _, e := netip.ParseAddr(host); e != nil {
		if host, e = parseDomain(host); e != nil {
			return "", &problem{quote(s) + " names no host", "", `write name:port or address:port, an IPv6 address in brackets: "[2001:db8::1]:25"`}
		}
	}
	return net.JoinHostPort(host, port), nil
}

// parseListen reads "host:port" to listen on; an empty host means all addresses, port 0 any free port.
func parseListen(s string) (string, error) {
	host, port, err := splitHostPort(s, 0)
	if err != nil {
		return "", err
	}
	if _, e := netip.ParseAddr(host); e != nil && host != "" {
		if host, e = parseDomain(host); e != nil {
			return "", &problem{quote(s) + " names no address to listen on", "", `write "127.0.0.1:25", ":25" for all addresses, or "[::1]:25"`}
		}
	}
	return net.JoinHostPort(host, port), nil
}

func splitHostPort(s string, lowest uint64) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	if err != nil {
		if ip, e := netip.ParseAddr(strings.Trim(s, "[]")); e == nil && ip.Is6() {
			return "", "", &problem{quote(s) + " has no port", "", fmt.Sprintf(`write "[%s]:25"`, ip)}
		}
		if !strings.Contains(s, ":") {
			return "", "", &problem{quote(s) + " has no port", "", "write " + quote(short(s)+":25")}
		}
		return "", "", &problem{quote(s) + " is no host:port", "", `an IPv6 address stands in brackets: "[2001:db8::1]:25"`}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n < lowest {
		return "", "", &problem{quote(s) + " has no valid port", "", "ports are numbers from 1 to 65535; 25 is SMTP's"}
	}
	return host, strconv.FormatUint(n, 10), nil
}

// parseNetwork reads a CIDR prefix or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	bad := func(why, hint string) (netip.Prefix, error) {
		return netip.Prefix{}, &problem{quote(s) + " is no network", why, hint}
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return bad("", "leave out the zone after %")
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return bad("", "write address/bits: 192.0.2.0/24 or 2001:db8::/32")
	}
	if p.Addr().Is4In6() {
		return bad("it is an IPv4 network written as IPv6", "write it as IPv4")
	}
	if p != p.Masked() {
		return bad("bits are set after the prefix", "did you mean "+p.Masked().String()+"?")
	}
	return p, nil
}
