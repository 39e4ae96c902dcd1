package tnef_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rtf"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func decode(t testing.TB, s tneftest.Stream) *tnef.Message {
	t.Helper()
	m, err := tnef.Decode(s.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// everyType has a property of every type, single and multi-valued, plain and named.
func everyType() []mapi.Property {
	one := []struct {
		t    mapi.Type
		a, b any
	}{
		{mapi.TypeI2, int16(-2), int16(7)}, {mapi.TypeLong, int32(-100000), int32(5)}, {mapi.TypeFloat, float32(1.5), float32(-2)},
		{mapi.TypeDouble, 2.25, math.Inf(1)}, {mapi.TypeCurrency, int64(12345), int64(-1)},
		{mapi.TypeAppTime, time.Date(2025, 6, 3, 12, 0, 0, 0, time.UTC), time.Date(1950, 1, 2, 6, 0, 0, 0, time.UTC)},
		{mapi.TypeI8, int64(1) << 40, int64(-9)}, {mapi.TypeTime, when, when.AddDate(-300, 0, 0).Add(time.Microsecond)},
		{mapi.TypeGUID, mapi.SetTask, mapi.SetMeeting}, {mapi.TypeUnicode, "Größe 漢字 😀", ""}, {mapi.TypeBinary, []byte{1, 2, 3}, []byte{}},
		{mapi.TypeString8, "Größe", "x"},
	}
	list := []mapi.Property{tneftest.Bool(0x6000, true), tneftest.Bool(0x6001, false), tneftest.Object(0x6002, mapi.IIDStream, []byte("object")),
		{ID: 0x6003, Type: mapi.TypeError, Value: uint32(0x8004010F)}}
	for i, x := range one {
		id := mapi.ID(0x6100 + i)
		list = append(list, mapi.Property{ID: id, Type: x.t, Value: x.a}, mapi.Property{ID: id + 0x100, Type: x.t, Multi: true, Value: []any{x.a, x.b}},
			mapi.Property{ID: id + 0x200, Type: x.t, Multi: true, Value: []any{}},
			tneftest.Named(mapi.SetCommon, uint32(0x8500+i), mapi.Property{Type: x.t, Value: x.b}),
			tneftest.NamedString(mapi.SetPublicStrings, fmt.Sprintf("Name%d", i), mapi.Property{Type: x.t, Multi: true, Value: []any{x.b}}))
	}
	return list
}

func TestEveryPropertyType(t *testing.T) {
	want := everyType()
	s := tneftest.Stream{Codepage: 1252, Props: want}
	m := decode(t, s)
	if len(m.Warnings) > 0 || len(m.Props.List) != len(want) {
		t.Fatalf("%d of %d properties, %q", len(m.Props.List), len(want), m.Warnings)
	}
	for i, got := range m.Props.List {
		w := want[i]
		if w.ID == 0 {
			w.ID = got.ID
		}
		got.Raw = nil
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("property %d: %s", i, diff)
		}
	}
}

// Some writers pad only the end of a list of two-octet values.
func TestUnpaddedShorts(t *testing.T) {
	data := []byte("\x02\x00\x00\x00\x02\x10\x00\x60\x03\x00\x00\x00\x01\x00\x02\x00\x03\x00\x00\x00\x03\x00\x01\x60\x07\x00\x00\x00")
	m := decode(t, tneftest.Stream{Attributes: []tneftest.Attribute{{ID: tneftest.AttMsgProps, Data: data}}})
	if diff := cmp.Diff([]any{int16(1), int16(2), int16(3)}, m.Props.Find(0x6000).Value); diff != "" {
		t.Error(diff)
	}
	if v, _ := m.Props.Int(0x6001); v != 7 || len(m.Warnings) != 0 {
		t.Errorf("%d %q", v, m.Warnings)
	}
}

func TestLookups(t *testing.T) {
	s := tneftest.Stream{Props: []mapi.Property{
		tneftest.Named(mapi.SetAppointment, 0x8208, tneftest.Text(0, "Room 1")), tneftest.NamedString(mapi.SetInternetHeaders, "x-mailer", tneftest.Text(0, "Test")),
		tneftest.Long(mapi.TagImportance, 2), tneftest.Bool(mapi.TagRtfInSync, true), tneftest.Time(mapi.TagClientSubmitTime, when),
		{ID: mapi.TagSensitivity, Type: mapi.TypeError, Value: uint32(1)}}}
	p := decode(t, s).Props
	if got := p.FindNamed(mapi.SetAppointment, 0x8208).Text(); got != "Room 1" {
		t.Errorf("by LID: %q", got)
	}
	if got := p.FindString(mapi.SetInternetHeaders, "X-Mailer").Text(); got != "Test" {
		t.Errorf("by name: %q", got)
	}
	if p.FindNamed(mapi.SetTask, 0x8208) != nil || p.FindString(mapi.SetPublicStrings, "x-mailer") != nil {
		t.Error("found in the wrong set")
	}
	if v, ok := p.Int(mapi.TagImportance); !ok || v != 2 || !p.Bool(mapi.TagRtfInSync) || p.Has(mapi.TagSensitivity) {
		t.Error("values")
	}
	if got, ok := p.Time(mapi.TagClientSubmitTime); !ok || !got.Equal(when) {
		t.Errorf("%v", got)
	}
}

