package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/outbound/mtasts"
	"github.com/coexist-mail/coexist/routing"
)

// fingerprint is the data of a TLSA record x 1 1 or x 0 1.
func fingerprint(t testing.TB, der []byte, selector int) string {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// logs collects what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// TestDANE has one MX host with the certificate cert, TLSA records, and the answers that DNSSEC authenticates.
func TestDANE(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now().Add(-time.Hour)
	good := ca.issue(t, "mx.fabrikam.com", now)
	other := ca.issue(t, "mx.fabrikam.com", now)
	expired := ca.issue(t, "elsewhere.contoso.com", now.Add(-24*time.Hour))
	byDomain := ca.issue(t, "fabrikam.com", now)
	elsewhere := ca.issue(t, "elsewhere.contoso.com", now)
	const mx, a, aaaa, name = "fabrikam.com. MX", "mx.fabrikam.com. A", "mx.fabrikam.com. AAAA", "_%d._tcp.mx.fabrikam.com. TLSA"
	all := []string{mx, a, aaaa, name}
	const delivered, no4, no5 = "delivered 250 2.0.0 eod", "deferred 451 4.7.4 starttls", "deferred 451 4.7.5 starttls"
	ee := func(c *tls.Certificate) string { return "3 1 1 " + fingerprint(t, c.Certificate[0], 1) }
	ta := "2 0 1 " + fingerprint(t, ca.cert.Raw, 0)
	for _, c := range []struct {
		name    string
		cert    *tls.Certificate
		tlsa    string
		secure  []string
		failing bool
		side    config.SideTLS
		want    string
		tls     string // of a delivery
		reason  string // in the reply
	}{
		{"DANE-EE", good, ee(good), all, false, "", delivered, "TLS1.3", ""},
		{"DANE-EE of an expired certificate of another name", expired, ee(expired), all, false, "", delivered, "TLS1.3", ""},
		{"DANE-EE, although the side verifies", expired, ee(expired), all, false, config.SideTLSVerified, delivered, "TLS1.3", ""},
		{"DANE-TA", good, ta, all, false, "", delivered, "TLS1.3", ""},
		{"DANE-TA, certificate of the domain", byDomain, ta, all, false, "", delivered, "TLS1.3", ""},
		{"DANE-TA, certificate of another name", elsewhere, ta, all, false, "", no5, "", "is for none of mx.fabrikam.com, fabrikam.com"},
		{"no match", other, ee(good), all, false, "", no5, "", "no TLSA record matches the certificate (TLS is demanded by DANE)"},
		{"no STARTTLS", nil, ee(good), all, false, "", no4, "", "does not offer STARTTLS (TLS is demanded by DANE)"},
		{"unusable: TLS is mandatory", other, "1 1 1 " + fingerprint(t, good.Certificate[0], 1), all, false, "", delivered, "TLS1.3", ""},
		{"unusable, no STARTTLS", nil, "1 1 1 " + fingerprint(t, good.Certificate[0], 1), all, false, "", no4, "", "demanded by DANE (TLSA records that cannot be used)"},
		{"no records", nil, "", all, false, "", delivered, "", ""},
		{"the TLSA answer is not authenticated", nil, ee(good), []string{mx, a, aaaa}, false, "", delivered, "", ""},
		{"the MX answer is not authenticated", other, ee(good), []string{a, aaaa, name}, false, "", delivered, "TLS1.3", ""},
		{"the address is not authenticated", other, ee(good), []string{mx, aaaa, name}, false, "", delivered, "TLS1.3", ""},
		{"the lack of IPv6 is not authenticated", other, ee(good), []string{mx, a, name}, false, "", delivered, "TLS1.3", ""},
		{"TLSA lookup fails", good, ee(good), all, true, "", "deferred 451 4.7.5 route", "", "looking for the TLSA records of mx.fabrikam.com"},
		{"TLSA lookup fails in a zone that is not signed", good, "", []string{name}, true, "", delivered, "TLS1.3", ""},
		{"the side does no TLS", other, ee(good), all, true, config.SideTLSNone, delivered, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			if c.cert != nil {
				p.tls = &tls.Config{Certificates: []tls.Certificate{*c.cert}}
			}
			z := newZone(t, "fabrikam.com. 60 IN MX 10 mx.fabrikam.com.", "mx.fabrikam.com. 60 IN A 127.0.0.1")
			record := fmt.Sprintf("_%d._tcp.mx.fabrikam.com.", p.port())
			if c.tlsa != "" {
				z.add(t, record+" 60 IN TLSA "+c.tlsa)
			}
			z.set(func() {
				z.secure, z.failing = map[string]bool{}, map[string]bool{record + " TLSA": c.failing}
				for _, s := range c.secure {
					if strings.Contains(s, "%d") {
						s = fmt.Sprintf(s, p.port())
					}
					z.secure[s] = true
				}
			})
			var log logs
			tr := internet(t, z, p.port(), func(o *Options) {
				o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet, TLS: c.side, RootCAs: ca.pool}}
				o.Logger = log.logger()
			})
			for range 2 { // the second over a kept connection, or with a resumed session
				res := deliver(t, tr, toInternet("aprilr@fabrikam.com"))
				wantSummary(t, res, c.want)
				if res[0].TLS != c.tls || !strings.Contains(res[0].Reply.Message, c.reason) {
					t.Errorf("TLS %q, reply %q; want %q, %q", res[0].TLS, res[0].Reply.Message, c.tls, c.reason)
				}
				if res[0].Outcome != Delivered && (p.count("MAIL") > 0 || !strings.Contains(log.String(), "a policy keeps mail from a host")) {
					t.Errorf("MAIL was said, or nothing logged:\n%s", log.String())
				}
			}
		})
	}
}

