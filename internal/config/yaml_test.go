package config

import (
	"strings"
	"testing"
)

// TestBounds: a file that would cost the parser too much is refused before it is parsed.
func TestBounds(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"size", strings.Repeat("# x\n", mostBytes/4+1), "a configuration is at most"},
		{"line", "# " + strings.Repeat("x", mostLine), "a line is at most"},
		{"brackets", strings.Repeat("[[[[[[[[[[\n", mostBrackets/10+1), "brackets"},
		{"depth", strings.Repeat("[", mostDepth+2) + strings.Repeat("]", mostDepth+2), "nesting is too deep"},
		{"flow open", strings.Repeat("{a: ", 100), "not YAML"},
		{"merge key", "<<: {a: b}\n", "not read here"},
		{"binary", "\x00\xff\xfe\n", "postvagt.yaml:1: the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse("postvagt.yaml", []byte(c.data))
			if got != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a mistake with %q", err, c.want)
			}
		})
	}
}

// TestSpellings: the ways in which editors and people write the same file mean the same.
func TestSpellings(t *testing.T) {
	for name, data := range map[string]string{
		"CRLF":          strings.ReplaceAll(minimal, "\n", "\r\n"),
		"document mark": "---\n" + minimal,
		"comments":      "# first\n" + strings.ReplaceAll(minimal, "listen:\n", "listen: # here\n  # there\n"),
		"quotes":        strings.ReplaceAll(minimal, "Eksempel Kommune", "'Eksempel Kommune'"),
		"block text":    strings.ReplaceAll(minimal, "name: Eksempel Kommune", "name: >-\n      Eksempel\n      Kommune"),
		"no last line":  strings.TrimSuffix(minimal, "\n"),
		"one value":     strings.ReplaceAll(minimal, "[eksempel.example]", "eksempel.example"),
		"byte order":    "\ufeff" + minimal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Parse("postvagt.yaml", []byte(data))
			if err != nil {
				t.Fatal(err)
			}
			if a := c.Authorities[0]; a.Name != "Eksempel Kommune" || len(a.Domains) != 1 || len(c.Routes) != 2 || c.Listen.SMTP[0] != "127.0.0.1:2525" {
				t.Errorf("got %+v", c)
			}
		})
	}
	// A number is a text where a text is wanted, with all its digits.
	c, err := Parse("postvagt.yaml", []byte(strings.Replace(minimal, "Eksempel Kommune", "0112", 1)))
	if err != nil || c.Authorities[0].Name != "0112" {
		t.Errorf("a name of digits: got %v", err)
	}
}
