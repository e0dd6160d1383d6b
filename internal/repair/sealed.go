package repair

import (
	"bytes"
	"strings"

	"postvagt/internal/mail"
)

// bodyObstacle says why m's body may not be written to, whatever the finding; empty: it may.
func bodyObstacle(m *mail.Message) (obstacle string) {
	readable(m, func(p *mail.Part) {
		if obstacle == "" {
			obstacle = sealed(m, p)
		}
	})
	return obstacle
}

// sealed says what keeps a line from standing in or before p; empty: nothing does.
func sealed(m *mail.Message, p *mail.Part) string {
	switch p.MediaType {
	case "message/partial":
		return ObstacleFragment
	case "multipart/encrypted": // PGP/MIME: RFC 3156, section 4
		return ObstacleEncrypted
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		if first(p) {
			return smimeObstacle(m, p)
		}
	case "application/octet-stream": // as old programs and some gateways write it: RFC 8551, section 3.2.1
		if p.Parent == nil && strings.HasSuffix(strings.ToLower(p.FileName), ".p7m") {
			return smimeObstacle(m, p)
		}
	case "text/plain", "text/html":
		const armour = "-----BEGIN PGP MESSAGE-----"
		text, _ := m.Text(p, textLimit)
		if p.Disp != "attachment" && (strings.HasPrefix(text, armour) || strings.Contains(text, "\n"+armour)) {
			return ObstacleEncrypted
		}
	}
	return ""
}

// smimeObstacle says why an S/MIME message in one piece (RFC 8551, sections 3.3, 3.5.2 and 3.6) must stay as it is. Within
// a multipart most programs show such a piece as a file, smime.p7m, that nobody can open: the letter would be gone.
func smimeObstacle(m *mail.Message, p *mail.Part) string {
	sort := strings.ToLower(p.Params["smime-type"])
	if sort == "" {
		sort = cmsType(m, p)
	}
	alone := p.Parent == nil // else it is shown as a file already
	switch sort {
	case "certs-only": // no letter
	case "signed-data", "signed-receipt":
		if alone {
			return ObstacleSigned
		}
	case "compressed-data":
		if alone {
			return ObstacleCompressed
		}
	default: // enveloped-data, authEnveloped-data, or nothing said: then it is not ours to guess
		return ObstacleEncrypted
	}
	return ""
}

// cmsType reads from the content what a Content-Type leaves out: the object identifier that a CMS message begins with (RFC
// 5652, section 3, and RFC 3274). Empty: it says something else.
func cmsType(m *mail.Message, p *mail.Part) string {
	const begins = 32 // two tags with their lengths stand before it
	content, _ := m.Content(p, begins)
	switch {
	case bytes.Contains(content, []byte("\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02")):
		return "signed-data"
	case bytes.Contains(content, []byte("\x06\x0B\x2A\x86\x48\x86\xF7\x0D\x01\x09\x10\x01\x09")):
		return "compressed-data"
	}
	return ""
}

// first reports whether p is the body or begins it; anything further down is a file beside it.
func first(p *mail.Part) bool {
	for ; p.Parent != nil; p = p.Parent {
		if p.Parent.Parts[0] != p {
			return false
		}
	}
	return true
}

// underSignature reports whether p's header is covered by a signature: RFC 1847, section 2.1, signs the whole part.
func underSignature(p *mail.Part) bool {
	for a := p.Parent; a != nil; a = a.Parent {
		if a.MediaType == "multipart/signed" {
			return true
		}
	}
	return false
}
