package notice

import (
	"bytes"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/inspect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
)

// What every notice keeps, whatever it is made of.
func checkNotice(t testing.TB, n Notice, raw []byte) {
	t.Helper()
	for i, l := range bytes.SplitAfter(raw, []byte("\n")) {
		if len(l) > 0 && !bytes.HasSuffix(l, []byte("\r\n")) || bytes.ContainsAny(bytes.TrimSuffix(l, []byte("\r\n")), "\r\x00") {
			t.Fatalf("line %d does not end in CRLF, or holds a CR or NUL: %q", i+1, l)
		}
		if len(l) > 1000 {
			t.Fatalf("line %d has %d bytes", i+1, len(l))
		}
	}
	if i := slices.IndexFunc(raw, func(c byte) bool { return c >= 0x80 }); i >= 0 {
		t.Fatalf("not 7-bit: %q", raw[max(0, i-30):i+10])
	}
	readable(t, raw)
	checkHeader(t, raw)
	checkNumbers(t, raw)
}

// checkHeader proves that nothing of what came in became a header field.
func checkHeader(t testing.TB, raw []byte) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"Date", "From", "To", "Subject", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "X-Auto-Response-Suppress", "Mime-Version", "Content-Type", "Content-Language"}
	for name, v := range m.Header {
		if !slices.Contains(known, name) || len(v) != 1 {
			t.Fatalf("unexpected or repeated header field %q: %q", name, v)
		}
	}
	for _, name := range []string{"From", "To"} {
		if _, err := m.Header.AddressList(name); err != nil && !strings.HasSuffix(m.Header.Get(name), ":;") {
			t.Fatalf("%s cannot be read: %v", name, err)
		}
	}
	if _, err := m.Header.Date(); err != nil {
		t.Fatal(err)
	}
}

// checkNumbers reads the message as the guard itself would, and looks for numbers in all of it. Dates are left out: our
// own digits may have a number's shape.
func checkNumbers(t testing.TB, raw []byte) {
	t.Helper()
	m := mail.Parse(raw, mail.Limits{})
	if len(m.Defects) > 0 {
		t.Fatalf("defects: %v", m.Defects)
	}
	leaves := 0
	m.Walk(func(p *mail.Part) {
		for _, f := range p.Fields {
			if v := m.Decoded(f); !strings.HasSuffix(f.Name, "Date") && detect.HoldsCPR(v) {
				t.Fatalf("a number in %s: %q", f.Name, v)
			}
		}
		if len(p.Parts) > 0 {
			return
		}
		leaves++
		b, defects := m.Content(p, 1<<20)
		if len(defects) > 0 {
			t.Fatalf("defects in part %s: %v", p.Path, defects)
		}
		for line := range strings.Lines(string(b)) {
			if name, _, _ := strings.Cut(line, ":"); !strings.HasSuffix(name, "-Date") && name != "Will-Retry-Until" && detect.HoldsCPR(line) {
				t.Fatalf("a number in part %s: %q", p.Path, line)
			}
		}
		if strings.HasPrefix(p.MediaType, "text/") && detect.HoldsCPR(string(b)) {
			t.Fatalf("a number across lines of part %s:\n%s", p.Path, b)
		}
	})
	if leaves != 2 && leaves != 3 {
		t.Fatalf("%d leaves", leaves)
	}
}

func TestEveryNotice(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			raw, err := Compose(n)
			if err != nil {
				t.Fatal(err)
			}
			checkNotice(t, n, raw)
			for i, l := range strings.Split(string(raw), "\r\n") {
				if len(l) > 76 {
					t.Errorf("line %d has %d characters: %q", i+1, len(l), l)
				}
			}
			if reports(n.Tells) != strings.Contains(string(raw), "multipart/report") {
				t.Error("a report where none is asked for, or none where one is")
			}
			again, _ := Compose(n)
			if !bytes.Equal(raw, again) {
				t.Error("the same facts gave other bytes")
			}
		})
	}
}

