package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// domainsOnce tells a domain that two authorities claim, or one claims twice: whose mail would it be?
func (r *reader) domainsOnce(root *node) {
	first := map[string]int{}
	list := root.get("authorities")
	if list == nil {
		return
	}
	for _, a := range list.items {
		for _, d := range a.get("domains").all() {
			zone, err := parseZone(d.text)
			if err != nil {
				continue
			}
			if line := first[zone]; line > 0 {
				r.mistake(d.line, fmt.Sprintf("authorities.domains %s stands in line %d already", quote(zone), line), "its mail belongs to one authority", "remove one of them")
				continue
			}
			first[zone] = d.line
		}
	}
}

// whole checks what only shows when everything is read. Where a part was wrong its zero value is passed over.
func (r *reader) whole(s section, c *Config) {
	r.namesOnce(s.n.get("authorities"), "authorities.name", "name")
	r.namesOnce(s.n.get("users"), "users.name", "name")
	r.wholeListen(s.n.get("listen"), c)
	r.wholeUsers(s, c)
	r.wholeRoutes(s.n.get("routes").all(), c.Routes, c)
	for i, a := range s.n.get("authorities").all() {
		if i < len(c.Authorities) {
			r.wholeRoutes(a.get("routes").all(), c.Authorities[i].Routes, c)
		}
	}
	r.ownRoutes(s, c)
	if c.Host != "" && !strings.Contains(c.Host, ".") {
		r.warn(0, "host %s is no full name: many servers refuse mail from such a greeting; write host: vagt.eksempel.example", quote(c.Host))
	}
}

// all lists the items of a list; a single value is a list of one.
func (n *node) all() []*node {
	switch {
	case n == nil:
		return nil
	case n.kind == isList:
		return n.items
	}
	return []*node{n}
}

// namesOnce tells two entries of a list with one name.
func (r *reader) namesOnce(list *node, what, key string) {
	first := map[string]int{}
	for _, item := range list.all() {
		name := item.get(key)
		if name == nil || name.text == "" {
			continue
		}
		if line := first[name.text]; line > 0 {
			r.mistake(name.line, fmt.Sprintf("%s %s stands in line %d already", what, quote(name.text), line), "nobody could tell them apart", "rename one of them")
			continue
		}
		first[name.text] = name.line
	}
}

// wholeListen checks the listeners against one another.
func (r *reader) wholeListen(n *node, c *Config) {
	first := map[string]string{}
	for _, l := range c.Listen.all() {
		if before := first[l.addr]; before != "" && !strings.HasSuffix(l.addr, ":0") {
			r.mistake(n.get(l.key).at(), fmt.Sprintf("listen.%s %s is taken by listen.%s", l.key, quote(l.addr), before), "two listeners cannot share an address", "give one of them another port")
		}
		first[l.addr] = l.key
	}
	if m := c.Listen.Metrics; m != "" && !loopback(m) {
		r.warn(n.get("metrics").at(), "listen.metrics %s can be reached from elsewhere, without login: it shows how much mail there is; use 127.0.0.1 unless the network is the operators' own", quote(m))
	}
}

// listener is an address with its key.
type listener struct{ key, addr string }

func (l Listen) all() []listener {
	var out []listener
	for _, group := range []struct {
		key   string
		addrs []string
	}{{"smtp", l.SMTP}, {"submission", l.Submission}, {"smtps", l.SMTPS}, {"metrics", []string{l.Metrics}}} {
		for _, a := range group.addrs {
			if a != "" {
				out = append(out, listener{group.key, a})
			}
		}
	}
	return out
}

func (n *node) at() int {
	if n == nil {
		return 0
	}
	return n.line
}

