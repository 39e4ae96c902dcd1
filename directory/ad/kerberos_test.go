package ad

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/coexist-mail/coexist/directory/ad/adtest"
)

const (
	svcPrincipal = "svc-coexist@CONTOSO.TEST"
	aes256       = 18
)

// keytabFile writes a keytab with a key that is made of a password.
func keytabFile(t testing.TB, principal, password string, etype int32) string {
	t.Helper()
	name, realm, _ := strings.Cut(principal, "@")
	kt := keytab.New()
	if err := kt.AddEntry(name, realm, password, time.Now(), 1, etype); err != nil {
		t.Fatal(err)
	}
	b, err := kt.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.keytab")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// krb5Conf names a KDC.
func krb5Conf(t testing.TB, kdc string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "krb5.conf")
	text := fmt.Sprintf("[libdefaults]\n default_realm = CONTOSO.TEST\n dns_lookup_kdc = false\n udp_preference_limit = 1\n[realms]\n CONTOSO.TEST = {\n  kdc = %s\n }\n", kdc)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// closedPort is an address at which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestSambaKerberos binds with the keytab of an account, in TLS of both kinds, with and without a krb5.conf, and again on a new connection; and is refused with keys that are not, or no
// longer, those of an account.
func TestSambaKerberos(t *testing.T) {
	dc := adtest.NewSamba(t)
	e := edit{t, dc.Admin()}
	e.service()
	e.contact("CN=Alex Wilber,CN=Users,"+base, "SMTP:alexw@contoso.com")
	keys := dc.Keytab("svc-coexist")
	account := func() Config {
		cfg := sambaConfig(t, dc, "", "not used")
		cfg.Principal, cfg.KeytabFile = svcPrincipal, keys
		return cfg
	}
	good := []struct {
		name   string
		change func(*Config)
	}{
		{"LDAPS", func(*Config) {}},
		{"StartTLS", func(c *Config) { c.URLs, c.StartTLS = []string{dc.URL("ldap")}, true }},
		{"loopback without TLS", func(c *Config) { c.URLs = []string{dc.URL("ldap")} }},
		{"krb5.conf", func(c *Config) { c.Krb5Conf = krb5Conf(t, dc.IP+":88") }},
	}
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			cfg := account()
			c.change(&cfg)
			s := source(t, cfg)
			for range 2 {
				for until := time.Now().Add(patience); ; {
					err := s.Refresh(t.Context())
					if err == nil {
						break
					}
					if errors.Is(err, errCredentials) || time.Now().After(until) { // a machine that is busy can run into the time limits of the Kerberos library
						t.Fatal(err)
					}
				}
				check(t, s, "loaded", owner("alexw@contoso.com", "CN=Alex Wilber,CN=Users,"+base))
				s.drop() // the next bind needs new tickets
			}
		})
	}

	refused := func(t *testing.T, change func(*Config), want string, is error) {
		t.Helper()
		cfg := account()
		change(&cfg)
		err := source(t, cfg).Refresh(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
			t.Errorf("error %v; expected %q in it, and to be %v", err, want, is)
		}
	}
	t.Run("no such account", func(t *testing.T) {
		refused(t, func(c *Config) {
			c.Principal = "none@CONTOSO.TEST"
			c.KeytabFile = keytabFile(t, c.Principal, "x", aes256)
		}, "there is no such account: check principal", errCredentials)
	})
	t.Run("another key", func(t *testing.T) {
		refused(t, func(c *Config) { c.KeytabFile = keytabFile(t, svcPrincipal, "wrong", aes256) }, "its password was changed since the keytab was made", errCredentials)
	})
	t.Run("another account's keytab", func(t *testing.T) {
		refused(t, func(c *Config) { c.Principal = "other@CONTOSO.TEST" }, "holds no key of other@CONTOSO.TEST; it has keys of svc-coexist@CONTOSO.TEST", errKeytab)
	})
	t.Run("no KDC", func(t *testing.T) {
		refused(t, func(c *Config) { c.Krb5Conf = krb5Conf(t, closedPort(t)) }, "does not answer", errKDC)
	})
	t.Run("KDC of another realm", func(t *testing.T) {
		refused(t, func(c *Config) {
			c.Principal = "svc@FABRIKAM.TEST"
			c.KeytabFile = keytabFile(t, c.Principal, "x", aes256)
		}, "there is no such account: check principal", errCredentials)
	})
	t.Run("other authority", func(t *testing.T) {
		refused(t, func(c *Config) { c.CAFile = adtest.NewAuthority(t).File }, "set ca_file", nil)
	})
	t.Run("disabled", func(t *testing.T) {
		e := edit{t, e.c}
		e.modify(svcDN, func(r *ldap.ModifyRequest) { r.Replace("userAccountControl", []string{"514"}) })
		refused(t, func(*Config) {}, "the account is disabled, locked or expired", errCredentials)
	})
}

