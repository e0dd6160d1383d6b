// Package spool seals bodies: AES-256-GCM with a key per message, wrapped by the authority's key from a key file. The
// sealed body is bound to the message id, so that no body can be passed off as another's.
package spool

import "io/fs"

// Keys are the authority keys of one key file: the newest seals, all open. Safe for concurrent use.
type Keys struct{ ring }
type ring struct{}

// Load reads a key file. It refuses a file that others may read (mode & 077).
func Load(path string) (*Keys, error) { panic("contract") }

// Create makes a key file with one fresh key, mode 0600; it never overwrites (fs.ErrExist).
func Create(path string) (*Keys, error) { panic("contract") }

// Rotate adds a fresh key to the file (written aside, synced, renamed) and returns the keys with it as the newest.
func Rotate(path string) (*Keys, error) { panic("contract") }

// Newest returns the id of the key that seals: 8 lower-case hex digits derived from the key.
func (k *Keys) Newest() string { panic("contract") }

// IDs returns all key ids, oldest first.
func (k *Keys) IDs() []string { panic("contract") }

// Seal encrypts the concatenation of parts for the message id; one allocation of the final size.
func (k *Keys) Seal(id string, parts ...[]byte) ([]byte, error) { panic("contract") }

// Open decrypts what Seal made for the same id. ErrKey: sealed with a key that is not in the file.
func (k *Keys) Open(id string, sealed []byte) ([]byte, error) { panic("contract") }

// MAC returns a keyed hash of s (16 bytes, hex) that does not change with rotation of the keys: the oldest key makes it.
func (k *Keys) MAC(s string) string { panic("contract") }

var _ = fs.ErrExist
