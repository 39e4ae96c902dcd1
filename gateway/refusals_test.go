package gateway_test

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// metric adds up the series of a metric that have all of these labels, as `reason="unknown"`.
func metric(t *testing.T, g *gatewaytest.Gateway, name string, labels ...string) (sum float64) {
	t.Helper()
	_, text := get(t, g, "/metrics")
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(rest, l)
		}
		if value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64); all && err == nil {
			sum += value
		}
	}
	return sum
}

// wire sends octets as a client of a side, and returns all that the gateway says until it closes; the octets should end with QUIT.
func wire(t *testing.T, g *gatewaytest.Gateway, from routing.Side, octets string) string {
	t.Helper()
	nc, err := g.Dial(from)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	// The gateway may close while this is being written: what it said is read all the same.
	_, _ = io.WriteString(nc, octets)
	said, _ := io.ReadAll(nc)
	return string(said)
}

// begin is an open transaction for a recipient that is taken.
const begin = "EHLO client.fabrikam.com\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\n"

// judge is a content filter that answers each message, or each recipient, in one way.
type judge struct {
	gomilter.NoOpMilter
	rcpt, end gomilter.Response
}

func (j judge) RcptTo(string, *gomilter.Modifier) (gomilter.Response, error) {
	if j.rcpt != nil {
		return j.rcpt, nil
	}
	return gomilter.RespContinue, nil
}

func (j judge) Body(*gomilter.Modifier) (gomilter.Response, error) {
	if j.end != nil {
		return j.end, nil
	}
	return gomilter.RespAccept, nil
}

func startMilter(t *testing.T, j judge) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go (&gomilter.Server{NewMilter: func() gomilter.Milter { return j }}).Serve(ln)
	return ln.Addr().String()
}

func useMilter(address string) func(*config.Config) {
	return func(c *config.Config) { c.Hygiene.Milters = []string{address} }
}

