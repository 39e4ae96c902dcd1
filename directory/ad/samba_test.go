package ad

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad/adtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	adtest.Cleanup()
	os.Exit(code)
}

const (
	base     = adtest.BaseDN
	svcDN    = "CN=svc-coexist,CN=Users," + base
	svcUPN   = "svc-coexist@contoso.test"
	password = "Passw0rd.Svc1"
	patience = time.Minute // until a change must be seen, on a machine that is busy with other things
)

// edit is an administrator at work.
type edit struct {
	t testing.TB
	c *ldap.Conn
}

func (e edit) add(dn string, attrs map[string][]string) {
	e.t.Helper()
	r := ldap.NewAddRequest(dn, nil)
	for name, values := range attrs {
		r.Attribute(name, values)
	}
	if err := e.c.Add(r); err != nil {
		e.t.Fatalf("adding %s: %v", dn, err)
	}
}

func (e edit) contact(dn string, proxies ...string) {
	e.t.Helper()
	e.add(dn, map[string][]string{"objectClass": {"contact"}, "proxyAddresses": proxies})
}

func (e edit) user(dn, account string, more map[string][]string) {
	e.t.Helper()
	attrs := map[string][]string{"objectClass": {"user"}, "sAMAccountName": {account}, "userPrincipalName": {strings.ReplaceAll(account, " ", "") + "@contoso.test"}}
	for k, v := range more {
		attrs[k] = v
	}
	e.add(dn, attrs)
}

func (e edit) group(dn string, members ...string) {
	e.t.Helper()
	name, _, _ := strings.Cut(strings.TrimPrefix(dn, "CN="), ",")
	attrs := map[string][]string{"objectClass": {"group"}, "sAMAccountName": {name}, "mail": {strings.ToLower(name) + "@contoso.com"}}
	if len(members) > 0 {
		attrs["member"] = members
	}
	e.add(dn, attrs)
}

func (e edit) ou(dn string) {
	e.t.Helper()
	e.add(dn, map[string][]string{"objectClass": {"organizationalUnit"}})
}

func (e edit) modify(dn string, change func(*ldap.ModifyRequest)) {
	e.t.Helper()
	r := ldap.NewModifyRequest(dn, nil)
	change(r)
	if err := e.c.Modify(r); err != nil {
		e.t.Fatalf("modifying %s: %v", dn, err)
	}
}

func (e edit) move(dn, rdn, parent string) {
	e.t.Helper()
	if err := e.c.ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, parent)); err != nil {
		e.t.Fatalf("moving %s: %v", dn, err)
	}
}

func (e edit) delete(dn string) {
	e.t.Helper()
	if err := e.c.Del(ldap.NewDelRequest(dn, nil)); err != nil {
		e.t.Fatalf("deleting %s: %v", dn, err)
	}
}

// restore takes a deleted object back ([MS-ADTS] 3.1.1.5.3.7).
func (e edit) restore(guid directory.GUID, dn string, attrs map[string][]string) {
	e.t.Helper()
	find := request("CN=Deleted Objects,"+base, ldap.ScopeSingleLevel, guidFilter([]directory.GUID{guid}), "objectGUID")
	find.Controls = []ldap.Control{ldap.NewControlMicrosoftShowDeleted()}
	res, err := e.c.Search(find)
	if err != nil || len(res.Entries) != 1 {
		e.t.Fatalf("looking for what was deleted: %v, %v", res, err)
	}
	r := ldap.NewModifyRequest(res.Entries[0].DN, []ldap.Control{ldap.NewControlMicrosoftShowDeleted()})
	r.Delete("isDeleted", nil)
	r.Replace("distinguishedName", []string{dn})
	for k, v := range attrs {
		r.Replace(k, v)
	}
	if err := e.c.Modify(r); err != nil {
		e.t.Fatalf("restoring %s: %v", dn, err)
	}
}

// service makes the account that the source binds as.
func (e edit) service() {
	e.t.Helper()
	var quoted []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		quoted = append(quoted, byte(u), byte(u>>8))
	}
	e.user(svcDN, "svc-coexist", map[string][]string{"unicodePwd": {string(quoted)}, "userAccountControl": {"512"}})
}

