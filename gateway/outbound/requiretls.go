package outbound

import (
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/config"
)

// The codes of RFC 8689 4.2.1.
var (
	requireTLSNeeded = smtp.EnhancedCode{5, 7, 30} // the host does not offer REQUIRETLS
	encryptionNeeded = smtp.EnhancedCode{5, 7, 10} // there is no TLS with a host that is known to be the right one
)

// byREQUIRETLS is who demands TLS for a message that was given with REQUIRETLS.
const byREQUIRETLS = "the sender (REQUIRETLS)"

// requiresTLS says whether the message may only go over TLS to a host that is authenticated and offers REQUIRETLS. A DSN goes where it
// would go without, since nobody would hear of it otherwise (RFC 8689 5).
func (d *delivery) requiresTLS() bool { return d.req.RequireTLS && d.req.ReversePath != "" }

// raiseForSender adds what the sender demands to what others do (RFC 8689 4.2.1, steps 2 and 4). A configured next hop is the right one by
// the configuration; one found by MX is when DNSSEC or MTA-STS says so.
func (d *delivery) raiseForSender(cand *candidate, need demand) (demand, *problem) {
	if !d.requiresTLS() {
		return need, nil
	}
	if sec := cand.security; sec != nil && !sec.signed && sec.policy.Allow == nil {
		return demand{}, d.unprotected(cand, encryptionNeeded, "that %s is a host of %s is vouched for by neither DNSSEC nor MTA-STS", cand.key.host, sec.domain)
	}
	need.raise(config.SideTLSVerified, byREQUIRETLS)
	return need, nil
}

// unprotected is the problem of a host that a message with REQUIRETLS must not be given to. It is for good (RFC 8689 4.2.1), unless another
// host has a passing trouble.
func (d *delivery) unprotected(cand *candidate, enhanced smtp.EnhancedCode, format string, a ...any) *problem {
	p := &problem{policy: true, result: Result{Local: true, Host: cand.key.host, Stage: StageRoute,
		Reply: refusal(550, enhanced, "the sender asks for REQUIRETLS: %s", fmt.Sprintf(format, a...))}}
	d.s.Logger.Warn("REQUIRETLS keeps mail from a host", "id", d.req.ID, "side", d.req.Side, "next_hop", cand.key.host, "reason", p.result.Reply.Message)
	return p
}

// unprotectedSession judges a host that no TLS session could be had with: nil when that may pass.
func (d *delivery) unprotectedSession(cand *candidate, herr *hopError) *problem {
	if !d.requiresTLS() || herr.stage != StageSTARTTLS || mayPass(herr.err) {
		return nil
	}
	p := d.unprotected(cand, encryptionNeeded, "%s: %v", cand.key, herr.err)
	p.result.Addr, p.result.Stage = herr.addr, herr.stage
	return p
}

// notOffered judges a session with a host that does not say that it keeps to REQUIRETLS (RFC 8689 4.2.1, step 5).
func (d *delivery) notOffered(cand *candidate, c *conn) *problem {
	if !d.requiresTLS() || c.ext.requireTLS {
		return nil
	}
	p := d.unprotected(cand, requireTLSNeeded, "%s does not offer it", cand.key)
	p.result.Addr, p.result.TLS, p.result.Stage = c.addr, c.tls, StageEHLO
	return p
}

// mayPass says whether a session with TLS may be had with the host another time: that it does not offer TLS, or shows a certificate of
// somebody else, is its configuration, and the sender is to hear of it at once.
func mayPass(err error) bool {
	return isTimeout(err) || isClosed(err) || errors.Is(err, errTLSLater) || errors.Is(err, context.Canceled)
}
