package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
	"postvagt/internal/class"
	"postvagt/internal/detect"
	"postvagt/internal/ledger"
	"postvagt/internal/level"
	"postvagt/internal/policy"
)

// write puts a file into dir.
func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stored is text with a store, where it has none.
func stored(text string) string {
	if strings.Contains(text, "store:") {
		return text
	}
	return text + "store: {sqlite: ledger.db}\n"
}

// keyPair writes a certificate and its key as PEM.
func keyPair(t *testing.T, dir, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"vagt.eksempel.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, dir, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

const full = `host: Vagt.Eksempel.Example
authorities:
  - name: Eksempel Kommune
    domains: [eksempel.example, .eksempel.example, rødgrød.example]
    safety_net: sikkerhedsnet@eksempel.example
    contact: telefon 12 34
    gateways: [gateway.example]
    matrix: {ordinary: encrypted, confidential: verified, sensitive: tunnel}
    uninspected: {action: hold, class: sensitive, level: verified}
    verify_recipients: false
    repair_inbound: false
    confidence: 0.7
    rules:
      - id: lister
        when:
          direction: out
          senders: ["*@skole.eksempel.example"]
          recipients: [nabo.example]
          kinds: [cpr]
          places: [file name, header]
          class: confidential
          min_recipients: 5
        then: {action: hold, class: sensitive, level: verified}
    units:
      - {name: Skoler, senders: ["*@skole.eksempel.example"], mailbox: skole@eksempel.example}
    held: {owner: vagt@eksempel.example, within: 3d, remind: [4h, 1d]}
    notices: {from: svar@eksempel.example, language: en, repaired: digest, digest: 12h, tell_outside: never}
    retention:
      ordinary: {details: 90d, rows: 24mo}
      sensitive: {rows: 5d}
listen: {smtp: [":25", "[::1]:2525"], submission: ":587", smtps: ":465", metrics: "127.0.0.1:9525"}
trusted:
  - 10.0.0.0/8
  - {net: 0.0.0.0/0, header: "x-eksempel-vagt: 0123456789abcdef"}
  - {net: 192.0.2.0/24, header_file: header}
  - {net: 198.51.100.0/24, certificate: Exchange.Eksempel.Example, senders: any}
users:
  - {name: scanner, hash: "HASH", senders: [scanner@eksempel.example]}
tls: {cert: cert.pem, key: key.pem}
store: {sqlite: ledger.db, keys: secret/keys}
bodies:
  new: ledger
  s3: {endpoint: "https://s3.eksempel.example", bucket: post, region: eu-north-1, prefix: vagt/a, path_style: true, root_cas: cert.pem, credentials: s3-keys}
routes:
  - {to: .eksempel.example, smarthost: "127.0.0.1:12026"}
  - {to: nabo.example, smarthost: "nabo.example:25", level: verified, tls_name: mx.nabo.example, root_cas: cert.pem}
  - {to: gateway.example, smarthost: "gateway.example:25", vouches: tunnel, level: tunnel, user: postvagt, password_file: password}
  - {to: ude.example, smarthost: "ude.example:587", user: postvagt, password: hemmelig}
delivery: {delay: 2h, return: 2d, retry: [30s, 1h], concurrency: 5, per_connection: 10}
limits: {message: 10MiB, recipients: 200, connections: 50, connections_per_ip: 10, rate: 60, hops: 30, memory: 20MiB}
log: {level: debug, format: json}
`

const storeOnDatabase = `store: {postgres: "postgres://vagt@db.eksempel.example/postvagt?sslmode=verify-full", password_file: password, keys: secret/keys}
node: vagt-1
`

// TestDatabase: the password comes from its file and is shown nowhere.
func TestDatabase(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "password", "hem/me#lig\n")
	head, rest, _ := strings.Cut(minimal, "store: {sqlite: /var/lib/postvagt/ledger.db}\n")
	write(t, dir, "postvagt.yaml", head+storeOnDatabase+rest)
	got, err := Load(filepath.Join(dir, "postvagt.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "postgres://vagt@db.eksempel.example/postvagt?password=hem%2Fme%23lig&sslmode=verify-full"; string(got.Store.Postgres) != want {
		t.Errorf("the address is %q, want %q", string(got.Store.Postgres), want)
	}
	if got.Node != "vagt-1" || got.Store.SQLite != "" || got.Store.Keys != filepath.Join(dir, "secret", "keys") {
		t.Errorf("node %q, store %+v", got.Node, got.Store)
	}
	asJSON, err := json.Marshal(got.Store)
	if err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{}
	slog.New(slog.NewTextHandler(log, nil)).Info("x", "store", got.Store, "dsn", got.Store.Postgres)
	slog.New(slog.NewJSONHandler(log, nil)).Info("x", "store", got.Store, "dsn", got.Store.Postgres)
	for _, s := range []string{string(asJSON), log.String(), fmt.Sprintf("%v %+v %#v %s %q", got.Store, got.Store, got.Store, got.Store.Postgres, got.Store.Postgres)} {
		if strings.Contains(s, "lig") || !strings.Contains(s, "db.eksempel.example") {
			t.Errorf("shown as %s", s)
		}
	}
}

// TestFull reads a configuration that gives every key, so that every key is proven to be read, and to where.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	hash := HashPassword("hemmelig")
	keyPair(t, dir, "cert.pem", "key.pem")
	write(t, dir, "password", "kodeord\r\n")
	write(t, dir, "s3-keys", "aws_access_key_id = AKIA1\naws_secret_access_key = hemmelig\n")
	write(t, dir, "header", "X-Anden-Vagt: fedcba9876543210\n")
	write(t, dir, "postvagt.yaml", strings.Replace(full, "HASH", hash, 1))
	for _, f := range fields {
		if key := f.key(); !strings.Contains(full+storeOnDatabase, key+":") {
			t.Errorf("the full configuration lacks %s", f.Path)
		}
	}
	got, err := Load(filepath.Join(dir, "postvagt.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path: filepath.Join(dir, "postvagt.yaml"),
		Host: "vagt.eksempel.example",
		Node: "vagt.eksempel.example",
		Authorities: []Authority{{
			Name:      "Eksempel Kommune",
			Domains:   []string{"eksempel.example", ".eksempel.example", "xn--rdgrd-vuad.example"},
			SafetyNet: "sikkerhedsnet@eksempel.example",
			Contact:   "telefon 12 34",
			Policy: policy.Options{
				Domains:     []string{"eksempel.example", ".eksempel.example", "xn--rdgrd-vuad.example", "rødgrød.example"},
				Gateways:    []string{"gateway.example"},
				Matrix:      policy.Matrix{class.Ordinary: level.Encrypted, class.Confidential: level.Verified, class.Sensitive: level.Tunnel},
				Uninspected: policy.Then{Action: policy.Hold, Class: class.Sensitive, Level: level.Verified},
				Confidence:  0.7,
				Rules: []policy.Rule{{
					ID: "lister",
					When: policy.When{
						Direction: policy.Outbound, Senders: []string{"*@skole.eksempel.example"}, Recipients: []string{"nabo.example"}, Kinds: []detect.Kind{detect.CPR},
						Places: []detect.PlaceKind{detect.InFileName, detect.InHeader}, Class: class.Confidential, MinRecipients: 5,
					},
					Then: policy.Then{Action: policy.Hold, Class: class.Sensitive, Level: level.Verified},
				}},
			},
			Units:   []Unit{{Name: "Skoler", Senders: []string{"*@skole.eksempel.example"}, Mailbox: "skole@eksempel.example"}},
			Held:    Held{Owner: "vagt@eksempel.example", Within: 72 * time.Hour, Remind: []time.Duration{24 * time.Hour, 4 * time.Hour}},
			Notices: Notices{From: "svar@eksempel.example", Language: "en", Repaired: "digest", Digest: 12 * time.Hour, TellOutside: "never"},
			Retention: ledger.Retention{
				class.Ordinary:  {Details: 90 * 24 * time.Hour, Rows: 24 * 31 * 24 * time.Hour},
				class.Sensitive: {Rows: 5 * 24 * time.Hour},
			},
		}},
		Listen: Listen{SMTP: []string{":25", "[::1]:2525"}, Submission: []string{":587"}, SMTPS: []string{":465"}, Metrics: "127.0.0.1:9525"},
		Trusted: []Trust{
			{Net: netip.MustParsePrefix("10.0.0.0/8")},
			{Net: netip.MustParsePrefix("0.0.0.0/0"), OwnSenders: true, Header: "X-Eksempel-Vagt", Secret: "0123456789abcdef"},
			{Net: netip.MustParsePrefix("192.0.2.0/24"), OwnSenders: true, Header: "X-Anden-Vagt", Secret: "fedcba9876543210"},
			{Net: netip.MustParsePrefix("198.51.100.0/24"), Certificate: "exchange.eksempel.example"},
		},
		Users: []User{{Name: "scanner", Hash: hash, Senders: []string{"scanner@eksempel.example"}}},
		TLS:   TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")},
		Store: Store{SQLite: filepath.Join(dir, "ledger.db"), Keys: filepath.Join(dir, "secret", "keys")},
		Bodies: Bodies{S3: &S3{Endpoint: "https://s3.eksempel.example", Bucket: "post", Region: "eu-north-1", Prefix: "vagt/a", PathStyle: true,
			RootCAs: filepath.Join(dir, "cert.pem"), Keys: S3Keys{ID: "AKIA1", Secret: "hemmelig"}}},
		Routes: []Route{
			{To: ".eksempel.example", SmartHost: "127.0.0.1:12026"},
			{To: "nabo.example", SmartHost: "nabo.example:25", Level: level.Verified, TLSName: "mx.nabo.example", RootCAs: filepath.Join(dir, "cert.pem")},
			{To: "gateway.example", SmartHost: "gateway.example:25", Level: level.Tunnel, Vouches: level.Tunnel, User: "postvagt", Password: "kodeord"},
			{To: "ude.example", SmartHost: "ude.example:587", User: "postvagt", Password: "hemmelig"},
		},
		Delivery: Delivery{Delay: 2 * time.Hour, Return: 48 * time.Hour, Retry: []time.Duration{30 * time.Second, time.Hour}, Concurrency: 5, PerConnection: 10},
		Limits:   Limits{MessageBytes: 10 << 20, Recipients: 200, Connections: 50, ConnectionsPerIP: 10, Hops: 30, Rate: 60, MemoryBytes: 20 << 20},
		Log:      Log{Level: "debug", Format: "json"},
	}
	got.Warnings = nil
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLoadFiles: a file that is named must be there and be what it is said to be; nothing of a secret is shown.
func TestLoadFiles(t *testing.T) {
	for _, c := range []struct {
		name, add string
		files     map[string]string
		want      string
	}{
		{"certificate missing", "tls: {cert: no.pem, key: key.pem}\n", nil, "tls.cert"},
		{"key missing", "tls: {cert: cert.pem, key: no.pem}\n", nil, "tls.key"},
		{"key of another", "tls: {cert: cert.pem, key: other.pem}\n", nil, "do not make a certificate"},
		{"certificate is a folder", "tls: {cert: ., key: key.pem}\n", nil, "is no file"},
		{"password file missing", "routes: [{to: a.example, smarthost: \"a.example:25\", user: u, password_file: no}]\n", nil, "routes.password_file"},
		{"password file empty", "routes: [{to: a.example, smarthost: \"a.example:25\", user: u, password_file: p}]\n", map[string]string{"p": "\n"}, "does not hold exactly one line"},
		{"password file of two lines", "routes: [{to: a.example, smarthost: \"a.example:25\", user: u, password_file: p}]\n", map[string]string{"p": "hemmelig\nto\n"}, "does not hold exactly one line"},
		{"root certificates missing", "routes: [{to: a.example, smarthost: \"a.example:25\", root_cas: no.pem}]\n", nil, "routes.root_cas"},
		{"database password file missing", strings.Replace(storeOnDatabase, "password_file: password", "password_file: no", 1), nil, "store.password_file"},
		{"header file", "trusted: [{net: 192.0.2.0/24, header_file: p}]\n", map[string]string{"p": "hemmelig"}, "trusted.header is no header line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			keyPair(t, dir, "cert.pem", "key.pem")
			keyPair(t, dir, "other-cert.pem", "other.pem")
			for name, content := range c.files {
				write(t, dir, name, content)
			}
			head, _, _ := strings.Cut(minimal, "trusted:")
			write(t, dir, "postvagt.yaml", head+stored(c.add))
			_, err := Load(filepath.Join(dir, "postvagt.yaml"))
			var ms Mistakes
			if !errors.As(err, &ms) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hemmelig") {
				t.Errorf("got %v, want a mistake with %q", err, c.want)
			}
		})
	}
	var ms Mistakes
	if _, err := Load(filepath.Join(t.TempDir(), "no.yaml")); !errors.As(err, &ms) || !strings.Contains(err.Error(), "no.yaml: the configuration cannot be read: no such file") {
		t.Errorf("a missing configuration: got %v", err)
	}
}

