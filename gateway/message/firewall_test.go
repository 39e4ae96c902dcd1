package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// The columns of the expectations below, in this order.
var allBoundaries = []Boundary{
	{routing.Internet, routing.OnPrem}, {routing.Internet, routing.Cloud}, {routing.Internet, routing.Internet},
	{routing.OnPrem, routing.OnPrem}, {routing.OnPrem, routing.Cloud}, {routing.OnPrem, routing.Internet},
	{routing.Cloud, routing.OnPrem}, {routing.Cloud, routing.Cloud}, {routing.Cloud, routing.Internet},
	{routing.Gateway, routing.OnPrem}, {routing.Gateway, routing.Cloud}, {routing.Gateway, routing.Internet},
}

// TestFirewall has a line for each name of the table, and for names that are close to it. A character for each boundary: "-"
// where the field is taken out, "k" where it is kept.
func TestFirewall(t *testing.T) {
	const (
		//          from  internet on-prem  cloud  gateway
		//          to    o c i    o c i    o c i  o c i
		kept              = "kkk kkk kkk kkk"
		out               = "--- --- --- ---"
		notFromCloud      = "--- --- k-k k-k"
		cloudToOnPremOnly = "--- --- k-- k--"
		notFromInternet   = "--- kkk kkk kkk"
		notAtItsEdge      = "--- kk- kk- kk-"
	)
	cases := []struct{ want, field string }{
		{out, "X-MS-Exchange-Organization-SCL: -1"},
		{out, "X-MS-Exchange-Organization-AuthAs: Internal"},
		{out, "X-MS-Exchange-Organization-Cross-Premises-Headers-Promoted: x"},
		{out, "x-ms-exchange-organization-messagedirectionality : Originating"},
		{out, "X-MS-Exchange-Organization-: nothing more"},
		{out, "X-MS-Exchange-Organ\x00ization-SCL: -1"},
		{out, "X-MS-Exchange-Organization-SCL\x01: -1"},
		{out, "X-MS-Exchange-Organization-A B: -1"},
		{out, "X-MS-Exchange-Organization-SCL\r\n : -1"},
		{out, "X-MS-Exchange-Organization-SCL\x00\r\n\t: -1"},
		{out, "X-MS-Exchange-Forest-RulesExecuted: x"},
		{out, "X-MS-Exchange-CrossPremises-AuthAs: Internal"},
		{kept, "X-MS-Exchange-Organization: not one of them"},
		{kept, "X-MS-Exchange-Organisation-SCL: another spelling"},
		{kept, "X-X-MS-Exchange-Organization-SCL: 1"},
		{kept, "X-MS-Exchange-Organization-SCL has no colon"},
		{notFromCloud, "X-MS-Exchange-CrossTenant-Id: 00000000-0000-0000-0000-000000000000"},
		{notFromCloud, "X-OriginatorOrg: contoso.com"},
		{notFromCloud, "X-MS-Exchange-Transport-CrossTenantHeadersStamped: x"},
		{kept, "X-OriginatorOrganization: x"},
		{kept, "X-MS-Exchange-Transport-CrossTenantHeadersPromoted: x"},
		{cloudToOnPremOnly, "X-Forefront-Antispam-Report: CIP:192.0.2.1;SCL:9"},
		{cloudToOnPremOnly, "X-Forefront-Antispam-Report-Untrusted: x"},
		{cloudToOnPremOnly, "X-Microsoft-Antispam: BCL:0;"},
		{cloudToOnPremOnly, "X-Microsoft-Antispam-Message-Info: x"},
		{kept, "X-Forefront: x"},
		{kept, "X-Microsoft-Exchange-Diagnostics: x"},
		{notFromInternet, "X-Coexist-TNEF: converted"},
		{notFromInternet, "x-coexist-anything: x"},
		{kept, "X-Coexistence: x"},
		{out, "Return-Path: <a@contoso.com>"},
		{notAtItsEdge, "Authentication-Results: gw1.contoso.com; spf=pass"},
		{notAtItsEdge, "Authentication-Results:\r\n\tGW1.Contoso.com\r\n\t1; dkim=pass"},
		{notAtItsEdge, "Authentication-Results: (comment (in \\) it)) \"gw1.contoso.com\"; none"},
		{notAtItsEdge, "Authentication-Results: gw1.contoso.com"},
		{notAtItsEdge, "aUTHENTICATION-rESULTS : gw1.contoso.com; spf=pass"},
		{notAtItsEdge, "Authentication-Results: gw1.contoso.com.; spf=pass"},
		{notAtItsEdge, "Authentication-Results: gw1.contoso.com/1; spf=pass"},
		{notAtItsEdge, "Authentication-Results: gw1.contoso.com=1; spf=pass"},
		{notAtItsEdge, "Authentication-Results: \"gw1\\.contoso\\.com\"; spf=pass"},
		{notAtItsEdge, "Authentication-Results: \" gw1.contoso.com \"; spf=pass"},
		{notAtItsEdge, "Authentication-Results: (a)(b) (c\r\n (d))\r\n\tgw1.contoso.com (e); spf=pass"},
		{notAtItsEdge, "Authentication-Results: \x01gw1.contoso.com; spf=pass"},
		{notAtItsEdge, "Authentication-Results: gw1\x00.contoso.com; spf=pass"},
		{notAtItsEdge, "Authentication-Results: =?utf-8?q?gw1.contoso.com?=; spf=pass"},
		{notAtItsEdge, "Authentication-Results: =?us-ascii?b?Z3cxLmNvbnRvc28uY29tOyBzcGY9cGFzcw==?="},
		{notAtItsEdge, "Authentication-Results\x00: gw1.contoso.com; spf=pass"},
		{notAtItsEdge, "Authentication-Results\r\n : gw1.contoso.com; spf=pass"},
		{kept, "Authentication-Results: gw1.contoso.com.fabrikam.com.; spf=pass"},
		{kept, "Authentication-Results: gw1.contoso.com-fabrikam.com; spf=pass"},
		{kept, "Authentication-Results: agw1.contoso.com; spf=pass"},
		{kept, "Authentication-Results: mx.fabrikam.com; spf=pass (gw1.contoso.com)"},
		{kept, "Authentication-Results\x00: mx.fabrikam.com; spf=pass"},
		{kept, "Authentication-Results: gw1.contoso.com.fabrikam.com; spf=pass"},
		{kept, "Authentication-Results: mx.fabrikam.com; spf=pass smtp.helo=gw1.contoso.com"},
		{kept, "Authentication-Results: (never closed"},
		{kept, "Authentication-Results:"},
		{kept, "ARC-Authentication-Results: i=1; gw1.contoso.com; spf=pass"},
		{kept, "X-MS-Exchange-Inbox-Rules-Loop: adele@contoso.com"},
		{kept, "X-MS-Exchange-Transport-Rules-Loop: 1"},
		{kept, "X-MS-Exchange-Moderation-Loop: 1"},
		{kept, "X-MS-Exchange-ForwardingLoop: adele@contoso.com"},
		{kept, "X-MS-Exchange-Generated-Message-Source: Journal Agent"},
		{kept, "X-MS-Gcc-Journal-Report: x"},
		{kept, "X-LD-Processed: 00000000-0000-0000-0000-000000000000,ExtAddr"},
		{kept, "X-EOPAttributedMessage: 0"},
		{kept, "X-EOPTenantAttributedMessage: 00000000-0000-0000-0000-000000000000:0"},
		{kept, "X-MS-TNEF-Correlator: <1@contoso.com>"},
		{kept, "X-MS-Has-Attach: yes"},
		{kept, "X-MS-Exchange-Calendar-Originator-Id: x"},
		{kept, "Thread-Index: AdA="},
		{kept, "Auto-Submitted: auto-generated"},
		{kept, "X-Auto-Response-Suppress: All"},
		{kept, "List-Id: <all.contoso.com>"},
		{kept, "Received: by gw1.contoso.com"},
		{kept, "Received-SPF: pass"},
		{kept, "DKIM-Signature: v=1"},
		{kept, "ARC-Seal: i=1"},
		{kept, "Resent-From: a@contoso.com"},
		{kept, "Bcc: b@contoso.com"},
		{kept, "Subject: X-OriginatorOrg: contoso.com"},
	}
	f := NewFirewall("gw1.contoso.com")
	for _, c := range cases {
		want := strings.ReplaceAll(c.want, " ", "")
		for i, b := range allBoundaries {
			in := "From: a@contoso.com\r\n" + c.field + "\r\nTo: b@contoso.com\r\n\r\n" + c.field + "\r\n"
			left := "From: a@contoso.com\r\nTo: b@contoso.com\r\n\r\n" + c.field + "\r\n"
			if want[i] == 'k' {
				left = in
			}
			if got := string(f.Apply(b, []byte("Top: 1\r\n"), []byte(in)).Bytes()); got != "Top: 1\r\n"+left {
				t.Errorf("%q from %q to %q: got\n%q, want\n%q", c.field, b.From, b.To, got, left)
			}
		}
	}
}

