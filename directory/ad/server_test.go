package ad

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/directory/ad/adtest"
)

const root = "DC=contoso,DC=test"

// company is a small directory: OUs Sales and Groups, users, a group of all.
func company(users int) *adtest.Store {
	s := adtest.NewStore(root)
	for _, ou := range []string{"Sales", "Groups", "Empty"} {
		s.Add("OU="+ou+","+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
	}
	var all []string
	for i := range users {
		dn := userDN(i)
		s.Add(dn, userAttributes(i))
		all = append(all, dn)
	}
	s.Add("CN=Everyone,OU=Groups,"+root, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"everyone@contoso.com"}, "member": all})
	s.Add("CN=PC1,"+root, adtest.Attributes{"objectClass": {"top", "user", "computer"}})
	return s
}

func userDN(i int) string { return fmt.Sprintf("CN=User %d,OU=Sales,%s", i, root) }

func userAttributes(i int) adtest.Attributes {
	a := fmt.Sprintf("user%d@contoso.com", i)
	return adtest.Attributes{"objectClass": {"top", "person", "user"}, "mail": {a}, "userPrincipalName": {a}, "proxyAddresses": {"SMTP:" + a, fmt.Sprintf("smtp:u%d@contoso.com", i)}}
}

func config(t testing.TB, servers ...*adtest.Server) Config {
	c := Config{BaseDNs: []string{root}, BindDN: "svc@contoso.test", PasswordFile: secretFile(t, "secret"), Refresh: 50 * time.Millisecond, Reconcile: 100 * time.Millisecond,
		Timeout: time.Minute, Log: testLog(t)}
	for _, s := range servers {
		c.URLs = append(c.URLs, s.URL())
	}
	return c
}

// source is one that is asked by hand: nothing runs by itself.
func source(t testing.TB, c Config) *Source {
	t.Helper()
	s := New(c)
	t.Cleanup(func() { s.Close() })
	return s
}

func refresh(t testing.TB, s *Source) {
	t.Helper()
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check wants a condition to hold now.
func check(t testing.TB, s *Source, what string, conditions ...func(*directory.View) string) {
	t.Helper()
	if why := all(conditions...)(s.View()); why != "" {
		t.Fatalf("%s: %s", what, why)
	}
}

func total(n int) func(*directory.View) string {
	return func(v *directory.View) string {
		if got := v.Stats().Total(); got != n {
			return fmt.Sprintf("%d objects, expected %d", got, n)
		}
		return ""
	}
}

// A load of several pages, with a group of several ranges.
func TestLoad(t *testing.T) {
	const users = 2*adtest.MaxPageSize + 17
	store := company(users)
	store.Delete(userDN(5))
	s := source(t, config(t, adtest.NewServer(t, store, nil)))
	refresh(t, s)
	check(t, s, "load", total(users), owner("u1700@contoso.com", userDN(1700)), owner("u5@contoso.com", ""), func(v *directory.View) string {
		r, _ := v.ByDN("CN=Everyone,OU=Groups," + root)
		if n := len(v.Members(r, nil)); n != users-1 {
			return fmt.Sprintf("%d members, expected %d", n, users-1)
		}
		return ""
	})
	st := s.Status()
	if st.Method != string(DirSync) || !strings.Contains(st.DC, "dc1.contoso.test") || st.State != directory.StateOK || st.Source != "ad" {
		t.Errorf("status %+v", st)
	}
	store.Member("CN=Everyone,OU=Groups,"+root, userDN(7), false)
	store.Set(userDN(1), "displayName", "One")
	refresh(t, s)
	check(t, s, "one member less", func(v *directory.View) string {
		r, _ := v.ByDN("CN=Everyone,OU=Groups," + root)
		if n := len(v.Members(r, nil)); n != users-2 {
			return fmt.Sprintf("%d members", n)
		}
		return ""
	})
}

// rights are the accounts that the source may have.
var rights = []struct {
	name   string
	faults func(*adtest.Faults)
	method Method
}{
	{"replicate", func(*adtest.Faults) {}, DirSync},
	{"replicate, in pages", func(f *adtest.Faults) { f.DirSyncPage = 3 }, DirSync},
	{"object security", func(f *adtest.Faults) { f.DirSync, f.HideDeleted = adtest.ObjectSecurity, true }, DirSyncObjectSecurity},
	{"object security, sees deletions", func(f *adtest.Faults) { f.DirSync = adtest.ObjectSecurity }, DirSyncObjectSecurity},
	{"no DirSync", func(f *adtest.Faults) { f.DirSync = adtest.NoDirSync }, USN},
	{"DirSync refused", func(f *adtest.Faults) { f.DirSync = adtest.DirSyncDisabled }, USN},
	{"nothing", func(f *adtest.Faults) { f.DirSync, f.HideDeleted = adtest.NoDirSync, true }, USNReconcile},
}

// Random changes of every kind, several before each poll: after each poll the view is that of a directory loaded anew. The order of names that are freed and taken again is
// what goes wrong most easily.
func TestRandomChanges(t *testing.T) {
	for i, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			for round := range 2 {
				randomChanges(t, r.faults, r.method, rand.New(rand.NewPCG(uint64(i), uint64(round))))
			}
		})
	}
}

func randomChanges(t *testing.T, faults func(*adtest.Faults), method Method, rnd *rand.Rand) {
	t.Helper()
	w := newWorld(rnd)
	server := adtest.NewServer(t, w.store, nil)
	server.Fail(faults)
	cfg := config(t, server)
	cfg.Log = nil
	s := source(t, cfg)
	refresh(t, s)
	if got := s.Status().Method; got != string(method) {
		t.Fatalf("the method is %s, expected %s", got, method)
	}
	for poll := range 10 {
		var done []string
		for range 1 + rnd.IntN(6) {
			done = append(done, w.change())
		}
		s.compare = s.compare || !s.st.Deletions
		refresh(t, s)
		fresh := source(t, cfg)
		refresh(t, fresh)
		if want, got := ldif(t, fresh.View()), ldif(t, s.View()); want != got {
			t.Fatalf("poll %d, after\n%s\nthe view differs: %s", poll, strings.Join(done, "\n"), firstDifference(want, got))
		}
		fresh.Close()
	}
}

// world is a directory that changes at random, and what is in it.
type world struct {
	rnd        *rand.Rand
	store      *adtest.Store
	containers []string
	people     []string
	groups     []string
	n          int
}

func newWorld(rnd *rand.Rand) *world {
	w := &world{rnd: rnd, store: adtest.NewStore(root)}
	for range 6 {
		w.addContainer()
	}
	for range 12 {
		w.addPerson()
	}
	for range 3 {
		w.addGroup()
	}
	w.delete(w.people[0]) // a directory without any deleted object looks like one in which they cannot be seen
	return w
}

// name is one of few, so that names are taken again.
func (w *world) name(kind string, taken func(string) bool) string {
	for {
		n := fmt.Sprintf("%s%d", kind, w.rnd.IntN(8))
		if !taken(n) {
			return n
		}
		if w.rnd.IntN(4) == 0 {
			w.n++
			return fmt.Sprintf("%s-%d", kind, w.n)
		}
	}
}

func (w *world) anyContainer() string {
	if len(w.containers) == 0 || w.rnd.IntN(4) == 0 {
		return root
	}
	return w.containers[w.rnd.IntN(len(w.containers))]
}

func (w *world) has(dn string) bool {
	same := func(o string) bool { return strings.EqualFold(o, dn) }
	return slices.ContainsFunc(w.containers, same) || slices.ContainsFunc(w.people, same) || slices.ContainsFunc(w.groups, same)
}

// place is a DN that is free.
func (w *world) place(rdn, kind, parent string) string {
	return rdn + "=" + w.name(kind, func(n string) bool { return w.has(rdn + "=" + n + "," + parent) }) + "," + parent
}

func (w *world) addContainer() string {
	dn := w.place("OU", "ou", w.anyContainer())
	w.store.Add(dn, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
	w.containers = append(w.containers, dn)
	return "add " + dn
}

func (w *world) addPerson() string {
	dn := w.place("CN", "p", w.anyContainer())
	w.n++
	w.store.Add(dn, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {fmt.Sprintf("SMTP:p%d@contoso.com", w.n)}})
	w.people = append(w.people, dn)
	return "add " + dn
}

