package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/outbound/dane"
	"github.com/coexist-mail/coexist/routing"
)

// Side is how mail reaches one side.
type Side struct {
	Name routing.Side
	// Hops are the next hops as host:port, tried in this order; a port that is left out is 25. Empty: by MX of the recipient's domain.
	Hops []string
	// TLS is the policy towards every host of the side. Empty is config.SideTLSOpportunistic.
	TLS config.SideTLS
	// ClientCert returns the certificate to present, with its full chain, or nil for none. It is asked at every handshake,
	// so that a renewed file is used without a reload. Nil: no certificate.
	ClientCert func() *tls.Certificate
	// RootCAs are the authorities for config.SideTLSVerified. Nil: those of the system.
	RootCAs *x509.CertPool
}

// Self says which names and addresses are the gateway's own, so that it never delivers to itself (RFC 5321 5.1).
type Self struct {
	// Names beside Options.Hostname that an MX record may call the gateway by.
	Names []string
	// Listeners are the bound addresses. An unspecified address (0.0.0.0, ::) stands for every address of this machine.
	Listeners []netip.AddrPort
}

// Policy is what a domain asks of those who send to it, over and above the side's policy (MTA-STS, RFC 8461). The zero Policy
// asks for nothing. What TLSA records ask (DANE, RFC 7672) is found by the Transport itself, and goes before it.
type Policy struct {
	// TLS raises the side's policy for this domain; it never lowers it. Empty: as the side.
	TLS config.SideTLS
	// Allow reports whether a host may be used for the domain; nil allows every host.
	Allow func(host string) bool
	// Source names the policy in replies and logs, as "MTA-STS".
	Source string
}

// Timeouts bound every step. A zero field takes its default, which is that of RFC 5321 4.5.3.2 where there is one.
type Timeouts struct {
	Connect   time.Duration // one address, until connected; 30 s
	Greeting  time.Duration // until the 220; 5 min
	Command   time.Duration // reply to EHLO, STARTTLS (with its handshake), MAIL, RCPT, RSET; 5 min
	DataStart time.Duration // until the 354; 2 min
	DataBlock time.Duration // each MiB of content written; 3 min
	DataEnd   time.Duration // reply to the end of the content; 10 min
	// Failover bounds connecting, greeting, EHLO and STARTTLS together while another address or host remains to be tried; 10 s.
	Failover time.Duration
	Idle     time.Duration // how long an unused connection is kept; 45 s
	Age      time.Duration // how long a connection is used in all, so that changes of DNS are seen; 5 min
}

// Backoff is the pause between probes of a next hop that cannot be connected to: Min, doubled up to Max. A host that
// refuses at once costs nothing to ask, so it is asked every Min.
type Backoff struct {
	Min, Max time.Duration // 1 s, 60 s
	// Failures in a row that open the circuit; 3.
	Failures int
}

// Options are what a Transport works with. The zero value of every field but Hostname and Sides is usable.
type Options struct {
	// Hostname is given in EHLO; it is also one of the gateway's own names.
	Hostname string
	Sides    map[routing.Side]Side
	Self     Self
	// Resolver finds MX records and the addresses of their hosts. Default: NewResolver with /etc/resolv.conf.
	Resolver Resolver
	// LookupHop finds the addresses of a configured next hop. Default: the system's resolver, with /etc/hosts and search domains.
	LookupHop func(ctx context.Context, host string) ([]netip.Addr, error)
	// Policy is asked for every domain (as A-labels) that is delivered to by MX, unless the side does no TLS. An error defers
	// the domain. Nil: no policies. MTASTS makes one.
	Policy func(ctx context.Context, domain string) (Policy, error)
	// DialContext connects to ip:port. Default: a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectionsPerHop is the most connections to one host and port of a side; 20.
	ConnectionsPerHop int
	// MessagesPerConnection is after how many messages a connection is closed; 0: never for that reason.
	MessagesPerConnection int
	// RecipientsPerTransaction is the most RCPT commands of a transaction; 100, what every server must take (RFC 5321 4.5.3.1.8).
	RecipientsPerTransaction int
	// MXPort is the port of hosts found by MX; 25.
	MXPort uint16
	// FollowMXAlias permits MX records that point at an alias, which RFC 2181 10.3 forbids.
	FollowMXAlias bool
	// Downgrade re-encodes 8-bit content as 7-bit MIME for a host without 8BITMIME (RFC 6152 3).
	// Default: SevenBit. When it fails the recipients are refused with 5.6.3.
	Downgrade func(content [][]byte) ([][]byte, error)
	// HopChanged is called, on its own goroutine, when the circuit of a next hop opens or closes. Nil: nobody is told.
	HopChanged func(HopStats)
	Timeouts   Timeouts
	Backoff    Backoff
	// Clock is used for ages and caches. Default: time.Now.
	Clock func() time.Time
	// Logger. Default: discards.
	Logger *slog.Logger
}

