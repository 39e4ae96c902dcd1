package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// ParseDuration reads a duration as the configuration has them: Go's, and whole days, "2d", "1d12h".
func ParseDuration(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	count, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	days, err := strconv.ParseUint(count, 10, 16) // 65,535 days fit a Duration with room for what follows
	if err != nil || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, fmt.Errorf("read duration %q", s)
	}
	total := time.Duration(days) * day
	if rest == "" {
		return total, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more > math.MaxInt64-total {
		return 0, fmt.Errorf("read duration %q", s)
	}
	return total + more, nil
}

// sizeUnits are the units of sizes: of IEC 80000-13 (1024) and of SI (1000).
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// parseSize reads "150MiB", "10 MB" or "4096". Its errors continue a sentence that begins with the text.
func parseSize(s string) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	unit, known := sizeUnits[strings.ToLower(strings.TrimPrefix(s[digits:], " "))]
	if digits == 0 || !known {
		return 0, errors.New("is not a size")
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errors.New("is too large")
	}
	if n == 0 {
		return 0, errors.New("is nothing")
	}
	return n * unit, nil
}

// parseNetwork reads a network in CIDR notation, or one address. Its errors continue a sentence that begins with the text.
func parseNetwork(s string) (netip.Prefix, error) {
	const want = `expected a network such as "10.20.0.0/16" or an address`
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone, " + want + " without one")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("is not a network, " + want)
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is an IPv4 network written as IPv6, expected the IPv4 form")
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("has host bits set, expected the network %q or the address %q", prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

// parseDomain checks a domain name (RFC 5321 2.3.5, RFC 1035 2.3.1) and returns it in lower case, with A-labels for
// internationalized names (RFC 5891). Its errors continue a sentence that begins with the name.
func parseDomain(s string) (string, error) {
	const want = `expected a domain name such as "contoso.com"`
	switch {
	case s == "":
		return "", errors.New("is empty, " + want)
	case strings.Contains(s, "@"):
		return "", errors.New("is an address, " + want)
	case strings.HasSuffix(s, "."):
		return "", errors.New("ends with a dot, " + want)
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return "", errors.New("is an IP address, " + want)
	}
	name, err := toASCII(s)
	if err != nil || !validLabels(name, "") || allDigits(name[strings.LastIndexByte(name, '.')+1:]) {
		return "", errors.New("is not a domain name, " + want)
	}
	return name, nil
}

func toASCII(s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return idna.Lookup.ToASCII(s)
		}
	}
	return strings.ToLower(s), nil
}

// validLabels checks letters, digits and hyphens, and the lengths of RFC 1035 2.3.4. extra are further characters.
func validLabels(name, extra string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
			if !letter && !strings.Contains(extra, string(c)) {
				return false
			}
		}
	}
	return true
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// parseHost checks the host of an address: an IP address, or a name. Names of hosts, other than mail domains, often
// have one label only or an underscore.
func parseHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.String(), nil
	}
	name, err := toASCII(strings.TrimSuffix(s, "."))
	if err != nil || !validLabels(name, "_") || allDigits(name[strings.LastIndexByte(name, '.')+1:]) {
		return "", errors.New("has no valid host")
	}
	return name, nil
}

// parsePort checks a port number; least is 0 where the operating system may choose one.
func parsePort(s string, least int) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(n) < least || s[0] == '+' {
		return fmt.Errorf("has port %q, expected a number from %d to 65535", s, least)
	}
	return nil
}

// parseNextHop reads "host:port" or "host", of which the port is 25. Its errors continue a sentence that begins with the text.
func parseNextHop(s string) (string, error) {
	const want = `expected host:port such as "mail.contoso.com:25"`
	if s == "" {
		return "", errors.New("is empty, " + want)
	}
	if strings.Contains(s, "://") || strings.Contains(s, "@") {
		return "", errors.New("is not host:port, " + want)
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is6() {
		return "", errors.New("is IPv6 without brackets, expected \"[" + s + "]:25\"")
	}
	bracketed := strings.HasPrefix(s, "[")
	if !strings.Contains(s, ":") || bracketed && strings.HasSuffix(s, "]") {
		s += ":25"
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New("is not host:port, " + want)
	}
	if _, err := netip.ParseAddr(host); bracketed && err != nil {
		return "", errors.New("has a name in brackets, " + want)
	}
	if host, err = parseHost(host); err != nil {
		return "", fmt.Errorf("%w, %s", err, want)
	}
	if err := parsePort(port, 1); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

// parseListen reads the address of a listener. Its errors continue a sentence that begins with the text.
func parseListen(s string) error {
	const want = `expected host:port such as "0.0.0.0:25"`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("is not host:port, " + want)
	}
	if host != "" {
		if _, err := parseHost(host); err != nil {
			return fmt.Errorf("%w, %s", err, want)
		}
	}
	return parsePort(port, 0)
}

// parseMailbox checks an address without display name: a dot-string or quoted string, and a domain (RFC 5321 4.1.2).
func parseMailbox(s string) (string, error) {
	const want = `expected an address such as "postmaster@contoso.com"`
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", errors.New("is not an address, " + want)
	}
	local := s[:at]
	if !validLocalPart(local) {
		return "", errors.New("has no valid local part, " + want)
	}
	domain, err := parseDomain(s[at+1:])
	if err != nil {
		return "", errors.New("has no valid domain, " + want)
	}
	return local + "@" + domain, nil
}

func validLocalPart(local string) bool {
	if local == "" || len(local) > 64 { // RFC 5321 4.5.3.1.1
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsAny(atom, " \t()<>[]:;@\\,\"") {
			return false
		}
		for i := 0; i < len(atom); i++ {
			if atom[i] < ' ' || atom[i] == 0x7f {
				return false
			}
		}
	}
	return true
}