// testLog writes to the test's log, as long as the test runs.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func secretFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bind.secret")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func sambaConfig(t testing.TB, s *adtest.Samba, account, secret string) Config {
	return Config{URLs: []string{s.URL("ldaps")}, BaseDNs: []string{base}, BindDN: account, PasswordFile: secretFile(t, secret), CAFile: s.CAFile(),
		Refresh: 200 * time.Millisecond, Reconcile: 2 * time.Second, Timeout: 20 * time.Second, Log: testLog(t)}
}

// run runs a source until the test ends, or the function that it gives is called.
func run(t testing.TB, s *Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// sync makes f run once.
func sync(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}

// eventually waits until a condition holds, and says what it was waiting for when it never does. ok gives the reason why not, or nothing.
func eventually(t testing.TB, s *Source, what string, ok func(v *directory.View) string) time.Duration {
	t.Helper()
	begin := time.Now()
	why := "there is no view"
	for time.Since(begin) < patience {
		if v := s.View(); v != nil {
			if why = ok(v); why == "" {
				return time.Since(begin)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: %s; status %+v", what, why, s.Status())
	return 0
}

// owner wants an address to lead to one object, "" to nobody.
func owner(address, dn string) func(*directory.View) string {
	return func(v *directory.View) string {
		got := []string{}
		for _, r := range v.Find(directory.KeyProxy, address, nil) {
			got = append(got, v.Object(r).DN)
		}
		if dn == "" && len(got) == 0 || len(got) == 1 && got[0] == dn {
			return ""
		}
		return fmt.Sprintf("%s leads to %q, expected %q", address, got, dn)
	}
}

// members wants a group to have precisely these members.
func members(group string, dns ...string) func(*directory.View) string {
	slices.Sort(dns)
	return func(v *directory.View) string {
		r, ok := v.ByDN(group)
		if !ok {
			return group + " is not there"
		}
		got := v.MissingMembers(r)
		for _, m := range v.Members(r, nil) {
			got = append(got, v.Object(m).DN)
		}
		slices.Sort(got)
		if slices.Equal(got, dns) {
			return ""
		}
		return fmt.Sprintf("%s has %q, expected %q", group, got, dns)
	}
}

func all(conditions ...func(*directory.View) string) func(*directory.View) string {
	return func(v *directory.View) string {
		for _, c := range conditions {
			if why := c(v); why != "" {
				return why
			}
		}
		return ""
	}
}

// TestSambaChanges makes every kind of change, and expects to see it by every method.
func TestSambaChanges(t *testing.T) {
	dc := adtest.NewSamba(t)
	e := edit{t, dc.Admin()}
	e.service()
	for _, c := range []struct {
		name, account, secret string
		dirsyncs              []Method
		method                Method
	}{
		{"dirsync", adtest.AdminUPN, adtest.AdminPassword, []Method{DirSync, DirSyncObjectSecurity}, DirSync},
		{"powerless", svcUPN, password, []Method{DirSync, DirSyncObjectSecurity}, DirSyncObjectSecurity},
		{"usn", adtest.AdminUPN, adtest.AdminPassword, nil, USN},
		{"usn powerless", svcUPN, password, nil, USNReconcile},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := edit{t, e.c}
			root := "OU=" + c.name + "," + base
			populate(e, root)
			t.Cleanup(func() { e.treeAway(root) })
			cfg := sambaConfig(t, dc, c.account, c.secret)
			s := New(cfg)
			s.dirsyncs = c.dirsyncs
			run(t, s)
			eventually(t, s, "first load", all(owner("adelev@contoso.com", "CN=Adele Vance,OU=Sales,"+root), members("CN=Everyone "+c.name+",OU=Groups,"+root, "CN=Adele Vance,OU=Sales,"+root, "CN=Alex Wilber,OU=Sales,"+root, "CN=Inner "+c.name+",OU=Groups,"+root)))
			eventually(t, s, "method", func(*directory.View) string {
				if m := s.Status().Method; m != string(c.method) {
					return "the method is " + m + ", expected " + string(c.method)
				}
				return ""
			})
			liveChanges(e, s, root, c.name)
			same(t, s, cfg)
			e.treeAway(root)
			eventually(t, s, "all gone", func(v *directory.View) string {
				for r := range v.All() {
					if dn := v.Object(r).DN; directory.WithinDN(dn, root) {
						return dn + " is still there"
					}
				}
				return ""
			})
		})
	}
}

// same compares the view with one that is loaded now.
func same(t *testing.T, s *Source, cfg Config) {
	t.Helper()
	fresh := New(cfg)
	if err := fresh.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := ldif(t, fresh.View())
	fresh.Close()
	eventually(t, s, "the same view as loaded anew", func(v *directory.View) string {
		if got := ldif(t, v); got != want {
			return "it differs:\n" + firstDifference(want, got)
		}
		return ""
	})
}

func ldif(t testing.TB, v *directory.View) string {
	t.Helper()
	var b strings.Builder
	if err := directory.WriteLDIF(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n\n"), strings.Split(got, "\n\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "want " + w[i] + "\ngot  " + g[i]
		}
	}
	return fmt.Sprintf("%d objects, expected %d", len(g), len(w))
}

func populate(e edit, root string) {
	e.t.Helper()
	name := strings.TrimPrefix(strings.Split(root, ",")[0], "OU=")
	for _, ou := range []string{root, "OU=Sales," + root, "OU=Inside,OU=Sales," + root, "OU=Groups," + root} {
		e.ou(ou)
	}
	e.user("CN=Adele Vance,OU=Sales,"+root, "a-"+name, map[string][]string{"mail": {"adelev@contoso.com"}, "proxyAddresses": {"SMTP:adelev@contoso.com", "smtp:adele.vance@contoso.com"}})
	e.contact("CN=Alex Wilber,OU=Sales,"+root, "SMTP:alexw@contoso.com")
	// Samba restores users, and no contacts.
	e.user("CN=Megan Bowen,OU=Inside,OU=Sales,"+root, "m-"+name, map[string][]string{"proxyAddresses": {"SMTP:meganb@contoso.com"}})
	e.group("CN=Inner "+name+",OU=Groups,"+root, "CN=Megan Bowen,OU=Inside,OU=Sales,"+root)
	e.group("CN=Everyone "+name+",OU=Groups,"+root, "CN=Adele Vance,OU=Sales,"+root, "CN=Alex Wilber,OU=Sales,"+root, "CN=Inner "+name+",OU=Groups,"+root)
}

// treeAway deletes a tree, leaves first, if it is there.
func (e edit) treeAway(root string) {
	e.t.Helper()
	res, err := e.c.Search(request(root, ldap.ScopeWholeSubtree, "(objectClass=*)", "cn"))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return
	}
	if err != nil {
		e.t.Fatal(err)
	}
	slices.SortFunc(res.Entries, func(a, b *ldap.Entry) int { return depth(b.DN) - depth(a.DN) })
	for _, entry := range res.Entries {
		e.delete(entry.DN)
	}
}

