package message

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// DefaultMemory is how many octets of a message a Buffer is usually allowed to hold in memory before it moves to a file.
const DefaultMemory = 1 << 20

// Buffer takes in a message of unknown size and then gives all of it as one slice. Up to a limit it lives in memory; past
// that in a temporary file that has no name, so that nothing of it is left when the process dies.
//
// Writing is for one goroutine at a time; the content may be read by any number of them. The slice that Bytes gave, and
// every Content made from it, must not be used after the last holder has called Close: its memory then serves the next
// message. Whoever goes on using the content after the caller may have closed it takes part with Retain.
type Buffer struct {
	dir    string
	memory int64
	budget *Budget // nil: has none

	holders atomic.Int32
	size    int64
	chunk   *chunk   // the content while it is in memory
	file    *os.File // else the file that holds it
	mapped  []byte   // the file, mapped for reading; longer than the content
}

// NewBuffer returns an empty Buffer with one holder, the caller. A message of more than memory octets goes to a file in dir,
// which should be on a local file system: a mapped file whose blocks cannot be read ends the process.
func NewBuffer(dir string, memory int64) *Buffer {
	b := &Buffer{dir: dir, memory: memory}
	b.holders.Store(1)
	return b
}

// Share makes the memory of b count in a budget, which all Buffers that share it have together. When it is used up, b goes to its file
// before its own limit. It is called before the first Write.
func (b *Buffer) Share(budget *Budget) *Buffer {
	b.budget = budget
	return b
}

// A Budget bounds the memory of many Buffers together. The smallest chunk of each, 16 KiB, is not counted: most mail fits into it, and is
// sooner gone than written to a file. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a Budget of so many octets.
func NewBudget(octets int64) *Budget { return &Budget{limit: octets} }

// Used is how many octets of it are in use.
func (g *Budget) Used() int64 { return g.used.Load() }

// take is for n octets more, or less; a Buffer without a budget may have what it wants.
func (g *Budget) take(n int64) bool {
	if g == nil || g.used.Add(n) <= g.limit || n <= 0 {
		return true
	}
	g.used.Add(-n)
	return false
}

// counted is what a chunk counts in a budget.
func (c *chunk) counted() int64 {
	if c == nil || c.class == 0 {
		return 0
	}
	return int64(len(c.b))
}

// errClosed answers writes after the last Close.
var errClosed = fmt.Errorf("message buffer: %w", fs.ErrClosed)

// Write appends p. When it fails (for want of disk space: errors.Is(err, syscall.ENOSPC)) the buffer holds exactly the
// octets of p that it says were written, and Reset and Close work. Past the memory limit each Write is a system call:
// write in chunks of some kilobytes.
func (b *Buffer) Write(p []byte) (int, error) {
	if b.holders.Load() <= 0 {
		return 0, errClosed
	}
	if b.file == nil {
		if n := b.size + int64(len(p)); n <= b.memory && b.grow(n) {
			copy(b.chunk.b[b.size:], p)
			b.size += int64(len(p))
			return len(p), nil
		}
		if err := b.spill(); err != nil {
			return 0, err
		}
	}
	return b.writeFile(p)
}

