package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
)

type checkCmd struct {
	configFlag
	jsonFlag
	Timeout time.Duration `help:"For each thing that is reached for." default:"10s"`
}

// Run prints a line for each thing that was checked.
func (c *checkCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	checks := gateway.Check(context.Background(), cfg, c.Timeout)
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
