package gateway_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// boundary is one way through the gateway, with a sender and a recipient that lead along it.
type boundary struct {
	from, to routing.Side
	rcpt     string
	arrived  func(*gatewaytest.Gateway) []fakemta.Message
}

func onprem(g *gatewaytest.Gateway) []fakemta.Message   { return g.WaitOnPrem(1) }
func cloud(g *gatewaytest.Gateway) []fakemta.Message    { return g.WaitCloud(1) }
func internet(g *gatewaytest.Gateway) []fakemta.Message { return g.WaitInternet(1) }

// The ways between two systems, in the order of the columns below.
var ways = []boundary{
	{routing.Internet, routing.OnPrem, "adelev@contoso.com", onprem},
	{routing.Internet, routing.Cloud, "meganb@contoso.com", cloud},
	{routing.Cloud, routing.OnPrem, "adelev@contoso.com", onprem},
	{routing.OnPrem, routing.Cloud, "meganb@contoso.com", cloud},
	{routing.OnPrem, routing.Internet, "other@fabrikam.com", internet},
	{routing.Cloud, routing.Internet, "other@fabrikam.com", internet},
}

// firewall has the rows of the table in docs/hygiene.md, and for each way whether the field is kept (k) or taken out (-):
// internet>onprem, internet>cloud, cloud>onprem, onprem>cloud, onprem>internet, cloud>internet.
var firewall = []struct{ ways, field string }{
	{"------", "X-MS-Exchange-Organization-SCL: -1"},
	{"------", "X-MS-Exchange-Organization-AuthAs: Internal"},
	{"------", "X-MS-Exchange-Forest-RulesExecuted: x"},
	{"------", "X-MS-Exchange-CrossPremises-AuthSource: x"},
	{"--k--k", "X-MS-Exchange-CrossTenant-FromEntityHeader: Hosted"},
	{"--k--k", "X-OriginatorOrg: contoso.com"},
	{"--k--k", "X-MS-Exchange-Transport-CrossTenantHeadersStamped: x"},
	{"--k---", "X-Forefront-Antispam-Report: CIP:192.0.2.1;SCL:1"},
	{"--k---", "X-Microsoft-Antispam: BCL:0;"},
	{"--k---", "X-Microsoft-Antispam-Message-Info: x"},
	{"--kk--", "Authentication-Results: gw1.contoso.com; dmarc=pass"},
	{"kkkkkk", "Authentication-Results: mx.fabrikam.com; dmarc=pass"},
	{"--kkkk", "X-Coexist-Note: x"},
	{"------", "Return-Path: <someone@fabrikam.com>"},
	{"kkkkkk", "X-MS-Exchange-Inbox-Rules-Loop: adele@contoso.com"},
	{"kkkkkk", "X-MS-Exchange-Transport-Rules-Loop: 1"},
	{"kkkkkk", "X-MS-Exchange-Moderation-Loop: 1"},
	{"kkkkkk", "X-MS-Exchange-ForwardingLoop: adele@contoso.com;;"},
	{"kkkkkk", "X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent"},
	{"kkkkkk", "X-MS-Gcc-Journal-Report: x"},
	{"kkkkkk", "X-LD-Processed: 00000000-0000-0000-0000-000000000000,ExtAddr"},
	{"kkkkkk", "X-EOPAttributedMessage: 0"},
	{"kkkkkk", "X-EOPTenantAttributedMessage: 00000000-0000-0000-0000-000000000000:0"},
	{"kkkkkk", "Received: from mx.fabrikam.com by mail.fabrikam.com"},
	{"kkkkkk", "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=fabrikam.com; s=s; b=AAAA"},
	{"kkkkkk", "ARC-Authentication-Results: i=1; gw1.contoso.com; dmarc=pass"},
	{"kkkkkk", "DKIM-Signature: v=1; a=rsa-sha256; d=fabrikam.com; s=s; h=from; bh=AAAA; b=AAAA"},
	{"kkkkkk", "X-MS-TNEF-Correlator: <1@contoso.com>"},
	{"kkkkkk", "X-MS-Has-Attach: yes"},
	{"kkkkkk", "Thread-Topic: x"},
	{"kkkkkk", "Thread-Index: AdA="},
	{"kkkkkk", "Content-Class: urn:content-classes:message"},
	{"kkkkkk", "X-MS-Exchange-Calendar-Originator-Id: x"},
	{"kkkkkk", "Importance: high"},
	{"kkkkkk", "Sensitivity: private"},
	{"kkkkkk", "X-Auto-Response-Suppress: All"},
	{"kkkkkk", "Auto-Submitted: auto-generated"},
	{"kkkkkk", "Precedence: bulk"},
	{"kkkkkk", "List-Unsubscribe: <mailto:x@fabrikam.com>"},
}

