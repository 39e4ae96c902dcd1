package directory

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name             string
		o                Object
		attribute, value string
		want             string
	}{
		{"primary", Object{ProxyAddresses: []string{"SMTP:a@contoso.com"}}, "proxyAddresses", "SMTP:a@contoso.com", "the primary address"},
		{"further", Object{ProxyAddresses: []string{"smtp:a@contoso.com"}}, "proxyAddresses", "smtp:a@contoso.com", "a further address"},
		{"x500", Object{ProxyAddresses: []string{"x500:/o=Contoso"}}, "proxyAddresses", "x500:/o=Contoso", "IMCEAEX"},
		{"sip", Object{ProxyAddresses: []string{"SIP:a@contoso.com"}}, "proxyAddresses", "SIP:a@contoso.com", "not used"},
		{"mail among proxies", Object{Mail: "a@contoso.com", ProxyAddresses: []string{"SMTP:A@contoso.com"}}, "mail", "a@contoso.com", "among proxyAddresses"},
		{"mail alone", Object{Mail: "a@contoso.com"}, "mail", "a@contoso.com", "have precedence"},
		{"target without prefix", Object{TargetAddress: "a@fabrikam.com"}, "targetAddress", "a@fabrikam.com", "prefix is missing"},
		{"target of another type", Object{TargetAddress: "X400:c=us"}, "targetAddress", "X400:c=us", "not used"},
		{"migrated with archive", Object{RemoteRecipientType: Int{6, true}}, "msExchRemoteRecipientType", "6", "the mailbox is in Exchange Online (ProvisionArchive, Migrated)"},
		{"shared", Object{RemoteRecipientType: Int{97, true}}, "msExchRemoteRecipientType", "97", "SharedMailbox"},
		{"archive only", Object{RemoteRecipientType: Int{2, true}}, "msExchRemoteRecipientType", "2", "no mailbox in Exchange Online (ProvisionArchive)"},
		{"taken away", Object{RemoteRecipientType: Int{12, true}}, "msExchRemoteRecipientType", "12", "no mailbox in Exchange Online"},
		{"type", Object{RecipientTypeDetails: Int{34359738368, true}}, "msExchRecipientTypeDetails", "34359738368", "RemoteSharedMailbox"},
		{"unknown type", Object{RecipientTypeDetails: Int{6, true}}, "msExchRecipientTypeDetails", "6", "no value that is known"},
		{"disabled", Object{AccountControl: Int{514, true}}, "userAccountControl", "514", "disabled; mail is delivered"},
		{"security group", Object{GroupType: Int{-2147483640, true}}, "groupType", "-2147483640", "security group (universal)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range c.o.Explain() {
				if m.Attribute == c.attribute && m.Value == c.value {
					if !strings.Contains(m.Meaning, c.want) {
						t.Errorf("%q; expected %q in it", m.Meaning, c.want)
					}
					return
				}
			}
			t.Errorf("%s %s is not explained: %v", c.attribute, c.value, c.o.Explain())
		})
	}
}
