package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mustRebuild makes a view of entries that takes the place of v.
func mustRebuild(tb testing.TB, v *View, entries ...Entry) *View {
	tb.Helper()
	b := v.Rebuild()
	for _, e := range entries {
		if err := b.Add(e); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Build()
}

// exportOf is the LDIF of a view as sorted lines: the order of members is that in which the view has them.
func exportOf(tb testing.TB, v *View) string {
	tb.Helper()
	var out strings.Builder
	if err := WriteLDIF(&out, v); err != nil && !errors.Is(err, ErrEmpty) {
		tb.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// checkNumbers looks whether every number leads to a record that has it, and every record to be found is led to by all that it has.
func checkNumbers(tb testing.TB, v *View) {
	tb.Helper()
	for id := range uint32(v.ids.n) {
		marked := v.ids.at(id)
		if marked == 0 {
			continue
		}
		rec := recordAt(v.arena.at(marked &^ phantomBit))
		if !slices.Contains(rec.numbers(v), id) || !v.isLive(marked&^phantomBit, rec) || (marked&phantomBit != 0) != (rec.kind() == phantom) {
			tb.Fatalf("number %d leads to %x, which has the numbers %v and is a %v", id, marked, rec.numbers(v), rec.kind())
		}
	}
	for loc, rec := range v.arena.records() {
		for _, id := range rec.numbers(v) {
			if v.isLive(loc, rec) && v.ids.at(id)&^phantomBit != loc {
				tb.Fatalf("the record at %x is not what its number %d leads to", loc, id)
			}
		}
	}
}

// sameAsBuilt compares a rebuilt view with one that was made of the same entries from nothing.
func sameAsBuilt(tb testing.TB, got *View, entries ...Entry) {
	tb.Helper()
	want := mustBuild(tb, entries...)
	if d := diffViews(tb, want, got); d != "" {
		tb.Fatalf("(-built +rebuilt)\n%s", d)
	}
	checkNumbers(tb, got)
	if w, g := want.Stats().Skipped, got.Stats().Skipped; w != g {
		tb.Fatalf("%d entries were skipped, want %d", g, w)
	}
	if w, g := exportOf(tb, want), exportOf(tb, got); w != g {
		tb.Fatalf("exported, sorted:\n%s\nwant\n%s", g, w)
	}
}

// TestRebuildIsLikeBuilding takes an object with groups around it through what can happen to it between two exports, and back.
func TestRebuildIsLikeBuilding(t *testing.T) {
	dn := func(name string) string { return "CN=" + name + ",OU=Users,DC=contoso,DC=com" }
	person := func(n int, name string) Entry {
		e := user(name, "smtp:"+strings.ReplaceAll(strings.ToLower(name), " ", ".")+"@contoso.com")
		e.GUID = guid(n)
		return e
	}
	team := func(members ...string) Entry {
		e := group("Team", members...)
		e.GUID = guid(100)
		return e
	}
	adele, alex, diego := person(1, "Adele Vance"), person(2, "Alex Wilber"), person(3, "Diego Siciliani")
	at := func(e Entry, name string) Entry { e.DN = dn(name); return e }
	in := func(e Entry, place string) Entry {
		rdn, _ := splitDN(e.DN)
		e.DN = rdn + "," + place
		return e
	}
	cases := []struct {
		name          string
		before, after []Entry
	}{
		{"nothing changed", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), adele}},
		{"from nothing", nil, []Entry{team("Adele Vance", "Nobody"), adele}},
		{"another order", []Entry{team("Adele Vance"), adele}, []Entry{adele, team("Adele Vance")}},
		{"a member is gone, and still named", []Entry{team("Adele Vance", "Alex Wilber"), adele, alex}, []Entry{team("Adele Vance", "Alex Wilber"), alex}},
		{"a member is gone, and named in other letters", []Entry{team("Adele Vance"), adele, alex}, []Entry{team("ADELE VANCE"), alex}},
		{"one who was missing is named in other letters", []Entry{team("Adele Vance"), alex}, []Entry{team("ADELE VANCE"), alex}},
		{"one who was missing is named in two ways", []Entry{team("Adele Vance"), alex}, []Entry{team("adele vance", "ADELE VANCE"), alex}},
		{"a member is gone, and not named", []Entry{team("Adele Vance", "Alex Wilber"), adele, alex}, []Entry{team("Alex Wilber"), alex}},
		{"a member who was missing comes", []Entry{team("Adele Vance"), alex}, []Entry{team("Adele Vance"), adele, alex}},
		{"renamed, the group first", []Entry{team("Adele Vance"), adele}, []Entry{team("Diego Siciliani"), at(adele, "Diego Siciliani")}},
		{"renamed, the group last", []Entry{team("Adele Vance"), adele}, []Entry{at(adele, "Diego Siciliani"), team("Diego Siciliani")}},
		{"renamed, the group by the old name", []Entry{team("Adele Vance"), adele}, []Entry{at(adele, "Diego Siciliani"), team("Adele Vance")}},
		{"other letters in the name", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), at(adele, "ADELE Vance")}},
		{"two who change their names", []Entry{team("Adele Vance"), adele, alex}, []Entry{team("Adele Vance"), at(adele, "Alex Wilber"), at(alex, "Adele Vance")}},
		{"two who change their names, the group last", []Entry{adele, alex, team("Adele Vance")}, []Entry{at(adele, "Alex Wilber"), at(alex, "Adele Vance"), team("Adele Vance")}},
		{"a ring of names", []Entry{adele, alex, diego, team("Adele Vance", "Alex Wilber")},
			[]Entry{at(adele, "Alex Wilber"), team("Adele Vance", "Alex Wilber"), at(alex, "Diego Siciliani"), at(diego, "Adele Vance")}},
		{"another object with the same name", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), at(alex, "Adele Vance")}},
		{"the name of one who moved away", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), at(diego, "Adele Vance"), at(adele, "Alex Wilber")}},
		{"the group is gone", []Entry{team("Adele Vance", "Nobody"), adele}, []Entry{adele}},
		{"the container in other letters", []Entry{adele, alex}, []Entry{in(adele, "ou=USERS,dc=Contoso,DC=com"), alex}},
		{"another container", []Entry{team("Adele Vance"), adele, alex}, []Entry{team("Adele Vance"), in(adele, "OU=Sales,DC=contoso,DC=com"), alex}},
		{"a person becomes a contact", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), {DN: adele.DN, GUID: adele.GUID, ObjectClass: []string{"contact"}, Mail: "adele@fabrikam.com"}}},
		{"a person becomes a computer", []Entry{team("Adele Vance"), adele}, []Entry{team("Adele Vance"), {DN: adele.DN, GUID: adele.GUID, ObjectClass: []string{"computer"}}}},
		{"all are others", []Entry{team("Adele Vance"), adele}, []Entry{alex, diego}},
		{"nobody is left", []Entry{team("Adele Vance"), adele}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			old := mustBuild(t, c.before...)
			got := mustRebuild(t, old, c.after...)
			sameAsBuilt(t, got, c.after...)
			sameAsBuilt(t, old, c.before...)
			sameAsBuilt(t, mustRebuild(t, got, c.before...), c.before...)
		})
	}
}