// tlsFiles are a certificate and its key, as files.
func tlsFiles(t *testing.T) (cert, key string) {
	t.Helper()
	c, _, err := fakemta.NewCertificate("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// refusal is one place where the gateway refuses something.
type refusal struct {
	name      string
	configure func(*config.Config)
	options   gatewaytest.Options
	from      routing.Side
	octets    string // of the client
	// reply is how the refusal begins; it is counted by its codes, which it is made of.
	reply string
	// client is the reason in coexist_refused_clients_total, recipient that in coexist_refused_recipients_total; "" for none.
	client, recipient string
}

// refusals are all places that refuse, but for the few named in TestRefusalsAreCounted.
func refusals(t *testing.T) []refusal {
	cert, key := tlsFiles(t)
	withTLS := func(c *config.Config) {
		l := &c.Listeners[0]
		l.TLS, l.CertFile, l.KeyFile = config.ListenerTLSStartTLS, cert, key
	}
	hash, err := users.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	usersFile := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(usersFile, []byte("printer:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dns := dnstest.Start(t, "9.2.0.192.bl.fabrikam.com. 60 A 127.0.0.2\nfabrikam.com. 60 TXT \"v=spf1 -all\"\n_dmarc.fabrikam.com. 60 TXT \"v=DMARC1; p=reject\"")
	resolver := func(set func(*config.Hygiene)) func(*config.Config) {
		return func(c *config.Config) {
			c.Hygiene.Resolver = dns.Address
			set(&c.Hygiene)
		}
	}
	data := func(message string) string { return begin + "DATA\r\n" + message + "\r\n.\r\nQUIT\r\n" }
	// Strings that wire sends in one go must not depend on the order of early talkers: these are tolerated by default.
	return []refusal{
		// The listener.
		{name: "connections", configure: func(c *config.Config) { c.Limits.Connections = 1 }, octets: "", reply: "421 4.3.2", client: "connections"},
		{name: "connections per client", configure: func(c *config.Config) { c.Limits.ConnectionsPerClient = 1 }, reply: "421 4.7.0", client: "connections-per-client"},
		{name: "early talker", configure: func(c *config.Config) { c.Hygiene.EarlyTalkers, c.Hygiene.GreetDelay = "refuse", 20*time.Second }, octets: "EHLO x\r\n", reply: "554 5.5.1", client: "early-talker"},
		{name: "another protocol", octets: "GET / HTTP/1.1\r\n", reply: "421 4.7.0", client: "junk"},
		{name: "a command that is none", octets: "HELLO\r\nQUIT\r\n", reply: "500 5.5.1"},
		{name: "too many errors", octets: strings.Repeat("HELLO\r\n", 20), reply: "421 4.7.0", client: "junk"},
		{name: "too many idle commands", octets: strings.Repeat("NOOP\r\n", 500), reply: "421 4.7.0", client: "idle-commands"},
		{name: "harvest", configure: func(c *config.Config) { c.Limits.RefusalsPerClient = 5 },
			octets: "EHLO x\r\nMAIL FROM:<>\r\n" + strings.Repeat("RCPT TO:<nobody@contoso.com>\r\n", 5), reply: "421 4.7.0", client: "harvest", recipient: "unknown"},
		{name: "timeout", options: gatewaytest.Options{Gateway: gateway.Options{ClientTimeouts: inbound.Timeouts{Command: 50 * time.Millisecond}}}, octets: "NOOP\r\n", reply: "421 4.4.2", client: "timeout"},
		{name: "TLS", configure: withTLS, octets: "EHLO x\r\nSTARTTLS\r\n", reply: "", client: "tls"},
		{name: "TLS is required", configure: func(c *config.Config) { withTLS(c); c.Listeners[0].TLS = config.ListenerTLSRequired }, octets: begin + "QUIT\r\n", reply: "530 5.7.0"},
		{name: "AUTH without TLS", configure: func(c *config.Config) { withTLS(c); c.OnPrem.UsersFile = usersFile }, octets: "EHLO x\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n", reply: "538 5.7.11"},
		{name: "order of commands", octets: "EHLO x\r\nDATA\r\nQUIT\r\n", reply: "503 5.5.1"},
		{name: "bad sender", octets: "EHLO x\r\nMAIL FROM:<a@b@c>\r\nQUIT\r\n", reply: "501 5.1.7"},
		{name: "bad recipient", octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nQUIT\r\n", reply: "501 5.1.3"},
		{name: "needs SMTPUTF8", octets: "EHLO x\r\nMAIL FROM:<\xc3\xa4@fabrikam.com>\r\nQUIT\r\n", reply: "553 5.6.7"},
		{name: "unknown parameter", octets: "EHLO x\r\nMAIL FROM:<> ODD=1\r\nQUIT\r\n", reply: "555 5.5.4"},
		{name: "recipients", configure: func(c *config.Config) { c.Limits.Recipients = 1 }, octets: begin + "RCPT TO:<diegos@contoso.com>\r\nQUIT\r\n", reply: "452 4.5.3", client: "recipients"},
		{name: "announced size", configure: func(c *config.Config) { c.Limits.MessageSize = 1000 }, octets: "EHLO x\r\nMAIL FROM:<> SIZE=1001\r\nQUIT\r\n", reply: "552 5.3.4", client: "size"},
		{name: "size", configure: func(c *config.Config) { c.Limits.MessageSize = 1000 }, octets: data(strings.Repeat("x", 990) + "\r\n" + strings.Repeat("x", 990)), reply: "552 5.3.4"},
		// Framing and content.
		{name: "bare LF", octets: data("a\nb"), reply: "550 5.5.2"},
		{name: "bare CR", octets: data("a\rb"), reply: "550 5.5.2"},
		{name: "long line", octets: data(strings.Repeat("x", 70_000)), reply: "550 5.6.0"},
		{name: "many fields", octets: data(strings.Repeat("A: b\r\n", 10_100) + "\r\nbody"), reply: "550 5.6.0"},
		// The router.
		{name: "unknown", octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@contoso.com>\r\nQUIT\r\n", reply: "550 5.1.1", recipient: "unknown"},
		{name: "relay", octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<other@fabrikam.com>\r\nQUIT\r\n", reply: "550 5.7.1", recipient: "relay-denied"},
		{name: "contact without target", octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<don.hall@contoso.com>\r\nQUIT\r\n", reply: "550 5.1.1", recipient: "no-target"},
		{name: "ambiguous", octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<support@contoso.com>\r\nQUIT\r\n", reply: "451 4.3.5", recipient: "ambiguous"},
		{name: "U-turn", from: routing.Cloud, octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<meganb@contoso.com>\r\nQUIT\r\n", reply: "451 4.4.6", recipient: "u-turn"},
		{name: "no view", options: gatewaytest.Options{LDIF: "broken"}, octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<adelev@contoso.com>\r\nQUIT\r\n", reply: "451 4.3.0", recipient: "no-view"},
		// Loops.
		{name: "too many Received fields", octets: data(strings.Repeat("Received: by x\r\n", 26)), reply: "554 5.4.6", recipient: "loop"},
		// Hygiene.
		{name: "blocklist", configure: func(c *config.Config) {
			resolver(func(h *config.Hygiene) { h.Blocklists = []string{"bl.fabrikam.com"} })(c)
			c.Listeners[0].ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}, octets: "PROXY TCP4 192.0.2.9 192.0.2.1 1025 25\r\n" + begin + "QUIT\r\n", reply: "550 5.7.1", recipient: "blocklist"},
		{name: "greylist", configure: func(c *config.Config) { c.Hygiene.Greylist = true }, octets: begin + "QUIT\r\n", reply: "451 4.7.1", recipient: "greylist"},
		{name: "DMARC", configure: resolver(func(h *config.Hygiene) { h.Authenticate = "reject" }), octets: data("From: <someone@fabrikam.com>\r\n\r\nx"), reply: "550 5.7.1", recipient: "dmarc"},
		{name: "content filter", configure: useMilter(startMilter(t, judge{end: gomilter.RespReject})), octets: data("x"), reply: "550 5.7.1", recipient: "milter"},
		{name: "content filter, for now", configure: useMilter(startMilter(t, judge{end: gomilter.RespTempFail})), octets: data("x"), reply: "451 4.7.1", recipient: "milter"},
		{name: "content filter at RCPT", configure: func(c *config.Config) {
			useMilter(startMilter(t, judge{rcpt: gomilter.NewResponseStr('y', "550 5.1.8 Not for this one")}))(c)
			c.Hygiene.MilterStage = "recipient"
		}, octets: begin + "QUIT\r\n", reply: "550 5.1.8", recipient: "milter"},
		{name: "content filter down", configure: useMilter("127.0.0.1:1"), octets: data("x"), reply: "451 4.7.1", recipient: "milter-down"},
		{name: "content filter discards", configure: useMilter(startMilter(t, judge{end: gomilter.RespDiscard})), octets: data("x"), reply: "250 2.0.0", recipient: "milter-discard"},
		{name: "another tenant", from: routing.Cloud, octets: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<other@fabrikam.com>\r\nDATA\r\nX-OriginatorOrg: fabrikam.com\r\n\r\nx\r\n.\r\nQUIT\r\n", reply: "550 5.7.64", recipient: "tenant"},
		// The next hop.
		{name: "refused by the next hop", options: gatewaytest.Options{OnPrem: fakemta.Options{Rules: rule(t, "RCPT reply 552 5.2.2 full")}}, octets: data("x"), reply: "552 5.2.2"},
	}
}

// TestRefusalsAreCounted walks the places that refuse something, and looks whether each is counted: every reply by its codes, and most by a
// reason. What it cannot bring about is tested where it happens: a client whose score is bad (inbound), a full disk and a spool that is not
// usable (spool and TestSpoolTrouble), a view that is too old (policies).
func TestRefusalsAreCounted(t *testing.T) {
	for _, tt := range refusals(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := tt.options
			o.Configure = tt.configure
			g := gatewaytest.StartWith(t, o)
			if tt.from == "" {
				tt.from = routing.Internet
			}
			said := provoke(t, g, tt)
			if tt.reply != "" && !strings.Contains("\r\n"+said, "\r\n"+tt.reply) {
				t.Fatalf("no %s in\n%s", tt.reply, said)
			}
			if code, status, ok := strings.Cut(tt.reply, " "); ok && code >= "4" {
				if n := metric(t, g, "coexist_refusals_total", fmt.Sprintf("code=%q", code), fmt.Sprintf("status=%q", status)); n < 1 {
					t.Errorf("the reply %s is not counted", tt.reply)
				}
			}
			for name, reason := range map[string]string{"coexist_refused_clients_total": tt.client, "coexist_refused_recipients_total": tt.recipient} {
				label := fmt.Sprintf("reason=%q", reason)
				if n := metric(t, g, name, label); reason != "" && n < 1 {
					t.Errorf("%s{%s} is %v", name, label, n)
				}
			}
			if n := metric(t, g, "coexist_refused_recipients_total"); tt.recipient == "" && n != 0 {
				t.Errorf("%v recipients are counted as refused", n)
			}
		})
	}
}

// provoke does what a refusal needs.
func provoke(t *testing.T, g *gatewaytest.Gateway, r refusal) string {
	switch {
	case strings.HasPrefix(r.name, "connections"):
		first, err := g.Client(r.from) // takes the one place that there is
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		return wire(t, g, r.from, r.octets)
	case r.name == "TLS":
		return garbledTLS(t, g, r)
	}
	return wire(t, g, r.from, r.octets)
}

// garbledTLS sends what is no handshake, once the gateway waits for one.
func garbledTLS(t *testing.T, g *gatewaytest.Gateway, r refusal) string {
	nc, err := g.Dial(r.from)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(nc)
	for _, line := range append([]string{""}, strings.SplitAfter(r.octets, "\r\n")...) {
		if line == "" && in.Buffered() > 0 {
			continue
		}
		io.WriteString(nc, line)
		for {
			reply, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if reply[3] == ' ' {
				break
			}
		}
		if strings.HasPrefix(line, "STARTTLS") {
			break
		}
	}
	io.WriteString(nc, "this is no handshake at all, and long enough\r\n")
	said, _ := io.ReadAll(in)
	return string(said)
}

// Series that a next hop could make up do not grow without end.
func TestRefusalSeriesAreBounded(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{})
	c, err := g.Client(routing.Internet)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 400 {
		if err := g.OnPrem.SetRules(rule(t, fmt.Sprintf("RCPT reply 550 5.%d.%d made up", n/100, n%100))...); err != nil {
			t.Fatal(err)
		}
		if _, err := gatewaytest.Transact(c, sender, []string{"adelev@contoso.com"}, "x\r\n"); err == nil {
			t.Fatal("delivered")
		}
	}
	_, text := get(t, g, "/metrics")
	if n := strings.Count(text, "\ncoexist_refusals_total{"); n > 301 {
		t.Errorf("%d series", n)
	}
	if n := metric(t, g, "coexist_refusals_total"); n != 400 {
		t.Errorf("%v refusals are counted", n)
	}
}

// Milters have figures of their own.
func TestMilterMetrics(t *testing.T) {
	address := startMilter(t, judge{})
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.Milters, c.Hygiene.MilterDown = []string{address, "127.0.0.1:1"}, "accept"
	}})
	for range 5 {
		g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	}
	label := func(name, value string) string { return fmt.Sprintf("%s=%q", name, value) }
	for _, tt := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"coexist_milter_requests_total", []string{label("milter", address), label("outcome", "accept")}, 5},
		{"coexist_milter_requests_total", []string{label("milter", "127.0.0.1:1")}, 5},
		{"coexist_milter_up", []string{label("milter", address)}, 1},
		{"coexist_milter_up", []string{label("milter", "127.0.0.1:1")}, 0},
		{"coexist_milter_seconds_count", []string{label("milter", address)}, 5},
	} {
		if got := metric(t, g, tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s%v is %v, want %v", tt.name, tt.labels, got, tt.want)
		}
	}
	if n := metric(t, g, "coexist_milter_requests_total", label("milter", "127.0.0.1:1"), label("outcome", "error")); n < 3 { // more if this took ten seconds
		t.Errorf("asked in vain %v times", n)
	}
}

// A message that a filter discards, or that is refused after DATA, is found in the trace by its id.
func TestFilteredMessagesAreTraced(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: useMilter(startMilter(t, judge{end: gomilter.RespDiscard}))})
	reply := g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "x\r\n")
	id := strings.Fields(reply)[1]
	events := traced(t, g, id)
	if len(events) != 1 || events[0].Recipient != "adelev@contoso.com" || !strings.Contains(events[0].Reason, "milter-discard") {
		t.Errorf("trace of %s: %+v", id, events)
	}
	if n := len(g.OnPrem.Messages()); n != 0 {
		t.Errorf("%d messages delivered", n)
	}
}

