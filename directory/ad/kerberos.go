package ad

import (
	"context"
	"crypto"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-ldap/ldap/v3/gssapi"
	"github.com/jcmturner/gokrb5/v8/client"
	krb5config "github.com/jcmturner/gokrb5/v8/config"
	gss "github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
)

// bindKerberos authenticates by SASL GSSAPI (RFC 4752) with the keys of a keytab. Every bind gets tickets of its own, so none has to be renewed: a connection that the domain controller
// ends when its ticket expires is made again like any other that is lost.
func (l *link) bindKerberos(ctx context.Context, c *Config) error {
	host, err := l.serviceHost()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- l.gssapiBind(c, "ldap/"+host, host) }() // the Kerberos library heeds no context, and has time limits of its own
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		return explainKerberos(err, c.Principal)
	}
	return nil
}

// serviceHost is the name of the domain controller in its service principal: its dnsHostName, which anybody may read ([MS-ADTS] 3.1.1.3.2). The host in the URL can be an address or an alias.
func (l *link) serviceHost() (string, error) {
	e, err := l.object("", "dnsHostName")
	if err != nil {
		return "", fmt.Errorf("reading its dnsHostName: %w", err)
	}
	if host := e.GetEqualFoldAttributeValue("dnsHostName"); host != "" {
		return strings.ToLower(host), nil
	}
	u, err := url.Parse(l.url)
	if err != nil {
		return "", err
	}
	return u.Hostname(), nil
}

func (l *link) gssapiBind(c *Config, service, host string) error {
	name, realm, _ := strings.Cut(c.Principal, "@")
	keys, etypes, err := loadKeytab(c.KeytabFile, name, realm)
	if err != nil {
		return err
	}
	conf, err := l.kerberosConfig(c.Krb5Conf, realm, host, etypes)
	if err != nil {
		return err
	}
	// Active Directory knows no FAST by default, and some versions answer the negotiation of it with an error.
	krb := client.NewWithKeytab(name, realm, keys, conf, client.DisablePAFXFAST(true))
	defer krb.Destroy()
	if err := krb.Login(); err != nil {
		return fmt.Errorf("%w: %w", errKDC, err)
	}
	binding, err := l.channelBinding()
	if err != nil {
		return err
	}
	return l.conn.GSSAPIBindRequest(&boundClient{Client: &gssapi.Client{Client: krb}, binding: binding}, &ldap.GSSAPIBindRequest{ServicePrincipalName: service})
}

// Where the trouble is before anything was asked of the directory. Neither counts as a refusal: no wrong key was tried.
var (
	errKDC    = errors.New("getting a Kerberos ticket")
	errKeytab = errors.New("the keytab cannot be used")
)

// kerberosConfig is what krb5.conf is elsewhere. A domain controller is the KDC of its domain ([MS-KILE]), and this one answers.
func (l *link) kerberosConfig(file, realm, host string, etypes []int32) (*krb5config.Config, error) {
	if file != "" {
		conf, err := krb5config.Load(file)
		var unsupported krb5config.UnsupportedDirective
		if err != nil && !errors.As(err, &unsupported) {
			return nil, fmt.Errorf("reading krb5_conf: %w", err)
		}
		if conf.DomainRealm == nil {
			conf.DomainRealm = krb5config.DomainRealm{}
		}
		if conf.ResolveRealm(host) == "" {
			conf.DomainRealm[host] = realm
		}
		return conf, nil
	}
	u, err := url.Parse(l.url)
	if err != nil {
		return nil, err
	}
	conf := krb5config.New()
	conf.LibDefaults.DefaultRealm = realm
	conf.LibDefaults.UDPPreferenceLimit = 1 // always TCP: tickets of Active Directory are too large for UDP as soon as the account is in some groups
	conf.LibDefaults.DefaultTktEnctypeIDs, conf.LibDefaults.DefaultTGSEnctypeIDs = etypes, knownEtypes
	conf.LibDefaults.PermittedEnctypeIDs = knownEtypes
	conf.Realms = []krb5config.Realm{{Realm: realm, KDC: []string{net.JoinHostPort(u.Hostname(), "88")}}}
	conf.DomainRealm = krb5config.DomainRealm{host: realm}
	return conf, nil
}

