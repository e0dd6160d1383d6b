package mail

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseAddress(t *testing.T) {
	good := []struct {
		in, local, domain, key string
		ascii                  bool
	}{
		{"bo@eksempel.example", "bo", "eksempel.example", "bo@eksempel.example", true},
		{"Bo.Hansen+x@Eksempel.EXAMPLE", "Bo.Hansen+x", "eksempel.example", "bo.hansen+x@eksempel.example", true},
		{"0101705000@e-boks.example", "0101705000", "e-boks.example", "0101705000@e-boks.example", true},
		{`"a b"@x.example`, `"a b"`, "x.example", `"a b"@x.example`, true},
		{`"A@b\"c"@X.example`, `"A@b\"c"`, "x.example", `"A@b\"c"@x.example`, true},
		{`""@x.example`, `""`, "x.example", `""@x.example`, true},
		{"postmaster@localhost", "postmaster", "localhost", "postmaster@localhost", true},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]", true},
		{"a@[IPv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]", true},
		{"søs@blåbær.example", "søs", "blåbær.example", "søs@blåbær.example", false},
		{"a@xn--blbr-roah.example", "a", "xn--blbr-roah.example", "a@xn--blbr-roah.example", true},
		{"a@b_c.example", "a", "b_c.example", "a@b_c.example", true},
		{"!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~", "x.example", "!#$%&'*+-/=?^_`{|}~@x.example", true},
		{strings.Repeat("a", 64) + "@x.example", strings.Repeat("a", 64), "x.example", strings.Repeat("a", 64) + "@x.example", true},
	}
	for _, tt := range good {
		a, err := ParseAddress(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if a.Local() != tt.local || a.Domain() != tt.domain || a.Key() != tt.key || a.ASCII() != tt.ascii {
			t.Errorf("%q: local %q, domain %q, key %q, ascii %v", tt.in, a.Local(), a.Domain(), a.Key(), a.ASCII())
		}
	}
	bad := []string{
		"", "@", "a", "a@", "@x.example", "<a@x.example>", "a b@x.example", "a@x example", "a..b@x.example", ".a@x.example", "a.@x.example",
		"a@x..example", "a@.example", "a@x.example.", "a@-x.example", "a@x-.example", "a@b@x.example", `"a@x.example`, `"a"b@x.example`,
		`"a\"@x.example`, "\"a\x00\"@x.example", "a\r\n@x.example", "a@x.example\r\n", "\"a\nb\"@x.example", "a\u200b@x.example", "a\u0085@x.example",
		"a@[1.2.3]", "a@[2001:db8::1]", "a@[IPv6:1.2.3.4]", "a@[IPv6:fe80::1%eth0]", "a@[1.2.3.4", "a@[]", "a@x,example", "a@x/example",
		"\xf8@x.example", strings.Repeat("a", 65) + "@x.example", "a@" + strings.Repeat("a", 64) + ".example",
		"a@" + strings.Repeat("abc.", 63) + "example", "a@x.ex\u00adample", "a@x\u3002example",
	}
	for _, s := range bad {
		if a, err := ParseAddress(s); err == nil {
			t.Errorf("%q was read as %q", s, a)
		} else if len(s) > 3 && strings.Contains(err.Error(), s) {
			t.Errorf("the error repeats the address: %v", err)
		}
	}
	var null Address
	if null.Local() != "" || null.Domain() != "" || null.Key() != "" || !null.ASCII() {
		t.Error("the null reverse-path has something in it")
	}
}

// FuzzAddress: what was read is read again as the same; nothing in it can break a command line.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"bo@eksempel.example", `"a\" b"@X.example`, "a@[IPv6:2001:DB8::1]", "søs@blåbær.example", "a@\u0130.example", "@", `""@x`, "a@\u212a.example", `"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if b, err := ParseAddress(string(a)); err != nil || b != a {
			t.Fatalf("%q is %q and then %q, %v", s, a, b, err)
		}
		if string(a) != a.Local()+"@"+a.Domain() || !strings.HasPrefix(s, a.Local()+"@") {
			t.Fatalf("%q is %q of %q and %q", s, a, a.Local(), a.Domain())
		}
		if len(a) > maxAddress || len(a.Local()) > maxLocal || !utf8.ValidString(string(a)) || strings.ContainsAny(string(a), "\r\n\x00\x7f") {
			t.Fatalf("%q is %q", s, a)
		}
		if a.ASCII() != (len(a) == utf8.RuneCountInString(string(a))) {
			t.Fatalf("%q: ascii %v", a, a.ASCII())
		}
		if k := Address(a.Key()); k.Key() != string(k) || k.Domain() != a.Domain() {
			t.Fatalf("%q: key %q has key %q", a, k, k.Key())
		}
	})
}
