package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// CheckResult is how a check ended.
type CheckResult string

// The results.
const (
	CheckFine    CheckResult = "ok"
	CheckWarning CheckResult = "warning"
	CheckFailed  CheckResult = "failed"
)

// CheckLine is one thing that was checked.
type CheckLine struct {
	Result CheckResult `json:"result"`
	What   string      `json:"what"`
	Detail string      `json:"detail"`
}

// Check reaches for everything that a valid configuration names: data_dir, certificates, directory,
// next hops, DNS, and what the filters ask. timeout is for each. It changes nothing, and may run beside a gateway with the same data_dir.
func Check(ctx context.Context, cfg *config.Config, timeout time.Duration) []CheckLine {
	lines := []CheckLine{{CheckFine, "configuration", cfg.Path}}
	for _, w := range cfg.Warnings {
		lines = append(lines, CheckLine{CheckWarning, "configuration", w.String()})
	}
	lines = append(lines, checkDataDir(cfg))
	lines = append(lines, checkCertificates(cfg)...)
	lines = append(lines, checkDirectory(ctx, cfg, timeout)...)
	for _, side := range []struct {
		name routing.Side
		tls  config.SideTLS
	}{{routing.OnPrem, cfg.OnPrem.TLS}, {routing.Cloud, cfg.Cloud.TLS}, {routing.Internet, cfg.Internet.TLS}} {
		for _, hop := range NextHops(cfg, side.name) {
			c, cancel := context.WithTimeout(ctx, timeout)
			lines = append(lines, checkHop(c, cfg, side.name, side.tls, hop))
			cancel()
		}
	}
	if len(cfg.Internet.NextHop) == 0 {
		c, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		lines = append(lines, checkDNS(c, cfg))
	}
	return append(lines, checkHygiene(ctx, cfg, timeout)...)
}

func line(what string, err error, fine string) CheckLine {
	if err != nil {
		return CheckLine{CheckFailed, what, err.Error()}
	}
	return CheckLine{CheckFine, what, fine}
}

// expiryWarning is how long before its end a certificate is warned of.
const expiryWarning = 30 * 24 * time.Hour

func checkCertificates(cfg *config.Config) (lines []CheckLine) {
	for i := range cfg.Listeners {
		if l := &cfg.Listeners[i]; l.CertFile != "" {
			lines = append(lines, checkCertificate("certificate of listener "+l.Address, l.CertFile, l.KeyFile, cfg.Hostname))
		}
	}
	if cfg.Cloud.ClientCertFile != "" {
		lines = append(lines, checkCertificate("client certificate for the cloud", cfg.Cloud.ClientCertFile, cfg.Cloud.ClientKeyFile, ""))
	}
	return lines
}

func checkCertificate(what, certFile, keyFile, host string) CheckLine {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return line(what, err, "")
	}
	left := time.Until(cert.Leaf.NotAfter)
	detail := fmt.Sprintf("%s, valid until %s", certFile, cert.Leaf.NotAfter.Format(time.DateOnly))
	if left < 0 {
		return CheckLine{CheckFailed, what, detail + ": it has expired"}
	}
	result := CheckFine
	if left < expiryWarning {
		result, detail = CheckWarning, detail+": renew it"
	}
	if host != "" && cert.Leaf.VerifyHostname(host) != nil {
		result, detail = CheckWarning, detail+": it is not valid for the hostname "+host
	}
	return CheckLine{result, what, detail}
}

func checkDirectory(ctx context.Context, cfg *config.Config, timeout time.Duration) []CheckLine {
	if cfg.Directory.Source == "ad" {
		return checkActiveDirectory(ctx, cfg, timeout)
	}
	return []CheckLine{checkLDIF(ctx, cfg)}
}

