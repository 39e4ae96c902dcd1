package tnef_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// samples are texts that a code page can hold.
var samples = []struct {
	codepage int
	text     string
}{
	{874, "รายงานประจำไตรมาส"}, {932, "四半期の報告書です。カタカナ"}, {936, "季度报告已完成"}, {949, "분기 보고서입니다"}, {950, "季度報告已完成"},
	{1250, "Zpráva za čtvrtletí: žluťoučký kůň"}, {1251, "Отчёт за квартал"}, {1252, "Größe, café, naïve – “quoted” €5"}, {1253, "Τριμηνιαία έκθεση"},
	{1254, "Üç aylık rapor: şğıİ"}, {1255, "דוח רבעוני"}, {1256, "تقرير ربع سنوي"}, {1257, "Ketvirčio ataskaita: ąčęėįšųūž"}, {1258, "Báo cáo"},
	{20866, "Отчёт за квартал"}, {28592, "Zpráva: žluťoučký"}, {28595, "Отчёт"}, {65001, "Größe 漢字 😀 עברית"}, {437, "Größe ½"}, {850, "Größe ©"}, {866, "Отчёт"}, {54936, "季度报告 😀"},
}

// Subject, body, file name, address names: each in the code page of the stream.
func TestCodePages(t *testing.T) {
	for _, tt := range samples {
		t.Run(fmt.Sprint(tt.codepage), func(t *testing.T) {
			text := tt.text + "\r\n" + tt.text + "\r\n"
			s := tneftest.Stream{Codepage: tt.codepage, Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, tt.text), tneftest.Text8(mapi.TagBody, text)},
				Recipients:  [][]mapi.Property{{tneftest.Text8(mapi.TagDisplayName, tt.text), tneftest.Text8(mapi.TagAddressType, "SMTP"), tneftest.Text8(mapi.TagEmailAddress, "x@contoso.com")}},
				Attachments: []tneftest.Attachment{{Title: tt.text + ".txt", Data: []byte("x")}}}
			m := decode(t, s)
			if got := m.Props.Text(mapi.TagSubject); got != tt.text {
				t.Errorf("subject %q, want %q", got, tt.text)
			}
			if got := m.Recipients[0].Name(); got != tt.text {
				t.Errorf("recipient %q", got)
			}
			p, out, _ := convert(t, tneftest.Wrap(header, "?", s.Bytes()))
			if got := string(p.find("text/plain").Content); got != text {
				t.Errorf("body %q, want %q", got, text)
			}
			if got := p.Children[1].Name; got != strings.NewReplacer(":", "_", "?", "_").Replace(tt.text)+".txt" {
				t.Errorf("name %q", got)
			}
			checkLines(t, out)
		})
	}
}

// Where attOemCodepage says nothing that can be, the properties count, then windows-1252.
func TestCodePageRules(t *testing.T) {
	long := func(id mapi.ID, v int32) []mapi.Property { return []mapi.Property{tneftest.Long(id, v)} }
	cp := func(v uint32) []tneftest.Attribute {
		return []tneftest.Attribute{{ID: tneftest.AttOemCodepage, Data: append(u32(v), 0, 0, 0, 0)}}
	}
	tests := []struct {
		name  string
		attrs []tneftest.Attribute
		props []mapi.Property
		want  int
	}{
		{"attribute", cp(1251), long(mapi.TagMessageCodepage, 1250), 1251}, {"message code page", nil, long(mapi.TagMessageCodepage, 1250), 1250},
		{"internet code page", nil, long(mapi.TagInternetCodepage, 1253), 1253}, {"nothing", nil, nil, 1252}, {"UTF-16", cp(1200), nil, 1252}, {"zero", cp(0), long(mapi.TagMessageCodepage, 932), 932},
		{"unknown", cp(99999), nil, 1252}, {"negative", cp(0xFFFFFFFF), nil, 1252}, {"UTF-16 by property", nil, long(mapi.TagMessageCodepage, 1200), 1252},
	}
	for _, tt := range tests {
		if got := decode(t, tneftest.Stream{Attributes: tt.attrs, Props: tt.props}).Codepage; got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// HTML is in the code page of PidTagInternetCodepage, whatever that of the stream.
func TestHTMLCodePages(t *testing.T) {
	for _, tt := range samples {
		doc := `<html><head><meta http-equiv="Content-Type" content="text/html; charset=x-old"></head><body><p>` + tt.text + `</p></body></html>`
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, tneftest.Encode(tt.codepage, doc)), tneftest.Long(mapi.TagInternetCodepage, int32(tt.codepage))}}
		p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
		html := string(p.find("text/html").Content)
		if !strings.Contains(html, "<p>"+tt.text+"</p>") || strings.Contains(html, "x-old") || !strings.Contains(strings.ToLower(html), "utf-8") {
			t.Errorf("%d: %s", tt.codepage, html)
		}
		if got := string(p.find("text/plain").Content); !strings.Contains(got, tt.text) {
			t.Errorf("%d: text %q", tt.codepage, got)
		}
		checkLines(t, out)
	}
}

