package offload

import (
	"bytes"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/spool"
)

func TestReference(t *testing.T) {
	id := ledger.NewMessageID()
	r := refer(id, 1, []byte("sealed"))
	got, err := parseReference(r.bytes())
	if err != nil || got != r || got.name.message != id || got.name.body != 1 || got.size != 6 {
		t.Fatalf("got %+v, %v, want %+v", got, err, r)
	}
	if d := time.Since(madeAt(r.name.stamp)); d < 0 || d > time.Minute {
		t.Errorf("the stamp is %v old", d)
	}
	if err := r.matches([]byte("sealed")); err != nil {
		t.Error(err)
	}
	whole := r.bytes()
	bad := map[string][]byte{"nothing": nil, "magic": []byte(magic), "cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 'a')}
	for what, at := range map[string]int{"another version": 4, "another kind": 5, "too large": 6, "another slash": headSize + idSize, "no body": headSize + idSize + 1} {
		b := bytes.Clone(whole)
		b[at] = 0x7f
		bad[what] = b
	}
	for what, b := range bad {
		if r, err := parseReference(b); err == nil {
			t.Errorf("%s: taken as %+v", what, r)
		}
	}
}

// FuzzReference: a reference has one spelling, and nothing that is sealed can be one.
func FuzzReference(f *testing.F) {
	f.Add(refer(ledger.NewMessageID(), 0, []byte("sealed")).bytes())
	f.Add([]byte(magic))
	f.Add([]byte("\x01sealed"))
	f.Add([]byte("\x00ref\x01o"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if isReference(data) && spool.SealedBy(data) != "" {
			t.Fatal("sealed, and a reference")
		}
		r, err := parseReference(data)
		if err != nil {
			return
		}
		if !bytes.Equal(r.bytes(), data) {
			t.Fatalf("%q is written as %q", data, r.bytes())
		}
		if r.size < 0 || r.size > mostBytes || !validID(r.name.message) || !validID(r.name.stamp) || r.name.body < 0 || r.name.body > 1 {
			t.Fatalf("%+v", r)
		}
	})
}

// FuzzName: a name has one spelling, and its times can always be told.
func FuzzName(f *testing.F) {
	id := ledger.NewMessageID()
	f.Add(name{id, 0, id}.String())
	f.Add("installation")
	f.Add(string(id) + "/2-" + string(id))
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Fatalf("%q is written as %q", s, n)
		}
		madeAt(n.message)
		madeAt(n.stamp)
	})
}
