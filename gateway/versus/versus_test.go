package versus

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// users is the size of the routing table: half of them live on each side.
const users = 100_000

// contender is a mail server that routes user N@contoso.com to the sink of its side.
type contender struct {
	name string
	addr string
	cpu  func() time.Duration // of all its processes so far
}

// run is what a benchmark measures.
type run struct {
	rate float64       // messages a second, end to end
	cpu  time.Duration // of the server, a message
}

// BenchmarkPostfix sends the same mail through coexist and through Postfix, into the same two sinks.
func BenchmarkPostfix(b *testing.B) {
	for _, tt := range []struct {
		name               string
		size, messages     int
		ackAfter, sessions string
	}{
		{"4KB", 4 << 10, 20_000, "5s", "20"},
		{"4KB spooled first", 4 << 10, 20_000, "0s", "20"},
		{"1MB", 1 << 20, 600, "5s", "20"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			sinks := [2]*fakemta.Server{sink(b), sink(b)}
			coexist, postfix := startCoexist(b, sinks, tt.ackAfter), startPostfix(b, sinks)
			sessions, _ := strconv.Atoi(tt.sessions)
			measure(b, coexist, sinks, sessions, tt.size, 200) // warm up: connections, caches
			measure(b, postfix, sinks, sessions, tt.size, 200)
			for b.Loop() {
				ours := measure(b, coexist, sinks, sessions, tt.size, tt.messages)
				theirs := measure(b, postfix, sinks, sessions, tt.size, max(tt.messages/4, 200))
				b.ReportMetric(ours.rate, "coexist-msg/s")
				b.ReportMetric(theirs.rate, "postfix-msg/s")
				b.ReportMetric(ours.rate/theirs.rate, "times-the-rate")
				b.ReportMetric(float64(ours.cpu.Microseconds()), "coexist-cpu-us/msg")
				b.ReportMetric(float64(theirs.cpu.Microseconds()), "postfix-cpu-us/msg")
				b.ReportMetric(float64(theirs.cpu)/float64(ours.cpu), "times-less-cpu")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkBacklog fills the spool while the next hops are down, then measures how fast it drains when they come back, beside direct delivery.
func BenchmarkBacklog(b *testing.B) {
	const messages = 10_000
	for b.Loop() {
		sinks := [2]*fakemta.Server{sink(b), sink(b)}
		coexist := startCoexist(b, sinks, "5s")
		direct := measure(b, coexist, sinks, 20, 4<<10, messages)
		addrs := [2]string{sinks[0].Addr(), sinks[1].Addr()}
		sinks[0].Close()
		sinks[1].Close()
		fill(b, coexist, messages)
		back := [2]*fakemta.Server{sinkAt(b, addrs[0]), sinkAt(b, addrs[1])}
		arrived := func() int { return back[0].Stats().Messages + back[1].Stats().Messages }
		for arrived() == 0 { // the probe notices within seconds; that is not the rate
			time.Sleep(time.Millisecond)
		}
		started := time.Now()
		for deadline := started.Add(3 * time.Minute); arrived() < messages; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("%d of %d messages arrived", arrived(), messages)
			}
		}
		rate := messages / time.Since(started).Seconds()
		b.ReportMetric(direct.rate, "direct-msg/s")
		b.ReportMetric(rate, "backlog-msg/s")
		b.ReportMetric(rate/direct.rate, "of-the-direct-rate")
		b.ReportMetric(0, "ns/op")
	}
}

// fill sends messages that cannot be delivered now.
func fill(b *testing.B, c contender, messages int) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := session(c.addr, message(4<<10), func() (int, bool) { n := int(next.Add(1)); return n, n <= messages }); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

func sink(b *testing.B) *fakemta.Server {
	return sinkAt(b, "")
}

func sinkAt(b *testing.B, addr string) *fakemta.Server {
	s, err := fakemta.Start(fakemta.Options{Discard: true, Address: addr})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// measure sends messages over kept sessions and waits until all of them arrived at the sinks.
func measure(b *testing.B, c contender, sinks [2]*fakemta.Server, sessions, size, messages int) run {
	b.Helper()
	arrived := func() int { return sinks[0].Stats().Messages + sinks[1].Stats().Messages }
	before, cpu, started := arrived(), c.cpu(), time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, sessions)
	body := message(size)
	for range sessions {
		wg.Go(func() {
			if err := session(c.addr, body, func() (int, bool) { n := int(next.Add(1)); return n, n <= messages }); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		b.Fatalf("%s: %v", c.name, err)
	default:
	}
	for deadline := time.Now().Add(3 * time.Minute); arrived()-before < messages; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: %d of %d messages arrived", c.name, arrived()-before, messages)
		}
	}
	took := time.Since(started)
	return run{rate: float64(messages) / took.Seconds(), cpu: (c.cpu() - cpu) / time.Duration(messages)}
}

func message(size int) []byte {
	var m strings.Builder
	m.WriteString("From: someone@fabrikam.com\r\nTo: somebody@contoso.com\r\nSubject: load\r\nMessage-ID: <load@fabrikam.com>\r\nDate: Tue, 3 Nov 2026 09:00:00 +0000\r\n\r\n")
	for m.Len() < size {
		m.WriteString("The quick brown fox jumps over the lazy dog, and the mail goes where it is read.\r\n")
	}
	return []byte(m.String() + ".\r\n")
}

// session sends messages one after the other over one connection, each to another user.
func session(addr string, body []byte, next func() (int, bool)) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	r := bufio.NewReader(nc)
	expect := func(code string) error {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, code) {
				return fmt.Errorf("reply %q, want %s", line, code)
			}
			if line[3] == ' ' {
				return nil
			}
		}
	}
	say := func(s, code string) error {
		if _, err := nc.Write([]byte(s)); err != nil {
			return err
		}
		return expect(code)
	}
	if err := expect("220"); err != nil {
		return err
	}
	if err := say("EHLO load.fabrikam.com\r\n", "250"); err != nil {
		return err
	}
	for n, ok := next(); ok; n, ok = next() {
		for _, step := range [][2]string{
			{"MAIL FROM:<someone@fabrikam.com>\r\n", "250"},
			{"RCPT TO:<user" + strconv.Itoa(n*7919%users) + "@contoso.com>\r\n", "250"}, {"DATA\r\n", "354"}, {string(body), "250"},
		} {
			if err := say(step[0], step[1]); err != nil {
				return err
			}
		}
	}
	return say("QUIT\r\n", "221")
}

