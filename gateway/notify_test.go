package gateway_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
)

// A DSN says of a next hop what it answered, and of the gateway what the gateway decided (RFC 3464 2.3.5, 2.3.6): who reads it has to know
// which administrator to ask.
func TestDSNNamesWhoDecided(t *testing.T) {
	const (
		plain   = "Subject: x\r\n\r\nbody\r\n"
		gateway = "The mail gateway gw1.contoso.com reports"
		host    = "The mail system [127.0.0.1] "
		remote  = "Remote-MTA:"
	)
	for _, c := range []struct {
		name      string
		extension []string
		rules     string
		configure func(*config.Config)
		message   string
		drop      bool // by the administrator, once it waits
		want      []string
		not       []string
	}{
		{name: "refused by the next hop", rules: "RCPT * reply 550 5.7.1 not you", message: plain,
			want: []string{host + "answered:", "Remote-MTA: dns; [127.0.0.1]\r\n", "Diagnostic-Code: smtp; 550 5.7.1 not you", "not allowed to send"}, not: []string{gateway}},
		{name: "the next hop lacks 8BITMIME", extension: []string{"PIPELINING", "SIZE"}, message: "Subject: x\r\nX-Foo: \xc3\xbc\r\n\r\nbody\r\n",
			want: []string{gateway + " about its next hop", "Diagnostic-Code: x-coexist; 550 5.6.3 the next hop takes no 8-bit"}, not: []string{remote, "answered:"}},
		{name: "dropped", rules: "RCPT * reply 450 4.2.0 not now", message: plain, drop: true,
			want: []string{gateway + ":", "Diagnostic-Code: x-coexist; 550 5.7.0 Removed from the queue by the administrator", "stopped at the mail gateway"},
			not:  []string{remote, "answered", "recipient's mail system"}},
		{name: "expired, deferred by the next hop", rules: "RCPT * reply 451 4.2.0 not now", message: plain,
			configure: func(c *config.Config) { c.Delivery.ExpireAfter = time.Second },
			want:      []string{"Delivery was given up after 1s.", host + "last answered:\r\n            451 4.2.0 not now\r\n", "Remote-MTA: dns; [127.0.0.1]\r\n", "Status: 4.4.7", "Diagnostic-Code: smtp; 451 4.2.0 not now\r\n"},
			not:       []string{gateway}},
		{name: "expired, never connected", rules: "CONNECT drop", message: plain,
			configure: func(c *config.Config) { c.Delivery.ExpireAfter = time.Second },
			want:      []string{"Delivery was given up after 1s.", gateway + " about its next hop", "Status: 4.4.7", "Diagnostic-Code: x-coexist; 451 4.4."},
			not:       []string{remote, "answered:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := gatewaytest.Options{Configure: func(conf *config.Config) {
				fastRetry(conf)
				if c.configure != nil {
					c.configure(conf)
				}
			}, OnPrem: fakemta.Options{Extensions: c.extension}}
			if c.rules != "" {
				o.OnPrem.Rules = rule(t, c.rules)
			}
			g := gatewaytest.StartWith(t, o)
			reply := g.Send(routing.Internet, sender, []string{"adelev@contoso.com", "meganb@contoso.com"}, c.message)
			if c.drop {
				id := strings.Fields(reply)[1]
				if err := admin.NewClient(g.AdminAddr().String()).QueueDo(context.Background(), "drop", id); err != nil {
					t.Fatal(err)
				}
			}
			dsn := string(g.WaitInternet(1)[0].Data)
			// The lines of the text are wrapped: it is looked at both as it is and as a flow of words.
			text := dsn + strings.Join(strings.Fields(dsn), " ")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("the DSN has no %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(text, not) {
					t.Errorf("the DSN has %q", not)
				}
			}
			if t.Failed() {
				t.Logf("%s", dsn)
			}
		})
	}
}

// The members of a group share the address that was asked for: the log says whose mail was given up.
func TestExpiredMembersAreToldApart(t *testing.T) {
	var log logBuffer
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Gateway:   gateway.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		Configure: func(c *config.Config) { fastRetry(c); c.Delivery.ExpireAfter = time.Second },
		OnPrem:    fakemta.Options{Rules: rule(t, "RCPT * reply 451 4.2.0 not now")},
	})
	g.Send(routing.Internet, sender, []string{"salesteam@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	dsn := string(g.WaitInternet(1)[0].Data)
	if n := strings.Count(dsn, "Final-Recipient:"); n != 1 {
		t.Errorf("the DSN speaks of %d recipients, want the group:\n%s", n, dsn)
	}
	waitEmptyQueue(t, g)
	var addresses []string
	for _, line := range log.lines("msg=expired ") {
		_, rest, ok := strings.Cut(line, " address=")
		if !ok || !strings.Contains(line, " to=salesteam@contoso.com ") {
			t.Fatalf("no address, or not of the group: %s", line)
		}
		address, _, _ := strings.Cut(rest, " ")
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	if len(addresses) < 2 || len(slices.Compact(slices.Clone(addresses))) != len(addresses) {
		t.Errorf("expired for %q, want two members at least, each once", addresses)
	}
}
