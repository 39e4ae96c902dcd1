package tnef_test

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
	"runtime"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// softQP leaves what is readable as it is, as most programs do.
func softQP(s string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestUUInText(t *testing.T) {
	plain := "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
	meeting := meetingStream("IPM.Schedule.Meeting.Request")
	key := tneftest.Binary(mapi.TagTnefCorrelationKey, []byte("<1@contoso.com>\x00"))
	keyed := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, key}, Attachments: []tneftest.Attachment{pdf}}
	blank := tneftest.Stream{Codepage: 1252, Attachments: []tneftest.Attachment{pdf}}
	for _, tt := range []struct {
		name, msg, shape string
		text             string // of the first text/plain
	}{
		{"without MIME", header + "\r\n" + plainBody + "\r\n" + uu(simple()), "mixed(text/plain,application/pdf[report.pdf])", plainBody},
		{"mode of four digits", header + "\r\n" + plainBody + strings.Replace(uu(simple()), "600 winmail", "0644 WINMAIL", 1), "mixed(text/plain,application/pdf[report.pdf])", plainBody},
		{"text/plain", header + plain + "\r\n" + plainBody + uu(simple()), "mixed(text/plain,application/pdf[report.pdf])", plainBody},
		{"quoted-printable", header + plain + "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + plainBody + softQP(uu(simple())), "mixed(text/plain,application/pdf[report.pdf])", plainBody},
		{"nothing before", header + "\r\n" + uu(simple()), "mixed(text/plain,application/pdf[report.pdf])", plainBody},
		{"a footer behind it", header + "\r\n" + plainBody + "\r\n" + uu(simple()) + "\r\n--\r\nlist footer\r\n", "mixed(text/plain,application/pdf[report.pdf])", plainBody + "\r\n--\r\nlist footer\r\n"},
		{"a footer before it", header + "\r\n" + plainBody + "\r\nlist footer\r\n" + uu(simple()), "mixed(text/plain,application/pdf[report.pdf])", plainBody + "\r\nlist footer\r\n"},
		{"another text before", header + "\r\nsomebody else wrote this\r\n" + uu(simple()) + "and that\r\n", "mixed(text/plain,text/plain,application/pdf[report.pdf])", "somebody else wrote this\r\n\r\nand that\r\n"},
		{"no body in the stream", header + "\r\nthe file\r\n" + uu(blank.Bytes()), "mixed(text/plain,application/pdf[report.pdf])", "the file\r\n"},
		{"a meeting", header + "\r\n" + uu(meeting.Bytes()), "alternative(text/plain,text/calendar)", ""},
		{"belongs to another message", header + "X-MS-TNEF-Correlator: <2@contoso.com>\r\n\r\nmine\r\n" + uu(keyed.Bytes()), "mixed(text/plain,application/pdf[report.pdf])", "mine\r\n"},
		{"in a part", string(tneftest.Mixed(header, tneftest.TextPart(plainBody+uu(simple())), "Content-Type: image/png\r\n\r\nx")), "mixed(mixed(text/plain,application/pdf[report.pdf]),image/png)", plainBody},
		{"in an attached message", string(tneftest.Mixed(header, tneftest.TextPart("see"), "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n"+plainBody+uu(simple()))), "mixed(text/plain,message/rfc822(mixed(text/plain,application/pdf[report.pdf])))", "see"},
		{"the second file", header + "\r\nbegin 644 winmail.dat\r\nprose\r\n" + uu(simple()), "mixed(text/plain,text/plain,application/pdf[report.pdf])", "begin 644 winmail.dat\r\nprose\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tnef.Contains([]byte(tt.msg)) {
				t.Error("not recognised")
			}
			p, out, r := convert(t, []byte(tt.msg))
			if got := p.shape(); got != tt.shape || r.Found != 1 {
				t.Errorf("shape %s, want %s; %+v", got, tt.shape, r)
			}
			if got := string(p.find("text/plain").Content); tt.text != "" && strings.TrimRight(got, "\r\n") != strings.TrimRight(tt.text, "\r\n") {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			if strings.Contains(out, "600 winmail") || strings.Contains(strings.ToLower(out), "correlator") != strings.Contains(tt.msg, "Correlator") && tt.name != "belongs to another message" {
				t.Error(out)
			}
			checkLines(t, out)
			streams, err := tnef.Streams([]byte(tt.msg), nil)
			if err != nil || len(streams) != 1 || !tnef.IsTNEF(streams[0]) {
				t.Errorf("streams: %d, %v", len(streams), err)
			}
		})
	}
}

