package directory

// Compact makes a view without the memory of records that were replaced since. It copies the whole view; see [View.Wasteful].
func (v *View) Compact() *View {
	if v.dict == nil {
		return v
	}
	e := v.edit()
	e.arena.release()
	e.compact()
	e.containerIndex.trim()
	return e.finish()
}

// Wasteful tells whether Compact would save more than a quarter of the view's records.
func (v *View) Wasteful() bool {
	return v.waste > 8*chunkBytes && v.waste > v.arena.bytes()/4
}

// What is wasted, in relation to the whole, before records are moved for it; and how many are moved with each change, beside those that it needs.
const (
	wasteShare = 8
	leastMoves = 64
)

// evacuate moves live records out of the chunk with the most waste, some with each change until it can be given back, so that waste stays an eighth of the records and the
// whole need never be copied at once.
func (e *editor) evacuate() {
	for moves := leastMoves + wasteShare*e.dropped; moves > 0 && e.v.waste > max(chunkBytes, e.arena.bytes()/wasteShare); {
		i := e.arena.worst()
		if i < 0 || !e.empty(i, &moves) {
			return
		}
	}
}

// worst is the chunk with the most waste that is not appended to; -1 when there is none.
func (a *arena) worst() int {
	worst, waste := -1, 0
	for i := range a.chunks {
		if w := a.chunks[i].waste; w > waste && (i != a.last || a.tail == nil) {
			worst, waste = i, w
		}
	}
	return worst
}

// empty moves live records out of a chunk, as many as there are moves, and drops it when it is empty. It tells whether that was so.
func (e *editor) empty(chunk int, moves *int) bool {
	k := keyer{v: e.view()}
	for loc, rec := range e.arena.chunkRecords(chunk) {
		mark := e.ids.at(rec.id()) & phantomBit
		if e.ids.at(rec.id())&^phantomBit != loc {
			continue
		}
		if *moves <= 0 {
			return false
		}
		*moves--
		fresh, b, err := e.arena.alloc(len(rec))
		if err != nil {
			return false
		}
		copy(b, rec)
		k.all(rec, func(h uint32, _ int) { e.index.replace(h, loc, fresh) })
		for _, id := range rec.numbers(&e.v) {
			e.ids.set(id, fresh|mark)
		}
		e.arena.spoil(loc, rec)
		e.v.waste += padded(len(rec))
	}
	e.v.waste -= e.arena.chunks[chunk].waste
	e.arena.drop(chunk)
	return true
}

// compact copies the live records to a new arena, and indexes them anew. If that cannot be, all stays as it is.
func (e *editor) compact() {
	var room arena
	ids := e.ids.paged.edit()
	// While a view is built nobody else has its chunks. That the copy has room must be certain then: it may need more chunks, though not twice as many, since where records
	// do not fit into the rest of a chunk it begins another one.
	free := e.bulk && len(e.arena.chunks) < maxChunks/4
	for i := range e.arena.chunks {
		for loc, rec := range e.arena.chunkRecords(i) {
			mark := ids.at(rec.id()) & phantomBit
			if e.ids.at(rec.id())&^phantomBit != loc {
				continue
			}
			fresh, b, err := room.alloc(len(rec))
			if err != nil {
				return
			}
			copy(b, rec)
			for _, id := range rec.numbers(&e.v) {
				ids.set(id, fresh|mark)
			}
		}
		if free && e.arena.chunks[i].mem != nil {
			mem := e.arena.chunks[i].mem
			e.arena.drop(i)
			mem.free()
		}
	}
	e.arena, e.ids = room, ids
	e.index = bulkIndex(e.view(), &room).edit()
	e.v.waste = 0
}
