package peers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// certificateOf writes a certificate of a kind of key for gw1.contoso.com, and the key.
func certificateOf(t *testing.T, kind string) (cert, key string) {
	t.Helper()
	var private any
	var public any
	switch kind {
	case "ECDSA":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private, public = k, k.Public()
	case "RSA":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		private, public = k, k.Public()
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw1.contoso.com"}, DNSNames: []string{"gw1.contoso.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, // so that RSA key exchange fails for no other reason
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}

// offered are the cipher suites of TLS 1.2 that are taken, in the order of the server's choice. Those of CBC stay for Windows Server 2012 R2
// and its Exchange, which know no others for an RSA certificate: the alternative there is clear text (RFC 7435 3).
var offered = map[string][]uint16{
	"ECDSA": {
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	},
	"RSA": {
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	},
}

// TestTLSOffer: which versions and cipher suites STARTTLS takes (RFC 9325 3.1.1, 4.2), one handshake for each that Go knows.
func TestTLSOffer(t *testing.T) {
	t.Parallel()
	for kind, want := range offered {
		t.Run(kind, func(t *testing.T) {
			cert, key := certificateOf(t, kind)
			g := start(t, setup{Listener: fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key), Limits: "connections_per_client = 100"})
			for version, taken := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
				_, err := handshake(t, g.addr, &tls.Config{MinVersion: version, MaxVersion: version})
				if (err == nil) != taken {
					t.Errorf("%s: %v", tls.VersionName(version), err)
				}
			}
			for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if slices.Contains(suite.SupportedVersions, uint16(tls.VersionTLS13)) {
					continue // not for choice in Go, and all good
				}
				_, err := handshake(t, g.addr, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
				if taken := slices.Contains(want, suite.ID); (err == nil) != taken {
					t.Errorf("%s: %v", suite.Name, err)
				}
			}
			// The client's order does not count: encryption that authenticates comes first.
			backwards := slices.Clone(want)
			slices.Reverse(backwards)
			state, err := handshake(t, g.addr, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: backwards})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(want[:3], state.CipherSuite) {
				t.Errorf("of all, %s was chosen", tls.CipherSuiteName(state.CipherSuite))
			}
			g.alive()
		})
	}
}

// handshake begins TLS.
func handshake(t *testing.T, addr string, conf *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	c := dial(t, addr, internet)
	defer c.Close()
	c.ehlo()
	c.say("STARTTLS", "220 2.0.0")
	conf.InsecureSkipVerify = true
	tc := tls.Client(c.Conn, conf)
	err := tc.Handshake()
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Errorf("no end of the handshake: %v", err)
	}
	return tc.ConnectionState(), err
}