// At no time of the year do our own dates look like numbers to ourselves, which would mask them.
func TestDatesAreNotMasked(t *testing.T) {
	for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2028; at = at.Add(7*time.Hour + 13*time.Minute) {
		for _, lang := range []string{"da", "en"} {
			c := clock(at, lang)
			for _, s := range []string{"sendte " + c + ", er", "Fra " + c + " til " + clock(at.Add(24*time.Hour), lang) + " stod", c + "\n\n- emnet: 010170-••••\n", "550 5.1.1 " + c} {
				if got := detect.Mask(s); got != s {
					t.Fatalf("%q is masked: %q", s, got)
				}
			}
		}
	}
}

func TestDanishTime(t *testing.T) {
	for _, tt := range []struct {
		at     time.Time
		da, en string
	}{
		{time.Date(2026, 11, 22, 8, 15, 0, 0, time.UTC), "22. november 2026 kl. 09.15", "22 November 2026 at 09:15"},
		{time.Date(2026, 7, 1, 22, 5, 0, 0, time.UTC), "2. juli 2026 kl. 00.05", "2 July 2026 at 00:05"},
		{time.Time{}, "", ""},
	} {
		if da, en := clock(tt.at, "da"), clock(tt.at, "en"); da != tt.da || en != tt.en {
			t.Errorf("got %q, %q; want %q, %q", da, en, tt.da, tt.en)
		}
	}
}

// Both languages know the same, and every problem and reason has words of its own.
func TestWordsComplete(t *testing.T) {
	names := map[string][]string{}
	for lang, w := range words {
		for _, x := range w.t.Templates() {
			if !strings.HasSuffix(x.Name(), ".txt") && x.Name() != lang {
				names[lang] = append(names[lang], x.Name())
			}
		}
		slices.Sort(names[lang])
	}
	if !slices.Equal(names["da"], names["en"]) {
		t.Errorf("the languages differ:\nda %v\nen %v", names["da"], names["en"])
	}
	var want []string
	for _, k := range kinds {
		want = append(want, string(k), string(k)+".subject")
	}
	for _, p := range Problems {
		want = append(want, "returned.cause."+string(p), "delayed.cause."+string(p))
	}
	for _, r := range []policy.Reason{policy.CannotRepair, policy.NumberAddress, policy.NotInspected, policy.OwnRule, policy.Loop} {
		want = append(want, "held.cause."+string(r), "held.advice."+string(r), "returned.cause."+string(r), "returned.advice."+string(r))
	}
	want = append(want, "held.cause."+string(policy.Restored), "held.advice."+string(policy.Restored)) // nothing is returned for it
	for _, name := range want {
		if !slices.Contains(names["da"], name) {
			t.Errorf("no words for %s", name)
		}
	}
}

