package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSecret is the longest password that is read, in octets.
const maxSecret = 64 << 10

// ReadSecret returns the secret that the file holds, without a line break at its end. An empty secret is an error: LDAP
// would take it for an anonymous bind (RFC 4513 5.1.2).
func ReadSecret(path string) (string, error) {
	data, err := readLimited(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case secret == "":
		return "", fmt.Errorf("read secret: %s: is empty", path)
	case len(secret) > maxSecret || strings.ContainsAny(secret, "\n\x00"):
		return "", fmt.Errorf("read secret: %s: is not one line of text", path)
	}
	return secret, nil
}

// secret checks a file with a password.
func (v *validator) secret(path, name string) {
	if !v.readable(path, name, "a file with the password") {
		return
	}
	if _, err := ReadSecret(name); err != nil {
		v.errorf(path, "%q %s, expected one line with the password", name, lastPart(err))
		return
	}
	v.private(path, name)
}

// lastPart is the innermost text of an error: without what was done and to which file.
func lastPart(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+2:]
}

// private warns of a secret that every user of the machine can read.
func (v *validator) private(path, name string) {
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		v.warnf(path, "%q can be read by everybody (mode %04o), expected 0600 or 0640", name, info.Mode().Perm())
	}
}

// readable reports a file that is not there, is a folder, or cannot be opened.
func (v *validator) readable(path, name, want string) bool {
	if !v.fileName(path, name) {
		return false
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe must not keep a start waiting
	if err != nil {
		v.errorf(path, "%q: %s, expected %s", name, reason(err), want)
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		v.errorf(path, "%q is not a file, expected %s", name, want)
		return false
	}
	return true
}

// certificates checks a PEM file of CA certificates.
func (v *validator) certificates(path, name string) {
	if !v.readable(path, name, "a file with PEM certificates") {
		return
	}
	data, err := readLimited(name)
	if err != nil {
		v.errorf(path, "%q: %s, expected a file with PEM certificates", name, reason(err))
		return
	}
	count := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			v.errorf(path, "%q holds a certificate that cannot be read: %s", name, err)
			return
		}
		count++
	}
	if count == 0 {
		v.errorf(path, "%q holds no PEM certificate, expected at least one", name)
	}
}

// keyPair checks a certificate and its key, which come together or not at all, and makes their paths absolute.
func (v *validator) keyPair(certPath string, cert *string, keyPath string, key *string) (usable bool) {
	*cert, *key = v.resolve(*cert), v.resolve(*key)
	hasCert, hasKey := v.given[certPath], v.given[keyPath]
	switch {
	case !hasCert && !hasKey:
		return false
	case !hasKey:
		v.require(keyPath, "the private key of "+shortKey(certPath))
	case !hasCert:
		v.require(certPath, "the certificate of "+shortKey(keyPath))
	}
	certOK := hasCert && v.ok(certPath) && v.readable(certPath, *cert, "a file with a PEM certificate")
	keyOK := hasKey && v.ok(keyPath) && v.readable(keyPath, *key, "a file with a PEM private key")
	if keyOK {
		v.private(keyPath, *key)
	}
	if !certOK {
		return false
	}
	v.certificates(certPath, *cert)
	if !keyOK || !v.ok(certPath) {
		return false
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		v.errorf(keyPath, "%q cannot be used with %q: %s", *key, *cert, strings.TrimPrefix(err.Error(), "tls: "))
		return false
	}
	v.dates(certPath, *cert, pair.Leaf)
	return true
}

// shortKey is a key without its table.
func shortKey(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// dates warns of a certificate that is not valid now. It may be replaced while the gateway runs, so it is no error.
func (v *validator) dates(path, name string, leaf *x509.Certificate) {
	now := time.Now()
	switch {
	case leaf == nil:
	case now.After(leaf.NotAfter):
		v.warnf(path, "%q expired on %s", name, leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		v.warnf(path, "%q is valid only from %s", name, leaf.NotBefore.UTC().Format(time.DateOnly))
	}
}

// listeners checks [[listener]].
func (v *validator) listeners() {
	for i := range v.c.Listeners {
		table := element("listener", i)
		if v.bad[table] || v.bad["listener"] {
			continue
		}
		v.listenAddress(i, table+".address")
		v.listenerTLS(table, &v.c.Listeners[i])
	}
}

func (v *validator) listenAddress(i int, path string) {
	if !v.require(path, `host:port such as "0.0.0.0:25"`) || !v.ok(path) {
		return
	}
	address := v.c.Listeners[i].Address
	if err := parseListen(address); err != nil {
		v.errorf(path, "%q %s", address, err)
		return
	}
	for j, other := range v.c.Listeners[:i] {
		at := element("listener", j) + ".address"
		if v.given[at] && v.ok(at) && sameSocket(address, other.Address) {
			v.errorf(path, "%q is taken by the listener of line %d (%q), expected another address or port", address, v.lines.at(at), other.Address)
			return
		}
	}
}

// sameSocket says whether the operating system refuses to bind both addresses.
func sameSocket(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if err := errors.Join(errA, errB); err != nil || !samePort(portA, portB) {
		return false
	}
	return covers(hostA, hostB) || covers(hostB, hostA)
}

// covers says whether listening on a takes b as well.
func covers(a, b string) bool {
	if a == "" || strings.EqualFold(a, b) {
		return true
	}
	addrA, errA := netip.ParseAddr(strings.Replace(a, "localhost", "127.0.0.1", 1))
	addrB, errB := netip.ParseAddr(strings.Replace(b, "localhost", "127.0.0.1", 1))
	if errA != nil || errB != nil {
		return false
	}
	addrA, addrB = addrA.Unmap(), addrB.Unmap()
	return addrA == addrB || addrA == netip.IPv6Unspecified() || addrA == netip.IPv4Unspecified() && addrB.Is4()
}

func (v *validator) listenerTLS(table string, l *Listener) {
	usable := v.keyPair(table+".cert_file", &l.CertFile, table+".key_file", &l.KeyFile)
	if !v.given[table+".tls"] {
		l.TLS = ListenerTLSOff
		if usable {
			l.TLS = ListenerTLSStartTLS
		}
		return
	}
	certificate := v.given[table+".cert_file"] || v.given[table+".key_file"] || v.bad[table+".cert_file"] || v.bad[table+".key_file"]
	if v.ok(table+".tls") && l.TLS != ListenerTLSOff && !certificate {
		v.errorf(table+".tls", "is %q, expected cert_file and key_file with it", l.TLS)
	}
}