// randomEntries makes a source of a few objects with a few names, in random order and spelled in random ways, such that names and GUIDs go from one to another from one source to the next.
func randomEntries(rng *rand.Rand) (entries []Entry) {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	name := func() string {
		return pick("CN=Adele Vance", "CN=Alex Wilber", "CN=Diego Siciliani", "CN=Team", "CN=Sales Team", "cn=adele vance", "CN=ALEX WILBER") + "," +
			pick("OU=Users", "ou=users", "OU=Sales,OU=Users", "OU=Sales") + "," + pick("DC=contoso,DC=com", "DC=Contoso,dc=com")
	}
	taken := map[string]bool{}
	for range rng.IntN(9) {
		e := Entry{DN: name(), GUID: guid(1 + rng.IntN(7)), ObjectClass: []string{pick("user", "user", "contact", "computer", "group")}}
		if taken[strings.ToLower(e.DN)] || taken[e.GUID.String()] {
			continue
		}
		taken[strings.ToLower(e.DN)], taken[e.GUID.String()] = true, true
		for range rng.IntN(3) {
			e.ProxyAddresses = append(e.ProxyAddresses, pick("SMTP:adelev@contoso.com", "smtp:alexw@contoso.com", "X500:/o=Contoso/cn=1", "smtp:team@fabrikam.com"))
		}
		e.Mail = pick("", "adelev@contoso.com", "diegos@contoso.com")
		if e.ObjectClass[0] == "group" {
			for range rng.IntN(6) {
				e.Members = append(e.Members, name())
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// TestRebuildRandomly rebuilds from the last view, from one long ago, from one with changes, from a snapshot, and from one that was given up in the middle.
func TestRebuildRandomly(t *testing.T) {
	const rounds = 200
	rng := rand.New(rand.NewPCG(11, 12))
	v := &View{}
	type kept struct {
		v       *View
		entries []Entry
	}
	past := []kept{{v, nil}}
	for round := range rounds {
		entries := randomEntries(rng)
		from := v
		switch round % 5 {
		case 1:
			from = past[rng.IntN(len(past))].v
		case 2:
			next, err := v.Apply(Delta{Upserts: randomEntries(rng)})
			if err != nil {
				t.Fatal(err)
			}
			from = next
		case 3:
			b := v.Rebuild()
			for _, e := range randomEntries(rng) {
				if err := b.Add(e); err != nil {
					t.Fatal(err)
				}
			}
			b.Abandon()
		case 4:
			file := snapshotBytes(t, v)
			read, _, err := readSnapshot(strings.NewReader(string(file)), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			from = read
		}
		v = mustRebuild(t, from, entries...)
		sameAsBuilt(t, v, entries...)
		past = append(past, kept{v, entries})
		old := past[rng.IntN(len(past))]
		sameAsBuilt(t, old.v, old.entries...)
	}
}

// TestRebuildKeepsOtherNumbers of an object that a group knew before it had its name: what has not changed must not be written again, and who is gone is still missed.
func TestRebuildKeepsOtherNumbers(t *testing.T) {
	adele, team := user("Alex Wilber"), group("Team", "Adele Vance")
	adele.GUID, team.GUID = guid(1), guid(2)
	v := mustBuild(t, adele, team)
	adele.DN = user("Adele Vance").DN
	v, err := v.Apply(Delta{Upserts: []Entry{adele}})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := v.ByGUID(adele.GUID)
	if n := len(recordAt(v.arena.at(uint32(r))).aliases(v)); n != 1 {
		t.Fatalf("%d other numbers, want 1", n)
	}
	b := v.Rebuild()
	for _, e := range []Entry{adele, team} {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if b.e.dropped != 1 {
		t.Errorf("%d records were written again, want that of the group", b.e.dropped)
	}
	sameAsBuilt(t, b.Build(), adele, team)
	sameAsBuilt(t, mustRebuild(t, v, team), team)
}

func TestRebuildRefusesDuplicates(t *testing.T) {
	first, other := user("Adele Vance"), user("Alex Wilber")
	first.GUID, other.GUID = guid(1), guid(2)
	sameGUID, sameDN := user("Diego Siciliani"), user("adele vance")
	sameGUID.GUID, sameDN.GUID = guid(1), guid(9)
	for _, old := range []*View{mustBuild(t, first, other), mustBuild(t, sameDN), mustBuild(t, sameGUID), mustBuild(t, other)} {
		for _, e := range []Entry{first, sameGUID, sameDN} {
			fresh, again := NewBuilder(), old.Rebuild()
			for _, b := range []*Builder{fresh, again} {
				if err := b.Add(first); err != nil {
					t.Fatal(err)
				}
			}
			want, got := fresh.Add(e), again.Add(e)
			if !errors.Is(got, ErrDuplicate) || got.Error() != want.Error() {
				t.Errorf("%s beside %s: %v, want %v", e.DN, first.DN, got, want)
			}
			if err := again.Add(other); err != nil {
				t.Error(err)
			}
			sameAsBuilt(t, again.Build(), first, other)
		}
	}
}

// TestRebuildSharesMemory looks at what a reread costs when little has changed.
func TestRebuildSharesMemory(t *testing.T) {
	const n = 400
	v := sampleView(t, n)
	entries := make([]Entry, n)
	for i := range entries {
		if entries[i] = sampleEntry(i); i%150 == 0 {
			entries[i].DisplayName = "changed"
		}
	}
	next := mustRebuild(t, v, entries...)
	sameAsBuilt(t, next, entries...)
	shared := 0
	for i, c := range next.arena.chunks {
		if i < len(v.arena.chunks) && v.arena.chunks[i].mem == c.mem {
			shared++
		}
	}
	if shared != len(v.arena.chunks) || len(next.arena.chunks) > shared+1 {
		t.Errorf("%d of %d chunks are shared, and there are %d", shared, len(v.arena.chunks), len(next.arena.chunks))
	}
	if next.waste == 0 || next.waste > 3*400 {
		t.Errorf("%d bytes of records were replaced, of 3 objects", next.waste)
	}
}

// TestRebuildOfEverything changes every object of a view that is outside of Go's heap, while others read the old one: the index must not pile up on Go's heap.
func TestRebuildOfEverything(t *testing.T) {
	const n = 12_000
	v := sampleView(t, n)
	if v.index.group(0) == nil || v.index.shards[0].mem.mapped != nil && v.index.shards[0].mem == v.index.shards[len(v.index.shards)-1].mem {
		t.Fatal("the view is too small for an index in groups")
	}
	b := v.Rebuild()
	onHeap := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			refs := v.Find(KeyProxy, fmt.Sprintf("user%07d@contoso.com", i), nil)
			if len(refs) != 1 || !strings.HasPrefix(v.Object(refs[0]).DisplayName, "Vance, Adele") {
				t.Errorf("object %d is not there as it was: %v", i, refs)
			}
		}
	})
	for i := range n {
		e := sampleEntry(i)
		e.DisplayName = "changed"
		if err := b.Add(e); err != nil {
			t.Error(err)
		}
		if i%relieveAfter == 0 && i > 2*relieveAfter {
			onHeap = max(onHeap, strays(b.e.index.shards))
		}
	}
	wg.Wait()
	if most := len(v.index.shards) / 2; onHeap > most {
		t.Errorf("%d of %d shards were on Go's heap", onHeap, len(v.index.shards))
	}
	next := b.Build()
	for i := range n {
		r := mustFind(t, next, KeyProxy, fmt.Sprintf("adele.vance.%d@contoso.com", i))
		if o := next.Object(r); o.DisplayName != "changed" {
			t.Fatalf("%s has the name %q", o.DN, o.DisplayName)
		}
	}
	if next.Stats().Total() != n || next.index.n != v.index.n {
		t.Errorf("%d objects with %d keys, before %d with %d", next.Stats().Total(), next.index.n, v.Stats().Total(), v.index.n)
	}
	if most := max(chunkBytes, next.arena.bytes()/wasteShare); next.waste > most {
		t.Errorf("%d bytes are wasted of %d", next.waste, next.arena.bytes())
	}
}

// TestAbandonedRebuild leaves the view, and the room behind its records, as they were.
func TestAbandonedRebuild(t *testing.T) {
	const n = 200
	v := sampleView(t, n)
	var entries []Entry
	for i := range n {
		entries = append(entries, sampleEntry(i))
	}
	chunks := len(v.arena.chunks)
	for range 12 {
		b := v.Rebuild()
		for i := range 150 {
			e := sampleEntry(i)
			e.DisplayName = "somebody else"
			if err := b.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		b.Abandon()
		b.Abandon() // is nothing
	}
	sameAsBuilt(t, v, entries...)
	next, err := v.Apply(Delta{Upserts: []Entry{sampleEntry(n)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(next.arena.chunks); got > chunks {
		t.Errorf("%d chunks, before %d", got, chunks)
	}
	sameAsBuilt(t, next, append(entries, sampleEntry(n))...)
	sameAsBuilt(t, v, entries...)
}

// TestRebuildBeginsAnew when what a view has left behind would stay for ever.
func TestRebuildBeginsAnew(t *testing.T) {
	adele := user("Adele Vance", "smtp:adelev@contoso.com")
	cases := []struct {
		name string
		wear func(e *editor)
		anew bool
	}{
		{"as it was built", func(*editor) {}, false},
		{"some numbers", func(e *editor) {
			for range 60_000 {
				e.ids.add(0)
			}
		}, false},
		{"many numbers", func(e *editor) {
			for range 70_000 {
				e.ids.add(0)
			}
		}, true},
		{"many containers", func(e *editor) {
			for range 70_000 {
				e.containers.add(container{})
			}
		}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := mustBuild(t, adele).edit()
			c.wear(e)
			v := e.finish()
			if anew := v.Rebuild().e.again == nil; anew != c.anew {
				t.Errorf("anew %v, want %v", anew, c.anew)
			}
			sameAsBuilt(t, mustRebuild(t, v, adele), adele)
		})
	}
}

// TestFileSourceSharesMemory reads a file again that has changed a little, and files that are broken in the middle or were cut off.
func TestFileSourceSharesMemory(t *testing.T) {
	text := func(change func(i int, e *Entry)) string {
		var entries []Entry
		for i := range 300 {
			e := sampleEntry(i)
			change(i, &e)
			entries = append(entries, e)
		}
		var out strings.Builder
		if err := WriteLDIF(&out, mustBuild(t, entries...)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	all := text(func(int, *Entry) {})
	some := text(func(i int, e *Entry) {
		if i == 7 {
			e.Mail = adeleMail
		}
	})
	b := newBench(t, all)
	if err := b.poll(); err != nil {
		t.Fatal(err)
	}
	first := b.src.View()
	for _, bad := range []string{some + "\nbroken", some[:len(some)*2/3], "version: 1\n", "dn: CN=PC 1,DC=contoso,DC=com\nobjectClass: computer\n"} {
		b.replace(bad)
		if err := b.src.Refresh(t.Context()); err == nil {
			t.Fatal("no error")
		}
		if b.src.View() != first {
			t.Fatal("the view was replaced")
		}
	}
	if d := diffViews(t, mustLDIF(t, all), first); d != "" {
		t.Errorf("after files that are bad: (-read +served)\n%s", d)
	}
	b.replace(some)
	if err := b.src.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.serves(adeleMail)
	v := b.src.View()
	if d := diffViews(t, mustLDIF(t, some), v); d != "" {
		t.Errorf("(-read +served)\n%s", d)
	}
	if got, want := len(v.arena.chunks), len(first.arena.chunks); got != want {
		t.Errorf("%d chunks, before %d: the room behind the records was lost to a file that was not used", got, want)
	}
	if v.arena.chunks[0].mem != first.arena.chunks[0].mem || v.waste == 0 || v.waste > 400 {
		t.Errorf("nothing is shared, or too much was replaced: %d bytes", v.waste)
	}
}

// FuzzRebuild makes two sources of what it is given, and a view of the one after the other.
func FuzzRebuild(f *testing.F) {
	for i := range uint64(20) {
		f.Add(i, i+1)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		first, second := randomEntries(rand.New(rand.NewPCG(a, 1))), randomEntries(rand.New(rand.NewPCG(b, 1)))
		v := mustBuild(t, first...)
		sameAsBuilt(t, mustRebuild(t, v, second...), second...)
		sameAsBuilt(t, v, first...)
	})
}
