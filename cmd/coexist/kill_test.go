package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
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
	"github.com/coexist-mail/coexist/testdata"
)

// The load and the kills. What a kill can duplicate is what was being delivered from the spool at that moment: at most maxDelivering.
const (
	kills         = 4
	betweenKills  = 1200 * time.Millisecond
	loadClients   = 6
	hopConns      = 5
	maxDelivering = 2 * (2 * hopConns) // both sides, delivery.connections_per_hop being 5
)

// TestKill kills a gateway with SIGKILL under load, again and again, while its next hops refuse and hesitate. Every acknowledged message
// arrives, whole; nothing else does; and it arrives twice only where a kill fell between the next hop's 250 and its record.
func TestKill(t *testing.T) {
	t.Parallel()
	path := program(t, "coexist")
	for name, ackAfter := range map[string]string{"deliver then acknowledge": "1s", "spool first": "0s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, path, ackAfter)
			k.start()
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for client := range loadClients {
				clients.Go(func() { k.load(client, stop) })
			}
			for range kills {
				time.Sleep(betweenKills)
				k.kill()
				k.start()
			}
			time.Sleep(betweenKills / 2)
			close(stop)
			clients.Wait()
			k.finish()
			k.verify()
		})
	}
}

// killing is a gateway that is killed, its next hops, and what the clients were told.
type killing struct {
	t             *testing.T
	program, dir  string
	addr, admin   string
	onprem, cloud *fakemta.Server
	internet      *fakemta.Server
	cmd           *exec.Cmd
	log           *os.File

	mu    sync.Mutex
	sent  map[string]bool // number and recipient, for all that were sent whole or in part
	acked map[string]bool // those whose message was answered with 250
}

func newKilling(t *testing.T, program, ackAfter string) *killing {
	ip := nextIP()
	k := &killing{t: t, program: program, dir: t.TempDir(), addr: ip + ":22525", admin: ip + ":28025", sent: map[string]bool{}, acked: map[string]bool{}}
	k.onprem, k.cloud, k.internet = k.hop(), k.hop(), k.hop()
	template, err := os.ReadFile("testdata/coexist.toml")
	if err != nil {
		t.Fatal(err)
	}
	config := os.Expand(string(template), func(name string) string {
		return map[string]string{"GW": k.addr, "ADMIN": k.admin, "ONPREM": k.onprem.Addr(), "CLOUD": k.cloud.Addr(), "INTERNET": k.internet.Addr()}[name]
	})
	config += fmt.Sprintf("\n[delivery]\nack_after = %q\nretry = [\"1s\"]\nconnections_per_hop = %d\n", ackAfter, hopConns)
	for name, text := range map[string]string{"coexist.toml": config, "contoso.ldif": testdata.LDIF} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if k.log, err = os.Create(filepath.Join(k.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.kill()
		k.log.Close()
		if t.Failed() {
			t.Logf("the gateway's last words:\n%s", k.lastWords())
		}
	})
	return k
}

// hop is a next hop that refuses every fifth recipient for now, takes its time for every tenth message, and longer than ack_after for some.
func (k *killing) hop() *fakemta.Server {
	rules, err := fakemta.ParseRules("RCPT chance 0.2 reply 450 4.2.0 busy\nEOD chance 0.03 delay 1300ms\nEOD chance 0.1 delay 150ms\n")
	if err != nil {
		k.t.Fatal(err)
	}
	s, err := fakemta.Start(fakemta.Options{Address: "127.0.0.1:0", Rules: rules})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { s.Close() })
	return s
}

// start starts the gateway, and returns when it takes connections.
func (k *killing) start() {
	k.t.Helper()
	k.cmd = k.command()
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if nc, err := net.Dial("tcp", k.addr); err == nil {
			nc.Close()
			return
		}
	}
	k.t.Fatalf("the gateway does not start:\n%s", k.lastWords())
}

func (k *killing) command() *exec.Cmd {
	cmd := exec.Command(k.program, "serve", "--config", filepath.Join(k.dir, "coexist.toml"))
	cmd.Stderr = k.log
	return cmd
}

func (k *killing) kill() {
	if k.cmd != nil && k.cmd.ProcessState == nil {
		k.cmd.Process.Kill()
		k.cmd.Wait()
	}
}

func (k *killing) lastWords() string {
	b, _ := os.ReadFile(k.log.Name())
	return string(b[max(0, len(b)-4000):])
}

// recipients are who the messages are to, and as whom they arrive.
var recipients = []struct{ asked, arrives string }{
	{"adelev@contoso.com", "AdeleV@contoso.com"},
	{"meganb@contoso.com", "MeganB@contoso.mail.onmicrosoft.com"},
}

