package rawmime

import (
	"bytes"
	"fmt"
)

// Limits caps what Walk accepts. A zero field means its default.
type Limits struct {
	Depth  int // nesting of parts, the message itself being 1; default 50
	Parts  int // parts in all; default 1000
	Header int // octets of one header block; default 8 MiB
}

func (l Limits) withDefaults() Limits {
	for _, x := range []struct {
		v   *int
		def int
	}{{&l.Depth, 50}, {&l.Parts, 1000}, {&l.Header, 8 << 20}} {
		if *x.v <= 0 {
			*x.v = x.def
		}
	}
	return l
}

// LimitError says which of the Limits a message exceeds. Pass such a message on untouched.
type LimitError struct {
	What string // "depth", "parts" or "header"
	Max  int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("MIME structure exceeds the limit of %s (%d)", e.What, e.Max)
}

// Part is a message, or one part of it. All offsets are into the message that Walk was given.
type Part struct {
	Parent   *Part
	Children []*Part // of a multipart; one of message/rfc822

	Delim     int // offset of the delimiter line before the part; Start when there is none
	Start     int // first octet of the header
	HeaderEnd int // past the last field
	BodyStart int // past the empty line
	BodyEnd   int // past the last octet; the line ending before a delimiter belongs to the delimiter (RFC 2046 5.1.1)

	Close    int // of a multipart: offset of its close-delimiter line; -1 when it has none
	CloseEnd int // past that line and its ending

	Type        string // lower case: "text/plain" (also when there is no Content-Type, RFC 2045 5.2), "message/rfc822" in a digest
	Params      Params
	Boundary    string // of a multipart with a usable boundary, else ""
	Encoding    string // Content-Transfer-Encoding in lower case; "7bit" when there is none
	Disposition string // lower case: "attachment", "inline", or ""
	DispParams  Params
}

// Header is the part's header block in msg.
func (p *Part) Header(msg []byte) []byte { return msg[p.Start:p.HeaderEnd] }

// Body is the part's body in msg, still with its transfer encoding.
func (p *Part) Body(msg []byte) []byte { return msg[p.BodyStart:p.BodyEnd] }

// Name is the part's file name: filename of Content-Disposition, else name of Content-Type.
func (p *Part) Name() string {
	if n := p.DispParams.Get("filename"); n != "" {
		return n
	}
	return p.Params.Get("name")
}

// IsMultipart tells whether the part has a boundary and so may have children.
func (p *Part) IsMultipart() bool { return p.Boundary != "" }

// maxBoundary is the longest boundary looked for. RFC 2046 5.1.1 allows 70.
const maxBoundary = 250

// Walk finds the parts of a message in one pass. A multipart that is never closed ends where an outer one goes on, or with
// the message. A delimiter line is "--", the whole boundary, and at most white space.
func Walk(msg []byte, limits Limits) (*Part, error) {
	w := &walker{msg: msg, limits: limits.withDefaults(), active: map[string]int{}}
	root, err := w.open(nil, 0, 0)
	if err != nil {
		return nil, err
	}
	for {
		d, ok := w.delimiter()
		if !ok {
			w.endParts(0, len(msg))
			return root, nil
		}
		if err := w.take(d); err != nil {
			return nil, err
		}
	}
}

// walker holds the parts that are open at pos, outermost first, and the boundaries looked for.
type walker struct {
	msg    []byte
	pos    int
	limits Limits
	parts  int
	openP  []*Part
	frames []frame
	active map[string]int // boundary -> index of its innermost frame
}

// frame is an open multipart.
type frame struct {
	boundary string
	part     int // index in openP
	outer    int // frame that has the same boundary further out, or -1
}

// delim is a delimiter line.
type delim struct {
	start, end int // end is past the line ending
	frame      int
	close      bool
}

