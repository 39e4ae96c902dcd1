package mtasts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a policy host on the loopback, with the DNS record that announces it.
type site struct {
	server *httptest.Server
	client *http.Client

	mu      sync.Mutex
	now     time.Time
	record  []string
	dnsErr  error
	status  int
	kind    string
	body    string
	asked   int
	hang    chan struct{}
	arrived chan struct{} // a request is there; closed by the first that hangs
}

func newSite(t *testing.T, certName string) *site {
	t.Helper()
	s := &site{now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), record: []string{"v=STSv1; id=1;"}, status: http.StatusOK,
		kind: "text/plain; charset=utf-8", body: "version: STSv1\nmode: enforce\nmx: mx1.contoso.com\nmax_age: 604800\n"}
	ca := newAuthority(t)
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, certName)}}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.client = s.clientTrusting(ca.pool)
	return s
}

// clientTrusting connects to the site whatever the name is.
func (s *site) clientTrusting(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.server.Listener.Addr().String())
		}}}
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	status, kind, body, hang, arrived := s.status, s.kind, s.body, s.hang, s.arrived
	s.mu.Unlock()
	if hang != nil {
		close(arrived)
		<-hang
	}
	if r.Host != "mta-sts.contoso.com" || r.URL.Path != "/.well-known/mta-sts.txt" {
		if r.URL.Path != "/elsewhere" {
			status = http.StatusTeapot
		} else {
			status = http.StatusOK
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func (s *site) lookup(_ context.Context, name string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "_mta-sts.contoso.com" {
		return nil, fmt.Errorf("asked for %s", name)
	}
	return s.record, s.dnsErr
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *site) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *site) cache(t *testing.T, path string) *Cache {
	c := New(Options{LookupTXT: s.lookup, Client: s.client, Path: path, Clock: s.clock})
	t.Cleanup(c.Close)
	return c
}

// asks expects a policy of the given mode (empty: none), and a number of fetches in all.
func (s *site) asks(t *testing.T, c *Cache, mode Mode, fetches int) {
	t.Helper()
	p, ok := c.Policy(context.Background(), "Contoso.COM.")
	if ok != (mode != "") || ok && p.Mode != mode || s.fetches() != fetches {
		t.Fatalf("policy %v %q after %d fetches, want %q after %d", ok, p.Mode, s.fetches(), mode, fetches)
	}
}

func TestFetch(t *testing.T) {
	for _, c := range []struct {
		name    string
		cert    string
		change  func(s *site)
		want    Mode
		fetches int
	}{
		{"enforce", "mta-sts.contoso.com", func(*site) {}, Enforce, 1},
		{"testing", "mta-sts.contoso.com", func(s *site) { s.body = strings.Replace(s.body, "enforce", "testing", 1) }, Testing, 1},
		{"none", "mta-sts.contoso.com", func(s *site) { s.body = "version: STSv1\nmode: none\nmax_age: 60\n" }, "", 1},
		{"wildcard certificate", "*.contoso.com", func(*site) {}, Enforce, 1},
		{"certificate of another name", "contoso.com", func(*site) {}, "", 0},
		{"authority unknown", "mta-sts.contoso.com", func(s *site) { s.client = s.clientTrusting(x509.NewCertPool()) }, "", 0},
		{"no record", "mta-sts.contoso.com", func(s *site) { s.record = nil }, "", 0},
		{"two records", "mta-sts.contoso.com", func(s *site) { s.record = append(s.record, s.record...) }, "", 0},
		{"DNS fails", "mta-sts.contoso.com", func(s *site) { s.dnsErr = errors.New("SERVFAIL") }, "", 0},
		{"404", "mta-sts.contoso.com", func(s *site) { s.status = http.StatusNotFound }, "", 1},
		{"redirect", "mta-sts.contoso.com", func(s *site) { s.status = http.StatusFound }, "", 1},
		{"204", "mta-sts.contoso.com", func(s *site) { s.status, s.body = http.StatusNoContent, "" }, "", 1},
		{"HTML", "mta-sts.contoso.com", func(s *site) { s.kind = "text/html" }, "", 1},
		{"no type", "mta-sts.contoso.com", func(s *site) { s.kind = "" }, "", 1},
		{"not a policy", "mta-sts.contoso.com", func(s *site) { s.body = "Welcome" }, "", 1},
		{"64 KiB", "mta-sts.contoso.com", func(s *site) { s.body += strings.Repeat("\n", maxPolicySize-len(s.body)) }, Enforce, 1},
		{"more than 64 KiB", "mta-sts.contoso.com", func(s *site) { s.body += strings.Repeat("\n", maxPolicySize-len(s.body)+1) }, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.cert)
			c.change(s)
			cache := s.cache(t, "")
			s.asks(t, cache, c.want, c.fetches)
			s.asks(t, cache, c.want, c.fetches) // from the cache; nor is a failure repeated at once
		})
	}
}