func liveChanges(e edit, s *Source, root, name string) {
	t := e.t
	t.Helper()
	sales, everyone, inner := "OU=Sales,"+root, "CN=Everyone "+name+",OU=Groups,"+root, "CN=Inner "+name+",OU=Groups,"+root
	adele, alex, megan := "CN=Adele Vance,"+sales, "CN=Alex Wilber,"+sales, "CN=Megan Bowen,OU=Inside,"+sales
	see := func(what string, want ...func(*directory.View) string) {
		t.Helper()
		t.Logf("%s: seen after %v", what, eventually(t, s, what, all(want...)).Round(time.Millisecond))
	}

	e.contact("CN=Isaiah Langer,"+sales, "SMTP:isaiahl@contoso.com")
	see("add", owner("isaiahl@contoso.com", "CN=Isaiah Langer,"+sales))

	e.modify(adele, func(r *ldap.ModifyRequest) { r.Delete("proxyAddresses", []string{"smtp:adele.vance@contoso.com"}) })
	see("removal of one value", owner("adele.vance@contoso.com", ""), owner("adelev@contoso.com", adele))

	e.modify(adele, func(r *ldap.ModifyRequest) {
		r.Replace("targetAddress", []string{"SMTP:adelev@contoso.mail.onmicrosoft.com"})
		r.Replace("msExchRemoteRecipientType", []string{"4"})
		r.Replace("msExchRecipientTypeDetails", []string{"2147483648"})
		r.Add("proxyAddresses", []string{"smtp:adelev@contoso.mail.onmicrosoft.com"})
	})
	see("move to the cloud", owner("adelev@contoso.mail.onmicrosoft.com", adele), func(v *directory.View) string {
		r, _ := v.ByDN(adele)
		if o := v.Object(r); o.TargetAddress != "SMTP:adelev@contoso.mail.onmicrosoft.com" || o.RemoteRecipientType.Value != 4 || o.RecipientTypeDetails.Value != 2147483648 {
			return fmt.Sprintf("%+v", o)
		}
		return ""
	})
	e.modify(adele, func(r *ldap.ModifyRequest) {
		r.Replace("targetAddress", nil)
		r.Replace("msExchRemoteRecipientType", nil)
	})
	see("attributes cleared", func(v *directory.View) string {
		r, _ := v.ByDN(adele)
		if o := v.Object(r); o.TargetAddress != "" || o.RemoteRecipientType.Set {
			return fmt.Sprintf("%+v", o)
		}
		return ""
	})

	e.move(alex, "CN=Alexander Wilber", "")
	alex = "CN=Alexander Wilber," + sales
	see("rename", owner("alexw@contoso.com", alex), members(everyone, adele, alex, inner))

	e.modify(everyone, func(r *ldap.ModifyRequest) {
		r.Add("member", []string{megan})
		r.Delete("member", []string{alex})
	})
	see("members", members(everyone, adele, megan, inner))

	e.move(sales, "OU=Marketing", "")
	sales = "OU=Marketing," + root
	adele, alex, megan = "CN=Adele Vance,"+sales, "CN=Alexander Wilber,"+sales, "CN=Megan Bowen,OU=Inside,"+sales
	see("renamed OU", owner("adelev@contoso.com", adele), owner("meganb@contoso.com", megan), members(everyone, adele, megan, inner))

	e.ou("OU=Sales," + root) // the old name is taken by another one
	e.move("OU=Inside,"+sales, "OU=Within", "OU=Sales,"+root)
	megan = "CN=Megan Bowen,OU=Within,OU=Sales," + root
	e.modify(megan, func(r *ldap.ModifyRequest) { r.Replace("displayName", []string{"Bowen, Megan"}) })
	see("moved OU", owner("meganb@contoso.com", megan), members(inner, megan))
	if v := s.View(); func() bool {
		_, ok := v.ByDN("CN=Megan Bowen,OU=Inside," + sales)
		return ok
	}() {
		t.Error("the old DN is still there")
	}

	r, _ := s.View().ByDN(megan)
	guid := s.View().GUID(r)
	e.delete(megan)
	see("delete", owner("meganb@contoso.com", ""), members(inner), members(everyone, adele, inner))

	e.restore(guid, megan, map[string][]string{"proxyAddresses": {"SMTP:meganb@contoso.com"}, "sAMAccountName": {"m-" + name}})
	see("restore", owner("meganb@contoso.com", megan))

	burst(e, s, root, see)
}

