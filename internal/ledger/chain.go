package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// The hash chain over an authority's events, the same in every engine:
//
//	words = SHA-256(By, Detail)                                        what an event says of people, in words
//	leaf  = SHA-256(Seq, Authority, Message, Delivery, At, Kind, words) an event
//	batch = SHA-256(leaf, leaf, …)                                     the events that one seal covers, in their order
//	seal  = SHA-256(seal before, batch)                                the first has no seal before it
//
// Numbers are 8 bytes big-endian, times in microseconds since 1970 UTC, texts have their length in 8 bytes before them, and hashes stand
// as they are; so no two events have the same form. Retention takes away the words and keeps their hash, then takes away the
// event and keeps its leaf, and when a seal has no event left, its batch is all that is needed to follow the chain. So what is left
// of an event is still proven to be what was written, and nothing can be taken out unseen.

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Words is the hash of what e says in words. It outlives the words.
func Words(e Event) Hash {
	h := sha256.New()
	hashText(h, e.By)
	hashText(h, e.Detail)
	return sum(h)
}

// Leaf is e's place in the chain. words is Words(e), or what was kept of it when the words were erased.
func Leaf(e Event, words Hash) Hash {
	h := sha256.New()
	hashNumber(h, e.Seq)
	hashText(h, e.Authority)
	hashText(h, string(e.Message))
	hashNumber(h, int64(e.Delivery))
	hashNumber(h, e.At.UnixMicro())
	hashText(h, e.Kind)
	h.Write(words[:])
	return sum(h)
}

// SealHash continues the chain: before is the seal before, nil for the first, and batch the hash over the leaves.
func SealHash(before []byte, batch Hash) Hash {
	h := sha256.New()
	h.Write(before)
	h.Write(batch[:])
	return sum(h)
}

func sum(h hash.Hash) (s Hash) {
	h.Sum(s[:0])
	return s
}

func hashNumber(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

func hashText(h hash.Hash, s string) {
	hashNumber(h, int64(len(s)))
	h.Write([]byte(s))
}
