package smtpin

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"unicode/utf8"
)

const (
	maxAuthFailures = 3
	maxUserName     = 255
)

// auth is AUTH PLAIN (RFC 4616) and LOGIN, over TLS only (RFC 4954).
func (c *conn) auth(arg string) {
	mechanism, initial, given := strings.Cut(arg, " ")
	switch {
	case !c.s.o.Auth:
		c.fault(502, "5.5.1", "AUTH is not offered")
		return
	case c.client.TLS == nil:
		c.fault(538, "5.7.11", "AUTH over TLS only; say STARTTLS first")
		return
	case !c.client.ESMTP:
		c.fault(503, "5.5.1", "say EHLO first")
		return
	case c.client.User != "":
		c.fault(503, "5.5.1", "authenticated already")
		return
	case c.env != nil:
		c.fault(503, "5.5.1", "not inside a transaction")
		return
	}
	switch upper(mechanism) {
	case "PLAIN":
		c.authPlain(initial, given)
	case "LOGIN":
		c.authLogin(initial, given)
	case "":
		c.fault(501, "5.5.4", "AUTH takes a mechanism")
	default:
		c.fault(504, "5.5.4", "this AUTH mechanism is not offered")
	}
}

func (c *conn) authPlain(initial string, given bool) {
	response, ok := c.authResponse("", initial, given)
	if !ok {
		return
	}
	parts := strings.Split(response, "\x00")
	if len(parts) != 3 {
		c.fault(501, "5.5.2", "not a PLAIN response")
		return
	}
	if parts[0] != "" && parts[0] != parts[1] {
		c.authFailed(&Reply{Code: 535, Enhanced: "5.7.8", Text: "nobody may act for another here"})
		return
	}
	c.authenticate(parts[1], parts[2])
}

func (c *conn) authLogin(initial string, given bool) {
	user, ok := c.authResponse("VXNlcm5hbWU6", initial, given) // "Username:"
	if !ok {
		return
	}
	password, ok := c.authResponse("UGFzc3dvcmQ6", "", false) // "Password:"
	if !ok {
		return
	}
	c.authenticate(user, password)
}

// authResponse returns what the client says to a challenge, or said at once. The password is in it: it is neither
// logged nor kept.
func (c *conn) authResponse(challenge, initial string, given bool) (string, bool) {
	line := initial
	if !given {
		c.reply(334, "", challenge)
		var err error
		if line, err = c.readLine(authLimit); err != nil {
			c.ended(err)
			return "", false
		}
		if line == "*" {
			c.fault(501, "5.7.0", "authentication cancelled")
			return "", false
		}
	} else if initial == "=" { // an empty initial response (RFC 4954, section 4)
		line = ""
	}
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		c.fault(501, "5.5.2", "not base64")
		return "", false
	}
	return string(b), true
}

// authenticate asks the Handler.
func (c *conn) authenticate(user, password string) {
	if user == "" || password == "" || len(user) > maxUserName || !plainLine(user) || !utf8.ValidString(password) ||
		strings.Contains(password, "\x00") {
		c.authFailed(&Reply{Code: 535, Enhanced: "5.7.8", Text: "user name or password not accepted"})
		return
	}
	r := c.ask("authenticate", func(ctx context.Context) *Reply {
		return c.s.h.Authenticate(ctx, c.client, user, password)
	})
	if !yes(r) {
		c.authFailed(r)
		return
	}
	client := *c.client
	client.User = user
	c.client = &client
	c.reply(235, "2.7.0", "authenticated")
}

// authFailed answers, and ends the connection of one who guesses.
func (c *conn) authFailed(r *Reply) {
	c.authFailures++
	c.log(slog.LevelWarn, "smtp authentication failed", slog.Int("failures", c.authFailures))
	c.answer(r)
	if c.authFailures >= maxAuthFailures && !c.done {
		c.reply(421, "4.7.0", c.s.o.Host+" too many failed logins, closing")
		c.done, c.linger = true, true
	}
}
