package config

import (
	"fmt"
	"slices"
)

// domainsOnce tells a domain that two authorities claim, or one claims twice: whose mail would it be?
func (r *reader) domainsOnce(root *node, c *Config) {
	first := map[string]int{}
	list := root.get("authorities")
	if list == nil || list.kind != isList {
		return
	}
	for _, a := range list.items {
		domains := a.get("domains")
		if domains == nil {
			continue
		}
		items := domains.items
		if domains.kind != isList {
			items = []*node{domains}
		}
		for _, d := range items {
			zone, err := parseZone(d.text)
			if err != nil {
				continue
			}
			if line := first[zone]; line > 0 {
				r.mistake(d.line, fmt.Sprintf("the domain %s stands in line %d already", quote(zone), line), "its mail belongs to one authority", "remove one of them")
				continue
			}
			first[zone] = d.line
		}
	}
}

// whole checks what only shows when everything is read.
func (r *reader) whole(c *Config) {}

// told is the warnings in the order of the file.
func (r *reader) told() []string {
	slices.SortStableFunc(r.warnings, func(a, b located[string]) int { return a.line() - b.line() })
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
