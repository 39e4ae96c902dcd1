package tnef_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

const plainBody = "Hello from Outlook, the figures are in the file.\r\n"

var (
	textProp = tneftest.Text(mapi.TagBody, plainBody)
	htmlProp = tneftest.Binary(mapi.TagHTML, []byte("<html><body><p>Hello from <b>Outlook</b></p></body></html>"))
	pdf      = tneftest.Attachment{Title: "report.pdf", Data: []byte("%PDF-1.4 figures")}
)

// simple is a stream with a text body and a file.
func simple() []byte {
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{pdf}}
	return s.Bytes()
}

func cidImage(cid string, props ...mapi.Property) tneftest.Attachment {
	return tneftest.Attachment{Title: "image001.png", Data: []byte("\x89PNG\r\n\x1a\nlogo"), Props: append([]mapi.Property{
		tneftest.Text(mapi.TagAttachContentID, cid), tneftest.Text(mapi.TagAttachMimeTag, "image/png")}, props...)}
}

func TestShapes(t *testing.T) {
	withHTML := func(s string) mapi.Property { return tneftest.Binary(mapi.TagHTML, []byte(s)) }
	rtfHTML := tneftest.RTF(`{\rtf1\ansi\fromhtml1 {\*\htmltag <html><body>}Hi{\*\htmltag <img src="cid:logo@x"></body></html>}}`)
	tests := []struct {
		name   string
		props  []mapi.Property
		files  []tneftest.Attachment
		want   string
		attach string // X-MS-Has-Attach
	}{
		{"text", []mapi.Property{textProp}, nil, "text/plain", ""},
		{"html", []mapi.Property{htmlProp}, nil, "alternative(text/plain,text/html)", ""},
		{"text and html", []mapi.Property{textProp, htmlProp}, nil, "alternative(text/plain,text/html)", ""},
		{"text, file", []mapi.Property{textProp}, []tneftest.Attachment{pdf}, "mixed(text/plain,application/pdf[report.pdf])", "yes"},
		{"html, file", []mapi.Property{htmlProp}, []tneftest.Attachment{pdf}, "mixed(alternative(text/plain,text/html),application/pdf[report.pdf])", "yes"},
		{"file only", nil, []tneftest.Attachment{pdf}, "mixed(text/plain,application/pdf[report.pdf])", "yes"},
		{"inline image", []mapi.Property{withHTML(`<img src="cid:logo@x">`)}, []tneftest.Attachment{cidImage("logo@x")},
			"related(alternative(text/plain,text/html),image/png[image001.png])", ""},
		{"inline image in upper case", []mapi.Property{withHTML(`<IMG SRC=CID:LOGO@X>`)}, []tneftest.Attachment{cidImage("logo@x")},
			"related(alternative(text/plain,text/html),image/png[image001.png])", ""},
		{"image with an id nobody refers to", []mapi.Property{withHTML(`<p>x</p>`)}, []tneftest.Attachment{cidImage("logo@x")},
			"mixed(alternative(text/plain,text/html),image/png[image001.png])", "yes"},
		{"hidden image nobody refers to", []mapi.Property{withHTML(`<p>x</p>`)}, []tneftest.Attachment{cidImage("logo@x", tneftest.Bool(mapi.TagAttachmentHidden, true))},
			"alternative(text/plain,text/html)", ""},
		{"hidden image that is shown", []mapi.Property{withHTML(`<img src=cid:logo@x>`)}, []tneftest.Attachment{cidImage("logo@x", tneftest.Bool(mapi.TagAttachmentHidden, true))},
			"related(alternative(text/plain,text/html),image/png[image001.png])", ""},
		{"image by Content-Location", []mapi.Property{withHTML(`<img src="logo/a.png">`)},
			[]tneftest.Attachment{{Title: "a.png", Data: []byte("x"), Props: []mapi.Property{tneftest.Text(mapi.TagAttachContentLocation, "logo/a.png")}}},
			"related(alternative(text/plain,text/html),image/png[a.png])", ""},
		{"image by name", []mapi.Property{withHTML(`<img src="cid:image001.png">`)}, []tneftest.Attachment{{Title: "image001.png", Data: []byte("x")}},
			"related(alternative(text/plain,text/html),image/png[image001.png])", ""},
		{"inline image and file", []mapi.Property{withHTML(`<img src="cid:logo@x">`)}, []tneftest.Attachment{cidImage("logo@x"), pdf},
			"mixed(related(alternative(text/plain,text/html),image/png[image001.png]),application/pdf[report.pdf])", "yes"},
		{"image of HTML in RTF", []mapi.Property{rtfHTML}, []tneftest.Attachment{cidImage("logo@x")}, "related(alternative(text/plain,text/html),image/png[image001.png])", ""},
		{"text in RTF", []mapi.Property{tneftest.RTF(`{\rtf1\ansi\fromtext {\f0 Hello\par}}`)}, nil, "text/plain", ""},
		{"real RTF", []mapi.Property{tneftest.PlainRTF(`{\rtf1\ansi {\b Hello}\par}`)}, nil, "alternative(text/plain,text/html)", ""},
		{"file of an exception", []mapi.Property{textProp}, []tneftest.Attachment{{Message: &tneftest.Stream{Codepage: 1252, Class: "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", Attachments: []tneftest.Attachment{pdf}},
			Props: []mapi.Property{tneftest.Bool(mapi.TagAttachmentHidden, true), tneftest.Long(mapi.TagAttachMethod, 5)}}}, "mixed(text/plain,application/pdf[report.pdf])", "yes"},
		{"exception of a meeting", []mapi.Property{textProp}, []tneftest.Attachment{{Title: "Untitled", Data: []byte("x"), Props: []mapi.Property{tneftest.Long(mapi.TagAttachmentFlags, 2)}}}, "text/plain", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Codepage: 1252, Props: tt.props, Attachments: tt.files}
			p, out, r := convert(t, tneftest.Wrap(header, "Hello", s.Bytes()))
			if got := p.shape(); got != tt.want {
				t.Errorf("shape %s, want %s\n%s", got, tt.want, out)
			}
			if strings.Contains(out, "ms-tnef") {
				t.Errorf("TNEF left over:\n%s", out)
			}
			if got := p.Header["X-Ms-Has-Attach"]; len(got) != 1 || got[0] != tt.attach {
				t.Errorf("X-MS-Has-Attach %q, want %q", got, tt.attach)
			}
			left := strings.Contains(strings.Join(r.Warnings, "\n"), "left out")
			if r.Found != 1 || r.Converted != 1 || r.Failed != 0 || left != (tt.name == "hidden image nobody refers to") || len(r.Warnings) > 1 {
				t.Errorf("report %+v", r)
			}
			checkLines(t, out)
		})
	}
}

