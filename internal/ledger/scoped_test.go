package ledger_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/ledger/sqlite"
	"postvagt/internal/policy"
)

var seedFlag = flag.Uint64("scoped.seed", 0, "seed of the random lives; 0: a fresh one, which is printed")

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// lives is a ledger in which three authorities live at random, and what an outsider might know of each.
type lives struct {
	t     *testing.T
	r     *rand.Rand
	s     ledger.Store
	now   time.Time
	names []string
	known map[string]*known
}

// known is what belongs to one authority.
type known struct {
	messages   []ledger.MessageID
	deliveries []ledger.DeliveryID
	addresses  []string
	headers    []string
	states     map[ledger.State]bool
}

func newLives(t *testing.T) *lives {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-scoped.seed=%d", seed)
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "ledger.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := &lives{t: t, r: rand.New(rand.NewPCG(seed, 0)), s: s, now: start, names: []string{"Eksempel Kommune", "Nabo Kommune", "Region Prøve"}, known: map[string]*known{}}
	for i, name := range l.names {
		for range 12 {
			l.accept(i)
		}
		if err := s.Note(t.Context(), ledger.Event{Authority: name, At: l.now, Kind: ledger.KindPolicy, Detail: "policy of " + name}); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Scoped(s, name).Put(t.Context(), "digest", "of "+name); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		l.live()
	}
	if err := s.Seal(t.Context(), l.now); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l.live() // not sealed yet
	}
	l.gather()
	return l
}

func (l *lives) domain(i int) string {
	return []string{"eksempel.example", "nabo.example", "region.example"}[i]
}

func (l *lives) message(i int, kind ledger.Kind) ledger.Message {
	id := ledger.NewMessageID()
	m := ledger.Message{ID: id, Authority: l.names[i], Kind: kind, Direction: policy.Outbound, HeaderID: "<" + string(id) + "@" + l.domain(i) + ">", Size: 9, Client: "192.0.2.7",
		Language: "da", AcceptedAt: l.now, Unit: "enhed@" + l.domain(i)}
	if kind == ledger.Mail {
		m.Sender = ledger.Address{Shown: "afsender@" + l.domain(i), Sealed: []byte("sealed by " + l.names[i])}
		m.Repairs = []ledger.Repair{{Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Masked: "010170-••••"}}
	}
	return m
}

func (l *lives) delivery(i int) ledger.NewDelivery {
	return ledger.NewDelivery{Recipient: ledger.Address{Shown: fmt.Sprintf("modtager%d@for-%s", l.r.IntN(3), l.domain(i))}, State: ledger.Queued, Verdict: policy.Verdict{Action: policy.Send, Policy: "p"},
		Lane: fmt.Sprintf("lane%d", l.r.IntN(2)), Owner: "net@" + l.domain(i), Due: l.now, Deadline: l.now.Add(time.Hour), Watch: l.now}
}

func (l *lives) notice(i int, tells ledger.TellKind) ledger.NewNotice {
	d := l.delivery(i)
	d.Recipient = ledger.Address{Shown: "afsender@" + l.domain(i)}
	return ledger.NewNotice{Tells: tells, Message: l.message(i, ledger.Notice), Body: []byte("sealed by " + l.names[i]), Delivery: d}
}

func (l *lives) accept(i int) {
	sealed := []byte("sealed by " + l.names[i])
	a := ledger.Acceptance{Message: l.message(i, ledger.Mail), Bodies: [][]byte{sealed, sealed}}
	n := l.notice(i, ledger.TellReturned)
	for j := range 1 + l.r.IntN(3) {
		d := l.delivery(i)
		d.Body = l.r.IntN(2)
		d.State = []ledger.State{ledger.Queued, ledger.Queued, ledger.Held, ledger.Returning}[l.r.IntN(4)]
		if d.State == ledger.Returning {
			n.About = append(n.About, j)
		}
		a.Deliveries = append(a.Deliveries, d)
	}
	if n.About != nil {
		a.Notices = []ledger.NewNotice{n}
	}
	if _, err := l.s.Accept(l.t.Context(), a); err != nil {
		l.t.Fatal(err)
	}
}

