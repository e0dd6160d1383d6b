package main

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postvagt/internal/pgtest"
)

// scriptServer is a PostgreSQL server behind an address that stays the same when the server is replaced, as a name in DNS or a virtual
// address does.
type scriptServer struct {
	now    *pgtest.Server
	backup pgtest.Backup

	mu    sync.Mutex
	port  int // 0: nobody answers
	conns map[net.Conn]bool
}

const scriptDatabase = "postgres"

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	s := &scriptServer{now: pgtest.Start(st.t, pgtest.Archiving()...), conns: map[net.Conn]bool{}}
	s.port = s.now.Port
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(l) })
	ts.Defer(func() {
		l.Close()
		s.to(0)
		serving.Wait()
	})
	if st.server == nil {
		st.server = map[string]*scriptServer{}
	}
	st.server[args[0]] = s
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv(args[0], strings.Replace(s.now.DSN(scriptDatabase), ":"+strconv.Itoa(s.now.Port)+"/", ":"+port+"/", 1))
}

// serve hands connections through to the server of the moment.
func (s *scriptServer) serve(l net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { s.through(in) })
	}
}

func (s *scriptServer) through(in net.Conn) {
	defer in.Close()
	s.mu.Lock()
	port := s.port
	out, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil || port == 0 {
		s.mu.Unlock()
		return
	}
	s.conns[in], s.conns[out] = true, true
	s.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(out, in); out.Close(); in.Close() })
	both.Go(func() { io.Copy(in, out); out.Close(); in.Close() })
	both.Wait()
	s.mu.Lock()
	delete(s.conns, in)
	delete(s.conns, out)
	s.mu.Unlock()
}

// to cuts all connections, and leads new ones to the port.
func (s *scriptServer) to(port int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.port = port
	for c := range s.conns {
		c.Close()
	}
}

func cmdBaseBackup(ts *testscript.TestScript, neg bool, args []string) {
	s := stageOf(ts).server[args[0]]
	var err error
	s.backup, err = s.now.Backup()
	ts.Check(err)
}

func cmdMoment(ts *testscript.TestScript, neg bool, args []string) {
	time.Sleep(50 * time.Millisecond) // what was committed before is before it, by the server's clock too
	ts.Setenv(args[0], time.Now().UTC().Format(time.RFC3339Nano))
	time.Sleep(50 * time.Millisecond)
}

func cmdRestore(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	s := st.server[args[0]]
	until, err := time.Parse(time.RFC3339Nano, ts.Getenv(args[1]))
	ts.Check(err)
	ts.Check(s.now.Flush())
	s.to(0)
	ts.Check(s.now.Stop())
	s.now = s.backup.Restore(st.t, until)
	s.to(s.now.Port)
}
