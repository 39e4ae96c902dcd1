// Package lookup bounds what the checks of a message ask of DNS, and makes all trouble with it look the same: temporary.
package lookup

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

// Resolver is what the checks need of DNS. A *net.Resolver is one. LookupTXT gives one string for each record.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
}

// Server returns a Resolver that asks one server, given as host:port; empty: those of the system (/etc/resolv.conf). Blocklists answer
// nobody who asks through a public resolver, so many sites run one of their own for them.
func Server(address string) Resolver {
	if address == "" {
		return &net.Resolver{PreferGo: true} // that of the C library holds a thread for each question
	}
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}
}

// Bounded asks a Resolver, each question with a limit on its time. Its errors are always *net.DNSError: IsNotFound where DNS says
// that there is nothing, else IsTemporary. What is asked is absolute: the search list of the machine does not apply.
type Bounded struct {
	resolver Resolver
	timeout  time.Duration
}

// Bound returns a Bounded. timeout is for each question; below 1 ms it is 3 s.
func Bound(r Resolver, timeout time.Duration) *Bounded {
	if timeout < time.Millisecond {
		timeout = 3 * time.Second
	}
	return &Bounded{r, timeout}
}

// LookupTXT returns the TXT records of name.
func (b *Bounded) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ask(ctx, b.timeout, name, b.resolver.LookupTXT)
}

// LookupMX returns the MX records of name.
func (b *Bounded) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, b.timeout, name, b.resolver.LookupMX)
}

// LookupIPAddr returns the addresses of host.
func (b *Bounded) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return ask(ctx, b.timeout, host, b.resolver.LookupIPAddr)
}

// LookupAddr returns the names of an address.
func (b *Bounded) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	names, err := b.resolver.LookupAddr(ctx, addr)
	return names, dnsError(addr, err)
}

// ask puts one question about a name.
func ask[T any](ctx context.Context, timeout time.Duration, name string, f func(context.Context, string) ([]T, error)) ([]T, error) {
	if !ValidName(name) {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers, err := f(ctx, strings.TrimSuffix(name, ".")+".") // rooted, so that no search list is tried
	return answers, dnsError(name, err)
}

// dnsError tells "there is nothing" from trouble; only the first may settle anything.
func dnsError(name string, err error) error {
	if err == nil {
		return nil
	}
	var known *net.DNSError
	if errors.As(err, &known) && known.IsNotFound {
		return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	text, late := err.Error(), errors.Is(err, context.DeadlineExceeded)
	if known != nil { // its Server is the system's, also where another one was asked
		text, late = known.Err, late || known.IsTimeout
	}
	return &net.DNSError{Err: text, Name: name, IsTemporary: true, IsTimeout: late}
}

// ValidName says whether name can be asked for: labels of 1 to 63 octets, 253 in all (RFC 1035 2.3.4), printable ASCII without
// space. A trailing dot is allowed.
func ValidName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' && label == 0:
			return false
		case c == '.':
			label = 0
		case c <= ' ' || c >= 0x7f:
			return false
		default:
			if label++; label > 63 {
				return false
			}
		}
	}
	return label > 0
}
