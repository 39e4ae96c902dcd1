package gateway_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway"
	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
	"github.com/coexist-mail/coexist/routing"
	"github.com/coexist-mail/coexist/testdata"
)

// checkable is a configuration with a directory, whose next hops refuse connections: what a test looks at are other lines.
func checkable(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	ldif := filepath.Join(dir, "contoso.ldif")
	if err := os.WriteFile(ldif, []byte(testdata.LDIF), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := "127.0.0.1:1"
	return gatewaytest.Config(filepath.Join(dir, "data"), ldif, nobody, nobody, nobody)
}

// checkLine is the one line about what; an empty line where there is none.
func checkLine(t *testing.T, cfg *config.Config, timeout time.Duration, what string) (found gateway.CheckLine) {
	t.Helper()
	for _, l := range gateway.Check(t.Context(), cfg, timeout) {
		if l.What == what {
			if found.What != "" {
				t.Errorf("two lines about %s", what)
			}
			found = l
		}
	}
	return found
}

func expectLine(t *testing.T, got gateway.CheckLine, result gateway.CheckResult, detail string) {
	t.Helper()
	if got.Result != result || !strings.Contains(got.Detail, detail) {
		t.Errorf("%q %q: %q, want %q with %q", got.Result, got.What, got.Detail, result, detail)
	}
}

// tree lists what is in a folder, with the time of the last change of each file.
func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			path += " " + info.ModTime().String()
		}
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCheckDataDir(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string) (dataDir string)
		result  gateway.CheckResult
		detail  string
	}{
		{"will be made", func(_ *testing.T, dir string) string { return filepath.Join(dir, "a", "b") }, gateway.CheckFine, "will be made"},
		{"is there", func(_ *testing.T, dir string) string { return dir }, gateway.CheckFine, "MiB free"},
		{"cannot be made", func(*testing.T, string) string { return "/proc/nope" }, gateway.CheckFailed, "/proc/nope cannot be made: "},
		{"cannot be written", func(*testing.T, string) string { return "/proc/self" }, gateway.CheckFailed, "/proc/self cannot be written: "},
		{"below a file", func(t *testing.T, dir string) string {
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "file", "data")
		}, gateway.CheckFailed, "not a directory"},
		{"is a file", func(t *testing.T, dir string) string {
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "file")
		}, gateway.CheckFailed, "not a directory"},
		{"is a link to nothing", func(t *testing.T, dir string) string {
			if err := os.Symlink("nothing", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "link", "data")
		}, gateway.CheckFailed, "link"},
		{"is read-only", func(t *testing.T, dir string) string { return mount(t, dir, syscall.MS_RDONLY, "size=1m") }, gateway.CheckFailed, "read-only"},
		{"its spool is read-only", func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, "spool"), 0o700); err != nil {
				t.Fatal(err)
			}
			mount(t, filepath.Join(dir, "spool"), syscall.MS_RDONLY, "size=1m")
			return dir
		}, gateway.CheckFailed, "spool: read-only"},
		{"has little room", func(t *testing.T, dir string) string { return mount(t, dir, 0, "size=32m") }, gateway.CheckWarning, "limits.message_size"},
		{"is full", func(t *testing.T, dir string) string {
			mount(t, dir, 0, "size=2m")
			filler, err := os.Create(filepath.Join(dir, "filler"))
			if err != nil {
				t.Fatal(err)
			}
			defer filler.Close()
			for err == nil {
				_, err = filler.Write(make([]byte, 4<<10))
			}
			return dir
		}, gateway.CheckFailed, "no space left"},
		{"is as good as full", func(t *testing.T, dir string) string {
			mount(t, dir, 0, "size=4m")
			if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 4<<20-128<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, gateway.CheckFailed, "kept back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := checkable(t)
			cfg.DataDir, cfg.Limits.MessageSize = c.prepare(t, dir), 64<<20
			before := tree(t, dir)
			expectLine(t, checkLine(t, cfg, 10*time.Second, "data_dir"), c.result, c.detail)
			if after := tree(t, dir); !slices.Equal(before, after) {
				t.Errorf("left behind: %q, before %q", after, before)
			}
		})
	}
}

