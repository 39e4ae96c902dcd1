package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// zone is a DNS server on the loopback.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by "name type"
	names   map[string]bool
	rcode   int             // answered to everything when not 0
	silent  bool            // nothing is answered
	old     bool            // EDNS is a format error
	secure  map[string]bool // "name type" whose answers have the AD bit
	failing map[string]bool // "name type" whose answers are SERVFAIL
	asked   int
	tcp     int
}

func newZone(t testing.TB, records ...string) *zone {
	t.Helper()
	z := &zone{records: map[string][]dns.RR{}, names: map[string]bool{}}
	for _, r := range records {
		z.add(t, r)
	}
	pc, ln := listenDNS(t)
	z.addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: z}, {Listener: ln, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return z
}

// listenDNS finds a port that is free for UDP and TCP.
func listenDNS(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, ln
		}
		pc.Close()
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

func (z *zone) add(t testing.TB, record string) {
	t.Helper()
	rr, err := dns.NewRR(record)
	if err != nil {
		t.Fatal(err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	h := rr.Header()
	key := h.Name + " " + dns.TypeToString[h.Rrtype]
	z.records[key] = append(z.records[key], rr)
	z.names[h.Name] = true
}

func (z *zone) set(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if z.silent {
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	name := strings.ToLower(q.Question[0].Name)
	for range 4 { // aliases are followed
		m.Answer = append(m.Answer, z.records[name+" "+dns.TypeToString[q.Question[0].Qtype]]...)
		alias := z.records[name+" CNAME"]
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias...)
		name = alias[0].(*dns.CNAME).Target
	}
	key := strings.ToLower(q.Question[0].Name) + " " + dns.TypeToString[q.Question[0].Qtype]
	m.AuthenticatedData = q.AuthenticatedData && z.secure[key]
	switch {
	case z.failing[key]:
		m.Rcode, m.Answer = dns.RcodeServerFailure, nil
	case z.old && q.IsEdns0() != nil:
		m.Rcode, m.Answer = dns.RcodeFormatError, nil
	case z.rcode != 0:
		m.Rcode, m.Answer = z.rcode, nil
	case len(m.Answer) == 0 && !z.names[name]:
		m.Rcode = dns.RcodeNameError
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp && m.Len() > 1232 {
		m.Answer, m.Truncated = nil, true
	} else if !udp {
		z.tcp++
	}
	w.WriteMsg(m)
}

func zoneResolver(z *zone) Resolver {
	return NewResolver(ResolverOptions{Servers: []string{z.addr}, Timeout: 2 * time.Second})
}

// internet is a Transport that delivers by MX to the port of p.
func internet(t testing.TB, z *zone, port uint16, change func(*Options)) *Transport {
	return transport(t, func(o *Options) {
		o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet, TLS: config.SideTLSNone}}
		o.Resolver, o.MXPort = zoneResolver(z), port
		if change != nil {
			change(o)
		}
	})
}

func toInternet(to ...string) Request {
	r := request(sample, to...)
	r.Side = routing.Internet
	return r
}

func TestByMX(t *testing.T) {
	p := newPeer(t, nil) // on 127.0.0.1
	z := newZone(t,
		"mx.fabrikam.com. 60 IN A 127.0.0.1",
		"one.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.",
		"implicit.fabrikam.com. 60 IN A 127.0.0.1",
		"null.fabrikam.com. 60 IN MX 0 .",
		"down.fabrikam.com. 60 IN A 127.0.0.2", // nobody listens there
		"backup.fabrikam.com. 60 IN MX 10 down.fabrikam.com.",
		"backup.fabrikam.com. 60 IN MX 20 mx.fabrikam.com.",
		"alldown.fabrikam.com. 60 IN MX 10 down.fabrikam.com.",
		"twoaddrs.fabrikam.com. 60 IN A 127.0.0.2",
		"twoaddrs.fabrikam.com. 60 IN A 127.0.0.1",
		"multi.fabrikam.com. 60 IN MX 10 twoaddrs.fabrikam.com.",
		"alias.fabrikam.com. 60 IN CNAME mx.fabrikam.com.",
		"mxalias.fabrikam.com. 60 IN MX 10 alias.fabrikam.com.",
		"somealias.fabrikam.com. 60 IN MX 10 alias.fabrikam.com.",
		"somealias.fabrikam.com. 60 IN MX 20 mx.fabrikam.com.",
		"domainalias.fabrikam.com. 60 IN CNAME one.fabrikam.com.",
		"nohost.fabrikam.com. 60 IN MX 10 nothing.fabrikam.com.",
		"empty.fabrikam.com. 60 IN TXT text",
		"gw1.contoso.com. 60 IN A 127.0.0.1",
		"self.fabrikam.com. 60 IN MX 10 gw1.contoso.com.",
		"behind.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.",
		"behind.fabrikam.com. 60 IN MX 20 GW1.contoso.com.",
		"behind.fabrikam.com. 60 IN MX 20 down.fabrikam.com.",
		"selfaddr.fabrikam.com. 60 IN A 127.0.0.3",
		"byaddr.fabrikam.com. 60 IN MX 10 selfaddr.fabrikam.com.",
		"both.fabrikam.com. 60 IN MX 10 six.fabrikam.com.",
		"six.fabrikam.com. 60 IN AAAA ::1",
		"six.fabrikam.com. 60 IN A 127.0.0.1",
		"xn--e1aybc.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.",
	)
	tr := internet(t, z, p.port(), func(o *Options) {
		o.Self.Listeners = mustAddrPorts(fmt.Sprintf("127.0.0.3:%d", p.port()))
	})
	for _, c := range []struct{ domain, want, host string }{
		{"one.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"ONE.Fabrikam.COM", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"implicit.fabrikam.com", "delivered 250 2.0.0 eod", "implicit.fabrikam.com"},
		{"null.fabrikam.com", "refused 556 5.1.10 route", ""},
		{"backup.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"alldown.fabrikam.com", "deferred 451 4.4.1 connect", "down.fabrikam.com"},
		{"multi.fabrikam.com", "delivered 250 2.0.0 eod", "twoaddrs.fabrikam.com"},
		{"mxalias.fabrikam.com", "refused 550 5.4.4 route", ""},
		{"somealias.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"domainalias.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"nohost.fabrikam.com", "deferred 451 4.4.4 route", ""},
		{"empty.fabrikam.com", "refused 550 5.1.2 route", ""},
		{"nowhere.fabrikam.com", "refused 550 5.1.2 route", ""},
		{"self.fabrikam.com", "refused 554 5.4.6 route", ""},
		{"behind.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{"byaddr.fabrikam.com", "refused 554 5.4.6 route", ""},
		{"both.fabrikam.com", "delivered 250 2.0.0 eod", "six.fabrikam.com"},
		{"[127.0.0.1]", "delivered 250 2.0.0 eod", "127.0.0.1"},
		{"[127.0.0.3]", "refused 554 5.4.6 route", ""},
		{"тест.fabrikam.com", "delivered 250 2.0.0 eod", "mx.fabrikam.com"},
		{strings.Repeat("a", 70) + ".com", "refused 550 5.1.2 route", ""},
	} {
		t.Run(c.domain, func(t *testing.T) {
			res := deliver(t, tr, toInternet("aprilr@"+c.domain))
			wantSummary(t, res, c.want)
			if res[0].Host != c.host {
				t.Errorf("host %q, want %q", res[0].Host, c.host)
			}
		})
	}
	t.Run("together, in the order of the recipients", func(t *testing.T) {
		before := len(p.got())
		res := deliver(t, tr, toInternet("a@one.fabrikam.com", "a@null.fabrikam.com", "b@One.fabrikam.com", "a@nowhere.fabrikam.com", "a@implicit.fabrikam.com"))
		wantSummary(t, res, "delivered 250 2.0.0 eod; refused 556 5.1.10 route; delivered 250 2.0.0 eod; refused 550 5.1.2 route; delivered 250 2.0.0 eod")
		if n := len(p.got()) - before; n != 2 {
			t.Errorf("%d transactions, want 2", n)
		}
	})
	t.Run("aliases followed when told", func(t *testing.T) {
		tr := internet(t, z, p.port(), func(o *Options) { o.FollowMXAlias = true })
		wantSummary(t, deliver(t, tr, toInternet("a@mxalias.fabrikam.com")), "delivered 250 2.0.0 eod")
	})
	t.Run("policy", func(t *testing.T) {
		var policyErr error
		tr := internet(t, z, p.port(), func(o *Options) {
			o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet}}
			o.Policy = func(_ context.Context, domain string) (Policy, error) {
				return Policy{Source: "MTA-STS", TLS: config.SideTLSVerified,
					Allow: func(h string) bool { return h == "down.fabrikam.com" || domain == "implicit.fabrikam.com" }}, policyErr
			}
		})
		wantSummary(t, deliver(t, tr, toInternet("a@one.fabrikam.com")), "deferred 451 4.7.0 route")
		res := deliver(t, tr, toInternet("a@backup.fabrikam.com"))
		wantSummary(t, res, "deferred 451 4.7.0 route")
		for _, want := range []string{"does not allow host mx.fabrikam.com", "connection refused"} {
			if !strings.Contains(res[0].Reply.Message, want) {
				t.Errorf("%q, want %q", res[0].Reply.Message, want)
			}
		}
		wantSummary(t, deliver(t, tr, toInternet("a@implicit.fabrikam.com")), "deferred 451 4.7.4 starttls")
		policyErr = fmt.Errorf("no answer")
		wantSummary(t, deliver(t, tr, toInternet("a@one.fabrikam.com")), "deferred 451 4.7.0 route")
	})
}

func TestMXOrder(t *testing.T) {
	records := []MX{{Host: "c", Preference: 20}, {Host: "a", Preference: 10}, {Host: "b", Preference: 10}, {Host: "d", Preference: 30}}
	firsts := map[string]int{}
	for range 200 {
		got := order(records)
		firsts[got[0].Host]++
		if got[0].Preference != 10 || got[1].Preference != 10 || got[2].Host != "c" || got[3].Host != "d" {
			t.Fatalf("order %v", got)
		}
	}
	if len(firsts) != 2 || firsts["a"] < 40 || firsts["b"] < 40 {
		t.Errorf("equal preferences are not mixed: %v", firsts)
	}
}

func TestIPv4First(t *testing.T) {
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	got := ipv4First([]netip.Addr{a("2001:db8::1"), a("192.0.2.1"), a("2001:db8::2"), a("192.0.2.2")})
	for i, want := range []bool{true, true, false, false} {
		if got[i].Is4() != want {
			t.Errorf("order %v", got)
		}
	}
}

func TestDNSFailure(t *testing.T) {
	p := newPeer(t, nil)
	z := newZone(t, "one.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.", "mx.fabrikam.com. 60 IN A 127.0.0.1")
	z.set(func() { z.rcode = dns.RcodeServerFailure })
	tr := internet(t, z, p.port(), nil)
	wantSummary(t, deliver(t, tr, toInternet("a@one.fabrikam.com")), "deferred 451 4.4.3 route")
	z.set(func() { z.rcode = 0 })
	wantSummary(t, deliver(t, tr, toInternet("a@one.fabrikam.com")), "delivered 250 2.0.0 eod")
}

func TestResolverCache(t *testing.T) {
	z := newZone(t, "one.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.", "zero.fabrikam.com. 0 IN MX 10 mx.fabrikam.com.")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := NewResolver(ResolverOptions{Servers: []string{z.addr}, Timeout: 500 * time.Millisecond, Clock: func() time.Time { return now }})
	ctx := context.Background()
	look := func(name string, want string, questions int) {
		t.Helper()
		before := z.questions()
		mx, err := r.LookupMX(ctx, name)
		if got := fmt.Sprint(mx, err != nil); got != want {
			t.Errorf("got %s (%v), want %s", got, err, want)
		}
		if n := z.questions() - before; n != questions {
			t.Errorf("%d questions, want %d", n, questions)
		}
	}
	const ok = "[{mx.fabrikam.com. 10 false}] false"
	look("one.fabrikam.com", ok, 1)
	look("One.Fabrikam.com.", ok, 0)
	look("zero.fabrikam.com", ok, 1)
	look("zero.fabrikam.com", ok, 1)
	look("no.fabrikam.com", "[] true", 1)
	look("no.fabrikam.com", "[] true", 0)
	now = now.Add(61 * time.Second)
	look("one.fabrikam.com", ok, 1)
	now = now.Add(61 * time.Second)
	z.set(func() { z.silent = true })
	look("one.fabrikam.com", ok, 2) // stale, after both questions went unanswered
	now = now.Add(80 * time.Hour)
	look("one.fabrikam.com", "[] true", 2)
}

func TestResolverTCP(t *testing.T) {
	z := newZone(t)
	for i := range 60 {
		z.add(t, fmt.Sprintf("many.fabrikam.com. 60 IN MX %d a-rather-long-host-name-%d.fabrikam.com.", i, i))
	}
	mx, err := zoneResolver(z).LookupMX(context.Background(), "many.fabrikam.com")
	if err != nil || len(mx) != 60 || z.tcp != 1 {
		t.Errorf("%d records, %v, %d over TCP", len(mx), err, z.tcp)
	}
}

func TestResolverWithoutEDNS(t *testing.T) {
	z := newZone(t, "one.fabrikam.com. 60 IN MX 10 mx.fabrikam.com.")
	z.set(func() { z.old = true })
	mx, err := zoneResolver(z).LookupMX(context.Background(), "one.fabrikam.com")
	if err != nil || len(mx) != 1 {
		t.Errorf("%v, %v", mx, err)
	}
}

func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	r := NewResolver(ResolverOptions{ResolvConf: file})
	if _, err := r.LookupMX(context.Background(), "fabrikam.com"); err == nil || !strings.Contains(err.Error(), "list of name servers") {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := r.(*resolver).serverList()
	if err != nil || len(list.addrs) != 1 || list.addrs[0] != "127.0.0.9:53" {
		t.Errorf("%v %v", list, err)
	}
	for _, c := range []struct {
		text    string
		trusted map[string]bool
	}{
		{"nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1", map[string]bool{"127.0.0.1:53": true, "192.0.2.1:53": false, "[::1]:53": true}},
		{"options edns0 trust-ad\nnameserver 192.0.2.1\n", map[string]bool{"192.0.2.1:53": true}},
		{"#options trust-ad\nnameserver 192.0.2.1\n", map[string]bool{"192.0.2.1:53": false}},
		{"", map[string]bool{"127.0.0.1:53": true}},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readResolvConf(file)
		if err != nil || len(list.addrs) != len(c.trusted) {
			t.Errorf("%q: %v %v", c.text, list, err)
		}
		for server, want := range c.trusted {
			if got := list.trusts(server); got != want {
				t.Errorf("%q: %s is trusted: %v", c.text, server, got)
			}
		}
	}
}

func TestResolverCancel(t *testing.T) {
	z := newZone(t)
	z.set(func() { z.silent = true })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	r := NewResolver(ResolverOptions{Servers: []string{z.addr}, Timeout: time.Second})
	if _, err := r.LookupHost(ctx, "mx.fabrikam.com"); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "name server") {
		t.Errorf("error %v: it waited for the server", err)
	}
}

func TestResolverCacheIsBounded(t *testing.T) {
	r := NewResolver(ResolverOptions{Entries: 100}).(*resolver)
	for i := range 1000 {
		r.put(dns.Question{Name: fmt.Sprint(i)}, cached{expires: time.Now().Add(time.Hour)})
	}
	if len(r.cache) > 100 {
		t.Errorf("%d entries", len(r.cache))
	}
}

func TestSplitHop(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     uint16
		bad      bool
	}{
		{"mail.contoso.local:25", "mail.contoso.local", 25, false},
		{"mail.contoso.local", "mail.contoso.local", 25, false},
		{"mail.contoso.local.:2525", "mail.contoso.local", 2525, false},
		{"[::1]:2525", "::1", 2525, false},
		{"[::1]", "::1", 25, false},
		{"192.0.2.1", "192.0.2.1", 25, false},
		{"host:smtp", "", 0, true},
		{"host:70000", "", 0, true},
		{":25", "", 0, true},
		{"a:b:c", "", 0, true},
	} {
		host, port, err := splitHop(c.in)
		if host != c.host || port != c.port || (err != nil) != c.bad {
			t.Errorf("%s: %q %d %v", c.in, host, port, err)
		}
	}
}