// checkLines: lines end with CRLF, and no line is longer than 78.
func checkLines(t *testing.T, out string) {
	t.Helper()
	if !strings.HasSuffix(out, "\r\n") || strings.Contains(strings.ReplaceAll(out, "\r\n", ""), "\n") {
		t.Errorf("line ends: %q", out)
	}
	for _, l := range strings.Split(out, "\r\n") {
		if len(l) > 78 {
			t.Errorf("line of %d: %s", len(l), l)
		}
	}
}

func TestInlineImagesKeepTheirIDs(t *testing.T) {
	s := tneftest.Stream{Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, []byte(`<img src="cid:logo@x">`))}, Attachments: []tneftest.Attachment{cidImage("<logo@x>")}}
	p, _, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
	img := p.find("image/png")
	if img.CID != "logo@x" || img.Disp != "inline" || string(img.Content) != "\x89PNG\r\n\x1a\nlogo" {
		t.Errorf("%+v", img)
	}
	if got := p.Params["type"]; got != "multipart/alternative" {
		t.Errorf("related type %q", got)
	}
}

func TestPlacedPictures(t *testing.T) {
	s := tneftest.Stream{Props: []mapi.Property{tneftest.RTF(`{\rtf1\ansi one {\objattph  } two {\objattph  } end\par}`)}, Attachments: []tneftest.Attachment{
		{Title: "late.png", Data: []byte("late"), Place: 9}, {Title: "early.doc", Data: []byte("early"), Place: 4}}}
	p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
	if got := p.shape(); got != "mixed(related(alternative(text/plain,text/html),image/png[late.png]),application/msword[early.doc])" {
		t.Errorf("%s\n%s", got, out)
	}
	html := string(p.find("text/html").Content)
	early, late := strings.Index(html, "&lt;&lt;early.doc&gt;&gt;"), strings.Index(html, `src="cid:`+p.find("image/png").CID+`"`)
	if early < 0 || late < early {
		t.Errorf("places %d, %d in %s", early, late, html)
	}
	if text := string(p.find("text/plain").Content); !strings.Contains(text, "<<early.doc>>") {
		t.Errorf("%s", text)
	}
}

// The whole of what is not TNEF stays: every other part, preamble, epilogue, field.
func TestOthersStay(t *testing.T) {
	footer := "Content-Type: text/plain; charset=us-ascii\r\nX-Odd:   spacing \r\n\r\n_______\r\nList footer, a line ending with a blank \r\n"
	other := "Content-Type: application/zip;  name=\"a.zip\"\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBA=\r\n=\r\n"
	odd := "received: by x;\r\n\ty\r\nFrom: Kim Akers <kim@contoso.com>\r\nTo: d@fabrikam.com\r\nSubject:  odd   \r\nno colon here\r\nDate: Tue, 3 Jun 2025 10:00:00 +0200\r\n"
	msg := tneftest.Mixed(odd, tneftest.TextPart(plainBody), tneftest.Part(simple()), footer, other)
	p, out, _ := convertRaw(t, msg)
	_ = p
	for _, keep := range []string{odd, "This is a multi-part message in MIME format.\r\n\r\n--" + tneftest.Boundary + "\r\n", "--" + tneftest.Boundary + "\r\n" + footer + "\r\n--" + tneftest.Boundary + "\r\n" + other + "\r\n--" + tneftest.Boundary + "--\r\n"} {
		if !strings.Contains(out, keep) {
			t.Errorf("lost: %q\nin\n%s", keep, out)
		}
	}
	if got := treeOf(t, out); got != "mixed(text/plain,application/pdf,text/plain,application/zip)" {
		t.Errorf("%s\n%s", got, out)
	}
}

