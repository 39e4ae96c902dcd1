package directory

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// keyer computes what records are found by. It is for one goroutine.
type keyer struct {
	v   *View // for its dictionary and seed
	buf []byte
}

// identity calls f with the hashes of the DN and the GUID of a record.
func (k *keyer) identity(rec record, f func(hash uint32, offset int)) {
	k.buf = appendKeyDN(k.buf[:0], rec.parent(), string(rec.rdn(k.v)))
	f(k.v.hash(k.buf, classDN), 0)
	if rec.kind() != phantom {
		guid := rec.guid()
		f(k.v.hash(append(k.buf[:0], guid[:]...), classGUID), 0)
	}
}

// values calls f with the hashes of the addresses of a record, and where they stand in it if they are proxies. A hash can come more than once.
func (k *keyer) values(rec record, f func(hash uint32, offset int)) {
	fs := rec.fields(k.v)
	for offset := headerSize; fs.next(); offset = len(rec) - endSize - len(fs.b) {
		switch fs.tag {
		case tagProxy:
			for _, key := range [...]Key{KeyProxy, KeyX500, KeyNotes} {
				if fs.text.prefixed(keyClass[key].prefix) {
					f(k.text(fs.text.address(), keyClass[key].class), offset)
					break
				}
			}
		case tagMail:
			f(k.text(fs.text, classAddress), 0)
		case tagMailProxy:
			if t, ok := rec.proxyAt(k.v, fs.number); ok {
				f(k.text(t, classAddress), 0)
			}
		case tagLegacyDN:
			f(k.text(fs.text, classLegacyDN), 0)
		case tagMembers:
			return
		}
	}
}

func (k *keyer) text(t text, c class) uint32 {
	var raw [256]byte
	k.buf = appendFold(k.buf[:0], t.appendTo(raw[:0]))
	return k.v.hash(k.buf, c)
}

// all calls f with every hash that a record is found by.
func (k *keyer) all(rec record, f func(hash uint32, offset int)) {
	k.identity(rec, f)
	k.values(rec, f)
}

// partBits is how finely a bulk index is cut while it is made: so that each part stays in a processor's cache.
const partBits = 6

// pile is a list that grows without being copied.
type pile struct {
	blocks [][]slot
	n      int
}

// piles are the lists of one worker.
type piles struct {
	parts [1 << partBits]pile
	heaps [tableGroups]heap
}

// heap is the memory of the piles of one group of shards. It is outside of Go's heap, and is given back as a whole.
type heap struct {
	mem  []*region
	room []slot
}

func (p *piles) add(e slot) {
	to := &p.parts[e>>(64-partBits)]
	last := len(to.blocks) - 1
	if last < 0 || len(to.blocks[last]) == cap(to.blocks[last]) {
		to.blocks = append(to.blocks, p.heaps[e.group()].block(min(1024, 16+to.n)))
		last++
	}
	to.blocks[last] = append(to.blocks[last], e)
	to.n++
}

// group is the number of the group of shards that an entry belongs to.
func (s slot) group() int { return int(s.hash() * tableGroups >> hashBits) }

func (h *heap) block(n int) []slot {
	if len(h.room) < n {
		mem := newScratch(1 << 12 << min(len(h.mem), 6))
		h.mem, h.room = append(h.mem, mem), mem.slots()
	}
	b := h.room[:0:n]
	h.room = h.room[n:]
	return b
}

func (h *heap) free() {
	for _, mem := range h.mem {
		mem.free()
	}
	*h = heap{}
}

// bulkIndex makes the index of an arena in which every record is live. It uses all processors, and is several times faster than
// inserting one hash after another, which misses the cache each time. What it needs beside the index shrinks as the index grows.
func bulkIndex(v *View, a *arena) table {
	workers := max(1, min(runtime.GOMAXPROCS(0), 8))
	all := make([]piles, workers)
	eachParallel(workers, len(a.chunks), func(worker, chunk int) {
		k := keyer{v: v}
		mine := &all[worker]
		for loc, rec := range a.chunkRecords(chunk) {
			k.all(rec, func(h uint32, offset int) { mine.add(newSlot(h, newPlace(loc, offset))) })
		}
	})
	n := 0
	for w := range all {
		for p := range all[w].parts {
			n += all[w].parts[p].n
		}
	}
	t := newTable(n).table
	groups := 1
	if hashBits-t.shift >= partBits { // else small: all in one go
		groups = tableGroups
	}
	parts := 1 << partBits / groups // of a group
	count := len(t.shards) / groups // shards of a group
	var total atomic.Int64
	eachParallel(workers, groups, func(_, g int) {
		var lists [][]slot
		for p := g * parts; p < (g+1)*parts; p++ {
			for w := range all {
				lists = append(lists, all[w].parts[p].blocks...)
			}
		}
		total.Add(int64(t.fill(g*count, count, lists)))
		for w := range all {
			for h := g * tableGroups / groups; h < (g+1)*tableGroups/groups; h++ {
				all[w].heaps[h].free()
			}
		}
	})
	t.n = int(total.Load())
	return t
}

// fill makes count shards from the first on, out of all the entries that belong into them, and gives their number. They come part by part, so that what
// is written stays in the processor's cache.
func (t *table) fill(first, count int, lists [][]slot) (n int) {
	sizes := make([]int, count)
	for _, l := range lists {
		for _, e := range l {
			sizes[e.hash()>>t.shift-uint32(first)]++
		}
	}
	total := 0
	for i := range sizes {
		sizes[i] = slotsFor(sizes[i])
		total += sizes[i]
	}
	mem := newRegion(8 * total)
	room := mem.slots()
	for i, size := range sizes {
		t.shards[first+i] = shard{slots: room[:size:size], mem: mem}
		room = room[size:]
	}
	for _, l := range lists {
		for _, e := range l {
			s := &t.shards[e.hash()>>t.shift]
			added, fits := s.put(e, t.shift)
			for ; !fits; added, fits = s.put(e, t.shift) {
				s.resize(len(s.slots)+len(s.slots)/8+8, t.shift)
			}
			if added {
				s.n++
				n++
			}
		}
	}
	return n
}

// eachParallel calls f for each of n pieces, by several workers.
func eachParallel(workers, n int, f func(worker, piece int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wg.Wait()
}