// mount makes dir a file system of its own, until the test ends.
func mount(t *testing.T, dir string, flags uintptr, options string) string {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestCheckDataDirOfARunningGateway: check finds nothing to say of it, and it goes on.
func TestCheckDataDirOfARunningGateway(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) { c.Limits.MessageSize = 1 << 20 }})
	expectLine(t, checkLine(t, g.Config, 10*time.Second, "data_dir"), gateway.CheckFine, "MiB free")
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n")
	g.WaitOnPrem(1)
}

// serveMilter runs a filter that lets everything pass.
func serveMilter(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &gomilter.Server{NewMilter: func() gomilter.Milter { return gomilter.NoOpMilter{} }}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func TestCheckReachesForFilters(t *testing.T) {
	dns := dnstest.Start(t, `
		2.0.0.127.bl.fabrikam.com. 60 IN A 127.0.0.2
		2.0.0.127.all.fabrikam.com. 60 IN A 127.0.0.2
		1.0.0.127.all.fabrikam.com. 60 IN A 127.0.0.2`)
	dns.Break("broken.fabrikam.com")
	nobody := "127.0.0.1:1"
	good := serveMilter(t)
	for _, c := range []struct {
		name, what string
		hygiene    config.Hygiene
		result     gateway.CheckResult // empty: no such line
		detail     string
	}{
		{"nothing is asked", "DNS, for hygiene", config.Hygiene{Authenticate: "off"}, "", ""},
		{"a server that answers", "DNS, for hygiene, at " + dns.Address, config.Hygiene{Resolver: dns.Address, Authenticate: "report"}, gateway.CheckFine, "answers"},
		{"a server that is down", "DNS, for hygiene, at " + nobody, config.Hygiene{Resolver: nobody, Authenticate: "report"}, gateway.CheckFailed, "refused"},
		{"named, and used by nothing", "DNS, for hygiene, at " + nobody, config.Hygiene{Resolver: nobody, Authenticate: "off"}, gateway.CheckFailed, "refused"},
		{"for lists only", "DNS, for hygiene, at " + dns.Address, config.Hygiene{Resolver: dns.Address, Blocklists: []string{"broken.fabrikam.com"}}, gateway.CheckFailed, "server misbehaving"},
		{"a list", "blocklist bl.fabrikam.com", config.Hygiene{Resolver: dns.Address, Blocklists: []string{"bl.fabrikam.com"}}, gateway.CheckFine, "test entry"},
		{"a list that is none", "blocklist fabrikam.com", config.Hygiene{Resolver: dns.Address, Blocklists: []string{"bl.fabrikam.com", "fabrikam.com"}}, gateway.CheckWarning, "127.0.0.2"},
		{"a list of everybody", "blocklist all.fabrikam.com", config.Hygiene{Resolver: dns.Address, Blocklists: []string{"all.fabrikam.com"}}, gateway.CheckFailed, "everybody"},
		{"a list that is down", "blocklist broken.fabrikam.com", config.Hygiene{Resolver: dns.Address, Blocklists: []string{"broken.fabrikam.com"}}, gateway.CheckFailed, "server misbehaving"},
		{"a milter", "milter " + good, config.Hygiene{Milters: []string{good}, MilterDown: "tempfail", MilterTimeout: time.Minute}, gateway.CheckFine, "answers, version 2"},
		{"a milter that is down", "milter " + nobody, config.Hygiene{Milters: []string{good, nobody}, MilterDown: "tempfail", MilterTimeout: time.Minute}, gateway.CheckFailed, "put off"},
		{"the same, and mail goes on", "milter " + nobody, config.Hygiene{Milters: []string{nobody}, MilterDown: "accept", MilterTimeout: time.Minute}, gateway.CheckFailed, "refused"},
		{"a socket that is not there", "milter /nowhere/m.sock", config.Hygiene{Milters: []string{"unix:/nowhere/m.sock"}, MilterDown: "tempfail"}, gateway.CheckFailed, "no such file"},
		{"filters that stop serve", "hygiene", config.Hygiene{Greylist: true, GreylistDelay: 72 * time.Hour}, gateway.CheckFailed, "greylist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := checkable(t)
			cfg.Hygiene = c.hygiene
			expectLine(t, checkLine(t, cfg, 10*time.Second, c.what), c.result, c.detail)
		})
	}
}
