// Package gatewaytest runs a gateway inside a test, between fake MTAs, as httptest does for HTTP:
//
//	g := gatewaytest.Start(t)
//	g.Send(routing.Internet, "someone@fabrikam.com", []string{"meganb@contoso.com"}, "Subject: hello\r\n\r\nhello\r\n")
//	m := g.WaitCloud(1)[0]
//
// Everything is real: sockets, SMTP, the spool on disk. The sides are told apart by the loopback address that a client comes from.
package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/testdata"
)

// clientAddrs are the addresses that clients of the sides come from.
var clientAddrs = map[routing.Side]string{routing.Internet: "127.0.0.1", routing.OnPrem: "127.0.1.1", routing.Cloud: "127.0.2.1"}

// Options change what Start starts. The zero value is a gateway with the sample directory of the project (contoso.com, with the routing
// domain contoso.mail.onmicrosoft.com).
type Options struct {
	// LDIF is the directory; empty is the sample directory.
	LDIF string
	// Configure changes the configuration before the gateway starts.
	Configure func(*config.Config)
	// OnPrem, Cloud and Internet are the fake MTAs' options, as rules that refuse and delay.
	OnPrem, Cloud, Internet fakemta.Options
	// Gateway are the options of the gateway itself.
	Gateway gateway.Options
	// DataDir is kept between two gateways; empty is a folder of the test.
	DataDir string
}

// Gateway is a running gateway and the fake MTAs around it.
type Gateway struct {
	*gateway.Gateway
	// Config is the configuration in force; it must not be changed.
	Config *config.Config
	// Addr is the address of the listener, and LDIF the path of the directory, which the gateway watches.
	Addr, LDIF string
	// OnPrem, Cloud and Internet are the next hops.
	OnPrem, Cloud, Internet *fakemta.Server

	t      testing.TB // nil outside a test
	done   chan error
	folder string
}

