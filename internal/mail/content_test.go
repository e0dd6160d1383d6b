package mail

import (
	"bytes"
	"encoding/base64"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

func part(head, body string) (*Message, *Part) {
	m := Parse([]byte(head+"\r\n\r\n"+body), Limits{})
	return m, m.Root
}

func TestContent(t *testing.T) {
	bad := []DefectKind{DefectBadEncoding}
	tests := []struct {
		encoding, body, want string
		defects              []DefectKind
	}{
		{"7bit", "a\r\n", "a\r\n", nil},
		{"BINARY", "a\x00", "a\x00", nil},
		{"8bit", "\xf8", "\xf8", nil},
		{"7bit", "\xf8", "\xf8", nil},
		{"unknown", "x", "x", nil},
		{"base64", "SGVs\r\nbG8=\r\n", "Hello", nil},
		{" Base64 (really)", "SGVsbG8=", "Hello", nil},
		{"base64", "SGVs bG8=", "Hello", bad},
		{"base64", "SGVs  \r\nbG8=", "Hello", nil},
		{"base64", "SGVsbG8", "Hello", bad},
		{"base64", "SGV!sbG8=", "Hello", bad},
		{"base64", "SGVsbG8=SGVsbG8=", "HelloHello", bad},
		{"base64", "QUI=\r\nQUI=", "ABAB", bad},
		{"base64", "S", "", bad},
		{"base64", "", "", nil},
		{"base64", "QQ==", "A", nil},
		{"base64", "QQ=\r\n=", "A", nil},
		{"quoted-printable", "r=C3=b8d", "rød", nil},
		{"quoted-printable", "a=\r\nb =  \r\nc \t\r\nd", "ab c\r\nd", nil},
		{"quoted-printable", "a=3", "a=3", bad},
		{"quoted-printable", "a=zz=", "a=zz", bad},
		{"quoted-printable", "a\nb=\nc", "a\nbc", nil},
		{"quoted-printable", "a=\rb\rc", "ab\rc", bad},
		{"quoted-printable", "\xf8", "\xf8", nil},
		{"x-uuencode", "begin 644 a.txt\r\n%2&5L;&\\\r\n`\r\nend\r\n", "Hello", nil},
		{"x-uuencode", "begin 644 a.txt\r\n%2&5L;&\\\r\n", "Hello", bad},
		{"x-uuencode", "0101\nbegin 644 a.txt\n%2&5L;&\\\nend\n", "Hello", bad},
		{"x-uuencode", "begin 644 a.txt\n%2&5L;&\\\nend\n\n0101", "Hello", bad},
		{"uuencode", "nothing", "nothing", bad},
	}
	for _, tt := range tests {
		m, p := part("Content-Transfer-Encoding:"+tt.encoding, tt.body)
		got, defects := m.Content(p, 100)
		var kinds []DefectKind
		for _, d := range defects {
			kinds = append(kinds, d.What)
		}
		if string(got) != tt.want || !slices.Equal(kinds, tt.defects) {
			t.Errorf("%s %q: got %q %q, want %q %q", tt.encoding, tt.body, got, kinds, tt.want, tt.defects)
		}
	}
}

func TestContentLimit(t *testing.T) {
	for _, head := range []string{"X: y", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "Content-Transfer-Encoding: x-uuencode"} {
		body := strings.Repeat("AAAA", 100)
		if strings.HasSuffix(head, "uuencode") {
			body = "begin 644 a\r\n" + strings.Repeat("M"+strings.Repeat("A", 60)+"\r\n", 10) + "end\r\n"
		}
		m, p := part(head, body)
		all, defects := m.Content(p, 1000)
		if len(defects) > 0 {
			t.Errorf("%s: %v within the limit", head, defects)
		}
		for _, n := range []int{-1, 0, 1, 7, len(all) - 1, len(all)} {
			got, defects := m.Content(p, n)
			want := all[:max(n, 0)]
			if !bytes.Equal(got, want) {
				t.Errorf("%s, limit %d: %d bytes", head, n, len(got))
			}
			if over := slices.Contains(defects, Defect{"", DefectDecodedLimit}); over != (n < len(all)) {
				t.Errorf("%s, limit %d: %v", head, n, defects)
			}
		}
	}
}

func TestText(t *testing.T) {
	tests := []struct {
		charset, body, want string
		defect              DefectKind
	}{
		{"", "r\xc3\xb8d", "rød", ""},
		{"", "r\xf8d", "rød", ""},
		{"us-ascii", "r\xf8d", "rød", ""},
		{"utf-8", "r\xc3\xb8d", "rød", ""},
		{"utf8", "r\xf8d", "rød", DefectBadCharset},
		{"iso-8859-1", "r\xf8d", "rød", ""},
		{"ISO_8859-15", "\xa4", "€", ""},
		{"iso8859-15", "\xa4", "€", ""},
		{"windows-1252", "\x80", "€", ""},
		{"cp1252", "\x80", "€", ""},
		{"cp850", "r\x9bd", "rød", ""},
		{"ibm865", "\x9b", "ø", ""},
		{"macintosh", "r\xbfd", "rød", ""},
		{"koi8-r", "\xc1", "а", ""},
		{"shift_jis", "\x82\xa0", "あ", ""},
		{"iso-2022-jp", "\x1b$B%\"\x1b(B", "ア", ""},
		{"gb2312", "\xb0\xa1", "啊", ""},
		{"big5", "\xa4\x40", "一", ""},
		{"euc-kr", "\xb0\xa1", "가", ""},
		{"utf-16le", "r\x00\xf8\x00d\x00", "rød", ""},
		{"utf-16", "\xff\xfer\x00\xf8\x00", "rø", ""},
		{"utf-16", "010170-5000", "010170-5000", DefectBadCharset},
		{"unicode", "010170-5000", "010170-5000", DefectBadCharset},
		{"utf-32be", "\x00\x00\x00r", "r", ""},
		{"utf-32", "0101", "0101", DefectBadCharset},
		{"utf-16", "\x00r\x00\xf8", "rø", ""},
		{"utf-16be", "\x00r\x00\xf8", "rø", ""},
		{"unicode-1-1-utf-8", "r\xc3\xb8d", "rød", ""},
		{"ibm037", "010170-5000", "010170-5000", DefectBadCharset},
		{"ibm037", "\x99\x70\x84", "rød", ""},
		{"utf-7", "r+APg-d +- +AOYA+ADl-", "rød + æøå", ""},
		{"utf-7", "+2D3eAA-", "😀", ""},
		{"utf-7", "+", "+", DefectBadCharset},
		{"utf-7", "+2D0-x\xf8", "xø", DefectBadCharset},
		{"x-nothing", "r\xf8d", "rød", DefectCharset},
		{"charset=us-ascii", "a", "a", ""},
		{"replacement", "abc", "abc", DefectCharset},
		{"iso-2022-kr", "abc", "abc", DefectCharset},
	}
	for _, tt := range tests {
		m, p := part("Content-Type: text/plain; charset=\""+tt.charset+"\"", tt.body)
		got, defects := m.Text(p, 100)
		var kind DefectKind
		if len(defects) > 0 {
			kind = defects[0].What
		}
		if got != tt.want || kind != tt.defect || len(defects) > 1 {
			t.Errorf("%s %q: got %q %v, want %q %q", tt.charset, tt.body, got, defects, tt.want, tt.defect)
		}
	}
}

// TestWindows1252: the short way is the long one.
func TestWindows1252(t *testing.T) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	want, err := charmap.Windows1252.NewDecoder().Bytes(all)
	if got := fromWindows1252(string(all)); err != nil || got != string(want) {
		t.Errorf("got %q, want %q, %v", got, want, err)
	}
}

