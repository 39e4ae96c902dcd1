package auth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

// keyRecord is the key of a signer as DNS has it.
func keyRecord(t *testing.T, name, tags string, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := tags + "p=" + base64.StdEncoding.EncodeToString(der)
	half := min(200, len(text))
	return name + " 60 TXT \"" + text[:half] + "\" \"" + text[half:] + "\""
}

// TestWeakSignatures has signatures that are right by arithmetic and must not count: each is alone on a message whose domain wants failures
// refused.
func TestWeakSignatures(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // to make a key that is too short
	short, err := rsa.GenerateKey(rand.Reader, 768)
	if err != nil {
		t.Fatal(err)
	}
	least, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	server := dnstest.Start(t, zone)
	for _, record := range []string{
		keyRecord(t, "short._domainkey.fabrikam.com.", "v=DKIM1; ", short),
		keyRecord(t, "least._domainkey.fabrikam.com.", "", least),
		keyRecord(t, "r._domainkey.fabrikam.com.", "v=DKIM1; ", good),
		keyRecord(t, "sha1._domainkey.fabrikam.com.", "v=DKIM1; h=sha1; ", good),
		keyRecord(t, "web._domainkey.fabrikam.com.", "v=DKIM1; s=web; ", good),
		keyRecord(t, "v2._domainkey.fabrikam.com.", "v=DKIM2; ", good),
		keyRecord(t, "two._domainkey.fabrikam.com.", "v=DKIM1; ", good),
		keyRecord(t, "two._domainkey.fabrikam.com.", "v=DKIM1; ", least),
		keyRecord(t, "r._domainkey.woodgrove.example.", "v=DKIM1; ", good),
		`revoked._domainkey.fabrikam.com. 60 TXT "v=DKIM1; p="`,
	} {
		server.Add(t, record)
	}
	server.Add(t, `_dmarc.contoso.com. 60 TXT "v=DMARC1; p=reject"`)
	signWith := func(selector string, key crypto.Signer, change func(*dkim.SignOptions)) string {
		o := &dkim.SignOptions{Domain: "fabrikam.com", Selector: selector, Signer: key, Hash: crypto.SHA256, HeaderKeys: []string{"From", "To", "Subject"}}
		if change != nil {
			change(o)
		}
		var out bytes.Buffer
		if err := dkim.Sign(&out, strings.NewReader(mail), o); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	plain := signWith("r", good, nil)
	for _, c := range []struct {
		name, msg string
		want      auth.Result
		reason    string // a part of it
		dmarc     auth.Result
	}{
		{"good", plain, auth.PassResult, "", auth.PassResult},
		{"1024 bits, a record without a version", signWith("least", least, nil), auth.PassResult, "", auth.PassResult},
		{"768 bits", signWith("short", short, nil), auth.PermError, "key is too short", auth.Fail},
		{"expired", signWith("r", good, func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(-time.Hour) }), auth.PermError, "expired", auth.Fail},
		{"not expired", signWith("r", good, func(o *dkim.SignOptions) { o.Expiration = time.Now().Add(time.Hour) }), auth.PassResult, "", auth.PassResult},
		{"body length", strings.Replace(plain, "v=1;", "v=1; l=5;", 1), auth.Fail, "body length", auth.Fail},
		{"SHA-1", strings.Replace(plain, "rsa-sha256", "rsa-sha1", 1), auth.PermError, "too weak", auth.Fail},
		{"a key for SHA-1 only", signWith("sha1", good, nil), auth.PermError, "hash algorithm", auth.Fail},
		{"a key for the web", signWith("web", good, nil), auth.PermError, "service", auth.Fail},
		{"a record of another version", signWith("v2", good, nil), auth.PermError, "version", auth.Fail},
		{"a key that was revoked", signWith("revoked", good, nil), auth.PermError, "revoked", auth.Fail},
		{"two records for one selector", signWith("two", good, nil), auth.PermError, "multiple", auth.Fail},
		{"From is not signed", strings.Replace(plain, "h=From:", "h=", 1), auth.PermError, "From field not signed", auth.Fail},
		{"i= of another domain", strings.Replace(plain, "v=1;", "v=1; i=@contoso.com;", 1), auth.PermError, "domain mismatch", auth.Fail},
		{"an algorithm that is none", strings.Replace(plain, "rsa-sha256", "rsa-none", 1), auth.PermError, "hash algorithm", auth.Fail},
		{"RSA said to be Ed25519", strings.Replace(plain, "rsa-sha256", "ed25519-sha256", 1), auth.PermError, "key algorithm", auth.Fail},
		{"header changed", strings.Replace(plain, "Subject: Offer", "Subject: Order", 1), auth.Fail, "signature did not verify", auth.Fail},
		{"somebody else's good signature", signWith("r", good, func(o *dkim.SignOptions) { o.Domain = "woodgrove.example" }), auth.PassResult, "", auth.Fail},
		{"another From on top of a good one", "From: <ceo@contoso.com>\r\n" + plain, auth.PassResult, "", auth.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := checker(t, server, auth.Options{Enforce: auth.Reject}).Check(context.Background(),
				auth.Session{Client: netip.MustParseAddr("198.51.100.9"), Helo: "x.invalid", Sender: "x@lists.example"}, []byte(c.msg))
			if len(r.DKIM) != 1 {
				t.Fatalf("%d signatures", len(r.DKIM))
			}
			if s := r.DKIM[0]; s.Result != c.want || !strings.Contains(s.Reason, c.reason) {
				t.Errorf("dkim %s (%s), want %s (%s)", s.Result, s.Reason, c.want, c.reason)
			}
			if r.DMARC.Result != c.dmarc || (r.Outcome == auth.Refuse) != (c.dmarc == auth.Fail) {
				t.Errorf("dmarc %s, %s; want %s", r.DMARC.Result, r.Outcome, c.dmarc)
			}
		})
	}
}

// What others say of a message counts for nothing: neither their Authentication-Results nor an ARC set, whoever sealed it.
func TestOthersResultsAreNotBelieved(t *testing.T) {
	server := dnstest.Start(t, zone)
	msg := "ARC-Seal: i=1; a=rsa-sha256; t=1; cv=none; d=sealer.example; s=s; b=AAAA\r\n" +
		"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=sealer.example; s=s; h=from; bh=AAAA; b=AAAA\r\n" +
		"ARC-Authentication-Results: i=1; sealer.example; dmarc=pass header.from=fabrikam.com; spf=pass smtp.mailfrom=fabrikam.com\r\n" +
		"Authentication-Results: gw1.contoso.com; dmarc=pass header.from=fabrikam.com\r\n" +
		"Authentication-Results: sealer.example; dkim=pass header.d=fabrikam.com\r\n" +
		"Received-SPF: pass (sealer.example: domain of fabrikam.com)\r\n" + mail
	r := checker(t, server, auth.Options{Enforce: auth.Reject}).Check(context.Background(),
		auth.Session{Client: netip.MustParseAddr("198.51.100.9"), Helo: "sealer.example", Sender: "john@fabrikam.com"}, []byte(msg))
	if r.DMARC.Result != auth.Fail || r.Outcome != auth.Refuse || len(r.DKIM) != 0 || r.SPF.Result != auth.Fail {
		t.Errorf("%+v", r)
	}
}
