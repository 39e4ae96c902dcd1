package routing

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/directory"
)

var sideLetters = map[rune]Side{'I': Internet, 'O': OnPrem, 'C': Cloud, 'G': Gateway}

func TestTruthTable(t *testing.T) {
	view, r := world(t), New(testPolicy())
	section, cases := "", 0
	lines(t, "testdata/truth.txt", func(n int, line string) {
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			return
		}
		col := strings.Split(line, " | ")
		if len(col) != 4 {
			t.Fatalf("truth.txt:%d: %d columns, want 4", n, len(col))
		}
		for _, letter := range col[1] {
			from, ok := sideLetters[letter]
			if !ok {
				t.Fatalf("truth.txt:%d: side %q", n, letter)
			}
			cases++
			t.Run(fmt.Sprintf("%s/%s/%c", section, col[0], letter), func(t *testing.T) {
				q := Query{From: from, Sender: "ben.smith@fabrikam.com", Recipient: expandDomains(col[2])}
				d := r.Route(view, time.Minute, q)
				if got, want := summary(d), expandMembers(col[3]); got != want {
					t.Errorf("truth.txt:%d: %s from %q\n got %s\nwant %s\nbecause %s", n, q.Recipient, from, got, want, d.Why)
				}
				if d.Recipient != q.Recipient {
					t.Errorf("recipient %q became %q", q.Recipient, d.Recipient)
				}
				consistent(t, d)
				// A null reverse-path goes the same way, and so does the same question once more.
				q.Sender = ""
				if diff := cmp.Diff(d, r.Route(view, time.Minute, q)); diff != "" {
					t.Errorf("asked again with a null reverse-path:\n%s", diff)
				}
			})
		}
	})
	if cases < 300 {
		t.Errorf("%d cases: the table was not read whole", cases)
	}
}

// expandMembers writes out the domains in the fourth column.
func expandMembers(s string) string {
	s = strings.ReplaceAll(expandDomains(s), "@R>", "@"+routingDomain+">")
	return s
}

// Every combination of the three attributes that tell a cloud mailbox, against the rule spelled out value by value.
func TestCloudMailboxMatrix(t *testing.T) {
	absent := ""
	rrts := map[string]bool{ // is it a cloud mailbox?
		absent: false, "0": false, "1": true, "2": false, "3": true, "4": true, "6": true, "8": false, "9": false, "10": false, "12": false,
		"16": false, "17": true, "20": true, "28": false, "32": false, "33": true, "36": true, "65": true, "68": true, "96": false, "97": true,
		"100": true, "102": true, "108": false,
	}
	rtds := map[string]bool{
		absent: false, "0": false, "1": false, "2": false, "4": false, "16": false, "32": false, "128": false, "65536": false, "2147483648": true,
		"8589934592": true, "17179869184": true, "34359738368": true, "274877906944": true, "8796093022208": true, "4294967296": false,
		"-2147483648": false,
	}
	targets := map[string]Reason{
		absent: Mailbox, "SMTP:u@contoso.com": TargetOnPrem, "smtp:u@contoso.de": TargetOnPrem, "SMTP:u@" + routingDomain: TargetCloud,
		"u@" + tenantDomain: TargetCloud, "SMTP:u@fabrikam.com": TargetExternal, "X400:c=US": Mailbox,
	}
	type combination struct{ rrt, rtd, target string }
	var objects []string
	want := map[string]Reason{}
	what := map[string]combination{}
	for rrt, cloud := range rrts {
		for rtd, remote := range rtds {
			for target, reason := range targets {
				name := fmt.Sprintf("u%d", len(objects))
				o := "user " + name + " ; proxy SMTP:" + name + "@contoso.com"
				for attr, v := range map[string]string{"rrt": rrt, "rtd": rtd, "target": target} {
					if v != absent {
						o += " ; " + attr + " " + v
					}
				}
				objects = append(objects, o)
				if cloud || rrt == absent && remote {
					reason = RemoteMailbox
				}
				want[name], what[name] = reason, combination{rrt, rtd, target}
			}
		}
	}
	sides := map[Reason]Side{RemoteMailbox: Cloud, TargetCloud: Cloud, TargetOnPrem: OnPrem, Mailbox: OnPrem, TargetExternal: Internet}
	view, r := viewOf(t, objects...), New(testPolicy())
	for name, reason := range want {
		d := r.Route(view, 0, Query{From: Internet, Recipient: name + "@contoso.com"})
		if d.Reason != reason || d.Side != sides[reason] {
			t.Errorf("%+v: %s, want %s %s", what[name], summary(d), sides[reason], reason)
		}
	}
	if len(objects) != len(rrts)*len(rtds)*len(targets) {
		t.Errorf("%d objects", len(objects))
	}
}

