package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postvagt/internal/ledger"
	"postvagt/internal/ledger/ledgertest"
	"postvagt/internal/pgtest"
)

// openNodes opens the same ledger several times, as several nodes do.
func openNodes(t *testing.T, n int) []*Store {
	t.Helper()
	dsn := database(t)
	all := make([]*Store, n)
	for i := range all {
		all[i] = openStore(t, dsn, Options{Conns: 8})
	}
	return all
}

func delivered(d ledger.Delivery) ledger.Change {
	return ledger.Change{Delivery: d.ID, From: ledger.Queued, To: ledger.Delivered, At: time.Now(),
		Attempt: &ledger.Attempt{No: d.Attempts, Node: d.Node, Outcome: "delivered"}}
}

// noBodies demands that no body is left.
func noBodies(t *testing.T, s *Store) {
	t.Helper()
	left := int64(-1)
	do(t, s.read(t.Context(), func(tx *tx) error {
		return tx.query(func(r row) error { left = r.int(0); return nil }, "SELECT count(*) FROM body")
	}))
	if left != 0 {
		t.Errorf("%d bodies are left", left)
	}
}

// TestNodesShareALane: nodes that claim from one lane at the same time get everything once, and none waits for another's claim.
func TestNodesShareALane(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 3)
	const messages = 60
	for range messages {
		a := benchAcceptance("x.example", []byte("sealed"))
		a.Deliveries = append(a.Deliveries, a.Deliveries[0], a.Deliveries[0])
		_, err := nodes[0].Accept(t.Context(), a)
		do(t, err)
	}
	// A claim that is not committed holds what it has, and nothing else.
	held, free := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		undone := errors.New("undone")
		err := nodes[2].do(t.Context(), func(tx *tx) error {
			work, err := tx.claim(time.Now(), ledger.Claim{Node: "undone", Lane: "x.example", Max: 5, Lease: time.Minute})
			if err != nil || len(work) != 5 {
				t.Error(len(work), err)
			}
			close(held)
			<-free
			return undone
		})
		if !errors.Is(err, undone) {
			t.Error(err)
		}
	})
	<-held
	begin := time.Now()
	work, err := nodes[1].Claim(t.Context(), time.Now(), ledger.Claim{Node: "n1", Lane: "x.example", Max: messages, Lease: time.Minute})
	if err != nil || len(work) != messages-5 || time.Since(begin) > 2*time.Second {
		t.Errorf("beside another's claim: %d pieces after %v, %v", len(work), time.Since(begin), err)
	}
	close(free)
	wg.Wait()
	if n, err := nodes[0].Recover(t.Context(), time.Now(), "n1"); n != 3*(messages-5) || err != nil {
		t.Errorf("recovered %d, %v", n, err)
	}
	var count atomic.Int64
	for i, s := range nodes {
		for range 3 {
			wg.Go(func() {
				for count.Load() < 3*messages {
					work, err := s.Claim(t.Context(), time.Now(), ledger.Claim{Node: fmt.Sprint("n", i), Lane: "x.example", Max: 4, Lease: time.Minute})
					if err != nil {
						t.Error(err)
						return
					}
					for _, w := range work {
						count.Add(int64(len(w.Deliveries)))
						for _, d := range w.Deliveries {
							if err := s.Apply(t.Context(), delivered(d))[0]; err != nil {
								t.Error(err)
							}
						}
					}
				}
			})
		}
	}
	wg.Wait()
	if v := ledgertest.CheckLaws(t, nodes[0]); v.States[ledger.Delivered] != 3*messages || count.Load() != 3*messages {
		t.Errorf("claimed %d times, %+v", count.Load(), v.Sums)
	}
	noBodies(t, nodes[0])
}

