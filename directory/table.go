package directory

import "slices"

// table is a persistent hash table from 28-bit hashes to places, with as many places to a hash as there are. It is cut into shards by the top bits of the
// hash, each an open-addressed table of its own, so that a change copies one shard of about two thousand entries and shares the rest.
//
// Within a shard the entries are in the order of their hashes, each at its home or behind it with no free slot between: a search ends at the first
// slot that is free or has a higher hash, mostly within the line of memory in which it began, also when it finds nothing.
type table struct {
	shards []shard
	shift  uint8 // bits of the hash below those that choose the shard
	n      int
}

// shard is one such table. Its last slot is always free.
type shard struct {
	slots []slot
	n     int
	mem   *region // of slots; nil: they are of Go's heap
}

// slot is a hash and a place; 0 is a free one.
//
//	28 bits  hash; never 0
//	7 bits   offset, see place
//	29 bits  location
type slot uint64

// place is what a hash leads to: the location of a record or the number of a container, and in the bits above it where in the record the value stands, in bytes
// from its beginning; 0 when that is not known.
type place uint64

const (
	hashBits   = 28
	offsetBits = 7
	locBits    = 29
	placeBits  = offsetBits + locBits
)

func newSlot(hash uint32, p place) slot { return slot(hash)<<placeBits | slot(p) }
func newPlace(loc uint32, offset int) place {
	if offset >= 1<<offsetBits {
		offset = 0
	}
	return place(offset)<<locBits | place(loc)
}

func (s slot) hash() uint32 { return uint32(s >> placeBits) }
func (s slot) loc() uint32  { return uint32(s) & (1<<locBits - 1) }
func (s slot) offset() int  { return int(s>>locBits) & (1<<offsetBits - 1) }

// same tells whether two slots are of one hash and location.
func (s slot) same(o slot) bool {
	const offset = slot(1<<offsetBits-1) << locBits
	return (s^o)&^offset == 0
}

const (
	shardTarget = 2048 // entries in a shard, as built
	shardLimit  = 8192 // average above which the table gets more shards
	tableGroups = 8    // a large table is laid out in as many regions
)

// home is where the search for a hash starts: its bits below those that chose the shard, scaled to the size of the shard less what is kept for entries that are pushed
// over the end.
func home(hash uint32, shift uint8, size int) int {
	return int(uint64(hash<<((32-shift)&31)) * uint64(size-overhang(size)) >> 32)
}

func overhang(size int) int { return size/16 + 2 }

// slotsFor is how many slots n entries get: a load of 4/5, and the overhang.
func slotsFor(n int) int { return n + n/4 + n/12 + 4 }

// noSlots is a shard without entries.
var noSlots [1]slot

// find gives the slots in which the places of a hash are, and the first of them: as long as they have this hash.
func (t *table) find(hash uint32) (slots []slot, first int) {
	s := t.shards[hash>>(t.shift&31)].slots
	if len(s) == 0 {
		return noSlots[:], 0
	}
	i := home(hash, t.shift, len(s))
	for lowest := newSlot(hash, 0); s[i]-1 < lowest-1; i++ { // a free slot becomes the highest number
	}
	return s, i
}

// tableEdit is a table being changed: shards that it does not own yet are shared with other tables.
type tableEdit struct {
	table
	owned []bool
}

// newTable makes an empty table with the shards that n entries ask for.
func newTable(n int) tableEdit {
	bits := uint8(0)
	for n>>bits > shardTarget && bits < 20 {
		bits++
	}
	t := tableEdit{table: table{shards: make([]shard, 1<<bits), shift: hashBits - bits}, owned: make([]bool, 1<<bits)}
	for i := range t.shards {
		t.owned[i] = true
	}
	return t
}

func (t table) edit() tableEdit {
	t.shards = slices.Clone(t.shards)
	return tableEdit{table: t, owned: make([]bool, len(t.shards))}
}

// own gives the shard of a hash, with slots that nobody else sees and, unless luck is bad, room for one more.
func (t *tableEdit) own(hash uint32) *shard {
	i := hash >> t.shift
	s := &t.shards[i]
	switch {
	case len(s.slots) < slotsFor(s.n+1):
		s.resize(slotsFor(s.n+s.n/2+8), t.shift)
		t.owned[i] = true
	case !t.owned[i]:
		s.slots, s.mem = slices.Clone(s.slots), nil
		t.owned[i] = true
	}
	return s
}

// resize gives a shard other slots, of about a size.
func (s *shard) resize(size int, shift uint8) {
	for ; ; size += size/8 + 8 {
		if slots := make([]slot, size); spread(slots, s.slots, shift) {
			s.slots, s.mem = slots, nil
			return
		}
	}
}

// spread puts the entries of a shard into other slots, if they fit.
func spread(to, from []slot, shift uint8) bool {
	next := 0
	for _, e := range from {
		if e == 0 {
			continue
		}
		next = max(next, home(e.hash(), shift, len(to)))
		if next+1 >= len(to) {
			return false
		}
		to[next] = e
		next++
	}
	return true
}

