package outbound

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
)

// domainsAtOnce is how many domains of one message are delivered to at the same time.
const domainsAtOnce = 16

// delivery is one call of Deliver. Each recipient's result is written by one goroutine only.
type delivery struct {
	t       *Transport
	s       *settings
	side    Side
	req     Request
	bodies  *bodies
	results []Result
}

// Deliver makes one attempt for every recipient and returns their results in the same order. It blocks until all are
// settled or ctx ends; the deadline of ctx bounds the attempt, and cancelling it closes the connections in use at once.
// Nothing refers to the content any more when it returns.
func (t *Transport) Deliver(ctx context.Context, req Request) []Result {
	s := t.settings.Load()
	d := &delivery{t: t, s: s, side: s.Sides[req.Side], req: req, results: make([]Result, len(req.Recipients))}
	d.side.TLS = stronger(d.side.TLS, "")
	valid := d.checkPaths()
	switch {
	case len(valid) == 0:
		return d.results
	case t.ctx.Err() != nil:
		d.settleAll(valid, Result{Outcome: Deferred, Stage: StageRoute, Reply: deferral(smtp.EnhancedCode{4, 3, 2}, "%v", errClosed)})
		return d.results
	}
	if _, ok := s.Sides[req.Side]; !ok {
		d.settleAll(valid, Result{Outcome: Deferred, Stage: StageRoute,
			Reply: deferral(smtp.EnhancedCode{4, 3, 5}, "no next hop is configured for side %q", req.Side)})
		return d.results
	}
	d.bodies = newBodies(req.Content, s.Downgrade)
	if len(d.side.Hops) > 0 {
		d.toHops(ctx, valid)
	} else {
		d.toDomains(ctx, valid)
	}
	return d.results
}

// checkPaths settles the recipients whose address, or the sender's, must not go onto the wire, and returns the others.
func (d *delivery) checkPaths() (valid []int) {
	if from := d.req.ReversePath; from != "" {
		if err := checkPath(from); err != nil {
			d.settleAll(d.all(), Result{Outcome: Refused, Stage: StageCheck,
				Reply: refusal(553, smtp.EnhancedCode{5, 1, 7}, "sender address: %v", err)})
			return nil
		}
	}
	for i, r := range d.req.Recipients {
		if err := checkPath(r.Address); err != nil {
			d.settleAll([]int{i}, Result{Outcome: Refused, Stage: StageCheck,
				Reply: refusal(553, smtp.EnhancedCode{5, 1, 3}, "recipient address: %v", err)})
			continue
		}
		valid = append(valid, i)
	}
	return valid
}

func (d *delivery) all() []int {
	all := make([]int, len(d.results))
	for i := range all {
		all[i] = i
	}
	return all
}

// settleAll gives recipients a result that was made here.
func (d *delivery) settleAll(indices []int, r Result) {
	r.Local = true
	for _, i := range indices {
		d.results[i] = r
	}
}

// set gives a recipient the result of a transaction.
func (d *delivery) set(i int, c *conn, r Result) {
	r.Host, r.Addr, r.TLS = c.hop.key.host, c.addr, c.tls
	d.results[i] = r
}

func (d *delivery) advise(r reply) Advice { return Advise(d.req.Side, r.smtpError()) }

func (d *delivery) unsettled(indices []int) []int {
	var left []int
	for _, i := range indices {
		if d.results[i].Outcome == "" {
			left = append(left, i)
		}
	}
	return left
}

// candidate is a host to try.
type candidate struct {
	key      hopKey // its TLS and DANE are settled when its turn comes
	addrs    []netip.Addr
	security *security // nil: a configured next hop
}

// toHops delivers by the side's list.
func (d *delivery) toHops(ctx context.Context, indices []int) {
	var cands []candidate
	for _, hop := range d.side.Hops {
		host, port, err := splitHop(hop)
		if err != nil { // the configuration's validation lets none through
			d.s.Logger.Error("next hop is not host:port", "next_hop", hop, "error", err)
			continue
		}
		cands = append(cands, candidate{key: hopKey{side: d.req.Side, host: host, port: port}})
	}
	d.try(ctx, cands, indices)
}