func TestNoViewAndStaleView(t *testing.T) {
	view, r := world(t), New(testPolicy())
	fresh, old := time.Hour, time.Hour+1
	tests := []struct {
		name string
		view *directory.View
		age  time.Duration
		from string
		to   string
		want string
	}{
		{"no view, shared namespace", nil, 0, "IOCG", "adelev@contoso.com", "451 4.3.0 no-view"},
		{"no view, unknown", nil, 0, "IOCG", "nobody@contoso.com", "451 4.3.0 no-view"},
		{"no view, second domain", nil, 0, "IOCG", "nobody@contoso.de", "451 4.3.0 no-view"},
		{"no view, routing domain", nil, 0, "IOCG", "adelev@R", "451 4.3.0 no-view"},
		{"no view, tenant domain", nil, 0, "IOCG", "adelev@T", "451 4.3.0 no-view"},
		{"no view, postmaster", nil, 0, "IOCG", "postmaster", "451 4.3.0 no-view"},
		{"no view, foreign", nil, 0, "OCG", "kim.akers@fabrikam.com", "internet kim.akers@fabrikam.com foreign"},
		{"no view, foreign from outside", nil, 0, "I", "kim.akers@fabrikam.com", "550 5.7.1 relay-denied"},
		{"no view, no address", nil, 0, "IOCG", "adelev", "501 5.1.3 unknown"},
		{"no view and old", nil, old, "IOCG", "adelev@contoso.com", "451 4.3.0 no-view"},
		{"as old as it may be", view, fresh, "IOCG", "nobody@contoso.com", "550 5.1.1 unknown"},
		{"stale, unknown", view, old, "IOCG", "nobody@contoso.com", "451 4.3.0 stale-view"},
		{"stale, unknown with a tag", view, old, "IOCG", "nobody+x@contoso.com", "451 4.3.0 stale-view"},
		{"stale, unknown encapsulated", view, old, "IOCG", "IMCEAEX-_o=Gone@contoso.com", "451 4.3.0 stale-view"},
		{"stale, unknown in the routing domain", view, old, "IC", "nobody@R", "451 4.3.0 stale-view"},
		{"stale, unknown in the routing domain from on-prem", view, old, "OG", "nobody@R", "cloud nobody@R target-cloud"},
		{"stale, known", view, old, "IOG", "rrt1@contoso.com", "cloud rrt1@R remote-mailbox"},
		{"stale, known by its tag", view, old, "ICG", "adelev+x@contoso.com", "onprem AdeleV@contoso.com target-onprem"},
		{"stale, known contact that leads nowhere", view, old, "IOCG", "contact-nowhere@contoso.com", "550 5.1.1 no-target"},
		{"stale, known group of nobody", view, old, "IOCG", "self@contoso.com", "550 5.1.1 empty-group"},
		{"stale, ambiguous", view, old, "IOCG", "twin@contoso.com", "451 4.3.5 ambiguous"},
		{"stale, u-turn", view, old, "C", "rrt1@contoso.com", "451 4.4.6 u-turn"},
		{"stale, postmaster", view, old, "IOCG", "postmaster", "onprem postmaster@contoso.com mailbox"},
		{"stale, foreign", view, old, "OCG", "kim.akers@fabrikam.com", "internet kim.akers@fabrikam.com foreign"},
		{"stale, foreign from outside", view, old, "I", "kim.akers@fabrikam.com", "550 5.7.1 relay-denied"},
	}
	for _, tt := range tests {
		for _, letter := range tt.from {
			t.Run(fmt.Sprintf("%s/%c", tt.name, letter), func(t *testing.T) {
				d := r.Route(tt.view, tt.age, Query{From: sideLetters[letter], Recipient: expandDomains(tt.to)})
				if got, want := summary(d), expandDomains(tt.want); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				consistent(t, d)
			})
		}
	}
	forever := testPolicy()
	forever.MaxAge = 0
	if d := New(forever).Route(view, 1<<62, Query{From: Internet, Recipient: "nobody@contoso.com"}); d.Reason != Unknown {
		t.Errorf("without a MaxAge: %s", summary(d))
	}
}

