package extract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const number = "010170-5000"

// crlf makes a message of lines written with plain line ends.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// read returns what Message hands out of raw.
func read(t *testing.T, raw []byte, o Options) (texts []detect.Text, unread []detect.Finding, facts Facts) {
	t.Helper()
	o.Text = func(x detect.Text) { texts = append(texts, x) }
	o.Unread = func(f detect.Finding) {
		if f.Kind != detect.Uninspected || f.Why == "" || strings.ContainsAny(f.Why, "\r\n") || detect.HoldsCPR(f.Why) || detect.HoldsCPR(f.Place.Name) {
			t.Errorf("not fit to be shown: %+v", f)
		}
		unread = append(unread, f)
	}
	facts = Message(mail.Parse(raw, mail.Limits{}), o)
	for _, x := range texts {
		if detect.HoldsCPR(x.Place.Name) {
			t.Errorf("the name of a place holds a number: %q", x.Place.Name)
		}
	}
	return texts, unread, facts
}

// places returns where the texts hold a number that counts, each once, as "kind name part".
func places(texts []detect.Text) []string {
	var all []string
	seen := make(map[string]bool)
	for _, x := range texts {
		for _, f := range detect.Find(x, now) {
			p := strings.Join(strings.Fields(fmt.Sprint(f.Place.Kind, " ", f.Place.Name, " ", f.Place.Part)), " ")
			if f.Address {
				p += " address"
			}
			if f.Confidence >= 0.5 && !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		}
	}
	return all
}

const head = "From: a@eksempel.example\nTo: b@borger.example\nSubject: hej\nMIME-Version: 1.0\n"

