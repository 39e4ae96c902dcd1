package adtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// The domain that Samba serves.
const (
	BaseDN        = "DC=contoso,DC=test"
	AdminUPN      = "Administrator@contoso.test"
	AdminPassword = "Passw0rd.Test1"
	realm         = "CONTOSO.TEST"
	hostName      = "dc1"
)

// Packages are the Debian packages that [Samba] needs.
const Packages = "samba samba-ad-dc samba-ad-provision samba-dsdb-modules winbind ldb-tools"

// schema has the attributes of Exchange that Samba's schema lacks, made for ldbmodify: @BASE@ stands for the DN of the domain.
//
//go:embed schema/*.ldif
var schema embed.FS

// template is a provisioned domain that every instance is a copy of, since provisioning takes several seconds.
var template struct {
	sync.Mutex
	dir string
	err error
}

// Samba is an Active Directory domain controller of Samba, on an address of the loopback interface of its own: the ports cannot be chosen.
type Samba struct {
	IP  string
	Dir string

	ca    *Authority
	tb    testing.TB
	cmd   *exec.Cmd
	ended chan struct{}
}

// Require skips the test, with the reason, when Samba cannot run here. With CI=true it fails: there it must run.
func Require(tb testing.TB) {
	tb.Helper()
	why := ""
	for _, tool := range []string{"samba", "samba-tool", "ldbmodify"} {
		if _, err := exec.LookPath(tool); err != nil {
			why = tool + " is not installed (Debian: apt-get install --no-install-recommends " + Packages + ")"
		}
	}
	if os.Getuid() != 0 {
		why = "Samba as a domain controller needs root"
	}
	switch {
	case why == "":
	case os.Getenv("CI") == "true":
		tb.Fatal(why)
	default:
		tb.Skip(why)
	}
}

// NewSamba starts a domain controller with the template's content. It ends with the test.
func NewSamba(tb testing.TB) *Samba {
	tb.Helper()
	Require(tb)
	dir, err := provisioned()
	if err != nil {
		tb.Fatal(err)
	}
	s := &Samba{IP: freeIP(tb), tb: tb}
	s.Dir = copyOf(tb, dir)
	s.ca = NewAuthority(tb)
	s.configure()
	s.Start()
	return s
}

// Cleanup removes the template. It is for the end of TestMain.
func Cleanup() {
	template.Lock()
	defer template.Unlock()
	if template.dir != "" {
		os.RemoveAll(template.dir)
		template.dir = ""
	}
}

// Clone starts another domain controller with what s has now: s is stopped while it is copied, and started again.
func (s *Samba) Clone() *Samba {
	s.tb.Helper()
	s.Stop()
	c := &Samba{IP: freeIP(s.tb), tb: s.tb, ca: s.ca, Dir: copyOf(s.tb, s.Dir)}
	c.configure()
	s.Start()
	c.Start()
	return c
}

// Save copies the database of the stopped or running server, for [Samba.Restore].
func (s *Samba) Save() (saved string) {
	s.tb.Helper()
	s.Stop()
	saved = copyOf(s.tb, s.Dir)
	s.Start()
	return saved
}

// Restore puts a saved database in place, as a restore from a backup of the machine does: the domain controller knows nothing of it.
func (s *Samba) Restore(saved string) {
	s.tb.Helper()
	s.Stop()
	s.Dir = saved
	s.configure()
	s.Start()
}

// Add adds the objects of an LDIF file to the database itself, which is several times as fast as by LDAP. The server may run.
func (s *Samba) Add(ldif string) {
	s.tb.Helper()
	cmd := exec.Command("ldbadd", "--configfile="+filepath.Join(s.Dir, "etc/smb.conf"), "-H", filepath.Join(s.Dir, "private/sam.ldb"))
	cmd.Stdin = strings.NewReader(ldif)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("adding objects: %v: %s", err, out)
	}
}

// Keytab exports the keys of an account. The server may run.
func (s *Samba) Keytab(account string) (file string) {
	s.tb.Helper()
	file = filepath.Join(s.tb.TempDir(), account+".keytab")
	cmd := exec.Command("samba-tool", "domain", "exportkeytab", file, "--principal="+account, "--configfile="+filepath.Join(s.Dir, "etc/smb.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("exporting the keys of %s: %v: %s", account, err, out)
	}
	return file
}

// URL is ldap:// or ldaps:// at the server's address.
func (s *Samba) URL(scheme string) string { return scheme + "://" + s.IP }

// CAFile is the authority of the server's certificate.
func (s *Samba) CAFile() string { return s.ca.File }

// Admin connects as the administrator. The connection ends with the test.
func (s *Samba) Admin() *ldap.Conn {
	s.tb.Helper()
	c, err := ldap.DialURL(s.URL("ldaps"), ldap.DialWithTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	if err != nil {
		s.tb.Fatal(err)
	}
	c.SetTimeout(time.Minute)
	if err := c.Bind(AdminUPN, AdminPassword); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { c.Close() })
	return c
}

// Start runs the server until Stop or the end of the test, and returns when it answers.
func (s *Samba) Start() {
	s.tb.Helper()
	out := &bytes.Buffer{}
	s.cmd = exec.Command("samba", "-F", "-M", "single", "-s", filepath.Join(s.Dir, "etc/smb.conf"), "--no-process-group")
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.Dir, out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { cmd.Wait(); close(ended) }(s.cmd, s.ended)
	s.tb.Cleanup(s.Stop)
	for until := time.Now().Add(time.Minute); !s.answers(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-s.ended:
			s.tb.Fatalf("samba ended: %s", out)
		default:
		}
		if time.Now().After(until) {
			s.tb.Fatalf("samba does not answer at %s", s.IP)
		}
	}
}

