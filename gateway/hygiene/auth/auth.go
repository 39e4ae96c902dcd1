// Package auth authenticates mail from the internet: SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 9989, which replaces RFC 7489), and writes what it
// found as an Authentication-Results field (RFC 8601). Trouble with DNS is a result, temperror, and never a reason to refuse.
package auth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
)

// Enforcement says how much of a domain's DMARC policy is carried out.
type Enforcement string

const (
	// Report only writes the results down.
	Report Enforcement = "report"
	// Quarantine sets mail aside where the domain's policy is quarantine or reject.
	Quarantine Enforcement = "quarantine"
	// Reject refuses mail where the policy is reject, and sets it aside where it is quarantine.
	Reject Enforcement = "reject"
)

// Options are for New.
type Options struct {
	// Hostname is the authserv-id (RFC 8601 2.5): the gateway's host name.
	Hostname string
	Resolver lookup.Resolver
	// LookupTimeout bounds one question, Timeout all checks of a message; 3 s and 10 s.
	LookupTimeout, Timeout time.Duration
	// MaxSignatures is how many DKIM signatures are verified, from the top; 10.
	MaxSignatures int
	// MaxSize is the size in octets up to which signatures are verified; 64 MiB. Each one hashes the whole message: of a message
	// with several, as many are verified as come to twice MaxSize in all.
	MaxSize int
	// Enforce is Report when empty.
	Enforce Enforcement
	// Sample returns a number from 0 to 99, for the pct of a policy (RFC 7489 6.6.4). Default: at random.
	Sample func() int
}

// Checker does the checks. It may be used by many goroutines.
type Checker struct {
	o        Options
	resolver *lookup.Bounded
}

// New returns a Checker. Its errors are about the Options.
func New(o Options) (*Checker, error) {
	if !lookup.ValidName(o.Hostname) {
		return nil, fmt.Errorf("authentication of mail: %q is no host name", o.Hostname)
	}
	if o.Resolver == nil {
		return nil, fmt.Errorf("authentication of mail: no resolver")
	}
	switch o.Enforce {
	case "":
		o.Enforce = Report
	case Report, Quarantine, Reject:
	default:
		return nil, fmt.Errorf("authentication of mail: enforcement %q, want report, quarantine or reject", o.Enforce)
	}
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.MaxSignatures, 10)
	setDefault(&o.MaxSize, 64<<20)
	if o.Sample == nil {
		o.Sample = func() int { return rand.IntN(100) }
	}
	return &Checker{o: o, resolver: lookup.Bound(o.Resolver, o.LookupTimeout)}, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Session is who sends a message.
type Session struct {
	Client netip.Addr
	Helo   string // the argument of HELO or EHLO
	Sender string // the reverse-path without angle brackets; empty: null
}

// Outcome is what is done with a message because of the results.
type Outcome string

const (
	// Pass lets the message go on.
	Pass Outcome = "pass"
	// SetAside keeps it from its recipients until somebody looks at it.
	SetAside Outcome = "quarantine"
	// Refuse refuses it.
	Refuse Outcome = "reject"
)

// Results is the result of all checks of one message.
type Results struct {
	SPF   SPF
	DKIM  []Signature
	DMARC DMARC
	// Outcome is what the domain's policy asks for, as far as it is enforced.
	Outcome Outcome
}

// Check authenticates msg, the message as it came. It takes at most Options.Timeout of waiting for DNS.
func (c *Checker) Check(ctx context.Context, s Session, msg []byte) Results {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	spf := make(chan SPF, 1)
	go func() { spf <- c.checkSPF(ctx, s) }()
	r := Results{DKIM: c.checkDKIM(ctx, msg)}
	r.SPF = <-spf
	r.DMARC = c.checkDMARC(ctx, authors(msg), r.SPF, r.DKIM)
	r.Outcome = c.outcome(r.DMARC)
	return r
}

// outcome is what the policy asks for (RFC 9989 4.7: p) and this gateway is configured to do.
func (c *Checker) outcome(d DMARC) Outcome {
	switch {
	case d.Result != Fail || c.o.Enforce == Report:
		return Pass
	case d.Disposition == PolicyReject && c.o.Enforce == Reject:
		return Refuse
	case d.Disposition != PolicyNone:
		return SetAside
	}
	return Pass
}

// Reply is the refusal for Outcome Refuse, else nil.
func (r Results) Reply() *smtp.SMTPError {
	if r.Outcome != Refuse {
		return nil
	}
	if r.DMARC.Reason == tooMany {
		return reply.New(550, smtp.EnhancedCode{5, 7, 1}, "Message refused: "+tooMany)
	}
	// RFC 9989 7.2 and RFC 7372 3.3 leave the code open; 5.7.1 is what the registry has for policy.
	return reply.New(550, smtp.EnhancedCode{5, 7, 1}, "Message refused by the DMARC policy of "+r.DMARC.Domain)
}