func (w *world) addGroup() string {
	dn := w.place("CN", "g", w.anyContainer())
	var members []string
	for _, p := range w.people {
		if w.rnd.IntN(2) == 0 {
			members = append(members, p)
		}
	}
	w.store.Add(dn, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"g@contoso.com"}, "member": members})
	w.groups = append(w.groups, dn)
	return "add " + dn
}

func (w *world) change() string {
	person := func() string { return w.people[w.rnd.IntN(len(w.people))] }
	group := func() string { return w.groups[w.rnd.IntN(len(w.groups))] }
	switch k := w.rnd.IntN(12); {
	case k == 0:
		return w.addContainer()
	case k == 1 || len(w.people) < 5:
		return w.addPerson()
	case k == 2 || len(w.groups) < 2:
		return w.addGroup()
	case k <= 5:
		return w.moveContainer()
	case k == 6:
		from := person()
		to := w.place("CN", "p", w.anyContainer())
		w.rename(from, to)
		return "rename " + from + " to " + to
	case k == 7:
		dn := person()
		w.delete(dn)
		return "delete " + dn
	case k == 8:
		dn := group()
		w.delete(dn)
		return "delete " + dn
	case k == 9:
		dn := person()
		w.n++
		w.store.Set(dn, "proxyAddresses", fmt.Sprintf("SMTP:p%d@contoso.com", w.n))
		return "set " + dn
	}
	g, m := group(), person()
	if w.rnd.IntN(3) == 0 {
		m = group()
	}
	add := w.rnd.IntN(2) == 0
	w.store.Member(g, m, add)
	return fmt.Sprintf("member %s of %s: %v", m, g, add)
}

func (w *world) moveContainer() string {
	if len(w.containers) == 0 {
		return w.addContainer()
	}
	from := w.containers[w.rnd.IntN(len(w.containers))]
	parent := w.anyContainer()
	if parent == from || strings.HasSuffix(parent, ","+from) {
		parent = root
	}
	to := w.place("OU", "ou", parent)
	w.rename(from, to)
	return "rename " + from + " to " + to
}

func (w *world) rename(from, to string) {
	w.store.Rename(from, to)
	for _, list := range [][]string{w.containers, w.people, w.groups} {
		for i, dn := range list {
			if dn == from {
				list[i] = to
			} else if strings.HasSuffix(dn, ","+from) {
				list[i] = strings.TrimSuffix(dn, from) + to
			}
		}
	}
}

func (w *world) delete(dn string) {
	w.store.Delete(dn)
	w.people = slices.DeleteFunc(w.people, func(p string) bool { return p == dn })
	w.groups = slices.DeleteFunc(w.groups, func(p string) bool { return p == dn })
}

// Wherever a connection is cut, nobody is lost, and it is an error. With whole answers all is well again.
func TestCutNeverRemoves(t *testing.T) {
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			const users = 60
			store := company(users)
			server := adtest.NewServer(t, store, nil)
			server.Fail(r.faults)
			cfg := config(t, server)
			cfg.Log = nil
			s := source(t, cfg)
			refresh(t, s)
			failures := 0
			for cut := 200; cut < 60_000; cut += cut/4 + 197 {
				store.Set(userDN(cut%users), "displayName", fmt.Sprint(cut))
				server.Fail(func(f *adtest.Faults) { f.CutAfter = cut })
				s.drop() // a new connection, and with it a comparison of all objects
				if s.Refresh(t.Context()) != nil {
					failures++
				}
				check(t, s, fmt.Sprintf("cut after %d octets", cut), total(users+1))
				server.Fail(func(f *adtest.Faults) { f.CutAfter = 0 })
				refresh(t, s)
				check(t, s, "whole", total(users+1))
			}
			if failures < 5 {
				t.Errorf("only %d cuts were felt", failures)
			}
		})
	}
}

// A first load that is cut gives no view, rather than half a one.
func TestCutFirstLoad(t *testing.T) {
	const users = adtest.MaxPageSize + 200
	for page := 1; page <= 2; page++ {
		server := adtest.NewServer(t, company(users), nil)
		server.Fail(func(f *adtest.Faults) { f.CutAtPage = page })
		s := source(t, config(t, server))
		if err := s.Refresh(t.Context()); !errors.Is(err, errGone) {
			t.Errorf("page %d: error %v", page, err)
		}
		if s.View() != nil {
			t.Errorf("page %d: there is a view of %d objects", page, s.View().Stats().Total())
		}
		server.Fail(func(f *adtest.Faults) { f.CutAtPage = 0 })
		refresh(t, s)
		check(t, s, "whole", total(users+1))
	}
}

// What makes the state useless: everything is loaded anew, and until that succeeds the last view serves.
func TestLoadedAnew(t *testing.T) {
	const users = 40
	for _, c := range []struct {
		name string
		do   func(*adtest.Server, *adtest.Store)
	}{
		{"cookie refused", func(s *adtest.Server, store *adtest.Store) {
			store.Delete(userDN(3))
			store.Add(userDN(users), userAttributes(users))
			s.Fail(func(f *adtest.Faults) { f.RefuseCookies = true })
		}},
		{"restored, with another invocationId", func(s *adtest.Server, store *adtest.Store) {
			old := store.Copy()
			store.Set(userDN(1), "mail", "later@contoso.com")
			old.Delete(userDN(3))
			old.Add(userDN(users), userAttributes(users))
			s.Replace(old)
			s.Fail(func(f *adtest.Faults) { f.Invocation = "invocation-id-02" })
		}},
		{"set back", func(s *adtest.Server, store *adtest.Store) {
			old := company(users)
			old.Delete(userDN(3))
			old.Add(userDN(users), userAttributes(users))
			for range 50 {
				store.Set(userDN(1), "mail", "later@contoso.com")
			}
			s.Replace(old)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := company(users)
			server := adtest.NewServer(t, store, nil)
			cfg := config(t, server)
			cfg.Refresh = time.Hour // else a comparison that takes long asks for changes in between, with a cookie that is refused again
			s := source(t, cfg)
			for range 60 {
				store.Set(userDN(0), "displayName", "x")
			}
			refresh(t, s)
			c.do(server, store)
			server.Fail(func(f *adtest.Faults) { f.SearchCode = ldap.LDAPResultBusy })
			if err := s.Refresh(t.Context()); err == nil {
				t.Error("no error")
			}
			check(t, s, "before", total(users+1), owner("u3@contoso.com", userDN(3)))
			server.Fail(func(f *adtest.Faults) { f.SearchCode = 0 })
			refreshing := s.Refresh(t.Context())
			// A cookie is refused in the load that follows as well; then there are other ways.
			if refreshing != nil {
				t.Fatal(refreshing)
			}
			check(t, s, "after", total(users+1), owner("u3@contoso.com", ""), owner(fmt.Sprintf("u%d@contoso.com", users), userDN(users)), owner("user1@contoso.com", userDN(1)))
		})
	}
}

// Several domain controllers: in turn, and staying with one.
func TestFailover(t *testing.T) {
	const users = 30
	one, two := adtest.NewServer(t, company(users), nil), adtest.NewServer(t, company(users+1), nil)
	cfg := config(t, one, two)
	cfg.Timeout = 300 * time.Millisecond
	s := source(t, cfg)
	refresh(t, s)
	check(t, s, "the first", total(users+1))
	one.Stop()
	refresh(t, s)
	check(t, s, "the second", total(users+2))
	one.Start()
	refresh(t, s)
	if !strings.Contains(s.Status().DC, two.URL()) {
		t.Errorf("asked %s; expected to stay with the second", s.Status().DC)
	}
	two.Fail(func(f *adtest.Faults) { f.Hang = true })
	refresh(t, s)
	check(t, s, "the first again", total(users+1))
	one.Stop()
	if err := s.Refresh(t.Context()); err == nil {
		t.Error("no error with all gone")
	}
	check(t, s, "none left", total(users+1))
	if st := s.Status(); st.State != directory.StateDegraded || st.LastError == "" {
		t.Errorf("status %+v", st)
	}
}