func TestHTMLCharsetRules(t *testing.T) {
	const word = "Größe"
	latin, utf := tneftest.Encode(1252, "<p>"+word), []byte("<p>"+word)
	meta := []byte(`<meta charset="koi8-r"><p>`)
	tests := []struct {
		name     string
		html     []byte
		internet int32
		want     string
	}{
		{"property", latin, 1252, word}, {"no property: the stream's", latin, 0, word}, {"says 1252, is UTF-8", utf, 1252, word}, {"says US-ASCII, is not", latin, 20127, word},
		{"says UTF-16, is not", latin, 1200, word}, {"byte order mark", append([]byte("\xEF\xBB\xBF"), utf...), 1251, word},
		{"UTF-16 with mark", append([]byte("\xFF\xFE"), tneftest.Encode(1200, "<p>"+word)...), 0, word}, {"UTF-16 by property", tneftest.Encode(1200, "<p>"+word), 1200, word},
		{"big-endian UTF-16 with mark", []byte("\xFE\xFF\x00<\x00p\x00>\x00G\x00r\x00\xF6\x00\xDF\x00e"), 0, word},
		{"declared in the document", append(meta, tneftest.Encode(20866, "Отчёт")...), 0, "Отчёт"}, {"unknown code page", latin, 99999, word},
	}
	for _, tt := range tests {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, tt.html)}}
		if tt.internet != 0 {
			s.Props = append(s.Props, tneftest.Long(mapi.TagInternetCodepage, tt.internet))
		}
		p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
		if got := string(p.find("text/html").Content); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// A body of 8-bit text is in the code page of the stream. Only one that says 1252 by habit, and whose text is another one, gives way to PidTagInternetCodepage.
