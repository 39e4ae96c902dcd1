package directory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestPilesAreFreedGroupByGroup gives the memory of one group back after another: what the others have must still be there.
func TestPilesAreFreedGroupByGroup(t *testing.T) {
	for _, n := range []int{1, 100, 60_000} {
		rng := rand.New(rand.NewPCG(7, 8))
		var p piles
		var want [1 << partBits][]slot
		for range n {
			e := newSlot(rng.Uint32()>>(32-hashBits)|1, newPlace(rng.Uint32N(1<<locBits-1)+1, rng.IntN(1<<offsetBits)))
			p.add(e)
			want[e>>(64-partBits)] = append(want[e>>(64-partBits)], e)
		}
		for g := range tableGroups {
			for part := g << partBits / tableGroups; part < (g+1)<<partBits/tableGroups; part++ {
				i := 0
				for _, block := range p.parts[part].blocks {
					for _, e := range block {
						if i >= len(want[part]) || e != want[part][i] || e.group() != g {
							t.Fatalf("of %d: entry %d of part %d is %x, of group %d", n, i, part, e, e.group())
						}
						i++
					}
				}
				if i != len(want[part]) || i != p.parts[part].n {
					t.Fatalf("of %d: part %d has %d entries and counts %d, want %d", n, part, i, p.parts[part].n, len(want[part]))
				}
			}
			mem := p.heaps[g].mem
			p.heaps[g].free()
			for _, m := range mem {
				if m.b != nil {
					t.Errorf("of %d: group %d has memory left", n, g)
				}
			}
		}
	}
}

// TestBuildWithGroupsFirst names every member before it comes, so that each has a record that is replaced: the copy without those must be the same view as if the groups
// had come last, and the memory of what was copied goes at once.
func TestBuildWithGroupsFirst(t *testing.T) {
	const objects, teams = 600, 30
	groups := make([]Entry, teams)
	for g := range groups {
		members := make([]string, 0, objects/teams)
		for i := g; i < objects; i += teams {
			members = append(members, sampleEntry(i).DN)
		}
		groups[g] = group(fmt.Sprint("Team ", g), members...)
	}
	first, last := NewBuilder(), NewBuilder()
	add := func(b *Builder, e Entry) {
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range groups {
		add(first, g)
	}
	for i := range objects {
		e := sampleEntry(i)
		e.DisplayName = strings.Repeat("Vance, Adele ", 400)
		add(first, e)
		add(last, e)
	}
	for _, g := range groups {
		add(last, g)
	}
	var mem []*region
	mapped := 0
	for _, c := range first.e.arena.chunks {
		mem = append(mem, c.mem)
		if c.mem.mapped != nil {
			mapped++
		}
	}
	if mapped == 0 {
		t.Fatal("the view is too small to be outside of Go's heap")
	}
	got := first.Build()
	for i, m := range mem {
		if m.b != nil || m.mapped != nil {
			t.Errorf("chunk %d that was copied is still there", i)
		}
	}
	if got.waste != 0 {
		t.Errorf("%d bytes are wasted", got.waste)
	}
	if d := diffViews(t, last.Build(), got); d != "" {
		t.Errorf("(-groups last +groups first)\n%s", d)
	}
}

func TestScratch(t *testing.T) {
	for _, size := range []int{8, 1 << 12, 1<<16 - 8, 1 << 16, 1 << 18} {
		r := newScratch(size)
		if len(r.b) != size || len(r.slots()) != size/8 || (r.mapped != nil) != (size >= 1<<16) {
			t.Fatalf("%d: %d bytes, %d slots, %d mapped", size, len(r.b), len(r.slots()), len(r.mapped))
		}
		for i, s := range r.slots() {
			if s != 0 {
				t.Fatalf("%d: slot %d is %x", size, i, s)
			}
			r.slots()[i] = slot(i)
		}
		r.free()
		r.free() // is nothing
		if r.b != nil {
			t.Errorf("%d: bytes after free", size)
		}
	}
}

// TestSettledShardsAreNotCopiedAgain when a table changes on after its shards were laid out anew, and the older table stays as it was.
func TestSettledShardsAreNotCopiedAgain(t *testing.T) {
	const entries = 40_000
	rng := rand.New(rand.NewPCG(9, 10))
	first := newTable(entries * 4)
	hashes := make([]uint32, entries)
	for i := range hashes {
		hashes[i] = rng.Uint32()>>(32-hashBits) | 1
		first.insert(hashes[i], newPlace(uint32(i)+1, 0))
	}
	for g := range tableGroups {
		layOut(first.group(g))
	}
	old, next := first.table, first.table.edit()
	loc := func(i, round int) uint32 { return uint32(i + 1 + round*entries) }
	for i, h := range hashes { // half of the shards
		if h>>next.shift%2 == 0 {
			next.replace(h, loc(i, 0), loc(i, 1))
		}
	}
	for range tableGroups { // it does some groups at a time
		next.settle()
	}
	for i, h := range hashes { // all
		next.replace(h, loc(i, 1-int(h>>next.shift%2)), loc(i, 2))
	}
	if n := strays(next.shards); n != 0 {
		t.Errorf("%d of %d shards are of Go's heap", n, len(next.shards))
	}
	for i, h := range hashes {
		if old.seek(h, loc(i, 0)) < 0 || next.seek(h, loc(i, 2)) < 0 {
			t.Fatalf("entry %d is not where it was put", i)
		}
	}
}
