package inbound

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// addressed is a listener whose clients have the addresses of a list, in turn.
type addressed struct {
	net.Listener
	list []string
	next atomic.Int64
}

func (a *addressed) Accept() (net.Conn, error) {
	nc, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ip := netip.MustParseAddr(a.list[int(a.next.Add(1)-1)%len(a.list)])
	return addressedConn{nc, net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 40000))}, nil
}

type addressedConn struct {
	net.Conn
	from net.Addr
}

func (c addressedConn) RemoteAddr() net.Addr { return c.from }

// from is a change of the configuration: the addresses of the clients, in the order in which they come.
func from(list ...string) func(*Config, *Listener) {
	return func(_ *Config, l *Listener) { l.Listener = &addressed{Listener: l.Listener, list: list} }
}

func TestNetworkKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
		"127.0.0.1": "invalid Prefix", "::1": "invalid Prefix",
	} {
		if got := networkKey(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s is of %s, want %s", in, got, want)
		}
	}
	if networkKey(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}

func TestConnectionsPerNetwork(t *testing.T) {
	known := func(c *Config, _ *Listener) {
		c.Known = func(a netip.Addr) bool { return netip.MustParsePrefix("198.51.100.0/24").Contains(a) }
	}
	limits := Limits{ConnectionsPerClient: 2, ConnectionsPerNetwork: 3}
	for _, tt := range []struct {
		name  string
		list  []string
		want  []string // greetings
		count map[string]int
	}{
		{"one network of IPv4", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.3.1"},
			[]string{"220 ", "220 ", "220 ", "421 4.7.0 ", "220 "}, map[string]int{"connections-per-network": 1}},
		{"the client's own limit comes first", []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"},
			[]string{"220 ", "220 ", "421 4.7.0 ", "220 ", "421 4.7.0 "}, map[string]int{"connections-per-network": 1, "connections-per-client": 1}},
		{"one site of IPv6", []string{"2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1", "2001:db8:2::1"},
			[]string{"220 ", "220 ", "220 ", "421 4.7.0 ", "220 "}, map[string]int{"connections-per-network": 1}},
		{"one customer of IPv6 is one client", []string{"2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:1::3"},
			[]string{"220 ", "220 ", "421 4.7.0 "}, map[string]int{"connections-per-client": 1}},
		{"those who are known", []string{"198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.4", "198.51.100.4"},
			[]string{"220 ", "220 ", "220 ", "220 ", "220 ", "421 4.7.0 "}, map[string]int{"connections-per-client": 1}},
		{"this machine", []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"},
			[]string{"220 ", "220 ", "220 ", "220 ", "220 "}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var why reasons
			ts := startServer(t, routing.Internet, watched(&why, limits, from(tt.list...), known))
			var clients []*client
			for _, greeting := range tt.want {
				c := ts.dial(t)
				c.want(greeting)
				clients = append(clients, c)
			}
			for _, reason := range []string{"connections-per-network", "connections-per-client", "connections"} {
				if got := why.count(reason); got != tt.count[reason] {
					t.Errorf("%d times %s, want %d", got, reason, tt.count[reason])
				}
			}
			for _, c := range clients {
				c.Close()
			}
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				ts.server.mu.Lock()
				left := fmt.Sprint(ts.server.perClient, ts.server.perNetwork)
				ts.server.mu.Unlock()
				if left == "map[] map[]" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("counted after all are gone: %s", left)
				}
			}
		})
	}
}

// A connection that becomes another client's by XCLIENT counts for the network of that one.
func TestXClientMovesNetworks(t *testing.T) {
	t.Parallel()
	var why reasons
	ts := startServer(t, routing.Internet, watched(&why, Limits{ConnectionsPerNetwork: 1}, func(_ *Config, l *Listener) {
		l.XClient = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}))
	a, b := ts.hello(t), ts.hello(t)
	a.say("XCLIENT ADDR=192.0.2.1")
	a.want("220 ")
	b.say("XCLIENT ADDR=192.0.2.2")
	b.want("421 4.7.0 ")
	b.wantClosed()
	if why.count("connections-per-network") != 1 {
		t.Errorf("reported: %v", why.all)
	}
	a.say("EHLO x")
	a.want("250 ")
	a.say("XCLIENT ADDR=192.0.3.1")
	a.want("220 ")
	c := ts.hello(t)
	c.say("XCLIENT ADDR=192.0.2.3")
	c.want("220 ")
}

// Guesses from all addresses of a network count together.
func TestNetworkScore(t *testing.T) {
	t.Parallel()
	var why reasons
	ts := startServer(t, routing.Internet, watched(&why, Limits{NetworkScore: 20, RefusalDelay: -1},
		from("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1")))
	forgetNothing(ts.server)
	guess := func(c *client, n int) {
		c.say("MAIL FROM:<a@fabrikam.com>")
		c.want("250 ")
		for i := range n {
			c.say(fmt.Sprintf("RCPT TO:<nobody%d@contoso.com>", i))
			c.want("550 5.1.1 ")
		}
	}
	guess(ts.hello(t), 12)
	second := ts.hello(t)
	guess(second, 8)
	second.want("421 4.7.0 ")
	second.wantClosed()
	third := ts.dial(t)
	third.want("421 4.7.0 gw1.contoso.com refused too much of what your network asked for lately (20)")
	third.wantClosed()
	ts.dial(t).want("220 ")
	if why.count("harvest") != 1 || why.count("network-score") != 1 {
		t.Errorf("reported: %v", why.all)
	}
}