// traced is the trace of a message.
func traced(t *testing.T, g *gatewaytest.Gateway, id string) []trace.Event {
	t.Helper()
	if err := admin.NewClient(g.AdminAddr().String()).FlushTrace(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := trace.NewReader(filepath.Join(g.Config.DataDir, "trace")).Search(t.Context(), trace.Query{ID: id, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// Known clients are greeted at once, whatever strangers have to wait for.
func TestGreetDelayIsForStrangers(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.GreetDelay, c.Hygiene.EarlyTalkers = 300*time.Millisecond, "refuse"
	}})
	for _, side := range []routing.Side{routing.OnPrem, routing.Cloud} {
		if said := wire(t, g, side, "EHLO x\r\nQUIT\r\n"); !strings.HasPrefix(said, "220 ") || !strings.Contains(said, "\r\n221 ") {
			t.Errorf("%s: %q", side, said)
		}
	}
	start := time.Now()
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("a stranger was greeted after %v", took)
	}
	if said := wire(t, g, routing.Internet, "EHLO x\r\nQUIT\r\n"); !strings.HasPrefix(said, "554 5.5.1 ") {
		t.Errorf("early talker: %q", said)
	}
	exempt := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.GreetDelay, c.Hygiene.EarlyTalkers = 20*time.Second, "refuse"
		c.Hygiene.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}
	}})
	if said := wire(t, exempt, routing.Internet, "EHLO x\r\nQUIT\r\n"); !strings.HasPrefix(said, "220 ") {
		t.Errorf("exempt: %q", said)
	}
}
