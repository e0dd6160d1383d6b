package config

import (
	"crypto/tls"
	"os"
	"slices"
	"strings"
)

// password reads a route's password, from the file or beside it.
func (r *reader) password(s section) string {
	if s.given("password") && s.given("password_file") {
		r.mistake(s.n.line, "routes.password and routes.password_file are both given", "nobody could tell which is meant", "keep password_file")
	}
	if p := r.secret(s, "password_file"); p != "" {
		return p
	}
	return one(s, "password", parseSecret).value
}

// secret reads the file named by key, without its last line end; "" when the key is not given or files stay unread.
func (r *reader) secret(s section, key string) string {
	name := r.file(s, key)
	if name == "" || r.readFile == nil {
		return ""
	}
	line := s.n.get(key).line
	what := nameOf(join(s.path, key))
	if !r.regular(name, what, line) {
		return ""
	}
	r.exposed(name, what, line)
	data, err := r.readFile(name)
	if err != nil {
		r.mistake(line, what+" cannot be read", err.Error(), "")
		return ""
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		r.mistake(line, what+" "+quote(name)+" does not hold exactly one line", "", "")
		return ""
	}
	return text
}

// exposed warns of a file with secrets that everybody on the machine may read.
func (r *reader) exposed(name, what string, line int) {
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		r.warn(line, "%s %s holds a secret and everybody on this machine may read it: chmod 640 it, with the guard's group", what, quote(name))
	}
}

// exposedSelf does so for the configuration itself, when a secret stands in it.
func (r *reader) exposedSelf(root *node) {
	if r.readFile == nil {
		return
	}
	if n := root.get("store").get("postgres"); n != nil && DSN(n.text).HasSecret() {
		r.exposed(r.path, "this file", 0)
		return
	}
	items := slices.Concat(root.get("users").all(), root.get("routes").all(), root.get("trusted").all())
	for _, a := range root.get("authorities").all() {
		items = append(items, a.get("routes").all()...)
	}
	for _, item := range items {
		for _, secret := range []string{"hash", "password", "header"} {
			if item.get(secret) != nil {
				r.exposed(r.path, "this file", 0)
				return
			}
		}
	}
}

// existing reads the name of a file that must be there when files are read at all.
func (r *reader) existing(s section, key string) string {
	name := r.file(s, key)
	if name != "" && r.readFile != nil {
		r.regular(name, nameOf(join(s.path, key)), s.n.get(key).at())
	}
	return name
}

// regular tells a file that is missing or is none, before anything reads it: a pipe or device could hang us.
func (r *reader) regular(name, what string, line int) bool {
	const most = 1 << 20
	info, err := os.Stat(name)
	switch {
	case err != nil:
		r.mistake(line, what+" "+quote(name)+" cannot be read", err.Error(), "")
	case !info.Mode().IsRegular() || info.Size() > most:
		r.mistake(line, what+" "+quote(name)+" is no file of at most 1 MiB", "", "")
	default:
		return true
	}
	return false
}

// certificate checks that certificate and key exist and belong together.
func (r *reader) certificate(s section, t TLS) {
	if r.readFile == nil || t.Cert == "" || t.Key == "" {
		return
	}
	if !r.regular(t.Cert, "tls.cert", s.n.get("cert").line) || !r.regular(t.Key, "tls.key", s.n.get("key").line) {
		return
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		r.mistake(s.n.get("cert").line, "tls.cert and tls.key do not make a certificate", err.Error(), "both are PEM files; the key must be the certificate's own")
	}
}
