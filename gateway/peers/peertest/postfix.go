package peertest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PostfixOptions says what an instance of Postfix is to be. The zero value relays everything from loopback to nowhere.
type PostfixOptions struct {
	// Hostname is myhostname; mail.contoso.local if empty.
	Hostname string
	// Relay is HOST:PORT that takes what Postfix passes on; empty is none.
	Relay string
	// Settings are lines "name = value" of main.cf, in place of those of the package where the name is the same. Files of Tables are
	// hash:$config_directory/NAME.
	Settings []string
	// Tables are lookup tables by file name, each line "key value".
	Tables map[string]string
}

// Postfix is an instance of Postfix with a configuration and a queue of its own. It ends with the test.
type Postfix struct {
	// Addr is where it listens, at 127.0.0.1, and Version its mail_version.
	Addr, Version string

	t   testing.TB
	dir string
}

// settings are those of every instance: all in its own folder, no DNS, nothing local, and a short memory for failures.
var settings = map[string]string{
	"compatibility_level":          "3.6",
	"queue_directory":              "$config_directory/../queue",
	"data_directory":               "$config_directory/../data",
	"command_directory":            "/usr/sbin",
	"daemon_directory":             "/usr/lib/postfix/sbin",
	"maillog_file_prefixes":        "/var",
	"mydestination":                "",
	"alias_maps":                   "",
	"alias_database":               "",
	"local_recipient_maps":         "",
	"mynetworks":                   "127.0.0.0/8",
	"inet_interfaces":              "127.0.0.1",
	"inet_protocols":               "ipv4",
	"smtpd_relay_restrictions":     "permit_mynetworks, reject",
	"local_header_rewrite_clients": "",
	"message_size_limit":           "157286400",
	"mailbox_size_limit":           "0",
	"disable_dns_lookups":          "yes",
	"smtp_dns_support_level":       "disabled",
	"smtp_host_lookup":             "native",
}

// masterCf has the services that a relay needs, as Debian configures them, without chroot.
const masterCf = `ADDR inet n - n - - smtpd
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

// StartPostfix starts an instance, and waits until it answers. The test is skipped, or in CI fails, where Postfix is not installed or the
// test is not root's.
func StartPostfix(t testing.TB, o PostfixOptions) *Postfix {
	t.Helper()
	Need(t, "postfix")
	NeedRoot(t)
	dir, err := os.MkdirTemp("/var/tmp", "coexist-postfix-") // not t.TempDir: its path must be open to the user postfix
	if err != nil {
		t.Fatal(err)
	}
	p := &Postfix{t: t, dir: dir, Addr: FreeAddr(t, "127.0.0.1")}
	t.Cleanup(func() { p.end(cmp.Or(o.Hostname, "Postfix")) })
	os.Chmod(dir, 0o755)
	for _, d := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.command("chown", "postfix", filepath.Join(dir, "data"))
	p.write("main.cf", o.mainCf(dir))
	p.write("master.cf", strings.ReplaceAll(masterCf, "ADDR", p.Addr))
	for name, content := range o.Tables {
		p.write(name, content)
		p.command("postmap", "-c", p.etc(""), "hash:"+p.etc(name))
	}
	p.Version = strings.TrimSpace(p.command("postconf", "-c", p.etc(""), "-h", "mail_version"))
	p.Start()
	return p
}

func (o *PostfixOptions) mainCf(dir string) string {
	all := maps.Clone(settings)
	all["myhostname"] = cmp.Or(o.Hostname, "mail.contoso.local")
	all["maillog_file"] = filepath.Join(dir, "log") // in words: it is read before config_directory is known
	if host, port, err := net.SplitHostPort(o.Relay); err == nil {
		all["relayhost"] = "[" + host + "]:" + port
	}
	for _, line := range o.Settings {
		name, value, _ := strings.Cut(line, "=")
		all[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s = %s\n", name, all[name])
	}
	return text.String()
}

func (p *Postfix) etc(file string) string { return filepath.Join(p.dir, "etc", file) }

func (p *Postfix) write(file, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.etc(file), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Postfix) command(name string, args ...string) string {
	p.t.Helper()
	cmd := exec.Command(Program(name), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// Log is what it logged so far.
func (p *Postfix) Log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text)
}

// Start starts it after Stop, and waits until it greets.
func (p *Postfix) Start() {
	p.t.Helper()
	p.command("postfix", "-c", p.etc(""), "start")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		err := p.greeted()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("Postfix does not answer: %v\n%s", err, p.Log())
		}
	}
}

func (p *Postfix) greeted() error {
	nc, err := net.DialTimeout("tcp", p.Addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = nc.Read(make([]byte, 3))
	return err
}

// Stop ends it, sessions and all.
func (p *Postfix) Stop() {
	p.t.Helper()
	p.command("postfix", "-c", p.etc(""), "stop")
}

// Set changes a line "name = value" of the configuration, for the next start.
func (p *Postfix) Set(line string) {
	p.t.Helper()
	p.command("postconf", "-c", p.etc(""), "-e", line)
}

// MasterPID is the process id of its master, the parent of all its processes; 0 when it does not run.
func (p *Postfix) MasterPID() int {
	text, err := os.ReadFile(filepath.Join(p.dir, "queue", "pid", "master.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !runs(pid) {
		return 0
	}
	return pid
}

// runs tells whether a process lives: one that has ended and whose parent does not ask for its status (state Z) does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return !strings.HasPrefix(state, "Z")
}

// end stops it at once, shows the end of its log if the test failed, and removes its folder.
func (p *Postfix) end(name string) {
	if p.MasterPID() != 0 {
		exec.Command(Program("postfix"), "-c", p.etc(""), "abort").Run()
	}
	for deadline := time.Now().Add(10 * time.Second); p.MasterPID() != 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if log := p.Log(); p.t.Failed() && log != "" {
		p.t.Logf("%s logged (the end of it):\n%s", name, log[max(0, len(log)-3000):])
	}
	for range 10 { // a daemon that is just ending may still write a file
		if os.RemoveAll(p.dir) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
