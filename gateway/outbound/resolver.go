package outbound

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"github.com/coexist-mail/coexist/gateway/outbound/dane"
)

// ErrNotFound is returned by a Resolver for a name that does not exist (NXDOMAIN).
var ErrNotFound = errors.New("no such name")

// MX is one MX record.
type MX struct {
	Host       string // "." in a null MX (RFC 7505)
	Preference uint16
	Secure     bool // authenticated by DNSSEC
}

// Addresses are those of a host.
type Addresses struct {
	Addrs []netip.Addr // IPv4 and IPv6; none: the name exists without one
	Alias bool         // the name is a CNAME
	// Canonical is what the aliases lead to, in lower case without final dot; the name itself when it is none.
	Canonical string
	Secure    bool // authenticated by DNSSEC, aliases included
}

// TLSA are the TLSA records of a name.
type TLSA struct {
	Records []dane.Record
	Secure  bool // authenticated by DNSSEC; if not, the records mean nothing
}

// Resolver asks DNS. Names are absolute. An error that does not wrap ErrNotFound is temporary. Secure answers are those that
// a validating resolver vouches for, reached on a path that nobody else writes to; a Resolver that cannot know that calls
// nothing secure, and then there is no DANE.
type Resolver interface {
	// LookupMX returns a domain's MX records in any order; none when it has none.
	LookupMX(ctx context.Context, domain string) ([]MX, error)
	LookupHost(ctx context.Context, name string) (Addresses, error)
	// LookupTLSA returns the TLSA records of a name as _25._tcp.mx.contoso.com.
	LookupTLSA(ctx context.Context, name string) (TLSA, error)
	// LookupTXT returns the TXT records of a name, the strings of each joined.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// ResolverOptions are for NewResolver; the zero value is usable.
type ResolverOptions struct {
	// Servers as ip:port. Default: those of ResolvConf, which is read again when it changes.
	Servers []string
	// TrustAD believes the AD bit (RFC 4035 3.2.3) of Servers. That of a server on the loopback is always believed, and that
	// of the servers in ResolvConf when it says "options trust-ad".
	TrustAD bool
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
	servers serverList
	readAt  time.Time
}

// serverList are name servers, and whether the AD bit is believed of those that are not on the loopback.
type serverList struct {
	addrs   []string
	trustAD bool
}

// trusts reports whether the AD bit of a server is believed (RFC 6698 appendix A.3: the last hop must not be forgeable).
func (l serverList) trusts(server string) bool {
	ap, err := netip.ParseAddrPort(server)
	return l.trustAD || err == nil && ap.Addr().Unmap().IsLoopback()
}

// cached is an answer, or (not found) the lack of one.
type cached struct {
	answer  []dns.RR
	exists  bool
	secure  bool
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
			out = append(out, MX{Host: strings.ToLower(mx.Mx), Preference: mx.Preference, Secure: c.secure})
		}
	}
	return out, nil
}

func (r *resolver) LookupHost(ctx context.Context, name string) (Addresses, error) {
	out := Addresses{Canonical: canonicalName(name)}
	v4, err4 := r.lookup(ctx, name, dns.TypeA)
	if errors.Is(err4, ErrNotFound) {
		return out, err4
	}
	v6, err6 := r.lookup(ctx, name, dns.TypeAAAA)
	for _, rr := range slices.Concat(v4.answer, v6.answer) {
		switch rr := rr.(type) {
		case *dns.A:
			out.add(rr, rr.A)
		case *dns.AAAA:
			out.add(rr, rr.AAAA)
		case *dns.CNAME:
			out.Alias = out.Alias || strings.EqualFold(rr.Hdr.Name, dns.Fqdn(name))
		}
	}
	out.Secure = (err4 != nil || v4.secure) && (err6 != nil || v6.secure)
	if len(out.Addrs) == 0 {
		return out, errors.Join(err4, err6)
	}
	return out, nil // one family is enough
}

func (a *Addresses) add(rr dns.RR, ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		a.Addrs = append(a.Addrs, addr.Unmap())
		a.Canonical = canonicalName(rr.Header().Name)
	}
}

func (r *resolver) LookupTLSA(ctx context.Context, name string) (TLSA, error) {
	c, err := r.lookup(ctx, name, dns.TypeTLSA)
	out := TLSA{Secure: c.secure}
	for _, rr := range c.answer {
		if t, ok := rr.(*dns.TLSA); ok {
			data, _ := hex.DecodeString(t.Certificate) // from the wire: always hexadecimal
			out.Records = append(out.Records, dane.Record{Usage: t.Usage, Selector: t.Selector, MatchingType: t.MatchingType, Data: data})
		}
	}
	return out, err
}

func (r *resolver) LookupTXT(ctx context.Context, name string) (out []string, err error) {
	c, err := r.lookup(ctx, name, dns.TypeTXT)
	for _, rr := range c.answer {
		if t, ok := rr.(*dns.TXT); ok {
			out = append(out, unescape(strings.Join(t.Txt, "")))
		}
	}
	return out, err
}

// unescape undoes the zone file's escapes, \DDD and \X, in which package dns keeps a text (RFC 1035 5.1).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:min(i+4, len(s))], 10, 8); err == nil && i+3 < len(s) {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
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
	// Never a TLSA record: whoever can keep the new one from us must not be able to make us go on with the old one, or
	// without (RFC 7672 2.1.2).
	if known && qtype != dns.TypeTLSA && now.Before(old.expires.Add(r.o.MaxStale)) {
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
		msg, secure, err := r.exchange(fctx, q)
		if err != nil {
			return cached{}, err
		}
		c := r.digest(msg)
		c.secure = secure
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

// exchange tries every server twice. secure: the server vouches for the answer, and is believed.
func (r *resolver) exchange(ctx context.Context, q dns.Question) (answer *dns.Msg, secure bool, err error) {
	servers, err := r.serverList()
	if err != nil {
		return nil, false, err
	}
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	m.AuthenticatedData = true // RFC 6840 5.7: tell whether it is, without the signatures
	m.SetEdns0(1232, false)    // the size that is not fragmented anywhere
	for range 2 {
		for _, server := range servers.addrs {
			if answer, err = r.exchangeWith(ctx, m, server); err == nil {
				return answer, answer.AuthenticatedData && servers.trusts(server), nil
			}
			if ctx.Err() != nil {
				return nil, false, err
			}
		}
	}
	return nil, false, err
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
func (r *resolver) serverList() (serverList, error) {
	if len(r.o.Servers) > 0 {
		return serverList{r.o.Servers, r.o.TrustAD}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Clock()
	if len(r.servers.addrs) > 0 && now.Sub(r.readAt) < 5*time.Second {
		return r.servers, nil
	}
	list, err := readResolvConf(r.o.ResolvConf)
	if err != nil && len(r.servers.addrs) == 0 {
		return serverList{}, fmt.Errorf("reading the list of name servers: %w", err)
	}
	if err == nil {
		r.servers = list
	}
	r.readAt = now
	return r.servers, nil
}

func readResolvConf(path string) (list serverList, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return list, err
	}
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return list, err
	}
	for _, s := range conf.Servers {
		list.addrs = append(list.addrs, net.JoinHostPort(s, conf.Port))
	}
	if len(list.addrs) == 0 { // resolv.conf(5): then the one on this machine is used
		list.addrs = []string{"127.0.0.1:53"}
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		list.trustAD = list.trustAD || len(words) > 0 && words[0] == "options" && slices.Contains(words, "trust-ad")
	}
	return list, nil
}