func TestComposeNeeds(t *testing.T) {
	for name, change := range map[string]func(*Notice){
		"id":      func(n *Notice) { n.ID = "" },
		"id form": func(n *Notice) { n.ID = "a\r\nb" },
		"from":    func(n *Notice) { n.From = "" },
		"to":      func(n *Notice) { n.To = "\r\n" },
		"host":    func(n *Notice) { n.Reporting = "" },
		"about":   func(n *Notice) { n.About = nil },
		"kind":    func(n *Notice) { n.Tells = "whispered" },
	} {
		n := sample(ledger.TellReturned)
		change(&n)
		if _, err := Compose(n); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Numbers in every field that comes in: none comes out, and the notice still says what it is about.
func TestNumbersEverywhere(t *testing.T) {
	const number = "0101705008"
	for _, k := range kinds {
		n := sample(k)
		n.To, n.Authority, n.Contact, n.Owner, n.By, n.Why = number+"@eksempel.example", number, number, number, number, "010170-5008"
		n.Message = Original{ID: number, HeaderID: "<" + number + "@x.example>", Sender: number + "@eksempel.example", AcceptedAt: n.At, EnvID: "0101+3705008"}
		n.Reporting = "x.example"
		n.About = []Subject{{Recipient: number + "@borger.example", ORcpt: "rfc822;010170+35008@borger.example", Problem: NoSuchAddress, Code: 550, Said: "5.1.1 <" + number + "> unknown", Remote: number + ".example",
			Places:  []Place{{Place: detect.Place{Kind: detect.InFileName, Name: number + ".pdf"}, Masked: number, Why: number}},
			Verdict: policy.Verdict{Reason: policy.OwnRule, Rule: "010170-5008", Action: policy.Hold}}}
		raw, err := Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		checkNotice(t, n, raw)
		if strings.Contains(string(raw), "In-Reply-To") {
			t.Error("a Message-ID with a number was repeated")
		}
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		k    ledger.TellKind
		s    Subject
		want string
	}{
		{ledger.TellReturned, Subject{Problem: LevelTooLow}, "failed 5.7.10"},
		{ledger.TellReturned, Subject{Problem: MailboxFull, Enhanced: "5.2.3"}, "failed 5.2.3"},
		{ledger.TellReturned, Subject{Problem: NotAccepted, Enhanced: "4.2.0"}, "failed 4.2.0"},
		{ledger.TellReturned, Subject{Problem: RefusedThere, Enhanced: "2.0.0"}, "failed 5.0.0"},
		{ledger.TellReturned, Subject{Enhanced: "5.1.1\r\nX: y"}, "failed 5.0.0"},
		{ledger.TellDelayed, Subject{Problem: NoContact}, "delayed 4.4.1"},
		{ledger.TellDelayed, Subject{Enhanced: "5.1.1"}, "delayed 4.1.1"},
		{ledger.TellHeld, Subject{}, "delayed 4.7.1"},
		{ledger.TellWithdrawn, Subject{Enhanced: "4.7.1"}, "failed 5.7.1"},
		{ledger.TellDelivered, Subject{Enhanced: "2.1.5"}, "relayed 2.1.5"},
		{ledger.TellDelivered, Subject{Enhanced: "5.1.5"}, "relayed 2.0.0"},
	} {
		if got := action(tt.k) + " " + enhanced(tt.k, tt.s); got != tt.want {
			t.Errorf("%s %+v: got %s, want %s", tt.k, tt.s, got, tt.want)
		}
	}
}

func TestTypedAddress(t *testing.T) {
	for _, tt := range []struct {
		orcpt  string
		global bool
		want   string
	}{
		{"rfc822;a+2Bb@x.example", false, "rfc822; a+b@x.example"},
		{"RFC822; a@x.example", false, "rfc822; a@x.example"},
		{`utf-8;s\x{F8}ren\x{2B}x@x.example`, true, "utf-8; søren+x@x.example"},
		{`utf-8;s\x{F8}ren\x{2B}x@x.example`, false, `utf-8; s\x{F8}ren\x{2B}x@x.example`},
		{"utf-8;søren@x.example", false, `utf-8; s\x{F8}ren@x.example`},
		{"rfc822;a+0D+0AX:@x.example", false, "rfc822; a_X:@x.example"},
		{"x400;whatever", false, ""},
		{"a@x.example", false, ""},
	} {
		if got := originalRecipient(tt.orcpt, tt.global); got != tt.want {
			t.Errorf("%q, %v: got %q, want %q", tt.orcpt, tt.global, got, tt.want)
		}
	}
}

func FuzzCompose(f *testing.F) {
	evil := "a\r\nBcc: x@x.example\r\n\r\n--=_b.r\r\n# 0101705008"
	f.Add(uint8(0), uint8(0), "borger@borger.example", "a@x.example", "550 5.1.1 no", evil, uint8(0))
	f.Add(uint8(2), uint8(3), "0101705008@borger.example", "0101705008@x.example", "010170-5008", "=?utf-8?q?0101=3705008?=", uint8(1))
	f.Add(uint8(9), uint8(7), "søren@blåbær.example", "\"a b\"@x.example", "{{.}} <b>", "\u202e0101\u200b705008", uint8(2))
	f.Add(uint8(5), uint8(1), evil, "a@b:;,<>\"", "x"+strings.Repeat("y", 2000), "\xff\xfe\x00", uint8(3))
	f.Add(uint8(8), uint8(9), "010170", "5008@x.example", "010170", "5008", uint8(1))
	f.Fuzz(func(t *testing.T, k, p uint8, rcpt, to, said, text string, rung uint8) {
		n := Notice{ID: noticeID, Tells: kinds[int(k)%len(kinds)], Lang: []string{"da", "en"}[rung%2], At: time.Date(2026, 11, 22, 12, 15, 0, 0, time.UTC).Add(time.Duration(k) * time.Hour),
			From: mail.Address(to), To: mail.Address(to), Rung: int(rung % 3), Reporting: "vagt.eksempel.example", Authority: text, Contact: text, Owner: text, By: text, Why: said,
			Message: Original{ID: ledger.MessageID(text), HeaderID: text, Sender: rcpt, EnvID: text, Direction: policy.Direction([]string{"in", "out"}[p%2])},
			About: []Subject{
				{Recipient: rcpt, ORcpt: "rfc822;" + rcpt, Problem: Problems[int(p)%len(Problems)], Code: 100 + int(p)*3, Said: said, Remote: text, Enhanced: text, Reached: level.Level(p % 6), Class: class.Class(p % 3), Possibly: p%2 == 0,
					Places:  []Place{{Place: detect.Place{Kind: detect.InHeader, Name: text}, Masked: said, Why: text}},
					Verdict: policy.Verdict{Action: policy.Hold, Reason: policy.OwnRule, Rule: text, Level: level.Level(p % 6)}},
				{Recipient: text, ORcpt: "utf-8;" + text, Said: text, Code: 450, Problem: Problem(text), Verdict: policy.Verdict{Reason: policy.Reason(said)}},
			}}
		raw, err := Compose(n)
		if err != nil {
			if flat(to, 320) != "" {
				t.Fatalf("no notice: %v", err)
			}
			return
		}
		checkNotice(t, n, raw)
	})
}

func BenchmarkCompose(b *testing.B) {
	n := failed(ledger.TellReturned, NoSuchAddress)
	for b.Loop() {
		if _, err := Compose(n); err != nil {
			b.Fatal(err)
		}
	}
}

// A message with very many recipients has one notice, of bounded size, in bounded time.
func TestManyRecipients(t *testing.T) {
	n := failed(ledger.TellReturned, NoContact)
	s := n.About[0]
	n.About = nil
	for i := range 1000 {
		s.Recipient, s.ORcpt = fmt.Sprintf("r%d@borger.example", i), ""
		n.About = append(n.About, s)
	}
	raw, err := Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(raw), "Final-Recipient"); got != 1000 || len(raw) > 500_000 {
		t.Errorf("%d recipients in %d bytes", got, len(raw))
	}
}

// Another guard on the way, or this one, has nothing to find in a notice: law 7 asks that nothing in it could be stopped.
func TestNothingToFind(t *testing.T) {
	for name, n := range samples() {
		for i := range 40 {
			n.At = n.At.Add(time.Duration(i) * (31*time.Hour + 7*time.Minute + 11*time.Second))
			n.Message.AcceptedAt, n.Deadline = n.At.Add(-time.Duration(i)*time.Hour), n.At.Add(time.Duration(i)*time.Hour)
			n.About = slices.Clone(n.About)
			n.About[0].LastTry = n.At
			raw, err := Compose(n)
			if err != nil {
				t.Fatal(err)
			}
			r := inspect.Message(mail.Parse(raw, mail.Limits{}), n.At, inspect.Options{})
			for _, f := range r.Findings {
				t.Fatalf("%s at %v: found %+v in\n%s", name, n.At, f, raw)
			}
		}
	}
}
