package inbound

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// Greeting decides by the client's address: a system that is known is neither kept waiting nor refused before it has said hello.
func TestGreetingByAddress(t *testing.T) {
	for _, tt := range []struct {
		name    string
		known   bool
		replies []string
	}{
		{"a stranger", false, []string{"554 5.5.1 "}},
		{"one that is known", true, []string{"220 ", "250 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			greeting := func(a netip.Addr) (time.Duration, EarlyTalkers) {
				if !a.IsLoopback() {
					t.Errorf("asked about %v", a)
				}
				if tt.known {
					return 0, TolerateEarlyTalkers
				}
				return time.Minute, RefuseEarlyTalkers
			}
			var why reasons
			c := startServer(t, routing.Internet, watched(&why, Limits{}, func(c *Config, _ *Listener) { c.Greeting = greeting })).dial(t)
			c.raw("EHLO x\r\n")
			for _, reply := range tt.replies {
				c.want(reply)
			}
		})
	}
}

// A shutdown does not wait for clients that wait for their greeting.
func TestShutdownEndsTheGreetDelay(t *testing.T) {
	s := startServer(t, routing.Internet, func(c *Config, _ *Listener) { c.GreetDelay = 10 * time.Minute })
	c := s.dial(t)
	for s.server.Connections() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.server.Shutdown(ctx) }()
	c.want("220 ")
	c.want("421 4.3.2 ")
	c.Close()
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}
