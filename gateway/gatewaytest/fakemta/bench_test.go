package fakemta

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// sender sends the same message again and again over one kept connection.
type sender struct {
	conn     net.Conn
	r        *bufio.Reader
	envelope []byte // up to DATA; nil with BDAT
	content  []byte
	replies  [2]int // to the envelope, and to the content
}

func newSender(address string, size int, chunking bool) (*sender, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &sender{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
	if err := s.skip(1); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "EHLO client.example\r\n"); err != nil {
		return nil, err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line[3] == ' ' {
			break
		}
	}
	message := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), size/78+1)[:size-2]
	message = append(message, "\r\n"...)
	envelope := "MAIL FROM:<a@contoso.com> SIZE=4096\r\nRCPT TO:<b@contoso.com>\r\n"
	if chunking {
		s.content = append([]byte(envelope+fmt.Sprintf("BDAT %d LAST\r\n", len(message))), message...)
		s.replies = [2]int{0, 3}
		return s, nil
	}
	s.envelope = []byte(envelope + "DATA\r\n")
	s.content = append(message, ".\r\n"...)
	s.replies = [2]int{3, 1}
	return s, nil
}

func (s *sender) skip(lines int) error {
	for range lines {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line[0] != '2' && line[0] != '3' {
			return fmt.Errorf("refused: %s", line)
		}
	}
	return nil
}

func (s *sender) send() error {
	if s.envelope != nil {
		if _, err := s.conn.Write(s.envelope); err != nil {
			return err
		}
		if err := s.skip(s.replies[0]); err != nil {
			return err
		}
	}
	if _, err := s.conn.Write(s.content); err != nil {
		return err
	}
	return s.skip(s.replies[1])
}

// BenchmarkSink measures messages over 8 kept connections, client and server in this process.
func BenchmarkSink(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, how := range []string{"DATA", "BDAT"} {
			for _, keep := range []string{"discarded", "kept"} {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", how, size>>10, keep), func(b *testing.B) {
					benchmarkSink(b, size, how == "BDAT", Options{Discard: keep == "discarded", Forget: true})
				})
			}
		}
	}
}

func benchmarkSink(b *testing.B, size int, chunking bool, options Options) {
	server := start(b, options)
	const connections = 8
	senders := make([]*sender, connections)
	for i := range senders {
		var err error
		if senders[i], err = newSender(server.Addr(), size, chunking); err != nil {
			b.Fatal(err)
		}
		defer senders[i].conn.Close()
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for i, s := range senders {
		group.Go(func() {
			for n := i; n < b.N; n += connections {
				if err := s.send(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if got := server.Stats().Messages; got != b.N {
		b.Errorf("%d messages arrived of %d", got, b.N)
	}
}
