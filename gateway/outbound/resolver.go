package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// ErrNotFound is returned by a Resolver for a name that does not exist (NXDOMAIN).
var ErrNotFound = errors.New("no such name")

// MX is one MX record.
type MX struct {
	Host       string // "." in a null MX (RFC 7505)
	Preference uint16
}

// Addresses are those of a host.
type Addresses struct {
	Addrs []netip.Addr // IPv4 and IPv6; none: the name exists without one
	Alias bool         // the name is a CNAME
}

// Resolver asks DNS. Names are absolute. An error that does not wrap ErrNotFound is temporary.
type Resolver interface {
	// LookupMX returns a domain's MX records in any order; none when it has none.
	LookupMX(ctx context.Context, domain string) ([]MX, error)
	LookupHost(ctx context.Context, name string) (Addresses, error)
}

// ResolverOptions are for NewResolver; the zero value is usable.
type ResolverOptions struct {
	// Servers as ip:port. Default: those of ResolvConf, which is read again when it changes.
	Servers []string
	// ResolvConf is the file that names the servers; /etc/resolv.conf.
	ResolvConf string
	// Timeout of one question to one server; 3 s. Every server is asked twice.
	Timeout time.Duration
	// MaxTTL bounds how long an answer is believed, MaxStale how long after that it still serves while no server answers
	// (RFC 8767); 24 h and 72 h.
	MaxTTL, MaxStale time.Duration
	// Entries bounds the cache; 10,000.
	Entries int
	Clock   func() time.Time
}

// NewResolver returns a caching stub resolver.
func NewResolver(o ResolverOptions) Resolver {
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	setDefault(&o.Timeout, 3*time.Second)
	setDefault(&o.MaxTTL, 24*time.Hour)
	setDefault(&o.MaxStale, 72*time.Hour)
	setDefault(&o.Entries, 10_000)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &resolver{o: o, cache: map[dns.Question]cached{}}
}

type resolver struct {
	o      ResolverOptions
	flight singleflight.Group

	mu      sync.Mutex
	cache   map[dns.Question]cached
	servers []string
	readAt  time.Time
}

// cached is an answer, or (not found) the lack of one.
type cached struct {
	answer  []dns.RR
	exists  bool
	expires time.Time
}

func (r *resolver) LookupMX(ctx context.Context, domain string) ([]MX, error) {
	c, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var out []MX
	for _, rr := range c.answer {
		if mx, ok := rr.(*dns.MX); ok {
			out = append(out, MX{Host: strings.ToLower(mx.Mx), Preference: mx.Preference})
		}
	}
	return out, nil
}

func (r *resolver) LookupHost(ctx context.Context, name string) (Addresses, error) {
	var out Addresses
	v4, err4 := r.lookup(ctx, name, dns.TypeA)
	if errors.Is(err4, ErrNotFound) {
		return out, err4
	}
	v6, err6 := r.lookup(ctx, name, dns.TypeAAAA)
	for _, rr := range slices.Concat(v4.answer, v6.answer) {
		switch rr := rr.(type) {
		case *dns.A:
			out.add(rr.A)
		case *dns.AAAA:
			out.add(rr.AAAA)
		case *dns.CNAME:
			out.Alias = out.Alias || strings.EqualFold(rr.Hdr.Name, dns.Fqdn(name))
		}
	}
	if len(out.Addrs) == 0 {
		return out, errors.Join(err4, err6)
	}
	return out, nil // one family is enough
}

func (a *Addresses) add(ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		a.Addrs = append(a.Addrs, addr.Unmap())
	}
}

// lookup answers from the cache or from a server, and with a stale answer when no server gives one.
func (r *resolver) lookup(ctx context.Context, name string, qtype uint16) (cached, error) {
	q := dns.Question{Name: strings.ToLower(dns.Fqdn(name)), Qtype: qtype, Qclass: dns.ClassINET}
	now := r.o.Clock()
	old, known := r.get(q)
	if known && now.Before(old.expires) {
		return old.result(name)
	}
	found, err := r.ask(ctx, q)
	if err == nil {
		return found.result(name)
	}
	if known && now.Before(old.expires.Add(r.o.MaxStale)) {
		return old.result(name)
	}
	return cached{}, err
}

