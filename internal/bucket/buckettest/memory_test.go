package buckettest

import (
	"testing"

	"postvagt/internal/bucket"
)

func TestMemory(t *testing.T) {
	Exercise(t, func(*testing.T) bucket.Bucket { return &Memory{} })
}
