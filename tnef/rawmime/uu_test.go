package rawmime

import (
	"bytes"
	"testing"
)

func TestFindUU(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		found    bool
		file     string
		data     string
		around   string // what is not the file
	}{
		{"alone", "begin 644 cat.txt\n#0V%T\n`\nend\n", true, "cat.txt", "Cat", ""},
		{"in a text", "see\r\n\r\nbegin 0644 a cat.txt \r\n#0V%T\r\n`\r\nend\r\n--\r\nbye", true, "a cat.txt", "Cat", "see\r\n\r\n--\r\nbye"},
		{"the first of two", "begin 644 a\n#0V%T\nend\nbegin 644 b\nend\n", true, "a", "Cat", "begin 644 b\nend\n"},
		{"without end", "x\nbegin 644 a\n#0V%T\n", true, "a", "Cat", "x\n"},
		{"white space at the end", "begin 644 a\n#0V%T\n end \n", true, "a", "Cat", ""},
		{"no name", "begin 644\n#0V%T\nend\n", true, "", "Cat", ""},
		{"trailing blanks lost", "begin 644 a\n%8@\nend", true, "a", "b\x00\x00\x00\x00", ""},
		{"prose", "to begin 644 x\nbegin here\nbegin 64 x\nbegin 64400 x\nbegin 888 x\nbegin 644x\n", false, "", "", ""},
		{"nothing", "", false, "", "", ""},
		{"begin only", "begin 644 x", true, "x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, found := FindUU([]byte(tt.in))
			if found != tt.found || f.Name != tt.file {
				t.Fatalf("%v %q", found, f.Name)
			}
			if !found {
				return
			}
			got, end := f.Decode([]byte("<"))
			if string(got) != "<"+tt.data || !bytes.HasPrefix(got[1:], f.Head()) {
				t.Errorf("%q", got)
			}
			if got := tt.in[:f.Start] + tt.in[end:]; got != tt.around {
				t.Errorf("around it: %q", got)
			}
		})
	}
}

func FuzzFindUU(f *testing.F) {
	f.Add([]byte("see\r\nbegin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nbye"))
	f.Add([]byte("begin 644 a\n\xff\n\nend"))
	f.Fuzz(func(t *testing.T, src []byte) {
		u, found := FindUU(src)
		if !found {
			return
		}
		out, end := u.Decode(nil)
		if u.Start < 0 || end > len(src) || u.Start >= end {
			t.Fatalf("%d to %d of %d octets", u.Start, end, len(src))
		}
		if len(out) > 5*len(src)+maxUULine {
			t.Errorf("%d octets of %d", len(out), len(src))
		}
		if again, _ := DecodeUU(nil, src); !bytes.Equal(again, out) {
			t.Error("DecodeUU differs")
		}
		if !bytes.HasPrefix(out, u.Head()) && !bytes.HasPrefix(u.Head(), out) {
			t.Error("the first line differs")
		}
	})
}
