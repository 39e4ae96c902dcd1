package tneftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rtf"
)

// Stream describes a TNEF stream. The zero value is a stream with a version and nothing else.
type Stream struct {
	// Key is the legacy key; 0 means 0x1234.
	Key uint16
	// Codepage goes to attOemCodepage and encodes 8-bit strings; 0 leaves the attribute out and encodes in windows-1252.
	Codepage int
	// Class goes to attMessageClass when it is not empty.
	Class string
	// Attributes are written as they are, in front of the property list.
	Attributes []Attribute
	// Props is the property list, attMsgProps; no attribute when it is nil.
	Props []mapi.Property
	// Recipients are the rows of attRecipTable.
	Recipients  [][]mapi.Property
	Attachments []Attachment
	// Damage breaks the stream on purpose.
	Damage Damage
}

// Attribute is one attribute to be written.
type Attribute struct {
	Level byte // 0 means 1, the message's
	ID    uint32
	Data  []byte
}

// Attachment describes an attachment.
type Attachment struct {
	// Title goes to attAttachTitle, in the stream's code page, when it is not empty.
	Title string
	// Data goes to attAttachData, unless InProps puts it into PidTagAttachDataBinary.
	Data    []byte
	InProps bool
	// Message is an attached message; Storage the compound file of an OLE object. Both go to PidTagAttachDataObject.
	Message *Stream
	Storage []byte
	Props   []mapi.Property
	// Place is the position in the text, for attAttachRendData, when it is above 0.
	Place uint32
	// MacBinary sets the flag of attAttachRendData.
	MacBinary bool
	// Attributes are written as they are, behind attAttachRendData.
	Attributes []Attribute
	// NoRendData leaves attAttachRendData out.
	NoRendData bool
}

// Damage says how to break a stream.
type Damage struct {
	BadSignature bool
	// BadChecksum breaks the checksum of every attribute.
	BadChecksum bool
	// PropsFirst writes attMsgProps before everything else, attOemCodepage included.
	PropsFirst bool
	// CutAt ends the stream after this many octets, when above 0; below 0 so many octets before the end.
	CutAt int
	// Trailing is written behind the last attribute.
	Trailing []byte
}

// The ids of attributes, with the type words that Outlook writes ([MS-OXTNEF] 2.1.3.2).
const (
	AttOwner                 = 0x00060000
	AttSentFor               = 0x00060001
	AttDelegate              = 0x00060002
	AttDateStart             = 0x00030006
	AttDateEnd               = 0x00030007
	AttAidOwner              = 0x00050008
	AttRequestRes            = 0x00040009
	AttOriginalClass         = 0x00070600
	AttFrom                  = 0x00008000
	AttSubject               = 0x00018004
	AttDateSent              = 0x00038005
	AttDateRecd              = 0x00038006
	AttMessageStatus         = 0x00068007
	AttMessageClass          = 0x00078008
	AttMessageID             = 0x00018009
	AttBody                  = 0x0002800C
	AttPriority              = 0x0004800D
	AttAttachData            = 0x0006800F
	AttAttachTitle           = 0x00018010
	AttAttachMetaFile        = 0x00068011
	AttAttachCreateDate      = 0x00038012
	AttAttachModifyDate      = 0x00038013
	AttDateModified          = 0x00038020
	AttAttachTransport       = 0x00069001
	AttAttachRendData        = 0x00069002
	AttMsgProps              = 0x00069003
	AttRecipTable            = 0x00069004
	AttAttachment            = 0x00069005
	AttTnefVersion           = 0x00089006
	AttOemCodepage           = 0x00069007
	messageLevel        byte = 1
	attachLevel         byte = 2
)

// Bytes writes the stream.
func (s *Stream) Bytes() []byte {
	w := &writer{damage: s.Damage, codepage: s.Codepage}
	signature := uint32(0x223E9F78)
	if s.Damage.BadSignature {
		signature++
	}
	key := s.Key
	if key == 0 {
		key = 0x1234
	}
	w.u32(signature)
	w.u16(key)
	if s.Damage.PropsFirst {
		w.messageProps(s)
	}
	w.attribute(messageLevel, AttTnefVersion, le32(0x00010000))
	if s.Codepage != 0 {
		w.attribute(messageLevel, AttOemCodepage, append(le32(uint32(s.Codepage)), le32(0)...))
	}
	if s.Class != "" {
		w.attribute(messageLevel, AttMessageClass, append([]byte(s.Class), 0))
	}
	for _, a := range s.Attributes {
		w.attribute(max(a.Level, messageLevel), a.ID, a.Data)
	}
	if len(s.Recipients) > 0 {
		w.attribute(messageLevel, AttRecipTable, w.recipients(s.Recipients))
	}
	if !s.Damage.PropsFirst {
		w.messageProps(s)
	}
	for _, a := range s.Attachments {
		w.attachment(a)
	}
	return s.Damage.cut(append(w.Bytes(), s.Damage.Trailing...))
}

