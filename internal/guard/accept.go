package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/detect"
	"postvagt/internal/inspect"
	"postvagt/internal/ledger"
	"postvagt/internal/mail"
	"postvagt/internal/policy"
	"postvagt/internal/repair"
	"postvagt/internal/smtpin"
)

// intake is the smtpin.Handler of one listener: the accept step.
type intake struct {
	*Guard
	listener string
}

// Connect takes anybody; who may send what is decided per recipient.
func (in intake) Connect(context.Context, *smtpin.Client) *smtpin.Reply { return nil }

// Authenticate checks a submitter's password. The SMTP server logs what fails.
func (in intake) Authenticate(ctx context.Context, c *smtpin.Client, user, password string) *smtpin.Reply {
	if in.passwords.check(in.cfg.Users, user, password) {
		return nil
	}
	no := &smtpin.Reply{Code: 535, Enhanced: "5.7.8", Text: "The user name or password is wrong."}
	in.metrics.refusal(no)
	return no
}

// Mail checks that an authenticated user may send as this sender, and that nobody sends too fast.
func (in intake) Mail(ctx context.Context, c *smtpin.Client, sender mail.Address) (reply *smtpin.Reply) {
	defer func() { in.said(c, sender, "", reply) }()
	if who := in.counted(c); who != "" && !in.rates.allow(who, in.cfg.Limits.Rate) {
		return &smtpin.Reply{Code: 450, Enhanced: "4.7.1", Text: "Too many messages in a minute. Please send this one again later."}
	}
	if c.User == "" || in.maySendAs(c.User, sender) {
		return nil
	}
	return &smtpin.Reply{Code: 553, Enhanced: "5.7.1", Text: "You may not send as this address. Ask your mail administrator."}
}

// said logs and counts a refusal: what was refused in the conversation stands nowhere else, and somebody will ask for it.
func (in intake) said(c *smtpin.Client, sender, to mail.Address, r *smtpin.Reply) {
	if r == nil || r.Code/100 == 2 {
		return
	}
	in.metrics.refusal(r)
	log := in.log
	if r.Err != nil {
		log = log.With("err", detect.Mask(r.Err.Error()))
	}
	log.Info("refused", "client", c.IP, "listener", in.listener, "sender", detect.Mask(string(sender)), "recipient", detect.Mask(string(to)),
		"code", r.Code, "enhanced", r.Enhanced, "text", r.Text)
}

func (in intake) maySendAs(user string, sender mail.Address) bool {
	u := in.user(user)
	if u == nil {
		return false
	}
	if sender == "" {
		return true // bounces and receipts of a submitting system
	}
	whose := in.authorityOf(sender)
	if whose != nil && !slices.Contains(in.cfg.Bound(u.Authorities), whose) {
		return false
	}
	if len(u.Senders) == 0 {
		return whose != nil
	}
	return slices.ContainsFunc(u.Senders, func(p string) bool { return policy.Match(p, sender) })
}

// Rcpt refuses in the conversation what can be refused there: relaying for strangers, sending as another authority, a second
// authority in one inbound message, a mailbox that does not exist.
func (in intake) Rcpt(ctx context.Context, e *smtpin.Envelope, r smtpin.Recipient) (reply *smtpin.Reply) {
	defer func() { in.said(e.Client, e.Sender, r.Address, reply) }()
	sure, open := in.own(e.Client, e.Sender, nil)
	own, to := slices.Concat(sure, open), in.authorityOf(r.Address)
	if no := in.mayName(e, own, to); no != nil {
		return no
	}
	if len(own) == 0 {
		return in.unknownRecipient(ctx, to, r.Address)
	}
	return nil
}

// Data is the accept step: inspect, decide, queue. A nil error text means custody has passed (law 1).
func (in intake) Data(ctx context.Context, e *smtpin.Envelope, data []byte) (reply *smtpin.Reply) {
	defer func() { in.said(e.Client, e.Sender, "", reply) }()
	started := now()
	w, reply := in.read(e, data)
	if reply != nil {
		return reply
	}
	return in.take(ctx, w, started)
}

// take makes a message that was read durable; it answers 250 when custody has passed.
func (in intake) take(ctx context.Context, in2 *incoming, started time.Time) *smtpin.Reply {
	in2.envelope = once(in2.envelope)
	if _, err := in.keys.Of(in2.authority.Name); err != nil {
		return temporary("The mail of this authority cannot be stored just now.", err)
	}
	if err := in.decide(ctx, in2); err != nil {
		return temporary("The message could not be inspected just now.", err)
	}
	a, hot, err := in.queue(ctx, in2)
	if err != nil {
		return temporary("The message could not be stored just now.", err)
	}
	if err := in.commit(ctx, a, hot); err != nil {
		return temporary("The message could not be stored just now.", err)
	}
	in.metrics.accepted(in2, now().Sub(started))
	in.log.Info("accepted", "message", a.Message.ID, "direction", in2.direction, "authority", in2.authority.Name,
		"size", len(in2.message.Raw), "recipients", len(a.Deliveries), "findings", len(in2.report.Findings), "client", a.Message.Client)
	return &smtpin.Reply{Code: 250, Enhanced: "2.0.0", Text: "Accepted as " + string(a.Message.ID)}
}

