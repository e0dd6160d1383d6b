package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"postvagt/internal/bucket"
)

// Exercise runs the contract that every bucket.Bucket keeps. fresh makes an empty one.
func Exercise(t *testing.T, fresh func(t *testing.T) bucket.Bucket) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, bucket.Bucket)
	}{
		{"put and get", testPutGet},
		{"a name is taken once", testTaken},
		{"delete", testDelete},
		{"list", testList},
		{"cancelled", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

func testPutGet(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB: more than one part of a multipart upload
	for name, data := range map[string][]byte{"empty": {}, "one": {0}, "a/b/0-c": []byte("\x01sealed\r\n\x00\xff"), "large": large} {
		if err := b.Put(ctx, name, data); err != nil {
			t.Fatal(err)
		}
		got, err := b.Get(ctx, name, int64(len(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(data))
		}
	}
	if _, err := b.Get(ctx, "one", 0); err == nil || errors.Is(err, bucket.ErrNone) {
		t.Errorf("an object larger than what was asked for: %v", err)
	}
	if _, err := b.Get(ctx, "none", 10); !errors.Is(err, bucket.ErrNone) {
		t.Errorf("no object: got %v, want %v", err, bucket.ErrNone)
	}
}

func testTaken(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = b.Put(ctx, "name", []byte{byte(i)}) })
	}
	wg.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if i != winner && !errors.Is(err, bucket.ErrExists) {
			t.Errorf("put %d: got %v, want %v", i, err, bucket.ErrExists)
		}
	}
	got, err := b.Get(ctx, "name", 1)
	if err != nil || winner < 0 || !bytes.Equal(got, []byte{byte(winner)}) {
		t.Errorf("put %d won, but %v lies there, %v", winner, got, err)
	}
}

func testDelete(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	if err := b.Put(ctx, "name", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Delete(ctx, "name"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Get(ctx, "name", 1); !errors.Is(err, bucket.ErrNone) {
		t.Errorf("got %v, want %v", err, bucket.ErrNone)
	}
	if err := b.Put(ctx, "name", []byte("y")); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
}

func testList(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	if got, err := b.List(ctx, "", 10); err != nil || len(got) != 0 {
		t.Errorf("empty: %v, %v", got, err)
	}
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("%c/%d-x", "2z7a"[i%4], i)
		want = append(want, name)
		if err := b.Put(ctx, name, make([]byte, i)); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for _, page := range []int{1, 5, 23, 1000} {
		var got []string
		after := ""
		for {
			objects, err := b.List(ctx, after, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				var n int64
				fmt.Sscanf(o.Name[2:], "%d", &n)
				if d := time.Since(o.Changed); o.Size != n || d < -time.Minute || d > time.Minute {
					t.Errorf("%+v: want %d bytes, and changed now", o, n)
				}
				got = append(got, o.Name)
			}
			if len(objects) < page {
				break
			}
			after = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: got %q, want %q", page, got, want)
		}
	}
}

func testCancelled(t *testing.T, b bucket.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := b.Get(ctx, "name", 1)
	_, listErr := b.List(ctx, "", 1)
	for what, err := range map[string]error{"put": b.Put(ctx, "name", []byte("x")), "get": getErr, "delete": b.Delete(ctx, "name"), "list": listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", what, err, context.Canceled)
		}
	}
}
