// Command smtpdialog holds SMTP dialogs, files that a person can read, against a server, and says where it answers differently.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
)

// options are the command line.
type options struct {
	Addr     string            `arg:"" help:"The server." placeholder:"HOST:PORT"`
	Files    []string          `arg:"" name:"file" help:"Dialogs; testdata/dialogs/*.smtp are those of coexist." type:"existingfile"`
	To       string            `help:"A recipient in the server's own domain." default:"adelev@contoso.com"`
	From     string            `help:"A sender elsewhere." default:"someone@fabrikam.com"`
	Domain   string            `help:"The server's own domain. Default: that of --to." placeholder:"DOMAIN"`
	Foreign  string            `help:"A recipient elsewhere, for whom nothing may be relayed." default:"kim.akers@fabrikam.com"`
	Var      map[string]string `help:"Another variable of the dialogs, as cloud=meganb@contoso.com. May be repeated." placeholder:"NAME=VALUE"`
	Client   map[string]string `help:"The local address that a named client connects from, as onprem=127.0.1.1. May be repeated." placeholder:"NAME=IP"`
	Server   map[string]string `help:"The address of a server in a named state, as no-directory=127.0.0.1:2525. May be repeated." placeholder:"NAME=HOST:PORT"`
	StartTLS bool              `help:"Begin TLS before each dialog; those about STARTTLS itself are skipped." name:"starttls"`
	Timeout  time.Duration     `help:"How long a reply may take." default:"10s"`
	Verbose  bool              `help:"Show the dialogues." short:"v"`
}

// Exit statuses: those of coexist.
const (
	statusFine  = 0
	statusFault = 1
	statusUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	exited, status := false, statusFine
	parser, err := kong.New(&o, kong.Name("smtpdialog"), kong.Writers(stdout, stderr),
		kong.Description("Holds SMTP dialogs against a server. Exit status: 0 as expected, 1 a difference, 2 wrong use."),
		kong.Exit(func(code int) { exited, status = true, code }))
	if err != nil {
		fmt.Fprintln(stderr, "smtpdialog:", err)
		return statusFault
	}
	_, err = parser.Parse(args)
	if exited { // --help
		return status
	}
	var dialogs []*dialog.Dialog
	if err == nil {
		dialogs, err = parseAll(o.Files)
	}
	if err != nil {
		fmt.Fprintln(stderr, "smtpdialog:", err)
		return statusUsage
	}
	r := o.runner()
	if o.Verbose {
		r.Transcript = stdout
	}
	return report(ctx, r, dialogs, stdout, stderr)
}

func parseAll(files []string) (all []*dialog.Dialog, err error) {
	var errs []error
	for _, f := range files {
		d, err := dialog.ParseFile(f)
		all, errs = append(all, d), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// report runs all sections, and prints a line for each that did not pass.
func report(ctx context.Context, r *dialog.Runner, dialogs []*dialog.Dialog, stdout, stderr io.Writer) int {
	count := map[dialog.Outcome]int{}
	for _, d := range dialogs {
		for _, s := range d.Sections {
			name := strings.TrimSuffix(d.Name+": "+s.Name, ": ")
			if r.Transcript != nil {
				fmt.Fprintf(stdout, "%s\n", name)
			}
			result, err := r.Run(ctx, s)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(stderr, "smtpdialog: %s: %v\n", name, err)
				return statusFault
			}
			count[result.Outcome]++
			switch result.Outcome {
			case dialog.Differs:
				fmt.Fprintf(stdout, "%s:%d: %s\n\twant %s\n\tgot  %s\n", d.File, result.Line, name, result.Want, result.Got)
			case dialog.Skipped:
				fmt.Fprintf(stdout, "%s:%d: %s\n\tskipped: needs %s\n", d.File, s.Line, name, result.Why)
			}
		}
	}
	fmt.Fprintf(stdout, "%d passed, %d differ, %d skipped\n", count[dialog.Passed], count[dialog.Differs], count[dialog.Skipped])
	if count[dialog.Differs] > 0 {
		return statusFault
	}
	return statusFine
}

func (o *options) runner() *dialog.Runner {
	vars := dialog.DefaultVars()
	dialog.SetTo(vars, o.To)
	dialog.SetForeign(vars, o.Foreign)
	vars["from"] = o.From
	if o.Domain != "" {
		vars["domain"] = o.Domain
	}
	if _, given := o.Var["cloud"]; !given && o.To != "adelev@contoso.com" {
		vars["cloud"] = o.To // somebody who exists there
	}
	for name, value := range o.Var {
		vars[name] = value
	}
	return &dialog.Runner{Dial: o.dial, Vars: vars, StartTLS: o.StartTLS, Timeout: o.Timeout}
}

func (o *options) dial(ctx context.Context, p dialog.Peer) (net.Conn, error) {
	addr, d := o.Addr, net.Dialer{Timeout: o.Timeout}
	if p.Server != "" {
		addr = o.Server[p.Server]
	}
	if p.Client != "" {
		ip := net.ParseIP(o.Client[p.Client])
		if ip == nil {
			return nil, dialog.ErrNoPeer
		}
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	if addr == "" {
		return nil, dialog.ErrNoPeer
	}
	return d.DialContext(ctx, "tcp", addr)
}
