package tnef_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func inspected() tneftest.Stream {
	inner := &tneftest.Stream{Codepage: 1251, Class: "IPM.Note", Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "inner")}}
	return tneftest.Stream{Codepage: 1252, Class: "IPM.Microsoft Mail.Note", Damage: tneftest.Damage{BadChecksum: true}, Props: append(everyType(),
		tneftest.Text(mapi.TagSubject, "Q3\x1b[31m figures"), tneftest.Named(mapi.SetAppointment, 0x8208, tneftest.Text(0, "Room 1")), tneftest.Named(mapi.GUID{1}, 0x99, tneftest.Long(0, 1)),
		mapi.Property{ID: 0x6F00, Type: mapi.TypeDouble, Value: math.NaN()}, tneftest.Binary(0x6F01, make([]byte, 1000)), tneftest.Text(0x6F02, strings.Repeat("ä", 1000))),
		Attributes:  []tneftest.Attribute{{ID: tneftest.AttPriority, Data: []byte{1, 0}}, {ID: 0x12345678, Data: []byte("x")}},
		Recipients:  [][]mapi.Property{tneftest.Recipient(mapi.To, "Kim", "kim@contoso.com")},
		Attachments: []tneftest.Attachment{pdf, {Message: inner}}}
}

func TestInspect(t *testing.T) {
	s := inspected()
	i, err := tnef.Inspect(s.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	n, err := i.WriteTo(&text)
	if err != nil || n != int64(text.Len()) {
		t.Fatalf("%d of %d octets, %v", n, text.Len(), err)
	}
	for _, want := range []string{`"name":"attMsgProps"`, `"name":"PidTagSubject"`, `"name":"PidLidLocation"`, `"set":"PSETID_Appointment 0x8208"`, `"type":"PT_MV_LONG"`, `"attribute":"attPriority"`,
		`"name":"report.pdf"`, `"message":{`, `"value":"inner"`, `"bad_checksum":true`, `"key":"0x1234"`, `"value":"NaN"`, `"length":1000`, `"id":"0x12345678"`, `"class":"IPM.Note"`, `"codepage":1251`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("JSON without %s\n%.3000s", want, b)
		}
	}
	for _, want := range []string{"PidTagSubject", "PidLidLocation", "attMsgProps", "wrong checksum", "attachment 1: \"report.pdf\", method 1, 16 octets", "recipient 1:", "00000001-0000-0000-0000-000000000000 0x0099"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text without %q\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Error("a terminal would obey what stands in the stream")
	}
	if _, err := i.WriteTo(&failingWriter{100}); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
	if _, err := tnef.Inspect([]byte("x"), nil); !errors.Is(err, tnef.ErrNotTNEF) {
		t.Errorf("%v", err)
	}
}

func TestExtract(t *testing.T) {
	inner := &tneftest.Stream{Props: []mapi.Property{textProp, tneftest.Text(mapi.TagSubject, "inner")}, Attachments: []tneftest.Attachment{{Title: "REPORT.pdf", Data: []byte("3")}}}
	s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{
		{Title: "report.pdf", Data: []byte("1")}, {Title: "report.pdf", Data: []byte("2")}, {Message: inner},
		{Title: "hidden.png", Data: []byte("4"), Props: []mapi.Property{tneftest.Bool(mapi.TagAttachmentHidden, true)}}, {Title: "../up.txt", Data: []byte("5")},
		{Title: "empty.txt", Data: []byte{}}, {}, {Title: "mail.eml", Data: []byte("Subject: x\r\n\r\n6")}, {Title: "report (2).pdf", Data: []byte("7")}, {Title: "winmail.dat", Data: simple()}}}
	files, err := tnef.Extract(s.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range files {
		data := string(f.Data)
		if strings.HasSuffix(f.Name, "inner.eml") {
			if got := parseMessage(t, f.Data).shape(); got != "mixed(text/plain,application/pdf[REPORT.pdf])" {
				t.Errorf("%s: %s", f.Name, got)
			}
			data = "mail"
		}
		if len(data) > 20 {
			data = "long"
		}
		list = append(list, f.Name+"="+data)
	}
	want := "report.pdf=1 | report (2).pdf=2 | inner.eml=mail | REPORT (3).pdf=3 | hidden.png=4 | up.txt=5 | empty.txt= | mail.eml=Subject: x\r\n\r\n6 | report (2) (2).pdf=7 | winmail.dat=long"
	if got := strings.Join(list, " | "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestContains(t *testing.T) {
	long := strings.Repeat("x", 1<<15)
	multi := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for in, want := range map[string]bool{
		"": false, "Content-Type: application/ms-tnef\r\n\r\nx": true, multi + "Content-Type: APPLICATION/MS-TNEF\r\n": true, multi + long + "application/vnd.ms-tnef": true,
		multi + "name=winmail.dat": true, multi + "name=\"WIN.DAT\"": true, multi + "filename*=utf-8''winmail%2Edat": true, multi + "filename*0=winmail; filename*1=.dat": true,
		multi + "name=\"=?utf-8?B?d2lubWFpbC5kYXQ=?=\"": true, multi + "name=\"=?utf-8?Q?winmail.dat?=\"": true, multi + long: false, multi + strings.Repeat("-", 1<<16): false,
		multi + "ms-tne": false, "ms-tnef": true, "Subject: x\r\n\r\nms-tnef in a text": false, "Content-Type: text/html\r\n\r\nwinmail.dat": false,
		"Content-Type: text/plain; name=winmail.dat\r\n\r\n": true, multi + "-tnef": false, multi + ".da": false,
	} {
		if got := tnef.Contains([]byte(in)); got != want {
			t.Errorf("%.60q...: %v", in, got)
		}
	}
	// The mark may lie across the end of any window.
	for n := 16<<10 - 12; n < 16<<10+12; n++ {
		if !tnef.Contains([]byte("Content-Type: multipart/mixed\r\n\r\n" + strings.Repeat("x", n) + "ms-tnef")) {
			t.Errorf("not found at %d", n)
		}
	}
	// And anywhere in text that is full of the octets looked for.
	for n := range 300 {
		for _, m := range []string{"application/MS-TNEF", "WIN.dat", "winmail%2Edat", "=?utf-8?b?d2lubWFpbC5kYXQ=?="} {
			text := "Content-Type: multipart/mixed\r\n\r\n" + strings.Repeat("a-b.c%d?e.-t.d", 500) + strings.Repeat("x", n)
			if tnef.Contains([]byte(text)) || !tnef.Contains([]byte(text+m)) || !tnef.Contains([]byte(text+m+text)) {
				t.Errorf("%s at %d", m, len(text))
			}
		}
	}
	msg := tneftest.Mixed(header, tneftest.TextPart(strings.Repeat("a-b.c%d?e ", 1000)))
	if n := testing.AllocsPerRun(100, func() { tnef.Contains(msg) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHeaderValue(t *testing.T) {
	r := tnef.Report{Found: 1, Converted: 1, Classes: []string{"IPM.Note\r\nX: y", strings.Repeat("a", 200), "c", "d"}, Warnings: []string{"x"}}
	got := r.HeaderValue("1.0 (x)")
	want := "converted; version=1.0__x_; class=IPM.Note__X__y; class=" + strings.Repeat("a", 60) + "; class=c; warnings=1"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (tnef.Report{Found: 1, Failed: 1}).HeaderValue(""); got != "failed" {
		t.Errorf("%q", got)
	}
}
