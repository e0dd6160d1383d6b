package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"postvagt/internal/level"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		at       stage
		code     int
		enhanced string
		want     Outcome
	}{
		{stageRoute, 0, "", Deferred},
		{stageGreeting, 421, "", Deferred},
		{stageGreeting, 554, "5.7.1", Deferred},
		{stageHello, 550, "", Deferred},
		{stageTLS, 454, "", Deferred},
		{stageTLS, 0, "", Deferred},
		{stageAuth, 535, "5.7.8", Deferred},
		{stageAuth, 550, "", Deferred},
		{stageMail, 0, "", Deferred},
		{stageMail, 354, "", Deferred},
		{stageMail, 421, "", Deferred},
		{stageMail, 451, "4.3.0", Deferred},
		{stageMail, 530, "5.7.0", Deferred},
		{stageMail, 550, "5.7.8", Deferred},
		{stageMail, 550, "5.7.9", Deferred},
		{stageMail, 550, "5.7.1", Refused},
		{stageMail, 552, "", Refused}, // larger than the hop takes
		{stageMail, 503, "", Refused},
		{stageRcpt, 550, "5.1.1", Refused},
		{stageRcpt, 550, "", Refused},
		{stageRcpt, 552, "5.2.2", Refused},
		{stageRcpt, 552, "", Deferred},
		{stageRcpt, 552, "5.5.3", Deferred},
		{stageRcpt, 550, "5.5.3", Deferred},
		{stageRcpt, 452, "4.5.3", Deferred},
		{stageRcpt, 450, "4.2.0", Deferred},
		{stageRcpt, 421, "", Deferred},
		{stageData, 0, "", Deferred},
		{stageData, 250, "", Deferred},
		{stageData, 451, "", Deferred},
		{stageData, 554, "", Refused},
		{stageEnd, 0, "", Unknown},
		{stageEnd, 250, "2.0.0", Delivered},
		{stageEnd, 251, "", Delivered},
		{stageEnd, 354, "", Unknown},
		{stageEnd, 421, "", Deferred},
		{stageEnd, 451, "", Deferred},
		{stageEnd, 550, "5.7.1", Refused},
		{stageEnd, 552, "", Refused},
		{stageEnd, 535, "5.7.8", Deferred},
	}
	for _, test := range tests {
		if got := classify(test.at, test.code, test.enhanced); got != test.want {
			t.Errorf("classify(%s, %d, %q): got %s, want %s", test.at, test.code, test.enhanced, got, test.want)
		}
	}
}

// oracle fails the test where an outcome contradicts what the peer knows: a message it took is delivered or possibly
// delivered, one it did not take is never delivered.
func oracle(t *testing.T, p *peer, results []Result) {
	t.Helper()
	took := len(p.took()) > 0
	for _, r := range results {
		if took && r.Outcome != Delivered && r.Outcome != Unknown {
			t.Errorf("the peer took the message, the result says %s (%s)", r.Outcome, r.Text)
		}
		if !took && r.Outcome == Delivered {
			t.Errorf("the peer did not take the message, the result says delivered (%s)", r.Text)
		}
	}
}

// TestReplies plays every sort of reply at every stage, in virtual time, with and without pipelining.
func TestReplies(t *testing.T) {
	stages := []struct {
		at      stage
		command string
	}{
		{stageGreeting, "greeting"}, {stageHello, "EHLO"}, {stageMail, "MAIL"}, {stageRcpt, "RCPT"}, {stageData, "DATA"}, {stageEnd, "."},
	}
	replies := []struct {
		reply string
		code  int
	}{
		{"451 4.3.0 later", 451}, {"550 5.7.1 no", 550}, {"421 4.3.2 closing", 421}, {"299-2.0.0 odd\n301 odd", 0}, {"what?", 0},
		{drop, 0}, {hang, 0},
	}
	for _, pipelining := range []bool{false, true} {
		for _, stage := range stages {
			for _, reply := range replies {
				t.Run(fmt.Sprintf("%s/%.4s/%v", stage.command, reply.reply, pipelining), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p := &peer{t: t, manners: manners{answer: answers(stage.command, reply.reply)}}
						if stage.at == stageHello {
							p.answer = func(c string) string {
								return answers(stage.command, reply.reply)(strings.Replace(c, "HELO", "EHLO", 1))
							}
						}
						if pipelining {
							p.offers = []string{"PIPELINING"}
						}
						c := client(t, p.pipe)
						receipt, results := c.Attempt(t.Context(), job(level.None, "b@borger.example"))
						c.Close()
						p.wg.Wait()
						if want := classify(stage.at, reply.code, ""); results[0].Outcome != want {
							t.Errorf("got %s (%s), want %s", results[0].Outcome, results[0].Text, want)
						}
						if results[0].Code != reply.code || !results[0].Reached {
							t.Errorf("got code %d, reached %v, want %d", results[0].Code, results[0].Reached, reply.code)
						}
						if reply.reply == hang && receipt.Took < 5*time.Minute {
							t.Errorf("gave up after %s", receipt.Took)
						}
						oracle(t, p, results)
					})
				})
			}
		}
	}
}

