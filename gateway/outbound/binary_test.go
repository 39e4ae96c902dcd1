package outbound

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// mixed is a multipart of parts.
func mixed(encoding string, parts ...string) string {
	s := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n"
	for _, p := range parts {
		s += "--b\r\n" + p + "\r\n"
	}
	return s + "--b--\r\n"
}

func TestBinaryTo(t *testing.T) {
	const (
		png   = "Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\x00\xff"
		png64 = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoA/w==\r\n"
		text  = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9"
		qp    = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9"
		clean = "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nplain"
		seven = "Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\nplain"
		named = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: binary\r\n\r\n\xc3\xa9"
		lf    = "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb"
		lf64  = "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nYQpi\r\n"
	)
	long := strings.Repeat("x", 2000)
	signed := func(part string) string {
		return "Content-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n--b\r\n" + part + "\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n\r\ns\r\n--b--\r\n"
	}
	encrypted := strings.Replace(signed(png), "multipart/signed", "multipart/encrypted", 1)
	for _, c := range []struct {
		name, in     string
		seven, eight string // what it becomes; empty: as it is
		err7, err8   error
	}{
		{"binary, 8-bit and plain parts", mixed("binary", png, text, seven), mixed("7bit", png64, qp, seven), mixed("8bit", png64, text, seven), nil, nil},
		{"a message that is 8-bit in truth", mixed("8bit", text, seven), mixed("7bit", qp, seven), "", nil, nil},
		{"a message that is 7-bit in truth", mixed("7bit", seven), "", "", nil, nil},
		{"a message without MIME", "Subject: x\r\n\r\nplain\r\n", "", "", nil, nil},
		{"parts that call themselves binary and are not", mixed("binary", clean, clean), mixed("7bit", seven, seven), mixed("8bit", seven, seven), nil, nil},
		{"8-bit text that calls itself binary", mixed("binary", named), mixed("7bit", qp), mixed("8bit", text), nil, nil},
		{"text with its own line endings", mixed("binary", lf), mixed("7bit", lf64), mixed("8bit", lf64), nil, nil},
		{"a long line in what is called binary", mixed("binary", "Content-Type: application/json\r\nContent-Transfer-Encoding: binary\r\n\r\n"+long[:999]),
			mixed("7bit", "Content-Type: application/json\r\nContent-Transfer-Encoding: base64\r\n\r\n"+base64Of(long[:999])),
			mixed("8bit", "Content-Type: application/json\r\nContent-Transfer-Encoding: base64\r\n\r\n"+base64Of(long[:999])), nil, nil},
		{"a long line elsewhere", mixed("7bit", "Content-Type: text/html\r\n\r\n"+long), "", "", nil, nil},
		{"a single part", "MIME-Version: 1.0\r\n" + png, "MIME-Version: 1.0\r\n" + png64, "MIME-Version: 1.0\r\n" + png64, nil, nil},
		{"no MIME at all", "Subject: x\r\n\r\n\x00",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n",
			"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n", nil, nil},
		{"in an attached message", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nMIME-Version: 1.0\r\n" + png,
			"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nMIME-Version: 1.0\r\n" + png64,
			"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: 1.0\r\n" + png64, nil, nil},
		{"signed", signed(png), "", "", errSigned, errSigned},
		{"signed, 8-bit in truth", signed(text), "", "", errSigned, nil},
		{"signed, 7-bit in truth", signed(clean), "", "", nil, nil}, // its labels are signed as well
		{"encrypted", encrypted, "", "", errEncrypted, errEncrypted},
		{"a signed part beside others", mixed("binary", png, signed(clean)), mixed("7bit", png64, signed(clean)), mixed("8bit", png64, signed(clean)), nil, nil},
		{"8-bit in the header", "Subject: \xc3\xa9\r\n" + png, "", "Subject: \xc3\xa9\r\n" + png64, errHeader8Bit, nil},
		{"encoded, and not what it says", "Content-Transfer-Encoding: base64\r\n\r\n\x00", "", "", errEncoding, errEncoding},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, to := range []struct {
				domain domain
				want   string
				err    error
			}{{sevenBitData, c.seven, c.err7}, {eightBitData, c.eight, c.err8}} {
				out, err := binaryTo(to.domain)(cut([]byte(c.in), 0b1001000))
				if !errors.Is(err, to.err) {
					t.Fatalf("to %s: error %v, want %v", to.domain, err, to.err)
				}
				if err != nil {
					continue
				}
				if to.want == "" {
					to.want = c.in
				}
				if diff := cmp.Diff(to.want, string(bytes.Join(out, nil))); diff != "" {
					t.Errorf("to %s: %s", to.domain, diff)
				}
			}
		})
	}
}

func base64Of(s string) string { return string(rawmime.AppendBase64(nil, []byte(s))) }

