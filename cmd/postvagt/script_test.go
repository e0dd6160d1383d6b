package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postvagt/internal/demo"
	"postvagt/internal/mail"
	"postvagt/internal/pgtest"
)

// The scenarios in testdata/script run the real program against small mail servers. Besides testscript's own commands:
//
//	hop NAME [-tls=HOST] [-closed=ADDRESS,…]   starts a mail server; $NAME is its address, $NAME_ROOTS its certificate
//	hop NAME -busy …, then hop NAME -ready     the same for one that at first asks everybody to come back later
//	database NAME                               makes an empty PostgreSQL database; $NAME is its address
//	server NAME                                 starts a PostgreSQL server that archives its WAL; $NAME is the address of its database
//	base-backup NAME, then restore NAME MOMENT  brings it back as it was at the moment, under the same address
//	moment NAME                                 $NAME is now
//	falls WORDS                                 waits until the guard ends with an error in these words
//	guard [FILE]                                fills variables into postvagt.yaml, or into FILE for it, and starts postvagt serve; $GUARD is its address
//	fill                                        only fills variables into postvagt.yaml
//	stop LOG                                    stops the guard; LOG is its log
//	smtp CODE FROM TO,TO… FILE                  hands FILE over and wants that reply code; $ID is the accepted message
//	becomes RECIPIENT STATE                     waits until $ID's delivery is there
//	arrives HOP ADDRESS FILE [WORD…]            waits for a mail there that holds the words; FILE is its decoded form, FILE.raw the bytes
//	absent HOP ADDRESS                          nothing has arrived there for the address
//	once HOP ADDRESS                            exactly one mail has arrived there for the address
//	waits N                                     waits until $ID's first delivery has ended N attempts
//	notice TELLS                                $NOTICE is the newest notice about $ID that tells this
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, Setup: func(e *testscript.Env) error {
		e.Values[stageKey{}] = &scriptStage{t: t, hops: map[string]*demo.Mailboxes{}}
		return nil
	}})
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"postvagt": main})
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"hop": cmdHop, "guard": cmdGuard, "smtp": cmdSMTP, "becomes": cmdBecomes, "arrives": cmdArrives, "absent": cmdAbsent, "notice": cmdNotice, "waits": cmdWaits,
	"stop": cmdStop, "database": cmdDatabase, "falls": cmdFalls,
	"server": cmdServer, "base-backup": cmdBaseBackup, "restore": cmdRestore, "moment": cmdMoment, "fill": cmdFill, "once": cmdOnce,
}

type stageKey struct{}

// scriptStage is what one script has started.
type scriptStage struct {
	t      *testing.T // of all scripts: what it cleans up outlives each
	hops   map[string]*demo.Mailboxes
	config string    // postvagt.yaml with its variables
	guard  *exec.Cmd // nil: none runs
	server map[string]*scriptServer
	log    *strings.Builder
}

const scriptWait = 20 * time.Second

func stageOf(ts *testscript.TestScript) *scriptStage { return ts.Value(stageKey{}).(*scriptStage) }

func cmdHop(ts *testscript.TestScript, neg bool, args []string) {
	name, host := args[0], ""
	box := &demo.Mailboxes{Closed: map[mail.Address]bool{}}
	for _, a := range args[1:] {
		switch key, value, _ := strings.Cut(a, "="); key {
		case "-tls":
			host = value
		case "-closed":
			for c := range strings.SplitSeq(value, ",") {
				box.Closed[mail.Address(c)] = true
			}
		case "-busy":
			box.Busy.Store(true)
		case "-ready":
			stageOf(ts).hops[name].Busy.Store(false)
			return
		default:
			ts.Fatalf("hop: unknown option %s", a)
		}
	}
	var certificate *tls.Config
	if host != "" {
		dir := ts.MkAbs(name + "-tls")
		ts.Check(os.MkdirAll(dir, 0o700))
		var roots string
		var err error
		certificate, roots, err = demo.SelfSigned(dir, host)
		ts.Check(err)
		ts.Setenv(name+"_ROOTS", roots)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		box.Serve(ctx, l, "hop.example", certificate)
	}()
	ts.Defer(func() { stop(); <-done })
	ts.Setenv(name, l.Addr().String())
	stageOf(ts).hops[name] = box
}

// freeAddress is an address that nobody listens on.
func freeAddress(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}

func cmdGuard(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	addr := freeAddress(ts)
	ts.Setenv("GUARD", addr)
	file := ts.MkAbs("postvagt.yaml")
	if len(args) > 0 {
		st.config = ts.ReadFile(args[0])
	}
	st.fill(ts, file)
	self, err := exec.LookPath("postvagt")
	if p := filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "postvagt"); err != nil {
		self = p
	}
	st.log = &strings.Builder{}
	st.guard = exec.Command(self, "serve", "--config", file)
	st.guard.Stderr = st.log
	ts.Defer(func() { st.stop(ts) })
	ts.Check(st.guard.Start())
	for range 1000 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("the guard does not come up:\n%s", st.log)
}

func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("GUARD", freeAddress(ts))
	stageOf(ts).fill(ts, ts.MkAbs("postvagt.yaml"))
}

// fill writes the configuration with its variables filled in.
func (st *scriptStage) fill(ts *testscript.TestScript, file string) {
	if st.config == "" {
		st.config = ts.ReadFile("postvagt.yaml")
	}
	ts.Check(os.WriteFile(file, []byte(os.Expand(st.config, ts.Getenv)), 0o600))
}

func cmdDatabase(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], pgtest.New(stageOf(ts).t))
}

