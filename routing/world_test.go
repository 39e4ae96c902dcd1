package routing

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/directory"
)

const (
	routingDomain = "contoso.mail.onmicrosoft.com"
	tenantDomain  = "contoso.onmicrosoft.com"
)

// testPolicy has a second and an internationalized domain.
func testPolicy() Policy {
	return Policy{
		Domains:       []string{"contoso.com", "Contoso.de", "münchen.contoso.com"},
		TenantDomain:  tenantDomain,
		RoutingDomain: routingDomain,
		Postmaster:    "postmaster@contoso.com",
		MaxAge:        time.Hour,
	}
}

// expandDomains writes the domains that the tables abbreviate out.
func expandDomains(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if at := strings.TrimSuffix(w, "@R"); at != w {
			words[i] = at + "@" + routingDomain
		} else if at := strings.TrimSuffix(w, "@T"); at != w {
			words[i] = at + "@" + tenantDomain
		}
	}
	return strings.Join(words, " ")
}

// lines are the lines of a table, with their numbers, without comments.
func lines(t testing.TB, path string, each func(n int, line string)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; s.Scan(); n++ {
		if l := s.Text(); l != "" && !strings.HasPrefix(l, "#") {
			each(n, l)
		}
	}
}

var classes = map[string]string{
	"user":         "user",
	"contact":      "contact",
	"group":        "group",
	"dynamicgroup": "msExchDynamicDistributionList",
	"publicfolder": "publicFolder",
}

var attributes = map[string]string{
	"proxy": "proxyAddresses", "target": "targetAddress", "mail": "mail", "legacy": "legacyExchangeDN", "uac": "userAccountControl",
	"rrt": "msExchRemoteRecipientType", "rtd": "msExchRecipientTypeDetails", "member": "member",
}

func cnDN(cn string) string { return "CN=" + cn + ",DC=contoso,DC=com" }

// ldif turns a line of world.txt into an LDIF entry.
func ldif(t testing.TB, n int, line string) string {
	t.Helper()
	fields := strings.Split(line, " ; ")
	kind, cn, _ := strings.Cut(fields[0], " ")
	if classes[kind] == "" {
		t.Fatalf("world line %d: kind %q", n, kind)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "dn: %s\nobjectClass: %s\nuserPrincipalName: %s@contoso.com\n", cnDN(cn), classes[kind], cn)
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, " ")
		if attributes[name] == "" {
			t.Fatalf("world line %d: attribute %q", n, name)
		}
		if name == "member" {
			value = cnDN(value)
		}
		fmt.Fprintf(&b, "%s:: %s\n", attributes[name], base64.StdEncoding.EncodeToString([]byte(expandDomains(value))))
	}
	return b.String() + "\n"
}

// viewOf makes a view of lines as in world.txt.
func viewOf(t testing.TB, objects ...string) *directory.View {
	t.Helper()
	var b strings.Builder
	for i, o := range objects {
		b.WriteString(ldif(t, i+1, o))
	}
	v, err := directory.ReadLDIF(strings.NewReader(b.String()), "world")
	if err != nil {
		t.Fatal(err)
	}
	if w := v.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %v", w)
	}
	return v
}

// world is the view of testdata/world.txt.
func world(t testing.TB) *directory.View {
	t.Helper()
	var objects []string
	lines(t, "testdata/world.txt", func(n int, line string) { objects = append(objects, line) })
	return viewOf(t, objects...)
}

// summary is a decision as the truth table writes it.
func summary(d Decision) string {
	var b strings.Builder
	switch d.Action {
	case Relay:
		fmt.Fprintf(&b, "%s %s %s", d.Side, d.Address, d.Reason)
	case Expand:
		b.WriteString("expand")
		for _, m := range d.Members {
			fmt.Fprintf(&b, " %s>%s:%s", m.Recipient, m.Side, m.Address)
		}
	default:
		fmt.Fprintf(&b, "%d %s %s", d.Reply.Code, d.Reply.Enhanced, d.Reason)
	}
	if len(d.LeftOut) > 0 {
		b.WriteString(" without")
	}
	for _, l := range d.LeftOut {
		b.WriteString(" " + strings.TrimSuffix(strings.TrimPrefix(l.DN, "CN="), ",DC=contoso,DC=com"))
	}
	return b.String()
}

// consistent checks what holds for every decision.
func consistent(t *testing.T, d Decision) {
	t.Helper()
	relayed := d.Action == Relay
	if relayed != (d.Side != "") || relayed != (d.Address != "") {
		t.Errorf("action %s with side %q and address %q", d.Action, d.Side, d.Address)
	}
	class := map[Action]int{Defer: 4, Reject: 5}[d.Action]
	if d.Reply.Code/100 != class || class != 0 && d.Reply.Enhanced[0] != byte('0'+class) {
		t.Errorf("action %s with reply %v", d.Action, d.Reply)
	}
	if d.Action == "" || d.Reason == "" || d.Why == "" || d.NextHop == nil || (d.Action == Expand) != (len(d.Members) > 0) {
		t.Errorf("incomplete decision: %+v", d)
	}
	for _, m := range d.Members {
		if m.Action != Relay || m.Recipient == "" || m.Object == "" {
			t.Errorf("incomplete member: %+v", m)
		}
		consistent(t, m)
	}
}