// Where no part is, nothing can be encoded: octets that would be seen as something else are not sent.
func TestBinaryOutsideOfParts(t *testing.T) {
	for _, c := range []struct{ name, preamble, want string }{
		{"a NUL", "\x00", "refused 550 5.6.3 mail"},
		{"a line ending", "a\nb", "delivered 250 2.0.0 eod"},
	} {
		p := newPeer(t, nil)
		p.ext = without("BINARYMIME")
		r := request("Content-Type: multipart/mixed; boundary=b\r\n\r\n"+c.preamble+"\r\n--b\r\n\r\nx\r\n--b--\r\n", "alexd@contoso.com")
		r.Body = "BINARYMIME"
		wantSummary(t, deliver(t, transport(t, nil, p.addr()), r), c.want)
		for _, m := range p.got() {
			if newBody([][]byte{[]byte(m.content)}).bare {
				t.Errorf("%s: sent %q", c.name, m.content)
			}
		}
	}
}

// TestBinaryToHosts sends one message with any octets to hosts that can take more or less of it.
func TestBinaryToHosts(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	message := "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(all) + "\r\n.\r\n\n.\r\r\n"
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	encoded := strings.Replace(header, "binary", "base64", 1) + "\r\n\r\n" + base64Of(body)
	for _, c := range []struct {
		name string
		ext  []string
		want string
		from string
		bdat bool
	}{
		{"BINARYMIME and CHUNKING", allExtensions, message, "BODY=BINARYMIME", true},
		{"BINARYMIME without CHUNKING, which no host should offer", without("CHUNKING"), encoded, "", false},
		{"CHUNKING", without("BINARYMIME"), encoded, "", true},
		{"neither", without("BINARYMIME", "CHUNKING"), encoded, "", false},
		{"nothing", []string{}, encoded, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, nil)
			p.ext = c.ext
			r := request(message, "alexd@contoso.com")
			r.Content = cut([]byte(message), 0b1001000)
			r.Body = "BINARYMIME"
			tr := transport(t, nil, p.addr())
			for range 2 {
				wantSummary(t, deliver(t, tr, r), "delivered 250 2.0.0 eod")
			}
			for _, got := range p.got() {
				if got.content != c.want || got.bdat != c.bdat {
					t.Errorf("by BDAT %v: %q, want %q", got.bdat, got.content, c.want)
				}
				if _, param, _ := strings.Cut(got.from, "BODY="); param != strings.TrimPrefix(c.from, "BODY=") {
					t.Errorf("MAIL %s", got.from)
				}
			}
		})
	}
}

// FuzzBinaryTo: what is encoded decodes to what it was, and what comes out is what it is for.
func FuzzBinaryTo(f *testing.F) {
	f.Add([]byte("a: b\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\r\n\x00"), true)
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\n\r\n--b\r\nContent-Type: image/png\r\n\r\n\xff\x00\r\n--b--\r\n"), false)
	f.Add([]byte("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--b--\r\n"), true)
	f.Fuzz(func(t *testing.T, msg []byte, eight bool) {
		to := sevenBitData
		if eight {
			to = eightBitData
		}
		b := newBodies([][]byte{msg}, SevenBit)
		text, err := map[bool]func() (*body, error){false: b.binarySevenBit, true: b.binaryEightBit}[eight]()
		if err != nil {
			return
		}
		flat := bytes.Join(text.segments, nil)
		if text.bare || bytes.IndexByte(flat, 0) >= 0 || !eight && text.eightBit {
			t.Fatalf("to %s: %q became %q", to, msg, flat)
		}
		root, err := rawmime.Walk(msg, rawmime.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if newBody([][]byte{root.Header(msg)}).bare {
			return // such a header is not let in
		}
		out, _ := binaryTo(to)([][]byte{msg})
		recoded := bytes.Join(out, nil)
		after, err := rawmime.Walk(recoded, rawmime.Limits{})
		if err != nil {
			t.Skip() // fields that were added may exceed a limit
		}
		sameEncoded(t, msg, recoded, root, after)
	})
}

// sameEncoded compares parts whose encoding changed.
func sameEncoded(t *testing.T, a, b []byte, pa, pb *rawmime.Part) {
	t.Helper()
	if len(pa.Children) != len(pb.Children) {
		t.Fatalf("%q became %q", a, b)
	}
	for i := range pa.Children {
		sameEncoded(t, a, b, pa.Children[i], pb.Children[i])
	}
	if len(pa.Children) > 0 || pa.Encoding == pb.Encoding {
		return
	}
	decoded, _ := rawmime.Decode(nil, pb.Body(b), pb.Encoding)
	if ca := pa.Body(a); !bytes.Equal(ca, decoded) {
		t.Fatalf("part %q became %q, which is %q", ca, pb.Body(b), decoded)
	}
}