func TestBodyCodePages(t *testing.T) {
	tests := []struct {
		name     string
		octets   []byte
		internet int32
		want     string
	}{
		{"1252 beside UTF-8", tneftest.Encode(1252, "Größe – “q” €"), 65001, "Größe – “q” €"},
		{"UTF-8 in truth", []byte("Größe"), 65001, "Größe"},
		{"1252 beside 932", tneftest.Encode(1252, "résumée, café"), 932, "résumée, café"},
		{"932 in truth", tneftest.Encode(932, "四半期の報告書です。カタカナ"), 932, "四半期の報告書です。カタカナ"},
		{"1252 beside 936", tneftest.Encode(1252, "Größe"), 936, "Größe"},
		{"936 in truth", tneftest.Encode(936, "季度报告已完成"), 936, "季度报告已完成"},
		{"1252 beside 949", tneftest.Encode(1252, "naïve"), 949, "naïve"},
		{"949 in truth", tneftest.Encode(949, "분기 보고서입니다"), 949, "분기 보고서입니다"},
		{"1252 beside 950", tneftest.Encode(1252, "Müller, Bäcker"), 950, "Müller, Bäcker"},
		{"950 in truth", tneftest.Encode(950, "季度報告已完成"), 950, "季度報告已完成"},
		{"1252 beside ISO-2022-JP", tneftest.Encode(1252, "café"), 50220, "café"},
		{"ISO-2022-JP in truth", []byte("\x1b$B;MH>4|\x1b(B"), 50220, "四半期"},
	}
	for _, tt := range tests {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Raw8(mapi.TagBody, tt.octets), tneftest.Long(mapi.TagInternetCodepage, tt.internet)}}
		p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
		if got := strings.TrimSpace(string(p.find("text/plain").Content)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A name longer than Windows allows is cut, and in a file system further, where octets count.
func TestLongFileNames(t *testing.T) {
	for _, tt := range []struct{ name, converted, extracted string }{
		{strings.Repeat("a", 300) + ".pdf", strings.Repeat("a", 251) + ".pdf", strings.Repeat("a", 244) + ".pdf"},
		{strings.Repeat("四", 300) + ".xlsx", strings.Repeat("四", 250) + ".xlsx", strings.Repeat("四", 81) + ".xlsx"},
		{strings.Repeat("😀", 300) + ".png", strings.Repeat("😀", 125) + ".png", strings.Repeat("😀", 61) + ".png"},
		{strings.Repeat("a", 260) + ". .txt", strings.Repeat("a", 251) + ".txt", strings.Repeat("a", 244) + ".txt"},
	} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Data: []byte("x"), Props: []mapi.Property{tneftest.Text(mapi.TagAttachLongFilename, tt.name)}}}}
		p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
		if got := p.Children[1].Name; got != tt.converted {
			t.Errorf("%q, want %q", got, tt.converted)
		}
		if files, err := tnef.Extract(s.Bytes(), nil); err != nil || len(files) != 1 || files[0].Name != tt.extracted {
			t.Errorf("extracted %+v %v, want %s", files, err, tt.extracted)
		}
	}
}

// An attached message that does not tell its code page has that of the message around it.
func TestCodePageOfAttachedMessages(t *testing.T) {
	inner := &tneftest.Stream{Props: []mapi.Property{tneftest.Raw8(mapi.TagSubject, tneftest.Encode(1251, "Отчёт")), tneftest.Raw8(mapi.TagBody, tneftest.Encode(1251, "за квартал"))}}
	s := tneftest.Stream{Codepage: 1251, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Message: inner, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}},
		{Title: "отчёт.txt", Data: []byte("x")}}}
	m := decode(t, s)
	if got := m.Attachments[0].Message; got.Props.Text(mapi.TagSubject) != "Отчёт" || got.Codepage != 1251 || m.Attachments[1].RawName() != "отчёт.txt" {
		t.Errorf("%d %q", got.Codepage, got.Props.Text(mapi.TagSubject))
	}
}

// RFC 5322 has no NUL, and programs stop reading at one.
func TestNULInBodies(t *testing.T) {
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "one\x00two"), tneftest.Binary(mapi.TagHTML, []byte("<p>one\x00two</p>"))}}
	p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
	text, page := string(p.find("text/plain").Content), string(p.find("text/html").Content)
	if strings.TrimSpace(text) != "onetwo" || !strings.Contains(page, "onetwo") {
		t.Errorf("%q %q", text, page)
	}
}

