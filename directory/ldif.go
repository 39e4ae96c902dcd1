package directory

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// LDIFError is why an LDIF file is refused. Its text is name:line: what is wrong, what is expected.
type LDIFError struct {
	Name string // of the file
	Line int    // counted from 1; 0 for the file as a whole
	Err  error
}

// Error is the text as mail administrators see it.
func (e *LDIFError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err)
}

// Unwrap gives what is wrong with the line.
func (e *LDIFError) Unwrap() error { return e.Err }

// ErrEmpty is wrapped by the error for an LDIF file without entries, which is not taken for a directory in which everybody was deleted.
var ErrEmpty = errors.New("no entries: the file is empty, or its export was cut off; expected at least one 'dn:' line")

// maxLine is the longest logical line of an LDIF file, in bytes. Photos and certificates are far below.
const maxLine = 64 << 20

// ReadLDIF reads the content records of RFC 2849, as ldifde and ldapsearch export them, in UTF-8 or, with a byte order mark, in UTF-16. name is for error messages.
//
// A file that is damaged, cut off as far as that can be seen, empty, or holds changes rather than content is refused with an [LDIFError]. An attribute that cannot be understood
// is treated as absent and listed in [View.Warnings].
func ReadLDIF(r io.Reader, name string) (*View, error) {
	view, _, err := readLDIF(r, name, NewBuilder())
	return view, err
}

// readLDIF reads into a builder, and also tells how the file ends.
func readLDIF(r io.Reader, name string, b *Builder) (*View, ending, error) {
	p := newLDIFReader(r, name)
	if err := p.read(b); err != nil {
		b.Abandon()
		return nil, ending{}, err
	}
	end := ending{dn: p.last.dn, line: p.last.line, ended: p.ended, complete: p.foot.result || p.foot.mark}
	return b.Build(), end, nil
}

// ldifReader takes an LDIF stream apart into records.
type ldifReader struct {
	name  string
	in    *bufio.Reader
	odd   *oddCounter
	line  int    // physical lines read
	ahead []byte // the physical line after the logical one, when that had to be read to know that it ends
	more  bool   // ahead is set
	ended bool   // the last physical line had a line end
	buf   []byte // the logical line
	at    int    // where the logical line began

	foot    footer
	entries int
	last    struct { // entry
		dn   string
		line int
	}
}

// footer is what ldapsearch says of the search around its result.
type footer struct {
	head   bool // '# extended LDIF': a result line follows in the end
	result bool
	blank  bool // the last line was an empty one
	mark   bool // the last line was endMark
}

func newLDIFReader(r io.Reader, name string) *ldifReader {
	odd := &oddCounter{r: r}
	in := transform.NewReader(odd, unicode.BOMOverride(transform.Nop))
	return &ldifReader{name: name, in: bufio.NewReaderSize(in, 1<<16), odd: odd, ended: true}
}

// oddCounter knows whether UTF-16 input ended within a character.
type oddCounter struct {
	r     io.Reader
	n     int64
	first [2]byte
}

func (o *oddCounter) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	for i := 0; i < n && o.n+int64(i) < 2; i++ {
		o.first[o.n+int64(i)] = p[i]
	}
	o.n += int64(n)
	return n, err
}

// cut tells whether the input was UTF-16 and ended within a character.
func (o *oddCounter) cut() bool {
	bom := o.first == [2]byte{0xff, 0xfe} || o.first == [2]byte{0xfe, 0xff}
	return bom && o.n%2 == 1
}

func (p *ldifReader) errorf(line int, format string, args ...any) error {
	return &LDIFError{Name: p.name, Line: line, Err: fmt.Errorf(format, args...)}
}

