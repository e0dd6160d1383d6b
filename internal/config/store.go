package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DSN is a database's address, a postgres:// URL, with what logs in to it. However it is printed, the password is left out;
// string(d) is the whole of it.
type DSN string

// String is the address without its password.
func (d DSN) String() string {
	if d == "" {
		return ""
	}
	u, err := d.url()
	if err != nil {
		return "postgres://…" // Parse let none such through, and what cannot be read cannot be cleaned either
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	for _, key := range secretParameters {
		q.Del(key)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "%2F", "/") // folders and files stay readable
	return u.String()
}

func (d DSN) url() (*url.URL, error) {
	u, err := url.Parse(string(d))
	if err != nil {
		return nil, err
	}
	if u.Host == "" && u.User == nil && u.Path == "" {
		u.Path = "/" // or the // before it would not be written
	}
	u.ForceQuery = false
	return u, nil
}

// GoString keeps the password out of %#v, MarshalText out of JSON and logs.
func (d DSN) GoString() string             { return `config.DSN("` + d.String() + `")` }
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// secretParameters of a URL are not shown.
var secretParameters = []string{"password", "sslpassword"}

// HasPassword reports whether a password stands in the address.
func (d DSN) HasPassword() bool {
	u, err := d.url()
	if err != nil {
		return false
	}
	if _, ok := u.User.Password(); ok {
		return true
	}
	return u.Query().Has("password")
}

// HasSecret reports whether anything stands in the address that is not to be read by others: a password, or that of the client's key.
func (d DSN) HasSecret() bool {
	u, err := d.url()
	if err != nil {
		return false
	}
	return d.HasPassword() || slices.ContainsFunc(secretParameters, u.Query().Has)
}

// with is the address with a password.
func (d DSN) with(password string) DSN {
	u, err := d.url()
	if err != nil || password == "" {
		return d
	}
	q := u.Query() // not the user part, for there may be no user there
	q.Set("password", password)
	u.RawQuery = q.Encode()
	return DSN(u.String())
}

// ParseDSN reads a postgres:// URL. Its errors never show it.
func ParseDSN(s string) (DSN, error) {
	d, err := parseDSN(s)
	if p, ok := err.(*problem); ok {
		return "", fmt.Errorf("the address %s (%s)", p.what, p.hint)
	}
	return d, err
}

// parseDSN reads a postgres:// URL. Its errors never show it.
func parseDSN(s string) (DSN, error) {
	hint := `write "postgres://postvagt@db.eksempel.example/postvagt?sslmode=verify-full"`
	if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
		return "", &problem{"is no postgres:// URL", "", hint}
	}
	if _, err := parseSecret(s); err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return "", &problem{"is no URL that can be read", "", "in a password, % is written %25, / %2F, # %23, ? %3F; or put it in password_file"}
	}
	if u.Fragment != "" || strings.HasSuffix(s, "#") {
		return "", &problem{"holds a #", "the rest would be cut off", "in a password # is written %23; or put it in password_file"}
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return "", &problem{"has parameters that cannot be read", "", "write ?name=value&name=value"}
	}
	return DSN(s), nil
}

// store reads where the ledger is: one engine, and the keys.
func (r *reader) store(s section) Store {
	st := Store{SQLite: r.file(s, "sqlite"), Keys: r.file(s, "keys")}
	dsn := one(s, "postgres", parseDSN)
	st.Postgres = dsn.value
	if s.n == nil {
		return st
	}
	switch sqlite, postgres := s.given("sqlite"), s.given("postgres"); {
	case sqlite && postgres:
		r.mistake(s.n.line, "store.sqlite and store.postgres are both given", "there is one ledger", "keep one of them; 'postvagt migrate-store' moves a ledger from the one to the other")
	case !sqlite && !postgres && !s.meant["sqlite"] && !s.meant["postgres"]:
		r.mistake(s.n.line, "store says neither sqlite nor postgres", "the ledger must be somewhere", "write sqlite: /var/lib/postvagt/ledger.db")
	case postgres:
		r.database(s, dsn, &st)
	case s.given("password_file"):
		r.mistake(s.n.get("password_file").line, "store.password_file needs store.postgres", "a file has no password", "remove it")
	}
	if st.Keys == "" && st.SQLite != "" {
		st.Keys = filepath.Join(filepath.Dir(st.SQLite), "keys")
	}
	if st.SQLite != "" && st.Keys == st.SQLite {
		r.mistake(s.n.line, "store.keys and store.sqlite are the same file", "the ledger would overwrite the keys", "give the keys a file of their own")
	}
	return st
}

// database reads what goes with store.postgres.
func (r *reader) database(s section, dsn located[DSN], st *Store) {
	if !s.given("keys") && !s.meant["keys"] {
		r.mistake(s.n.line, "store.keys is missing", "beside a database there is no folder where the key file would stand by itself", "write keys: /var/lib/postvagt/keys, and give every guard over this database the same keys")
	}
	if s.given("password_file") && dsn.value.HasPassword() {
		r.mistake(dsn.line(), "store.postgres holds a password, and store.password_file is given", "nobody could tell which is meant", "keep password_file")
	}
	st.Postgres = dsn.value.with(r.secret(s, "password_file"))
}

// node reads the guard's name among those over one ledger.
func (r *reader) node(s section, c *Config) string {
	n := one(s, "node", parseNode)
	if n.value != "" || s.given("node") {
		return n.value
	}
	if c.Store.Postgres == "" {
		return c.Host
	}
	name, err := os.Hostname()
	if _, bad := parseNode(strings.ToLower(name)); err != nil || bad != nil {
		r.mistake(0, "node is missing", "the machine has no host name that would serve", "write node: vagt-1, another name for each guard over this database")
		return ""
	}
	return strings.ToLower(name)
}

// parseNode reads a name that is safe in logs and in every column.
func parseNode(s string) (string, error) {
	if s == "" || len(s) > 63 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
		return "", &problem{quote(s) + " is no name for a node", "", "1 to 63 letters, digits, dots, - or _"}
	}
	return s, nil
}
