package offload

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"postvagt/internal/ledger"
)

// reference is what the ledger keeps in the place of a body that lies in the object store. Its form, in bytes:
//
//	4   0x00 "ref": a sealed body begins with its version, which is never 0
//	1   version, 1
//	1   kind: 'o', an object
//	8   size of the object, big endian
//	32  SHA-256 of the object
//	n   name of the object, below the store's prefix
type reference struct {
	size int64
	sum  [sha256.Size]byte
	name name
}

const (
	magic      = "\x00ref"
	version    = 1
	kindObject = 'o'
	headSize   = len(magic) + 1 + 1 + 8 + sha256.Size

	// mostBytes bounds what one object is read of, whatever a reference says: the largest message there can be, sealed.
	mostBytes = 2 << 30
)

// isReference reports whether the ledger's bytes are a reference, of whatever version, and no body.
func isReference(held []byte) bool { return bytes.HasPrefix(held, []byte(magic)) }

func (r reference) bytes() []byte {
	b := make([]byte, 0, headSize+nameSize)
	b = append(b, magic...)
	b = append(b, version, kindObject)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = append(b, r.sum[:]...)
	return append(b, r.name.String()...)
}

// parseReference reads what bytes made, and nothing else.
func parseReference(held []byte) (r reference, err error) {
	switch {
	case !isReference(held) || len(held) < headSize:
		return r, fmt.Errorf("no reference to a body, or one cut short: %d bytes", len(held))
	case held[len(magic)] != version:
		return r, fmt.Errorf("a reference of version %d, which a newer postvagt wrote", held[len(magic)])
	case held[len(magic)+1] != kindObject:
		return r, fmt.Errorf("a reference of kind %q, which a newer postvagt wrote", held[len(magic)+1])
	}
	size := binary.BigEndian.Uint64(held[len(magic)+2:])
	if size > mostBytes {
		return r, fmt.Errorf("a reference to %d bytes, more than any body has", size)
	}
	r.size = int64(size)
	copy(r.sum[:], held[headSize-sha256.Size:])
	r.name, err = parseName(string(held[headSize:]))
	return r, err
}

// refer makes the reference to a body that is about to be stored.
func refer(id ledger.MessageID, body int, sealed []byte) reference {
	return reference{size: int64(len(sealed)), sum: sha256.Sum256(sealed), name: name{id, body, ledger.NewMessageID()}}
}

// matches returns nil when data is what the reference was made for.
func (r reference) matches(data []byte) error {
	if int64(len(data)) != r.size {
		return fmt.Errorf("%w: %s has %d bytes and not %d", ErrWrong, r.name, len(data), r.size)
	}
	if sha256.Sum256(data) != r.sum {
		return fmt.Errorf("%w: %s holds other bytes than were stored", ErrWrong, r.name)
	}
	return nil
}

// name is an object's: <message id>/<body>-<stamp>. It is never used twice, for the stamp is made like a message id: when
// the object was stored, by our clock, and random bits. Names sort by the time of the message.
type name struct {
	message ledger.MessageID
	body    int
	stamp   ledger.MessageID
}

const (
	idSize   = 26
	nameSize = idSize + len("/0-") + idSize
)

func (n name) String() string { return fmt.Sprintf("%s/%d-%s", n.message, n.body, n.stamp) }

// parseName reads the name of a body's object; anything else below the prefix is none of ours.
func parseName(s string) (name, error) {
	if len(s) != nameSize || s[idSize] != '/' || s[idSize+2] != '-' || s[idSize+1] != '0' && s[idSize+1] != '1' {
		return name{}, fmt.Errorf("%q is no name of a body", short(s))
	}
	n := name{ledger.MessageID(s[:idSize]), int(s[idSize+1] - '0'), ledger.MessageID(s[idSize+3:])}
	if !validID(n.message) || !validID(n.stamp) {
		return name{}, fmt.Errorf("%q is no name of a body", short(s))
	}
	return n, nil
}

// short keeps what somebody else wrote from filling a log; what is no name may be anything.
func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), nameSize)], "?") }

// alphabet is the one of ledger.NewMessageID.
const alphabet = "234567abcdefghijklmnopqrstuvwxyz"

func validID(id ledger.MessageID) bool {
	return len(id) == idSize && strings.Trim(string(id), alphabet) == ""
}

// madeAt is when a valid id was made: its first 48 bits are milliseconds since 1970.
func madeAt(id ledger.MessageID) time.Time {
	var b [10]byte
	base32.NewEncoding(alphabet).WithPadding(base32.NoPadding).Decode(b[:], []byte(id[:16])) // a valid id cannot fail
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8]) >> 16)).UTC()
}