// TestFirewallTableIsSound looks at the table itself.
func TestFirewallTableIsSound(t *testing.T) {
	seen := make(map[string]string)
	for _, r := range Rules() {
		if r.Why == "" || len(r.Names) == 0 {
			t.Errorf("a rule without names or reason: %v", r)
		}
		for _, n := range r.Names {
			if other, ok := seen[strings.ToLower(n)]; ok {
				t.Errorf("%s stands twice: %q and %q", n, other, r.Why)
			}
			seen[strings.ToLower(n)] = r.Why
			if strings.Contains(strings.TrimSuffix(n, "*"), "*") {
				t.Errorf("%s: * is for the end of a name", n)
			}
		}
	}
}

func TestFirewallLeavesOddMessagesAlone(t *testing.T) {
	f := NewFirewall("gw1.contoso.com")
	for name, msg := range oddMessages {
		for _, b := range allBoundaries {
			if got := string(f.Apply(b, []byte("Top: 1\r\n"), []byte(msg)).Bytes()); got != "Top: 1\r\n"+msg {
				t.Errorf("%s, from %q to %q: %q", name, b.From, b.To, got)
			}
		}
	}
}

func FuzzFirewall(f *testing.F) {
	for _, s := range oddMessages {
		f.Add([]byte(s))
	}
	f.Add([]byte("Authentication-Results: (a\\\r\n\r\n"))
	f.Add([]byte("X-MS-Exchange-Organization-\x00: a\r\nX-OriginatorOrg\r\n :b\r\n\r\n"))
	firewall := NewFirewall("gw1.contoso.com")
	f.Add([]byte(" fold\r\nX-MS-Exchange-Organization-SCL: 1\n\tb\rX-MS-Exchange-Organization-AuthAs: a\r\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, body := rawmime.HeaderEnd(in)
		for _, b := range allBoundaries {
			out := firewall.Apply(b, nil, in).Bytes()
			if !bytes.HasSuffix(out, in[body:]) {
				t.Errorf("from %q to %q: the body of %q is not whole in %q", b.From, b.To, in, out)
			}
			for f := range rawmime.Fields(out) {
				if f.HasPrefix("X-MS-Exchange-Organization-") {
					t.Errorf("from %q to %q: %q lets %q pass", b.From, b.To, in, f.Name)
				}
			}
			if again := firewall.Apply(b, nil, out).Bytes(); !bytes.Equal(again, out) {
				t.Errorf("from %q to %q: a second pass makes %q of %q", b.From, b.To, again, out)
			}
		}
	})
}

func ExampleFirewall() {
	f := NewFirewall("gw1.contoso.com")
	msg := []byte("Subject: Minutes\r\nX-MS-Exchange-Organization-SCL: -1\r\n\r\nHello\r\n")
	out := f.Apply(Boundary{routing.Internet, routing.Cloud}, []byte("Received: by gw1.contoso.com\r\n"), msg)
	fmt.Printf("%q", out.Bytes())
	// Output: "Received: by gw1.contoso.com\r\nSubject: Minutes\r\n\r\nHello\r\n"
}