func loopback(hostport string) bool {
	host, _, _ := net.SplitHostPort(hostport)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// wholeUsers checks who may send at all, and whether what they prove themselves with can be shown.
func (r *reader) wholeUsers(s section, c *Config) {
	submits := len(c.Listen.Submission)+len(c.Listen.SMTPS) > 0
	if submits && !s.given("tls") {
		r.mistake(s.n.get("listen").at(), "listen.submission and listen.smtps need a certificate", "a password must not travel in the clear", "give tls: {cert: …, key: …}")
	}
	if submits && !s.given("users") {
		r.warn(s.n.get("listen").at(), "there are listeners for submission, but no users: nobody can submit")
	}
	if !submits && len(c.Users) > 0 && s.n.get("listen") != nil {
		r.warn(s.n.get("users").at(), "there are users, but neither listen.submission nor listen.smtps: nobody can submit")
	}
	if !s.given("trusted") && !s.given("users") {
		r.warn(0, "nobody may send: neither trusted networks nor users are given, so all mail counts as coming from the world")
	}
	for i, t := range c.Trusted {
		if t.Certificate != "" && !s.given("tls") {
			r.mistake(s.n.get("trusted").all()[i].at(), "trusted.certificate needs TLS", "a client shows its certificate in TLS only", "give tls: {cert: …, key: …}")
		}
	}
}

// wholeRoutes checks the routes of one list against one another and against the listeners.
func (r *reader) wholeRoutes(nodes []*node, routes []Route, c *Config) {
	if len(nodes) == len(routes) {
		r.routesMatch(nodes, routes)
		r.routesLeave(nodes, routes, c)
	}
}

// routesMatch tells routes that never match because one before takes all their mail.
func (r *reader) routesMatch(nodes []*node, routes []Route) {
	for i, route := range routes {
		if route.To == "" {
			continue
		}
		for j, before := range routes[:i] {
			if covers(before.To, route.To) {
				r.mistake(nodes[i].get("to").at(), fmt.Sprintf("routes.to %s never matches", quote(route.To)),
					fmt.Sprintf("the route to %s in line %d takes its mail", quote(before.To), nodes[j].get("to").at()), "the first match wins: move the narrower route up, or remove it")
				break
			}
		}
	}
}

// covers reports whether everything that destination b matches, a matches too.
func covers(a, b string) bool {
	return a != "" && (a == "*" || a == b || strings.HasPrefix(a, ".") && strings.HasSuffix(b, a))
}

// routesLeave tells routes that lead back here.
func (r *reader) routesLeave(nodes []*node, routes []Route, c *Config) {
	for i, route := range routes {
		for _, l := range c.Listen.all() {
			if route.SmartHost != "" && route.SmartHost == l.addr {
				r.mistake(nodes[i].get("smarthost").at(), fmt.Sprintf("routes.smarthost %s is the guard's own listen.%s", quote(route.SmartHost), l.key), "mail would go round in a loop", "name the next server")
			}
		}
	}
}

// ownRoutes warns of own domains whose mail would go the way of the world's.
func (r *reader) ownRoutes(s section, c *Config) {
	for _, a := range c.Authorities {
		routes := c.homeRoutes(&a)
		for _, zone := range a.Domains {
			i := slices.IndexFunc(routes, func(route Route) bool { return covers(route.To, zone) })
			switch {
			case i < 0:
				r.warn(s.n.get("routes").at(), "no route for the own domain %s: its mail goes to its MX, which is often this guard itself; write where its mailboxes are", zone)
			case routes[i].To == "*" && slices.ContainsFunc(routes, func(route Route) bool { return route.To != "*" }):
				r.warn(s.n.get("routes").at(), `the own domain %s has no route of its own: mail to its mailboxes goes by "*", with the mail to the world`, zone)
			}
		}
	}
}

// told is the warnings in the order of the file.
func (r *reader) told() []string {
	slices.SortStableFunc(r.warnings, func(a, b located[string]) int { return cmp.Compare(a.line(), b.line()) })
	var out []string
	for _, w := range r.warnings {
		text := w.value
		if w.line() > 0 {
			text = fmt.Sprintf("line %d: %s", w.line(), w.value)
		}
		out = append(out, text)
	}
	return out
}
