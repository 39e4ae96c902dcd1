package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
)

type serveCmd struct {
	configFlag
	Drain time.Duration `help:"How long a shutdown waits for what is in flight." default:"30s"`
}

// Run serves until a signal ends it. A second signal ends it at once.
func (c *serveCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log := newLogger(s, cfg)
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	g, err := gateway.New(cfg, gateway.Options{Logger: log})
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	served := make(chan error, 1)
	go func() { served <- g.Run() }()
	for {
		select {
		case err := <-served:
			g.Shutdown(context.Background())
			return err
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				c.reload(g, log)
				continue
			}
			return c.stop(g, log, signals, served)
		}
	}
}

func (c *serveCmd) reload(g *gateway.Gateway, log *slog.Logger) {
	cfg, err := config.Load(c.Config)
	if err != nil {
		log.Error("the configuration cannot be used, the old one stays", "error", err)
		return
	}
	restart, err := g.Reload(cfg)
	if err != nil {
		log.Error("reload failed, the old configuration stays", "error", err)
		return
	}
	log.Info("configuration reloaded", "need_restart", restart)
}

func (c *serveCmd) stop(g *gateway.Gateway, log *slog.Logger, signals <-chan os.Signal, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.Shutdown(ctx) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				log.Warn("not everything ended in time; what was left is in the spool", "error", err)
			}
			return <-served
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return fmt.Errorf("second signal (%v): ended at once", sig)
			}
		}
	}
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func newLogger(s *streams, cfg *config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: levels[cfg.Log.Level]}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(s.err, o))
	}
	return slog.New(slog.NewTextHandler(s.err, o))
}
