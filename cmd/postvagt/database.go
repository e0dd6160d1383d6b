package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"postvagt/internal/config"
)

// engineWords says in which engine the ledger is, and how many guards may serve it.
func engineWords(c *config.Config, da bool) string {
	if c.Store.Postgres == "" {
		return fmt.Sprintf(pick(da, "Regnskabet ligger i filen %s. Én vagt ad gangen kan bruge det.", "The ledger is the file %s. One guard at a time may serve it."), c.Store.SQLite)
	}
	return fmt.Sprintf(pick(da, "Regnskabet ligger i PostgreSQL, %s. Vilkårligt mange vagter kan bruge det, hver med sit eget navn; denne hedder %s. De skal have de samme nøglefiler.",
		"The ledger is in PostgreSQL, %s. Any number of guards may serve it, each under a name of its own; this one's is %s. They need the same key files."), c.Store.Postgres, c.Node)
}

// askTime is how long check waits for the database.
const askTime = 5 * time.Second

// databaseRisks is what should be known about the database before a ledger rests on it; it asks the database itself where it can.
func databaseRisks(ctx context.Context, c *config.Config, da bool) (risks []string) {
	if c.Store.Postgres == "" {
		return nil
	}
	p, err := pgx.ParseConfig(string(c.Store.Postgres))
	if err != nil { // its words may repeat what it could not read
		return []string{pick(da, "store.postgres: adressen kan ikke læses; skriv postgres://bruger@vært/database", "store.postgres: the address cannot be read; write postgres://user@host/database")}
	}
	if risk := wayRisk(p, da); risk != "" {
		risks = append(risks, risk)
	}
	ctx, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	conn, err := pgx.ConnectConfig(ctx, p)
	if err != nil {
		return append(risks, notAsked(err, da))
	}
	defer conn.Close(context.Background())
	more, err := settingRisks(ctx, conn, da)
	if err != nil {
		more = append(more, notAsked(err, da))
	}
	return append(risks, more...)
}

// notAsked says that what the database would have said of itself is not known.
func notAsked(err error, da bool) string {
	return fmt.Sprintf(pick(da, "databasen kunne ikke spørges om sine indstillinger: %v", "the database could not be asked for its settings: %v"), firstLine(err))
}

// firstLine keeps an error of several attempts short.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(strings.TrimSpace(line), ":")
}

// wayRisk says how the way to the database may be listened to. Every host and every fallback counts.
func wayRisk(p *pgx.ConnConfig, da bool) string {
	type way struct {
		host                string
		encrypted, verified bool
	}
	ways := []way{{p.Host, p.TLSConfig != nil, p.TLSConfig != nil && (!p.TLSConfig.InsecureSkipVerify || p.TLSConfig.VerifyPeerCertificate != nil)}}
	for _, f := range p.Fallbacks {
		ways = append(ways, way{f.Host, f.TLSConfig != nil, f.TLSConfig != nil && (!f.TLSConfig.InsecureSkipVerify || f.TLSConfig.VerifyPeerCertificate != nil)})
	}
	unverified := ""
	for _, w := range ways {
		if near(w.host) {
			continue
		}
		if !w.encrypted {
			return fmt.Sprintf(pick(da, "vejen til databasen på %s kan være uden kryptering: alle undervejs kan læse og ændre regnskabet; skriv sslmode=verify-full",
				"the way to the database at %s may be without encryption: anybody on it can read and change the ledger; write sslmode=verify-full"), w.host)
		}
		if !w.verified {
			unverified = w.host
		}
	}
	if unverified == "" {
		return ""
	}
	return fmt.Sprintf(pick(da, "databasen på %s skal ikke bevise sit navn: en anden kan udgive sig for den; skriv sslmode=verify-full",
		"the database at %s need not prove its name: another may pose as it; write sslmode=verify-full"), unverified)
}

// near reports whether a host is this machine: a socket's folder, or a loopback address.
func near(host string) bool {
	ip := net.ParseIP(host)
	return filepath.IsAbs(host) || strings.HasPrefix(host, "@") || host == "localhost" || ip != nil && ip.IsLoopback()
}

// settingRisks asks the database for the settings that a promise rests on. One that it does not tell is no risk, and an error.
func settingRisks(ctx context.Context, conn *pgx.Conn, da bool) (risks []string, err error) {
	is := func(name string) (value string) {
		if failed := conn.QueryRow(ctx, "SELECT coalesce(current_setting($1, true), '')", name).Scan(&value); err == nil {
			err = failed
		}
		return value
	}
	if is("fsync") == "off" || is("full_page_writes") == "off" {
		risks = append(risks, pick(da, "databasen kører med fsync eller full_page_writes slået fra: et strømsvigt kan koste regnskabet; slå dem til",
			"the database runs with fsync or full_page_writes off: a loss of power may cost the ledger; switch them on"))
	}
	if s := is("synchronous_commit"); s == "off" || s == "local" {
		risks = append(risks, fmt.Sprintf(pick(da, "databasen står til synchronous_commit=%s; vagten beder selv om on for sine egne forbindelser", "the database is set to synchronous_commit=%s; the guard asks for on in its own connections"), s))
	}
	if is("synchronous_standby_names") == "" && is("transaction_read_only") != "on" && err == nil {
		risks = append(risks, pick(da, "databasen nævner ingen synkron standby (synchronous_standby_names er tom): går maskinen tabt, er det sidste, der blev kvitteret for, tabt med den",
			"the database names no synchronous standby (synchronous_standby_names is empty): if its machine is lost, what was accepted last is lost with it"))
	}
	return risks, err
}
