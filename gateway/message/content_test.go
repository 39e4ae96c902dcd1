package message

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

func TestContent(t *testing.T) {
	cases := []struct {
		name string
		c    Content
		want string
	}{
		{"nil", nil, ""},
		{"empty slices", Content{nil, {}, nil}, ""},
		{"one", Content{[]byte("Subject: a\r\n")}, "Subject: a\r\n"},
		{"several, some empty", Content{nil, []byte("a"), {}, []byte("bcd"), nil, []byte("e"), nil}, "abcde"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.c.Size(); got != int64(len(c.want)) {
				t.Errorf("Size = %d", got)
			}
			if got := string(c.c.Bytes()); got != c.want {
				t.Errorf("Bytes = %q", got)
			}
			for range 2 { // it can be written and read more than once
				var out bytes.Buffer
				if n, err := c.c.WriteTo(&out); n != int64(len(c.want)) || err != nil || out.String() != c.want {
					t.Errorf("WriteTo = %d, %v: %q", n, err, out.String())
				}
				if err := iotest.TestReader(c.c.NewReader(), []byte(c.want)); err != nil {
					t.Error(err)
				}
			}
			r := c.c.NewReader()
			for i := range c.want {
				if r.Len() != int64(len(c.want)-i) {
					t.Errorf("Len = %d at %d", r.Len(), i)
				}
				if got, err := r.ReadByte(); got != c.want[i] || err != nil {
					t.Errorf("ReadByte = %q, %v at %d", got, err, i)
				}
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestContentBytesIsACopy(t *testing.T) {
	original := []byte("original")
	c := Content{original}
	c.Bytes()[0] = 'X'
	if string(original) != "original" {
		t.Error("changing the copy changed the original")
	}
}

// TestContentOverTCP writes more slices than one writev takes.
func TestContentOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c Content
	for i := range 3000 {
		c = append(c, octets(i%700, uint64(i)))
	}
	got := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		got <- all
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.WriteTo(conn)
	if err != nil || n != c.Size() {
		t.Errorf("WriteTo = %d, %v; want %d", n, err, c.Size())
	}
	_ = conn.Close()
	if !bytes.Equal(<-got, c.Bytes()) {
		t.Error("the other end got something else")
	}
}

// shortWriter fails after n octets.
type shortWriter struct{ n int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		n := w.n
		w.n = 0
		return n, io.ErrClosedPipe
	}
	w.n -= len(p)
	return len(p), nil
}

func TestReaderResumesAfterAFailedWrite(t *testing.T) {
	r := Content{[]byte("abc"), []byte("defg")}.NewReader()
	if n, err := r.WriteTo(&shortWriter{n: 5}); n != 5 || err != io.ErrClosedPipe {
		t.Fatalf("WriteTo = %d, %v", n, err)
	}
	rest, err := io.ReadAll(r)
	if string(rest) != "fg" || err != nil {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}
