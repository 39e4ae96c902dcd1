package outbound

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// sink is a next hop that costs as little as it can: it reads content in bulk and keeps nothing.
func sink(b *testing.B, chunking bool) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	ehlo := "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
	if chunking {
		ehlo = "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 0\r\n"
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serveSink(nc, ehlo)
		}
	}()
	return ln.Addr().String()
}

func serveSink(nc net.Conn, ehlo string) {
	defer nc.Close()
	br, bw := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriter(nc)
	bw.WriteString("220 sink\r\n")
	for {
		if br.Buffered() == 0 && bw.Flush() != nil {
			return
		}
		line, err := br.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			bw.WriteString(ehlo)
		case bytes.HasPrefix(line, []byte("BDAT ")):
			n, _ := strconv.Atoi(string(bytes.Fields(line)[1]))
			if _, err := io.CopyN(io.Discard, br, int64(n)); err != nil {
				return
			}
			bw.WriteString("250 2.0.0 ok\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			bw.WriteString("354 go\r\n")
			if bw.Flush() != nil || discardData(br) != nil {
				return
			}
			bw.WriteString("250 2.0.0 ok\r\n")
		default:
			bw.WriteString("250 2.0.0 ok\r\n")
		}
	}
}

func discardData(br *bufio.Reader) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 3 && line[0] == '.' {
			return nil
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	line := strings.Repeat("0123456789abcde", 5) + "\r\n"
	for _, size := range []int{4 << 10, 1 << 20, 16 << 20} {
		content := sample + strings.Repeat(line, size/len(line))
		for _, way := range []string{"BDAT", "DATA"} {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, way), func(b *testing.B) {
				tr := transport(b, nil, sink(b, way == "BDAT"))
				r := request(content, "alexd@contoso.com")
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				b.SetParallelism(10) // 20 senders on 2 processors
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if res := tr.Deliver(context.Background(), r); res[0].Outcome != Delivered {
							b.Errorf("%s: %v", summary(res), res[0].Reply)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

func BenchmarkContent(b *testing.B) {
	line := strings.Repeat("0123456789abcde", 5) + "\r\n"
	content := [][]byte{[]byte(strings.Repeat(line, 1<<20/len(line)))}
	b.SetBytes(int64(len(content[0])))
	b.ReportAllocs()
	for b.Loop() {
		if newBody(content).bare {
			b.Fatal("clean content counts as bare")
		}
	}
}