func TestPolicies(t *testing.T) {
	view := world(t)
	tests := []struct {
		name   string
		change func(*Policy)
		from   Side
		to     string
		want   string
	}{
		{"postmaster in the directory", func(p *Policy) { p.Postmaster = "rrt1@contoso.com" }, Internet, "postmaster", "cloud rrt1@R remote-mailbox"},
		{"postmaster in the directory, of each domain", func(p *Policy) { p.Postmaster = "rrt1@contoso.com" }, Internet, "postmaster@contoso.com", "cloud rrt1@R remote-mailbox"},
		{"postmaster in the cloud, from the cloud", func(p *Policy) { p.Postmaster = "rrt1@contoso.com" }, Cloud, "postmaster", "451 4.4.6 u-turn"},
		{"postmaster is a group", func(p *Policy) { p.Postmaster = "of-security@contoso.com" }, Internet, "Postmaster", "expand mailbox@contoso.com>onprem:mailbox@contoso.com"},
		{"postmaster of another name is on-prem when unknown", func(p *Policy) { p.Postmaster = "mail.admin@contoso.com" }, Internet, "Mail.Admin@contoso.com", "onprem Mail.Admin@contoso.com mailbox"},
		{"postmaster abroad", func(p *Policy) { p.Postmaster = "admin@fabrikam.com" }, Internet, "postmaster", "internet admin@fabrikam.com foreign"},
		{"postmaster abroad, under that address", func(p *Policy) { p.Postmaster = "admin@fabrikam.com" }, Internet, "admin@fabrikam.com", "550 5.7.1 relay-denied"},
		{"postmaster in the routing domain", func(p *Policy) { p.Postmaster = "admin@" + routingDomain }, Internet, "postmaster", "cloud admin@R target-cloud"},
		{"postmaster by default", func(p *Policy) { p.Postmaster = "" }, Internet, "postmaster", "onprem postmaster@contoso.com mailbox"},
		{"postmaster that is no address", func(p *Policy) { p.Postmaster = "postmaster" }, Internet, "postmaster", "onprem postmaster@contoso.com mailbox"},
		{"no domains at all", func(p *Policy) { *p = Policy{} }, Internet, "adelev@contoso.com", "550 5.7.1 relay-denied"},
		{"no domains at all, postmaster", func(p *Policy) { *p = Policy{} }, Internet, "postmaster", "501 5.1.3 unknown"},
		{"no tenant domain", func(p *Policy) { p.TenantDomain = "" }, Internet, "target-tenant@contoso.com", "internet target-tenant@T target-external"},
		{"domains in another case, with a dot", func(p *Policy) { p.Domains = []string{"CONTOSO.com."} }, Internet, "rrt1@contoso.com", "cloud rrt1@R remote-mailbox"},
		{"domain in A-labels", func(p *Policy) { p.Domains = []string{"xn--mnchen-3ya.contoso.com"} }, Internet, "idn@münchen.contoso.com", "onprem idn@münchen.contoso.com mailbox"},
		{"a side that is none is the internet", func(*Policy) {}, Side("gateway"), "kim.akers@fabrikam.com", "550 5.7.1 relay-denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPolicy()
			tt.change(&p)
			d := New(p).Route(view, 0, Query{From: tt.from, Recipient: tt.to})
			if got, want := summary(d), expandDomains(tt.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			consistent(t, d)
		})
	}
}

