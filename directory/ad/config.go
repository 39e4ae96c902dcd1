package ad

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config tells a [Source] where Active Directory is and how it is asked.
type Config struct {
	URLs         []string // ldaps://host[:port] or ldap://host[:port], tried in this order; at least one
	BaseDN       string   // recipients below it are in the view
	BindDN       string   // a DN, a user principal name, or DOMAIN\name; empty: an anonymous bind
	PasswordFile string   // read for every bind; a line break at its end is not part of the password
	CAFile       string   // PEM; empty: the authorities of the operating system. Read for every connection
	StartTLS     bool     // ldap:// connections change to TLS before the bind
	Plaintext    bool     // a password may be sent over ldap:// without TLS beyond the loopback interface

	Refresh   time.Duration // how often changes are asked for; default 15s
	Reconcile time.Duration // how often, at least, all objects are compared when deletions cannot be seen; default 10m
	Timeout   time.Duration // for the answer to one request (a page of a search); default 30s
	Snapshot  string        // where the view is kept; empty: nowhere

	Now func() time.Time // for ages; default time.Now
	Log *slog.Logger     // default: no log
}

func (c *Config) defaults() {
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{{&c.Refresh, 15 * time.Second}, {&c.Reconcile, 10 * time.Minute}, {&c.Timeout, 30 * time.Second}} {
		if *d.to <= 0 {
			*d.to = d.value
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// identity names the source in a snapshot: the view of another domain or of another part of it is not used.
func (c *Config) identity() string { return "ad:" + strings.ToLower(c.BaseDN) }

// secret reads the password.
func (c *Config) secret() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if s == "" {
		// RFC 4513 5.1.2: a name with an empty password is an anonymous bind that seems to succeed.
		return "", fmt.Errorf("the password in %s is empty", c.PasswordFile)
	}
	return s, nil
}

// plain tells whether a password to this URL would be readable on the network.
func (c *Config) plain(u *url.URL) bool {
	if u.Scheme != "ldap" || c.StartTLS {
		return false
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return !(strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback())
}
