package tnef

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// Inspection is what a stream holds, for a person to read or a program to take apart: it is made for JSON and for WriteTo.
type Inspection struct {
	Size        int                   `json:"size"`
	Key         string                `json:"key"` // legacy key, hexadecimal
	Class       string                `json:"class"`
	Codepage    int                   `json:"codepage"`
	Attributes  []InspectedAttribute  `json:"attributes"`
	Properties  []InspectedProperty   `json:"properties"`
	Recipients  [][]InspectedProperty `json:"recipients,omitempty"`
	Attachments []InspectedAttachment `json:"attachments,omitempty"`
	Warnings    []string              `json:"warnings"`
}

// InspectedAttribute is one attribute of the stream.
type InspectedAttribute struct {
	Level       int    `json:"level"`
	ID          string `json:"id"` // 0x0006800F
	Name        string `json:"name,omitempty"`
	Offset      int    `json:"offset"`
	Length      int    `json:"length"`
	BadChecksum bool   `json:"bad_checksum,omitempty"`
	Truncated   bool   `json:"truncated,omitempty"`
}

// InspectedProperty is one property, with its value as text.
type InspectedProperty struct {
	ID        string `json:"id"` // 0x0037
	Name      string `json:"name,omitempty"`
	Set       string `json:"set,omitempty"` // set and number or string of a named property
	Type      string `json:"type"`
	Value     any    `json:"value"`
	Length    int    `json:"length,omitempty"`    // octets of a binary value
	Attribute string `json:"attribute,omitempty"` // made from this attribute
}

// InspectedAttachment is one attachment; Message is there if it is a message.
type InspectedAttachment struct {
	Name       string              `json:"name"`
	Method     int                 `json:"method"`
	Size       int                 `json:"size"`
	Hidden     bool                `json:"hidden,omitempty"`
	ContentID  string              `json:"content_id,omitempty"`
	Properties []InspectedProperty `json:"properties,omitempty"`
	Message    *Inspection         `json:"message,omitempty"`
}

// Inspect reads a stream and describes it. The error is ErrNotTNEF.
func Inspect(data []byte, opt *Options) (*Inspection, error) {
	m, err := Decode(data, opt)
	if err != nil {
		return nil, err
	}
	i := inspectMessage(m, data, opt)
	i.Warnings = append([]string{}, m.Warnings...)
	return i, nil
}

func inspectMessage(m *Message, data []byte, opt *Options) *Inspection {
	i := &Inspection{Size: len(data), Class: m.Class, Codepage: m.Codepage, Attributes: []InspectedAttribute{}, Warnings: []string{}}
	if len(data) >= headerLen {
		i.Key = fmt.Sprintf("0x%02X%02X", data[5], data[4])
	}
	d := &decoder{limits: opt.limits()}
	attrs, err := d.readAttributes(data)
	if err != nil {
		return i // Decode would have said so
	}
	for _, a := range attrs {
		i.Attributes = append(i.Attributes, InspectedAttribute{
			Level: int(a.Level), ID: fmt.Sprintf("0x%08X", a.ID), Name: a.Name(), Offset: a.Offset, Length: len(a.Data),
			BadChecksum: a.BadChecksum, Truncated: a.Truncated,
		})
	}
	i.Properties = inspectProps(&m.Props)
	for k := range m.Recipients {
		i.Recipients = append(i.Recipients, inspectProps(&m.Recipients[k].Props))
	}
	for _, a := range m.Attachments {
		x := InspectedAttachment{Name: a.RawName(), Method: int(a.Method), Size: len(a.Data), Hidden: a.Hidden(), ContentID: a.ContentID(), Properties: inspectProps(&a.Props)}
		if a.Message != nil {
			x.Message = inspectMessage(a.Message, a.Data, opt)
		}
		i.Attachments = append(i.Attachments, x)
	}
	return i
}

func inspectProps(p *mapi.Props) []InspectedProperty {
	list := make([]InspectedProperty, 0, len(p.List))
	for k := range p.List {
		x := &p.List[k]
		q := InspectedProperty{ID: fmt.Sprintf("0x%04X", uint16(x.ID)), Name: x.PropertyName(), Type: x.Type.String(), Value: showValue(x.Value)}
		if x.Multi {
			q.Type = strings.Replace(q.Type, "PT_", "PT_MV_", 1)
		}
		if !x.Name.IsZero() {
			q.Set = x.Name.String()
		}
		if b, ok := x.Value.([]byte); ok {
			q.Length = len(b)
		}
		if x.Attribute != 0 {
			q.Attribute = attributeNames[uint16(x.Attribute)]
		}
		list = append(list, q)
	}
	return list
}

// What is shown of long values.
const (
	shownText   = 1000
	shownOctets = 64
)

// showValue makes a value that JSON can hold: long texts and octets are cut.
func showValue(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > shownText {
			n := shownText
			for n > 0 && !utf8.RuneStart(v[n]) {
				n--
			}
			return v[:n] + "..."
		}
		return v
	case []byte:
		if len(v) > shownOctets {
			return hex.EncodeToString(v[:shownOctets]) + "..."
		}
		return hex.EncodeToString(v)
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.Format(time.RFC3339Nano)
	case mapi.GUID:
		return v.String()
	case float32:
		return fmt.Sprint(v) // not every float is JSON
	case float64:
		return fmt.Sprint(v)
	case []any:
		list := make([]any, 0, min(len(v), 100))
		for _, x := range v[:min(len(v), 100)] {
			list = append(list, showValue(x))
		}
		return list
	}
	return v
}

