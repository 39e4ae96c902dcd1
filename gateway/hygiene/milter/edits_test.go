package milter

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Whatever a filter asks for and whatever the message is: the body stays, and exactly one field is added.
func FuzzEdits(f *testing.F) {
	for _, s := range []string{"A: 1\r\n\r\nbody", "", "\r\n", "A: 1", "From x\nA: 1\n\nb", " x\r\nA:\r\n b\r\n\r\n"} {
		f.Add([]byte(s), "X-Spam", "YES\n more", uint32(1), true)
		f.Add([]byte(s), "A", "", uint32(0), false)
	}
	f.Fuzz(func(t *testing.T, msg []byte, name, value string, index uint32, insert bool) {
		m := milter.ModifyAction{Code: milter.ActAddHeader, HeaderName: name, HeaderValue: value, HeaderIndex: index}
		if insert {
			m.Code = milter.ActInsertHeader
		}
		out, changed := edits{m}.apply(msg)
		got := out.Bytes()
		if !changed {
			if !bytes.Equal(got, msg) {
				t.Fatalf("%q became %q", msg, got)
			}
			return
		}
		_, before := rawmime.HeaderEnd(msg)
		_, after := rawmime.HeaderEnd(got)
		if !bytes.Equal(msg[before:], got[after:]) {
			t.Fatalf("body of %q became %q", msg, got)
		}
		if rawmime.Count(got, name) != rawmime.Count(msg, name)+1 {
			t.Fatalf("%d fields %q in %q, %d in %q", rawmime.Count(got, name), name, got, rawmime.Count(msg, name), msg)
		}
		// Change it back.
		nth := uint32(0)
		for field := range rawmime.Fields(got) {
			if field.Is(name) {
				nth++
			}
		}
		if m.Code == milter.ActAddHeader {
			back, _ := edits{{Code: milter.ActChangeHeader, HeaderName: name, HeaderIndex: nth}}.apply(got)
			if b := back.Bytes(); !bytes.Equal(b, msg) && !bytes.Equal(bytes.TrimRight(b, "\r\n"), bytes.TrimRight(msg, "\r\n")) {
				t.Fatalf("%q became %q and back %q", msg, got, b)
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	msg := []byte(strings.Repeat("X-Field: some words of a header\r\n", 40) + "\r\n" + strings.Repeat("body of the message\r\n", 50_000))
	e := edits{{Code: milter.ActAddHeader, HeaderName: "X-Spam", HeaderValue: "YES"}}
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		e.apply(msg)
	}
}