// load sends messages until stop.
func (k *killing) load(client int, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	for n := client; ; n += loadClients {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(random.IntN(8)) * time.Millisecond):
		}
		to := [][]int{{0}, {1}, {0, 1}}[random.IntN(3)]
		var asked, keys []string
		for _, r := range to {
			asked = append(asked, recipients[r].asked)
			keys = append(keys, key(n, recipients[r].arrives))
		}
		k.note(k.sent, keys)
		var replies bytes.Buffer
		// An error is a kill: nothing is known of the message then.
		if err := send(&replies, "127.0.0.1", k.addr, "someone@fabrikam.com", asked, numbered(n)); err == nil && strings.Contains(replies.String(), "END: 250 2.0.0 ") {
			var accepted []string // a recipient may be put off alone
			for i, a := range asked {
				if strings.Contains(replies.String(), a+": 250 ") {
					accepted = append(accepted, keys[i])
				}
			}
			k.note(k.acked, accepted)
		}
	}
}

func key(n int, recipient string) string { return fmt.Sprintf("%d %s", n, recipient) }

func (k *killing) note(set map[string]bool, keys []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range keys {
		set[key] = true
	}
}

// numbered is message n: mostly small, and every twentieth too large for the spool's database.
func numbered(n int) string {
	lines := 20
	if n%20 == 7 {
		lines = 2500
	}
	return fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@fabrikam.com>\r\n\r\n%s", n, n, strings.Repeat(fmt.Sprintf("line of message %d, which has %d\r\n", n, lines), lines))
}

// finish lets the next hops take everything, waits until the queue is empty, and stops the gateway as one does.
func (k *killing) finish() {
	for _, s := range []*fakemta.Server{k.onprem, k.cloud, k.internet} {
		if err := s.SetRules(); err != nil {
			k.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, k.program, "queue", "list", "--json", "--config", filepath.Join(k.dir, "coexist.toml")).CombinedOutput()
		if err == nil && strings.TrimSpace(string(out)) == "[]" {
			break
		}
		if ctx.Err() != nil {
			k.t.Fatalf("the queue does not become empty: %v\n%.4000s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Fatal(err)
	}
	if err := k.cmd.Wait(); err != nil {
		k.t.Errorf("SIGTERM: %v", err)
	}
}

func (k *killing) verify() {
	arrived := map[string]int{}
	for _, s := range []*fakemta.Server{k.onprem, k.cloud} {
		for _, m := range s.Messages() {
			for _, r := range m.Recipients {
				arrived[key(k.check(&m), r)]++
			}
		}
	}
	if n := len(k.internet.Messages()); n > 0 {
		k.t.Errorf("%d messages to the internet, where none belongs (a DSN?)", n)
	}
	duplicates := 0
	for key, n := range arrived {
		if !k.sent[key] {
			k.t.Errorf("message and recipient %s arrived and was never sent", key)
		}
		duplicates += n - 1
	}
	for key := range k.acked {
		if arrived[key] == 0 {
			n, _, _ := strings.Cut(key, " ")
			story, _ := exec.Command(k.program, "trace", "--message-id", "<"+n+"@fabrikam.com>", "--config", filepath.Join(k.dir, "coexist.toml")).CombinedOutput()
			k.t.Errorf("message and recipient %s was acknowledged and is lost:\n%s", key, story)
		}
	}
	k.t.Logf("%d sent, %d acknowledged, %d arrived, %d of them again, in %d kills", len(k.sent), len(k.acked), len(arrived), duplicates, kills)
	if limit := kills * maxDelivering; duplicates > limit {
		k.t.Errorf("%d duplicates, want at most %d", duplicates, limit)
	}
	if len(k.acked) < 10*kills {
		k.t.Errorf("only %d acknowledged: this test saw no load", len(k.acked))
	}
}

// check tells the number of a message that arrived, which must be whole below the fields that the gateway may put on top.
func (k *killing) check(m *fakemta.Message) int {
	_, rest, _ := strings.Cut(string(m.Data), "\r\nSubject: ")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		k.t.Errorf("what nobody sent arrived: %.200q", m.Data)
		return -1
	}
	top, whole := strings.CutSuffix(string(m.Data), numbered(n))
	if !whole || !strings.HasSuffix(top, "\r\n") {
		k.t.Errorf("message %d arrived with %d octets, not as it was sent: %.300q", n, len(m.Data), m.Data)
	}
	for line := range strings.Lines(top) {
		if !topLine.MatchString(line) {
			k.t.Errorf("on top of message %d stands %q", n, line)
		}
	}
	return n
}

// topLine is a line of what may stand on top of a message: a field of the gateway's, or the continuation of one.
var topLine = regexp.MustCompile(`^(?:(?:Received|X-Coexist-[A-Za-z]+|Authentication-Results|Received-SPF|ARC-[A-Za-z-]+|DKIM-Signature): |[ \t]+\S).*\r\n$`)
