package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"postvagt/internal/lab"
)

// A full disk: nothing is accepted that is not durable, the program stays up, and it goes on once there is room.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount the small disk this test fills: run it as root")
	}
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := newScene(t, dir)
	s.sink.Away.Store(true)
	s.sink.Gentle.Store(true)
	filler := filepath.Join(dir, "filler")
	p := s.start(t)
	accept := func(from, n int) (refused string) {
		for i := from; i < from+n; i++ {
			number := fmt.Sprintf("disk-%d", i)
			id, err := lab.Send(s.addr, number, "modtager@borger.example")
			s.load.Note(number, id, err)
			if err != nil {
				return err.Error()
			}
		}
		return ""
	}
	if r := accept(0, 50); r != "" {
		t.Fatalf("refused on an empty disk: %s", r)
	}
	fill(t, filler)
	refused := accept(1000, 20_000)
	if !strings.HasPrefix(refused, "4") {
		t.Fatalf("on a full disk the client is told %q, want a 4yz reply (law 1)", refused)
	}
	for range 20 { // it stays that way, and stays up
		if r := accept(30_000, 1); r != "" && !strings.HasPrefix(r, "4") {
			t.Fatalf("then %q", r)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if r := accept(50_000, 50); r != "" {
		t.Fatalf("refused after there is room again: %s\n%s", r, p.Log())
	}
	s.sink.Away.Store(false)
	s.settle(t, p)
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
