package dialog_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

var update = flag.Bool("update", false, "write docs/smtp-conformance.md")

const (
	root      = "../../../"
	dialogDir = root + "testdata/dialogs"
	pageFile  = root + "docs/smtp-conformance.md"
)

// load reads all dialogs, in the order of their numbers.
func load(t testing.TB) []*dialog.Dialog {
	t.Helper()
	files, err := filepath.Glob(dialogDir + "/*.smtp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	slices.Sort(files)
	var all []*dialog.Dialog
	for _, f := range files {
		d, err := dialog.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// runner is for servers by their state, "" being the usual one, that tell their clients apart as gatewaytest does, and have the sample
// directory's people.
func runner(servers map[string]string) *dialog.Runner {
	from := map[string]string{"": "127.0.0.1", "onprem": "127.0.1.1", "cloud": "127.0.2.1"}
	return &dialog.Runner{
		Vars: dialog.DefaultVars(),
		Dial: func(ctx context.Context, p dialog.Peer) (net.Conn, error) {
			ip, known := from[p.Client]
			addr, runs := servers[p.Server]
			if !known || !runs {
				return nil, dialog.ErrNoPeer
			}
			d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
			return d.DialContext(ctx, "tcp", addr)
		},
	}
}

// usersFile writes a file with the user of the dialogs about AUTH.
func usersFile(t testing.TB) string {
	t.Helper()
	hash, err := users.Hash("printer-password")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("printer:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// usual is the configuration of the usual server.
func usual(t testing.TB, mode config.ListenerTLS) func(*config.Config) {
	cert, key := peertest.Certificate(t, t.TempDir(), "gw1.contoso.com")
	userFile := usersFile(t)
	return func(c *config.Config) {
		c.Listeners[0] = config.Listener{Address: "127.0.0.1:0", TLS: mode, CertFile: cert, KeyFile: key}
		c.Limits.MessageSize, c.Limits.ConnectionsPerClient, c.Limits.Recipients = 1<<20, 500, 100
		c.OnPrem.UsersFile = userFile
	}
}

// A state is how a server that a dialog asks for by name is made.
var states = map[string]func(testing.TB) *gatewaytest.Gateway{
	"": func(t testing.TB) *gatewaytest.Gateway {
		return gatewaytest.StartWith(t, gatewaytest.Options{Configure: usual(t, config.ListenerTLSStartTLS)})
	},
	"no-directory": func(t testing.TB) *gatewaytest.Gateway {
		return gatewaytest.StartWith(t, gatewaytest.Options{LDIF: "# nothing\n"})
	},
	"refuses-one": func(t testing.TB) *gatewaytest.Gateway {
		rules, err := fakemta.ParseRules(`RCPT * reply 550 5.1.1 no such user\nX-Injected: yes\n\u00e9\u00e8 nor here`)
		if err != nil {
			t.Fatal(err)
		}
		return gatewaytest.StartWith(t, gatewaytest.Options{OnPrem: fakemta.Options{Rules: rules}})
	},
	"disk-full": diskFull,
}

// diskFull is a gateway whose data_dir has no room, and whose cloud cannot be reached; nil where no file system can be mounted.
func diskFull(t testing.TB) *gatewaytest.Gateway {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Logf("no server with a full disk: %v", err)
		return nil
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) }) // runs after the gateway is closed
	dead := peertest.FreeAddr(t, "127.0.4.1")
	g := gatewaytest.StartWith(t, gatewaytest.Options{DataDir: filepath.Join(disk, "data"), Configure: func(c *config.Config) {
		c.Limits.MessageSize, c.Cloud.NextHop = 10<<20, []string{dead}
	}})
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for size := 64 << 10; size > 0; {
		if _, err := filler.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return g
}

// fleet starts a server of each state. The messages of one are those that its three next hops have.
func fleet(t testing.TB) (servers map[string]string, messages func(server string) [][]byte, mtas []*fakemta.Server) {
	t.Helper()
	servers, hops := map[string]string{}, map[string][]*fakemta.Server{}
	for name, start := range states {
		if g := start(t); g != nil {
			servers[name], hops[name] = g.Addr, []*fakemta.Server{g.OnPrem, g.Cloud, g.Internet}
			mtas = append(mtas, hops[name]...)
		}
	}
	return servers, func(server string) [][]byte {
		var all []fakemta.Message
		for _, m := range hops[server] {
			all = append(all, m.Messages()...)
		}
		slices.SortStableFunc(all, func(a, b fakemta.Message) int { return a.Received.Compare(b.Received) })
		data := make([][]byte, len(all))
		for i, m := range all {
			data[i] = m.Data
		}
		return data
	}, mtas
}

// TestDialogs runs every dialog against gateways, and looks at what they pass on.
func TestDialogs(t *testing.T) {
	t.Parallel()
	servers, messages, mtas := fleet(t)
	r := runner(servers)
	r.Messages = messages
	for _, d := range load(t) {
		t.Run(d.Name, func(t *testing.T) {
			for _, s := range d.Sections {
				t.Run(s.Name, func(t *testing.T) {
					var transcript bytes.Buffer
					r.Transcript = &transcript
					result, err := r.Run(t.Context(), s)
					switch {
					case err != nil:
						t.Fatal(err)
					case result.Outcome == dialog.Skipped && os.Geteuid() != 0 && d.Name == "38-disk-full":
						t.Skip("needs " + result.Why)
					case result.Outcome != dialog.Passed:
						t.Errorf("%s:%d: %s: want %s, got %s %s\n%s", d.File, result.Line, result.Outcome, result.Want, result.Got, result.Why, transcript.String())
					}
				})
			}
		})
	}
	for _, m := range mtas {
		for _, message := range m.Messages() {
			if strings.HasPrefix(message.Sender, "smuggled@") {
				t.Errorf("a smuggled message came through: %.300q", message.Data)
			}
			if message.BareCR || message.BareLF {
				t.Errorf("a bare CR or LF was passed on: %.300q", message.Data)
			}
		}
	}
}

// TestDialogsInsideTLS runs them all a second time, over TLS.
func TestDialogsInsideTLS(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: usual(t, config.ListenerTLSRequired)})
	r := runner(map[string]string{"": g.Addr})
	r.StartTLS = true
	for _, d := range load(t) {
		if slices.Contains([]string{"23-harvest", "29-huge-headers"}, d.Name) { // slow, and the same
			continue
		}
		for _, s := range d.Sections {
			t.Run(d.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				result, err := r.Run(t.Context(), s)
				if err != nil || result.Outcome == dialog.Differs {
					t.Errorf("%s:%d: want %s, got %s; %v", d.File, result.Line, result.Want, result.Got, err)
				}
			})
		}
	}
}