func TestBadRecipientsNeverLeave(t *testing.T) {
	p := newPeer(t, nil)
	tr := transport(t, nil, p.addr())
	res := deliver(t, tr, request(sample, "alexd@contoso.com", "a>\r\nRSET@contoso.com", "a b@contoso.com", "<a>@contoso.com"))
	wantSummary(t, res, "delivered 250 2.0.0 eod; refused 553 5.1.3 check; refused 553 5.1.3 check; refused 553 5.1.3 check")
	r := request(sample, "alexd@contoso.com")
	r.ReversePath = "a>SIZE@contoso.com"
	wantSummary(t, deliver(t, tr, r), "refused 553 5.1.7 check")
	r.ReversePath = ""
	wantSummary(t, deliver(t, tr, r), "delivered 250 2.0.0 eod")
	if diff := cmp.Diff("FROM:<> SIZE=116", strings.Replace(p.got()[1].from, fmt.Sprint(len(sample)), "116", 1)); diff != "" {
		t.Error(diff)
	}
}

func TestParameters(t *testing.T) {
	full := request(sample, "alexd@contoso.com")
	full.Return, full.EnvelopeID = "HDRS", "id +=1"
	full.Recipients = []message.Recipient{{Address: "alexd@contoso.com", Notify: []string{"SUCCESS", "FAILURE"},
		ORcptType: "rfc822", ORcpt: "Alex+x=y@contoso.com"}}
	eight := request(sample+"gr\xfc\xdfe\r\n", "alexd@contoso.com")
	declared := request(sample, "alexd@contoso.com")
	declared.Body = "8BITMIME"
	utf8 := request(sample, "жук@contoso.com")
	utf8.UTF8 = true
	utf8.Recipients[0].Notify = []string{"NEVER"}
	utf8.Recipients[0].ORcptType, utf8.Recipients[0].ORcpt = "utf-8", "жук@contoso.com"
	binary := request("a: b\r\n\r\n\x00\n\r x", "alexd@contoso.com")
	binary.Body = "BINARYMIME"
	for _, c := range []struct {
		name    string
		r       Request
		ext     []string
		from    string
		to      string
		relayed bool
	}{
		{"nothing offered", full, []string{}, "FROM:<allieb@contoso.com>", "TO:<alexd@contoso.com>", true},
		{"DSN", full, []string{"DSN"}, "FROM:<allieb@contoso.com> RET=HDRS ENVID=id+20+2B+3D1",
			"TO:<alexd@contoso.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Alex+2Bx+3Dy@contoso.com", false},
		{"8-bit", eight, []string{"8bitmime", "size"}, fmt.Sprintf("FROM:<allieb@contoso.com> SIZE=%d BODY=8BITMIME", len(sample)+7), "TO:<alexd@contoso.com>", false},
		{"declared 8-bit", declared, []string{"8BITMIME"}, "FROM:<allieb@contoso.com> BODY=8BITMIME", "TO:<alexd@contoso.com>", false},
		{"declared 8-bit, is not", declared, []string{}, "FROM:<allieb@contoso.com>", "TO:<alexd@contoso.com>", false},
		{"UTF-8", utf8, []string{"SMTPUTF8", "DSN"}, "FROM:<allieb@contoso.com> SMTPUTF8",
			`TO:<жук@contoso.com> NOTIFY=NEVER ORCPT=utf-8;\x{436}\x{443}\x{43A}@contoso.com`, false},
		{"binary", binary, allExtensions, fmt.Sprintf("FROM:<allieb@contoso.com> SIZE=%d BODY=BINARYMIME", 13), "TO:<alexd@contoso.com>", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.ext = c.ext
			tr := transport(t, nil, p.addr())
			res := deliver(t, tr, c.r)
			wantSummary(t, res, "delivered 250 2.0.0 eod")
			got := p.got()[0]
			if got.from != c.from || len(got.to) != 1 || got.to[0] != c.to {
				t.Errorf("got %q %q", got.from, got.to)
			}
			if res[0].Relayed != c.relayed {
				t.Errorf("relayed %v", res[0].Relayed)
			}
			if got.content != string(c.r.Content[0]) {
				t.Errorf("content %q", got.content)
			}
		})
	}
}