// The encryption types of Active Directory, the best first ([MS-KILE] 3.1.5.2).
var knownEtypes = []int32{
	18, // aes256-cts-hmac-sha1-96
	17, // aes128-cts-hmac-sha1-96
	23, // rc4-hmac
}

// loadKeytab reads the keytab, and gives the encryption types of the keys that the account has in it.
func loadKeytab(file, name, realm string) (*keytab.Keytab, []int32, error) {
	kt, err := keytab.Load(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: reading keytab_file: %w", errKeytab, err)
	}
	var others []string
	has := map[int32]bool{}
	for _, e := range kt.Entries {
		if owner := e.Principal.String(); owner == name+"@"+realm {
			has[e.Key.KeyType] = true
		} else if !slices.Contains(others, owner) {
			others = append(others, owner)
		}
	}
	var etypes []int32
	for _, t := range knownEtypes {
		if has[t] {
			etypes = append(etypes, t)
		}
	}
	switch {
	case len(etypes) > 0:
		return kt, etypes, nil
	case len(has) > 0:
		return nil, nil, fmt.Errorf("%w: the keys of %s@%s in keytab_file are of types that Active Directory does not take: make a keytab with AES keys", errKeytab, name, realm)
	case len(others) == 0:
		return nil, nil, fmt.Errorf("%w: keytab_file %s holds no keys", errKeytab, file)
	}
	return nil, nil, fmt.Errorf("%w: keytab_file holds no key of %s@%s; it has keys of %s", errKeytab, name, realm, strings.Join(others, ", "))
}

// boundClient is a GSSAPI client that names the TLS channel that it binds in. A domain controller with LdapEnforceChannelBinding = 2 refuses binds within TLS that do not ([MS-ADTS] 5.1.1.1.2).
type boundClient struct {
	*gssapi.Client
	binding []byte // the hash of the channel bindings (RFC 4121 4.1.1.2); nil without TLS
}

// InitSecContext begins the context, or takes the answer to its beginning.
func (c *boundClient) InitSecContext(target string, input []byte) ([]byte, bool, error) {
	return c.InitSecContextWithOptions(target, input, nil)
}

// InitSecContextWithOptions is InitSecContext; mutual authentication is always asked for.
func (c *boundClient) InitSecContextWithOptions(target string, input []byte, _ []int) ([]byte, bool, error) {
	options := []int{flags.APOptionMutualRequired}
	if input != nil || c.binding == nil {
		return c.Client.InitSecContextWithOptions(target, input, options)
	}
	return c.begin(target, options)
}

// begin makes the first token with the channel bindings in the checksum of its authenticator (RFC 4121 4.1.1). The library knows no channel bindings.
func (c *boundClient) begin(target string, options []int) ([]byte, bool, error) {
	// The first call makes the library keep the session key for the rest of the exchange. The ticket comes from its cache afterwards.
	if _, _, err := c.Client.InitSecContextWithOptions(target, nil, options); err != nil {
		return nil, false, err
	}
	ticket, key, err := c.GetServiceTicket(target)
	if err != nil {
		return nil, false, err
	}
	token, err := spnego.NewKRB5TokenAPREQ(c.Client.Client, ticket, key, nil, nil)
	if err != nil {
		return nil, false, err
	}
	auth, err := types.NewAuthenticator(c.Credentials.Domain(), c.Credentials.CName())
	if err != nil {
		return nil, false, err
	}
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: contextChecksum(c.binding)}
	if token.APReq, err = messages.NewAPReq(ticket, key, auth); err != nil {
		return nil, false, err
	}
	for _, o := range options {
		types.SetFlag(&token.APReq.APOptions, o)
	}
	output, err := token.Marshal()
	return output, true, err
}

// contextChecksum is the checksum field of the authenticator (RFC 4121 4.1.1): the length of the bindings, they themselves, and the flags of the context.
func contextChecksum(binding []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, md5.Size)
	b = append(b, binding...)
	return binary.LittleEndian.AppendUint32(b, gss.ContextFlagInteg|gss.ContextFlagConf|gss.ContextFlagMutual)
}

