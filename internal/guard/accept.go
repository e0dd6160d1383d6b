package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// Authenticate checks a submitter's password.
func (in intake) Authenticate(ctx context.Context, c *smtpin.Client, user, password string) *smtpin.Reply {
	if in.passwords.check(in.cfg.Users, user, password) {
		return nil
	}
	return &smtpin.Reply{Code: 535, Enhanced: "5.7.8", Text: "The user name or password is wrong."}
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
	in.metrics.refused.WithLabelValues(strconv.Itoa(r.Code), r.Enhanced).Inc()
	in.log.Info("refused", "client", c.IP, "listener", in.listener, "sender", detect.Mask(string(sender)), "recipient", detect.Mask(string(to)),
		"code", r.Code, "enhanced", r.Enhanced, "text", r.Text, "err", r.Err)
}

func (in intake) maySendAs(user string, sender mail.Address) bool {
	i := slices.IndexFunc(in.cfg.Users, func(u config.User) bool { return u.Name == user })
	if i < 0 {
		return false
	}
	if sender == "" {
		return true // bounces and receipts of a submitting system
	}
	if len(in.cfg.Users[i].Senders) == 0 {
		return in.cfg.AuthorityOf(sender.Domain()) != nil
	}
	return slices.ContainsFunc(in.cfg.Users[i].Senders, func(p string) bool { return policy.Match(p, sender) })
}

// Rcpt refuses in the conversation what can be refused there: relaying for strangers, a second authority in one inbound
// message.
func (in intake) Rcpt(ctx context.Context, e *smtpin.Envelope, r smtpin.Recipient) (reply *smtpin.Reply) {
	defer func() { in.said(e.Client, e.Sender, r.Address, reply) }()
	own := in.cfg.AuthorityOf(r.Address.Domain())
	if own == nil && in.trust(e.Client, e.Sender) == distrusted {
		return &smtpin.Reply{Code: 550, Enhanced: "5.7.1", Text: "This server does not relay mail from your address to that domain."}
	}
	if own == nil {
		return nil
	}
	for _, other := range e.Recipients {
		if a := in.cfg.AuthorityOf(other.Address.Domain()); a != nil && a != own {
			// The ledger keeps authorities strictly apart; a client sends the rest in a transaction of its own (RFC 5321, section 4.5.3.1.10).
			return &smtpin.Reply{Code: 452, Enhanced: "4.5.3", Text: "Send to this recipient in a transaction of its own."}
		}
	}
	if in.trust(e.Client, e.Sender) == distrusted {
		return in.unknownRecipient(ctx, own, r.Address)
	}
	return nil
}

// Data is the accept step: inspect, decide, queue. A nil error text means custody has passed (law 1).
func (in intake) Data(ctx context.Context, e *smtpin.Envelope, data []byte) (reply *smtpin.Reply) {
	defer func() { in.said(e.Client, e.Sender, "", reply) }()
	started := now()
	in2, reply := in.read(e, data)
	if reply != nil {
		return reply
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
		"size", len(data), "recipients", len(a.Deliveries), "findings", len(in2.report.Findings), "client", e.Client.IP)
	return &smtpin.Reply{Code: 250, Enhanced: "2.0.0", Text: "Accepted as " + string(a.Message.ID)}
}

// incoming is a message between accept and queue.
type incoming struct {
	id        ledger.MessageID
	at        time.Time
	envelope  *smtpin.Envelope
	message   *mail.Message
	direction policy.Direction
	authority *config.Authority
	report    inspect.Report
	verdicts  []policy.Verdict // one per envelope recipient
	repaired  []byte           // nil when nobody gets a repaired body
	changes   []repair.Change
	headerID  string
}

// read parses the message and settles direction and authority.
func (in intake) read(e *smtpin.Envelope, data []byte) (*incoming, *smtpin.Reply) {
	m := mail.Parse(data, mail.Limits{})
	tr := in.trust(e.Client, e.Sender)
	if tr == needsHeader {
		tr = in.headerTrust(e, m)
		if tr == distrusted && slices.ContainsFunc(e.Recipients, func(r smtpin.Recipient) bool { return in.cfg.AuthorityOf(r.Address.Domain()) == nil }) {
			return nil, &smtpin.Reply{Code: 550, Enhanced: "5.7.1",
				Text: "This server relays for your network only with the agreed header. Ask the mail administrator of the authority."}
		}
	}
	if bare := in.withoutSecrets(m); bare != nil {
		m = mail.Parse(bare, mail.Limits{})
	}
	w := &incoming{id: ledger.NewMessageID(), at: now(), envelope: e, message: m, direction: in.direction(e, tr), headerID: headerID(m)}
	w.authority = in.authority(w)
	return w, nil
}

