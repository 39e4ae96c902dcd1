// Package hygiene decides what mail is let in, as far as that is not a matter of its recipients: blocklists and greylisting at
// RCPT, authentication (SPF, DKIM, DMARC) and content filters once the message was read; and it knows which mail of the cloud
// side is of one's own tenant, and what Exchange Online's filter thought of it. Each part is off unless it is configured.
package hygiene

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/greylist"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
	"github.com/coexist-mail/coexist/gateway/hygiene/tenant"
	"github.com/coexist-mail/coexist/gateway/hygiene/verdict"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// Options are for New. A part whose options are nil is off.
type Options struct {
	// Hostname is the gateway's: the authserv-id, and what filters are told.
	Hostname string
	// Resolver answers the parts that ask DNS, where their own options name none.
	Resolver lookup.Resolver
	// Exempt are networks of clients that are neither looked up in blocklists nor greylisted.
	Exempt []netip.Prefix

	Auth       *auth.Options
	Blocklists *dnsbl.Options
	Greylist   *greylist.Options
	Milters    []Milter
	// MilterStage says when the filters are asked.
	MilterStage Stage
	Tenant      *tenant.Options
	Verdict     *verdict.Options
}

// Stage is when content filters are asked.
type Stage string

// The stages.
const (
	// AtMessage asks about each message, once it has been read.
	AtMessage Stage = "message"
	// AtRecipient asks at each RCPT too.
	AtRecipient Stage = "recipient"
)

// Milter is a content filter, and the sides whose mail it is asked about; none: the internet.
type Milter struct {
	milter.Filter
	Sides []routing.Side
}

// Filter is the whole. It may be used by many goroutines.
type Filter struct {
	hostname   string
	exempt     []netip.Prefix
	auth       *auth.Checker
	blocklists *dnsbl.Checker
	greylist   *greylist.List
	milters    map[routing.Side]*milter.Chain
	stage      Stage
	tenant     *tenant.Policy
	verdict    *verdict.Translator
}