// A KDC that never answers keeps nobody longer than the context does.
func TestKerberosHeedsTheContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server := adtest.NewServer(t, company(3), nil)
	cfg := config(t, server)
	cfg.Principal, cfg.KeytabFile, cfg.Krb5Conf = svcPrincipal, keytabFile(t, svcPrincipal, "x", aes256), krb5Conf(t, silent.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := source(t, cfg).Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestLoadKeytab(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("\x05\x02\x00\x00\x00\xffgarbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, account string
		want                string // in the error
		etypes              []int32
	}{
		{"AES", keytabFile(t, svcPrincipal, "x", aes256), "svc-coexist", "", []int32{aes256}},
		{"RC4", keytabFile(t, svcPrincipal, "x", 23), "svc-coexist", "", []int32{23}},
		{"AES of RFC 8009", keytabFile(t, svcPrincipal, "x", 20), "svc-coexist", "types that Active Directory does not take", nil},
		{"other account", keytabFile(t, svcPrincipal, "x", aes256), "SVC-COEXIST", "it has keys of svc-coexist@CONTOSO.TEST", nil},
		{"none", filepath.Join(t.TempDir(), "none"), "svc-coexist", "no such file", nil},
		{"garbage", garbage, "svc-coexist", "keytab", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, etypes, err := loadKeytab(c.file, c.account, "CONTOSO.TEST")
			if c.want == "" && (err != nil || fmt.Sprint(etypes) != fmt.Sprint(c.etypes)) {
				t.Errorf("types %v, %v; expected %v", etypes, err, c.etypes)
			}
			if c.want != "" && (!errors.Is(err, errKeytab) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v; expected %q in it", err, c.want)
			}
		})
	}
}

// The texts are those that the library makes of what a KDC answers.
func TestExplainKerberos(t *testing.T) {
	kdc := func(code int32) error {
		return krberror.Errorf(messages.NewKRBError(types.PrincipalName{}, "CONTOSO.TEST", code, ""), krberror.KDCError, "AS Exchange Error: kerberos error response from KDC")
	}
	for _, c := range []struct {
		name    string
		err     error
		want    string
		refusal bool
	}{
		{"unknown", kdc(errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN), "check principal", true},
		{"wrong key", kdc(errorcode.KDC_ERR_PREAUTH_FAILED), "make a new one", true},
		{"revoked", kdc(errorcode.KDC_ERR_CLIENT_REVOKED), "disabled, locked or expired", true},
		{"expired", kdc(errorcode.KDC_ERR_KEY_EXPIRED), "password has expired", true},
		{"types", kdc(errorcode.KDC_ERR_ETYPE_NOSUPP), "msDS-SupportedEncryptionTypes", true},
		{"skew, says the KDC", kdc(errorcode.KRB_AP_ERR_SKEW), "clocks", false},
		{"skew, says the library", krberror.NewErrorf(krberror.KRBMsgError, "clock skew with KDC too large. Greater than %v seconds", 300), "clocks", false},
		{"service", kdc(errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN), "servicePrincipalName", false},
		{"network", fmt.Errorf("%w: %w", errKDC, krberror.Errorf(errors.New("communication error with KDC via TCP: refused"), krberror.NetworkingError, "AS Exchange Error")), "does not answer", false},
		{"something else", errors.New("something else"), "something else", false},
		{"the directory", ldap.NewError(49, errors.New("80090346: LdapErr: comment: AcceptSecurityContext error, data 80090346, v4563")), "channel binding", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := explainKerberos(c.err, svcPrincipal)
			if !strings.Contains(err.Error(), c.want) || errors.Is(err, errCredentials) != c.refusal || !strings.Contains(err.Error(), svcPrincipal) {
				t.Errorf("error %v; expected %q in it, refusal %v", err, c.want, c.refusal)
			}
		})
	}
}

// The channel bindings by the words of RFC 4121 4.1.1.2 and RFC 5929 4: MD5 over four zero numbers, the length and the data, little-endian.
func TestChannelBinding(t *testing.T) {
	raw := []byte("a certificate, DER")
	for _, c := range []struct {
		algorithm x509.SignatureAlgorithm
		hash      []byte
	}{
		{x509.SHA1WithRSA, sum256(raw)}, {x509.SHA256WithRSA, sum256(raw)}, {x509.ECDSAWithSHA256, sum256(raw)}, {x509.PureEd25519, sum256(raw)},
		{x509.SHA384WithRSAPSS, sum384(raw)}, {x509.ECDSAWithSHA512, sum512(raw)},
	} {
		t.Run(c.algorithm.String(), func(t *testing.T) {
			data := "tls-server-end-point:" + string(c.hash)
			want := md5.Sum([]byte(strings.Repeat("\x00", 16) + string([]byte{byte(len(data)), 0, 0, 0}) + data))
			got, err := endPointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: raw, SignatureAlgorithm: c.algorithm}}})
			if err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("%x, %v; expected %x", got, err, want)
			}
			// RFC 4121 4.1.1: length 16, the bindings, the flags mutual (2), conf (16) and integ (32).
			sum := contextChecksum(got)
			if want := append(append([]byte{16, 0, 0, 0}, want[:]...), 2|16|32, 0, 0, 0); !bytes.Equal(sum, want) {
				t.Errorf("checksum %x; expected %x", sum, want)
			}
		})
	}
	if _, err := endPointBinding(&tls.ConnectionState{}); err == nil {
		t.Error("no error without a certificate")
	}
}

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
func sum384(b []byte) []byte { s := sha512.Sum384(b); return s[:] }
func sum512(b []byte) []byte { s := sha512.Sum512(b); return s[:] }

// FuzzKeytab reads whatever may stand in a file.
func FuzzKeytab(f *testing.F) {
	f.Add([]byte("\x05\x02"))
	if b, err := os.ReadFile(keytabFile(f, svcPrincipal, "x", aes256)); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "a.keytab")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, etypes, err := loadKeytab(file, "svc-coexist", "CONTOSO.TEST"); err == nil && len(etypes) == 0 {
			t.Error("neither keys nor an error")
		}
	})
}
