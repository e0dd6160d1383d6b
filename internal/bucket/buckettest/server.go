package buckettest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"postvagt/internal/bucket"
)

// Server is a real S3 server that shares no code with us: versitygw, keeping objects as files.
type Server struct {
	Options bucket.Options // how to reach its bucket, over TLS with RootCAs
	Folder  string         // the objects are the files below it

	args    []string
	process *exec.Cmd
	said    bytes.Buffer
}

// Start starts a server on a free port of the loopback address with an empty bucket; it ends with the test. Where it is not
// installed the test is skipped, and fails when nothing may be skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := program(); err != nil && os.Getenv("POSTVAGT_STRICT") == "" {
		t.Skip(err)
	}
	s, err := Launch(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Installed reports whether the server's program is there, or must be.
func Installed() bool {
	_, err := program()
	return err == nil || os.Getenv("POSTVAGT_STRICT") != ""
}

// Launch starts a server that keeps all it has in dir. Kill it in the end.
func Launch(dir string) (*Server, error) {
	program, err := program()
	if err != nil {
		return nil, err
	}
	s := &Server{Folder: filepath.Join(dir, "objects", "bodies")}
	sidecar := filepath.Join(dir, "attributes") // not every file system of a test machine has extended attributes
	for _, d := range []string{s.Folder, sidecar} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	cert, key, err := certificate(dir)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	keys := bucket.Keys{ID: "AKIAPOSTVAGT", Secret: "a-secret-that-no-error-may-hold"}
	s.Options = bucket.Options{Endpoint: "https://" + address, Bucket: "bodies", Prefix: "vagt/one", PathStyle: true, RootCAs: cert, Keys: keys}
	s.args = []string{program, "--port", address, "--cert", cert, "--key", key, "--access", keys.ID, "--secret", keys.Secret,
		"--quiet", "--keep-alive", "posix", "--sidecar", sidecar, filepath.Dir(s.Folder)}
	return s, s.Run()
}

// Run starts the server, again after Kill.
func (s *Server) Run() error {
	s.process = exec.Command(s.args[0], s.args[1:]...)
	s.said.Reset()
	s.process.Stdout, s.process.Stderr = &s.said, &s.said
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	for begun := time.Now(); ; {
		c, err := net.Dial("tcp", s.Options.Endpoint[len("https://"):])
		if err == nil {
			c.Close()
			return nil
		}
		if time.Since(begun) > 20*time.Second {
			s.Kill()
			return fmt.Errorf("the S3 server does not answer: %w\n%s", err, &s.said)
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait on
	}
}

// Kill ends the server without a word.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

// program finds versitygw where scripts/install-test-tools puts it.
func program() (string, error) {
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p, nil
	}
	home, _ := os.UserHomeDir()
	for _, dir := range []string{os.Getenv("GOBIN"), filepath.Join(os.Getenv("GOPATH"), "bin"), filepath.Join(home, "go", "bin")} {
		p := filepath.Join(dir, "versitygw")
		if info, err := os.Stat(p); err == nil && filepath.IsAbs(p) && info.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", errors.New("versitygw is not installed: scripts/install-test-tools does it")
}

// freeAddress is a loopback address that nobody listens on, and that nobody is given while the server is restarted: the
// kernel picks ports for connections, and for listeners on port 0, from a range above.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+mathrand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address, nil
		}
	}
	return "", errors.New("no free port")
}

// certificate makes one for the loopback address that is its own authority.
func certificate(dir string) (cert, key string, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "objects.eksempel.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", "", err
		}
	}
	return cert, key, nil
}
