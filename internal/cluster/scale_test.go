package cluster

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/lab"
	"postvagt/internal/pgtest"
	"postvagt/internal/spool"
)

// sessions is how many clients send at once, to all nodes together.
const sessions = 60

// BenchmarkScale relays b.N messages through one, two and three nodes over one database, all on this machine, a new connection for
// each, and says what that cost in the nodes and in the database. bench/scale runs it and prints a table.
func BenchmarkScale(b *testing.B) {
	binary := lab.Build(b)
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, c := range []struct {
			nodes   int
			standby bool
		}{{1, false}, {2, false}, {3, false}, {3, true}} {
			name := fmt.Sprintf("bytes=%d/nodes=%d", size, c.nodes)
			if c.standby {
				name += "/standby"
			}
			b.Run(name, func(b *testing.B) {
				if b.N == 1 {
					return // the benchmark's first look; it is no figure
				}
				scale(b, binary, size, c.nodes, c.standby)
			})
		}
	}
}

func scale(b *testing.B, binary string, size, nodes int, standby bool) {
	out, err := exec.Command("../../bench/make-message.sh", strconv.Itoa(size), "text").Output()
	if err != nil {
		b.Fatal(err)
	}
	message := bytes.ReplaceAll(out, []byte("\n"), []byte("\r\n"))
	drain := newDrain(b)
	dir := b.TempDir()
	if _, err := spool.Create(filepath.Join(dir, "keys")); err != nil {
		b.Fatal(err)
	}
	// What a server of its own would be given; durability is as it comes: fsync, synchronous_commit and full_page_writes are on.
	server := pgtest.Start(b, "shared_buffers = 512MB", "max_wal_size = 4GB", "wal_compression = on")
	servers := []*pgtest.Server{server}
	if err := server.Exec("CREATE DATABASE ledger"); err != nil {
		b.Fatal(err)
	}
	if standby {
		servers = append(servers, server.Standby(b))
	}
	var all []*lab.Process
	var addrs []string
	for i := range nodes {
		addr, config := lab.FreeAddr(b), filepath.Join(dir, fmt.Sprintf("node%d.yaml", i+1))
		err := os.WriteFile(config, fmt.Appendf(nil, `
host: vagt%d.eksempel.example
node: vagt%d
authorities: [{name: Eksempel Kommune, domains: [kommune.example], safety_net: net@kommune.example}]
listen: {smtp: %q}
trusted: [127.0.0.0/8]
store: {postgres: %q, keys: %q}
log: {level: warn}
delivery: {concurrency: 60}
routes: [{to: "*", smarthost: %q, level: cleartext}]
`, i+1, i+1, addr, server.DSN("ledger"), filepath.Join(dir, "keys"), drain.l.Addr()), 0o600)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, lab.Start(b, binary, config, addr))
		addrs = append(addrs, addr)
	}
	time.Sleep(dead + 4*time.Second)    // until each has its part of the limit towards the next hop
	pump(b, addrs, message, 200, drain) // connections, plans and caches
	settled(b, server)
	rowsBefore, keptBefore := held(b, server)
	before := measure(b, all, servers)
	b.ResetTimer()
	pump(b, addrs, message, b.N, drain)
	b.StopTimer()
	during := measure(b, all, servers).minus(before)
	settled(b, server)
	used := measure(b, all, servers).minus(before)
	for _, p := range all {
		p.Stop(b)
		for _, line := range p.Complaints("level=ERROR", "panic") {
			b.Errorf("a node says: %s", line)
		}
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(used.nodes.Seconds()/n*1000, "node-s/1000")
	b.ReportMetric(used.database.Seconds()/n*1000, "db-s/1000")
	b.ReportMetric(used.test.Seconds()/n*1000, "load-s/1000")
	b.ReportMetric(during.busy.Seconds()/b.Elapsed().Seconds(), "cores-busy")
	b.ReportMetric((during.busy-during.nodes-during.database-during.test).Seconds()/b.Elapsed().Seconds(), "cores-others")
	b.ReportMetric(used.flushes/n, "flushes/op")
	b.ReportMetric(used.wal/n, "wal-B/op")
	rows, kept := held(b, server)
	b.ReportMetric((rows-rowsBefore)/n, "rows/op")
	b.ReportMetric((kept-keptBefore)/n, "kept-B/op")
}

// drainTime is how long mail may be on its way before the benchmark gives up.
const drainTime = 5 * time.Minute

