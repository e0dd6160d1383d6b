package partners

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ca is a certificate authority of the test's own.
type ca struct {
	dir   string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots string // PEM file
}

// certificate says what one is to look like.
type certificate struct {
	name       string
	expired    bool
	selfSigned bool
}

func newCA(t *testing.T, dir string) *ca {
	t.Helper()
	a := &ca{dir: dir}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial(t), Subject: pkix.Name{CommonName: "Provens egen rod"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key, a.roots = key, filepath.Join(dir, "roots-"+a.cert.SerialNumber.String()+".pem")
	writePEM(t, a.roots, "CERTIFICATE", der)
	return a
}

// issue writes a certificate and its key and returns both files and the serial number.
func (a *ca) issue(t *testing.T, c certificate) (cert, key string, number *big.Int) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number = serial(t)
	template := &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(12 * time.Hour)}
	if c.expired {
		template.NotAfter = time.Now().Add(-24 * time.Hour)
	}
	parent, signer := a.cert, a.key
	if c.selfSigned {
		parent, signer = template, own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, number.String()+".pem"), filepath.Join(a.dir, number.String()+".key")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", secret)
	return cert, key, number
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