func cmdFalls(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	ended := make(chan error, 1)
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(st.guard)
	select {
	case err := <-ended:
		st.guard = nil
		if err == nil || !strings.Contains(st.log.String(), args[0]) {
			ts.Fatalf("the guard ended with %v, not with %q:\n%s", err, args[0], st.log)
		}
	case <-time.After(3 * scriptWait):
		st.guard.Process.Kill()
		<-ended
		st.guard = nil
		ts.Fatalf("the guard does not end:\n%s", st.log)
	}
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	st.stop(ts)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(st.log.String()), 0o600))
}

// stop stops the guard, which must end in good order.
func (st *scriptStage) stop(ts *testscript.TestScript) {
	if st.guard == nil {
		return
	}
	cmd := st.guard
	st.guard = nil
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("the guard ended with %v:\n%s", err, st.log)
	}
}

func cmdSMTP(ts *testscript.TestScript, neg bool, args []string) {
	code, from, to, file := args[0], args[1], strings.Split(args[2], ","), args[3]
	body := strings.ReplaceAll(strings.ReplaceAll(ts.ReadFile(file), "\n", "\r\n"), "\r\n.", "\r\n..")
	steps := []string{"", "EHLO script.example", "MAIL FROM:<" + from + ">"}
	for _, r := range to {
		address, notify, ok := strings.Cut(r, "+NOTIFY=")
		line := "RCPT TO:<" + address + ">"
		if ok {
			line += " NOTIFY=" + strings.ReplaceAll(notify, ";", ",")
		}
		steps = append(steps, line)
	}
	steps = append(steps, "DATA", body+".")
	c, err := net.DialTimeout("tcp", ts.Getenv("GUARD"), scriptWait)
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(scriptWait))
	in := bufio.NewReader(c)
	var reply string
	for i, s := range steps {
		if i > 0 {
			_, err := c.Write([]byte(s + "\r\n"))
			ts.Check(err)
		}
		for reply = "   -"; len(reply) > 3 && reply[3] == '-'; {
			reply, err = in.ReadString('\n')
			ts.Check(err)
		}
		if reply[0] > '3' {
			break
		}
	}
	if !strings.HasPrefix(reply, code) {
		ts.Fatalf("the guard answers %q, want %s", reply, code)
	}
	_, id, _ := strings.Cut(strings.TrimSpace(reply), "Accepted as ")
	ts.Setenv("ID", id)
	ts.Setenv("REPLY", strings.TrimSpace(reply))
}

// trace runs postvagt trace $ID --json.
func trace(ts *testscript.TestScript) (story struct {
	Deliveries []struct {
		Recipient, State string
		Attempts         []struct{ No int }
	}
	Notices []struct{ Notice, Tells string }
}) {
	out := &strings.Builder{}
	if code := run([]string{"trace", "--config", ts.MkAbs("postvagt.yaml"), ts.Getenv("ID"), "--json"}, streams{strings.NewReader(""), out, out}); code != 0 {
		ts.Fatalf("trace: %s", out)
	}
	ts.Check(json.Unmarshal([]byte(out.String()), &story))
	return story
}

func cmdBecomes(ts *testscript.TestScript, neg bool, args []string) {
	last := ""
	for end := time.Now().Add(scriptWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, d := range trace(ts).Deliveries {
			if d.Recipient == args[0] {
				if last = d.State; last == args[1] {
					return
				}
			}
		}
	}
	ts.Fatalf("the delivery to %s is %q, not %s", args[0], last, args[1])
}

func cmdWaits(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(scriptWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if d := trace(ts).Deliveries; len(d) > 0 && len(d[0].Attempts) >= n {
			return
		}
	}
	ts.Fatalf("no %s attempts in time", args[0])
}

func cmdNotice(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(scriptWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, n := range trace(ts).Notices {
			if n.Tells == args[0] {
				ts.Setenv("NOTICE", n.Notice)
				return
			}
		}
	}
	ts.Fatalf("no notice tells %s", args[0])
}

func cmdArrives(ts *testscript.TestScript, neg bool, args []string) {
	ctx, stop := context.WithTimeout(context.Background(), scriptWait)
	defer stop()
	got := stageOf(ts).hops[args[0]].Wait(ctx, mail.Address(args[1]), args[3:]...)
	if got == nil {
		ts.Fatalf("nothing arrived at %s for %s with %q", args[0], args[1], args[3:])
	}
	m := mail.Parse(got.Raw, mail.Limits{})
	var b strings.Builder
	fmt.Fprintf(&b, "envelope sender: <%s>\n", got.From)
	for _, f := range m.Root.Fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, m.Decoded(f))
	}
	for _, t := range demo.Texts(m)[1:] {
		fmt.Fprintf(&b, "\n%s\n", strings.ReplaceAll(t, "\r\n", "\n"))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(b.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]+".raw"), got.Raw, 0o600))
}

func cmdAbsent(ts *testscript.TestScript, neg bool, args []string) {
	for _, m := range stageOf(ts).hops[args[0]].All() {
		if m.To == mail.Address(args[1]) {
			ts.Fatalf("a mail for %s arrived at %s", args[1], args[0])
		}
	}
}

func cmdOnce(ts *testscript.TestScript, neg bool, args []string) {
	n := 0
	for _, m := range stageOf(ts).hops[args[0]].All() {
		if m.To == mail.Address(args[1]) {
			n++
		}
	}
	if n != 1 {
		ts.Fatalf("%d mails for %s arrived at %s, want one", n, args[1], args[0])
	}
}
