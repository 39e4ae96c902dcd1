package rtf

import (
	"bytes"
	"strings"
)

// objectMark stands in output under construction where an attachment belongs.
// NUL cannot come from a document: the lexer takes it for padding.
const objectMark = "\x00"

// A document is collected in pieces, each twice as large as the one before up
// to chunkSize: growing one slice would copy it again and again.
const (
	smallestChunk = 1 << 10
	chunkSize     = 64 << 10
)

// output collects a document.
type output struct {
	done  [][]byte
	size  int // bytes in done
	buf   []byte
	marks []int // where attachments belong
}

func (o *output) len() int { return o.size + len(o.buf) }

// mark says that an attachment belongs here.
func (o *output) mark() { o.marks = append(o.marks, o.len()) }

// add copies p, taking out the object marks in it.
func (o *output) add(p []byte) {
	for {
		i := bytes.IndexByte(p, objectMark[0])
		if i < 0 {
			o.copy(p)
			return
		}
		o.copy(p[:i])
		o.mark()
		p = p[i+1:]
	}
}

func (o *output) copy(p []byte) {
	for len(p) > 0 {
		if len(o.buf) == cap(o.buf) {
			o.next()
		}
		n := copy(o.buf[len(o.buf):cap(o.buf)], p)
		o.buf = o.buf[:len(o.buf)+n] // not append, which costs a write barrier while the collector runs
		p = p[n:]
	}
}

// copyString is copy for a string.
func (o *output) copyString(s string) {
	for len(s) > 0 {
		if len(o.buf) == cap(o.buf) {
			o.next()
		}
		n := copy(o.buf[len(o.buf):cap(o.buf)], s)
		o.buf = o.buf[:len(o.buf)+n]
		s = s[n:]
	}
}

// next begins a new piece.
func (o *output) next() {
	if len(o.buf) > 0 {
		o.done = append(o.done, o.buf)
		o.size += len(o.buf)
	}
	o.buf = make([]byte, 0, max(smallestChunk, min(2*cap(o.buf), chunkSize)))
}

// head returns the first n bytes, or all.
func (o *output) head(n int) string {
	var s strings.Builder
	s.Grow(min(n, o.len()))
	for _, p := range o.done {
		s.Write(p[:min(len(p), n-s.Len())])
	}
	s.Write(o.buf[:min(len(o.buf), n-s.Len())])
	return s.String()
}

// skip takes off the first n bytes.
func (o *output) skip(n int) {
	for len(o.done) > 0 && n >= len(o.done[0]) {
		n -= len(o.done[0])
		o.size -= len(o.done[0])
		o.done = o.done[1:]
	}
	if len(o.done) > 0 {
		o.done[0] = o.done[0][n:]
		o.size -= n
		return
	}
	o.buf = o.buf[n:]
}

// cut takes off all but the first n bytes.
func (o *output) cut(n int) {
	for o.size > n {
		last := len(o.done) - 1
		o.buf, o.done = o.done[last], o.done[:last]
		o.size -= len(o.buf)
	}
	o.buf = o.buf[:n-o.size]
}

// join returns the document behind head, and lets go of its pieces.
func (o *output) join(head string) string {
	var s strings.Builder
	s.Grow(len(head) + o.len())
	s.WriteString(head)
	for i, p := range o.done {
		s.Write(p)
		o.done[i] = nil
	}
	s.Write(o.buf)
	o.done, o.buf = nil, nil
	return s.String()
}
