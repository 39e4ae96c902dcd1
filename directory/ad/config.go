package ad

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
)

// Config tells a [Source] where Active Directory is and how it is asked.
type Config struct {
	URLs         []string // ldaps://host[:port] or ldap://host[:port], tried in this order; at least one
	BaseDNs      []string // recipients below them are in the view; every domain controller holds all of them. At least one
	BindDN       string   // a DN, a user principal name, or DOMAIN\name; empty: an anonymous bind
	PasswordFile string   // read for every bind; a line break at its end is not part of the password
	Principal    string   // name@REALM: the account of KeytabFile; then BindDN and PasswordFile are not used
	KeytabFile   string   // the keys of Principal, for SASL GSSAPI (RFC 4752); read for every bind
	Krb5Conf     string   // empty: each domain controller is the KDC of the realm
	CAFile       string   // PEM; empty: the authorities of the operating system. Read for every connection
	StartTLS     bool     // ldap:// connections change to TLS before the bind
	Plaintext    bool     // a password may be sent, and answers be believed, over ldap:// without TLS beyond the loopback interface

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
	c.BaseDNs = outermost(c.BaseDNs)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// identity names the source in a snapshot: the view of another domain or of another part of it is not used.
func (c *Config) identity() string {
	bases := make([]string, len(c.BaseDNs))
	for i, b := range c.BaseDNs {
		bases[i] = strings.ToLower(b)
	}
	slices.Sort(bases)
	return "ad:" + strings.Join(bases, "\n")
}

// outermost leaves the bases that lie within no other one; of two that are the same, the first.
func outermost(bases []string) (out []string) {
	for i, b := range bases {
		before := func(o string) bool { return directory.WithinDN(b, o) }
		after := func(o string) bool { return directory.WithinDN(b, o) && !directory.WithinDN(o, b) }
		if !slices.ContainsFunc(bases[:i], before) && !slices.ContainsFunc(bases[i+1:], after) {
			out = append(out, b)
		}
	}
	return out
}

// kerberos tells whether the account is one with a keytab.
func (c *Config) kerberos() bool { return c.KeytabFile != "" }

// account tells accounts apart: a hash of what a bind would be made with now.
func (c *Config) account() [sha256.Size]byte {
	h := sha256.New()
	for _, text := range []string{c.BindDN, c.Principal} {
		fmt.Fprintf(h, "%q\n", text)
	}
	for _, file := range []string{c.PasswordFile, c.KeytabFile} {
		b, err := os.ReadFile(file)
		fmt.Fprintf(h, "%q %v\n", b, err == nil)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

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

// allowed refuses a URL at which the password could be read, or answers be forged that decide where mail goes.
func (c *Config) allowed(u *url.URL) error {
	switch {
	case c.Plaintext || !c.plain(u):
	case c.kerberos():
		return errors.New("without TLS the answers could be forged: use ldaps:// or start_tls, or set allow_plaintext")
	case c.BindDN != "":
		return errors.New("a password is not sent in clear text: use ldaps:// or start_tls, or set allow_plaintext")
	}
	return nil
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
