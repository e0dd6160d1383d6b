package smtpin

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"
)

// command does one command line (RFC 5321, section 4.1).
func (c *conn) command(line string) {
	if !plainLine(line) {
		c.fault(500, "5.5.2", "control characters or broken UTF-8 in a command")
		return
	}
	verb, arg, _ := strings.Cut(line, " ")
	arg = strings.TrimRight(arg, " ")
	switch upper(verb) {
	case "HELO":
		c.hello(arg, false)
	case "EHLO":
		c.hello(arg, true)
	case "MAIL":
		c.mail(arg)
	case "RCPT":
		c.rcpt(arg)
	case "DATA":
		c.data(arg)
	case "BDAT":
		c.bdat(arg)
	case "STARTTLS":
		c.startTLS(arg)
	case "AUTH":
		c.auth(arg)
	case "RSET":
		c.rset(arg)
	case "NOOP":
		c.idle++
		c.reply(250, "2.0.0", "OK")
	case "HELP":
		c.idle++
		c.reply(214, "2.0.0", "RFC 5321 is spoken here; for help write to the postmaster")
	case "VRFY":
		c.vrfy(arg)
	case "EXPN":
		c.fault(502, "5.5.1", "EXPN is not offered")
	case "QUIT":
		c.quit(arg)
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PATCH", "DELETE", "HOST:":
		// A browser made to speak to us would go on with a body that looks like commands.
		c.log(slog.LevelWarn, "smtp client speaks http")
		c.reply(421, "4.7.0", c.s.o.Host+" this is SMTP, closing")
		c.done, c.linger = true, true
	default:
		c.fault(500, "5.5.2", "command not recognized")
	}
}