func splitHop(hop string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(hop)
	if err != nil {
		host, portText = strings.Trim(hop, "[]"), "25"
		if strings.Contains(host, ":") {
			if _, ipErr := netip.ParseAddr(host); ipErr != nil {
				return "", 0, err
			}
		}
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", hop)
	}
	return strings.TrimSuffix(host, "."), uint16(n), nil
}

// toDomains delivers by MX, all domains at the same time.
func (d *delivery) toDomains(ctx context.Context, indices []int) {
	byDomain := map[string][]int{}
	var domains []string
	for _, i := range indices {
		_, domain := splitPath(d.req.Recipients[i].Address)
		domain = canonicalName(domain)
		if _, ok := byDomain[domain]; !ok {
			domains = append(domains, domain)
		}
		byDomain[domain] = append(byDomain[domain], i)
	}
	if len(domains) == 1 {
		d.toDomain(ctx, domains[0], indices)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, domainsAtOnce)
	for _, domain := range domains {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			d.toDomain(ctx, domain, byDomain[domain])
		})
	}
	wg.Wait()
}

func (d *delivery) toDomain(ctx context.Context, domain string, indices []int) {
	policy, err := d.policy(ctx, domain)
	if err != nil {
		d.settleAll(indices, Result{Outcome: Deferred, Stage: StageRoute,
			Reply: deferral(smtp.EnhancedCode{4, 7, 0}, "policy of %s: %v", domain, err)})
		return
	}
	hosts, refused := d.s.route(ctx, domain)
	if refused != nil {
		d.settleAll(indices, Result{Outcome: outcomeOf(refused.Code), Stage: StageRoute, Reply: refused})
		return
	}
	name, _ := asciiDomain(domain)
	var cands []candidate
	for _, h := range hosts {
		sec := &security{domain: name, policy: policy, secure: h.secure, signed: h.signed, base: []string{h.name}}
		if h.canonical != "" && h.canonical != h.name {
			sec.base = []string{h.canonical, h.name}
		}
		cands = append(cands, candidate{addrs: h.addrs, security: sec, key: hopKey{side: d.req.Side, host: h.name, port: d.s.MXPort}})
	}
	d.try(ctx, cands, indices)
}

// problem is why a host gave no answer.
type problem struct {
	result Result // without Outcome
	loop   bool   // it is this gateway
	policy bool   // a policy rules it out
}

// after is what is to be said of two hosts, of which p is the later. The last word counts, but that a host is this gateway
// counts only where nothing else is to be said, and that a policy kept mail from a host is never lost.
func (p *problem) after(before problem) problem {
	switch {
	case before.result.Reply == nil:
		return *p
	case p.loop:
		return before
	case p.policy == before.policy && outcomeOf(p.result.Reply.Code) == outcomeOf(before.result.Reply.Code):
		return *p
	case p.policy:
		return p.with(before)
	}
	return before.with(*p)
}

// with adds the words of another problem. What may pass is not for good.
func (p problem) with(other problem) problem {
	own := *p.result.Reply
	if o := other.result.Reply; outcomeOf(own.Code) == Refused && outcomeOf(o.Code) == Deferred {
		own.Code, own.EnhancedCode = o.Code, o.EnhancedCode
	}
	own.Message = safeText(own.Message + "; " + other.result.Reply.Message)
	p.result.Reply = &own
	return p
}

// try goes through the hosts in order until every recipient is settled. A host that cannot be talked to is followed by the
// next. A recipient that a host deferred is given to one further host (RFC 5321 5.1), unless the reply says that this would
// be of no use.
func (d *delivery) try(ctx context.Context, cands []candidate, indices []int) {
	var why problem
	pending := indices
	deferred := map[int]Result{} // what an earlier host said
	for n, cand := range cands {
		p := d.to(ctx, cand, n < len(cands)-1, pending)
		if p != nil {
			why = p.after(why)
		}
		if p != nil && p.loop && cand.security != nil { // RFC 5321 5.1: what follows is no better than we are
			pending = d.unsettled(pending)
			break
		}
		pending = d.unsettled(pending)
		if len(deferred) == 0 && n < len(cands)-1 {
			pending = append(pending, d.reopen(indices, deferred)...)
		}
		if len(pending) == 0 || ctx.Err() != nil {
			break
		}
	}
	d.close(pending, deferred, why)
}

