package auth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

const mail = "From: John <john@fabrikam.com>\r\nTo: bob@contoso.com\r\nSubject: Offer\r\nDate: Tue, 3 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@fabrikam.com>\r\n\r\nHello.\r\n"

// zone has fabrikam.com (reject, SPF for 192.0.2.1), and domains with records of other kinds.
const zone = `
	fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.fabrikam.com. 60 TXT "v=DMARC1; p=reject; sp=quarantine"
	news.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 ~all"
	strict.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	sub.strict.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.strict.example. 60 TXT "v=DMARC1; p=reject; aspf=s; adkim=s"
	half.example. 60 TXT "v=spf1 -all"
	_dmarc.half.example. 60 TXT "v=DMARC1; p=reject; pct=50"
	_dmarc.twice.example. 60 TXT "v=DMARC1; p=reject"
	_dmarc.twice.example. 60 TXT "v=DMARC1; p=none"
	bad.example. 60 TXT "v=spf1 ipv4:192.0.2.1 -all"
	gw.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"`

type keys struct {
	rsa     *rsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

// rsaKey is the same in all tests: making one takes long.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// publish makes keys for domain, as selectors r and e.
func publish(t testing.TB, server *dnstest.Server, domain string) keys {
	t.Helper()
	r, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	public, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&r.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(der)
	server.Add(t, fmt.Sprintf("r._domainkey.%s. 60 TXT \"v=DKIM1; k=rsa; p=%s\" \"%s\"\ne._domainkey.%s. 60 TXT \"v=DKIM1; k=ed25519; p=%s\"",
		domain, text[:200], text[200:], domain, base64.StdEncoding.EncodeToString(public)))
	return keys{r, e}
}

func sign(t testing.TB, domain, selector string, signer crypto.Signer, msg string) string {
	t.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(msg), &dkim.SignOptions{Domain: domain, Selector: selector, Signer: signer, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"}})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func checker(t testing.TB, server *dnstest.Server, o auth.Options) *auth.Checker {
	t.Helper()
	o.Hostname, o.Resolver = "gw1.contoso.com", server.Resolver(1500*time.Millisecond)
	o.LookupTimeout = 1500 * time.Millisecond
	c, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unfold(field []byte) string {
	return strings.Join(strings.Fields(string(field)), " ")
}

func TestResults(t *testing.T) {
	server := dnstest.Start(t, zone)
	server.Break("broken.example")
	server.Silence("silent.example")
	key := publish(t, server, "fabrikam.com")
	strict := publish(t, server, "sub.strict.example")
	signed := sign(t, "fabrikam.com", "r", key.rsa, mail)
	from := func(address string) string { return strings.Replace(mail, "john@fabrikam.com", address, 1) }
	at := func(client, sender string) auth.Session {
		return auth.Session{Client: netip.MustParseAddr(client), Helo: "gw.fabrikam.com", Sender: sender}
	}
	ours, theirs := "192.0.2.1", "198.51.100.9"
	for _, c := range []struct {
		name    string
		session auth.Session
		msg     string
		want    string // the field without its name and authserv-id; b= is masked
		outcome auth.Outcome
	}{
		{"SPF aligned", at(ours, "john@fabrikam.com"), mail,
			"spf=pass smtp.mailfrom=fabrikam.com; dkim=none; dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"SPF relaxed", at(ours, "bounce@news.fabrikam.com"), mail,
			"spf=pass smtp.mailfrom=news.fabrikam.com; dkim=none; dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"SPF of somebody else", at(ours, "x@strict.example"), mail,
			"spf=pass smtp.mailfrom=strict.example; dkim=none; dmarc=fail (p=reject dis=reject) header.from=fabrikam.com", auth.Refuse},
		{"forged", at(theirs, "john@fabrikam.com"), mail,
			"spf=fail smtp.mailfrom=fabrikam.com; dkim=none; dmarc=fail (p=reject dis=reject) header.from=fabrikam.com", auth.Refuse},
		{"null reverse-path: HELO", at(ours, ""), mail,
			"spf=pass smtp.helo=gw.fabrikam.com; dkim=none; dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"HELO is an address literal", auth.Session{Client: netip.MustParseAddr(theirs), Helo: "[198.51.100.9]"}, from("a@nothing.example"),
			"spf=none; dkim=none; dmarc=none header.from=nothing.example", auth.Pass},
		{"IPv4-mapped address", at("::ffff:192.0.2.1", "john@fabrikam.com"), mail,
			"spf=pass smtp.mailfrom=fabrikam.com; dkim=none; dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"DKIM", at(theirs, "list@lists.example"), signed,
			"spf=none smtp.mailfrom=lists.example; dkim=pass header.d=fabrikam.com header.s=r header.a=rsa-sha256 header.b=*; " +
				"dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"DKIM, body changed", at(theirs, "list@lists.example"), signed + "-- \r\nlist footer\r\n",
			`spf=none smtp.mailfrom=lists.example; dkim=fail reason="body hash did not verify" header.d=fabrikam.com header.s=r header.a=rsa-sha256 header.b=*; ` +
				"dmarc=fail (p=reject dis=reject) header.from=fabrikam.com", auth.Refuse},
		{"two signatures", at(theirs, "list@lists.example"), sign(t, "fabrikam.com", "e", key.ed25519, signed),
			"spf=none smtp.mailfrom=lists.example; dkim=pass header.d=fabrikam.com header.s=e header.a=ed25519-sha256 header.b=*; " +
				"dkim=pass header.d=fabrikam.com header.s=r header.a=rsa-sha256 header.b=*; " +
				"dmarc=pass (p=reject dis=none) header.from=fabrikam.com", auth.Pass},
		{"no key", at(theirs, "list@lists.example"), sign(t, "fabrikam.com", "gone", key.rsa, mail),
			`spf=none smtp.mailfrom=lists.example; dkim=permerror reason="no key for signature: lookup gone._domainkey.fabrikam.com: no such host" ` +
				"header.d=fabrikam.com header.s=gone header.a=rsa-sha256 header.b=*; dmarc=fail (p=reject dis=reject) header.from=fabrikam.com", auth.Refuse},
		{"strict", at(ours, "x@sub.strict.example"), from("a@strict.example"),
			"spf=pass smtp.mailfrom=sub.strict.example; dkim=none; dmarc=fail (p=reject dis=reject) header.from=strict.example", auth.Refuse},
		{"strict DKIM", at(theirs, "x@lists.example"), sign(t, "sub.strict.example", "r", strict.rsa, from("a@strict.example")),
			"spf=none smtp.mailfrom=lists.example; dkim=pass header.d=sub.strict.example header.s=r header.a=rsa-sha256 header.b=*; " +
				"dmarc=fail (p=reject dis=reject) header.from=strict.example", auth.Refuse},
		{"sp of the organizational domain", at(theirs, "x@lists.example"), from("a@shop.fabrikam.com"),
			"spf=none smtp.mailfrom=lists.example; dkim=none; dmarc=fail (p=quarantine dis=quarantine) header.from=shop.fabrikam.com", auth.SetAside},
		{"outside the sample", at(theirs, "x@half.example"), from("a@half.example"),
			"spf=fail smtp.mailfrom=half.example; dkim=none; dmarc=fail (p=reject dis=quarantine) header.from=half.example", auth.SetAside},
		{"two records are none", at(theirs, "x@twice.example"), from("a@twice.example"),
			"spf=none smtp.mailfrom=twice.example; dkim=none; dmarc=none header.from=twice.example", auth.Pass},
		{"broken SPF record", at(ours, "x@bad.example"), from("a@bad.example"),
			"spf=permerror smtp.mailfrom=bad.example; dkim=none; dmarc=none header.from=bad.example", auth.Pass},
		{"DNS fails", at(ours, "x@broken.example"), from("a@broken.example"),
			`spf=temperror smtp.mailfrom=broken.example; dkim=none; dmarc=temperror reason="policy unavailable" header.from=broken.example`, auth.Pass},
		{"DNS is silent", at(ours, "x@silent.example"), from("a@silent.example"),
			`spf=temperror smtp.mailfrom=silent.example; dkim=none; dmarc=temperror reason="policy unavailable" header.from=silent.example`, auth.Pass},
		{"no From", at(ours, "john@fabrikam.com"), "Subject: x\r\n\r\n", `spf=pass smtp.mailfrom=fabrikam.com; dkim=none; dmarc=permerror reason="no From field"`, auth.Pass},
		{"a second From field", at(ours, "x@news.fabrikam.com"), "From: a@strict.example\r\n" + mail,
			"spf=pass smtp.mailfrom=news.fabrikam.com; dkim=none; dmarc=fail (p=reject dis=reject) header.from=strict.example", auth.Refuse},
		{"six authors", at(ours, "john@fabrikam.com"), "From: a@a.example, a@b.example, a@c.example, a@d.example, a@e.example, a@f.example\r\n\r\n",
			`spf=pass smtp.mailfrom=fabrikam.com; dkim=none; dmarc=fail reason="too many addresses in From" (p=reject dis=reject) header.from=a.example`, auth.Refuse},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ch := checker(t, server, auth.Options{Enforce: auth.Reject, Sample: func() int { return 50 }})
			got := ch.Check(context.Background(), c.session, []byte(c.msg))
			field := ch.AppendField(nil, got)
			if diff := cmp.Diff("Authentication-Results: gw1.contoso.com; "+c.want, mask(unfold(field))); diff != "" {
				t.Error(diff)
			}
			if got.Outcome != c.outcome || (got.Reply() != nil) != (c.outcome == auth.Refuse) {
				t.Errorf("outcome %s, reply %v; want %s", got.Outcome, got.Reply(), c.outcome)
			}
			checkField(t, field)
		})
	}
}

// mask hides what differs from run to run.
func mask(field string) string {
	words := strings.Split(field, " ")
	for i, w := range words {
		if strings.HasPrefix(w, "header.b=") {
			words[i] = "header.b=*"
			if strings.HasSuffix(w, ";") {
				words[i] += ";"
			}
		}
	}
	return strings.Join(words, " ")
}

// checkField lets an independent parser read the field.
func checkField(t *testing.T, field []byte) {
	t.Helper()
	value, ok := strings.CutPrefix(string(field), "Authentication-Results: ")
	if !ok || !strings.HasSuffix(value, "\r\n") {
		t.Fatalf("not a field: %q", field)
	}
	for line := range strings.Lines(value) {
		if len(line) > 200 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	id, results, err := authres.Parse(strings.TrimSpace(value))
	if err != nil || id != "gw1.contoso.com" || len(results) < 3 {
		t.Errorf("authres reads id %q, %d results, %v in %q", id, len(results), err, value)
	}
}

// What is not enforced changes no mail.
func TestEnforcement(t *testing.T) {
	server := dnstest.Start(t, zone)
	s := auth.Session{Client: netip.MustParseAddr("198.51.100.9"), Helo: "x.example", Sender: "john@fabrikam.com"}
	for enforce, want := range map[auth.Enforcement]auth.Outcome{
		"": auth.Pass, auth.Report: auth.Pass, auth.Quarantine: auth.SetAside, auth.Reject: auth.Refuse,
	} {
		r := checker(t, server, auth.Options{Enforce: enforce}).Check(context.Background(), s, []byte(mail))
		if r.Outcome != want {
			t.Errorf("enforcement %q: outcome %s, want %s", enforce, r.Outcome, want)
		}
	}
	r := checker(t, server, auth.Options{Enforce: auth.Reject}).Check(context.Background(), s, []byte(mail)).Reply()
	if got := fmt.Sprint(r.Code, r.EnhancedCode, " ", r.Message); got != "550 [5 7 1] Message refused by the DMARC policy of fabrikam.com" {
		t.Error(got)
	}
}

// A valid signature whose key cannot be had must not let the policy refuse the message.
func TestUndecidedIsNotFailed(t *testing.T) {
	server := dnstest.Start(t, zone)
	key := publish(t, server, "fabrikam.com")
	server.Break("r._domainkey.fabrikam.com")
	c := checker(t, server, auth.Options{Enforce: auth.Reject})
	s := auth.Session{Client: netip.MustParseAddr("198.51.100.9"), Helo: "x.example", Sender: "x@lists.example"}
	r := c.Check(context.Background(), s, []byte(sign(t, "fabrikam.com", "r", key.rsa, mail)))
	if r.DKIM[0].Result != auth.TempError || r.DMARC.Result != auth.TempError || r.Outcome != auth.Pass {
		t.Errorf("dkim %s, dmarc %s, %s", r.DKIM[0].Result, r.DMARC.Result, r.Outcome)
	}
	big := checker(t, server, auth.Options{Enforce: auth.Reject, MaxSize: 100})
	r = big.Check(context.Background(), s, []byte(sign(t, "fabrikam.com", "e", key.ed25519, mail)))
	if r.DKIM[0].Result != auth.PolicyResult || r.DMARC.Result != auth.TempError || r.Outcome != auth.Pass {
		t.Errorf("too big: dkim %+v, dmarc %s, %s", r.DKIM[0], r.DMARC.Result, r.Outcome)
	}
}

// Checks that wait for DNS end when their time is over.
func TestTimeIsBounded(t *testing.T) {
	server := dnstest.Start(t, "")
	server.Silence("example")
	var msg strings.Builder
	for i := range 10 {
		fmt.Fprintf(&msg, "DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=from; bh=AAAA; b=AAAA\r\n", i)
	}
	msg.WriteString("From: a@f.example\r\n\r\n")
	c, err := auth.New(auth.Options{Hostname: "gw1.contoso.com", Resolver: server.Resolver(time.Minute), LookupTimeout: time.Minute, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := c.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "h.example", Sender: "a@s.example"}, []byte(msg.String()))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	for i, s := range r.DKIM {
		if s.Result != auth.TempError {
			t.Errorf("signature %d: %s", i, s.Result)
		}
	}
	if r.SPF.Result != auth.TempError || r.DMARC.Result != auth.TempError {
		t.Errorf("spf %s, dmarc %s", r.SPF.Result, r.DMARC.Result)
	}
}

// Signatures made to be expensive are told from those that are verified.
func TestHostileSignatures(t *testing.T) {
	server := dnstest.Start(t, zone)
	key := publish(t, server, "fabrikam.com")
	server.Add(t, `huge._domainkey.fabrikam.com. 60 TXT "v=DKIM1; p=`+strings.Repeat("A", 250)+`"`+strings.Repeat(` "`+strings.Repeat("A", 250)+`"`, 10))
	signed := sign(t, "fabrikam.com", "r", key.rsa, mail)
	other := "DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
	for _, c := range []struct {
		name, msg string
		index     int
		want      auth.Result
	}{
		{"long list of fields", "DKIM-Signature: v=1; a=rsa-sha256; d=fabrikam.com; s=r; bh=A; b=A; h=from" + strings.Repeat(":x", 5000) + "\r\n" + signed, 0, auth.PolicyResult},
		{"the good one below it counts", "DKIM-Signature: v=1; a=rsa-sha256; d=fabrikam.com; s=r; bh=A; b=A; h=from" + strings.Repeat(":x", 5000) + "\r\n" + signed, 1, auth.PassResult},
		{"long field", "DKIM-Signature: v=1; d=fabrikam.com; b=" + strings.Repeat("A", 20000) + "\r\n" + signed, 0, auth.PolicyResult},
		{"eleventh", strings.Repeat(other, 10) + signed, 10, auth.PolicyResult},
		{"tenth", strings.Repeat(other, 9) + signed, 9, auth.PassResult},
		{"header of a million octets", "X: " + strings.Repeat("a", 1<<20) + "\r\n" + signed, 0, auth.PolicyResult},
		{"2000 fields", strings.Repeat("X: a\r\n", 2000) + signed, 0, auth.PolicyResult},
		{"a key of 10,000 bits", strings.Replace(signed, "s=r;", "s=huge;", 1), 0, auth.PermError},
		{"tag twice", strings.Replace(signed, "s=r;", "s=r; d=contoso.com;", 1), 0, auth.PermError},
		{"no tags", "DKIM-Signature: \r\n" + mail, 0, auth.PermError},
		{"rsa-sha1", strings.Replace(signed, "a=rsa-sha256", "a=rsa-sha1", 1), 0, auth.PermError},
		{"no empty line", strings.TrimSuffix(signed, "\r\n\r\nHello.\r\n"), 0, auth.Fail},
		{"a line that is no field", strings.Replace(signed, "To: bob", "this is no field\r\nTo: bob", 1), 0, auth.PassResult},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := checker(t, server, auth.Options{}).Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Sender: "x@lists.example"}, []byte(c.msg))
			if len(r.DKIM) <= c.index || r.DKIM[c.index].Result != c.want {
				t.Errorf("results %+v, want %s at %d", r.DKIM, c.want, c.index)
			}
		})
	}
}