// TestDifferencesOfPostfix holds the dialogs against a real Postfix, and the result against the table in the documentation.
func TestDifferencesOfPostfix(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	addr, version := startPostfix(t)
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if !*update && !strings.Contains(string(page), version) {
		t.Skipf("the table is of another version than %s", version)
	}
	checkPage(t, string(page), "differences", differences(t, addr, version))
}

// checkPage holds a part of the page, between two comments, against what it must be, or writes it.
func checkPage(t *testing.T, page, part, want string) {
	t.Helper()
	begin, end := "<!-- "+part+": begin -->\n", "<!-- "+part+": end -->"
	before, rest, ok := strings.Cut(page, begin)
	kept, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no part %q", pageFile, part)
	}
	switch {
	case kept == want:
	case *update:
		if err := os.WriteFile(pageFile, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is stale: go test ./gateway/inbound/dialog -update; now it is\n%s", pageFile, want)
	}
}

// differences is the table of differences as Markdown.
func differences(t *testing.T, addr, version string) string {
	dialogs := load(t)
	r := runner(map[string]string{"": addr})
	r.Timeout = 30 * time.Second // no dialog waits for what Postfix does not say
	sections, results := collect(t, r, dialogs)
	count := map[dialog.Outcome]int{}
	var rows strings.Builder
	for i, s := range sections {
		r := results[i]
		count[r.Outcome]++
		name := strings.TrimSuffix(filepath.Base(s.File), ".smtp")
		switch r.Outcome {
		case dialog.Differs:
			fmt.Fprintf(&rows, "| %s | %s | `%s` | `%s` |\n", name, cell(s.Name), cell(r.Want), cell(r.Got))
		case dialog.Skipped:
			fmt.Fprintf(&rows, "| %s | %s | needs %s | not run |\n", name, cell(s.Name), cell(r.Why))
		}
	}
	return fmt.Sprintf(`The same %d dialogs of %d sections against %s with its defaults, but TLS, a limit of 1 MiB, a table of recipients and no pause after
errors: %d sections passed, %d differ, %d were not run. A difference is not always a fault: RFC 5321 leaves much open, and a dialog here asks for
the strictest reading.

| dialog | section | asked for | Postfix |
|---|---|---|---|
%s`, len(dialogs), len(sections), version, count[dialog.Passed], count[dialog.Differs], count[dialog.Skipped], rows.String())
}