// What the next domain controller has not got yet is kept for a while: somebody new, and somebody who was moved into sight. What it knows to be deleted or elsewhere is not, nor what has a
// successor, nor what was changed long ago.
func TestReplicationLag(t *testing.T) {
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			const users = 30
			now := time.Now()
			store := company(users)
			store.Add("OU=Out,"+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
			behind := store.Copy() // what was replicated so far
			for i := range 4 {
				store.Add(userDN(users+i), userAttributes(users+i))
			}
			one, two := adtest.NewServer(t, store, nil), adtest.NewServer(t, behind, nil)
			one.Fail(r.faults)
			two.Fail(r.faults)
			two.Fail(func(f *adtest.Faults) { f.Host = "DC2" })
			cfg := config(t, one, two)
			cfg.BaseDNs = []string{"OU=Sales," + root, "OU=Groups," + root}
			cfg.Now = func() time.Time { return now }
			s := source(t, cfg)
			refresh(t, s)
			check(t, s, "the first", total(users+5))
			before := s.View()

			behind.Delete(userDN(3))                                         // a tombstone tells, to those who see it
			behind.Rename(userDN(4), "CN=User 4,OU=Out,"+root)               // out of sight
			behind.Add("CN=Another,OU=Sales,"+root, userAttributes(users+1)) // has the address by now
			one.Stop()
			want := users + 3
			if !s.st.Deletions {
				want++
			}
			for range 2 { // the second time all objects are compared, for those who see no deletions
				refresh(t, s)
				check(t, s, "the second", total(want), owner("u30@contoso.com", userDN(30)), owner("u31@contoso.com", "CN=Another,OU=Sales,"+root), owner("u33@contoso.com", userDN(33)),
					owner("u4@contoso.com", ""), func(v *directory.View) string {
						if want, got := ldifOf(t, before, userDN(33)), ldifOf(t, v, userDN(33)); got != want {
							return "what is kept is not as it was: " + got + ", expected " + want
						}
						return ""
					})
			}
			now = now.Add(replicationLag + time.Minute)
			refresh(t, s)
			check(t, s, "it never came", total(users), owner("u30@contoso.com", ""), owner("u33@contoso.com", ""), owner("u3@contoso.com", ""))
		})
	}
}

// What was changed a short time ago stays as it is at another domain controller that has it as it was before; until that one has changed it, or must have it.
func TestReplicationLagOfChanges(t *testing.T) {
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			now := time.Now()
			team := "CN=Team,OU=Groups," + root
			store := company(30)
			store.Add(team, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"team@contoso.com"}, "member": {userDN(1)}})
			behind := store.Copy()
			store.Advance(2 * time.Second)
			store.Set(userDN(7), "proxyAddresses", "SMTP:user7@contoso.com", "smtp:alias@contoso.com")
			store.Set(userDN(8), "targetAddress", "SMTP:user8@contoso.mail.onmicrosoft.com")
			store.Member(team, userDN(2), true)
			one, two := adtest.NewServer(t, store, nil), adtest.NewServer(t, behind, nil)
			one.Fail(r.faults)
			two.Fail(r.faults)
			two.Fail(func(f *adtest.Faults) { f.Host = "DC2" })
			cfg := config(t, one, two)
			cfg.Now = func() time.Time { return now }
			s := source(t, cfg)
			refresh(t, s)
			target := func(want string) func(*directory.View) string {
				return func(v *directory.View) string {
					r := v.Find(directory.KeyProxy, "u8@contoso.com", nil)
					if len(r) != 1 || v.Object(r[0]).TargetAddress != want {
						return fmt.Sprintf("targetAddress of %v is not %q", r, want)
					}
					return ""
				}
			}
			kept := []func(*directory.View) string{owner("alias@contoso.com", userDN(7)), target("SMTP:user8@contoso.mail.onmicrosoft.com"), members(team, userDN(1), userDN(2))}
			check(t, s, "the first", kept...)
			one.Stop()
			for range 3 { // also when all objects are compared
				refresh(t, s)
				check(t, s, "the second", kept...)
			}
			behind.Advance(4 * time.Second)
			behind.Set(userDN(7), "proxyAddresses", "SMTP:user7@contoso.com", "smtp:other@contoso.com")
			refresh(t, s)
			check(t, s, "changed at the second", owner("alias@contoso.com", ""), owner("other@contoso.com", userDN(7)), kept[1], kept[2])
			now = now.Add(replicationLag + time.Minute)
			refresh(t, s)
			check(t, s, "it never came", owner("other@contoso.com", userDN(7)), target(""), members(team, userDN(1)))
		})
	}
}

// What was kept is the directory's again when it arrives.
func TestReplicationArrives(t *testing.T) {
	store := company(5)
	behind := store.Copy()
	store.Add(userDN(5), userAttributes(5))
	one, two := adtest.NewServer(t, store, nil), adtest.NewServer(t, behind, nil)
	two.Fail(func(f *adtest.Faults) { f.Host = "DC2" })
	s := source(t, config(t, one, two))
	refresh(t, s)
	one.Stop()
	refresh(t, s)
	check(t, s, "kept", total(7), owner("u5@contoso.com", userDN(5)))
	store.Set(userDN(5), "displayName", "arrived")
	two.Replace(store)
	refresh(t, s)
	check(t, s, "arrived", total(7), owner("u5@contoso.com", userDN(5)))
	store.Delete(userDN(5))
	refresh(t, s)
	check(t, s, "deleted then", total(6), owner("u5@contoso.com", ""))
}

// ldifOf is one object.
func ldifOf(t testing.TB, v *directory.View, dn string) string {
	t.Helper()
	for _, record := range strings.Split(ldif(t, v), "\n\n") {
		if strings.Contains(record, "dn: "+dn+"\n") {
			return record
		}
	}
	t.Fatalf("%s is not there", dn)
	return ""
}

// Run recovers by itself, and soon.
func TestRunRecovers(t *testing.T) {
	store := company(10)
	server := adtest.NewServer(t, store, nil)
	s := New(config(t, server))
	run(t, s)
	eventually(t, s, "first load", total(11))
	server.Stop()
	store.Add(userDN(10), userAttributes(10))
	for until := time.Now().Add(patience); s.Status().State != directory.StateDegraded; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the loss of the server is not seen")
		}
	}
	check(t, s, "gone", total(11))
	server.Start()
	eventually(t, s, "back", total(12))
	store.Delete(userDN(10))
	eventually(t, s, "deleted", total(11))
}

// What must not be believed.
func TestNotBelieved(t *testing.T) {
	const users = 40
	for _, c := range []struct {
		name   string
		faults func(*adtest.Faults)
		want   string
	}{
		{"no paging", func(f *adtest.Faults) { f.NoPaging = true }, "without the paging control"},
		{"still replicating", func(f *adtest.Faults) { f.Unready = true }, "first replication"},
		{"nothing visible", func(f *adtest.Faults) { f.Blind, f.Invocation = true, "another-one-----" }, "is visible below"},
		{"searches refused", func(f *adtest.Faults) { f.SearchCode = ldap.LDAPResultInsufficientAccessRights }, "Insufficient Access Rights"},
		{"busy", func(f *adtest.Faults) { f.SearchCode = ldap.LDAPResultBusy }, "Busy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := adtest.NewServer(t, company(users), nil)
			s := source(t, config(t, server))
			refresh(t, s)
			server.Fail(c.faults)
			for range 3 {
				s.drop()
				err := s.Refresh(t.Context())
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v; expected %q in it", err, c.want)
				}
				check(t, s, "the last view", total(users+1))
			}
			fresh := source(t, config(t, server))
			if err := fresh.Refresh(t.Context()); err == nil || fresh.View() != nil {
				t.Errorf("error %v, view %v without one before", err, fresh.View())
			}
		})
	}
}