// convertRaw converts without parsing the result, for messages that the standard library refuses.
func convertRaw(t *testing.T, msg []byte) (*rawmime.Part, string, tnef.Report) {
	t.Helper()
	var out bytes.Buffer
	r, err := tnef.ConvertMessage(&out, msg, nil)
	if err != nil || r.Converted == 0 {
		t.Fatalf("%+v %v", r, err)
	}
	p, err := rawmime.Walk(out.Bytes(), rawmime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p, out.String(), r
}

func treeOf(t *testing.T, msg string) string {
	t.Helper()
	p, err := rawmime.Walk([]byte(msg), rawmime.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var show func(p *rawmime.Part) string
	show = func(p *rawmime.Part) string {
		var list []string
		for _, c := range p.Children {
			list = append(list, show(c))
		}
		s := strings.TrimPrefix(p.Type, "multipart/")
		if list == nil {
			return s
		}
		return s + "(" + strings.Join(list, ",") + ")"
	}
	return show(p)
}

func TestPlaces(t *testing.T) {
	inner := func(subtype, b string, parts ...string) string {
		s := fmt.Sprintf("Content-Type: multipart/%s; boundary=%s\r\n\r\n", subtype, b)
		for _, p := range parts {
			s += "--" + b + "\r\n" + p + "\r\n"
		}
		return s + "--" + b + "--\r\n"
	}
	part, text := tneftest.Part(simple()), tneftest.TextPart(plainBody)
	message := func(m string) string { return "Content-Type: message/rfc822\r\n\r\n" + m }
	octets := strings.NewReplacer("application/ms-tnef", "application/octet-stream").Replace(part)
	noText := tneftest.Stream{Codepage: 1252, Attachments: []tneftest.Attachment{pdf}}
	tests := []struct{ name, msg, want string }{
		{"nested", string(tneftest.Mixed(header, inner("mixed", "n", text, part), tneftest.TextPart("footer"))), "mixed(mixed(text/plain,application/pdf),text/plain)"},
		{"footer around", string(tneftest.Mixed(header, inner("mixed", "n", text, part))), "mixed(mixed(text/plain,application/pdf))"},
		{"attached message", string(tneftest.Mixed(header, tneftest.TextPart("see below"), message(string(tneftest.Wrap(header, plainBody, simple()))))),
			"mixed(text/plain,message/rfc822(mixed(text/plain,application/pdf)))"},
		{"attached message that is all TNEF", string(tneftest.Mixed(header, message(string(tneftest.Whole(header, simple()))))), "mixed(message/rfc822(mixed(text/plain,application/pdf)))"},
		{"TNEF only", string(tneftest.Mixed(header, part)), "mixed(text/plain,application/pdf)"},
		{"by name only", string(tneftest.Mixed(header, text, octets)), "mixed(text/plain,application/pdf)"},
		{"win.dat", strings.ReplaceAll(string(tneftest.Mixed(header, text, octets)), "winmail.dat", "WIN.DAT"), "mixed(text/plain,application/pdf)"},
		{"vnd.ms-tnef", strings.ReplaceAll(string(tneftest.Mixed(header, text, part)), "application/ms-tnef", "Application/VND.MS-TNEF"), "mixed(text/plain,application/pdf)"},
		{"in alternative", string(tneftest.Mixed(header, inner("alternative", "n", text, part))), "mixed(mixed(text/plain,application/pdf))"},
		{"in related", string(tneftest.Mixed(header, inner("related", "n", "Content-Type: text/html\r\n\r\n<p>", part))), "mixed(related(text/html,mixed(text/plain,application/pdf)))"},
		{"in related, beside text", string(tneftest.Mixed(header, inner("related", "n", text, part))), "mixed(mixed(text/plain,application/pdf))"},
		{"two parts", string(tneftest.Mixed(header, text, part, part)), "mixed(text/plain,application/pdf,text/plain,application/pdf)"},
		{"whole, base64", string(tneftest.Whole(header, simple())), "mixed(text/plain,application/pdf)"},
		{"whole, binary", string(tneftest.WholeBinary(header, simple())), "mixed(text/plain,application/pdf)"},
		{"whole, quoted-printable", header + "Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + qp(simple()), "mixed(text/plain,application/pdf)"},
		{"whole, uuencoded", header + "Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n" + uu(simple()), "mixed(text/plain,application/pdf)"},
		{"base64 declared as 7bit", strings.Replace(string(tneftest.Whole(header, simple())), "Encoding: base64", "Encoding: 7bit", 1), "mixed(text/plain,application/pdf)"},
		{"binary in a multipart", string(tneftest.Mixed(header, text, "Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: binary\r\n\r\n"+string(simple()))), "mixed(text/plain,application/pdf)"},
		{"files only keep the text", string(tneftest.Mixed(header, tneftest.TextPart("the only body"), tneftest.Part(noText.Bytes()))), "mixed(text/plain,application/pdf)"},
		{"file beside", string(tneftest.Mixed(header, text, part, "Content-Type: application/zip\r\n\r\nPK")), "mixed(text/plain,application/pdf,application/zip)"},
		{"alternative as fallback", string(tneftest.Mixed(header, inner("alternative", "n", text, "Content-Type: text/html\r\n\r\n<p>x</p>"), part)), "mixed(text/plain,application/pdf)"},
		{"never closed", strings.TrimSuffix(string(tneftest.Mixed(header, text, part)), "--"+tneftest.Boundary+"--\r\n"), "mixed(text/plain,application/pdf)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, out, r := convertRaw(t, []byte(tt.msg))
			if got := treeOf(t, out); got != tt.want {
				t.Errorf("%s\nwant\n%s\n%s", got, tt.want, out)
			}
			if r.Found != strings.Count(tt.want, "application/pdf") || r.Converted != r.Found {
				t.Errorf("report %+v", r)
			}
			parseMessage(t, []byte(out))
			if strings.Contains(tt.name, "binary") {
				return
			}
			// The same with the line ends of a Unix file.
			if _, out, _ := convertRaw(t, []byte(strings.ReplaceAll(tt.msg, "\r\n", "\n"))); treeOf(t, out) != tt.want {
				t.Errorf("with LF: %s", out)
			}
		})
	}
}

func qp(b []byte) string {
	var s strings.Builder
	for i, c := range b {
		fmt.Fprintf(&s, "=%02X", c)
		if i%20 == 19 {
			s.WriteString("=\r\n")
		}
	}
	return s.String()
}

func uu(b []byte) string {
	var s strings.Builder
	s.WriteString("begin 600 winmail.dat\r\n")
	for len(b) > 0 {
		n := min(len(b), 45)
		s.WriteByte(byte(' ' + n))
		line := append(bytes.Clone(b[:n]), 0, 0)
		for i := 0; i < n; i += 3 {
			for _, v := range []byte{line[i] >> 2, line[i]<<4&0x30 | line[i+1]>>4, line[i+1]<<2&0x3C | line[i+2]>>6, line[i+2] & 0x3F} {
				if v == 0 {
					v = 64
				}
				s.WriteByte(' ' + v)
			}
		}
		s.WriteString("\r\n")
		b = b[n:]
	}
	return s.String() + "`\r\nend\r\n"
}

func TestNotTouched(t *testing.T) {
	part := tneftest.Part(simple())
	broken := tneftest.Stream{Damage: tneftest.Damage{BadSignature: true}, Props: []mapi.Property{textProp}}
	signed := header + "Content-Type: multipart/signed; boundary=s; protocol=\"application/pkcs7-signature\"\r\n\r\n--s\r\n" + part + "\r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--s--\r\n"
	many := tneftest.Stream{}
	for range 10_001 {
		many.Attachments = append(many.Attachments, tneftest.Attachment{Data: []byte("x")})
	}
	tests := []struct {
		name, msg     string
		found, failed int
	}{
		{"no TNEF", string(tneftest.Mixed(header, tneftest.TextPart("hi"))), 0, 0},
		{"talk about winmail.dat", string(tneftest.Mixed(header, tneftest.TextPart("I got application/ms-tnef winmail.dat"))), 0, 0},
		{"signed", signed, 0, 0},
		{"encrypted", strings.Replace(signed, "multipart/signed", "multipart/encrypted", 1), 0, 0},
		{"signed inside", string(tneftest.Mixed(header, strings.TrimPrefix(signed, header))), 0, 0},
		{"not a TNEF stream", string(tneftest.Wrap(header, "hi", broken.Bytes())), 1, 1},
		{"empty part", string(tneftest.Wrap(header, "hi", nil)), 1, 1},
		{"signature and nothing else", string(tneftest.Wrap(header, "hi", simple()[:6])), 1, 1},
		{"text named winmail.dat", string(tneftest.Mixed(header, "Content-Type: text/plain; name=winmail.dat\r\n\r\nhi")), 1, 1},
		{"unknown encoding", strings.ReplaceAll(string(tneftest.Wrap(header, "hi", []byte("xxxxxxxxxxx"))), "base64", "x-secret"), 1, 1},
		{"more attachments than the limit", string(tneftest.Wrap(header, "hi", many.Bytes())), 1, 1},
		{"too deep", header + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 60) + part, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := tnef.ConvertMessage(&out, []byte(tt.msg), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Found != tt.found || r.Failed != tt.failed || r.Converted != 0 || out.Len() != 0 {
				t.Errorf("report %+v, %d octets written", r, out.Len())
			}
			if tt.failed > 0 && (len(r.Warnings) == 0 || !strings.HasPrefix(r.HeaderValue("1"), "failed; version=1")) {
				t.Errorf("says nothing of it: %+v %q", r, r.HeaderValue("1"))
			}
		})
	}
}

func TestOneGoodOneBroken(t *testing.T) {
	bad := "Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\nnot a stream"
	_, out, r := convertRaw(t, tneftest.Mixed(header, tneftest.TextPart(plainBody), tneftest.Part(simple()), bad))
	if r.Found != 2 || r.Converted != 1 || r.Failed != 1 || !strings.Contains(out, bad) {
		t.Errorf("%+v\n%s", r, out)
	}
	if v := r.HeaderValue("1.0"); v != "converted; version=1.0; class=IPM.Note; failed=1; warnings=1" {
		t.Errorf("%q", v)
	}
}

func TestCorrelator(t *testing.T) {
	stream := func(key string, files ...tneftest.Attachment) []byte {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, tneftest.Binary(mapi.TagTnefCorrelationKey, []byte(key))}, Attachments: files}
		return s.Bytes()
	}
	const outer = "another text altogether"
	tests := []struct {
		name, header string
		stream       []byte
		text         string // of the first text part; "" when nothing is converted
		shape        string
	}{
		{"equal", "X-MS-TNEF-Correlator: <1@contoso.com>\r\n", stream("<1@contoso.com>\x00", pdf), plainBody, "mixed(text/plain,application/pdf[report.pdf])"},
		{"different", "X-MS-TNEF-Correlator: <1@contoso.com>\r\n", stream("<2@contoso.com>\x00", pdf), outer, "mixed(text/plain,application/pdf[report.pdf])"},
		{"different, no file", "X-MS-TNEF-Correlator: <1@contoso.com>\r\n", stream("<2@contoso.com>\x00"), "", ""},
		{"no header, key is the Message-ID", "", stream("<1@contoso.com>\x00", pdf), plainBody, "mixed(text/plain,application/pdf[report.pdf])"},
		{"equal but for brackets", "X-MS-TNEF-Correlator: 1@contoso.com\r\n", stream("<1@contoso.com>\x00", pdf), plainBody, "mixed(text/plain,application/pdf[report.pdf])"},
		{"folded", "X-MS-TNEF-Correlator:\r\n <1@contoso.com>\r\n", stream("<1@contoso.com>\x00", pdf), plainBody, "mixed(text/plain,application/pdf[report.pdf])"},
		{"no key", "X-MS-TNEF-Correlator: <1@contoso.com>\r\n", simple(), plainBody, "mixed(text/plain,application/pdf[report.pdf])"},
		{"forwarded as a file by hand", "", stream("<7@contoso.com>\x00", pdf), outer, "mixed(text/plain,message/rfc822[message1.eml](mixed(text/plain,application/pdf[report.pdf])))"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := tneftest.Wrap(header+tt.header, outer, tt.stream)
			if tt.text == "" {
				if r, err := tnef.ConvertMessage(io.Discard, msg, nil); err != nil || r.Found != 1 || r.Converted != 0 || r.Failed != 0 {
					t.Errorf("%+v %v", r, err)
				}
				return
			}
			p, out, _ := convert(t, msg)
			if p.shape() != tt.shape || string(p.find("text/plain").Content) != tt.text {
				t.Errorf("%s %q\n%s", p.shape(), p.find("text/plain").Content, out)
			}
			if strings.Contains(strings.ToLower(out), "x-ms-tnef-correlator") {
				t.Error("X-MS-TNEF-Correlator left over")
			}
		})
	}
}

