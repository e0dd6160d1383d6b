package repair

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzRepair: whatever comes in, the result is whole or there is none (lawful checks which). It says nothing of what can
// be repaired: that is for the golden cases.
func FuzzRepair(f *testing.F) {
	ins, _ := filepath.Glob("testdata/*.in")
	for _, in := range ins {
		raw, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(crlf(raw))
		f.Add(raw) // bare line ends
	}
	for _, s := range []string{
		"", ":", "Subject", "Subject:010170-5000", ": 010170-5000\r\n\r\n", " 010170-5000\r\nSubject: x\r\n\r\n",
		"010170-5000\r\n\r\n", "\r\n010170-5000", "Subject: 010170-5000\r\n: \r\n\r\n", "Subject: 010170-5000\rTo: x\r\r",
		"Content-Type: text/plain; name=0101705000; name*=utf-8''0101705000; name*1=x\r\n\r\n",
		"Content-Type: 0101705000/x; (0101705000) 0101705000\r\n\r\n",
		"To: \"0101705000 <0101705000@x.example>, (0101705000\r\n\r\n",
		"To: 0101705000 x@x.example 0101705000: y;\r\n\r\n",
		"Subject: 010170-5000\r\nContent-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n",
		"Subject: 010170-5000\r\nContent-Type: text/html\r\n\r\n<!-- <body> 010170-5000",
		"Subject: 010170-5000\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<bo=\r\ndy><p =  \r\n>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			t.Skip("large inputs only take time")
		}
		lawful(t, raw)
	})
}