// A loss of more than half is believed when it is seen twice.
func TestShrunk(t *testing.T) {
	const users = 60
	store := company(users)
	server := adtest.NewServer(t, store, nil)
	server.Fail(func(f *adtest.Faults) { f.DirSync, f.HideDeleted = adtest.NoDirSync, true })
	s := source(t, config(t, server))
	refresh(t, s)
	for i := range 50 {
		store.Delete(userDN(i))
	}
	if err := s.Refresh(t.Context()); !errors.Is(err, errUnbelieved) {
		t.Errorf("error %v at first", err)
	}
	check(t, s, "at first", total(users+1))
	time.Sleep(2 * s.cfg.Refresh)
	refresh(t, s)
	check(t, s, "confirmed", total(users+1-50))
}

// Restarts: the snapshot serves while all is gone, and changes are followed from where it was without a load.
func TestRestart(t *testing.T) {
	const users = 30
	store := company(users)
	server := adtest.NewServer(t, store, nil)
	cfg := config(t, server)
	cfg.Snapshot = filepath.Join(t.TempDir(), "directory.snapshot")
	s := New(cfg)
	refresh(t, s)
	store.Member("CN=Everyone,OU=Groups,"+root, userDN(2), false)
	refresh(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := ldif(t, s.View())

	server.Stop()
	again := New(cfg)
	if again.View() == nil || ldif(t, again.View()) != before {
		t.Fatal("the snapshot is not the view")
	}
	if err := again.Refresh(t.Context()); err == nil {
		t.Error("no error without a server")
	}
	check(t, again, "gone", total(users+1))
	if again.Age(time.Now()) > time.Minute || again.LastRead().IsZero() {
		t.Errorf("age %v", again.Age(time.Now()))
	}
	server.Start()
	store.Rename("OU=Sales,"+root, "OU=Marketing,"+root) // containers are known over a restart
	refresh(t, again)
	check(t, again, "renamed while it was down", owner("u1@contoso.com", "CN=User 1,OU=Marketing,"+root))
	if again.Status().Method != string(DirSync) {
		t.Errorf("method %s", again.Status().Method)
	}
	again.Close()

	// A damaged one is refused, and all is read.
	b, err := os.ReadFile(cfg.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(cfg.Snapshot, b, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := source(t, cfg)
	if damaged.View() != nil {
		t.Error("a damaged snapshot was taken")
	}
	refresh(t, damaged)
	check(t, damaged, "read anew", total(users+1))
	// The view of another part of the directory is not used.
	cfg.BaseDNs = []string{"OU=Sales," + root}
	if other := source(t, cfg); other.View() != nil {
		t.Error("the snapshot of another base was taken")
	}
}

// A base that is a part of the naming context: objects come into it and leave it.
func TestPartOfTheDirectory(t *testing.T) {
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			store := company(5)
			store.Add("OU=Out,"+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
			store.Add("OU=Team,OU=Out,"+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
			store.Add("CN=Alex Wilber,OU=Team,OU=Out,"+root, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:alexw@contoso.com"}})
			server := adtest.NewServer(t, store, nil)
			server.Fail(r.faults)
			cfg := config(t, server)
			cfg.BaseDNs = []string{"OU=Sales," + root}
			s := source(t, cfg)
			refresh(t, s)
			check(t, s, "before", total(5), owner("alexw@contoso.com", ""))
			store.Rename("OU=Team,OU=Out,"+root, "OU=Team,OU=Sales,"+root)
			refresh(t, s)
			check(t, s, "came in", total(6), owner("alexw@contoso.com", "CN=Alex Wilber,OU=Team,OU=Sales,"+root))
			store.Rename(userDN(2), "CN=User 2,OU=Out,"+root)
			store.Rename("OU=Team,OU=Sales,"+root, "OU=Team,OU=Out,"+root)
			refresh(t, s)
			check(t, s, "went out", total(4), owner("alexw@contoso.com", ""), owner("u2@contoso.com", ""))
		})
	}
}

// Several bases in one naming context and in two: objects come into them, leave them, and go from one to another, of which no moment without them is ever seen.
func TestSeveralBases(t *testing.T) {
	const apps = "DC=apps,DC=contoso,DC=test" // a naming context of its own, within the other one by name
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			store := company(5)
			store.Context(apps)
			for _, ou := range []string{"OU=Out," + root, "OU=Shop," + root, "OU=Team,OU=Out," + root, "OU=Hidden," + apps, "OU=Bots," + apps} {
				store.Add(ou, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
			}
			contact := func(dn, address string) {
				store.Add(dn, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:" + address}})
			}
			contact("CN=Alex Wilber,OU=Team,OU=Out,"+root, "alexw@contoso.com")
			contact("CN=Megan Bowen,OU=Shop,"+root, "meganb@contoso.com")
			contact("CN=Isaiah Langer,OU=Bots,"+apps, "isaiahl@contoso.com")
			contact("CN=Lee Gu,OU=Hidden,"+apps, "leeg@contoso.com")
			server := adtest.NewServer(t, store, nil)
			server.Fail(r.faults)
			cfg := config(t, server)
			// As they are typed, and one within another.
			cfg.BaseDNs = []string{"ou=sales," + root, "OU=Shop," + root, "OU=Inner,OU=Shop," + root, "OU=Bots," + apps}
			s := source(t, cfg)
			refresh(t, s)
			check(t, s, "before", total(7), owner("alexw@contoso.com", ""), owner("meganb@contoso.com", "CN=Megan Bowen,OU=Shop,"+root), owner("leeg@contoso.com", ""),
				owner("isaiahl@contoso.com", "CN=Isaiah Langer,OU=Bots,"+apps))

			store.Rename("CN=Megan Bowen,OU=Shop,"+root, "CN=Megan Bowen,OU=Sales,"+root)
			store.Rename("OU=Team,OU=Out,"+root, "OU=Team,OU=Shop,"+root)
			store.Rename("CN=Lee Gu,OU=Hidden,"+apps, "CN=Lee Gu,OU=Bots,"+apps)
			refresh(t, s)
			check(t, s, "moved between, and in", total(9), owner("meganb@contoso.com", "CN=Megan Bowen,OU=Sales,"+root), owner("alexw@contoso.com", "CN=Alex Wilber,OU=Team,OU=Shop,"+root),
				owner("leeg@contoso.com", "CN=Lee Gu,OU=Bots,"+apps))

			store.Rename("OU=Team,OU=Shop,"+root, "OU=Team,OU=Sales,"+root)
			store.Rename(userDN(2), "CN=User 2,OU=Shop,"+root)
			store.Rename("CN=Lee Gu,OU=Bots,"+apps, "CN=Lee Gu,OU=Hidden,"+apps)
			store.Delete("CN=Isaiah Langer,OU=Bots," + apps)
			refresh(t, s)
			check(t, s, "an OU moved between, out, deleted", total(7), owner("alexw@contoso.com", "CN=Alex Wilber,OU=Team,OU=Sales,"+root), owner("u2@contoso.com", "CN=User 2,OU=Shop,"+root),
				owner("leeg@contoso.com", ""), owner("isaiahl@contoso.com", ""))
			fresh := source(t, cfg)
			refresh(t, fresh)
			if want, got := ldif(t, fresh.View()), ldif(t, s.View()); want != got {
				t.Errorf("the view differs from one that is loaded now: %s", firstDifference(want, got))
			}
		})
	}
}

// A base that is renamed, or out of sight, takes nobody away: it is an error, and the last view stays.
func TestBaseGone(t *testing.T) {
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			store := company(30)
			store.Add("OU=Shop,"+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
			server := adtest.NewServer(t, store, nil)
			server.Fail(r.faults)
			cfg := config(t, server)
			cfg.BaseDNs = []string{"OU=Shop," + root, "OU=Sales," + root}
			s := source(t, cfg)
			refresh(t, s)
			check(t, s, "before", total(30))
			store.Rename("OU=Sales,"+root, "OU=Marketing,"+root)
			store.Set("CN=User 3,OU=Marketing,"+root, "displayName", "Three")
			for range 3 {
				if err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "base_dn") {
					t.Errorf("error %v; expected one about base_dn", err)
				}
				check(t, s, "renamed", total(30), owner("u3@contoso.com", userDN(3)))
			}
			store.Rename("OU=Marketing,"+root, "OU=Sales,"+root)
			refresh(t, s)
			check(t, s, "and back", total(30), owner("u3@contoso.com", userDN(3)))
		})
	}
}

