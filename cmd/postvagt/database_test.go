package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/config"
	"postvagt/internal/pgtest"
)

// TestWayRisk: what may be listened to on its way is warned of; what stays on the machine, or proves its name, is not.
func TestWayRisk(t *testing.T) {
	for _, v := range []string{"PGSSLMODE", "PGHOST", "PGSERVICE", "PGSSLROOTCERT"} {
		t.Setenv(v, "")
	}
	for dsn, want := range map[string]string{
		"postgres://u@127.0.0.1/x":                                    "",
		"postgres://u@localhost/x?sslmode=disable":                    "",
		"postgres://u@[::1]/x":                                        "",
		"postgres:///x?host=/run/postgresql":                          "",
		"postgres://u@db.example/x":                                   "without encryption",
		"postgres://u@db.example/x?sslmode=disable":                   "without encryption",
		"postgres://u@db.example/x?sslmode=require":                   "prove its name",
		"postgres://u@db.example/x?sslmode=verify-full":               "",
		"postgres://u@127.0.0.1,db.example:5433/x?sslmode=prefer":     "without encryption",
		"postgres://u@a.example,b.example:5433/x?sslmode=verify-full": "",
	} {
		p, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if got := wayRisk(p, false); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", dsn, got, want)
		}
	}
}

// TestDatabaseRisks asks a real database, and one that is away; a password is shown by neither.
func TestDatabaseRisks(t *testing.T) {
	dsn := pgtest.New(t)
	ask := func(dsn string) string {
		return strings.Join(databaseRisks(t.Context(), &config.Config{Store: config.Store{Postgres: config.DSN(dsn)}}, false), "\n")
	}
	got := ask(dsn + "&synchronous_commit=off")
	if !strings.Contains(got, "no synchronous standby") || !strings.Contains(got, "synchronous_commit=off") || strings.Contains(got, "fsync") {
		t.Errorf("got %q", got)
	}
	got = ask("postgres://u:hemmelig@127.0.0.1:1/x?sslmode=disable")
	if !strings.Contains(got, "could not be asked") || strings.Contains(got, "hemmelig") {
		t.Errorf("away: %q", got)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	if risks, err := settingRisks(t.Context(), conn, false); err == nil || risks != nil {
		t.Errorf("a connection that broke: risks %q, error %v", risks, err)
	}
	if got := ask(""); got != "" {
		t.Errorf("a file: %q", got)
	}
}
