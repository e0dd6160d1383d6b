package main

import (
	"fmt"
	"slices"
	"strings"

	"postvagt/internal/config"
)

// apartWords says of several authorities what each has to itself and what they share; nothing of a single one.
func apartWords(c *config.Config, lang string) (lines []string) {
	if len(c.Authorities) < 2 {
		return nil
	}
	da := lang == "da"
	say := func(danish, english string, args ...any) {
		lines = append(lines, fmt.Sprintf(pick(da, danish, english), args...))
	}
	var names []string
	for _, a := range c.Authorities {
		names = append(names, a.Name)
	}
	say("%s holdes adskilt: hver har egne regler, frister, sikkerhedsnet, enheder, meddelelser og hændelseskæde, og ingen ser de andres post.",
		"%s are kept apart: each has its own policy, deadlines, safety net, units, notices and event chain, and none sees the others' mail.", strings.Join(names, ", "))
	for i := range c.Authorities {
		a := &c.Authorities[i]
		keys := pick(da, "fælles: ", "shared: ") + c.Store.Keys
		if a.Keys != "" {
			keys = a.Keys
		}
		say("  %s: nøglefil %s. Må sende for den: %s.", "  %s: key file %s. May send for it: %s.", a.Name, keys, strings.Join(senders(c, a, da), ", "))
		for j := range c.Authorities {
			b := &c.Authorities[j]
			for _, zone := range b.Domains {
				if a == b {
					continue
				}
				if r := c.RouteOf(a, anyIn(zone)); r.HandOver == "" {
					say("  %s: post til %s (%s) går ud ad dens egen rute.", "  %s: mail to %s (%s) leaves by its own route.", a.Name, b.Name, zone)
				}
			}
		}
	}
	say("Post mellem dem er post udefra: den forlader afsenderens myndighed efter dens regler og ankommer efter modtagerens, uden at forlade maskinen, hvis ingen egen rute nævner domænet.",
		"Mail between them is mail from outside: it leaves the sender's authority by its rules and arrives by the recipient's, without leaving the machine unless an own route names the domain.")
	say("Fælles for alle: lytterne og certifikatet, grænserne, maskinen, regnskabet (%s) og dem, der styrer dem.",
		"Shared by all: the listeners and the certificate, the limits, the machine, the ledger (%s), and those who run them.", where(c))
	return lines
}

// anyIn is a domain in a zone, one that nobody names: ".zone" is what is below it, not the zone itself.
func anyIn(zone string) string {
	if strings.HasPrefix(zone, ".") {
		return "*" + zone
	}
	return zone
}

// senders are the networks and users that may send for an authority.
func senders(c *config.Config, a *config.Authority, da bool) (who []string) {
	for _, t := range c.Trusted {
		if slices.Contains(c.Bound(t.Authorities), a) {
			who = append(who, t.Net.String())
		}
	}
	for _, u := range c.Users {
		if slices.Contains(c.Bound(u.Authorities), a) {
			who = append(who, pick(da, "brugeren ", "user ")+u.Name)
		}
	}
	if who == nil {
		who = []string{pick(da, "ingen", "nobody")}
	}
	return who
}

// alone is the configuration as if it named one authority only: without the others, their clients and the warnings, which may be of them.
func alone(c *config.Config, name string) *config.Config {
	one := *c
	one.Authorities, one.Trusted, one.Users, one.Warnings = []config.Authority{*c.AuthorityNamed(name)}, nil, nil, nil
	one.Routes = slices.DeleteFunc(slices.Clone(c.Routes), func(r config.Route) bool {
		owner := c.AuthorityOf(anyIn(r.To))
		return owner != nil && owner.Name != name
	})
	return &one
}