// collect runs the sections, four at a time: Postfix sleeps a second at every error.
func collect(t *testing.T, r *dialog.Runner, dialogs []*dialog.Dialog) ([]*dialog.Section, []dialog.Result) {
	t.Helper()
	var sections []*dialog.Section
	for _, d := range dialogs {
		sections = append(sections, d.Sections...)
	}
	results := make([]dialog.Result, len(sections))
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i, s := range sections {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var err error
			if results[i], err = r.Run(t.Context(), s); err != nil {
				t.Errorf("%s %s: %v", s.File, s.Name, err)
			}
		})
	}
	wg.Wait()
	return sections, results
}

// cell makes text fit for a table's cell, without what is new in each run.
func cell(s string) string {
	s = regexp.MustCompile(`queued as [0-9A-F]+`).ReplaceAllString(s, "queued as ID")
	s = strings.ReplaceAll(s, "`", "'")
	return strings.ReplaceAll(s, "|", "\\|")
}

// A goTest is a test that a case has beside its dialogs, or instead of them.
type goTest struct{ file, name string }

// cases are the classes of trouble that a server on the internet meets, by the number that the dialogs of each begin with, from 1.
var cases = []struct {
	what  string
	tests []goTest
}{
	{"false ends of a message", []goTest{{"gateway/peers/smuggling_test.go", "TestSmuggling"}, {"gateway/inbound/inbound_test.go", "TestSmugglerDoesNotHang"}}},
	{"bare CR and LF in a message", []goTest{{"gateway/inbound/inbound_test.go", "TestLineEndingsFromOnPremAreNormalized"}}},
	{"bare LF between commands", nil},
	{"commands behind STARTTLS in clear", []goTest{{"gateway/peers/attack_test.go", "TestClearTextBehindStartTLS"}}},
	{"STARTTLS and no handshake", []goTest{{"gateway/inbound/inbound_test.go", "TestFailedHandshakeCloses"}}},
	{"STARTTLS misused", nil},
	{"pipelined commands of which the first are refused", []goTest{{"gateway/inbound/inbound_test.go", "TestAllRecipientsRefusedThenPipelinedData"}}},
	{"clients that do not wait", []goTest{{"gateway/inbound/strangers_test.go", "TestEarlyTalkers"}}},
	{"chunks behind a refusal", nil},
	{"sizes of chunks", nil},
	{"chunks, DATA, RSET and cut connections", []goTest{{"gateway/peers/delivery_test.go", "TestClientGone"}}},
	{"one transaction inside another", nil},
	{"the order of commands", nil},
	{"long command lines", nil},
	{"long lines of a message", nil},
	{"control characters", nil},
	{"odd addresses", nil},
	{"Postmaster", nil},
	{"the null reverse-path", nil},
	{"parameters of MAIL and RCPT", nil},
	{"the very limit of the size", nil},
	{"relaying", []goTest{{"gateway/peers/relay_test.go", "TestOpenRelay"}}},
	{"guessing of addresses", []goTest{{"gateway/inbound/strangers_test.go", "TestHarvest"}, {"gateway/inbound/strangers_test.go", "TestScoreOverConnections"}}},
	{"VRFY and EXPN", nil},
	{"no directory, or one too old", []goTest{{"gateway/gateway_test.go", "TestWithoutAView"}, {"routing/router_test.go", "TestNoViewAndStaleView"}}},
	{"what means something to LDAP", nil},
	{"slow clients, and many of them", []goTest{
		{"gateway/inbound/inbound_test.go", "TestCommandTimeout"}, {"gateway/inbound/inbound_test.go", "TestTimeoutInData"},
		{"gateway/inbound/inbound_test.go", "TestTrickle"}, {"gateway/inbound/inbound_test.go", "TestConnectionLimits"},
		{"gateway/inbound/strangers_test.go", "TestStress"}, {"gateway/peers/resources_test.go", "TestSlowClients"},
		{"gateway/peers/resources_test.go", "TestIdleConnections"},
	}},
	{"many recipients", []goTest{{"gateway/peers/resources_test.go", "TestCrowdOfGroups"}}},
	{"huge headers", []goTest{{"gateway/inbound/strangers_test.go", "TestHugeHeaders"}}},
	{"loops", []goTest{{"gateway/gateway_test.go", "TestLoop"}, {"gateway/filter_test.go", "TestPingPong"}}},
	{"MIME bombs", []goTest{{"gateway/peers/resources_test.go", "TestBombs"}}},
	{"TNEF bombs", []goTest{{"tnef/decode_test.go", "TestLimits"}, {"gateway/peers/resources_test.go", "TestManyBombs"}}},
	{"compressed attachments", nil},
	{"odd headers", nil},
	{"what must arrive as it was sent", []goTest{{"gateway/gateway_test.go", "TestByteExact"}, {"gateway/peers/postfix_test.go", "TestPostfixAround"}}},
	{"line breaks in what a notice quotes", []goTest{{"gateway/bounce/bounce_test.go", "TestInjection"}}},
	{"who gets a notice, and who never does", []goTest{{"gateway/bounce/bounce_test.go", "TestWanted"}, {"gateway/peers/delivery_test.go", "TestNotify"}}},
	{"no room, or a disk that cannot be written", []goTest{{"gateway/peers/delivery_test.go", "TestDiskFull"}, {"gateway/peers/delivery_test.go", "TestReadOnlyData"}}},
	{"the process is killed, or the power cut", []goTest{{"gateway/peers/delivery_test.go", "TestKill"}, {"gateway/spool/fault_test.go", "TestFaultAtEveryStep"}}},
	{"next hops that misbehave", []goTest{
		{"gateway/outbound/deliver_test.go", "TestMisbehaviour"}, {"gateway/peers/delivery_test.go", "TestTroubleInATransaction"},
		{"gateway/peers/delivery_test.go", "TestUncertainDelivery"},
	}},
	{"other protocols", nil},
	{"SIGTERM in the middle", []goTest{{"gateway/peers/delivery_test.go", "TestSignalInTheMiddle"}, {"gateway/inbound/inbound_test.go", "TestShutdown"}}},
	{"times of attempts", []goTest{{"gateway/spool/scheduler_test.go", "TestRetriesBySchedule"}, {"gateway/spool/scheduler_test.go", "TestClockIsSet"}}},
	{"AUTH", []goTest{{"gateway/inbound/auth_test.go", "TestAuth"}, {"gateway/inbound/auth_test.go", "TestAuthIsNotOfferedInClear"}}},
}

