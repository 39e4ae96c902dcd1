package outbound

import (
	"crypto/tls"

	"github.com/coexist-mail/coexist/gateway/config"
)

// sessionsPerSide is how many TLS sessions of a side are kept for resumption.
const sessionsPerSide = 512

// sideTLSConfig is the client configuration of a side, without the name of a host.
func sideTLSConfig(side Side) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12, // RFC 8996: nothing older
		RootCAs:            side.RootCAs,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionsPerSide),
		// Whole records at once: a message is not a page to be rendered while it loads.
		DynamicRecordSizingDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if side.ClientCert != nil {
				if cert := side.ClientCert(); cert != nil {
					return cert, nil
				}
			}
			return &tls.Certificate{}, nil // RFC 8446 4.4.2: an empty one says that there is none
		},
	}
}

// tlsConfig is the configuration for the hop. With TLSA records they alone decide about the certificate (RFC 7672 3.1), which
// includes that of a resumed session.
func (h *hop) tlsConfig(s *settings, policy config.SideTLS) *tls.Config {
	c := hostTLSConfig(s.tls[h.key.side], h.key.host, policy)
	if policy == tlsDANE {
		c.VerifyConnection = func(state tls.ConnectionState) error { return h.dane.Verify(state.PeerCertificates, s.Clock()) }
	}
	return c
}

// hostTLSConfig is the side's configuration for one host. Only config.SideTLSVerified verifies; the name is that of the
// configured hop or of the MX host, and goes into SNI as well. An address is verified against the IP names.
func hostTLSConfig(side *tls.Config, host string, policy config.SideTLS) *tls.Config {
	c := side.Clone()
	c.ServerName = host
	c.InsecureSkipVerify = policy != config.SideTLSVerified
	return c
}

// tlsStrength orders the policies.
var tlsStrength = map[config.SideTLS]int{
	config.SideTLSNone: 0, config.SideTLSOpportunistic: 1, config.SideTLSRequired: 2, config.SideTLSVerified: 3,
}

// stronger is the stricter of two policies; empty counts as opportunistic.
func stronger(a, b config.SideTLS) config.SideTLS {
	if a == "" {
		a = config.SideTLSOpportunistic
	}
	if tlsStrength[b] > tlsStrength[a] {
		return b
	}
	return a
}

// tlsName is "TLS1.3" and the like.
func tlsName(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	}
	return tls.VersionName(version)
}
