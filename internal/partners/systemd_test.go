package partners

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The units that the package installs are what systemd takes them to be.
func TestUnits(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	var units []string
	for _, pattern := range []string{"*.service", "*.socket", "*.timer"} {
		files, err := filepath.Glob("../../packaging/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			// verify wants to find the program, which is not installed here.
			text := strings.ReplaceAll(string(b), "/usr/bin/postvagt", program)
			units = append(units, write(t, filepath.Join(dir, filepath.Base(f)), text))
		}
	}
	if len(units) < 6 {
		t.Fatalf("only %d units: %q", len(units), units)
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no", "--recursive-errors=one"}, units...)...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", filepath.Join(dir, "postvagt.service")).CombinedOutput()
	if err != nil { // exposure 2.0 or more
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// systemd holds the socket: the program is started by the first connection, which then finds it answering.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	activate := need(t, "systemd-socket-activate", "systemd")
	hop := (&peer{}).start(t)
	g := newGuard(t, "", authority+fmt.Sprintf("routes: [{to: \"*\", smarthost: %q, level: cleartext}]\n", hop.addr))
	elsewhere := freeAddr(t) // not the address in the configuration: the socket handed over wins
	g.cmd = exec.Command(activate, "--listen="+elsewhere, "--fdname=smtp", program, "serve", "--config", g.config)
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	eventually(t, "the socket is there", func() bool {
		c, err := net.Dial("tcp", elsewhere)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	id = hand(t, elsewhere, mailing{from: anna, to: []string{bo}, message: letter("activated", "Kære Bo\r\n")})
	g.until(t, id, "delivered", 1)
	if c, err := net.Dial("tcp", g.smtp); err == nil {
		c.Close()
		t.Errorf("it listens on %s of the configuration, too", g.smtp)
	}
	g.stop(t)
}

// The service manager is told when mail can be accepted, that the program is alive, and that it stops.
func TestNotifySocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pv") // short, as a socket's path must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	heard := func() string {
		b := make([]byte, 1024)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	g := newGuard(t, "", authority)
	g.cmd = exec.Command(program, "serve", "--config", g.config)
	g.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=600000")
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := heard(); got != "READY=1" {
		t.Fatalf("first it says %q, want READY=1", got)
	}
	d, err := dial(g.smtp) // ready means ready
	if err != nil {
		t.Fatal(err)
	}
	d.c.Close()
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("then it says %q, want WATCHDOG=1", got)
	}
	g.cmd.Process.Signal(syscall.SIGTERM)
	got := heard()
	for got == "WATCHDOG=1" {
		got = heard()
	}
	if got != "STOPPING=1" {
		t.Errorf("at last it says %q, want STOPPING=1", got)
	}
	g.ended(t)
}

// A stop by SIGTERM under load, several times over: every message that got its 250 arrives, once.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	hop := (&peer{}).start(t)
	g := newGuard(t, "", authority+fmt.Sprintf("delivery: {retry: [1s]}\nroutes: [{to: \"*\", smarthost: %q, level: cleartext}]\n", hop.addr)).start(t)
	var mu sync.Mutex
	accepted := map[string]bool{}
	enough := make(chan struct{})
	var load sync.WaitGroup
	for worker := range 6 {
		load.Go(func() {
			for n := 0; ; {
				select {
				case <-enough:
					return
				default:
				}
				d, err := dial(g.smtp)
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				for err == nil && n%7 != 6 {
					number := fmt.Sprintf("load-%d-%d", worker, n)
					if _, err = d.send(mailing{from: anna, to: []string{bo}, message: letter(number, strings.Repeat("Tekst.\r\n", 2000))}); err == nil {
						mu.Lock()
						accepted[number] = true
						mu.Unlock()
					} else if !strings.Contains(err.Error(), "421") && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
						t.Errorf("%s: %v", number, err)
					}
					n++
				}
				n++
				d.c.Close()
			}
		})
	}
	for range 4 {
		time.Sleep(300 * time.Millisecond) // of load; where it is cut must not matter
		g.stop(t)
		g.start(t)
	}
	close(enough)
	load.Wait()
	g.settled(t)
	lines, _, _ := hop.lines()
	copies := map[string]int{}
	for _, line := range lines {
		if n, ok := strings.CutPrefix(line, "Number: "); ok {
			copies[n]++
		}
	}
	if len(accepted) < 20 {
		t.Errorf("only %d messages were accepted: that is no load", len(accepted))
	}
	for n := range accepted {
		if copies[n] != 1 {
			t.Errorf("%s had its 250 and arrived %d times", n, copies[n])
		}
	}
	for n, c := range copies {
		if c != 1 {
			t.Errorf("%s arrived %d times", n, c)
		}
	}
	t.Logf("%d accepted, %d arrived", len(accepted), len(copies))
}