// What changes while everything is read is in the view that takes the place of the last one: at no moment somebody is missing who was there all the time.
func TestMovedDuringLoad(t *testing.T) {
	store := company(30)
	store.Add("OU=Shop,"+root, adtest.Attributes{"objectClass": {"top", "organizationalUnit"}})
	server := adtest.NewServer(t, store, nil)
	cfg := config(t, server)
	cfg.BaseDNs = []string{"OU=Shop," + root, "OU=Sales," + root}
	s := source(t, cfg)
	// Between the first base and the second, user 3 goes from the second to the first, and is in neither answer.
	server.Fail(func(f *adtest.Faults) {
		f.AtPage = func(page int) {
			if page == 2 {
				store.Rename(userDN(3), "CN=User 3,OU=Shop,"+root)
			}
		}
	})
	changed := s.Changed()
	refreshed := make(chan error, 1)
	go func() { refreshed <- s.Refresh(t.Context()) }()
	<-changed
	check(t, s, "the first view", total(30), owner("u3@contoso.com", "CN=User 3,OU=Shop,"+root))
	if err := <-refreshed; err != nil {
		t.Fatal(err)
	}
}

// An address goes to somebody else, and a group gets another member, while changes of the first one are read: in the directory there is an owner at every moment, and so in every view.
func TestNobodyLosesAnAddress(t *testing.T) {
	const address = "u1@contoso.com"
	without := func(i int) []string { return []string{fmt.Sprintf("SMTP:user%d@contoso.com", i)} }
	with := func(i int) []string { return append(without(i), "smtp:"+address) }
	fresh := "CN=New,OU=Sales," + root
	team := "CN=Team,OU=Groups," + root
	for _, tt := range []struct {
		name   string
		change func(*adtest.Store)
		want   func(*directory.View) string
	}{
		{"to another object", func(s *adtest.Store) {
			s.Set(userDN(2), "proxyAddresses", with(2)...)
			s.Set(userDN(1), "proxyAddresses", without(1)...)
		}, owner(address, userDN(2))},
		{"as the mail of another object", func(s *adtest.Store) {
			s.Set(userDN(2), "mail", address)
			s.Set(userDN(1), "proxyAddresses", without(1)...)
		}, func(v *directory.View) string {
			if n := len(v.Find(directory.KeyMail, address, nil)); n != 1 {
				return fmt.Sprintf("%d owners", n)
			}
			return ""
		}},
		{"to a new object", func(s *adtest.Store) {
			s.Add(fresh, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:" + address}})
			s.Delete(userDN(1))
		}, owner(address, fresh)},
		{"one after another", func(s *adtest.Store) {
			s.Set(userDN(2), "proxyAddresses", append(with(2), "smtp:u2@contoso.com")...)
			s.Set(userDN(1), "proxyAddresses", without(1)...)
			s.Set(userDN(3), "proxyAddresses", append(without(3), "smtp:u3@contoso.com", "smtp:u2@contoso.com")...)
			s.Set(userDN(2), "proxyAddresses", with(2)...)
		}, all(owner(address, userDN(2)), owner("u2@contoso.com", userDN(3)))},
		{"member of a group", func(s *adtest.Store) {
			s.Add(fresh, adtest.Attributes{"objectClass": {"top", "contact"}, "proxyAddresses": {"SMTP:" + address}})
			s.Member(team, fresh, true)
			s.Delete(userDN(1))
		}, all(owner(address, fresh), members(team, fresh))},
	} {
		for _, m := range []struct {
			name   string
			faults func(*adtest.Faults)
			page   int // in which objects are read
		}{
			{"dirsync", func(*adtest.Faults) {}, 1},
			{"usn", func(f *adtest.Faults) { f.DirSync = adtest.NoDirSync }, 2},
			{"usn-reconcile", func(f *adtest.Faults) { f.DirSync, f.HideDeleted = adtest.NoDirSync, true }, 2},
		} {
			t.Run(tt.name+"/"+m.name, func(t *testing.T) {
				store := company(30)
				store.Add(team, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"team@contoso.com"}, "member": {userDN(1)}})
				store.Add("CN=Gone,OU=Sales,"+root, userAttributes(99))
				server := adtest.NewServer(t, store, nil)
				server.Fail(m.faults)
				s := source(t, config(t, server))
				refresh(t, s)
				store.Delete("CN=Gone,OU=Sales," + root) // a tombstone, that tells whether they are seen
				refresh(t, s)
				refresh(t, s)
				check(t, s, "before", owner(address, userDN(1)), members(team, userDN(1)))
				store.Set(userDN(1), "displayName", "Somebody")
				store.Set(userDN(3), "displayName", "Somebody")
				changed := false
				server.Fail(func(f *adtest.Faults) {
					m.faults(f)
					f.AtPage = func(page int) {
						if page == m.page && !changed {
							changed = true
							tt.change(store)
						}
					}
				})
				watch := s.Changed()
				done := make(chan error, 1)
				go func() { done <- s.Refresh(t.Context()) }()
				<-watch
				check(t, s, "the first view after it", tt.want)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				refresh(t, s)
				check(t, s, "afterwards", tt.want)
				if !changed {
					t.Error("nothing was changed in between")
				}
			})
		}
	}
}

// What was loaded anew lacks nobody who has an address of the view that it replaces.
func TestLoadedWithOwners(t *testing.T) {
	store := company(30)
	team := "CN=Team,OU=Groups," + root
	store.Add(team, adtest.Attributes{"objectClass": {"top", "group"}, "mail": {"team@contoso.com"}, "member": {userDN(5)}})
	s := source(t, config(t, adtest.NewServer(t, store, nil)))
	refresh(t, s)
	old := s.View()
	var d directory.Delta
	for _, i := range []int{1, 5} { // as if the load had come before or after them
		r := old.Find(directory.KeyProxy, fmt.Sprintf("u%d@contoso.com", i), nil)[0]
		d.Deletes = append(d.Deletes, old.GUID(r))
	}
	v, err := old.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	store.Set(userDN(2), "proxyAddresses", "SMTP:user2@contoso.com", "smtp:u1@contoso.com")
	store.Set(userDN(1), "proxyAddresses", "SMTP:user1@contoso.com")
	if err := s.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.give()
	if v, err = s.kept(old, v); err != nil {
		t.Fatal(err)
	}
	if why := all(total(32), owner("u1@contoso.com", userDN(2)), owner("u5@contoso.com", userDN(5)), members(team, userDN(5)))(v); why != "" {
		t.Error(why)
	}
}

// In a directory in which nobody was ever deleted the container of deleted objects tells whether the account would see them; all objects are compared until one was seen.
func TestNobodyWasDeleted(t *testing.T) {
	for _, c := range []struct {
		name   string
		hide   bool
		method Method
	}{{"readable", false, USN}, {"hidden", true, USNReconcile}} {
		t.Run(c.name, func(t *testing.T) {
			store := company(5)
			server := adtest.NewServer(t, store, nil)
			server.Fail(func(f *adtest.Faults) { f.DirSync, f.HideDeleted = adtest.NoDirSync, c.hide })
			cfg := config(t, server)
			cfg.Reconcile = time.Hour
			s := source(t, cfg)
			refresh(t, s)
			if m := s.Status().Method; m != string(c.method) {
				t.Errorf("method %s, expected %s", m, c.method)
			}
			facts, err := Probe(t.Context(), cfg, cfg.URLs[0])
			if err != nil || facts.Method != c.method || facts.SeesDeletions == c.hide {
				t.Errorf("facts %+v, %v", facts, err)
			}
			poll := func() {
				t.Helper()
				if err := s.poll(t.Context()); err != nil { // as Run does, without the comparison that Refresh makes
					t.Fatal(err)
				}
			}
			for i := range 3 {
				store.Delete(userDN(i))
				poll()
				check(t, s, "deleted", total(5-i))
				if s.st.Proved == c.hide {
					t.Errorf("deletions are proved to be visible: %v", s.st.Proved)
				}
			}
			searches, _ := server.Counts()
			poll() // nothing has changed: nothing is compared
			if now, _ := server.Counts(); now-searches > 3 {
				t.Errorf("%d searches without a change", now-searches)
			}
		})
	}
}

