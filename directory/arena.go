package directory

import (
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Records live in an arena of chunks and are addressed by a 29-bit location: the number of their first 8-byte unit. A record larger than a
// chunk has a longer chunk of its own and takes up the locations of the chunks that it spans. Location 0 is no record.
const (
	unit       = 8
	chunkBytes = hugePage // of locations; the first chunks of a view have less memory
	firstChunk = 1 << 15
	chunkUnits = chunkBytes / unit
	maxChunks  = 1 << locBits / chunkUnits
)

var errFull = errors.New("the view is full: more than 4 GiB of records")

// chunk is a piece of memory with records.
type chunk struct {
	b     []byte  // the records
	mem   *region // of b; of a chunk without bytes of its own, into which the last record of one before it reaches: that one's. Nil: the locations are free
	waste int     // bytes of records that are not live
}

// arena is append-only. Views that come from one another share chunks, and one of them may be appended to behind what older
// views know of: the length of a chunk is what this view has of it.
type arena struct {
	chunks []chunk
	last   int   // the chunk that is appended to
	tail   *tail // nil: none is
}

// tail guards the free room of a chunk: only the view whose end is the end of the chunk may go on there.
type tail struct{ end atomic.Int64 }

const tailTaken = math.MaxInt64

// at gives the record at a location and whatever follows it in its chunk.
func (a *arena) at(loc uint32) []byte {
	return a.chunks[loc/chunkUnits].b[loc%chunkUnits*unit:]
}

// edit is an arena to append to. It shares the room of the last chunk if that is still free, else begins a new one.
func (a arena) edit() arena {
	a.chunks = slices.Clone(a.chunks)
	if a.tail != nil && !a.tail.end.CompareAndSwap(int64(len(a.chunks[a.last].b)), tailTaken) {
		a.tail = nil
	}
	return a
}

// release lets the next view go on behind the records of this one.
func (a *arena) release() {
	if a.tail != nil {
		a.tail.end.Store(int64(len(a.chunks[a.last].b)))
	}
}

// alloc gives room for n bytes at a new location.
func (a *arena) alloc(n int) (uint32, []byte, error) {
	n = padded(n)
	if a.tail == nil || len(a.chunks[a.last].b)+n > cap(a.chunks[a.last].b) {
		return a.grow(n)
	}
	c := &a.chunks[a.last]
	off := len(c.b)
	c.b = c.b[:off+n]
	return uint32(a.last*chunkUnits + off/unit), c.b[off:], nil
}

// padded is how much room n bytes take.
func padded(n int) int { return (n + unit - 1) / unit * unit }

// grow allocates from a new chunk, or from several when a record is that large.
func (a *arena) grow(n int) (uint32, []byte, error) {
	spans := (unit + n + chunkBytes - 1) / chunkBytes
	first, err := a.place(spans)
	if err != nil {
		return 0, nil, err
	}
	start := 0
	if first == 0 {
		start = unit // location 0 is no record
	}
	mem := newRegion(max(min(chunkBytes, firstChunk<<min(first, 10)), start+n))
	for i := range spans {
		a.chunks[first+i] = chunk{mem: mem}
	}
	a.chunks[first].b = mem.b[:start+n]
	a.last, a.tail = first, nil
	if spans == 1 {
		a.tail = &tail{}
		a.tail.end.Store(tailTaken)
	}
	return uint32(first*chunkUnits + start/unit), a.chunks[first].b[start:], nil
}

// place finds the locations for chunks in a row: such as are free again, else new ones.
func (a *arena) place(spans int) (first int, err error) {
	if spans == 1 {
		if i := slices.IndexFunc(a.chunks, func(c chunk) bool { return c.mem == nil }); i >= 0 {
			return i, nil
		}
	}
	first = len(a.chunks)
	if first+spans > maxChunks {
		return 0, errFull
	}
	a.chunks = append(a.chunks, make([]chunk, spans)...)
	return first, nil
}

// spoil notes that the record at a location is not live any more.
func (a *arena) spoil(loc uint32, rec record) { a.chunks[loc/chunkUnits].waste += padded(len(rec)) }

// drop frees a chunk in which nothing is live.
func (a *arena) drop(i int) {
	for mem := a.chunks[i].mem; i < len(a.chunks) && a.chunks[i].mem == mem; i++ {
		a.chunks[i] = chunk{}
	}
}

// bytes is the memory of the arena.
func (a *arena) bytes() int {
	n := 40 * len(a.chunks)
	for _, c := range a.chunks {
		n += cap(c.b)
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
		for c := a.chunks[i].b; off < len(c); {
			rec := recordAt(c[off:])
			if !yield(uint32(i*chunkUnits+off/unit), rec) {
				return
			}
			off += padded(len(rec))
		}
	}
}

// dict numbers strings that many records share: domains, prefixes. It only grows, so that all views from one origin share it.
type dict struct {
	mu   sync.Mutex
	ids  map[string]uint32
	list atomic.Pointer[[]word]
	smtp atomic.Uint64 // bit n: word n is smtp: in whatever case
}

// word is a string of the dictionary.
type word struct {
	s      string
	folded string // s as it is compared, when it is ASCII
}

const (
	dictEntries = 1 << 16
	dictLength  = 512
)

func newDict() *dict {
	d := &dict{ids: map[string]uint32{"": 0}}
	d.list.Store(&[]word{{}})
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
	w := newWord(strings.Clone(s)) // not a part of something large
	if len(list) < 64 && strings.EqualFold(s, keyClass[KeyProxy].prefix) {
		d.smtp.Or(1 << len(list))
	}
	list = append(list, w)
	d.list.Store(&list)
	d.ids[w.s] = uint32(len(list) - 1)
	return uint32(len(list) - 1), true
}

func newWord(s string) word {
	w := word{s: s, folded: s}
	if f := appendFold(nil, s); string(f) != s {
		w.folded = string(f)
	}
	return w
}

// isSMTP tells whether a word, of the first 64, is the prefix of SMTP addresses. False says nothing of later words.
func (d *dict) isSMTP(id uint32) bool { return d.smtp.Load()>>id&1 != 0 }

func (d *dict) words() []word { return *d.list.Load() }
