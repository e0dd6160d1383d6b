package mail

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// typical returns a mail of about size bytes as offices send it: two texts and an attachment that fills it up.
func typical(size int) []byte {
	var b strings.Builder
	for i := range 6 {
		fmt.Fprintf(&b, "Received: from a%d.eksempel.example (a.eksempel.example [192.0.2.1])\r\n\tby b.eksempel.example with ESMTPS id 4F%d; Mon, 2 Nov 2026 10:00:00 +0100\r\n", i, i)
	}
	b.WriteString("From: Bo Hansen <bo@eksempel.example>\r\nTo: =?utf-8?q?S=C3=B8s?= <s@borger.example>\r\nSubject: =?utf-8?q?Sag_om_b=C3=B8rn?=\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@eksempel.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"outer_1\"\r\n\r\n" +
		"--outer_1\r\nContent-Type: multipart/alternative; boundary=\"inner_1\"\r\n\r\n")
	text := strings.Repeat("Vi har modtaget din ans=C3=B8gning og vender tilbage.\r\n", 10)
	b.WriteString("--inner_1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + text)
	b.WriteString("--inner_1\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>" + text + "</p>\r\n--inner_1--\r\n")
	b.WriteString("--outer_1\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for b.Len() < size-20 {
		b.WriteString(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("postvagt.", 9)))[:76] + "\r\n")
	}
	b.WriteString("--outer_1--\r\n")
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		raw := typical(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				Parse(raw, Limits{})
			}
		})
	}
}

// BenchmarkRead parses and decodes everything.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		raw := typical(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				m := Parse(raw, Limits{})
				m.Walk(func(p *Part) {
					for _, f := range p.Fields {
						m.Decoded(f)
					}
					if len(p.Parts) == 0 {
						m.Text(p, 1<<20)
					}
				})
			}
		})
	}
}
