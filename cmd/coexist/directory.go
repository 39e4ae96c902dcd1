package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/coexist-mail/coexist/directory/audit"
	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
)

type directoryCmd struct {
	Status directoryStatusCmd `cmd:"" default:"withargs" help:"Show source, state, objects and age of the view."`
	Sync   directorySyncCmd   `cmd:"" help:"Make the running gateway ask its source for changes now."`
	Export directoryExportCmd `cmd:"" help:"Write the view as LDIF, which source = \"ldif\" reads."`
	Lookup directoryLookupCmd `cmd:"" help:"Show objects as the gateway sees them, and what each value is taken to mean."`
	Audit  directoryAuditCmd  `cmd:"" help:"Look for what breaks the coexistence of the two mail systems; exit 1 with findings."`
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
	if st.LagSeconds != nil {
		row("lag", time.Duration(*st.LagSeconds)*time.Second)
	}
	if st.LastError != "" {
		row("last error", st.LastError)
	}
	return w.Flush()
}

type directorySyncCmd struct {
	configFlag
}

// Run waits until the view has what the source has, or says that it takes longer.
func (c *directorySyncCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	done, err := gateway.DirectorySync(context.Background(), cfg)
	if err != nil {
		return err
	}
	if !done {
		fmt.Fprintln(s.out, "The directory is still being read.")
		return nil
	}
	fmt.Fprintln(s.out, "The view is up to date.")
	return nil
}

type directoryExportCmd struct {
	configFlag
	Output string `help:"File to write; - is standard output." short:"o" default:"-" placeholder:"FILE"`
}

// Run writes the view. A file appears when it is complete.
func (c *directoryExportCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Output == "-" {
		return c.write(s, cfg, s.out)
	}
	f, err := os.CreateTemp(filepath.Dir(c.Output), filepath.Base(c.Output)+".*")
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	err = errors.Join(c.write(s, cfg, f), f.Chmod(0o640), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.Output)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

func (c *directoryExportCmd) write(s *streams, cfg *config.Config, w io.Writer) error {
	note, err := gateway.DirectoryExport(context.Background(), cfg, w)
	if note != "" {
		fmt.Fprintln(s.err, "coexist:", note)
	}
	return err
}

type directoryLookupCmd struct {
	configFlag
	jsonFlag
	Name string `arg:"" help:"Address, DN or objectGUID."`
}

// Run exits 1 when there is no such object.
func (c *directoryLookupCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	found, note, err := gateway.DirectoryLookup(context.Background(), cfg, c.Name)
	if note != "" {
		fmt.Fprintln(s.err, "coexist:", note)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.json(found)
	} else {
		err = printLookedUp(s, found)
	}
	if err == nil && len(found) == 0 {
		fmt.Fprintf(s.err, "coexist: no object has the address, DN or objectGUID %s\n", c.Name)
		return errFinding
	}
	return err
}

func printLookedUp(s *streams, found []admin.LookedUp) error {
	for i, o := range found {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		fmt.Fprintf(s.out, "%s\nobjectGUID %s\n", o.DN, o.GUID)
		w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
		for _, v := range o.Values {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", v.Attribute, v.Value, v.Meaning)
		}
		for _, m := range o.Members {
			fmt.Fprintf(w, "  member\t%s\t\n", m)
		}
		for _, m := range o.MissingMembers {
			fmt.Fprintf(w, "  member\t%s\tnot in the view: no mail recipient, or elsewhere\n", m)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if o.Route != nil {
			fmt.Fprint(s.out, o.Route.Explain())
		}
	}
	return nil
}

type directoryAuditCmd struct {
	configFlag
	jsonFlag
	Offline bool     `help:"Do not ask the domain controllers."`
	All     bool     `help:"Show all findings of a rule, not only the first ten."`
	Ignore  []string `help:"Rules to leave out; docs/directory-audit.md has them." placeholder:"RULE,..."`
}

// Run exits 1 with findings.
func (c *directoryAuditCmd) Run(s *streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	findings, note, err := gateway.DirectoryAudit(context.Background(), cfg, !c.Offline)
	if note != "" {
		fmt.Fprintln(s.err, "coexist:", note)
	}
	if err != nil {
		return err
	}
	if findings, err = audit.Ignore(findings, c.Ignore); err != nil {
		return usageError{err}
	}
	if c.JSON {
		err = s.json(findings)
	} else {
		err = audit.Report(s.out, findings, c.All)
	}
	if err == nil && len(findings) > 0 {
		return errFinding
	}
	return err
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