func TestNativeBody(t *testing.T) {
	text := tneftest.Text(mapi.TagBody, "from text")
	html := tneftest.Binary(mapi.TagHTML, []byte("<p>from html</p>"))
	rtfHTML := tneftest.RTF(`{\rtf1\ansi\fromhtml1 {\*\htmltag <p>}from rtf{\*\htmltag </p>}}`)
	rtfText := tneftest.RTF(`{\rtf1\ansi\fromtext from rtf\par}`)
	native := func(v int32) mapi.Property { return tneftest.Long(mapi.TagNativeBody, v) }
	tests := []struct {
		name       string
		props      []mapi.Property
		text, html string // words in the parts; "" when there must be no such part
	}{
		{"html", []mapi.Property{text, html, rtfText}, "from text", "from html"},
		{"native html", []mapi.Property{text, html, rtfHTML, native(3)}, "from text", "from html"},
		{"native rtf", []mapi.Property{text, html, rtfHTML, native(2)}, "from text", "from rtf"},
		{"native text", []mapi.Property{text, html, rtfHTML, native(1)}, "from text", ""},
		{"native html, only in rtf", []mapi.Property{text, rtfHTML, native(3)}, "from text", "from rtf"},
		{"native rtf, no rtf", []mapi.Property{text, html, native(2)}, "from text", "from html"},
		{"rtf in sync", []mapi.Property{text, rtfHTML, tneftest.Bool(mapi.TagRtfInSync, true)}, "from text", "from rtf"},
		{"rtf out of date", []mapi.Property{text, rtfHTML, tneftest.Bool(mapi.TagRtfInSync, false)}, "from text", ""},
		{"rtf only", []mapi.Property{rtfHTML}, "from rtf", "from rtf"},
		{"text in rtf", []mapi.Property{rtfText}, "from rtf", ""},
		{"html only", []mapi.Property{html}, "from html", "from html"},
		{"empty html", []mapi.Property{text, tneftest.Binary(mapi.TagHTML, nil)}, "from text", ""},
		{"html as a string", []mapi.Property{tneftest.Text(mapi.TagHTML, "<p>from html</p>")}, "from html", "from html"},
		{"broken rtf", []mapi.Property{html, tneftest.Binary(mapi.TagRtfCompressed, []byte("x")), native(2)}, "from html", "from html"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Props: tt.props}
			p, out, _ := convert(t, tneftest.Wrap(header, "fallback", s.Bytes()))
			for mediaType, want := range map[string]string{"text/plain": tt.text, "text/html": tt.html} {
				part := p.find(mediaType)
				if (part != nil) != (want != "") || part != nil && !strings.Contains(string(part.Content), want) {
					t.Errorf("%s: want %q\n%s", mediaType, want, out)
				}
			}
		})
	}
}

func TestFileNames(t *testing.T) {
	text := func(id mapi.ID, s string) mapi.Property { return tneftest.Text(id, s) }
	tests := []struct {
		name  string
		title string
		props []mapi.Property
		want  string
	}{
		{"title", "REPORT~1.PDF", nil, "REPORT~1.PDF"},
		{"long name beats title", "REPORT~1.PDF", []mapi.Property{text(mapi.TagAttachLongFilename, "report of the year.pdf")}, "report of the year.pdf"},
		{"Unicode beats 8-bit", "x", []mapi.Property{tneftest.Text8(mapi.TagAttachLongFilename, "?.pdf"), text(mapi.TagAttachLongFilename, "отчёт.pdf")}, "отчёт.pdf"},
		{"path", `C:\Users\kim\x.txt`, nil, "x.txt"},
		{"path up", "../../etc/passwd", nil, "passwd"},
		{"only dots", "..", nil, "attachment1"},
		{"controls", "a\x01b\nc.txt", nil, "abc.txt"},
		{"right to left override", "", []mapi.Property{text(mapi.TagAttachLongFilename, "x\u202Efdp.exe")}, "xfdp.exe"},
		{"forbidden on Windows", "", []mapi.Property{text(mapi.TagAttachLongFilename, `a<b>c:d"e|f?g*.txt`)}, "a_b_c_d_e_f_g_.txt"},
		{"device", "con.txt", nil, "_con.txt"},
		{"port", "COM1", nil, "_COM1"},
		{"ends with dots and spaces", "x.txt. .", nil, "x.txt"},
		{"long in octets", "", []mapi.Property{text(mapi.TagAttachLongFilename, strings.Repeat("四", 75)+".xlsx")}, strings.Repeat("四", 75) + ".xlsx"},
		{"none", "", []mapi.Property{text(mapi.TagAttachMimeTag, "image/png")}, "attachment1.png"},
		{"extension only", "", []mapi.Property{text(mapi.TagAttachExtension, ".xyz")}, "attachment1.xyz"},
		{"quotes", "", []mapi.Property{text(mapi.TagAttachLongFilename, `it's 100%; done.txt`)}, `it's 100%; done.txt`},
		{"semicolon in Cyrillic", "", []mapi.Property{text(mapi.TagAttachLongFilename, strings.Repeat("отчёт; ", 8)+"x.txt")}, strings.Repeat("отчёт; ", 8) + "x.txt"},
		{"emoji", "", []mapi.Property{text(mapi.TagAttachLongFilename, "😀.png")}, "😀.png"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: tt.title, Data: []byte("x"), Props: tt.props}}}
			p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
			if got := p.Children[1].Name; got != tt.want {
				t.Errorf("%q, want %q\n%s", got, tt.want, out)
			}
			files, err := tnef.Extract(s.Bytes(), nil)
			if err != nil || len(files) != 1 || files[0].Name != tt.want || filepath.Base(files[0].Name) != files[0].Name {
				t.Errorf("extracted %+v %v", files, err)
			}
		})
	}
}

