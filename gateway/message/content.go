package message

import (
	"io"
	"net"
	"slices"
)

// Content is a message as a list of slices, in order: so that fields are put on top and taken out without copying the body.
// The slices are shared with what the Content was made from, and are not to be changed.
type Content [][]byte

// Size is the number of octets in all.
func (c Content) Size() int64 {
	var n int64
	for _, s := range c {
		n += int64(len(s))
	}
	return n
}

// WriteTo writes all of it; to a network connection with as few system calls as it can be done (writev).
func (c Content) WriteTo(w io.Writer) (int64, error) {
	buffers := net.Buffers(slices.Clone(c)) // which writing uses up
	return buffers.WriteTo(w)
}

// Bytes is a copy of all of it in one slice.
func (c Content) Bytes() []byte { return slices.Concat(c...) }

// NewReader returns a reader of all of it from the start. Readers are independent of each other.
func (c Content) NewReader() *Reader { return &Reader{rest: slices.Clone(c)} }

// Reader reads a Content. It is an io.Reader, io.ByteReader and io.WriterTo.
type Reader struct {
	rest Content
}

// Len is the number of octets not read yet.
func (r *Reader) Len() int64 { return r.rest.Size() }

// Read reads up to len(p) octets.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	for n < len(p) && r.skipEmpty() {
		m := copy(p[n:], r.rest[0])
		r.rest[0] = r.rest[0][m:]
		n += m
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// ReadByte reads one octet.
func (r *Reader) ReadByte() (byte, error) {
	if !r.skipEmpty() {
		return 0, io.EOF
	}
	c := r.rest[0][0]
	r.rest[0] = r.rest[0][1:]
	return c, nil
}

// WriteTo writes what has not been read yet.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.skipEmpty() {
		n, err := w.Write(r.rest[0])
		r.rest[0] = r.rest[0][n:]
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// skipEmpty drops used-up slices and says whether there is more.
func (r *Reader) skipEmpty() bool {
	for len(r.rest) > 0 && len(r.rest[0]) == 0 {
		r.rest = r.rest[1:]
	}
	return len(r.rest) > 0
}
