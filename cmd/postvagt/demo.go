package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"postvagt/internal/demo"
)

type demoCmd struct {
	Stay bool `env:"DEMO_STAY" help:"Stay up after the events, so that you can send it a message."`
}

func (c demoCmd) Run(s streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return demo.Run(ctx, demo.Options{Out: s.out, Stay: c.Stay})
}