func TestHeloWhenEhloIsUnknown(t *testing.T) {
	p := &peer{t: t, manners: manners{answer: answers("EHLO", "502 5.5.1 what?")}}
	_, results := client(t, p.listen()).Attempt(t.Context(), job(level.None, "b@borger.example"))
	if results[0].Outcome != Delivered {
		t.Errorf("got %s (%s)", results[0].Outcome, results[0].Text)
	}
}

// TestStopped ends the context while the peer is silent: nothing waits for the timeouts, and only after the end of data is
// the message possibly delivered.
func TestStopped(t *testing.T) {
	for command, want := range map[string]Outcome{"greeting": Deferred, "EHLO": Deferred, "MAIL": Deferred, "RCPT": Deferred,
		"DATA": Deferred, ".": Unknown} {
		t.Run(command, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{t: t, manners: manners{answer: answers(command, hang)}}
				c := client(t, p.pipe)
				cause := errors.New("the guard is stopping")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(cause) })
				receipt, results := c.Attempt(ctx, job(level.None, "b@borger.example"))
				c.Close()
				p.wg.Wait()
				if results[0].Outcome != want || !strings.Contains(results[0].Text, cause.Error()) {
					t.Errorf("got %s (%s), want %s", results[0].Outcome, results[0].Text, want)
				}
				if receipt.Took != 10*time.Second {
					t.Errorf("took %s", receipt.Took)
				}
				oracle(t, p, results)
			})
		})
	}
}

func TestStoppedBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &peer{t: t}
	_, results := client(t, p.listen()).Attempt(ctx, job(level.None, "b@borger.example"))
	if results[0].Outcome != Deferred || len(p.took()) != 0 {
		t.Errorf("got %s", results[0].Outcome)
	}
}

func TestRecipients(t *testing.T) {
	replies := map[string]string{"b0": "250 2.1.5 ok", "b1": "550 5.1.1 unknown", "b2": "450 4.2.0 greylisted", "b3": "452 4.5.3 too many",
		"b4": "552 5.2.2 full", "b5": "251 2.1.5 forwarded"}
	answer := func(c string) string {
		if c, ok := strings.CutPrefix(c, "RCPT TO:<"); ok {
			return replies[c[:2]]
		}
		return ""
	}
	tests := []struct{ to, want string }{
		{"b0 b1 b2 b3 b4 b5", "delivered 250 2.0.0, refused 550 5.1.1, deferred 450 4.2.0, deferred 452 4.5.3, refused 552 5.2.2, delivered 250 2.0.0"},
		{"b1 b2", "refused 550 5.1.1, deferred 450 4.2.0"},
		{"b1", "refused 550 5.1.1"},
		{"b1 b0", "refused 550 5.1.1, delivered 250 2.0.0"},
	}
	for _, offers := range [][]string{nil, {"PIPELINING"}} {
		for _, test := range tests {
			p := &peer{t: t, manners: manners{offers: offers, answer: answer}}
			c := client(t, p.listen())
			j := job(level.None)
			for to := range strings.FieldsSeq(test.to) {
				j.Recipients = append(j.Recipients, Recipient{Address: "<"})
				j.Recipients[len(j.Recipients)-1].Address = job(level.None, to+"@borger.example").Recipients[0].Address
			}
			for range 2 { // the second time over the same connection, cleared by RSET or by DATA
				_, results := c.Attempt(t.Context(), j)
				if got := outcomes(results); got != test.want {
					t.Errorf("%s, offers %q: got %s, want %s", test.to, offers, got, test.want)
				}
			}
			if p.connections() != 1 {
				t.Errorf("%s, offers %q: %d connections, want 1", test.to, offers, p.connections())
			}
			if took := p.took(); len(took) > 0 && len(took[0].to) != strings.Count(test.want, "delivered") {
				t.Errorf("%s: the peer took it for %q", test.to, took[0].to)
			}
		}
	}
}

