package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/directory"
)

// bigView is a directory of 100,000 objects: mail users, cloud mailboxes and 1,000 groups of 50.
func bigView(b *testing.B) *directory.View {
	b.Helper()
	var s strings.Builder
	for i := range 99_000 {
		fmt.Fprintf(&s, "dn: CN=user%d,OU=Employees,DC=contoso,DC=com\nobjectClass: user\nmail: user%d@contoso.com\nproxyAddresses: SMTP:user%d@contoso.com\n"+
			"proxyAddresses: smtp:first%d.last@contoso.com\nproxyAddresses: smtp:user%d@%s\n", i, i, i, i, i, routingDomain)
		if i%2 == 0 {
			fmt.Fprintf(&s, "targetAddress: SMTP:user%d@contoso.com\n\n", i)
		} else {
			fmt.Fprintf(&s, "msExchRemoteRecipientType: 4\ntargetAddress: SMTP:user%d@%s\n\n", i, routingDomain)
		}
	}
	for i := range 1000 {
		fmt.Fprintf(&s, "dn: CN=group%d,OU=Groups,DC=contoso,DC=com\nobjectClass: group\nproxyAddresses: SMTP:group%d@contoso.com\n", i, i)
		for j := range 50 {
			fmt.Fprintf(&s, "member: CN=user%d,OU=Employees,DC=contoso,DC=com\n", i*50+j)
		}
		s.WriteByte('\n')
	}
	v, err := directory.ReadLDIF(strings.NewReader(s.String()), "bench")
	if err != nil {
		b.Fatal(err)
	}
	if n := v.Stats().Total(); n != 100_000 {
		b.Fatalf("%d objects", n)
	}
	return v
}

func BenchmarkRoute(b *testing.B) {
	view, r := bigView(b), New(testPolicy())
	const step = 7919 // a prime, so that the objects come in no order
	for _, bm := range []struct {
		name, to string
		number   func(i int) int
		reason   Reason
	}{
		{"onprem", "user%d@contoso.com", func(i int) int { return i * step % 49500 * 2 }, TargetOnPrem},
		{"cloud", "user%d@contoso.com", func(i int) int { return i*step%49500*2 + 1 }, RemoteMailbox},
		{"cloud-by-alias", "First%d.Last@Contoso.com", func(i int) int { return i*step%49500*2 + 1 }, RemoteMailbox},
		{"cloud-with-tag", "user%d+news@contoso.com", func(i int) int { return i*step%49500*2 + 1 }, RemoteMailbox},
		{"unknown", "nobody%d@contoso.com", func(i int) int { return i }, Unknown},
		{"foreign", "user%d@fabrikam.com", func(i int) int { return i }, Foreign},
		{"group-of-50", "group%d@contoso.com", func(i int) int { return i * step % 1000 }, Group},
	} {
		b.Run(bm.name, func(b *testing.B) {
			queries := make([]Query, 10000)
			for i := range queries {
				queries[i] = Query{From: Gateway, Recipient: fmt.Sprintf(bm.to, bm.number(i))}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if d := r.Route(view, time.Second, queries[i%len(queries)]); d.Reason != bm.reason {
					b.Fatal(d.Explain())
				}
				i++
			}
		})
	}
}
