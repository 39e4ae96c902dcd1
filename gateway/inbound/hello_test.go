package inbound

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestHelloFragments(t *testing.T) {
	record := func(kind byte, length int, content string) string {
		return string([]byte{kind, 3, 1, byte(length >> 8), byte(length)}) + content
	}
	long := strings.Repeat("0123456789abcdef", 40) // 640 octets
	for _, tt := range []struct{ name, in, want string }{
		{"short", record(22, 5, "hello") + "rest", record(22, 5, "hello") + "rest"},
		{"long", record(22, 100, long[:100]) + "rest", record(22, 48, long[:48]) + record(22, 48, long[48:96]) + record(22, 4, long[96:100]) + "rest"},
		{"exactly two", record(22, 96, long[:96]), record(22, 48, long[:48]) + record(22, 48, long[48:96])},
		{"empty", record(22, 0, "") + "rest", record(22, 0, "") + "rest"},
		{"no handshake", record(21, 640, long), record(21, 640, long)},
		{"no TLS at all", "EHLO client.example\r\n" + long, "EHLO client.example\r\n" + long},
		{"longer than a record can be", record(22, 65535, long), record(22, 65535, long)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 16} {
				h := &helloConn{Conn: &scripted{in: strings.NewReader(tt.in)}}
				var got bytes.Buffer
				if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{h}, make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if got.String() != tt.want {
					t.Errorf("read by %d: got %q, want %q", size, &got, tt.want)
				}
			}
		})
	}
	for _, cut := range []string{"", "\x16\x03", record(22, 640, "short")} {
		h := &helloConn{Conn: &scripted{in: strings.NewReader(cut)}}
		if _, err := h.Read(make([]byte, 10)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: error %v", cut, err)
		}
	}
}

// Handshakes of all kinds succeed over it.
func TestHelloHandshakes(t *testing.T) {
	cert, err := makeCert("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		conf *tls.Config
	}{
		{"TLS 1.3", &tls.Config{}},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}},
		{"a group that must be asked for again", &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP521}}},
		{"a large ClientHello", &tls.Config{NextProtos: strings.Split(strings.Repeat(strings.Repeat("p", 200)+" ", 60)+"x", " ")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan error, 1)
			go func() {
				nc, err := l.Accept()
				if err != nil {
					served <- err
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(30 * time.Second))
				conf := &tls.Config{Certificates: []tls.Certificate{cert}}
				if n := len(tt.conf.CurvePreferences); n > 0 { // the client has no key share of it in its first flight
					conf.CurvePreferences = tt.conf.CurvePreferences[n-1:]
				}
				tc := tls.Server(&helloConn{Conn: nc}, conf)
				_, err = io.Copy(tc, io.LimitReader(tc, 5))
				served <- err
			}()
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(30 * time.Second))
			conf := tt.conf.Clone()
			conf.InsecureSkipVerify = true
			tc := tls.Client(nc, conf)
			if _, err := io.WriteString(tc, "hello"); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 5)
			if _, err := io.ReadFull(tc, b); err != nil || string(b) != "hello" {
				t.Errorf("got %q, %v", b, err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
