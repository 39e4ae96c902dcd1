package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/hygiene"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// state is everything that comes from the configuration, immutable, and replaced as a whole by Reload.
type state struct {
	cfg      *config.Config
	router   *routing.Router
	firewall *message.Firewall
	filter   *hygiene.Filter
	roots    *x509.CertPool // authorities of client certificates; nil is the system's
}

// newState derives the state. filter may be nil where no mail is taken.
func newState(cfg *config.Config, filter *hygiene.Filter, roots *x509.CertPool) *state {
	return &state{
		cfg:      cfg,
		router:   routing.New(RoutingPolicy(cfg)),
		firewall: message.NewFirewall(cfg.Hostname),
		filter:   filter,
		roots:    roots,
	}
}

// RoutingPolicy is what the router needs of a configuration.
func RoutingPolicy(cfg *config.Config) routing.Policy {
	return routing.Policy{
		Domains:       cfg.Domains,
		TenantDomain:  cfg.Cloud.TenantDomain,
		RoutingDomain: cfg.Cloud.RoutingDomain,
		Postmaster:    cfg.Postmaster,
		MaxAge:        cfg.Directory.MaxAge,
	}
}

// nextHops are the configured next hops of a side; empty is by MX.
func (s *state) nextHops(side routing.Side) []string { return NextHops(s.cfg, side) }

// NextHops are the next hops that a configuration names for a side. None: for the internet, by MX. It is never nil, since it is printed
// as JSON.
func NextHops(cfg *config.Config, side routing.Side) []string {
	hops := []string(nil)
	switch side {
	case routing.OnPrem:
		hops = cfg.OnPrem.NextHop
	case routing.Cloud:
		hops = cfg.Cloud.NextHop
	case routing.Internet:
		hops = cfg.Internet.NextHop
	}
	if hops == nil {
		return []string{}
	}
	return hops
}

// converts tells whether TNEF is converted on the way to a side.
func (s *state) converts(side routing.Side) bool {
	switch side {
	case routing.OnPrem:
		return s.cfg.OnPrem.ConvertTNEF
	case routing.Cloud:
		return s.cfg.Cloud.ConvertTNEF
	case routing.Internet:
		return s.cfg.Internet.ConvertTNEF
	}
	return false
}

// sideOf names the side that a client belongs to. A verified certificate is better evidence than an address, which a NAT may share.
func (s *state) sideOf(c inbound.Client) routing.Side {
	switch {
	case c.AuthUser != "": // a device of ours, by onprem.users_file
		return routing.OnPrem
	case s.isCloudCertificate(c.TLS):
		return routing.Cloud
	case contains(s.cfg.OnPrem.Clients, c.Addr):
		return routing.OnPrem
	case contains(s.cfg.Cloud.Clients, c.Addr):
		return routing.Cloud
	}
	return routing.Internet
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// isCloudCertificate tells whether the client's certificate is valid for one of cloud.client_names. Exchange Online presents one
// that names mail.protection.outlook.com when it is asked.
func (s *state) isCloudCertificate(t *tls.ConnectionState) bool {
	if t == nil || len(t.PeerCertificates) == 0 || len(s.cfg.Cloud.ClientNames) == 0 {
		return false
	}
	leaf := t.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, c := range t.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	// Any extended key usage: public authorities no longer put clientAuth into certificates of servers.
	opts := x509.VerifyOptions{Roots: s.roots, Intermediates: intermediates, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := leaf.Verify(opts); err != nil {
		return false
	}
	for _, name := range s.cfg.Cloud.ClientNames {
		if leaf.VerifyHostname(name) == nil {
			return true
		}
	}
	return false
}