// startCoexist starts the program with a directory of users.
func startCoexist(b *testing.B, sinks [2]*fakemta.Server, ackAfter string) contender {
	b.Helper()
	dir := b.TempDir()
	bin := filepath.Join(dir, "coexist")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/coexist").CombinedOutput(); err != nil {
		b.Fatalf("building coexist: %v\n%s", err, out)
	}
	var ldif strings.Builder
	for n := range users {
		domain := "contoso.com"
		if n%2 == 1 {
			domain = "contoso.mail.onmicrosoft.com"
		}
		fmt.Fprintf(&ldif, "dn: CN=User %d,OU=Employees,DC=contoso,DC=com\nobjectClass: user\nmail: user%d@contoso.com\nproxyAddresses: SMTP:user%d@contoso.com\ntargetAddress: SMTP:user%d@%s\n\n",
			n, n, n, n, domain)
	}
	addr, admin := peertest.FreeAddr(b, "127.0.0.1"), peertest.FreeAddr(b, "127.0.0.1")
	write(b, filepath.Join(dir, "contoso.ldif"), ldif.String())
	write(b, filepath.Join(dir, "coexist.toml"), fmt.Sprintf(`hostname = "gw1.contoso.com"
data_dir = "data"
domains = ["contoso.com"]
[[listener]]
address = %q
[directory]
source = "ldif"
ldif = "contoso.ldif"
[onprem]
next_hop = [%q]
tls = "none"
[cloud]
routing_domain = "contoso.mail.onmicrosoft.com"
next_hop = [%q]
tls = "none"
[delivery]
ack_after = %q
[admin]
address = %q
`, addr, sinks[0].Addr(), sinks[1].Addr(), ackAfter, admin))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--config", filepath.Join(dir, "coexist.toml"))
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
	})
	waitRouting(b, addr)
	return contender{"coexist", addr, func() time.Duration { return cpuOf(cmd.Process.Pid) }}
}

// startPostfix starts Postfix with the same routing in its tables.
func startPostfix(b *testing.B, sinks [2]*fakemta.Server) contender {
	b.Helper()
	var transport, recipients strings.Builder
	for n := range users {
		fmt.Fprintf(&transport, "user%d@contoso.com smtp:[127.0.0.1]:%s\n", n, portOf(sinks[n%2].Addr()))
		fmt.Fprintf(&recipients, "user%d@contoso.com x\n", n)
	}
	p := peertest.StartPostfix(b, peertest.PostfixOptions{
		Hostname: "gw1.contoso.com", Tables: map[string]string{"transport": transport.String(), "recipients": recipients.String()},
		Settings: []string{
			"relay_domains = contoso.com", "relay_recipient_maps = hash:$config_directory/recipients", "transport_maps = hash:$config_directory/transport",
		},
	})
	waitRouting(b, p.Addr)
	return contender{"postfix", p.Addr, func() time.Duration { return cpuOf(p.MasterPID()) }}
}

func write(b *testing.B, path, content string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.Fatal(err)
	}
}

func portOf(addr string) string { _, port, _ := net.SplitHostPort(addr); return port }

// waitRouting waits until the server takes mail for a user.
func waitRouting(b *testing.B, addr string) {
	b.Helper()
	var err error
	for range 200 {
		if err = probe(addr); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatalf("the server at %s does not take mail: %v", addr, err)
}

func probe(addr string) error {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := nc.Write([]byte("EHLO x\r\nMAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<user1@contoso.com>\r\nQUIT\r\n")); err != nil {
		return err
	}
	out, last := bufio.NewScanner(nc), ""
	for out.Scan() {
		if last = out.Text(); strings.HasPrefix(last, "250 2.1.5") {
			return nil
		}
	}
	return fmt.Errorf("last reply %q", last)
}

// cpuOf is the processor time of a process, its living children, and those it has waited for.
func cpuOf(pid int) time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	var ticks int64
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		text, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		s := string(text)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // f[0] is the state, field 3 of proc(5)
		id, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e, "/proc/"), "/stat"))
		ppid, _ := strconv.Atoi(f[1])
		if id != pid && ppid != pid {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}