// What only an attribute says is a property too; what a property says wins.
func TestAttributesBecomeProperties(t *testing.T) {
	local := time.Date(2025, 6, 3, 10, 0, 5, 0, time.UTC)
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Microsoft Schedule.MtgReq", Attributes: []tneftest.Attribute{
		{ID: tneftest.AttSubject, Data: []byte("Subject by attribute\x00")}, {ID: tneftest.AttBody, Data: []byte("Body\x00junk")},
		{ID: tneftest.AttDateSent, Data: tneftest.Date(local)}, {ID: tneftest.AttPriority, Data: []byte{1, 0}},
		{ID: tneftest.AttFrom, Data: tneftest.Triple("Kim Akers", "smtp:kim@contoso.com")}, {ID: tneftest.AttOwner, Data: tneftest.NameAddress("Boss", "SMTP:boss@contoso.com")},
		{ID: tneftest.AttMessageStatus, Data: []byte{0x80 | 0x20}}, {ID: tneftest.AttAidOwner, Data: []byte{1, 2, 3, 4}}, {ID: tneftest.AttRequestRes, Data: []byte{1, 0}},
		{ID: tneftest.AttDateStart, Data: tneftest.Date(local)},
	}}
	m := decode(t, s)
	if m.Class != "IPM.Schedule.Meeting.Request" || m.Props.Text(mapi.TagSubject) != "Subject by attribute" || m.Props.Text(mapi.TagBody) != "Body" {
		t.Errorf("%s %q %q", m.Class, m.Props.Text(mapi.TagSubject), m.Props.Text(mapi.TagBody))
	}
	x := m.Props.Find(mapi.TagClientSubmitTime)
	if got, _ := x.Time(); !got.Equal(local) || x.Attribute != tneftest.AttDateSent {
		t.Errorf("%v", x)
	}
	if got := m.Sender(); got != (mapi.Mailbox{Name: "Kim Akers", Address: "kim@contoso.com"}) {
		t.Errorf("sender %+v", got)
	}
	if got := m.Representing(); got != (mapi.Mailbox{Name: "Boss", Address: "boss@contoso.com"}) {
		t.Errorf("representing %+v", got)
	}
	for id, want := range map[mapi.ID]int64{mapi.TagImportance: 2, mapi.TagOwnerAppointmentID: 0x04030201, mapi.TagResponseRequested: 1, mapi.TagMessageFlags: 0x13} {
		if got, ok := m.Props.Int(id); !ok || got != want {
			t.Errorf("0x%04X: %d, want %d", uint16(id), got, want)
		}
	}
	s.Props = []mapi.Property{tneftest.Text(mapi.TagSubject, "Subject by property"), tneftest.Text(mapi.TagMessageClass, "IPM.Note")}
	if m = decode(t, s); m.Props.Text(mapi.TagSubject) != "Subject by property" || m.Class != "IPM.Note" {
		t.Errorf("%q %s", m.Props.Text(mapi.TagSubject), m.Class)
	}
}