// Nothing ties the stream to the message, but its text says nothing that could get lost: the body of the stream takes its place.
func TestStubsOfUncorrelatedStreams(t *testing.T) {
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, tneftest.Binary(mapi.TagTnefCorrelationKey, []byte("<7@contoso.com>\x00"))}}
	for _, text := range []string{"fallback\r\n", "This message is in TNEF format.\r\n", "This message is in MIME format, which your mail reader does not understand.\r\n", "See winmail.dat for the rest of it\r\n"} {
		p, _, _ := convert(t, tneftest.Wrap(header, text, s.Bytes()))
		if got := string(p.find("text/plain").Content); p.shape() != "text/plain" || got != plainBody {
			t.Errorf("%q: %s %q", text, p.shape(), got)
		}
	}
}

// A message of a system whose lines end with LF goes back there: what is generated has the same lines, and what only passes through stays.
func TestBareLines(t *testing.T) {
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, tneftest.Binary(mapi.TagHTML, []byte("<p>a\r\n<p>"+strings.Repeat("Größe ", 3000)))}, Attachments: []tneftest.Attachment{pdf}}
	msg := bytes.ReplaceAll(tneftest.Wrap(header+"X-MS-Has-Attach:\r\n", "?", s.Bytes()), []byte("\r\n"), []byte("\n"))
	var out bytes.Buffer
	r, err := tnef.ConvertMessage(&out, msg, nil)
	if err != nil || r.Converted != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if i := bytes.IndexByte(out.Bytes(), '\r'); i >= 0 {
		t.Errorf("CR at %d: %q", i, out.Bytes()[max(0, i-40):i+10])
	}
	whole, _, _ := convert(t, bytes.ReplaceAll(msg, []byte("\n"), []byte("\r\n")))
	if p := parseMessage(t, bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte("\r\n"))); p.shape() != whole.shape() || string(p.find("text/html").Content) != string(whole.find("text/html").Content) {
		t.Errorf("%s, want %s", p.shape(), whole.shape())
	}
}

