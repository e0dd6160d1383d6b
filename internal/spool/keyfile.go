package spool

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The key file holds one key per line, oldest first. Empty lines and lines that begin with # are comments.
//
//	postvagt-key-1 <id, 8 hex digits> <base64 of 32 bytes> <created, RFC 3339>
const lineWord = "postvagt-key-1"

const fileHead = `# Postvagt's keys. Without this file no stored mail can be read again: keep a copy in a safe place,
# apart from the copies of the ledger. Never take a key out while the ledger holds mail sealed with it.
`

// Load reads a key file. It refuses a file that others may read (mode & 077).
func Load(path string) (*Keys, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	keys, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	return newKeysOf(path, keys)
}

func newKeysOf(path string, keys []key) (*Keys, error) {
	k, err := newKeys(keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	k.path = path
	return k, nil
}

// read returns the file's bytes when nobody but its owner may read it. The mode is asked of the open file, so that
// nobody can change it between the question and the reading.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: the key file is not an ordinary file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read or change the key file (mode %04o): run chmod 600 on it", path, mode)
	}
	const most = 1 << 20
	if info.Size() > most {
		return nil, fmt.Errorf("%s: %d bytes are too many for a key file", path, info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return data, nil
}

// parse reads the lines of a key file; its errors name file and line, never what stands there: it may be a key.
func parse(path string, data []byte) ([]key, error) {
	var keys []key
	lines := bufio.NewScanner(bytes.NewReader(data))
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		for _, other := range keys {
			if other.id == k.id {
				return nil, fmt.Errorf("%s:%d: the key %x stands above already: remove this line", path, n, k.id)
			}
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: the file holds no key: bring back the right file from its copy; only if that is lost for good, move this one aside and make a new one with postvagt keys make (what waits now stays sealed)", path)
	}
	return keys, nil
}

func parseLine(line string) (key, error) {
	fields := strings.Fields(line)
	if fields[0] != lineWord {
		return key{}, fmt.Errorf("the line does not begin with %s: it is damaged, or written by a newer postvagt", lineWord)
	}
	if len(fields) != 4 {
		return key{}, fmt.Errorf("the line has %d words, not 4: %s, id, key, time", len(fields), lineWord)
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(fields[2])
	if err != nil || len(secret) != keySize {
		return key{}, errors.New("the key is not 32 bytes in base64")
	}
	created, err := time.Parse(time.RFC3339, fields[3])
	if year := created.UTC().Year(); err != nil || year < 1970 || year > 9999 {
		return key{}, errors.New("the time is not like 2026-01-31T12:00:00Z")
	}
	k, err := newKey(secret, created)
	if err != nil {
		return key{}, err
	}
	if fields[1] != hex.EncodeToString(k.id[:]) {
		return key{}, fmt.Errorf("the key is damaged: its id should be %x", k.id)
	}
	return k, nil
}

// line writes what parseLine reads.
func (k key) line() string {
	return fmt.Sprintf("%s %x %s %s\n", lineWord, k.id, base64.StdEncoding.EncodeToString(k.secret), k.created.Format(time.RFC3339))
}

func freshKey() (key, error) {
	secret := make([]byte, keySize)
	rand.Read(secret)
	return newKey(secret, time.Now())
}

// Create makes a key file with one fresh key, mode 0600; it never overwrites (fs.ErrExist).
func Create(path string) (*Keys, error) {
	k, err := freshKey()
	if err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	// A link refuses an existing name, and so the file appears whole or not at all.
	aside, err := writeAside(path, []byte(fileHead+k.line()))
	if err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	defer os.Remove(aside)
	if err := os.Link(aside, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create key file: %s: %w", path, fs.ErrExist)
		}
		return nil, fmt.Errorf("create key file: %w", err)
	}
	if err := syncDir(path); err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	return newKeysOf(path, []key{k})
}

// Rotate adds a fresh key to the file (written aside, synced, renamed) and returns the keys with it as the newest.
// Every byte that stood in the file stays, comments too.
func Rotate(path string) (*Keys, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	keys, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	k, err := freshKey()
	if err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	aside, err := writeAside(path, append(data, k.line()...))
	if err != nil {
		return nil, fmt.Errorf("rotate keys: %w", err)
	}
	// Dying before the rename leaves the old file; after it, the new one. Nothing has been sealed with the new key yet.
	if err := os.Rename(aside, path); err != nil {
		os.Remove(aside)
		return nil, fmt.Errorf("rotate keys: %w", err)
	}
	if err := syncDir(path); err != nil {
		return nil, fmt.Errorf("rotate keys: %w", err)
	}
	return newKeysOf(path, append(keys, k))
}

// writeAside writes a synced file beside path, mode 0600, and returns its name.
func writeAside(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
