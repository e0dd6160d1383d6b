package inspect

import (
	"strings"
	"testing"

	"postvagt/internal/mail"
)

// sized returns a mail as offices write them, of about n bytes: text, HTML with its styles, and a small picture.
func sized(n int) []byte {
	text := strings.Repeat("K=C3=A6re borger. Vi har modtaget din ans=C3=B8gning den 12.11.2026 og vender=\r\n tilbage senest kl. 12:00. Ring gerne p=C3=A5 70 10 20 30.\r\n", max(1, n/600))
	html := strings.Repeat("<tr><td style=3D\"padding:0 12px;font-size:11pt\"><a href=3D\"https://eksempel.exampl=\r\ne/sag?id=3D2026-12345\">L=C3=A6s mere</a> om din sag 2026-12345.</td></tr>\r\n", max(1, n/300))
	return []byte("Received: from a.eksempel.example (10.0.0.1) by b.eksempel.example with ESMTPS id 4d5f6a;\r\n Sun, 22 Nov 2026 03:58:25 +0000\r\n" +
		"From: \"Borgerservice\" <borgerservice@eksempel.example>\r\nTo: \"En borger\" <b@borger.example>\r\nSubject: =?utf-8?q?Din_ans=C3=B8gning?=\r\n" +
		"Date: Sun, 22 Nov 2026 03:58:25 +0000\r\nMessage-ID: <AM0PR04MB1234567890123@eksempel.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/alternative; boundary=\"_000_AM0PR04\"\r\n\r\n" +
		"--_000_AM0PR04\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + text +
		"\r\n--_000_AM0PR04\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body><table>" + html +
		"</table></body></html>\r\n--_000_AM0PR04--\r\n")
}

func BenchmarkMessage(b *testing.B) {
	for _, c := range []struct {
		name string
		raw  []byte
	}{{"4KiB", sized(4 << 10)}, {"100KiB", sized(100 << 10)}, {"100KiB plain", []byte("Subject: hej\r\n\r\n" + strings.Repeat("Hej, vi ses kl. 12 den 22.11.2026.\r\n", 2800))}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if r := Message(mail.Parse(c.raw, mail.Limits{}), now, Options{}); len(r.Findings) != 0 {
					b.Fatalf("found %+v", r.Findings)
				}
			}
		})
	}
}