func TestWhatTheHostCannotTake(t *testing.T) {
	eight := request(sample+"gr\xfc\xdfe\r\n", "alexd@contoso.com")
	binary := request("a: b\r\n\r\n\x00\n", "alexd@contoso.com")
	binary.Body = "BINARYMIME"
	signed := request("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\x00\r\n--b\r\n\r\ns\r\n--b--\r\n", "alexd@contoso.com")
	signed.Body = "BINARYMIME"
	utf8Address := request(sample, "жук@contoso.com", "alexd@contoso.com", "alexd@жук.contoso.com")
	utf8Sender := request(sample, "alexd@contoso.com")
	utf8Sender.ReversePath = "жук@contoso.com"
	utf8Header := request("Subject: жук\r\n"+sample, "alexd@contoso.com")
	utf8Header.UTF8 = true
	utf8InBody := request(sample+"жук\r\n", "alexd@contoso.com")
	utf8InBody.UTF8 = true
	none := func([][]byte) ([][]byte, error) { return nil, errors.New("cannot") }
	half := func(content [][]byte) ([][]byte, error) { return content, nil }
	seven := func(content [][]byte) ([][]byte, error) { return [][]byte{[]byte("a: b\r\n\r\ngr=FC\r\n")}, nil }
	for _, c := range []struct {
		name      string
		r         Request
		ext       []string
		downgrade func([][]byte) ([][]byte, error)
		want      string
	}{
		{"8-bit", eight, without("8BITMIME"), nil, "delivered 250 2.0.0 eod"},
		{"8-bit and no way", eight, without("8BITMIME"), none, "refused 550 5.6.3 mail"},
		{"8-bit, downgraded", eight, without("8BITMIME"), seven, "delivered 250 2.0.0 eod"},
		{"8-bit, downgraded badly", eight, without("8BITMIME"), half, "refused 550 5.6.3 mail"},
		{"binary", binary, without("BINARYMIME"), nil, "delivered 250 2.0.0 eod"},
		{"binary without CHUNKING", binary, without("CHUNKING"), nil, "delivered 250 2.0.0 eod"},
		{"binary and no way", signed, without("BINARYMIME"), nil, "refused 550 5.6.3 mail"},
		{"UTF-8 recipient", utf8Address, without("SMTPUTF8"), nil, "refused 550 5.6.7 rcpt; delivered 250 2.0.0 eod; delivered 250 2.0.0 eod"},
		{"UTF-8 sender", utf8Sender, without("SMTPUTF8"), nil, "refused 550 5.6.7 mail"},
		{"UTF-8 header", utf8Header, without("SMTPUTF8"), nil, "refused 550 5.6.7 mail"},
		{"UTF-8 in the body only", utf8InBody, without("SMTPUTF8"), nil, "delivered 250 2.0.0 eod"},
		{"too big", request(sample, "alexd@contoso.com"), []string{"SIZE 50"}, nil, "refused 552 5.3.4 mail"},
		{"no limit", request(sample, "alexd@contoso.com"), []string{"SIZE 0"}, nil, "delivered 250 2.0.0 eod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.ext = c.ext
			tr := transport(t, func(o *Options) { o.Downgrade = c.downgrade }, p.addr())
			wantSummary(t, deliver(t, tr, c.r), c.want)
			for _, m := range p.got() {
				for _, to := range m.to {
					if !isASCII(to) {
						t.Errorf("sent %q", to)
					}
				}
				if !strings.HasPrefix(c.name, "UTF-8") && !isASCII(m.content) {
					t.Errorf("sent %q", m.content)
				}
			}
			if p.connections() != 1 {
				t.Errorf("%d connections", p.connections())
			}
		})
	}
}
