package outbound

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// smtpSink starts Postfix's test server with the given options and returns its address; the test is skipped where Postfix is
// not installed.
func smtpSink(t *testing.T, options ...string) string {
	t.Helper()
	path, err := exec.LookPath("smtp-sink")
	if err != nil {
		if path = "/usr/sbin/smtp-sink"; !isFile(path) {
			t.Skip("smtp-sink is not installed")
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if os.Geteuid() == 0 {
		options = append(options, "-u", "nobody")
	}
	cmd := exec.Command(path, append(options, addr, "100")...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Skipf("smtp-sink does not run here: %s", said.String())
	return ""
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestSMTPSink: every message of many senders is settled, whatever Postfix's test server does.
func TestSMTPSink(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []string
		want    []Outcome // that may be
	}{
		{"takes all", nil, []Outcome{Delivered}},
		{"takes all, without PIPELINING", []string{"-p"}, []Outcome{Delivered}},
		{"HELO only", []string{"-e"}, []Outcome{Delivered}},
		{"refuses RCPT", []string{"-r", "rcpt"}, []Outcome{Refused, Deferred}},
		{"refuses DATA", []string{"-r", "data"}, []Outcome{Refused, Deferred}},
		{"refuses the content", []string{"-r", "."}, []Outcome{Refused, Deferred}},
		{"hangs up at DATA", []string{"-q", "data"}, []Outcome{Deferred}},
		{"hangs up at the end", []string{"-q", "."}, []Outcome{Deferred}},
		{"hangs up at MAIL", []string{"-q", "mail"}, []Outcome{Deferred}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := transport(t, nil, smtpSink(t, c.options...))
			allowed := fmt.Sprint(c.want)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for i := range 4 {
						content := sample + strings.Repeat(".0123456789\r\n", i*3000)
						for _, r := range deliver(t, tr, request(content, "alexd@contoso.com", "juliai@contoso.com")) {
							if !strings.Contains(allowed, string(r.Outcome)) {
								t.Errorf("%+v: %v, want one of %v", r, r.Reply, c.want)
							}
						}
					}
				})
			}
			wg.Wait()
			for _, s := range tr.Stats() {
				if s.InUse != 0 || s.Waiting != 0 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}
