package deliver

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"postvagt/internal/mail"
)

// transact hands j over in one mail transaction and returns a result for each recipient. stale reports that a reused
// connection turned out to be closed before it answered anything, so that nothing can have been accepted.
func (s *session) transact(j *Job) (results []Result, stale bool) {
	if r := s.unable(j); r.Outcome != "" {
		return (&failure{result: r}).results(j), false
	}
	t := &transaction{session: s, job: j, results: make([]Result, len(j.Recipients))}
	open := t.envelope()
	switch {
	case t.stale:
		return nil, true
	case open:
		t.message()
	case !s.broken:
		t.reset()
	}
	return t.results, false
}

// unfit finds what must never reach a command line. Addresses come parsed; this is the last look before they leave.
func unfit(j *Job) *failure {
	if j.Hop.User != "" && strings.ContainsRune(j.Hop.User+j.Hop.Password, 0) {
		return &failure{result: Result{Outcome: Deferred, Text: "the login of the route holds a NUL byte"}}
	}
	bad := !speakable(string(j.Sender))
	for _, r := range j.Recipients {
		bad = bad || r.Address == "" || !speakable(string(r.Address))
	}
	if !bad {
		return nil
	}
	return &failure{result: Result{Outcome: Refused, Enhanced: "5.1.3", Text: "an address holds characters that SMTP cannot carry"}}
}

// speakable reports whether s can stand in a command line: no control characters, no angle brackets outside quotes.
func speakable(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '\\' && quoted:
			i++
			if i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return false
			}
		case c == '"':
			quoted = !quoted
		case (c == '<' || c == '>' || c == ' ') && !quoted:
			return false
		}
	}
	return !quoted
}

// unable is the result where the hop does not offer what the message cannot do without; no Outcome when it does.
func (s *session) unable(j *Job) Result {
	if j.wantsUTF8() && !s.offers.utf8 {
		return Result{Outcome: Refused, Enhanced: "5.6.7", Reached: true,
			Text: "the hop does not take addresses or header fields with other than ASCII letters (SMTPUTF8)"}
	}
	if s.offers.maxSize > 0 && j.size() > s.offers.maxSize {
		return Result{Outcome: Refused, Enhanced: "5.3.4", Reached: true,
			Text: fmt.Sprintf("the message of %d bytes is larger than the %d the hop takes", j.size(), s.offers.maxSize)}
	}
	return Result{}
}

func (j *Job) size() int64 { return max(j.Size, int64(len(j.Head)+len(j.Body))) }

// wantsUTF8 reports whether the transaction needs SMTPUTF8: for the message, or for an address.
func (j *Job) wantsUTF8() bool {
	if j.UTF8 || !ascii(spoken(j.Sender)) {
		return true
	}
	for i := range j.Recipients {
		if !ascii(spoken(j.Recipients[i].Address)) {
			return true
		}
	}
	return false
}

