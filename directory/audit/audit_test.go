package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/directory"
)

var policy = Policy{Domains: []string{"contoso.com"}, RoutingDomain: "contoso.mail.onmicrosoft.com", TenantDomain: "contoso.onmicrosoft.com"}

const below = ",OU=Users,DC=contoso,DC=com"

// person is a mail user without fault; change makes one.
func person(name string, change func(*directory.Entry)) directory.Entry {
	e := directory.Entry{DN: "CN=" + name + below, ObjectClass: []string{"user"}, Mail: name + "@contoso.com", UserPrincipalName: name + "@contoso.com",
		ProxyAddresses: []string{"SMTP:" + name + "@contoso.com"}, TargetAddress: "smtp:" + name + "@contoso.com"}
	if change != nil {
		change(&e)
	}
	return e
}

func cloudMailbox(name string, change func(*directory.Entry)) directory.Entry {
	return person(name, func(e *directory.Entry) {
		e.ProxyAddresses = append(e.ProxyAddresses, "smtp:"+name+"@contoso.mail.onmicrosoft.com")
		e.TargetAddress = "smtp:" + name + "@contoso.mail.onmicrosoft.com"
		e.RemoteRecipientType, e.RecipientTypeDetails = directory.Int{Value: 4, Set: true}, directory.Int{Value: 2147483648, Set: true}
		if change != nil {
			change(e)
		}
	})
}