// TestExposed: a secret that everybody may read is warned of, whether it stands in the configuration or beside it.
func TestExposed(t *testing.T) {
	head, _, _ := strings.Cut(minimal, "trusted:")
	for _, c := range []struct {
		name, add string
		self      os.FileMode
		beside    os.FileMode
		want      int
	}{
		{"header for all", "trusted: [{net: 192.0.2.0/24, header: \"X-Vagt: 0123456789abcdef\"}]\n", 0o644, 0o600, 1},
		{"header for the group", "trusted: [{net: 192.0.2.0/24, header: \"X-Vagt: 0123456789abcdef\"}]\n", 0o640, 0o600, 0},
		{"file for all", "trusted: [{net: 192.0.2.0/24, header_file: header}]\n", 0o644, 0o644, 1},
		{"file for the group", "trusted: [{net: 192.0.2.0/24, header_file: header}]\n", 0o644, 0o640, 0},
		{"database password for all", "trusted: [192.0.2.0/24]\nstore: {postgres: \"postgres://u:0123456789abcdef@db.example/x\", keys: keys}\n", 0o644, 0o600, 1},
		{"database password for the group", "trusted: [192.0.2.0/24]\nstore: {postgres: \"postgres://u:0123456789abcdef@db.example/x\", keys: keys}\n", 0o640, 0o600, 0},
		{"password of the database's client key", "trusted: [192.0.2.0/24]\nstore: {postgres: \"postgres://u@db.example/x?sslpassword=0123456789abcdef\", keys: keys}\n", 0o644, 0o600, 1},
		{"no secret", "trusted: [192.0.2.0/24]\n", 0o644, 0o644, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "header", "X-Vagt: 0123456789abcdef\n")
			write(t, dir, "postvagt.yaml", "host: vagt.eksempel.example\n"+head+stored(c.add)+"routes: [{to: eksempel.example, smarthost: \"a.example:25\"}]\n")
			for name, mode := range map[string]os.FileMode{"postvagt.yaml": c.self, "header": c.beside} {
				if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Load(filepath.Join(dir, "postvagt.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Warnings) != c.want || strings.Contains(strings.Join(got.Warnings, ""), "0123456789abcdef") {
				t.Errorf("got %q, want %d warnings, without the secret", got.Warnings, c.want)
			}
		})
	}
}