// reopen makes deferred recipients unsettled again, remembering what they were told.
func (d *delivery) reopen(indices []int, deferred map[int]Result) []int {
	var open []int
	for _, i := range indices {
		r := d.results[i]
		if r.Outcome == Deferred && !r.Uncertain && !r.Local && Advise(d.req.Side, r.Reply).Action == NoAction {
			deferred[i] = r
			d.results[i] = Result{}
			open = append(open, i)
		}
	}
	return open
}

// close settles what no host settled.
func (d *delivery) close(pending []int, deferred map[int]Result, why problem) {
	if why.result.Reply == nil {
		why.result = Result{Local: true, Stage: StageRoute, Reply: deferral(smtp.EnhancedCode{4, 4, 4}, "there is no host to try")}
	}
	for _, i := range pending {
		if r, ok := deferred[i]; ok {
			d.results[i] = r
			continue
		}
		r := why.result
		r.Outcome = outcomeOf(r.Reply.Code)
		d.results[i] = r
	}
}

// to delivers to one host, in as many transactions as it takes. A problem says that the recipients left unsettled got no
// answer from it.
func (d *delivery) to(ctx context.Context, cand candidate, hurry bool, indices []int) *problem {
	need, stopped := d.require(ctx, &cand)
	if stopped != nil {
		return stopped
	}
	cand.key.tls, cand.key.dane = need.tls, need.dane.Key()
	h := d.t.hop(cand.key, need.dane, d.s)
	retried, fresh := false, false
	for pending := indices; len(pending) > 0; {
		c, herr := h.acquire(ctx, d.s, target{addrs: cand.addrs, hurry: hurry}, fresh)
		if herr != nil {
			if p := d.unprotectedSession(&cand, herr); p != nil {
				return p
			}
			p := hopProblem(h, herr, cand.security == nil)
			d.explain(&cand, need, herr, p)
			return p
		}
		if p := d.notOffered(&cand, c); p != nil {
			h.release(c, true)
			return p
		}
		batch := pending[:min(len(pending), d.s.RecipientsPerTransaction)]
		l := c.transact(ctx, d, batch)
		addr, version := c.addr, c.tls
		h.release(c, l == nil)
		d.heed(h, batch)
		pending = append(d.unsettled(batch), pending[len(batch):]...)
		if len(d.unsettled(batch)) < len(batch) {
			retried = false // it got us further
		}
		fresh = l != nil
		switch {
		case l == nil || !l.again || len(pending) == 0:
		case l.here && !retried && ctx.Err() == nil:
			retried = true
		default:
			return &problem{result: Result{Reply: l.reply, Local: !l.here || l.reply.Code != 421, Host: h.key.host, Addr: addr,
				TLS: version, Stage: l.stage}}
		}
	}
	return nil
}

// heed slows down towards a host that asks for it.
func (d *delivery) heed(h *hop, batch []int) {
	for _, i := range batch {
		if r := &d.results[i]; r.Outcome == Deferred && !r.Local && Advise(d.req.Side, r.Reply).Action == BackOffHop {
			h.throttle(d.s.Clock())
			return
		}
	}
}

// hopProblem is what the recipients are told of a host that could not be talked to. A configured next hop that is this gateway
// is a fault of the configuration, which bounces nobody's mail; an MX that is has no better one behind it (RFC 5321 5.1).
func hopProblem(h *hop, herr *hopError, configured bool) *problem {
	r := Result{Local: true, Host: h.key.host, Addr: herr.addr, Stage: herr.stage}
	switch {
	case herr.loop && configured:
		r.Reply = deferral(smtp.EnhancedCode{4, 4, 6}, "loop: %v: correct next_hop of side %s", herr.err, h.key.side)
	case herr.loop:
		r.Reply = refusal(554, smtp.EnhancedCode{5, 4, 6}, "loop: %v", herr.err)
	default:
		r.Reply = deferral(herr.enhanced, "%s: %v", h.key, herr.err)
	}
	return &problem{result: r, loop: herr.loop}
}
