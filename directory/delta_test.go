package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// model is the directory as a plain map, to which changes are applied by the book.
type model struct {
	entries map[GUID]Entry
	members map[GUID]map[GUID]bool   // of groups
	missing map[GUID]map[string]bool // DNs that no object has
}

// view builds a view of the model from nothing.
func (m *model) view(tb testing.TB) *View {
	tb.Helper()
	b := NewBuilder()
	for g, e := range m.entries {
		e.Members = nil
		for member := range m.members[g] {
			e.Members = append(e.Members, m.entries[member].DN)
		}
		for dn := range m.missing[g] {
			e.Members = append(e.Members, dn)
		}
		if err := b.Add(e); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Build()
}

func (m *model) byDN(dn string) (GUID, bool) {
	for g, e := range m.entries {
		if strings.EqualFold(e.DN, dn) {
			return g, true
		}
	}
	return GUID{}, false
}

// link makes dn a member of a group.
func (m *model) link(group GUID, dn string) {
	if g, ok := m.byDN(dn); ok {
		m.members[group][g] = true
	} else {
		m.missing[group][dn] = true
	}
}

// settle turns DNs that have an object by now into members.
func (m *model) settle() {
	for group, dns := range m.missing {
		for dn := range dns {
			if g, ok := m.byDN(dn); ok {
				delete(dns, dn)
				m.members[group][g] = true
			}
		}
	}
}

func (m *model) delete(g GUID) {
	delete(m.entries, g)
	delete(m.members, g)
	delete(m.missing, g)
	for _, members := range m.members {
		delete(members, g)
	}
}

func (m *model) upsert(e Entry) {
	m.entries[e.GUID] = e
	if m.members[e.GUID] == nil {
		m.members[e.GUID], m.missing[e.GUID] = map[GUID]bool{}, map[string]bool{}
	}
	if e.Members != nil {
		m.members[e.GUID], m.missing[e.GUID] = map[GUID]bool{}, map[string]bool{}
		for _, dn := range e.Members {
			m.link(e.GUID, dn)
		}
	}
}

func (m *model) move(from, to string) {
	for g, e := range m.entries {
		if rest, ok := strings.CutSuffix(e.DN, ","+from); ok {
			e.DN = rest + "," + to
			m.entries[g] = e
		}
	}
	for _, dns := range m.missing {
		for dn := range dns {
			if rest, ok := strings.CutSuffix(dn, ","+from); ok {
				delete(dns, dn)
				dns[rest+","+to] = true
			}
		}
	}
	m.settle()
}

// TestApplyIsLikeBuilding makes random changes to a small directory, several at a time, and compares each view with one built from nothing.
func TestApplyIsLikeBuilding(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { applyRandomly(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func applyRandomly(t *testing.T, rng *rand.Rand) {
	m := &model{entries: map[GUID]Entry{}, members: map[GUID]map[GUID]bool{}, missing: map[GUID]map[string]bool{}}
	v := &View{}
	places := []string{"OU=Users,DC=contoso,DC=com", "OU=Sales,DC=contoso,DC=com", "OU=East,OU=Sales,DC=contoso,DC=com"}
	dn := func(n int) string { return fmt.Sprintf("CN=Object %d,%s", n, places[rng.IntN(len(places))]) }
	entry := func(n int) Entry {
		e := Entry{GUID: guid(n), DN: dn(rng.IntN(60)), ObjectClass: []string{"user"}, Mail: fmt.Sprintf("m%d@contoso.com", rng.IntN(40))}
		for range rng.IntN(4) {
			e.ProxyAddresses = append(e.ProxyAddresses, fmt.Sprintf("smtp:p%d@contoso.com", rng.IntN(40)))
		}
		if n%3 == 0 {
			e.ObjectClass = []string{"group"}
			if rng.IntN(2) == 0 {
				e.Members = []string{}
			}
			for range rng.IntN(6) {
				e.Members = append(e.Members, dn(rng.IntN(60)))
			}
		}
		return e
	}
	for range 25 {
		before, old := show(t, v), v
		var d Delta
		if rng.IntN(4) == 0 {
			from, to := places[rng.IntN(len(places))], fmt.Sprintf("OU=Place %d,DC=contoso,DC=com", rng.IntN(3))
			if !m.collides(from, to) {
				d.Moves = []Move{{From: from, To: to}}
				m.move(from, to)
			}
			if rng.IntN(2) == 0 && len(d.Moves) > 0 && !m.collides(to, from) {
				d.Moves = append(d.Moves, Move{From: to, To: from})
				m.move(to, from)
			}
		}
		for range rng.IntN(3) {
			g := guid(rng.IntN(40))
			d.Deletes = append(d.Deletes, g)
			m.delete(g)
		}
		for range rng.IntN(5) {
			e := entry(rng.IntN(40))
			if g, taken := m.byDN(e.DN); taken && g != e.GUID {
				continue // not at the same time
			}
			d.Upserts = append(d.Upserts, e)
			m.upsert(e)
			m.settle()
		}
		for range rng.IntN(3) {
			g, add, remove := guid(rng.IntN(14)*3), dn(rng.IntN(60)), dn(rng.IntN(60))
			d.Members = append(d.Members, MemberChange{Group: g, Add: []string{add}, Remove: []string{remove}})
			if _, ok := m.entries[g]; !ok {
				continue
			}
			if r, ok := m.byDN(remove); ok {
				delete(m.members[g], r)
			}
			delete(m.missing[g], remove)
			m.link(g, add)
		}
		next, err := v.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		if diff := diffViews(t, m.view(t), next); diff != "" {
			t.Fatalf("after %+v:\n(-built +applied)\n%s", d, diff)
		}
		if diff := diffViews(t, m.view(t), next.Compact()); diff != "" {
			t.Fatalf("after compaction:\n(-built +compacted)\n%s", diff)
		}
		if fmt.Sprint(before) != fmt.Sprint(show(t, old)) {
			t.Fatal("the view before the change has changed")
		}
		v = next
	}
}

// collides tells whether a move would give two objects the same DN.
func (m *model) collides(from, to string) bool {
	for _, e := range m.entries {
		if rest, ok := strings.CutSuffix(e.DN, ","+from); ok {
			if _, taken := m.byDN(rest + "," + to); taken {
				return true
			}
		}
	}
	return false
}

func TestApply(t *testing.T) {
	adele, alex := user("Adele Vance", "smtp:adele@contoso.com"), user("Alex Wilber", "smtp:alex@contoso.com")
	sales := group("Sales", "Adele Vance", "Alex Wilber", "Diego Siciliani")
	adele.GUID, alex.GUID, sales.GUID = guid(1), guid(2), guid(3)
	renamed := adele
	renamed.DN = "CN=Diego Siciliani,OU=Users,DC=contoso,DC=com"
	computer := adele
	computer.ObjectClass = []string{"user", "computer"}
	diego := user("Diego Siciliani")
	diego.GUID = guid(4)
	twin := user("Alex Wilber", "smtp:twin@contoso.com")
	twin.GUID = guid(5)
	base := mustBuild(t, adele, alex, sales)
	cases := []struct {
		name             string
		d                Delta
		members, missing []string // of Sales
		objects          int
	}{
		{"nothing", Delta{}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 3},
		{"a member is deleted", Delta{Deletes: []GUID{guid(1)}}, []string{"Alex Wilber"}, []string{"Diego Siciliani"}, 2},
		{"an unknown object is deleted", Delta{Deletes: []GUID{guid(99)}}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 3},
		{"a member becomes a computer", Delta{Upserts: []Entry{computer}}, []string{"Alex Wilber"}, []string{"Diego Siciliani"}, 2},
		{"a member comes", Delta{Upserts: []Entry{diego}}, []string{"Adele Vance", "Alex Wilber", "Diego Siciliani"}, nil, 4},
		{"a member gets the DN of another", Delta{Upserts: []Entry{renamed}}, []string{"Alex Wilber", "Diego Siciliani"}, nil, 3},
		{"it is deleted then", Delta{Upserts: []Entry{renamed}, Members: []MemberChange{{Group: guid(3), Remove: []string{renamed.DN}}}}, []string{"Alex Wilber"}, nil, 3},
		{"a member is removed by another spelling", Delta{Members: []MemberChange{{Group: guid(3), Remove: []string{"cn=adele vance, ou=users, dc=contoso, dc=com"}}}}, []string{"Alex Wilber"}, []string{"Diego Siciliani"}, 3},
		{"a missing member is removed", Delta{Members: []MemberChange{{Group: guid(3), Remove: []string{diego.DN}}}}, []string{"Adele Vance", "Alex Wilber"}, nil, 3},
		{"a change of an unknown group", Delta{Members: []MemberChange{{Group: guid(98), Add: []string{adele.DN}}}}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 3},
		{"two objects with one DN for a moment", Delta{Upserts: []Entry{twin}}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 4},
		{"an OU is renamed", Delta{Moves: []Move{{"OU=Users,DC=contoso,DC=com", "OU=People,DC=contoso,DC=com"}}}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 3},
		{"an unknown OU is renamed", Delta{Moves: []Move{{"OU=X,DC=contoso,DC=com", "OU=People,DC=contoso,DC=com"}}}, []string{"Adele Vance", "Alex Wilber"}, []string{"Diego Siciliani"}, 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := base.Apply(c.d)
			if err != nil {
				t.Fatal(err)
			}
			r := mustFind(t, v, KeyMail, "sales@contoso.com")
			if got := names(dnsOf(v, v.Members(r, nil))); !slices.Equal(got, c.members) {
				t.Errorf("members %q, want %q", got, c.members)
			}
			if got := names(v.MissingMembers(r)); !slices.Equal(got, c.missing) {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
			if got := v.Stats().Total(); got != c.objects {
				t.Errorf("%d objects, want %d", got, c.objects)
			}
			show(t, v)
		})
	}
	if _, err := base.Apply(Delta{Moves: []Move{{"DC=contoso,DC=com", "OU=X,OU=Users,DC=contoso,DC=com"}}}); err == nil {
		t.Error("a container was moved into itself")
	}
	if _, err := base.Apply(Delta{Deletes: []GUID{guid(1)}, Upserts: []Entry{{DN: "nonsense", ObjectClass: []string{"user"}}}}); err == nil {
		t.Error("an object without a DN was taken")
	}
	if got := base.Stats().Total(); got != 3 {
		t.Errorf("the view that was applied to has %d objects", got)
	}
}

// names cuts the value of the first RDN out of DNs.
func names(dns []string) (names []string) {
	for _, dn := range dns {
		rdn, _ := splitDN(dn)
		names = append(names, strings.TrimPrefix(rdn, "CN="))
	}
	return names
}

// TestReadersWhileApplying lets many goroutines read views while others are made of them, which share memory with them.
func TestReadersWhileApplying(t *testing.T) {
	v := sampleView(t, 300)
	var wg sync.WaitGroup
	for round := range 40 {
		e := sampleEntry(round)
		e.DisplayName = fmt.Sprint("round ", round)
		next, err := v.Apply(Delta{Upserts: []Entry{e}})
		if err != nil {
			t.Fatal(err)
		}
		fork, err := v.Apply(Delta{Deletes: []GUID{e.GUID}}) // a second view from the same one
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if n := len(show(t, fork)); n != 299 {
				t.Errorf("%d objects, want 299", n)
			}
		})
		wg.Go(func() {
			r := mustFind(t, next, KeyProxy, fmt.Sprintf("user%07d@contoso.com", round))
			if o := next.Object(r); o.DisplayName != fmt.Sprint("round ", round) {
				t.Errorf("round %d: %q", round, o.DisplayName)
			}
		})
		v = next
	}
	wg.Wait()
	if n := len(show(t, v)); n != 300 {
		t.Errorf("%d objects, want 300", n)
	}
}

// TestGrowsByApplying lets a view grow from nothing, and checks that the cost of a change does not grow with it.
func TestGrowsByApplying(t *testing.T) {
	v := &View{}
	for i := range 12 {
		var d Delta
		for j := range 200 {
			d.Upserts = append(d.Upserts, sampleEntry(i*200+j))
		}
		next, err := v.Apply(d)
		if err != nil {
			t.Fatal(err)
		}
		v = next
	}
	if diff := diffViews(t, sampleView(t, 2_400), v); diff != "" {
		t.Error(diff)
	}
	if len(v.index.shards) < 4 {
		t.Errorf("%d entries in %d shards", v.index.n, len(v.index.shards))
	}
	churned := v
	for i := range 700 {
		e := sampleEntry(i % 50)
		e.DisplayName = strings.Repeat("long ", 3000) + fmt.Sprint(i)
		next, err := churned.Apply(Delta{Upserts: []Entry{e}})
		if err != nil {
			t.Fatal(err)
		}
		churned = next
	}
	// Each change moves some records out of the chunk with the most waste: 700 records of 15 KB were replaced.
	if bytes := churned.arena.bytes(); churned.Wasteful() || churned.waste > chunkBytes+bytes/wasteShare {
		t.Errorf("%d bytes wasted of %d", churned.waste, bytes)
	}
	compact := churned.Compact()
	if compact.Wasteful() || compact.Stats().Bytes > churned.Stats().Bytes*3/4 {
		t.Errorf("compaction from %d to %d bytes", churned.Stats().Bytes, compact.Stats().Bytes)
	}
	if diff := diffViews(t, churned, compact); diff != "" {
		t.Error(diff)
	}
}
