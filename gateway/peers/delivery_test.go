package peers_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

const small = "Subject: x\r\nMessage-ID: <1@fabrikam.com>\r\n\r\nbody\r\n"

var (
	toBoth   = []string{"adelev@contoso.com", "meganb@contoso.com"}
	toOnPrem = toBoth[:1]
	toCloud  = toBoth[1:]
)

// bigMessage is a message of about n octets whose lines are all different.
func bigMessage(n int) string {
	var b strings.Builder
	b.WriteString("Subject: big\r\n\r\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, ".line %d of a message that is long enough to be stored as a file of its own\r\n", i)
	}
	return b.String()
}

// TestNothingIsAcknowledgedBeforeItIsDurable looks at the system calls: between the 354 and the 250 of a message that no next hop takes,
// there is a sync that succeeded.
func TestNothingIsAcknowledgedBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "strace")
	for _, tt := range []struct {
		name, message string
		syncs         int // at least
	}{{"small", small, 1}, {"body in a file", bigMessage(1 << 20), 2}} {
		t.Run(tt.name, func(t *testing.T) {
			trace := filepath.Join(t.TempDir(), "trace")
			g := start(t, setup{})
			traced := attach(t, g, trace)
			if reply := g.send(internet, sender, toOnPrem, tt.message); !strings.HasPrefix(reply, "250 2.0.0") {
				t.Fatalf("reply %q", reply)
			}
			g.stop()
			traced.Wait() // it ends with what it watches
			text, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(text), `"354 `)
			between, _, found := strings.Cut(rest, `"250 2.0.0 `)
			if !found {
				t.Fatalf("no 250 after the 354 in the trace:\n%.3000s", text)
			}
			done := regexp.MustCompile(`(fsync|fdatasync)(\(\d+\)| resumed>\)) *= 0`).FindAllString(between, -1)
			if len(done) < tt.syncs {
				t.Errorf("%d syncs before the 250, want %d:\n%.3000s", len(done), tt.syncs, between)
			}
		})
	}
}

// attach writes the system calls that send and sync to a file, until the process ends.
func attach(t *testing.T, g *process, file string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("strace", "-f", "-o", file, "-e", "trace=fsync,fdatasync,write", "-p", strconv.Itoa(g.cmd.Process.Pid))
	said := &lockedBuffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(said.String(), "attached"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || strings.Contains(said.String(), "not permitted") {
			cmd.Process.Kill()
			cmd.Wait()
			t.Skipf("strace may not watch here: %s", said.String())
		}
	}
	return cmd
}

// TestKill kills the gateway under load. Every message that was acknowledged arrives, whole, though perhaps twice.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, ackAfter string }{{"tried first", "5s"}, {"spooled first", "0s"}} {
		t.Run(tt.name, func(t *testing.T) {
			up, flaky := mta(t), mta(t, "RCPT chance 0.5 reply 450 4.2.0 busy")
			s := setup{OnPrem: []string{up.Addr()}, Cloud: []string{flaky.Addr()}, Delivery: fmt.Sprintf("ack_after = %q\nretry = [\"1s\"]", tt.ackAfter)}
			g := prepare(t, s)
			var mu sync.Mutex
			acknowledged := map[string]string{}
			for round := range 3 {
				g.run()
				g.waitReady()
				var wg sync.WaitGroup
				for worker := range 6 {
					wg.Go(func() {
						for n := 0; ; n++ {
							id := fmt.Sprintf("%d.%d.%d", round, worker, n)
							m := "Subject: " + id + "\r\n\r\n" + id + "\r\n"
							if n%10 == 9 {
								m = "Subject: " + id + "\r\n\r\n" + strings.Repeat(id+"\r\n", 20000)
							}
							if !try(g.addr, toBoth, m) {
								return
							}
							mu.Lock()
							acknowledged[id] = m
							mu.Unlock()
						}
					})
				}
				time.Sleep(600 * time.Millisecond)
				g.kill()
				wg.Wait()
			}
			setRules(t, flaky)
			g.run()
			g.waitReady()
			g.retryAll()
			g.waitEmptyQueue(30 * time.Second)
			t.Logf("%d messages were acknowledged", len(acknowledged))
			if len(acknowledged) < 20 {
				t.Error("too few messages for a test")
			}
			for name, server := range map[string]*fakemta.Server{"onprem": up, "cloud": flaky} {
				got := map[string]bool{}
				for _, m := range server.Messages() {
					got[below(t, m.Data)] = true
				}
				for id, m := range acknowledged {
					if !got[m] {
						t.Errorf("%s was acknowledged, and did not get to %s as it was", id, name)
					}
				}
			}
		})
	}
}

