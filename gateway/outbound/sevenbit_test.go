package outbound

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

func TestSevenBit(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		err            error
	}{
		{"7-bit as it is", "a: b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nabc\r\n", "a: b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nabc\r\n", nil},
		{"text", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\nX: y\r\n\r\ngr\xfc\xdfe = a\r\n",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\nX: y\r\n\r\ngr=FC=DFe =3D a\r\n", nil},
		{"without MIME, UTF-8", "Subject: x\r\n\r\né\r\n",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n", nil},
		{"without MIME, unknown", "Subject: x\r\n\r\n\xe9\r\n",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9\r\n", nil},
		{"one part of several",
			"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b\r\n\r\nplain\r\n" +
				"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\xff\r\n--b\r\n\r\n\xc3\xa9\r\n--b--\r\nepilogue",
			"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npreamble\r\n--b\r\n\r\nplain\r\n" +
				"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAP8=\r\n\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n--b--\r\nepilogue", nil},
		{"in an attached message",
			"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n\xc3\xa9",
			"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9", nil},
		{"binary text", "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb",
			"MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nYQpi\r\n", nil},
		{"8-bit header", "Subject: \xc3\xa9\r\n\r\nx", "", errHeader8Bit},
		{"8-bit header of a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xff\r\n\r\n\xff\r\n--b--\r\n", "", errHeader8Bit},
		{"signed", "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b\r\n\r\ns\r\n--b--\r\n", "", errSigned},
		{"not what it says", "Content-Transfer-Encoding: base64\r\n\r\n\xff\r\n", "", errEncoding},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := SevenBit(cut([]byte(c.in), 0b1001000))
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, string(bytes.Join(out, nil))); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, typ := range []string{"message/delivery-status", "message/partial", "multipart/mixed"} {
		if _, err := SevenBit([][]byte{[]byte("Content-Type: " + typ + "\r\n\r\n\xff")}); err == nil {
			t.Errorf("%s was encoded", typ)
		}
	}
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100) + "\r\n\xff"
	var limit *rawmime.LimitError
	if _, err := SevenBit([][]byte{[]byte(deep)}); !errors.As(err, &limit) {
		t.Errorf("error %v", err)
	}
}

// FuzzSevenBit: what is encoded decodes to what it was.
func FuzzSevenBit(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\n\xff\r\n"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b\r\nContent-Type: image/png\r\n\r\n\xff\x00\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\na: b\r\n\r\n\xc3\xa9"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		out, err := SevenBit([][]byte{msg})
		if err != nil {
			return
		}
		flat := bytes.Join(out, nil)
		if newBody([][]byte{msg}).bare {
			return // what such lines mean is a matter of taste
		}
		before, err := rawmime.Walk(msg, rawmime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		after, err := rawmime.Walk(flat, rawmime.Limits{})
		if err != nil {
			t.Skip() // fields that were added may exceed a limit
		}
		samePart(t, msg, flat, before, after)
	})
}

func samePart(t *testing.T, a, b []byte, pa, pb *rawmime.Part) {
	t.Helper()
	if len(pa.Children) != len(pb.Children) {
		t.Fatalf("%q became %q", a, b)
	}
	for i := range pa.Children {
		samePart(t, a, b, pa.Children[i], pb.Children[i])
	}
	if len(pa.Children) > 0 || pa.Encoding == pb.Encoding {
		return
	}
	ca, cb := pa.Body(a), pb.Body(b)
	decoded, _ := rawmime.Decode(nil, cb, pb.Encoding)
	if !bytes.Equal(ca, decoded) {
		t.Fatalf("part %q became %q, which is %q", ca, cb, decoded)
	}
}
