package main

import (
	"context"
	"fmt"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/routing"
)

type routeCmd struct {
	configFlag
	jsonFlag
	From    string   `help:"Side that the mail comes from: internet, onprem or cloud." enum:"internet,onprem,cloud" default:"internet"`
	Sender  string   `help:"Reverse-path of the mail; empty is the null reverse-path." placeholder:"ADDR"`
	Address []string `arg:"" help:"Recipient addresses."`
}

// Run explains what serve would do, by the same code.
func (c *routeCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	addresses := make([]string, len(c.Address))
	for i, a := range c.Address {
		addresses[i] = unbracket(a)
	}
	decisions, note, err := gateway.RouteQuery(context.Background(), cfg, routing.Side(c.From), unbracket(c.Sender), addresses)
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(s.err, "coexist:", note)
	}
	if c.JSON {
		return s.json(decisions)
	}
	for i, d := range decisions {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		fmt.Fprint(s.out, d.Explain())
	}
	return nil
}