// TestSendersBelow: a pattern for what is below a domain belongs to the authority that is there, not to the one of the domain itself.
func TestSendersBelow(t *testing.T) {
	const text = `host: vagt.eksempel.example
authorities:
  - {name: By, domains: [eksempel.example, by.example], safety_net: net@eksempel.example, keys: a}
  - {name: Egn, domains: [.eksempel.example, .bøg.example], safety_net: net@egn.eksempel.example, keys: b}
listen: {smtp: "127.0.0.1:0"}
trusted: [{net: 192.0.2.0/25, authorities: By}]
users: [{name: scanner, hash: "HASH", authorities: WHO, senders: ["*@PATTERN"]}]
store: {sqlite: ledger.db}
routes:
  - {to: eksempel.example, smarthost: "a.example:25"}
  - {to: by.example, smarthost: "a.example:25"}
  - {to: .eksempel.example, smarthost: "b.example:25"}
  - {to: .bøg.example, smarthost: "b.example:25"}
`
	for _, c := range []struct {
		who, pattern string
		good         bool
	}{
		{"Egn", ".eksempel.example", true},
		{"By", ".eksempel.example", false},
		{"By", "eksempel.example", true},
		{"Egn", "eksempel.example", false},
		{"Egn", ".bøg.example", true},
		{"By", ".bøg.example", false},
		{"Egn", ".by.example", true}, // nobody's here
	} {
		_, err := Parse("postvagt.yaml", []byte(strings.NewReplacer("HASH", HashPassword("hemmelig kode"), "WHO", c.who, "PATTERN", c.pattern).Replace(text)))
		if (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), "may not send") {
			t.Errorf("%s as %s: %v", c.who, c.pattern, err)
		}
	}
}