func TestClasses(t *testing.T) {
	for in, want := range map[string]string{"": "IPM.Note", "IPM.Microsoft Mail.Note": "IPM.Note", "IPM.Microsoft Mail.Read Receipt": "Report.IPM.Note.IPNRN",
		"IPM.Microsoft Mail.Non-Delivery": "Report.IPM.Note.NDR", "IPM.MICROSOFT SCHEDULE.MTGCNCL": "IPM.Schedule.Meeting.Canceled", "IPM.Own.Class": "IPM.Own.Class"} {
		if got := decode(t, tneftest.Stream{Class: in}).Class; got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, x := range []struct {
		class, prefix string
		want          bool
	}{{"IPM.Note", "ipm.note", true}, {"IPM.Note.SMIME", "IPM.Note", true}, {"IPM.Notes", "IPM.Note", false}, {"IPM", "IPM.Note", false}} {
		if mapi.ClassIs(x.class, x.prefix) != x.want {
			t.Errorf("%+v", x)
		}
	}
}

func TestDamagedStreams(t *testing.T) {
	base := func(d tneftest.Damage) tneftest.Stream {
		return tneftest.Stream{Codepage: 1251, Damage: d, Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, "Отчёт"), tneftest.Text8(mapi.TagBody, "Текст")},
			Attachments: []tneftest.Attachment{{Title: "a.txt", Data: []byte("first")}, {Title: "b.txt", Data: bytes.Repeat([]byte("second"), 100)}}}
	}
	tests := []struct {
		name    string
		damage  tneftest.Damage
		files   int
		last    int // octets of the last file
		warning string
	}{
		{"sound", tneftest.Damage{}, 2, 600, ""},
		{"wrong checksums", tneftest.Damage{BadChecksum: true}, 2, 600, "wrong checksum"},
		{"properties before the code page", tneftest.Damage{PropsFirst: true}, 2, 600, ""},
		{"garbage at the end", tneftest.Damage{Trailing: []byte("\x07garbage")}, 2, 600, "not understood"},
		{"line ending at the end", tneftest.Damage{Trailing: []byte("\r\n")}, 2, 600, ""},
		{"cut in the last file", tneftest.Damage{CutAt: -300}, 2, 302, "stream ends after"},
		{"cut in the last checksum", tneftest.Damage{CutAt: -1}, 2, 600, "before the checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := decode(t, base(tt.damage))
			if got := m.Props.Text(mapi.TagSubject); got != "Отчёт" {
				t.Errorf("subject %q", got)
			}
			if len(m.Attachments) != tt.files || len(m.Attachments[tt.files-1].Data) != tt.last {
				t.Errorf("%d files, %d octets in the last", len(m.Attachments), len(m.Attachments[len(m.Attachments)-1].Data))
			}
			if all := strings.Join(m.Warnings, "\n"); (tt.warning == "") != (all == "") || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want %q", all, tt.warning)
			}
		})
	}
	bad := base(tneftest.Damage{BadSignature: true})
	for _, b := range [][]byte{bad.Bytes(), nil, []byte("x"), {0x78, 0x9f, 0x3e}} {
		if _, err := tnef.Decode(b, nil); !errors.Is(err, tnef.ErrNotTNEF) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// Every cut of a stream that has everything gives an answer, and no more warnings than one needs.
func TestEveryTruncation(t *testing.T) {
	inner := &tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}}
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Note", Props: everyType(), Recipients: [][]mapi.Property{tneftest.Recipient(mapi.To, "Kim", "kim@contoso.com")},
		Attributes:  []tneftest.Attribute{{ID: tneftest.AttFrom, Data: tneftest.Triple("Kim", "SMTP:kim@contoso.com")}, {ID: tneftest.AttDateSent, Data: tneftest.Date(when)}},
		Attachments: []tneftest.Attachment{pdf, {Message: inner}, {Storage: tneftest.CompoundFile(tneftest.StorageStream{Name: "CONTENTS", Data: []byte("BMx")})}}}
	whole := s.Bytes()
	step := 1
	if raceEnabled {
		step = 13
	}
	for n := 0; n < len(whole); n += step {
		var out bytes.Buffer
		_, err := tnef.ConvertStream(&out, whole[:n], nil)
		if n < 4 != errors.Is(err, tnef.ErrNotTNEF) {
			t.Fatalf("%d octets: %v", n, err)
		}
		if err == nil {
			parseMessage(t, out.Bytes())
		}
	}
}