// physical reads a line without its end. io.EOF comes with no line.
func (p *ldifReader) physical() ([]byte, error) {
	if p.more {
		p.more = false
		return p.ahead, nil
	}
	line, err := p.in.ReadSlice('\n')
	for long := []byte(nil); errors.Is(err, bufio.ErrBufferFull); {
		if long = append(long, line...); len(long) > maxLine {
			return nil, p.errorf(p.line+1, "a line of more than %d MiB; expected LDIF", maxLine>>20)
		}
		line, err = p.in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			line = append(long, line...)
		}
	}
	if err != nil && err != io.EOF {
		return nil, p.errorf(p.line+1, "reading: %w", err)
	}
	if len(line) == 0 {
		return nil, io.EOF
	}
	p.line++
	p.ended = line[len(line)-1] == '\n'
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// logical reads a line with its continuations (RFC 2849: lines that begin with a space). Comments are left out.
func (p *ldifReader) logical() ([]byte, error) {
	for {
		line, err := p.physical()
		if err != nil {
			return nil, err
		}
		p.at = p.line
		p.buf = append(p.buf[:0], line...)
		folded := len(line) > 0
		for {
			next, err := p.physical()
			if err != nil && err != io.EOF {
				return nil, err
			}
			if err == io.EOF {
				break
			}
			if !folded || len(next) == 0 || next[0] != ' ' {
				p.ahead, p.more = next, true
				break
			}
			if p.buf = append(p.buf, next[1:]...); len(p.buf) > maxLine {
				return nil, p.errorf(p.at, "a line of more than %d MiB; expected LDIF", maxLine>>20)
			}
		}
		p.foot.blank = len(p.buf) == 0
		p.foot.mark = strings.EqualFold(string(bytes.TrimSpace(p.buf)), endMark) || p.foot.mark && p.foot.blank
		if len(p.buf) == 0 || p.buf[0] != '#' {
			return p.buf, nil
		}
		p.foot.head = p.foot.head || string(bytes.TrimSpace(p.buf)) == "# extended LDIF"
	}
}

// read reads the whole stream into b.
func (p *ldifReader) read(b *Builder) error {
	acc := newAccumulator(b.Warn)
	open := false // within a record
	for {
		line, err := p.logical()
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF || len(line) == 0 {
			if open {
				if ferr := p.finish(acc, b); ferr != nil {
					return ferr
				}
				open = false
			}
			if err == io.EOF {
				return p.end(b)
			}
			continue
		}
		if p.at == 1 && bytes.IndexByte(line, 0) >= 0 {
			return p.errorf(1, "binary data; expected LDIF in UTF-8, or in UTF-16 with a byte order mark")
		}
		name, value, err := p.attribute(line)
		if err != nil {
			return err
		}
		if open {
			if err := p.within(acc, name, value); err != nil {
				return err
			}
			continue
		}
		if open, err = p.begin(acc, name, value); err != nil {
			return err
		}
	}
}

// outside says what the lines mean that can stand where a record begins, beside dn: those of ldapsearch's report.
var outside = map[string]func(p *ldifReader, value []byte) error{
	"version": func(p *ldifReader, value []byte) error {
		if v := string(bytes.TrimSpace(value)); v != "1" {
			return p.errorf(p.at, "LDIF version %q; expected version: 1 (RFC 2849)", clip(v))
		}
		return nil
	},
	"search": func(*ldifReader, []byte) error { return nil },
	"ref":    func(*ldifReader, []byte) error { return nil }, // a referral to another naming context is no entry
	"result": func(p *ldifReader, value []byte) error {
		v := string(bytes.TrimSpace(value))
		if code, _, _ := strings.Cut(v, " "); code != "0" {
			return p.errorf(p.at, "the search that wrote this file did not complete: result %q; expected result: 0 Success: raise the limit or use paging (ldapsearch -E pr=1000/noprompt) and export again", clip(v))
		}
		p.foot.result = true
		return nil
	},
}

// reported are further lines of ldapsearch's report.
var reported = map[string]bool{"matcheddn": true, "text": true, "control": true, "pagedresults": true}

// begin takes a line where a record may begin, and tells whether one did.
func (p *ldifReader) begin(acc *accumulator, name string, value []byte) (bool, error) {
	if name == "dn" {
		acc.reset(p.at, string(value))
		return true, nil
	}
	if f, ok := outside[name]; ok {
		return false, f(p, value)
	}
	if p.foot.result && reported[name] {
		return false, nil
	}
	return false, p.errorf(p.at, "an entry begins with %q; expected 'dn: ' and the name of an object", clip(name))
}

