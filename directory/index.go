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
func (k *keyer) identity(rec record, f func(hash uint32)) {
	k.buf = appendKeyDN(k.buf[:0], rec.parent(), string(rec.rdn(k.v)))
	f(k.v.hash(k.buf, classDN))
	if rec.kind() != phantom {
		guid := rec.guid()
		f(k.v.hash(append(k.buf[:0], guid[:]...), classGUID))
	}
}

// values calls f with the hashes of the addresses of a record. A hash can come more than once.
func (k *keyer) values(rec record, f func(hash uint32)) {
	for fs := rec.fields(k.v); fs.next(); {
		switch fs.tag {
		case tagProxy:
			for _, key := range [...]Key{KeyProxy, KeyX500, KeyNotes} {
				if fs.text.prefixed(keyClass[key].prefix) {
					f(k.text(fs.text.address(), keyClass[key].class))
					break
				}
			}
		case tagMail:
			f(k.text(fs.text, classAddress))
		case tagMailProxy:
			if t, ok := rec.proxyAt(k.v, fs.number); ok {
				f(k.text(t, classAddress))
			}
		case tagLegacyDN:
			f(k.text(fs.text, classLegacyDN))
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
func (k *keyer) all(rec record, f func(hash uint32)) {
	k.identity(rec, f)
	k.values(rec, f)
}

// partBits is how finely a bulk index is cut while it is made: so that each part stays in a processor's cache.
const partBits = 6

// pile is a list that grows without being copied, so that little memory is needed beside the index.
type pile struct {
	blocks [][]uint64
	n      int
}

func (p *pile) add(e uint64) {
	last := len(p.blocks) - 1
	if last < 0 || len(p.blocks[last]) == cap(p.blocks[last]) {
		p.blocks = append(p.blocks, make([]uint64, 0, min(4096, 16+p.n)))
		last++
	}
	p.blocks[last] = append(p.blocks[last], e)
	p.n++
}

// bulkIndex makes the index of an arena in which every record is live. It uses all processors, and is several times faster than
// inserting one hash after another, which misses the cache each time.
func bulkIndex(v *View, a *arena) table {
	workers := max(1, min(runtime.GOMAXPROCS(0), 8))
	parts := make([][1 << partBits]pile, workers)
	eachParallel(workers, len(a.chunks), func(worker, chunk int) {
		k := keyer{v: v}
		mine := &parts[worker]
		for loc, rec := range a.chunkRecords(chunk) {
			k.all(rec, func(h uint32) {
				mine[h>>(32-partBits)].add(uint64(h)<<32 | uint64(loc))
			})
		}
	})
	n := 0
	for w := range parts {
		for p := range parts[w] {
			n += parts[w][p].n
		}
	}
	t := newTable(n).table
	bits := 32 - t.shift
	if bits < partBits { // small: all in one go
		var all [][]uint64
		for w := range parts {
			for p := range parts[w] {
				all = append(all, parts[w][p].blocks...)
			}
		}
		t.n = t.fill(0, len(t.shards), all)
		return t
	}
	var total atomic.Int64
	span := len(t.shards) >> partBits
	eachParallel(workers, 1<<partBits, func(_, p int) {
		var lists [][]uint64
		for w := range parts {
			lists = append(lists, parts[w][p].blocks...)
			parts[w][p] = pile{}
		}
		total.Add(int64(t.fill(p*span, span, lists)))
	})
	t.n = int(total.Load())
	return t
}

// fill makes count shards from the first on, out of all the entries that belong into them, and gives their number.
func (t *table) fill(first, count int, lists [][]uint64) (n int) {
	sizes := make([]int, count)
	total := 0
	for _, l := range lists {
		for _, e := range l {
			sizes[uint32(e>>32)>>t.shift-uint32(first)]++
		}
		total += len(l)
	}
	room := make([]uint64, total+total/4+2*count)
	for i, size := range sizes {
		size = slotsFor(size)
		t.shards[first+i] = shard{slots: room[:size:size]}
		room = room[size:]
	}
	for _, l := range lists {
		for _, e := range l {
			s := &t.shards[uint32(e>>32)>>t.shift]
			if s.put(e, t.shift) {
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
