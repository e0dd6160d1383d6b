package guard

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postvagt/internal/config"
	"postvagt/internal/detect"
)

// writePair puts a fresh certificate with that name into the files, and a time that is not the one before.
func writePair(t *testing.T, files config.TLS, name string, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// A pair that cannot be used is said when it comes, not at each look.
func TestBadCertificateIsSaidOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writePair(t, files, "en.example", time.Now().Add(-2*time.Hour))
	var log strings.Builder
	c, err := loadCertificate(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.Cert, []byte("halv"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.look()
	}
	if n := strings.Count(log.String(), "ERROR"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	c.saidAt = c.saidAt.Add(-time.Hour)
	c.look()
	if n := strings.Count(log.String(), "ERROR"); n != 2 {
		t.Errorf("said %d times an hour later", n)
	}
}

// A renewed certificate is used without a restart; one that cannot be read leaves the old one in use.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writePair(t, files, "en.example", time.Now().Add(-2*time.Hour))
	c, err := loadCertificate(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		pair, err := c.config().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	c.look()
	if name() != "en.example" {
		t.Errorf("serves %s", name())
	}
	if err := os.WriteFile(files.Cert, []byte("halv"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.look()
	if name() != "en.example" {
		t.Errorf("a broken pair is served: %s", name())
	}
	writePair(t, files, "to.example", time.Now().Add(-time.Hour))
	c.look()
	if name() != "to.example" {
		t.Errorf("the new one is not served but %s", name())
	}
}

// The metrics listener: figures by name, nothing of anybody's mail, and whether the guard is ready.
func TestMetricsAndHealth(t *testing.T) {
	t.Parallel()
	p := newPlain(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.metrics.serve(ctx, l) }()
	get := func(path string) (int, string) {
		r, err := http.Get(fmt.Sprintf("http://%s%s", l.Addr(), path))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var b bytes.Buffer
		io.Copy(&b, r.Body)
		return r.StatusCode, b.String()
	}
	if r := p.take(envelope(ours, "anna@eksempel.example", "0101705000@borger.example", "bo@eksempel.example"), lines([]byte(letter("Sag 010170-5000", "Se sagen.")))); r.Code != 250 {
		t.Fatal(r)
	}
	_, text := get("/metrics")
	for _, want := range []string{`postvagt_messages_accepted_total{authority="Eksempel Kommune",direction="out"} 1`, `postvagt_verdicts_total{action="send"`, `postvagt_findings_total{kind="cpr"`,
		`postvagt_attempts_total{kind="mail",level="verified",outcome="delivered"}`, `postvagt_accept_seconds_count 1`, `postvagt_deliveries{authority="Eksempel Kommune",state="delivered"}`,
		"postvagt_unaccounted 0", `postvagt_alarms{authority="Eksempel Kommune"} 0`, `postvagt_keys_usable{authority="Eksempel Kommune"} 1`, "postvagt_ledger_up 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	if detect.HoldsCPR(text) || strings.Contains(text, "@") || strings.Contains(text, "borger") {
		t.Errorf("the metrics hold somebody's data:\n%s", text)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 404} {
		if code, _ := get(path); code != want {
			t.Errorf("%s answers %d, want %d", path, code, want)
		}
	}
	p.store.Close()
	if code, text := get("/readyz"); code != 503 || !strings.Contains(text, "ledger") {
		t.Errorf("/readyz answers %d %q with the ledger closed", code, text)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz answers %d with the ledger closed: the process lives", code)
	}
	if _, text := get("/metrics"); !strings.Contains(text, "postvagt_ledger_up 0") {
		t.Error("the metrics do not say that the ledger is away")
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
