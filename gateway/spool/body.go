package spool

import (
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const tmpSuffix = ".tmp"

// counted writes to w and keeps count and checksum.
type counted struct {
	w   io.Writer
	n   int64
	sum uint32
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.sum = crc32.Update(c.sum, castagnoli, p[:n])
	return n, err
}

// fixed is a writer that refuses to grow past its capacity, so that a body that is longer than it says does not fill memory.
type fixed []byte

func (f *fixed) Write(p []byte) (int, error) {
	if len(*f)+len(p) > cap(*f) {
		return 0, fmt.Errorf("body is longer than the %d octets announced", cap(*f))
	}
	*f = append(*f, p...)
	return len(p), nil
}

// readBody takes a small body into memory.
func readBody(body io.WriterTo, size int64) ([]byte, uint32, error) {
	buf := make(fixed, 0, size)
	if _, err := body.WriteTo(&buf); err != nil {
		return nil, 0, fmt.Errorf("reading the body: %w", err)
	}
	if int64(len(buf)) != size {
		return nil, 0, fmt.Errorf("body has %d octets, %d were announced", len(buf), size)
	}
	return buf, crc32.Checksum(buf, castagnoli), nil
}

func (s *Local) bodyPath(id string) string { return filepath.Join(s.dir, "bodies", id) }

// writeBodyFile makes the file of a large body durable but for its name: the committer syncs the folder before the record.
func (s *Local) writeBodyFile(id string, body io.WriterTo, size int64) (sum uint32, err error) {
	path := s.bodyPath(id)
	tmp := path + tmpSuffix
	f, err := s.fs.Create(tmp)
	if err != nil {
		return 0, fmt.Errorf("body file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.fs.Remove(tmp) // what stays is removed at the next start
		}
	}()
	c := &counted{w: f}
	if _, err = body.WriteTo(c); err == nil && c.n != size {
		err = fmt.Errorf("%d octets, %d were announced", c.n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	// A close may report what a write did not (close(2), NFS).
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.fs.Rename(tmp, path)
	}
	if err != nil {
		return 0, fmt.Errorf("body file %s: %w", tmp, err)
	}
	return c.sum, nil
}

// memoryBody is a body that was read into memory.
type memoryBody []byte

func (b memoryBody) Bytes() []byte { return b }
func (b memoryBody) Close() error  { return nil }

// mappedBody is a body file in the address space: pages are read when used, and shared with the page cache.
type mappedBody struct{ data []byte }

func (b *mappedBody) Bytes() []byte { return b.data }

func (b *mappedBody) Close() error {
	if b.data == nil {
		return nil
	}
	data := b.data
	b.data = nil
	return unix.Munmap(data)
}

// openBodyFile verifies and maps a body file. It is read by read(2) first: a bad sector is then an error here, where the same
// through the mapping would be SIGBUS.
func (s *Local) openBodyFile(id string, m meta) (Body, error) {
	f, err := s.fs.Open(s.bodyPath(id))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	c := &counted{w: io.Discard}
	if _, err := io.Copy(c, f); err != nil {
		return nil, fmt.Errorf("reading body file %s: %w", id, err)
	}
	if c.n != m.size || c.sum != m.bodySum {
		return nil, fmt.Errorf("%w: body file %s has %d octets with checksum %08x, expected %d with %08x", ErrDamaged, id, c.n, c.sum, m.size, m.bodySum)
	}
	if m.size == 0 {
		return memoryBody(nil), nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(m.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping body file %s: %w", id, err)
	}
	return &mappedBody{data}, nil
}