// TestLastTwo: when the last two deliveries of a message end at the same time, in two nodes, its bodies go.
func TestLastTwo(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 2)
	for range 30 {
		a := benchAcceptance("x.example", []byte("sealed"))
		a.Deliveries = append(a.Deliveries, a.Deliveries[0])
		a.Claim = &ledger.Claim{Node: "n", Lease: time.Minute}
		work, err := nodes[0].Accept(t.Context(), a)
		do(t, err)
		var wg sync.WaitGroup
		for i, s := range nodes {
			wg.Go(func() {
				if err := s.Apply(t.Context(), delivered(work[0].Deliveries[i]))[0]; err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	noBodies(t, nodes[0])
	ledgertest.CheckLaws(t, nodes[0])
}

// TestTellWhileItEnds: a delivery becomes returning, relying on a notice that ends at the same time: it is refused, or it is returned
// with the notice, but never left waiting for something that has been. Notices about each other's deliveries do not lock each other out.
func TestTellWhileItEnds(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 2)
	refused := 0
	for range 40 {
		a := benchAcceptance("x.example", []byte("sealed"))
		a.Deliveries = append(a.Deliveries, a.Deliveries[0])
		a.Claim = &ledger.Claim{Node: "n", Lease: time.Minute}
		work, err := nodes[0].Accept(t.Context(), a)
		do(t, err)
		ds := work[0].Deliveries
		n := benchAcceptance("notices", []byte("notice"))
		n.Message.Kind = ledger.Notice
		first := ledger.Change{Delivery: ds[0].ID, From: ledger.Queued, To: ledger.Returning, At: time.Now(), Attempt: &ledger.Attempt{No: 1, Node: "n", Outcome: "refused"},
			Notices: []ledger.NewNotice{{Tells: ledger.TellReturned, Message: n.Message, Body: n.Bodies[0], Delivery: n.Deliveries[0], AboutIDs: []ledger.DeliveryID{ds[1].ID}}}}
		do(t, nodes[0].Apply(t.Context(), first)[0])
		notices, err := nodes[0].Claim(t.Context(), time.Now(), ledger.Claim{Node: "n", Lane: "notices", Max: 1, Lease: time.Minute})
		do(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := nodes[0].Apply(t.Context(), delivered(notices[0].Deliveries[0]))[0]; err != nil {
				t.Error(err)
			}
		})
		second := first
		second.Delivery, second.Notices = ds[1].ID, nil
		err = nodes[1].Apply(t.Context(), second)[0]
		wg.Wait()
		switch {
		case errors.Is(err, ledger.ErrTransition):
			refused++
			do(t, nodes[1].Apply(t.Context(), delivered(ds[1]))[0])
		case err != nil:
			t.Error(err)
		}
		st, err := nodes[0].Story(t.Context(), a.Message.ID)
		do(t, err)
		if st.Deliveries[0].State != ledger.Returned || !st.Deliveries[1].State.Final() {
			t.Fatalf("left as %s and %s", st.Deliveries[0].State, st.Deliveries[1].State)
		}
	}
	t.Logf("%d of 40 came too late", refused)
	ledgertest.CheckLaws(t, nodes[0])
	noBodies(t, nodes[0])
}

// TestCrossing: changes whose notices speak of each other's deliveries, in opposite orders and at the same time, all come through.
func TestCrossing(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 2)
	a := benchAcceptance("x.example", []byte("sealed"))
	a.Deliveries[0].State = ledger.Held
	for range 5 {
		a.Deliveries = append(a.Deliveries, a.Deliveries[0])
	}
	_, err := nodes[0].Accept(t.Context(), a)
	do(t, err)
	st, err := nodes[0].Story(t.Context(), a.Message.ID)
	do(t, err)
	var ids []ledger.DeliveryID
	for _, d := range st.Deliveries {
		ids = append(ids, d.ID)
	}
	back := slices.Clone(ids)
	slices.Reverse(back)
	var wg sync.WaitGroup
	for i, s := range nodes {
		order := [][]ledger.DeliveryID{ids, back}[i]
		wg.Go(func() {
			for range 10 {
				var changes []ledger.Change
				for _, id := range order[:3] {
					n := benchAcceptance("notices", []byte("notice"))
					n.Message.Kind = ledger.Notice
					changes = append(changes, ledger.Change{Delivery: id, From: ledger.Held, To: ledger.Held, At: time.Now(),
						Notices: []ledger.NewNotice{{Tells: ledger.TellReminder, Message: n.Message, Body: n.Bodies[0], Delivery: n.Deliveries[0], AboutIDs: order}}})
				}
				for _, err := range s.Apply(t.Context(), changes...) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if st, err = nodes[0].Story(t.Context(), a.Message.ID); err != nil || len(st.Deliveries[0].Told) != 60 || len(st.Deliveries[5].Told) != 60 {
		t.Errorf("told %d and %d times, %v", len(st.Deliveries[0].Told), len(st.Deliveries[5].Told), err)
	}
	ledgertest.CheckLaws(t, nodes[0])
}

// TestSealTogether: all nodes seal while all write, and the chain has every event once.
func TestSealTogether(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, 3)
	var wg sync.WaitGroup
	for i, s := range nodes {
		for range 2 {
			wg.Go(func() {
				for n := range 60 {
					err := s.Note(t.Context(), ledger.Event{Authority: []string{"Eksempel Kommune", "Nabo Kommune"}[n%2], Kind: "x", Detail: fmt.Sprint(i, n)})
					if err == nil && n%10 == 9 {
						err = s.Seal(t.Context(), time.Now())
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	do(t, nodes[0].Seal(t.Context(), time.Now()))
	heads, _, err := nodes[0].Heads(t.Context(), nil)
	if err != nil || len(heads) != 2 || heads[0].Last != 180 || heads[1].Last != 180 {
		t.Errorf("heads %+v, %v", heads, err)
	}
	ledgertest.CheckLaws(t, nodes[0])
}

// TestOneOfMany: of those who ask at the same moment for a name or a duty one gets it; and a ledger that many make at the same moment
// is made once.
func TestOneOfMany(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	var wg sync.WaitGroup
	nodes := make([]*Store, 4)
	for i := range nodes {
		wg.Go(func() {
			var err error
			if nodes[i], err = Open(context.Background(), dsn, Options{Serve: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var lives, duties atomic.Int64
	now := time.Now()
	for i, s := range nodes {
		t.Cleanup(func() { s.Close() })
		wg.Go(func() {
			_, err := s.Beat(t.Context(), now, "same", fmt.Sprint("life ", i), time.Minute)
			switch {
			case err == nil:
				lives.Add(1)
			case !errors.Is(err, ledger.ErrTaken):
				t.Error(err)
			}
			mine, err := s.Duty(t.Context(), now, "watch", fmt.Sprint("n", i), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if mine {
				duties.Add(1)
			}
		})
	}
	wg.Wait()
	if lives.Load() != 1 || duties.Load() != 1 {
		t.Errorf("%d lives have the name, %d nodes the duty", lives.Load(), duties.Load())
	}
}

// TestFirstBeats: of two nodes whose first beats cross, the second knows of the first.
func TestFirstBeats(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	written, done := make(chan bool), make(chan ledger.Alive, 1)
	first := openStore(t, dsn, Options{Fault: func(point string) error {
		if point == "commit-before" {
			close(written)
			deadline := time.Now().Add(5 * time.Second)
			for len(done) == 0 && raw(t, dsn, `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN RAISE 'nobody waits'; END IF; END $$`) != nil {
				if time.Now().After(deadline) {
					return errors.New("the second beat neither waits nor ends")
				}
			}
		}
		return nil
	}})
	second := openStore(t, dsn, Options{})
	now := time.Now()
	go func() {
		<-written
		a, err := second.Beat(t.Context(), now, "n2", "life", time.Minute)
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	if a, err := first.Beat(t.Context(), now, "n1", "life", time.Minute); err != nil || a.Nodes != 1 {
		t.Errorf("the first: %+v, %v", a, err)
	}
	if a := <-done; a.Nodes != 2 || a.Rank != 1 {
		t.Errorf("the second: %+v", a)
	}
}

// TestSkew: a beat tells how far the node's clock is from the database's.
func TestSkew(t *testing.T) {
	t.Parallel()
	s := openStore(t, database(t), Options{})
	for _, ahead := range []time.Duration{0, time.Hour, -time.Minute} {
		a, err := s.Beat(t.Context(), time.Now().Add(ahead), "n", "life", 1000*time.Hour)
		if off := a.Skew - ahead; err != nil || off > 2*time.Second || off < -2*time.Second {
			t.Errorf("%v ahead: skew %v, %v", ahead, a.Skew, err)
		}
	}
}

// childEnv makes this test binary be a node on the database with this address.
const childEnv = "POSTVAGT_POSTGRES_CHILD"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		fmt.Println(childServe(dsn))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// childServe accepts and delivers without end. It prints the id of each accepted message after the ledger has promised to keep it,
// and "done <id>" after it has promised that it is delivered.
func childServe(dsn string) error {
	s, err := Open(context.Background(), dsn, Options{Serve: true})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := s.Recover(ctx, time.Now(), "n1"); err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 4 {
		go func() {
			for n := 0; ; n++ {
				a := benchAcceptance("x.example", make([]byte, 1000*(g+1)))
				a.Claim = &ledger.Claim{Node: "n1", Lease: time.Hour}
				work, err := s.Accept(ctx, a)
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(a.Message.ID)
				err = s.Apply(ctx, delivered(work[0].Deliveries[0]))[0]
				if err == nil && n%20 == g {
					err = s.Seal(ctx, time.Now())
				}
				if err != nil {
					failed <- err
					return
				}
				fmt.Println("done", a.Message.ID)
			}
		}()
	}
	return <-failed
}

// TestKill: a node that is killed at any moment loses nothing that it had promised, and holds up nobody afterwards.
func TestKill(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	promised := map[string]string{}
	for round := range 4 {
		killOne(t, dsn, 40+37*round, promised)
	}
	s := openStore(t, dsn, Options{})
	eventually(t, func() error { // the server may take a moment to see that the node is gone
		_, err := s.Recover(t.Context(), time.Now(), "n1")
		return err
	})
	ledgertest.CheckLaws(t, s)
	ledgertest.CheckPromises(t, s, promised)
	if len(promised) < 150 {
		t.Errorf("only %d promises", len(promised))
	}
}

// killOne runs a node until it has said so many things, kills it, and notes what it promised.
func killOne(t *testing.T, dsn string, after int, promised map[string]string) {
	t.Helper()
	exe, err := os.Executable()
	do(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dsn)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	do(t, err)
	do(t, cmd.Start())
	out := bufio.NewReader(pipe)
	for range after {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("the node ended by itself: %v: %s", err, line)
		}
		ledgertest.Promise(promised, line)
	}
	do(t, cmd.Process.Kill())
	rest, err := io.ReadAll(out) // what it had still said before it died
	do(t, err)
	for line := range strings.Lines(string(rest)) {
		if strings.HasSuffix(line, "\n") {
			ledgertest.Promise(promised, line)
		}
	}
	cmd.Wait()
}

// TestHalfBuried: a node from which a part of what it held was taken back does not go on as if nothing had happened, not
// even when its own clock says that its beat has not ended.
func TestHalfBuried(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	begins := 0
	s, reaper := openStore(t, dsn, Options{}), openStore(t, dsn, Options{Fault: func(point string) error {
		if point == "begin" {
			if begins++; begins > 1 {
				return errors.New("the reaper dies")
			}
		}
		return nil
	}})
	a := benchAcceptance("x.example", []byte("sealed"))
	for len(a.Deliveries) < takeBatch+10 {
		a.Deliveries = append(a.Deliveries, a.Deliveries[0])
	}
	a.Claim = &ledger.Claim{Node: "slow", Lease: time.Hour}
	_, err := s.Accept(t.Context(), a)
	do(t, err)
	now := time.Now()
	beat := func(node, life string, after time.Duration) ledger.Alive {
		t.Helper()
		a, err := s.Beat(t.Context(), now.Add(after), node, life, 10*time.Second)
		do(t, err)
		return a
	}
	beat("slow", "life", 0)
	beat("n2", "life", 0)
	beat("n2", "life", 9*time.Second)
	if _, n, err := reaper.Reap(t.Context(), now.Add(11*time.Second), "n2"); n != takeBatch || err == nil {
		t.Fatalf("took %d back, %v", n, err)
	}
	if since := beat("slow", "life", 8*time.Second).Since; !since.Equal(now.Add(8 * time.Second).UTC().Truncate(time.Microsecond)) {
		t.Errorf("it goes on since %v", since)
	}
}

// TestHoard: a node that died with more in its hands than one transaction takes back loses all of it, and others nothing.
func TestHoard(t *testing.T) {
	t.Parallel()
	s := openStore(t, database(t), Options{})
	const recipients = 2*takeBatch + 10
	hoard := func(node string) {
		a := benchAcceptance("x.example", []byte("sealed"))
		for len(a.Deliveries) < recipients {
			a.Deliveries = append(a.Deliveries, a.Deliveries[0])
		}
		a.Claim = &ledger.Claim{Node: node, Lease: time.Hour}
		_, err := s.Accept(t.Context(), a)
		do(t, err)
	}
	now := time.Now()
	hoard("n1")
	if n, err := s.Recover(t.Context(), now, "n1"); n != recipients || err != nil {
		t.Errorf("recovered %d, %v", n, err)
	}
	hoard("dead")
	hoard("n2")
	for _, b := range []struct {
		node  string
		begin time.Duration
	}{{"dead", 0}, {"n2", 0}, {"n2", 9 * time.Second}} {
		_, err := s.Beat(t.Context(), now.Add(b.begin), b.node, "life", 10*time.Second)
		do(t, err)
	}
	dead, n, err := s.Reap(t.Context(), now.Add(11*time.Second), "n2")
	if n != recipients || err != nil || fmt.Sprint(dead) != "[dead]" {
		t.Errorf("reaped %v and %d, %v", dead, n, err)
	}
	if n, err := s.Recover(t.Context(), now, "n2"); n != recipients || err != nil {
		t.Errorf("the living one's: recovered %d, %v", n, err)
	}
	ledgertest.CheckLaws(t, s)
}