// channelBinding is the hash of the channel bindings of the connection, of the type tls-server-end-point (RFC 5929 4); nil without TLS.
func (l *link) channelBinding() ([]byte, error) {
	state, ok := l.conn.TLSConnectionState()
	if !ok {
		return nil, nil
	}
	return endPointBinding(&state)
}

func endPointBinding(state *tls.ConnectionState) ([]byte, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, errors.New("the domain controller showed no certificate")
	}
	cert := state.PeerCertificates[0]
	hash := bindingHash(cert.SignatureAlgorithm).New()
	hash.Write(cert.Raw)
	data := append([]byte("tls-server-end-point:"), hash.Sum(nil)...)
	// The addresses of both sides are left empty, with the type 0 (RFC 2744 3.11, RFC 4121 4.1.1.2).
	fields := make([]byte, 16, 20+len(data))
	fields = binary.LittleEndian.AppendUint32(fields, uint32(len(data)))
	sum := md5.Sum(append(fields, data...))
	return sum[:], nil
}

// bindingHash is the hash function of a certificate's signature, with SHA-256 in the place of MD5 and SHA-1 (RFC 5929 4.1).
func bindingHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

// kerberosErrors explain the errors of the Kerberos library, which has them as text only, by the names of RFC 4120 7.5.9. The refusals are those that count towards a lock-out, or that no other
// domain controller would answer differently.
var kerberosErrors = []struct {
	name    string
	refusal bool
	why     string
}{
	{"KDC_ERR_C_PRINCIPAL_UNKNOWN", true, "there is no such account: check principal"},
	{"KDC_ERR_PREAUTH_FAILED", true, "the key is not that of the account: its password was changed since the keytab was made; make a new one"},
	{"KDC_ERR_CLIENT_REVOKED", true, "the account is disabled, locked or expired"},
	{"KDC_ERR_KEY_EXPIRED", true, "its password has expired"},
	{"KDC_ERR_ETYPE_NOSUPP", true, "the account has no key of a type that the keytab has: check msDS-SupportedEncryptionTypes, or make a keytab with AES keys"},
	{"password/keytab incorrect", true, "the key is not that of the account: its password was changed since the keytab was made; make a new one"},
	{"matching key not found in keytab", true, "the keytab has no key of the type and version that the account has now; make a new one"},
	{"KDC_ERR_WRONG_REALM", true, "the realm is not that of the domain controller: check principal"},
	{"KRB_AP_ERR_SKEW", false, "the clocks of this machine and of the domain controller differ by more than five minutes"},
	{"clock skew", false, "the clocks of this machine and of the domain controller differ by more than five minutes"},
	{"KDC_ERR_S_PRINCIPAL_UNKNOWN", false, "the domain knows no service ldap/ of that name: check the servicePrincipalName of the domain controller"},
	{"KDC_ERR_SVC_UNAVAILABLE", false, "the KDC is not available"},
	{"communication error with KDC", false, "the KDC does not answer: it is port 88 of the domain controller, or what krb5_conf names"},
	{"failed to communicate with KDC", false, "the KDC does not answer: it is port 88 of the domain controller, or what krb5_conf names"},
	{"no KDCs defined", false, "krb5_conf names no KDC of the realm of principal"},
	{"no KDC SRV records", false, "neither krb5_conf nor DNS names a KDC of the realm of principal"},
}

// explainKerberos says what a failed bind with a keytab means.
func explainKerberos(err error, principal string) error {
	if errors.Is(err, errKeytab) {
		return err
	}
	var l *ldap.Error
	if errors.As(err, &l) {
		return explainBind(err, principal)
	}
	text := strings.ToLower(err.Error())
	for _, k := range kerberosErrors {
		if !strings.Contains(text, strings.ToLower(k.name)) {
			continue
		}
		if k.refusal {
			return fmt.Errorf("%w: %s: %s (%w)", errCredentials, principal, k.why, err)
		}
		return fmt.Errorf("binding by Kerberos as %s: %s (%w)", principal, k.why, err)
	}
	return fmt.Errorf("binding by Kerberos as %s: %w", principal, err)
}