// TestManyRecipients needs several groups: more than one write may hold.
func TestManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{t: t, manners: manners{offers: []string{"PIPELINING", "DSN"}, answer: func(c string) string {
			if strings.Contains(c, "7@") {
				return "550 5.1.1 no"
			}
			return ""
		}}}
		c := client(t, p.pipe)
		j := job(level.None)
		for i := range 1000 {
			j.Recipients = append(j.Recipients, job(level.None, fmt.Sprintf("modtager-%d@borger.example", i)).Recipients[0])
			j.Recipients[i].Notify, j.Recipients[i].ORcpt = "FAILURE,DELAY", fmt.Sprintf("rfc822;modtager-%d@borger.example", i)
		}
		_, results := c.Attempt(t.Context(), j)
		c.Close()
		p.wg.Wait()
		for i, r := range results {
			if want := i%10 == 7; (r.Outcome == Refused) != want || (r.Outcome == Delivered) == want {
				t.Errorf("recipient %d: got %s", i, r.Outcome)
			}
		}
		if took := p.took(); len(took) != 1 || len(took[0].to) != 900 {
			t.Errorf("taken: %d", len(took))
		}
	})
}

// TestNoRecipientLeft is a hop that says 354 although it refused every recipient: it must not get an end of data.
func TestNoRecipientLeft(t *testing.T) {
	ours, theirs := net.Pipe()
	ended := make(chan string)
	go func() {
		buf := make([]byte, 8192)
		theirs.Write([]byte("220 hi\r\n"))
		theirs.Read(buf)
		theirs.Write([]byte("250-hi\r\n250 PIPELINING\r\n"))
		theirs.Read(buf)
		theirs.Write([]byte("250 ok\r\n550 no\r\n354 go on\r\n"))
		n, _ := theirs.Read(buf)
		ended <- string(buf[:n])
	}()
	c := client(t, func(context.Context, string, string) (net.Conn, error) { return ours, nil })
	_, results := c.Attempt(t.Context(), job(level.None, "b@borger.example"))
	if results[0].Outcome != Refused {
		t.Errorf("got %s", results[0].Outcome)
	}
	if sent := <-ended; sent != "" {
		t.Errorf("sent %q", sent)
	}
}

// TestReplyBeforeItsTurn is a hop whose answer to the message comes before the message: no receipt comes of it.
func TestReplyBeforeItsTurn(t *testing.T) {
	p := &peer{t: t, manners: manners{answer: answers("DATA", "354 go on\n250 2.0.0 taken"), lenient: true}}
	_, results := client(t, p.listen()).Attempt(t.Context(), job(level.None, "b@borger.example"))
	if results[0].Outcome != Deferred || len(p.took()) != 0 {
		t.Errorf("got %s (%s)", results[0].Outcome, results[0].Text)
	}
}

