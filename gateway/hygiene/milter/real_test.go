package milter_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
)

// gtube is the string that every spam filter takes for spam, eicar what every virus scanner takes for a virus. Both are in two parts,
// so that no filter finds them in this file.
const (
	gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`
)

// start runs a program until the test ends, and waits until something listens at address.
func start(t *testing.T, address string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(3 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	})
	network := "tcp"
	if strings.Contains(address, "/") {
		network = "unix"
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s ended:\n%s", command[0], output.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen at %s", command[0], address)
		}
	}
}

// program finds an installed program, or skips the test; with CI=true that is a failure.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	missing := t.Skipf
	if os.Getenv("CI") == "true" {
		missing = t.Fatalf
	}
	if err != nil {
		missing("%s is not installed (Debian package %s)", name, pkg)
	}
	return path
}

// freePort is a port of loopback that nobody uses.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func with(body string) []byte {
	return []byte("From: john@fabrikam.com\r\nTo: bob@contoso.com\r\nSubject: test\r\nDate: Tue, 3 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@fabrikam.com>\r\n\r\n" + body + "\r\n")
}

// A real rspamd, which scans by itself, without DNS and Redis.
func TestRspamd(t *testing.T) {
	rspamd := program(t, "rspamd", "rspamd")
	dir, err := os.MkdirTemp("", "rspamd") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := freePort(t)
	write(t, filepath.Join(dir, "tld"), "com\n") // the list that comes with it takes many seconds to load
	conf := write(t, filepath.Join(dir, "rspamd.conf"), fmt.Sprintf(`
options { filters = ""; pidfile = "%[1]s/pid"; tempdir = "%[1]s"; dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1; retransmits = 1; } gtube_patterns = "all"; url_tld = "%[1]s/tld"; disable_hyperscan = true; }
logging { type = "console"; level = "error"; }
actions { reject = 15; add_header = 6; greylist = 4; }
worker "rspamd_proxy" {
  bind_socket = "127.0.0.1:%[2]d"; count = 1; milter = yes; timeout = 10s;
  upstream "local" { default = yes; self_scan = yes; }
}
`, dir, port))
	address := fmt.Sprintf("127.0.0.1:%d", port)
	start(t, address, rspamd, "-f", "-i", "-c", conf)
	c := chain(t, milter.Filter{Address: address})
	v := c.Examine(context.Background(), session, with(gtube))
	if len(v.Failed) > 0 || v.Reply == nil || v.Reply.Code < 500 {
		t.Errorf("spam: %+v", v)
	} else {
		t.Logf("spam: %d %v %s", v.Reply.Code, v.Reply.EnhancedCode, v.Reply.Message)
	}
	if v = c.Examine(context.Background(), session, with("Hello.")); len(v.Failed) > 0 || v.Reply != nil || v.Discard {
		t.Errorf("no spam: %+v", v)
	}
}

// A real clamav-milter with a real clamd, whose database is one signature.
func TestClamAV(t *testing.T) {
	clamd, clamMilter := program(t, "clamd", "clamav-daemon"), program(t, "clamav-milter", "clamav-milter")
	dir, err := os.MkdirTemp("", "clamav") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "db", "test.ndb"), fmt.Sprintf("Test.Eicar:0:*:%x\n", eicar))
	socket := filepath.Join(dir, "clamd.sock")
	conf := write(t, filepath.Join(dir, "clamd.conf"), fmt.Sprintf("Foreground yes\nDatabaseDirectory %s/db\nLocalSocket %s\n", dir, socket))
	start(t, socket, clamd, "--config-file="+conf)
	port := freePort(t)
	conf = write(t, filepath.Join(dir, "milter.conf"), fmt.Sprintf(
		"Foreground yes\nMilterSocket inet:%d@127.0.0.1\nClamdSocket unix:%s\nOnInfected Reject\nRejectMsg Virus found: %%v\nAddHeader Replace\nOnFail Defer\n", port, socket))
	address := fmt.Sprintf("127.0.0.1:%d", port)
	start(t, address, clamMilter, "--config-file="+conf)
	c := chain(t, milter.Filter{Address: address})
	clean := with("Hello.")
	// The milter puts mail off until it has found out that clamd is there.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if v := c.Examine(context.Background(), session, clean); v.Reply == nil {
			break
		}
	}
	v := c.Examine(context.Background(), session, with(eicar))
	if len(v.Failed) > 0 || v.Reply == nil || v.Reply.Code != 550 || !strings.Contains(v.Reply.Message, "Test.Eicar") {
		t.Errorf("virus: %+v", v)
	} else {
		t.Logf("virus: %d %v %s", v.Reply.Code, v.Reply.EnhancedCode, v.Reply.Message)
	}
	v = c.Examine(context.Background(), session, clean)
	if len(v.Failed) > 0 || v.Reply != nil || v.Message == nil {
		t.Fatalf("clean: %+v", v)
	}
	got := string(v.Message.Bytes())
	if !strings.Contains(got, "\r\nX-Virus-Status: Clean\r\n") || !strings.HasSuffix(got, "\r\n\r\nHello.\r\n") {
		t.Errorf("%q", got)
	}
}
