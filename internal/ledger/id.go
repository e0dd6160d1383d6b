package ledger

import (
	"crypto/rand"
	"encoding/base32"
)

var idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewMessageID makes a fresh id: 128 bits of crypto/rand.
func NewMessageID() MessageID {
	var b [16]byte
	rand.Read(b[:])
	return MessageID(idAlphabet.EncodeToString(b[:]))
}