// A signed message in the stream keeps its CRLF, even so: the signature is over those.
func TestBareLinesAroundSignedOctets(t *testing.T) {
	signed := "Content-Type: multipart/signed; boundary=b; protocol=\"application/pkcs7-signature\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsigned\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\r\nsig\r\n--b--\r\n"
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Note.SMIME.MultipartSigned", Attachments: []tneftest.Attachment{{Title: "smime.p7m", Data: []byte(signed), Props: []mapi.Property{tneftest.Text(mapi.TagAttachMimeTag, "multipart/signed")}}}}
	msg := bytes.ReplaceAll(tneftest.Wrap(header, "?", s.Bytes()), []byte("\r\n"), []byte("\n"))
	var out bytes.Buffer
	if r, err := tnef.ConvertMessage(&out, msg, nil); err != nil || r.Converted != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if _, body, _ := strings.Cut(signed, "\r\n\r\n"); !strings.Contains(out.String(), strings.TrimSuffix(body, "\r\n")) {
		t.Errorf("%q", out.String())
	}
}

// Long headers are no reason to leave a message as it is.
func TestLongHeader(t *testing.T) {
	msg := strings.Repeat("X-Contoso: "+strings.Repeat("x", 900)+"\r\n", 3000) + string(tneftest.Wrap(header, "?", simple()))
	if _, _, r := convert(t, []byte(msg)); r.Converted != 1 {
		t.Errorf("%+v", r)
	}
}