// What swallows DirSync costs one time limit for each way of it, and then changes are seen without.
func TestSilentDirSync(t *testing.T) {
	store := company(5)
	server := adtest.NewServer(t, store, nil)
	server.Fail(func(f *adtest.Faults) { f.SilentDirSync = true })
	cfg := config(t, server)
	cfg.Timeout = 300 * time.Millisecond
	s := source(t, cfg)
	for i := 0; s.Refresh(t.Context()) != nil; i++ {
		if i == 10 {
			t.Fatalf("DirSync is still waited for: %+v", s.Status())
		}
	}
	if m := s.Status().Method; m != string(USN) {
		t.Errorf("method %s", m)
	}
	store.Delete(userDN(1))
	refresh(t, s)
	check(t, s, "deleted", total(5))
}

// Rights that are given, and taken away again, while the source runs.
// DirSync that was answered is not any more: changes go on to be seen.
func TestDirSyncFallsSilent(t *testing.T) {
	store := company(5)
	server := adtest.NewServer(t, store, nil)
	cfg := config(t, server)
	cfg.Timeout = 300 * time.Millisecond
	s := source(t, cfg)
	refresh(t, s)
	if m := s.Status().Method; m != string(DirSync) {
		t.Fatalf("method %s", m)
	}
	server.Fail(func(f *adtest.Faults) { f.SilentDirSync = true })
	store.Delete(userDN(1))
	store.Set(userDN(2), "proxyAddresses", "SMTP:user2@contoso.com", "smtp:alias@contoso.com")
	for i := 0; s.Refresh(t.Context()) != nil; i++ {
		if i == 10 {
			t.Fatalf("DirSync is still waited for: %+v", s.Status())
		}
	}
	check(t, s, "changed", total(5), owner("alias@contoso.com", userDN(2)))
	if m := s.Status().Method; m != string(USN) {
		t.Errorf("method %s", m)
	}
}

// After a start nobody is unknown before the directory was asked, if it answers within a few seconds.
func TestFirstQuestionAfterRestart(t *testing.T) {
	store := company(5)
	server := adtest.NewServer(t, store, nil)
	now := time.Now()
	cfg := config(t, server)
	cfg.Snapshot = filepath.Join(t.TempDir(), "snapshot")
	cfg.Now = func() time.Time { return now }
	s := New(cfg)
	refresh(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	restarted := source(t, cfg)
	if restarted.View() == nil || restarted.Age(now) != math.MaxInt64 {
		t.Errorf("age %v before the first question", restarted.Age(now))
	}
	if age := restarted.Age(now.Add(firstAnswer)); age != firstAnswer {
		t.Errorf("age %v after %v without an answer", age, firstAnswer)
	}
	server.Stop()
	if err := restarted.Refresh(t.Context()); err == nil {
		t.Error("no error")
	}
	if age := restarted.Age(now); age != 0 {
		t.Errorf("age %v after the question failed", age)
	}
}

// An account that may not read addresses any more makes nobody unknown, whether it happens at once or object by object; and a first load without any is none.
func TestAddressesOutOfSight(t *testing.T) {
	const users = 60
	strip := func(store *adtest.Store, i int) {
		store.Set(userDN(i), "proxyAddresses")
		store.Set(userDN(i), "mail")
	}
	for _, r := range rights {
		for _, at := range []int{users, 7} { // so many at once
			t.Run(fmt.Sprintf("%s, %d at once", r.name, at), func(t *testing.T) {
				store := company(users)
				server := adtest.NewServer(t, store, nil)
				server.Fail(r.faults)
				s := source(t, config(t, server))
				refresh(t, s)
				for i := 0; i < users; i++ {
					if strip(store, i); (i+1)%at == 0 || i == users-1 {
						_ = s.Refresh(t.Context()) // an error from some time on
					}
				}
				for range 2 {
					if err := s.Refresh(t.Context()); !errors.Is(err, errUnbelieved) || !strings.Contains(err.Error(), "proxyAddresses") {
						t.Fatalf("error %v", err)
					}
				}
				known := 0
				for i := range users {
					known += len(s.View().Find(directory.KeyProxy, fmt.Sprintf("u%d@contoso.com", i), nil))
				}
				if known < users/3 || at == users && known != users {
					t.Errorf("%d of %d people are known", known, users)
				}
				for i := range users { // rights are given again
					for name, values := range userAttributes(i) {
						store.Set(userDN(i), name, values...)
					}
				}
				refresh(t, s)
				check(t, s, "again", total(users+1), owner("u59@contoso.com", userDN(59)), owner("u0@contoso.com", userDN(0)))
			})
		}
	}
	t.Run("first load", func(t *testing.T) {
		store := company(shrinkFrom)
		for i := range shrinkFrom {
			strip(store, i)
		}
		store.Set("CN=Everyone,OU=Groups,"+root, "mail")
		s := source(t, config(t, adtest.NewServer(t, store, nil)))
		if err := s.Refresh(t.Context()); !errors.Is(err, errUnbelieved) || s.View() != nil {
			t.Errorf("error %v, view %v", err, s.View())
		}
	})
}

// A group that is to be read again stays so when the reading is cut.
func TestCutKeepsRechecks(t *testing.T) {
	server := adtest.NewServer(t, company(5), nil)
	s := source(t, config(t, server))
	refresh(t, s)
	r := s.View().Find(directory.KeyMail, "everyone@contoso.com", nil)[0]
	s.recheck[s.View().GUID(r)] = true
	server.Fail(func(f *adtest.Faults) { // what comes after the first page is busy
		f.AtPage = func(int) { server.Fail(func(f *adtest.Faults) { f.SearchCode = ldap.LDAPResultBusy }) }
	})
	if s.once(t.Context()) == nil {
		t.Fatal("nothing was cut")
	}
	if !s.recheck[s.View().GUID(r)] {
		t.Error("the group is forgotten")
	}
	server.Fail(func(f *adtest.Faults) { f.AtPage, f.SearchCode = nil, 0 })
	refresh(t, s)
	if len(s.recheck) != 0 {
		t.Error("the group is read again and again")
	}
}

// Changes that are applied in pieces are seen all at once.
func TestManyChangesAtOnce(t *testing.T) {
	const users = 40
	store := company(users)
	s := source(t, config(t, adtest.NewServer(t, store, nil)))
	s.piece = 10
	refresh(t, s)
	for i := range users / 2 {
		store.Set(userDN(i+users/2), "proxyAddresses", fmt.Sprintf("SMTP:user%d@contoso.com", i+users/2), fmt.Sprintf("smtp:u%d@contoso.com", i))
		store.Set(userDN(i), "proxyAddresses", fmt.Sprintf("SMTP:user%d@contoso.com", i))
	}
	changed := s.Changed()
	done := make(chan error, 1)
	go func() { done <- s.Refresh(t.Context()) }()
	<-changed
	first := s.View()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range users / 2 {
		if why := owner(fmt.Sprintf("u%d@contoso.com", i), userDN(i+users/2))(first); why != "" {
			t.Error(why)
		}
	}
	store.Delete(userDN(1)) // and it goes on
	refresh(t, s)
	check(t, s, "afterwards", total(users))
}

func TestRightsChange(t *testing.T) {
	store := company(5)
	store.Delete(userDN(4))
	server := adtest.NewServer(t, store, nil)
	cfg := config(t, server)
	cfg.Reconcile = 30 * time.Millisecond
	s := source(t, cfg)
	for i, r := range append(slices.Clone(rights), rights...) {
		server.Fail(func(f *adtest.Faults) { *f = adtest.Faults{}; r.faults(f) })
		time.Sleep(2 * cfg.Reconcile) // when the method is chosen anew
		refresh(t, s)
		if m := s.Status().Method; m != string(r.method) {
			// DirSync with the right to replicate stays as long as it is let.
			t.Errorf("step %d, %s: method %s, expected %s", i, r.name, m, r.method)
		}
		dn := fmt.Sprintf("CN=Step %d,%s", i, root)
		store.Add(dn, userAttributes(100+i))
		refresh(t, s)
		check(t, s, "added", total(6))
		store.Delete(dn)
		refresh(t, s)
		check(t, s, "deleted", total(5))
	}
}

func TestOutermost(t *testing.T) {
	for _, c := range []struct{ bases, want []string }{
		{[]string{"DC=contoso,DC=com"}, []string{"DC=contoso,DC=com"}},
		{[]string{"OU=a,DC=c", "OU=b,DC=c"}, []string{"OU=a,DC=c", "OU=b,DC=c"}},
		{[]string{"OU=a,DC=c", "DC=c"}, []string{"DC=c"}},
		{[]string{"DC=c", "ou=A, dc=C", "OU=b,OU=a,DC=c"}, []string{"DC=c"}},
		{[]string{"OU=A,DC=c", "OU=a,DC=c", "ou=a,dc=c"}, []string{"OU=A,DC=c"}},
		{[]string{"OU=ba,DC=c", "OU=a,DC=c"}, []string{"OU=ba,DC=c", "OU=a,DC=c"}},
	} {
		if got := outermost(c.bases); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, expected %q", c.bases, got, c.want)
		}
	}
}

