package directory

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Meta is what is kept with a view on disk.
type Meta struct {
	Source     string    `json:"source"`          // what the view is a picture of; the view of another source is not used
	LastRead   time.Time `json:"last_read"`       // when the source was last read or asked with success
	LastChange time.Time `json:"last_change"`     // when the view last changed
	State      []byte    `json:"state,omitempty"` // the source's own, such as cookies
}

// Errors of reading a snapshot. Both mean: do without it, and read the source.
var (
	ErrSnapshotDamaged = errors.New("the snapshot of the directory is damaged")
	ErrSnapshotForeign = errors.New("not a snapshot of the directory that this version can read")
)

// A snapshot file is the magic, a version, a header in JSON with its length and checksum, the dictionary, the containers, the records, and a checksum of
// everything before it. The index is made anew when it is read, which checks every record on the way.
const (
	snapshotMagic   = "coexist directory view\n"
	snapshotVersion = 1
	headerLimit     = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotHeader comes before the bulk.
type snapshotHeader struct {
	Meta
	ID         string    `json:"id"` // ties the file of the age to this one
	Words      int       `json:"words"`
	Containers int       `json:"containers"`
	Numbers    int       `json:"numbers"`
	Records    int       `json:"records"`
	Skipped    int       `json:"skipped"`
	Warned     int       `json:"warned"`
	Warnings   []Warning `json:"warnings,omitempty"`
}

// SnapshotFile keeps a view on disk, and beside it, in a small file of its own that is cheap to write often, when the source was last read.
// It is for one writer at a time.
type SnapshotFile struct {
	path string
	id   string // of the snapshot that is on disk, as far as known
}

// NewSnapshotFile names the file; its directory must exist.
func NewSnapshotFile(path string) *SnapshotFile { return &SnapshotFile{path: path} }

func (s *SnapshotFile) agePath() string { return s.path + ".age" }

// age is the content of the small file.
type age struct {
	ID       string    `json:"id"`
	LastRead time.Time `json:"last_read"`
	State    []byte    `json:"state,omitempty"`
}

// Save writes the view: to another file first, so that there is always a whole one.
func (s *SnapshotFile) Save(v *View, m Meta) error {
	id := rand.Text()
	err := writeFile(s.path, func(w io.Writer) error { return v.writeSnapshot(w, m, id) })
	if err != nil {
		return fmt.Errorf("writing the snapshot of the directory: %w", err)
	}
	s.id = id
	return nil
}

// Touch notes that the view on disk still is what the source has, and the source's state.
func (s *SnapshotFile) Touch(m Meta) error {
	if s.id == "" {
		return nil // there is no snapshot that this could be said of
	}
	err := writeFile(s.agePath(), func(w io.Writer) error {
		return json.NewEncoder(w).Encode(age{ID: s.id, LastRead: m.LastRead, State: m.State})
	})
	if err != nil {
		return fmt.Errorf("writing the age of the directory: %w", err)
	}
	return nil
}

// Load reads the view. The error wraps fs.ErrNotExist, [ErrSnapshotDamaged] or [ErrSnapshotForeign].
func (s *SnapshotFile) Load() (*View, Meta, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, Meta{}, fmt.Errorf("reading the snapshot of the directory: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Meta{}, fmt.Errorf("reading the snapshot of the directory: %w", err)
	}
	v, h, err := readSnapshot(f, info.Size())
	if err != nil {
		return nil, Meta{}, fmt.Errorf("reading %s: %w", s.path, err)
	}
	s.id = h.ID
	s.applyAge(&h.Meta)
	return v, h.Meta, nil
}

// applyAge takes the later time from the small file, if that is about the same view.
func (s *SnapshotFile) applyAge(m *Meta) {
	b, err := os.ReadFile(s.agePath())
	var a age
	if err != nil || json.Unmarshal(b, &a) != nil || a.ID != s.id || a.LastRead.Before(m.LastRead) {
		return
	}
	m.LastRead = a.LastRead
	if a.State != nil {
		m.State = a.State
	}
}

// writeFile replaces a file as a whole or not at all, also when the machine stops in the middle.
func writeFile(path string, write func(io.Writer) error) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err = write(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync() // else the new name can be lost
}

// crcWriter sums what passes.
type crcWriter struct {
	w   *bufio.Writer
	sum uint32
}

func (c *crcWriter) Write(p []byte) (int, error) {
	c.sum = crc32.Update(c.sum, castagnoli, p)
	return c.w.Write(p)
}

func (v *View) writeSnapshot(out io.Writer, m Meta, id string) error {
	sum := &crcWriter{w: bufio.NewWriter(out)}
	w := bufio.NewWriterSize(sum, 1<<18) // so that the sum is over long pieces
	words := v.words()
	h := snapshotHeader{Meta: m, ID: id, Words: len(words), Containers: v.containers.n, Numbers: v.ids.n,
		Records: v.liveRecords(), Skipped: v.skipped, Warned: v.warned, Warnings: v.warnings}
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	b := append([]byte(snapshotMagic), snapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(head, castagnoli))
	for _, w := range words {
		b = append(binary.AppendUvarint(b, uint64(len(w.s))), w.s...)
	}
	w.Write(b) // errors stay until Flush
	for i := range v.containers.n {
		c := v.containers.at(uint32(i))
		b = binary.AppendUvarint(b[:0], uint64(c.parent))
		b = append(binary.AppendUvarint(b, uint64(len(c.rdn))), c.rdn...)
		w.Write(b)
	}
	for loc, rec := range v.arena.records() {
		if v.isLive(loc, rec) {
			w.Write(rec)
		}
	}
	runtime.KeepAlive(v)
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := sum.w.Write(binary.LittleEndian.AppendUint32(nil, sum.sum)); err != nil {
		return err
	}
	return sum.w.Flush()
}

func (v *View) words() []word {
	if v.dict == nil {
		return nil
	}
	return v.dict.words()
}

// isLive tells whether the record at loc is the one that the view means by its number.
func (v *View) isLive(loc uint32, rec record) bool { return v.ids.at(rec.id())&^phantomBit == loc }

func (v *View) liveRecords() (n int) {
	for loc, rec := range v.arena.records() {
		if v.isLive(loc, rec) {
			n++
		}
	}
	return n
}

// crcReader sums what passes.
type crcReader struct {
	r   io.Reader
	sum uint32
}

func (c *crcReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum = crc32.Update(c.sum, castagnoli, p[:n])
	return n, err
}

// snapshotReader reads the parts of a snapshot.
type snapshotReader struct {
	in *bufio.Reader
	h  snapshotHeader
	e  *editor
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSnapshotDamaged, fmt.Errorf(format, args...))
}