// Transport delivers messages and owns the kept connections. It is safe for concurrent use.
type Transport struct {
	settings atomic.Pointer[settings]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // background work: janitor, probes, QUITs, callbacks

	mu     sync.Mutex
	hops   map[hopKey]*hop
	closed bool
}

// settings is one immutable state of the options, replaced as a whole by Reload.
type settings struct {
	Options
	generation int
	tls        map[routing.Side]*tls.Config // with the session cache; without ServerName
	self       selfSet
}

// New returns a Transport. Call Close to end its connections.
func New(o Options) *Transport {
	t := &Transport{hops: map[hopKey]*hop{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.settings.Store(newSettings(withDefaults(o), 0))
	t.background(t.janitor)
	return t
}

func withDefaults(o Options) Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Resolver == nil {
		o.Resolver = NewResolver(ResolverOptions{Clock: o.Clock})
	}
	if o.LookupHop == nil {
		o.LookupHop = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Downgrade == nil {
		o.Downgrade = SevenBit
	}
	if o.DialContext == nil {
		o.DialContext = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	return withDefaultLimits(o)
}

func withDefaultLimits(o Options) Options {
	setDefault(&o.ConnectionsPerHop, 20)
	setDefault(&o.RecipientsPerTransaction, 100)
	setDefault(&o.MXPort, 25)
	setDefault(&o.Timeouts.Connect, 30*time.Second)
	setDefault(&o.Timeouts.Greeting, 5*time.Minute)
	setDefault(&o.Timeouts.Command, 5*time.Minute)
	setDefault(&o.Timeouts.DataStart, 2*time.Minute)
	setDefault(&o.Timeouts.DataBlock, 3*time.Minute)
	setDefault(&o.Timeouts.DataEnd, 10*time.Minute)
	setDefault(&o.Timeouts.Failover, 10*time.Second)
	setDefault(&o.Timeouts.Idle, 45*time.Second)
	setDefault(&o.Timeouts.Age, 5*time.Minute)
	setDefault(&o.Backoff.Min, time.Second)
	setDefault(&o.Backoff.Max, time.Minute)
	setDefault(&o.Backoff.Failures, 3)
	return o
}

func setDefault[T int | uint16 | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

func newSettings(o Options, generation int) *settings {
	s := &settings{Options: o, generation: generation, tls: map[routing.Side]*tls.Config{}}
	for name, side := range o.Sides {
		s.tls[name] = sideTLSConfig(side)
	}
	s.self = newSelfSet(o.Hostname, o.Self)
	return s
}

// Reload takes the host name, sides, own addresses, limits and timeouts of o for every delivery that starts from now on.
// Deliveries in progress go on as they are; their connections are not used again. Resolver, lookups, clock, logger and
// callbacks stay as they were when o leaves them nil.
func (t *Transport) Reload(o Options) {
	old := t.settings.Load()
	keepFuncs(&o, old.Options)
	next := newSettings(withDefaults(o), old.generation+1)
	t.settings.Store(next)
	for _, h := range t.allHops() {
		h.renew(next)
	}
}

func keepFuncs(o *Options, old Options) {
	if o.Resolver == nil {
		o.Resolver = old.Resolver
	}
	if o.LookupHop == nil {
		o.LookupHop = old.LookupHop
	}
	if o.Policy == nil {
		o.Policy = old.Policy
	}
	if o.DialContext == nil {
		o.DialContext = old.DialContext
	}
	if o.Downgrade == nil {
		o.Downgrade = old.Downgrade
	}
	if o.HopChanged == nil {
		o.HopChanged = old.HopChanged
	}
	if o.Clock == nil {
		o.Clock = old.Clock
	}
	if o.Logger == nil {
		o.Logger = old.Logger
	}
}

// Close ends all idle connections with QUIT, aborts probes, and makes further deliveries defer. Deliveries in progress are
// not waited for: the caller ends them through their contexts, and their connections close when they do.
func (t *Transport) Close() {
	t.cancel() // from here on no connection is kept
	for _, h := range t.allHops() {
		h.closeIdle(func(*conn) bool { return true })
	}
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}

// background runs f on a goroutine that Close waits for; after Close it does nothing.
func (t *Transport) background(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		f()
	}()
	return true
}

func (t *Transport) allHops() []*hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*hop, 0, len(t.hops))
	for _, h := range t.hops {
		all = append(all, h)
	}
	return all
}

// forgetAfter is how long a next hop that nobody delivers to is remembered.
const forgetAfter = 10 * time.Minute

// janitor closes connections that were idle too long or that the peer ended, and forgets hosts that are not used any more.
func (t *Transport) janitor() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		for _, h := range t.allHops() {
			h.closeIdle(func(c *conn) bool { return !c.usable(t.settings.Load()) })
			t.forget(h)
		}
	}
}