func view(t *testing.T, entries ...directory.Entry) *directory.View {
	t.Helper()
	b := directory.NewBuilder()
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

func TestRules(t *testing.T) {
	set := func(n int64) directory.Int { return directory.Int{Value: n, Set: true} }
	group := directory.Entry{DN: "CN=Sales" + below, ObjectClass: []string{"group"}, Mail: "sales@contoso.com", ProxyAddresses: []string{"SMTP:sales@contoso.com"}}
	for _, c := range []struct {
		name    string
		entries []directory.Entry
		want    map[string]string // rule: a part of the fix, or of what is wrong
	}{
		{"a mail user without fault", []directory.Entry{person("adelev", nil)}, nil},
		{"a cloud mailbox without fault", []directory.Entry{cloudMailbox("adelev", nil)}, nil},
		{"a mailbox that is only on-prem", []directory.Entry{person("adelev", func(e *directory.Entry) { e.TargetAddress = "" })}, nil},
		{"a user without mail", []directory.Entry{{DN: "CN=svc" + below, ObjectClass: []string{"user"}}}, nil},
		{"archive only", []directory.Entry{person("adelev", func(e *directory.Entry) {
			e.TargetAddress, e.RemoteRecipientType, e.RecipientTypeDetails = "", set(2), set(1)
		})}, nil},
		{"target is a further address", []directory.Entry{person("adelev", func(e *directory.Entry) {
			e.ProxyAddresses, e.TargetAddress = append(e.ProxyAddresses, "smtp:av@contoso.com"), "smtp:av@contoso.com"
		})}, map[string]string{"target-not-primary": "-Replace @{targetAddress='smtp:adelev@contoso.com'}"}},
		{"target elsewhere", []directory.Entry{person("adelev", func(e *directory.Entry) { e.TargetAddress = "smtp:adelev@fabrikam.com" })},
			map[string]string{"target-domain": "-Replace @{targetAddress='smtp:adelev@contoso.com'}"}},
		{"other UPN", []directory.Entry{person("adelev", func(e *directory.Entry) { e.UserPrincipalName = "adelev@contoso.local" })},
			map[string]string{"target-upn": "Set-ADUser -Identity 'CN=adelev,OU=Users,DC=contoso,DC=com' -UserPrincipalName 'adelev@contoso.com'"}},
		{"no UPN", []directory.Entry{person("adelev", func(e *directory.Entry) { e.UserPrincipalName = "" })}, map[string]string{"target-upn": "-UserPrincipalName 'adelev@contoso.com'"}},
		{"an address of two", []directory.Entry{person("adelev", nil), person("alexw", func(e *directory.Entry) { e.ProxyAddresses = append(e.ProxyAddresses, "smtp:ADELEV@contoso.com") })},
			map[string]string{"duplicate-address": "-Remove @{proxyAddresses='"}},
		{"a mail of two", []directory.Entry{{DN: "CN=a" + below, ObjectClass: []string{"user"}, Mail: "x@contoso.com"}, {DN: "CN=b" + below, ObjectClass: []string{"user"}, Mail: "X@contoso.com"}},
			map[string]string{"duplicate-address": "-Clear mail"}},
		{"the mail of one is the proxy of another", []directory.Entry{person("adelev", nil), {DN: "CN=b" + below, ObjectClass: []string{"user"}, Mail: "ADELEV@contoso.com"}},
			map[string]string{"duplicate-mail": "Set-ADObject -Identity 'CN=b,OU=Users,DC=contoso,DC=com' -Clear mail"}},
		{"no primary", []directory.Entry{person("adelev", func(e *directory.Entry) {
			e.ProxyAddresses = []string{"smtp:av@contoso.com", "smtp:adelev@contoso.com", "X500:/o=Contoso"}
		})},
			map[string]string{"no-primary": "-Add @{proxyAddresses='SMTP:adelev@contoso.com'}"}},
		{"two primaries", []directory.Entry{person("adelev", func(e *directory.Entry) { e.ProxyAddresses = append(e.ProxyAddresses, "SMTP:av@contoso.com") })},
			map[string]string{"several-primaries": "-Remove @{proxyAddresses='SMTP:av@contoso.com'}"}},
		{"upper-case target", []directory.Entry{cloudMailbox("adelev", func(e *directory.Entry) { e.TargetAddress = "SMTP:adelev@contoso.mail.onmicrosoft.com" })},
			map[string]string{"target-prefix": "'smtp:adelev@contoso.mail.onmicrosoft.com'"}},
		{"upper-case target that is the primary", []directory.Entry{person("adelev", func(e *directory.Entry) { e.TargetAddress = "SMTP:adelev@contoso.com" })}, nil},
		{"target without prefix", []directory.Entry{person("adelev", func(e *directory.Entry) { e.TargetAddress = "adelev@contoso.com" })}, map[string]string{"bad-target": "no prefix"}},
		{"target of another type", []directory.Entry{person("adelev", func(e *directory.Entry) { e.TargetAddress = "X400:c=us" })}, map[string]string{"bad-target": "-Clear targetAddress"}},
		{"target that is no address", []directory.Entry{{DN: "CN=a" + below, ObjectClass: []string{"contact"}, TargetAddress: "smtp:adelev"}}, map[string]string{"bad-target": "no address"}},
		{"cloud mailbox without routing address", []directory.Entry{cloudMailbox("adelev", func(e *directory.Entry) {
			e.ProxyAddresses, e.TargetAddress = e.ProxyAddresses[:1], ""
		})}, map[string]string{"no-routing-address": "-Add @{proxyAddresses='smtp:adelev@contoso.mail.onmicrosoft.com'}"}},
		{"cloud mailbox with a target on-prem", []directory.Entry{cloudMailbox("adelev", func(e *directory.Entry) { e.TargetAddress = "smtp:adelev@contoso.com" })},
			map[string]string{"contradiction": "-Clear targetAddress"}},
		{"migrated, and a local mailbox", []directory.Entry{cloudMailbox("adelev", func(e *directory.Entry) { e.RecipientTypeDetails = set(1) })}, map[string]string{"contradiction": "UserMailbox"}},
		{"taken away, and remote", []directory.Entry{person("adelev", func(e *directory.Entry) {
			e.TargetAddress, e.RemoteRecipientType, e.RecipientTypeDetails = "", set(12), set(2147483648)
		})}, map[string]string{"contradiction": "RemoteUserMailbox"}},
		{"archive in the cloud, and a target in the cloud", []directory.Entry{cloudMailbox("adelev", func(e *directory.Entry) {
			e.RemoteRecipientType, e.RecipientTypeDetails = set(2), directory.Int{}
		})}, map[string]string{"contradiction": "msExchRemoteRecipientType 2 says"}},
		{"mail in another domain", []directory.Entry{{DN: "CN=a" + below, ObjectClass: []string{"user"}, Mail: "a@fabrikam.com"}}, map[string]string{"foreign-address": "-Clear mail"}},
		{"local mailbox with a target in the cloud", []directory.Entry{person("adelev", func(e *directory.Entry) {
			e.TargetAddress, e.RecipientTypeDetails = "smtp:adelev@contoso.mail.onmicrosoft.com", set(1)
		})}, map[string]string{"contradiction": "on-prem mailbox"}},
		{"address in another domain", []directory.Entry{person("adelev", func(e *directory.Entry) { e.ProxyAddresses = append(e.ProxyAddresses, "smtp:adelev@fabrikam.com") })},
			map[string]string{"foreign-address": "-Remove @{proxyAddresses='smtp:adelev@fabrikam.com'}"}},
		{"members without address", []directory.Entry{func() directory.Entry {
			g := group
			g.Members = []string{"CN=svc" + below, "CN=Elsewhere,DC=fabrikam,DC=com", "CN=adelev" + below}
			return g
		}(), {DN: "CN=svc" + below, ObjectClass: []string{"user"}}, person("adelev", nil)}, map[string]string{"member-without-address": "Remove-ADGroupMember -Identity 'CN=Sales"}},
		{"contact without target", []directory.Entry{{DN: "CN=c" + below, ObjectClass: []string{"contact"}, Mail: "c@contoso.com"}}, map[string]string{"no-target": "targetAddress='smtp:"}},
		{"contact with a foreign mail", []directory.Entry{{DN: "CN=c" + below, ObjectClass: []string{"contact"}, Mail: "c@fabrikam.com"}}, nil},
		{"quotes", []directory.Entry{person("O'Neil \u2019x", func(e *directory.Entry) { e.TargetAddress = "O'Neil \u2019x@contoso.com" })}, map[string]string{"bad-target": "'CN=O''Neil \u2019\u2019x,"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]string{}
			for _, f := range View(view(t, c.entries...), policy) {
				got[f.Rule] += f.What + " | " + f.Fix + "\n"
				checkFinding(t, f)
			}
			for rule, part := range c.want {
				if !strings.Contains(got[rule], part) {
					t.Errorf("%s: %q; expected %q in it", rule, got[rule], part)
				}
			}
			for rule, text := range got {
				if _, expected := c.want[rule]; !expected {
					t.Errorf("%s: %q; expected no such finding", rule, text)
				}
			}
		})
	}
}

