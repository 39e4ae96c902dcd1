package routing_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/routing"
)

func ExampleRouter_Route() {
	view, err := directory.ReadLDIF(strings.NewReader(`
dn: CN=Megan Bowen,OU=Employees,DC=contoso,DC=com
objectClass: user
proxyAddresses: SMTP:MeganB@contoso.com
msExchRemoteRecipientType: 4
targetAddress: SMTP:MeganB@contoso.mail.onmicrosoft.com
`), "example.ldif")
	if err != nil {
		fmt.Println(err)
		return
	}
	router := routing.New(routing.Policy{
		Domains:       []string{"contoso.com"},
		TenantDomain:  "contoso.onmicrosoft.com",
		RoutingDomain: "contoso.mail.onmicrosoft.com",
		MaxAge:        24 * time.Hour,
	})
	for _, recipient := range []string{"meganb+news@contoso.com", "unknown@contoso.com"} {
		fmt.Print(router.Route(view, time.Minute, routing.Query{From: routing.Internet, Recipient: recipient}).Explain())
	}
	// Output:
	// meganb+news@contoso.com: sent to the cloud as MeganB+news@contoso.mail.onmicrosoft.com (remote-mailbox)
	//   object    CN=Megan Bowen,OU=Employees,DC=contoso,DC=com
	//   matched   proxyAddresses smtp:meganb@contoso.com, without +news
	//   because   msExchRemoteRecipientType 4 is a mailbox in Exchange Online
	// unknown@contoso.com: rejected with 550 5.1.1 No such recipient here (unknown)
	//   because   no proxyAddresses or mail value in the directory matches
}
