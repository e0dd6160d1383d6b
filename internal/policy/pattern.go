package policy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"postvagt/internal/mail"
)

// domainPattern is a domain in its compared form (lower case, A-labels); with a leading dot it means all below it.
type domainPattern string

// pattern is an address pattern, read.
type pattern struct {
	local  []string // the literal pieces between the stars, lower case; nil: any local part
	domain domainPattern
}

// Match reports whether a fits the pattern. Case does not matter. The forms are:
//
//	eksempel.example            every address in the domain
//	.eksempel.example           every address in a domain below it, not in itself
//	borger@eksempel.example     this address
//	social*@eksempel.example    "*" stands for any characters, also none; only before the @
//
// A pattern that CheckPattern refuses matches nothing. It takes time linear in both.
func Match(pat string, a mail.Address) bool {
	p, err := readPattern(pat)
	return err == nil && p.match(a)
}

// CheckPattern says what is wrong with a pattern and what to write instead.
func CheckPattern(pat string) error {
	_, err := readPattern(pat)
	return err
}

func readPattern(s string) (pattern, error) {
	at := strings.LastIndexByte(s, '@')
	d, err := readDomain(s[at+1:])
	if err != nil {
		return pattern{}, err
	}
	if at < 0 {
		return pattern{domain: d}, nil
	}
	if at == 0 {
		return pattern{}, errors.New(`nothing stands before the "@": write "*@domain" or only the domain for every address in it`)
	}
	return pattern{local: strings.Split(strings.ToLower(s[:at]), "*"), domain: d}, nil
}

func readDomain(s string) (domainPattern, error) {
	bare := strings.TrimPrefix(s, ".")
	switch {
	case bare == "":
		return "", errors.New(`the domain is missing: write for example "eksempel.example" or "*@eksempel.example"`)
	case strings.Contains(bare, "*"):
		return "", errors.New(`"*" cannot stand in the domain: write ".eksempel.example" for every domain below eksempel.example`)
	case strings.ContainsAny(bare, " \t\r\n\x00@<>,;\"()\\"):
		return "", errors.New("the domain holds a character that no domain holds")
	case bare[0] == '.' || bare[len(bare)-1] == '.' || strings.Contains(bare, ".."):
		return "", errors.New("the domain has a dot too many")
	}
	d := compared(bare)
	if s[0] == '.' {
		d = "." + d
	}
	return domainPattern(d), nil
}

// compared returns a domain in the form in which two spellings of it are equal: lower case with A-labels.
func compared(d string) string {
	for i := range len(d) {
		if d[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(d); err == nil {
				return a
			}
			break
		}
	}
	return strings.ToLower(d)
}

func (p pattern) match(a mail.Address) bool {
	return a != "" && p.domain.match(compared(a.Domain())) && p.matchLocal(strings.ToLower(a.Local()))
}

// match takes a domain in its compared form.
func (p domainPattern) match(d string) bool {
	if p[0] == '.' {
		return len(d) > len(p) && strings.HasSuffix(d, string(p))
	}
	return d == string(p)
}

// matchLocal finds each piece at its leftmost place after the one before. That is enough, since a later place would
// only leave less room, and it never goes back.
func (p pattern) matchLocal(s string) bool {
	if p.local == nil {
		return true
	}
	first, rest := p.local[0], p.local[1:]
	if len(rest) == 0 {
		return s == first
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for _, piece := range rest[:len(rest)-1] {
		if _, s, ok = strings.Cut(s, piece); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, rest[len(rest)-1])
}

// readPatterns and readDomains are for lists that check has accepted.
func readPatterns(list []string) []pattern {
	var ps []pattern
	for _, s := range list {
		p, err := readPattern(s)
		if err != nil {
			panic(fmt.Sprintf("policy: pattern %q was not checked: %v", s, err))
		}
		ps = append(ps, p)
	}
	return ps
}

func readDomains(list []string) []domainPattern {
	var ds []domainPattern
	for _, s := range list {
		d, err := readDomain(s)
		if err != nil {
			panic(fmt.Sprintf("policy: domain %q was not checked: %v", s, err))
		}
		ds = append(ds, d)
	}
	return ds
}

func anyDomain(list []domainPattern, domain string) bool {
	if domain == "" {
		return false
	}
	domain = compared(domain)
	for _, d := range list {
		if d.match(domain) {
			return true
		}
	}
	return false
}

func anyPattern(list []pattern, a mail.Address) bool {
	for _, p := range list {
		if p.match(a) {
			return true
		}
	}
	return false
}

// closest is how close the closest of a list comes to a domain: the length of the part they share, the most for the domain itself; 0: none
// matches.
func closest(list []domainPattern, domain string) (n int) {
	if domain == "" {
		return 0
	}
	domain = compared(domain)
	for _, p := range list {
		if p.match(domain) {
			n = max(n, len(p))
			if p[0] != '.' {
				n = len(domain) + 1
			}
		}
	}
	return n
}