func TestUUNotTouched(t *testing.T) {
	keyed := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, tneftest.Binary(mapi.TagTnefCorrelationKey, []byte("<1@contoso.com>\x00"))}}
	for name, msg := range map[string]string{
		"prose":              header + "\r\nbegin 644 winmail.dat\r\nis how it looks\r\n",
		"another file":       header + "\r\n" + strings.Replace(uu(simple()), "winmail.dat", "report.dat", 1),
		"no TNEF in it":      header + "\r\n" + uu([]byte("hello")),
		"an attached text":   string(tneftest.Mixed(header, strings.Replace(tneftest.TextPart(uu(simple())), "Content-Transfer", "Content-Disposition: attachment; filename=a.txt\r\nContent-Transfer", 1))),
		"HTML":               header + "Content-Type: text/html\r\n\r\n" + uu(simple()),
		"a mode of letters":  header + "\r\n" + strings.Replace(uu(simple()), "600", "rwx", 1),
		"only a foreign one": header + "X-MS-TNEF-Correlator: <2@contoso.com>\r\n\r\n" + uu(keyed.Bytes()),
		"signed": header + "Content-Type: multipart/signed; boundary=s; protocol=\"application/pkcs7-signature\"\r\n\r\n--s\r\n\r\n" + uu(simple()) +
			"\r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--s--\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := tnef.ConvertMessage(&out, []byte(msg), nil)
			if err != nil || r.Converted != 0 || out.Len() != 0 {
				t.Errorf("%+v %v\n%s", r, err, out.String())
			}
		})
	}
}

// TestEmptyStream: a message is not made of nothing.
func TestEmptyStream(t *testing.T) {
	nothing := tneftest.Stream{}
	whole := nothing.Bytes()
	for name, data := range map[string][]byte{"version only": whole, "signature": whole[:6], "cut in the version": whole[:9]} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := tnef.ConvertStream(&out, data, nil)
			if !errors.Is(err, tnef.ErrEmpty) || out.Len() != 0 || r.Failed != 1 || r.Converted != 0 {
				t.Errorf("%+v %v %q", r, err, out.String())
			}
		})
	}
}

// TestStreamsByContent: people who look for TNEF find it whatever the part is called.
func TestStreamsByContent(t *testing.T) {
	part := strings.NewReplacer("application/ms-tnef", "application/octet-stream", "winmail.dat", "att0001.bin").Replace(tneftest.Part(simple()))
	streams, err := tnef.Streams(tneftest.Mixed(header, tneftest.TextPart("x"), part), nil)
	if err != nil || len(streams) != 1 || !bytes.Equal(streams[0], simple()) {
		t.Errorf("%d streams, %v", len(streams), err)
	}
	if none, err := tnef.Streams(tneftest.Mixed(header, tneftest.TextPart("x")), nil); err != nil || len(none) != 0 {
		t.Errorf("%d streams, %v", len(none), err)
	}
}

// TestUUHostile: text full of beginnings is looked through once, and counts without data don't become a large file.
func TestUUHostile(t *testing.T) {
	for name, text := range map[string]string{
		"beginnings":      strings.Repeat("begin 644 winmail.dat\r\n", 100_000),
		"other names":     strings.Repeat("begin 644 x.dat\r\n", 100_000) + "begin 644 winmail.dat\r\n",
		"counts":          "begin 644 winmail.dat\r\n" + strings.Repeat("_\n", 1<<20),
		"counts, as TNEF": "begin 644 winmail.dat\r\n" + strings.Split(uu(simple()), "\r\n")[1] + "\r\n" + strings.Repeat("_\n", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			msg := []byte(header + "\r\n" + text)
			var r tnef.Report
			var err error
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err = tnef.ConvertMessage(io.Discard, msg, nil)
			runtime.ReadMemStats(&after)
			if err != nil || r.Converted > 1 {
				t.Errorf("%+v %v", r, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 20*uint64(len(msg))+16<<20 {
				t.Errorf("%d octets allocated for %d", n, len(msg))
			}
		})
	}
}