// plainLine reports whether a command holds only printable ASCII and valid UTF-8.
func plainLine(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// isASCII reports whether s is 7-bit.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hello is HELO and EHLO; both end a transaction (RFC 5321, section 4.1.4). Names are taken as they come: real clients
// say what is no domain name, and nothing here depends on it.
func (c *conn) hello(name string, esmtp bool) {
	c.idle++
	if name == "" || len(name) > 255 || strings.Contains(name, " ") || !isASCII(name) {
		c.fault(501, "5.5.4", "give one host name or address literal")
		return
	}
	c.reset()
	client := *c.client
	client.Hello, client.ESMTP = name, esmtp
	c.client = &client
	if !esmtp {
		c.reply(250, "", c.s.o.Host)
		return
	}
	c.reply(250, "", c.s.o.Host+"\n"+strings.Join(c.extensions(), "\n"))
}

// extensions lists what EHLO offers now.
func (c *conn) extensions() []string {
	list := []string{"PIPELINING", "SIZE " + strconv.FormatInt(c.s.o.MaxSize, 10), "8BITMIME", "SMTPUTF8", "DSN",
		"ENHANCEDSTATUSCODES", "CHUNKING"}
	if c.client.TLS == nil {
		if c.s.tls != nil {
			list = append(list, "STARTTLS")
		}
		return list
	}
	if c.s.o.RequireTLS {
		list = append(list, "REQUIRETLS")
	}
	if c.s.o.Auth {
		list = append(list, "AUTH PLAIN LOGIN")
	}
	return list
}

// mail begins a transaction (RFC 5321, section 4.1.1.2).
func (c *conn) mail(arg string) {
	switch {
	case c.client.Hello == "":
		c.fault(503, "5.5.1", "say EHLO first")
		return
	case c.env != nil:
		c.fault(503, "5.5.1", "a transaction is under way; end it or say RSET")
		return
	case c.s.o.AuthRequired && c.client.User == "" && c.client.TLS == nil && c.s.tls != nil:
		c.fault(530, "5.7.0", "say STARTTLS first")
		return
	case c.s.o.AuthRequired && c.client.User == "":
		c.fault(530, "5.7.0", "authentication required")
		return
	case c.isStopping():
		c.reply(421, "4.3.2", c.s.o.Host+" "+textClosing)
		c.done = true
		return
	case c.transactions >= c.s.o.MaxTransactions:
		c.reply(421, "4.7.0", c.s.o.Host+" too many messages on one connection, closing")
		c.done, c.linger = true, true
		return
	}
	m, bad := parseMail(arg, c.offers())
	if bad == nil && m.size > uint64(c.s.o.MaxSize) {
		c.reply(552, "5.3.4", c.tooLarge())
		return
	}
	if bad != nil {
		c.fault(bad.Code, bad.Enhanced, bad.Text)
		return
	}
	c.transactions++
	r := c.ask("mail", func(ctx context.Context) *Reply { return c.s.h.Mail(ctx, c.client, m.sender) })
	if !yes(r) {
		c.answer(r)
		return
	}
	c.declared = int64(m.size)
	c.env = &Envelope{Client: c.client, Sender: m.sender, Ret: m.ret, EnvID: m.envID, UTF8: m.utf8,
		EightBit: m.eightBit, RequireTLS: m.requireTLS}
	c.agree(r, "2.1.0", "sender OK")
}

// offers is what parameters may say on this connection.
func (c *conn) offers() offers {
	return offers{tls: c.client.TLS != nil, requireTLS: c.s.o.RequireTLS, auth: c.s.o.Auth, host: c.s.o.Host}
}

func (c *conn) tooLarge() string {
	return "message larger than the " + strconv.FormatInt(c.s.o.MaxSize, 10) + " bytes taken here"
}

// rcpt adds a recipient (RFC 5321, section 4.1.1.3).
func (c *conn) rcpt(arg string) {
	switch {
	case c.env == nil:
		c.fault(503, "5.5.1", "say MAIL first")
		return
	case c.chunks != nil:
		c.fault(503, "5.5.1", "the message has begun: no more recipients")
		return
	case len(c.env.Recipients) >= c.s.o.MaxRecipients:
		c.reply(452, "4.5.3", "too many recipients; send to the rest in another transaction")
		return
	}
	to, bad := parseRcpt(arg, c.env.UTF8, c.offers())
	if bad != nil {
		c.fault(bad.Code, bad.Enhanced, bad.Text)
		return
	}
	r := c.ask("rcpt", func(ctx context.Context) *Reply { return c.s.h.Rcpt(ctx, c.env, to) })
	if !yes(r) {
		c.refusals++
		c.answer(r)
		return
	}
	c.env.Recipients = append(c.env.Recipients, to)
	c.agree(r, "2.1.5", "recipient OK")
}

// yes reports whether a Handler agreed.
func yes(r *Reply) bool { return r == nil || r.Code/100 == 2 }

// agree answers 250, in the Handler's words where it has any.
func (c *conn) agree(r *Reply, enhanced, text string) {
	if r == nil || r.Text == "" {
		c.reply(250, enhanced, text)
		return
	}
	said := *r
	said.Code = 250
	if said.Enhanced == "" {
		said.Enhanced = enhanced
	}
	c.answer(&said)
}

func (c *conn) rset(arg string) {
	c.idle++
	if arg != "" {
		c.fault(501, "5.5.4", "RSET takes no argument")
		return
	}
	c.reset()
	c.reply(250, "2.0.0", "OK")
}

// vrfy never tells whether an address exists (RFC 5321, section 7.3).
func (c *conn) vrfy(arg string) {
	c.idle++
	if arg == "" {
		c.fault(501, "5.5.4", "VRFY takes an address")
		return
	}
	c.reply(252, "2.0.0", "not told; send the mail and it will be tried")
}

func (c *conn) quit(arg string) {
	if arg != "" {
		c.fault(501, "5.5.4", "QUIT takes no argument")
		return
	}
	c.reply(221, "2.0.0", c.s.o.Host+" goodbye")
	c.done = true
}

// startTLS is RFC 3207. What came in the same breath as the command was sent in clear and could have been slipped in by
// anybody on the way: it is never read on, and the connection ends.
func (c *conn) startTLS(arg string) {
	switch {
	case arg != "":
		c.fault(501, "5.5.4", "STARTTLS takes no argument")
		return
	case c.client.TLS != nil:
		c.fault(503, "5.5.1", "TLS is on already")
		return
	case c.s.tls == nil:
		c.fault(502, "5.5.1", "STARTTLS is not offered")
		return
	case c.in.pending() > 0:
		c.log(slog.LevelWarn, "smtp input after STARTTLS refused")
		c.in.discard()
		c.reply(554, "5.7.0", "nothing may follow STARTTLS before TLS is on; closing")
		c.errors++
		c.done, c.linger = true, true
		return
	}
	c.reply(220, "2.0.0", "go ahead")
	if c.flush() != nil {
		return
	}
	c.reset()
	c.handshake()
}