// of are the dialogs of a case.
func of(dialogs []*dialog.Dialog, number int) (own []*dialog.Dialog) {
	for _, d := range dialogs {
		if strings.HasPrefix(d.Name, fmt.Sprintf("%02d-", number)) {
			own = append(own, d)
		}
	}
	return own
}

func caseTable(dialogs []*dialog.Dialog) string {
	b := strings.Builder{}
	b.WriteString("| case | what | dialogs | tests in Go |\n|---|---|---|---|\n")
	for i, c := range cases {
		var files, tests []string
		for _, d := range of(dialogs, i+1) {
			files = append(files, "`"+d.Name+"`")
		}
		for _, e := range c.tests {
			tests = append(tests, fmt.Sprintf("`%s` in `%s`", e.name, e.file))
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, c.what, strings.Join(files, ", "), strings.Join(tests, ", "))
	}
	return b.String()
}

// Every case has a dialog, or a test that exists.
func TestCases(t *testing.T) {
	dialogs, known := load(t), 0
	for i, c := range cases {
		own := of(dialogs, i+1)
		known += len(own)
		if len(own) == 0 && len(c.tests) == 0 {
			t.Errorf("case %d has neither a dialog nor a test", i+1)
		}
		for _, e := range c.tests {
			source, err := os.ReadFile(root + e.file)
			if err != nil {
				t.Error(err)
			} else if !bytes.Contains(source, []byte("\nfunc "+e.name+"(")) {
				t.Errorf("%s has no %s", e.file, e.name)
			}
		}
	}
	if known != len(dialogs) {
		t.Errorf("%d of %d dialogs belong to a case", known, len(dialogs))
	}
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	checkPage(t, string(page), "cases", caseTable(dialogs))
}

// Every dialog says what it is about, and none is made for one server alone.
func TestDialogsAreReadable(t *testing.T) {
	for _, d := range load(t) {
		if !strings.Contains(d.Title, "RFC ") && len(d.Title) < 40 {
			t.Errorf("%s: the title says little: %q", d.File, d.Title)
		}
		if !regexp.MustCompile(`^[0-9]{2}-[a-z0-9-]+$`).MatchString(d.Name) {
			t.Errorf("%s is not NN-name.smtp", d.File)
		}
		text, err := os.ReadFile(d.File)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("contoso.com")) {
			t.Errorf("%s has an address that is not a variable", d.File)
		}
	}
}
