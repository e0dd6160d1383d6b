package ledger

import (
	"crypto/rand"
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