// commands are what a fix begins with.
var commands = []string{"Set-ADObject ", "Set-ADUser ", "Remove-ADGroupMember ", "New-MgDomain ", "Setup.exe ", "dsacls ", "coexist "}

// checkFinding wants a finding to be complete, with a fix that can be run.
func checkFinding(t *testing.T, f Finding) {
	t.Helper()
	if f.Rule == "" || f.Level != Error && f.Level != Warning || f.Object == "" || f.What == "" {
		t.Errorf("incomplete: %+v", f)
	}
	if !slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(f.Fix, c) }) || strings.Contains(f.Fix, "\n") {
		t.Errorf("%s: the fix %q is no command", f.Rule, f.Fix)
	}
}

// Two members, one finding each; and the order is the same every time.
func TestFindingsAreOrdered(t *testing.T) {
	v := view(t, person("b", func(e *directory.Entry) { e.TargetAddress = "b@contoso.com" }), person("a", func(e *directory.Entry) { e.TargetAddress = "X400:a" }))
	f := View(v, policy)
	if len(f) != 2 || f[0].Object > f[1].Object {
		t.Errorf("findings %+v; expected two, by DN", f)
	}
}

func TestDomainController(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Facts
		want []string
	}{
		{"fine", Facts{URL: "ldaps://dc1.contoso.com", SchemaVersion: 15334, Expected: 15137, SeesDeletions: true}, nil},
		{"no schema", Facts{Expected: 15137, SeesDeletions: true}, []string{"exchange-schema"}},
		{"old schema, no rights", Facts{SchemaVersion: 14734, Expected: 15137, Account: `CONTOSO\svc`, Contexts: []string{"DC=contoso,DC=com"}}, []string{"exchange-schema", "account-rights"}},
		{"down", Facts{Err: errors.New("connection refused")}, []string{"domain-controller"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			c.f.URL = "ldaps://dc1.contoso.com"
			for _, f := range DomainController(c.f) {
				checkFinding(t, f)
				got = append(got, f.Rule)
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("rules %q, expected %q", got, c.want)
			}
		})
	}
}

