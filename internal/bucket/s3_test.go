package bucket_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/bucket"
	"postvagt/internal/bucket/buckettest"
)

// TestS3: the contract holds over a real server.
func TestS3(t *testing.T) {
	s := buckettest.Start(t)
	n := 0
	buckettest.Exercise(t, func(t *testing.T) bucket.Bucket {
		o := s.Options
		n++
		o.Prefix = fmt.Sprintf("vagt/%d", n)
		if n == 1 {
			o.Prefix = "" // none
		}
		return open(t, o)
	})
}

func open(t *testing.T, o bucket.Options) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPrefix: what lies beside the prefix is neither seen nor touched.
func TestPrefix(t *testing.T) {
	s := buckettest.Start(t)
	ctx := t.Context()
	for _, prefix := range []string{"a", "ab", "a/b"} {
		o := s.Options
		o.Prefix = prefix
		if err := open(t, o).Put(ctx, "name", []byte(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	o := s.Options
	o.Prefix = "a"
	b := open(t, o)
	if err := b.Delete(ctx, "name"); err != nil {
		t.Fatal(err)
	}
	left, err := b.List(ctx, "", 10)
	if err != nil || len(left) != 1 || left[0].Name != "b/name" {
		t.Errorf("below a: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(s.Folder, "ab", "name")); err != nil {
		t.Error(err)
	}
}

// TestErrors: an error says which store, what was asked and what to mend, and holds no credential.
func TestErrors(t *testing.T) {
	s := buckettest.Start(t)
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	tests := []struct {
		name   string
		change func(*bucket.Options)
		want   string
	}{
		{"wrong secret", func(o *bucket.Options) { o.Keys.Secret = "another secret" }, "the secret key is not the access key's"},
		{"unknown key", func(o *bucket.Options) { o.Keys.ID = "AKIANOBODY" }, "it answered"}, // this server has a code of its own for it
		{"no bucket", func(o *bucket.Options) { o.Bucket = "nothere" }, "the bucket does not exist"},
		{"unknown authority", func(o *bucket.Options) { o.RootCAs = "" }, "certificate"},
		{"another's name", func(o *bucket.Options) { o.Endpoint = strings.Replace(o.Endpoint, "127.0.0.1", "localhost", 1) }, "certificate"},
		{"refused", func(o *bucket.Options) { o.Endpoint = "https://" + refused.Addr().String() }, "refused"},
		{"silent", func(o *bucket.Options) { o.Endpoint, o.Try = "http://"+silent.Addr().String(), 50*time.Millisecond }, "no answer within"},
		{"no TLS", func(o *bucket.Options) { o.Endpoint = strings.Replace(o.Endpoint, "https", "http", 1) }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := s.Options
			test.change(&o)
			b := open(t, o)
			_, getErr := b.Get(t.Context(), "name", 1)
			_, listErr := b.List(t.Context(), "", 1)
			for what, err := range map[string]error{"put name": b.Put(t.Context(), "name", []byte("x")), "get name": getErr, "list": listErr} {
				if err == nil || errors.Is(err, bucket.ErrNone) || errors.Is(err, bucket.ErrExists) {
					t.Errorf("%s: got %v", what, err)
					continue
				}
				said := err.Error()
				if !strings.Contains(said, test.want) || !strings.Contains(said, o.Endpoint) || !strings.Contains(said, what) {
					t.Errorf("%s: got %q, want the store and %q", what, said, test.want)
				}
				if strings.Contains(said, o.Keys.Secret) || strings.Contains(said, o.Keys.ID) {
					t.Errorf("%s: the error holds a credential: %q", what, said)
				}
			}
		})
	}
}

func TestOpen(t *testing.T) {
	good := bucket.Options{Endpoint: "https://s3.eksempel.example", Bucket: "post", Keys: bucket.Keys{ID: "AKIA1", Secret: "hemmelig"}}
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*bucket.Options){
		"no credentials": func(o *bucket.Options) { o.Keys = bucket.Keys{} },
		"half of them":   func(o *bucket.Options) { o.Keys.Secret = "" },
		"no endpoint":    func(o *bucket.Options) { o.Endpoint = "" },
		"no scheme":      func(o *bucket.Options) { o.Endpoint = "s3.eksempel.example" },
		"no roots":       func(o *bucket.Options) { o.RootCAs = junk + "x" },
		"junk roots":     func(o *bucket.Options) { o.RootCAs = junk },
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		o := good
		change(&o)
		if b, err := bucket.Open(o); err == nil || strings.Contains(err.Error(), "hemmelig") {
			t.Errorf("%s: %v, %v", what, b, err)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA2")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "kode")
	o := good
	o.Keys = bucket.Keys{}
	o.Prefix = "vagt"
	b, err := bucket.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != "https://s3.eksempel.example/post/vagt/" {
		t.Errorf("shown as %s", b)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", good, good, good, good.Keys); strings.Contains(s, "hemmelig") {
		t.Errorf("shown as %s", s)
	}
}

// faults stand between us and the real server: what is asked passes or not, and so does the answer.
type faults struct {
	proxy *httputil.ReverseProxy
	do    atomic.Pointer[func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter))]
	n     atomic.Int64
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.do.Load())(int(f.n.Add(1)), w, r, func(w http.ResponseWriter) { f.proxy.ServeHTTP(w, r) })
}

func (f *faults) set(do func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter))) {
	f.n.Store(0)
	f.do.Store(&do)
}

