package notice

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	noticeID  = "bcdefghijklmnopqrstuvwxyz2"
	messageID = "abcdefghijklmnopqrstuvwxy7"
)

// sample is a notice about one recipient, with what every kind has.
func sample(k ledger.TellKind) Notice {
	at := time.Date(2026, 11, 22, 12, 15, 0, 0, time.UTC)
	return Notice{
		ID: noticeID, Tells: k, Lang: "da", At: at, From: "postvagt@eksempel.example", To: "sagsbehandler@eksempel.example",
		Reporting: "vagt.eksempel.example", Authority: "Eksempel Kommune", Contact: "it-hjælp, it@eksempel.example",
		Message: Original{ID: messageID, HeaderID: "<besked-1@eksempel.example>", Sender: "sagsbehandler@eksempel.example",
			AcceptedAt: at.Add(-4 * time.Hour), EnvID: "kuvert-7", Direction: policy.Outbound},
		About: []Subject{{Recipient: "borger@borger.example", ORcpt: "rfc822;borger@borger.example", Class: class.Confidential, Required: level.Verified}},
	}
}

func verdict(a policy.Action, r policy.Reason, rule string) policy.Verdict {
	return policy.Verdict{Action: a, Class: class.Confidential, Level: level.Verified, Rule: rule, Reason: r, Policy: "abcdefghijklmnop"}
}

func subjectPlace() []Place {
	return []Place{{Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Kind: detect.CPR, Masked: "010170-••••"}}
}

// samples is every kind with every problem and reason it may have, by the name of its golden file.
func samples() map[string]Notice {
	all := map[string]Notice{}
	for _, k := range []ledger.TellKind{ledger.TellReturned, ledger.TellDelayed} {
		for _, p := range Problems {
			if p != ByPolicy {
				all[string(k)+"-"+string(p)] = failed(k, p)
			}
		}
	}
	for _, r := range []policy.Reason{policy.NumberAddress, policy.NotInspected, policy.OwnRule} {
		n := sample(ledger.TellReturned)
		n.About[0].Problem, n.About[0].Verdict = ByPolicy, verdict(policy.Return, r, "intet-til-nabo")
		if r == policy.NumberAddress {
			n.About[0].Recipient, n.About[0].ORcpt = "010170••••@borger.example", ""
		}
		if r == policy.NotInspected {
			n.About[0].Places = held(r).About[0].Places
		}
		all["returned-by-policy-"+string(r)] = n
	}
	for _, r := range []policy.Reason{policy.CannotRepair, policy.NumberAddress, policy.NotInspected, policy.OwnRule, policy.Loop, policy.Restored} {
		all["held-"+string(r)] = held(r)
	}
	for _, k := range []ledger.TellKind{ledger.TellReminder, ledger.TellEscalated} {
		n := held(policy.CannotRepair)
		n.Tells, n.To, n.Deadline = k, "postmester@eksempel.example", n.At.Add(4*time.Hour)
		all[string(k)] = n
	}
	for _, k := range []ledger.TellKind{ledger.TellReleased, ledger.TellWithdrawn} {
		n := sample(k)
		n.By, n.Why = "Anne Andersen", "aftalt med afsenderen"
		all[string(k)] = n
	}
	back := sample(ledger.TellWithdrawn)
	back.By, back.Why, back.About[0].Possibly, back.About[0].Verdict = "Anne Andersen", "modtageren har den", true, verdict(policy.Hold, policy.Restored, "restored")
	all["withdrawn-restored"] = back
	n := sample(ledger.TellDelivered)
	n.About[0].Reached = level.Verified
	all["delivered"] = n
	unread(all)
	repaired(all)
	inbound(all)
	ladder(all)
	mixed(all)
	return all
}