// TestFirewallOnTheWay sends each row over each boundary, over real connections: at the top of the header, at its end, and again in a part
// and in an attached message, which are left alone.
func TestFirewallOnTheWay(t *testing.T) {
	for column, w := range ways {
		t.Run(fmt.Sprintf("%s to %s", w.from, w.to), func(t *testing.T) {
			t.Parallel()
			var top, kept strings.Builder
			for _, row := range firewall {
				top.WriteString(row.field + "\r\n")
				if row.ways[column] == 'k' {
					kept.WriteString(row.field + "\r\n")
				}
			}
			rest := "From: <someone@contoso.com>\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
			body := "\r\n--b\r\n" + top.String() + "Content-Type: text/plain\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" +
				top.String() + "Subject: inner\r\n\r\n" + top.String() + "\r\n--b--\r\n"
			g := gatewaytest.Start(t)
			g.Send(w.from, "someone@contoso.com", []string{w.rcpt}, top.String()+rest+top.String()+body)
			got := string(w.arrived(g)[0].Data)
			// What stands on top is the gateway's, up to its one Received field; the fields that look like those of the gateway stand below it.
			_, got, ok := strings.Cut(got, "Received: from client.example")
			if !ok {
				t.Fatalf("no Received field in\n%s", got)
			}
			_, got, _ = strings.Cut(got, firstLine(kept.String()))
			want := strings.TrimPrefix(kept.String(), firstLine(kept.String())) + rest + kept.String() + body
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line + "\r\n"
}

// With no X-OriginatorOrg, or with that of the tenant, Exchange Online may send anywhere; what names another tenant reaches the shared
// namespace only, although it comes from the same addresses.
func TestOtherTenantsDoNotRelay(t *testing.T) {
	with := func(set func(*config.Config)) gatewaytest.Options { return gatewaytest.Options{Configure: set} }
	nothing := func(*config.Config) {}
	for _, tt := range []struct {
		name    string
		options gatewaytest.Options
		header  string
		rcpts   []string
		refused string
	}{
		{"says nothing", with(nothing), "", []string{"other@fabrikam.com"}, ""},
		{"shared namespace", with(nothing), "X-OriginatorOrg: contoso.com\r\n", []string{"other@fabrikam.com"}, ""},
		{"tenant domain, letter case", with(nothing), "x-originatororg: Contoso.OnMicrosoft.com\r\n", []string{"other@fabrikam.com"}, ""},
		{"another tenant", with(nothing), "X-OriginatorOrg: fabrikam.com\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"another tenant, to us", with(nothing), "X-OriginatorOrg: fabrikam.com\r\n", []string{"adelev@contoso.com"}, ""},
		{"another tenant, to us and beyond", with(nothing), "X-OriginatorOrg: fabrikam.com\r\n", []string{"adelev@contoso.com", "other@fabrikam.com"}, "550 5.7.64"},
		{"ours on top of another", with(nothing), "X-OriginatorOrg: contoso.com\r\nX-OriginatorOrg: fabrikam.com\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"ours below another", with(nothing), "X-OriginatorOrg: fabrikam.com\r\nX-OriginatorOrg: contoso.com\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"ours as the beginning of another", with(nothing), "X-OriginatorOrg: contoso.com.fabrikam.com\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"ours in the body", with(nothing), "X-OriginatorOrg: fabrikam.com\r\n\r\nX-OriginatorOrg: contoso.com\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"a further domain of the tenant", with(func(c *config.Config) { c.Cloud.TenantDomains = []string{"contoso.de"} }), "X-OriginatorOrg: contoso.de\r\n", []string{"other@fabrikam.com"}, ""},
		{"any tenant", with(func(c *config.Config) { c.Cloud.TenantDomains = []string{"*"} }), "X-OriginatorOrg: fabrikam.com\r\n", []string{"other@fabrikam.com"}, ""},
		{"another id", with(func(c *config.Config) { c.Cloud.TenantID = "72f988bf-86f1-41af-91ab-2d7cd011db47" }),
			"X-OriginatorOrg: contoso.com\r\nX-MS-Exchange-CrossTenant-Id: 00000000-86f1-41af-91ab-2d7cd011db47\r\n", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"checked, and says nothing", with(func(c *config.Config) { c.Cloud.CheckTenant = true }), "", []string{"other@fabrikam.com"}, "550 5.7.64"},
		{"checked, says nothing, and is trusted", with(func(c *config.Config) { c.Cloud.CheckTenant, c.Cloud.TrustUnstated = true, true }), "", []string{"other@fabrikam.com"}, ""},
		{"checked, another, to us", with(func(c *config.Config) { c.Cloud.CheckTenant = true }), "X-OriginatorOrg: fabrikam.com\r\n", []string{"adelev@contoso.com"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.StartWith(t, tt.options)
			_, err := g.TrySend(routing.Cloud, "someone@contoso.com", tt.rcpts, tt.header+"Subject: x\r\n\r\nbody\r\n")
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && !strings.HasPrefix(code(err), tt.refused):
				t.Errorf("reply %q, want %s", code(err), tt.refused)
			}
			if n := len(g.Internet.Messages()) + len(g.OnPrem.Messages()); tt.refused != "" && n != 0 {
				t.Errorf("%d messages were delivered all the same", n)
			}
		})
	}
}

// TestFirewallDocs holds the table in docs/hygiene.md against the rules: a line for each.
func TestFirewallDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/hygiene.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range message.Rules() {
		var line strings.Builder
		line.WriteString("| `" + strings.Join(rule.Names, "` `") + "` |")
		for _, w := range ways {
			word := " kept |"
			if rule.Strips(message.Boundary{From: w.from, To: w.to}) {
				word = " out |"
			}
			line.WriteString(word)
		}
		line.WriteString(" " + rule.Why + " |\n")
		if !strings.Contains(string(page), line.String()) {
			t.Errorf("docs/hygiene.md has no line\n%s", line.String())
		}
	}
}
