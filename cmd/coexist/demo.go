package main

import (
	"context"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/coexist-mail/coexist/gateway/demo"
)

type demoCmd struct {
	Keep bool `help:"Leave everything running until Ctrl-C."`
	Log  bool `help:"Show the gateway's log."`
}

// Run runs the demo.
func (c *demoCmd) Run(s *streams) error {
	o := demo.Options{Out: s.out}
	if c.Log {
		o.Log = slog.New(slog.NewTextHandler(s.err, nil))
	}
	if c.Keep {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		o.Keep = ctx
	}
	return demo.Run(o)
}
