package auth_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
)

// walkZone has domains at several heights. All SPF records let 192.0.2.1 send.
const walkZone = `
	fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.fabrikam.com. 60 TXT "v=DMARC1; p=reject; sp=quarantine; np=reject"
	shop.fabrikam.com. 60 A 192.0.2.5
	mx.fabrikam.com. 60 MX 10 fabrikam.com.
	text.fabrikam.com. 60 TXT "here"
	news.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.own.fabrikam.com. 60 TXT "v=DMARC1; p=none"
	own.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.alone.fabrikam.com. 60 TXT "v=DMARC1; p=reject; psd=n"
	alone.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	a.alone.fabrikam.com. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.bank.example. 60 TXT "v=DMARC1; p=quarantine; sp=reject; np=reject; psd=y"
	one.bank.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	mail.one.bank.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	two.bank.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.three.bank.example. 60 TXT "v=DMARC1; p=none"
	mail.three.bank.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.co.uk. 60 TXT "v=DMARC1; p=reject"
	one.co.uk. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	two.co.uk. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.low.parent.example. 60 TXT "v=DMARC1; p=reject"
	low.parent.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	parent.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.testing.example. 60 TXT "v=DMARC1; p=reject; t=y"
	testing.example. 60 A 192.0.2.5
	_dmarc.mild.example. 60 TXT "v=DMARC1; p=quarantine; t=y"
	_dmarc.deep.example. 60 TXT "v=DMARC1; p=reject"
	_dmarc.twice.example. 60 TXT "v=DMARC1; p=reject"
	_dmarc.twice.example. 60 TXT "v=DMARC1; p=none"
	_dmarc.broken.example. 60 TXT "v=DMARC1; p=reject; sp=perhaps"
	_dmarc.noise.example. 60 TXT "v=DMARC1; p=reject"
	_dmarc.noise.example. 60 TXT "v=spf1 -all"
`

// TestTreeWalk holds the discovery of policies and organizational domains against RFC 9989 4.10, by what becomes of a message.
func TestTreeWalk(t *testing.T) {
	server := dnstest.Start(t, walkZone)
	server.Break("_dmarc.fails.example")
	server.Break("ghost.undecided.example")
	server.Add(t, "_dmarc.undecided.example. 60 TXT \"v=DMARC1; p=none; np=reject\"")
	for _, c := range []struct {
		name, author, sender string
		result               auth.Result
		policy, disposition  auth.DomainPolicy
	}{
		{"the domain itself", "fabrikam.com", "", auth.Fail, "reject", "reject"},
		{"sp for one with an address", "shop.fabrikam.com", "", auth.Fail, "quarantine", "quarantine"},
		{"sp for one with a mail exchanger", "mx.fabrikam.com", "", auth.Fail, "quarantine", "quarantine"},
		{"sp for one with a text", "text.fabrikam.com", "", auth.Fail, "quarantine", "quarantine"},
		{"np for one that is not there", "ghost.fabrikam.com", "", auth.Fail, "reject", "reject"},
		{"np far below", "a.b.c.ghost.fabrikam.com", "", auth.Fail, "reject", "reject"},
		{"np is not asked for what passes", "ghost.fabrikam.com", "news.fabrikam.com", auth.PassResult, "quarantine", "none"},
		{"existence cannot be found out", "ghost.undecided.example", "", auth.TempError, "none", "none"},
		{"aligned with the parent", "fabrikam.com", "news.fabrikam.com", auth.PassResult, "reject", "none"},
		{"aligned with a sibling", "shop.fabrikam.com", "news.fabrikam.com", auth.PassResult, "quarantine", "none"},
		{"own record, still aligned", "own.fabrikam.com", "news.fabrikam.com", auth.PassResult, "none", "none"},
		{"psd=n below is apart from the parent", "fabrikam.com", "alone.fabrikam.com", auth.Fail, "reject", "reject"},
		{"psd=n: the parent is not aligned with it", "alone.fabrikam.com", "fabrikam.com", auth.Fail, "reject", "reject"},
		{"psd=n is the organization of what is below", "alone.fabrikam.com", "a.alone.fabrikam.com", auth.PassResult, "reject", "none"},
		{"psd=y: two registrants are not aligned", "one.bank.example", "two.bank.example", auth.Fail, "reject", "reject"},
		{"psd=y: a registrant is with himself", "one.bank.example", "mail.one.bank.example", auth.PassResult, "reject", "none"},
		{"psd=y: np", "ghost.bank.example", "", auth.Fail, "reject", "reject"},
		{"psd=y: the suffix itself", "bank.example", "", auth.Fail, "quarantine", "quarantine"},
		{"psd=y: the suffix is not aligned with registrants", "bank.example", "one.bank.example", auth.Fail, "quarantine", "quarantine"},
		{"psd=y: the registrant's record comes first", "mail.three.bank.example", "", auth.Fail, "none", "none"},
		{"a listed suffix that does not say so", "one.co.uk", "two.co.uk", auth.Fail, "reject", "reject"},
		{"no record above: the lower domain is its own organization", "low.parent.example", "parent.example", auth.Fail, "reject", "reject"},
		{"same domain", "low.parent.example", "low.parent.example", auth.PassResult, "reject", "none"},
		{"t=y makes reject quarantine", "testing.example", "", auth.Fail, "reject", "quarantine"},
		{"t=y makes quarantine none", "mild.example", "", auth.Fail, "quarantine", "none"},
		{"a name of many labels", "a.b.c.d.e.f.g.h.i.j.k.deep.example", "", auth.Fail, "reject", "reject"},
		{"two records are none", "twice.example", "", auth.None, "none", "none"},
		{"sp that is none spoils the record", "broken.example", "", auth.None, "none", "none"},
		{"another text beside it", "noise.example", "", auth.Fail, "reject", "reject"},
		{"nothing anywhere", "a.nothing.example", "", auth.None, "none", "none"},
		{"DNS fails on the way up", "x.fails.example", "", auth.TempError, "none", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := checker(t, server, auth.Options{Enforce: auth.Reject})
			s := auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "x.invalid", Sender: "bounce@unrelated.invalid"}
			if c.sender != "" {
				s.Sender = "bounce@" + c.sender
			}
			d := ch.Check(context.Background(), s, []byte("From: <a@"+c.author+">\r\n\r\n")).DMARC
			if d.Result != c.result || d.Policy != c.policy || d.Disposition != c.disposition || d.Domain != c.author {
				t.Errorf("%+v, want %s, p=%s, dis=%s", d, c.result, c.policy, c.disposition)
			}
			if (d.Result == auth.TempError) != (d.Reason != "") {
				t.Errorf("reason %q", d.Reason)
			}
		})
	}
}

