package mail

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseParams(t *testing.T) {
	type m = map[string]string
	tests := []struct {
		raw, media string
		params     m
	}{
		{"text/plain", "text/plain", nil},
		{" Text/Plain ; Charset=UTF-8", "text/plain", m{"charset": "UTF-8"}},
		{"text/plain (a; b); charset=x (c)", "text/plain", m{"charset": "x (c)"}},
		{"attachment; filename=\"a;b.pdf\"; size=3", "attachment", m{"filename": "a;b.pdf", "size": "3"}},
		{"attachment; filename=a b (1).pdf; size=3", "attachment", m{"filename": "a b (1).pdf", "size": "3"}},
		{"attachment; filename=\"a \\\"b\\\".pdf\"", "attachment", m{"filename": `a "b".pdf`}},
		{`attachment; filename="C:\temp\a.pdf"`, "attachment", m{"filename": `C:\temp\a.pdf`}},
		{`attachment; filename="C:\"`, "attachment", m{"filename": `C:\`}},
		{"attachment; filename=\"open; x=y", "attachment", m{"filename": "open", "x": "y"}},
		{"attachment; filename=\"a\" (note); x=y", "attachment", m{"filename": "a", "x": "y"}},
		{"attachment; filename=\"a\"b.pdf; x=y", "attachment", m{"filename": "ab.pdf", "x": "y"}},
		{"attachment; filename=\"a\" x=\"y\"", "attachment", m{"filename": "a", "x": "y"}},
		{`"text/html"; charset=x`, "text/html", m{"charset": "x"}},
		{"multipart/mixed boundary=b", "multipart/mixed", m{"boundary": "b"}},
		{"multipart/mixed;\r\n\tboundary=\"b\";", "multipart/mixed", m{"boundary": "b"}},
		{"a/b;;; x = y ;=z; w", "a/b", m{"x": "y"}},
		{"a/b; x=1; x=2", "a/b", m{"x": "1"}},
		// RFC 2231.
		{"a; filename*=utf-8'da'r%C3%B8d.pdf", "a", m{"filename": "rød.pdf"}},
		{"a; filename*=iso-8859-1''r%F8d.pdf", "a", m{"filename": "rød.pdf"}},
		{"a; filename*=r%F8d", "a", m{"filename": "rød"}},
		{"a; filename*=\"utf-8''r%C3%B8d\"", "a", m{"filename": "rød"}},
		{"a; filename=x; filename*=utf-8''y", "a", m{"filename": "y"}},
		{"a; filename*=utf-8''y; filename=x", "a", m{"filename": "y"}},
		{"a; filename*0=ab; filename*1=cd", "a", m{"filename": "abcd"}},
		{"a; filename*1=cd; filename*0=ab; x=y", "a", m{"filename": "abcd", "x": "y"}},
		{"a; filename*0*=utf-8''r%C3; filename*1*=%B8; filename*2=d", "a", m{"filename": "rød"}},
		{"a; filename*0=\"0101\"; filename*1=\"70-5000\"", "a", m{"filename": "010170-5000"}},
		// RFC 2047 where it may not stand.
		{"a; filename=\"=?utf-8?Q?r=C3=B8d=2Epdf?=\"", "a", m{"filename": "rød.pdf"}},
		{"a; filename==?utf-8?Q?r=C3=B8d?=", "a", m{"filename": "rød"}},
		{"a; filename=\"=?utf-8?Q?r=C3?=\r\n =?utf-8?Q?=B8d?=\"", "a", m{"filename": "rød"}},
		{"a; filename*0=\"=?utf-8?Q?r=C3\"; filename*1=\"=B8d?=\"", "a", m{"filename": "rød"}},
		// 8-bit.
		{"a; filename=r\xf8d", "a", m{"filename": "rød"}},
		{"a; filename=\"r\xc3\xb8d\"", "a", m{"filename": "rød"}},
		{"a; filename*=utf-8''a%0D%0AX:%20y", "a", m{"filename": "a  X: y"}},
		{"", "", nil},
		{";", "", nil},
		{"; a=b", "", m{"a": "b"}},
	}
	for _, tt := range tests {
		media, params := ParseParams(tt.raw)
		if media != tt.media || !maps.Equal(params, tt.params) {
			t.Errorf("%q:\ngot  %q %q\nwant %q %q", tt.raw, media, params, tt.media, tt.params)
		}
	}
}

// TestParamSpans: taking out all the pieces of a parameter leaves a field that does not have it.
func TestParamSpans(t *testing.T) {
	const head = "Content-Disposition: attachment;\r\n filename*0*=utf-8''r%C3%B8; size=3;\r\n filename*1=\"d;\"  ; filename=\"x\" ; z=1\r\n\r\n"
	m := Parse([]byte(head), Limits{})
	f, _ := m.Root.Get("Content-Disposition")
	params := m.Params(f)
	if len(params) != 4 {
		t.Fatalf("%d parameters: %+v", len(params), params)
	}
	p := params[0]
	if p.Name != "filename" || p.Value != "rød;" || len(p.Pieces) != 2 || p.Span != p.Pieces[0].Span {
		t.Errorf("%+v", p)
	}
	for i, want := range []string{";\r\n filename*0*=utf-8''r%C3%B8", ";\r\n filename*1=\"d;\"  "} {
		if got := string(m.Bytes(p.Pieces[i].Span)); got != want {
			t.Errorf("piece %d is %q, want %q", i, got, want)
		}
	}
	for i, want := range []string{"utf-8''r%C3%B8", `"d;"`} {
		if got := string(m.Bytes(p.Pieces[i].Value)); got != want {
			t.Errorf("value %d is %q, want %q", i, got, want)
		}
	}
	raw := head[:p.Pieces[0].Span.Start] + head[p.Pieces[0].Span.End:p.Pieces[1].Span.Start] + head[p.Pieces[1].Span.End:]
	if want := "Content-Disposition: attachment; size=3; filename=\"x\" ; z=1\r\n\r\n"; raw != want {
		t.Errorf("got %q, want %q", raw, want)
	}
	if names := m.FileNames(m.Root); len(names) != 2 || names[0] != "rød;" || names[1] != "x" {
		t.Errorf("file names %q", names)
	}
	if m.Root.FileName != "rød;" {
		t.Errorf("file name %q", m.Root.FileName)
	}
}

func TestEncodeParam(t *testing.T) {
	tests := []struct{ value, want string }{
		{"", `filename=""`},
		{"a b.pdf", `filename="a b.pdf"`},
		{`a"b\c`, `filename="a\"b\\c"`},
		{"rød.pdf", "filename*=utf-8''r%C3%B8d.pdf"},
		{" a", "filename*=utf-8''%20a"},
		{"a\r\nX: y", `filename="a  X: y"`},
	}
	for _, tt := range tests {
		if got := EncodeParam("filename", tt.value); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.value, got, tt.want)
		}
		checkEncodedParam(t, tt.value)
	}
	for n := range 200 {
		checkEncodedParam(t, strings.Repeat("ø", n))
		checkEncodedParam(t, strings.Repeat("x", n)+"ø")
	}
}

// checkEncodedParam: what EncodeParam writes is short ASCII lines and is read back.
func checkEncodedParam(t *testing.T, s string) {
	t.Helper()
	got := EncodeParam("filename", s)
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > maxHeaderLine || !isASCII(line) || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("%q: line %q", s, line)
		}
	}
	_, params := ParseParams("attachment; " + got + "; x=y")
	if want := oneLine(mixedUTF8(s)); params["filename"] != want || params["x"] != "y" {
		t.Fatalf("%q: %s is read as %q", s, got, params)
	}
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"text/plain; charset=x", "a; filename*0*=utf-8''r%C3; filename*1*=%B8;", `a; b="c\"d" (e); f`,
		"a b=c", "a;b=\"open", "a (x;y) ; z = w", "a;b*99999999999=c;b*1=d", "a; =x; *=y; *0=z", "a;b='\"';c=\"d\"e=\"f\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := Parse([]byte("Content-Type:"+s), Limits{})
		for _, f := range m.Root.Fields {
			all := map[int]bool{}
			for _, p := range m.Params(f) {
				if p.Name == "" || !utf8.ValidString(p.Value) || len(p.Pieces) == 0 || p.Span != p.Pieces[0].Span {
					t.Fatalf("%q: %+v", s, p)
				}
				for _, q := range p.Pieces {
					if q.Span.Start < f.Value.Start || q.Span.End > f.Value.End || q.Value.Start < q.Span.Start || q.Value.End > q.Span.End || q.Value.Len() < 0 {
						t.Fatalf("%q: piece %+v of %v", s, q, f.Value)
					}
					for i := q.Span.Start; i < q.Span.End; i++ {
						if all[i] {
							t.Fatalf("%q: pieces overlap at %d", s, i)
						}
						all[i] = true
					}
				}
			}
		}
		ParseParams(s)
		checkEncodedParam(t, s)
	})
}