func TestAuthorityAndRoute(t *testing.T) {
	c := &Config{
		Authorities: []Authority{
			{Name: "region", Domains: []string{".eksempel.example", "region.example"}},
			{Name: "skole", Domains: []string{"skole.eksempel.example", ".skole.eksempel.example"}},
			{Name: "øst", Domains: []string{"xn--st-kka.example"}},
		},
		Routes: []Route{
			{To: "skole.eksempel.example", SmartHost: "skole:25"},
			{To: ".eksempel.example", SmartHost: "region:25"},
			{To: "xn--nabo-0na.example", SmartHost: "nabo:25", Level: level.Verified},
		},
	}
	for _, test := range []struct {
		domain, authority, smarthost string
		least                        level.Level
	}{
		{"skole.eksempel.example", "skole", "skole:25", level.Cleartext},
		{"a.SKOLE.eksempel.example", "skole", "region:25", level.Cleartext},
		{"b.eksempel.example", "region", "region:25", level.Cleartext},
		{"eksempel.example", "", "", level.Encrypted},
		{"xeksempel.example", "", "", level.Encrypted},
		{"region.example.", "region", "", level.Cleartext},
		{"øst.example", "øst", "", level.Cleartext},
		{"[192.0.2.1]", "", "", level.Encrypted},
		{"", "", "", level.Encrypted},
	} {
		name := ""
		if a := c.AuthorityOf(test.domain); a != nil {
			name = a.Name
		}
		from := c.AuthorityOf(test.domain)
		if from == nil {
			from = &c.Authorities[0]
		}
		route := c.RouteOf(from, test.domain)
		if name != test.authority || route.SmartHost != test.smarthost || route.Level != test.least {
			t.Errorf("%q: authority %q, smart host %q, level %v; want %q, %q, %v", test.domain, name, route.SmartHost, route.Level, test.authority, test.smarthost, test.least)
		}
	}
}

