package tnef

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Signature begins every TNEF stream ([MS-OXTNEF] 2.1.3.1).
const Signature = 0x223E9F78

// ErrNotTNEF says that data do not begin with the signature of a TNEF stream.
var ErrNotTNEF = errors.New("not a TNEF stream: signature 0x223E9F78 missing")

// ErrEmpty says that a TNEF stream has no property, recipient or attachment that can be read: a message made of it would be empty.
var ErrEmpty = errors.New("nothing in the TNEF stream can be read")

// Attribute is one attribute as it stands in a stream ([MS-OXTNEF] 2.1.3.2).
type Attribute struct {
	Level  byte // 1 message, 2 attachment
	ID     uint32
	Offset int // of Data in the stream
	Data   []byte
	// Truncated: the stream ends before the declared length.
	Truncated bool
	// BadChecksum: the sum of the octets is not what the stream says.
	BadChecksum bool
}

// Low words of attribute ids. The high word says a data type, and writers differ in it: match on the low word.
const (
	attOwner                     = 0x0000
	attSentFor                   = 0x0001
	attDelegate                  = 0x0002
	attDateStart                 = 0x0006
	attDateEnd                   = 0x0007
	attAidOwner                  = 0x0008
	attRequestRes                = 0x0009
	attOriginalMessageClass      = 0x0600
	attFrom                      = 0x8000
	attSubject                   = 0x8004
	attDateSent                  = 0x8005
	attDateRecd                  = 0x8006
	attMessageStatus             = 0x8007
	attMessageClass              = 0x8008
	attMessageID                 = 0x8009
	attParentID                  = 0x800A
	attConversationID            = 0x800B
	attBody                      = 0x800C
	attPriority                  = 0x800D
	attAttachData                = 0x800F
	attAttachTitle               = 0x8010
	attAttachMetaFile            = 0x8011
	attAttachCreateDate          = 0x8012
	attAttachModifyDate          = 0x8013
	attDateModified              = 0x8020
	attAttachTransportFile       = 0x9001
	attAttachRendData            = 0x9002
	attMsgProps                  = 0x9003
	attRecipTable                = 0x9004
	attAttachment                = 0x9005
	attTnefVersion               = 0x9006
	attOemCodepage               = 0x9007
	levelMessage            byte = 1
	levelAttachment         byte = 2
	headerLen                    = 6 // signature and legacy key
	attributeOverhead            = 1 + 4 + 4 + 2
)

var attributeNames = map[uint16]string{
	attOwner: "attOwner", attSentFor: "attSentFor", attDelegate: "attDelegate", attDateStart: "attDateStart", attDateEnd: "attDateEnd",
	attAidOwner: "attAidOwner", attRequestRes: "attRequestRes", attOriginalMessageClass: "attOriginalMessageClass", attFrom: "attFrom",
	attSubject: "attSubject", attDateSent: "attDateSent", attDateRecd: "attDateRecd", attMessageStatus: "attMessageStatus",
	attMessageClass: "attMessageClass", attMessageID: "attMessageID", attParentID: "attParentID", attConversationID: "attConversationID",
	attBody: "attBody", attPriority: "attPriority", attAttachData: "attAttachData", attAttachTitle: "attAttachTitle",
	attAttachMetaFile: "attAttachMetaFile", attAttachCreateDate: "attAttachCreateDate", attAttachModifyDate: "attAttachModifyDate",
	attDateModified: "attDateModified", attAttachTransportFile: "attAttachTransportFilename", attAttachRendData: "attAttachRendData",
	attMsgProps: "attMsgProps", attRecipTable: "attRecipTable", attAttachment: "attAttachment", attTnefVersion: "attTnefVersion",
	attOemCodepage: "attOemCodepage",
}

// Name is the attribute's name in [MS-OXTNEF] 2.1.3.2, or "" when it is not known.
func (a Attribute) Name() string { return attributeNames[uint16(a.ID)] }

func isAttachmentAttribute(id uint32) bool {
	switch uint16(id) {
	case attAttachData, attAttachTitle, attAttachMetaFile, attAttachCreateDate, attAttachModifyDate, attAttachTransportFile, attAttachRendData, attAttachment:
		return true
	}
	return false
}

// IsTNEF tells whether data begin with the signature of a TNEF stream.
func IsTNEF(data []byte) bool {
	return len(data) >= 4 && binary.LittleEndian.Uint32(data) == Signature
}

// readAttributes lists the attributes of a stream. It stops at what cannot be one.
func (d *decoder) readAttributes(data []byte) ([]Attribute, error) {
	if !IsTNEF(data) {
		return nil, ErrNotTNEF
	}
	c := &cursor{b: data, pos: min(headerLen, len(data))}
	var list []Attribute
	for c.left() > 0 {
		start := c.pos
		a := Attribute{Level: c.u8(), ID: c.u32()}
		n := c.u32()
		if c.short || a.Level != levelMessage && a.Level != levelAttachment {
			d.trailing(data[start:])
			break
		}
		if d.attributes++; d.attributes > d.limits.Attributes {
			d.warnOnce("more than %d attributes: the rest is left out", d.limits.Attributes)
			break
		}
		a.Offset = c.pos
		a.Data = c.take(n)
		a.Truncated = c.short
		switch {
		case a.Truncated:
			d.warn("%s: stream ends after %d of %d octets", a.label(), len(a.Data), n)
		case c.left() < 2:
			d.warn("%s: stream ends before the checksum", a.label())
		default:
			if c.u16() != checksum(a.Data) {
				a.BadChecksum = true
				d.warn("%s: wrong checksum", a.label())
			}
		}
		list = append(list, a)
		if a.Truncated {
			break
		}
	}
	return list, nil
}

// label names the attribute for warnings.
func (a Attribute) label() string {
	if n := a.Name(); n != "" {
		return n
	}
	return fmt.Sprintf("attribute 0x%08X", a.ID)
}

// trailing warns of octets that are no attribute. Line endings and zeros at the end come from transport encodings.
func (d *decoder) trailing(rest []byte) {
	for _, c := range rest {
		if c != 0 && c != '\r' && c != '\n' {
			d.warn("%d octets after the last attribute are not understood", len(rest))
			return
		}
	}
}

// checksum is the sum of all octets modulo 65536 ([MS-OXTNEF] 2.1.3.1), eight at a time.
func checksum(b []byte) uint16 {
	const low = 0x00FF00FF00FF00FF
	var total uint64
	for len(b) >= 8 {
		// Four sums of 16 bits: each step adds at most 2 x 255 to one, so 128 steps fit.
		var acc uint64
		n := min(len(b)/8, 128)
		for block := b[:n*8]; len(block) >= 8; block = block[8:] {
			x := binary.LittleEndian.Uint64(block)
			acc += x&low + x>>8&low
		}
		total += acc&0xFFFF + acc>>16&0xFFFF + acc>>32&0xFFFF + acc>>48
		b = b[n*8:]
	}
	for _, c := range b {
		total += uint64(c)
	}
	return uint16(total)
}
