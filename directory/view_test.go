package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestObjectIsWhatWasAdded(t *testing.T) {
	long := strings.Repeat("x", 3000)
	cases := []struct {
		name string
		e    Entry
	}{
		{"bare", Entry{DN: "CN=Adele Vance,DC=contoso,DC=com"}},
		{"all attributes", sampleEntry(7)},
		{"mail that no proxy has", Entry{Mail: "AdeleV@contoso.com", ProxyAddresses: []string{"SMTP:adele@contoso.com"}}},
		{"mail in another case than the proxy", Entry{Mail: "ADELEV@contoso.com", ProxyAddresses: []string{"SMTP:adelev@contoso.com"}}},
		{"mail of the second proxy", Entry{Mail: "b@contoso.com", ProxyAddresses: []string{"smtp:a@contoso.com", "SMTP:b@contoso.com"}}},
		{"user principal name without mail", Entry{UserPrincipalName: "AdeleV@contoso.com"}},
		{"user principal name beside mail", Entry{UserPrincipalName: "AdeleV@contoso.com", Mail: "adele@contoso.com"}},
		{"display name is the RDN", Entry{DN: "CN=Adele Vance,DC=contoso,DC=com", DisplayName: "Adele Vance"}},
		{"escaped RDN", Entry{DN: `CN=Vance\, Adele,OU=Sales\+Service,DC=contoso,DC=com`, DisplayName: "Vance, Adele"}},
		{"target without prefix", Entry{TargetAddress: "adele@contoso.mail.onmicrosoft.com", ProxyAddresses: []string{"smtp:adele@contoso.mail.onmicrosoft.com"}}},
		{"target of another type", Entry{TargetAddress: "X400:c=us;a= ;p=contoso;o=exchange;s=Vance;"}},
		{"target of its own", Entry{TargetAddress: "SMTP:adele@fabrikam.com"}},
		{"proxies of every type", Entry{ProxyAddresses: []string{"SMTP:a@contoso.com", "X500:/o=Contoso/ou=Exchange/cn=Recipients/cn=adele", "NOTES:Adele Vance/Contoso@Domain",
			"X400:c=us;a= ;p=contoso;", "SIP:adele@contoso.com", "eum:1234;phone-context=contoso", "nothing", ":", "@", "smtp:", "a@b:c", "/o=x/cn=y:z", "/o=x/cn=y"}}},
		{"beyond ASCII", Entry{DN: "CN=Åsa Öberg,OU=Försäljning,DC=contoso,DC=com", DisplayName: "Åsa Öberg", Mail: "åsa@contoso.com", ProxyAddresses: []string{"SMTP:åsa@contoso.com"}}},
		{"long values", Entry{DN: "CN=" + long + ",DC=contoso,DC=com", DisplayName: long, Mail: long + "@contoso.com", ProxyAddresses: []string{"smtp:" + long + "@" + long}, LegacyExchangeDN: "/o=" + long + "/cn=" + long}},
		{"extreme integers", Entry{RemoteRecipientType: Int{-1 << 63, true}, RecipientTypeDetails: Int{1<<63 - 1, true}, RecipientDisplayType: Int{0, true}, GroupType: Int{-2147483640, true}}},
		{"changed long ago", Entry{Changed: time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"many proxies", Entry{Mail: "n199@contoso.com", ProxyAddresses: manyProxies(200)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.e.DN == "" {
				c.e.DN = "CN=Adele Vance,OU=Users,DC=contoso,DC=com"
			}
			if c.e.GUID == (GUID{}) {
				c.e.GUID = guid(1)
			}
			c.e.ObjectClass = []string{"user"}
			v := mustBuild(t, c.e)
			r, ok := v.ByDN(c.e.DN)
			if !ok {
				t.Fatal("not found by its DN")
			}
			o := v.Object(r)
			checkKeys(t, v, o)
			got := o.entry()
			got.ObjectClass = c.e.ObjectClass
			if d := gocmp.Diff(c.e, got); d != "" {
				t.Error(d)
			}
			if o.Kind != User {
				t.Errorf("kind %v", o.Kind)
			}
		})
	}
}

func manyProxies(n int) (p []string) {
	for i := range n {
		p = append(p, fmt.Sprintf("smtp:n%d@contoso.com", i))
	}
	return p
}

func TestFind(t *testing.T) {
	adele := Entry{DN: "CN=Adele Vance,DC=contoso,DC=com", ObjectClass: []string{"user"}, Mail: "Adele.Vance@contoso.com",
		ProxyAddresses:   []string{"SMTP:AdeleV@contoso.com", "smtp:shared@contoso.com", "x500:/o=Contoso/cn=Old", "Notes:Adele Vance/Contoso@Domain", "SIP:sip@contoso.com", "smtp:Åsa@contoso.com"},
		LegacyExchangeDN: "/o=Contoso/ou=First/cn=Recipients/cn=AdeleV"}
	alex := Entry{DN: "CN=Alex Wilber,DC=contoso,DC=com", ObjectClass: []string{"contact"}, Mail: "shared@contoso.com",
		ProxyAddresses: []string{"smtp:SHARED@contoso.com", "smtp:shared@contoso.com", "smtp:kate@contoso.com"}}
	v := mustBuild(t, adele, alex)
	cases := []struct {
		name  string
		key   Key
		value string
		want  []string
	}{
		{"primary", KeyProxy, "AdeleV@contoso.com", []string{adele.DN}},
		{"case", KeyProxy, "ADELEv@CONTOSO.com", []string{adele.DN}},
		{"two owners, each once", KeyProxy, "shared@contoso.com", []string{adele.DN, alex.DN}},
		{"mail is no proxy", KeyProxy, "adele.vance@contoso.com", nil},
		{"mail", KeyMail, "adele.vance@contoso.com", []string{adele.DN}},
		{"mail that is also a proxy of another", KeyMail, "shared@contoso.com", []string{alex.DN}},
		{"a proxy is no mail", KeyMail, "adelev@contoso.com", nil},
		{"SIP is not SMTP", KeyProxy, "sip@contoso.com", nil},
		{"with prefix", KeyProxy, "smtp:adelev@contoso.com", nil},
		{"X500", KeyX500, "/O=contoso/CN=OLD", []string{adele.DN}},
		{"X500 is no legacyExchangeDN", KeyLegacyDN, "/o=Contoso/cn=Old", nil},
		{"legacyExchangeDN", KeyLegacyDN, "/O=CONTOSO/OU=FIRST/CN=RECIPIENTS/CN=ADELEV", []string{adele.DN}},
		{"legacyExchangeDN is no X500", KeyX500, "/o=Contoso/ou=First/cn=Recipients/cn=AdeleV", nil},
		{"Notes", KeyNotes, "adele vance/contoso@domain", []string{adele.DN}},
		{"beyond ASCII, other case", KeyProxy, "åSA@contoso.com", []string{adele.DN}},
		{"beyond ASCII, decomposed", KeyProxy, "a\u030asa@contoso.com", []string{adele.DN}},
		{"the Kelvin sign is no k", KeyProxy, "\u212aate@contoso.com", nil},
		{"the long s is no s", KeyProxy, "\u017fhared@contoso.com", nil},
		{"k", KeyProxy, "KATE@contoso.com", []string{alex.DN}},
		{"part of an address", KeyProxy, "adelev@contoso.co", nil},
		{"more than an address", KeyProxy, "adelev@contoso.comm", nil},
		{"empty", KeyProxy, "", nil},
		{"not UTF-8", KeyProxy, "adelev\xff@contoso.com", nil},
		{"long", KeyProxy, strings.Repeat("a", 100000) + "@contoso.com", nil},
		{"no such key", Key(99), "adelev@contoso.com", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := dnsOf(v, v.Find(c.key, c.value, nil))
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := v.Find(KeyProxy, "kate@contoso.com", []Ref{42}); len(got) != 2 || got[0] != 42 {
		t.Errorf("Find does not append: %v", got)
	}
	var zero View
	if got := zero.Find(KeyProxy, "a@contoso.com", nil); got != nil {
		t.Errorf("the zero view has %v", got)
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	v := sampleView(t, 1000)
	dst := make([]Ref, 0, 4)
	for _, value := range []string{"USER0000007@contoso.com", "nobody.of.a.rather.long.name@contoso.com"} {
		if n := testing.AllocsPerRun(100, func() { dst = v.Find(KeyProxy, value, dst[:0]) }); n > 0 {
			t.Errorf("Find(%q) allocates %v times", value, n)
		}
	}
}

func TestDNForms(t *testing.T) {
	cases := []struct {
		name, dn, other string
		same            bool
	}{
		{"same", "CN=A,DC=contoso,DC=com", "CN=A,DC=contoso,DC=com", true},
		{"case", "CN=Adele,OU=Sales,DC=contoso,DC=com", "cn=ADELE,ou=sales,dc=Contoso,dc=COM", true},
		{"spaces after commas", "CN=A,OU=B,DC=com", "CN=A, OU=B,  DC=com", true},
		{"spaces around equals", "CN=A,OU=B,DC=com", "CN = A,OU= B,DC =com", true},
		{"spaces before commas", "CN=A,OU=B,DC=com", "CN=A ,OU=B ,DC=com", true},
		{"semicolons (RFC 2253)", "CN=A,OU=B,DC=com", "CN=A;OU=B;DC=com", true},
		{"escaped and hex comma", `CN=Vance\, Adele,DC=com`, `CN=Vance\2C Adele,DC=com`, true},
		{"hex in the other case", `CN=Vance\2c Adele,DC=com`, `CN=Vance\2C Adele,DC=com`, true},
		{"quoted", `CN=Vance\, Adele,DC=com`, `CN="Vance, Adele",DC=com`, true},
		{"UTF-8 in hex", `CN=Lu\C4\8Di\C4\87,DC=com`, "CN=Lučić,DC=com", true},
		{"hex string", "CN=#04024869,DC=com", "CN=Hi,DC=com", true},
		{"needless escape", `CN=A\-B,DC=com`, "CN=A-B,DC=com", true},
		{"escaped space in the end", `CN=A\ ,DC=com`, `CN=A\20,DC=com`, true},
		{"escaped hash", `CN=\#1,DC=com`, `CN=\231,DC=com`, true},
		{"multi-valued in another order", "CN=A+UID=1,DC=com", "uid=1+cn=a,DC=com", true},
		{"escaped in a container", `CN=A,OU=B\,C,DC=com`, `CN=A,OU=B\2CC,DC=com`, true},
		{"a space that counts", `CN=A\ ,DC=com`, "CN=A,DC=com", false},
		{"another name", "CN=A,DC=com", "CN=B,DC=com", false},
		{"another type", "CN=A,DC=com", "OU=A,DC=com", false},
		{"another place", "CN=A,OU=B,DC=com", "CN=A,DC=com", false},
		{"escaped comma is no border", `CN=A\,OU=B,DC=com`, "CN=A,OU=B,DC=com", false},
		{"escaped plus is no border", `CN=A\+UID=1,DC=com`, "UID=1+CN=A,DC=com", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := mustBuild(t, Entry{DN: c.dn, ObjectClass: []string{"user"}})
			if _, ok := v.ByDN(c.other); ok != c.same {
				t.Errorf("ByDN = %v, want %v", ok, c.same)
			}
			a, err1 := guidOfDN(c.dn)
			b, err2 := guidOfDN(c.other)
			if err1 != nil || err2 != nil || (a == b) != c.same {
				t.Errorf("GUIDs %v (%v), %v (%v); want the same: %v", a, err1, b, err2, c.same)
			}
		})
	}
}

func TestBuilderRefuses(t *testing.T) {
	b := NewBuilder()
	first := user("Adele Vance", "smtp:a@contoso.com")
	first.GUID = guid(1)
	if err := b.Add(first); err != nil {
		t.Fatal(err)
	}
	sameGUID := user("Alex Wilber")
	sameGUID.GUID = guid(1)
	cases := []struct {
		name string
		e    Entry
		want string
	}{
		{"same DN", user("adele vance"), "appears twice"},
		{"same GUID", sameGUID, "appears twice"},
		{"no DN", Entry{ObjectClass: []string{"user"}}, "not a distinguished name"},
		{"no name in the DN", Entry{DN: "Adele", ObjectClass: []string{"user"}}, "not a distinguished name"},
		{"no type", Entry{DN: "=Adele,DC=com", ObjectClass: []string{"user"}}, "not a distinguished name"},
		{"a hole in the DN", Entry{DN: "CN=A,,DC=com", GUID: guid(2), ObjectClass: []string{"user"}}, "not a distinguished name"},
		{"endless DN", Entry{DN: strings.Repeat("CN=a,", 5000) + "DC=com", GUID: guid(3), ObjectClass: []string{"user"}}, "at most"},
		{"a member that is no DN", group("Sales", "=x"), "not a distinguished name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := b.Add(c.e); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if got := b.Build().Stats().Total(); got != 1 {
		t.Errorf("%d objects, want the first one", got)
	}
}

func TestKinds(t *testing.T) {
	uac := func(n int64) Int { return Int{n, true} }
	cases := []struct {
		name string
		e    Entry
		kind Kind
		keep bool
	}{
		{"user", Entry{ObjectClass: []string{"top", "person", "organizationalPerson", "user"}}, User, true},
		{"disabled user", Entry{ObjectClass: []string{"user"}, AccountControl: uac(514)}, User, true},
		{"class in another case", Entry{ObjectClass: []string{"TOP", "USER"}}, User, true},
		{"inetOrgPerson", Entry{ObjectClass: []string{"top", "person", "user", "inetOrgPerson"}}, User, true},
		{"contact", Entry{ObjectClass: []string{"top", "contact"}}, Contact, true},
		{"group", Entry{ObjectClass: []string{"top", "group"}}, Group, true},
		{"dynamic group", Entry{ObjectClass: []string{"top", "msExchDynamicDistributionList"}}, DynamicGroup, true},
		{"public folder", Entry{ObjectClass: []string{"top", "publicFolder"}}, PublicFolder, true},
		{"computer, which is also a user", Entry{ObjectClass: []string{"top", "person", "user", "computer"}, Mail: "x@contoso.com"}, Other, false},
		{"managed service account", Entry{ObjectClass: []string{"user", "computer", "msDS-GroupManagedServiceAccount"}}, Other, false},
		{"foreign security principal", Entry{ObjectClass: []string{"top", "foreignSecurityPrincipal"}}, Other, false},
		{"organizational unit", Entry{ObjectClass: []string{"top", "organizationalUnit"}}, Other, false},
		{"something with an address", Entry{ObjectClass: []string{"top", "person"}, Mail: "x@contoso.com"}, Other, true},
		{"something with a proxy", Entry{ObjectClass: []string{"top"}, ProxyAddresses: []string{"SMTP:x@contoso.com"}}, Other, true},
		{"something with no SMTP proxy", Entry{ObjectClass: []string{"top"}, ProxyAddresses: []string{"SIP:x@contoso.com"}}, Other, false},
		{"deleted", Entry{ObjectClass: []string{"user"}, Deleted: true}, Other, false},
		{"in Deleted Objects", Entry{DN: `CN=Adele Vance\0ADEL:4b3f,CN=Deleted Objects,DC=contoso,DC=com`, ObjectClass: []string{"user"}}, Other, false},
		{"named like the container", Entry{DN: "CN=Deleted Objects Fan,DC=contoso,DC=com", ObjectClass: []string{"user"}}, User, true},
		{"no class, a group type", Entry{GroupType: Int{8, true}}, Group, true},
		{"no class, an account", Entry{AccountControl: uac(512)}, User, true},
		{"no class, a computer's account", Entry{AccountControl: uac(4096)}, Other, false},
		{"no class, a domain controller's account", Entry{AccountControl: uac(532480)}, Other, false},
		{"no class, only an address", Entry{Mail: "x@contoso.com"}, Other, true},
		{"nothing", Entry{}, Other, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if kind, keep := KindOf(&c.e); kind != c.kind || keep != c.keep {
				t.Errorf("got %v, %v; want %v, %v", kind, keep, c.kind, c.keep)
			}
		})
	}
}

func TestMembers(t *testing.T) {
	for _, order := range []string{"groups first", "groups last"} {
		t.Run(order, func(t *testing.T) {
			entries := []Entry{
				group("All", "CN=Sales,OU=Groups,DC=contoso,DC=com", "cn=all, ou=groups, dc=contoso, dc=com", "Adele Vance", "adele vance", "Nobody", `CN=Wilber\2C Alex,OU=Users,DC=contoso,DC=com`),
				group("Sales", "Adele Vance", "CN=Guest,OU=Elsewhere,DC=fabrikam,DC=com"),
				group("Empty"),
				user("Adele Vance"),
				user(`Wilber\, Alex`),
			}
			if order == "groups last" {
				slices.Reverse(entries)
			}
			v := mustBuild(t, entries...)
			want := map[string][2][]string{
				"all@contoso.com": {{"CN=Adele Vance,OU=Users,DC=contoso,DC=com", "CN=All,OU=Groups,DC=contoso,DC=com", "CN=Sales,OU=Groups,DC=contoso,DC=com", `CN=Wilber\, Alex,OU=Users,DC=contoso,DC=com`},
					{"CN=Nobody,OU=Users,DC=contoso,DC=com"}},
				"sales@contoso.com": {{"CN=Adele Vance,OU=Users,DC=contoso,DC=com"}, {"CN=Guest,OU=Elsewhere,DC=fabrikam,DC=com"}},
				"empty@contoso.com": {{}, nil},
			}
			for mail, w := range want {
				r := mustFind(t, v, KeyMail, mail)
				if got := dnsOf(v, v.Members(r, nil)); !slices.Equal(got, w[0]) {
					t.Errorf("members of %s: %q, want %q", mail, got, w[0])
				}
				if got := v.MissingMembers(r); !slices.Equal(got, w[1]) {
					t.Errorf("missing members of %s: %q, want %q", mail, got, w[1])
				}
			}
			if got := v.Stats(); got.Total() != 5 || got.Objects[Group] != 3 || got.Addresses != 3 {
				t.Errorf("stats %+v", got)
			}
			if v.waste != 0 {
				t.Errorf("%d bytes wasted", v.waste)
			}
		})
	}
}

func TestLargeGroup(t *testing.T) {
	const n = 20_000
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf("CN=Guest %d,DC=fabrikam,DC=com", i*7%n)
	}
	v := mustBuild(t, group("Huge", members...), user("Adele Vance", "smtp:adele@contoso.com"))
	r := mustFind(t, v, KeyMail, "huge@contoso.com")
	if got := len(v.MissingMembers(r)); got != n {
		t.Errorf("%d members, want %d", got, n)
	}
	next, err := v.Apply(Delta{Upserts: []Entry{user("Guest", "smtp:guest@contoso.com")}, Members: []MemberChange{{Group: v.Object(r).GUID, Add: []string{"CN=Guest,OU=Users,DC=contoso,DC=com"}}}})
	if err != nil {
		t.Fatal(err)
	}
	r = mustFind(t, next, KeyMail, "huge@contoso.com")
	if got := dnsOf(next, next.Members(r, nil)); !slices.Equal(got, []string{"CN=Guest,OU=Users,DC=contoso,DC=com"}) {
		t.Errorf("members %q", got)
	}
}

// TestRecordsLargerThanAChunk mixes them with small ones, by building, by applying and by compaction.
func TestRecordsLargerThanAChunk(t *testing.T) {
	big := func(name string, size int) Entry {
		e := user(name, "smtp:"+name+"@contoso.com")
		e.DisplayName = strings.Repeat("x", size)
		return e
	}
	entries := []Entry{big("a", 3*chunkBytes+5), big("b", 10), big("c", chunkBytes), big("d", chunkBytes-200), big("e", 10)}
	built := mustBuild(t, entries...)
	applied := &View{}
	for _, e := range entries {
		next, err := applied.Apply(Delta{Upserts: []Entry{e}})
		if err != nil {
			t.Fatal(err)
		}
		applied = next
	}
	for name, v := range map[string]*View{"built": built, "applied": applied, "compacted": applied.Compact()} {
		if got := len(show(t, v)); got != len(entries) {
			t.Errorf("%s: %d objects", name, got)
		}
		for _, e := range entries {
			_, address := cutPrefix(e.ProxyAddresses[0])
			if o := v.Object(mustFind(t, v, KeyProxy, address)); o.DisplayName != e.DisplayName {
				t.Errorf("%s: %s has a name of %d bytes, want %d", name, o.DN, len(o.DisplayName), len(e.DisplayName))
			}
		}
	}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		hashes uint32 // bits of the hash that vary
	}{
		{"few hashes, so that there are many places to one", 0x0ff000f},
		{"hashes that follow one another, some over the end of a shard", 0xff003ff},
		{"only the highest hashes", 0x00001ff},
		{"all hashes", 1<<hashBits - 1},
	} {
		t.Run(c.name, func(t *testing.T) { testTable(t, c.hashes) })
	}
}

func testTable(t *testing.T, mask uint32) {
	rng := rand.New(rand.NewPCG(1, 2))
	tab := newTable(0)
	type key struct{ hash, loc uint32 }
	model := map[key]int{} // the offset
	check := func() {
		t.Helper()
		if tab.n != len(model) {
			t.Fatalf("%d entries, want %d", tab.n, len(model))
		}
		found := 0
		for k, offset := range model {
			for slots, i := tab.find(k.hash); slots[i].hash() == k.hash; i++ {
				if slots[i].loc() == k.loc && slots[i].offset() == offset {
					found++
				}
			}
		}
		if found != len(model) {
			t.Fatalf("%d of %d entries are found", found, len(model))
		}
		n := 0
		for _, s := range tab.shards {
			for i, e := range s.slots {
				if e != 0 {
					n++
				}
				if i > 0 && e != 0 && s.slots[i-1] == 0 && home(e.hash(), tab.shift, len(s.slots)) != i {
					t.Fatalf("slot %d is behind a free one and not at its home", i)
				}
			}
		}
		if n != len(model) {
			t.Fatalf("%d slots are taken, want %d", n, len(model))
		}
	}
	for step := range 15_000 {
		k := key{rng.Uint32()&mask | ^mask&(1<<hashBits-1), rng.Uint32N(50) + 1}
		switch step % 6 {
		case 2, 4:
			tab.remove(k.hash, k.loc)
			delete(model, k)
		case 5:
			other := key{k.hash, k.loc + 100}
			if _, taken := model[other]; taken {
				continue
			}
			tab.replace(k.hash, k.loc, other.loc)
			if offset, ok := model[k]; ok {
				delete(model, k)
				model[other] = offset
			}
		default:
			tab.insert(k.hash, newPlace(k.loc, step%200))
			if _, ok := model[k]; !ok {
				model[k] = step % 200
				if step%200 > 127 {
					model[k] = 0
				}
			}
		}
		if step%2500 == 0 {
			if step%5000 == 0 {
				old := tab.table
				tab = old.edit()
				tab.settle()
			}
			check()
		}
	}
	check()
	for k := range model {
		tab.remove(k.hash, k.loc)
		delete(model, k)
	}
	tab.trim()
	check()
}

func FuzzDN(f *testing.F) {
	for _, s := range []string{"CN=A,DC=com", `CN=A\,B\2C\C4,OU="x,y",DC=com`, "CN=#04024869+UID=1,DC=com", `\`, `CN=\`, "=", `CN="`, "CN=é,DC=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dn string) {
		b := NewBuilder()
		if err := b.Add(Entry{DN: dn, GUID: guid(1), ObjectClass: []string{"user"}}); err != nil {
			return
		}
		v := b.Build()
		if v.Stats().Total() == 0 {
			return // in Deleted Objects
		}
		r, ok := v.ByDN(dn)
		if !ok {
			t.Fatalf("%q is not found", dn)
		}
		if again, ok := v.ByDN(v.Object(r).DN); !ok || again != r {
			t.Fatalf("%q, shown as %q, is not found", dn, v.Object(r).DN)
		}
	})
}
