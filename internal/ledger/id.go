package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idAlphabet ascends, so that ids sort as their bytes do.
var idAlphabet = base32.NewEncoding("234567abcdefghijklmnopqrstuvwxyz").WithPadding(base32.NoPadding)

// NewMessageID makes a fresh id: the milliseconds since 1970 in 48 bits, so that ids made one after another stand beside each
// other in an index however long the ledger is, and 80 bits of crypto/rand.
func NewMessageID() MessageID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(time.Now().UnixMilli())<<16)
	rand.Read(b[6:])
	return MessageID(idAlphabet.EncodeToString(b[:]))
}

// MessageIDFrom is the one id that follows from a time and a text, for what must be made once however often it is tried. It sorts
// by the time like a fresh one.
func MessageIDFrom(at time.Time, text string) MessageID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	sum := sha256.Sum256([]byte(text))
	copy(b[6:], sum[:])
	return MessageID(idAlphabet.EncodeToString(b[:]))
}

// FirstID is the least id that a message made at t can have: ids of a time stand between FirstID of its begin and of its end.
func FirstID(t time.Time) MessageID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.UnixMilli())<<16)
	return MessageID(idAlphabet.EncodeToString(b[:]))
}