// live moves something of somebody's: an attempt with any outcome, or a person.
func (l *lives) live() {
	l.now = l.now.Add(time.Minute)
	ctx := l.t.Context()
	work, err := l.s.Claim(ctx, l.now, ledger.Claim{Node: "n1", Lane: fmt.Sprintf("lane%d", l.r.IntN(2)), Max: 1, Lease: time.Hour})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, c := range work {
		for _, d := range c.Deliveries {
			to := []ledger.State{ledger.Delivered, ledger.Delivered, ledger.Queued, ledger.Held, ledger.Returning, ""}[l.r.IntN(6)]
			if to == "" || c.Message.Kind == ledger.Notice && to == ledger.Returning {
				continue // stays leased
			}
			change := ledger.Change{Delivery: d.ID, From: ledger.Queued, To: to, At: l.now, Due: l.now, Deadline: l.now.Add(time.Hour), Watch: l.now,
				Attempt: &ledger.Attempt{No: d.Attempts, Node: "n1", Started: l.now, Ended: l.now, Outcome: "deferred", Receipt: []byte("{}")}}
			if to == ledger.Returning {
				change.Notices = []ledger.NewNotice{l.notice(slices.Index(l.names, c.Message.Authority), ledger.TellReturned)}
			}
			if err := l.s.Apply(ctx, change)[0]; err != nil {
				l.t.Fatal(err)
			}
		}
	}
	held, err := l.s.Find(ctx, ledger.Query{States: []ledger.State{ledger.Held}})
	if err != nil || len(held) == 0 {
		return
	}
	story, err := l.s.Story(ctx, held[l.r.IntN(len(held))])
	if err != nil {
		l.t.Fatal(err)
	}
	for _, d := range story.Deliveries {
		if d.State == ledger.Held && l.r.IntN(3) == 0 {
			to := []ledger.State{ledger.Withdrawn, ledger.Queued}[l.r.IntN(2)]
			if err := l.s.Apply(ctx, ledger.Change{Delivery: d.ID, From: ledger.Held, To: to, At: l.now, Due: l.now, Deadline: l.now.Add(time.Hour), Event: ledger.Event{By: "Anna"}})[0]; err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// gather reads from the whole ledger what belongs to whom.
func (l *lives) gather() {
	for i, name := range l.names {
		k := &known{states: map[ledger.State]bool{}, addresses: []string{"afsender@" + l.domain(i), "@" + l.domain(i), "@for-" + l.domain(i)}}
		var err error
		if k.messages, err = l.s.Find(l.t.Context(), ledger.Query{Authority: name, Limit: 1000}); err != nil {
			l.t.Fatal(err)
		}
		for _, id := range k.messages {
			story, err := l.s.Story(l.t.Context(), id)
			if err != nil {
				l.t.Fatal(err)
			}
			k.headers = append(k.headers, story.Message.HeaderID)
			for _, d := range story.Deliveries {
				k.deliveries = append(k.deliveries, d.ID)
				k.states[d.State] = true
			}
		}
		l.known[name] = k
	}
}

// picture is everything in the ledger but the facts of the authority that is looking, as one text.
func (l *lives) picture() string {
	var b strings.Builder
	ids, err := l.s.Find(context.Background(), ledger.Query{Limit: 10_000})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, id := range ids {
		story, err := l.s.Story(context.Background(), id)
		if err != nil {
			l.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%+v\n", story)
		for n := range 2 {
			body, _ := l.s.Body(context.Background(), id, n)
			fmt.Fprintf(&b, "%s\n", body)
		}
	}
	lanes, err := l.s.Lanes(context.Background())
	fmt.Fprintln(&b, lanes, err)
	for _, name := range append(l.names, "") {
		fact, err := l.s.Get(context.Background(), ledger.FactOf(name, "digest"))
		fmt.Fprintln(&b, fact, err)
	}
	return b.String()
}

// foreign is one thing of another authority's, or one that does not exist.
type foreign struct {
	message   ledger.MessageID
	delivery  ledger.DeliveryID
	address   string
	header    string
	authority string
}

// TestScoped: through one authority's view, whatever belongs to another answers in the words of what does not exist, and stays as
// it was. Each method of ledger.Store has a case here: a new one fails the test until somebody has thought of it.
func TestScoped(t *testing.T) {
	l := newLives(t)
	for _, name := range l.names {
		for _, st := range ledger.States {
			if !l.known[name].states[st] {
				t.Logf("%s has no delivery that is %s in this run", name, st)
			}
		}
	}
	methods := reflect.TypeFor[ledger.Store]()
	for _, me := range l.names {
		view := ledger.Scoped(l.s, me)
		if got := reflect.TypeOf(view).NumMethod(); got != methods.NumMethod() {
			t.Errorf("the view has %d methods, the store %d: what is more goes around the view", got, methods.NumMethod())
		}
		before := l.picture()
		for i := range methods.NumMethod() {
			method := methods.Method(i).Name
			ask, ok := scopedCases[method]
			if !ok {
				t.Errorf("Store.%s has no case: what does it answer about another authority?", method)
				continue
			}
			nothing := ask(l, view, me, foreign{"zzzzzzzzzzzzzzzzzzzzzzzzzz", 1 << 40, "ingen@findes.example", "<ingen@findes.example>", "Ukendt Kommune"})
			for _, other := range l.names {
				if other == me {
					continue
				}
				k := l.known[other]
				for i, id := range k.messages {
					f := foreign{id, k.deliveries[i%len(k.deliveries)], k.addresses[i%len(k.addresses)], k.headers[i], other}
					if got := ask(l, view, me, f); got != nothing {
						t.Fatalf("%s of %s's through the view of %s:\n%s\nof what does not exist:\n%s", method, other, me, got, nothing)
					}
				}
				for _, id := range k.deliveries {
					if got := ask(l, view, me, foreign{k.messages[0], id, k.addresses[0], k.headers[0], other}); got != nothing {
						t.Fatalf("%s of delivery %d of %s through the view of %s:\n%s\nof what does not exist:\n%s", method, id, other, me, got, nothing)
					}
				}
			}
		}
		if after := l.picture(); after != before {
			t.Errorf("something changed through the view of %s", me)
		}
		l.own(view, me)
	}
	ledgertest.CheckLaws(t, l.s)
}

// said is an answer as text, without the marks of who was asked about.
func said(f foreign, values ...any) string {
	s := fmt.Sprintf("%+v", values)
	for _, v := range values {
		if err, ok := v.(error); ok {
			s += fmt.Sprintf(" not found %v, scoped %v", errors.Is(err, ledger.ErrNotFound), errors.Is(err, ledger.ErrScoped))
		}
	}
	for _, mark := range []string{string(f.message), f.authority} {
		s = strings.ReplaceAll(s, mark, "…")
	}
	return regexp.MustCompile(fmt.Sprintf(`\bdelivery %d\b`, f.delivery)).ReplaceAllString(s, "…")
}

// scopedCases ask the view about something foreign. The answers must not tell what it is.
var scopedCases = map[string]func(l *lives, view ledger.Store, me string, f foreign) string{
	"Find": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		for _, q := range []ledger.Query{
			{ID: f.message}, {ID: f.message[:6]}, {ID: f.message[:20]}, {HeaderID: f.header}, {HeaderID: strings.Trim(f.header, "<>")}, {Sender: f.address}, {Recipient: f.address},
			{Authority: f.authority}, {Authority: f.authority, States: ledger.States}, {Authority: f.authority, ID: f.message}, {Sender: f.address, Kind: ledger.Mail, Limit: 1},
		} {
			ids, err := view.Find(l.t.Context(), q)
			// Ids of one moment share their first letters: what is found must be one's own.
			ids = slices.DeleteFunc(ids, func(id ledger.MessageID) bool { return len(q.ID) == 6 && slices.Contains(l.known[me].messages, id) })
			out = append(out, len(ids), ids, err)
		}
		return said(f, out...)
	},
	"Story": func(l *lives, view ledger.Store, me string, f foreign) string {
		story, err := view.Story(l.t.Context(), f.message)
		return said(f, story, err)
	},
	"Delivery": func(l *lives, view ledger.Store, me string, f foreign) string {
		c, err := view.Delivery(l.t.Context(), f.delivery)
		return said(f, c, err)
	},
	"Body": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		for n := range 3 {
			data, err := view.Body(l.t.Context(), f.message, n)
			out = append(out, data, err)
		}
		return said(f, out...)
	},
	"Apply": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		for _, from := range ledger.States {
			for _, to := range ledger.States {
				c := ledger.Change{Delivery: f.delivery, From: from, To: to, At: l.now, Due: l.now, Deadline: l.now, Event: ledger.Event{By: "Anna", Kind: "x"}}
				out = append(out, view.Apply(l.t.Context(), c))
				c.Attempt = &ledger.Attempt{No: 1, Node: "n1", Started: l.now, Ended: l.now, Outcome: "delivered", Receipt: []byte("{}")}
				out = append(out, view.Apply(l.t.Context(), c))
			}
		}
		// A change of one's own that drags another's along.
		mine, err := l.s.Delivery(context.Background(), l.known[me].deliveries[0])
		if err != nil {
			l.t.Fatal(err)
		}
		d := mine.Deliveries[0]
		n := l.notice(slices.Index(l.names, me), ledger.TellReminder)
		n.Message.ID, n.AboutIDs = "aaaaaaaaaaaaaaaaaaaaaaaaaa", []ledger.DeliveryID{f.delivery}
		crossing := ledger.Change{Delivery: d.ID, From: d.State, To: d.State, At: l.now, Notices: []ledger.NewNotice{n}}
		out = append(out, view.Apply(l.t.Context(), crossing))
		n.AboutIDs, n.Message.Authority = nil, f.authority
		crossing.Notices = []ledger.NewNotice{n}
		out = append(out, view.Apply(l.t.Context(), crossing))
		return said(f, out...)
	},
	"Note": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		mine := l.known[me].messages[0]
		for _, e := range []ledger.Event{{Authority: f.authority}, {Message: f.message}, {Message: f.message, Delivery: f.delivery}, {Delivery: f.delivery}, {Authority: me, Message: f.message}, {Message: mine, Delivery: f.delivery}} {
			e.At, e.Kind = l.now, ledger.KindOpened
			out = append(out, view.Note(l.t.Context(), e))
		}
		return said(f, out...)
	},
	"Sums": func(l *lives, view ledger.Store, me string, f foreign) string {
		sums, err := view.Sums(l.t.Context())
		return said(f, sums, err)
	},
	"Verify": func(l *lives, view ledger.Store, me string, f foreign) string {
		v, err := view.Verify(l.t.Context(), func(id string, sealed []byte) ([]byte, error) {
			if string(sealed) != "sealed by "+me {
				l.t.Errorf("verifying %s opened a body %s", me, sealed)
			}
			return nil, nil
		})
		return said(f, v, err)
	},
	"Reseal": func(l *lives, view ledger.Store, me string, f foreign) string {
		n, err := view.Reseal(l.t.Context(), func(id string, sealed []byte) ([]byte, error) {
			if string(sealed) != "sealed by "+me || !slices.Contains(l.known[me].messages, ledger.MessageID(id)) {
				l.t.Errorf("resealing %s was given %s of %s", me, sealed, id)
			}
			return nil, nil
		})
		return said(f, n, err)
	},
	"Get": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		for _, name := range []string{f.authority, "digest " + f.authority, ledger.FactOf(f.authority, "digest"), "digest\x1f" + f.authority, "digest of " + f.authority} {
			v, err := view.Get(l.t.Context(), name)
			out = append(out, v, err)
		}
		return said(f, out...)
	},
	"Put": func(l *lives, view ledger.Store, me string, f foreign) string {
		var out []any
		for _, name := range []string{ledger.FactOf(f.authority, "digest"), "digest\x1f" + f.authority, "x " + f.authority} {
			out = append(out, view.Put(l.t.Context(), name, "taken over"))
		}
		return said(f, out...)
	},
	"Accept": func(l *lives, view ledger.Store, me string, f foreign) string {
		a := ledger.Acceptance{Message: l.message(0, ledger.Mail), Bodies: [][]byte{[]byte("x")}, Deliveries: []ledger.NewDelivery{l.delivery(0)}}
		a.Message.ID, a.Message.Authority = f.message, f.authority
		work, err := view.Accept(l.t.Context(), a)
		return said(f, work, err)
	},
	"Claim": func(l *lives, view ledger.Store, me string, f foreign) string {
		work, err := view.Claim(l.t.Context(), l.now.Add(24*time.Hour), ledger.Claim{Node: "n2", Lane: "lane0", Max: 100, Lease: time.Hour})
		return said(f, work, err)
	},
	"Lanes": func(l *lives, view ledger.Store, me string, f foreign) string {
		lanes, err := view.Lanes(l.t.Context())
		return said(f, lanes, err)
	},
	"Watch": func(l *lives, view ledger.Store, me string, f foreign) string {
		waiting, err := view.Watch(l.t.Context(), l.now.Add(24*time.Hour), 100)
		return said(f, waiting, err)
	},
	"Recover": func(l *lives, view ledger.Store, me string, f foreign) string {
		n, err := view.Recover(l.t.Context(), l.now, "n1")
		return said(f, n, err)
	},
	"Unclaim": func(l *lives, view ledger.Store, me string, f foreign) string {
		n, err := view.Unclaim(l.t.Context(), l.now.Add(24*time.Hour), "n1", l.now.Add(24*time.Hour), nil)
		return said(f, n, err)
	},
	"Seal": func(l *lives, view ledger.Store, me string, f foreign) string {
		return said(f, view.Seal(l.t.Context(), l.now))
	},
	"Close": func(l *lives, view ledger.Store, me string, f foreign) string { return said(f, view.Close()) },
}