// TestDANEOtherHost: a host that DANE rules out is followed by the next, and is named when that fails too.
func TestDANEOtherHost(t *testing.T) {
	ca := newAuthority(t)
	p := newPeer(t, nil)
	p.tls = &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "mx2.fabrikam.com", time.Now().Add(-time.Hour))}}
	port := p.port()
	z := newZone(t, "fabrikam.com. 60 IN MX 10 mx1.fabrikam.com.", "fabrikam.com. 60 IN MX 20 mx2.fabrikam.com.",
		"mx1.fabrikam.com. 60 IN A 127.0.0.1", "mx2.fabrikam.com. 60 IN A 127.0.0.1",
		fmt.Sprintf("_%d._tcp.mx1.fabrikam.com. 60 IN TLSA 3 1 1 %s", port, strings.Repeat("00", 32)),
		fmt.Sprintf("_%d._tcp.mx2.fabrikam.com. 60 IN TLSA 3 1 1 %s", port, fingerprint(t, p.tls.Certificates[0].Certificate[0], 1)))
	z.set(func() {
		z.secure = map[string]bool{"fabrikam.com. MX": true}
		for _, h := range []string{"mx1.fabrikam.com.", "mx2.fabrikam.com."} {
			z.secure[h+" A"], z.secure[h+" AAAA"], z.secure[fmt.Sprintf("_%d._tcp.%s TLSA", port, h)] = true, true, true
		}
	})
	secure := func(o *Options) { o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet}} }
	tr := internet(t, z, port, secure)
	res := deliver(t, tr, toInternet("aprilr@fabrikam.com"))
	wantSummary(t, res, "delivered 250 2.0.0 eod")
	if res[0].Host != "mx2.fabrikam.com" {
		t.Errorf("delivered to %s", res[0].Host)
	}
	p.stop()
	tr = internet(t, z, port, func(o *Options) {
		secure(o)
		o.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return nil, fmt.Errorf("network is unreachable")
		}
	})
	wantSummary(t, deliver(t, tr, toInternet("aprilr@fabrikam.com")), "deferred 451 4.4.1 connect")
}