func TestMediaTypes(t *testing.T) {
	tests := []struct{ name, tag, want string }{
		{"a.pdf", "", "application/pdf"}, {"a.unknown", "", "application/octet-stream"}, {"a.pdf", "application/x-own; x=1", "application/x-own"}, {"a.pdf", "application/octet-stream", "application/pdf"},
		{"a.pdf", "broken type", "application/pdf"}, {"a.bin", "x/y\r\nBcc: z", "application/octet-stream"}, {"a.mht", "multipart/related", "application/octet-stream"}, {"a.XLSX", "", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	}
	for _, tt := range tests {
		s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: tt.name, Data: []byte("x"), Props: []mapi.Property{tneftest.Text(mapi.TagAttachMimeTag, tt.tag)}}}}
		p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
		if got := p.Children[1].Type; got != tt.want {
			t.Errorf("%+v: %s\n%s", tt, got, out)
		}
	}
}

// No property can add a field or end the header.
func TestHeaderInjection(t *testing.T) {
	evil := "x\r\nBcc: evil@fabrikam.com\r\n\r\nbody"
	s := tneftest.Stream{Props: append(tneftest.Sender(evil, "kim@contoso.com\r\nBcc: evil@fabrikam.com"), textProp, tneftest.Text(mapi.TagSubject, evil), tneftest.Text(mapi.TagInternetMessageID, evil),
		tneftest.Text(mapi.TagInReplyToID, evil), tneftest.Text(mapi.TagInternetReferences, evil), tneftest.Text(mapi.TagConversationTopic, evil),
		tneftest.NamedString(mapi.SetInternetHeaders, "X-A\r\nBcc", tneftest.Text(0, evil)), tneftest.NamedString(mapi.SetInternetHeaders, "X-Ok", tneftest.Text(0, evil)), tneftest.NamedString(mapi.SetPublicStrings, "Keywords", tneftest.Text(0, evil))),
		Recipients: [][]mapi.Property{tneftest.Recipient(mapi.To, evil, evil)},
		Attachments: []tneftest.Attachment{{Title: "a", Data: []byte("x"), Props: []mapi.Property{tneftest.Text(mapi.TagAttachLongFilename, evil), tneftest.Text(mapi.TagAttachContentID, evil),
			tneftest.Text(mapi.TagAttachContentLocation, evil), tneftest.Text(mapi.TagAttachMimeTag, "text/plain\r\nBcc: evil")}}}}
	var out bytes.Buffer
	if _, err := tnef.ConvertStream(&out, s.Bytes(), nil); err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(out.String(), "\r\n") {
		if strings.HasPrefix(l, "Bcc") {
			t.Errorf("injected:\n%s", out.String())
		}
	}
	parseMessage(t, out.Bytes())
}

