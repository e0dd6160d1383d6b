package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite expected files; review the difference like code")

// TestMistakes reads each sample of a mistake and compares what is said of it with the .want file beside it.
func TestMistakes(t *testing.T) {
	eachSample(t, "testdata/mistakes", func(t *testing.T, name string, data []byte) string {
		c, err := Parse(name, data)
		var ms Mistakes
		if !errors.As(err, &ms) || len(ms) == 0 || c != nil {
			t.Fatalf("got %v, want mistakes and no configuration", err)
		}
		for i, m := range ms {
			if m.File != name || m.What == "" || i > 0 && m.Line < ms[i-1].Line {
				t.Errorf("mistake %+v has no file or text, or stands out of order", m)
			}
		}
		return ms.Error() + "\n"
	})
}

// TestWarnings does the same for what is allowed but should be known.
func TestWarnings(t *testing.T) {
	eachSample(t, "testdata/warnings", func(t *testing.T, name string, data []byte) string {
		c, err := Parse(name, data)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(append(c.Warnings, ""), "\n")
	})
}

func eachSample(t *testing.T, dir string, say func(t *testing.T, name string, data []byte) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples in %s: %v", dir, err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".want", say(t, name, data))
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}
