package tnef

// Options tunes decoding and conversion. A nil *Options, and every zero field, means the defaults.
type Options struct {
	Limits Limits
	// Scratch supplies a buffer for a stream of more than 1 MiB decoded from base64, so that it need not be held in memory: a
	// file that is mapped, for example. nil keeps it in memory.
	Scratch func() (ScratchBuffer, error)
}

// ScratchBuffer holds octets. Bytes is called after the last Write, and what it returns is valid until Close.
type ScratchBuffer interface {
	Write(p []byte) (int, error)
	Bytes() []byte
	Close() error
}

// Limits are budgets for one stream with everything in it. A zero field means its default.
type Limits struct {
	Depth       int // attached messages inside attached messages; default 25
	Attributes  int // default 50,000
	Properties  int // properties and values of multi-valued ones; default 65,536
	Recipients  int // default 20,000
	Attachments int // default 10,000
	// Output is the most octets that bodies may become (HTML and text made of RTF with the pictures in it, text made of HTML), all
	// together; default 64 MiB, and never more than 5 times the size of the streams plus 5 MiB. What is over it is cut, with a warning.
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
	}{{&l.Depth, 25}, {&l.Attributes, 50_000}, {&l.Properties, 1 << 16}, {&l.Recipients, 20_000}, {&l.Attachments, 10_000}, {&l.Output, 64 << 20}} {
		if *x.v <= 0 {
			*x.v = x.def
		}
	}
	return l
}