// readSnapshot reads a snapshot of size bytes in one pass.
func readSnapshot(f io.Reader, size int64) (*View, snapshotHeader, error) {
	if size < int64(len(snapshotMagic))+1 {
		return nil, snapshotHeader{}, fmt.Errorf("%w: it has %d bytes", ErrSnapshotForeign, size)
	}
	sum := &crcReader{r: io.LimitReader(f, size-4)}
	r := &snapshotReader{in: bufio.NewReaderSize(sum, 1<<20)}
	for _, step := range []func(int64) error{r.header, r.words, r.containers, r.records} {
		if err := step(size); err != nil {
			return nil, snapshotHeader{}, err
		}
	}
	if n, _ := r.in.Discard(1); n != 0 {
		return nil, snapshotHeader{}, damaged("there is more than expected")
	}
	var end [4]byte
	if _, err := io.ReadFull(f, end[:]); err != nil {
		return nil, snapshotHeader{}, damaged("the checksum: %w", err)
	}
	if got := binary.LittleEndian.Uint32(end[:]); got != sum.sum {
		return nil, snapshotHeader{}, damaged("its checksum is %08x, its content has %08x", got, sum.sum)
	}
	r.e.v.skipped, r.e.v.warned, r.e.v.warnings = r.h.Skipped, r.h.Warned, r.h.Warnings
	r.e.index = bulkIndex(r.e.view(), &r.e.arena).edit()
	r.e.containerIndex.trim()
	return r.e.finish(), r.h, nil
}

