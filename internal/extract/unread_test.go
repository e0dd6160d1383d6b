package extract

import (
	"slices"
	"strings"
	"testing"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// TestUnreadHeadersAreReadable shows that what was not read of headers is told as such: it stays readable on the way, which
// an unread body does not. Inside an attached message it does not, either.
func TestUnreadHeadersAreReadable(t *testing.T) {
	parts := "Content-Type: multipart/mixed; boundary=x\n\n" + strings.Repeat("--x\n\nhej\n", 2100) + "--x--\n"
	many := strings.Repeat("a:\n", 11_000) + "\nhej\n"
	for _, c := range []struct {
		name, raw string
		stopAt    int
		want      detect.PlaceKind
	}{
		{"header size", many, 0, detect.InHeader},
		{"header size of a part", "Content-Type: multipart/mixed; boundary=x\n\n--x\n" + many + "--x--\n", 0, detect.InPartHeader},
		{"parts", parts, 0, detect.InPartHeader},
		{"parts of an attached message", "Content-Type: message/rfc822\n\n" + parts, 0, detect.InText},
		{"time, in the header", "Subject: hej\n\nhej\n", 1, detect.InPartHeader},
		{"time, in the body", "Subject: hej\n\nhej\n", 3, detect.InText},
	} {
		asked := 0
		o := Options{Stop: func() bool { asked++; return c.stopAt > 0 && asked >= c.stopAt }}
		_, unread, _ := read(t, crlf(c.raw), o)
		if len(unread) != 1 || unread[0].Place.Kind != c.want {
			t.Errorf("%s: got %+v, want one in %q", c.name, unread, c.want)
		}
	}
	var failed []detect.PlaceKind
	Message(mail.Parse(crlf("Subject: hej\n\nhej\n"), mail.Limits{}), Options{
		Text: func(detect.Text) { panic("a bug") }, Unread: func(f detect.Finding) { failed = append(failed, f.Place.Kind) }})
	if !slices.Equal(failed, []detect.PlaceKind{detect.InHeader, detect.InText}) {
		t.Errorf("readers that fail: got %q, want one in the header and one in the text", failed)
	}
}