// try sends one message, and says whether it was acknowledged.
func try(addr string, to []string, message string) bool {
	nc, err := dialFrom(addr, internet)
	if err != nil {
		return false
	}
	defer nc.Close()
	text := "EHLO client.example\r\nMAIL FROM:<" + sender + ">\r\n"
	for _, a := range to {
		text += "RCPT TO:<" + a + ">\r\n"
	}
	if _, err := nc.Write([]byte(text + "DATA\r\n" + dotStuff(message) + ".\r\n")); err != nil {
		return false
	}
	var got []byte
	b := make([]byte, 4096)
	for {
		n, err := nc.Read(b)
		got = append(got, b[:n]...)
		if strings.Contains(string(got), "\r\n250 2.0.0 ") {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// TestUncertainDelivery: the next hop takes the message and dies before it says so. It is sent again, the very same octets, so that
// the duplicate can be known as one.
func TestUncertainDelivery(t *testing.T) {
	t.Parallel()
	hop := mta(t, "EOD times 1 keep-drop")
	g := start(t, setup{OnPrem: []string{hop.Addr()}, Delivery: `retry = ["1s"]`})
	reply := g.send(internet, sender, toOnPrem, small)
	if !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Fatalf("reply %q", reply)
	}
	ms := waitFor(t, hop, 2)
	g.waitEmptyQueue(10 * time.Second)
	if string(ms[0].Data) != string(ms[1].Data) {
		t.Errorf("the copies differ:\n%s\n%s", ms[0].Data, ms[1].Data)
	}
	if id := strings.Fields(reply)[2]; !strings.Contains(string(ms[1].Data), "id "+id) {
		t.Errorf("Received does not name %s: %s", id, ms[1].Data)
	}
}

// TestTroubleInATransaction: whatever a next hop does at any command, the client gets 250 within ack_after and a little, and the message
// arrives once when the trouble is over.
func TestTroubleInATransaction(t *testing.T) {
	t.Parallel()
	body := bigMessage(3 << 20)
	for _, rule := range []string{
		"CONNECT hang", "EHLO hang", "MAIL hang", "RCPT hang", "DATA hang", "BODY after 70000 hang", "EOD hang",
		"CONNECT drop", "EHLO drop", "MAIL drop", "RCPT drop", "DATA drop", "BODY after 70000 drop", "EOD drop",
		"CONNECT reply-close 421 4.3.2 busy", "EHLO reply-close 421 4.3.2 busy", "MAIL reply-close 421 4.3.2 busy", "RCPT reply-close 421 4.3.2 busy",
		"DATA reply-close 421 4.3.2 busy", "EOD reply-close 421 4.3.2 busy",
		"CONNECT garbage", "MAIL garbage", "RCPT garbage", "DATA garbage", "EOD garbage", "EOD half 250 2.0.0 ok", "RCPT half 250 2.1.5 ok",
		"RCPT huge 450", "EOD huge 451", "CONNECT reply 554 5.3.2 not now", "EOD reply 400 strange", "DATA reply 451 4.3.0 not now",
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			hop, other := mta(t, rule), mta(t)
			g := start(t, setup{OnPrem: []string{hop.Addr()}, Cloud: []string{other.Addr()}, Delivery: "ack_after = \"1s\"\nretry = [\"1s\"]"})
			started := time.Now()
			if reply := g.send(internet, sender, toBoth, body); !strings.HasPrefix(reply, "250 2.0.0 ") {
				t.Fatalf("reply %q", reply)
			}
			if took := time.Since(started); took > 8*time.Second {
				t.Errorf("acknowledged after %v", took)
			}
			waitFor(t, other, 1)
			setRules(t, hop)
			hop.CloseConnections()
			waitFor(t, hop, 1)
			g.waitEmptyQueue(20 * time.Second)
			for name, s := range map[string]*fakemta.Server{"the hop in trouble": hop, "the other side": other} {
				if ms := s.Messages(); len(ms) != 1 {
					t.Errorf("%s got it %d times", name, len(ms))
				} else if below(t, ms[0].Data) != body {
					t.Errorf("%s got something else", name)
				}
			}
		})
	}
}

