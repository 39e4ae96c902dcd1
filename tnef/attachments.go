package tnef

import (
	"encoding/binary"
	"fmt"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// attachmentGroup is one attachment's attributes.
type attachmentGroup struct {
	attrs []Attribute
}

// has tells whether the group has an attribute of this kind.
func (g *attachmentGroup) has(id uint16) bool {
	for _, a := range g.attrs {
		if uint16(a.ID) == id {
			return true
		}
	}
	return false
}

// attachmentGroups divides the attachments' attributes. attAttachRendData begins one ([MS-OXTNEF] 2.1.3.3.15); where it is missing, a
// second attribute of one kind does. One that follows the attachment's title instead of preceding it belongs to that title.
func (d *decoder) attachmentGroups(attrs []Attribute) []*attachmentGroup {
	var groups []*attachmentGroup
	var g *attachmentGroup
	for _, a := range attrs {
		if !isAttachmentAttribute(a.ID) {
			continue
		}
		kind := uint16(a.ID)
		begin := g == nil || g.has(kind) || kind == attAttachRendData && (g.has(attAttachData) || g.has(attAttachment))
		if begin {
			if d.attachments++; d.attachments > d.limits.Attachments {
				d.warnOnce("more than %d attachments: the rest is left out", d.limits.Attachments)
				break
			}
			if kind != attAttachRendData {
				d.warn("%s without attAttachRendData before it", a.label())
			}
			g = &attachmentGroup{}
			groups = append(groups, g)
		}
		g.attrs = append(g.attrs, a)
	}
	return groups
}

// attachmentList decodes the attachments of a message.
func (d *decoder) attachmentList(m *Message, attrs []Attribute, depth int) {
	for i, g := range d.attachmentGroups(attrs) {
		outer := d.where
		d.where = fmt.Sprintf("%sattachment %d: ", outer, i+1)
		m.Attachments = append(m.Attachments, d.attachment(g, m.Codepage, depth))
		d.where = outer
	}
}

// attachment puts together what the attributes and the property list of one attachment say.
func (d *decoder) attachment(g *attachmentGroup, cp, depth int) *Attachment {
	a := &Attachment{Place: -1}
	for _, x := range g.attrs {
		if uint16(x.ID) == attAttachment {
			p := d.readProps(&cursor{b: x.Data}, "attAttachment")
			a.Props.List = append(a.Props.List, p.List...)
		}
	}
	decodeStrings(&a.Props, cp)
	var rendering []byte
	for _, x := range g.attrs {
		switch uint16(x.ID) {
		case attAttachData:
			if a.Data == nil {
				a.Data = x.Data
			}
		case attAttachRendData:
			rendering = x.Data
		default:
			d.mapAttribute(&a.Props, x, cp)
		}
	}
	object := a.Props.Find(mapi.TagAttachData)
	if b := object.Bytes(); b != nil {
		a.Data = b
	} else if object != nil && a.Data == nil { // of a type that it can't have
		if a.Data = object.Raw; a.Data == nil {
			a.Data = []byte(object.Text())
		}
	}
	a.Method = attachMethod(a, object, rendering)
	readRendering(a, rendering)
	if a.Method == mapi.MethodEmbedded {
		d.embedded(a, depth)
	}
	return a
}

// readRendering reads attAttachRendData ([MS-OXTNEF] 2.1.3.3.15): type, position, width, height, flags.
func readRendering(a *Attachment, b []byte) {
	if len(b) >= 6 {
		a.Place = int(int32(binary.LittleEndian.Uint32(b[2:])))
	}
	if len(b) >= 14 {
		a.MacBinary = binary.LittleEndian.Uint32(b[10:])&1 != 0
	}
	if v, ok := a.Props.Int(mapi.TagRenderingPosition); ok {
		a.Place = int(v)
	}
	if string(a.Props.Bytes(mapi.TagAttachEncoding)) == oidMacBinary {
		a.MacBinary = true
	}
	a.Place = max(a.Place, -1)
}

// oidMacBinary is the value of PidTagAttachEncoding for MacBinary ([MS-OXCMSG] 2.2.2.20).
const oidMacBinary = "\x2a\x86\x48\x86\xf7\x14\x03\x0b\x01"

// attachMethod is PidTagAttachMethod where the content agrees with it, else what the content is.
func attachMethod(a *Attachment, object *mapi.Property, rendering []byte) mapi.Method {
	if object != nil && object.Type == mapi.TypeObject {
		switch object.IID {
		case mapi.IIDMessage:
			return mapi.MethodEmbedded
		case mapi.IIDStorage:
			return mapi.MethodOLE
		}
	}
	v, ok := a.Props.Int(mapi.TagAttachMethod)
	method := mapi.Method(v)
	switch {
	case ok && method != mapi.MethodNone && method != mapi.MethodByValue:
		return method
	case len(rendering) >= 2 && binary.LittleEndian.Uint16(rendering) == 2: // AttachTypeOle
		return mapi.MethodOLE
	case a.Data == nil && ok:
		return method
	}
	return mapi.MethodByValue
}

// embedded decodes an attached message.
func (d *decoder) embedded(a *Attachment, depth int) {
	if !IsTNEF(a.Data) {
		d.warn("the attached message is not a TNEF stream")
		return
	}
	if depth+1 >= d.limits.Depth {
		d.warnOnce("attached messages are nested more than %d deep: the rest is left out", d.limits.Depth)
		return
	}
	m, err := d.message(a.Data, depth+1)
	if err != nil {
		d.warn("the attached message: %v", err)
		return
	}
	a.Message = m
}