// New makes a Filter. Its errors are about the Options, or that the greylist's file cannot be read.
func New(o Options) (*Filter, error) {
	f := &Filter{hostname: o.Hostname, exempt: o.Exempt, stage: o.MilterStage}
	var errs [6]error
	if o.Auth != nil {
		own := *o.Auth
		own.Hostname = o.Hostname
		own.Resolver = either(own.Resolver, o.Resolver)
		f.auth, errs[0] = auth.New(own)
	}
	if o.Blocklists != nil {
		own := *o.Blocklists
		own.Resolver = either(own.Resolver, o.Resolver)
		f.blocklists, errs[1] = dnsbl.New(own)
	}
	if o.Greylist != nil {
		f.greylist, errs[2] = greylist.Open(*o.Greylist)
	}
	f.milters, errs[3] = chains(o.Milters)
	if o.Tenant != nil {
		f.tenant, errs[4] = tenant.New(*o.Tenant)
	}
	if o.Verdict != nil {
		f.verdict, errs[5] = verdict.New(*o.Verdict)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return f, nil
}

func either(own, shared lookup.Resolver) lookup.Resolver {
	if own != nil {
		return own
	}
	return shared
}

// chains sorts the filters by side, in their order.
func chains(milters []Milter) (map[routing.Side]*milter.Chain, error) {
	filters := make(map[routing.Side][]milter.Filter)
	for _, m := range milters {
		sides := m.Sides
		if len(sides) == 0 {
			sides = []routing.Side{routing.Internet}
		}
		for _, s := range sides {
			filters[s] = append(filters[s], m.Filter)
		}
	}
	chains := make(map[routing.Side]*milter.Chain)
	for side, list := range filters {
		c, err := milter.New(list...)
		if err != nil {
			return nil, err
		}
		chains[side] = c
	}
	return chains, nil
}

// Client is who speaks to the gateway.
type Client struct {
	Side routing.Side
	Addr netip.Addr
	Port uint16
	// Name is its host name by DNS, if it was looked up.
	Name string
	Helo string
	TLS  *tls.ConnectionState // nil in clear text
	// AuthUser is who authenticated by SMTP AUTH, Listener the address that the client connected to; both may be empty.
	AuthUser, Listener string
}

// Reason is a stable word for why mail was refused: for metrics.
type Reason string

// The reasons.
const (
	Blocklist   Reason = "blocklist"
	Greylisted  Reason = "greylist"
	DMARCPolicy Reason = "dmarc"
	FilterSaid  Reason = "milter"
	FilterDown  Reason = "milter-down"
	Discarded   Reason = "milter-discard" // the client heard 250, and nobody got the message
	OtherTenant Reason = "tenant"
)

// Reasons are all of them.
var Reasons = []Reason{Blocklist, Greylisted, DMARCPolicy, FilterSaid, FilterDown, Discarded, OtherTenant}

// Refusal is a reply that refuses mail or puts it off.
type Refusal struct {
	Reply  *smtp.SMTPError
	Reason Reason
	// Detail is for the log: which list, domain or filter.
	Detail string
}

// Check is asked at RCPT, of recipients that the router accepts, and last of all: greylisting remembers them. It returns nil for
// those that are let in. Blocklists and greylisting look at mail from the internet only, and never at what is for <Postmaster> (RFC 5321
// 4.5.1), so that who is refused can ask why. problems are filters that could not be asked, for the log.
func (f *Filter) Check(ctx context.Context, c Client, envelope message.Envelope, recipient message.Recipient) (refusal *Refusal, problems []error) {
	stranger := c.Side == routing.Internet && !isPostmaster(recipient.Address) && !f.isExempt(c.Addr)
	if f.blocklists != nil && stranger {
		if l := f.blocklists.Check(ctx, c.Addr); l != nil {
			return &Refusal{Reply: l.Reply(c.Addr), Reason: Blocklist, Detail: fmt.Sprintf("%s says %s", l.Zone, l.Code)}, nil
		}
	}
	if chain := f.milters[c.Side]; chain != nil && f.stage == AtRecipient {
		envelope.Recipients = []message.Recipient{recipient}
		v := chain.Recipient(ctx, f.session(c, "", envelope))
		if problems = v.Failed; v.Reply != nil {
			return saidBy(v), problems
		}
	}
	if f.greylist != nil && stranger {
		if r := f.greylist.Check(c.Addr, envelope.ReversePath, recipient.Address); r != nil {
			return &Refusal{Reply: r, Reason: Greylisted, Detail: greylist.Network(c.Addr).String()}, problems
		}
	}
	return nil, problems
}

// saidBy is the refusal of a content filter.
func saidBy(v milter.Verdict) *Refusal {
	r := &Refusal{Reply: v.Reply, Reason: FilterSaid, Detail: v.By}
	if v.Down {
		r.Reason = FilterDown
	}
	return r
}

func isPostmaster(recipient string) bool {
	local, _, _ := strings.Cut(recipient, "@")
	return strings.EqualFold(local, "postmaster")
}

func (f *Filter) isExempt(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(f.exempt, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Mail is a message that was read.
type Mail struct {
	ID       string // that of the reply and the Received field
	Envelope message.Envelope
	// Octets is the message as it came, without what the gateway puts on top.
	Octets []byte
}

// Result is what becomes of a message.
type Result struct {
	// Refusal is nil when the message is let in.
	Refusal *Refusal
	// Fields are to be put on top of it, each ended by CRLF.
	Fields []byte
	// Message is the message as filters changed it, to be passed on in place of the one given; nil: they did not. It shares
	// octets with that one.
	Message message.Content
	// Discard is true when the client hears 250 and nobody gets the message: a filter says so.
	Discard bool
	// Quarantine is why the message is to be held until an administrator releases it; empty: it is not.
	Quarantine string
	// Auth has the results of authentication; nil when there was none.
	Auth *auth.Results
	// Problems are filters that could not be asked, Ignored what filters asked for in vain: for the log.
	Problems []error
	Ignored  []string
}

// Examine is asked when a message was read, before it is acknowledged.
func (f *Filter) Examine(ctx context.Context, c Client, m Mail) Result {
	var r Result
	if f.auth != nil && c.Side == routing.Internet {
		f.authenticate(ctx, c, m, &r)
	}
	if r.Refusal == nil && f.milters[c.Side] != nil {
		f.ask(ctx, f.milters[c.Side], c, m, &r)
	}
	return r
}

func (f *Filter) authenticate(ctx context.Context, c Client, m Mail, r *Result) {
	results := f.auth.Check(ctx, auth.Session{Client: c.Addr, Helo: c.Helo, Sender: m.Envelope.ReversePath}, m.Octets)
	r.Auth = &results
	r.Fields = f.auth.AppendField(nil, results)
	switch results.Outcome {
	case auth.Refuse:
		r.Refusal = &Refusal{Reply: results.Reply(), Reason: DMARCPolicy, Detail: results.DMARC.Domain}
	case auth.SetAside:
		r.Quarantine = "DMARC policy of " + results.DMARC.Domain
	}
}

func (f *Filter) ask(ctx context.Context, chain *milter.Chain, c Client, m Mail, r *Result) {
	v := chain.Examine(ctx, f.session(c, m.ID, m.Envelope), m.Octets)
	r.Problems, r.Ignored, r.Message, r.Discard = v.Failed, v.Ignored, v.Message, v.Discard
	if v.Quarantine != "" {
		r.Quarantine = v.Quarantine
	}
	if v.Reply != nil {
		r.Refusal = saidBy(v)
	}
}

// session is a client as content filters hear of it.
func (f *Filter) session(c Client, id string, e message.Envelope) milter.Session {
	s := milter.Session{Client: c.Addr, Port: c.Port, Name: c.Name, Helo: c.Helo, AuthUser: c.AuthUser, Listener: c.Listener,
		Hostname: f.hostname, ID: id, Envelope: e}
	if c.TLS != nil {
		s.TLSVersion, s.Cipher = strings.ReplaceAll(tls.VersionName(c.TLS.Version), " ", "v"), tls.CipherSuiteName(c.TLS.CipherSuite)
		if len(c.TLS.PeerCertificates) > 0 {
			leaf := c.TLS.PeerCertificates[0]
			s.CertSubject, s.CertIssuer = leaf.Subject.CommonName, leaf.Issuer.CommonName
		}
	}
	return s
}

// SideStats are the figures of the content filters of a side.
type SideStats struct {
	Side routing.Side
	milter.Stats
}

// Milters has the figures of the content filters, by side and in their order.
func (f *Filter) Milters() (all []SideStats) {
	for _, side := range []routing.Side{routing.Internet, routing.OnPrem, routing.Cloud} {
		if chain := f.milters[side]; chain != nil {
			for _, s := range chain.Stats() {
				all = append(all, SideStats{side, s})
			}
		}
	}
	return all
}

// Attribute says whether a message that a client of the cloud side gave is of the configured tenant. ok is false where no tenant is
// configured: then the client's side stands.
func (f *Filter) Attribute(msg []byte) (finding tenant.Finding, ok bool) {
	if f.tenant == nil {
		return tenant.Finding{}, false
	}
	return f.tenant.Examine(msg), true
}

// Translate returns msg, from Exchange Online to the on-premises side, with the verdict of its filter in fields that other
// systems read. ok is false when nothing was changed. Ask it before the header firewall, which takes the verdict out in some
// directions.
func (f *Filter) Translate(msg []byte) (out message.Content, ok bool) {
	if f.verdict == nil {
		return message.Content{msg}, false
	}
	return f.verdict.Apply(msg)
}

// Save writes what has to outlive a restart, if anything changed. Call it now and then, and at the end.
func (f *Filter) Save() error {
	if f.greylist == nil {
		return nil
	}
	return f.greylist.Save()
}

// Maintain saves every minute until ctx ends, and then once more. report is told of errors.
func (f *Filter) Maintain(ctx context.Context, report func(error)) {
	f.maintain(ctx, time.Minute, report)
}

func (f *Filter) maintain(ctx context.Context, every time.Duration, report func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		if err := f.Save(); err != nil {
			report(err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}
