package outbound

import (
	"context"
	"net"
	"testing"
	"time"
)

// BenchmarkFarPeer delivers over kept connections to a peer that is 50 ms away, in each direction. A round trip is 100 ms: with CHUNKING a
// message takes one, with PIPELINING alone two, with neither four (RFC 2920, RFC 3030).
func BenchmarkFarPeer(b *testing.B) {
	for _, tt := range []struct {
		name string
		ext  []string
	}{{"chunking", []string{"PIPELINING", "CHUNKING"}}, {"pipelining", []string{"PIPELINING"}}, {"neither", nil}} {
		b.Run(tt.name, func(b *testing.B) {
			p := newPeer(b, nil)
			p.ext = tt.ext
			tr := transport(b, nil, delayed(b, p.addr(), 50*time.Millisecond))
			r := request("Subject: x\r\n\r\nx\r\n", "a@contoso.com")
			tr.Deliver(context.Background(), r) // connects
			b.ResetTimer()
			for range b.N {
				if res := tr.Deliver(context.Background(), r); res[0].Outcome != Delivered {
					b.Fatal(res[0].Reply)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/100, "round-trips/msg")
		})
	}
}

// delayed is a proxy to addr that holds everything back for a while, in both directions.
func delayed(tb testing.TB, addr string, delay time.Duration) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				continue
			}
			go hold(server, client, delay)
			go hold(client, server, delay)
		}
	}()
	return l.Addr().String()
}

// hold copies src to dst, each read later by delay.
func hold(dst, src net.Conn, delay time.Duration) {
	type chunk struct {
		due time.Time
		b   []byte
	}
	queue := make(chan chunk, 1024)
	go func() {
		defer dst.Close()
		for c := range queue {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.b); err != nil {
				return
			}
		}
	}()
	defer close(queue)
	for {
		b := make([]byte, 64<<10)
		n, err := src.Read(b)
		if n > 0 {
			queue <- chunk{time.Now().Add(delay), b[:n]}
		}
		if err != nil {
			return
		}
	}
}
