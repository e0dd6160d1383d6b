package guard

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/publicsuffix"

	"postvagt/internal/ledger"
	"postvagt/internal/mail"
)

// SenderCheck says whether a message truly comes from its envelope sender's domain.
type SenderCheck interface {
	// Proven reports an aligned DKIM signature, or SPF pass for ip. ip is nil when the client was a trusted relay, whose own
	// address proves nothing. In doubt (DNS failure, time-out) it is false.
	Proven(ctx context.Context, ip net.IP, sender mail.Address, raw []byte) bool
}

// senderTime bounds a sender check; it is asked only when an outside sender is to be told of a failure.
const senderTime = 10 * time.Second

// proven asks the sender check about an accepted message. A message whose body is gone, or not stored yet, is not proven.
func (t *teller) proven(ctx context.Context, m ledger.Message, sender mail.Address) bool {
	if t.handedOver(m, sender) {
		return true
	}
	sealed, err := t.store.Body(ctx, m.ID, 0)
	if err != nil {
		return false
	}
	raw, err := t.unseal(m, sealed)
	if err != nil {
		return false
	}
	client, _, _ := strings.Cut(m.Client, " ")
	ip := net.ParseIP(client)
	for _, tr := range t.cfg.Trusted {
		if a, ok := addrOf(ip); ok && tr.Net.Contains(a) {
			ip = nil
		}
	}
	ctx, stop := context.WithTimeout(ctx, senderTime)
	defer stop()
	return t.senders.Proven(ctx, ip, sender, raw)
}

// dnsSenderCheck asks the system's name servers.
type dnsSenderCheck struct{}

func (dnsSenderCheck) Proven(ctx context.Context, ip net.IP, sender mail.Address, raw []byte) bool {
	if ip != nil {
		result, err := spf.CheckHostWithSender(ip, sender.Domain(), string(sender), spf.WithContext(ctx))
		if err == nil && result == spf.Pass {
			return true
		}
	}
	signatures, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{MaxVerifications: 5,
		LookupTXT: func(name string) ([]string, error) { return net.DefaultResolver.LookupTXT(ctx, name) }})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return false
	}
	for _, s := range signatures {
		if s.Err == nil && aligned(s.Domain, sender.Domain()) {
			return true
		}
	}
	return false
}

// aligned is DMARC's relaxed alignment: the same organisational domain (RFC 7489, section 3.1).
func aligned(a, b string) bool {
	oa, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(strings.TrimSuffix(a, ".")))
	ob, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(strings.TrimSuffix(b, ".")))
	return errA == nil && errB == nil && oa == ob
}
