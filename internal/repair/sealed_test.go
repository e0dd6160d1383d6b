package repair

import (
	"encoding/base64"
	"strings"
	"testing"

	"postvagt/internal/mail"
)

// TestSMIME: what an S/MIME body is, by its type or else by how its content begins, and where it stands.
func TestSMIME(t *testing.T) {
	cms := func(oid string) string { // as long as a letter is
		return base64.StdEncoding.EncodeToString([]byte("\x30\x82\x10\x00\x06"+oid+strings.Repeat("\xA0\x80", 2000))) + "\r\n"
	}
	const signed, enveloped = "\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02", "\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x03"
	const compressed = "\x0B\x2A\x86\x48\x86\xF7\x0D\x01\x09\x10\x01\x09"
	for _, c := range []struct{ contentType, body, want string }{
		{"application/pkcs7-mime; smime-type=Signed-Data", cms(signed), ObstacleSigned},
		{"application/x-pkcs7-mime; name=smime.p7m", cms(signed), ObstacleSigned},
		{"application/octet-stream; name=SMIME.P7M", cms(signed), ObstacleSigned},
		{"application/pkcs7-mime; name=smime.p7m", cms(enveloped), ObstacleEncrypted},
		{"application/pkcs7-mime; name=smime.p7m", cms(compressed), ObstacleCompressed},
		{"application/pkcs7-mime; smime-type=compressed-data", cms(compressed), ObstacleCompressed},
		{"application/pkcs7-mime; smime-type=authEnveloped-data", cms(signed), ObstacleEncrypted},
		{"application/pkcs7-mime; name=smime.p7m", "", ObstacleEncrypted},
		{"application/pkcs7-mime; smime-type=certs-only; name=smime.p7c", cms(signed), ""},
		{"application/octet-stream; name=brev.bin", cms(signed), ""},
	} {
		part := "Content-Type: " + c.contentType + "\r\nContent-Transfer-Encoding: base64\r\n\r\n" + c.body
		if got := bodyObstacle(mail.Parse([]byte(part), mail.Limits{})); got != c.want {
			t.Errorf("%s: got %q, want %q", c.contentType, got, c.want)
		}
		file := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHej\r\n--b\r\n" + part + "--b--\r\n"
		if got := bodyObstacle(mail.Parse([]byte(file), mail.Limits{})); got != "" {
			t.Errorf("%s as a file: got %q", c.contentType, got)
		}
	}
}
