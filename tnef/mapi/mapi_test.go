package mapi

import (
	"testing"
	"time"
)

func TestGUID(t *testing.T) {
	const s = "00062002-0000-0000-c000-000000000046"
	if got := SetAppointment.String(); got != s {
		t.Errorf("%s", got)
	}
	if ParseGUID(s) != SetAppointment || ParseGUID("nonsense") != (GUID{}) || ParseGUID("00") != (GUID{}) {
		t.Error("ParseGUID")
	}
	if got := SetMeeting.String(); got != "6ed8da90-450b-101b-98da-00aa003f1305" {
		t.Errorf("%s", got)
	}
}

func TestFiletime(t *testing.T) {
	for _, tt := range []struct {
		v    uint64
		want time.Time
	}{
		{0, time.Time{}}, {filetimeMax, time.Time{}}, {1<<64 - 1, time.Time{}}, {1, time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC)},
		{116444736000000000, time.Unix(0, 0).UTC()}, {filetimeMax - 1, time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC)},
	} {
		got := Filetime(tt.v)
		if !got.Equal(tt.want) {
			t.Errorf("%d: %v, want %v", tt.v, got, tt.want)
		}
		if !got.IsZero() && ToFiletime(got) != tt.v {
			t.Errorf("%d came back as %d", tt.v, ToFiletime(got))
		}
	}
	if ToFiletime(time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)) != 0 {
		t.Error("before the epoch")
	}
}

func props(list ...Property) Props { return Props{List: list} }

func TestGettersOfAbsentAndOtherTypes(t *testing.T) {
	p := props(Property{ID: TagSubject, Type: TypeLong, Value: int32(3)}, Property{ID: TagBody, Type: TypeError, Value: uint32(1)}, Property{ID: TagHTML, Type: TypeNull},
		Property{ID: TagClientSubmitTime, Type: TypeTime, Value: time.Time{}}, Property{ID: TagImportance, Type: TypeI2, Value: int16(2)}, Property{ID: 0x6000, Type: TypeUnicode, Value: "a\x00\x00"})
	if p.Text(TagSubject) != "" || p.Text(TagBody) != "" || p.Bytes(TagSubject) != nil || p.Has(TagBody) || p.Has(TagHTML) {
		t.Error("a value of another type, or an error, is no text")
	}
	if _, ok := p.Time(TagClientSubmitTime); ok {
		t.Error("a time out of range is none")
	}
	if _, ok := p.Int(TagSensitivity); ok || p.Bool(TagSensitivity) {
		t.Error("absent")
	}
	if v, ok := p.Int(TagImportance); !ok || v != 2 {
		t.Error("short integers are integers")
	}
	if p.Text(0x6000) != "a" {
		t.Error("NULs at the end belong to the wire")
	}
	var none *Property
	if none.Text() != "" || none.Texts() != nil || none.Bytes() != nil || none.Bool() {
		t.Error("a nil property has no value")
	}
}

func TestTexts(t *testing.T) {
	one := Property{Type: TypeUnicode, Value: "a"}
	many := Property{Type: TypeUnicode, Multi: true, Value: []any{"a", 3, "b\x00"}}
	if got := one.Texts(); len(got) != 1 || got[0] != "a" {
		t.Errorf("%q", got)
	}
	if got := many.Texts(); len(got) != 2 || got[1] != "b" {
		t.Errorf("%q", got)
	}
}

