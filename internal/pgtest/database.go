package pgtest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// shared is the server that all tests of this binary share. It goes with the process: its leash is never closed before.
var shared = sync.OnceValues(func() (*Server, error) {
	s, err := create(nil)
	if err == nil {
		err = s.initialise(nil)
	}
	return s, err
})

var databases atomic.Int64

// templates are databases that others are copied from.
var templates struct {
	sync.Mutex
	made map[string]error
}

// New makes an empty database in the server that the tests of this binary share, and returns how to reach it. It goes with the test.
func New(t testing.TB) string {
	t.Helper()
	return database(t, "template0")
}

// NewFrom makes a database that is a copy of what prepare once made of an empty one. name names the preparation; prepare is run
// once in a binary and has closed its connections when it returns.
func NewFrom(t testing.TB, name string, prepare func(dsn string) error) string {
	t.Helper()
	template := "template_" + name
	if err := makeTemplate(template, prepare); err != nil {
		t.Fatalf("prepare database %s: %v", name, err)
	}
	return database(t, template)
}

func makeTemplate(template string, prepare func(dsn string) error) error {
	templates.Lock()
	defer templates.Unlock()
	if err, ok := templates.made[template]; ok {
		return err
	}
	if templates.made == nil {
		templates.made = make(map[string]error)
	}
	s, err := shared()
	if err == nil {
		err = s.Exec("CREATE DATABASE " + template + " TEMPLATE template0")
	}
	if err == nil {
		err = prepare(s.DSN(template))
	}
	templates.made[template] = err
	return err
}

func database(t testing.TB, template string) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := s.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.DSN(name)
}

// Shared is the server that the tests of this binary share, for looking into its databases.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
