// Package tenant tells whether mail from Exchange Online is of the configured tenant. All tenants send from the same addresses,
// with the same certificate; what tells them apart are the header fields that Exchange Online stamps.
package tenant

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Options are for New.
type Options struct {
	// Domains are the tenant's accepted domains, its tenant and routing domain among them: X-OriginatorOrg names one of them.
	Domains []string
	// ID is the tenant's id, a GUID: X-MS-Exchange-CrossTenant-Id. Empty: only the domains are compared.
	ID string
	// TrustUnstated takes mail that names no tenant for the tenant's own. The default is to take it for mail from the internet.
	TrustUnstated bool
}

// Policy compares.
type Policy struct {
	domains       map[string]bool
	id            string
	trustUnstated bool
}

// New returns a Policy. Its errors are about the Options.
func New(o Options) (*Policy, error) {
	p := &Policy{domains: make(map[string]bool), trustUnstated: o.TrustUnstated}
	for _, d := range o.Domains {
		if !lookup.ValidName(d) {
			return nil, fmt.Errorf("tenant: %q is no domain", d)
		}
		p.domains[normalDomain(d)] = true
	}
	if o.ID != "" {
		var ok bool
		if p.id, ok = guid(o.ID); !ok {
			return nil, fmt.Errorf("tenant: %q is no GUID", o.ID)
		}
	}
	if len(p.domains) == 0 && p.id == "" {
		return nil, errors.New("tenant: neither domains nor an id")
	}
	return p, nil
}

// Standing is how a message stands to the tenant.
type Standing string

const (
	// Ours: all that the message says of a tenant names the configured one.
	Ours Standing = "ours"
	// Foreign: it names another one, or two.
	Foreign Standing = "foreign"
	// Unstated: it names none.
	Unstated Standing = "unstated"
)

// Finding is what a message says.
type Finding struct {
	Standing Standing
	// Claim is the value that decided, printable: of another tenant where Standing is Foreign.
	Claim string
	// Side is how the message is to be treated: cloud, or internet for what is not the tenant's: it may reach the recipients of
	// the shared namespace, and is relayed nowhere else.
	Side routing.Side
}

// The fields that Exchange Online stamps on mail that leaves a tenant. Where one of them was there already and stayed, the two
// values differ, and the message is foreign: writing the field oneself gains nothing.
const (
	originatorOrg = "X-OriginatorOrg"
	crossTenantID = "X-MS-Exchange-CrossTenant-Id"
)

// Examine reads the header of a message that a client of the cloud side gave, as it came: the header firewall may take the fields
// out later.
func (p *Policy) Examine(msg []byte) Finding {
	f := Finding{Standing: Unstated, Side: routing.Internet}
	for field := range rawmime.Fields(msg) {
		var ours bool
		value := ""
		switch {
		case field.Name == nil:
			continue
		case field.Is(originatorOrg) && len(p.domains) > 0:
			value = strings.TrimSpace(field.Text())
			ours = p.domains[normalDomain(value)]
		case field.Is(crossTenantID) && p.id != "":
			value = strings.TrimSpace(field.Text())
			id, ok := guid(value)
			ours = ok && id == p.id
		default:
			continue
		}
		f.Claim = reply.Text(value[:min(len(value), 100)])
		if !ours {
			f.Standing = Foreign
			return f
		}
		f.Standing = Ours
	}
	if f.Standing == Ours || f.Standing == Unstated && p.trustUnstated {
		f.Side = routing.Cloud
	}
	return f
}

// Reply refuses a message with a recipient to whom only the tenant may relay. Its code and words are those that Exchange
// Online itself has for mail that it cannot attribute.
func (f Finding) Reply() *smtp.SMTPError {
	enhanced := smtp.EnhancedCode{5, 7, 64}
	if f.Standing == Foreign {
		return reply.New(550, enhanced, "TenantAttribution; Relay Access Denied: the message is from another tenant ("+f.Claim+")")
	}
	return reply.New(550, enhanced, "TenantAttribution; Relay Access Denied: the message does not say which tenant it is from")
}

func normalDomain(d string) string { return strings.ToLower(strings.TrimSuffix(d, ".")) }

// guid reads 8-4-4-4-12 hexadecimal digits, in braces or not, and returns them in lower case.
func guid(s string) (string, bool) {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	s = strings.ToLower(s)
	if len(s) != 36 {
		return "", false
	}
	for i := range len(s) {
		switch hyphen := i == 8 || i == 13 || i == 18 || i == 23; {
		case hyphen != (s[i] == '-'):
			return "", false
		case !hyphen && !strings.ContainsRune("0123456789abcdef", rune(s[i])):
			return "", false
		}
	}
	return s, true
}
