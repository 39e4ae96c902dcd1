package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
)

type checkCmd struct {
	configFlag
	jsonFlag
	Running bool          `help:"Only ask the running gateway whether it is ready: 0 when it is, 1 when not. For health checks."`
	Timeout time.Duration `help:"For each thing that is reached for." default:"10s"`
}

// Run prints a line for each thing that was checked.
func (c *checkCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return c.unusable(s, err)
	}
	if c.Timeout <= 0 {
		return usageError{fmt.Errorf("--timeout: %v is no time to wait", c.Timeout)}
	}
	if c.Running {
		return c.running(s, cfg)
	}
	return c.print(s, gateway.Check(context.Background(), cfg, c.Timeout))
}

// unusable is what is wrong with the configuration: with --json a program reads standard output, which then has it too.
func (c *checkCmd) unusable(s *streams, err error) error {
	if !c.JSON {
		return err
	}
	var findings config.Errors
	texts := []string{err.Error()}
	if errors.As(err, &findings) {
		texts = texts[:0]
		for _, f := range findings {
			texts = append(texts, f.String())
		}
	}
	lines := make([]gateway.CheckLine, len(texts))
	for i, text := range texts {
		lines[i] = gateway.CheckLine{Result: gateway.CheckFailed, What: "configuration", Detail: text}
	}
	return errors.Join(err, s.json(lines))
}

// running is the line of what /readyz of the running gateway says.
func (c *checkCmd) running(s *streams, cfg *config.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	line := gateway.CheckLine{Result: gateway.CheckFine, What: "gateway at " + cfg.Admin.Address}
	text, err := admin.NewClient(cfg.Admin.Address).Ready(ctx)
	if line.Detail = text; err != nil {
		line.Result, line.Detail = gateway.CheckFailed, err.Error()
	}
	return c.print(s, []gateway.CheckLine{line})
}

func (c *checkCmd) print(s *streams, checks []gateway.CheckLine) error {
	failed := false
	for _, ch := range checks {
		failed = failed || ch.Result == gateway.CheckFailed
	}
	if c.JSON {
		if err := s.json(checks); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
		for _, ch := range checks {
			fmt.Fprintf(w, "%s\t%s\t%s\n", ch.Result, ch.What, ch.Detail)
		}
		w.Flush()
	}
	if failed {
		return errFinding
	}
	return nil
}
