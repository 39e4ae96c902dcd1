package recordings

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func store(t *testing.T) (*Store, *clock, string) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)}
	dir := filepath.Join(t.TempDir(), "recordings")
	s := New(dir, c.now)
	t.Cleanup(s.Close)
	return s, c, dir
}

func networks(list ...string) (all []netip.Prefix) {
	for _, n := range list {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

func start(t *testing.T, s *Store, r Request) Info {
	t.Helper()
	info, err := s.Start(r)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func text(t *testing.T, s *Store, id string) string {
	t.Helper()
	f, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    Request
		want error
	}{
		{"defaults", Request{Clients: networks("192.0.2.0/24")}, nil},
		{"no clients", Request{}, ErrRequest},
		{"a network that is none", Request{Clients: []netip.Prefix{{}}}, ErrRequest},
		{"negative time", Request{Clients: networks("192.0.2.0/24"), Seconds: -1}, ErrRequest},
		{"too long", Request{Clients: networks("192.0.2.0/24"), Seconds: 24*3600 + 1}, ErrRequest},
		{"time that overflows", Request{Clients: networks("192.0.2.0/24"), Seconds: 1 << 62}, ErrRequest},
		{"too small", Request{Clients: networks("192.0.2.0/24"), Bytes: 1}, ErrRequest},
		{"too large", Request{Clients: networks("192.0.2.0/24"), Bytes: MaxSize + 1}, ErrRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _, dir := store(t)
			info, err := s.Start(tt.r)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if _, statErr := os.Stat(dir); err != nil && statErr == nil {
				t.Error("a folder was made for nothing")
			}
			if err == nil && (info.Until.Sub(info.Started) != DefaultFor || info.Limit != DefaultSize || info.Bodies || info.State != Running) {
				t.Errorf("%+v", info)
			}
		})
	}
}

func TestWhoIsRecorded(t *testing.T) {
	s, _, _ := store(t)
	if s.For(netip.MustParseAddr("192.0.2.7")) != nil {
		t.Error("recorded before anything began")
	}
	wide := start(t, s, Request{Clients: networks("192.0.2.99/24", "::ffff:198.51.100.1/128")})
	one := start(t, s, Request{Clients: networks("192.0.2.7/32")})
	wideRec, oneRec := s.running[0].rec, s.running[1].rec
	for _, tt := range []struct {
		client string
		want   any
	}{
		{"192.0.2.7", oneRec}, {"::ffff:192.0.2.7", oneRec}, {"192.0.2.8", wideRec}, {"198.51.100.1", wideRec}, {"203.0.113.1", nil}, {"2001:db8::1", nil},
	} {
		if got := s.For(netip.MustParseAddr(tt.client)); got == nil && tt.want != nil || got != nil && got != tt.want {
			t.Errorf("%s: %p, want %p", tt.client, got, tt.want)
		}
	}
	if _, err := s.Stop(one.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.For(netip.MustParseAddr("192.0.2.7")); got != wideRec {
		t.Error("the older one does not take over")
	}
	if _, err := s.Stop(wide.ID); err != nil {
		t.Fatal(err)
	}
	if s.For(netip.MustParseAddr("192.0.2.7")) != nil {
		t.Error("recorded after all have ended")
	}
}

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Store, *clock, *recording)
		want State
	}{
		{"time", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			c.add(time.Minute)
			r.Write([]byte("two\n"))
		}, Expired},
		{"time, and nobody writes", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			c.add(time.Minute)
		}, Expired},
		{"size", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			r.Write(bytes.Repeat([]byte("x"), 2000))
			r.Write([]byte("two\n"))
		}, Full},
		{"the file is gone", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			r.file.Close()
			r.Write([]byte("two\n"))
		}, Failed},
		{"stopped", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			s.Stop(r.info.ID)
			r.Write([]byte("two\n"))
		}, Stopped},
		{"the gateway ends", func(s *Store, c *clock, r *recording) {
			r.Write([]byte("one\n"))
			s.Close()
			r.Write([]byte("two\n"))
		}, Stopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c, dir := store(t)
			info := start(t, s, Request{Clients: networks("192.0.2.7/32"), Seconds: 60, Bytes: 1 << 10})
			r := s.running[0]
			tt.do(s, c, r)
			list := s.List()
			if len(list) != 1 || list[0].State != tt.want || list[0].Size > 1<<10+100 {
				t.Errorf("%+v, want %s", list, tt.want)
			}
			got := text(t, s, info.ID)
			if !strings.Contains(got, "\none\n") || strings.Contains(got, "two") || strings.Contains(got, "xxx") {
				t.Errorf("recorded %q", got)
			}
			if tt.want != Failed && !strings.Contains(got, "\n# "+string(tt.want)+" at ") {
				t.Errorf("the end is not told: %q", got)
			}
			if _, err := s.Stop(info.ID); !errors.Is(err, ErrNotRunning) {
				t.Errorf("stopping it again: %v", err)
			}
			if s.For(netip.MustParseAddr("192.0.2.7")) != nil {
				t.Error("still recorded")
			}
			for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, info.ID+".log"): 0o600} {
				if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
					t.Errorf("%s: mode %v, %v; want %v", path, st.Mode(), err, mode)
				}
			}
		})
	}
}

