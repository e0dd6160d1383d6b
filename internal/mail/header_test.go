package mail

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func decode(s string) string {
	m := Parse([]byte("Subject:"+s+"\r\n\r\n"), Limits{})
	f, _ := m.Root.Get("subject")
	return m.Decoded(f)
}

func TestDecoded(t *testing.T) {
	tests := []struct{ raw, want string }{
		{" plain", "plain"},
		{" folded\r\n  twice\r\n\tover ", "folded  twice\tover"},
		{" =?utf-8?Q?R=C3=B8dgr=C3=B8d?=", "Rødgrød"},
		{" =?iso-8859-1?q?R=F8dgr=F8d_med?= fl", "Rødgrød med fl"},
		{" =?UTF-8?B?UsO4ZGdyw7hk?=", "Rødgrød"},
		{" =?utf-8*da?Q?=C3=B8?=", "ø"},
		{" =?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"},
		{" =?utf-8?Q?a?=\r\n =?utf-8?Q?b?=", "ab"},
		{" =?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"},
		{" =?utf-8?Q?a?==?utf-8?Q?b?=", "ab"},
		{" x=?utf-8?Q?a?=y", "xay"},
		{" \"=?utf-8?Q?a?=\"", "\"a\""},
		{" (=?utf-8?Q?a?=)", "(a)"},
		{" =?utf-8?Q?=C3?= =?utf-8?Q?=B8?=", "ø"},               // a character split between words
		{" =?utf-8?B?w?= =?UTF-8?B?7g=?=", "ø"},                 // a base64 group split between words
		{" =?utf-8?B?w7g=?= =?utf-8?B?w7g=?=", "øø"},            // each padded
		{" =?utf-8?B?w7g?=", "ø"},                               // not padded
		{" =?utf-8?Q?a?= =?iso-8859-1?Q?=F8?=", "aø"},           // different charsets
		{" =?utf-8?Q?a b?=", "a b"},                             // blank in a word
		{" =?utf-8?B?w7\r\n g=?=", "ø"},                         // fold in a word
		{" =?utf-8?B?010170-5000?=", "=?utf-8?B?010170-5000?="}, // no base64: shown as it stands
		{" =?utf-8?Q?open", "=?utf-8?Q?open"},
		{" =?utf-8?X?a?=", "=?utf-8?X?a?="},
		{" =??Q?a?=", "=??Q?a?="},
		{" =?utf-8?Q?=?=", "="},
		{" =?utf-8?Q??=", ""},
		{" =?utf-8?Q?a=0D=0AX:_y?=", "a  X: y"}, // no second line
		{" =?nonsense?Q?=F8?=", "ø"},
		{" =?utf-7?Q?+APg-?=", "ø"},
		{" r\xf8d", "rød"},
		{" r\xc3\xb8d", "rød"},
		{" r\xc3\xb8d og r\xf8d", "rød og rød"},
		{" r\xf8d =?utf-8?Q?=C3=B8?=", "rød ø"},
		{" =?iso-2022-jp?B?GyRCJSIbKEI=?=", "ア"},
	}
	for _, tt := range tests {
		if got := decode(tt.raw); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestFields(t *testing.T) {
	m := Parse([]byte("From a@b Mon\r\nReceived: 1\r\nreceived : 2\r\n\tmore\r\nno colon\r\nS\xf8: x\r\nLast:\r\n\r\n"), Limits{})
	checkTree(t, m, defaults)
	var got []string
	for _, f := range m.Root.Fields {
		got = append(got, f.Name+"="+m.Unfolded(f))
	}
	want := []string{"=From a@b Mon", "Received=1", "received=2\tmore", "=no colon", "=S\xf8: x", "Last="}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if all := m.Root.All("RECEIVED"); len(all) != 2 || m.Unfolded(all[1]) != "2\tmore" {
		t.Errorf("all Received: %v", all)
	}
	if _, ok := m.Root.Get("Subject"); ok {
		t.Error("found a field that is not there")
	}
}

func TestEncodeHeader(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("ord og flere ord ", 20))
	tests := []struct{ text, want string }{
		{"", ""},
		{"plain", "plain"},
		{"Sag om børn", "=?utf-8?q?Sag_om_b=C3=B8rn?="},
		{"かき", "=?utf-8?b?44GL44GN?="},
		{"a\r\nBcc: b", "a  Bcc: b"},
		{"=?x", "=?utf-8?b?PT94?="},
		{" x", "=?utf-8?q?_x?="},
	}
	for _, tt := range tests {
		if got := EncodeHeader(tt.text); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
	for _, s := range []string{long, strings.Repeat("æøå ", 60) + "x", strings.Repeat("かき", 100), strings.Repeat("x", 2000)} {
		checkEncoded(t, s)
	}
}

// checkEncoded: what EncodeHeader writes is ASCII, short lines, and decodes to what went in.
func checkEncoded(t *testing.T, s string) {
	t.Helper()
	got := EncodeHeader(s)
	for i, line := range strings.Split(got, "\r\n") {
		room := maxHeaderLine
		if i == 0 {
			room -= nameRoom
		} else if line == "" || !isBlank(line[0]) || strings.Trim(line, " \t") == "" {
			t.Fatalf("%q: line %q is no fold", s, line)
		}
		// A longer line is one unbroken stretch of plain text, which cannot be folded.
		if len(line) > room && (len(line) > 998 || strings.ContainsAny(strings.Trim(line, " \t"), " \t") && strings.Contains(line, "=?")) {
			t.Fatalf("%q: line of %d bytes", s, len(line))
		}
		if strings.ContainsAny(line, "\r\n\x00") || !isASCII(line) {
			t.Fatalf("%q: line %q", s, line)
		}
	}
	want := oneLine(mixedUTF8(s))
	if back := DecodeHeader(got); back != want {
		t.Fatalf("%q: %q decodes to %q, want %q", s, got, back, want)
	}
}

func TestMailboxes(t *testing.T) {
	const value = ` "Hansen, Bo" <bo@eksempel.example>, =?utf-8?q?S=C3=B8s?= <s@x.example>, plain@x.example, (Ib) ib@x.example,
 Gruppe: a@x.example, "b c"@x.example; Uden Adresse,, <>, "Bo \"B\" (x)" <@relay:bo@x.example> (note, with comma)`
	m := Parse(crlfs("To:"+value+"\n\n"), Limits{})
	f, _ := m.Root.Get("to")
	got := m.Mailboxes(f)
	want := []Mailbox{
		{Name: "Hansen, Bo", Address: "bo@eksempel.example"}, {Name: "Søs", Address: "s@x.example"}, {Address: "plain@x.example"},
		{Name: "Ib", Address: "ib@x.example"}, {Address: "a@x.example"}, {Address: `"b c"@x.example`},
		{Name: "Uden Adresse"}, {Name: `Bo "B" (x)`, Address: "@relay:bo@x.example"},
	}
	for i := range got {
		if span := got[i].Span; span.Start < f.Value.Start || span.End > f.Value.End || span.Len() <= 0 {
			t.Errorf("%v outside of %v", got[i], f.Value)
		}
		got[i].Span = Range{}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func FuzzDecoded(f *testing.F) {
	for _, s := range []string{"plain", "=?utf-8?Q?R=C3=B8d?=", "=?utf-8?B?w7g=?= =?utf-8?B?w7g?=", "r\xf8d =?x", "=?a?b?=?=",
		"\"Hansen, Bo\" <bo@x>, (a (b) c) d@e; f: g", "a\r\n b\rc\nd", "=?utf-7?q?+2AHcAA-?=", "=?utf-16?b?2AA=?=", " x ", "=?utf-8?q?=0D?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeHeader(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n") {
			t.Fatalf("%q decodes to %q", s, got)
		}
		checkEncoded(t, s)
		m := Parse([]byte("To:"+s), Limits{})
		for _, f := range m.Root.Fields {
			at := f.Value.Start
			for _, b := range m.Mailboxes(f) {
				if b.Span.Start < at || b.Span.End > f.Value.End || !utf8.ValidString(b.Name) || !utf8.ValidString(b.Address) {
					t.Fatalf("%q: mailbox %v of %v", s, b, f.Value)
				}
				at = b.Span.End
			}
		}
	})
}