// TestTextCutByLimit: a character that the limit cuts is no fault of the text.
func TestTextCutByLimit(t *testing.T) {
	m, p := part("Content-Type: text/plain; charset=utf-8", "ææ")
	got, defects := m.Text(p, 3)
	if !utf8.ValidString(got) || !strings.HasPrefix(got, "æ") {
		t.Errorf("got %q", got)
	}
	if len(defects) != 1 || defects[0].What != DefectDecodedLimit {
		t.Errorf("defects %v", defects)
	}
}

// FuzzText: text is valid UTF-8 whatever the charset, within the limit, and what a strict encoder wrote comes back.
func FuzzText(f *testing.F) {
	for _, c := range []string{"", "utf-8", "utf-7", "utf-16", "iso-2022-jp", "gb18030", "big5", "cp850", "hz-gb-2312", "utf-32le", "ibm037", "\"", "x\r\n y"} {
		f.Add(c, "7bit", []byte("r+APg- ~{<:Ky2;~} \x1b$B%\"\x1b(B \xf8\xc3\xb8"))
	}
	f.Add("", "base64", []byte("SGVs bG8=="))
	f.Add("", "quoted-printable", []byte("a=\r\n=C3=B8 = \n=z"))
	f.Add("", "x-uuencode", []byte("begin 644 a\n%2&5L;&\\\n`\nend"))
	f.Fuzz(func(t *testing.T, charset, encoding string, body []byte) {
		m := &Message{Raw: body}
		p := &Part{Body: Range{0, len(body)}, Encoding: encoding, Params: map[string]string{"charset": charset}}
		for _, limit := range []int{0, 5, 1 << 20} {
			if b, _ := m.Content(p, limit); len(b) > limit {
				t.Fatalf("%d bytes within a limit of %d", len(b), limit)
			}
			if s, _ := m.Text(p, limit); !utf8.ValidString(s) {
				t.Fatalf("charset %q: %q", charset, s)
			}
		}
		coded := base64.StdEncoding.AppendEncode(nil, body)
		if got, clean := decodeBase64(coded, len(body)); !clean || !bytes.Equal(got, body) {
			t.Fatalf("base64 of %q decodes to %q", body, got)
		}
		var qp bytes.Buffer
		w := &quotedprintable.Writer{Binary: true}
		*w = *quotedprintable.NewWriter(&qp)
		w.Binary = true
		w.Write(body)
		w.Close()
		if got, clean := decodeQP(qp.Bytes(), qp.Len()); !clean || !bytes.Equal(got, body) {
			t.Fatalf("quoted-printable %q of %q decodes to %q", qp.Bytes(), body, got)
		}
	})
}
