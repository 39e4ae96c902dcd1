package dnsbl_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

const zone = `
	9.100.51.198.bl.example. 60 A 127.0.0.2
	9.100.51.198.bl.example. 60 TXT "Open relay, see https://bl.example/9"
	10.100.51.198.bl.example. 60 A 127.0.0.4
	11.100.51.198.bl.example. 60 A 127.255.255.254
	12.100.51.198.bl.example. 60 A 203.0.113.80
	13.100.51.198.bl.example. 60 A 127.0.0.1
	14.100.51.198.second.example. 60 A 127.0.0.3
	15.100.51.198.bl.example. 60 A 127.0.0.2
	15.100.51.198.bl.example. 60 TXT "line one\013\010250 2.0.0 Ok"
	1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. 60 A 127.0.0.2
	1.1.168.192.bl.example. 60 A 127.0.0.2`

func checker(t *testing.T, server *dnstest.Server, o dnsbl.Options) *dnsbl.Checker {
	t.Helper()
	o.Resolver = server.Resolver(time.Minute)
	c, err := dnsbl.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	server := dnstest.Start(t, zone)
	code := netip.MustParseAddr
	both := []dnsbl.Zone{{Name: "bl.example", Reason: true}, {Name: "second.example."}}
	for _, c := range []struct {
		name, client string
		zones        []dnsbl.Zone
		want         *dnsbl.Listing
	}{
		{"listed, with reason", "198.51.100.9", both, &dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.2"), Reason: "Open relay, see https://bl.example/9"}},
		{"IPv4-mapped", "::ffff:198.51.100.9", both[:1], &dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.2"), Reason: "Open relay, see https://bl.example/9"}},
		{"no TXT", "198.51.100.10", both, &dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.4")}},
		{"the second list", "198.51.100.14", both, &dnsbl.Listing{Zone: "second.example", Code: code("127.0.0.3")}},
		{"a reason made to deceive", "198.51.100.15", both, &dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.2"), Reason: "line one 250 2.0.0 Ok"}},
		{"IPv6", "2001:db8::1", both, &dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.2")}},
		{"not listed", "198.51.100.77", both, nil},
		{"list that does not answer us", "198.51.100.11", both, nil},
		{"list whose domain was sold", "198.51.100.12", both, nil},
		{"127.0.0.1 is no listing", "198.51.100.13", both, nil},
		{"private address", "192.168.1.1", both, nil},
		{"loopback", "127.0.0.1", both, nil},
		{"code that counts", "198.51.100.10", []dnsbl.Zone{{Name: "bl.example", Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.4/32")}}},
			&dnsbl.Listing{Zone: "bl.example", Code: code("127.0.0.4")}},
		{"code that does not", "198.51.100.9", []dnsbl.Zone{{Name: "bl.example", Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.4/30")}}}, nil},
		{"no lists", "198.51.100.9", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := checker(t, server, dnsbl.Options{Zones: c.zones}).Check(context.Background(), netip.MustParseAddr(c.client))
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, q := range server.Queries() {
		if strings.HasPrefix(q, "1.1.168.192.") || strings.HasPrefix(q, "1.0.0.127.") {
			t.Errorf("asked %s", q)
		}
	}
}

func TestReply(t *testing.T) {
	client := netip.MustParseAddr("::ffff:198.51.100.9")
	for want, l := range map[string]dnsbl.Listing{
		"550 [5 7 1] Client [198.51.100.9] is listed by bl.example":       {Zone: "bl.example"},
		"550 [5 7 1] Client [198.51.100.9] is listed by bl.example: spam": {Zone: "bl.example", Reason: "spam"},
	} {
		r := l.Reply(client)
		if got := fmt.Sprint(r.Code, r.EnhancedCode, " ", r.Message); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A list that is down costs its timeout once, and refuses nobody; another one still counts.
func TestTroubleIsIgnored(t *testing.T) {
	server := dnstest.Start(t, zone)
	server.Silence("silent.example")
	server.Break("broken.example")
	c := checker(t, server, dnsbl.Options{Zones: []dnsbl.Zone{{Name: "silent.example"}, {Name: "broken.example"}, {Name: "bl.example"}}, Timeout: 1500 * time.Millisecond})
	start := time.Now()
	if l := c.Check(context.Background(), netip.MustParseAddr("198.51.100.9")); l == nil || l.Zone != "bl.example" {
		t.Errorf("listing %+v", l)
	}
	if l := c.Check(context.Background(), netip.MustParseAddr("198.51.100.77")); l != nil {
		t.Errorf("listing %+v", l)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestCache(t *testing.T) {
	server := dnstest.Start(t, zone)
	server.Break("broken.example")
	now := time.Unix(1_700_000_000, 0)
	c := checker(t, server, dnsbl.Options{Zones: []dnsbl.Zone{{Name: "bl.example"}}, Clock: func() time.Time { return now }})
	asked := func() (n int) {
		for _, q := range server.Queries() {
			if strings.HasSuffix(q, " A") {
				n++
			}
		}
		return n
	}
	for step, s := range []struct {
		after time.Duration
		asks  int
	}{{0, 1}, {time.Minute, 1}, {3 * time.Minute, 1}, {time.Minute, 2}} {
		now = now.Add(s.after)
		if c.Check(context.Background(), netip.MustParseAddr("198.51.100.9")) == nil {
			t.Errorf("step %d: not listed", step)
		}
		if asked() != s.asks {
			t.Errorf("step %d: %d questions, want %d", step, asked(), s.asks)
		}
	}
	broken := checker(t, server, dnsbl.Options{Zones: []dnsbl.Zone{{Name: "broken.example"}}, Clock: func() time.Time { return now }})
	before := asked()
	broken.Check(context.Background(), netip.MustParseAddr("198.51.100.9"))
	first := asked() - before
	broken.Check(context.Background(), netip.MustParseAddr("198.51.100.9"))
	if second := asked() - before; second != first {
		t.Errorf("a list that fails was asked again at once: %d questions, then %d", first, second)
	}
	now = now.Add(31 * time.Second)
	broken.Check(context.Background(), netip.MustParseAddr("198.51.100.9"))
	if third := asked() - before; third <= first {
		t.Error("a list that failed was not asked again after half a minute")
	}
}

func TestCacheIsBounded(t *testing.T) {
	server := dnstest.Start(t, zone)
	c := checker(t, server, dnsbl.Options{Zones: []dnsbl.Zone{{Name: "bl.example"}}, Entries: 16})
	for i := range 100 {
		c.Check(context.Background(), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	if n := c.Entries(); n > 16 || n == 0 {
		t.Errorf("%d entries", n)
	}
}

// Many connections of one client at once put one question.
func TestOneQuestionForMany(t *testing.T) {
	server := dnstest.Start(t, zone)
	c := checker(t, server, dnsbl.Options{Zones: []dnsbl.Zone{{Name: "bl.example"}}})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if c.Check(context.Background(), netip.MustParseAddr("198.51.100.10")) == nil {
				t.Error("not listed")
			}
		})
	}
	wg.Wait()
	if n := len(server.Queries()); n > 10 {
		t.Errorf("%d questions", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	server.Silence("bl.example")
	if l := c.Check(ctx, netip.MustParseAddr("198.51.100.200")); l != nil {
		t.Errorf("a client that left is listed: %+v", l)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	if _, err := dnsbl.New(dnsbl.Options{Zones: []dnsbl.Zone{{Name: "a b"}}, Resolver: dnstest.Start(t, "").Resolver(0)}); err == nil {
		t.Error("a zone that is no domain is accepted")
	}
	if _, err := dnsbl.New(dnsbl.Options{}); err == nil {
		t.Error("no resolver is accepted")
	}
}