// The data of an attachment have been seen as a string, which they can't be: they are kept as they are.
func TestDataOfAnotherType(t *testing.T) {
	for _, x := range []mapi.Property{tneftest.Raw8(mapi.TagAttachData, []byte("abc\xe9")), tneftest.Text(mapi.TagAttachData, "abc")} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: "a.bin", Props: []mapi.Property{x}}}}
		p, _, _ := convert(t, tneftest.Wrap(header, "?", s.Bytes()))
		if got := string(p.Children[1].Content); !strings.HasPrefix(got, "abc") {
			t.Errorf("%q", got)
		}
	}
}

func TestHeaderOfConverted(t *testing.T) {
	msg := "Received: from a\r\n\tby b\r\nX-MS-TNEF-Correlator: <1@contoso.com>\r\nX-MS-Has-Attach:\r\nCONTENT-TYPE: application/ms-tnef;\r\n\tname=winmail.dat\r\n" +
		"Content-Language: en-US\r\nMime-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nSubject: own\r\n\r\n" + tneftest.Base64(simple())
	_, out, _ := convert(t, []byte(msg))
	head, _, _ := strings.Cut(out, "\r\n\r\n")
	if !strings.HasPrefix(head, "Received: from a\r\n\tby b\r\nX-MS-Has-Attach: yes\r\nContent-Language: en-US\r\nSubject: own\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;") {
		t.Errorf("%s", head)
	}
}