func TestGrant(t *testing.T) {
	for _, c := range []struct{ account, want string }{
		{`CONTOSO\svc`, `dsacls 'DC=contoso,DC=com' /G 'CONTOSO\svc:CA;Replicating Directory Changes'`},
		{"svc@contoso.com", `dsacls 'DC=contoso,DC=com' /G 'svc@contoso.com:CA;Replicating Directory Changes'`},
		{"CN=O'Neil,DC=contoso,DC=com", `dsacls 'DC=contoso,DC=com' /G "$((Get-ADDomain).NetBIOSName)\$((Get-ADUser -Identity 'CN=O''Neil,DC=contoso,DC=com').SamAccountName):CA;Replicating Directory Changes"`},
	} {
		if got := grant(c.account, []string{"DC=contoso,DC=com"}); got != c.want {
			t.Errorf("%s: %s; expected %s", c.account, got, c.want)
		}
	}
	if got := grant("svc@contoso.com", []string{"DC=a", "DC=b"}); strings.Count(got, "dsacls ") != 2 {
		t.Errorf("two naming contexts: %s", got)
	}
}

// One rule that many objects break takes no more room than others, and nothing is left out when all is asked for.
func TestReport(t *testing.T) {
	var entries []directory.Entry
	for i := range 25 {
		entries = append(entries, cloudMailbox(fmt.Sprintf("user%02d", i), func(e *directory.Entry) { e.TargetAddress = "SMTP" + e.TargetAddress[4:] }))
	}
	entries = append(entries, person("adelev", func(e *directory.Entry) { e.TargetAddress = "adelev@contoso.com" }))
	findings := View(view(t, entries...), policy)
	if len(findings) != 26 {
		t.Fatalf("%d findings", len(findings))
	}
	report := func(all bool) string {
		var b strings.Builder
		if err := Report(&b, findings, all); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	short, long := report(false), report(true)
	if n := strings.Count(short, "fix: Set-ADObject"); n != 11 || !strings.Contains(short, "and 15 more") || !strings.Contains(short, "fix for all: Get-ADObject") || !strings.HasSuffix(short, "26 findings\n") {
		t.Errorf("short report with %d fixes:\n%s", n, short)
	}
	if n := strings.Count(long, "fix: Set-ADObject"); n != 26 || strings.Contains(long, "more:") {
		t.Errorf("long report with %d fixes:\n%s", n, long)
	}
	if strings.Index(short, "bad-target") > strings.Index(short, "target-prefix") {
		t.Error("a warning comes before an error")
	}
}

func TestIgnore(t *testing.T) {
	findings := []Finding{{Rule: "target-prefix"}, {Rule: "bad-target"}}
	left, err := Ignore(findings, []string{"target-prefix", "no-target"})
	if err != nil || len(left) != 1 || left[0].Rule != "bad-target" || findings[0].Rule != "target-prefix" {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := Ignore(findings, []string{"target-prefx"}); err == nil {
		t.Error("a rule that there is none of was taken")
	}
}

// The document tells of all rules, in their order and their words, and of no others.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/directory-audit.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, line)
		}
	}
	var want []string
	for _, r := range Rules() {
		want = append(want, "| `"+r.Name+"` | "+string(r.Level)+" | "+r.Text+" | "+r.Why+" |")
	}
	if got, want := strings.Join(rows, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("docs/directory-audit.md has\n%s\nexpected\n%s", got, want)
	}
}

func BenchmarkView(b *testing.B) {
	bld := directory.NewBuilder()
	const n = 20_000
	for i := range n {
		if err := bld.Add(cloudMailbox(fmt.Sprintf("user%d", i), nil)); err != nil {
			b.Fatal(err)
		}
	}
	v := bld.Build()
	for b.Loop() {
		View(v, policy)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}