func TestConvertStream(t *testing.T) {
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Note", Props: append(tneftest.Sender("Kim Akers", "kim@contoso.com"), textProp,
		tneftest.Text(mapi.TagSubject, "Zahlen für das dritte Quartal und alles, was sonst noch zu sagen wäre, wenn man Zeit hätte"), tneftest.Time(mapi.TagClientSubmitTime, when),
		tneftest.Text(mapi.TagInternetMessageID, "<7@contoso.com>"), tneftest.Text(mapi.TagInReplyToID, "<6@contoso.com>"), tneftest.Text(mapi.TagInternetReferences, "<5@contoso.com> <6@contoso.com>"),
		tneftest.Long(mapi.TagImportance, 2), tneftest.Long(mapi.TagSensitivity, 3), tneftest.Bool(mapi.TagReadReceiptRequested, true), tneftest.Text(mapi.TagConversationTopic, "Q3"),
		tneftest.Binary(mapi.TagConversationIndex, []byte{1, 2, 3}), tneftest.NamedString(mapi.SetInternetHeaders, "x-own", tneftest.Text(0, "kept")),
		tneftest.NamedString(mapi.SetInternetHeaders, "X-MS-Exchange-Organization-SCL", tneftest.Text(0, "-1")), tneftest.NamedString(mapi.SetInternetHeaders, "X-Coexist-TNEF", tneftest.Text(0, "forged")),
		tneftest.NamedString(mapi.SetInternetHeaders, "X-Forefront-Antispam-Report", tneftest.Text(0, "forged")), tneftest.NamedString(mapi.SetInternetHeaders, "X-Spam-Status", tneftest.Text(0, "forged")),
		mapi.Property{ID: 0, Type: mapi.TypeUnicode, Multi: true, Name: mapi.Name{Set: mapi.SetPublicStrings, Str: "Keywords"}, Value: []any{"red", "blue"}}),
		Recipients: [][]mapi.Property{tneftest.Recipient(mapi.To, "Alexander, David", "david@fabrikam.com"), tneftest.Recipient(mapi.To, "Jörg", "joerg@contoso.com"),
			tneftest.Recipient(mapi.Cc, "ann@contoso.com", "ann@contoso.com"), tneftest.Recipient(mapi.Bcc, "Secret", "secret@contoso.com"),
			{tneftest.Text(mapi.TagDisplayName, "Somebody Inside"), tneftest.Text(mapi.TagAddressType, "EX"), tneftest.Text(mapi.TagEmailAddress, "/o=Contoso/cn=some")}}}
	var out bytes.Buffer
	r, err := tnef.ConvertStream(&out, s.Bytes(), nil)
	if err != nil || r.Converted != 1 || !cmp.Equal(r.Classes, []string{"IPM.Note"}) {
		t.Fatalf("%+v %v", r, err)
	}
	p := parseMessage(t, out.Bytes())
	want := map[string]string{
		"From": "Kim Akers <kim@contoso.com>", "To": `"Alexander, David" <david@fabrikam.com>, =?utf-8?B?SsO2cmc=?= <joerg@contoso.com>, Somebody Inside:;`, "Cc": "ann@contoso.com",
		"Date": "Tue, 3 Jun 2025 08:00:00 +0000", "Message-Id": "<7@contoso.com>", "In-Reply-To": "<6@contoso.com>", "References": "<5@contoso.com> <6@contoso.com>", "Importance": "high",
		"X-Priority": "1", "Sensitivity": "Company-Confidential", "Thread-Topic": "Q3", "Thread-Index": "AQID", "X-Own": "kept", "Keywords": "red, blue", "Disposition-Notification-To": "Kim Akers <kim@contoso.com>",
		"Mime-Version": "1.0",
	}
	for k, v := range want {
		if got := p.Header[k]; len(got) != 1 || strings.Join(strings.Fields(got[0]), " ") != v {
			t.Errorf("%s: %q, want %q", k, got, v)
		}
	}
	for _, no := range []string{"secret", "Organization", "Bcc", "forged"} {
		if strings.Contains(out.String(), no) {
			t.Errorf("%q is told", no)
		}
	}
	checkLines(t, out.String())
}

