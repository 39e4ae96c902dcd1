package tenant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/gateway/hygiene/tenant"
	"github.com/coexist-mail/coexist/routing"
)

const (
	ours    = "3f9c4ab5-0001-4b5c-9d3e-2f1a00000001"
	foreign = "3f9c4ab5-0002-4b5c-9d3e-2f1a00000002"
)

func TestExamine(t *testing.T) {
	domains := []string{"contoso.com", "contoso.onmicrosoft.com", "contoso.mail.onmicrosoft.com"}
	both := tenant.Options{Domains: domains, ID: ours}
	for _, c := range []struct {
		name   string
		o      tenant.Options
		header string
		want   tenant.Standing
		side   routing.Side
		claim  string
	}{
		{"both", both, "X-OriginatorOrg: contoso.com\r\nX-MS-Exchange-CrossTenant-Id: " + ours + "\r\n", tenant.Ours, routing.Cloud, ours},
		{"initial domain", both, "X-OriginatorOrg: Contoso.onmicrosoft.com\r\n", tenant.Ours, routing.Cloud, "Contoso.onmicrosoft.com"},
		{"id only", both, "x-ms-exchange-crosstenant-id:" + strings.ToUpper(ours) + "\r\n", tenant.Ours, routing.Cloud, strings.ToUpper(ours)},
		{"folded", both, "X-MS-Exchange-CrossTenant-Id:\r\n\t" + ours + "\r\n", tenant.Ours, routing.Cloud, ours},
		{"another domain", both, "X-OriginatorOrg: fabrikam.com\r\n", tenant.Foreign, routing.Internet, "fabrikam.com"},
		{"another id", both, "X-MS-Exchange-CrossTenant-Id: " + foreign + "\r\n", tenant.Foreign, routing.Internet, foreign},
		{"our domain, another id", both, "X-OriginatorOrg: contoso.com\r\nX-MS-Exchange-CrossTenant-Id: " + foreign + "\r\n", tenant.Foreign, routing.Internet, foreign},
		{"our id, another domain", both, "X-MS-Exchange-CrossTenant-Id: " + ours + "\r\nX-OriginatorOrg: fabrikam.com\r\n", tenant.Foreign, routing.Internet, "fabrikam.com"},
		{"two domains", both, "X-OriginatorOrg: contoso.com\r\nX-OriginatorOrg: fabrikam.com\r\n", tenant.Foreign, routing.Internet, "fabrikam.com"},
		{"subdomain", both, "X-OriginatorOrg: x.contoso.com\r\n", tenant.Foreign, routing.Internet, "x.contoso.com"},
		{"empty", both, "X-OriginatorOrg: \r\n", tenant.Foreign, routing.Internet, ""},
		{"two values in one", both, "X-OriginatorOrg: contoso.com, fabrikam.com\r\n", tenant.Foreign, routing.Internet, "contoso.com, fabrikam.com"},
		{"none", both, "Subject: x\r\n", tenant.Unstated, routing.Internet, ""},
		{"none, trusted", tenant.Options{Domains: domains, TrustUnstated: true}, "Subject: x\r\n", tenant.Unstated, routing.Cloud, ""},
		{"another one, with none trusted", tenant.Options{Domains: domains, TrustUnstated: true}, "X-OriginatorOrg: fabrikam.com\r\n", tenant.Foreign, routing.Internet, "fabrikam.com"},
		{"in the body", both, "Subject: x\r\n\r\nX-OriginatorOrg: contoso.com\r\n", tenant.Unstated, routing.Internet, ""},
		{"only domains are known", tenant.Options{Domains: domains}, "X-MS-Exchange-CrossTenant-Id: " + foreign + "\r\n", tenant.Unstated, routing.Internet, ""},
		{"only the id is known", tenant.Options{ID: "{" + ours + "}"}, "X-OriginatorOrg: fabrikam.com\r\nX-MS-Exchange-CrossTenant-Id: " + ours + "\r\n", tenant.Ours, routing.Cloud, ours},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := tenant.New(c.o)
			if err != nil {
				t.Fatal(err)
			}
			got := p.Examine([]byte(c.header + "\r\nbody\r\n"))
			if got.Standing != c.want || got.Side != c.side || got.Claim != c.claim {
				t.Errorf("%+v, want %s, %s, %q", got, c.want, c.side, c.claim)
			}
		})
	}
}

func TestReply(t *testing.T) {
	for want, f := range map[string]tenant.Finding{
		"550 [5 7 64] TenantAttribution; Relay Access Denied: the message is from another tenant (fabrikam.com)": {Standing: tenant.Foreign, Claim: "fabrikam.com"},
		"550 [5 7 64] TenantAttribution; Relay Access Denied: the message does not say which tenant it is from":  {Standing: tenant.Unstated},
	} {
		r := f.Reply()
		if got := fmt.Sprint(r.Code, r.EnhancedCode, " ", r.Message); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]tenant.Options{
		"nothing": {}, "domain": {Domains: []string{"a b"}}, "id": {ID: "contoso"}, "id with a hyphen too many": {ID: strings.Replace(ours, "0001", "-001", 1)},
	} {
		if _, err := tenant.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Nothing but the exact domain or id makes a message the tenant's.
func FuzzExamine(f *testing.F) {
	p, err := tenant.New(tenant.Options{Domains: []string{"contoso.com"}, ID: ours})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"X-OriginatorOrg: contoso.com\r\n\r\n", "X-MS-Exchange-CrossTenant-Id: " + ours, "X-OriginatorOrg: contoso.com\r\n \x00\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		got := p.Examine(msg)
		if got.Side == routing.Cloud && !strings.EqualFold(strings.TrimSuffix(got.Claim, "."), "contoso.com") && !strings.Contains(strings.ToLower(got.Claim), ours) {
			t.Errorf("%+v", got)
		}
	})
}