// direction: mail from the authority is what a trusted or authenticated client hands over with a sender of the
// authority's, or towards anybody outside; the rest is mail to it. A forward keeps its outside sender and still leaves.
func (in intake) direction(e *smtpin.Envelope, tr trust) policy.Direction {
	if tr == distrusted {
		return policy.Inbound
	}
	if in.cfg.AuthorityOf(e.Sender.Domain()) != nil {
		return policy.Outbound
	}
	for _, r := range e.Recipients {
		if in.cfg.AuthorityOf(r.Address.Domain()) == nil {
			return policy.Outbound
		}
	}
	return policy.Inbound
}

// authority: whose message it is. Outbound: the sender's; inbound: the recipients'. A forward with a foreign sender
// belongs to the authority that is first in the file when no address says more.
func (in intake) authority(w *incoming) *config.Authority {
	if w.direction == policy.Outbound {
		if a := in.cfg.AuthorityOf(w.envelope.Sender.Domain()); a != nil {
			return a
		}
		if a := in.authorityOfUser(w.envelope.Client.User); a != nil {
			return a
		}
	}
	for _, r := range w.envelope.Recipients {
		if a := in.cfg.AuthorityOf(r.Address.Domain()); a != nil {
			return a
		}
	}
	return &in.cfg.Authorities[0]
}

// authorityOfUser is the authority whose addresses a submitting user may send as; nil when that names none.
func (in intake) authorityOfUser(name string) *config.Authority {
	for _, u := range in.cfg.Users {
		if u.Name != name {
			continue
		}
		for _, p := range u.Senders {
			if a := in.cfg.AuthorityOf(p[strings.LastIndex(p, "@")+1:]); a != nil {
				return a
			}
		}
	}
	return nil
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
		sealed, err := in.keys.Seal(string(w.id), h.head, body)
		if err != nil {
			return a, h, fmt.Errorf("seal the body: %w", err)
		}
		a.Bodies = append(a.Bodies, sealed)
	}
	var err error
	if a.Message.Sender, err = in.teller.address(w.id, w.envelope.Sender); err != nil {
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
	m.TellSender = e.Sender != "" && w.direction == policy.Outbound
	for _, c := range w.changes {
		m.Repairs = append(m.Repairs, ledger.Repair{Place: c.Place, Masked: c.Masked})
	}
	return m
}

// delivery is one recipient's row.
func (in intake) delivery(w *incoming, r smtpin.Recipient, v policy.Verdict) (ledger.NewDelivery, error) {
	to, err := in.teller.address(w.id, r.Address)
	if err != nil {
		return ledger.NewDelivery{}, err
	}
	pol := in.teller.policyOf(w.authority.Name)
	d := ledger.NewDelivery{Recipient: to, Notify: r.Notify, ORcpt: detect.Mask(r.ORcpt), Inside: pol.Inside(r.Address),
		State: ledger.Queued, Verdict: v, Lane: in.lane(r.Address), Owner: w.authority.SafetyNet, Due: w.at,
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

// lane names the next hop of an address: deliveries of one lane share connections, concurrency and backoff.
func (t *teller) lane(a mail.Address) string {
	r := t.cfg.RouteOf(a.Domain())
	if r.SmartHost != "" {
		return "host:" + r.SmartHost + routeMark(r)
	}
	if d := a.Domain(); detect.HoldsCPR(d) {
		return "mx:" + t.keys.MAC("lane "+d) // masked, two domains could look alike
	}
	return "mx:" + a.Domain()
}

// routeMark keeps apart routes that share a smart host but ask something else of it.
func routeMark(r config.Route) string {
	if r.Level == 0 && r.Vouches == 0 && r.TLSName == "" && r.RootCAs == "" && r.User == "" {
		return ""
	}
	return fmt.Sprintf("|%s|%s|%s|%s|%s", r.Level, r.Vouches, r.TLSName, r.RootCAs, r.User)
}

func (in intake) lane(a mail.Address) string { return in.teller.lane(a) }

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