// own: the view answers about what is its own as the whole ledger does.
func (l *lives) own(view ledger.Store, me string) {
	t, k := l.t, l.known[me]
	all, err := view.Find(t.Context(), ledger.Query{Limit: 10_000})
	if err != nil || !slices.Equal(all, k.messages) {
		t.Errorf("%s finds %d messages, %v, and has %d", me, len(all), err, len(k.messages))
	}
	counted := map[ledger.State]int64{}
	for _, id := range k.messages {
		whole, _ := l.s.Story(t.Context(), id)
		story, err := view.Story(t.Context(), id)
		if err != nil || fmt.Sprintf("%+v", story) != fmt.Sprintf("%+v", whole) {
			t.Errorf("the story of %s, %v:\n%+v\nwant\n%+v", id, err, story, whole)
		}
		for _, d := range story.Deliveries {
			counted[d.State]++
			if c, err := view.Delivery(t.Context(), d.ID); err != nil || c.Message.ID != id {
				t.Errorf("delivery %d: %+v, %v", d.ID, c, err)
			}
		}
	}
	sums, err := view.Sums(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, st := range ledger.States {
		if sums.States[st] != counted[st] {
			t.Errorf("%s: %d deliveries are %s, counted %d", me, sums.States[st], st, counted[st])
		}
	}
	if v, err := view.Verify(t.Context(), func(string, []byte) ([]byte, error) { return nil, nil }); err != nil || len(v.Problems) > 0 || v.Chain != "ok" {
		t.Errorf("%s verifies as %+v, %v", me, v, err)
	}
	if v, err := view.Get(t.Context(), "digest"); v != "of "+me || err != nil {
		t.Errorf("%s's fact is %q, %v", me, v, err)
	}
	if err := view.Note(t.Context(), ledger.Event{Message: k.messages[0], At: l.now, Kind: ledger.KindOpened, By: "Anna"}); err != nil {
		t.Error(err)
	}
}

// TestScopedLinks: a link that leads to another authority is not shown, should one ever stand in the ledger.
func TestScopedLinks(t *testing.T) {
	l := newLives(t)
	view := ledger.Scoped(crossed{l.s, l.known[l.names[1]].messages[0]}, l.names[0])
	shown := 0
	for _, id := range l.known[l.names[0]].messages {
		story, err := view.Story(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		shown += len(story.Notices)
		for _, link := range story.Notices {
			if !slices.Contains(l.known[l.names[0]].messages, link.Notice) || !slices.Contains(l.known[l.names[0]].messages, link.Subject) {
				t.Errorf("a link of another's is shown: %+v", link)
			}
		}
	}
	if shown == 0 {
		t.Log("this run made no notices")
	}
}

// crossed adds links to another's message to every story.
type crossed struct {
	ledger.Store
	other ledger.MessageID
}

func (c crossed) Story(ctx context.Context, id ledger.MessageID) (ledger.Story, error) {
	s, err := c.Store.Story(ctx, id)
	s.Notices = append(s.Notices, ledger.NoticeLink{Notice: c.other, Subject: id, About: 1, Tells: ledger.TellHeld}, ledger.NoticeLink{Notice: id, Subject: c.other, About: 1, Tells: ledger.TellHeld})
	return s, err
}

// TestScopedWhole: an engine that cannot answer for one authority says so; it never answers for all instead.
func TestScopedWhole(t *testing.T) {
	view := ledger.Scoped(struct{ ledger.Store }{}, "Eksempel Kommune")
	if _, err := view.Sums(t.Context()); !errors.Is(err, ledger.ErrWhole) {
		t.Errorf("sums: %v", err)
	}
	if _, err := view.Verify(t.Context(), nil); !errors.Is(err, ledger.ErrWhole) {
		t.Errorf("verify: %v", err)
	}
	if _, err := view.Reseal(t.Context(), nil); !errors.Is(err, ledger.ErrWhole) {
		t.Errorf("reseal: %v", err)
	}
}
