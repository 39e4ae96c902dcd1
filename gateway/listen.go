package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
)

// listen binds the listeners.
func (g *Gateway) listen(cfg *config.Config) error {
	for i := range cfg.Listeners {
		l, err := g.listenOne(cfg, &cfg.Listeners[i])
		if err != nil {
			return err
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
}

func (g *Gateway) listenOne(cfg *config.Config, lc *config.Listener) (inbound.Listener, error) {
	nl, err := net.Listen("tcp", lc.Address)
	if err != nil {
		return inbound.Listener{}, fmt.Errorf("listening at %s: %w", lc.Address, err)
	}
	l := inbound.Listener{
		Listener: believeProxies(nl, lc.ProxyProtocol),
		XClient:  lc.ProxyProtocol,
		Proxied:  hasProxyHeader,
		Implicit: lc.TLS == config.ListenerTLSImplicit, Required: lc.TLS == config.ListenerTLSRequired,
	}
	if lc.TLS == config.ListenerTLSOff {
		return l, nil
	}
	t := new(atomic.Pointer[tls.Config])
	l.TLS = t.Load
	g.listenerTLS = append(g.listenerTLS, listenerTLS{lc.Address, t})
	if err := g.setListenerTLS(cfg, lc, t); err != nil {
		nl.Close()
		return l, err
	}
	return l, nil
}

// openUsers reads the users that may authenticate; nil when there are none.
func openUsers(cfg *config.Config, log *slog.Logger) (inbound.Authenticator, error) {
	if cfg.OnPrem.UsersFile == "" {
		return nil, nil
	}
	file, err := users.Open(cfg.OnPrem.UsersFile, log)
	if err != nil {
		return nil, fmt.Errorf("onprem.users_file: %w", err)
	}
	return file, nil
}

// listenerTLS is the TLS configuration of a bound listener, replaced by Reload.
type listenerTLS struct {
	address string
	config  *atomic.Pointer[tls.Config]
}

func (g *Gateway) setListenerTLS(cfg *config.Config, lc *config.Listener, t *atomic.Pointer[tls.Config]) error {
	cert, err := g.certificate(lc.CertFile, lc.KeyFile)
	if err != nil {
		return fmt.Errorf("listener %s: %w", lc.Address, err)
	}
	t.Store(tlsConfig(cfg, cert))
	return nil
}

// reloadListeners reads the certificates of the bound listeners again.
func (g *Gateway) reloadListeners(cfg *config.Config) error {
	for _, bound := range g.listenerTLS {
		for i := range cfg.Listeners {
			lc := &cfg.Listeners[i]
			if lc.Address != bound.address || lc.CertFile == "" {
				continue
			}
			if err := g.setListenerTLS(cfg, lc, bound.config); err != nil {
				return err
			}
		}
	}
	return nil
}

// needRestart names what a reload cannot change and is not as it was when the gateway started.
func needRestart(started, now *config.Config) (keys []string) {
	strip := func(ls []config.Listener) []config.Listener {
		out := append([]config.Listener(nil), ls...)
		for i := range out {
			out[i].CertFile, out[i].KeyFile = "", ""
		}
		return out
	}
	source := func(d config.Directory) config.Directory {
		d.MaxAge = 0 // the router's, which is made anew
		return d
	}
	for _, c := range []struct {
		key          string
		started, now any
	}{
		{"hostname", started.Hostname, now.Hostname},
		{"data_dir", started.DataDir, now.DataDir},
		{"listener", strip(started.Listeners), strip(now.Listeners)},
		{"directory", source(started.Directory), source(now.Directory)},
		{"onprem.users_file", started.OnPrem.UsersFile, now.OnPrem.UsersFile},
		{"trace", started.Trace, now.Trace},
		{"admin", started.Admin, now.Admin},
		{"log", started.Log, now.Log},
	} {
		if !reflect.DeepEqual(c.started, c.now) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// proxyHeaderTimeout is how long a load balancer may take for its header.
const proxyHeaderTimeout = 10 * time.Second

// hasProxyHeader says whether a connection began with a PROXY header that was believed.
func hasProxyHeader(nc net.Conn) bool {
	p, ok := nc.(*proxyproto.Conn)
	return ok && p.ProxyHeader() != nil
}

// believeProxies takes the client's address from the PROXY header (version 1 or 2) of connections from networks. Such a connection
// without a header is the load balancer's own, as a health check. A header from anywhere else is a command that makes no sense.
func believeProxies(l net.Listener, networks []netip.Prefix) net.Listener {
	if len(networks) == 0 {
		return l
	}
	return &proxyproto.Listener{
		Listener: l, ReadHeaderTimeout: proxyHeaderTimeout,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			ap, err := netip.ParseAddrPort(o.Upstream.String())
			if err == nil && contains(networks, ap.Addr().Unmap()) {
				return proxyproto.USE, nil
			}
			return proxyproto.SKIP, nil
		},
	}
}
