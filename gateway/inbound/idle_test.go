package inbound

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// sleepers counts the connections of this process that sleep.
func sleepers() int {
	buf := make([]byte, 4<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "inbound.(*conn).sleep.func1(")
}

// wantAsleep waits until so many connections sleep more than before.
func wantAsleep(t *testing.T, before, n int) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); sleepers()-before < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections sleep, want %d", sleepers()-before, n)
		}
	}
}

func sleepy(c *Config, _ *Listener) { c.Timeouts.park = 50 * time.Millisecond }

// Connections that sleep wake up for whatever comes, and are cut when nothing does.
func TestSleep(t *testing.T) {
	before := sleepers()
	plain := startServer(t, routing.Internet, sleepy)
	secure := startServer(t, routing.Internet, func(c *Config, l *Listener) { withTLS(t, false, false)(c, l); sleepy(c, l) })
	impatient := startServer(t, routing.Internet, func(c *Config, l *Listener) { c.Timeouts.Command = 400 * time.Millisecond; sleepy(c, l) })

	silent := plain.dial(t)
	silent.want("220 ")
	greeted, open, gone := plain.hello(t), plain.rcpt(t), plain.hello(t)
	private := secure.hello(t)
	private.say("STARTTLS")
	private.want("220 ")
	private = private.startTLS()
	private.say("EHLO x")
	private.want("250 ")
	wantAsleep(t, before, 5)
	late := impatient.dial(t)
	late.want("220 ")

	silent.say("EHLO x")
	silent.want("250 ")
	greeted.raw("NOOP\r\nMAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\n")
	for _, reply := range []string{"250 2.0.0", "250 2.1.0", "250 2.1.5", "354 "} {
		greeted.want(reply)
	}
	greeted.raw("Subject: x\r\n\r\nx\r\n.\r\n")
	greeted.want("250 2.0.0 ID1")
	open.raw("BDAT 3 LAST\r\nabc") // the transaction lives on
	open.want("250 2.0.0 ID2")
	private.raw("NOOP\r\nNOOP\r\n")
	private.want("250 ")
	private.want("250 ")
	for _, octet := range []string{"N", "O", "O", "P", "\r", "\n"} {
		silent.raw(octet)
		time.Sleep(time.Millisecond)
	}
	silent.want("250 ")
	gone.Close()
	for deadline := time.Now().Add(10 * time.Second); plain.server.Connections() > 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection that was closed while it slept is still counted")
		}
	}
	late.want("421 4.4.2 ")
	late.wantClosed()

	wantAsleep(t, before, 4) // again
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- plain.server.Shutdown(ctx)
	}()
	for _, c := range []*client{silent, greeted, open} {
		c.want("421 4.3.2 ")
		c.wantClosed()
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A shutdown whose time is over ends those that sleep, too, whether or not their clients read.
func TestShutdownCutsSleepers(t *testing.T) {
	before := sleepers()
	ts := startServer(t, routing.Internet, func(c *Config, l *Listener) { withTLS(t, true, false)(c, l); sleepy(c, l) })
	c := ts.dial(t).startTLS()
	c.want("220 ")
	wantAsleep(t, before, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := ts.server.Shutdown(ctx); err != context.Canceled && err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if n := ts.server.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
