package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestDetectJSONL(t *testing.T) {
	in := "{\"text\": \"010170-5000\"}\n{\"text\":\"intet\"}\n{\"text\":\"æ: 010170 5000 og 010171-5000\"}"
	var out bytes.Buffer
	if err := detectJSONL(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want 3:\n%s", len(lines), out.String())
	}
	for i, want := range []string{`{"findings":[{"kind":"cpr","start":0,"end":11,"confidence":`, `{"findings":[]}`, `"start":4,"end":15`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: got %s, want it to hold %s", i+1, lines[i], want)
		}
	}
	if !strings.Contains(lines[0], `"masked":"010170-••••"`) {
		t.Errorf("got %s, want a masked form", lines[0])
	}
}

func TestDetectJSONLBadLine(t *testing.T) {
	for _, bad := range []string{"", "{", `{"tekst":"x"}`, `["010170-5000"]`, `{"text":5}`, `{"text":null}`, `010170-5000`} {
		var out bytes.Buffer
		err := detectJSONL(strings.NewReader("{\"text\":\"a\"}\n"+bad+"\n{\"text\":\"b\"}\n"), &out)
		if err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q: got error %v, want one that names line 2", bad, err)
		}
		if err != nil && strings.Contains(err.Error(), "5000") {
			t.Errorf("%q: the error repeats what stands on the line: %v", bad, err)
		}
		if out.String() != "{\"findings\":[]}\n" {
			t.Errorf("%q: got output %q, want the findings of line 1", bad, out.String())
		}
	}
}