// What a member is asked about later must lead to the place that the group led to.
func TestMembersAskedAgain(t *testing.T) {
	view, r := world(t), New(testPolicy())
	members := 0
	for _, group := range []string{"staff", "nested", "ring-1", "mixed", "doubles", "of-security", "cloud-group-members", "elsewhere"} {
		for _, m := range r.Route(view, 0, Query{From: Internet, Recipient: group + "@contoso.com"}).Members {
			members++
			again := r.Route(view, 0, Query{From: Gateway, Recipient: m.Recipient})
			if again.Action != Relay || again.Side != m.Side || !equalFold(again.Address, m.Address) {
				t.Errorf("%s: member %s goes to %s, asked again to %s", group, m.Recipient, summary(m), summary(again))
			}
		}
	}
	if members < 20 {
		t.Errorf("only %d members looked at", members)
	}
}

// Groups of groups: an exponential number of paths, and a chain that would be deep for a stack.
func TestGroupShapes(t *testing.T) {
	var objects []string
	for i := range 60 {
		objects = append(objects,
			fmt.Sprintf("group a%d ; proxy SMTP:a%d@contoso.com ; member a%d ; member b%d", i, i, i+1, i+1),
			fmt.Sprintf("group b%d ; member a%d ; member b%d", i, i+1, i+1))
	}
	objects = append(objects, "user a60 ; proxy SMTP:end@contoso.com", "user b60")
	for i := range 20000 {
		objects = append(objects, fmt.Sprintf("group c%d ; proxy SMTP:c%d@contoso.com ; member c%d", i, i, i+1))
	}
	objects = append(objects, "user c20000 ; proxy SMTP:deep@contoso.com")
	view, r := viewOf(t, objects...), New(testPolicy())
	for to, want := range map[string]string{
		"a0@contoso.com": "expand end@contoso.com>onprem:end@contoso.com without b60",
		"c0@contoso.com": "expand deep@contoso.com>onprem:deep@contoso.com",
	} {
		if got := summary(r.Route(view, 0, Query{From: OnPrem, Recipient: to})); got != want {
			t.Errorf("%s: got %s, want %s", to, got, want)
		}
	}
}