// TestDANERollover: when the records change, a connection that was made under the old ones is not used again.
func TestDANERollover(t *testing.T) {
	ca := newAuthority(t)
	first, second := ca.issue(t, "mx.fabrikam.com", time.Now().Add(-time.Hour)), ca.issue(t, "mx.fabrikam.com", time.Now().Add(-time.Hour))
	p := newPeer(t, nil)
	var mu sync.Mutex
	current := first
	p.tls = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		return current, nil
	}}
	record := fmt.Sprintf("_%d._tcp.fabrikam.com.", p.port())
	z := newZone(t, "fabrikam.com. 0 IN A 127.0.0.1", record+" 0 IN TLSA 3 1 1 "+fingerprint(t, first.Certificate[0], 1)) // by implicit MX
	z.set(func() {
		z.secure = map[string]bool{"fabrikam.com. A": true, "fabrikam.com. AAAA": true, record + " TLSA": true}
	})
	tr := internet(t, z, p.port(), func(o *Options) { o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet}} })
	to := toInternet("aprilr@fabrikam.com")
	wantSummary(t, deliver(t, tr, to), "delivered 250 2.0.0 eod")
	wantSummary(t, deliver(t, tr, to), "delivered 250 2.0.0 eod")
	if p.connections() != 1 {
		t.Errorf("%d connections", p.connections())
	}
	z.set(func() { delete(z.records, record+" TLSA") })
	z.add(t, record+" 0 IN TLSA 3 1 1 "+fingerprint(t, second.Certificate[0], 1))
	wantSummary(t, deliver(t, tr, to), "deferred 451 4.7.5 starttls") // the old certificate, resumed or not
	mu.Lock()
	current = second
	mu.Unlock()
	p.tls.SessionTicketsDisabled = true
	wantSummary(t, deliver(t, tr, to), "delivered 250 2.0.0 eod")
	z.set(func() { z.failing = map[string]bool{record + " TLSA": true} })
	wantSummary(t, deliver(t, tr, to), "deferred 451 4.7.5 route") // no stale answer
	for _, s := range tr.Stats() {
		if s.TLS != tlsDANE {
			t.Errorf("%+v", s)
		}
	}
}

// TestTLSAOfAlias: where MX records may point at aliases, the records of what the alias leads to go before (RFC 7672 2.2.3).
func TestTLSAOfAlias(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "host.fabrikam.com", time.Now().Add(-time.Hour))
	for _, base := range []string{"host.fabrikam.com.", "mx.fabrikam.com."} {
		p := newPeer(t, nil)
		p.tls = &tls.Config{Certificates: []tls.Certificate{*cert}}
		record := fmt.Sprintf("_%d._tcp.%s", p.port(), base)
		z := newZone(t, "fabrikam.com. 60 IN MX 10 mx.fabrikam.com.", "mx.fabrikam.com. 60 IN CNAME host.fabrikam.com.",
			"host.fabrikam.com. 60 IN A 127.0.0.1", record+" 60 IN TLSA 3 1 1 "+strings.Repeat("00", 32))
		z.set(func() {
			z.secure = map[string]bool{"fabrikam.com. MX": true, "mx.fabrikam.com. A": true, "mx.fabrikam.com. AAAA": true, record + " TLSA": true}
		})
		tr := internet(t, z, p.port(), func(o *Options) {
			o.FollowMXAlias, o.Sides = true, map[routing.Side]Side{routing.Internet: {Name: routing.Internet}}
		})
		wantSummary(t, deliver(t, tr, toInternet("aprilr@fabrikam.com")), "deferred 451 4.7.5 starttls")
	}
}

// policyHost serves policies for every domain on the loopback, by a map from domain to text.
func policyHost(t testing.TB, ca *authority, policies map[string]string) *http.Client {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := policies[strings.TrimPrefix(r.Host, "mta-sts.")]
		if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, text)
	}))
	srv.TLS = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return ca.issue(t, h.ServerName, time.Now().Add(-time.Hour)), nil
	}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		}}}
}

