package outbound

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Contoso CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a *authority) issue(t testing.TB, name string, from time.Time, ips ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: from.Add(2 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, ip := range ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// tlsTransport delivers to host, which every lookup finds on the loopback.
func tlsTransport(t testing.TB, policy config.SideTLS, ca *authority, host string, port uint16, cert func() *tls.Certificate) *Transport {
	return transport(t, func(o *Options) {
		s := Side{Name: routing.OnPrem, TLS: policy, Hops: []string{fmt.Sprintf("%s:%d", host, port)}, ClientCert: cert}
		if ca != nil {
			s.RootCAs = ca.pool
		}
		o.Sides = map[routing.Side]Side{routing.OnPrem: s}
		var none error
		o.LookupHop = lookupLoopback(&none)
	})
}

func TestTLS(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	now := time.Now().Add(-time.Hour)
	good := ca.issue(t, "mx.contoso.com", now, "127.0.0.1")
	wrongName := ca.issue(t, "mail.fabrikam.com", now)
	expired := ca.issue(t, "mx.contoso.com", now.Add(-24*time.Hour))
	const delivered, starttls5, starttls4 = "delivered 250 2.0.0 eod", "deferred 451 4.7.5 starttls", "deferred 451 4.7.4 starttls"
	for _, c := range []struct {
		name   string
		policy config.SideTLS
		cert   *tls.Certificate // of the peer; nil: no STARTTLS
		host   string
		ca     *authority
		script func(*peerConn, string, string) *act
		want   string
		tls    string
		conns  int
	}{
		{"none", config.SideTLSNone, good, "mx.contoso.com", ca, nil, delivered, "", 1},
		{"opportunistic", config.SideTLSOpportunistic, good, "mx.contoso.com", ca, nil, delivered, "TLS1.3", 1},
		{"the default is opportunistic", "", good, "mx.contoso.com", ca, nil, delivered, "TLS1.3", 1},
		{"opportunistic does not verify", config.SideTLSOpportunistic, expired, "other.contoso.com", otherCA, nil, delivered, "TLS1.3", 1},
		{"opportunistic, not offered", config.SideTLSOpportunistic, nil, "mx.contoso.com", ca, nil, delivered, "", 1},
		{"opportunistic, 454", config.SideTLSOpportunistic, good, "mx.contoso.com", ca, on("STARTTLS", act{reply: "454 4.7.0 not now"}), delivered, "", 2},
		{"opportunistic, no handshake", config.SideTLSOpportunistic, good, "mx.contoso.com", ca, on("STARTTLS", act{reply: "220 go\r\nwhat", close: true}), delivered, "", 2},
		{"opportunistic, garbage", config.SideTLSOpportunistic, &tls.Certificate{}, "mx.contoso.com", ca, nil, delivered, "", 2},
		{"required", config.SideTLSRequired, wrongName, "mx.contoso.com", otherCA, nil, delivered, "TLS1.3", 1},
		{"required, not offered", config.SideTLSRequired, nil, "mx.contoso.com", ca, nil, starttls4, "", 1},
		{"required, 454", config.SideTLSRequired, good, "mx.contoso.com", ca, on("STARTTLS", act{reply: "454 4.7.0 not now"}), starttls4, "", 1},
		{"required, injected octets", config.SideTLSRequired, good, "mx.contoso.com", ca, on("STARTTLS", act{reply: "220 go\r\n250 injected"}), starttls4, "", 1},
		{"verified", config.SideTLSVerified, good, "mx.contoso.com", ca, nil, delivered, "TLS1.3", 1},
		{"verified by address", config.SideTLSVerified, good, "127.0.0.1", ca, nil, delivered, "TLS1.3", 1},
		{"verified, wrong address", config.SideTLSVerified, wrongName, "127.0.0.1", ca, nil, starttls5, "", 1},
		{"verified, wrong name", config.SideTLSVerified, wrongName, "mx.contoso.com", ca, nil, starttls5, "", 1},
		{"verified, unknown authority", config.SideTLSVerified, good, "mx.contoso.com", otherCA, nil, starttls5, "", 1},
		{"verified, expired", config.SideTLSVerified, expired, "mx.contoso.com", ca, nil, starttls5, "", 1},
		{"verified, not offered", config.SideTLSVerified, nil, "mx.contoso.com", ca, nil, starttls4, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, c.script)
			if c.cert != nil {
				p.tls = &tls.Config{Certificates: []tls.Certificate{*c.cert}}
			}
			tr := tlsTransport(t, c.policy, c.ca, c.host, p.port(), nil)
			res := deliver(t, tr, request(sample, "alexd@contoso.com"))
			wantSummary(t, res, c.want)
			if res[0].Outcome != Delivered {
				if len(p.got()) != 0 || p.count("MAIL") != 0 {
					t.Error("mail was spoken of all the same")
				}
				return
			}
			if res[0].TLS != c.tls || p.got()[0].tls != (c.tls != "") || p.connections() != c.conns {
				t.Errorf("TLS %q over %d connections, want %q over %d; received %+v", res[0].TLS, p.connections(), c.tls, c.conns, p.got()[0])
			}
		})
	}
}