// The sample directory, as its description promises.
func TestSampleDirectory(t *testing.T) {
	f, err := os.Open("../testdata/contoso.ldif")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	view, err := directory.ReadLDIF(f, "contoso.ldif")
	if err != nil {
		t.Fatal(err)
	}
	if w := view.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
	if n := view.Stats().Total(); n != 39 {
		t.Errorf("%d objects, want 39", n)
	}
	r := New(Policy{Domains: []string{"contoso.com"}, TenantDomain: tenantDomain, RoutingDomain: routingDomain})
	tests := []struct{ to, want string }{
		{"adelev", "onprem AdeleV@contoso.com target-onprem"},
		{"alexw", "onprem AlexW@contoso.com target-onprem"},
		{"diegos", "onprem DiegoS@contoso.com target-onprem"},
		{"lidiah", "onprem lidia_holloway@contoso.com target-onprem"},
		{"gradya", "onprem GradyA@contoso.com target-onprem"},
		{"isaiahl", "onprem isaiahl@contoso.com mailbox"},
		{"henriettam", "onprem HenriettaM@contoso.com target-onprem"},
		{"debrab", "onprem debrab@contoso.com mailbox"},
		{"meganb", "cloud MeganB@R remote-mailbox"},
		{"jonis", "cloud JoniS@R remote-mailbox"},
		{"lynner", "cloud LynneR@R remote-mailbox"},
		{"emilyb", "cloud EmilyB@R remote-mailbox"},
		{"enricoc", "cloud EnricoC@R remote-mailbox"},
		{"johannal", "cloud JohannaL@R remote-mailbox"},
		{"leeg", "cloud LeeG@R target-cloud"},
		{"miriamg", "cloud MiriamG@R target-cloud"},
		{"nestorw", "cloud NestorW@T target-cloud"},
		{"pattif", "cloud PattiF@R remote-mailbox"},
		{"pradeepg", "cloud pradeepg@contoso.com remote-mailbox"},
		{"adams", "cloud Adams@R remote-mailbox"},
		{"baker", "cloud Baker@R remote-mailbox"},
		{"hood", "cloud Hood@R remote-mailbox"},
		{"sales", "cloud Sales@R remote-mailbox"},
		{"info", "cloud Info@R remote-mailbox"},
		{"crystal", "onprem Crystal@contoso.com target-onprem"},
		{"kim.akers", "internet kim.akers@fabrikam.com target-external"},
		{"terry.adams", "internet terry.adams@fabrikam.com target-external"},
		{"don.hall", "550 5.1.1 no-target"},
		{"support", "451 4.3.5 ambiguous"},
		{"seattlestaff", "onprem seattlestaff@contoso.com mailbox"},
		{"press", "onprem press@contoso.com mailbox"},
		{"alumni", "550 5.1.1 empty-group"},
		{"IMCEAEX-_o=Contoso_ou=First+20Administrative+20Group_cn=Recipients_cn=AVance", "onprem AdeleV@contoso.com target-onprem"},
		{"IMCEANOTES-Lynne+20Robbins_Contoso+40ContosoNotes", "cloud LynneR@R remote-mailbox"},
	}
	for _, tt := range tests {
		d := r.Route(view, 0, Query{From: Internet, Recipient: tt.to + "@contoso.com"})
		got, _, _ := strings.Cut(summary(d), " without")
		if want := expandDomains(tt.want); got != want {
			t.Errorf("%s: got %s, want %s", tt.to, got, want)
		}
	}
	for to, want := range map[string][2]int{"salesteam": {4, 0}, "allemployees": {11, 2}, "mark8": {2, 0}, "mark8reviewers": {2, 0}} {
		d := r.Route(view, 0, Query{From: Cloud, Recipient: to + "@contoso.com"})
		if got := [2]int{len(d.Members), len(d.LeftOut)}; got != want {
			t.Errorf("%s: members and left out %v, want %v\n%s", to, got, want, d.Explain())
		}
	}
}

func TestJSON(t *testing.T) {
	view, r := world(t), New(testPolicy())
	tests := []struct{ to, want string }{
		{"adelev@contoso.com", `{
 "recipient": "adelev@contoso.com",
 "action": "relay",
 "side": "onprem",
 "address": "AdeleV@contoso.com",
 "next_hop": [],
 "reason": "target-onprem",
 "object": "CN=adelev,DC=contoso,DC=com",
 "matched": "proxyAddresses smtp:adelev@contoso.com",
 "why": "targetAddress SMTP:AdeleV@contoso.com is in the shared namespace"
}`},
		{"twin@contoso.com", `{
 "recipient": "twin@contoso.com",
 "action": "defer",
 "side": "",
 "address": "",
 "next_hop": [],
 "reply": "451 4.3.5 More than one directory object owns this address, try again later",
 "reason": "ambiguous",
 "object": "",
 "matched": "proxyAddresses smtp:twin@contoso.com",
 "why": "owned by CN=twin-1,DC=contoso,DC=com and CN=twin-2,DC=contoso,DC=com"
}`},
		{"of-security@contoso.com", `{
 "recipient": "of-security@contoso.com",
 "action": "expand",
 "side": "",
 "address": "",
 "next_hop": [],
 "reason": "group",
 "object": "CN=of-security,DC=contoso,DC=com",
 "members": [
  {
   "recipient": "mailbox@contoso.com",
   "action": "relay",
   "side": "onprem",
   "address": "mailbox@contoso.com",
   "next_hop": [],
   "reason": "mailbox",
   "object": "CN=mailbox,DC=contoso,DC=com",
   "matched": "member of CN=security,DC=contoso,DC=com",
   "why": "no attribute says that it is elsewhere"
  }
 ],
 "matched": "proxyAddresses smtp:of-security@contoso.com",
 "why": "a group"
}`},
	}
	for _, tt := range tests {
		d := r.Route(view, 0, Query{From: Internet, Recipient: tt.to})
		b, err := json.MarshalIndent(d, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(b)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.to, diff)
		}
		var back Decision
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Errorf("%s read back:\n%s", tt.to, diff)
		}
	}
}