// burst makes 200 changes of two kinds at once.
func burst(e edit, s *Source, root string, see func(string, ...func(*directory.View) string)) {
	sales := "OU=Sales," + root
	var want []func(*directory.View) string
	for i := range 100 {
		dn := fmt.Sprintf("CN=Burst %d,%s", i, sales)
		e.contact(dn, fmt.Sprintf("SMTP:burst%d@contoso.com", i))
	}
	for i := range 100 {
		dn := fmt.Sprintf("CN=Burst %d,%s", i, sales)
		address := fmt.Sprintf("burst%d@contoso.com", i)
		switch i % 3 {
		case 0:
			e.delete(dn)
			want = append(want, owner(address, ""))
		case 1:
			e.move(dn, fmt.Sprintf("CN=Moved %d", i), root)
			want = append(want, owner(address, fmt.Sprintf("CN=Moved %d,%s", i, root)))
		case 2:
			e.modify(dn, func(r *ldap.ModifyRequest) {
				r.Replace("proxyAddresses", []string{fmt.Sprintf("SMTP:other%d@contoso.com", i)})
			})
			want = append(want, owner(address, ""), owner(fmt.Sprintf("other%d@contoso.com", i), dn))
		}
	}
	see("200 changes", want...)
}

// TestSambaTrouble restarts, replaces and sets back real domain controllers under a source that runs.
func TestSambaTrouble(t *testing.T) {
	dc := adtest.NewSamba(t)
	e := edit{t, dc.Admin()}
	e.service()
	e.contact("CN=Alex Wilber,CN=Users,"+base, "SMTP:alexw@contoso.com")
	saved := dc.Save() // with Alex, and without what follows
	two := dc.Clone()
	e = edit{t, dc.Admin()}
	e.contact("CN=Megan Bowen,CN=Users,"+base, "SMTP:meganb@contoso.com")

	cfg := sambaConfig(t, dc, svcUPN, password)
	cfg.URLs = []string{dc.URL("ldap"), two.URL("ldap")}
	cfg.StartTLS = true
	cfg.CAFile = dc.CAFile()
	cfg.Snapshot = filepath.Join(t.TempDir(), "directory.snapshot")
	s := New(cfg)
	stop := run(t, s)
	alex, megan := owner("alexw@contoso.com", "CN=Alex Wilber,CN=Users,"+base), owner("meganb@contoso.com", "CN=Megan Bowen,CN=Users,"+base)
	eventually(t, s, "first load, with StartTLS", all(alex, megan))

	dc.Stop()
	edit{t, two.Admin()}.contact("CN=Isaiah Langer,CN=Users,"+base, "SMTP:isaiahl@contoso.com")
	eventually(t, s, "the other domain controller", all(alex, owner("isaiahl@contoso.com", "CN=Isaiah Langer,CN=Users,"+base)))
	two.Stop()
	for until := time.Now().Add(patience); s.Status().State != directory.StateDegraded; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the loss of both is not seen")
		}
	}
	eventually(t, s, "the view serves on", alex)
	dc.Start()
	eventually(t, s, "back at the first", all(alex, megan, owner("isaiahl@contoso.com", "")))
	stop()

	dc.Stop()
	again := New(cfg)
	eventually(t, again, "the snapshot", all(alex, megan))
	run(t, again)
	dc.Restore(saved)
	eventually(t, again, "set back", all(alex, owner("meganb@contoso.com", "")))
	edit{t, dc.Admin()}.contact("CN=Megan Bowen,CN=Users,"+base, "SMTP:meganb@contoso.com")
	eventually(t, again, "and on from there", megan)
}

