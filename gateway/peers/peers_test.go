// Package peers_test runs the program coexist as an administrator does, between programs of other people (Postfix, swaks) and between
// peers that attack, hang, lie or die, over real sockets. What is not installed is skipped with a line that says so, or fails where
// the environment has CI=true.
package peers_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
	"github.com/coexist-mail/coexist/testdata"
)

const sender = "someone@fabrikam.com"

// coexist is the program under test, made once.
var coexist string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	coexist = filepath.Join(dir, "coexist")
	build := exec.Command("go", "build", "-o", coexist, "../../cmd/coexist")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building coexist: %v\n%s", err, out)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	flag.Set("test.parallel", "4") // most of the time they wait for other processes; what the command line says goes before
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// setup is how a gateway is configured. Addresses of clients tell the sides apart: 127.0.1.x is on-prem, 127.0.2.x the cloud, and the
// rest the internet.
type setup struct {
	OnPrem, Cloud, Internet []string // next hops
	Host                    string   // where it listens; default: servers
	Listener                string   // more keys of [[listener]]
	OnPremKeys, CloudKeys   string   // more keys of those tables
	CloudTLS                string   // default: opportunistic
	Processors              string   // that it may use, GOMAXPROCS; empty is all
	Trust                   string   // the file of the authorities that are believed; empty is the system's
	Delivery, Limits        string
	Data                    string // data_dir; empty is a folder of the test
	LDIF                    string // the content; empty is the sample directory
}

var configuration = template.Must(template.New("").Funcs(template.FuncMap{"hops": hops}).Parse(`hostname = "gw1.contoso.com"
data_dir = "{{.Data}}"
domains = ["contoso.com"]

[[listener]]
address = "{{.Addr}}"
{{.Listener}}

[directory]
source = "ldif"
ldif = "contoso.ldif"

[onprem]
next_hop = {{hops .OnPrem}}
clients = ["127.0.1.0/24"]
{{.OnPremKeys}}

[cloud]
tenant_domain = "contoso.onmicrosoft.com"
routing_domain = "contoso.mail.onmicrosoft.com"
next_hop = {{hops .Cloud}}
clients = ["127.0.2.0/24"]
tls = "{{or .CloudTLS "opportunistic"}}"
{{.CloudKeys}}

[internet]
next_hop = {{hops .Internet}}

[delivery]
{{.Delivery}}

[limits]
{{.Limits}}

[admin]
address = "{{.Admin}}"
`))

func hops(hosts []string) string {
	quoted := make([]string, len(hosts))
	for i, h := range hosts {
		quoted[i] = strconv.Quote(h)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// process is a running coexist.
type process struct {
	t           testing.TB
	dir, data   string
	env         []string
	addr, admin string
	cmd         *exec.Cmd
	log         *lockedBuffer
	gone        chan struct{} // closed when the process has ended
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts coexist and waits until it is ready. It ends with the test; what it logged is shown when the test failed.
func start(t testing.TB, s setup) *process {
	t.Helper()
	p := prepare(t, s)
	p.run()
	p.waitReady()
	return p
}

// prepare writes the files of a gateway.
func prepare(t testing.TB, s setup) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), addr: peertest.FreeAddr(t, cmp.Or(s.Host, servers)), admin: peertest.FreeAddr(t, servers), log: &lockedBuffer{}}
	if s.Data == "" {
		s.Data = filepath.Join(p.dir, "data")
	}
	p.data = s.Data
	if s.Trust != "" {
		p.env = append(p.env, "SSL_CERT_FILE="+s.Trust)
	}
	if s.Processors != "" {
		p.env = append(p.env, "GOMAXPROCS="+s.Processors)
	}
	if s.LDIF == "" {
		s.LDIF = testdata.LDIF
	}
	dead := peertest.FreeAddr(t, servers)
	for _, h := range []*[]string{&s.OnPrem, &s.Cloud, &s.Internet} {
		if len(*h) == 0 {
			*h = []string{dead}
		}
	}
	var text strings.Builder
	err := configuration.Execute(&text, struct {
		setup
		Addr, Admin string
	}{s, p.addr, p.admin})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(p.dir, "coexist.toml"), text.String())
	write(t, filepath.Join(p.dir, "contoso.ldif"), s.LDIF)
	t.Cleanup(func() {
		if p.cmd != nil {
			p.stop()
		}
		log := p.log.String()
		for _, bug := range []string{"DATA RACE", "panic", "bug in"} {
			if strings.Contains(log, bug) {
				t.Errorf("the log speaks of a %s", bug)
			}
		}
		if t.Failed() {
			t.Logf("coexist logged (the end of it):\n%s", log[max(0, len(log)-6000):])
		}
	})
	return p
}

