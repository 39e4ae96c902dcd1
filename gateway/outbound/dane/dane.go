// Package dane authenticates SMTP servers by their TLSA records (RFC 6698, RFC 7671), with the rules that RFC 7672 sets for
// mail: usages DANE-TA(2) and DANE-EE(3) count, PKIX-TA(0) and PKIX-EE(1) do not.
//
// It looks nothing up. Whoever uses it has made sure that the records, and the MX and address records that led to them, were
// authenticated by DNSSEC.
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The certificate usages that count in SMTP (RFC 7672 3.1).
const (
	UsageTA uint8 = 2 // the record names an authority; chain, names and dates of the certificate are verified
	UsageEE uint8 = 3 // the record names the certificate, or its key, itself; nothing else counts
)

// The selectors (RFC 6698 2.1.2).
const (
	SelectorCert uint8 = 0 // the whole certificate
	SelectorSPKI uint8 = 1 // its SubjectPublicKeyInfo
)

// The matching types (RFC 6698 2.1.3).
const (
	MatchFull   uint8 = 0 // the data itself
	MatchSHA256 uint8 = 1
	MatchSHA512 uint8 = 2
)

// Record is a TLSA record.
type Record struct {
	Usage        uint8
	Selector     uint8
	MatchingType uint8
	Data         []byte
}

// String is the record as it stands in a zone file.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, hex.EncodeToString(r.Data))
}

// digestSize is the length of the data, by matching type.
var digestSize = map[uint8]int{MatchSHA256: sha256.Size, MatchSHA512: sha512.Size}

// Usable reports whether a client of SMTP can use the record: usage, selector and matching type are known, and the data
// may be what they say (RFC 7672 3.1.3, RFC 7671 4).
func (r Record) Usable() bool {
	if r.Usage != UsageTA && r.Usage != UsageEE || r.Selector > SelectorSPKI {
		return false
	}
	if r.MatchingType != MatchFull {
		size, known := digestSize[r.MatchingType]
		return known && len(r.Data) == size
	}
	if r.Selector == SelectorSPKI {
		_, err := x509.ParsePKIXPublicKey(r.Data)
		return err == nil
	}
	_, err := x509.ParseCertificate(r.Data)
	return err == nil
}

// matches reports whether the record names the certificate (RFC 6698 2.1).
func (r Record) matches(cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == SelectorSPKI {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case MatchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(r.Data, data)
}

// Policy is what the TLSA records of one host demand. It is immutable.
type Policy struct {
	ee, ta []Record
	names  []string
	key    string
}

// New returns the policy of a host that has the given TLSA records, or nil when it has none. names are the reference
// identifiers for DANE-TA: the name that the records belong to, and the domain that the mail is for (RFC 7672 3.2.2).
func New(records []Record, names ...string) *Policy {
	if len(records) == 0 {
		return nil
	}
	p := &Policy{}
	for _, r := range strongest(records) {
		if r.Usage == UsageEE {
			p.ee = append(p.ee, r)
		} else {
			p.ta = append(p.ta, r)
		}
	}
	if len(p.ta) > 0 { // names mean nothing to DANE-EE, so connections are shared between domains
		p.names = names
	}
	p.key = p.makeKey()
	return p
}

// strongest leaves the usable records, and of those with the same usage and selector that are digests only the ones with
// the stronger digest (RFC 7671 9).
func strongest(records []Record) []Record {
	type kind struct{ usage, selector uint8 }
	best := map[kind]uint8{}
	var out []Record
	for _, r := range records {
		if r.Usable() {
			out = append(out, r)
			k := kind{r.Usage, r.Selector}
			best[k] = max(best[k], r.MatchingType)
		}
	}
	return slices.DeleteFunc(out, func(r Record) bool {
		return r.MatchingType != MatchFull && r.MatchingType < best[kind{r.Usage, r.Selector}]
	})
}

func (p *Policy) makeKey() string {
	var lines []string
	for _, r := range slices.Concat(p.ee, p.ta) {
		lines = append(lines, r.String())
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(append(lines, p.names...), "\n")))
	return hex.EncodeToString(sum[:])
}

// Authenticates reports whether a record is usable. If none is, TLS is mandatory all the same, and any certificate will do
// (RFC 7672 2.2).
func (p *Policy) Authenticates() bool { return len(p.ee)+len(p.ta) > 0 }

// Key is the same for policies that accept the same certificates; empty for nil.
func (p *Policy) Key() string {
	if p == nil {
		return ""
	}
	return p.key
}

// Why a certificate is not accepted.
var (
	ErrNoCertificate = errors.New("DANE: the host presented no certificate")
	ErrNoMatch       = errors.New("DANE: no TLSA record matches the certificate")
)

// Verify checks the chain that a host presented, its own certificate first, at the time now. The error wraps ErrNoCertificate
// or ErrNoMatch, or is about the chain to an authority that a DANE-TA record names.
func (p *Policy) Verify(chain []*x509.Certificate, now time.Time) error {
	switch {
	case !p.Authenticates():
		return nil
	case len(chain) == 0:
		return ErrNoCertificate
	}
	// RFC 7672 3.1.1: the name and the dates of a certificate that DANE-EE names are of no importance.
	if slices.ContainsFunc(p.ee, func(r Record) bool { return r.matches(chain[0]) }) {
		return nil
	}
	anchors, found := p.anchors(chain)
	if !found {
		return ErrNoMatch
	}
	return p.verifyChain(chain, anchors, now)
}

// anchors are the certificates that DANE-TA records name: of the chain, or whole in the record, since a server may leave
// those out (RFC 7672 3.1.2).
func (p *Policy) anchors(chain []*x509.Certificate) (pool *x509.CertPool, found bool) {
	pool = x509.NewCertPool()
	for _, r := range p.ta {
		for i, cert := range chain {
			if r.matches(cert) && (i > 0 || selfIssued(cert)) {
				pool.AddCert(cert)
				found = true
			}
		}
		if r.Selector == SelectorCert && r.MatchingType == MatchFull {
			if cert, err := x509.ParseCertificate(r.Data); err == nil {
				pool.AddCert(cert)
				found = true
			}
		}
	}
	return pool, found
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

func (p *Policy) verifyChain(chain []*x509.Certificate, anchors *x509.CertPool, now time.Time) error {
	rest := x509.NewCertPool()
	for _, cert := range chain[1:] {
		rest.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: anchors, Intermediates: rest, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("DANE: no valid chain to the authority that a TLSA record names: %w", err)
	}
	var nameErr error
	for _, name := range p.names {
		if nameErr = chain[0].VerifyHostname(name); nameErr == nil {
			return nil
		}
	}
	return fmt.Errorf("DANE: the certificate is for none of %s: %w", strings.Join(p.names, ", "), nameErr)
}
