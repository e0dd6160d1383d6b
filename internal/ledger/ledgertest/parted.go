package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postvagt/internal/ledger"
)

// of is an acceptance of one authority's, with one delivery in each state that a message can begin in.
func of(authority string) ledger.Acceptance {
	a := mail(3)
	a.Message.Authority = authority
	a.Bodies[0] = []byte("sealed by " + authority)
	a.Deliveries[1].State, a.Deliveries[2].State = ledger.Held, ledger.Returning
	n := notice(ledger.TellReturned)
	n.Message.Authority, n.About = authority, []int{2}
	n.Body = []byte("sealed by " + authority)
	a.Notices = []ledger.NewNotice{n}
	return a
}

// testParted: sums, verification and resealing of one authority see nobody else's, and add up to the whole.
func testParted(t *testing.T, open Open) {
	s := must(t, open)
	p, ok := s.(ledger.Parted)
	if !ok {
		t.Fatal("the engine does not implement ledger.Parted")
	}
	names := []string{"Eksempel Kommune", "Nabo Kommune", "Region Prøve"}
	for i, name := range names {
		for range i + 1 {
			accept(t, s, of(name))
		}
	}
	var accepted, open1 int64
	for i, name := range names {
		sums, err := p.SumsOf(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := int64(i + 1); sums.Accepted != 4*n || sums.States[ledger.Queued] != 2*n || sums.States[ledger.Held] != n || sums.States[ledger.Returning] != n || len(sums.States) != len(ledger.States) || sums.Unaccounted != 0 {
			t.Errorf("sums of %s: %+v", name, sums)
		}
		accepted, open1 = accepted+sums.Accepted, open1+sums.Open
		opened := 0
		v, err := p.VerifyOf(t.Context(), name, func(id string, sealed []byte) ([]byte, error) {
			opened++
			if string(sealed) != "sealed by "+name {
				t.Errorf("verifying %s opened a body %s", name, sealed)
			}
			return sealed, nil
		})
		if err != nil || len(v.Problems) > 0 || v.Chain != "ok" || v.Bodies != "ok" || fmt.Sprint(v.Sums) != fmt.Sprint(sums) || opened != 2*(i+1) {
			t.Errorf("verification of %s: %+v, %v, %d bodies opened", name, v, err, opened)
		}
	}
	if v := CheckLaws(t, s); v.Accepted != accepted || v.Open != open1 {
		t.Errorf("the parts add up to %d accepted and %d open, the whole is %+v", accepted, open1, v.Sums)
	}
	if v, err := p.VerifyOf(t.Context(), names[0], func(string, []byte) ([]byte, error) { return nil, errors.New("wrong key") }); err != nil || v.Bodies != "unreadable" || len(v.Problems) != 2 {
		t.Errorf("with a wrong key: %+v, %v", v, err)
	}
	if v, err := p.VerifyOf(t.Context(), "Ukendt Kommune", readable); err != nil || v.Accepted != 0 || v.Chain != "ok" || v.Bodies != "ok" || len(v.Problems) > 0 {
		t.Errorf("an unknown authority: %+v, %v", v, err)
	}
	n, err := p.ResealOf(t.Context(), names[1], func(id string, sealed []byte) ([]byte, error) {
		if string(sealed) != "sealed by "+names[1] {
			t.Errorf("resealing %s was given a body %s", names[1], sealed)
		}
		return []byte("anew by " + names[1]), nil
	})
	if err != nil || n != 4 {
		t.Errorf("resealed %d, %v, want 4", n, err)
	}
	if n, err := p.ResealOf(t.Context(), "Ukendt Kommune", func(string, []byte) ([]byte, error) { return nil, errFault }); n != 0 || err != nil {
		t.Errorf("an unknown authority: resealed %d, %v", n, err)
	}
}

// testNoticesStay: a notice belongs to the authority of what it tells of, and is about nobody else's.
func testNoticesStay(t *testing.T, open Open) {
	s := must(t, open)
	crossing := of("Eksempel Kommune")
	crossing.Notices[0].Message.Authority = "Nabo Kommune"
	if _, err := s.Accept(t.Context(), crossing); err == nil {
		t.Error("a message was accepted with another authority's notice")
	}
	mine, theirs := accept(t, s, of("Eksempel Kommune")), accept(t, s, of("Nabo Kommune"))
	before := fmt.Sprintf("%+v", theirs)
	for what, change := range map[string]func(*ledger.NewNotice){
		"another authority's notice":           func(n *ledger.NewNotice) { n.Message.Authority = "Nabo Kommune" },
		"an unknown authority's notice":        func(n *ledger.NewNotice) { n.Message.Authority = "Ukendt Kommune" },
		"a notice about another's delivery":    func(n *ledger.NewNotice) { n.AboutIDs = []ledger.DeliveryID{theirs.Deliveries[0].ID} },
		"a notice about one that is not there": func(n *ledger.NewNotice) { n.AboutIDs = []ledger.DeliveryID{1 << 40} },
	} {
		held := mine.Deliveries[1]
		n := notice(ledger.TellReminder)
		change(&n)
		c := ledger.Change{Delivery: held.ID, From: ledger.Held, To: ledger.Held, At: start, Event: ledger.Event{Kind: ledger.KindReminded}, Notices: []ledger.NewNotice{n}}
		if err := s.Apply(t.Context(), c)[0]; err == nil {
			t.Errorf("%s was taken", what)
		}
		if _, err := s.Story(t.Context(), n.Message.ID); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s is there: %v", what, err)
		}
	}
	if after := fmt.Sprintf("%+v", story(t, s, theirs.Message.ID)); after != before {
		t.Errorf("the other's message was\n%s\nand is\n%s", before, after)
	}
	if events := story(t, s, mine.Message.ID).Events; slices.ContainsFunc(events, func(e ledger.Event) bool { return strings.Contains(e.Kind, "remind") }) {
		t.Errorf("events of what was refused: %+v", events)
	}
	CheckLaws(t, s)
}