// TestRestartWhileASideHangs: the side that has the message does not get it again after a restart.
func TestRestartWhileASideHangs(t *testing.T) {
	t.Parallel()
	fast, slow := mta(t), mta(t, "EOD hang")
	s := setup{OnPrem: []string{fast.Addr()}, Cloud: []string{slow.Addr()}, Delivery: "ack_after = \"1s\"\nretry = [\"1s\"]"}
	g := prepare(t, s)
	g.run()
	g.waitReady()
	if reply := g.send(internet, sender, toBoth, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Fatalf("reply %q", reply)
	}
	waitFor(t, fast, 1)
	g.stop()
	setRules(t, slow)
	g.run()
	g.waitReady()
	waitFor(t, slow, 1)
	g.waitEmptyQueue(20 * time.Second)
	if n := len(fast.Messages()); n != 1 {
		t.Errorf("the fast side got it %d times", n)
	}
}

// TestFailover: the second next hop takes over while the first is down, and the first gets its mail again when it is back.
func TestFailover(t *testing.T) {
	t.Parallel()
	first := peertest.FreeAddr(t, servers)
	second := mta(t)
	g := start(t, setup{OnPrem: []string{first, second.Addr()}, Delivery: `retry = ["1s"]`})
	for range 5 {
		if reply := g.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
			t.Fatalf("reply %q", reply)
		}
	}
	if n := len(second.Messages()); n != 5 {
		t.Errorf("the second next hop got %d messages before they were acknowledged, want 5", n)
	}
	back := mtaWith(t, fakemta.Options{Address: first})
	deadline := time.Now().Add(60 * time.Second)
	for len(back.Messages()) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the first next hop is not used again")
		}
		g.send(internet, sender, toOnPrem, small)
		time.Sleep(200 * time.Millisecond)
	}
}

// TestMixedReplies: of several recipients of one side some are taken, some refused, some put off; the DSN tells of the refused only.
func TestMixedReplies(t *testing.T) {
	t.Parallel()
	hop, out := mta(t, "RCPT alexw@* reply 550 5.2.1 mailbox disabled", "RCPT diegos@* times 1 reply 450 4.2.2 over quota"), mta(t)
	g := start(t, setup{OnPrem: []string{hop.Addr()}, Internet: []string{out.Addr()}, Delivery: `retry = ["1s"]`})
	reply := g.send(internet, sender, []string{"adelev@contoso.com", "alexw@contoso.com", "diegos@contoso.com"}, small)
	if !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Fatalf("reply %q", reply)
	}
	dsn := waitFor(t, out, 1)[0]
	waitFor(t, hop, 2)
	g.waitEmptyQueue(10 * time.Second)
	if dsn.Sender != "" || dsn.Recipients[0] != sender {
		t.Errorf("DSN from %q to %v", dsn.Sender, dsn.Recipients)
	}
	text := string(dsn.Data)
	for _, want := range []string{"Final-Recipient: rfc822; alexw@contoso.com", "Action: failed", "Status: 5.2.1", "mailbox disabled"} {
		if !strings.Contains(text, want) {
			t.Errorf("the DSN has no %q:\n%s", want, text)
		}
	}
	for _, other := range []string{"adelev", "diegos"} {
		if strings.Contains(strings.ToLower(text), other) {
			t.Errorf("the DSN speaks of %s:\n%s", other, text)
		}
	}
	got := map[string]int{}
	for _, m := range hop.Messages() {
		for _, r := range m.Recipients {
			got[strings.ToLower(r)]++
		}
	}
	if got["adelev@contoso.com"] != 1 || got["diegos@contoso.com"] != 1 || len(got) != 2 {
		t.Errorf("delivered: %v", got)
	}
	if n := len(out.Messages()); n != 1 {
		t.Errorf("%d DSNs", n)
	}
}