// unread is what could not be read: as if confidential on too weak a channel, or held, for one reason or another.
func unread(all map[string]Notice) {
	pdf := []Place{{Place: detect.Place{Kind: detect.InAttachment, Name: "skema.pdf"}, Kind: detect.Uninspected, Why: "attachment content is not read yet: application/pdf"}}
	for _, k := range []ledger.TellKind{ledger.TellReturned, ledger.TellDelayed} {
		n := failed(k, LevelTooLow)
		n.About[0].Reached = level.Cleartext
		all[string(k)+"-level-too-low-cleartext"] = n
		n = failed(k, LevelTooLow)
		n.About[0].Verdict, n.About[0].Places = verdict(policy.Send, policy.ClassAllows, "uninspected"), pdf
		all[string(k)+"-level-too-low-unread"] = n
		n.About = slices.Clone(n.About)
		n.About[0].Places = append(subjectPlace(), pdf...) // a number too: then it does hold confidential information
		n.About[0].Verdict = verdict(policy.Hold, policy.NotInspected, "uninspected")
		all[string(k)+"-level-too-low-unread-and-number"] = n
	}
	n := held(policy.NotInspected)
	n.About[0].Places = pdf
	all["held-not-inspected-pdf"] = n
	n = held(policy.NotInspected)
	n.About[0].Places = append(n.About[0].Places, pdf...)
	all["held-not-inspected-several"] = n
}

func failed(k ledger.TellKind, p Problem) Notice {
	n := sample(k)
	s := &n.About[0]
	s.Problem, s.LastTry = p, n.At.Add(-time.Minute)
	switch p {
	case LevelTooLow:
		s.Reached = level.Encrypted
	case NoContact, NoSuchDomain:
	default:
		s.Code, s.Said, s.Remote = 550, "the server's own words", "mx.borger.example"
	}
	if k == ledger.TellDelayed {
		n.Deadline = n.At.Add(20 * time.Hour)
		s.Code = min(s.Code, 450)
	}
	return n
}

func held(r policy.Reason) Notice {
	n := sample(ledger.TellHeld)
	n.Owner, n.Deadline = "postmester@eksempel.example", n.At.Add(72*time.Hour)
	n.About[0].Verdict = verdict(policy.Hold, r, "intet-til-nabo")
	switch r {
	case policy.CannotRepair:
		n.About[0].Places = subjectPlace()
	case policy.NumberAddress:
		n.About[0].Places = []Place{{Place: detect.Place{Kind: detect.InHeader, Name: "To"}, Kind: detect.CPR, Masked: "010170••••"}}
	case policy.NotInspected:
		n.About[0].Places = []Place{{Place: detect.Place{Kind: detect.InAttachment, Name: "skema.zip"}, Kind: detect.Uninspected, Why: "encrypted archive"}}
	}
	return n
}

func repaired(all map[string]Notice) {
	n := sample(ledger.TellRepaired)
	n.About[0].Verdict = verdict(policy.Repair, policy.ReadableNumber, "readable-number")
	n.About[0].Places = append(subjectPlace(), Place{Place: detect.Place{Kind: detect.InFileName, Name: "010170-••••.pdf"}, Kind: detect.CPR, Masked: "010170-••••"})
	all["repaired"] = n
	n.Message.Direction, n.Message.Sender = policy.Inbound, "sagsbehandler@nabo.example"
	all["repaired-inbound"] = n

	n = sample(ledger.TellDigest)
	n.Since = n.At.Add(-24 * time.Hour)
	first, second := n.Message, n.Message
	second.AcceptedAt = second.AcceptedAt.Add(time.Hour)
	n.About = []Subject{
		{Message: &first, Recipient: "borger@borger.example", Places: subjectPlace()},
		{Message: &first, Recipient: "anden@borger.example", Places: subjectPlace()},
		{Message: &second, Recipient: "sagsbehandler@nabo.example", Places: subjectPlace()},
	}
	n.Message = Original{}
	all["digest"] = n
}