// TestMTASTS has real lookups, a real policy server, and hosts that fit the policy or don't.
func TestMTASTS(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now().Add(-time.Hour)
	good, wrong := newPeer(t, nil), newPeerAt(t, "127.0.0.2:0", nil)
	good.tls = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.issue(t, h.ServerName, now), nil }}
	wrong.stop()
	wrong = newPeerAt(t, fmt.Sprintf("127.0.0.2:%d", good.port()), nil)
	wrong.tls = &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "elsewhere.contoso.com", now)}}
	clear := newPeerAt(t, fmt.Sprintf("127.0.0.3:%d", good.port()), nil)
	records := []string{"mx.fabrikam.com. 60 IN A 127.0.0.1", "wrong.fabrikam.com. 60 IN A 127.0.0.2", "clear.fabrikam.com. 60 IN A 127.0.0.3",
		"deep.mx.fabrikam.com. 60 IN A 127.0.0.1"}
	policies := map[string]string{}
	domain := func(name, mode, pattern string, hosts ...string) {
		policies[name] = "version: STSv1\nmode: " + mode + "\nmx: " + pattern + "\nmax_age: 604800\n"
		records = append(records, "_mta-sts."+name+`. 60 IN TXT "v=STSv1; " "id=1;"`)
		for i, h := range hosts {
			records = append(records, fmt.Sprintf("%s. 60 IN MX %d %s.", name, 10*(i+1), h))
		}
	}
	domain("fits.example", "enforce", "mx.fabrikam.com", "mx.fabrikam.com")
	domain("wild.example", "enforce", "*.fabrikam.com", "mx.fabrikam.com")
	domain("deep.example", "enforce", "*.fabrikam.com", "deep.mx.fabrikam.com")
	domain("nofit.example", "enforce", "mx.contoso.com", "mx.fabrikam.com")
	domain("second.example", "enforce", "mx.fabrikam.com", "wrong.fabrikam.com", "mx.fabrikam.com")
	domain("wrong.example", "enforce", "wrong.fabrikam.com", "wrong.fabrikam.com")
	domain("clear.example", "enforce", "clear.fabrikam.com", "clear.fabrikam.com")
	domain("testing.example", "testing", "mx.contoso.com", "wrong.fabrikam.com")
	domain("none.example", "none", "mx.contoso.com", "clear.fabrikam.com")
	domain("xn--e1aybc.example", "enforce", "mx.contoso.com", "mx.fabrikam.com")
	domain("dane.example", "enforce", "mx.contoso.com", "wrong.fabrikam.com")
	domain("danefails.example", "enforce", "mx.fabrikam.com", "mx.fabrikam.com")
	domain("unusable.example", "enforce", "wrong.fabrikam.com", "wrong.fabrikam.com")
	z := newZone(t, records...)
	cache := mtasts.New(mtasts.Options{LookupTXT: zoneResolver(z).LookupTXT, Client: policyHost(t, ca, policies), Path: filepath.Join(t.TempDir(), "mta-sts")})
	t.Cleanup(cache.Close)
	var log logs
	newTransport := func() *Transport {
		return internet(t, z, good.port(), func(o *Options) {
			o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet, RootCAs: ca.pool}}
			o.Policy, o.Logger = MTASTS(cache), log.logger()
		})
	}
	tr := newTransport()
	for _, c := range []struct{ domain, want, host, reason string }{
		{"fits.example", "delivered 250 2.0.0 eod", "mx.fabrikam.com", ""},
		{"FITS.example", "delivered 250 2.0.0 eod", "mx.fabrikam.com", ""},
		{"wild.example", "delivered 250 2.0.0 eod", "mx.fabrikam.com", ""},
		{"deep.example", "deferred 451 4.7.0 route", "deep.mx.fabrikam.com", "the MTA-STS policy of deep.example does not allow host deep.mx.fabrikam.com"},
		{"nofit.example", "deferred 451 4.7.0 route", "mx.fabrikam.com", "does not allow host mx.fabrikam.com"},
		{"second.example", "delivered 250 2.0.0 eod", "mx.fabrikam.com", ""},
		{"wrong.example", "deferred 451 4.7.5 starttls", "wrong.fabrikam.com", "demanded by the MTA-STS policy of wrong.example"},
		{"clear.example", "deferred 451 4.7.4 starttls", "clear.fabrikam.com", "demanded by the MTA-STS policy of clear.example"},
		{"testing.example", "delivered 250 2.0.0 eod", "wrong.fabrikam.com", ""},
		{"none.example", "delivered 250 2.0.0 eod", "clear.fabrikam.com", ""},
		{"тест.example", "deferred 451 4.7.0 route", "mx.fabrikam.com", "policy of xn--e1aybc.example"},
		{"[127.0.0.3]", "delivered 250 2.0.0 eod", "127.0.0.3", ""},
	} {
		t.Run(c.domain, func(t *testing.T) {
			res := deliver(t, tr, toInternet("aprilr@"+c.domain))
			wantSummary(t, res, c.want)
			if res[0].Host != c.host || !strings.Contains(res[0].Reply.Message, c.reason) {
				t.Errorf("%s: %q, want %s: %q", res[0].Host, res[0].Reply.Message, c.host, c.reason)
			}
			if res[0].Outcome != Delivered && !strings.Contains(log.String(), c.reason) {
				t.Errorf("not in the log: %q\n%s", c.reason, log.String())
			}
		})
	}
	if clear.count("STARTTLS") > 0 || len(clear.got()) != 2 || len(wrong.got()) != 1 {
		t.Errorf("%d messages in clear, %d to the host of another name", len(clear.got()), len(wrong.got()))
	}

	// From here on DNSSEC authenticates the hosts, which have TLSA records.
	wrongRecord := fmt.Sprintf("_%d._tcp.wrong.fabrikam.com.", good.port())
	z.add(t, wrongRecord+" 60 IN TLSA 3 1 1 "+fingerprint(t, wrong.tls.Certificates[0].Certificate[0], 1))
	goodRecord := fmt.Sprintf("_%d._tcp.mx.fabrikam.com.", good.port())
	z.add(t, goodRecord+" 60 IN TLSA 3 1 1 "+strings.Repeat("00", 32))
	z.set(func() {
		z.secure = map[string]bool{}
		for key := range z.records {
			z.secure[key] = true
		}
		z.secure["wrong.fabrikam.com. AAAA"], z.secure["mx.fabrikam.com. AAAA"] = true, true
	})
	t.Run("DANE goes before MTA-STS", func(t *testing.T) {
		tr := newTransport()
		wantSummary(t, deliver(t, tr, toInternet("aprilr@dane.example")), "delivered 250 2.0.0 eod")
		wantSummary(t, deliver(t, tr, toInternet("aprilr@danefails.example")), "deferred 451 4.7.5 starttls") // its certificate would do for MTA-STS
	})
	t.Run("TLSA records that cannot be used leave it to MTA-STS", func(t *testing.T) {
		z.set(func() { delete(z.records, wrongRecord+" TLSA") })
		z.add(t, wrongRecord+" 60 IN TLSA 1 1 1 "+strings.Repeat("00", 32))
		tr := newTransport()
		res := deliver(t, tr, toInternet("aprilr@unusable.example"))
		wantSummary(t, res, "deferred 451 4.7.5 starttls")
		if !strings.Contains(res[0].Reply.Message, "MTA-STS policy of unusable.example") {
			t.Error(res[0].Reply.Message)
		}
	})
}