// TestNotify: what RFC 3461 4.1 lets a sender ask for.
func TestNotify(t *testing.T) {
	t.Parallel()
	noDSN := []string{"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"}
	for _, tt := range []struct {
		name, from string
		rcpt       []string // parameters of adelev and meganb; the first is refused where refuse says so
		refuse     bool
		offer      []string
		want       []string // texts of the only DSN; none: no DSN
		passed     string   // the parameters that meganb's next hop sees
	}{
		{"failure without a word", sender, []string{"", ""}, true, nil, []string{"Action: failed", "adelev"}, ""},
		{"NEVER", sender, []string{" NOTIFY=NEVER", ""}, true, nil, nil, ""},
		{"SUCCESS only", sender, []string{" NOTIFY=SUCCESS", ""}, true, nil, nil, ""},
		{"FAILURE", sender, []string{" NOTIFY=FAILURE,DELAY ORCPT=rfc822;adele+2Bold@contoso.com", ""}, true, nil,
			[]string{"Action: failed", "Original-Recipient: rfc822; adele+old@contoso.com"}, ""},
		{"ORCPT goes along as it came", sender, []string{"", " NOTIFY=DELAY ORCPT=rfc822;Megan+2Bold@contoso.com"}, false, nil, nil, "NOTIFY=DELAY ORCPT=rfc822;Megan+2Bold@contoso.com"},
		{"null sender", "", []string{" NOTIFY=FAILURE", ""}, true, nil, nil, ""},
		{"SUCCESS goes along", sender, []string{"", " NOTIFY=SUCCESS,FAILURE"}, false, nil, nil, "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;meganb@contoso.com"},
		{"SUCCESS to a host without DSN", sender, []string{"", " NOTIFY=SUCCESS"}, false, noDSN, []string{"Action: relayed", "meganb@contoso.com"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hop, there, out := mta(t), mtaWith(t, fakemta.Options{Extensions: tt.offer}), mta(t)
			if tt.refuse {
				setRules(t, hop, "RCPT * reply 550 5.1.1 no such user")
			}
			g := start(t, setup{OnPrem: []string{hop.Addr()}, Cloud: []string{there.Addr()}, Internet: []string{out.Addr()}})
			c := dial(t, g.addr, internet)
			c.ehlo()
			c.say("MAIL FROM:<"+tt.from+"> RET=HDRS ENVID=abc+2B1", "250")
			for i, a := range toBoth {
				c.say("RCPT TO:<"+a+">"+tt.rcpt[i], "250")
			}
			c.say("DATA", "354")
			c.send(small + ".\r\n")
			c.expect("250 2.0.0 ")
			m := waitFor(t, there, 1)[0]
			if tt.offer == nil {
				if got := strings.Join(m.RecipientParams[0], " "); got != tt.passed {
					t.Errorf("the next hop got %q, want %q", got, tt.passed)
				}
				if got := strings.Join(m.SenderParams, " "); !strings.Contains(got, "ENVID=abc+2B1") || !strings.Contains(got, "RET=HDRS") {
					t.Errorf("MAIL with %q", got)
				}
			}
			if len(tt.want) == 0 {
				g.waitEmptyQueue(10 * time.Second)
				if ms := out.Messages(); len(ms) > 0 {
					t.Errorf("a DSN was sent:\n%s", ms[0].Data)
				}
				return
			}
			dsn := string(waitFor(t, out, 1)[0].Data)
			for _, want := range append(tt.want, "Original-Envelope-Id: abc+1") {
				if !strings.Contains(dsn, want) {
					t.Errorf("the DSN has no %q:\n%s", want, dsn)
				}
			}
		})
	}
}