func (c cached) result(name string) (cached, error) {
	if !c.exists {
		return cached{}, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return c, nil
}

func (r *resolver) get(q dns.Question) (cached, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[q]
	return c, ok
}

func (r *resolver) put(q dns.Question, c cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= r.o.Entries {
		r.evict()
	}
	r.cache[q] = c
}

// evict makes room: what is long out of date, or else about a tenth of everything, in the map's random order.
func (r *resolver) evict() {
	limit := r.o.Clock().Add(-r.o.MaxStale)
	for q, c := range r.cache {
		if c.expires.Before(limit) {
			delete(r.cache, q)
		}
	}
	for q := range r.cache {
		if len(r.cache) <= r.o.Entries*9/10 {
			return
		}
		delete(r.cache, q)
	}
}

// ask puts a question to the servers, once for all who want to know at the same time.
func (r *resolver) ask(ctx context.Context, q dns.Question) (cached, error) {
	ch := r.flight.DoChan(q.String(), func() (any, error) {
		// Of its own, so that one caller's cancellation is not everybody's.
		fctx, cancel := context.WithTimeout(context.Background(), 6*r.o.Timeout)
		defer cancel()
		msg, err := r.exchange(fctx, q)
		if err != nil {
			return cached{}, err
		}
		c := r.digest(msg)
		r.put(q, c)
		return c, nil
	})
	select {
	case res := <-ch:
		if res.Err != nil {
			return cached{}, res.Err
		}
		return res.Val.(cached), nil
	case <-ctx.Done():
		return cached{}, context.Cause(ctx)
	}
}

// exchange tries every server twice.
func (r *resolver) exchange(ctx context.Context, q dns.Question) (*dns.Msg, error) {
	servers, err := r.serverList()
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	m.SetEdns0(1232, false) // the size that is not fragmented anywhere
	for range 2 {
		for _, server := range servers {
			var answer *dns.Msg
			if answer, err = r.exchangeWith(ctx, m, server); err == nil {
				return answer, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return nil, err
}

func (r *resolver) exchangeWith(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	udp := dns.Client{Timeout: r.o.Timeout, UDPSize: 1232}
	answer, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && answer.Truncated {
		tcp := dns.Client{Net: "tcp", Timeout: r.o.Timeout}
		answer, _, err = tcp.ExchangeContext(ctx, m, server)
	}
	if err != nil {
		return nil, fmt.Errorf("name server %s: %w", server, err)
	}
	if answer.Rcode == dns.RcodeFormatError && m.IsEdns0() != nil { // a server from before RFC 6891
		plain := m.Copy()
		plain.Extra = nil
		return r.exchangeWith(ctx, plain, server)
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("name server %s: %s", server, dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}

// digest says what of an answer is kept, and for how long: the least TTL, or, for what is not there, that of the SOA
// (RFC 2308 5), and then at most five minutes.
func (r *resolver) digest(m *dns.Msg) cached {
	c := cached{answer: m.Answer, exists: m.Rcode != dns.RcodeNameError}
	ttl := r.o.MaxTTL
	if len(m.Answer) == 0 {
		ttl = min(ttl, negativeTTL(m))
	}
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	c.expires = r.o.Clock().Add(ttl)
	return c
}

func negativeTTL(m *dns.Msg) time.Duration {
	ttl := 30 * time.Second // no SOA: hardly cacheable
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(5*time.Minute, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
		}
	}
	return ttl
}

// serverList is the list of name servers; the file is looked at again after a few seconds.
func (r *resolver) serverList() ([]string, error) {
	if len(r.o.Servers) > 0 {
		return r.o.Servers, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Clock()
	if len(r.servers) > 0 && now.Sub(r.readAt) < 5*time.Second {
		return r.servers, nil
	}
	conf, err := dns.ClientConfigFromFile(r.o.ResolvConf)
	if err != nil && len(r.servers) == 0 {
		return nil, fmt.Errorf("reading the list of name servers: %w", err)
	}
	if err == nil {
		r.servers = nil
		for _, s := range conf.Servers {
			r.servers = append(r.servers, net.JoinHostPort(s, conf.Port))
		}
	}
	r.readAt = now
	if len(r.servers) == 0 { // resolv.conf(5): then the one on this machine is used
		r.servers = []string{"127.0.0.1:53"}
	}
	return r.servers, nil
}