// within takes a line of a record.
func (p *ldifReader) within(acc *accumulator, name string, value []byte) error {
	switch name {
	case "dn":
		return p.errorf(p.at, "a second 'dn:' within the entry of line %d; expected an empty line between entries", acc.line)
	case "control", "newrdn", "deleteoldrdn", "newsuperior":
		return p.errorf(p.at, "%q: a change record; expected content: export the objects themselves with ldifde -f or ldapsearch", name)
	case "changetype":
		// ldifde -f writes the content of a directory as changes that would add it.
		if kind := strings.ToLower(string(bytes.TrimSpace(value))); kind != "add" {
			return p.errorf(p.at, "changetype: %s: a change record; expected content: export the objects themselves with ldifde -f or ldapsearch", clip(kind))
		}
		return nil
	}
	acc.attribute(p.at, name, value)
	return nil
}

// finish ends a record.
func (p *ldifReader) finish(acc *accumulator, b *Builder) error {
	p.entries++
	p.last.dn, p.last.line = acc.dn, acc.line
	if acc.dn == "" {
		return nil // the root DSE (RFC 4512 section 5.1) is no object of a naming context
	}
	if acc.attrs == 0 {
		return p.errorf(acc.line, "the entry %q has no attributes; expected at least objectClass: was the file cut off?", clip(acc.dn))
	}
	if err := b.Add(acc.entry()); err != nil {
		return p.errorf(acc.line, "%w", err)
	}
	return nil
}

// end looks back at the whole file.
func (p *ldifReader) end(b *Builder) error {
	switch {
	case p.odd.cut():
		return p.errorf(p.line, "the file ends within a UTF-16 character: it was cut off")
	case p.entries == 0:
		return p.errorf(0, "%w", ErrEmpty)
	case p.foot.head && !p.foot.result && !p.ended:
		return p.errorf(p.line, "the file was cut off: ldapsearch began it, and ends its files with 'result: 0 Success'")
	case p.foot.head && !p.foot.result:
		b.Warn(Warning{Line: p.line, Text: "ldapsearch began this file, but its closing 'result: 0 Success' is missing: is the export complete?"})
	}
	if b.kept == 0 {
		return p.errorf(0, "%d entries, none of which can be a mail recipient; expected users, contacts or groups", p.entries)
	}
	return nil
}

// attribute takes a line apart: its name in lower case without options other than range, and its value.
func (p *ldifReader) attribute(line []byte) (string, []byte, error) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return "", nil, p.errorf(p.at, "%q has no colon; expected 'attribute: value'%s", clip(string(line)), p.cutHint())
	}
	name, value := string(bytes.ToLower(line[:i])), line[i+1:]
	if !validName(name) {
		return "", nil, p.errorf(p.at, "%q is no attribute name; expected 'attribute: value'%s", clip(string(line[:i])), p.cutHint())
	}
	switch {
	case len(value) > 0 && value[0] == ':':
		encoded := bytes.TrimSpace(value[1:])
		// What is left of base64 that was cut at a multiple of four is base64 too.
		if p.cutHint() != "" && !bytes.HasSuffix(encoded, []byte("=")) {
			return "", nil, p.errorf(p.at, "the file ends within base64, without the end of the line; expected a line end behind a complete value: was the file cut off?")
		}
		decoded, err := p.base64(encoded)
		if err != nil {
			return "", nil, err
		}
		value = decoded
	case len(value) > 0 && value[0] == '<':
		return "", nil, p.errorf(p.at, "%s:< %s: values from URLs are not read; expected the value itself, in base64 after '::' if it is binary", name, clip(string(bytes.TrimSpace(value[1:]))))
	default:
		value = bytes.TrimLeft(value, " ")
	}
	return name, value, nil
}

func (p *ldifReader) base64(value []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(value)))
	n, err := base64.StdEncoding.Strict().Decode(out, value)
	if err != nil {
		return nil, p.errorf(p.at, "not base64 (%w); expected base64 after '::'%s", err, p.cutHint())
	}
	return out[:n], nil
}

// cutHint is for messages on the last line of a file without line end.
func (p *ldifReader) cutHint() string {
	if !p.ended && !p.more {
		return ": the file seems to be cut off here"
	}
	return ""
}

// validName follows RFC 4512 section 2.5 (descr or OID, and options), with the underscore that some directories have.
func validName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == ';', c == '_', c == '=', c == '*':
		default:
			return false
		}
	}
	return true
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