// TestPlaces puts a number into one place at a time.
func TestPlaces(t *testing.T) {
	multi := func(part string) string {
		return head + "Content-Type: multipart/mixed; boundary=xx\n\n--xx\n\nhej\n--xx\n" + part + "\n--xx--\n"
	}
	html := func(s string) string { return head + "Content-Type: text/html\n\n" + s + "\n" }
	for _, c := range []struct{ name, raw, want string }{
		{"subject", "Subject: Vedr. 010170-5000\n\nhej\n", "header Subject"},
		{"subject, folded", "Subject: Vedr. 010170 -\n 5000\n\nhej\n", "header Subject"},
		{"subject, q word", "Subject: =?utf-8?q?010170=2D5000?=\n\n", "header Subject"},
		{"subject, two b words", "Subject: =?utf-8?b?MDEwMTcw?= =?utf-8?b?LTUwMDA=?=\n\n", "header Subject"},
		{"subject, word in latin1", "Subject: =?iso-8859-1?q?F=F8dt_010170=2D5000?=\n\n", "header Subject"},
		{"thread topic", "Thread-Topic: 010170-5000\n\n", "header Thread-Topic"},
		{"comments", "Comments: 010170-5000\n\n", "header Comments"},
		{"keywords", "Keywords: a, 010170-5000\n\n", "header Keywords"},
		{"x field", "X-Sag: 010170-5000\n\n", "header X-Sag"},
		{"field name", "X-010170-5000: ja\n\n", "header X-010170-••••"},
		{"malformed line", "Subject: hej\n010170-5000 er her\nFrom: a@b.example\n\n", "header"},
		{"display name", "From: \"Borger 010170-5000\" <a@b.example>\n\n", "header From"},
		{"display name, coded", "From: =?utf-8?q?Borger_010170=2D5000?= <a@b.example>\n\n", "header From"},
		{"comment in an address", "To: a@b.example (010170-5000)\n\n", "header To"},
		{"address", "To: <010170-5000@post.example>\n\n", "header To address"},
		{"address, bare and plain", "To: 0101705000@post.example\n\n", "header To address"},
		{"name, quoted pair", "To: \"010170\\-5000\" <b@post.example>\n\n", "header To"},
		{"name, quoted words", "To: \"Hansen\" 010170 \"-5000\" <b@post.example>\n\n", "header To"},
		{"name, comment with a quoted pair", "To: b@post.example (010170\\-5000)\n\n", "header To"},
		{"name, encoded and quoted", "To: \"=?utf-8?q?J=C3=B8rn?= 010170\\-\" \"5000\" <b@post.example>\n\n", "header To"},
		{"address, quoted pair", "To: \"010170\\-5000\"@post.example\n\n", "header To address"},
		{"file name, quoted pair", multi("Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"010170\\-5000.pdf\"\n\nx"), "file name 010170-••••.pdf 2"},
		{"address, quoted", "Cc: a@b.example, \"010170-5000\"@post.example\n\n", "header Cc address"},
		{"address that only looks like one", "To: =?utf-8?q?=3C010170-5000=40post=2Eexample=3E?= <a@b.example>\n\n", "header To"},
		{"both", "To: 010170-5000 <010171-5000@post.example>\n\n", "header To|header To address"},
		{"message id, not well marked", "Message-ID: <010170-5000@a.example>\n\n", ""},
		{"message id, well marked", "Message-ID: <010170-5005@a.example>\n\n", "header Message-ID"},
		{"received for", "Received: from a by b for <0101705000@post.example>; Sun, 22 Nov 2026 03:58:25 +0000\n\n", "header Received address"},
		{"subject of another program", "X-MS-Exchange-Original-Subject: 010170-5000\n\n", "header X-MS-Exchange-Original-Subject"},
		{"topic", "X-MS-Exchange-Topic: 010170-5000\n\n", "header X-MS-Exchange-Topic"},
		{"list's name", "List-Id: =?utf-8?q?010170=2D5000?= <a.example>\n\n", "header List-Id"},
		{"list's id", "List-Id: sager <010170-5000.a.example>\n\n", ""},
		{"boundary", "Content-Type: multipart/mixed; boundary=\"0101705005\"\n\n--0101705005\n\nhej\n--0101705005--\n", ""},

		{"body", head + "\nhej 010170-5000\n", "text"},
		{"body, quoted-printable", head + "Content-Transfer-Encoding: quoted-printable\n\n0101=\n70=2D5000\n", "text"},
		{"body, base64", head + "Content-Transfer-Encoding: base64\n\nMDEwMTcwLTUwMDA=\n", "text"},
		{"body, utf-16", head + "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\nMAAxADAAMQA3ADAALQA1ADAAMAAwAA==\n", "text"},
		{"body, says base64 but is not", head + "Content-Transfer-Encoding: base64\n\nDit nummer er 010170-5000.\n", "hidden text"},
		{"no header at all", "010170-5000\n", "text"},

		{"file name", multi("Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=\"sag 010170-5000.pdf\"\n\nx"), "file name sag 010170-••••.pdf 2"},
		{"file name by type only", multi("Content-Type: application/pdf; name=sag_010170-5000.pdf\n\nx"), "file name sag_010170-••••.pdf 2"},
		{"the other file name", multi("Content-Type: application/pdf; name=010170-5000.pdf\nContent-Disposition: attachment; filename=a.pdf\n\nx"), "file name a.pdf 2"},
		{"file name, RFC 2231", multi("Content-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''010170%2D5000.pdf\n\nx"), "file name 010170-••••.pdf 2"},
		{"file name, RFC 2231 pieces", multi("Content-Type: application/pdf\nContent-Disposition: attachment; filename*0=\"0101\";\n filename*1=\"70-5000.pdf\"\n\nx"), "file name 010170-••••.pdf 2"},
		{"file name, RFC 2231 in disorder", multi("Content-Type: application/pdf\nContent-Disposition: attachment; filename*1=\"70-5000.pdf\"; filename*0=\"0101\"\n\nx"), "file name 010170-••••.pdf 2"},
		{"file name, RFC 2047", multi("Content-Type: application/pdf; name=\"=?utf-8?q?010170=2D5000?=.pdf\"\n\nx"), "file name 010170-••••.pdf 2"},
		{"file names that disagree", multi("Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf; filename=010170-5000.pdf\n\nx"), "file name a.pdf 2"},
		{"description", multi("Content-Type: application/pdf\nContent-Description: 010170-5000\n\nx"), "part header Content-Description 2"},
		{"location", multi("Content-Type: application/pdf\nContent-Location: 010170-5000.pdf\n\nx"), "part header Content-Location 2"},
		{"another parameter", multi("Content-Type: application/pdf; x=\"010170-5000\"\n\nx"), "part header Content-Type 2"},

		{"preamble", head + "Content-Type: multipart/mixed; boundary=xx\n\n010170-5000\n--xx\n\nhej\n--xx--\n", "hidden text"},
		{"epilogue", head + "Content-Type: multipart/mixed; boundary=xx\n\n--xx\n\nhej\n--xx--\n010170-5000\n", "hidden text"},
		{"attached message", multi("Content-Type: message/rfc822\n\nSubject: 010170-5000\n\nhej"), "text Subject 2.0"},
		{"attached message's attachment", multi("Content-Type: message/rfc822\n\nContent-Type: application/pdf; name=010170-5000.pdf\n\nx"), "text 010170-••••.pdf 2.0"},
		{"attached message in base64", multi("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogMDEwMTcwLTUwMDANCg0KaGVqIDAxMDE3MS01MDAwDQo="), "text Subject 2.0|text 2.0"},
		{"csv", multi("Content-Type: text/csv; name=a.csv\n\nnavn;010170-5000"), "attachment a.csv 2"},
		{"calendar, folded", multi("Content-Type: text/calendar\n\nSUMMARY:0101\n 70-5000"), "text 2"},
		{"json, escaped", multi("Content-Type: application/json\n\n{\"a\":\"\\u0030101\\u00370-5000\"}"), "attachment 2"},
		{"xml, entities", multi("Content-Type: application/xml\n\n<a b=\"&#48;10170-5000\"/>"), "attachment 2"},
		{"svg", multi("Content-Type: image/svg+xml\n\n<svg><text>010170-5000</text></svg>"), "attachment 2"},
		{"delivery status", multi("Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; 010170-5000@a.example"), "text 2"},
		{"text without its type", multi("Content-Type: application/octet-stream; name=a.txt\n\n010170-5000"), "attachment a.txt 2"},

		{"message without its type", multi("Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogPT91dGYtOD9xPzAxMDE3MD0yRDUwMDA/PQ0KQ29udGVudC1UcmFuc2Zlci1FbmNvZGluZzogYmFzZTY0DQoNCk1ERXdNVGN3TFRVd01EQT0NCg=="), "text Subject 2.0|text 2.0"},
		{"message by its first lines", multi("Content-Type: application/octet-stream; name=a.dat\n\nFrom: a@b.example\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nMDEwMTcwLTUwMDA="), "text 2.0"},
		{"html without its type", multi("Content-Type: application/octet-stream; name=a.HTML\n\n<b>0101</b>70-5000"), "attachment a.HTML 2"},
		{"html", html("<p>010170-5000</p>"), "text"},
		{"html, split by mark-up", html("<b>01<i>01</i>70</b>-<span style=\"color:red\">50</span>00"), "text"},
		{"html, entities", html("&#48;10170&#8209;5000 &nbsp;"), "text"},
		{"html, split by something hidden", html("0101<span style=\"display: none\">x</span>70-5000"), "text"},
		{"html, split by a comment", html("0101<!-- x -->70-5000"), "text"},
		{"html, blocks are apart", html("<p>010170</p><p>5000</p><div>010170<div>5000"), ""},
		{"html, wrapped at the blank", html("<p>CPR er 010170\n   5000.</p>"), "text"},
		{"html, wrapped before a tag", html("<p>010170\n<b> 5000</b></p>"), "text"},
		{"html, many blanks", html("<p>010170 \t    5000</p>"), "text"},
		{"html, preformatted", html("<pre>010170\n5000</pre>"), ""},
		{"html, cells on lines", html("<table><tr><td>010170</td>\n<td>5000</td></tr></table>"), ""},
		{"html, cells with lines", html("<table><tr><td>\n010170\n</td>\n<td>\n5000\n</td></tr></table>"), ""},
		{"html, cells on lines, labelled", html("<table><tr><td>CPR</td><td>010170</td>\n<td>5000</td></tr></table>"), "text"},
		{"flowed", head + "Content-Type: text/plain; format=flowed\n\n> hej 010170 \n> 5000\n", "text"},
		{"flowed, blank added", head + "Content-Type: text/plain; format=flowed; delsp=yes\n\nhej 0101 \n70-5000\n", "text"},
		{"flowed, another depth", head + "Content-Type: text/plain; format=flowed\n\n> hej 010170 \n5000\n", ""},
		{"html, noscript", html("<noscript><b>0101</b>70-5000</noscript>"), "hidden text"},
		{"html, noembed", html("<noembed><b>0101</b>70-5000</noembed>"), "hidden text"},
		{"html, iframe", html("<iframe><b>0101</b>70-5000</iframe>"), "hidden text"},
		{"html, srcdoc", html("<iframe srcdoc=\"&lt;b>0101&lt;/b>70-5000\"></iframe>"), "hidden text"},
		{"html, style attribute", html("<p style=\"content:'010170-5000'\">x</p>"), "hidden text"},
		{"html, type attribute", html("<p type=\"010170-5000\">x</p>"), "hidden text"},
		{"html, figures in styles", html("<p style=\"margin:0 0 12 14;padding:0 10 11 12;font-size:11pt\">x</p>"), ""},
		{"html, comment", html("<!-- 010170-5000 -->"), "hidden text"},
		{"html, conditional comment", html("<!--[if mso]><b>0101</b>70-5000<![endif]-->"), "hidden text"},
		{"html, hidden element", html("<div hidden>010170-5000</div>"), "hidden text"},
		{"html, hidden by style", html("<div style=\"x:1; font-size : 0px\">010170-5000</div>"), "hidden text"},
		{"html, alt", html("<img alt=\"010170-5000\">"), "hidden text"},
		{"html, title attribute", html("<a title='010170-5000'>x</a>"), "hidden text"},
		{"html, title", html("<title>010170-5000</title>"), "hidden text"},
		{"html, meta", html("<meta content=\"010170-5000\">"), "hidden text"},
		{"html, field", html("<input type=hidden value=\"010170-5000\">"), "hidden text"},
		{"html, link", html("<a href=\"https://a.example/?cpr=010170%2D5000\">x</a>"), "hidden text"},
		{"html, token in a link", html("<a href=\"https://a.example/?t=0101705005\">x</a>"), ""},
		{"html, script", html("<script>var cpr='010170-5000'</script>"), "hidden text"},
		{"html, unclosed", html("<div style='display:none'>hej <b 010170-5000"), ""},
		{"html, after a hidden element", html("<div hidden><div>x</div></div>010170-5000"), "text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts, _, _ := read(t, crlf(c.raw), Options{})
			if got := strings.Join(places(texts), "|"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestUnread shows what is told of what cannot be read.
func TestUnread(t *testing.T) {
	part := func(h, body string) string {
		return head + "Content-Type: multipart/mixed; boundary=xx\n\n--xx\n\nhej\n--xx\n" + h + "\n\n" + body + "\n--xx--\n"
	}
	for _, c := range []struct {
		name, raw, want string
		facts           Facts
	}{
		{"plain", head + "\nhej\n", "", Facts{}},
		{"pdf", part("Content-Type: application/pdf; name=010170-5000.pdf", "%PDF-"), "attachment content is not read yet: application/pdf", Facts{}},
		{"image", part("Content-Type: image/png", "x"), "attachment content is not read yet: image/png", Facts{}},
		{"empty", part("Content-Type: application/pdf", ""), "", Facts{}},
		{"unknown bytes", part("Content-Type: application/octet-stream", "a\x01b"), "attachment content is not read yet: application/octet-stream", Facts{}},
		{"text under another name", part("Content-Type: application/octet-stream", "hej"), "", Facts{}},
		{"binary as text", part("Content-Type: text/plain", "%PDF-1.4 x"), "declared as text, but it is PDF", Facts{}},
		{"a number for a type", part("Content-Type: application/010170-5000", "x\x01"), "attachment content is not read yet: application/010170-••••", Facts{}},
		{"base64 under no name", part("Content-Type: application/octet-stream; name=a.txt", strings.Repeat(strings.Repeat("aGVq", 15)+"\n", 8)), "attachment content is not read yet: base64 within the text", Facts{}},
		{"words under no name", part("Content-Type: application/octet-stream; name=a.txt", strings.Repeat("hej med dig; https://eksempel.example/abcdefgh\n", 50)), "", Facts{}},
		{"data link", part("Content-Type: text/html", "<img src=\" DATA:image/png;base64,aGVq\"><img src='data:image/png,x'>"), "attachment content is not read yet: image/png within the HTML", Facts{}},
		{"calendar with a file", part("Content-Type: text/calendar", "ATTACH;VALUE=BINARY;FMTTYPE=application/pdf;ENCO\n DING=BASE64:aGVq"), "attachment content is not read yet: within a calendar or card", Facts{}},
		{"card with a picture", part("Content-Type: text/vcard", "PHOTO;TYPE=JPEG;ENCODING=b:aGVq"), "attachment content is not read yet: within a calendar or card", Facts{}},
		{"newer card with a picture", part("Content-Type: text/vcard", "PHOTO:data:image/jpeg;base64,aGVq"), "attachment content is not read yet: within a calendar or card", Facts{}},
		{"calendar without", part("Content-Type: text/calendar", "ATTACH:https://eksempel.example/\nSUMMARY:data"), "", Facts{}},
		{"encrypted zip", part("Content-Type: application/zip", "PK\x03\x04\x14\x00\x01\x00"), "encrypted archive: application/zip", Facts{}},
		{"winmail", part("Content-Type: application/ms-tnef; name=winmail.dat", "x"), "attachment content is not read yet: application/ms-tnef", Facts{}},
		{"rtf", part("Content-Type: text/rtf", "{\\rtf1 hej}"), "attachment content is not read yet: text/rtf|declared as text, but it is RTF", Facts{}},
		{"S/MIME, encrypted", head + "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n\nx\n", "encrypted: S/MIME", Facts{Encrypted: true}},
		{"S/MIME, opaque", head + "Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nx\n", "opaque-signed content is not read yet: S/MIME", Facts{Signed: true}},
		{"S/MIME, attached", part("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\nContent-Disposition: attachment", "x"), "encrypted: S/MIME", Facts{}},
		{"signed", head + "Content-Type: multipart/signed; boundary=xx; protocol=\"application/pkcs7-signature\"\n\n--xx\n\nhej\n--xx\nContent-Type: application/pkcs7-signature; name=smime.p7s\n\nx\n--xx--\n", "", Facts{Signed: true}},
		{"a signature that signs nothing", part("Content-Type: application/pkcs7-signature", "x\x01"), "attachment content is not read yet: application/pkcs7-signature", Facts{}},
		{"a large signature", head + "Content-Type: multipart/signed; boundary=xx\n\n--xx\n\nhej\n--xx\nContent-Type: application/pkcs7-signature\n\n" + strings.Repeat("x\x01", 40_000) + "\n--xx--\n",
			"attachment content is not read yet: application/pkcs7-signature", Facts{Signed: true}},
		{"PGP, encrypted", head + "Content-Type: multipart/encrypted; boundary=xx; protocol=\"application/pgp-encrypted\"\n\n--xx\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--xx\nContent-Type: application/octet-stream\n\n-----BEGIN PGP MESSAGE-----\nx\n--xx--\n",
			"encrypted: application/pgp-encrypted|encrypted: PGP", Facts{Encrypted: true}},
		{"PGP, inline", head + "\n-----BEGIN PGP MESSAGE-----\nx\n", "encrypted: PGP within the text", Facts{Encrypted: true}},
		{"PGP, inline signed", head + "\n-----BEGIN PGP SIGNED MESSAGE-----\nx\n", "", Facts{Signed: true}},
		{"attached signed message", part("Content-Type: message/rfc822", "Content-Type: multipart/signed; boundary=yy\n\n--yy\n\nhej\n--yy--"), "", Facts{}},
		{"uuencoded", head + "\nhej\nbegin 644 a.pdf\nM\nend\n", "attachment content is not read yet: uuencoded within the text", Facts{}},
		{"unknown encoding", head + "Content-Transfer-Encoding: rot13\n\nhej\n", "unknown transfer encoding", Facts{}},
		{"unknown charset", head + "Content-Type: text/plain; charset=klingon\n\nhej\n", "unknown character set", Facts{}},
		{"bad base64", part("Content-Type: text/plain\nContent-Transfer-Encoding: base64", "!!!!"), "content does not follow its transfer encoding", Facts{}},
		{"two types", head + "Content-Type: text/plain\nContent-Type: text/html\n\nhej\n", "the field that says how to read this part stands twice", Facts{}},
		{"two encodings", head + "Content-Transfer-Encoding: 7bit, base64\n\nhej\n", "unknown transfer encoding", Facts{}},
		{"one encoding, said twice", head + "Content-Transfer-Encoding: 8bit (8-bit); 8bit\n\nhej\n", "", Facts{}},
		{"multipart in base64", head + "Content-Type: multipart/mixed; boundary=xx\nContent-Transfer-Encoding: base64\n\n--xx\n\nhej\n--xx--\n", "content does not follow its transfer encoding", Facts{}},
		{"two charsets", head + "Content-Type: text/plain; charset=utf-8; charset=utf-7\n\nhej\n", "two character sets are named", Facts{}},
		{"one charset, said twice", head + "Content-Type: text/plain; charset=utf-8; charset=UTF-8\n\nhej\n", "", Facts{}},
		{"html in another charset", head + "Content-Type: text/html; charset=utf-8\n\n<meta charset=utf-7>hej\n", "two character sets are named", Facts{}},
		{"html in another charset, the old way", head + "Content-Type: text/html\n\n<meta http-equiv=Content-Type content=\"text/html; charset=UTF-16\">hej\n", "two character sets are named", Facts{}},
		{"html recoded on the way", head + "Content-Type: text/html; charset=utf-8\n\n<meta charset=iso-8859-1>hej\n", "", Facts{}},
		{"elsewhere", part("Content-Type: message/external-body; access-type=url", "x"), "the content lies elsewhere: message/external-body", Facts{}},
		{"in pieces", head + "Content-Type: message/partial; id=a; number=1; total=2\n\nx\n", "attachment content is not read yet: message/partial", Facts{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, unread, facts := read(t, crlf(c.raw), Options{})
			var whys []string
			for _, f := range unread {
				whys = append(whys, f.Why)
			}
			if got := strings.Join(whys, "|"); got != c.want {
				t.Errorf("unread: got %q, want %q", got, c.want)
			}
			if facts != c.facts {
				t.Errorf("facts: got %+v, want %+v", facts, c.facts)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	_, unread, _ := read(t, crlf(head+"\n"+strings.Repeat("hej ", 1000)), Options{TextBytes: 100})
	if len(unread) != 1 || unread[0].Why != string(mail.DefectDecodedLimit) {
		t.Errorf("a text over the limit: got %+v", unread)
	}
	_, unread, _ = read(t, crlf(head+"\nhej\n"), Options{Stop: func() bool { return true }})
	if len(unread) != 1 || !strings.Contains(unread[0].Why, "time") {
		t.Errorf("out of time: got %+v", unread)
	}
}

// TestGuard shows that a reader's panic on one part is a finding and does not hide the others.
func TestGuard(t *testing.T) {
	raw := crlf(head + "Content-Type: multipart/mixed; boundary=xx\n\n--xx\n\nbang\n--xx\n\n" + number + "\n--xx--\n")
	found, failed := false, 0
	Message(mail.Parse(raw, mail.Limits{}), Options{
		Text: func(x detect.Text) {
			if x.Content == "bang" {
				panic("a bug")
			}
			found = found || strings.Contains(x.Content, number)
		},
		Unread: func(f detect.Finding) {
			if f.Place.Part == "1" && strings.Contains(f.Why, "failed") {
				failed++
			}
		},
	})
	if !found || failed != 1 {
		t.Errorf("found the other part: %v, told of the failed one %d times, want true and once", found, failed)
	}
}

func TestReadable(t *testing.T) {
	for s, want := range map[string]bool{"": true, "hej\r\n": true, "æøå": true, "æø\xc3": true, "\xc3": true, "\xe6 latin": false, "\x80 a b c": false, "a\x00": false, "æ\x01": false,
		"æ\xff abc": false, "%PDF-1.4": false} {
		if got := readable([]byte(s)); got != want {
			t.Errorf("readable(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[string]string{"": "", "a.pdf": "a.pdf", "010170-5000.pdf": "010170-••••.pdf", "a\r\nb": "a  b", "\xff": "\uFFFD",
		"010170\x015000": "010170-••••", "010170-\x7f5000": "010170-••••"} {
		if got := shown(in); got != want {
			t.Errorf("shown(%q) = %q, want %q", in, got, want)
		}
	}
	if got := shown(strings.Repeat("æ", 500)); len(got) > 130 {
		t.Errorf("%d bytes, want a bounded length", len(got))
	}
}

func FuzzHTML(f *testing.F) {
	for _, s := range []string{"<p>010170-5000</p>", "<div hidden>x<div>", "<!--[if mso]><!--x--><![endif]-->", "<a href='%30%31'>", "<script>a</script>b",
		"<td>1<td>2", "<style>", "<title>x", "<p style='display:none'/>x", "&#48;", "<plaintext>x", "<svg><![CDATA[x]]>", "</div>", "<!", "<a b=c d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var texts []detect.Text
		e := extractor{o: Options{Text: func(x detect.Text) { texts = append(texts, x) }, Unread: func(detect.Finding) {}}}
		place := detect.Place{Kind: detect.InText}
		e.html(s, place, 0)
		e.xml(s, place)
		size := 0
		for _, x := range texts {
			size += len(x.Content)
		}
		if most := 20*len(s) + 100; size > most { // links are written twice, comments once a level
			t.Errorf("%d bytes became %d, want at most %d", len(s), size, most)
		}
	})
}

// TestHugeToken shows that a token too large for the tokenizer hides nothing in it or behind it.
func TestHugeToken(t *testing.T) {
	huge := strings.Repeat("a b c d ", mostToken/4)
	for _, s := range []string{huge + number, "<!--" + huge + number + "-->", "<a href='" + huge + number + "'>", huge + "<p><b>0101</b>70-5000",
		"<!--" + huge + "--><p><b>0101</b>70-5000</p>", "<img src='data:image/png;base64," + strings.Repeat("abcd", mostToken) + "'><p><b>0101</b>70-5000"} {
		texts, _, _ := read(t, []byte("Content-Type: text/html\r\n\r\n"+s), Options{})
		if len(places(texts)) == 0 {
			t.Errorf("nothing found in %.30q… of %d bytes", s, len(s))
		}
	}
}