func (r *snapshotReader) header(size int64) error {
	start := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(r.in, start); err != nil || string(start[:len(snapshotMagic)]) != snapshotMagic {
		return fmt.Errorf("%w: it begins with %q", ErrSnapshotForeign, clip(string(start)))
	}
	if v := start[len(snapshotMagic)]; v != snapshotVersion {
		return fmt.Errorf("%w: format version %d, expected %d", ErrSnapshotForeign, v, snapshotVersion)
	}
	n, err := r.uint32()
	if err != nil || n > headerLimit || int64(n) > size {
		return damaged("its header has an impossible length")
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(r.in, head); err != nil {
		return damaged("its header: %w", err)
	}
	if sum, err := r.uint32(); err != nil || sum != crc32.Checksum(head, castagnoli) {
		return damaged("the checksum of its header is wrong")
	}
	if err := json.Unmarshal(head, &r.h); err != nil {
		return damaged("its header: %w", err)
	}
	h := &r.h
	for _, n := range []int{h.Words, h.Containers, h.Records} {
		if n < 0 || int64(n) > size {
			return damaged("its header has an impossible count")
		}
	}
	if h.Numbers < 0 || h.Numbers >= phantomBit {
		return damaged("its header has an impossible count")
	}
	r.e = newEditor()
	return nil
}

func (r *snapshotReader) uint32() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(r.in, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// string reads a length and as many bytes.
func (r *snapshotReader) string() (string, error) {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return "", damaged("%w", err)
	}
	if n > dictLength<<8 {
		return "", damaged("a string of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return "", damaged("%w", err)
	}
	return string(b), nil
}

func (r *snapshotReader) words(int64) error {
	for i := range r.h.Words {
		s, err := r.string()
		if err != nil {
			return err
		}
		if id, ok := r.e.v.dict.id(s); !ok || int(id) != i {
			return damaged("a word of its dictionary is there twice")
		}
	}
	return nil
}

func (r *snapshotReader) containers(int64) error {
	for i := range uint64(r.h.Containers) {
		parent, err := binary.ReadUvarint(r.in)
		if err != nil {
			return damaged("%w", err)
		}
		rdn, err := r.string()
		if err != nil {
			return err
		}
		if i == 0 {
			continue // the root, which the editor has
		}
		if parent >= uint64(r.h.Containers) || parent == i {
			return damaged("a container without a place")
		}
		c := container{parent: uint32(parent), rdn: rdn}
		r.e.containerIndex.insert(r.e.containerHash(c), newPlace(r.e.containers.add(c), 0))
	}
	return r.checkContainers()
}

// checkContainers makes sure that every DN has an end.
func (r *snapshotReader) checkContainers() error {
	const most = maxDN // levels
	for i := range uint32(r.e.containers.n) {
		depth := 0
		for id := i; id != 0; id = r.e.containers.at(id).parent {
			if depth++; depth > most {
				return damaged("containers within each other")
			}
		}
	}
	return nil
}

func (r *snapshotReader) records(size int64) error {
	for range r.h.Numbers {
		r.e.ids.add(0)
	}
	for range r.h.Records {
		head, err := r.in.Peek(4)
		if err != nil {
			return damaged("%w", err)
		}
		n := binary.LittleEndian.Uint32(head)
		if n < recordSize || int64(n) > size {
			return damaged("a record of %d bytes", n)
		}
		loc, room, err := r.e.arena.alloc(int(n))
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(r.in, room[:n]); err != nil {
			return damaged("%w", err)
		}
		rec := recordAt(room)
		if err := r.check(rec); err != nil {
			return err
		}
		r.e.adopt(loc, rec)
	}
	return nil
}

// adopt takes a record that is in the arena into the numbers and the counts.
func (e *editor) adopt(loc uint32, rec record) {
	mark := uint32(0)
	if rec.kind() == phantom {
		mark = phantomBit
	} else {
		e.v.objects[rec.kind()]++
		e.v.addresses += e.v.addressesOf(rec)
	}
	e.ids.set(rec.id(), loc|mark)
	for f := rec.fields(&e.v); f.next(); {
		if f.tag == tagAlias {
			e.ids.set(uint32(f.number), loc|mark)
		}
	}
}

// check makes sure that nothing in a record leads out of it, or to what is not there.
func (r *snapshotReader) check(rec record) error {
	numbers := uint64(r.h.Numbers)
	if k := rec.kind(); k >= kinds && k != phantom || uint64(rec.id()) >= numbers || int(rec.parent()) >= r.e.containers.n {
		return damaged("a record that belongs nowhere")
	}
	if r.e.ids.at(rec.id()) != 0 {
		return damaged("two records with the same number")
	}
	proxies, rdn := uint64(0), false
	f := rec.fields(&r.e.v)
	for f.next() {
		ok := true
		switch f.tag {
		case tagProxy:
			proxies++
		case tagRDN:
			rdn = true
		case tagMailProxy, tagTargetProxy:
			ok = f.number < proxies
		case tagAlias:
			ok = f.number < numbers && r.e.ids.at(uint32(f.number)) == 0
		case tagMembers:
			ok = f.number <= uint64(len(f.ids)) && eachID(f.number, f.ids, func(id uint32) { ok = ok && uint64(id) < numbers }) == nil && ok
		}
		if !ok {
			return damaged("a record that refers to what is not there")
		}
	}
	if f.bad || !rdn {
		return damaged("a record that cannot be read")
	}
	return nil
}