func TestMissingFieldsAreFilled(t *testing.T) {
	s := tneftest.Stream{Codepage: 1252, Props: append(tneftest.Sender("Kim Akers", "kim@contoso.com"), textProp, tneftest.Text(mapi.TagSubject, "Zahlen für Q3"),
		tneftest.Time(mapi.TagClientSubmitTime, when)), Recipients: [][]mapi.Property{
		tneftest.Recipient(mapi.To, "David Alexander", "david@fabrikam.com"), tneftest.Recipient(mapi.Cc, "", "ann@contoso.com"), tneftest.Recipient(mapi.Bcc, "Secret", "secret@contoso.com")}}
	p, out, _ := convert(t, tneftest.Wrap("Message-ID: <1@contoso.com>\r\n", "", s.Bytes()))
	for k, want := range map[string]string{"From": "Kim Akers <kim@contoso.com>", "To": "David Alexander <david@fabrikam.com>", "Cc": "ann@contoso.com",
		"Subject": "=?utf-8?Q?Zahlen_f=C3=BCr_Q3?=", "Date": "Tue, 3 Jun 2025 08:00:00 +0000", "Message-Id": "<1@contoso.com>"} {
		if got := p.Header[k]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if strings.Contains(out, "secret@") {
		t.Error("blind copy told")
	}
	p, _, _ = convert(t, tneftest.Wrap(header, "", s.Bytes()))
	if got := p.Header["Subject"]; len(got) != 1 || got[0] != "Q3 figures" {
		t.Errorf("own subject replaced: %q", got)
	}
}

func TestDeterministic(t *testing.T) {
	msg := tneftest.Wrap(header, "", simple())
	_, a, _ := convert(t, msg)
	_, b, _ := convert(t, msg)
	if a != b {
		t.Error("two conversions differ")
	}
}

// Attached messages become message/rfc822 all the way down, each with its own code page.
func TestAttachedMessages(t *testing.T) {
	inner := &tneftest.Stream{Codepage: 1251, Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, "Отчёт"), tneftest.Text8(mapi.TagBody, "Привет\r\n")}, Attachments: []tneftest.Attachment{{Title: "отчёт.txt", Data: []byte("x")}}}
	middle := &tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text8(mapi.TagSubject, "Fwd: größe"), htmlProp}, Attachments: []tneftest.Attachment{{Message: inner}}}
	outer := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Message: middle}}}
	p, out, _ := convert(t, tneftest.Wrap(header, "", outer.Bytes()))
	want := "mixed(text/plain,message/rfc822[Fwd_ größe.eml](mixed(alternative(text/plain,text/html),message/rfc822[Отчёт.eml](mixed(text/plain,text/plain[отчёт.txt])))))"
	if got := p.shape(); got != want {
		t.Fatalf("%s\nwant\n%s\n%s", got, want, out)
	}
	deep := p.Children[1].Children[0].Children[1].Children[0]
	if got := string(deep.Children[0].Content); got != "Привет\r\n" {
		t.Errorf("%q", got)
	}
	if strings.Contains(out, "message/rfc822; ") && strings.Contains(out, "rfc822\r\nContent-Transfer-Encoding: base64") {
		t.Error("message/rfc822 encoded")
	}
}

func TestAttachedFilesThatAreMessages(t *testing.T) {
	eml := func(b []byte) tneftest.Attachment { return tneftest.Attachment{Title: "mail.eml", Data: b} }
	lf := []byte("Subject: x\n\nbody\n")
	crlf := []byte("Subject: x\r\n\r\nbody\r\n")
	nested := simple()
	tests := []struct {
		name string
		file tneftest.Attachment
		want string
	}{
		{"sound", eml(crlf), "mixed(text/plain,message/rfc822[mail.eml](text/plain))"},
		{"bare LF stays a file", eml(lf), "mixed(text/plain,application/octet-stream[mail.eml])"},
		{"no header", eml([]byte("\x00\x01")), "mixed(text/plain,application/octet-stream[mail.eml])"},
		{"TNEF inside", eml(tneftest.Wrap(header, "", nested)), "mixed(text/plain,message/rfc822[mail.eml](mixed(text/plain,application/pdf[report.pdf])))"},
		{"TNEF as a file", tneftest.Attachment{Title: "winmail.dat", Data: nested}, "mixed(text/plain,message/rfc822[message1.eml](mixed(text/plain,application/pdf[report.pdf])))"},
		{"winmail.dat that is none", tneftest.Attachment{Title: "winmail.dat", Data: []byte("x")}, "mixed(text/plain,application/octet-stream[winmail.dat])"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{tt.file}}
			p, out, _ := convert(t, tneftest.Wrap(header, "", s.Bytes()))
			if got := p.shape(); got != tt.want {
				t.Errorf("%s\nwant\n%s\n%s", got, tt.want, out)
			}
			if p.Children[1].Type == "application/octet-stream" && !bytes.Equal(p.Children[1].Content, tt.file.Data) {
				t.Error("file changed")
			}
		})
	}
}