func TestAddresses(t *testing.T) {
	text := func(id ID, s string) Property { return Property{ID: id, Type: TypeUnicode, Value: s} }
	tests := []struct {
		name                string
		smtp, typ, addr     string
		wantAddr, shownName string
	}{
		{"SMTP", "", "SMTP", "kim@contoso.com", "kim@contoso.com", "Kim"},
		{"no type", "", "", "kim@contoso.com", "kim@contoso.com", "Kim"},
		{"EX with SMTP", "kim@contoso.com", "EX", "/o=Contoso/cn=kim", "kim@contoso.com", "Kim"},
		{"EX alone", "", "EX", "/o=Contoso/cn=kim", "", "Kim"},
		{"EX that is an address after all", "", "EX", "kim@contoso.com", "kim@contoso.com", "Kim"},
		{"prefix", "", "SMTP", "smtp:kim@contoso.com", "kim@contoso.com", "Kim"},
		{"another system", "", "NOTES", "Kim Akers/Contoso@CONTOSO", "", "Kim"},
		{"nothing", "", "", "", "", "Kim"},
		{"name is the address", "", "SMTP", "Kim", "", "Kim"},
	}
	for _, tt := range tests {
		r := Recipient{Props: props(text(TagDisplayName, "Kim"), text(TagSMTPAddress, tt.smtp), text(TagAddressType, tt.typ), text(TagEmailAddress, tt.addr))}
		if r.Address() != tt.wantAddr || r.Name() != tt.shownName {
			t.Errorf("%s: %q %q", tt.name, r.Address(), r.Name())
		}
		m := Message{Props: props(text(TagSenderName, "Kim"), text(TagSenderSMTPAddress, tt.smtp), text(TagSenderAddressType, tt.typ), text(TagSenderEmailAddress, tt.addr))}
		if got := m.Sender(); got != (Mailbox{tt.shownName, tt.wantAddr}) {
			t.Errorf("%s: sender %+v", tt.name, got)
		}
	}
	r := Recipient{Props: props(text(TagDisplayName, "'kim@contoso.com'"), text(TagEmailAddress, "kim@contoso.com"))}
	if r.Name() != "" || r.Kind() != To {
		t.Errorf("%q %d", r.Name(), r.Kind())
	}
	r.Props.List = append(r.Props.List, Property{ID: TagRecipientType, Type: TypeLong, Value: int32(0x10000002)})
	if r.Kind() != Cc {
		t.Errorf("kind %d", r.Kind())
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		p          Property
		want, name string
	}{
		{Property{ID: TagSubject}, "PidTagSubject", ""}, {Property{ID: 0x6FFF}, "", ""},
		{Property{ID: 0x8001, Name: Name{Set: SetAppointment, LID: 0x8205}}, "PidLidBusyStatus", "PSETID_Appointment 0x8205"},
		{Property{ID: 0x8001, Name: Name{Set: SetPublicStrings, Str: "Keywords"}}, "Keywords", "PS_PUBLIC_STRINGS Keywords"},
		{Property{ID: 0x8001, Name: Name{Set: GUID{1}, LID: 5}}, "", "00000001-0000-0000-0000-000000000000 0x0005"},
	} {
		if got := tt.p.PropertyName(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if tt.name != "" && tt.p.Name.String() != tt.name {
			t.Errorf("%q, want %q", tt.p.Name.String(), tt.name)
		}
	}
	for id, n := range tagNames {
		if id >= FirstNamed || n == "" {
			t.Errorf("0x%04X %q", uint16(id), n)
		}
	}
	if TypeLong.String() != "PT_LONG" || Type(0x99).String() != "0x0099" {
		t.Error("types")
	}
}

func TestAttachmentNames(t *testing.T) {
	a := Attachment{Props: props(Property{ID: TagDisplayName, Type: TypeUnicode, Value: "shown"}, Property{ID: TagAttachFilename, Type: TypeString8, Value: "SHORT~1"})}
	if a.RawName() != "SHORT~1" {
		t.Errorf("%q", a.RawName())
	}
	a.Props.List = append(a.Props.List, Property{ID: TagAttachLongFilename, Type: TypeUnicode, Value: "long"}, Property{ID: TagAttachContentID, Type: TypeUnicode, Value: " <a@b> "})
	if a.RawName() != "long" || a.ContentID() != "a@b" || a.Hidden() || a.IsException() {
		t.Errorf("%q %q", a.RawName(), a.ContentID())
	}
}
