package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/spool"
)

type serveCmd struct {
	configFlag
	Record     []netip.Prefix `help:"Record the dialogues of clients in these networks, without messages and passwords." placeholder:"NETWORK"`
	RecordFile string         `help:"Where to: default sessions.log in data_dir." placeholder:"FILE"`
	Drain      time.Duration  `help:"How long a shutdown waits for what is in flight." default:"30s"`
}

// Run serves until a signal ends it. A second signal ends it at once.
func (c *serveCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4) // from the very start: a SIGHUP must not end what is about to serve
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	log := newLogger(s, cfg)
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	record, err := c.recording(cfg)
	if err != nil {
		return err
	}
	g, err := newGateway(cfg, log, record)
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
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

// lockPatience is how long a start waits for data_dir: a queue command has it open for a moment when no gateway runs.
const lockPatience = 3 * time.Second

func newGateway(cfg *config.Config, log *slog.Logger, record func(netip.Addr) *inbound.Recording) (*gateway.Gateway, error) {
	for end := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		g, err := gateway.New(cfg, gateway.Options{Logger: log, Record: record})
		if !errors.Is(err, spool.ErrLocked) || time.Now().After(end) {
			return g, err
		}
	}
}

// recording is what --record asks for; nil without it.
func (c *serveCmd) recording(cfg *config.Config) (func(netip.Addr) *inbound.Recording, error) {
	if len(c.Record) == 0 {
		return nil, nil
	}
	path := c.RecordFile
	if path == "" {
		path = filepath.Join(cfg.DataDir, "sessions.log")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the recording: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the recording: %w", err)
	}
	r := inbound.NewRecording(f, inbound.WithoutBodies)
	return func(client netip.Addr) *inbound.Recording {
		for _, network := range c.Record {
			if network.Contains(client) {
				return r
			}
		}
		return nil
	}, nil
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
		o.ReplaceAttr = secondsInJSON
		return slog.New(slog.NewJSONHandler(s.err, o))
	}
	return slog.New(slog.NewTextHandler(s.err, o))
}

// secondsInJSON writes durations as seconds, where slog writes nanoseconds.
func secondsInJSON(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}