func (t *Transport) forget(h *hop) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.unusedFor(t.settings.Load().Clock()) > forgetAfter {
		delete(t.hops, h.key)
	}
}

// hop returns the pool of a host, made on first use.
func (t *Transport) hop(key hopKey, policy *dane.Policy, s *settings) *hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hops[key]
	if h == nil {
		h = newHop(t, key, policy, s)
		t.hops[key] = h
	}
	h.touch(s.Clock())
	return h
}

// HopStats is the state of one next hop.
type HopStats struct {
	Side    routing.Side
	Hop     string         // host:port
	TLS     config.SideTLS // or "dane": by the host's TLSA records
	Open    int            // connections, those being made included
	Idle    int
	InUse   int
	Waiting int // deliveries that wait for a connection
	Limit   int // connections that may be open at present
	// Circuit is "closed" (mail flows) or "open" (it is only probed).
	Circuit   string
	Failures  int    // connections in a row that could not be made
	LastError string // of the last connection that could not be made; empty after a success
	RetryAt   time.Time
}

// Stats returns the state of every known next hop, in the order of side and name.
func (t *Transport) Stats() []HopStats {
	var all []HopStats
	for _, h := range t.allHops() {
		all = append(all, h.stats())
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Side != all[j].Side {
			return all[i].Side < all[j].Side
		}
		return all[i].Hop < all[j].Hop
	})
	return all
}

// selfSet answers whether a name or an address is the gateway's own.
type selfSet struct {
	names map[string]bool
	addrs map[netip.AddrPort]bool
}

func newSelfSet(hostname string, self Self) selfSet {
	s := selfSet{names: map[string]bool{}, addrs: map[netip.AddrPort]bool{}}
	for _, n := range append([]string{hostname}, self.Names...) {
		if n != "" {
			s.names[canonicalName(n)] = true
		}
	}
	for _, l := range self.Listeners {
		for _, a := range listenerAddrs(l.Addr().Unmap()) {
			s.addrs[netip.AddrPortFrom(a, l.Port())] = true
		}
	}
	return s
}

// listenerAddrs are the addresses under which a listener on a is reached from this machine.
func listenerAddrs(a netip.Addr) []netip.Addr {
	if !a.IsUnspecified() {
		return []netip.Addr{a}
	}
	all := []netip.Addr{a}
	ifaces, err := net.InterfaceAddrs()
	if err != nil { // then the loopback is all that is certain
		return append(all, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	}
	for _, i := range ifaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

// greets reports whether a name in a reply to EHLO is the gateway's own. A name without a dot, as localhost, is anybody's.
func (s selfSet) greets(name string) bool { return strings.Contains(name, ".") && s.hasName(name) }

func (s selfSet) hasName(name string) bool { return s.names[canonicalName(name)] }
func (s selfSet) hasAddr(a netip.Addr, p uint16) bool {
	return s.addrs[netip.AddrPortFrom(a.Unmap(), p)]
}

// canonicalName is a domain name in lower case without the final dot.
func canonicalName(n string) string { return strings.ToLower(strings.TrimSuffix(n, ".")) }
