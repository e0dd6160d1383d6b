package repair

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/inspect"
	"postvagt/internal/mail"
)

var update = flag.Bool("update", false, "write the .out files of testdata anew")

// testDay bounds birth dates in all tests.
var testDay = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func testOptions() Options {
	return Options{Authority: "Eksempel Kommune", Boundary: func() string { return "wrapping" }, Now: testDay}
}

func findingsOf(m *mail.Message) []detect.Finding {
	return inspect.Message(m, testDay, inspect.Options{}).Findings
}

// TestGolden runs the mail cases of testdata: NAME.in becomes NAME.out, and NAME.why says what it is about. The files
// have bare line ends for the sake of editors; the messages have CRLF.
func TestGolden(t *testing.T) {
	ins, err := filepath.Glob("testdata/*.in")
	if err != nil || len(ins) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, in := range ins {
		base := strings.TrimSuffix(in, ".in")
		t.Run(filepath.Base(base), func(t *testing.T) {
			t.Parallel()
			if why, err := os.ReadFile(base + ".why"); err != nil || len(bytes.TrimSpace(why)) == 0 {
				t.Errorf("no reason given: %v", err)
			}
			raw, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			raw = crlf(raw)
			m := mail.Parse(raw, mail.Limits{})
			got := golden(t, m)
			if *update {
				if err := os.WriteFile(base+".out", got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(base + ".out")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// golden repairs m and returns what .out holds: the repaired message, or why there is none.
func golden(t *testing.T, m *mail.Message) []byte {
	t.Helper()
	findings := findingsOf(m)
	plan := Able(m, findings)
	out, changes, err := Repair(m, findings, testOptions())
	if !plan.Possible {
		if plan.Obstacle != ObstacleAddress && plan.Obstacle != ObstacleNothing && !errors.Is(err, ErrImpossible) {
			t.Errorf("Able says %q and Repair %v", plan.Obstacle, err)
		}
		return []byte("refused: " + plan.Obstacle + "\n")
	}
	if err != nil {
		t.Fatalf("Able says yes and Repair: %v", err)
	}
	for _, c := range changes {
		if !c.Place.Readable() || c.Masked == "" || !strings.Contains(c.Masked, "•") {
			t.Errorf("change %+v", c)
		}
	}
	if bytes.Contains(bytes.ReplaceAll(out, []byte("\r\n"), nil), []byte("\n")) {
		t.Error("bare line end in the result")
	}
	again(t, out)
	return bytes.ReplaceAll(out, []byte("\r\n"), []byte("\n"))
}

// again checks that a repaired message needs no second repair.
func again(t *testing.T, out []byte) {
	t.Helper()
	m := mail.Parse(out, mail.Limits{})
	findings := findingsOf(m)
	if plan := Able(m, findings); plan.Possible {
		t.Errorf("a repaired message can be repaired once more")
	}
	twice, changes, err := Repair(m, findings, testOptions())
	if plan := Able(m, findings); plan.Obstacle == ObstacleNothing && (err != nil || len(changes) > 0 || !bytes.Equal(twice, out)) {
		t.Errorf("the second repair: %v, %d changes", err, len(changes))
	}
}

func crlf(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}
