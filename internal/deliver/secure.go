package deliver

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"postvagt/internal/level"
)

// secure makes the handshake and measures what the channel proves. The certificate is looked at by measure and not by
// crypto/tls, because an unproven name lowers the level and does not end the conversation.
func (s *session) secure(t target, hop Hop) error {
	config := &tls.Config{
		ServerName:                  t.name,
		MinVersion:                  tls.VersionTLS12,
		InsecureSkipVerify:          true, // VerifyConnection measures instead
		DynamicRecordSizingDisabled: true, // mail is sent in bulk
		VerifyConnection: func(state tls.ConnectionState) error {
			s.measure(state, t, hop)
			return nil
		},
	}
	conn := tls.Client(s.raw, config)
	s.wait(s.client.options.Connect)
	if err := conn.Handshake(); err != nil {
		s.facts.Level = level.None
		return s.explain(fmt.Errorf("no TLS 1.2 or newer: %w", err))
	}
	s.over(conn)
	return nil
}

// measure notes the TLS facts in the receipt. The level is Verified only for a smart host, whose name the authority
// wrote down; the name of an exchanger comes from DNS, where anybody on the way could have put his own.
func (s *session) measure(state tls.ConnectionState, t target, hop Hop) {
	f := &s.facts
	f.Level = level.Encrypted
	f.TLSVersion = tls.VersionName(state.Version)
	f.Cipher = tls.CipherSuiteName(state.CipherSuite)
	if len(state.PeerCertificates) > 0 {
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		f.Fingerprint = hex.EncodeToString(sum[:])
	}
	err := s.client.roots.prove(state.PeerCertificates, t.name, hop.RootCAs)
	switch {
	case err != nil:
		f.VerifyError = tidy(err.Error())
	case t.fromMX:
		f.VerifyError = "the name is proven, but it came from an MX answer that is not authenticated"
	default:
		f.Level, f.Verified = level.Verified, "webpki"
	}
}

// rootStore holds the pools of roots read from files, each until its file changes.
type rootStore struct {
	mu    sync.Mutex
	pools map[string]rootPool
}

type rootPool struct {
	changed time.Time
	size    int64
	pool    *x509.CertPool
}

// prove verifies by WebPKI that the chain belongs to name, now.
func (st *rootStore) prove(chain []*x509.Certificate, name, rootFile string) error {
	if len(chain) == 0 {
		return errors.New("the hop showed no certificate")
	}
	roots, err := st.load(rootFile)
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	return err
}

// load returns the system's roots and those of file; nil stands for the system's alone.
func (st *rootStore) load(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if p, ok := st.pools[file]; ok && p.changed.Equal(info.ModTime()) && p.size == info.Size() {
		return p.pool, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("roots: no certificate in %s", file)
	}
	if st.pools == nil {
		st.pools = make(map[string]rootPool)
	}
	st.pools[file] = rootPool{changed: info.ModTime(), size: info.Size(), pool: pool}
	return pool, nil
}
