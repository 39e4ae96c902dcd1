package tnef_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// bigStream holds one attachment of n octets.
func bigStream(n int) []byte {
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "see the file")},
		Attachments: []tneftest.Attachment{{Title: "video.mp4", Data: noise(n)}}}
	return s.Bytes()
}

func bigMessage(n int) []byte { return tneftest.Wrap(header, "see the file", bigStream(n)) }

// typicalMessage is of the size that an ordinary message from Outlook has: 20 KB, HTML encapsulated in RTF, a small picture.
func typicalMessage() []byte {
	var html strings.Builder
	html.WriteString(`{\rtf1\ansi\ansicpg1252\fromhtml1 \fbidi \deff0{\fonttbl{\f0\fswiss\fcharset0 Arial;}}{\*\htmltag64}{\*\htmltag <html><body>}`)
	for range 60 {
		html.WriteString(`{\*\htmltag <p class=MsoNormal>}\htmlrtf {\htmlrtf0 The figures for the third quarter are in the file on the share, please look at them.\htmlrtf\par}\htmlrtf0{\*\htmltag </p>}` + "\r\n")
	}
	html.WriteString(`{\*\htmltag </body></html>}}`)
	s := tneftest.Stream{Codepage: 1252, Class: "IPM.Microsoft Mail.Note",
		Props:       []mapi.Property{tneftest.Text(mapi.TagSubject, "Q3 figures"), tneftest.RTF(html.String())},
		Recipients:  [][]mapi.Property{tneftest.Recipient(mapi.To, "David Alexander", "david@fabrikam.com")},
		Attachments: []tneftest.Attachment{{Title: "logo.png", Data: noise(11 << 10)}}}
	return tneftest.Wrap(header, "The figures", s.Bytes())
}

// cpuTime is what the process has used. On a machine that does other work too it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// reportCPU reports CPU time an operation, and megabytes of input in a second of it; call what it returns at the end.
func reportCPU(b *testing.B, size int) func() {
	start := cpuTime(b)
	return func() {
		used := cpuTime(b) - start
		b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/op")
		b.ReportMetric(float64(size)*float64(b.N)/1e6/used.Seconds(), "MB/cpu-s")
	}
}

func benchConvert(b *testing.B, msg []byte, opt *tnef.Options) {
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	defer reportCPU(b, len(msg))()
	for b.Loop() {
		r, err := tnef.ConvertMessage(io.Discard, msg, opt)
		if err != nil || r.Converted != 1 {
			b.Fatalf("%+v %v", r, err)
		}
	}
}

func BenchmarkConvert64MiB(b *testing.B) { benchConvert(b, bigMessage(64<<20), nil) }

func BenchmarkConvertTypical(b *testing.B) { benchConvert(b, typicalMessage(), nil) }

func BenchmarkContains(b *testing.B) {
	text := strings.Repeat("The quarterly report - see https://www.contoso.com/reports?q=3 - is due (95%). Regards,\r\n", 1<<16)
	mixed := header + "Content-Type: multipart/mixed; boundary=b\r\n"
	for name, msg := range map[string][]byte{
		"base64": []byte(mixed + "\r\n" + tneftest.Base64(noise(16<<20))),
		"plain":  []byte(header + "\r\n" + text),
		"text":   []byte(mixed + "\r\n" + text),
		"dashes": append([]byte(mixed+"\r\n"), bytes.Repeat([]byte("-"), 16<<20)...),
		"4KB":    []byte(mixed + "\r\n" + text[:4096]),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			defer reportCPU(b, len(msg))()
			for b.Loop() {
				if tnef.Contains(msg) {
					b.Fatal("found")
				}
			}
		})
	}
}