// A name of any length costs at most eight questions, which are those of the example in RFC 9989 4.10.
func TestTreeWalkAsksEightTimes(t *testing.T) {
	server := dnstest.Start(t, "")
	ch := checker(t, server, auth.Options{})
	ch.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "[192.0.2.1]"},
		[]byte("From: <x@a.b.c.d.e.f.g.h.i.j.mail.example.com>\r\n\r\n"))
	var got []string
	for _, q := range server.Queries() {
		if strings.HasPrefix(q, "_dmarc.") {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(q, "_dmarc."), ". TXT"))
		}
	}
	want := []string{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com", "i.j.mail.example.com", "j.mail.example.com",
		"mail.example.com", "example.com", "com"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSPF has the limits and the corners of RFC 7208, and what they do to DMARC.
func TestSPF(t *testing.T) {
	var zone strings.Builder
	zone.WriteString(`
	none.example. 60 TXT "no policy"
	two.example. 60 TXT "v=spf1 -all"
	two.example. 60 TXT "v=spf1 +all"
	neutral.example. 60 TXT "v=spf1 ?all"
	soft.example. 60 TXT "v=spf1 ~all"
	nothing.example. 60 TXT "v=spf1"
	upper.example. 60 TXT "V=SPF1 IP4:192.0.2.1 -ALL"
	redirect.example. 60 TXT "v=spf1 redirect=fine.example"
	away.example. 60 TXT "v=spf1 redirect=none.example"
	fine.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	include.example. 60 TXT "v=spf1 include:fine.example -all"
	badinclude.example. 60 TXT "v=spf1 include:none.example -all"
	loop.example. 60 TXT "v=spf1 include:loop.example -all"
	void.example. 60 TXT "v=spf1 a:v1.example a:v2.example a:v3.example ip4:192.0.2.1 -all"
	macro.example. 60 TXT "v=spf1 exists:%{ir}.%{l}.%{o}.m.example -all"
	1.2.0.192.bounce.macro.example.m.example. 60 A 127.0.0.2
	helo.example. 60 TXT "v=spf1 exists:%{h}.h.example -all"
	mta.fabrikam.com.h.example. 60 A 127.0.0.2
	badmacro.example. 60 TXT "v=spf1 exists:%{q}.example -all"
	unknown.example. 60 TXT "v=spf1 ipv4:192.0.2.1 -all"
	modifier.example. 60 TXT "v=spf1 odd=thing ip4:192.0.2.1 -all"
	mask.example. 60 TXT "v=spf1 ip4:192.0.2.0/33 -all"
	ten.example. 60 TXT "v=spf1 include:i1.example include:i2.example include:i3.example include:i4.example include:i5.example include:i6.example include:i7.example include:i8.example include:i9.example include:fine.example -all"
	eleven.example. 60 TXT "v=spf1 include:i1.example include:i2.example include:i3.example include:i4.example include:i5.example include:i6.example include:i7.example include:i8.example include:i9.example include:i10.example include:fine.example -all"
	mx.example. 60 TXT "v=spf1 mx -all"
	mx.example. 60 MX 10 host.example.
	host.example. 60 A 192.0.2.1
	helosys.example. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
	_dmarc.unknown.example. 60 TXT "v=DMARC1; p=reject"
	`)
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"} {
		zone.WriteString("i" + n + ".example. 60 TXT \"v=spf1 ip4:198.51.100.7 -all\"\n")
	}
	server := dnstest.Start(t, zone.String())
	server.Break("servfail.example")
	server.Add(t, "temp.example. 60 TXT \"v=spf1 include:servfail.example -all\"")
	ch := checker(t, server, auth.Options{Enforce: auth.Reject})
	for _, c := range []struct {
		name, sender string
		want         auth.Result
	}{
		{"no record", "a@none.example", auth.None},
		{"no domain", "a@nowhere.example", auth.None},
		{"two records", "a@two.example", auth.PermError},
		{"neutral", "a@neutral.example", auth.Neutral},
		{"softfail", "a@soft.example", auth.SoftFail},
		{"no mechanism", "a@nothing.example", auth.Neutral},
		{"letter case", "a@upper.example", auth.PassResult},
		{"redirect", "a@redirect.example", auth.PassResult},
		{"redirect to nowhere", "a@away.example", auth.PermError},
		{"include", "a@include.example", auth.PassResult},
		{"include of no policy", "a@badinclude.example", auth.PermError},
		{"include of itself", "a@loop.example", auth.PermError},
		{"three void lookups", "a@void.example", auth.PermError},
		{"ten lookups", "a@ten.example", auth.PassResult},
		{"eleven lookups", "a@eleven.example", auth.PermError},
		{"macros i, l and o", "bounce@macro.example", auth.PassResult},
		{"macro l of another sender", "other@macro.example", auth.Fail},
		{"macro h", "a@helo.example", auth.PassResult},
		{"a macro letter that is none", "a@badmacro.example", auth.PermError},
		{"a mechanism that is none", "a@unknown.example", auth.PermError},
		{"a modifier that is not known", "a@modifier.example", auth.PassResult},
		{"a mask that is none", "a@mask.example", auth.PermError},
		{"mail exchanger", "a@mx.example", auth.PassResult},
		{"DNS fails", "a@servfail.example", auth.TempError},
		{"DNS fails for an include", "a@temp.example", auth.TempError},
		{"sender without a domain", "postmaster", auth.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "mta.fabrikam.com", Sender: c.sender}
			r := ch.Check(context.Background(), s, []byte("From: <a@nothing.example>\r\n\r\n"))
			if r.SPF.Result != c.want || r.SPF.Helo {
				t.Errorf("%+v, want %s", r.SPF, c.want)
			}
			if r.Outcome != auth.Pass { // SPF by itself never refuses
				t.Errorf("outcome %s", r.Outcome)
			}
		})
	}
	// With a policy, what SPF cannot make out is no pass; only trouble with DNS leaves it open.
	r := ch.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "x.invalid", Sender: "a@unknown.example"}, []byte("From: <a@unknown.example>\r\n\r\n"))
	if r.DMARC.Result != auth.Fail {
		t.Errorf("permerror: DMARC %+v", r.DMARC)
	}
	// A null reverse-path has the identity of HELO (RFC 7208 2.4).
	r = ch.Check(context.Background(), auth.Session{Client: netip.MustParseAddr("192.0.2.1"), Helo: "HELOSYS.example"}, []byte("From: <mailer-daemon@helosys.example>\r\n\r\n"))
	if r.SPF != (auth.SPF{Result: auth.PassResult, Domain: "helosys.example", Helo: true}) {
		t.Errorf("null reverse-path: %+v", r.SPF)
	}
}
