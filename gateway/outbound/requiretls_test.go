package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/outbound/mtasts"
	"github.com/coexist-mail/coexist/routing"
)

// offering are the extensions of a peer that keeps to REQUIRETLS.
func offering() []string { return append(slices.Clone(allExtensions), "REQUIRETLS") }

// TestRequireTLS has one configured next hop (RFC 8689 4.2.1, 5).
func TestRequireTLS(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now().Add(-time.Hour)
	good, wrongName := ca.issue(t, "mx.contoso.com", now), ca.issue(t, "mail.fabrikam.com", now)
	asked := request(sample, "alexd@contoso.com")
	asked.RequireTLS, asked.Return = true, "HDRS"
	dsn := asked
	dsn.ReversePath = ""
	const delivered, with = "delivered 250 2.0.0 eod", "FROM:<allieb@contoso.com> SIZE=%d REQUIRETLS RET=HDRS"
	for _, c := range []struct {
		name   string
		r      Request
		policy config.SideTLS
		cert   *tls.Certificate // of the peer; nil: no STARTTLS
		ext    []string
		script func(*peerConn, string, string) *act
		want   string
		from   string // MAIL
	}{
		{"offered", asked, config.SideTLSOpportunistic, good, offering(), nil, delivered, with},
		{"offered, a side that verifies", asked, config.SideTLSVerified, good, offering(), nil, delivered, with},
		{"not offered", asked, config.SideTLSOpportunistic, good, allExtensions, nil, "refused 550 5.7.30 ehlo", ""},
		{"not offered, a side that verifies", asked, config.SideTLSVerified, good, allExtensions, nil, "refused 550 5.7.30 ehlo", ""},
		{"a certificate of somebody else", asked, config.SideTLSOpportunistic, wrongName, offering(), nil, "refused 550 5.7.10 starttls", ""},
		{"a certificate of somebody else, a side that takes any", asked, config.SideTLSRequired, wrongName, offering(), nil, "refused 550 5.7.10 starttls", ""},
		{"no STARTTLS", asked, config.SideTLSOpportunistic, nil, offering(), nil, "refused 550 5.7.10 starttls", ""},
		{"no STARTTLS at present", asked, config.SideTLSOpportunistic, good, offering(), on("STARTTLS", act{reply: "454 4.7.0 not now"}), "deferred 451 4.7.4 starttls", ""},
		{"STARTTLS refused", asked, config.SideTLSOpportunistic, good, offering(), on("STARTTLS", act{reply: "502 5.5.1 no"}), "refused 550 5.7.10 starttls", ""},
		{"cut in STARTTLS", asked, config.SideTLSOpportunistic, good, offering(), on("STARTTLS", act{close: true}), "deferred 451 4.7.4 starttls", ""},
		{"cannot be talked to", asked, config.SideTLSOpportunistic, good, offering(), on("CONNECT", act{reply: "421 4.3.2 later", close: true}), "deferred 451 4.4.1 connect", ""},
		{"a side without TLS", asked, config.SideTLSNone, good, offering(), nil, "refused 550 5.7.10 route", ""},
		{"a DSN, offered", dsn, config.SideTLSOpportunistic, good, offering(), nil, delivered, "FROM:<> SIZE=%d REQUIRETLS RET=HDRS"},
		{"a DSN, not offered", dsn, config.SideTLSOpportunistic, wrongName, allExtensions, nil, delivered, "FROM:<> SIZE=%d RET=HDRS"},
		{"a DSN in clear text", dsn, config.SideTLSNone, good, offering(), nil, delivered, "FROM:<> SIZE=%d RET=HDRS"},
		{"nobody asked", request(sample, "alexd@contoso.com"), config.SideTLSOpportunistic, wrongName, offering(), nil, delivered, "FROM:<allieb@contoso.com> SIZE=%d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, c.script)
			p.ext = c.ext
			if c.cert != nil {
				p.tls = &tls.Config{Certificates: []tls.Certificate{*c.cert}}
			}
			tr := tlsTransport(t, c.policy, ca, "mx.contoso.com", p.port(), nil)
			for range 2 { // the second over a kept connection, where there is one
				res := deliver(t, tr, c.r)
				wantSummary(t, res, c.want)
				if res[0].Outcome != Delivered {
					if p.count("MAIL") != 0 {
						t.Error("mail was spoken of all the same")
					}
					if res[0].Outcome == Refused && (!res[0].Local || !strings.Contains(res[0].Reply.Message, "REQUIRETLS")) {
						t.Errorf("reply %q", res[0].Reply.Message)
					}
					continue
				}
				got := p.got()
				if want := fmt.Sprintf(c.from, len(sample)); got[len(got)-1].from != want {
					t.Errorf("MAIL %s, want %s", got[len(got)-1].from, want)
				}
			}
		})
	}
}