// TestDiskFull: with no room left, what the next hop takes at once is acknowledged, and what would have to wait is 452; with room again
// it is spooled.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	peertest.NeedRoot(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	hop := mta(t)
	down := peertest.FreeAddr(t, servers)
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	s := setup{OnPrem: []string{hop.Addr()}, Cloud: []string{down}, Data: filepath.Join(disk, "data"), Delivery: "ack_after = \"2s\"\nretry = [\"1s\"]"}
	g := start(t, s)
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	for i := range 20 {
		if reply := g.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
			t.Fatalf("message %d, which the next hop takes: %q", i, reply)
		}
	}
	var last string
	for range 400 { // the spool may have room in its own file
		if last = g.send(internet, sender, toCloud, bigMessage(60<<10)); !strings.HasPrefix(last, "250 2.0.0 ") {
			break
		}
	}
	if !strings.HasPrefix(last, "452 4.3.1 ") {
		t.Fatalf("message that would have to wait: %q", last)
	}
	if reply := g.send(internet, sender, toBoth, bigMessage(60<<10)); !strings.HasPrefix(reply, "452 4.3.1 ") {
		t.Errorf("message of which half would have to wait: %q", reply)
	}
	if reply := g.send(internet, sender, toOnPrem, bigMessage(3<<20)); !strings.HasPrefix(reply, "452 4.3.1 ") {
		t.Errorf("message that does not fit into memory: %q", reply)
	}
	if reply := g.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Errorf("message that the next hop takes, afterwards: %q", reply)
	}
	g.alive()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		reply := g.send(internet, sender, toCloud, small)
		if strings.HasPrefix(reply, "250 2.0.0 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with room again: %q", reply)
		}
	}
	back := mtaWith(t, fakemta.Options{Address: down})
	waitFor(t, back, 1)
	g.retryAll()
	g.waitEmptyQueue(20 * time.Second)
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// TestTwoProcesses: a second gateway does not touch the spool of the first.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	first := start(t, setup{})
	second := prepare(t, setup{Data: first.data})
	second.run()
	select {
	case <-second.gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the second process does not end")
	}
	if log := second.log.String(); !strings.Contains(log, "spool") || !strings.Contains(log, "use") {
		t.Errorf("the second process does not say that the spool is in use: %s", log)
	}
	if status := second.cmd.ProcessState.ExitCode(); status != 1 && status != 2 {
		t.Errorf("exit status %d", status)
	}
	first.alive()
	if reply := first.send(internet, sender, toOnPrem, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Errorf("the first process: %q", reply)
	}
}

// TestClientGone: a message whose client went away before its end is not delivered.
func TestClientGone(t *testing.T) {
	t.Parallel()
	hop := mta(t)
	g := start(t, setup{OnPrem: []string{hop.Addr()}})
	for _, text := range []string{"Subject: x\r\n\r\nhalf", "Subject: x\r\n\r\nhalf\r\n.", "Subject: x\r\n\r\nhalf\r\n.\r"} {
		c := dial(t, g.addr, internet)
		c.ehlo()
		c.say("MAIL FROM:<someone@fabrikam.com>", "250")
		c.say("RCPT TO:<adelev@contoso.com>", "250")
		c.say("DATA", "354")
		c.send(text)
		c.Conn.(*net.TCPConn).CloseWrite()
		if reply := c.reply(); strings.HasPrefix(reply, "2") {
			t.Errorf("%q: reply %q", text, reply)
		}
	}
	g.waitEmptyQueue(5 * time.Second)
	if n := len(hop.Messages()); n != 0 {
		t.Errorf("%d messages were delivered", n)
	}
}

