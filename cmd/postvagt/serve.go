package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"postvagt/internal/config"
	"postvagt/internal/detect"
	"postvagt/internal/guard"
	"postvagt/internal/ledger"
)

type serveCmd struct {
	withConfig
	JSON bool `name:"json" help:"Log in JSON, whatever the configuration says."`
}

// Run serves until SIGTERM or SIGINT, then stops gracefully; nothing accepted is lost either way.
func (c serveCmd) Run(s streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.JSON {
		cfg.Log.Format = "json"
	}
	log := newLog(s, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	if cfg.Store.Postgres != "" {
		if p, err := pgx.ParseConfig(string(cfg.Store.Postgres)); err == nil {
			if risk := wayRisk(p, false); risk != "" {
				log.Warn(risk)
			}
		}
	}
	i, w, err := start(cfg, s.err)
	if err != nil {
		return err
	}
	defer i.Close()
	var nodes ledger.Cluster
	if c, ok := i.engine().(ledger.Cluster); ok && cfg.Store.Postgres != "" {
		nodes = w.Before(c)
	}
	figures := prometheus.NewRegistry()
	i.bodies.Register(figures)
	g, err := guard.New(guard.Options{Config: cfg, Store: i.store, Registry: figures, Cluster: nodes, Keys: i.keys, Log: log, Node: cfg.Node, Ready: func() {
		notifySystemd("READY=1")
		log.Info("ready", "version", version)
	}})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	stopping := context.AfterFunc(ctx, func() {
		notifySystemd("STOPPING=1")
		log.Info("stopping; mail under way may finish, the rest waits in the ledger")
	})
	defer stopping()
	ctx, fall := context.WithCancelCause(ctx)
	defer fall(nil)
	go w.Watch(ctx, time.Second, log, fall)
	go watchdog(ctx)
	go reload(ctx, g)
	defer scrub(ctx, i, log)() // ends before the ledger is closed
	err = g.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, ledger.ErrPast) {
		return fmt.Errorf("%s: %w%s", where(cfg), cause, pastAdvice)
	}
	return err
}

// scrub keeps the object store clean beside the guard, until what it returns is called.
func scrub(ctx context.Context, i *installation, log *slog.Logger) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { i.bodies.Run(ctx, i.cfg.Node, log) })
	return func() {
		end()
		done.Wait()
	}
}

// reload looks at the certificate's files on SIGHUP.
func reload(ctx context.Context, g *guard.Guard) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			g.Reload()
		}
	}
}

// newLog makes the structured log. Text values are masked once more on their way out (law 6).
func newLog(s streams, l config.Log) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(l.Level)) != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch v := a.Value.Any().(type) {
		case string:
			a.Value = slog.StringValue(detect.Mask(v))
		case error:
			a.Value = slog.StringValue(detect.Mask(v.Error()))
		}
		return a
	}}
	if strings.EqualFold(l.Format, "json") {
		return slog.New(slog.NewJSONHandler(s.err, o))
	}
	return slog.New(slog.NewTextHandler(s.err, o))
}

// notifySystemd tells the service manager (sd_notify(3)); without one it does nothing.
func notifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		fmt.Fprintf(os.Stderr, "postvagt: tell systemd %q: %v\n", state, err)
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}

// watchdog keeps systemd's watchdog quiet while the program runs.
func watchdog(ctx context.Context) {
	usec, err := time.ParseDuration(os.Getenv("WATCHDOG_USEC") + "us")
	if err != nil || usec <= 0 {
		return
	}
	tick := time.NewTicker(usec / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			notifySystemd("WATCHDOG=1")
		}
	}
}