func TestPassword(t *testing.T) {
	b, err := bcrypt.GenerateFromPassword([]byte("rødgrød"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{HashPassword("rødgrød"), string(b)} {
		if _, err := parseHash(hash); err != nil {
			t.Errorf("%s is refused: %v", hash, err)
		}
		u := User{Hash: hash}
		if !u.Check("rødgrød") || u.Check("rødgrøD") || u.Check("") {
			t.Errorf("%s does not tell its password from others", hash)
		}
	}
	if first, second := HashPassword("x"), HashPassword("x"); first == second {
		t.Error("two hashes of one password are equal: no salt")
	}
	// An argon2id hash by the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32.
	reference := User{Hash: "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"}
	if !reference.Check("password") || reference.Check("Password") {
		t.Error("a hash by the reference implementation is not understood")
	}
	for _, hash := range []string{"", "x", "$argon2id$v=19$m=0,t=0,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"} {
		if (User{Hash: hash}).Check("") {
			t.Errorf("hash %q lets somebody in", hash)
		}
	}
}

func FuzzHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")
	f.Fuzz(func(t *testing.T, hash string) {
		a, err := parseArgon(hash)
		if err == nil && (a.memory > mostArgonMemory || a.time < 1 || a.lanes < 1 || len(a.sum) < 16) {
			t.Errorf("accepted %+v", a)
		}
		parseHash(hash)
	})
}