func checkLDIF(ctx context.Context, cfg *config.Config) CheckLine {
	what := "directory " + cfg.Directory.Source
	if cfg.Directory.Source != "ldif" {
		return line(what, fmt.Errorf("directory.source %q is not known", cfg.Directory.Source), "")
	}
	source := directory.NewFileSource(directory.FileConfig{Path: cfg.Directory.LDIF})
	if err := source.Refresh(ctx); err != nil {
		return line(what, err, "")
	}
	view := source.View()
	st := view.Stats()
	detail := fmt.Sprintf("%d objects, %d addresses", st.Total(), st.Addresses)
	if w := view.Warnings(); len(w) > 0 {
		return CheckLine{CheckWarning, what, fmt.Sprintf("%s; %d attributes were not understood, the first: %v", detail, len(w), w[0])}
	}
	return CheckLine{CheckFine, what, detail}
}

// checkHop connects, says EHLO, and starts TLS as the side's policy asks.
func checkHop(ctx context.Context, cfg *config.Config, side routing.Side, policy config.SideTLS, hop string) CheckLine {
	what := fmt.Sprintf("next hop %s of %s", hop, side)
	detail, err := speakToHop(ctx, cfg, side, policy, hop)
	return line(what, err, detail)
}

func speakToHop(ctx context.Context, cfg *config.Config, side routing.Side, policy config.SideTLS, hop string) (string, error) {
	host, _, err := net.SplitHostPort(hop)
	if err != nil {
		host, hop = hop, net.JoinHostPort(hop, "25")
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", hop)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if deadline, ok := ctx.Deadline(); ok {
		nc.SetDeadline(deadline)
	}
	c, err := smtp.NewClient(nc, host)
	if err != nil {
		return "", fmt.Errorf("reading the greeting: %w", err)
	}
	if err := c.Hello(cfg.Hostname); err != nil {
		return "", fmt.Errorf("EHLO: %w", err)
	}
	offered, _ := c.Extension("STARTTLS")
	detail := "answers, STARTTLS is not offered"
	if offered {
		detail = "answers, STARTTLS is offered"
	}
	if policy == config.SideTLSNone || !offered && policy == config.SideTLSOpportunistic {
		c.Quit()
		return detail, nil
	}
	if !offered {
		return "", fmt.Errorf("STARTTLS is not offered, but tls = %q", policy)
	}
	t := &tls.Config{ServerName: host, InsecureSkipVerify: policy != config.SideTLSVerified, MinVersion: tls.VersionTLS12}
	if side == routing.Cloud && cfg.Cloud.ClientCertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.Cloud.ClientCertFile, cfg.Cloud.ClientKeyFile)
		if err != nil {
			return "", err
		}
		t.Certificates = []tls.Certificate{cert}
	}
	if err := c.StartTLS(t); err != nil {
		if policy == config.SideTLSOpportunistic {
			return detail + ", but fails (" + err.Error() + "): mail would go in clear text", nil
		}
		return "", fmt.Errorf("STARTTLS: %w", explainTLS(err))
	}
	if state, ok := c.TLSConnectionState(); ok {
		detail = "answers, " + tlsName(state.Version)
		if policy == config.SideTLSVerified {
			detail += ", certificate verified"
		}
	}
	c.Quit()
	return detail, nil
}

// explainTLS adds what to do about it.
func explainTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: add its authority to the system's, or use tls = \"required\"", err)
	case errors.As(err, &name):
		return fmt.Errorf("%w: name the next hop as its certificate does", err)
	}
	return err
}

// checkDNS asks for the MX of our own domain: any answer shows that there is somebody to ask.
func checkDNS(ctx context.Context, cfg *config.Config) CheckLine {
	what := "DNS, for the internet side"
	mx, err := net.DefaultResolver.LookupMX(ctx, cfg.Domains[0])
	var dnsErr *net.DNSError
	switch {
	case err == nil && len(mx) > 0:
		names := make([]string, len(mx))
		for i, m := range mx {
			names[i] = m.Host
		}
		return CheckLine{CheckFine, what, fmt.Sprintf("MX of %s: %s", cfg.Domains[0], strings.Join(names, " "))}
	case err == nil, errors.As(err, &dnsErr) && dnsErr.IsNotFound:
		return CheckLine{CheckWarning, what, "answers; " + cfg.Domains[0] + " has no MX"}
	}
	return CheckLine{CheckFailed, what, err.Error()}
}