func TestLifeOfAPolicy(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	c := s.cache(t, "")
	s.asks(t, c, Enforce, 1)
	s.set(func() { s.status = http.StatusInternalServerError; s.record = []string{"v=STSv1; id=2"} })
	s.asks(t, c, Enforce, 2) // a new one cannot be had: the old one stays
	s.asks(t, c, Enforce, 2)
	s.set(func() { s.now = s.now.Add(failurePause) })
	s.asks(t, c, Enforce, 3)
	s.set(func() { s.record = nil })
	s.asks(t, c, Enforce, 3) // RFC 8461 3.1: a record that is gone takes nothing from it
	s.set(func() { s.dnsErr = errors.New("SERVFAIL") })
	s.asks(t, c, Enforce, 3)
	s.set(func() {
		s.dnsErr, s.record, s.status = nil, []string{"v=STSv1; id=3"}, http.StatusOK
		s.body = "version: STSv1\nmode: testing\nmx: mx1.contoso.com\nmax_age: 604800\n"
	})
	s.asks(t, c, Testing, 4) // another id is asked for at once, whatever failed before
	s.set(func() { s.record = []string{"v=STSv1; id=4"}; s.body = "version: STSv1\nmode: none\nmax_age: 604800\n" })
	s.asks(t, c, "", 5)
	s.set(func() {
		s.record = []string{"v=STSv1; id=5"}
		s.body = "version: STSv1\nmode: enforce\nmx: mx1.contoso.com\nmax_age: 604800\n"
	})
	s.asks(t, c, Enforce, 6)
	s.set(func() { s.now = s.now.Add(604799 * time.Second); s.dnsErr = errors.New("SERVFAIL") })
	s.asks(t, c, Enforce, 6)
	s.set(func() { s.now = s.now.Add(time.Second) })
	s.asks(t, c, "", 6) // max_age is over
}