func (d Damage) cut(b []byte) []byte {
	switch {
	case d.CutAt > 0:
		return b[:min(d.CutAt, len(b))]
	case d.CutAt < 0:
		return b[:max(0, len(b)+d.CutAt)]
	}
	return b
}

type writer struct {
	bytes.Buffer
	damage   Damage
	codepage int
}

func (w *writer) u16(v uint16) { w.Write(binary.LittleEndian.AppendUint16(nil, v)) }
func (w *writer) u32(v uint32) { w.Write(le32(v)) }

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func (w *writer) attribute(level byte, id uint32, data []byte) {
	w.WriteByte(level)
	w.u32(id)
	w.u32(uint32(len(data)))
	w.Write(data)
	sum := uint16(0)
	for _, c := range data {
		sum += uint16(c)
	}
	if w.damage.BadChecksum {
		sum++
	}
	w.u16(sum)
}

func (w *writer) messageProps(s *Stream) {
	if s.Props != nil {
		w.attribute(messageLevel, AttMsgProps, PropList(s.Props, s.Codepage))
	}
}

func (w *writer) recipients(rows [][]mapi.Property) []byte {
	out := le32(uint32(len(rows)))
	for _, r := range rows {
		out = append(out, PropList(r, w.codepage)...)
	}
	return out
}

func (w *writer) attachment(a Attachment) {
	if !a.NoRendData {
		w.attribute(attachLevel, AttAttachRendData, rendData(a))
	}
	for _, x := range a.Attributes {
		w.attribute(attachLevel, x.ID, x.Data)
	}
	if a.Title != "" {
		w.attribute(attachLevel, AttAttachTitle, append(Encode(w.codepage, a.Title), 0))
	}
	props := a.Props
	switch {
	case a.Message != nil:
		props = append(append([]mapi.Property{}, props...), Object(mapi.TagAttachData, mapi.IIDMessage, a.Message.Bytes()))
	case a.Storage != nil:
		props = append(append([]mapi.Property{}, props...), Object(mapi.TagAttachData, mapi.IIDStorage, a.Storage))
	case a.InProps:
		props = append(append([]mapi.Property{}, props...), Binary(mapi.TagAttachData, a.Data))
	case a.Data != nil:
		w.attribute(attachLevel, AttAttachData, a.Data)
	}
	if props != nil {
		w.attribute(attachLevel, AttAttachment, PropList(props, w.codepage))
	}
}

// rendData is attAttachRendData: type, position, width, height, flags.
func rendData(a Attachment) []byte {
	b := make([]byte, 14)
	binary.LittleEndian.PutUint16(b, 1)
	if a.Storage != nil {
		binary.LittleEndian.PutUint16(b, 2)
	}
	place := a.Place
	if place == 0 {
		place = 0xFFFFFFFF
	}
	binary.LittleEndian.PutUint32(b[2:], place)
	if a.MacBinary {
		b[10] = 1
	}
	return b
}

// PropList encodes a property list. STRING8 values without Raw are encoded in the code page.
func PropList(props []mapi.Property, codepage int) []byte {
	w := &writer{codepage: codepage}
	w.u32(uint32(len(props)))
	next := uint16(0x8000)
	for _, p := range props {
		id := uint16(p.ID)
		if !p.Name.IsZero() && id == 0 {
			id = next
			next++
		}
		w.property(p, id)
	}
	return w.Bytes()
}

