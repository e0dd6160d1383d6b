package bucket_test

import (
	"testing"

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
		o.Prefix += string(rune('a' + n))
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
