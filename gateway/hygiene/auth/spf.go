package auth

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	"golang.org/x/net/idna"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
)

// Result is the result of a check, in the words of RFC 8601 2.7.
type Result string

const (
	// None: nothing to check, or no policy.
	None Result = "none"
	// PassResult: the mail is what it says.
	PassResult Result = "pass"
	// Fail: it is not.
	Fail Result = "fail"
	// SoftFail: probably not (SPF).
	SoftFail Result = "softfail"
	// Neutral: nothing can be said.
	Neutral Result = "neutral"
	// PolicyResult: valid, and not accepted by local policy (DKIM).
	PolicyResult Result = "policy"
	// TempError: DNS did not answer.
	TempError Result = "temperror"
	// PermError: the domain's records or the message cannot be understood.
	PermError Result = "permerror"
)

// SPF is the result of RFC 7208 for the MAIL FROM identity, or for HELO where the reverse-path is null (RFC 7208 2.4).
type SPF struct {
	Result Result
	// Domain was checked, in A-label form; empty when there was none.
	Domain string
	// Helo is true when Domain is the argument of HELO.
	Helo bool
}

func (c *Checker) checkSPF(ctx context.Context, s Session) SPF {
	local, domain := splitAddress(s.Sender)
	result := SPF{Result: None, Domain: asciiDomain(domain)}
	if s.Sender == "" {
		// RFC 7208 2.4: then the identity is postmaster at the HELO name; an address literal has no policy.
		local, result.Helo = "postmaster", true
		result.Domain = asciiDomain(s.Helo)
	}
	if result.Domain == "" || !s.Client.IsValid() {
		return result
	}
	helo := asciiDomain(s.Helo)
	if helo == "" {
		helo = "unknown" // for %{h} only
	}
	found, _ := spf.CheckHostWithSender(ip(s.Client), helo, local+"@"+result.Domain,
		spf.WithContext(ctx), spf.WithResolver(c.resolver))
	result.Result = Result(found)
	return result
}

func ip(a netip.Addr) net.IP { return net.IP(a.Unmap().WithZone("").AsSlice()) }

// splitAddress cuts an address at its last @: a quoted local part may hold others.
func splitAddress(address string) (local, domain string) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address, ""
	}
	return address[:at], address[at+1:]
}

// asciiDomain returns a domain in lower case and A-label form (RFC 5890), or "" when it is none: an address literal, a word
// without a dot, or characters that no domain name in the DNS of mail has.
func asciiDomain(domain string) string {
	domain = strings.TrimSuffix(strings.TrimSpace(domain), ".")
	if len(domain) > 1000 {
		return ""
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		ascii = strings.ToLower(domain) // underscores are not in IDNA's rules, and in use
	}
	if !lookup.ValidName(ascii) || !strings.Contains(ascii, ".") {
		return ""
	}
	for i := range len(ascii) {
		switch c := ascii[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return ""
		}
	}
	return ascii
}