// TestSambaBases has two OUs as bases: objects and OUs move between them, into them, and out of them.
func TestSambaBases(t *testing.T) {
	dc := adtest.NewSamba(t)
	e := edit{t, dc.Admin()}
	e.service()
	for _, c := range []struct {
		name, account, secret string
		dirsyncs              []Method
	}{
		{"dirsync", adtest.AdminUPN, adtest.AdminPassword, []Method{DirSync, DirSyncObjectSecurity}},
		{"powerless", svcUPN, password, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := edit{t, e.c}
			root := "OU=" + c.name + "," + base
			e.ou(root)
			for _, ou := range []string{"Sales", "Shop", "Out"} {
				e.ou("OU=" + ou + "," + root)
			}
			e.ou("OU=Team,OU=Out," + root)
			adele := "CN=Adele Vance,OU=Sales," + root
			e.contact(adele, "SMTP:adelev@contoso.com")
			e.contact("CN=Alex Wilber,OU=Team,OU=Out,"+root, "SMTP:alexw@contoso.com")
			e.add("CN=All "+c.name+",OU=Shop,"+root, map[string][]string{"objectClass": {"group"}, "sAMAccountName": {"all-" + c.name}, "mail": {"all@contoso.com"}, "member": {adele}})
			t.Cleanup(func() { e.treeAway(root) })
			group := "CN=All " + c.name + ",OU=Shop," + root

			cfg := sambaConfig(t, dc, c.account, c.secret)
			cfg.BaseDNs = []string{"ou=sales, " + root, "OU=Shop," + root} // the first as people type it
			s := New(cfg)
			s.dirsyncs = c.dirsyncs
			run(t, s)
			eventually(t, s, "load", all(total(2), owner("adelev@contoso.com", adele), members(group, adele)))

			e.move(adele, "CN=Adele Vance", "OU=Shop,"+root)
			adele = "CN=Adele Vance,OU=Shop," + root
			eventually(t, s, "from one base to the other", all(total(2), owner("adelev@contoso.com", adele), members(group, adele)))
			e.move("OU=Team,OU=Out,"+root, "OU=Team", "OU=Sales,"+root)
			eventually(t, s, "an OU into a base", all(total(3), owner("alexw@contoso.com", "CN=Alex Wilber,OU=Team,OU=Sales,"+root)))
			e.move("OU=Team,OU=Sales,"+root, "OU=Team", "OU=Shop,"+root)
			eventually(t, s, "an OU from one base to the other", all(total(3), owner("alexw@contoso.com", "CN=Alex Wilber,OU=Team,OU=Shop,"+root)))
			e.move(adele, "CN=Adele Vance", "OU=Out,"+root)
			eventually(t, s, "out of both", all(total(2), owner("adelev@contoso.com", ""), members(group, "CN=Adele Vance,OU=Out,"+root)))
			e.move("OU=Team,OU=Shop,"+root, "OU=Team", "OU=Out,"+root)
			eventually(t, s, "an OU out of both", all(total(1), owner("alexw@contoso.com", "")))
		})
	}
}