func TestDateWithoutZone(t *testing.T) {
	s := tneftest.Stream{Attributes: []tneftest.Attribute{{ID: tneftest.AttDateSent, Data: tneftest.Date(when)}, {ID: tneftest.AttBody, Data: []byte("x\x00")}}}
	var out bytes.Buffer
	if _, err := tnef.ConvertStream(&out, s.Bytes(), nil); err != nil {
		t.Fatal(err)
	}
	// RFC 5322 3.3: -0000 says that the zone is not known.
	if !strings.Contains(out.String(), "Date: Tue, 3 Jun 2025 08:00:00 -0000\r\n") {
		t.Errorf("%s", out.String())
	}
}

func TestOLEObjects(t *testing.T) {
	stream := func(name string, data []byte) tneftest.StorageStream {
		return tneftest.StorageStream{Name: name, Data: data}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	native := func(data []byte) []byte { return tneftest.Ole10Native("report.pdf", `C:\docs\report.pdf`, data) }
	doc := tneftest.CompoundFile(stream("WordDocument", big), stream("\x01CompObj", []byte("x")))
	tests := []struct {
		name    string
		storage []byte
		want    string
		data    []byte
	}{
		{"package", tneftest.CompoundFile(stream("\x01Ole10Native", native([]byte("%PDF-1.4")))), "application/pdf[report.pdf]", []byte("%PDF-1.4")},
		{"large package", tneftest.CompoundFile(stream("other", []byte("y")), stream("\x01Ole10Native", native(big))), "application/pdf[report.pdf]", big},
		{"bitmap", tneftest.CompoundFile(stream("\x01Ole10Native", append([]byte{6, 0, 0, 0}, "BM1234"...))), "image/bmp[object.bmp]", []byte("BM1234")},
		{"CONTENTS", tneftest.CompoundFile(stream("CONTENTS", []byte("%PDF-1.5"))), "application/pdf[object.pdf]", []byte("%PDF-1.5")},
		{"Office Open XML", tneftest.CompoundFile(stream("Package", []byte("PK\x03\x04....word/document.xml"))), "application/vnd.openxmlformats-officedocument.wordprocessingml.document[object.docx]", []byte("PK\x03\x04....word/document.xml")},
		{"Word document", doc, "application/msword[object.doc]", doc},
		{"unknown storage", tneftest.CompoundFile(stream("secret", []byte("x"))), "application/octet-stream[object]", tneftest.CompoundFile(stream("secret", []byte("x")))},
		{"no storage", []byte("xyz"), "application/octet-stream[object]", []byte("xyz")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: "object", Storage: tt.storage}}}
			p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
			if got := p.Children[1].shape(); got != tt.want || !bytes.Equal(p.Children[1].Content, tt.data) {
				t.Errorf("%s (%d octets), want %s (%d)\n%.1000s", got, len(p.Children[1].Content), tt.want, len(tt.data), out)
			}
		})
	}
	// Cut anywhere, and with every octet of the header and the tables spoiled, it still gives an answer.
	for n := 0; n < 2048; n += 11 {
		for _, b := range [][]byte{doc[:n], append(append(bytes.Clone(doc[:n]), 0xFE), doc[n+1:]...)} {
			s := tneftest.Stream{Attachments: []tneftest.Attachment{{Storage: b}}}
			if _, err := tnef.Extract(s.Bytes(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMacBinary(t *testing.T) {
	mac := make([]byte, 128, 160)
	mac[1], mac[2], mac[86] = 1, 'x', 4
	mac = append(mac, "dataresource"...)
	s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: "x", Data: mac, MacBinary: true}, {Title: "y", Data: []byte("short"), MacBinary: true}}}
	p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
	if a, b := string(p.Children[1].Content), string(p.Children[2].Content); a != "data" || b != "short" {
		t.Errorf("%q %q", a, b)
	}
}

func TestLinks(t *testing.T) {
	s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 7),
		tneftest.Text(mapi.TagAttachLongFilename, "plan.docx"), tneftest.Text(mapi.TagAttachLongPathname, "https://contoso.com/plan.docx")}}}}
	p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
	if c := p.Children[1]; c.Name != "plan.docx.link.txt" || string(c.Content) != "plan.docx\r\nhttps://contoso.com/plan.docx\r\n" {
		t.Errorf("%+v", c)
	}
}
