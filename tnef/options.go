package tnef

import "bytes"

// Options tunes decoding and conversion. A nil *Options, and every zero field, means the defaults.
type Options struct {
	Limits Limits
	// Scratch supplies buffers for large intermediate data (a decoded stream, a converted attachment that is a message), so
	// that they need not be held in memory. nil keeps them in memory.
	Scratch func() (ScratchBuffer, error)
}

// ScratchBuffer holds octets written once and read once. Bytes may be called after the last Write; what it returns is valid until
// Close.
type ScratchBuffer interface {
	Write(p []byte) (int, error)
	Bytes() []byte
	Close() error
}

// Limits are budgets for one stream with everything in it. A zero field means its default.
type Limits struct {
	Depth       int // attached messages inside attached messages; default 25
	Attributes  int // default 100,000
	Properties  int // properties and values of multi-valued ones; default 65,536
	Recipients  int // default 20,000
	Attachments int // default 10,000
	// Output is the most octets that RTF bodies may expand to, all together; default 64 MiB, and never more than 100 times
	// the size of the stream plus 1 MiB.
	Output int
}

func (o *Options) limits() Limits {
	var l Limits
	if o != nil {
		l = o.Limits
	}
	for _, x := range []struct {
		v   *int
		def int
	}{{&l.Depth, 25}, {&l.Attributes, 100_000}, {&l.Properties, 1 << 16}, {&l.Recipients, 20_000}, {&l.Attachments, 10_000}, {&l.Output, 64 << 20}} {
		if *x.v <= 0 {
			*x.v = x.def
		}
	}
	return l
}

// scratch returns a buffer for at most about size octets.
func (o *Options) scratch(size int) (ScratchBuffer, error) {
	if o != nil && o.Scratch != nil && size > 1<<20 {
		return o.Scratch()
	}
	b := new(memoryBuffer)
	b.Grow(size)
	return b, nil
}

type memoryBuffer struct{ bytes.Buffer }

func (*memoryBuffer) Close() error { return nil }
