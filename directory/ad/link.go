package ad

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// dialTimeout is for the connection with its TLS handshake.
const dialTimeout = 5 * time.Second

// link is a bound connection to one domain controller.
type link struct {
	conn *ldap.Conn
	url  string
	dc   rootDSE

	timeout time.Duration // for one request
}

// shortTimeout is for requests that a working domain controller answers at once, so that one that hangs is left soon.
const shortTimeout = 10 * time.Second

func (l *link) close() {
	if l != nil {
		l.conn.Close()
	}
}

// rootDSE is what a domain controller says of itself ([MS-ADTS] 3.1.1.3.2).
type rootDSE struct {
	Host       string // dnsHostName
	Service    string // dsServiceName: its NTDS Settings object
	Invocation []byte // of that object: another one after a restore
	USN        int64  // highestCommittedUSN
	Contexts   []string
	Schema     string // schemaNamingContext
	Time       time.Time
}

// name is the domain controller for people.
func (l *link) name() string {
	if l.dc.Host == "" {
		return l.url
	}
	return l.dc.Host + " (" + l.url + ")"
}

// dial connects and binds. The connection ends with ctx.
func dial(ctx context.Context, c *Config, raw string) (*link, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", raw, err)
	}
	if err := c.allowed(u); err != nil {
		return nil, fmt.Errorf("%s: %w", raw, err)
	}
	l, err := connect(ctx, c, u)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", raw, explainDial(err))
	}
	l.url = raw
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	l.timeout = c.Timeout
	l.conn.SetTimeout(min(c.Timeout, shortTimeout))
	if err = l.bind(ctx, c); err == nil {
		err = l.identify()
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("%s: %w", raw, err)
	}
	return l, nil
}

func connect(ctx context.Context, c *Config, u *url.URL) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	nc, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: u.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12}
	if u.Scheme == "ldaps" {
		t := tls.Client(nc, config)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = t
	}
	conn := ldap.NewConn(nc, u.Scheme == "ldaps")
	conn.Start()
	if u.Scheme == "ldap" && c.StartTLS {
		if err := startTLS(ctx, conn, nc, config); err != nil {
			conn.Close()
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	return &link{conn: conn}, nil
}

// startTLS asks for TLS (RFC 4511 4.14) and does the handshake, both within the time of ctx: the library knows no deadline for the handshake.
func startTLS(ctx context.Context, conn *ldap.Conn, nc net.Conn, config *tls.Config) error {
	conn.SetTimeout(dialTimeout)
	if d, ok := ctx.Deadline(); ok {
		nc.SetDeadline(d)
		defer nc.SetDeadline(time.Time{})
	}
	return conn.StartTLS(config)
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // those of the system
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificates", file)
	}
	return pool, nil
}

// bind authenticates.
func (l *link) bind(ctx context.Context, c *Config) error {
	if c.kerberos() {
		return l.bindKerberos(ctx, c)
	}
	password, err := c.secret()
	if err != nil {
		return err
	}
	if password == "" {
		err = l.conn.UnauthenticatedBind("")
	} else {
		err = l.conn.Bind(c.BindDN, password)
	}
	if err != nil {
		return explainBind(err, c.BindDN)
	}
	return nil
}

// identify reads what the domain controller says of itself.
func (l *link) identify() error {
	l.conn.SetTimeout(min(l.timeout, shortTimeout))
	defer l.conn.SetTimeout(l.timeout)
	entry, err := l.object("", "dnsHostName", "dsServiceName", "highestCommittedUSN", "namingContexts", "schemaNamingContext", "isSynchronized", "currentTime")
	if err != nil {
		return fmt.Errorf("reading the root DSE: %w", err)
	}
	// [MS-ADTS] 3.1.1.3.2.26: FALSE until the first replication is complete. Until then objects are missing.
	if strings.EqualFold(entry.GetEqualFoldAttributeValue("isSynchronized"), "FALSE") {
		return errors.New("the domain controller has not completed its first replication")
	}
	d := rootDSE{
		Host: entry.GetEqualFoldAttributeValue("dnsHostName"), Service: entry.GetEqualFoldAttributeValue("dsServiceName"),
		Contexts: entry.GetEqualFoldAttributeValues("namingContexts"), Schema: entry.GetEqualFoldAttributeValue("schemaNamingContext"),
	}
	if d.USN, err = strconv.ParseInt(entry.GetEqualFoldAttributeValue("highestCommittedUSN"), 10, 64); err != nil {
		return errors.New("it gives no highestCommittedUSN to this account: is it a domain controller, and did the bind succeed?")
	}
	d.Time, _ = time.Parse("20060102150405.0Z", entry.GetEqualFoldAttributeValue("currentTime"))
	if d.Service != "" {
		if settings, err := l.object(d.Service, "invocationId"); err == nil {
			d.Invocation = settings.GetEqualFoldRawAttributeValue("invocationId")
		} else if !refused(err) {
			return fmt.Errorf("reading its invocationId: %w", err)
		}
	}
	l.dc = d
	return nil
}