func (w *writer) property(p mapi.Property, id uint16) {
	t := p.Type
	if p.Multi {
		t |= mapi.MultiFlag
	}
	w.u16(uint16(t))
	w.u16(id)
	if id >= uint16(mapi.FirstNamed) {
		w.name(p.Name)
	}
	values := []any{p.Value}
	if p.Multi {
		values = p.Value.([]any)
	}
	variable := p.Type == mapi.TypeString8 || p.Type == mapi.TypeUnicode || p.Type == mapi.TypeBinary || p.Type == mapi.TypeObject
	if p.Multi || variable {
		w.u32(uint32(len(values)))
	}
	for _, v := range values {
		b := w.value(p, v)
		if variable {
			w.u32(uint32(len(b)))
		}
		w.Write(b)
		w.padding(len(b))
	}
}

func (w *writer) name(n mapi.Name) {
	w.Write(n.Set[:])
	if n.Str == "" {
		w.u32(0)
		w.u32(n.LID)
		return
	}
	b := utf16Bytes(n.Str + "\x00")
	w.u32(1)
	w.u32(uint32(len(b)))
	w.Write(b)
	w.padding(len(b))
}

func (w *writer) padding(n int) { w.Write(make([]byte, -n&3)) }

// value encodes one value. A Go type that does not fit the property's type is a mistake in a test.
func (w *writer) value(p mapi.Property, v any) []byte {
	le := binary.LittleEndian
	switch v := v.(type) {
	case nil:
		return nil
	case int16:
		return le.AppendUint16(nil, uint16(v))
	case int32:
		return le32(uint32(v))
	case uint32:
		return le32(v)
	case int64:
		return le.AppendUint64(nil, uint64(v))
	case float32:
		return le32(math.Float32bits(v))
	case float64:
		return le.AppendUint64(nil, math.Float64bits(v))
	case bool:
		if v {
			return []byte{1, 0}
		}
		return []byte{0, 0}
	case mapi.GUID:
		return v[:]
	case time.Time:
		if p.Type == mapi.TypeAppTime {
			days := v.Sub(time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)).Hours() / 24
			return le.AppendUint64(nil, math.Float64bits(days))
		}
		return le.AppendUint64(nil, mapi.ToFiletime(v))
	case []byte:
		if p.Type == mapi.TypeObject {
			return append(append([]byte{}, p.IID[:]...), v...)
		}
		return v
	case string:
		if p.Type == mapi.TypeUnicode {
			return utf16Bytes(v + "\x00")
		}
		if p.Raw != nil {
			return append(append([]byte{}, p.Raw...), 0)
		}
		return append(Encode(w.codepage, v), 0)
	}
	panic(fmt.Sprintf("tneftest: property 0x%04X: no encoding for %T", uint16(p.ID), v))
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Constructors of properties.

// Text is a PT_UNICODE property.
func Text(id mapi.ID, s string) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeUnicode, Value: s}
}

// Text8 is a PT_STRING8 property, encoded in the stream's code page.
func Text8(id mapi.ID, s string) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeString8, Value: s}
}

// Raw8 is a PT_STRING8 property of these octets.
func Raw8(id mapi.ID, b []byte) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeString8, Value: "", Raw: b}
}

// Long is a PT_LONG property.
func Long(id mapi.ID, v int32) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeLong, Value: v}
}

// Bool is a PT_BOOLEAN property.
func Bool(id mapi.ID, v bool) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeBoolean, Value: v}
}

// Time is a PT_SYSTIME property.
func Time(id mapi.ID, t time.Time) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeTime, Value: t}
}

// Binary is a PT_BINARY property.
func Binary(id mapi.ID, b []byte) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeBinary, Value: b}
}

// Object is a PT_OBJECT property with its interface.
func Object(id mapi.ID, iid mapi.GUID, b []byte) mapi.Property {
	return mapi.Property{ID: id, Type: mapi.TypeObject, IID: iid, Value: b}
}

// Named gives a property a name instead of an id: a set and a number.
func Named(set mapi.GUID, lid uint32, p mapi.Property) mapi.Property {
	p.ID, p.Name = 0, mapi.Name{Set: set, LID: lid}
	return p
}

// NamedString gives a property a name instead of an id: a set and a string.
func NamedString(set mapi.GUID, name string, p mapi.Property) mapi.Property {
	p.ID, p.Name = 0, mapi.Name{Set: set, Str: name}
	return p
}

// RTF is PidTagRtfCompressed with the RTF in the LZFu form.
func RTF(text string) mapi.Property {
	return Binary(mapi.TagRtfCompressed, rtf.Compress([]byte(text)))
}

