package bucket

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Options of an S3-compatible store.
type Options struct {
	Endpoint  string // "https://s3.eksempel.example" or "http://127.0.0.1:9000"
	Bucket    string
	Region    string // "" "us-east-1", which stores without regions take
	Prefix    string // of all names, without a slash at its end; "" none
	PathStyle bool   // the bucket stands in the path, not in the host's name
	RootCAs   string // PEM file with roots to trust besides the system's; "" the system's
	Keys      Keys   // empty: from the environment

	// Try is the deadline of one try, besides what the size of the body adds. 0: 10 s.
	Try time.Duration
}

const (
	// tries is how often one thing is asked for, and pause the wait before the second time; it doubles.
	tries = 3
	pause = 100 * time.Millisecond
	// slowest is the bytes a second that a store in use at least takes and gives: what a deadline allows for size.
	slowest = 2 << 20
)

// s3 is a Bucket over the S3 protocol.
type s3 struct {
	core   minio.Core
	o      Options
	secret []string // what no error may hold
}

// Open makes a Bucket. It asks nothing of the store yet: a guard starts, and sends what its ledger holds, while the store is away.
func Open(o Options) (Bucket, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Try == 0 {
		o.Try = 10 * time.Second
	}
	if o.Prefix != "" {
		o.Prefix += "/"
	}
	if o.Keys == (Keys{}) {
		o.Keys = fromEnvironment()
	}
	if o.Keys.ID == "" || o.Keys.Secret == "" {
		return nil, fmt.Errorf("object store %s: no credentials: name a file in bodies.s3.credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", o.Endpoint)
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the object store's endpoint is no address of the form https://host")
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", o.Endpoint, err)
	}
	lookup := minio.BucketLookupDNS
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(o.Keys.ID, o.Keys.Secret, o.Keys.Session),
		Secure: u.Scheme == "https", Transport: transport, Region: o.Region, BucketLookup: lookup,
		MaxRetries: 1, // the tries are counted here, with the deadline of each
	})
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", o.Endpoint, err)
	}
	b := &s3{core: minio.Core{Client: client}, o: o, secret: []string{o.Keys.Secret}}
	if o.Keys.Session != "" {
		b.secret = append(b.secret, o.Keys.Session)
	}
	return b, nil
}

// newTransport allows as many idle connections as there are accepts at a time, so that no handshake is made for each body.
func newTransport(o Options) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: o.Try / 2, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: o.Try / 2,
		MaxIdleConns:        128,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // the bytes are sealed: nothing would get smaller, and a size must be the object's own
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.RootCAs == "" {
		return t, nil
	}
	pem, err := os.ReadFile(o.RootCAs)
	if err != nil {
		return nil, fmt.Errorf("read its certificate authorities: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", o.RootCAs)
	}
	t.TLSClientConfig.RootCAs = roots
	return t, nil
}

func (b *s3) String() string {
	return strings.TrimSuffix(b.o.Endpoint, "/") + "/" + b.o.Bucket + "/" + b.o.Prefix
}

func (b *s3) Put(ctx context.Context, name string, data []byte) error {
	again := false
	return b.ask(ctx, "put "+name, int64(len(data)), func(ctx context.Context) error {
		o := minio.PutObjectOptions{ContentType: "application/octet-stream", SendContentMd5: true, DisableMultipart: true}
		o.SetMatchETagExcept("*")
		_, err := b.core.Client.PutObject(ctx, b.o.Bucket, b.o.Prefix+name, bytes.NewReader(data), int64(len(data)), o)
		if again && isTaken(err) {
			// An earlier try may have been done and its answer lost. What lies there is looked at, for a 250 may rest on it.
			return b.same(ctx, name, data)
		}
		again = true
		return err
	})
}

// same returns nil when the object holds data, else ErrExists.
func (b *s3) same(ctx context.Context, name string, data []byte) error {
	there, err := b.get(ctx, name, int64(len(data)))
	if err != nil {
		return err
	}
	if !bytes.Equal(there, data) {
		return ErrExists
	}
	return nil
}

func (b *s3) Get(ctx context.Context, name string, most int64) (data []byte, err error) {
	err = b.ask(ctx, "get "+name, most, func(ctx context.Context) (err error) {
		data, err = b.get(ctx, name, most)
		return err
	})
	return data, err
}

func (b *s3) get(ctx context.Context, name string, most int64) ([]byte, error) {
	body, info, _, err := b.core.GetObject(ctx, b.o.Bucket, b.o.Prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var data bytes.Buffer
	data.Grow(int(min(max(info.Size, 0), most)) + bytes.MinRead)
	if _, err := data.ReadFrom(io.LimitReader(body, most+1)); err != nil {
		return nil, err
	}
	if int64(data.Len()) > most {
		return nil, errTooLarge
	}
	return data.Bytes(), nil
}

// errTooLarge: the store gave more than was asked for.
var errTooLarge = errors.New("the object is larger than what was stored under its name")

func (b *s3) Delete(ctx context.Context, name string) error {
	err := b.ask(ctx, "delete "+name, 0, func(ctx context.Context) error {
		return b.core.RemoveObject(ctx, b.o.Bucket, b.o.Prefix+name, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, ErrNone) {
		return nil
	}
	return err
}

func (b *s3) List(ctx context.Context, after string, max int) (objects []Object, err error) {
	err = b.ask(ctx, "list", 0, func(ctx context.Context) error {
		objects = objects[:0]
		o := minio.ListObjectsOptions{Prefix: b.o.Prefix, Recursive: true, MaxKeys: min(max, 1000)}
		if after != "" {
			o.StartAfter = b.o.Prefix + after
		}
		for object := range b.core.Client.ListObjectsIter(ctx, b.o.Bucket, o) {
			if object.Err != nil {
				return object.Err
			}
			name, ok := strings.CutPrefix(object.Key, b.o.Prefix)
			if !ok || name <= after {
				return fmt.Errorf("the listing holds what was not asked for: it is not in order, or not below %s", b.o.Prefix)
			}
			objects = append(objects, Object{name, object.Size, object.LastModified.UTC()})
			if len(objects) == max {
				return nil
			}
		}
		return ctx.Err() // when it ends, the listing just stops
	})
	if err != nil {
		return nil, err
	}
	return objects, nil
}

// ask tries f until it succeeds, fails for good, or has been tried often enough; size is how many bytes travel.
func (b *s3) ask(ctx context.Context, what string, size int64, f func(context.Context) error) error {
	deadline := b.o.Try + time.Duration(size)*time.Second/slowest
	wait := pause
	for n := 1; ; n++ {
		err := b.once(ctx, deadline, f)
		if err == nil {
			return nil
		}
		if n == tries || ctx.Err() != nil || lasting(err) {
			return b.explained(what, err)
		}
		select {
		case <-ctx.Done():
			return b.explained(what, ctx.Err())
		case <-time.After(wait):
			wait *= 2
		}
	}
}

func (b *s3) once(ctx context.Context, deadline time.Duration, f func(context.Context) error) error {
	ctx, stop := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no answer within %v: %w", deadline.Round(time.Second), context.DeadlineExceeded))
	defer stop()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
