package directory

import (
	"errors"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Records live in an arena of chunks and are addressed by a 31-bit location: the number of their first 8-byte unit. A record larger than a
// chunk has a longer chunk of its own and takes up the locations of the chunks that it spans. Location 0 is no record.
const (
	unit       = 8
	chunkBytes = 1 << 20 // of locations; the first chunks of a view have less memory
	firstChunk = 1 << 15
	chunkUnits = chunkBytes / unit
	maxChunks  = 1 << 31 / chunkUnits
)

var errFull = errors.New("the view is full: more than 16 GiB of records")

// arena is append-only. Views that come from one another share chunks, and the last one may be appended to behind what older
// views know of: the length of a chunk is what this view has of it.
type arena struct {
	chunks [][]byte
	tail   *tail
}

// tail guards the free room of a last chunk: only the view whose end is the end of the chunk may go on there.
type tail struct{ end atomic.Int64 }

const tailTaken = math.MaxInt64

// at gives the record at a location and whatever follows it in its chunk.
func (a *arena) at(loc uint32) []byte {
	return a.chunks[loc/chunkUnits][loc%chunkUnits*unit:]
}

// edit is an arena to append to. It shares the room of the last chunk if that is still free, else begins a new one.
func (a arena) edit() arena {
	a.chunks = slices.Clone(a.chunks)
	if a.tail != nil && !a.tail.end.CompareAndSwap(int64(len(a.chunks[len(a.chunks)-1])), tailTaken) {
		a.tail = nil
	}
	return a
}

// release lets the next view go on behind the records of this one.
func (a *arena) release() {
	if a.tail != nil {
		a.tail.end.Store(int64(len(a.chunks[len(a.chunks)-1])))
	}
}

// alloc gives room for n bytes at a new location.
func (a *arena) alloc(n int) (uint32, []byte, error) {
	n = (n + unit - 1) / unit * unit
	last := len(a.chunks) - 1
	if a.tail == nil || len(a.chunks[last])+n > cap(a.chunks[last]) {
		return a.grow(n)
	}
	off := len(a.chunks[last])
	a.chunks[last] = a.chunks[last][:off+n]
	return uint32(last*chunkUnits + off/unit), a.chunks[last][off:], nil
}

// grow allocates from a new chunk, or from several when a record is that large.
func (a *arena) grow(n int) (uint32, []byte, error) {
	start := 0
	if len(a.chunks) == 0 {
		start = unit // location 0 is no record
	}
	spans := (start + n + chunkBytes - 1) / chunkBytes
	if len(a.chunks)+spans > maxChunks {
		return 0, nil, errFull
	}
	first := len(a.chunks)
	size := min(chunkBytes, firstChunk<<min(first, 10))
	a.chunks = append(a.chunks, make([]byte, start+n, max(size, start+n)))
	for range spans - 1 {
		a.chunks = append(a.chunks, nil)
	}
	a.tail = nil
	if spans == 1 {
		a.tail = &tail{}
		a.tail.end.Store(tailTaken)
	}
	return uint32(first*chunkUnits + start/unit), a.chunks[first][start:], nil
}

// bytes is the memory of the arena.
func (a *arena) bytes() int {
	n := 24 * len(a.chunks)
	for _, c := range a.chunks {
		n += cap(c)
	}
	return n
}

// records yields every record, live or not, with its location.
func (a *arena) records() iter.Seq2[uint32, record] {
	return func(yield func(uint32, record) bool) {
		for i := range a.chunks {
			for loc, rec := range a.chunkRecords(i) {
				if !yield(loc, rec) {
					return
				}
			}
		}
	}
}

// chunkRecords yields the records of one chunk.
func (a *arena) chunkRecords(i int) iter.Seq2[uint32, record] {
	return func(yield func(uint32, record) bool) {
		off := 0
		if i == 0 {
			off = unit
		}
		for c := a.chunks[i]; off < len(c); {
			rec := recordAt(c[off:])
			if !yield(uint32(i*chunkUnits+off/unit), rec) {
				return
			}
			off += (len(rec) + unit - 1) / unit * unit
		}
	}
}

// dict numbers strings that many records share: domains, prefixes. It only grows, so that all views from one origin share it.
type dict struct {
	mu   sync.Mutex
	ids  map[string]uint32
	list atomic.Pointer[[]string]
}

const (
	dictEntries = 1 << 16
	dictLength  = 512
)

func newDict() *dict {
	d := &dict{ids: map[string]uint32{"": 0}}
	d.list.Store(&[]string{""})
	return d
}

// id numbers s. When the dictionary has no room for it, ok is false and the record must hold the string itself.
func (d *dict) id(s string) (id uint32, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.ids[s]; ok {
		return id, true
	}
	list := *d.list.Load()
	if len(list) >= dictEntries || len(s) > dictLength {
		return 0, false
	}
	s = string([]byte(s)) // not a part of something large
	list = append(list, s)
	d.list.Store(&list)
	d.ids[s] = uint32(len(list) - 1)
	return uint32(len(list) - 1), true
}

func (d *dict) strings() []string { return *d.list.Load() }
