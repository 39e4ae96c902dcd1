package gateway_test

import (
	"context"
	"testing"

	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
)

// An administrator who has mended the connector and types `queue retry` need not wait for the next probe of the held side, in a quarter of an hour.
func TestQueueRetryProbesAHeldSide(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		Configure: fastRetry,
		Cloud:     fakemta.Options{Rules: rule(t, "RCPT * reply 550 5.7.64 TenantAttribution; Relay Access Denied")},
	})
	for range 2 {
		g.Send(routing.Internet, sender, []string{"meganb@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	}
	client := admin.NewClient(g.AdminAddr().String())
	rows, err := client.Queue(context.Background())
	if err != nil || len(rows) != 2 {
		t.Fatalf("queue %+v, %v", rows, err)
	}
	g.Cloud.SetRules()
	if err := client.QueueDo(context.Background(), "retry", rows[0].ID); err != nil {
		t.Fatal(err)
	}
	g.WaitCloud(2) // the first success releases the rest
	waitEmptyQueue(t, g)
}