// run starts the program, again perhaps.
func (p *process) run() {
	p.t.Helper()
	p.cmd = exec.Command(coexist, "serve", "--drain", "2s", "--config", filepath.Join(p.dir, "coexist.toml"))
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stderr, p.cmd.Stdout = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, gone := p.cmd, make(chan struct{})
	p.gone = gone
	go func() { cmd.Wait(); close(gone) }()
}

func (p *process) waitReady() {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + p.admin + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.gone:
			p.t.Fatalf("coexist ended: %s", p.log.String())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("coexist does not get ready: %s", p.log.String())
		}
	}
}

// stop ends the process with SIGTERM.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(20 * time.Second):
		p.t.Error("coexist does not end at SIGTERM")
		p.signal(syscall.SIGKILL)
		<-p.gone
	}
}

// kill ends the process at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.gone
}

func (p *process) signal(s syscall.Signal) { p.cmd.Process.Signal(s) }

// queue is the number of messages in the spool.
func (p *process) queue() int {
	p.t.Helper()
	rows, err := admin.NewClient(p.admin).Queue(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return len(rows)
}

func (p *process) waitEmptyQueue(within time.Duration) {
	p.t.Helper()
	for deadline := time.Now().Add(within); p.queue() > 0; time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			rows, _ := admin.NewClient(p.admin).Queue(context.Background())
			p.t.Fatalf("the queue does not drain: %+v", rows)
		}
	}
}

// retryAll makes everything in the spool due.
func (p *process) retryAll() {
	p.t.Helper()
	c := admin.NewClient(p.admin)
	rows, err := c.Queue(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range rows {
		if err := c.QueueDo(context.Background(), "retry", r.ID); err != nil {
			p.t.Logf("retry %s: %v", r.ID, err)
		}
	}
}

// rss is the resident memory of the process, in octets; peak is the most it ever was.
func (p *process) rss() (now, peak int64) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return now, peak
}

// cpu is the processor time of the process so far.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third field of proc(5)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// alive tells that the gateway still takes mail, by a new connection.
func (p *process) alive() {
	p.t.Helper()
	c := dial(p.t, p.addr, internet)
	defer c.Close()
	c.ehlo()
	c.say("NOOP", "250 2.0.0")
}

// Clients.

// The addresses that clients of the sides come from.
const (
	internet = "127.0.0.1"
	onprem   = "127.0.1.1"
	cloud    = "127.0.2.1"
)

// client is an SMTP client that sends what it is told to, octet by octet.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dialFrom(addr, from string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", addr)
	if err == nil {
		nc.SetDeadline(time.Now().Add(60 * time.Second))
	}
	return nc, err
}

// dial connects from the address of a side, and reads the greeting.
func dial(t testing.TB, addr, from string) *client {
	t.Helper()
	nc, err := dialFrom(addr, from)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
	t.Cleanup(func() { nc.Close() })
	c.expect("220 ")
	return c
}

