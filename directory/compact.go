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

// compact copies the live records to a new arena, and indexes them anew. If that cannot be, all stays as it is.
func (e *editor) compact() {
	var room arena
	ids := e.ids.paged.edit()
	for loc, rec := range e.arena.records() {
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
	e.arena, e.ids = room, ids
	e.index = bulkIndex(e.view(), &room).edit()
	e.v.waste = 0
}
