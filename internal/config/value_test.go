package config

import (
	"fmt"
	"strings"
	"testing"
)

// parsed shows a parser's answer: the value, or "!" and what is wrong.
func parsed[T any](parse func(string) (T, error)) func(string) string {
	return func(s string) string {
		v, err := parse(s)
		if err != nil {
			return "! " + err.Error()
		}
		return fmt.Sprint(v)
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		name  string
		parse func(string) string
		cases [][2]string // what is written, and what it means; "!" for any mistake
	}{
		{"duration", parsed(parseDuration), [][2]string{
			{"4h", "4h0m0s"}, {"3d", "72h0m0s"}, {"1d12h", "36h0m0s"}, {"90s", "1m30s"}, {"1h30m", "1h30m0s"}, {"1.5h", "1h30m0s"},
			{"", "!"}, {"4", "!"}, {"d", "!"}, {"-1d", "!"}, {"-4h", "!"}, {"0s", "!"}, {"0d", "!"}, {"1d-1h", "!"}, {"4 h", "!"}, {"99999d", "!"}, {"65535d", "1572840h0m0s"}, {"300000000h", "!"}, {"1d 2h", "!"},
		}},
		{"size", parsed(parseSize), [][2]string{
			{"0", "0"}, {"1048576", "1048576"}, {"50MiB", "52428800"}, {"50 mib", "52428800"}, {"64k", "65536"}, {"1 GB", "1000000000"}, {"1GiB", "1073741824"}, {"1_000", "1000"}, {"7b", "7"},
			{"2GiB", "!"}, {"-1", "!"}, {"", "!"}, {"MiB", "!"}, {"1.5MiB", "!"}, {"9999999999999GiB", "!"},
		}},
		{"domain", parsed(parseDomain), [][2]string{
			{"Eksempel.EXAMPLE", "eksempel.example"}, {"eksempel.example.", "eksempel.example"}, {"rødgrød.example", "xn--rdgrd-vuad.example"}, {"XN--RDGRD-VUAD.example", "xn--rdgrd-vuad.example"}, {"localhost", "localhost"},
			{"", "!"}, {".", "!"}, {".eksempel.example", "!"}, {"a..b", "!"}, {"a b", "!"}, {"a_b.example", "!"}, {"-a.example", "!"}, {"a@b.example", "!"}, {"*.b.example", "!"}, {"http://b.example", "!"},
			{strings.Repeat("a", 64) + ".example", "!"}, {strings.Repeat("a.", 130) + "example", "!"},
		}},
		{"zone", parsed(parseZone), [][2]string{{".Eksempel.example", ".eksempel.example"}, {"..eksempel.example", "!"}, {".", "!"}}},
		{"destination", parsed(parseDestination), [][2]string{{"*", "*"}, {"*.a.example", "!"}, {".a.example", ".a.example"}}},
		{"address", parsed(parseAddress), [][2]string{
			{"Post@Eksempel.Example", "Post@eksempel.example"}, {"post@rødgrød.example", "post@xn--rdgrd-vuad.example"},
			{"post", "!"}, {"@eksempel.example", "!"}, {"post@", "!"}, {"<post@eksempel.example>", "!"}, {"a b@eksempel.example", "!"}, {"post@[192.0.2.1]", "!"}, {"", "!"},
		}},
		{"host:port", parsed(parseHostPort), [][2]string{
			{"127.0.0.1:25", "127.0.0.1:25"}, {"Smart.Example:025", "smart.example:25"}, {"[2001:db8::1]:25", "[2001:db8::1]:25"}, {"[smart.example]:25", "smart.example:25"},
			{"smart.example", "!"}, {":25", "!"}, {"smart.example:", "!"}, {"smart.example:0", "!"}, {"smart.example:65536", "!"}, {"2001:db8::1", "!"}, {"a b:25", "!"}, {"", "!"}, {"smart.example:25:25", "!"},
		}},
		{"listen", parsed(parseListen), [][2]string{{":25", ":25"}, {"127.0.0.1:0", "127.0.0.1:0"}, {"[::]:25", "[::]:25"}, {"25", "!"}, {"*:25", "!"}}},
		{"network", parsed(parseNetwork), [][2]string{
			{"127.0.0.0/8", "127.0.0.0/8"}, {"192.0.2.1", "192.0.2.1/32"}, {"2001:db8::1", "2001:db8::1/128"}, {"::ffff:192.0.2.1", "192.0.2.1/32"}, {"0.0.0.0/0", "0.0.0.0/0"},
			{"192.0.2.1/24", "!"}, {"192.0.2.0/33", "!"}, {"fe80::1%eth0", "!"}, {"::ffff:192.0.2.0/120", "!"}, {"nabo.example", "!"}, {"", "!"},
		}},
		{"number", parsed(number(1, 1000)), [][2]string{{"1", "1"}, {"1_000", "1000"}, {"0", "!"}, {"1001", "!"}, {"x", "!"}, {"1e3", "!"}, {"99999999999999999999", "!"}}},
		{"fraction", parsed(parseFraction), [][2]string{{"1", "1"}, {"0.5", "0.5"}, {"0", "!"}, {"1.1", "!"}, {"NaN", "!"}, {"-1", "!"}, {"half", "!"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, c := range test.cases {
				got := test.parse(c[0])
				if got != c[1] && (c[1] != "!" || !strings.HasPrefix(got, "!")) {
					t.Errorf("%q: got %s, want %s", c[0], got, c[1])
				}
			}
		})
	}
}

// TestDefaults proves that every default in the table can be read, and that hints name keys that exist.
func TestDefaults(t *testing.T) {
	for _, f := range fields {
		if f.Default != "" && f.defaultNode() == nil {
			t.Errorf("%s: default %q is no YAML", f.Path, f.Default)
		}
		if f.Doc == "" || strings.HasSuffix(f.Doc, ".") || f.Type == "" {
			t.Errorf("%s: no doc, a full stop at its end, or no type", f.Path)
		}
		if f.sample() == "" {
			t.Errorf("%s: nothing to show in a hint", f.Path)
		}
		if f.Default != "" && (f.Required || f.Otherwise != "") {
			t.Errorf("%s: has a default and something else", f.Path)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"lsiten", "listen", 1}, {"safetynet", "safety_net", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
