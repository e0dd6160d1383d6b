package guard

import (
	"flag"
	"math/rand/v2"
	"testing"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: a fresh one")

// randomSeed is the seed to use; a failing test prints it.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test -run '^%s$' -seed %d", t.Name(), seed)
	return seed
}
