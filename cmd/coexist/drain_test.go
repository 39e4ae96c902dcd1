package main

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

// TestDrain stops a gateway while a next hop takes its time: that message is finished and its client told so, an idle client hears 421,
// nobody new is let in, and the exit status is 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	k := newKilling(t, program(t, "coexist"), "5s")
	rule, err := fakemta.ParseRule("EOD delay 1s")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.onprem.SetRules(rule); err != nil {
		t.Fatal(err)
	}
	k.start()
	idle, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	idle.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(idle)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Fatalf("greeting: %q, %v", line, err)
	}
	var replies bytes.Buffer
	sent := make(chan error, 1)
	go func() {
		sent <- send(&replies, "127.0.0.1", k.addr, "someone@fabrikam.com", []string{"adelev@contoso.com"}, numbered(1))
	}()
	for end := time.Now().Add(patience); k.onprem.Stats().Commands["EOD"] == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the message does not get to the next hop")
		}
	}
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 ") {
		t.Errorf("the idle client reads %q, %v, want 421", line, err)
	}
	if nc, err := net.Dial("tcp", k.addr); err == nil {
		nc.SetDeadline(time.Now().Add(patience))
		if line, err := bufio.NewReader(nc).ReadString('\n'); err == nil && !strings.HasPrefix(line, "421 ") {
			t.Errorf("a new client is greeted with %q", line)
		}
		nc.Close()
	}
	<-sent // the connection may be closed right after the reply
	if !strings.Contains(replies.String(), "END: 250 2.0.0 ") {
		t.Errorf("the client of the message heard\n%s", replies.String())
	}
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, k.lastWords())
	}
	if n := len(k.onprem.Messages()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}

// TestSignalAtAnyTime ends a gateway in every phase of its start: it is always a clean end, and a SIGHUP never is one.
func TestSignalAtAnyTime(t *testing.T) {
	t.Parallel()
	k := newKilling(t, program(t, "coexist"), "5s")
	data := filepath.Join(k.dir, "data")
	for _, wait := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 64, 128} {
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		k.cmd = k.command()
		if err := k.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // until it has begun to start
			if _, err := os.Stat(data); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the gateway does not start:\n%s", k.lastWords())
			}
		}
		time.Sleep(wait * time.Millisecond)
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
			if err := k.cmd.Process.Signal(sig); err != nil {
				t.Errorf("%v: %v", sig, err)
			}
		}
		if err := k.cmd.Wait(); err != nil {
			t.Errorf("signalled after %d ms: %v\n%s", wait, err, k.lastWords())
		}
	}
}
