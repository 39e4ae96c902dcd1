package inbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"github.com/coexist-mail/coexist/routing"
)

// serverVariable makes the test binary a server of its own process, so that its memory and CPU are measured without the clients'. It
// names the kind: plain, tls or go-smtp. The server ends with its standard input.
const serverVariable = "INBOUND_TEST_SERVER"

func TestMain(m *testing.M) {
	kind := os.Getenv(serverVariable)
	if kind == "" {
		os.Exit(m.Run())
	}
	if err := serveUntilEOF(kind); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveUntilEOF(kind string) error {
	debug.SetGCPercent(100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "inbound-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h := &discard{recorder{dir: dir}}
	if path := os.Getenv("INBOUND_TEST_PROFILE"); path != "" {
		f, _ := os.Create(path)
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	if kind == "go-smtp" {
		s := newLibraryServer(h)
		go s.Serve(l)
		fmt.Println(l.Addr())
		io.Copy(io.Discard, os.Stdin)
		return s.Close()
	}
	s := New(Config{
		Hostname:   "gw1.contoso.com",
		Limits:     func() Limits { return Limits{Connections: 20000, MessageSize: 64 << 20} },
		NewSession: func(c Client) (smtp.Session, error) { return NewSessionFor(h, c, routing.Internet, 64<<20), nil },
	})
	listener := Listener{Listener: l}
	if kind == "tls" {
		cert, err := makeCert("gw1.contoso.com")
		if err != nil {
			return err
		}
		conf := &tls.Config{Certificates: []tls.Certificate{cert}}
		listener.TLS = func() *tls.Config { return conf }
	}
	go s.Serve(listener)
	fmt.Println(l.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() { // "gc" gives back what can be given back, so that what is kept is seen
		debug.FreeOSMemory()
		fmt.Println("done")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.Shutdown(ctx)
	return nil
}

// process is a server in a process of its own.
type process struct {
	tb   testing.TB
	addr string
	cmd  *exec.Cmd
	in   interface{ Write([]byte) (int, error) }
	out  *bufio.Reader
}

func startProcess(tb testing.TB, kind string) *process {
	tb.Helper()
	p := &process{tb: tb, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), serverVariable+"="+kind)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close(); p.cmd.Wait() })
	p.in, p.out = in, bufio.NewReader(out)
	p.addr = p.line()
	return p
}

func (p *process) line() string {
	p.tb.Helper()
	s, err := p.out.ReadString('\n')
	if err != nil {
		p.tb.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func (p *process) collect() {
	p.in.Write([]byte("gc\n"))
	p.line()
}

// resident is the memory of the process in octets, without pages of files.
func (p *process) resident() int64 {
	p.tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.tb.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	p.tb.Skip("no RssAnon")
	return 0
}

// cpu is the processor time of the process.
func cpuOf(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Skip(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// greeted connects and says EHLO; with TLS it starts that before.
func greeted(addr string, n int, withTLS bool) (net.Conn, error) {
	from := net.IPv4(127, 0, byte(1+n/250), byte(1+n%250))
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 30 * time.Second}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	ask := func(command string) error {
		if _, err := nc.Write([]byte(command)); err != nil {
			return err
		}
		b := make([]byte, 512)
		_, err := nc.Read(b)
		return err
	}
	if err := ask(""); err != nil {
		return nil, err
	}
	if withTLS {
		if err := ask("EHLO x\r\n"); err != nil {
			return nil, err
		}
		if err := ask("STARTTLS\r\n"); err != nil {
			return nil, err
		}
		tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			return nil, err
		}
		nc = tc
	}
	return nc, ask("EHLO x\r\n")
}

// connect makes n connections, some at a time, and does something on each.
func connect(tb testing.TB, n int, do func(i int) (net.Conn, error)) []net.Conn {
	tb.Helper()
	var limit unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	if int(limit.Cur) < n+100 {
		tb.Skipf("only %d open files are allowed", limit.Cur)
	}
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range conns {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			nc, err := do(i)
			if err != nil {
				tb.Error(err)
				return
			}
			conns[i] = nc
		})
	}
	wg.Wait()
	tb.Cleanup(func() {
		for _, nc := range conns {
			if tc, ok := nc.(*tls.Conn); ok {
				nc = tc.NetConn()
			}
			if nc != nil {
				nc.Close()
			}
		}
	})
	return conns
}

// BenchmarkIdleConnections tells what 10,000 clients cost that said EHLO and then nothing.
func BenchmarkIdleConnections(b *testing.B) {
	for _, kind := range []string{"plain", "tls"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				p := startProcess(b, kind)
				before := p.resident()
				connect(b, 10000, func(i int) (net.Conn, error) { return greeted(p.addr, i, kind == "tls") })
				time.Sleep(2 * parkAfter)
				at := p.resident()
				p.collect()
				b.ReportMetric(float64(at-before)/1e6, "MB")
				b.ReportMetric(float64(p.resident()-before)/1e6, "MB-kept")
			}
		})
	}
}

// BenchmarkThousandMessages tells what 1,000 clients cost that are all in the middle of a message of 1 MiB, and then twice that.
func BenchmarkThousandMessages(b *testing.B) {
	line := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, and so say we all\r\n"), 1<<14-100)
	for _, times := range []int{1, 2} {
		b.Run(fmt.Sprintf("%dMiB", times), func(b *testing.B) {
			for b.Loop() {
				p := startProcess(b, "plain")
				before := p.resident()
				connect(b, 1000, func(i int) (net.Conn, error) {
					nc, err := greeted(p.addr, i, false)
					if err != nil {
						return nil, err
					}
					if _, err := nc.Write([]byte("MAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\n")); err != nil {
						return nil, err
					}
					if _, err := nc.Read(make([]byte, 512)); err != nil {
						return nil, err
					}
					for range times {
						if _, err := nc.Write(line); err != nil {
							return nil, err
						}
					}
					return nc, nil
				})
				now := p.resident() // until it has read what was sent
				for last := int64(0); now != last; now = p.resident() {
					last = now
					time.Sleep(300 * time.Millisecond)
				}
				b.ReportMetric(float64(now-before)/1e6, "MB")
			}
		})
	}
}
