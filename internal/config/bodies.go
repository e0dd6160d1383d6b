package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Bodies says where messages lie while they wait: in the ledger, or in an object store beside it.
type Bodies struct {
	S3  *S3  // nil: none
	New bool // new mail goes there; else it is only read, for what lies there already
}

// S3 is one prefix of one bucket of an S3-compatible store.
type S3 struct {
	Endpoint  string // "https://s3.eksempel.example"
	Bucket    string
	Region    string
	Prefix    string // without slashes at its ends; "" none
	PathStyle bool
	RootCAs   string // PEM file; "" the system's
	Keys      S3Keys // empty: from the environment
}

// S3Keys are credentials. However they are printed, they stay hidden.
type S3Keys struct{ ID, Secret, Session string }

func (k S3Keys) String() string               { return "••••" }
func (k S3Keys) GoString() string             { return k.String() }
func (k S3Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (r *reader) bodies(s section) Bodies {
	b := Bodies{}
	where := one(s, "new", choice("s3", "ledger"))
	if !s.given("s3") {
		if where.value == "s3" {
			r.mistake(where.line(), "bodies.new is s3, but no store is given", "new mail could be put nowhere", "write s3: with its endpoint and bucket")
		}
		return b
	}
	b.New = where.value != "ledger"
	store := s.mapping("s3")
	b.S3 = &S3{
		Region:    one(store, "region", parseText).value,
		Prefix:    one(store, "prefix", parsePrefix).value,
		PathStyle: one(store, "path_style", parseBool).value,
		RootCAs:   r.existing(store, "root_cas"),
		Keys:      r.s3Keys(store),
	}
	endpoint, bucket := one(store, "endpoint", parseEndpoint), one(store, "bucket", parseBucket)
	b.S3.Endpoint, b.S3.Bucket = endpoint.value, bucket.value
	if !b.S3.PathStyle && strings.Contains(bucket.value, ".") {
		r.mistake(bucket.line(), "bodies.s3.bucket "+quote(bucket.value)+" has a dot", "without path_style it becomes part of the host's name, and no certificate proves such a one", "take a bucket without dots, or path_style: true")
	}
	if u, err := url.Parse(endpoint.value); err == nil && u.Scheme == "http" {
		if !loopback(net.JoinHostPort(u.Hostname(), "80")) {
			r.warn(endpoint.line(), "bodies.s3.endpoint %s is not encrypted on the way: the messages are, but who listens sees when mail comes and how large it is, and may put errors in; use https", quote(endpoint.value))
		}
		if b.S3.RootCAs != "" {
			r.mistake(endpoint.line(), "bodies.s3.root_cas is given, but the endpoint begins with http://", "no certificate would ever be looked at", "write https://")
		}
	}
	return b
}

// s3Keys reads the credentials' file.
func (r *reader) s3Keys(s section) S3Keys {
	name := r.file(s, "credentials")
	if name == "" || r.readFile == nil {
		return S3Keys{}
	}
	line := s.n.get("credentials").at()
	if !r.regular(name, "bodies.s3.credentials", line) {
		return S3Keys{}
	}
	r.exposed(name, "bodies.s3.credentials", line)
	data, err := r.readFile(name)
	if err != nil {
		r.mistake(line, "bodies.s3.credentials cannot be read", err.Error(), "")
		return S3Keys{}
	}
	k, err := parseS3Keys(data)
	if err != nil {
		r.mistake(line, "bodies.s3.credentials "+quote(name)+" is no file of credentials", err.Error(), "write two lines: aws_access_key_id = … and aws_secret_access_key = …")
	}
	return k
}

// parseS3Keys reads the form of AWS's shared credentials file, one profile:
//
//	[default]
//	aws_access_key_id = …
//	aws_secret_access_key = …
//
// The profile's line may be missing; aws_session_token may be there. Errors name lines and never show them.
func parseS3Keys(data []byte) (S3Keys, error) {
	var k S3Keys
	fields := map[string]*string{"aws_access_key_id": &k.ID, "aws_secret_access_key": &k.Secret, "aws_session_token": &k.Session}
	profiles := 0
	for i, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
			continue
		case text[0] == '[':
			if profiles++; profiles > 1 {
				return S3Keys{}, fmt.Errorf("line %d begins a second profile; keep one", i+1)
			}
			continue
		}
		name, value, found := strings.Cut(text, "=")
		into, value := fields[strings.TrimSpace(name)], strings.TrimSpace(value)
		switch {
		case !found || into == nil:
			return S3Keys{}, fmt.Errorf("line %d is none of aws_access_key_id, aws_secret_access_key and aws_session_token, with = and a value", i+1)
		case *into != "":
			return S3Keys{}, fmt.Errorf("line %d gives the same again", i+1)
		case value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
			return S3Keys{}, fmt.Errorf("line %d has no value that a key can have", i+1)
		}
		*into = value
	}
	if k.ID == "" || k.Secret == "" {
		return S3Keys{}, errors.New("aws_access_key_id or aws_secret_access_key is missing")
	}
	return k, nil
}

// parseEndpoint reads the address of a store: scheme and host, perhaps a port.
func parseEndpoint(s string) (string, error) {
	hint := `write "https://s3.eksempel.example", with :port where it has one; the bucket has a key of its own`
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return "", &problem{"is no web address", "", hint} // not shown: a secret may stand in it
	case u.User != nil:
		return "", &problem{"holds a user name", "credentials do not belong there", "write credentials: and a file"}
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", &problem{quote(s) + " is more than scheme and host", "", hint}
	}
	if ip, e := netip.ParseAddr(u.Hostname()); e != nil || ip.Zone() != "" {
		if _, e := parseDomain(u.Hostname()); e != nil {
			return "", &problem{quote(s) + " names no host", "", hint}
		}
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// parseBucket reads a bucket's name, by the rules that all stores share.
func parseBucket(s string) (string, error) {
	if len(s) < 3 || len(s) > 63 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" ||
		strings.ContainsAny(s[:1]+s[len(s)-1:], ".-") || strings.Contains(s, "..") {
		return "", &problem{quote(s) + " is no name of a bucket", "", "3 to 63 small letters, digits, hyphens and dots, with a letter or digit at both ends"}
	}
	return s, nil
}

// parsePrefix reads what all names in the bucket begin with.
func parsePrefix(s string) (string, error) {
	bad := &problem{quote(s) + " is no prefix", "", "up to 200 letters, digits, hyphens, dots and underscores; slashes between parts"}
	s = strings.Trim(s, "/")
	if len(s) > 200 {
		return "", bad
	}
	for part := range strings.SplitSeq(s, "/") {
		if strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") != "" || strings.Trim(part, ".") == "" {
			return "", bad
		}
	}
	return s, nil
}