// inbound is what failed, or was moved, on its way from outside to the authority's own people.
func inbound(all map[string]Notice) {
	n := held(policy.InsideRecipient)
	n.Message.Direction, n.Message.Sender = policy.Inbound, "sagsbehandler@nabo.example"
	n.About[0].Recipient, n.About[0].Verdict.Action, n.About[0].Places = "sagsbehandler@eksempel.example", policy.Send, subjectPlace()
	n.Rung, n.To, n.Untold = 2, "sikkerhedsnet@eksempel.example", Unproven
	all["held-inbound-broken-rung-2"] = n
	n.Untold = Failed
	n.About = []Subject{n.About[0]}
	n.About[0].Problem, n.About[0].Code, n.About[0].Said, n.About[0].Remote = MailboxFull, 552, "quota", "post.eksempel.example:25"
	n.Rung, n.To = 0, "sagsbehandler@nabo.example"
	all["held-inbound-mailbox-full"] = n
	n.Tells, n.Rung, n.To = ledger.TellReminder, 0, "postmester@eksempel.example"
	all["reminder-inbound-mailbox-full"] = n

	n = all["repaired-inbound"]
	n.To = "sagsbehandler@nabo.example"
	all["repaired-inbound-to-sender"] = n

	n = failed(ledger.TellReturned, LevelTooLow)
	n.About[0].Verdict = verdict(policy.Send, policy.ClassAllows, "matrix")
	for i := range 14 {
		n.About[0].Places = append(n.About[0].Places, Place{Place: detect.Place{Kind: detect.InAttachment, Name: fmt.Sprintf("skema-%d.txt", i/2)}, Kind: detect.CPR, Masked: fmt.Sprintf("%02d0170-••••", i+1)})
	}
	n.About[0].Places = append(n.About[0].Places, n.About[0].Places[0])
	all["returned-level-too-low-many-places"] = n
}

func ladder(all map[string]Notice) {
	for rung := 1; rung <= 2; rung++ {
		n := failed(ledger.TellReturned, NoSuchAddress)
		n.Rung, n.To = rung, "afdeling@eksempel.example"
		n.Unit = true
		all[fmt.Sprintf("returned-rung-%d", rung)] = n
		for _, why := range []Untold{NotAsked, Unproven, NeverTold} {
			n.Untold = why
			all[fmt.Sprintf("returned-rung-%d-%s", rung, why)] = n
		}
		n.Untold, n.Unit = Failed, false
		if rung == 2 {
			all["returned-rung-2-no-unit"] = n
			n.Untold = NotAsked
			all["returned-rung-2-no-unit-not-asked"] = n
			n.Untold = Failed
		}
		n.Message.Sender = ""
		all[fmt.Sprintf("returned-rung-%d-no-sender", rung)] = n
	}
}

func mixed(all map[string]Notice) {
	n := failed(ledger.TellReturned, LevelTooLow)
	n.Lang = "en"
	other := n.About[0]
	other.Recipient, other.ORcpt = "anden@borger.example", ""
	n.About = []Subject{n.About[0], other, failed(ledger.TellReturned, MailboxFull).About[0], failed(ledger.TellReturned, NoContact).About[0]}
	n.About[3].Possibly = true
	all["returned-mixed-english-first"] = n

	n = failed(ledger.TellReturned, NoSuchAddress)
	n.About[0].Recipient, n.About[0].ORcpt = "søren@borger.example", `utf-8;s\x{F8}ren@borger.example`
	all["returned-utf8-recipient"] = n
	n.To = "åse@eksempel.example"
	all["returned-utf8-both"] = n

	n = failed(ledger.TellReturned, NoSuchAddress)
	n.About[0].Remote = "127.0.0.1:2525"
	all["returned-by-address"] = n

	n = held(policy.ClassAllows)
	n.About[0].Verdict.Action, n.About[0].Places, n.About[0].Problem = policy.Send, nil, OwnStore
	all["held-own-store"] = n
}

func TestGolden(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			got, err := Compose(n)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".txt")
			shown := readable(t, got)
			if *update {
				if err := os.WriteFile(file, []byte(shown), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if shown != string(want) {
				t.Errorf("differs from %s; look at it, then run with -update\ngot:\n%s", file, shown)
			}
		})
	}
}

// readable shows a notice as a reader's program does, part by part, which also proves that it can be read.
func readable(t testing.TB, raw []byte) string {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("net/mail cannot read it: %v\n%s", err, raw)
	}
	var b strings.Builder
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "Auto-Submitted"} {
		v, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&b, "%s: %s\n", name, v)
	}
	b.WriteString(parts(t, m.Header.Get("Content-Type"), "", m.Body))
	return b.String()
}

func parts(t testing.TB, contentType, encoding string, body io.Reader) string {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("Content-Type %q: %v", contentType, err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		if encoding == "quoted-printable" {
			body = quotedprintable.NewReader(body)
		}
		content, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("\n===== %s\n%s", kind, strings.ReplaceAll(string(content), "\r\n", "\n"))
	}
	s := fmt.Sprintf("\n===== %s %s\n", kind, params["report-type"])
	r := multipart.NewReader(body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return s
		}
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		s += parts(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
	}
}