// open starts a part whose header begins at start, and the message inside it if it is message/rfc822.
func (w *walker) open(parent *Part, delimAt, start int) (*Part, error) {
	if len(w.openP) >= w.limits.Depth {
		return nil, &LimitError{"depth", w.limits.Depth}
	}
	if w.parts++; w.parts > w.limits.Parts {
		return nil, &LimitError{"parts", w.limits.Parts}
	}
	p := &Part{Parent: parent, Delim: delimAt, Start: start, Close: -1, CloseEnd: -1, BodyEnd: -1}
	if parent != nil {
		parent.Children = append(parent.Children, p)
	}
	w.openP = append(w.openP, p)
	if err := w.readHeader(p); err != nil {
		return nil, err
	}
	w.pos = p.BodyStart
	if p.Boundary != "" {
		outer, ok := w.active[p.Boundary]
		if !ok {
			outer = -1
		}
		w.active[p.Boundary] = len(w.frames)
		w.frames = append(w.frames, frame{boundary: p.Boundary, part: len(w.openP) - 1, outer: outer})
	}
	if (p.Type == "message/rfc822" || p.Type == "message/global") && isIdentity(p.Encoding) {
		if _, err := w.open(p, p.BodyStart, p.BodyStart); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// isIdentity tells whether an encoding leaves octets as they are (RFC 2045 6.2).
func isIdentity(encoding string) bool {
	return encoding == "7bit" || encoding == "8bit" || encoding == "binary"
}

// readHeader sets the offsets of the part's header, which ends at an empty line, at a delimiter of a multipart that is open, or
// with the message; and reads the MIME fields in it.
func (w *walker) readHeader(p *Part) error {
	l := newLines(w.msg, p.Start)
	p.HeaderEnd, p.BodyStart = len(w.msg), len(w.msg)
	for {
		start, end, ok := l.next()
		if !ok {
			break
		}
		if start == end {
			p.HeaderEnd, p.BodyStart = start, l.pos
			break
		}
		if w.msg[start] == '-' {
			if _, ok := w.match(start); ok {
				p.HeaderEnd, p.BodyStart = start, start
				break
			}
		}
		if l.pos-p.Start > w.limits.Header {
			return &LimitError{"header", w.limits.Header}
		}
	}
	if p.HeaderEnd-p.Start > w.limits.Header {
		return &LimitError{"header", w.limits.Header}
	}
	p.readFields(w.msg)
	return nil
}

// readFields reads the MIME fields; of a field given twice the first counts.
func (p *Part) readFields(msg []byte) {
	p.Type, p.Encoding = "text/plain", "7bit"
	if p.Parent != nil && p.Parent.Type == "multipart/digest" {
		p.Type = "message/rfc822" // RFC 2046 5.1.5
	}
	var haveType, haveEnc, haveDisp bool
	for f := range Fields(p.Header(msg)) {
		switch {
		case !haveType && f.Is("Content-Type"):
			haveType = true
			t, params := ParseValue(f.Value)
			p.Params = params
			if t != "" {
				p.Type = t
			}
		case !haveEnc && f.Is("Content-Transfer-Encoding"):
			haveEnc = true
			if e, _ := ParseValue(f.Value); e != "" {
				p.Encoding = e
			}
		case !haveDisp && f.Is("Content-Disposition"):
			haveDisp = true
			p.Disposition, p.DispParams = ParseValue(f.Value)
		}
	}
	if len(p.Type) > 10 && p.Type[:10] == "multipart/" {
		if b := p.Params.Get("boundary"); len(b) <= maxBoundary {
			p.Boundary = string(bytes.TrimRight([]byte(b), " \t")) // RFC 2046 5.1.1: does not end with white space
		}
	}
}

// delimiter finds the next delimiter line of any open multipart, from pos, which is the beginning of a line.
func (w *walker) delimiter() (delim, bool) {
	if len(w.frames) == 0 {
		return delim{}, false
	}
	i, lineStart := w.pos, w.pos
	for {
		n := bytes.Index(w.msg[i:], dashes)
		if n < 0 {
			return delim{}, false
		}
		i += n
		if i == lineStart || w.msg[i-1] == '\n' || w.msg[i-1] == '\r' {
			if d, ok := w.match(i); ok {
				return d, true
			}
		}
		for i += 2; i < len(w.msg) && w.msg[i] == '-'; i++ {
		}
	}
}

var dashes = []byte("--")

// match tells whether the line at start is a delimiter of an open multipart.
func (w *walker) match(start int) (delim, bool) {
	rest := w.msg[start:]
	if len(rest) < 3 || rest[1] != '-' || len(w.frames) == 0 {
		return delim{}, false
	}
	rest = rest[2:min(len(rest), 2+maxBoundary+100)]
	n := bytes.IndexAny(rest, "\r\n")
	if n < 0 {
		if n = len(rest); start+2+n < len(w.msg) {
			return delim{}, false // too long a line
		}
	}
	line := rest[:n]
	for len(line) > 0 && isSpace(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	d := delim{start: start}
	var ok bool
	if d.frame, ok = w.active[string(line)]; !ok {
		if !bytes.HasSuffix(line, dashes) {
			return d, false
		}
		if d.frame, ok = w.active[string(line[:len(line)-2])]; !ok {
			return d, false
		}
		d.close = true
	}
	d.end = start + 2 + n
	l := newLines(w.msg[:min(len(w.msg), d.end+maxBoundary)], d.end)
	l.next() // the rest of the line is empty: this moves behind its ending
	d.end = l.pos
	return d, true
}

// take handles a delimiter line: it ends the parts inside the multipart it belongs to, and opens the next one.
func (w *walker) take(d delim) error {
	f := w.frames[d.frame]
	w.endParts(f.part+1, d.start)
	w.pos = d.end
	p := w.openP[f.part]
	if !d.close {
		w.dropFrames(d.frame + 1)
		_, err := w.open(p, d.start, d.end)
		return err
	}
	p.Close, p.CloseEnd = d.start, d.end
	w.dropFrames(d.frame) // its boundary means nothing in the epilogue
	return nil
}

// endParts ends the open parts from index i on, at a delimiter line (or the end of the message) at offset at.
func (w *walker) endParts(i, at int) {
	end := at
	if at < len(w.msg) {
		end -= newlineBefore(w.msg, at)
	}
	for _, p := range w.openP[i:] {
		p.BodyEnd = max(p.BodyStart, end)
	}
	w.openP = w.openP[:i]
}

// newlineBefore is the length of the line ending that stands before offset at.
func newlineBefore(msg []byte, at int) int {
	switch {
	case at >= 2 && msg[at-1] == '\n' && msg[at-2] == '\r':
		return 2
	case at >= 1 && (msg[at-1] == '\n' || msg[at-1] == '\r'):
		return 1
	}
	return 0
}

// dropFrames forgets the multiparts from frame i on.
func (w *walker) dropFrames(i int) {
	for k := len(w.frames) - 1; k >= i; k-- {
		f := w.frames[k]
		if f.outer >= 0 {
			w.active[f.boundary] = f.outer
		} else {
			delete(w.active, f.boundary)
		}
	}
	w.frames = w.frames[:i]
}