func TestAttachmentGrouping(t *testing.T) {
	raw := func(id uint32, data string) tneftest.Attribute {
		return tneftest.Attribute{Level: 2, ID: id, Data: []byte(data)}
	}
	rend := raw(tneftest.AttAttachRendData, strings.Repeat("\x00", 14))
	title := func(s string) tneftest.Attribute { return raw(tneftest.AttAttachTitle, s+"\x00") }
	data := func(s string) tneftest.Attribute { return raw(tneftest.AttAttachData, s) }
	tests := []struct {
		name  string
		attrs []tneftest.Attribute
		want  string
	}{
		{"as it should be", []tneftest.Attribute{rend, title("a"), data("1"), rend, title("b"), data("2")}, "a=1 b=2"},
		{"data before title", []tneftest.Attribute{rend, data("1"), title("a"), rend, data("2"), title("b")}, "a=1 b=2"},
		{"no rendering data", []tneftest.Attribute{title("a"), data("1"), title("b"), data("2")}, "a=1 b=2"},
		{"title first", []tneftest.Attribute{title("a"), rend, data("1"), title("b"), rend, data("2")}, "a=1 b=2"},
		{"no rendering data at first", []tneftest.Attribute{title("a"), data("1"), rend, title("b"), data("2")}, "a=1 b=2"},
		{"level says message", []tneftest.Attribute{{Level: 1, ID: tneftest.AttAttachRendData, Data: make([]byte, 14)}, {Level: 1, ID: tneftest.AttAttachData, Data: []byte("1")}}, "=1"},
		{"other type words", []tneftest.Attribute{rend, raw(0x00028010, "a"), raw(0x0000800F, "1")}, "a=1"},
		{"two data", []tneftest.Attribute{rend, data("1"), data("2")}, "=1 =2"},
	}
	for _, tt := range tests {
		m := decode(t, tneftest.Stream{Attributes: tt.attrs})
		var list []string
		for _, a := range m.Attachments {
			list = append(list, a.RawName()+"="+string(a.Data))
		}
		if got := strings.Join(list, " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestAttachmentMethods(t *testing.T) {
	long := func(id mapi.ID, v int32) []mapi.Property { return []mapi.Property{tneftest.Long(id, v)} }
	inner := &tneftest.Stream{Props: []mapi.Property{textProp}}
	tests := []struct {
		name string
		in   tneftest.Attachment
		want mapi.Method
		data int
	}{
		{"by value", tneftest.Attachment{Data: []byte("abc"), Props: long(mapi.TagAttachMethod, 1)}, mapi.MethodByValue, 3},
		{"by value, no method", tneftest.Attachment{Data: []byte("abc")}, mapi.MethodByValue, 3},
		{"by value, in properties", tneftest.Attachment{Data: []byte("abcd"), InProps: true}, mapi.MethodByValue, 4},
		{"message", tneftest.Attachment{Message: inner}, mapi.MethodEmbedded, len(inner.Bytes())},
		{"message, method says value", tneftest.Attachment{Message: inner, Props: long(mapi.TagAttachMethod, 1)}, mapi.MethodEmbedded, len(inner.Bytes())},
		{"message in attAttachData", tneftest.Attachment{Data: inner.Bytes(), Props: long(mapi.TagAttachMethod, 5)}, mapi.MethodEmbedded, len(inner.Bytes())},
		{"OLE", tneftest.Attachment{Storage: []byte("xyz")}, mapi.MethodOLE, 3},
		{"link", tneftest.Attachment{Props: long(mapi.TagAttachMethod, 7)}, mapi.MethodWebReference, 0},
	}
	for _, tt := range tests {
		m := decode(t, tneftest.Stream{Attachments: []tneftest.Attachment{tt.in}})
		a := m.Attachments[0]
		if a.Method != tt.want || len(a.Data) != tt.data || (tt.want == mapi.MethodEmbedded) != (a.Message != nil) {
			t.Errorf("%s: method %d, %d octets, message %v %q", tt.name, a.Method, len(a.Data), a.Message != nil, m.Warnings)
		}
	}
}

// Data are parts of the input: a large attachment costs no memory.
func TestDataAreNotCopied(t *testing.T) {
	b := bigStream(8 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := tnef.Decode(b, nil)
	runtime.ReadMemStats(&after)
	if err != nil || len(m.Attachments[0].Data) != 8<<20 {
		t.Fatal(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d octets allocated", got)
	}
}

func TestLimits(t *testing.T) {
	nest := &tneftest.Stream{Props: []mapi.Property{textProp}}
	for range 40 {
		nest = &tneftest.Stream{Attachments: []tneftest.Attachment{{Message: nest}}}
	}
	var manyProps []mapi.Property
	for i := range 70_000 {
		manyProps = append(manyProps, tneftest.Long(mapi.ID(i%0x7000), 1))
	}
	var rows [][]mapi.Property
	for range 20_001 {
		rows = append(rows, nil)
	}
	huge := make([]any, 70_000)
	for i := range huge {
		huge[i] = int32(i)
	}
	tests := []struct {
		name, want string
		s          tneftest.Stream
	}{
		{"depth", "nested more than 25 deep", *nest},
		{"properties", "more than 65536 properties", tneftest.Stream{Props: manyProps}},
		{"values", "more than 65536 property values", tneftest.Stream{Props: []mapi.Property{{ID: 1, Type: mapi.TypeLong, Multi: true, Value: huge}}}},
		{"recipients", "more than 20000 recipients", tneftest.Stream{Recipients: rows}},
	}
	for _, tt := range tests {
		m := decode(t, tt.s)
		if all := strings.Join(m.Warnings, "\n"); !strings.Contains(all, tt.want) {
			t.Errorf("%s: %.300q", tt.name, all)
		}
	}
}

// hostileAttr and the others write octets that tneftest, being honest, does not.
func hostileAttr(level byte, id uint32, length uint32, data []byte) []byte {
	b := append([]byte{level}, binary.LittleEndian.AppendUint32(nil, id)...)
	b = append(binary.LittleEndian.AppendUint32(b, length), data...)
	return append(b, 0, 0)
}

func hostileStream(parts ...[]byte) []byte {
	return append([]byte("\x78\x9f\x3e\x22\x01\x00"), bytes.Join(parts, nil)...)
}

func hostileProps(data []byte) []byte {
	return hostileStream(hostileAttr(1, tneftest.AttMsgProps, uint32(len(data)), data))
}

func u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func rtfStream(b []byte) []byte {
	s := tneftest.Stream{Props: []mapi.Property{tneftest.Binary(mapi.TagRtfCompressed, b)}}
	return s.Bytes()
}

// declared are short streams that declare what they don't have.
func declared() map[string][]byte {
	attr := hostileAttr
	return map[string][]byte{
		"attribute longer than the stream": hostileStream(attr(1, tneftest.AttBody, 0xFFFFFFFF, nil)),
		"4G properties":                    hostileProps(u32(0xFFFFFFFF)),
		"4G values":                        hostileProps(u32(1, 0x60001003, 0xFFFFFFFF)),
		"4G short values":                  hostileProps(u32(1, 0x60001002, 0xFFFFFFFF)),
		"4G strings":                       hostileProps(u32(1, 0x6000101F, 0xFFFFFFFF)),
		"4G string":                        hostileProps(u32(1, 0x6000001F, 1, 0xFFFFFFFF)),
		"4G name":                          hostileProps(append(u32(1, 0x80000003), append(make([]byte, 16), u32(1, 0xFFFFFFFF)...)...)),
		"4G rows":                          hostileStream(attr(1, tneftest.AttRecipTable, 4, u32(0xFFFFFFFF))),
		"short attributes":                 hostileStream(attr(1, tneftest.AttTnefVersion, 1, []byte{1}), attr(1, tneftest.AttDateSent, 3, []byte{1, 2, 3}), attr(1, tneftest.AttOemCodepage, 0, nil), attr(1, tneftest.AttFrom, 2, []byte{4, 0})),
		"RTF says 4G":                      rtfStream(append(u32(0xFFFFFFFF, 0xFFFFFFFF, 0x75465A4C, 0), 0xFF, 0, 0)),
	}
}

// hostile are streams that declare what they don't have, or ask for more work than they are long.
func hostile() map[string][]byte {
	attr := hostileAttr
	bomb := tneftest.Stream{Props: []mapi.Property{tneftest.RTF(`{\rtf1 ` + strings.Repeat("a", 4<<20) + "}")}}
	html := tneftest.Stream{Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, []byte(strings.Repeat("<div>", 1<<18)+strings.Repeat("src=cid:", 1<<18)))}}
	names := tneftest.Stream{Props: []mapi.Property{htmlProp}}
	for range 5000 {
		names.Attachments = append(names.Attachments, tneftest.Attachment{Title: strings.Repeat("a", 300), Data: []byte("x")})
	}
	cfbLoop := tneftest.CompoundFile(tneftest.StorageStream{Name: "CONTENTS", Data: make([]byte, 8192)})
	for i := 512; i+4 <= len(cfbLoop); i += 4 {
		if v := binary.LittleEndian.Uint32(cfbLoop[i:]); v != 0xFFFFFFFF && v > 0 && v < 64 {
			binary.LittleEndian.PutUint32(cfbLoop[i:], 1)
		}
	}
	ole := tneftest.Stream{Attachments: []tneftest.Attachment{{Storage: cfbLoop}}}
	list := declared()
	for name, b := range map[string][]byte{
		"empty rows":                hostileStream(attr(1, tneftest.AttRecipTable, 1<<20, append(u32(1<<18), make([]byte, 1<<20-4)...))),
		"empty strings":             hostileProps(append(u32(1, 0x6000101E, 1<<18), make([]byte, 1<<20)...)),
		"many attributes":           hostileStream(bytes.Repeat(attr(1, tneftest.AttSubject, 0, nil), 120_000)),
		"many attachments":          hostileStream(bytes.Repeat(attr(2, tneftest.AttAttachRendData, 0, nil), 60_000)),
		"RTF bomb":                  bomb.Bytes(),
		"RTF groups":                rtfStream(tneftest.PlainRTF(strings.Repeat("{", 1<<20)).Value.([]byte)),
		"references":                html.Bytes(),
		"equal names":               names.Bytes(),
		"compound file in a circle": ole.Bytes(),
	} {
		list[name] = b
	}
	return list
}

// repeated is RTF that says one thing again and again.
type repeated struct{ before, unit, after string }

// pack compresses n octets of it as well as the format can ([MS-OXRTFCP] 2.2.3): references of 17 octets, to what is one or more units back.
func (r repeated) pack(n int) []byte {
	const preset, window, longest = 207, 4096, 17
	out := make([]byte, 16, n/8+1<<10)
	at, control, bits := preset, 0, 8
	token := func(reference bool, b ...byte) {
		if bits == 8 {
			control, bits = len(out), 0
			out = append(out, 0)
		}
		if reference {
			out[control] |= 1 << bits
		}
		bits++
		out = append(out, b...)
	}
	literal := func(s string) {
		for i := range len(s) {
			token(false, s[i])
		}
		at += len(s)
	}
	refer := func(distance, length int) {
		ref := (at-distance)%window<<4 | (length - 2)
		token(true, byte(ref>>8), byte(ref))
		at += length
	}
	literal(r.before)
	if r.unit != "" {
		literal(r.unit)
		for end := preset + len(r.before) + len(r.unit)*(n/len(r.unit)); at < end; {
			if end-at == 1 { // references are of two octets at least
				literal(r.unit[len(r.unit)-1:])
				break
			}
			refer(len(r.unit), min(longest, end-at))
		}
	}
	literal(r.after)
	token(true, byte(at%window<<4>>8), byte(at%window<<4))
	le := binary.LittleEndian
	le.PutUint32(out, uint32(len(out)-4))
	le.PutUint32(out[4:], uint32(at-preset))
	copy(out[8:], "LZFu")
	le.PutUint32(out[12:], ^crc32.Update(^uint32(0), crc32.IEEETable, out[16:]))
	return out
}

// greedyRTF are bodies that become as much as they can.
func greedyRTF() map[string]repeated {
	list := map[string]repeated{}
	for name, r := range map[string]repeated{
		"text":               {"", "a", ""},
		"words":              {"", "contoso ", ""},
		"dashes":             {"", "-", ""},
		"blanks":             {"", " ", ""},
		"paragraphs":         {"", `\par`, ""},
		"formats":            {"", `\b a\b0 b`, ""},
		"escapes":            {"", `\'80`, ""},
		"tabs":               {"", `\tab`, ""},
		"markup":             {"", "<", ""},
		"cells":              {`\trowd\cellx9\intbl`, `\cell\row`, ""},
		"bordered cells":     {`\trowd\clbrdrt\brdrs\brdrcf1\clbrdrl\brdrdb\brdrw7\clcbpat1\cellx9\intbl`, `\cell\row`, ""},
		"one large cell":     {`\trowd\cellx9\intbl `, "a b ", `\cell\row`},
		"large cells":        {`\trowd\cellx9\intbl `, strings.Repeat("a ", 1500) + `\cell\row`, ""},
		"nested tables":      {"", `\itap1 a\cell\itap6 b\nestcell`, ""},
		"large nested table": {`\itap1 a\par\itap2 a\par\itap3 a\par\itap4 a\par\itap5 a\par\itap6 `, `a\par `, `\nestcell\nestrow\itap1\cell\row`},
		"lists":              {"", `{\pntext *}a\par`, ""},
		"counted lists":      {`{\*\listtable{\list{\listlevel{\leveltext\'02\'00.;}}\listid1}}{\*\listoverridetable{\listoverride\listid1\ls1}}\ls1 `, `\par`, ""},
		"links":              {"", `{\field{\*\fldinst HYPERLINK "http://a"}{\fldrslt b}}`, ""},
		"one long link":      {`{\field{\*\fldinst HYPERLINK "http://a"}{\fldrslt `, "b ", "}}"},
		"fields":             {"", `{\field}`, ""},
		"picture":            {`{\pict\pngblip 89504e470d0a1a0a`, "00", "}"},
		"bitmap":             {`{\pict\dibitmap0 280000000100000001000000010018000000000004000000000000000000000000000000000000000000ff00`, "00", "}"},
		"metafile":           {`{\pict\wmetafile8 0100090000030000000000000000000000000500000013020000000000`, "00", "}"},
		"pictures":           {"", `{\pict\pngblip 89504e470d0a1a0a0000}`, ""},
		"empty pictures":     {"", `{\pict}`, ""},
		"objects":            {"", `\objattph\'20`, ""},
		"groups":             {"", "{", ""},
		"styles":             {`{\stylesheet`, `{\s1\b;}`, "}x"},
		"use of a style":     {`{\stylesheet{\s1\b\i;}}`, `\s1 x\par`, ""},
		"list table":         {`{\*\listtable`, `{\list{\listlevel}\listid1}`, "}x"},
		"old lists":          {"", `{\*\pn\pndec}x\par`, ""},
		"paragraph borders":  {"", `\pard\box\brdrs x\par`, ""},
		"fonts":              {`{\fonttbl`, `{\f1 A;}`, "}x"},
		"colours":            {`{\colortbl`, ";", "}x"},
		"unicode":            {"", `\u-10179?`, ""},
		"one long paragraph": {"", `a\line `, ""},
		"notes":              {"", `{\footnote a}`, ""},
	} {
		list["RTF: "+name] = repeated{`{\rtf1\ansi{\colortbl;\red1\green2\blue3;}` + r.before, r.unit, r.after + "}"}
	}
	for name, r := range map[string]repeated{
		"text": {"", "a", ""}, "markup": {"", "<", ""}, "escapes": {"", `\'80`, ""}, "raw": {"", "\x80", ""}, "UTF-8": {"", "\u20ac", ""}, "lines": {"", `\par`, ""},
		"symbols": {"", `\u8364?`, ""}, "objects": {"", `\objattph\'20`, ""}, "tags": {`{\*\htmltag `, "<br>", "}"}, "rules": {`{\*\htmltag `, "<hr>", "}"},
		"meta": {`{\*\htmltag `, "<meta charset=x>", "}"}, "links": {`{\*\htmltag `, `<a href="http://a">b</a>`, "}"}, "references": {`{\*\htmltag `, "&#8364;", "}"},
		"items":      {`{\*\htmltag ` + strings.Repeat("<ol type=i>", 9), "<li>", "}"},
		"quotations": {`{\*\htmltag ` + strings.Repeat("<blockquote>", 9), "<br>", "}"},
		"blanks":     {`{\*\htmltag <pre>`, " ", "}"},
	} {
		list["HTML in RTF: "+name] = repeated{`{\rtf1\ansi\fromhtml1 ` + r.before, r.unit, r.after + "}"}
		list["text in RTF: "+name] = repeated{`{\rtf1\ansi\fromtext ` + r.before, r.unit, r.after + "}"}
	}
	for cp, unit := range map[string]string{"932": "\x93\xfa", "936": "\xd6\xd0", "949": "\xc7\xd1", "950": "\xa4\xa4", "1251": "\xcf", "65001": "\u20ac"} {
		list["raw text in RTF: "+cp] = repeated{`{\rtf1\ansi\ansicpg` + cp + `\fromhtml1 `, unit, "}"}
		list["raw RTF: "+cp] = repeated{`{\rtf1\ansi\ansicpg` + cp + " ", unit, "}"}
	}
	return list
}

// greedy are streams whose content becomes as much as it can: n says how much RTF or HTML there is. Only those that are wanted are made.
func greedy(n int, want func(name string) bool) map[string]tneftest.Stream {
	rep := func(s string) string { return strings.Repeat(s, n/len(s)/4) }
	list := map[string]tneftest.Stream{}
	for name, r := range greedyRTF() {
		if want(name) {
			list[name] = tneftest.Stream{Props: []mapi.Property{tneftest.Binary(mapi.TagRtfCompressed, r.pack(n))}}
		}
	}
	for name, body := range map[string]string{
		"text": rep("a"), "lines": rep("\n"), "8-bit": rep("\x80"), "8-bit lines": rep("\x80\n"), "invalid": rep("\xff\x80\n"), "cid": rep("src=cid:"), "rules": rep("<hr>"), "attributes": "<p " + rep("a=b "),
		"UTF-16": "\xff\xfe" + rep("\x20\xac"), "one attribute": `<img src="` + rep("data") + `">`, "references": rep("&amp;"), "comments": rep("<!--"), "fonts": rep("<font face=Wingdings>"),
		"wide": "<body>" + rep("<table><tr><td>"), "meta": "<meta charset=iso-8859-1>" + rep("\x80\n"),
	} {
		if !want("HTML: " + name) {
			continue
		}
		list["HTML: "+name] = tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, []byte(body))}, Attachments: []tneftest.Attachment{{Title: "a.txt", Data: []byte("x")}}}
		list["text: "+name] = tneftest.Stream{Codepage: 1252, Props: []mapi.Property{{ID: mapi.TagBody, Type: mapi.TypeString8, Value: body}}}
	}
	return list
}