func TestExtensions(t *testing.T) {
	tests := []struct {
		name   string
		offers []string
		change func(*Job)
		want   string
		mail   string // MAIL and RCPT lines, "" none
	}{
		{"all", []string{"DSN", "SIZE", "8BITMIME", "SMTPUTF8"}, func(j *Job) {
			j.UTF8, j.EightBit, j.Ret, j.EnvID = true, true, "HDRS", "QQ314159"
			j.Recipients[0].Notify, j.Recipients[0].ORcpt = "SUCCESS,FAILURE", "rfc822;b+2Bx@borger.example"
		}, "delivered 250 2.0.0", "MAIL FROM:<a@eksempel.example> SIZE=57 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159\n" +
			"RCPT TO:<b@borger.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@borger.example"},
		{"none", nil, func(j *Job) {
			j.EightBit, j.Ret, j.EnvID, j.Recipients[0].Notify = true, "HDRS", "QQ314159", "NEVER"
		}, "delivered 250 2.0.0", "MAIL FROM:<a@eksempel.example>\nRCPT TO:<b@borger.example>"},
		{"null sender", []string{"SIZE 57"}, func(j *Job) { j.Sender = "" }, "delivered 250 2.0.0", "MAIL FROM:<> SIZE=57\nRCPT TO:<b@borger.example>"},
		{"no SMTPUTF8", []string{"8BITMIME"}, func(j *Job) { j.UTF8 = true }, "refused 0 5.6.7", ""},
		{"local part", nil, func(j *Job) { j.Recipients[0].Address = "bødker@borger.example" }, "refused 0 5.6.7", ""},
		{"domain only", nil, func(j *Job) { j.Recipients[0].Address = "b@blåbær.example" }, "delivered 250 2.0.0",
			"MAIL FROM:<a@eksempel.example>\nRCPT TO:<b@xn--blbr-roah.example>"},
		{"too large", []string{"SIZE 56"}, func(*Job) {}, "refused 0 5.3.4", ""},
		{"bad parameter", []string{"DSN"}, func(j *Job) { j.EnvID = "a\r\nRCPT TO:<x@y>" }, "delivered 250 2.0.0",
			"MAIL FROM:<a@eksempel.example>\nRCPT TO:<b@borger.example>"},
		{"bad address", nil, func(j *Job) { j.Recipients[0].Address = "b@borger.example>\r\nRSET" }, "refused 0 5.1.3", ""},
		{"bad sender", nil, func(j *Job) { j.Sender = "a@eksempel.example> SIZE=1" }, "refused 0 5.1.3", ""},
		{"quoted", nil, func(j *Job) { j.Recipients[0].Address = `"a <b>\" c"@borger.example` }, "delivered 250 2.0.0",
			"MAIL FROM:<a@eksempel.example>\nRCPT TO:<\"a <b>\\\" c\"@borger.example>"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &peer{t: t, manners: manners{offers: test.offers}}
			j := job(level.None, "b@borger.example")
			test.change(&j)
			_, results := client(t, p.listen()).Attempt(t.Context(), j)
			if got := outcomes(results); got != test.want {
				t.Errorf("got %s (%s), want %s", got, results[0].Text, test.want)
			}
			var lines []string
			for _, l := range p.commands() {
				if strings.HasPrefix(l, "MAIL") || strings.HasPrefix(l, "RCPT") {
					lines = append(lines, l)
				}
			}
			if got := strings.Join(lines, "\n"); got != test.mail {
				t.Errorf("got %s\nwant %s", got, test.mail)
			}
		})
	}
}

func TestTidy(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"  user\tunknown \r\n really\x00 \x1b[31m", "user unknown really [31m"},
		{"bad \xff byte", "bad \ufffd byte"},
		{"no 010170-5000 here", "no 010170-•••• here"},
		{strings.Repeat("å", 300), strings.Repeat("å", 248) + "…"},
		{strings.Repeat("x", 490) + " 010170-5000 y", strings.Repeat("x", 490) + " 010170…"},
	}
	for _, test := range tests {
		got := tidy(test.in)
		if got != test.want {
			t.Errorf("tidy(%q): got %q, want %q", test.in, got, test.want)
		}
		if len(got) > maxText || !utf8.ValidString(got) {
			t.Errorf("tidy(%q): %d bytes", test.in, len(got))
		}
	}
}

// TestNoNumberComesBack is law 6: what a hop says about a recipient whose address is a CPR number.
func TestNoNumberComesBack(t *testing.T) {
	for _, command := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		p := &peer{t: t, manners: manners{answer: answers(command, "451-4.1.1 <0101705000@nabo.example>\n451 4.1.1 010170-5000 is unknown")}}
		if command == "EHLO" {
			p.answer = answers("EHLO", "421 0101705000")
		}
		receipt, results := client(t, p.listen()).Attempt(t.Context(), job(level.None, "0101705000@nabo.example"))
		if all := fmt.Sprint(receipt, results); strings.Contains(all, "5000") {
			t.Errorf("%s: %s", command, all)
		}
	}
}
