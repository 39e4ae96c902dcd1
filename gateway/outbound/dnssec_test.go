package outbound

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/routing"
)

// program is the path of a program of the system; without it the test is skipped, or fails where the environment has CI=true.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (package %s)", name, pkg)
	}
	t.Skipf("%s is not installed (package %s)", name, pkg)
	return ""
}

// start runs a program until the test ends.
func start(t *testing.T, path string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), out.String())
		}
	})
}

// freePort is a port that is free for UDP and TCP.
func freePort(t *testing.T) int {
	pc, ln := listenDNS(t)
	defer pc.Close()
	defer ln.Close()
	return pc.LocalAddr().(*net.UDPAddr).Port
}

// answer asks a server until it gives an answer.
func answer(t *testing.T, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(1232, true)
	var last string
	for range 500 {
		r, err := dns.Exchange(m, server)
		if err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) > 0 {
			return r
		}
		last = fmt.Sprint(r, err)
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no answer for %s: %s", name, last)
	return nil
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startKnot serves zones, signed but for those in unsigned, and returns its port.
func startKnot(t *testing.T, zones map[string]string, unsigned ...string) int {
	t.Helper()
	knotd := program(t, "knotd", "knot")
	dir, port := t.TempDir(), freePort(t)
	conf := fmt.Sprintf("server:\n  rundir: %[1]s\n  listen: 127.0.0.1@%[2]d\ndatabase:\n  storage: %[1]s\nlog:\n- target: stderr\n  any: info\n"+
		"policy:\n- id: test\n  algorithm: ecdsap256sha256\n  single-type-signing: on\nzone:\n", dir, port)
	for name, records := range zones {
		file := filepath.Join(dir, name+".zone")
		writeFile(t, file, "$ORIGIN "+name+".\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n"+records)
		conf += fmt.Sprintf("- domain: %s\n  file: %s\n  zonefile-sync: -1\n  journal-content: none\n", name, file)
		if !strings.Contains(strings.Join(unsigned, " "), name) {
			conf += "  dnssec-signing: on\n  dnssec-policy: test\n"
		}
	}
	path := filepath.Join(dir, "knot.conf")
	writeFile(t, path, conf)
	start(t, knotd, "-c", path)
	return port
}

// startUnbound validates with the given keys, asks nobody but the server at port, and returns its address.
func startUnbound(t *testing.T, authority int, anchors string, zones ...string) string {
	t.Helper()
	unbound := program(t, "unbound", "unbound")
	dir, port := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "anchors"), anchors)
	path := filepath.Join(dir, "unbound.conf")
	conf := fmt.Sprintf(`server:
	interface: 127.0.0.1@%d
	access-control: 127.0.0.0/8 allow
	do-daemonize: no
	do-not-query-localhost: no
	use-syslog: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: "%[2]s"
	trust-anchor-file: "%[2]s/anchors"
	module-config: "validator iterator"
remote-control:
	control-enable: no
`, port, dir)
	for _, zone := range append(zones, ".") {
		conf += fmt.Sprintf("stub-zone:\n\tname: \"%s\"\n\tstub-addr: 127.0.0.1@%d\n", zone, authority)
	}
	writeFile(t, path, conf)
	start(t, unbound, "-d", "-p", "-c", path)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// TestDNSSEC delivers by the answers of a validating resolver about zones that a real server signs.
func TestDNSSEC(t *testing.T) {
	program(t, "knotd", "knot")
	program(t, "unbound", "unbound")
	ca := newAuthority(t)
	p := newPeer(t, nil)
	cert := ca.issue(t, "anything.example", time.Now().Add(-24*time.Hour)) // expired: DANE-EE does not mind
	p.tls = &tls.Config{Certificates: []tls.Certificate{*cert}}
	right, wrong := "3 1 1 "+fingerprint(t, cert.Certificate[0], 1), "3 1 1 "+strings.Repeat("00", 32)
	zone := fmt.Sprintf("@ MX 10 mx\nmx A 127.0.0.1\n_%[1]d._tcp.mx TLSA %[2]s\nwrong MX 10 mxw\nmxw A 127.0.0.1\n_%[1]d._tcp.mxw TLSA %[3]s\n"+
		"plain MX 10 mxp\nmxp A 127.0.0.1\nimplicit A 127.0.0.1\n_%[1]d._tcp.implicit TLSA %[3]s\nout MX 10 mxw.contoso.net.\n", p.port(), right, wrong)
	knot := startKnot(t, map[string]string{"fabrikam.com": zone, "contoso.net": zone, "contoso.org": zone}, "contoso.net", "contoso.org")
	var anchors string
	for _, rr := range answer(t, fmt.Sprintf("127.0.0.1:%d", knot), "fabrikam.com.", dns.TypeDNSKEY).Answer {
		if key, ok := rr.(*dns.DNSKEY); ok {
			// contoso.org has to be signed with it, and is not signed at all: bogus.
			anchors += key.String() + "\n" + strings.Replace(key.String(), "fabrikam.com.", "contoso.org.", 1) + "\n"
		}
	}
	unbound := startUnbound(t, knot, anchors, "fabrikam.com", "contoso.net", "contoso.org")
	if m := answer(t, unbound, "mx.fabrikam.com.", dns.TypeA); !m.AuthenticatedData {
		t.Fatalf("the resolver does not validate: %v", m)
	}
	tr := transport(t, func(o *Options) {
		o.Sides = map[routing.Side]Side{routing.Internet: {Name: routing.Internet, TLS: config.SideTLSOpportunistic}}
		o.Resolver, o.MXPort = NewResolver(ResolverOptions{Servers: []string{unbound}}), p.port()
	})
	for _, c := range []struct{ domain, want string }{
		{"fabrikam.com", "delivered 250 2.0.0 eod"},
		{"wrong.fabrikam.com", "deferred 451 4.7.5 starttls"},
		{"plain.fabrikam.com", "delivered 250 2.0.0 eod"},
		{"implicit.fabrikam.com", "deferred 451 4.7.5 starttls"},
		{"out.fabrikam.com", "delivered 250 2.0.0 eod"},     // the host is in a zone that is not signed
		{"wrong.contoso.net", "delivered 250 2.0.0 eod"},    // not signed: its TLSA records mean nothing
		{"contoso.org", "deferred 451 4.4.3 route"},         // bogus
		{"nothing.fabrikam.com", "refused 550 5.1.2 route"}, // authenticated denial
	} {
		t.Run(c.domain, func(t *testing.T) {
			wantSummary(t, deliver(t, tr, toInternet("aprilr@"+c.domain)), c.want)
		})
	}
	dane := map[string]bool{}
	for _, s := range tr.Stats() {
		dane[strings.Split(s.Hop, ":")[0]] = s.TLS == tlsDANE
	}
	if !dane["mx.fabrikam.com"] || dane["mxp.fabrikam.com"] || dane["mxw.contoso.net"] {
		t.Errorf("DANE for %v", dane)
	}
}