// TestTLSVersions has a peer without TLS 1.3, and one that has nothing we speak.
func TestTLSVersions(t *testing.T) {
	ca := newAuthority(t)
	cert := *ca.issue(t, "mx.contoso.com", time.Now().Add(-time.Hour))
	for _, c := range []struct {
		max       uint16
		want, tls string
	}{
		{tls.VersionTLS12, "delivered 250 2.0.0 eod", "TLS1.2"},
		{tls.VersionTLS11, "deferred 451 4.7.5 starttls", ""},
	} {
		p := newPeer(t, nil)
		p.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.max}
		res := deliver(t, tlsTransport(t, config.SideTLSVerified, ca, "mx.contoso.com", p.port(), nil), request(sample, "alexd@contoso.com"))
		wantSummary(t, res, c.want)
		if res[0].TLS != c.tls {
			t.Errorf("TLS %q", res[0].TLS)
		}
	}
}

// TestTLSKept: round trips, reuse, a large message, and what the peer knows of us, over TLS.
func TestTLSKept(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	name := "gw1.contoso.com"
	from := time.Now().Add(-time.Hour)
	p := newPeer(t, nil)
	var sni []string
	p.tls = &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "mx.contoso.com", from)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}
	p.tls.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		sni = append(sni, h.ServerName)
		return nil, nil
	}
	tr := tlsTransport(t, config.SideTLSVerified, ca, "mx.contoso.com", p.port(), func() *tls.Certificate {
		mu.Lock()
		defer mu.Unlock()
		return ca.issue(t, name, from)
	})
	big := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n", 40_000)
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	before := p.trips()
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	if n := p.trips() - before; n != 1 {
		t.Errorf("%d round trips on a kept connection, want 1", n)
	}
	wantSummary(t, deliver(t, tr, request(big, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	got := p.got()
	if !bytes.Equal([]byte(got[2].content), []byte(big)) || p.connections() != 1 || got[2].cert != name {
		t.Errorf("%d octets, want %d, over %d connections, from %q", len(got[2].content), len(big), p.connections(), got[2].cert)
	}
	mu.Lock()
	name = "renewed.contoso.com"
	if len(sni) != 1 || sni[0] != "mx.contoso.com" {
		t.Errorf("SNI %q", sni)
	}
	mu.Unlock()
	p.dropAll()
	p.tls.SessionTicketsDisabled = true // a resumed session has the certificate of the first
	wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
	if got := p.got()[3].cert; got != name {
		t.Errorf("certificate of %q, want %q", got, name)
	}
}

func TestTLSResumption(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	resumed := 0
	p := newPeer(t, nil)
	p.tls = &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, "mx.contoso.com", time.Now().Add(-time.Hour))},
		VerifyConnection: func(s tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			if s.DidResume {
				resumed++
			}
			return nil
		}}
	tr := tlsTransport(t, config.SideTLSVerified, ca, "mx.contoso.com", p.port(), nil)
	for range 2 {
		wantSummary(t, deliver(t, tr, request(sample, "alexd@contoso.com")), "delivered 250 2.0.0 eod")
		p.dropAll()
		time.Sleep(20 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	if resumed != 1 || p.connections() != 2 {
		t.Errorf("%d of %d connections resumed", resumed, p.connections())
	}
}

func TestStronger(t *testing.T) {
	for _, c := range []struct{ a, b, want config.SideTLS }{
		{"", "", config.SideTLSOpportunistic},
		{config.SideTLSNone, "", config.SideTLSNone},
		{config.SideTLSNone, config.SideTLSVerified, config.SideTLSVerified},
		{config.SideTLSVerified, config.SideTLSRequired, config.SideTLSVerified},
	} {
		if got := stronger(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
