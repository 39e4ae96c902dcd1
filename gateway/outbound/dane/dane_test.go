package dane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate that is valid for a day around noon, shifted by age into the past; by is nil for a self-signed one.
func issue(t testing.TB, by *issuer, name string, ca bool, age time.Duration) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: noon.Add(-12*time.Hour - age), NotAfter: noon.Add(12*time.Hour - age), KeyUsage: x509.KeyUsageDigitalSignature}
	if ca {
		tmpl.KeyUsage = x509.KeyUsageCertSign
	} else {
		tmpl.DNSNames = []string{name}
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

// tlsa is the record of a certificate.
func tlsa(usage, selector, matching uint8, cert *x509.Certificate) Record {
	data := cert.Raw
	if selector == SelectorSPKI {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case MatchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case MatchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return Record{usage, selector, matching, data}
}

func TestVerify(t *testing.T) {
	root := issue(t, nil, "Contoso Root", true, 0)
	sub := issue(t, root, "Contoso Issuing CA", true, 0)
	oldSub := issue(t, root, "Contoso Old CA", true, 48*time.Hour)
	other := issue(t, nil, "Fabrikam Root", true, 0)
	leaf := issue(t, sub, "mx.contoso.com", false, 0)
	wild := issue(t, sub, "*.contoso.com", false, 0)
	byDomain := issue(t, sub, "contoso.com", false, 0)
	expired := issue(t, sub, "mx.contoso.com", false, 48*time.Hour)
	underOld := issue(t, oldSub, "mx.contoso.com", false, 0)
	elsewhere := issue(t, sub, "mail.fabrikam.com", false, 0)
	self := issue(t, nil, "mx.contoso.com", false, 0)
	chain := func(all ...*issuer) (out []*x509.Certificate) {
		for _, i := range all {
			out = append(out, i.cert)
		}
		return out
	}
	one := func(usage, selector, matching uint8, i *issuer) []Record {
		return []Record{tlsa(usage, selector, matching, i.cert)}
	}
	broken := tlsa(3, 1, 1, leaf.cert)
	broken.Data = broken.Data[:31]
	for _, c := range []struct {
		name    string
		records []Record
		chain   []*x509.Certificate
		want    string // part of the error; empty: accepted
	}{
		{"3 1 1", one(3, 1, 1, leaf), chain(leaf), ""},
		{"3 0 1", one(3, 0, 1, leaf), chain(leaf, sub), ""},
		{"3 1 2", one(3, 1, 2, leaf), chain(leaf), ""},
		{"3 0 0", one(3, 0, 0, leaf), chain(leaf), ""},
		{"3 1 0", one(3, 1, 0, leaf), chain(leaf), ""},
		{"DANE-EE does not mind dates", one(3, 1, 1, expired), chain(expired), ""},
		{"DANE-EE does not mind names", one(3, 1, 1, elsewhere), chain(elsewhere), ""},
		{"DANE-EE of another certificate", one(3, 1, 1, leaf), chain(expired), "no TLSA record matches"},
		{"DANE-EE matches the host's own certificate only", one(3, 0, 1, sub), chain(leaf, sub), "no TLSA record matches"},
		{"one of two", append(one(3, 1, 1, expired), one(3, 1, 1, leaf)...), chain(leaf), ""},
		{"no certificate", one(3, 1, 1, leaf), nil, "no certificate"},
		{"2 0 1 of the root", one(2, 0, 1, root), chain(leaf, sub, root), ""},
		{"2 1 1 of the issuing authority", one(2, 1, 1, sub), chain(leaf, sub), ""},
		{"2 0 0, not in the chain", one(2, 0, 0, sub), chain(leaf), ""},
		{"2 0 0 of the root, chain without it", one(2, 0, 0, root), chain(leaf, sub), ""},
		{"2 0 1, not in the chain", one(2, 0, 1, root), chain(leaf, sub), "no TLSA record matches"},
		{"2, chain with a gap", one(2, 0, 1, root), chain(leaf, root), "no valid chain"},
		{"2, an authority that did not sign it", one(2, 0, 1, other), chain(leaf, sub, other), "no valid chain"},
		{"2, wildcard", one(2, 0, 1, sub), chain(wild, sub), ""},
		{"2, the name of the domain", one(2, 0, 1, sub), chain(byDomain, sub), ""},
		{"2, another name", one(2, 0, 1, sub), chain(elsewhere, sub), "is for none of mx.contoso.com, contoso.com"},
		{"2, expired", one(2, 0, 1, sub), chain(expired, sub), "no valid chain"},
		{"2, authority expired", one(2, 0, 1, root), chain(underOld, oldSub, root), "no valid chain"},
		{"2, self-signed", one(2, 0, 1, self), chain(self), ""},
		{"2 names no leaf", one(2, 0, 1, leaf), chain(leaf, sub), "no TLSA record matches"},
		{"2 fails, 3 matches", append(one(2, 0, 1, other), one(3, 1, 1, leaf)...), chain(leaf), ""},
		{"the stronger digest decides", append(one(3, 1, 1, leaf), one(3, 1, 2, expired)...), chain(leaf), "no TLSA record matches"},
		{"digests of other selectors are not compared", append(one(3, 1, 1, leaf), one(3, 0, 2, expired)...), chain(leaf), ""},
		{"unusable beside usable", append(one(1, 1, 1, expired), one(3, 1, 1, leaf)...), chain(leaf), ""},
		{"a usable one decides", append(one(1, 1, 1, leaf), one(3, 1, 1, expired)...), chain(leaf), "no TLSA record matches"},
		{"only unusable", one(1, 1, 1, expired), chain(leaf), ""},
		{"only broken", []Record{broken}, chain(self), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := New(c.records, "mx.contoso.com", "contoso.com").Verify(c.chain, noon)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if err := New(one(3, 1, 1, leaf)).Verify(chain(self), noon); !errors.Is(err, ErrNoMatch) {
		t.Errorf("%v is not ErrNoMatch", err)
	}
}

func TestUsable(t *testing.T) {
	cert := issue(t, nil, "mx.contoso.com", false, 0).cert
	for _, c := range []struct {
		name string
		r    Record
		want bool
	}{
		{"PKIX-TA", tlsa(0, 0, 1, cert), false},
		{"PKIX-EE", tlsa(1, 1, 1, cert), false},
		{"DANE-TA", tlsa(2, 0, 1, cert), true},
		{"DANE-EE", tlsa(3, 1, 1, cert), true},
		{"private usage", tlsa(255, 1, 1, cert), false},
		{"unknown selector", tlsa(3, 2, 1, cert), false},
		{"unknown matching type", tlsa(3, 1, 3, cert), false},
		{"SHA-256 of 31 octets", Record{3, 1, 1, make([]byte, 31)}, false},
		{"SHA-512 of 32 octets", Record{3, 1, 2, make([]byte, 32)}, false},
		{"SHA-512", Record{3, 1, 2, make([]byte, 64)}, true},
		{"a certificate that is none", Record{3, 0, 0, []byte("what")}, false},
		{"a key that is none", Record{3, 1, 0, []byte("what")}, false},
		{"nothing", Record{3, 1, 0, nil}, false},
		{"a whole certificate", tlsa(3, 0, 0, cert), true},
		{"a whole key", tlsa(3, 1, 0, cert), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.Usable(); got != c.want {
				t.Errorf("%s: usable %v", c.r, got)
			}
			if p := New([]Record{c.r}); p.Authenticates() != c.want {
				t.Errorf("authenticates: %v", p.Authenticates())
			}
		})
	}
	if New(nil, "mx.contoso.com") != nil {
		t.Error("a policy of no records")
	}
}

func TestKey(t *testing.T) {
	a, b := Record{3, 1, 1, make([]byte, 32)}, Record{2, 1, 1, make([]byte, 32)}
	if New([]Record{a, b}, "x").Key() != New([]Record{b, a}, "x").Key() {
		t.Error("the order of the records counts")
	}
	if New([]Record{a}, "mx", "one").Key() != New([]Record{a}, "mx", "two").Key() {
		t.Error("names count for DANE-EE")
	}
	if New([]Record{b}, "mx", "one").Key() == New([]Record{b}, "mx", "two").Key() {
		t.Error("names do not count for DANE-TA")
	}
	if New([]Record{a}).Key() == New([]Record{b}).Key() {
		t.Error("the usage does not count")
	}
}

// FuzzVerify: any record and any certificate end in a verdict, and a certificate is never accepted by a record that does not hold it.
func FuzzVerify(f *testing.F) {
	root := issue(f, nil, "Contoso Root", true, 0)
	leaf := issue(f, root, "mx.contoso.com", false, 0)
	for _, r := range []Record{tlsa(3, 1, 1, leaf.cert), tlsa(2, 0, 0, root.cert), tlsa(2, 1, 2, root.cert), tlsa(3, 0, 0, leaf.cert)} {
		f.Add(r.Usage, r.Selector, r.MatchingType, r.Data)
	}
	f.Add(uint8(3), uint8(1), uint8(0), []byte{0x30, 0x80})
	chain := []*x509.Certificate{leaf.cert, root.cert}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := Record{usage, selector, matching, data}
		p := New([]Record{r}, "mx.contoso.com")
		err := p.Verify(chain, noon)
		if !p.Authenticates() {
			if err != nil {
				t.Fatalf("%s is unusable, and refused all the same: %v", r, err)
			}
			return
		}
		named := leaf.cert
		if usage == UsageTA {
			named = root.cert
		}
		if want := hex.EncodeToString(tlsa(usage, selector, matching, named).Data) == hex.EncodeToString(data); want != (err == nil) {
			t.Fatalf("%s: %v", r, err)
		}
	})
}