// Ten signatures on a large message would cost ten times its hash: as many are verified as the limit on size allows.
func TestWorkIsBounded(t *testing.T) {
	server := dnstest.Start(t, zone)
	key := publish(t, server, "fabrikam.com")
	msg := sign(t, "fabrikam.com", "e", key.ed25519, strings.Replace(mail, "Hello.", strings.Repeat("Hello.\r\n", 2000), 1))
	for range 5 {
		msg = sign(t, "fabrikam.com", "e", key.ed25519, msg)
	}
	r := checker(t, server, auth.Options{MaxSize: len(msg) * 5 / 4}).Check(context.Background(),
		auth.Session{Client: netip.MustParseAddr("198.51.100.9"), Sender: "x@lists.example"}, []byte(msg))
	var got []auth.Result
	for _, s := range r.DKIM {
		got = append(got, s.Result)
	}
	want := []auth.Result{auth.PassResult, auth.PassResult, auth.PolicyResult, auth.PolicyResult, auth.PolicyResult, auth.PolicyResult}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	r := dnstest.Start(t, "").Resolver(time.Second)
	for name, o := range map[string]auth.Options{
		"no host name": {Resolver: r}, "host name with a space": {Hostname: "a b", Resolver: r}, "no resolver": {Hostname: "a.b"},
		"enforcement": {Hostname: "a.b", Resolver: r, Enforce: "perhaps"},
	} {
		if _, err := auth.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// policy fills in what a record does not say.
func policy(p auth.Policy) auth.Policy {
	p.Subdomain, p.NonExistent, p.Percent = p.Domain, p.Domain, 100
	if p.Suffix == "" {
		p.Suffix = auth.SuffixUnknown
	}
	return p
}

func TestParsePolicy(t *testing.T) {
	for _, c := range []struct {
		record string
		want   auth.Policy
		ok     bool
	}{
		{"v=DMARC1; p=none", policy(auth.Policy{Domain: "none"}), true},
		{"v=DMARC1;p=REJECT;SP=None;pct=5;adkim=S;aspf=s", auth.Policy{Domain: "reject", Subdomain: "none", NonExistent: "none", Suffix: "u", Percent: 5, StrictDKIM: true, StrictSPF: true}, true},
		{"v = DMARC1 ; p = quarantine ;", policy(auth.Policy{Domain: "quarantine"}), true},
		{"v=DMARC1; p=reject; pct=1000; adkim=x; psd=x; t=x; rf=what; ri=-5; unknown", policy(auth.Policy{Domain: "reject"}), true},
		{"v=DMARC1; np=reject; sp=quarantine; p=none; t=Y; psd=N", auth.Policy{Domain: "none", Subdomain: "quarantine", NonExistent: "reject", Suffix: "n", Testing: true, Percent: 100}, true},
		{"v=DMARC1; p=reject; np=none", auth.Policy{Domain: "reject", Subdomain: "reject", NonExistent: "none", Suffix: "u", Percent: 100}, true},
		{"v=DMARC1; psd=y; p=reject", policy(auth.Policy{Domain: "reject", Suffix: "y"}), true},
		{"v=DMARC1; p=reject; sp=what", auth.Policy{}, false},
		{"v=DMARC1; p=reject; np=what; rua=mailto:d@contoso.com", policy(auth.Policy{Domain: "none"}), true},
		{"v=DMARC1; p=what; rua=mailto:d@contoso.com", policy(auth.Policy{Domain: "none"}), true},
		{"v=DMARC1; rua=mailto:d@contoso.com; sp=reject", policy(auth.Policy{Domain: "none"}), true},
		{"v=DMARC1", policy(auth.Policy{Domain: "none"}), true},
		{"v=DMARC1; p=what", auth.Policy{}, false},
		{"v=DMARC1; p=", auth.Policy{}, false},
		{"v=DMARC2; p=reject", auth.Policy{}, false},
		{"p=reject; v=DMARC1", auth.Policy{}, false},
		{"v=dmarc1; p=reject", auth.Policy{}, false},
		{"v=spf1 -all", auth.Policy{}, false},
		{"", auth.Policy{}, false},
	} {
		got, ok := auth.ParsePolicy(c.record)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %+v, %v", c.record, got, ok)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=reject; pct=50", "v=DMARC1", ";;;", "v=DMARC1; p=none; rua=mailto:a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := auth.ParsePolicy(s)
		if ok && (p.Domain == "" || p.Subdomain == "" || p.NonExistent == "" || p.Suffix == "" || p.Percent < 0 || p.Percent > 100) {
			t.Errorf("%+v", p)
		}
	})
}

// Whatever a message holds, there is one field that reads well, and no message is refused where nothing is enforced.
func FuzzCheck(f *testing.F) {
	server := dnstest.Start(f, zone)
	c, err := auth.New(auth.Options{Hostname: "gw1.contoso.com", Resolver: server.Resolver(time.Second), Timeout: 2 * time.Second})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{mail, "From: a", "\r\n", "From: \"a@b.example\" <c@\xff>\r\nDKIM-Signature: b=; d=\";\r\n\r\nx",
		"DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=\"(; h=from; bh=A; b=\\\r\n\r\n"} {
		f.Add("a@fabrikam.com", "h.example", s)
	}
	// A fixed key, so that what a run finds is found again.
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	server.Add(f, `k._domainkey.fabrikam.com. 60 TXT "v=DKIM1; k=ed25519; p=`+base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))+`"`)
	signed := sign(f, "fabrikam.com", "k", private, mail)
	f.Add("a@fabrikam.com", "h.example", signed)
	f.Add("a@fabrikam.com", "h.example", sign(f, "fabrikam.com", "k", private, signed))
	f.Add("a@fabrikam.com", "h.example", strings.ReplaceAll(signed, "relaxed", "simple"))
	f.Fuzz(func(t *testing.T, sender, helo, msg string) {
		r := c.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("2001:db8::1"), Helo: helo, Sender: sender}, []byte(msg))
		field := c.AppendField(nil, r)
		if r.Reply() != nil || bytes.Count(field, []byte("\r\n")) != bytes.Count(field, []byte("\r\n\t"))+1 {
			t.Errorf("reply %v, field %q", r.Reply(), field)
		}
		for _, c := range field {
			if c >= 0x7f || c < ' ' && c != '\r' && c != '\n' && c != '\t' {
				t.Fatalf("octet %#x in %q", c, field)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	server := dnstest.Start(b, zone)
	key := publish(b, server, "fabrikam.com")
	c := checker(b, server, auth.Options{})
	for _, size := range []int{4 << 10, 10 << 20} {
		body := strings.Repeat("All work and no play makes a dull message.\r\n", size/44)
		msg := []byte(sign(b, "fabrikam.com", "r", key.rsa, strings.Replace(mail, "Hello.\r\n", body, 1)))
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				r := c.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Sender: "john@fabrikam.com"}, msg)
				if r.DMARC.Result != auth.PassResult || r.DKIM[0].Result != auth.PassResult {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}
