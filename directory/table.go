package directory

import "slices"

// table is a persistent hash table from 32-bit hashes to non-zero 32-bit values, with as many values to a hash as there are. It is
// cut into shards by the top bits of the hash, each an open-addressed table of its own, so that a change copies one shard of about a thousand
// entries and shares the rest.
type table struct {
	shards []shard
	shift  uint8 // 32 less the bits of the hash that choose the shard
	n      int
}

// shard holds hash<<32 | value; 0 is free. There is always a free slot unless there are none at all.
type shard struct {
	slots []uint64
	n     int
}

const (
	shardTarget = 1024 // entries in a shard, as built
	shardLimit  = 4096 // average above which the table gets more shards
)

// home is where the search for a hash starts: its bits below those that chose the shard, scaled to the size of the shard.
func home(hash uint32, shift uint8, size int) int {
	return int(uint64(hash<<(32-shift)) * uint64(size) >> 32)
}

// chain is the run of slots in which the values of a hash are, and the place to start.
func (t *table) chain(hash uint32) (slots []uint64, start int) {
	s := t.shards[hash>>t.shift].slots
	return s, home(hash, t.shift, len(s))
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
	t := tableEdit{table: table{shards: make([]shard, 1<<bits), shift: 32 - bits}, owned: make([]bool, 1<<bits)}
	for i := range t.shards {
		t.owned[i] = true
	}
	return t
}

// slotsFor is how many slots n entries get: a load of 4/5, and one free.
func slotsFor(n int) int { return n + n/4 + 2 }

func (t table) edit() tableEdit {
	t.shards = slices.Clone(t.shards)
	return tableEdit{table: t, owned: make([]bool, len(t.shards))}
}

// own gives the shard of a hash, with slots that nobody else sees and room for one more.
func (t *tableEdit) own(hash uint32) *shard {
	i := hash >> t.shift
	s := &t.shards[i]
	switch {
	case len(s.slots) < slotsFor(s.n+1):
		s.resize(slotsFor(s.n+s.n/2+8), t.shift)
		t.owned[i] = true
	case !t.owned[i]:
		s.slots = slices.Clone(s.slots)
		t.owned[i] = true
	}
	return s
}

func (s *shard) resize(size int, shift uint8) {
	old := s.slots
	s.slots = make([]uint64, size)
	for _, e := range old {
		if e != 0 {
			s.put(e, shift)
		}
	}
}

// put stores an entry in the first free slot, and tells whether it was not there already.
func (s *shard) put(entry uint64, shift uint8) bool {
	for i := home(uint32(entry>>32), shift, len(s.slots)); ; i++ {
		if i == len(s.slots) {
			i = 0
		}
		switch s.slots[i] {
		case 0:
			s.slots[i] = entry
			return true
		case entry:
			return false
		}
	}
}

// insert adds a value to a hash, once.
func (t *tableEdit) insert(hash, value uint32) {
	if t.n > shardLimit*len(t.shards) {
		t.reshard()
	}
	s := t.own(hash)
	if s.put(uint64(hash)<<32|uint64(value), t.shift) {
		s.n++
		t.n++
	}
}

// remove takes a value from a hash, if it is there. Entries behind it move up, so that no search ends early.
func (t *tableEdit) remove(hash, value uint32) {
	s := t.own(hash)
	entry := uint64(hash)<<32 | uint64(value)
	size := len(s.slots)
	i := home(hash, t.shift, size)
	for ; s.slots[i] != entry; i = (i + 1) % size {
		if s.slots[i] == 0 {
			return
		}
	}
	for j := (i + 1) % size; s.slots[j] != 0; j = (j + 1) % size {
		// An entry may move from j to i unless its home lies between them, cyclically.
		if h := home(uint32(s.slots[j]>>32), t.shift, size); (j-h+size)%size >= (j-i+size)%size {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = 0
	s.n--
	t.n--
}

// reshard spreads the entries over as many shards as their number asks for.
func (t *tableEdit) reshard() {
	fresh := newTable(t.n)
	for i := range t.shards {
		for _, e := range t.shards[i].slots {
			if e == 0 {
				continue
			}
			s := fresh.own(uint32(e >> 32))
			s.put(e, fresh.shift)
			s.n++
		}
		t.shards[i].slots = nil
	}
	fresh.n = t.n
	*t = fresh
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
	n := 32 * len(t.shards)
	for i := range t.shards {
		n += 8 * cap(t.shards[i].slots)
	}
	return n
}
