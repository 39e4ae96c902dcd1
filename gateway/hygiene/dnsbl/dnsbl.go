// Package dnsbl asks DNS blocklists about clients (RFC 5782). A list that does not answer in time is passed over.
package dnsbl

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

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/singleflight"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
)

// Zone is one blocklist.
type Zone struct {
	// Name is its domain.
	Name string
	// Codes are the answers that count as listed. Empty: all of 127.0.0.0/8 but 127.0.0.1, which RFC 5782 5 says no list gives, and
	// 127.255.255.0/24, in which lists tell that they do not answer whoever asks. An answer outside of 127.0.0.0/8 never
	// counts: the domain of a list that ended may belong to somebody who answers everything.
	Codes []netip.Prefix
	// Reason has the list's TXT record put in the reply.
	Reason bool
}

// Options are for New.
type Options struct {
	Zones    []Zone // in order: the first that lists a client is named
	Resolver lookup.Resolver
	// Timeout bounds the wait for all zones; 2 s.
	Timeout time.Duration
	// Keep is how long an answer is believed, 5 min; a zone that did not answer is left alone for KeepFailure, 30 s, for that
	// client.
	Keep, KeepFailure time.Duration
	// Entries bounds the cache, in clients; 20,000.
	Entries int
	Clock   func() time.Time
}

// Listing says that a client is on a list.
type Listing struct {
	Zone   string
	Code   netip.Addr
	Reason string // the list's, printable; may be empty
}

// Checker asks. It may be used by many goroutines.
type Checker struct {
	o        Options
	resolver *lookup.Bounded
	flight   singleflight.Group

	mu    sync.Mutex
	cache map[netip.Addr]entry
}

// entry is what is known of a client.
type entry struct {
	listing *Listing
	until   time.Time
}

// New returns a Checker. Its errors are about the Options.
func New(o Options) (*Checker, error) {
	if o.Resolver == nil {
		return nil, errors.New("blocklists: no resolver")
	}
	o.Zones = slices.Clone(o.Zones)
	for i, z := range o.Zones {
		o.Zones[i].Name = strings.TrimSuffix(z.Name, ".")
		// 64 octets: an IPv6 address takes 32 labels of one digit.
		if !lookup.ValidName(z.Name) || len(z.Name) > 253-64 {
			return nil, fmt.Errorf("blocklists: %q is no domain", z.Name)
		}
	}
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.Keep, 5*time.Minute)
	setDefault(&o.KeepFailure, 30*time.Second)
	setDefault(&o.Entries, 20_000)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Checker{o: o, resolver: lookup.Bound(o.Resolver, o.Timeout), cache: make(map[netip.Addr]entry)}, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Check tells whether a client is listed; nil when it is not, or when no list said so in time. Addresses that are no public ones
// are on no list.
func (c *Checker) Check(ctx context.Context, client netip.Addr) *Listing {
	client = client.Unmap().WithZone("")
	if len(c.o.Zones) == 0 || !public(client) {
		return nil
	}
	if e, ok := c.known(client); ok {
		return e.listing
	}
	// The question is put once for all who wait for it, so that it must not end with the first one's connection.
	answer := c.flight.DoChan(client.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.Timeout)
		defer cancel()
		e := c.ask(ctx, client)
		c.keep(client, e)
		return e.listing, nil
	})
	select {
	case r := <-answer:
		return r.Val.(*Listing)
	case <-ctx.Done():
		return nil
	}
}

// public is false for what no list has an entry for, and which should not leave the site in a question.
func public(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate()
}

// ask asks all zones at once.
func (c *Checker) ask(ctx context.Context, client netip.Addr) entry {
	listings := make([]*Listing, len(c.o.Zones))
	failed := make([]bool, len(c.o.Zones))
	name := reversed(client)
	var wg sync.WaitGroup
	for i, z := range c.o.Zones {
		wg.Go(func() { listings[i], failed[i] = c.askZone(ctx, z, name) })
	}
	wg.Wait()
	e := entry{until: c.o.Clock().Add(c.o.Keep)}
	for _, l := range listings {
		if l != nil {
			e.listing = l
			return e
		}
	}
	if slices.Contains(failed, true) {
		e.until = c.o.Clock().Add(c.o.KeepFailure)
	}
	return e
}

// askZone asks one zone. failed is true when it did not answer.
func (c *Checker) askZone(ctx context.Context, z Zone, name string) (listing *Listing, failed bool) {
	answers, err := c.resolver.LookupIPAddr(ctx, name+"."+z.Name)
	var d *net.DNSError
	if errors.As(err, &d) && !d.IsNotFound {
		return nil, true
	}
	for _, a := range answers {
		code, _ := netip.AddrFromSlice(a.IP)
		if code = code.Unmap(); !z.counts(code) {
			continue
		}
		listing = &Listing{Zone: z.Name, Code: code}
		if z.Reason {
			texts, _ := c.resolver.LookupTXT(ctx, name+"."+z.Name) // without one the zone's name has to do
			listing.Reason = reply.Text(strings.Join(texts, " "))
		}
		return listing, false
	}
	return nil, false
}

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	errCodes = netip.MustParsePrefix("127.255.255.0/24")
	notACode = netip.MustParseAddr("127.0.0.1")
)

func (z Zone) counts(code netip.Addr) bool {
	if !loopback.Contains(code) {
		return false
	}
	if len(z.Codes) == 0 {
		return !errCodes.Contains(code) && code != notACode
	}
	return slices.ContainsFunc(z.Codes, func(p netip.Prefix) bool { return p.Contains(code) })
}

// reversed is the address as lists have it: octets, or nibbles of IPv6, in reverse (RFC 5782 2.1, 2.4).
func reversed(a netip.Addr) string {
	const hex = "0123456789abcdef"
	octets := a.AsSlice()
	labels := make([]string, 0, 32)
	for _, o := range slices.Backward(octets) {
		if a.Is4() {
			labels = append(labels, fmt.Sprint(o))
		} else {
			labels = append(labels, hex[o&15:o&15+1], hex[o>>4:o>>4+1])
		}
	}
	return strings.Join(labels, ".")
}

func (c *Checker) known(client netip.Addr) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.cache[client]
	return e, ok && c.o.Clock().Before(e.until)
}

// keep remembers an answer. In a full cache it takes the place of those that are out of date, or else of any.
func (c *Checker) keep(client netip.Addr, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cache) >= c.o.Entries {
		c.makeRoom()
	}
	c.cache[client] = e
}

// makeRoom empties an eighth of the cache, so that going through it is rare.
func (c *Checker) makeRoom() {
	now, room := c.o.Clock(), c.o.Entries/8+1
	for a, e := range c.cache {
		if !now.Before(e.until) {
			delete(c.cache, a)
			room--
		}
	}
	for a := range c.cache {
		if room <= 0 {
			return
		}
		delete(c.cache, a)
		room--
	}
}

// Reply refuses a client that is listed.
func (l *Listing) Reply(client netip.Addr) *smtp.SMTPError {
	text := fmt.Sprintf("Client [%s] is listed by %s", client.Unmap().WithZone(""), l.Zone)
	if l.Reason != "" {
		text += ": " + l.Reason
	}
	return reply.New(550, smtp.EnhancedCode{5, 7, 1}, text)
}

// Entries is how many clients are in the cache.
func (c *Checker) Entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.cache)
}