func TestTooMany(t *testing.T) {
	s, _, _ := store(t)
	r := Request{Clients: networks("192.0.2.7/32")}
	ids := map[string]bool{}
	for range MaxRunning {
		ids[start(t, s, r).ID] = true
	}
	if len(ids) != MaxRunning {
		t.Errorf("%d ids", len(ids))
	}
	if _, err := s.Start(r); !errors.Is(err, ErrTooMany) {
		t.Errorf("error %v", err)
	}
	for id := range ids {
		if _, err := s.Stop(id); err != nil {
			t.Fatal(err)
		}
	}
	r.Bytes = MaxSize
	for range MaxTotal / MaxSize {
		start(t, s, r)
	}
	if _, err := s.Start(r); !errors.Is(err, ErrTooMany) {
		t.Errorf("more than the folder may hold: %v", err)
	}
}

// Old recordings give way, those that run never.
func TestOldOnesGiveWay(t *testing.T) {
	s, c, dir := store(t)
	r := Request{Clients: networks("192.0.2.7/32")}
	running := start(t, s, Request{Clients: r.Clients, Seconds: 24 * 3600})
	var first Info
	for n := range MaxKept + 5 {
		c.add(time.Second)
		info := start(t, s, r)
		if n == 0 {
			first = info
		}
		if _, err := s.Stop(info.ID); err != nil {
			t.Fatal(err)
		}
	}
	list := s.List()
	if len(list) > MaxKept+1 || list[len(list)-1].ID != running.ID || list[len(list)-1].State != Running {
		t.Errorf("%d kept, the last %+v", len(list), list[len(list)-1])
	}
	if _, err := s.Open(first.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest is there: %v", err)
	}
	// After a restart they are known by their files, and what is no recording is not.
	for name, content := range map[string]string{"20261103-999999.log": "no header", "notes.txt": "", "x.log": headerMark + "{}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := New(dir, c.now).List()
	if len(again) != len(list) || again[0].State != Ended || !cmp.Equal(again[0].Clients, list[0].Clients, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		t.Errorf("%d after a restart, %d before; %+v", len(again), len(list), again[0])
	}
}

func TestRemove(t *testing.T) {
	s, _, _ := store(t)
	info := start(t, s, Request{Clients: networks("192.0.2.7/32")})
	if err := s.Remove(info.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{info.ID, "", "..", "../x", "20261103", "a"} {
		if err := s.Remove(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := s.Stop(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if n := len(s.List()); n != 0 {
		t.Errorf("%d left", n)
	}
}

func TestConcurrent(t *testing.T) {
	s, c, _ := store(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				info, err := s.Start(Request{Clients: networks("192.0.2.0/24"), Bytes: 2 << 10})
				if errors.Is(err, ErrTooMany) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				s.mu.Lock()
				for _, r := range s.running {
					r.Write([]byte("x\n"))
				}
				s.mu.Unlock()
				s.For(netip.MustParseAddr("192.0.2.1"))
				s.List()
				c.add(time.Second)
				s.Stop(info.ID)
			}
		})
	}
	wg.Wait()
}

const sample = `# coexist recording {"id":"20261103-100000"}
2026-11-03T10:00:00.000Z 192.0.2.7:1025 S: 220 gw1.contoso.com ESMTP coexist
2026-11-03T10:00:00.001Z 192.0.2.7:1025 C: EHLO mail.fabrikam.com
2026-11-03T10:00:00.001Z 192.0.2.7:1025 S: 250-gw1.contoso.com
2026-11-03T10:00:00.001Z 192.0.2.7:1025 S: 250 SIZE 1000
2026-11-03T10:00:00.001Z 192.0.2.8:1026 S: 220 gw1.contoso.com ESMTP coexist
2026-11-03T10:00:00.002Z 192.0.2.7:1025 C: STARTTLS
2026-11-03T10:00:00.002Z 192.0.2.7:1025 S: 220 2.0.0 Ready
2026-11-03T10:00:00.003Z 192.0.2.7:1025 C: MAIL FROM:<a{b@fabrikam.com>
2026-11-03T10:00:00.003Z 192.0.2.7:1025 S: 250 2.1.0 Sender OK
2026-11-03T10:00:00.003Z 192.0.2.7:1025 C: "X\x1b[31m"
2026-11-03T10:00:00.003Z 192.0.2.7:1025 S: 500 5.5.1 Command not known
2026-11-03T10:00:00.004Z 192.0.2.7:1025 C: DATA
2026-11-03T10:00:00.004Z 192.0.2.7:1025 S: 354 Go ahead
2026-11-03T10:00:00.005Z 192.0.2.7:1025 =  message of 100 octets: EOF
2026-11-03T10:00:00.006Z 192.0.2.7:1025 S: 250 2.0.0 ABC accepted
2026-11-03T10:00:00.006Z 192.0.2.7:1025 C: DATA
2026-11-03T10:00:00.006Z 192.0.2.7:1025 S: 354 Go ahead
2026-11-03T10:00:00.006Z 192.0.2.7:1025 D: "A: b\r\n\r\n.dot\r\nhal"
2026-11-03T10:00:00.006Z 192.0.2.7:1025 D: "f\r\n"
2026-11-03T10:00:00.006Z 192.0.2.7:1025 =  message of 20 octets: EOF
2026-11-03T10:00:00.006Z 192.0.2.7:1025 S: 250 2.0.0 ABD accepted
2026-11-03T10:00:00.006Z 192.0.2.7:1025 C: BDAT 5 LAST
2026-11-03T10:00:00.006Z 192.0.2.7:1025 D: "a\r\nb\n"
2026-11-03T10:00:00.006Z 192.0.2.7:1025 =  message of 5 octets: EOF
2026-11-03T10:00:00.006Z 192.0.2.7:1025 S: 250 2.0.0 ABE accepted
2026-11-03T10:00:00.007Z 192.0.2.7:1025 C: AUTH PLAIN (not shown)
2026-11-03T10:00:00.007Z 192.0.2.7:1025 S: 535 5.7.8 Authentication failed
2026-11-03T10:00:00.007Z 192.0.2.8:1026 S: 421 4.4.2 Timeout
2026-11-03T10:00:09.007Z 192.0.2.8:1026 S: 220 gw1.contoso.com ESMTP coexist
# stopped at 2026-11-03T10:01:00Z
`

func TestConvert(t *testing.T) {
	const want = `== 1 192.0.2.7:1025 2026-11-03T10:00:00.000Z
S: 220
C: EHLO mail.fabrikam.com
S: 250
C: STARTTLS
S: 220 2.0.0
T
C: MAIL FROM:<a{{b@fabrikam.com>
S: 250 2.1.0
C< X\x1b[31m\r\n
S: 500 5.5.1
C: DATA
S: 354
C< {body 100}
C: .
S: 250 2.0.0
C: DATA
S: 354
C< A: b\r\n
C< \r\n
C< ..dot\r\n
C< hal
C< f\r\n
C: .
S: 250 2.0.0
C: BDAT 5 LAST
C< {body 5}
S: 250 2.0.0
# passwords are not recorded: from here on it cannot be played
# C: AUTH PLAIN (not shown)
# S: 535 5.7.8

== 2 192.0.2.8:1026 2026-11-03T10:00:00.001Z
S: 220
S: 421 4.4.2
X

== 3 192.0.2.8:1026 2026-11-03T10:00:09.007Z
S: 220

`
	var out bytes.Buffer
	if err := Convert(&out, strings.NewReader(sample)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if d, err := dialog.Parse("recorded.smtp", &out); err != nil || len(d.Sections) != 3 {
		t.Errorf("%v: it does not read as a dialog", err)
	}
}

// Octets come back as they were, whatever they are.
func TestOctetsComeBack(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, octets := range []string{string(all), "\ufffd \"", "\"a\"", "{body 5}", "\\r", strings.Repeat("x", 10000)} {
		quoted := quote(octets)
		if got := rawOctets(quoted); got != octets {
			t.Errorf("%q came back as %q", octets, got)
		}
	}
}

// Whatever is in a recording, a dialog comes out.
func FuzzConvert(f *testing.F) {
	f.Add(sample)
	f.Add("t c:1 S: 250\nt c:1 C: \"\n")
	f.Add("t c:1 S: 250\nt c:1 C:  x \nt c:1 D: \"\\xff.\\n\"\nt c:1 =  message of 9 octets: EOF\n")
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		if err := Convert(&out, strings.NewReader(s)); err != nil {
			return
		}
		d, err := dialog.Parse("f.smtp", bytes.NewReader(out.Bytes()))
		if err != nil && out.Len() > 0 {
			t.Errorf("%v in\n%s\nmade of\n%s", err, out.String(), s)
		}
		_ = d
	})
}

// quote is how a recording has octets of a message.
func quote(octets string) string {
	quoted := strconv.Quote(octets)
	if strings.ContainsRune(quoted, utf8.RuneError) {
		return strconv.Quote(quoted)
	}
	return quoted
}
