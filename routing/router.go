package routing

import (
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
)

// Route decides about one recipient. A nil view means that there is none yet; age is the time since the view's source was last
// read with success. Route keeps nothing of the view: the strings in the decision stay valid after it.
func (r *Router) Route(view *directory.View, age time.Duration, q Query) Decision {
	return r.route(lookup{view: view, stale: r.maxAge > 0 && age > r.maxAge}, q)
}

// lookup is the directory as one query sees it.
type lookup struct {
	view  *directory.View
	stale bool
}

func (r *Router) route(l lookup, q Query) Decision {
	d := Decision{Recipient: q.Recipient, NextHop: noHops}
	if equalFold(q.Recipient, "postmaster") && r.postmaster.wire != "" {
		// RFC 5321 4.1.1.3, 4.5.1: the one recipient without a domain, whom everybody may write to wherever the postmaster is.
		r.decide(l, Gateway, r.postmaster, &d)
		uTurn(&q, mailbox{}, &d)
		return d
	}
	asked, err := parseMailbox(q.Recipient)
	if err != nil {
		d.refuse(Unknown, badAddress, err.Error())
		return d
	}
	r.decide(l, q.From, asked, &d)
	uTurn(&q, asked, &d)
	return d
}

// decide is route without the rule of no U-turn.
func (r *Router) decide(l lookup, from Side, asked mailbox, d *Decision) {
	zone := r.zone(asked)
	switch {
	case zone == foreignZone && mayRelay(from):
		d.relay(Internet, asked.wire, Foreign, asked.domain+" is neither in the shared namespace nor the tenant's")
	case zone == foreignZone:
		d.refuseFor(RelayDenied, asked.domain+" is foreign, and the client is neither on-prem nor the cloud")
	case l.view == nil:
		d.refuseFor(NoView, "no view of the directory is loaded yet")
	default:
		r.lookUp(l, from, asked, zone, d)
	}
}

// mayRelay tells who may send to foreign domains. Gateway may: it answers, or goes on with what was allowed when it was accepted.
func mayRelay(from Side) bool { return from == OnPrem || from == Cloud || from == Gateway }

// lookUp decides about an address in one of our own domains.
func (r *Router) lookUp(l lookup, from Side, asked mailbox, zone zone, d *Decision) {
	f := find(l.view, asked)
	switch len(f.owners) {
	case 0:
		r.unknown(l, from, zone, &f, d)
		return
	case 1:
	default:
		d.Matched = f.matched()
		d.refuseFor(Ambiguous, "owned by "+names(l.view, f.owners))
		return
	}
	o := l.view.Object(f.owners[0])
	d.Object, d.Matched = o.DN, f.matched()
	if o.Kind == directory.Group {
		r.expand(l, &o, &f, d)
	} else {
		r.place(&o, &f, d)
	}
}

// unknown decides about an address in one of our own domains that nobody owns.
func (r *Router) unknown(l lookup, from Side, zone zone, f *found, d *Decision) {
	asked := f.asked
	switch {
	case zone != sharedZone && (from == OnPrem || from == Gateway):
		// Exchange Online owns these domains and may know more than AD does. Gateway asks again about what on-prem sent.
		d.relay(Cloud, asked.wire, TargetCloud, "nobody in the directory owns it, and "+asked.domain+" is a domain of Exchange Online")
	case zone == sharedZone && asked.same(r.postmaster):
		d.relay(OnPrem, asked.wire, Mailbox, "the postmaster is on-prem when not in the directory")
	case zone == sharedZone && equalFold(asked.local, "postmaster"):
		// RFC 5321 4.5.1: every domain that mail is accepted for has a postmaster.
		r.decide(l, Gateway, r.postmaster, d)
	case l.stale:
		d.refuseFor(StaleView, "nobody owns it in a view of the directory that is older than max_age")
	default:
		d.refuseFor(Unknown, f.advice())
	}
}

// uTurn defers what would go back to where it came from: the two directories disagree for now, and each side would send it to the
// other until a hop limit ends it. Who submits mail sends nothing on. On-prem may get back what it asked for under another address (an
// alias that it does not know).
func uTurn(q *Query, asked mailbox, d *Decision) {
	from := q.From
	if q.Submitted || d.Action != Relay || d.Side != from || from != Cloud && from != OnPrem {
		return
	}
	if from == OnPrem {
		if sent, err := parseMailbox(d.Address); err != nil || !sent.same(asked) {
			return
		}
	}
	d.refuseFor(UTurn, "it came from "+sideName(from)+" and lives there by our view: "+d.Why)
}

// names lists DNs.
func names(view *directory.View, refs []directory.Ref) string {
	var b strings.Builder
	for i, ref := range refs {
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(view.Object(ref).DN)
	}
	return b.String()
}