// TestSambaLargeGroup has a group of more members than Active Directory gives in one answer.
func TestSambaLargeGroup(t *testing.T) {
	const people = 1700
	dc := adtest.NewSamba(t)
	e := edit{t, dc.Admin()}
	var ldif strings.Builder
	dns := make([]string, people)
	for i := range people {
		dns[i] = fmt.Sprintf("CN=Person %d,CN=Users,%s", i, base)
		fmt.Fprintf(&ldif, "dn: %s\nobjectClass: contact\nproxyAddresses: SMTP:person%d@contoso.com\n\n", dns[i], i)
	}
	dc.Add(ldif.String())
	group := "CN=Everyone,CN=Users," + base
	e.group(group)
	s := New(sambaConfig(t, dc, adtest.AdminUPN, adtest.AdminPassword))
	run(t, s)
	eventually(t, s, "load", all(owner("person1699@contoso.com", dns[1699]), members(group)))
	count := func(n int) func(*directory.View) string {
		return func(v *directory.View) string {
			r, _ := v.ByDN(group)
			if got := len(v.Members(r, nil)); got != n {
				return fmt.Sprintf("%d members, expected %d", got, n)
			}
			return ""
		}
	}
	e.modify(group, func(r *ldap.ModifyRequest) { r.Add("member", dns) })
	eventually(t, s, "all at once", count(people))
	e.modify(group, func(r *ldap.ModifyRequest) { r.Delete("member", dns[:100]) })
	e.delete(dns[1500])
	eventually(t, s, "some less, and one deleted", count(people-101))
	fresh := source(t, s.cfg)
	refresh(t, fresh)
	if why := count(people - 101)(fresh.View()); why != "" {
		t.Errorf("loaded anew: %s", why)
	}
}

// TestSambaRefuses binds with wrong passwords and authorities.
func TestSambaRefuses(t *testing.T) {
	dc := adtest.NewSamba(t)
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"wrong password", func(c *Config) { c.PasswordFile = secretFile(t, "wrong") }, "check bind_dn and password_file"},
		{"no such account", func(c *Config) { c.BindDN = "CN=None," + base }, "check bind_dn and password_file"},
		{"other authority", func(c *Config) { c.CAFile = adtest.NewAuthority(t).File }, "set ca_file"},
		{"no such base", func(c *Config) { c.BaseDNs = []string{"OU=None," + base} }, "check base_dn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := sambaConfig(t, dc, adtest.AdminUPN, adtest.AdminPassword)
			c.change(&cfg)
			s := New(cfg)
			defer s.Close()
			if err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; expected %q in it", err, c.want)
			}
			if s.View() != nil {
				t.Error("there is a view")
			}
		})
	}
}
