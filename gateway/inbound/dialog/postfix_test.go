package dialog_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

// startPostfix starts a Postfix of the test's own that relays for contoso.com, and returns its address and version. The test is
// skipped where it is not installed.
func startPostfix(t *testing.T) (addr, version string) {
	t.Helper()
	program, err := exec.LookPath("postfix")
	if err != nil {
		program = "/usr/sbin/postfix"
	}
	if _, err := os.Stat(program); err != nil || os.Getuid() != 0 {
		t.Skip("Postfix is not installed, or this is not root")
	}
	sink, err := fakemta.Start(fakemta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	dir, err := os.MkdirTemp("/var/tmp", "dialog-postfix-") // not t.TempDir: the user postfix must be able to read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	writePostfix(t, dir, addr, sink.Addr())
	etc := filepath.Join(dir, "etc")
	command(t, "chown", "postfix", filepath.Join(dir, "data"))
	command(t, strings.TrimSuffix(program, "postfix")+"postmap", "-c", etc, "hash:"+filepath.Join(etc, "recipients"))
	command(t, program, "-c", etc, "start")
	t.Cleanup(func() { command(t, program, "-c", etc, "stop") })
	version = strings.TrimSpace(command(t, strings.TrimSuffix(program, "postfix")+"postconf", "-c", etc, "-h", "mail_version"))
	for range 500 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr, "Postfix " + version
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("Postfix does not listen")
	return "", ""
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// writePostfix writes the configuration.
func writePostfix(t *testing.T, dir, addr, sink string) {
	t.Helper()
	cert, key := certificateFiles(t)
	_, port, _ := net.SplitHostPort(addr)
	for _, d := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	host, sinkPort, _ := net.SplitHostPort(sink)
	for name, text := range map[string]string{
		"recipients": "adelev@contoso.com x\nmeganb@contoso.com x\npostmaster@contoso.com x\n",
		"main.cf":    fmt.Sprintf(mainCf, dir, host, sinkPort, cert, key),
		"master.cf":  strings.ReplaceAll(masterCf, "PORT", port),
	} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = gw1.contoso.com
mydestination =
myorigin = contoso.com
mynetworks = 127.0.1.0/24
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = contoso.com
relay_recipient_maps = hash:%[1]s/etc/recipients
relay_transport = smtp:[%[2]s]:%[3]s
default_transport = smtp:[%[2]s]:%[3]s
local_transport = smtp:[%[2]s]:%[3]s
local_recipient_maps =
alias_maps =
alias_database =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_cert_file = %[4]s
smtpd_tls_key_file = %[5]s
smtpd_tls_security_level = may
maillog_file = %[1]s/log
maillog_file_prefixes = /var
message_size_limit = 1048576
smtpd_client_connection_count_limit = 0
smtpd_reject_unlisted_sender = no
smtpd_error_sleep_time = 0
`

// masterCf has the services that a relay needs, as Debian configures them, without chroot.
const masterCf = `127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`
