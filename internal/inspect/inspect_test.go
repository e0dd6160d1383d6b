package inspect

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postvagt/internal/mail"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestCorpus runs mail that nobody here wrote through the inspection: no panic, and each within a second.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("POSTVAGT_CORPORA")
	if dir == "" {
		t.Skip("POSTVAGT_CORPORA is not set")
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		began := time.Now()
		r := Message(mail.Parse(raw, mail.Limits{}), now, Options{})
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: took %v", filepath.Base(path), took)
		}
		for _, f := range r.Findings {
			if f.Why == "the reader failed" || f.Why == "the reader failed on this part" {
				t.Errorf("%s: %s", filepath.Base(path), f.Why)
			}
			if testing.Verbose() {
				t.Logf("%s: %+v", filepath.Base(path), f)
			}
		}
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages", n)
}

// A number that people wrote somewhere in a mail counts wherever else it stands, in fields that machines fill in too; without it
// the same digits there are just digits.
func TestMachineFieldsRepeatWhatPeopleWrote(t *testing.T) {
	const field = "X-MS-Exchange-Foo"
	for _, c := range []struct {
		head, body string
		want       bool
	}{
		{"X-MS-Exchange-Foo: a 0101705000 b\r\nSubject: Borger 010170-5000\r\n", "Hej", true},
		{"Subject: Borger\r\nX-MS-Exchange-Foo: a 0101705000 b\r\n", "Vedr. 010170-5000", true},
		{"Subject: Borger\r\nX-MS-Exchange-Foo: a 0101705000 b\r\n", "Vedr. 010171-5000", false},
		{"Subject: Borger\r\nX-MS-Exchange-Foo: a 0101705000 b\r\nX-Spam-Report: 0101705000\r\n", "Hej", false},
	} {
		r := Message(mail.Parse([]byte(c.head+"\r\n"+c.body+"\r\n"), mail.Limits{}), now, Options{})
		got := false
		for _, f := range r.Findings {
			got = got || f.Place.Name == field && f.Confidence >= 0.5
		}
		if got != c.want {
			t.Errorf("%q %q: counted %v, want %v (%+v)", c.head, c.body, got, c.want, r.Findings)
		}
	}
}
