package directory_test

import (
	"fmt"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

func ExampleReadLDIF() {
	const export = `version: 1

dn: CN=Adele Vance,OU=Users,DC=contoso,DC=com
objectClass: user
proxyAddresses: SMTP:AdeleV@contoso.com
targetAddress: SMTP:AdeleV@contoso.mail.onmicrosoft.com
`
	view, err := directory.ReadLDIF(strings.NewReader(export), "contoso.ldif")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, ref := range view.Find(directory.KeyProxy, "adelev@contoso.com", nil) {
		object := view.Object(ref)
		fmt.Println(object.DN, object.Kind, object.TargetAddress)
	}
	// Output: CN=Adele Vance,OU=Users,DC=contoso,DC=com user SMTP:AdeleV@contoso.mail.onmicrosoft.com
}

func ExampleView_Apply() {
	builder := directory.NewBuilder()
	adele := directory.Entry{DN: "CN=Adele Vance,DC=contoso,DC=com", GUID: directory.GUID{1}, ObjectClass: []string{"user"}, Mail: "adelev@contoso.com"}
	if err := builder.Add(adele); err != nil {
		fmt.Println(err)
		return
	}
	before := builder.Build()
	after, err := before.Apply(directory.Delta{Deletes: []directory.GUID{adele.GUID}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(before.Stats().Total(), after.Stats().Total())
	// Output: 1 0
}
