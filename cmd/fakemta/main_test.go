package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

// output collects what a command prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// waitFor returns the first match of pattern in the output.
func (o *output) waitFor(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if match := re.FindStringSubmatch(o.String()); match != nil {
			return match
		}
	}
	t.Fatalf("%q does not appear in %q", pattern, o.String())
	return nil
}

// serve runs the command until stop is called, which returns its status.
func serve(t *testing.T, args ...string) (address string, out *output, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out = &output{}
	status := make(chan int, 1)
	go func() { status <- run(ctx, append([]string{"--listen", "127.0.0.1:0"}, args...), out, out) }()
	stop = sync.OnceValue(func() int {
		cancel()
		return <-status
	})
	t.Cleanup(func() { stop() })
	return out.waitFor(t, `listening on (\S+)\n`)[1], out, stop
}

func TestMessagesBecomeFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	address, out, stop := serve(t, "--dir", dir, "--rule", "RCPT *@contoso.com reply 450 4.2.0 busy, come back", "--rule", "RCPT gone@* reply 550 5.1.1 unknown")
	if err := smtp.SendMail(address, nil, "a@fabrikam.com", []string{"b@contoso.com"}, nil); err == nil || err.Error() != `450 "4.2.0 busy, come back"` {
		t.Errorf("got %v", err)
	}
	message := "Subject: x\r\n\r\n.\r\n..\r\nend\r\n"
	if err := smtp.SendMail(address, nil, "a@fabrikam.com", []string{"b@fabrikam.com", "c@fabrikam.com"}, []byte(message)); err != nil {
		t.Fatal(err)
	}
	// Both files are there when the client has its 250.
	data, err := os.ReadFile(filepath.Join(dir, "1.eml"))
	if err != nil || string(data) != message {
		t.Errorf("1.eml: %q, %v", data, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "1.json"))
	var envelope struct {
		Sender     string
		Recipients []string
		Size       int
		Helo       string
	}
	if err != nil || json.Unmarshal(text, &envelope) != nil {
		t.Fatalf("1.json: %s, %v", text, err)
	}
	if got, want := fmt.Sprint(envelope), "{a@fabrikam.com [b@fabrikam.com c@fabrikam.com] "+fmt.Sprint(len(message))+" localhost}"; got != want {
		t.Errorf("1.json: got %s, want %s", got, want)
	}
	out.waitFor(t, `(?m)^1 from=<a@fabrikam.com> to=<b@fabrikam.com>,<c@fabrikam.com> size=26 helo="localhost" remote=127.0.0.1:\d+ tls="clear"$`)
	if status := stop(); status != statusFine {
		t.Errorf("status %d", status)
	}
	out.waitFor(t, `(?m)^1 messages, 26 octets, 2 connections, at most \d at a time$`)

	// Another start counts on.
	address, _, _ = serve(t, "--dir", dir)
	if err := smtp.SendMail(address, nil, "", []string{"b@contoso.com"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "2.json")); err != nil {
		t.Error(err)
	}
}

func TestFolderThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	address, _, _ := serve(t, "--dir", dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(address, nil, "", []string{"b@contoso.com"}, nil); err == nil || !strings.HasPrefix(err.Error(), `451 "4.3.0 write message`) {
		t.Errorf("got %v, expected 451: the message is not on disk", err)
	}
}

func TestDiscardPrintsNothing(t *testing.T) {
	address, out, stop := serve(t, "--discard")
	if err := smtp.SendMail(address, nil, "a@fabrikam.com", []string{"b@contoso.com"}, []byte("x\r\n")); err != nil {
		t.Fatal(err)
	}
	stop()
	if strings.Contains(out.String(), "from=") || !strings.Contains(out.String(), "1 messages, 3 octets") {
		t.Error(out.String())
	}
}

func TestScriptIsReadAgain(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	write := func(text string) {
		if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# greylisting\nRCPT reply 450 4.7.1 greylisted\n")
	address, out, _ := serve(t, "--script", script)
	send := func() error { return smtp.SendMail(address, nil, "a@fabrikam.com", []string{"b@contoso.com"}, nil) }
	if err := send(); err == nil || !strings.HasPrefix(err.Error(), `450 "4.7.1`) {
		t.Fatalf("got %v", err)
	}
	hangUp := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("RCPT dorp now\n")
	hangUp()
	out.waitFor(t, `the script stays as it was: script \S+: line 1: `)
	write("")
	hangUp()
	deadline := time.Now().Add(10 * time.Second)
	for err := send(); err != nil; err = send() {
		if time.Now().After(deadline) {
			t.Fatalf("the rule still acts: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// certificate writes a certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	pair, _, err := fakemta.NewCertificate("mta.example")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestWrongUse(t *testing.T) {
	cert, key := certificate(t)
	busy, _, _ := serve(t)
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"help", []string{"--help"}, statusFine, "--listen=HOST:PORT"},
		{"unknown flag", []string{"--nope"}, statusUsage, "unknown flag --nope"},
		{"bad rule", []string{"--rule", "RCPT dorp now"}, statusUsage, `"now" is neither`},
		{"no script", []string{"--script", "/nonexistent/script"}, statusUsage, "no such file"},
		{"key missing", []string{"--tls-cert", cert}, statusUsage, "--tls-cert and --tls-key come together"},
		{"no certificate", []string{"--tls-cert", key, "--tls-key", key}, statusUsage, "load certificate"},
		{"implicit without certificate", []string{"--tls-implicit"}, statusUsage, "needs --tls-cert"},
		{"address in use", []string{"--listen", busy}, statusFault, "address already in use"},
		{"folder is a file", []string{"--dir", cert}, statusUsage, "not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out output
			status := run(context.Background(), test.args, &out, &out)
			if status != test.status || !strings.Contains(out.String(), test.want) {
				t.Errorf("status %d, %q", status, out.String())
			}
		})
	}
}

// TestSwaks sends with another implementation of a client, in clear and with STARTTLS, and with a scripted refusal.
func TestSwaks(t *testing.T) {
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		t.Skip("swaks is not installed")
	}
	cert, key := certificate(t)
	dir := t.TempDir()
	address, _, _ := serve(t, "--dir", dir, "--tls-cert", cert, "--tls-key", key, "--offer", "PIPELINING,STARTTLS,SIZE", "--rule", "RCPT busy@* reply 450 4.2.0 busy")
	for _, test := range []struct {
		name, want string
		exit       int
		args       []string
	}{
		{"clear", "<-  250 2.0.0 ok", 0, []string{"--to", "b@contoso.com"}},
		{"pipelining", "<-  250 2.0.0 ok", 0, []string{"--to", "b@contoso.com,c@contoso.com", "--pipeline"}},
		{"refused", "<** 450 4.2.0 busy", 24, []string{"--to", "busy@contoso.com"}},
		{"starttls", "<~  250 2.0.0 ok", 0, []string{"--to", "b@contoso.com", "--tls"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"--server", address, "--from", "a@fabrikam.com", "--helo", "client.example"}, test.args...)
			out, err := exec.Command(swaks, args...).CombinedOutput()
			if strings.Contains(string(out), "TLS not available") {
				t.Skip("swaks has no TLS here")
			}
			exit := 0
			if exitErr, ok := err.(*exec.ExitError); ok {
				exit = exitErr.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(test.want, "2.0.0 ", "") // ENHANCEDSTATUSCODES is not offered
			if exit != test.exit || !strings.Contains(string(out), want) {
				t.Errorf("exit status %d\n%s", exit, out)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "2.json")); err != nil {
		t.Error(err)
	}
}