// slowly are the streams that are large even with the race detector, which makes everything about ten times as slow.
var slowly = map[string]bool{
	"RTF: text": true, "RTF: paragraphs": true, "RTF: picture": true, "RTF: bordered cells": true, "HTML in RTF: text": true, "HTML in RTF: tags": true,
}

// TestMemory: no conversion allocates more than 20 times its input and 16 MiB, all together and garbage included, and what is too much is cut with
// a warning, but never lost.
func TestMemory(t *testing.T) {
	large, small := 4<<20, 128<<10
	if raceEnabled {
		large, small = 2<<20, 32<<10
	}
	attached := tneftest.Attachment{Title: "kept.txt", Data: []byte("kept")}
	run := func(name string, s tneftest.Stream) {
		t.Run(name, func(t *testing.T) {
			s.Attachments = append(s.Attachments, attached)
			stream := s.Bytes()
			checkMemory(t, len(stream), func(w io.Writer) error {
				_, err := tnef.ConvertStream(w, stream, nil)
				return err
			})
		})
	}
	for name, s := range greedy(small, func(string) bool { return true }) {
		run(name+", small", s)
	}
	for name, s := range greedy(large, func(name string) bool { return slowly[name] || !raceEnabled }) {
		run(name, s)
	}
}

// TestRepeated: what pack writes is what it says.
func TestRepeated(t *testing.T) {
	for name, r := range greedyRTF() {
		got, warnings, err := rtf.Decompress(r.pack(5000), 0)
		want := r.before + strings.Repeat(r.unit, 5000/len(r.unit)) + r.after
		if err != nil || len(warnings) > 0 || string(got) != want {
			t.Errorf("%s: %.200q, want %.200q, %q, %v", name, got, want, warnings, err)
		}
	}
}

