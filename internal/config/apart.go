package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// ownWays reads an authority's own routes; they are written like the common ones.
func (r *reader) ownWays(s section, authority string) (routes []Route) {
	n := s.child("routes")
	if n != nil && n.kind != isList {
		r.mistake(n.line, fmt.Sprintf("authorities.routes is %s, but a list is wanted", n.kind), "", "begin each entry with - ")
		return nil
	}
	for _, item := range n.all() {
		route := r.route(r.section(item, "routes[]"))
		route.Authority = authority
		routes = append(routes, route)
	}
	return routes
}

// apart checks that several authorities are kept strictly apart: who may send for whom, whose keys, whose mailboxes.
func (r *reader) apart(s section, c *Config) {
	for i, n := range s.n.get("trusted").all() {
		if i < len(c.Trusted) {
			r.bound(n, "trusted", c.Trusted[i].Authorities, c)
		}
	}
	for i, n := range s.n.get("users").all() {
		if i >= len(c.Users) {
			break
		}
		r.bound(n, "users", c.Users[i].Authorities, c)
		r.sendersBound(n.get("senders"), c.Users[i], c)
	}
	r.keysApart(s, c)
	others(c)
	for i, n := range s.n.get("authorities").all() {
		if i < len(c.Authorities) {
			r.mailboxesApart(n, &c.Authorities[i], c)
		}
	}
}

// bound checks for whom a client may send. With one authority there is nothing to say.
func (r *reader) bound(n *node, what string, names []string, c *Config) {
	if len(names) == 0 && len(c.Authorities) > 1 {
		hint := "write authorities: " + quote(c.Authorities[0].Name)
		if n.kind != isMapping {
			hint = "write {net: " + n.text + ", authorities: " + quote(c.Authorities[0].Name) + "}"
		}
		r.mistake(n.line, what+" does not say for which authority", "with several authorities each client is bound to those it may send for", hint)
	}
	nodes := n.get("authorities").all()
	for i, name := range names {
		line := n.line
		if len(nodes) == len(names) {
			line = nodes[i].line
		}
		switch {
		case c.AuthorityNamed(name) == nil:
			r.mistake(line, what+".authorities "+quote(name)+" is no authority here", "", didYouMean(name, namesOf(c)))
		case slices.Contains(names[:i], name):
			r.mistake(line, what+".authorities "+quote(name)+" is given twice", "", "keep one")
		}
	}
}

func namesOf(c *Config) (names []string) {
	for _, a := range c.Authorities {
		names = append(names, a.Name)
	}
	return names
}

// sendersBound tells patterns by which a user would send as an authority that it is not bound to.
func (r *reader) sendersBound(n *node, u User, c *Config) {
	bound := c.Bound(u.Authorities)
	for i, pattern := range u.Senders {
		zone := pattern[strings.LastIndexByte(pattern, '@')+1:]
		if below, dot := strings.CutPrefix(zone, "."); dot {
			zone = "." + canonical(below) // what is below it is another matter than itself
		}
		owner := c.AuthorityOf(zone)
		if owner == nil || len(bound) == 0 || slices.Contains(bound, owner) {
			continue
		}
		line := n.at()
		if nodes := n.all(); len(nodes) == len(u.Senders) {
			line = nodes[i].line
		}
		r.mistake(line, "users.senders "+quote(pattern)+" belongs to "+quote(owner.Name)+", for which the user may not send", "", "remove it, or add the authority to authorities")
	}
}

// keysApart tells key files that serve two purposes, and warns where authorities share one because they name none.
func (r *reader) keysApart(s section, c *Config) {
	owner := map[string]string{}
	if c.Store.Keys != "" {
		owner[filepath.Clean(c.Store.Keys)] = "store.keys"
	}
	if c.Store.SQLite != "" {
		owner[filepath.Clean(c.Store.SQLite)] = "store.sqlite"
	}
	var share []string
	nodes := s.n.get("authorities").all()
	for i, a := range c.Authorities {
		if a.Keys == "" {
			share = append(share, a.Name)
			continue
		}
		file := filepath.Clean(a.Keys)
		if other := owner[file]; other != "" && i < len(nodes) {
			r.mistake(nodes[i].get("keys").at(), "authorities.keys "+quote(a.Keys)+" is the file of "+other+" already", "what one seals the other could open", "give each a file of its own")
		}
		owner[file] = a.Name
	}
	if len(share) > 1 {
		r.warn(s.n.get("authorities").at(), "%s share the key file %s: who has it can read the waiting mail of all of them; write keys: under each", strings.Join(share, ", "), quote(c.Store.Keys))
	}
}

// mailboxesApart tells mailboxes by which an authority's notices would reach another.
func (r *reader) mailboxesApart(n *node, a *Authority, c *Config) {
	check := func(at *node, key, address string) {
		_, domain, _ := strings.Cut(address, "@")
		if other := c.AuthorityOf(domain); at != nil && other != nil && other != a {
			r.mistake(at.line, "authorities."+key+" "+quote(address)+" belongs to "+quote(other.Name), "what is told of one authority's mail reaches no other", "name a mailbox of "+quote(a.Name))
		}
	}
	check(n.get("safety_net"), "safety_net", a.SafetyNet)
	check(n.get("held").get("owner"), "held.owner", a.Held.Owner)
	check(n.get("notices").get("from"), "notices.from", a.Notices.From)
	for i, unit := range n.get("units").all() {
		if i < len(a.Units) {
			check(unit.get("mailbox"), "units.mailbox", a.Units[i].Mailbox)
		}
	}
}

// others tells each authority's policy which domains below its own are another's.
func others(c *Config) {
	for i := range c.Authorities {
		a := &c.Authorities[i]
		for j, other := range c.Authorities {
			if i == j {
				continue
			}
			for _, zone := range other.Domains {
				if slices.ContainsFunc(a.Domains, func(own string) bool { return covers(own, zone) }) {
					a.Policy.Others = append(a.Policy.Others, bothForms([]string{zone})...)
				}
			}
		}
	}
}
