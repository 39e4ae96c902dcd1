// Package peertest has what tests with other people's programs share: which programs are installed, addresses to listen at, certificates,
// and a Postfix of a test's own.
package peertest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

// Program is the path of an installed program, which may be in the folders of administrators; empty if there is none.
func Program(name string) string {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	return ""
}

// Need skips a test whose programs are not installed; with CI=true that is a failure.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if Program(p) == "" {
			Missing(t, p+" is not installed")
		}
	}
}

// NeedRoot skips a test that is not run by root; with CI=true that is a failure.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "this needs root")
	}
}

// Missing ends a test for want of something: it is skipped, or with CI=true has failed.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Ports that are chosen for servers: below those that Linux gives to clients (ip_local_port_range begins at 32768), so that no connection
// takes one between the choice and the start of the server.
const firstPort, lastPort = 10000, 32000

var (
	portsMu sync.Mutex
	ports   = map[string]bool{} // that were given away
)

// FreeAddr is an address at a host that nobody listens at. A process gets each but once.
func FreeAddr(t testing.TB, host string) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		addr := net.JoinHostPort(host, fmt.Sprint(firstPort+rand.IntN(lastPort-firstPort)))
		if ports[addr] {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			ports[addr] = true
			return addr
		}
	}
	t.Fatalf("no free port at %s", host)
	return ""
}

// Certificate writes a self-signed certificate for a name and its key into dir, as name.crt and name.key.
func Certificate(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	c, _, err := fakemta.NewCertificate(name)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
