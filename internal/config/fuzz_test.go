package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
)

// FuzzParse: whatever the bytes, Parse returns a configuration or mistakes, and a configuration can be asked.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	for _, pattern := range []string{"testdata/*/*.yaml", "../../packaging/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		if err != nil {
			var ms Mistakes
			if c != nil || !errors.As(err, &ms) || len(ms) == 0 {
				t.Fatalf("got %v and %#v, want mistakes alone", c, err)
			}
			for _, m := range ms {
				if m.File != "f.yaml" || m.What == "" || m.Line < 0 {
					t.Fatalf("bad mistake %+v", m)
				}
			}
			return
		}
		if len(c.Authorities) == 0 || (c.Store.SQLite == "") == (c.Store.Postgres == "") || c.Node == "" || c.Store.Keys == "" || c.Delivery.Return <= c.Delivery.Delay || len(c.Delivery.Retry) == 0 {
			t.Fatalf("accepted, but incomplete: %+v", c)
		}
		for _, u := range c.Users {
			if len(c.Bound(u.Authorities)) == 0 {
				t.Fatalf("user %q may send for nobody", u.Name)
			}
		}
		for _, n := range c.Trusted {
			if len(c.Bound(n.Authorities)) == 0 {
				t.Fatalf("%v is trusted for nobody", n.Net)
			}
		}
		for i, a := range c.Authorities {
			for _, d := range a.Domains {
				for j, each := range c.Authorities { // the policy and the configuration agree on who is inside
					p, err := policy.New(each.Policy)
					if err != nil {
						t.Fatalf("the policy of a checked configuration: %v", err)
					}
					host := strings.TrimPrefix(d, ".")
					if p.Inside(mail.Address("x@"+host)) != (c.AuthorityOf(host) == &c.Authorities[j]) {
						t.Fatalf("%q is inside %q for the one and not for the other", host, each.Name)
					}
				}
				if !strings.HasPrefix(d, ".") && c.AuthorityOf(d) != &c.Authorities[i] {
					t.Fatalf("%q is not its own authority's", d)
				}
				for j := range c.Authorities {
					// A ".zone" of one authority may hold a domain of another: what counts is whose the domain is.
					own := c.AuthorityOf(d) == &c.Authorities[j]
					if r := c.RouteOf(&c.Authorities[j], d); (r.HandOver == "") != (r.Level != level.None) || own && r.HandOver != "" || r.Authority != "" && r.Authority != c.Authorities[j].Name {
						t.Fatalf("the way to %q for %q: %+v", d, c.Authorities[j].Name, r)
					}
				}
			}
		}
	})
}

// FuzzDSN: an address that is taken shows no password, however it is printed, and is one that can be read again.
func FuzzDSN(f *testing.F) {
	for _, s := range []string{
		"postgres://u:hemmelig@db.example:5432/postvagt?sslmode=verify-full", "postgresql:///postvagt?host=/run/postgresql&password=hemmelig",
		"postgres://u:hem%25melig@a.example:1,b.example:2/x?target_session_attrs=read-write", "postgres://@/", "postgres://u:a#b@h/db", "postgres://u:a?b@h/db",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDSN(s)
		if err != nil {
			return
		}
		shown, err := parseDSN(d.String())
		if err != nil {
			t.Fatalf("%q is shown as %q, which cannot be read: %v", s, d, err)
		}
		if shown.HasSecret() || shown.String() != d.String() {
			t.Fatalf("%q is shown as %q", s, d)
		}
		if with := d.with("hem/me#lig"); !with.HasPassword() || with.String() != d.String() {
			t.Fatalf("%q with a password is shown as %q", s, with)
		}
	})
}
