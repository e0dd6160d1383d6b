// Package bucket keeps bytes under names in an S3-compatible object store: below one prefix of one bucket. It knows nothing
// of mail; what it keeps is sealed already, so that the store learns sizes and times and no more.
//
// Every call has a deadline of its own and a bounded number of tries. An error names the store and what was asked of it, and
// never holds a credential.
package bucket

import (
	"context"
	"errors"
	"time"
)

// Bucket is what an object store has to do. Safe for concurrent use.
type Bucket interface {
	// Put stores data under a name that must be free, whole or not at all: ErrExists when it is taken. After any other error it may
	// have been stored all the same.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object of at most most bytes. ErrNone when there is none of that name.
	Get(ctx context.Context, name string, most int64) ([]byte, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// List returns the next objects whose names are above after, in the order of their names' bytes, at most max. Fewer than max are the last.
	List(ctx context.Context, after string, max int) ([]Object, error)
	// String names the store for people, without credentials.
	String() string
}

// Object is one line of a listing.
type Object struct {
	Name    string
	Size    int64
	Changed time.Time // by the store's clock
}

// Errors that callers decide on.
var (
	ErrNone   = errors.New("there is no such object")
	ErrExists = errors.New("there is an object of that name already")
)