func TestBindErrors(t *testing.T) {
	server := adtest.NewServer(t, company(3), nil)
	for _, c := range []struct {
		name string
		code uint16
		text string
		want string
	}{
		{"wrong password", 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563", "check bind_dn and password_file"},
		{"disabled", 49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 533, v4563", "the account is disabled"},
		{"expired password", 49, "80090308: LdapErr: comment: AcceptSecurityContext error, data 532, v4563", "its password has expired"},
		{"must change", 49, "AcceptSecurityContext error, data 773, v4563", "must be changed first"},
		{"locked", 49, "AcceptSecurityContext error, data 775, v4563", "is locked"},
		{"Samba's words", 49, "Simple Bind Failed: NT_STATUS_LOGON_FAILURE", "check bind_dn and password_file"},
		{"signing", 8, "00002028: LdapErr: DSID-0C090202, comment: The server requires binds to turn on integrity checking", "use ldaps://, or start_tls"},
		{"TLS", 13, "", "use ldaps://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.Fail(func(f *adtest.Faults) { f.BindCode, f.BindText = c.code, c.text })
			s := source(t, config(t, server, server))
			_, before := server.Counts()
			err := s.Refresh(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; expected %q in it", err, c.want)
			}
			_, after := server.Counts()
			if c.code == 49 && (after-before != 1 || !errors.Is(err, errCredentials)) {
				t.Errorf("%d binds with a password that was refused; expected one", after-before)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the password is in the error %v", err)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	ca := adtest.NewAuthority(t)
	for _, c := range []struct {
		name string
		cert adtest.Certificate
		ca   string
		want string
	}{
		{"good", adtest.Certificate{IPs: []string{"127.0.0.1"}}, ca.File, ""},
		{"other authority", adtest.Certificate{IPs: []string{"127.0.0.1"}}, adtest.NewAuthority(t).File, "set ca_file"},
		{"the system's authorities", adtest.Certificate{IPs: []string{"127.0.0.1"}}, "", "set ca_file"},
		{"other name", adtest.Certificate{IPs: []string{"127.0.0.9"}, Names: []string{"dc1.contoso.test"}}, ca.File, "for another name"},
		{"expired", adtest.Certificate{IPs: []string{"127.0.0.1"}, Expired: true}, ca.File, "has expired"},
		{"no such file", adtest.Certificate{IPs: []string{"127.0.0.1"}}, filepath.Join(t.TempDir(), "none.pem"), "reading ca_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := ca.Pair(c.cert)
			if err != nil {
				t.Fatal(err)
			}
			server := adtest.NewServer(t, company(3), &pair)
			cfg := config(t, server)
			cfg.CAFile = c.ca
			s := source(t, cfg)
			err = s.Refresh(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v; expected %q", err, c.want)
			}
			if _, binds := server.Counts(); c.want != "" && binds > 0 {
				t.Error("the password was sent")
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	server := adtest.NewServer(t, company(3), nil)
	tlsPort := strings.Replace(server.URL(), "ldap:", "ldaps:", 1)
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"clear text", func(c *Config) { c.URLs = []string{"ldap://192.0.2.1"} }, "not sent in clear text"},
		{"no password file", func(c *Config) { c.PasswordFile = filepath.Join(t.TempDir(), "none") }, "reading the password"},
		{"empty password", func(c *Config) { c.PasswordFile = secretFile(t, "") }, "is empty"},
		{"other naming context", func(c *Config) { c.BaseDNs = []string{"DC=fabrikam,DC=com"} }, "does not hold base_dn"},
		{"no such base", func(c *Config) { c.BaseDNs = []string{"OU=None," + root} }, "check base_dn"},
		{"StartTLS refused", func(c *Config) { c.StartTLS = true }, "StartTLS"},
		{"no TLS there", func(c *Config) { c.URLs = []string{tlsPort} }, "TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, server)
			cfg.Timeout = 2 * time.Second
			c.change(&cfg)
			s := source(t, cfg)
			if err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; expected %q in it", err, c.want)
			}
			if s.View() != nil {
				t.Error("there is a view")
			}
		})
	}
}

// A server that answers slowly is waited for; one that never does is not.
func TestSlowAnswers(t *testing.T) {
	server := adtest.NewServer(t, company(3), nil)
	cfg := config(t, server)
	cfg.Timeout = 5 * time.Second
	server.Fail(func(f *adtest.Faults) { f.Delay = 30 * time.Millisecond })
	s := source(t, cfg)
	refresh(t, s)
	check(t, s, "slow", total(4))

	server.Fail(func(f *adtest.Faults) { f.Hang = true })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the end of the context was heeded after %v", took)
	}
	// The end of what asked for it says nothing of the directory.
	if st := s.Status(); st.LastError != "" {
		t.Errorf("status %+v", st)
	}
}

func TestPauses(t *testing.T) {
	cfg := Config{Refresh: 15 * time.Second}
	cfg.defaults()
	p := newPauses(&cfg)
	now, account, other := time.Now(), [sha256.Size]byte{1}, [sha256.Size]byte{2}
	for i, c := range []struct {
		err      error
		min, max time.Duration
		refused  bool
	}{
		{nil, 14 * time.Second, 15 * time.Second, false},
		{errGone, 200 * time.Millisecond, 250 * time.Millisecond, false},
		{errGone, 400 * time.Millisecond, 500 * time.Millisecond, false},
		{errGone, 800 * time.Millisecond, time.Second, false},
		{nil, 14 * time.Second, 15 * time.Second, false},
		{errGone, 200 * time.Millisecond, 250 * time.Millisecond, false},
		{fmt.Errorf("x: %w", errCredentials), 24 * time.Second, 30 * time.Second, true},
		{errCredentials, 48 * time.Second, time.Minute, true},
		{errGone, 400 * time.Millisecond, 500 * time.Millisecond, false},
	} {
		if got := p.after(now, account, c.err); got < c.min || got > c.max {
			t.Errorf("step %d: %v; expected %v to %v", i, got, c.min, c.max)
		}
		if got := p.refused(now, account) > 0; got != c.refused {
			t.Errorf("step %d: the account is held back: %v, expected %v", i, got, c.refused)
		}
		if p.refused(now, other) > 0 {
			t.Errorf("step %d: another account is held back", i)
		}
	}
	for range 40 {
		if got := p.after(now, account, errGone); got > 15*time.Second {
			t.Errorf("a pause of %v; expected at most the refresh", got)
		}
		if got := p.after(now, account, errCredentials); got > 10*time.Minute {
			t.Errorf("a pause of %v after a refusal", got)
		}
	}
}

// A password that is refused is tried rarely, whatever refresh is; a new one is tried soon.
func TestNewPassword(t *testing.T) {
	server := adtest.NewServer(t, company(3), nil)
	refuse := func(f *adtest.Faults) { f.BindCode, f.BindText = 49, "data 52e" }
	server.Fail(refuse)
	cfg := config(t, server)
	cfg.Refresh = 20 * time.Millisecond
	s := New(cfg)
	run(t, s)
	binds := func() int { _, n := server.Counts(); return n }
	for until := time.Now().Add(patience); s.Status().LastError == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the refusal is not seen")
		}
	}
	time.Sleep(10 * cfg.Refresh)
	if n := binds(); n != 1 {
		t.Errorf("%d binds with a password that was refused; expected one", n)
	}
	server.Fail(func(f *adtest.Faults) { f.BindCode = 0 })
	if err := os.WriteFile(cfg.PasswordFile, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, s, "the new password", total(4))

	// A refusal later: asking by hand is an attempt, and when that succeeds all goes on.
	server.Fail(refuse)
	server.Stop()
	server.Start()
	for until := time.Now().Add(patience); s.Status().State != directory.StateDegraded || !strings.Contains(s.Status().LastError, "52e"); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the refusal is not seen: %+v", s.Status())
		}
	}
	server.Fail(func(f *adtest.Faults) { f.BindCode = 0 })
	refresh(t, s)
	server.Store().Delete(userDN(0))
	eventually(t, s, "a change after that", total(3))
}

