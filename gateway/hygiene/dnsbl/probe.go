package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
)

// ErrNoTestEntry says that a zone answers, but does not have the entry by which a list is known to work.
var ErrNoTestEntry = errors.New("answers, but does not list 127.0.0.2, as lists do (RFC 5782 5): is its name right?")

// Every list has entries for 127.0.0.2, or for its mapped form where it lists IPv6 only, and none for 127.0.0.1 (RFC 5782 5).
var (
	testEntries = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::ffff:127.0.0.2")}
	neverListed = netip.MustParseAddr("127.0.0.1")
)

// Probe sees by its test entries whether a zone answers whoever asks r, each question for at most timeout, and lists neither everybody
// nor nobody. The error is ErrNoTestEntry where it may list nobody.
func Probe(ctx context.Context, r lookup.Resolver, z Zone, timeout time.Duration) error {
	ask := lookup.Bound(r, timeout)
	found := false
	for _, entry := range testEntries {
		listed, err := z.lists(ctx, ask, entry)
		if err != nil {
			return err
		}
		if found = listed; found {
			break
		}
	}
	if !found {
		return ErrNoTestEntry
	}
	listed, err := z.lists(ctx, ask, neverListed)
	if err == nil && listed {
		return fmt.Errorf("lists %v, as no list does (RFC 5782 5): everybody would be refused", neverListed)
	}
	return err
}

// lists says whether the zone has an address. An answer by which it does not answer us is an error.
func (z Zone) lists(ctx context.Context, r *lookup.Bounded, a netip.Addr) (bool, error) {
	answers, err := r.LookupIPAddr(ctx, reversed(a)+"."+z.Name)
	var d *net.DNSError
	if err != nil {
		if errors.As(err, &d) && d.IsNotFound {
			return false, nil
		}
		return false, err
	}
	var last netip.Addr
	for _, answer := range answers {
		code, _ := netip.AddrFromSlice(answer.IP)
		if last = code.Unmap(); z.counts(last) {
			return true, nil
		}
	}
	switch {
	case errCodes.Contains(last):
		return false, fmt.Errorf("does not answer whoever asks through this DNS server (%v)", last)
	case last.IsValid() && !loopback.Contains(last):
		return false, fmt.Errorf("answers %v, which is no code of a list: does it still exist?", last)
	}
	return false, nil
}
