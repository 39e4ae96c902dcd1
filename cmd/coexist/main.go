// Command coexist is the SMTP gateway that lets a third-party mail system and Exchange Online share one mail domain.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/coexist-mail/coexist/gateway/config"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// Exit statuses.
const (
	exitFine    = 0
	exitFinding = 1 // a finding or a failure
	exitUsage   = 2 // wrong use, or a configuration that can't be used
)

// cli are the commands and what they share.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run the gateway until SIGTERM or SIGINT; SIGHUP reloads configuration and certificates."`
	Check     checkCmd     `cmd:"" help:"Validate the configuration, and reach for everything that it names."`
	Route     routeCmd     `cmd:"" help:"Explain where mail for addresses goes, and why."`
	Directory directoryCmd `cmd:"" help:"Show the view of the directory."`
	Queue     queueCmd     `cmd:"" help:"Look at the spool, and steer it."`
	Hold      holdCmd      `cmd:"" help:"Hold the mail of people who move between the systems."`
	Trace     traceCmd     `cmd:"" help:"Show what became of messages."`
	Record    recordCmd    `cmd:"" help:"Write down the dialogues of clients."`
	Tnef      tnefCmd      `cmd:"" name:"tnef" help:"Convert or inspect winmail.dat."`
	Demo      demoCmd      `cmd:"" help:"Run a gateway with sample data and send sample mail through it."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// configFlag is --config, of the commands that need a configuration.
type configFlag struct {
	Config string `help:"Configuration file." default:"coexist.toml" placeholder:"FILE"`
}

func (f configFlag) load() (*config.Config, error) {
	cfg, err := config.Load(f.Config)
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// jsonFlag is --json, of the commands that print a table.
type jsonFlag struct {
	JSON bool `help:"Print JSON." name:"json"`
}

// verbName is the name of the command that was typed, for commands that share their code.
type verbName string

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func (s *streams) json(v any) error {
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// usageError is an error whose exit status is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errFinding ends a command with status 1 that has said why already.
var errFinding = errors.New("finding")

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) == 0 { // wrong use: what --help prints, where errors go
		run([]string{"--help"}, in, errOut, errOut)
		return exitUsage
	}
	var c cli
	s := &streams{in, out, errOut}
	exit := -1
	parser, err := kong.New(&c, kong.Name("coexist"), kong.UsageOnError(), kong.Writers(out, errOut), kong.Exit(func(code int) { exit = code }),
		kong.Description("SMTP gateway between a third-party mail system and Exchange Online that share one mail domain."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}))
	if err != nil {
		fmt.Fprintln(errOut, "coexist:", err)
		return exitUsage
	}
	ctx, err := parser.Parse(commandFirst(args))
	if exit >= 0 { // --help was printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(errOut, "coexist: %v\nSee coexist --help.\n", err)
		return exitUsage
	}
	return status(errOut, ctx.Run(s, verbName(ctx.Selected().Name)))
}

// commandFirst moves --config and --json that stand before the command behind it: where people put them who are used to global flags.
func commandFirst(args []string) []string {
	flags := 0
	for flags < len(args) {
		n := 0
		switch arg := args[flags]; {
		case arg == "--json", strings.HasPrefix(arg, "--config="):
			n = 1
		case arg == "--config":
			n = 2
		}
		if n == 0 {
			break
		}
		flags += n
	}
	if flags >= len(args) {
		return args
	}
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	return slices.Concat(args[flags:end], args[:flags], args[end:])
}

// status prints an error and gives its exit status.
func status(errOut io.Writer, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errFinding):
		return exitFinding
	}
	var findings config.Errors
	if errors.As(err, &findings) {
		fmt.Fprintln(errOut, findings.Error()) // a line each, file and line first
	} else {
		fmt.Fprintln(errOut, "coexist:", err)
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFinding
}
