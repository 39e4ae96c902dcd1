package tnef_test

import (
	"bytes"
	"mime"
	"net/mail"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func seeds() [][]byte {
	s := inspected()
	damaged := s
	damaged.Damage.CutAt = 500
	list := [][]byte{s.Bytes(), damaged.Bytes(), simple()}
	for _, b := range declared() {
		list = append(list, b)
	}
	return list
}

func FuzzDecode(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := tnef.Decode(b, nil)
		if (err == nil) != tnef.IsTNEF(b) {
			t.Fatalf("%v", err)
		}
		if err != nil {
			return
		}
		if m.Class == "" || m.Codepage == 0 {
			t.Fatalf("class %q, code page %d", m.Class, m.Codepage)
		}
		if _, err := tnef.Inspect(b, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tnef.Extract(b, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzConvertStream: the result is a message whose header the standard library reads, and with a structure.
func FuzzConvertStream(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if _, err := tnef.ConvertStream(&out, b, nil); err != nil {
			return
		}
		// Octets that are spliced (a signed message, an attached mail) may be broken; what is around them may not.
		m, err := mail.ReadMessage(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := mime.ParseMediaType(m.Header.Get("Content-Type")); err != nil && !bytes.Contains(b, []byte("Content-")) {
			t.Fatal(err)
		}
		if _, err := rawmime.Walk(out.Bytes(), generous); err != nil {
			t.Fatal(err)
		}
	})
}

var generous = rawmime.Limits{Depth: 500, Parts: 100_000, Header: 1 << 26}

// FuzzConvertMessage: what stands outside of the parts that were converted is still there, and the structure can be read.
func FuzzConvertMessage(f *testing.F) {
	for _, b := range seeds() {
		f.Add(tneftest.Wrap(header, "text", b))
		f.Add(tneftest.WholeBinary(header, b))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		var out bytes.Buffer
		r, err := tnef.ConvertMessage(&out, msg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, msg) {
			t.Fatal("input changed")
		}
		if r.Converted+r.Failed > r.Found || r.Converted == 0 && out.Len() > 0 {
			t.Fatalf("%+v, %d octets", r, out.Len())
		}
		if r.Found > 0 && !tnef.Contains(msg) {
			t.Fatal("Contains says that there is none")
		}
		if r.Converted > 0 {
			if _, err := rawmime.Walk(out.Bytes(), generous); err != nil {
				t.Fatal(err)
			}
		}
	})
}
