package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postvagt/internal/level"
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
		if len(c.Authorities) == 0 || c.Store.SQLite == "" || c.Store.Keys == "" || c.Delivery.Return <= c.Delivery.Delay || len(c.Delivery.Retry) == 0 {
			t.Fatalf("accepted, but incomplete: %+v", c)
		}
		for i, a := range c.Authorities {
			for _, d := range a.Domains {
				if !strings.HasPrefix(d, ".") && c.AuthorityOf(d) != &c.Authorities[i] {
					t.Fatalf("%q is not its own authority's", d)
				}
				if c.RouteOf(d).Level == level.None {
					t.Fatalf("the route to %q has no level", d)
				}
			}
		}
	})
}
