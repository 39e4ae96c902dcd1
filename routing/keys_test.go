package routing_test

import (
	"slices"
	"testing"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/routing"
)

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		name, address string
		want          []directory.Term
	}{
		{"plain", "adelev@contoso.com", []directory.Term{{Key: directory.KeyProxy, Value: "adelev@contoso.com"}, {Key: directory.KeyMail, Value: "adelev@contoso.com"}}},
		{"tag", "adelev+news@contoso.com", []directory.Term{{Key: directory.KeyProxy, Value: "adelev+news@contoso.com"}, {Key: directory.KeyProxy, Value: "adelev@contoso.com"}}},
		{"IMCEAEX", "IMCEAEX-_O=Contoso_CN=adelev@contoso.com", []directory.Term{{Key: directory.KeyLegacyDN, Value: "/O=Contoso/CN=adelev"}, {Key: directory.KeyX500, Value: "/O=Contoso/CN=adelev"}}},
		{"IMCEANOTES", "IMCEANOTES-Adele+20Vance_Contoso@contoso.com", []directory.Term{{Key: directory.KeyNotes, Value: "Adele Vance/Contoso"}}},
		{"none", "nobody", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := routing.Keys(c.address)
			if c.want == nil && got != nil {
				t.Errorf("keys %v of what is no address", got)
			}
			for _, k := range c.want {
				if !slices.Contains(got, k) {
					t.Errorf("%v is not among %v", k, got)
				}
			}
		})
	}
}