// TestPolicyReasonIsKept: a later host that is only down does not hide what kept the mail from the first.
func TestPolicyReasonIsKept(t *testing.T) {
	z := newZone(t, "fabrikam.com. 60 IN MX 10 mx1.fabrikam.com.", "fabrikam.com. 60 IN MX 20 mx2.fabrikam.com.",
		"mx1.fabrikam.com. 60 IN A 127.0.0.1", "mx2.fabrikam.com. 60 IN A 127.0.0.2")
	p := newPeer(t, nil)
	tr := internet(t, z, p.port(), func(o *Options) {
		o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet}}
		o.Policy = func(context.Context, string) (Policy, error) {
			return Policy{Source: "MTA-STS", TLS: config.SideTLSVerified, Allow: func(h string) bool { return h == "mx2.fabrikam.com" }}, nil
		}
	})
	wantSummary(t, deliver(t, tr, toInternet("aprilr@fabrikam.com")), "deferred 451 4.7.0 route")
}

// TestGreetsAsUs has peers that answer EHLO with the gateway's own name.
func TestGreetsAsUs(t *testing.T) {
	us := func(name string) func(*peerConn, string, string) *act {
		return on("EHLO", act{reply: "250-" + name + " at your service\r\n250 PIPELINING"})
	}
	z := newZone(t, "fabrikam.com. 60 IN MX 10 mx1.fabrikam.com.", "fabrikam.com. 60 IN MX 20 mx2.fabrikam.com.", "mx1.fabrikam.com. 60 IN A 127.0.0.1",
		"mx2.fabrikam.com. 60 IN A 127.0.0.2", "contoso.net. 60 IN MX 10 mx0.fabrikam.com.", "contoso.net. 60 IN MX 20 mx1.fabrikam.com.", "mx0.fabrikam.com. 60 IN A 127.0.0.4")
	t.Run("by MX", func(t *testing.T) {
		p := newPeer(t, us("GW1.Contoso.com"))
		behind := newPeerAt(t, fmt.Sprintf("127.0.0.2:%d", p.port()), nil)
		tr := internet(t, z, p.port(), nil)
		wantSummary(t, deliver(t, tr, toInternet("aprilr@fabrikam.com")), "refused 554 5.4.6 ehlo")
		if p.count("MAIL") > 0 || behind.connections() > 0 {
			t.Errorf("%d MAIL; %d connections to a host behind ourselves", p.count("MAIL"), behind.connections())
		}
		wantSummary(t, deliver(t, tr, toInternet("aprilr@contoso.net")), "deferred 451 4.4.1 connect") // a better host is down: it may come back
	})
	t.Run("configured", func(t *testing.T) {
		var log logs
		p := newPeer(t, us("gw1.contoso.com"))
		tr := transport(t, func(o *Options) { o.Logger = log.logger() }, p.addr())
		for range 3 {
			res := deliver(t, tr, request(sample, "alexd@contoso.com"))
			wantSummary(t, res, "deferred 451 4.4.6 ehlo")
			if want := "correct next_hop of side onprem"; !strings.Contains(res[0].Reply.Message, want) {
				t.Errorf("reply %q", res[0].Reply.Message)
			}
		}
		if n := strings.Count(log.String(), "ALARM"); n != 1 {
			t.Errorf("%d alarms:\n%s", n, log.String())
		}
	})
	t.Run("configured, and another works", func(t *testing.T) {
		p, q := newPeer(t, us("gw1.contoso.com")), newPeer(t, nil)
		tr := transport(t, nil, p.addr(), q.addr())
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	})
	t.Run("names that are anybody's", func(t *testing.T) {
		p := newPeer(t, us("localhost"))
		tr := transport(t, func(o *Options) { o.Hostname = "localhost" }, p.addr())
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	})
}

