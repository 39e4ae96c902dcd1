// Command fakemta is a scripted next hop: an SMTP server that keeps what it accepts as files, and that can be told to
// refuse, delay, hang or drop at any command, by recipient.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

// options are the command line.
type options struct {
	Listen   string   `help:"Address to listen on. Default: ${default}." default:"127.0.0.1:2525" placeholder:"HOST:PORT"`
	Dir      string   `help:"Folder for N.eml and N.json. Without it messages are only counted." placeholder:"DIR"`
	Rule     []string `help:"A rule, such as 'RCPT *@contoso.com reply 450 4.2.0 busy'. May be repeated; the first that fits acts." sep:"none" placeholder:"RULE"`
	Script   string   `help:"File with a rule a line, after those of --rule. Read again on SIGHUP." placeholder:"FILE"`
	Hostname string   `help:"Name in the greeting." default:"mta.example"`
	Offer    string   `help:"EHLO keywords, separated by commas; 'none' for none. Default: all that are known." placeholder:"KEYWORDS"`
	MaxSize  int64    `help:"Largest message, in octets. 0: no limit." default:"0" placeholder:"N"`
	TLSCert  string   `help:"Certificate, PEM: offers STARTTLS." name:"tls-cert" placeholder:"FILE"`
	TLSKey   string   `help:"Its private key, PEM." name:"tls-key" placeholder:"FILE"`
	Implicit bool     `help:"TLS from the first octet, instead of STARTTLS." name:"tls-implicit"`
	Discard  bool     `help:"Throw bodies away, and print nothing for a message: for benchmarks."`
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

// run is main with its surroundings as arguments. It serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	exited, status := false, statusFine
	parser, err := kong.New(&o, kong.Name("fakemta"), kong.Writers(stdout, stderr),
		kong.Description("A scripted next hop: keeps every accepted message as N.eml with its envelope as N.json, and refuses, delays, hangs or drops as told."),
		kong.Exit(func(code int) { exited, status = true, code }))
	if err != nil {
		fmt.Fprintln(stderr, "fakemta:", err)
		return statusFault
	}
	_, err = parser.Parse(args)
	if exited { // --help
		return status
	}
	if err != nil {
		fmt.Fprintln(stderr, "fakemta:", err)
		return statusUsage
	}
	settings, err := o.settings(&printer{w: stdout})
	if err != nil {
		fmt.Fprintln(stderr, "fakemta:", err)
		return statusUsage
	}
	server, err := fakemta.Start(settings)
	if err != nil {
		fmt.Fprintln(stderr, "fakemta:", err)
		return statusFault
	}
	fmt.Fprintln(stdout, "listening on", server.Addr())
	o.wait(ctx, server, stderr)
	if err := server.Close(); err != nil {
		fmt.Fprintln(stderr, "fakemta: close:", err)
		return statusFault
	}
	stats := server.Stats()
	fmt.Fprintf(stdout, "%d messages, %d octets, %d connections, at most %d at a time\n", stats.Messages, stats.Octets, stats.Connections, stats.MaxConcurrent)
	return statusFine
}

// wait returns when ctx ends; SIGHUP reads the script again.
func (o *options) wait(ctx context.Context, server *fakemta.Server, stderr io.Writer) {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			rules, err := o.rules()
			if err == nil {
				err = server.SetRules(rules...)
			}
			if err != nil {
				fmt.Fprintln(stderr, "fakemta: the script stays as it was:", err)
			}
		}
	}
}

// settings turns the command line into the options of a server.
func (o *options) settings(out *printer) (fakemta.Options, error) {
	rules, err := o.rules()
	if err != nil {
		return fakemta.Options{}, err
	}
	settings := fakemta.Options{
		Address:     o.Listen,
		Hostname:    o.Hostname,
		Extensions:  o.extensions(),
		MaxSize:     o.MaxSize,
		ImplicitTLS: o.Implicit,
		Rules:       rules,
		// Messages are kept in files, not in memory: a server may run for long. Data is only needed for a folder.
		Discard: o.Discard || o.Dir == "",
	}
	if settings.TLS, err = o.tls(); err != nil {
		return fakemta.Options{}, err
	}
	if o.Discard {
		return settings, nil
	}
	settings.OnMessage = out.message
	if o.Dir != "" {
		folder, err := fakemta.OpenFolder(o.Dir)
		if err != nil {
			return fakemta.Options{}, err
		}
		settings.Forget = true
		settings.OnMessage = func(m *fakemta.Message) error {
			if err := folder.Save(m); err != nil {
				return err
			}
			return out.message(m)
		}
	}
	return settings, nil
}

func (o *options) rules() ([]fakemta.Rule, error) {
	var rules []fakemta.Rule
	for _, text := range o.Rule {
		rule, err := fakemta.ParseRule(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if o.Script == "" {
		return rules, nil
	}
	text, err := os.ReadFile(o.Script)
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	more, err := fakemta.ParseRules(string(text))
	if err != nil {
		return nil, fmt.Errorf("script %s: %w", o.Script, err)
	}
	return append(rules, more...), nil
}

func (o *options) extensions() []string {
	switch o.Offer {
	case "":
		return nil
	case "none":
		return []string{}
	}
	var keywords []string
	for keyword := range strings.SplitSeq(o.Offer, ",") {
		if keyword = strings.TrimSpace(keyword); keyword != "" {
			keywords = append(keywords, keyword)
		}
	}
	return keywords
}

func (o *options) tls() (*tls.Config, error) {
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return nil, errors.New("--tls-cert and --tls-key come together")
	}
	if o.TLSCert == "" {
		if o.Implicit {
			return nil, errors.New("--tls-implicit needs --tls-cert and --tls-key")
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}, nil
}

// printer writes one line for each message, whole also when several come at a time.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) message(m *fakemta.Message) error {
	number := "-"
	if m.Number > 0 {
		number = fmt.Sprint(m.Number)
	}
	secure := "clear"
	if m.TLS != nil {
		secure = m.TLS.Version
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A line that cannot be printed is no reason to refuse a message.
	fmt.Fprintf(p.w, "%s from=<%s> to=<%s> size=%d helo=%q remote=%s tls=%q\n",
		number, m.Sender, strings.Join(m.Recipients, ">,<"), m.Size, m.Helo, m.Remote, secure)
	return nil
}
