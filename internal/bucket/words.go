package bucket

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
)

// causes are what an operator has to mend, by the store's code.
var causes = map[string]string{
	"AccessDenied":          "the credentials do not allow it: they need to put, get, delete and list below the prefix",
	"InvalidAccessKeyId":    "it does not know the access key",
	"SignatureDoesNotMatch": "the secret key is not the access key's, or something between changes requests",
	"RequestTimeTooSkewed":  "the clock here and the store's differ too much",
	"NoSuchBucket":          "the bucket does not exist",
	"NotImplemented":        "it does not know what was asked; it must support writing under the condition that a name is free (If-None-Match)",
	"InvalidRegion":         "the bucket lies in another region",
}

// explained is an error as an operator reads it: which store, what was asked of it, why not. The store's own words are left
// out where it gave a code, since nobody knows what they hold.
func (b *s3) explained(what string, err error) error {
	where := "object store " + b.String() + ": " + what
	if r, ok := response(err); ok {
		switch {
		case isTaken(err):
			return fmt.Errorf("%s: %w", where, ErrExists)
		case r.Code == "NoSuchKey":
			return fmt.Errorf("%s: %w", where, ErrNone)
		case causes[r.Code] != "":
			return fmt.Errorf("%s: %s (%d %s)", where, causes[r.Code], r.StatusCode, r.Code)
		}
		return fmt.Errorf("%s: it answered %d %s", where, r.StatusCode, short(r.Code))
	}
	if holds(err, b.secret) {
		return fmt.Errorf("%s: the store could not be asked", where)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// short keeps a code that no store should give from filling a log.
func short(code string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, code[:min(len(code), 40)])
}

func holds(err error, secrets []string) bool {
	for _, s := range secrets {
		if s != "" && strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// response is what the store itself said, if it said anything.
func response(err error) (r minio.ErrorResponse, ok bool) {
	return r, errors.As(err, &r)
}

// isTaken: the condition that the name is free does not hold.
func isTaken(err error) bool {
	if errors.Is(err, ErrExists) {
		return true
	}
	r, ok := response(err)
	return ok && r.StatusCode == http.StatusPreconditionFailed
}

// lasting reports whether asking again is of no use: the store understood and said no, or is not who it should be.
func lasting(err error) bool {
	if r, ok := response(err); ok {
		switch r.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusConflict: // 409: an earlier try still under way
			return false
		}
		return r.StatusCode >= 400 && r.StatusCode < 500
	}
	var untrusted x509.UnknownAuthorityError
	var other x509.HostnameError
	return errors.Is(err, errTooLarge) || errors.Is(err, ErrExists) || errors.As(err, &untrusted) || errors.As(err, &other)
}
