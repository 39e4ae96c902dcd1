package dialog_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
)

var update = flag.Bool("update", false, "write docs/smtp-conformance.md")

const (
	root      = "../../../"
	dialogDir = root + "testdata/dialogs"
	tableFile = root + "docs/smtp-conformance.md"
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

// certificateFiles writes a certificate and its key.
func certificateFiles(t testing.TB) (cert, key string) {
	t.Helper()
	c, _, err := fakemta.NewCertificate("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// runner is for a server at addr that tells its clients apart as gatewaytest does, and has the sample directory's people.
func runner(addr string) *dialog.Runner {
	from := map[string]string{"": "127.0.0.1", "onprem": "127.0.1.1", "cloud": "127.0.2.1"}
	return &dialog.Runner{
		Vars: dialog.DefaultVars(),
		Dial: func(ctx context.Context, client string) (net.Conn, error) {
			ip, ok := from[client]
			if !ok {
				return nil, dialog.ErrNoClient
			}
			d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
			return d.DialContext(ctx, "tcp", addr)
		},
	}
}

// TestDialogs runs every dialog against a gateway, counting what it passes on.
func TestDialogs(t *testing.T) {
	t.Parallel()
	cert, key := certificateFiles(t)
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Listeners[0] = config.Listener{Address: "127.0.0.1:0", TLS: config.ListenerTLSStartTLS, CertFile: cert, KeyFile: key}
		c.Limits.MessageSize, c.Limits.ConnectionsPerClient, c.Limits.Recipients = 1<<20, 500, 100
	}})
	mtas := []*fakemta.Server{g.OnPrem, g.Cloud, g.Internet}
	r := runner(g.Addr)
	r.Messages = func() (n int) {
		for _, m := range mtas {
			n += len(m.Messages())
		}
		return n
	}
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
					case result.Outcome == dialog.Skipped:
						t.Skip("needs " + result.Why)
					case result.Outcome == dialog.Differs:
						t.Errorf("%s:%d: want %s, got %s\n%s", d.File, result.Line, result.Want, result.Got, transcript.String())
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
	cert, key := certificateFiles(t)
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Listeners[0] = config.Listener{Address: "127.0.0.1:0", TLS: config.ListenerTLSRequired, CertFile: cert, KeyFile: key}
		c.Limits.MessageSize, c.Limits.ConnectionsPerClient, c.Limits.Recipients = 1<<20, 500, 100
	}})
	r := runner(g.Addr)
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
	table := conformance(t, addr, version)
	if *update {
		if err := os.WriteFile(tableFile, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(kept), version) {
		t.Skipf("the table is of another version than %s", version)
	}
	if string(kept) != table {
		t.Errorf("%s is stale: go test ./gateway/inbound/dialog -run Postfix -update; now it is\n%s", tableFile, table)
	}
}

// conformance is the table of differences as Markdown.
func conformance(t *testing.T, addr, version string) string {
	dialogs := load(t)
	sections, results := collect(t, runner(addr), dialogs)
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
	return fmt.Sprintf(`# SMTP conformance

`+"`testdata/dialogs/*.smtp`"+` are %d dialogs of %d sections that say how a server answers: the common case, the odd one and the attack, each with the
rule that it comes from. coexist passes them all; a test sees to it. They run against any server:

`+"```sh\nsmtpdialog mail.contoso.com:25 testdata/dialogs/*.smtp\nsmtpdialog --help\n```"+`

The same dialogs against %s with its defaults, but TLS, a limit of 1 MiB, a table of recipients and no pause after errors: %d sections passed, %d differ,
%d were not run. A difference is not always a fault: RFC 5321 leaves much open, and a dialog here asks for the strictest reading.
This table is made by `+"`go test ./gateway/inbound/dialog -run Postfix -update`"+`.

| dialog | section | asked for | Postfix |
|---|---|---|---|
%s
What no dialog can tell is a Go test:

| case | test |
|---|---|
%s`, len(dialogs), len(sections), version, count[dialog.Passed], count[dialog.Differs], count[dialog.Skipped], rows.String(), elsewhereTable())
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

// elsewhere are the cases of docs/smtp-conformance.md that are Go tests, with the file of each.
var elsewhere = []struct{ what, file, test string }{
	{"no directory, or one too old: 451 4.3.0", "gateway/gateway_test.go", "TestWithoutAView"},
	{"the growing delay and the end of guessing", "gateway/inbound/strangers_test.go", "TestHarvest"},
	{"a client's score over its connections", "gateway/inbound/strangers_test.go", "TestScoreOverConnections"},
	{"silence and trickle in commands", "gateway/inbound/inbound_test.go", "TestCommandTimeout"},
	{"silence in DATA", "gateway/inbound/inbound_test.go", "TestTimeoutInData"},
	{"an octet now and then in DATA", "gateway/inbound/inbound_test.go", "TestTrickle"},
	{"a TLS handshake that never comes", "gateway/inbound/inbound_test.go", "TestFailedHandshakeCloses"},
	{"connections, together and by client", "gateway/inbound/inbound_test.go", "TestConnectionLimits"},
	{"less patience when most places are taken", "gateway/inbound/strangers_test.go", "TestStress"},
	{"headers over their limits in a message that is not too big", "gateway/inbound/strangers_test.go", "TestHugeHeaders"},
	{"TNEF that unpacks to gigabytes", "tnef/decode_test.go", "TestLimits"},
	{"line breaks in what a notice quotes", "gateway/bounce/bounce_test.go", "TestInjection"},
	{"who gets a notice, and who never does", "gateway/bounce/bounce_test.go", "TestWanted"},
	{"a full disk", "gateway/peers/delivery_test.go", "TestDiskFull"},
	{"a spool that cannot be written", "gateway/peers/delivery_test.go", "TestReadOnlyData"},
	{"kill -9 at each step", "gateway/peers/delivery_test.go", "TestKill"},
	{"a crash at every operation on files", "gateway/spool/fault_test.go", "TestFaultAtEveryStep"},
	{"next hops that misbehave", "gateway/outbound/deliver_test.go", "TestMisbehaviour"},
	{"SIGTERM in DATA", "gateway/inbound/inbound_test.go", "TestShutdown"},
}

func elsewhereTable() string {
	var b strings.Builder
	for _, e := range elsewhere {
		fmt.Fprintf(&b, "| %s | `%s` in `%s` |\n", e.what, e.test, e.file)
	}
	return b.String()
}

// The tests that the table names exist.
func TestElsewhere(t *testing.T) {
	for _, e := range elsewhere {
		source, err := os.ReadFile(root + e.file)
		if err != nil {
			t.Error(err)
		} else if !bytes.Contains(source, []byte("\nfunc "+e.test+"(")) {
			t.Errorf("%s has no %s", e.file, e.test)
		}
	}
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
	if _, err := os.Stat(tableFile); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is missing", tableFile)
	}
}
