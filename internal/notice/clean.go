package notice

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
)

// kinds lists what can be told.
var kinds = []ledger.TellKind{ledger.TellReturned, ledger.TellDelayed, ledger.TellHeld, ledger.TellReminder, ledger.TellEscalated,
	ledger.TellReleased, ledger.TellWithdrawn, ledger.TellRepaired, ledger.TellDigest, ledger.TellDelivered}

var token = regexp.MustCompile(`^[a-z0-9]{1,40}$`)

// port is what may stand after a host name or a bracketed address; Remote-MTA has no place for it.
var port = regexp.MustCompile(`:[0-9]{1,5}$`)

// check names what a notice cannot do without.
func check(n Notice) error {
	known := false
	for _, k := range kinds {
		known = known || k == n.Tells
	}
	switch {
	case !known:
		return fmt.Errorf("compose notice: unknown kind %q", n.Tells)
	case !token.MatchString(string(n.ID)) || detect.HoldsCPR(string(n.ID)):
		return errors.New("compose notice: its id is not 1 to 40 lower-case letters and digits")
	case n.From == "" || n.To == "":
		return errors.New("compose notice: From or To is missing")
	case n.Reporting == "":
		return errors.New("compose notice: the reporting host name is missing")
	case len(n.About) == 0:
		return errors.New("compose notice: there is nothing to tell about")
	}
	return nil
}

// clean masks and flattens every string that comes in: one line, no control characters, no number, of bounded length.
// Nothing that a stranger wrote can begin a header field, a MIME part or an encoded word after this.
func clean(n Notice) Notice {
	n.From, n.To = mail.Address(flat(string(n.From), 320)), mail.Address(flat(string(n.To), 320))
	n.Reporting = hostName(n.Reporting)
	n.Authority, n.Contact, n.Owner = safe(n.Authority, 200), safe(n.Contact, 320), safe(n.Owner, 320)
	n.By, n.Why = safe(n.By, 200), safe(n.Why, 1000)
	n.Rung = max(n.Rung, 0)
	n.Message = cleanOriginal(n.Message)
	about := make([]Subject, len(n.About))
	for i, s := range n.About {
		about[i] = cleanSubject(s)
	}
	n.About = about
	return n
}

func cleanOriginal(o Original) Original {
	o.ID = ledger.MessageID(safe(string(o.ID), 60))
	o.Sender = safe(o.Sender, 320)
	o.EnvID = safe(xtext(o.EnvID), 120) // RFC 3461, section 4.4: at most 100 characters
	o.HeaderID = strings.TrimSpace(o.HeaderID)
	return o
}

func cleanSubject(s Subject) Subject {
	s.Recipient = safe(s.Recipient, 320)
	s.Remote = hostName(port.ReplaceAllString(s.Remote, ""))
	s.Said = safe(s.Said, 500)
	s.Verdict.Rule = safe(s.Verdict.Rule, 100)
	s.Verdict.Reason = policy.Reason(safe(string(s.Verdict.Reason), 100))
	if s.Message != nil {
		o := cleanOriginal(*s.Message)
		s.Message = &o
	}
	places := make([]Place, len(s.Places))
	for i, p := range s.Places {
		p.Place.Kind = detect.PlaceKind(safe(string(p.Place.Kind), 40))
		p.Place.Name, p.Masked, p.Why = safe(p.Place.Name, 200), safe(p.Masked, 100), safe(p.Why, 200)
		places[i] = p
	}
	s.Places = places
	return s
}

// safe makes a text of others safe to repeat in a notice.
func safe(s string, most int) string {
	s = detect.Mask(flat(s, most))
	// "=?" would begin an encoded word (RFC 2047) in a header, and hide what it says from the mask.
	return strings.ReplaceAll(s, "=?", "= ?")
}

// flat makes s one line of valid UTF-8 of at most most bytes, without control characters and without those that turn
// the direction of reading (so that nothing reads as something else than it is).
func flat(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	}), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// hostName keeps what can stand in a host name or address literal.
func hostName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(".-_:[]", r)) {
			return r
		}
		return -1
	}, s)
	return toASCII(detect.Mask(s[:min(len(s), 255)]))
}