func TestSMIME(t *testing.T) {
	signed := "Content-Type: multipart/signed; boundary=\"sig\"; micalg=sha-256; protocol=\"application/pkcs7-signature\"\r\nX-Other: dropped\r\n\r\n" +
		"--sig\r\nContent-Type: text/plain\r\n\r\nsigned  \r\nbare\nlf\r\n--sig\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIx\r\n--sig--\r\n"
	cms := []byte("\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0rest")
	stream := func(class string, data []byte) []byte {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagMessageClass, class)}, Attachments: []tneftest.Attachment{{Title: "smime.p7m", Data: data}}}
		return s.Bytes()
	}
	for _, class := range []string{"IPM.Note.SMIME.MultipartSigned", "ipm.note.smime.multipartsigned", "IPM.InfoPathForm.x.SMIME.MultipartSigned"} {
		_, out, _ := convert(t, tneftest.Wrap(header, "fallback", stream(class, []byte(signed))))
		_, body, _ := strings.Cut(signed, "\r\n\r\n")
		if !strings.HasSuffix(out, "\r\n\r\n"+body) || strings.Contains(out, "X-Other") || !strings.Contains(out, "\r\nContent-Type: multipart/signed; boundary=\"sig\"; micalg=sha-256;") {
			t.Errorf("%s:\n%s", class, out)
		}
	}
	p, out, _ := convert(t, tneftest.Wrap(header, "fallback", stream("IPM.Note.SMIME", cms)))
	if p.Type != "application/pkcs7-mime" || p.Params["smime-type"] != "enveloped-data" || p.Params["name"] != "smime.p7m" || p.Encoding != "base64" || !bytes.Equal(p.Content, cms) {
		t.Errorf("%+v\n%s", p, out)
	}
	// Among other parts it takes the place of the text, or, where there is none, its own.
	part, footer := tneftest.Part(stream("IPM.Note.SMIME", cms)), tneftest.TextPart("footer")
	for _, parts := range [][]string{{tneftest.TextPart("text"), part, footer}, {part, footer}} {
		if _, out, _ := convertRaw(t, tneftest.Mixed(header, parts...)); treeOf(t, out) != "mixed(application/pkcs7-mime,text/plain)" {
			t.Errorf("%s", out)
		}
	}
	// Without what the class promises it is ordinary mail, and nothing is lost.
	p, _, r := convert(t, tneftest.Wrap(header, "fallback", stream("IPM.Note.SMIME.MultipartSigned", []byte("no entity"))))
	if p.shape() != "mixed(text/plain,application/pkcs7-mime[smime.p7m])" || len(r.Warnings) != 1 {
		t.Errorf("%s %+v", p.shape(), r)
	}
}

// A delimiter of the message around, inside octets that must not change, would end the message there.
func TestSplicedOctetsWithAForeignDelimiter(t *testing.T) {
	file := func(name string, b []byte) []byte {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: name, Data: b}}}
		return s.Bytes()
	}
	forged := "--" + tneftest.Boundary + "\r\n\r\nforged part\r\n"
	mail := []byte("Subject: x\r\n\r\n" + forged)
	signed := tneftest.Stream{Class: "IPM.Note.SMIME.MultipartSigned", Attachments: []tneftest.Attachment{{Data: []byte("Content-Type: multipart/signed; boundary=s\r\n\r\n" + forged)}}}
	around := func(stream []byte) []byte {
		return tneftest.Mixed(header, tneftest.TextPart(plainBody), tneftest.Part(stream), tneftest.TextPart("footer"))
	}
	tests := []struct {
		name, want string
		msg        []byte
	}{
		{"a mail becomes a file", "mixed(text/plain,application/octet-stream,text/plain)", around(file("mail.eml", mail))},
		{"where nothing is around it stays a mail", "mixed(text/plain,message/rfc822(text/plain))", tneftest.Wrap(header, plainBody, file("mail.eml", mail))},
		{"it shows only when a mail in a mail was converted", "mixed(text/plain,message/rfc822(mixed(text/plain,application/octet-stream)),text/plain)",
			around(file("mail.eml", tneftest.Whole(header, file("mail.eml", mail))))},
	}
	for _, tt := range tests {
		_, out, _ := convertRaw(t, tt.msg)
		if got := treeOf(t, out); got != tt.want {
			t.Errorf("%s: %s\n%s", tt.name, got, out)
		}
	}
	if r, err := tnef.ConvertMessage(io.Discard, around(signed.Bytes()), nil); err != nil || r.Failed != 1 || r.Converted != 0 {
		t.Errorf("signed: %+v %v", r, err)
	}
}

type failingWriter struct{ left int }

var errFull = errors.New("full")

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	msg := tneftest.Wrap(header, "", simple())
	for n := range 300 {
		if _, err := tnef.ConvertMessage(&failingWriter{n}, msg, nil); !errors.Is(err, errFull) {
			t.Fatalf("after %d octets: %v", n, err)
		}
	}
}

type scratch struct {
	bytes.Buffer
	closed int
	fail   error
}

func (s *scratch) Close() error { s.closed++; return nil }
func (s *scratch) Write(b []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(b)
}

func TestScratch(t *testing.T) {
	msg := bigMessage(3 << 20)
	var want, got bytes.Buffer
	if _, err := tnef.ConvertMessage(&want, msg, nil); err != nil {
		t.Fatal(err)
	}
	s := &scratch{}
	opt := &tnef.Options{Scratch: func() (tnef.ScratchBuffer, error) { return s, nil }}
	if _, err := tnef.ConvertMessage(&got, msg, opt); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got.Bytes()) || s.closed != 1 || s.Len() < 3<<20 {
		t.Errorf("closed %d times, %d octets", s.closed, s.Len())
	}
	s.fail = errFull
	if _, err := tnef.ConvertMessage(io.Discard, msg, opt); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
	opt.Scratch = func() (tnef.ScratchBuffer, error) { return nil, errFull }
	if _, err := tnef.ConvertMessage(io.Discard, msg, opt); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}
