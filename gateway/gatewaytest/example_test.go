package gatewaytest_test

import (
	"errors"
	"fmt"
	"log"
	"net/textproto"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/routing"
)

// A gateway with the sample directory: mail for a user with a mailbox in Exchange Online goes to the cloud, under the address that only
// Exchange Online owns.
func ExampleNew() {
	g, err := gatewaytest.New(gatewaytest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	if _, err := g.TrySend(routing.Internet, "someone@fabrikam.com", []string{"meganb@contoso.com"}, "Subject: hello\r\n\r\nhello\r\n"); err != nil {
		log.Fatal(err)
	}
	messages, err := g.Cloud.Wait(1, 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(messages[0].Sender, "to", messages[0].Recipients[0])

	_, err = g.TrySend(routing.Internet, "someone@fabrikam.com", []string{"nobody@contoso.com"}, "Subject: hello\r\n\r\nhello\r\n")
	var refused *textproto.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Code, refused.Msg)
	}
	// Output:
	// someone@fabrikam.com to MeganB@contoso.mail.onmicrosoft.com
	// 550 5.1.1 No such recipient here
}

// In a test, Start ends everything with it.
func TestExample(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{
		OnPrem: fakemta.Options{Rules: []fakemta.Rule{{Verb: fakemta.Rcpt, Action: fakemta.Reply, Reply: "552 5.2.2 mailbox full"}}},
	})
	if _, err := g.TrySend(routing.Internet, "someone@fabrikam.com", []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nx\r\n"); err == nil {
		t.Error("the refusal of the next hop was not passed back")
	}
	g.Send(routing.OnPrem, "adelev@contoso.com", []string{"meganb@contoso.com"}, "Subject: x\r\n\r\nx\r\n")
	if got := g.WaitCloud(1)[0].Recipients[0]; got != "MeganB@contoso.mail.onmicrosoft.com" {
		t.Errorf("recipient %s", got)
	}
}