// between puts faults before a server. The signature covers the name the client used, so the proxy keeps it.
func between(t *testing.T) (*faults, bucket.Bucket) {
	t.Helper()
	s := buckettest.Start(t)
	target, err := url.Parse(s.Options.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
		},
		Transport:    &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // a test's own server, on loopback
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
	}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	o := s.Options
	o.Endpoint, o.RootCAs, o.Try = server.URL, "", 2*time.Second
	return f, open(t, o)
}

// lost is a response that is made and never arrives.
func lost(pass func(http.ResponseWriter)) {
	pass(httptest.NewRecorder())
	panic(http.ErrAbortHandler)
}

// TestPutFaults: each way in which a put can fail ends with the object there and no error, or with an error.
func TestPutFaults(t *testing.T) {
	f, b := between(t)
	tests := []struct {
		name   string
		do     func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter))
		want   bool // stored and said so
		before []byte
	}{
		{"answer lost once", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			if n == 1 {
				lost(pass)
			}
			pass(w)
		}, true, nil},
		{"answer lost always", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) { lost(pass) }, false, nil},
		{"busy once", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			pass(w)
		}, true, nil},
		{"busy always", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, false, nil},
		{"done, but busy", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			if n == 1 {
				pass(httptest.NewRecorder())
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			pass(w)
		}, true, nil},
		{"slow once", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			if n == 1 {
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done() // the client gave up
				return
			}
			pass(w)
		}, true, nil},
		{"another's object, and busy", func(n int, w http.ResponseWriter, r *http.Request, pass func(http.ResponseWriter)) {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			pass(w)
		}, false, []byte("other")},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name, data := fmt.Sprint("name", i), bytes.Repeat([]byte("sealed"), 1000)
			f.set(func(_ int, w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) { pass(w) })
			if test.before != nil {
				if err := b.Put(t.Context(), name, test.before); err != nil {
					t.Fatal(err)
				}
			}
			f.set(test.do)
			err := b.Put(t.Context(), name, data)
			if (err == nil) != test.want {
				t.Errorf("got %v", err)
			}
			f.set(func(_ int, w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) { pass(w) })
			got, getErr := b.Get(t.Context(), name, 1<<20)
			if err == nil && (getErr != nil || !bytes.Equal(got, data)) {
				t.Errorf("said to be stored, but %d bytes lie there, %v", len(got), getErr)
			}
			if test.before != nil && !bytes.Equal(got, test.before) {
				t.Errorf("another's object was overwritten with %q", got)
			}
		})
	}
}

// TestGetFaults: what breaks off is asked for again, and is never taken for the whole.
func TestGetFaults(t *testing.T) {
	f, b := between(t)
	f.set(func(_ int, w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) { pass(w) })
	data := bytes.Repeat([]byte("sealed"), 10_000)
	if err := b.Put(t.Context(), "name", data); err != nil {
		t.Fatal(err)
	}
	broken := func(w http.ResponseWriter, pass func(http.ResponseWriter)) {
		r := httptest.NewRecorder()
		pass(r)
		w.Header().Set("Content-Length", fmt.Sprint(r.Body.Len()))
		io.CopyN(w, r.Body, 100)
		panic(http.ErrAbortHandler)
	}
	for _, times := range []int{1, 2, 100} {
		f.set(func(n int, w http.ResponseWriter, _ *http.Request, pass func(http.ResponseWriter)) {
			if n <= times {
				broken(w, pass)
			}
			pass(w)
		})
		got, err := b.Get(t.Context(), "name", int64(len(data)))
		if times < 3 && (err != nil || !bytes.Equal(got, data)) || times > 3 && (err == nil || got != nil) {
			t.Errorf("broken off %d times: %d bytes, %v", times, len(got), err)
		}
		if n := f.n.Load(); n > 6 { // Go's own client asks once more when a kept connection is lost
			t.Errorf("asked %d times", n)
		}
	}
}

// TestPatience: who no longer waits does not wait for the tries.
func TestPatience(t *testing.T) {
	f, b := between(t)
	ctx, stop := context.WithCancel(t.Context())
	f.set(func(int, http.ResponseWriter, *http.Request, func(http.ResponseWriter)) {
		stop()
		panic(http.ErrAbortHandler)
	})
	if err := b.Put(ctx, "name", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if n := f.n.Load(); n != 1 {
		t.Errorf("asked %d times after nobody waited", n)
	}
}