func (s *Samba) answers() bool {
	c, err := ldap.DialURL(s.URL("ldap"))
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetTimeout(5 * time.Second)
	res, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"isSynchronized"}, nil))
	return err == nil && len(res.Entries) == 1 && res.Entries[0].GetAttributeValue("isSynchronized") == "TRUE"
}

// Stop ends the server's processes, which are a process group of their own.
func (s *Samba) Stop() {
	if s.cmd == nil {
		return
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(500 * time.Millisecond): // what it wrote is safe with the system
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.ended
	s.cmd = nil
}

// Pause stops the server without closing its sockets, and Resume lets it go on.
func (s *Samba) Pause()  { syscall.Kill(-s.cmd.Process.Pid, syscall.SIGSTOP) }
func (s *Samba) Resume() { syscall.Kill(-s.cmd.Process.Pid, syscall.SIGCONT) }

// freeIP finds an address at which nobody serves LDAP.
func freeIP(tb testing.TB) string {
	tb.Helper()
	for i := 1; i < 255; i++ {
		ip := fmt.Sprintf("127.0.88.%d", i)
		if taken.claim(ip) {
			l, err := net.Listen("tcp", ip+":389")
			if err == nil {
				l.Close()
				return ip
			}
		}
	}
	tb.Fatal("no address is free for another domain controller")
	return ""
}

// taken are the addresses of this process.
var taken claims

type claims struct {
	sync.Mutex
	ips map[string]bool
}

func (c *claims) claim(ip string) bool {
	c.Lock()
	defer c.Unlock()
	if c.ips == nil {
		c.ips = map[string]bool{}
	}
	if c.ips[ip] {
		return false
	}
	c.ips[ip] = true
	return true
}

// provisioned makes the template when it is first needed.
func provisioned() (string, error) {
	template.Lock()
	defer template.Unlock()
	if template.dir == "" && template.err == nil {
		template.dir, template.err = provision()
	}
	return template.dir, template.err
}

func provision() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "adtest-"); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "samba-tool", "domain", "provision", "--targetdir="+dir, "--realm="+realm, "--domain=CONTOSO", "--host-name="+hostName,
		"--host-ip=127.0.0.1", "--server-role=dc", "--dns-backend=NONE", "--adminpass="+AdminPassword,
		"--option=interfaces = 127.0.0.1", "--option=bind interfaces only = yes")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("provisioning a domain: %w\n%s", err, out)
	}
	if err := writeConfig(dir, "127.0.0.1"); err != nil {
		return "", err
	}
	names, err := fs.Glob(schema, "schema/*.ldif")
	if err != nil {
		return "", err
	}
	for _, name := range names { // attributes first, then the classes that have them
		text, err := schema.ReadFile(name)
		if err != nil {
			return "", err
		}
		cmd := exec.CommandContext(ctx, "ldbmodify", "--configfile="+filepath.Join(dir, "etc/smb.conf"), "-H", filepath.Join(dir, "private/sam.ldb"), "--option=dsdb:schema update allowed=true")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(string(text), "@BASE@", BaseDN))
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("extending the schema by %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
}

// writeConfig writes smb.conf. Plain interfaces = IP listens on nothing: it needs the prefix. The server's own certificate can have a negative serial number, which Go refuses.
func writeConfig(dir, ip string) error {
	for _, d := range []string{"run", "log", "ncalrpc", "private/tls"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	text := strings.NewReplacer("@DIR@", dir, "@IP@", ip, "@HOST@", hostName, "@REALM@", realm).Replace(configText)
	return os.WriteFile(filepath.Join(dir, "etc/smb.conf"), []byte(text), 0o600)
}

const configText = `[global]
  netbios name = @HOST@
  realm = @REALM@
  workgroup = CONTOSO
  server role = active directory domain controller
  interfaces = @IP@/8
  bind interfaces only = yes
  server services = ldap, cldap, kdc
  dcerpc endpoint servers = -winreg -srvsvc
  private dir = @DIR@/private
  lock directory = @DIR@
  state directory = @DIR@/state
  cache directory = @DIR@/cache
  pid directory = @DIR@/run
  ncalrpc dir = @DIR@/ncalrpc
  binddns dir = @DIR@/bind-dns
  ntp signd socket directory = @DIR@/ntp_signd
  log file = @DIR@/log/samba.log
  ldap server require strong auth = no
  ldb:nosync = yes
  tls enabled = yes
  tls keyfile = @DIR@/private/tls/key.pem
  tls certfile = @DIR@/private/tls/cert.pem
  tls cafile = @DIR@/private/tls/ca.pem
  dsdb:schema update allowed = yes
  load printers = no
  disable spoolss = yes
`

// configure points the copy at its own folder and address.
func (s *Samba) configure() {
	s.tb.Helper()
	err := errors.Join(writeConfig(s.Dir, s.IP),
		s.ca.Issue(filepath.Join(s.Dir, "private/tls/cert.pem"), filepath.Join(s.Dir, "private/tls/key.pem"), Certificate{Names: []string{hostName + ".contoso.test", "localhost"}, IPs: []string{s.IP}}),
		copyFile(s.ca.File, filepath.Join(s.Dir, "private/tls/ca.pem")))
	if err != nil {
		s.tb.Fatal(err)
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// copyOf copies a folder with owners and extended attributes, to a path that is short enough for sockets.
func copyOf(tb testing.TB, dir string) string {
	tb.Helper()
	to, err := os.MkdirTemp("", "adtest-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(to) })
	if out, err := exec.Command("cp", "-a", dir+"/.", to).CombinedOutput(); err != nil {
		tb.Fatalf("copying the domain: %v: %s", err, out)
	}
	return to
}