func TestLookup(t *testing.T) {
	store := company(4)
	store.Set(userDN(1), "proxyAddresses", "SMTP:user1@contoso.com", "X500:/o=Contoso/cn=one", "smtp:shared@contoso.com")
	store.Set(userDN(2), "proxyAddresses", "SMTP:user2@contoso.com", "smtp:shared@contoso.com")
	store.Set(userDN(3), "legacyExchangeDN", "/o=Contoso/cn=three")
	server := adtest.NewServer(t, store, nil)
	term := func(k directory.Key, v string) directory.Term { return directory.Term{Key: k, Value: v} }
	for _, c := range []struct {
		name  string
		terms []directory.Term
		want  func(*directory.View) string
	}{
		{"proxy", []directory.Term{term(directory.KeyProxy, "U0@contoso.com")}, all(owner("u0@contoso.com", userDN(0)), total(1))},
		{"mail", []directory.Term{term(directory.KeyMail, "user0@contoso.com")}, total(1)},
		{"nobody", []directory.Term{term(directory.KeyProxy, "nobody@contoso.com")}, total(0)},
		{"X500", []directory.Term{term(directory.KeyX500, "/o=contoso/cn=one")}, total(2)}, // and who shares an address with it
		{"legacyExchangeDN", []directory.Term{term(directory.KeyLegacyDN, "/o=Contoso/cn=three")}, total(1)},
		{"group", []directory.Term{term(directory.KeyMail, "everyone@contoso.com")}, all(total(5), members("CN=Everyone,OU=Groups,"+root, userDN(0), userDN(1), userDN(2), userDN(3)))},
		{"wild cards", []directory.Term{term(directory.KeyProxy, "*@contoso.com"), term(directory.KeyMail, ")(mail=*")}, total(0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := Lookup(t.Context(), config(t, server), c.terms)
			if err != nil {
				t.Fatal(err)
			}
			if why := c.want(v); why != "" {
				t.Error(why)
			}
		})
	}
	server.Stop()
	if v, err := Lookup(t.Context(), config(t, server), nil); err == nil {
		t.Errorf("no error, and view %v, without a server", v)
	}
}

func TestProbe(t *testing.T) {
	server := adtest.NewServer(t, company(3), nil)
	for _, r := range rights {
		t.Run(r.name, func(t *testing.T) {
			server.Fail(func(f *adtest.Faults) { *f = adtest.Faults{Schema: 15334}; r.faults(f) })
			store := server.Store()
			if _, there := store.Find("CN=Gone," + root); !there && store.USN() > 0 {
				store.Add("CN=Gone,"+root, userAttributes(99))
				store.Delete("CN=Gone," + root)
			}
			cfg := config(t, server)
			f, err := Probe(t.Context(), cfg, cfg.URLs[0])
			if err != nil {
				t.Fatal(err)
			}
			sees := r.method == DirSync || !strings.Contains(r.name, "object security") && r.method == USN || strings.Contains(r.name, "sees")
			if f.Method != r.method || f.SchemaVersion != 15334 || f.SeesDeletions != sees || f.DC != "dc1.contoso.test" {
				t.Errorf("facts %+v; expected method %s, deletions %v", f, r.method, sees)
			}
		})
	}
	server.Fail(func(f *adtest.Faults) { *f = adtest.Faults{} })
	cfg := config(t, server)
	if f, err := Probe(t.Context(), cfg, cfg.URLs[0]); err != nil || f.SchemaVersion != 0 {
		t.Errorf("%+v, %v without a schema", f, err)
	}
	cfg.BaseDNs = []string{"OU=None," + root}
	if _, err := Probe(t.Context(), cfg, cfg.URLs[0]); err == nil || !strings.Contains(err.Error(), "base_dn") {
		t.Errorf("error %v without a base", err)
	}
}

func TestOrderMoves(t *testing.T) {
	v := func() *directory.View {
		b := directory.NewBuilder()
		for _, dn := range []string{"CN=a,OU=1,DC=c", "CN=b,OU=2,DC=c", "CN=x,OU=in,OU=1,DC=c"} {
			if err := b.Add(directory.Entry{DN: dn, ObjectClass: []string{"contact"}, DisplayName: dn}); err != nil {
				t.Fatal(err)
			}
		}
		return b.Build()
	}
	for _, c := range []struct {
		name  string
		moves []directory.Move
		want  string
	}{
		{"swap", []directory.Move{{From: "OU=1,DC=c", To: "OU=2,DC=c"}, {From: "OU=2,DC=c", To: "OU=1,DC=c"}}, "CN=a,OU=2,DC=c CN=b,OU=1,DC=c CN=x,OU=in,OU=2,DC=c"},
		{"outer and inner", []directory.Move{{From: "OU=1,DC=c", To: "OU=9,DC=c"}, {From: "OU=in,OU=1,DC=c", To: "OU=out,OU=9,DC=c"}}, "CN=a,OU=9,DC=c CN=b,OU=2,DC=c CN=x,OU=out,OU=9,DC=c"},
		{"inside out", []directory.Move{{From: "OU=1,DC=c", To: "OU=1,OU=in,DC=c"}, {From: "OU=in,OU=1,DC=c", To: "OU=in,DC=c"}}, "CN=a,OU=1,OU=in,DC=c CN=b,OU=2,DC=c CN=x,OU=in,DC=c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := v().Apply(directory.Delta{Moves: orderMoves(c.moves)})
			if err != nil {
				t.Fatal(err)
			}
			var dns []string
			for r := range got.All() {
				dns = append(dns, got.Object(r).DN)
			}
			slices.Sort(dns)
			if s := strings.Join(dns, " "); s != c.want {
				t.Errorf("%s; expected %s", s, c.want)
			}
		})
	}
}

// FuzzAnswer gives whatever octets there are to a source as the answers of a domain controller: it may fail, and must neither end nor take anything for a directory.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	secret := secretFile(f, "secret")
	f.Fuzz(func(t *testing.T, answer []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			c.Write(answer)
			c.(*net.TCPConn).CloseWrite()
			c.Read(make([]byte, 1<<12))
		}()
		s := New(Config{URLs: []string{"ldap://" + l.Addr().String()}, BaseDNs: []string{root}, BindDN: "x", PasswordFile: secret, Timeout: 200 * time.Millisecond})
		if err := s.Refresh(t.Context()); err == nil || s.View() != nil {
			t.Errorf("error %v, view %v", err, s.View())
		}
		s.Close()
	})
}

// FuzzState reads what may be in a snapshot.
func FuzzState(f *testing.F) {
	st := state{URL: "ldaps://dc1.contoso.com", Method: DirSync, Partitions: []partition{{NC: root, Cookie: []byte("x")}}, Containers: containers{{1}: "OU=Sales,DC=contoso,DC=com"}}
	f.Add(st.encode())
	f.Add([]byte(`{"containers":{"zz":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st := decodeState(b)
		again := decodeState(st.encode())
		if again.URL != st.URL || again.USN != st.USN || len(again.Containers) != len(st.Containers) {
			t.Errorf("%+v became %+v", st, again)
		}
	})
}