// TestLookupTXT: strings are joined, and a text is what was published, whatever octets it has.
func TestLookupTXT(t *testing.T) {
	z := newZone(t, `fabrikam.com. 60 IN TXT "v=STSv1; " "id=1;"`, `fabrikam.com. 60 IN TXT "a\"b\\c\200d;e"`)
	got, err := zoneResolver(z).LookupTXT(context.Background(), "fabrikam.com")
	if want := []string{"v=STSv1; id=1;", "a\"b\\c\xc8d;e"}; err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

// FuzzTXT: what was on the wire is what unescape returns.
func FuzzTXT(f *testing.F) {
	f.Add([]byte(`v=STSv1; id=1;`))
	f.Add([]byte("\\\"\\1\\012\\\\200\x00\xff\x7f"))
	f.Fuzz(func(t *testing.T, text []byte) {
		text = text[:min(len(text), 255)]
		// RFC 1035 3.2.1: the root as owner, TXT, IN, a TTL of 60, and one character-string.
		wire := append([]byte{0, 0, 16, 0, 1, 0, 0, 0, 60, 0, byte(len(text) + 1), byte(len(text))}, text...)
		if len(text) == 255 {
			wire[9], wire[10] = 1, 0
		}
		rr, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := unescape(strings.Join(rr.(*dns.TXT).Txt, "")); got != string(text) {
			t.Fatalf("%q, want %q", got, text)
		}
	})
}