// TestMemoryOfMany: the same for many bodies in one message.
func TestMemoryOfMany(t *testing.T) {
	n := 400
	if raceEnabled {
		n = 40
	}
	bomb := tneftest.Stream{Props: []mapi.Property{tneftest.RTF(`{\rtf1 ` + strings.Repeat(`\par`, 40<<10) + "}")}}
	many := tneftest.Stream{Props: []mapi.Property{textProp}}
	for range n {
		many.Attachments = append(many.Attachments, tneftest.Attachment{Message: &bomb})
	}
	nested := &bomb
	for range 24 {
		nested = &tneftest.Stream{Props: bomb.Props, Attachments: []tneftest.Attachment{{Message: nested}, {Title: "winmail.dat", Data: nested.Bytes()}}}
		if len(nested.Bytes()) > n<<13 {
			break
		}
	}
	var parts strings.Builder
	parts.WriteString(header + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range n / 2 {
		parts.WriteString("--b\r\nContent-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n" + tneftest.Base64(bomb.Bytes()) + "\r\n")
	}
	parts.WriteString("--b--\r\n")
	for name, msg := range map[string][]byte{
		"attached messages": tneftest.Wrap(header, "", many.Bytes()),
		"nested messages":   tneftest.Wrap(header, "", nested.Bytes()),
		"parts":             []byte(parts.String()),
	} {
		t.Run(name, func(t *testing.T) {
			checkMemory(t, len(msg), func(w io.Writer) error {
				_, err := tnef.ConvertMessage(w, msg, nil)
				return err
			})
		})
	}
}

func checkMemory(t *testing.T, input int, convert func(w io.Writer) error) {
	t.Helper()
	var before, after runtime.MemStats
	w := &keeper{want: []byte("a2VwdA=="), found: strings.Contains(t.Name(), "OfMany")} // "kept", in base64
	runtime.ReadMemStats(&before)
	err := convert(w)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	used, limit := after.TotalAlloc-before.TotalAlloc, uint64(20*input)+16<<20
	if used > limit {
		t.Errorf("%d octets allocated for %d: %.1f times; %d are allowed", used, input, float64(used)/float64(input), limit)
	}
	if !w.found {
		t.Error("the attachment is lost")
	}
	t.Logf("%d octets of input, %d allocated, %d of output", input, used, w.n)
}

// keeper looks for an octet string in what is written, and keeps none of it.
type keeper struct {
	want  []byte
	found bool
	n     int
}

func (k *keeper) Write(b []byte) (int, error) {
	k.n += len(b)
	k.found = k.found || bytes.Contains(b, k.want)
	return len(b), nil
}

func TestHostileStreams(t *testing.T) {
	for name, b := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			msg := tneftest.Wrap(header, "", b)
			runtime.ReadMemStats(&before)
			start := time.Now()
			if _, err := tnef.ConvertMessage(io.Discard, msg, nil); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if _, err := tnef.Inspect(b, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := tnef.Extract(b, nil); err != nil {
				t.Fatal(err)
			}
			// The text says 1 s; ten leave room for the race detector on a busy machine.
			if took > 10*time.Second {
				t.Errorf("%v", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 20*uint64(len(b))+16<<20 && !raceEnabled {
				t.Errorf("%d octets allocated for a stream of %d", used, len(b))
			}
		})
	}
}