// TestRenewal: a policy is fetched again every day although its id stays, without anybody waiting for it.
func TestRenewal(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	c := s.cache(t, "")
	s.asks(t, c, Enforce, 1)
	s.set(func() { s.now = s.now.Add(refreshAfter - time.Second) })
	s.asks(t, c, Enforce, 1)
	release := make(chan struct{})
	s.set(func() { s.now = s.now.Add(time.Second); s.hang, s.arrived = release, make(chan struct{}) })
	if _, ok := c.Policy(context.Background(), "contoso.com"); !ok {
		t.Fatal("no policy while it is renewed")
	}
	<-s.arrived
	s.set(func() { s.hang = nil })
	close(release)
	for range 500 {
		if e, _ := c.get("contoso.com"); e.fetched.Equal(s.clock()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it was not renewed")
}

// TestWaiting: all who ask at the same time share one fetch, and nobody waits longer than he wants to.
func TestWaiting(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	release := make(chan struct{})
	s.hang, s.arrived = release, make(chan struct{})
	c := s.cache(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, ok := c.Policy(ctx, "contoso.com"); ok {
			t.Error("a policy before it was there")
		}
	})
	<-s.arrived
	cancel()
	wg.Wait()
	for range 10 {
		wg.Go(func() {
			if _, ok := c.Policy(context.Background(), "contoso.com"); !ok {
				t.Error("no policy")
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // most of them wait; all must be served either way
	close(release)
	wg.Wait()
	if n := s.fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestClose(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	release := make(chan struct{})
	s.hang, s.arrived = release, make(chan struct{})
	defer close(release)
	c := s.cache(t, "")
	var wg sync.WaitGroup
	wg.Go(func() { c.Policy(context.Background(), "contoso.com") })
	<-s.arrived
	c.Close() // ends the fetch
	wg.Wait()
	s.asks(t, c, "", 1)
}

func TestRestart(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	path := filepath.Join(t.TempDir(), "mta-sts")
	s.asks(t, s.cache(t, path), Enforce, 1)
	s.set(func() { s.status, s.dnsErr = http.StatusNotFound, errors.New("SERVFAIL") })
	for range 2 {
		s.asks(t, s.cache(t, path), Enforce, 1)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	s.set(func() { s.now = s.now.Add(604800 * time.Second) })
	s.asks(t, s.cache(t, path), "", 1)
}

// TestDamage: what is whole in the file is used, whatever stands around it, and the file is in order afterwards.
func TestDamage(t *testing.T) {
	const whole = `{"domain":"contoso.com","id":"1","fetched":"2026-06-01T11:00:00Z","policy":"version: STSv1\nmode: enforce\nmx: mx1.contoso.com\nmax_age: 604800\n"}` + "\n"
	older := strings.Replace(strings.Replace(whole, "enforce", "testing", 1), "11:00", "10:00", 1)
	for _, c := range []struct {
		name, file string
		want       Mode
	}{
		{"whole", whole, Enforce},
		{"the later line counts", older + whole, Enforce},
		{"cut", whole + older[:60], Enforce},
		{"only half", whole[:60], ""},
		{"zeros", whole + strings.Repeat("\x00", 4096), Enforce},
		{"another kind of file", "%PDF-1.7\n" + whole, Enforce},
		{"a policy that is none", strings.Replace(whole, "STSv1", "STSv9", 1), ""},
		{"no id", strings.Replace(whole, `"id":"1",`, "", 1), ""},
		{"empty", "", ""},
		{"out of date", strings.Replace(whole, "2026-06", "2026-05", 1), ""},
		{"out of date, and an older line that is not", older + strings.Replace(whole, "604800", "60", 1), ""},
		{"a line without end", whole + strings.Repeat("x", maxLine+10), Enforce},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, "mta-sts.contoso.com")
			s.dnsErr = errors.New("SERVFAIL")
			path := filepath.Join(t.TempDir(), "mta-sts")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			s.asks(t, s.cache(t, path), c.want, 0)
			s.set(func() { s.dnsErr = nil; s.record = []string{"v=STSv1; id=2"} })
			s.asks(t, s.cache(t, path), Enforce, 1)
			s.set(func() { s.dnsErr = errors.New("SERVFAIL") })
			s.asks(t, s.cache(t, path), Enforce, 1)
		})
	}
}

func TestFuture(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	path := filepath.Join(t.TempDir(), "mta-sts")
	s.set(func() { s.now = s.now.Add(1000 * time.Hour) })
	s.asks(t, s.cache(t, path), Enforce, 1)
	s.set(func() { s.now = s.now.Add(-1000 * time.Hour); s.dnsErr = errors.New("SERVFAIL") })
	c := s.cache(t, path)
	s.asks(t, c, Enforce, 1)
	s.set(func() { s.now = s.now.Add(604800 * time.Second) })
	s.asks(t, c, "", 1)
}

// TestUnwritable: without its file the cache works, says so once, and writes all of it when it can.
func TestUnwritable(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	dir := filepath.Join(t.TempDir(), "later")
	var log bytes.Buffer
	c := New(Options{LookupTXT: s.lookup, Client: s.client, Path: filepath.Join(dir, "mta-sts"), Clock: s.clock, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	defer c.Close()
	s.asks(t, c, Enforce, 1)
	s.set(func() { s.record = []string{"v=STSv1; id=2"} })
	s.asks(t, c, Enforce, 2)
	if n := strings.Count(log.String(), "cannot be saved"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.record = []string{"v=STSv1; id=3"} })
	s.asks(t, c, Enforce, 3)
	s.set(func() { s.dnsErr = errors.New("SERVFAIL") })
	s.asks(t, s.cache(t, filepath.Join(dir, "mta-sts")), Enforce, 3)
}

// TestBounds: neither memory nor the file grows without end.
func TestBounds(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "mta-sts")
	c := New(Options{Path: path, Entries: 3, Clock: func() time.Time { now = now.Add(time.Second); return now }})
	p := Policy{Mode: Enforce, MaxAge: MaxAge, MX: []string{"mx1.contoso.com"}}
	for i := range spareLines + 20 {
		e := entry{policy: p, id: "1", fetched: c.o.Clock()}
		domain := fmt.Sprintf("d%d.contoso.com", i)
		c.mu.Lock()
		c.entries[domain] = e
		c.evict(e.fetched)
		c.save(domain, e)
		c.mu.Unlock()
		c.failed(domain, failure{id: "1", at: e.fetched}, errors.New("test"))
	}
	last := fmt.Sprintf("d%d.contoso.com", spareLines+19)
	if _, ok := c.entries[last]; !ok || len(c.entries) != 3 || len(c.failures) > 3 {
		t.Errorf("%d entries, %d failures, the last is there: %v", len(c.entries), len(c.failures), ok)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(content, []byte("\n")); n > 20 {
		t.Errorf("%d lines in the file", n)
	}
}

// TestDefaultClient: the client that is used when none is given verifies, and speaks no old TLS.
func TestDefaultClient(t *testing.T) {
	s := newSite(t, "mta-sts.contoso.com")
	dialed := 0
	client := newClient()
	client.Transport.(*http.Transport).Proxy = nil
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialed++
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.server.Listener.Addr().String())
	}
	_, err := fetch(context.Background(), client, "contoso.com")
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || dialed != 1 || s.fetches() != 0 {
		t.Errorf("%v after %d connections, %d requests", err, dialed, s.fetches())
	}
	client.Transport.(*http.Transport).TLSClientConfig.RootCAs = s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	if text, err := fetch(context.Background(), client, "contoso.com"); err != nil || text != s.body {
		t.Errorf("%q %v", text, err)
	}
	s.server.TLS.MinVersion, s.server.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := fetch(context.Background(), client, "contoso.com"); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// BenchmarkPolicy is what a message to a domain with a cached policy costs here.
func BenchmarkPolicy(b *testing.B) {
	record := []string{"v=STSv1; id=1;"}
	c := New(Options{LookupTXT: func(context.Context, string) ([]string, error) { return record, nil }})
	defer c.Close()
	c.entries["contoso.com"] = entry{policy: Policy{Mode: Enforce, MaxAge: MaxAge, MX: []string{"*.contoso.com"}}, id: "1", fetched: time.Now()}
	for b.Loop() {
		if p, ok := c.Policy(context.Background(), "contoso.com"); !ok || !p.Allows("mx1.contoso.com") {
			b.Fatal("no policy")
		}
	}
}
