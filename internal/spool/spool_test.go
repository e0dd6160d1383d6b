package spool

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func testKeys(t testing.TB) (*Keys, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	k, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func TestSealOpen(t *testing.T) {
	k, _ := testKeys(t)
	for _, parts := range [][][]byte{nil, {{}}, {[]byte("a")}, {[]byte("Received: x\r\n"), nil, []byte("body")}, {make([]byte, 300<<10)}} {
		want := bytes.Join(parts, nil)
		sealed, err := k.Seal("m1", parts...)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(want)+Overhead || cap(sealed) > len(sealed)+len(sealed)/4+64 {
			t.Errorf("%d bytes: sealed %d, room for %d", len(want), len(sealed), cap(sealed))
		}
		if len(want) > 10 && bytes.Contains(sealed, want) {
			t.Error("the body stands there in the clear")
		}
		got, err := k.Open("m1", sealed)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("opened %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
}

// TestSealedIsBound: another id, another key and every changed or missing byte is an error.
func TestSealedIsBound(t *testing.T) {
	k, _ := testKeys(t)
	other, _ := testKeys(t)
	sealed, err := k.Seal("m1", []byte("Kære borger"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open("m2", sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another id: %v", err)
	}
	if _, err := other.Open("m1", sealed); !errors.Is(err, ErrKey) {
		t.Errorf("another key: %v", err)
	}
	for i := range sealed {
		damaged := slices.Clone(sealed)
		damaged[i] ^= 0x40
		if _, err := k.Open("m1", damaged); err == nil {
			t.Errorf("byte %d changed: opened", i)
		}
		if _, err := k.Open("m1", sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := k.Open("m1", append(slices.Clone(sealed), 0)); !errors.Is(err, ErrSealed) {
		t.Errorf("a byte more: %v", err)
	}
	again, err := k.Seal("m1", []byte("Kære borger"))
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("sealing twice gives the same: %v", err)
	}
}

// TestSealAllocates: one allocation holds the sealed body, however many parts there are.
func TestSealAllocates(t *testing.T) {
	k, _ := testKeys(t)
	body := make([]byte, 1<<20)
	r := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := k.Seal("m1", body[:10], body); err != nil {
				b.Fatal(err)
			}
		}
	})
	if got := r.AllocedBytesPerOp(); got > 1<<20+64<<10 {
		t.Errorf("%d bytes allocated for %d", got, len(body))
	}
}

func TestRotate(t *testing.T) {
	k, path := testKeys(t)
	sealed, err := k.Seal("m1", []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	// A remark of the operator's, and a last line without its end, stay as they are.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "# copied to the safe on Monday"...), 0o600); err != nil {
		t.Fatal(err)
	}
	two, err := Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	if ids := two.IDs(); len(ids) != 2 || ids[0] != k.Newest() || ids[1] != two.Newest() || two.Newest() == k.Newest() {
		t.Errorf("ids: %v, first %s", ids, k.Newest())
	}
	loaded, err := Load(path)
	if err != nil || !slices.Equal(loaded.IDs(), two.IDs()) {
		t.Fatalf("loaded %v, %v", loaded, err)
	}
	if body, err := loaded.Open("m1", sealed); err != nil || string(body) != "body" {
		t.Errorf("opened with the old key: %q, %v", body, err)
	}
	if SealedBy(sealed) != k.Newest() {
		t.Errorf("sealed by %s, want %s", SealedBy(sealed), k.Newest())
	}
	fresh, err := loaded.Seal("m1", []byte("body"))
	if err != nil || SealedBy(fresh) != two.Newest() {
		t.Errorf("sealed by %s, %v, want %s", SealedBy(fresh), err, two.Newest())
	}
	if body, err := k.Open("m1", fresh); err != nil || string(body) != "body" {
		t.Errorf("keys loaded before the rotation open what the new key sealed as %q, %v", body, err)
	}
	if k.MAC("x") != loaded.MAC("x") || k.MAC("x") == k.MAC("y") || len(k.MAC("x")) != 32 {
		t.Errorf("MAC: %s, %s", k.MAC("x"), loaded.MAC("x"))
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "# copied to the safe on Monday\n") {
		t.Errorf("the remark is gone: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, f := range []string{path} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode: %v, %v", info, err)
		}
	}
}

func TestCreateKeepsWhatIsThere(t *testing.T) {
	_, path := testKeys(t)
	before, _ := os.ReadFile(path)
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestLoadRefuses(t *testing.T) {
	_, path := testKeys(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSpace(string(text)), "\n")
	good := lines[len(lines)-1]
	words := strings.Fields(good)
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	tests := map[string]struct {
		text, want string
		mode       fs.FileMode
	}{
		"readable for others": {good, "chmod 600", 0o640},
		"empty":               {"", "holds no key", 0o600},
		"only remarks":        {"# nothing\n\n", "holds no key", 0o600},
		"another word":        {"# one\nsome-key " + words[1], ":2: the line does not begin with postvagt-key-1", 0o600},
		"too few words":       {strings.Join(words[:3], " "), ":1: the line has 3 words", 0o600},
		"another key's id":    {strings.Join([]string{words[0], words[1], secret, words[3]}, " "), ":1: the key is damaged", 0o600},
		"short key":           {strings.Join([]string{words[0], words[1], "AAAA", words[3]}, " "), ":1: the key is not 32 bytes", 0o600},
		"no base64":           {strings.Join([]string{words[0], words[1], "!", words[3]}, " "), ":1: the key is not 32 bytes", 0o600},
		"no time":             {strings.Join(words[:3], " ") + " yesterday", ":1: the time", 0o600},
		"twice":               {good + "\n" + good, ":2: the key " + words[1] + " stands above already", 0o600},
	}
	for name, test := range tests {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q and the file's name", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), words[2]) {
			t.Errorf("%s: the error shows a key", name)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory was taken for a key file")
	}
}

func FuzzOpen(f *testing.F) {
	k, _ := testKeys(f)
	sealed, err := k.Seal("m1", []byte("body"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range [][]byte{nil, {1}, sealed, sealed[:Overhead], append(slices.Clone(sealed), 0), make([]byte, 200)} {
		f.Add("m1", s)
		f.Add("", s)
	}
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		body, err := k.Open(id, data)
		if err == nil && (id != "m1" || !bytes.Equal(data, sealed)) {
			t.Errorf("opened %q, which nobody sealed for %q", body, id)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	k, err := newKey(bytes.Repeat([]byte{7}, keySize), time.Unix(1767225600, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(k.line()))
	f.Add([]byte(fileHead + k.line() + k.line()))
	f.Add([]byte("# remark\r\n\r\n" + k.line()))
	f.Add([]byte(lineWord + " x y z"))
	f.Add([]byte(strings.Replace(k.line(), "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", 1))) // year 10000 in UTC
	f.Add([]byte{0xff, '\n'})
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parse("keys", data)
		if err != nil {
			return
		}
		var text []byte
		for _, k := range keys {
			text = append(text, k.line()...)
		}
		again, err := parse("keys", text)
		if err != nil || len(again) != len(keys) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		for i := range keys {
			if again[i].id != keys[i].id || !bytes.Equal(again[i].secret, keys[i].secret) {
				t.Errorf("key %d changed", i)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, _ := testKeys(b)
	body := make([]byte, 100<<10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal("m1", body); err != nil {
			b.Fatal(err)
		}
	}
}
