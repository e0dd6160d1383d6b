package smtpin

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postvagt/internal/mail"
)

type yesHandler struct{ got chan string }

func (yesHandler) Connect(context.Context, *Client) *Reply                      { return nil }
func (yesHandler) Authenticate(context.Context, *Client, string, string) *Reply { return nil }
func (yesHandler) Mail(context.Context, *Client, mail.Address) *Reply           { return nil }
func (yesHandler) Rcpt(context.Context, *Envelope, Recipient) *Reply            { return nil }
func (h yesHandler) Data(_ context.Context, _ *Envelope, data []byte) *Reply {
	h.got <- string(data)
	return nil
}

func TestSmoke(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h := yesHandler{make(chan string, 1)}
	done := make(chan error)
	go func() { done <- New(h, Options{Host: "mx.eksempel.example"}).Serve(ctx, l, time.Second) }()
	c, err := smtp.Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("a@eksempel.example", []string{"b@borger.example"}, strings.NewReader("Subject: x\r\n\r\n.dot\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := <-h.got; got != "Subject: x\r\n\r\n.dot\r\n" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Close()
}