// once is the envelope with each recipient named once: whoever was named twice gets one copy. What was asked to be told of either is asked of
// the one, and the first ORCPT stands.
func once(e *smtpin.Envelope) *smtpin.Envelope {
	out := *e
	out.Recipients = nil
	at := map[string]int{}
	for _, r := range e.Recipients {
		key := r.Address.Local() + "@" + strings.ToLower(r.Address.Domain()) // only the domain's case means nothing (RFC 5321, section 2.4)
		i, named := at[key]
		if !named {
			at[key] = len(out.Recipients)
			out.Recipients = append(out.Recipients, r)
			continue
		}
		first := &out.Recipients[i]
		first.Notify, first.ORcpt = bothNotify(first.Notify, r.Notify), cmp.Or(first.ORcpt, r.ORcpt)
	}
	return &out
}

// bothNotify is the NOTIFY that asks for all that either asks for. Without one, failures and delays are told (RFC 3461, section 4.1).
func bothNotify(a, b string) string {
	var words []string
	for _, list := range []string{a, b} {
		for w := range strings.SplitSeq(strings.ToUpper(cmp.Or(list, "FAILURE,DELAY")), ",") {
			if w = strings.TrimSpace(w); w != "NEVER" && !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
	}
	switch {
	case strings.EqualFold(a, b):
		return a
	case len(words) == 0:
		return "NEVER"
	}
	return strings.Join(words, ",")
}

// incoming is a message between accept and queue.
type incoming struct {
	id        ledger.MessageID
	at        time.Time
	envelope  *smtpin.Envelope
	message   *mail.Message
	direction policy.Direction
	authority *config.Authority
	from      string // the authority here that handed it over; "" it came from elsewhere
	report    inspect.Report
	verdicts  []policy.Verdict // one per envelope recipient
	repaired  []byte           // nil when nobody gets a repaired body
	changes   []repair.Change
	headerID  string
}

// read parses the message and settles direction and authority.
func (in intake) read(e *smtpin.Envelope, data []byte) (*incoming, *smtpin.Reply) {
	m := mail.Parse(data, mail.Limits{})
	own, _ := in.own(e.Client, e.Sender, m)
	direction, authority := in.whose(e, own)
	if authority == nil { // the conversation counted on the agreed header
		return nil, &smtpin.Reply{Code: 550, Enhanced: "5.7.1",
			Text: "This server relays for your network only with the agreed header. Ask the mail administrator of the authority."}
	}
	if bare := in.withoutSecrets(m); bare != nil {
		m = mail.Parse(bare, mail.Limits{})
	}
	return &incoming{id: ledger.NewMessageID(), at: now(), envelope: e, message: m, direction: direction, authority: authority, headerID: headerID(m)}, nil
}

// queue makes the acceptance: head, sealed bodies, one delivery per recipient, and the notices that go with it.
// The plain content is returned too, for the first attempt.
func (in intake) queue(ctx context.Context, w *incoming) (ledger.Acceptance, hot, error) {
	h := hot{head: in.traceHead(w), bodies: [][]byte{w.message.Raw}}
	if w.repaired != nil {
		h.bodies = append(h.bodies, w.repaired)
	}
	a := ledger.Acceptance{Message: in.record(w, len(h.head)+len(w.message.Raw))}
	for _, body := range h.bodies {
		sealed, err := in.teller.seal(w.authority.Name, w.id, h.head, body)
		if err != nil {
			return a, h, fmt.Errorf("seal the body: %w", err)
		}
		a.Bodies = append(a.Bodies, sealed)
	}
	var err error
	if a.Message.Sender, err = in.teller.address(w.authority.Name, w.id, w.envelope.Sender); err != nil {
		return a, h, err
	}
	for i, r := range w.envelope.Recipients {
		d, err := in.delivery(w, r, w.verdicts[i])
		if err != nil {
			return a, h, err
		}
		a.Deliveries = append(a.Deliveries, d)
	}
	a.Notices, err = in.teller.atAcceptance(ctx, a)
	return a, h, err
}

// hot is a message's plain content while it is still in memory: our trace fields, and each body below them.
type hot struct {
	head   []byte
	bodies [][]byte
}

// record is the message's row.
func (in intake) record(w *incoming, size int) ledger.Message {
	e := w.envelope
	m := ledger.Message{ID: w.id, Authority: w.authority.Name, Kind: ledger.Mail, Direction: w.direction, HeaderID: detect.Mask(w.headerID),
		Size: size, Client: clientName(e.Client), Ret: e.Ret, EnvID: detect.Mask(e.EnvID), UTF8: e.UTF8, EightBit: e.EightBit,
		Unit: unitOf(w.authority, e.Sender), Language: w.authority.Notices.Language, AcceptedAt: w.at, Findings: w.report.Findings}
	if w.from != "" {
		m.Client = handedBy + w.from
	}
	m.TellSender = e.Sender != "" && w.direction == policy.Outbound
	for _, c := range w.changes {
		m.Repairs = append(m.Repairs, ledger.Repair{Place: c.Place, Masked: c.Masked})
	}
	return m
}

// delivery is one recipient's row.
func (in intake) delivery(w *incoming, r smtpin.Recipient, v policy.Verdict) (ledger.NewDelivery, error) {
	to, err := in.teller.address(w.authority.Name, w.id, r.Address)
	if err != nil {
		return ledger.NewDelivery{}, err
	}
	pol := in.teller.policyOf(w.authority.Name)
	d := ledger.NewDelivery{Recipient: to, Notify: r.Notify, ORcpt: detect.Mask(r.ORcpt), Inside: pol.Inside(r.Address),
		State: ledger.Queued, Verdict: v, Lane: in.teller.lane(w.authority, r.Address), Owner: w.authority.SafetyNet, Due: w.at,
		Deadline: w.at.Add(in.cfg.Delivery.Return), Watch: w.at.Add(in.cfg.Delivery.Delay)}
	if repairs(v) {
		d.Body = 1
	}
	switch v.Action {
	case policy.Hold:
		d.State, d.Owner = ledger.Held, w.authority.Held.Owner
		d.Deadline, d.Watch = w.at.Add(w.authority.Held.Within), w.at
	case policy.Return:
		d.State, d.Watch = ledger.Returning, ledger.Never
	}
	return d, nil
}

// commit hands the acceptance to the ledger, leased at once when every lane it needs has room, and starts the attempts
// with the bodies still in memory. A failed commit may have happened all the same, so it is tried once more under the
// same id, which is a no-op if it did.
func (in intake) commit(ctx context.Context, a ledger.Acceptance, h hot) error {
	seats := in.dispatch.reserve(ctx, a, h)
	ctx = context.WithoutCancel(ctx) // a client that goes away must not leave us not knowing
	if seats != nil {
		a.Claim = &ledger.Claim{Node: in.node, Lease: in.lease}
	}
	defer in.happened()
	work, err := in.store.Accept(ctx, a)
	if err != nil {
		var again error
		if work, again = in.store.Accept(ctx, a); again != nil {
			seats.free()
			in.dispatch.doubt()
			return errors.Join(err, again)
		}
	}
	if seats == nil {
		in.dispatch.wake()
	}
	if len(a.Notices) > 0 {
		in.dispatch.wake()
	}
	seats.start(work)
	return nil
}

func unitOf(a *config.Authority, sender mail.Address) string {
	for _, u := range a.Units {
		if slices.ContainsFunc(u.Senders, func(p string) bool { return policy.Match(p, sender) }) {
			return u.Mailbox
		}
	}
	return ""
}

// headerID returns the Message-ID field's value, or "".
func headerID(m *mail.Message) string {
	f, ok := m.Root.Get("Message-ID")
	if !ok {
		return ""
	}
	return m.Unfolded(f)
}

func clientName(c *smtpin.Client) string {
	if c.User != "" {
		return c.IP.String() + " " + detect.Mask(c.User)
	}
	return c.IP.String()
}

// temporary keeps custody with the client (law 1: in doubt, 4yz before acceptance).
func temporary(text string, err error) *smtpin.Reply {
	return &smtpin.Reply{Code: 451, Enhanced: "4.3.0", Text: text + " Nothing was accepted; please send it again later.", Err: err}
}

// hasLine reports whether a field of that name with exactly that value stands in the header.
func hasLine(m *mail.Message, name, value string) bool {
	for _, f := range m.Root.Fields {
		if strings.EqualFold(f.Name, name) && m.Unfolded(f) == value {
			return true
		}
	}
	return false
}

// withoutSecrets returns the message without the fields by which trusted hosts prove themselves: the secret must not
// travel on, and foreign copies must not come in. nil when there is none.
func (in intake) withoutSecrets(m *mail.Message) []byte {
	var out []byte
	last := 0
	for _, f := range m.Root.Fields {
		if !slices.ContainsFunc(in.cfg.Trusted, func(t config.Trust) bool { return t.Header != "" && strings.EqualFold(t.Header, f.Name) }) {
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(m.Raw))
		}
		out = append(out, m.Raw[last:f.Span.Start]...)
		last = f.Span.End
	}
	if last == 0 {
		return nil
	}
	return append(out, m.Raw[last:]...)
}
