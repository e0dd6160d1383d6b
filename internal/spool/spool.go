// Package spool seals bodies: AES-256-GCM with a key per message, wrapped by the authority's key from a key file. The
// sealed body is bound to the message id, so that no body can be passed off as another's.
//
// The sealed form, in bytes:
//
//	1   version, 1
//	4   id of the authority key
//	12  nonce of the wrapping
//	48  the message's key, wrapped: 32 bytes and a 16 byte tag
//	n   the body, and a 16 byte tag
//
// Both seals have the first five bytes and the message id as associated data. The body's own nonce is zero: its key
// is random and used once.
package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Errors of Open that callers decide on.
var (
	// ErrKey: the body was sealed with a key that is not in the key file.
	ErrKey = errors.New("sealed with a key that is not in the key file")
	// ErrSealed: the bytes are not what Seal made for this message id: cut short, changed, or another message's.
	ErrSealed = errors.New("the sealed body is damaged or belongs to another message")
)

const (
	version   = 1
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
	headSize  = 1 + 4
	bodyStart = headSize + nonceSize + keySize + tagSize

	// Overhead is how many bytes Seal adds.
	Overhead = bodyStart + tagSize
)

// Keys are the authority keys of one key file: the newest seals, all open. Safe for concurrent use. A key that another
// process has added to the file is taken up when something sealed with it is to be opened.
type Keys struct {
	path string
	ring atomic.Pointer[ring]
}

// ring holds the keys, oldest first, and the subkey for MAC. It never changes.
type ring struct {
	keys []key
	byID map[[4]byte]*key
	mac  []byte
}

// key is one authority key.
type key struct {
	id      [4]byte
	secret  []byte
	created time.Time
	aead    cipher.AEAD // wraps message keys
}

// newKey derives what is needed from a secret of keySize bytes.
func newKey(secret []byte, created time.Time) (key, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return key{}, err
	}
	k := key{secret: secret, created: created.UTC().Truncate(time.Second), aead: aead}
	copy(k.id[:], derive(secret, "postvagt key id"))
	return k, nil
}

// derive makes a subkey for one use, so that no key serves two.
func derive(secret []byte, use string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(use))
	return h.Sum(nil)
}

func newKeys(keys []key) (*Keys, error) {
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	r := &ring{keys: keys, byID: make(map[[4]byte]*key, len(keys))}
	for i := range keys {
		if r.byID[keys[i].id] != nil {
			return nil, fmt.Errorf("key %x stands there twice", keys[i].id)
		}
		r.byID[keys[i].id] = &keys[i]
	}
	r.mac = derive(keys[0].secret, "postvagt mac")
	k := &Keys{}
	k.ring.Store(r)
	return k, nil
}

// find returns the key of that id, looking into the file again when it is not known: the keys may have been rotated by a
// command beside the running guard. nil when there is none.
func (k *Keys) find(id [4]byte) *key {
	if known := k.ring.Load().byID[id]; known != nil || k.path == "" {
		return known
	}
	fresh, err := Load(k.path)
	if err != nil {
		return nil
	}
	k.ring.Store(fresh.ring.Load())
	return k.ring.Load().byID[id]
}

// Newest returns the id of the key that seals: 8 lower-case hex digits derived from the key.
func (k *Keys) Newest() string { return hex.EncodeToString(k.newest().id[:]) }

func (k *Keys) newest() *key {
	keys := k.ring.Load().keys
	return &keys[len(keys)-1]
}

// IDs returns all key ids, oldest first.
func (k *Keys) IDs() []string {
	keys := k.ring.Load().keys
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = hex.EncodeToString(keys[i].id[:])
	}
	return ids
}

// SealedBy returns the id of the key that sealed, as Newest writes it; "" when the bytes are no sealed body.
func SealedBy(sealed []byte) string {
	if len(sealed) < Overhead || sealed[0] != version {
		return ""
	}
	return hex.EncodeToString(sealed[1:headSize])
}

// Seal encrypts the concatenation of parts for the message id; one allocation of the final size holds the result.
func (k *Keys) Seal(id string, parts ...[]byte) ([]byte, error) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	out := make([]byte, bodyStart, Overhead+size)
	authority := k.newest()
	out[0] = version
	copy(out[1:], authority.id[:])
	nonce := out[headSize : headSize+nonceSize]
	rand.Read(nonce) // crypto/rand.Read never fails: it ends the program instead
	var secret [keySize]byte
	rand.Read(secret[:])
	aead, err := bodyAEAD(secret[:])
	if err != nil {
		return nil, fmt.Errorf("seal body: %w", err)
	}
	bound := boundTo(out[:headSize], id)
	authority.aead.Seal(out[headSize+nonceSize:headSize+nonceSize], nonce, secret[:], bound)
	clear(secret[:])
	for _, p := range parts {
		out = append(out, p...)
	}
	// In place: the ciphertext takes the plaintext's room, and the tag the capacity left for it.
	aead.Seal(out[bodyStart:bodyStart], zeroNonce[:], out[bodyStart:], bound)
	return out[:Overhead+size], nil
}

// Open decrypts what Seal made for the same id, into fresh memory. ErrKey: sealed with a key that is not in the file.
// ErrSealed: not what Seal made for this id.
func (k *Keys) Open(id string, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("open body: %w: only %d bytes", ErrSealed, len(sealed))
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("open body: %w: version %d", ErrSealed, sealed[0])
	}
	authority := k.find([4]byte(sealed[1:headSize]))
	if authority == nil {
		return nil, fmt.Errorf("open body: %w: key %x", ErrKey, sealed[1:headSize])
	}
	bound := boundTo(sealed[:headSize], id)
	secret, err := authority.aead.Open(nil, sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:bodyStart], bound)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", ErrSealed)
	}
	aead, err := bodyAEAD(secret)
	clear(secret)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", err)
	}
	body, err := aead.Open(make([]byte, 0, len(sealed)-Overhead), zeroNonce[:], sealed[bodyStart:], bound)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", ErrSealed)
	}
	return body, nil
}

// zeroNonce serves the body: its key is never used for anything else.
var zeroNonce [nonceSize]byte

func bodyAEAD(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// boundTo is the associated data: the head, so that version and key id cannot be changed, and the message id.
func boundTo(head []byte, id string) []byte {
	return append(append(make([]byte, 0, headSize+len(id)), head...), id...)
}

// MAC returns a keyed hash of s (16 bytes, hex) that does not change with rotation of the keys: the oldest key makes it.
func (k *Keys) MAC(s string) string {
	h := hmac.New(sha256.New, k.ring.Load().mac)
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
