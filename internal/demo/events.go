package demo

import (
	"context"
	"fmt"
	"strings"

	"postvagt/internal/ledger"
	"postvagt/internal/mail"
)

// event is one true event, played.
type event struct {
	title    string
	happened string // what happened in the world
	play     func(context.Context, *stage) error
}

var events = []event{
	{"A CPR number in the subject (Nyborg, 913 mails)", "A filter stopped such mails for six years and told no sender.", nyborgSubject},
	{"A reply to another authority's tainted subject (Nyborg, half of the 913)", "The number came with the other side's mail and left again with every reply.", nyborgReply},
	{"A notice whose own delivery fails", "An old system sends from a mailbox that is closed: who is told when the sender cannot be?", noticeFails},
	{"Health forms forwarded on too weak a channel (Herlev, three years)", "The right recipient, the wrong channel, and nobody compared them.", herlevForward},
	{"A recipient inside", "A colleague gets the same subject. Inside, nothing is ever blocked.", insideRecipient},
	{"One message, many recipients", "One arrives outside, one inside, one does not exist.", manyRecipients},
}

func nyborgSubject(ctx context.Context, s *stage) error {
	err := s.send("anna@eksempel.example", []string{"familie@nabo.example"}, `From: Anna Andersen <anna@eksempel.example>
To: familie@nabo.example
Subject: Sag 010170-5000: samtale
Message-ID: <sag-1@eksempel.example>
Content-Type: text/plain; charset=utf-8

Kan vi tale om sagen på fredag?
`)
	if err != nil {
		return err
	}
	_, d, err := s.story(ctx, "anna@eksempel.example", "familie@nabo.example", ledger.Delivered)
	if err != nil {
		return err
	}
	s.tell(d)
	m := s.outside.Wait(ctx, "familie@nabo.example", "samtale")
	if m == nil {
		return fmt.Errorf("the repaired message did not arrive")
	}
	subject := Subject(mail.Parse(m.Raw, mail.Limits{}))
	s.say("   The neighbour's subject line reads %q; the number stands in the text, over TLS: %v.", subject, m.TLS)
	if strings.Contains(subject, "010170") {
		return fmt.Errorf("the number is still in the subject")
	}
	return s.told(ctx, "anna@eksempel.example", "familie@nabo.example")
}

func nyborgReply(ctx context.Context, s *stage) error {
	err := s.send("familie@nabo.example", []string{"bo@eksempel.example"}, `From: familie@nabo.example
To: bo@eksempel.example
Subject: Vedr. 020280-6000
Thread-Topic: Vedr. 020280-6000
Message-ID: <nabo-1@nabo.example>
Content-Type: text/plain; charset=utf-8

Se venligst sagen.
`)
	if err != nil {
		return err
	}
	m := s.inside.Wait(ctx, "bo@eksempel.example", "Se venligst sagen")
	if m == nil {
		return fmt.Errorf("the neighbour's mail did not arrive")
	}
	subject := Subject(mail.Parse(m.Raw, mail.Limits{}))
	s.say("   → cleaned on arrival: Bo sees %q, and the number in the text.", subject)
	err = s.send("bo@eksempel.example", []string{"familie@nabo.example"}, `From: bo@eksempel.example
To: familie@nabo.example
Subject: SV: `+subject+`
In-Reply-To: <nabo-1@nabo.example>
Message-ID: <svar-1@eksempel.example>
Content-Type: text/plain; charset=utf-8

Tak, jeg ser på det.
`)
	if err != nil {
		return err
	}
	_, d, err := s.story(ctx, "bo@eksempel.example", "familie@nabo.example", ledger.Delivered)
	if err != nil {
		return err
	}
	s.tell(d)
	return nil
}

func noticeFails(ctx context.Context, s *stage) error {
	err := s.send("gammelt.fagsystem@eksempel.example", []string{"pensionist@borger.example"}, `From: Fagsystem <gammelt.fagsystem@eksempel.example>
To: pensionist@borger.example
Subject: Din pension
Content-Type: text/plain; charset=utf-8

Brev om din pension.
`)
	if err != nil {
		return err
	}
	_, d, err := s.story(ctx, "gammelt.fagsystem@eksempel.example", "pensionist@borger.example", ledger.Returned)
	if err != nil {
		return err
	}
	s.tell(d)
	s.say("   The sender's own mailbox is closed, so the notice climbed the ladder to the safety net:")
	return s.told(ctx, "sikkerhedsnet@eksempel.example", "pensionist@borger.example")
}

func herlevForward(ctx context.Context, s *stage) error {
	err := s.send("sygefravaer@eksempel.example", []string{"kontrol@revisor.example"}, `From: Mit Sygefravær <sygefravaer@eksempel.example>
To: kontrol@revisor.example
Subject: Ny anmeldelse
Content-Type: text/plain; charset=utf-8

CPR-nr.: 030390-7000
Sygemeldt fra 3. januar.
`)
	if err != nil {
		return err
	}
	_, d, err := s.story(ctx, "sygefravaer@eksempel.example", "kontrol@revisor.example", ledger.Queued)
	if err != nil {
		return err
	}
	s.tell(d)
	for _, m := range s.outside.All() {
		if m.To == "kontrol@revisor.example" {
			return fmt.Errorf("the form left on too low a level")
		}
	}
	s.say("   Nothing left. It needs the level %q; that server offers no encryption at all.", d.Verdict.Level)
	return s.told(ctx, "sygefravaer@eksempel.example", "kontrol@revisor.example")
}

func insideRecipient(ctx context.Context, s *stage) error {
	err := s.send("anna@eksempel.example", []string{"carl@eksempel.example"}, `From: anna@eksempel.example
To: carl@eksempel.example
Subject: Kollega: 040458-8000
Content-Type: text/plain; charset=utf-8

Vil du overtage?
`)
	if err != nil {
		return err
	}
	_, d, err := s.story(ctx, "anna@eksempel.example", "carl@eksempel.example", ledger.Delivered)
	if err != nil {
		return err
	}
	s.tell(d)
	return nil
}

func manyRecipients(ctx context.Context, s *stage) error {
	err := s.send("dorte@eksempel.example", []string{"familie@nabo.example", "carl@eksempel.example", "pensionist@borger.example"}, `From: dorte@eksempel.example
To: familie@nabo.example, carl@eksempel.example, pensionist@borger.example
Subject: Indkaldelse
Content-Type: text/plain; charset=utf-8

Vi ses onsdag.
`)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		to    string
		state ledger.State
	}{{"familie@nabo.example", ledger.Delivered}, {"carl@eksempel.example", ledger.Delivered}, {"pensionist@borger.example", ledger.Returned}} {
		_, d, err := s.story(ctx, "dorte@eksempel.example", r.to, r.state)
		if err != nil {
			return err
		}
		s.tell(d)
	}
	return s.told(ctx, "dorte@eksempel.example", "pensionist@borger.example")
}