// Start starts a gateway with the sample directory. It ends with the test.
func Start(t testing.TB) *Gateway {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith starts a gateway. It ends with the test; what goes wrong is fatal to the test.
func StartWith(t testing.TB, o Options) *Gateway {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	if o.Gateway.Logger == nil && testing.Verbose() {
		o.Gateway.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	g.t = t
	t.Cleanup(g.Stop)
	return g
}

// New starts a gateway outside a test; Close ends it. Without Options.DataDir it uses a temporary folder, which Close removes.
func New(o Options) (_ *Gateway, err error) {
	g := &Gateway{done: make(chan error, 1)}
	defer func() {
		if err != nil {
			g.closeMTAs()
			os.RemoveAll(g.folder)
		}
	}()
	if err := g.startMTAs(o); err != nil {
		return nil, err
	}
	if g.folder, err = os.MkdirTemp("", "gatewaytest-"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	if o.DataDir == "" {
		o.DataDir = filepath.Join(g.folder, "data")
	}
	if o.LDIF == "" {
		o.LDIF = testdata.LDIF
	}
	g.LDIF = filepath.Join(g.folder, "contoso.ldif")
	if err := os.WriteFile(g.LDIF, []byte(o.LDIF), 0o600); err != nil {
		return nil, fmt.Errorf("writing the directory: %w", err)
	}
	g.Config = Config(o.DataDir, g.LDIF, g.OnPrem.Addr(), g.Cloud.Addr(), g.Internet.Addr())
	if o.Configure != nil {
		o.Configure(g.Config)
	}
	if g.Gateway, err = gateway.New(g.Config, o.Gateway); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	g.Addr = g.Addrs()[0].String()
	go func() { g.done <- g.Run() }()
	return g, g.waitDirectory()
}

// startMTAs starts the next hops.
func (g *Gateway) startMTAs(o Options) error {
	for _, m := range []struct {
		server   **fakemta.Server
		hostname string
		options  fakemta.Options
	}{{&g.OnPrem, "onprem.contoso.com", o.OnPrem}, {&g.Cloud, "cloud.contoso.com", o.Cloud}, {&g.Internet, "mx.fabrikam.com", o.Internet}} {
		if m.options.Hostname == "" {
			m.options.Hostname = m.hostname
		}
		s, err := fakemta.Start(m.options)
		if err != nil {
			return fmt.Errorf("starting %s: %w", m.hostname, err)
		}
		*m.server = s
	}
	return nil
}

func (g *Gateway) closeMTAs() {
	for _, s := range []*fakemta.Server{g.OnPrem, g.Cloud, g.Internet} {
		if s != nil {
			s.Close()
		}
	}
}

// waitDirectory waits until the directory was read, or cannot be.
func (g *Gateway) waitDirectory() error {
	for range 500 {
		if st := g.DirectoryStatus(); st.LastPoll != nil || st.LastError != "" {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the directory is not read")
}

// Config is the configuration of a gateway on loopback with one next hop for each side.
func Config(dataDir, ldif, onprem, cloud, internet string) *config.Config {
	cfg := config.Default()
	cfg.Hostname = "gw1.contoso.com"
	cfg.DataDir = dataDir
	cfg.Domains = []string{"contoso.com"}
	cfg.Postmaster = "postmaster@contoso.com"
	cfg.Listeners = []config.Listener{{Address: "127.0.0.1:0", TLS: config.ListenerTLSOff}}
	cfg.Directory.Source, cfg.Directory.LDIF = "ldif", ldif
	cfg.OnPrem.NextHop, cfg.OnPrem.Clients = []string{onprem}, network("127.0.1.0/24")
	cfg.Cloud.NextHop, cfg.Cloud.Clients = []string{cloud}, network("127.0.2.0/24")
	cfg.Cloud.TenantDomain, cfg.Cloud.RoutingDomain = "contoso.onmicrosoft.com", "contoso.mail.onmicrosoft.com"
	cfg.Cloud.TLS = config.SideTLSOpportunistic
	cfg.Internet.NextHop = []string{internet}
	cfg.Admin.Address = "127.0.0.1:0"
	return cfg
}

func network(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }

// Close shuts the gateway down, as SIGTERM does, and ends the fake MTAs. It may be called more than once.
func (g *Gateway) Close() error {
	err := g.shutdown()
	g.closeMTAs()
	return errors.Join(err, os.RemoveAll(g.folder))
}

func (g *Gateway) shutdown() error {
	if g.done == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := errors.Join(g.Shutdown(ctx), <-g.done)
	g.done = nil
	return err
}

// Stop is Close in a test.
func (g *Gateway) Stop() {
	g.t.Helper()
	if err := g.Close(); err != nil {
		g.t.Errorf("stopping the gateway: %v", err)
	}
}

// Dial connects as a client of a side would.
func (g *Gateway) Dial(from routing.Side) (net.Conn, error) {
	return DialFrom(from, g.Addr)
}

// DialFrom connects to a gateway at addr that is configured by Config, as a client of a side.
func DialFrom(from routing.Side, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddrs[from])}}
	return d.Dial("tcp", addr)
}

// Client is an SMTP client of a side, connected and past EHLO.
func (g *Gateway) Client(from routing.Side) (*smtp.Client, error) {
	nc, err := g.Dial(from)
	if err != nil {
		return nil, err
	}
	c, err := smtp.NewClient(nc, "gw1.contoso.com")
	if err == nil {
		err = c.Hello("client.example")
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// TrySend sends a message as a client of a side, and returns the reply to its end, or the first refusal as a *textproto.Error.
func (g *Gateway) TrySend(from routing.Side, sender string, to []string, message string) (reply string, err error) {
	c, err := g.Client(from)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return Transact(c, sender, to, message)
}

// Transact sends one message over a connection, and returns the reply to its end.
func Transact(c *smtp.Client, sender string, to []string, message string) (reply string, err error) {
	if err := c.Mail(sender); err != nil {
		return "", err
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return "", err
		}
	}
	// Not c.Data: its writer does not give the reply away.
	if _, _, err := cmd(c, 354, "DATA"); err != nil {
		return "", err
	}
	w := c.Text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	_, reply, err = c.Text.ReadResponse(250)
	return reply, err
}

func cmd(c *smtp.Client, expect int, line string) (int, string, error) {
	id, err := c.Text.Cmd("%s", line)
	if err != nil {
		return 0, "", err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	return c.Text.ReadResponse(expect)
}

// Send is TrySend for a message that must be accepted.
func (g *Gateway) Send(from routing.Side, sender string, to []string, message string) (reply string) {
	g.t.Helper()
	reply, err := g.TrySend(from, sender, to, message)
	if err != nil {
		g.t.Fatalf("sending from %s to %v: %v", from, to, err)
	}
	return reply
}

// waitFor is how long the Wait functions wait.
const waitFor = 20 * time.Second

func (g *Gateway) wait(s *fakemta.Server, name string, n int) []fakemta.Message {
	g.t.Helper()
	ms, err := s.Wait(n, waitFor)
	if err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
	return ms
}

// WaitOnPrem waits for n messages at the on-prem MTA, and returns all that it has.
func (g *Gateway) WaitOnPrem(n int) []fakemta.Message {
	g.t.Helper()
	return g.wait(g.OnPrem, "onprem", n)
}

// WaitCloud is WaitOnPrem for the cloud.
func (g *Gateway) WaitCloud(n int) []fakemta.Message {
	g.t.Helper()
	return g.wait(g.Cloud, "cloud", n)
}

// WaitInternet is WaitOnPrem for the internet.
func (g *Gateway) WaitInternet(n int) []fakemta.Message {
	g.t.Helper()
	return g.wait(g.Internet, "internet", n)
}

// AdminURL is the URL of a page of the admin address.
func (g *Gateway) AdminURL(path string) string {
	return fmt.Sprintf("http://%s%s", g.AdminAddr(), path)
}
