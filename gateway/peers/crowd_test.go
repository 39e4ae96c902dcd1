package peers_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// crowds are clients that come in thousands, and do nothing, or an octet of something every two seconds.
var crowds = []struct {
	name   string
	n      int
	tls    bool
	before string // sent at once
	drip   string // sent octet by octet
}{
	{name: "idle after the greeting", n: 10_000},
	{name: "idle after EHLO", n: 10_000, before: "EHLO client.example\r\n"},
	{name: "idle inside TLS", n: 3000, tls: true},
	{name: "slow command", n: 3000, before: "EHLO client.example\r\n", drip: "MAIL FROM:<someone.with.a.long.name@fabrikam.com>"},
	{name: "slow handshake", n: 3000, before: "EHLO client.example\r\nSTARTTLS\r\n", drip: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00"},
	{name: "slow header", n: 3000, before: intoData, drip: "Subject: a long one that does not end"},
	{name: "slow body", n: 3000, before: intoData + "Subject: x\r\n\r\n", drip: strings.Repeat("x\r\n", 20)},
	{name: "slow chunk", n: 3000, before: strings.Replace(intoData, "DATA", "BDAT 1000 LAST", 1), drip: strings.Repeat("x", 20)},
}

const intoData = "EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\nDATA\r\n"

// BenchmarkCrowd measures what a crowd costs the gateway, and what another client feels of it:
//
//	go test -run '^$' -bench Crowd -benchtime 1x ./gateway/peers
func BenchmarkCrowd(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 11_000 {
		b.Skipf("11,000 open files are needed, of the test and of the gateway: ulimit -n says %d", limit.Cur)
	}
	cert, key := peertest.Certificate(b, b.TempDir(), "gw1.contoso.com")
	for i := range crowds {
		b.Run(crowds[i].name, func(b *testing.B) {
			for b.Loop() {
				crowded(b, i, fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key))
			}
		})
	}
}

func crowded(b *testing.B, i int, listener string) {
	c, sink := crowds[i], mta(b)
	// Room for twice as many: a gateway with most places taken has less patience.
	g := start(b, setup{OnPrem: []string{sink.Addr()}, Listener: listener, Limits: "connections = 20000\nconnections_per_client = 100"})
	before, _ := g.rss()
	clients := make([]*client, c.n)
	for n := range clients {
		clients[n] = dial(b, g.addr, fmt.Sprintf("127.0.%d.%d", 100+n/10_000, 1+n%200))
		if c.tls {
			clients[n].ehlo()
			clients[n].say("STARTTLS", "220")
			clients[n] = clients[n].secure(&tls.Config{InsecureSkipVerify: true})
		}
		clients[n].send(c.before)
	}
	var took []time.Duration
	dripped, busy := time.Now(), g.cpu()
	began := dripped
	for n := 0; time.Since(began) < 12*time.Second; {
		if n < len(c.drip) && time.Since(dripped) > 2*time.Second {
			dripped = time.Now()
			for _, slow := range clients {
				slow.Write([]byte{c.drip[n]})
			}
			n++
		}
		asked := time.Now()
		if reply := g.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
			b.Errorf("reply %q", reply)
		}
		took = append(took, time.Since(asked))
		time.Sleep(100 * time.Millisecond)
	}
	now, _ := g.rss()
	slices.Sort(took)
	b.ReportMetric(float64(now)/1e6, "MB")
	b.ReportMetric(float64(now-before)/float64(c.n), "octets/client")
	b.ReportMetric((g.cpu()-busy).Seconds()/time.Since(began).Seconds(), "processors")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "worst-ms")
	b.ReportMetric(0, "ns/op")
	if got := len(sink.Messages()); got != len(took) {
		b.Errorf("%d of %d messages arrived", got, len(took))
	}
}