// put stores an entry behind those that do not have a higher hash. added is false when it was there already, fits is false when there is no room for it.
func (s *shard) put(e slot, shift uint8) (added, fits bool) {
	i := home(e.hash(), shift, len(s.slots))
	for s.slots[i] != 0 && s.slots[i].hash() <= e.hash() {
		if s.slots[i].same(e) {
			return false, true
		}
		i++
	}
	free := i
	for s.slots[free] != 0 {
		free++
	}
	if free+1 >= len(s.slots) {
		return false, false
	}
	copy(s.slots[i+1:free+1], s.slots[i:free])
	s.slots[i] = e
	return true, true
}

// insert adds a place to a hash, unless it has the same location already.
func (t *tableEdit) insert(hash uint32, p place) {
	if t.n > shardLimit*len(t.shards) {
		t.reshard()
	}
	s := t.own(hash)
	for {
		added, fits := s.put(newSlot(hash, p), t.shift)
		if added {
			s.n++
			t.n++
		}
		if fits {
			return
		}
		s.resize(len(s.slots)+len(s.slots)/8+8, t.shift)
	}
}

// seek finds the slot of a hash and a location; -1 when there is none.
func (t *table) seek(hash, loc uint32) int {
	slots, i := t.find(hash)
	for ; slots[i].hash() == hash; i++ {
		if slots[i].loc() == loc {
			return i
		}
	}
	return -1
}

// remove takes a location from a hash, if it is there. Entries behind it move up, as far as their homes allow.
func (t *tableEdit) remove(hash, loc uint32) {
	i := t.seek(hash, loc)
	if i < 0 {
		return
	}
	shard := &t.shards[hash>>t.shift]
	if !t.owned[hash>>t.shift] {
		shard = t.own(hash)
		i = t.seek(hash, loc)
	}
	s := shard.slots
	for ; s[i+1] != 0 && home(s[i+1].hash(), t.shift, len(s)) <= i; i++ {
		s[i] = s[i+1]
	}
	s[i] = 0
	shard.n--
	t.n--
}

// replace puts one location of a hash in the place of another.
func (t *tableEdit) replace(hash, old, loc uint32) {
	if t.seek(hash, old) < 0 {
		return
	}
	s := t.own(hash) // which may have moved it
	i := t.seek(hash, old)
	s.slots[i] = newSlot(hash, newPlace(loc, s.slots[i].offset()))
}

// reshard spreads the entries over as many shards as their number asks for.
func (t *tableEdit) reshard() {
	fresh := newTable(t.n)
	for i := range t.shards {
		for _, e := range t.shards[i].slots {
			if e != 0 {
				fresh.insert(e.hash(), place(e)&(1<<placeBits-1))
			}
		}
		t.shards[i] = shard{}
	}
	*t = fresh
}

// group is the shards that are laid out in one region, by its number; none when the table is too small for that.
func (t *table) group(g int) []shard {
	size := len(t.shards) / tableGroups
	if size < 8 {
		return nil
	}
	return t.shards[g*size : (g+1)*size]
}

// settle lays out anew a group of shards of which more than a quarter were changed since they were laid out: the region that the others are in would not be given back
// before all are gone. It does one group, and one more for as many shards as were changed.
func (t *tableEdit) settle() {
	changed := 0
	for _, o := range t.owned {
		if o {
			changed++
		}
	}
	budget := 1 + changed*tableGroups/max(1, len(t.owned))
	for g := range tableGroups {
		shards := t.group(g)
		if budget == 0 || shards == nil {
			return
		}
		if strays(shards) > len(shards)/4 {
			layOut(shards)
			for i := range shards {
				t.owned[g*len(shards)+i] = true
			}
			budget--
		}
	}
}

// strays counts the shards of a group that are of Go's heap.
func strays(shards []shard) (n int) {
	for i := range shards {
		if shards[i].mem == nil {
			n++
		}
	}
	return n
}

// layOut copies shards into one region. Those of older tables stay as they are.
func layOut(shards []shard) {
	size := 0
	for i := range shards {
		size += len(shards[i].slots)
	}
	mem := newRegion(8 * size)
	room := mem.slots()
	for i := range shards {
		s := &shards[i]
		size := copy(room, s.slots)
		s.slots, s.mem, room = room[:size:size], mem, room[size:]
	}
}

// trim gives back room that was kept for growth.
func (t *tableEdit) trim() {
	if t.n < shardTarget/4*len(t.shards) && len(t.shards) > 1 {
		t.reshard()
	}
	for i := range t.shards {
		if s := &t.shards[i]; len(s.slots) > slotsFor(s.n)+s.n/16 {
			s.resize(slotsFor(s.n), t.shift)
			t.owned[i] = true
		}
	}
}

// bytes is the memory of the table.
func (t *table) bytes() int {
	n := 40 * len(t.shards)
	for i := range t.shards {
		n += 8 * cap(t.shards[i].slots)
	}
	return n
}