// ReadFrom appends all that r gives, reading straight into the buffer's memory while that is enough.
func (b *Buffer) ReadFrom(r io.Reader) (int64, error) {
	if b.holders.Load() <= 0 {
		return 0, errClosed
	}
	var total int64
	for b.file == nil && b.size < b.memory && b.grow(b.size+1) {
		room := b.chunk.b[b.size:min(int64(len(b.chunk.b)), b.memory)]
		n, err := r.Read(room)
		if n < 0 || n > len(room) {
			return total, errors.New("message buffer: the reader returned an impossible count")
		}
		b.size += int64(n)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	scratch := getChunk(copySize)
	defer scratch.put()
	n, err := io.CopyBuffer(writerOnly{b}, readerOnly{r}, scratch.b)
	return total + n, err
}

// readerOnly and writerOnly hide the methods by which io.CopyBuffer would find its way back to ReadFrom, or past its buffer.
type (
	readerOnly struct{ io.Reader }
	writerOnly struct{ io.Writer }
)

// Size is the number of octets written.
func (b *Buffer) Size() int64 { return b.size }

// InFile says whether the content has outgrown the memory limit.
func (b *Buffer) InFile() bool { return b.file != nil }

// Bytes is the whole content. It stays as it is until the next Write, ReadFrom or Reset, or the last Close; it must not be
// changed (in a file it cannot be: that would be a fault that ends the process).
func (b *Buffer) Bytes() []byte {
	switch {
	case b.size == 0 || b.holders.Load() <= 0:
		return nil
	case b.file != nil:
		return b.mapped[:b.size:b.size]
	default:
		return b.chunk.b[:b.size:b.size]
	}
}

// Retain adds a holder: the content lives until each one has called Close. Only a holder may call it.
func (b *Buffer) Retain() { b.holders.Add(1) }

// Close ends one holding. The last one gives memory, mapping and file back; calls after that do nothing.
func (b *Buffer) Close() error {
	if b.holders.Add(-1) != 0 {
		return nil
	}
	return b.free()
}

// Reset empties the buffer for the next message. Nobody else may hold it.
func (b *Buffer) Reset() error { return b.free() }

func (b *Buffer) free() error {
	b.dropChunk()
	b.size = 0
	var unmapped, closed error
	if b.mapped != nil {
		unmapped = unix.Munmap(b.mapped)
		b.mapped = nil
	}
	if b.file != nil {
		closed = b.file.Close()
		b.file = nil
	}
	if err := errors.Join(unmapped, closed); err != nil {
		return fmt.Errorf("message buffer: giving the temporary file back: %w", err)
	}
	return nil
}

// grow makes room for n octets in memory. It says no when the budget has none.
func (b *Buffer) grow(n int64) bool {
	if b.chunk != nil && n <= int64(len(b.chunk.b)) {
		return true
	}
	bigger := getChunk(n)
	if !b.budget.take(bigger.counted()) { // both are held while one is copied to the other
		bigger.put()
		return false
	}
	if b.chunk != nil {
		copy(bigger.b, b.chunk.b[:b.size])
	}
	b.dropChunk()
	b.chunk = bigger
	return true
}

// dropChunk gives the memory back.
func (b *Buffer) dropChunk() {
	if b.chunk != nil {
		b.budget.take(-b.chunk.counted())
		b.chunk.put()
		b.chunk = nil
	}
}

// spill moves the content to a file. When it fails the content is still in memory, complete.
func (b *Buffer) spill() error {
	f, err := unnamedFile(b.dir)
	if err != nil {
		return fmt.Errorf("message buffer: making a temporary file: %w", err)
	}
	inMemory := b.Bytes()
	b.file, b.size = f, 0
	if _, err := b.writeFile(inMemory); err != nil {
		b.file, b.size = nil, int64(len(inMemory))
		b.unmap()
		return errors.Join(err, f.Close())
	}
	b.dropChunk()
	return nil
}

func (b *Buffer) unmap() {
	if b.mapped != nil {
		_ = unix.Munmap(b.mapped) // fails only for a range that is not mapped
		b.mapped = nil
	}
}

// writeFile appends p to the file. The mapping is made first, and made longer than the file: so Bytes cannot fail.
func (b *Buffer) writeFile(p []byte) (int, error) {
	if err := b.mapTo(b.size + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := b.file.WriteAt(p, b.size)
	b.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("message buffer: writing %d octets at %d: %w", len(p), b.size-int64(n), err)
	}
	return n, nil
}

// minMapping is the length of the first mapping: address space, not memory.
const minMapping = 16 << 20

func (b *Buffer) mapTo(n int64) error {
	if n <= int64(len(b.mapped)) {
		return nil
	}
	length := int64(minMapping)
	for length < n {
		length *= 2
	}
	m, err := unix.Mmap(int(b.file.Fd()), 0, int(length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("message buffer: mapping %d octets: %w", length, err)
	}
	b.unmap()
	b.mapped = m
	return nil
}

// unnamedFile makes a file in dir that has no name: by O_TMPFILE, else (a file system that has no such thing, NFS among
// them) by removing the name at once.
func unnamedFile(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_EXCL, 0o600)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	f, err = os.CreateTemp(dir, "message-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// chunk is a piece of memory that goes from message to message. The smallest class holds most mail whole.
type chunk struct {
	b     []byte
	class int // index in chunkSizes, or -1: not pooled
}

// copySize is the scratch memory of a copy to a file.
const copySize = 64 << 10

var (
	chunkSizes = [...]int64{16 << 10, 64 << 10, 256 << 10, 1 << 20}
	chunkPools [len(chunkSizes)]sync.Pool
)

// getChunk gives a chunk of at least n octets, whose content is whatever was last in it.
func getChunk(n int64) *chunk {
	for class, size := range chunkSizes {
		if n > size {
			continue
		}
		if c, ok := chunkPools[class].Get().(*chunk); ok {
			return c
		}
		return &chunk{b: make([]byte, size), class: class}
	}
	size := int64(1 << 20)
	for size < n {
		size *= 2
	}
	return &chunk{b: make([]byte, size), class: -1}
}

func (c *chunk) put() {
	if c.class >= 0 {
		chunkPools[c.class].Put(c)
	}
}
