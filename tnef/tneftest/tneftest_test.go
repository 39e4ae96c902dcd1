package tneftest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// The octets of a small stream, written down by hand from [MS-OXTNEF] 2.1.3: what the reader reads must not only be what the writer writes.
func TestOctets(t *testing.T) {
	s := tneftest.Stream{Key: 1, Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "Hi")}, Attachments: []tneftest.Attachment{{Title: "a", Data: []byte{0xFF, 2}}}}
	want := "\x78\x9f\x3e\x22\x01\x00" +
		"\x01\x06\x90\x08\x00\x04\x00\x00\x00\x00\x00\x01\x00\x01\x00" +
		"\x01\x07\x90\x06\x00\x08\x00\x00\x00\xe4\x04\x00\x00\x00\x00\x00\x00\xe8\x00" +
		"\x01\x03\x90\x06\x00\x18\x00\x00\x00\x01\x00\x00\x00\x1f\x00\x37\x00\x01\x00\x00\x00\x06\x00\x00\x00H\x00i\x00\x00\x00\x00\x00\x0f\x01" +
		"\x02\x02\x90\x06\x00\x0e\x00\x00\x00\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\xfd\x03" +
		"\x02\x10\x80\x01\x00\x02\x00\x00\x00a\x00a\x00" +
		"\x02\x0f\x80\x06\x00\x02\x00\x00\x00\xff\x02\x01\x01"
	if diff := cmp.Diff(want, string(s.Bytes())); diff != "" {
		t.Error(diff)
	}
}

func TestRoundTrip(t *testing.T) {
	inner := &tneftest.Stream{Codepage: 932, Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, "報告")}, Attachments: []tneftest.Attachment{{Title: "x", Data: []byte("y")}}}
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Note", Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, "Größe"), tneftest.Bool(mapi.TagRtfInSync, true),
		tneftest.Named(mapi.SetMeeting, 3, tneftest.Binary(0, []byte{1})), tneftest.NamedString(mapi.SetPublicStrings, "odd", tneftest.Text(0, "x"))},
		Recipients:  [][]mapi.Property{tneftest.Recipient(mapi.To, "Kim", "kim@contoso.com"), tneftest.Recipient(mapi.Bcc, "Ann", "ann@contoso.com")},
		Attachments: []tneftest.Attachment{{Title: "bare", Data: []byte("z"), NoRendData: true}, {Data: []byte("props"), InProps: true, Place: 7}, {Message: inner}, {Storage: []byte("storage")}}}
	m, err := tnef.Decode(s.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Warnings) != 0 && !cmp.Equal(m.Warnings, []string{"attAttachTitle without attAttachRendData before it"}) {
		t.Errorf("%q", m.Warnings)
	}
	if m.Class != "IPM.Note" || m.Codepage != 1252 || m.Props.Text(mapi.TagSubject) != "Größe" || !bytes.Equal(m.Props.FindNamed(mapi.SetMeeting, 3).Bytes(), []byte{1}) ||
		m.Props.FindString(mapi.SetPublicStrings, "odd").Text() != "x" {
		t.Errorf("%+v", m.Props)
	}
	if len(m.Recipients) != 2 || m.Recipients[1].Kind() != mapi.Bcc || m.Recipients[0].Address() != "kim@contoso.com" {
		t.Errorf("%+v", m.Recipients)
	}
	if len(m.Attachments) != 4 {
		t.Fatalf("%d attachments", len(m.Attachments))
	}
	bare, a := m.Attachments[0], m.Attachments[1:]
	if string(a[0].Data) != "props" || a[0].Place != 7 || a[1].Message.Props.Text(mapi.TagSubject) != "報告" || len(a[1].Message.Attachments) != 1 ||
		a[2].Method != mapi.MethodOLE || string(a[2].Data) != "storage" || bare.RawName() != "bare" {
		t.Errorf("%+v", a)
	}
}

func TestAttributeData(t *testing.T) {
	when := time.Date(2025, 6, 3, 8, 9, 10, 0, time.UTC)
	if got := tneftest.Date(when); !bytes.Equal(got, []byte{0xe9, 7, 6, 0, 3, 0, 8, 0, 9, 0, 10, 0, 2, 0}) {
		t.Errorf("% x", got)
	}
	if got := tneftest.Triple("A", "B:C"); string(got) != "\x04\x00\x16\x00\x02\x00\x04\x00A\x00B:C\x00" {
		t.Errorf("%q", got)
	}
	if got := tneftest.Encode(1252, "aЖ"); string(got) != "a?" {
		t.Errorf("%q", got)
	}
}

func TestMessages(t *testing.T) {
	s := tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, "x")}}
	for _, msg := range [][]byte{tneftest.Wrap("Subject: x\r\n", "t", s.Bytes()), tneftest.Whole("Subject: x\r\n", s.Bytes()), tneftest.WholeBinary("Subject: x\r\n", s.Bytes())} {
		r, err := tnef.ConvertMessage(new(bytes.Buffer), msg, nil)
		if err != nil || r.Converted != 1 {
			t.Errorf("%+v %v\n%s", r, err, msg)
		}
	}
}