// What one host cannot give another may, now or later.
func TestRequireTLSFailover(t *testing.T) {
	ca := newAuthority(t)
	cert := &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "mx.contoso.com", time.Now().Add(-time.Hour))}}
	asked := request(sample, "alexd@contoso.com")
	asked.RequireTLS = true
	lacking, able, busy := newPeer(t, nil), newPeer(t, nil), newPeer(t, on("CONNECT", act{reply: "421 4.3.2 later", close: true}))
	lacking.tls, able.tls, able.ext = cert, cert, offering()
	for _, c := range []struct {
		name  string
		peers []*peer
		want  string
	}{
		{"another offers it", []*peer{lacking, able}, "delivered 250 2.0.0 eod"},
		{"none", []*peer{lacking, lacking}, "refused 550 5.7.30 ehlo"},
		{"another is busy", []*peer{lacking, busy}, "deferred 451 4.4.1 ehlo"},
		{"another is busy before", []*peer{busy, lacking}, "deferred 451 4.4.1 ehlo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := transport(t, func(o *Options) {
				s := Side{Name: routing.OnPrem, RootCAs: ca.pool}
				for _, p := range c.peers {
					s.Hops = append(s.Hops, fmt.Sprintf("mx.contoso.com:%d", p.port()))
				}
				o.Sides = map[routing.Side]Side{routing.OnPrem: s}
				var none error
				o.LookupHop = lookupLoopback(&none)
			})
			wantSummary(t, deliver(t, tr, asked), c.want)
			plain := request(sample, "alexd@contoso.com")
			if c.peers[0] == lacking {
				wantSummary(t, deliver(t, tr, plain), "delivered 250 2.0.0 eod") // other mail goes to such a host
			}
		})
	}
}