// spoken is the address as it goes on the wire: a domain with other than ASCII letters in its ASCII form (RFC 5890),
// which every hop understands, so that only a local part asks for SMTPUTF8.
func spoken(a mail.Address) string {
	s := string(a)
	if ascii(s) {
		return s
	}
	at := strings.LastIndexByte(s, '@')
	domain, err := asciiDomain(s[at+1:])
	if err != nil {
		return s
	}
	return s[:at+1] + domain
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// transaction is one MAIL, its RCPTs and DATA.
type transaction struct {
	*session
	job     *Job
	results []Result // an empty Outcome: not decided yet
	stale   bool
}

// maxGroup bounds the bytes sent before their replies are read (RFC 2920, section 3.1: a client must not let both
// ends block on writing).
const maxGroup = 3000

// envelope sends MAIL, the RCPTs and DATA, in groups where the hop pipelines, and reads every reply. It returns true
// when the hop waits for the message and at least one recipient is open.
func (t *transaction) envelope() bool {
	n := len(t.job.Recipients)
	sent, mailOK, open := 0, false, 0
	for read := 0; read <= n+1; read++ {
		if read == sent { // nothing is outstanding
			if read > 0 && !mailOK || read == n+1 && open == 0 {
				return false
			}
			sent = t.group(sent)
			t.wait(t.client.options.Command)
			if err := t.w.flush(); err != nil {
				t.lost(stageMail, read, t.explain(err))
				return false
			}
		}
		at := min(stageMail+stage(min(read, 1)), stageRcpt)
		if read == n+1 {
			at = stageData
		}
		r, err := t.read(t.client.options.Command, nil)
		if err != nil || read == 0 && r.code == 421 && t.used > 0 {
			t.lost(at, read, err)
			if err == nil && !t.stale {
				t.fill(resultOf(at, r))
			}
			return false
		}
		switch at {
		case stageMail:
			if mailOK = r.ok(); !mailOK {
				t.fill(resultOf(at, r))
			}
		case stageRcpt:
			if mailOK && r.ok() {
				open++
			} else if mailOK {
				t.results[read-1] = resultOf(at, r)
			}
		default:
			return t.dataReply(r, mailOK && open > 0)
		}
	}
	return false
}

// dataReply judges the reply to DATA.
func (t *transaction) dataReply(r reply, open bool) bool {
	if !open {
		// RFC 2920, section 3.1: DATA was already on its way when the last recipient was refused. A hop that now waits for
		// a message gets none: the connection ends without an end of data.
		t.broken = t.broken || r.code == 354
		return false
	}
	if r.code != 354 {
		t.fill(resultOf(stageData, r))
		return false
	}
	if t.r.Buffered() > 0 {
		// An answer to a message that has not been sent is no answer; taking it for one would be a false receipt.
		t.broken = true
		t.fill(brokenOff(stageData, errors.New("the hop sent a reply before its turn")))
		return false
	}
	return true
}

// group puts the commands from number next on into the writer: one, or as many as may be sent before their replies are
// read. Number 0 is MAIL, n+1 is DATA. It returns the number after the last.
func (t *transaction) group(next int) int {
	n := len(t.job.Recipients)
	for first := next; next <= n+1; next++ {
		if next > first && (!t.offers.pipelining || t.w.pending > maxGroup) {
			break
		}
		switch {
		case next == 0:
			t.mail()
		case next <= n:
			t.rcpt(&t.job.Recipients[next-1])
		default:
			t.w.add("DATA\r\n")
		}
	}
	return next
}

func (t *transaction) mail() {
	w, j := &t.w, t.job
	w.add("MAIL FROM:<")
	w.add(spoken(j.Sender))
	w.add(">")
	if t.offers.size {
		w.add(" SIZE=")
		w.add(strconv.FormatInt(j.size(), 10))
	}
	if j.EightBit && t.offers.eightBit {
		w.add(" BODY=8BITMIME")
	}
	// QUIRK: 8-bit content goes as it is to a hop that does not offer 8BITMIME, against RFC 6152, section 3. Hops that would
	// damage it have died out, changing the content would break signatures, and returning it would help nobody.
	if j.wantsUTF8() {
		w.add(" SMTPUTF8")
	}
	if t.offers.dsn {
		t.param(" RET=", j.Ret)
		t.param(" ENVID=", j.EnvID)
	}
	w.add("\r\n")
}

func (t *transaction) rcpt(r *Recipient) {
	t.w.add("RCPT TO:<")
	t.w.add(spoken(r.Address))
	t.w.add(">")
	if t.offers.dsn {
		t.param(" NOTIFY=", r.Notify)
		t.param(" ORCPT=", r.ORcpt)
	}
	t.w.add("\r\n")
}

// param adds a DSN parameter. One that could not be a parameter is left out: the mail is worth more than it.
func (t *transaction) param(name, value string) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return
	}
	t.w.add(name)
	t.w.add(value)
}

// message sends the message and reads what the hop says to it.
func (t *transaction) message() {
	if err := t.sendMessage(t.job.Head, t.job.Body); err != nil {
		t.brokenOffInData(t.explain(err))
		return
	}
	r, err := t.read(t.client.options.DataEnd, nil)
	if err != nil {
		t.fill(brokenOff(stageEnd, err))
		return
	}
	result := resultOf(stageEnd, r)
	if result.Outcome == Unknown {
		t.broken = true
	}
	t.fill(result)
}

// brokenOffInData ends the transaction when the message could not be written to its end. A hop that cuts a message off
// often says why first, and why may be permanent (too large).
func (t *transaction) brokenOffInData(err error) {
	result := brokenOff(stageData, err)
	if t.ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		if r, err := t.read(min(5*time.Second, t.client.options.Command), nil); err == nil && r.code >= 400 {
			result = resultOf(stageData, r)
		}
	}
	t.broken = true
	t.fill(result)
}

// lost ends the envelope when the connection broke while reply number read was due.
func (t *transaction) lost(at stage, read int, err error) {
	t.broken = true
	if read == 0 && t.used > 0 && t.ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.stale = true
		return
	}
	if err != nil {
		t.fill(brokenOff(at, err))
	}
}

// fill gives r to every recipient that has no result yet.
func (t *transaction) fill(r Result) {
	for i := range t.results {
		if t.results[i].Outcome == "" {
			t.results[i] = r
		}
	}
}

// reset ends a transaction that came to nothing, so that the connection can take another.
func (t *transaction) reset() {
	if r, err := t.command("RSET"); err != nil || !r.ok() {
		t.broken = true
	}
}
