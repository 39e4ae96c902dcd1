package trace

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A segment is a file of lines, named by when it was begun, and once it is complete an index of the same name:
//
//	magic    8 octets
//	min, max 8 each, the times of its events in microseconds since 1970
//	size     8, that of the segment
//	count    8, of the entries
//	entries  12 each, in order: hash of a field's value (see key), offset of the line
//	magic    8
//
// Numbers are big-endian.
const (
	segmentSuffix = ".jsonl"
	indexSuffix   = ".idx"
	nameLayout    = "20060102T150405.000000"
	indexMagic    = "CXTRACE1"
	indexHead     = 8 + 4*8
	entrySize     = 12
)

// entry says that the line at offset has a value of that hash.
type entry struct {
	hash   uint64
	offset uint32
}

func (a entry) compare(b entry) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.offset, b.offset))
}

// keys are the entries of one event.
func (e *Event) keys(to []entry, offset int64) []entry {
	for _, k := range [...]struct {
		f     field
		value string
	}{{byID, e.ID}, {bySender, e.Sender}, {byRecipient, e.Recipient}, {byMessageID, e.MessageID}} {
		if k.value != "" {
			to = append(to, entry{key(k.f, k.value), uint32(offset)})
		}
	}
	return to
}

// span is the time from the first to the last event.
type span struct{ min, max int64 }

func (s *span) add(t time.Time) {
	us := t.UnixMicro()
	if *s == (span{}) {
		*s = span{us, us}
	}
	s.min, s.max = min(s.min, us), max(s.max, us)
}

// segments lists the segments of a folder, oldest first, by path without suffix.
func segments(dir string) ([]string, error) {
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("trace: %w", err)
	}
	var found []string
	for _, n := range names {
		if base, ok := strings.CutSuffix(n.Name(), segmentSuffix); ok {
			found = append(found, filepath.Join(dir, base))
		}
	}
	return found, nil // ReadDir sorts by name, which is by time
}

// writeIndex makes the index of a complete segment. It appears whole or not at all.
func writeIndex(base string, entries []entry, times span, size int64) error {
	slices.SortFunc(entries, entry.compare)
	tmp := base + indexSuffix + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("trace index: %w", err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	head := append(make([]byte, 0, indexHead), indexMagic...)
	for _, n := range []int64{times.min, times.max, size, int64(len(entries))} {
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	_, err = w.Write(head)
	for _, e := range entries {
		var b [entrySize]byte
		binary.BigEndian.PutUint64(b[:], e.hash)
		binary.BigEndian.PutUint32(b[8:], e.offset)
		if _, werr := w.Write(b[:]); werr != nil {
			err = werr
			break
		}
	}
	if err == nil {
		_, err = w.WriteString(indexMagic)
	}
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, base+indexSuffix)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("trace index: %w", err), os.Remove(tmp))
	}
	return nil
}

// index reads an index, entry by entry from the file: a search touches a few pages of it.
type index struct {
	f     *os.File
	times span
	size  int64
	count int
}

var errNoIndex = errors.New("trace: no usable index")

func openIndex(base string) (*index, error) {
	f, err := os.Open(base + indexSuffix)
	if err != nil {
		return nil, errors.Join(errNoIndex, err)
	}
	x := &index{f: f}
	if err := x.readHead(); err != nil {
		return nil, errors.Join(errNoIndex, err, f.Close())
	}
	return x, nil
}

func (x *index) readHead() error {
	var head [indexHead]byte
	var tail [len(indexMagic)]byte
	if _, err := x.f.ReadAt(head[:], 0); err != nil {
		return err
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(head[8+8*i:])) }
	x.times, x.size, x.count = span{n(0), n(1)}, n(2), int(n(3))
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	// The count is bounded before it is multiplied: a damaged one would overflow to the right size.
	if string(head[:8]) != indexMagic || x.count < 0 || int64(x.count) > info.Size()/entrySize || info.Size() != indexHead+int64(x.count)*entrySize+int64(len(tail)) {
		return fmt.Errorf("index of %d octets with %d entries", info.Size(), x.count)
	}
	if _, err := x.f.ReadAt(tail[:], info.Size()-int64(len(tail))); err != nil {
		return err
	}
	if string(tail[:]) != indexMagic {
		return errors.New("index is cut")
	}
	return nil
}

func (x *index) close() error { return x.f.Close() }

// find gives the offsets of the lines that may have the value, in order.
func (x *index) find(hash uint64) ([]int64, error) {
	const page = 340 // entries read at a time: a page of memory
	var err error
	buf := make([]byte, page*entrySize)
	read := func(at, n int) []byte {
		b := buf[:n*entrySize]
		if _, rerr := x.f.ReadAt(b, indexHead+int64(at)*entrySize); rerr != nil && err == nil {
			err = rerr
		}
		return b
	}
	// Hashes are spread evenly; still, halving takes under 20 reads.
	lo, hi := 0, x.count
	for lo < hi && err == nil {
		mid := int(uint(lo+hi) >> 1)
		if binary.BigEndian.Uint64(read(mid, 1)) < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	var offsets []int64
	for at := lo; at < x.count && err == nil; at += page {
		b := read(at, min(page, x.count-at))
		for ; len(b) > 0; b = b[entrySize:] {
			if binary.BigEndian.Uint64(b) != hash {
				return offsets, err
			}
			offsets = append(offsets, int64(binary.BigEndian.Uint32(b[8:])))
		}
	}
	return offsets, err
}

// rebuild makes the index of a segment that a crash left without. What cannot be read as an event is passed over.
func rebuild(base string) error {
	data, err := os.ReadFile(base + segmentSuffix)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	var entries []entry
	var times span
	eachLine(data, func(offset int64, line []byte) bool {
		if e, err := parseLine(line); err == nil {
			entries = e.keys(entries, offset)
			times.add(e.Time)
		}
		return true
	})
	return writeIndex(base, entries, times, int64(len(data)))
}

// eachLine calls f with every complete line, without its end, until it returns false; it gives the octets consumed.
func eachLine(data []byte, f func(offset int64, line []byte) bool) int64 {
	offset := int64(0)
	for {
		n := bytes.IndexByte(data[offset:], '\n')
		if n < 0 || !f(offset, data[offset:offset+int64(n)]) {
			return offset
		}
		offset += int64(n) + 1
	}
}

// readLine reads the line at an offset.
func readLine(f io.ReaderAt, offset int64) ([]byte, error) {
	buf := make([]byte, 1024)
	for {
		n, err := f.ReadAt(buf, offset)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return buf[:i], nil
		}
		if err != nil {
			return nil, fmt.Errorf("trace line at %d: %w", offset, err)
		}
		buf = make([]byte, 4*len(buf))
	}
}