// reply reads one reply: its lines joined by "\n". At the end of the connection it is "closed".
func (c *client) reply() string {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case err == io.EOF, err != nil && strings.Contains(err.Error(), "reset by peer"):
			return strings.Join(append(lines, "closed"), "\n")
		case err != nil:
			return strings.Join(append(lines, "error: "+err.Error()), "\n")
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// expect reads a reply that must begin with one of the alternatives in want, which are separated by "|".
func (c *client) expect(want string) string {
	c.t.Helper()
	got := c.reply()
	if !matches(got, want) {
		c.t.Fatalf("reply %q, want %q", got, want)
	}
	return got
}

func matches(got, want string) bool {
	for w := range strings.SplitSeq(want, "|") {
		if strings.HasPrefix(got, w) {
			return true
		}
	}
	return false
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("sending %.60q: %v", s, err)
	}
}

func (c *client) say(command, want string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	got := c.reply()
	if !matches(got, want) {
		c.t.Fatalf("%.200s: reply %q, want %q", command, got, want)
	}
	return got
}

func (c *client) ehlo() string { c.t.Helper(); return c.say("EHLO client.example", "250") }

// transaction sends a message of which every recipient is accepted, and returns the reply to its end.
func (c *client) transaction(from string, to []string, message string) string {
	c.t.Helper()
	c.say("MAIL FROM:<"+from+">", "250")
	for _, a := range to {
		c.say("RCPT TO:<"+a+">", "250")
	}
	c.say("DATA", "354")
	c.send(dotStuff(message) + ".\r\n")
	return c.reply()
}

// dotStuff doubles the dots at the beginnings of lines (RFC 5321 4.5.2). The message ends with CRLF.
func dotStuff(message string) string {
	s := strings.ReplaceAll(message, "\r\n.", "\r\n..")
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return s
}

// secure is the client inside TLS, once STARTTLS has its reply.
func (c *client) secure(conf *tls.Config) *client {
	c.t.Helper()
	tc := tls.Client(c.Conn, conf)
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return &client{t: c.t, Conn: tc, r: bufio.NewReader(tc)}
}

// send is one message over a connection of its own.
func (p *process) send(from, sender string, to []string, message string) string {
	p.t.Helper()
	c := dial(p.t, p.addr, from)
	defer c.Close()
	c.ehlo()
	return c.transaction(sender, to, message)
}

// Servers.

// mta starts a fake MTA with rules.
func mta(t testing.TB, rules ...string) *fakemta.Server {
	t.Helper()
	return mtaWith(t, fakemta.Options{}, rules...)
}

func mtaWith(t testing.TB, o fakemta.Options, rules ...string) *fakemta.Server {
	t.Helper()
	var err error
	if o.Rules, err = fakemta.ParseRules(strings.Join(rules, "\n")); err != nil {
		t.Fatal(err)
	}
	s, err := fakemta.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func setRules(t testing.TB, s *fakemta.Server, rules ...string) {
	t.Helper()
	parsed, err := fakemta.ParseRules(strings.Join(rules, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetRules(parsed...); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t testing.TB, s *fakemta.Server, n int) []fakemta.Message {
	t.Helper()
	ms, err := s.Wait(n, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// below is a message without the trace fields that the gateway put on top.
func below(t testing.TB, data []byte) string {
	t.Helper()
	s := string(data)
	for strings.HasPrefix(s, "X-Coexist-") {
		_, s = cutField(s)
	}
	field, rest := cutField(s)
	if !strings.HasPrefix(field, "Received: from ") || !strings.Contains(field, "by gw1.contoso.com") {
		t.Fatalf("no Received of the gateway on top: %.200q", s)
	}
	return rest
}

// cutField cuts the first header field off.
func cutField(s string) (field, rest string) {
	for i := 0; ; {
		n := strings.Index(s[i:], "\r\n")
		if n < 0 {
			return s, ""
		}
		i += n + 2
		if i == len(s) || s[i] != ' ' && s[i] != '\t' {
			return s[:i], s[i:]
		}
	}
}

// Files and addresses.

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// servers is the loopback address of servers whose port is chosen before they start.
const servers = "127.0.4.1"