// PlainRTF is PidTagRtfCompressed with the RTF in the MELA form, which is not compressed ([MS-OXRTFCP] 2.1.3.1).
func PlainRTF(text string) mapi.Property {
	b := le32(uint32(len(text) + 12))
	b = append(b, le32(uint32(len(text)))...)
	b = append(b, le32(0x414C454D)...)
	b = append(b, le32(0)...)
	return Binary(mapi.TagRtfCompressed, append(b, text...))
}

// RTFChecksum is the checksum of compressed RTF ([MS-OXRTFCP] 2.2.3.1.1), for tests that write the header themselves.
func RTFChecksum(contents []byte) uint32 {
	return ^crc32.Update(0xFFFFFFFF, crc32.IEEETable, contents)
}

// Recipient is a row of the recipient table with an SMTP address. kind is mapi.To, mapi.Cc or mapi.Bcc.
func Recipient(kind int32, name, address string) []mapi.Property {
	return []mapi.Property{
		Long(mapi.TagRecipientType, kind), Text(mapi.TagDisplayName, name), Text(mapi.TagAddressType, "SMTP"),
		Text(mapi.TagEmailAddress, address), Text(mapi.TagSMTPAddress, address),
	}
}

// Sender is the properties that say from whom a message is.
func Sender(name, address string) []mapi.Property {
	return []mapi.Property{
		Text(mapi.TagSenderName, name), Text(mapi.TagSenderAddressType, "SMTP"), Text(mapi.TagSenderEmailAddress, address),
		Text(mapi.TagSentRepresentingName, name), Text(mapi.TagSentRepresentingAddressType, "SMTP"), Text(mapi.TagSentRepresentingEmailAddress, address),
	}
}

// Date is the data of an attDate attribute: the wall clock of t.
func Date(t time.Time) []byte {
	var b []byte
	for _, v := range []int{t.Year(), int(t.Month()), t.Day(), t.Hour(), t.Minute(), t.Second(), int(t.Weekday())} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

// Triple is the data of attFrom ([MS-OXTNEF] 2.1.3.3.3).
func Triple(name, address string) []byte {
	var b []byte
	for _, v := range []int{4, 16 + len(name) + 1 + len(address) + 1, len(name) + 1, len(address) + 1} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return append(append(append(append(b, name...), 0), address...), 0)
}

// NameAddress is the data of attOwner and attSentFor.
func NameAddress(name, address string) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(name)+1))
	b = append(append(b, name...), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(address)+1))
	return append(append(b, address...), 0)
}

// encodings are the code pages that Encode knows.
var encodings = map[int]encoding.Encoding{
	437: charmap.CodePage437, 850: charmap.CodePage850, 852: charmap.CodePage852, 855: charmap.CodePage855, 858: charmap.CodePage858,
	862: charmap.CodePage862, 866: charmap.CodePage866, 874: charmap.Windows874, 932: japanese.ShiftJIS, 936: simplifiedchinese.GBK,
	949: korean.EUCKR, 950: traditionalchinese.Big5, 1250: charmap.Windows1250, 1251: charmap.Windows1251, 1252: charmap.Windows1252,
	1253: charmap.Windows1253, 1254: charmap.Windows1254, 1255: charmap.Windows1255, 1256: charmap.Windows1256, 1257: charmap.Windows1257,
	1258: charmap.Windows1258, 20866: charmap.KOI8R, 28591: charmap.ISO8859_1, 28592: charmap.ISO8859_2, 28595: charmap.ISO8859_5,
	28605: charmap.ISO8859_15, 50220: japanese.ISO2022JP, 51932: japanese.EUCJP, 54936: simplifiedchinese.GB18030, 65001: encoding.Nop,
	1200: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
}

// Encode encodes text in a Windows code page; 0 means 1252. Characters that it does not have become question marks.
func Encode(codepage int, s string) []byte {
	if codepage == 0 {
		codepage = 1252
	}
	e, ok := encodings[codepage]
	if !ok {
		panic(fmt.Sprintf("tneftest: no encoder for code page %d", codepage))
	}
	enc := e.NewEncoder()
	if b, err := enc.Bytes([]byte(s)); err == nil {
		return b
	}
	var out []byte
	for _, r := range s {
		b, err := e.NewEncoder().Bytes([]byte(string(r)))
		if err != nil {
			b = []byte("?")
		}
		out = append(out, b...)
	}
	return out
}

// Lines joins lines with CRLF, each ended.
func Lines(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n" }