func TestReplyText(t *testing.T) {
	for _, bad := range []string{"", "550", "x 5.1.1 text", "50 5.1.1 text", "550 511 text", "900 5.1.1 text"} {
		if err := new(Reply).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestExplain(t *testing.T) {
	view, r := world(t), New(testPolicy())
	tests := []struct {
		to   string
		want string
	}{
		{"rrt1+news@contoso.com", `rrt1+news@contoso.com: sent to the cloud as rrt1+news@contoso.mail.onmicrosoft.com (remote-mailbox)
  object    CN=rrt1,DC=contoso,DC=com
  matched   proxyAddresses smtp:rrt1@contoso.com, without +news
  because   msExchRemoteRecipientType 1 is a mailbox in Exchange Online
`},
		{"target-x400@contoso.com", `target-x400@contoso.com: sent to on-prem as target-x400@contoso.com (mailbox)
  object    CN=target-x400,DC=contoso,DC=com
  matched   proxyAddresses smtp:target-x400@contoso.com
  because   no attribute says that it is elsewhere; targetAddress X400:c=US;a= ;p=Contoso;o=Exchange;s=Akers; is not of type smtp and counts as absent
`},
		{"mail-only@contoso.com", `mail-only@contoso.com: sent to on-prem as mail-only@contoso.com (mailbox)
  object    CN=mail-only,DC=contoso,DC=com
  matched   mail mail-only@contoso.com
  because   no attribute says that it is elsewhere
`},
		{"IMCEAEX-_o=Old_cn=Recipients_cn=x500@contoso.com", `IMCEAEX-_o=Old_cn=Recipients_cn=x500@contoso.com: sent to the cloud as x500@contoso.mail.onmicrosoft.com (remote-mailbox)
  object    CN=x500,DC=contoso,DC=com
  matched   proxyAddresses X500:/o=Old/cn=Recipients/cn=x500, decoded from the encapsulated address
  because   msExchRemoteRecipientType 4 is a mailbox in Exchange Online
`},
		{"IMCEAEX-_o=Gone_cn=z+20z@contoso.com", `IMCEAEX-_o=Gone_cn=z+20z@contoso.com: rejected with 550 5.1.1 No such recipient here (unknown)
  because   no proxyAddresses or mail value in the directory matches; if its owner has another legacyExchangeDN now, add this to the owner's proxyAddresses: X500:/o=Gone/cn=z z
`},
		{"hollow@contoso.com", `hollow@contoso.com: rejected with 550 5.1.1 No member of this group can be delivered to (empty-group)
  object    CN=hollow,DC=contoso,DC=com
  matched   proxyAddresses smtp:hollow@contoso.com
  because   a group without members that can be delivered to
  left out  CN=gone,DC=contoso,DC=com: not in the view of the directory
  left out  CN=contact-nowhere,DC=contoso,DC=com: a contact without targetAddress and without a foreign mail address
  left out  CN=no-address,DC=contoso,DC=com: it has no address
  left out  CN=empty,DC=contoso,DC=com: a group without members
`},
		{"ring-3@contoso.com", `ring-3@contoso.com: expanded to 3 members (group)
  object    CN=ring-3,DC=contoso,DC=com
  matched   proxyAddresses smtp:ring-3@contoso.com
  because   a group
  member    rrt4@contoso.com: sent to the cloud as rrt4@contoso.mail.onmicrosoft.com (remote-mailbox)
            CN=rrt4,DC=contoso,DC=com; msExchRemoteRecipientType 4 is a mailbox in Exchange Online
  member    AdeleV@contoso.com: sent to on-prem as AdeleV@contoso.com (target-onprem) via mail.contoso.local:25
            CN=adelev,DC=contoso,DC=com; targetAddress SMTP:AdeleV@contoso.com is in the shared namespace
  member    john@contoso.com: sent to on-prem as john.notes@contoso.com (target-onprem) via mail.contoso.local:25
            CN=john,DC=contoso,DC=com; targetAddress SMTP:john.notes@contoso.com is in the shared namespace
`},
	}
	for _, tt := range tests {
		d := r.Route(view, 0, Query{From: Internet, Recipient: tt.to})
		for i := range d.Members {
			if d.Members[i].Side == OnPrem {
				d.Members[i].NextHop = []string{"mail.contoso.local:25"}
			}
		}
		if diff := cmp.Diff(tt.want, d.Explain()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got, want := r.Route(view, 0, Query{From: Internet, Recipient: "mixed@contoso.com"}).Explain(), ": expanded to 7 members (group), 6 left out\n"; !strings.Contains(got, want) {
		t.Errorf("%q does not say %q", got, want)
	}
	if got, want := r.Route(view, 0, Query{From: Internet, Recipient: "contact@contoso.com"}).Explain(), ": sent to the internet as "; !strings.Contains(got, want) {
		t.Errorf("%q does not say %q", got, want)
	}
	uturn := r.Route(view, 0, Query{From: Cloud, Recipient: "rrt1@contoso.com"}).Explain()
	if want := "it came from the cloud and lives there by our view: msExchRemoteRecipientType 1"; !strings.Contains(uturn, want) {
		t.Errorf("u-turn: %q does not say %q", uturn, want)
	}
}

// A client that submits mail has no directory of its own: there is no U-turn for it, and nothing else changes.
func TestSubmittedKnowsNoUTurn(t *testing.T) {
	r, view := New(testPolicy()), world(t)
	for _, tt := range []struct {
		from                      Side
		to, system, submittedMail string
	}{
		{OnPrem, "mailbox@contoso.com", "451 4.4.6 u-turn", "onprem mailbox@contoso.com mailbox"},
		{Cloud, "rrt1@contoso.com", "451 4.4.6 u-turn", "cloud rrt1@R remote-mailbox"},
		{OnPrem, "rrt1@contoso.com", "cloud rrt1@R remote-mailbox", "cloud rrt1@R remote-mailbox"},
		{OnPrem, "twin@contoso.com", "451 4.3.5 ambiguous", "451 4.3.5 ambiguous"},
		{OnPrem, "nobody@contoso.com", "550 5.1.1 unknown", "550 5.1.1 unknown"},
		{OnPrem, "kim.akers@fabrikam.com", "internet kim.akers@fabrikam.com foreign", "internet kim.akers@fabrikam.com foreign"},
		{Internet, "kim.akers@fabrikam.com", "550 5.7.1 relay-denied", "550 5.7.1 relay-denied"}, // what may relay is the side's
	} {
		for _, c := range []struct {
			submitted bool
			want      string
		}{{false, tt.system}, {true, tt.submittedMail}} {
			d := r.Route(view, 0, Query{From: tt.from, Recipient: tt.to, Submitted: c.submitted})
			if got, want := summary(d), expandDomains(c.want); got != want {
				t.Errorf("from %s to %s, submitted %t: got %s, want %s", tt.from, tt.to, c.submitted, got, want)
			}
		}
	}
}
