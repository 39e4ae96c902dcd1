package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/admin"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/routing"
)

// names is a DNS in which every domain has one MX host, on the loopback, and announces an MTA-STS policy until it is cut.
type names struct{ cut atomic.Bool }

func (n *names) LookupMX(_ context.Context, domain string) ([]outbound.MX, error) {
	return []outbound.MX{{Host: "mx." + domain, Preference: 10}}, nil
}

func (n *names) LookupHost(_ context.Context, name string) (outbound.Addresses, error) {
	return outbound.Addresses{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Canonical: name}, nil
}

func (n *names) LookupTLSA(context.Context, string) (outbound.TLSA, error) {
	return outbound.TLSA{}, nil
}

func (n *names) LookupTXT(context.Context, string) ([]string, error) {
	if n.cut.Load() {
		return nil, errors.New("no answer")
	}
	return []string{"v=STSv1; id=1;"}, nil
}

// A recipient's domain that demands TLS gets no mail without it, and a restart with DNS down does not make the gateway forget that.
func TestPolicyOfTheRecipientsDomain(t *testing.T) {
	cert, pool, err := fakemta.NewCertificate("mta-sts.fabrikam.com")
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "version: STSv1\nmode: enforce\nmx: mx.fabrikam.com\nmax_age: 604800\n")
	}))
	site.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	site.StartTLS()
	defer site.Close()
	dns := &names{}
	options := gatewaytest.Options{DataDir: t.TempDir(), Configure: func(c *config.Config) { c.Internet.NextHop = nil }}
	options.Gateway.Resolver, options.Gateway.PolicyClient = dns, loopbackClient(site, pool)
	start := func() *gatewaytest.Gateway {
		internet, err := fakemta.Start(fakemta.Options{Hostname: "mx.fabrikam.com"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { internet.Close() })
		options.Gateway.MXPort = netip.MustParseAddrPort(internet.Addr()).Port()
		return gatewaytest.StartWith(t, options)
	}
	for i := range 2 {
		g := start()
		g.Send(routing.OnPrem, "adelev@contoso.com", []string{fmt.Sprintf("kim.akers%d@fabrikam.com", i)}, "Subject: x\r\n\r\nbody\r\n")
		rows, err := admin.NewClient(g.AdminAddr().String()).Queue(context.Background())
		if err != nil || len(rows) != i+1 {
			t.Fatalf("%d messages wait (%v), want %d", len(rows), err, i+1)
		}
		if want := "TLS is demanded by the MTA-STS policy of fabrikam.com"; !strings.Contains(fmt.Sprintf("%+v", rows), want) {
			t.Errorf("the queue does not say why: %+v", rows)
		}
		g.Stop()
		dns.cut.Store(true)
	}
}

// loopbackClient connects to the site, whatever the name is.
func loopbackClient(site *httptest.Server, pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, site.Listener.Addr().String())
		}}}
}

// The end of a certificate in use is a metric.
func TestCertificateMetric(t *testing.T) {
	cert, _, err := fakemta.NewCertificate("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "connector.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.StartWith(t, gatewaytest.Options{Gateway: gateway.Options{}, Configure: func(c *config.Config) {
		c.Cloud.ClientCertFile, c.Cloud.ClientKeyFile = file, file
	}})
	_, body := get(t, g, "/metrics")
	if want := fmt.Sprintf("coexist_certificate_not_after_seconds{file=%q} %g\n", file, float64(leaf.NotAfter.Unix())); !strings.Contains(body, want) {
		t.Errorf("no %q in the metrics", want)
	}
}
