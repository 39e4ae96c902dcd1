package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/gateway"
)

type directoryCmd struct {
	Status directoryStatusCmd `cmd:"" default:"withargs" help:"Show source, state, objects and age of the view."`
}

type directoryStatusCmd struct {
	configFlag
	jsonFlag
}

// Run asks the running gateway, or reads what it would start with.
func (c *directoryStatusCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	st, note, err := gateway.DirectoryStatus(context.Background(), cfg)
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(s.err, "coexist:", note)
	}
	if c.JSON {
		return s.json(st)
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	row := func(name string, v any) { fmt.Fprintf(w, "%s\t%v\n", name, v) }
	row("source", st.Source)
	row("state", st.State)
	if st.DC != "" {
		row("dc", st.DC)
	}
	row("method", st.Method)
	for _, kind := range slices.Sorted(maps.Keys(st.Objects)) {
		row("objects "+kind, st.Objects[kind])
	}
	row("addresses", st.Addresses)
	row("last change", timePointer(st.LastChange))
	row("last poll", timePointer(st.LastPoll))
	if st.AgeSeconds != nil {
		row("age", time.Duration(*st.AgeSeconds)*time.Second)
	}
	if st.LastError != "" {
		row("last error", st.LastError)
	}
	return w.Flush()
}

func timePointer(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return timeText(*t)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.RFC3339)
}