// pump hands in n messages over all sessions and waits until all have come out at the other end.
func pump(b *testing.B, addrs []string, message []byte, n int, d *drain) {
	b.Helper()
	want := d.got.Load() + int64(n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range sessions {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				for tries := 0; ; tries++ {
					err := hand(addrs[w%len(addrs)], message)
					if err == nil {
						break
					}
					if tries == 20 {
						b.Errorf("a node refuses: %v", err)
						d.got.Add(1)
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(drainTime); d.got.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d messages are still on their way", want-d.got.Load())
		}
	}
}

// hand is a client of few instructions: the machine is to be measured, not it.
func hand(addr string, message []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	for _, step := range []struct {
		line string
		want byte
	}{{"", '2'}, {"HELO bench.example\r\n", '2'}, {"MAIL FROM:<post@kommune.example>\r\n", '2'}, {"RCPT TO:<modtager@styrelse.example>\r\n", '2'}, {"DATA\r\n", '3'}, {"\r\n.\r\n", '2'}} {
		if step.line == "\r\n.\r\n" {
			if _, err := c.Write(message); err != nil {
				return err
			}
			step.line = ".\r\n" // the message ends in a line end
		}
		if _, err := c.Write([]byte(step.line)); err != nil {
			return err
		}
		reply, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if reply[0] != step.want {
			return lab.Refusal{Line: strings.TrimSpace(reply)}
		}
	}
	return nil
}

// drain is a next hop of few instructions.
type drain struct {
	l   net.Listener
	got atomic.Int64
}

func newDrain(b *testing.B) *drain {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	d := &drain{l: l}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
	return d
}

func (d *drain) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	say := func(line string) { c.Write([]byte(line + "\r\n")) }
	say("220 drain.example")
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch word := string(bytes.ToUpper(line[:min(4, len(line))])); word {
		case "DATA":
			say("354 Go on")
			for {
				line, err := in.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if string(line) == ".\r\n" {
					break
				}
			}
			d.got.Add(1)
			say("250 Taken")
		case "QUIT":
			say("221 Bye")
			return
		default:
			say("250 drain.example")
		}
	}
}

// usage is what has been used up to a moment.
type usage struct {
	nodes, database, test, busy time.Duration // processor time; busy is the whole machine's
	flushes, wal                float64       // of the primary; wal in bytes
}

func (u usage) minus(v usage) usage {
	return usage{u.nodes - v.nodes, u.database - v.database, u.test - v.test, u.busy - v.busy, u.flushes - v.flushes, u.wal - v.wal}
}

func measure(b *testing.B, nodes []*lab.Process, servers []*pgtest.Server) (u usage) {
	b.Helper()
	for _, p := range nodes {
		u.nodes += spent(p.Pid())
	}
	for _, s := range servers {
		for _, pid := range s.Processes() {
			u.database += spent(pid)
		}
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	u.test = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	u.busy = machine(b)
	ask(b, servers[0], "SELECT wal_sync::float8, wal_bytes::float8 FROM pg_stat_wal", &u.flushes, &u.wal)
	return u
}

// tick is the kernel's unit of processor time in /proc (USER_HZ).
const tick = 10 * time.Millisecond

// spent is the processor time of a process, and of its children that have ended.
func spent(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended, and its parent has its time
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return ticks(strings.Fields(rest)[11:15])
}

func ticks(fields []string) (d time.Duration) {
	for _, f := range fields {
		n, err := strconv.Atoi(f)
		if err == nil {
			d += time.Duration(n) * tick
		}
	}
	return d
}

// machine is the time that the machine's processors were not idle.
func machine(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)[1:] // user nice system idle iowait irq softirq steal
	return ticks(f[:3]) + ticks(f[5:8])
}

func ask(b *testing.B, s *pgtest.Server, query string, into ...any) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), s.DSN("ledger"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	if err := conn.QueryRow(b.Context(), query).Scan(into...); err != nil {
		b.Fatal(err)
	}
}

// settled waits until everything that was delivered is also recorded, and what was recorded is in the statistics.
func settled(b *testing.B, s *pgtest.Server) {
	b.Helper()
	for range 600 {
		var open int
		if ask(b, s, "SELECT count(*) FROM delivery WHERE state IN ('queued', 'held', 'returning')", &open); open == 0 {
			time.Sleep(1500 * time.Millisecond) // the chain's next seal; and sessions report once a second
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Error("not everything is recorded")
}

// held is what stays in the database: rows, and bytes with indexes once the room of dropped bodies may be used again.
func held(b *testing.B, s *pgtest.Server) (rows, bytes float64) {
	b.Helper()
	if out, err := exec.Command("psql", s.DSN("ledger"), "-qc", "VACUUM (FULL, ANALYZE)").CombinedOutput(); err != nil {
		b.Fatalf("vacuum: %v\n%s", err, out)
	}
	ask(b, s, `SELECT sum(greatest(c.reltuples, 0))::float8, sum(pg_total_relation_size(c.oid))::float8
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`, &rows, &bytes)
	return rows, bytes
}