// TestTLSRequiredByMX: REQUIRETLS asks who vouches for a host, and "TLS-Required: No" does not ask.
func TestTLSRequiredByMX(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now().Add(-time.Hour)
	good := newPeer(t, nil)
	good.ext = offering()
	port := good.port()
	good.tls = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.issue(t, h.ServerName, now), nil }}
	clear := newPeerAt(t, fmt.Sprintf("127.0.0.3:%d", port), nil)
	records := []string{
		"mx.fabrikam.com. 60 IN A 127.0.0.1", "clear.fabrikam.com. 60 IN A 127.0.0.3", "dane.fabrikam.com. 60 IN A 127.0.0.1", "broken.fabrikam.com. 60 IN A 127.0.0.1",
		"nobody.example. 60 IN MX 10 mx.fabrikam.com.",
		"signed.example. 60 IN MX 10 mx.fabrikam.com.",
		"signedclear.example. 60 IN MX 10 clear.fabrikam.com.",
		"sts.example. 60 IN MX 10 mx.fabrikam.com.", `_mta-sts.sts.example. 60 IN TXT "v=STSv1; id=1;"`,
		"testing.example. 60 IN MX 10 mx.fabrikam.com.", `_mta-sts.testing.example. 60 IN TXT "v=STSv1; id=1;"`,
		"stsclear.example. 60 IN MX 10 clear.fabrikam.com.", `_mta-sts.stsclear.example. 60 IN TXT "v=STSv1; id=1;"`,
		"nofit.example. 60 IN MX 10 clear.fabrikam.com.", `_mta-sts.nofit.example. 60 IN TXT "v=STSv1; id=1;"`,
		"dane.example. 60 IN MX 10 dane.fabrikam.com.",
		"danebroken.example. 60 IN MX 10 broken.fabrikam.com.",
		fmt.Sprintf("_%d._tcp.dane.fabrikam.com. 60 IN TLSA 2 0 1 %s", port, fingerprint(t, ca.cert.Raw, 0)),
		fmt.Sprintf("_%d._tcp.broken.fabrikam.com. 60 IN TLSA 3 1 1 %s", port, strings.Repeat("00", 32)),
	}
	policies := map[string]string{}
	for domain, rest := range map[string]string{"sts.example": "enforce\nmx: mx.fabrikam.com", "testing.example": "testing\nmx: mx.fabrikam.com",
		"stsclear.example": "enforce\nmx: clear.fabrikam.com", "nofit.example": "enforce\nmx: mx.fabrikam.com"} {
		policies[domain] = "version: STSv1\nmode: " + rest + "\nmax_age: 604800\n"
	}
	z := newZone(t, records...)
	z.set(func() {
		z.secure = map[string]bool{}
		for _, name := range []string{"signed.example. MX", "signedclear.example. MX", "dane.example. MX", "danebroken.example. MX", "dane.fabrikam.com. A",
			"dane.fabrikam.com. AAAA", "broken.fabrikam.com. A", "broken.fabrikam.com. AAAA",
			fmt.Sprintf("_%d._tcp.dane.fabrikam.com. TLSA", port), fmt.Sprintf("_%d._tcp.broken.fabrikam.com. TLSA", port)} {
			z.secure[name] = true
		}
	})
	cache := mtasts.New(mtasts.Options{LookupTXT: zoneResolver(z).LookupTXT, Client: policyHost(t, ca, policies), Path: filepath.Join(t.TempDir(), "mta-sts")})
	t.Cleanup(cache.Close)
	side := func(policy config.SideTLS) *Transport {
		return internet(t, z, port, func(o *Options) {
			o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet, RootCAs: ca.pool, TLS: policy}}
			o.Policy = MTASTS(cache)
		})
	}
	tr, strict := side(""), side(config.SideTLSRequired)
	const delivered = "delivered 250 2.0.0 eod"
	for _, c := range []struct{ domain, required, optional, strict string }{
		{"nobody.example", "refused 550 5.7.10 route", delivered, delivered},
		{"signed.example", delivered, delivered, delivered},
		{"signedclear.example", "refused 550 5.7.10 starttls", delivered, "deferred 451 4.7.4 starttls"},
		{"sts.example", delivered, delivered, delivered},
		{"testing.example", "refused 550 5.7.10 route", delivered, delivered},
		{"stsclear.example", "refused 550 5.7.10 starttls", delivered, "deferred 451 4.7.4 starttls"},
		{"nofit.example", "deferred 451 4.7.0 route", delivered, "deferred 451 4.7.4 starttls"},
		{"dane.example", delivered, delivered, delivered},
		{"danebroken.example", "refused 550 5.7.10 starttls", delivered, delivered},
		{"[127.0.0.3]", "refused 550 5.7.10 route", delivered, "deferred 451 4.7.4 starttls"},
	} {
		t.Run(c.domain, func(t *testing.T) {
			required, optional := toInternet("aprilr@"+c.domain), toInternet("aprilr@"+c.domain)
			required.RequireTLS, optional.TLSOptional = true, true
			for _, r := range []struct {
				name string
				tr   *Transport
				r    Request
				want string
			}{{"REQUIRETLS", tr, required, c.required}, {"TLS-Required: No", tr, optional, c.optional},
				{"TLS-Required: No, a side that requires TLS", strict, optional, c.strict}} {
				t.Run(r.name, func(t *testing.T) { wantSummary(t, deliver(t, r.tr, r.r), r.want) })
			}
		})
	}
	// TLS is tried all the same (RFC 8689 4.2.2).
	optional := toInternet("aprilr@danebroken.example")
	optional.TLSOptional = true
	if res := deliver(t, tr, optional); res[0].TLS != "TLS1.3" {
		t.Errorf("TLS %q", res[0].TLS)
	}
	for _, m := range clear.got() {
		if strings.Contains(m.from, "REQUIRETLS") {
			t.Errorf("MAIL %s in clear text", m.from)
		}
	}
}

// A policy that cannot be had stops mail, but not what does not ask for one.
func TestPolicyErrorAndTLSOptional(t *testing.T) {
	p := newPeer(t, nil)
	z := newZone(t, "fabrikam.com. 60 IN A 127.0.0.1")
	tr := internet(t, z, p.port(), func(o *Options) {
		o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet}}
		o.Policy = func(context.Context, string) (Policy, error) { return Policy{}, net.ErrClosed }
	})
	r := toInternet("aprilr@fabrikam.com")
	wantSummary(t, deliver(t, tr, r), "deferred 451 4.7.0 route")
	r.TLSOptional = true
	wantSummary(t, deliver(t, tr, r), "delivered 250 2.0.0 eod")
}