// TestSignalInTheMiddle: SIGTERM comes while one client sends its message, one waits for the next hop, and one waits for nothing.
func TestSignalInTheMiddle(t *testing.T) {
	t.Parallel()
	hop := mta(t, "EOD delay 1s pass")
	g := start(t, setup{OnPrem: []string{hop.Addr()}})
	sending, waiting, idle, stuck := dial(t, g.addr, internet), dial(t, g.addr, internet), dial(t, g.addr, internet), dial(t, g.addr, internet)
	for _, c := range []*client{sending, waiting, idle, stuck} {
		c.ehlo()
	}
	for _, c := range []*client{sending, waiting, stuck} {
		c.say("MAIL FROM:<someone@fabrikam.com>", "250")
		c.say("RCPT TO:<adelev@contoso.com>", "250")
		c.say("DATA", "354")
		c.send("Subject: x\r\n\r\n")
	}
	waiting.send(".\r\n")
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	g.signal(syscall.SIGTERM)
	idle.expect("421 4.3.2")
	if nc, err := dialFrom(g.addr, internet); err == nil {
		c := &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
		if got := c.reply(); strings.HasPrefix(got, "220") {
			t.Errorf("a new connection is greeted with %q", got)
		}
		nc.Close()
	}
	sending.send("late\r\n.\r\n")
	waiting.expect("250 2.0.0 ")
	sending.expect("250 2.0.0 ")
	select {
	case <-g.gone:
	case <-time.After(15 * time.Second):
		t.Fatal("a client that never ends its message keeps the process alive")
	}
	t.Logf("ended %v after the signal", time.Since(began).Round(time.Millisecond))
	if n := len(hop.Messages()); n != 2 {
		t.Errorf("%d messages were delivered, want the 2 that were acknowledged", n)
	}
}

// TestRetryAsksForTheRest: an attempt that ends in the middle of the answers settles those that were given, and only the rest is tried again.
func TestRetryAsksForTheRest(t *testing.T) {
	t.Parallel()
	hop := mta(t, "RCPT user6@* times 1 reply-close 421 4.7.0 too many")
	g := start(t, setup{OnPrem: []string{hop.Addr()}, LDIF: crowd(10), Delivery: `retry = ["1s"]`})
	var to []string
	for n := 0; n < 10; n += 2 {
		to = append(to, fmt.Sprintf("user%d@contoso.com", n))
	}
	if reply := g.send(internet, sender, to, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Fatalf("reply %q", reply)
	}
	g.waitEmptyQueue(20 * time.Second)
	got := map[string]int{}
	for _, m := range hop.Messages() {
		for _, r := range m.Recipients {
			got[r]++
		}
	}
	for _, a := range to {
		if got[a] != 1 {
			t.Errorf("%s got it %d times", a, got[a])
		}
	}
}

// TestReadOnlyData: a data_dir that cannot be written is said at the start.
func TestReadOnlyData(t *testing.T) {
	t.Parallel()
	peertest.NeedRoot(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	g := prepare(t, setup{Data: filepath.Join(disk, "data")})
	g.run()
	select {
	case <-g.gone:
	case <-time.After(20 * time.Second):
		t.Fatal("it runs")
	}
	if log := g.log.String(); !strings.Contains(log, "data_dir") || !strings.Contains(log, "read-only") {
		t.Errorf("it does not say what is wrong: %s", log)
	}
	if status := g.cmd.ProcessState.ExitCode(); status != 1 && status != 2 {
		t.Errorf("exit status %d", status)
	}
}