// WriteTo writes the inspection as text.
func (i *Inspection) WriteTo(w io.Writer) (int64, error) {
	p := &printer{w: w}
	p.inspection(i, "")
	return p.n, p.err
}

type printer struct {
	w   io.Writer
	n   int64
	err error
}

func (p *printer) line(indent, format string, args ...any) {
	if p.err != nil {
		return
	}
	n, err := fmt.Fprintf(p.w, indent+strings.ReplaceAll(format, "\n", "")+"\n", args...)
	p.n += int64(n)
	p.err = err
}

func (p *printer) inspection(i *Inspection, in string) {
	p.line(in, "%s, %d octets, key %s, code page %d", i.Class, i.Size, i.Key, i.Codepage)
	for _, w := range i.Warnings {
		p.line(in, "warning: %s", w)
	}
	p.line(in, "attributes:")
	for _, a := range i.Attributes {
		note := ""
		if a.BadChecksum {
			note = "  wrong checksum"
		}
		if a.Truncated {
			note = "  cut off"
		}
		p.line(in, "  %d %s %-28s %9d octets at %d%s", a.Level, a.ID, a.Name, a.Length, a.Offset, note)
	}
	p.properties("properties", i.Properties, in)
	for k, r := range i.Recipients {
		p.properties(fmt.Sprintf("recipient %d", k+1), r, in)
	}
	for k, a := range i.Attachments {
		p.line(in, "attachment %d: %q, method %d, %d octets", k+1, a.Name, a.Method, a.Size)
		p.properties("properties", a.Properties, in+"  ")
		if a.Message != nil {
			p.inspection(a.Message, in+"  ")
		}
	}
}

func (p *printer) properties(title string, list []InspectedProperty, in string) {
	if len(list) == 0 {
		return
	}
	p.line(in, "%s:", title)
	for _, x := range list {
		name := x.Name
		if name == "" {
			name = x.Set
		}
		p.line(in, "  %s %-34s %-12s %s", x.ID, name, strings.TrimPrefix(x.Type, "PT_"), showLine(x))
	}
}

// showLine is a value on one line, with nothing in it that a terminal would obey.
func showLine(x InspectedProperty) string {
	s, ok := x.Value.(string)
	switch {
	case !ok:
		return fmt.Sprintf("%v", x.Value)
	case x.Length > 0:
		return fmt.Sprintf("%d octets %s", x.Length, s)
	case len(s) > 120:
		return fmt.Sprintf("%.120q...", s)
	}
	return fmt.Sprintf("%q", s)
}

// ExtractedFile is one file out of a stream.
type ExtractedFile struct {
	// Name is safe as a file name on every system, and no two files of a list share it, also where case does not matter.
	Name string
	// Data is part of the stream, or a message made of an attached one.
	Data []byte
}

// Extract lists the files in a stream, those of attached messages too, hidden ones as well. An attached message is given as a file of its own,
// in the form of a mail (.eml). The error is ErrNotTNEF.
func Extract(data []byte, opt *Options) ([]ExtractedFile, error) {
	m, err := Decode(data, opt)
	if err != nil {
		return nil, err
	}
	x := &extractor{b: newBuilder(opt, data, newBudget(opt)), names: uniqueNames{}}
	if err := x.message(m, true); err != nil {
		return nil, err
	}
	return x.files, nil
}

type extractor struct {
	b     *builder
	names uniqueNames
	files []ExtractedFile
}

func (x *extractor) add(name string, data []byte) {
	x.files = append(x.files, ExtractedFile{Name: x.names.add(cutName(name, maxNameOctets, utf8.RuneLen)), Data: data})
}

// message lists the files of m. Messages attached to m are given as mails only at the top: what is attached to those is inside.
func (x *extractor) message(m *Message, top bool) error {
	for i, a := range m.Attachments {
		if a.Message == nil {
			x.file(a, i)
			continue
		}
		if top {
			if err := x.mail(a, i); err != nil {
				return err
			}
		}
		if err := x.message(a.Message, false); err != nil {
			return err
		}
	}
	return nil
}

func (x *extractor) file(a *Attachment, i int) {
	e := x.b.attachment(a, i)
	switch {
	case e == nil && len(a.Data) == 0:
	case e == nil || e.message != nil: // TNEF as a file, which conversion would turn into a message
		x.add(x.b.fileName(a, i), a.Data)
	case e.raw != nil:
		x.add(e.name, e.raw)
	default:
		x.add(e.name, e.data)
	}
}

// mail writes an attached message as a mail, or as what the rules of its class make of it.
func (x *extractor) mail(a *Attachment, i int) error {
	e := x.b.messageEntity(a.Message, a.Props.Text(mapi.TagDisplayName), i)
	if e.message == nil {
		x.add(e.name, e.data)
		return nil
	}
	setBoundaries(e, x.b.seed)
	var out bytes.Buffer
	w := newEntityWriter(&out, x.b.opt, x.b.budget)
	w.body(e, "")
	w.endLine()
	x.add(e.name, out.Bytes())
	return w.err
}
