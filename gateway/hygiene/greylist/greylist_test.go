package greylist_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/hygiene/greylist"
)

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Unix(1_700_000_000, 0)} }

func open(t testing.TB, c *clock, o greylist.Options) *greylist.List {
	t.Helper()
	o.Clock = c.Now
	l, err := greylist.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// attempt is one RCPT some time after the one before.
type attempt struct {
	after                     time.Duration
	client, sender, recipient string
	passes                    bool
}

func TestCheck(t *testing.T) {
	const client, sender, recipient = "198.51.100.9", "a@fabrikam.com", "bob@contoso.com"
	for _, c := range []struct {
		name     string
		attempts []attempt
	}{
		{"too early, in time, and known", []attempt{{0, client, sender, recipient, false}, {time.Minute, client, sender, recipient, false},
			{time.Minute, client, sender, recipient, true}, {time.Second, client, sender, recipient, true}, {35 * 24 * time.Hour, client, sender, recipient, true},
			{35 * 24 * time.Hour, client, sender, recipient, true}, {37 * 24 * time.Hour, client, sender, recipient, false}}},
		{"impatience does not prolong the wait", []attempt{{0, client, sender, recipient, false}, {50 * time.Second, client, sender, recipient, false},
			{50 * time.Second, client, sender, recipient, false}, {20 * time.Second, client, sender, recipient, true}}},
		{"too late", []attempt{{0, client, sender, recipient, false}, {49 * time.Hour, client, sender, recipient, false}, {2 * time.Minute, client, sender, recipient, true}}},
		{"neighbour", []attempt{{0, client, sender, recipient, false}, {2 * time.Minute, "198.51.100.200", sender, recipient, true}}},
		{"another network", []attempt{{0, client, sender, recipient, false}, {2 * time.Minute, "198.51.101.9", sender, recipient, false}}},
		{"IPv6 neighbour", []attempt{{0, "2001:db8::1", sender, recipient, false}, {2 * time.Minute, "2001:db8::ffff:1", sender, recipient, true}}},
		{"IPv4-mapped", []attempt{{0, "::ffff:198.51.100.9", sender, recipient, false}, {2 * time.Minute, client, sender, recipient, true}}},
		{"another recipient", []attempt{{0, client, sender, recipient, false}, {2 * time.Minute, client, sender, "al@contoso.com", false}}},
		{"case", []attempt{{0, client, "A@Fabrikam.com", "Bob@Contoso.com", false}, {2 * time.Minute, client, sender, recipient, true}}},
		{"VERP", []attempt{{0, client, "b-123-45=bob@lists.example", recipient, false}, {2 * time.Minute, client, "b-9-7=bob@lists.example", recipient, true}}},
		{"null reverse-path", []attempt{{0, client, "", recipient, false}, {2 * time.Minute, client, "", recipient, true}}},
		{"clock set back", []attempt{{0, client, sender, recipient, false}, {-time.Hour, client, sender, recipient, false}, {2 * time.Minute, client, sender, recipient, true}}},
		{"network that proved itself", []attempt{
			{0, client, sender, "1a@contoso.com", false}, {0, client, sender, "1b@contoso.com", false}, {0, client, sender, "1c@contoso.com", false},
			{2 * time.Minute, client, sender, "1a@contoso.com", true}, {0, client, sender, "1b@contoso.com", true}, {0, client, "x@y.example", "z@contoso.com", false},
			{0, client, sender, "1c@contoso.com", true}, {0, client, "new@y.example", "z@contoso.com", true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := newClock()
			l := open(t, clock, greylist.Options{AutoAllow: 3})
			for i, a := range c.attempts {
				clock.now = clock.now.Add(a.after)
				r := l.Check(netip.MustParseAddr(a.client), a.sender, a.recipient)
				if (r == nil) != a.passes {
					t.Fatalf("attempt %d: %v, want passes %v", i, r, a.passes)
				}
				if r != nil && (r.Code != 451 || fmt.Sprint(r.EnhancedCode) != "[4 7 1]") {
					t.Errorf("attempt %d: reply %d %v", i, r.Code, r.EnhancedCode)
				}
			}
		})
	}
}

func TestReplyNamesTheTime(t *testing.T) {
	clock := newClock()
	l := open(t, clock, greylist.Options{})
	client := netip.MustParseAddr("198.51.100.9")
	l.Check(client, "a", "b")
	clock.now = clock.now.Add(30*time.Second + time.Millisecond)
	if got := l.Check(client, "a", "b").Message; got != "Greylisted, try again in 90 seconds" {
		t.Error(got)
	}
}

// A flood of new triplets stays within the bounds and pushes out nobody who is known.
func TestFlood(t *testing.T) {
	clock := newClock()
	l := open(t, clock, greylist.Options{Pending: 100, Known: 50, AutoAllow: -1})
	good := netip.MustParseAddr("198.51.100.9")
	l.Check(good, "a@fabrikam.com", "bob@contoso.com")
	clock.now = clock.now.Add(3 * time.Minute)
	if l.Check(good, "a@fabrikam.com", "bob@contoso.com") != nil {
		t.Fatal("not let in")
	}
	for i := range 10_000 {
		l.Check(netip.AddrFrom4([4]byte{203, byte(i >> 8), byte(i), 1}), "spam@x.example", "bob@contoso.com")
	}
	if p, k := l.Size(); p != 100 || k != 2 { // the triplet and its network
		t.Errorf("%d pending, %d known", p, k)
	}
	if l.Check(good, "a@fabrikam.com", "bob@contoso.com") != nil {
		t.Error("pushed out")
	}
}

func TestRestart(t *testing.T) {
	clock := newClock()
	o := greylist.Options{File: filepath.Join(t.TempDir(), "greylist")}
	client := netip.MustParseAddr("198.51.100.9")
	l := open(t, clock, o)
	l.Check(client, "known@fabrikam.com", "bob@contoso.com")
	clock.now = clock.now.Add(3 * time.Minute)
	l.Check(client, "known@fabrikam.com", "bob@contoso.com")
	l.Check(client, "waits@fabrikam.com", "bob@contoso.com")
	for range 2 { // the second has nothing to write
		if err := l.Save(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(o.File)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "bob") || strings.Contains(string(data), "fabrikam") {
		t.Error("the file tells who writes to whom")
	}
	if info, err := os.Stat(o.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	clock.now = clock.now.Add(2 * time.Minute)
	again := open(t, clock, o)
	if p, k := again.Size(); p != 1 || k != 2 {
		t.Errorf("%d pending, %d known", p, k)
	}
	for _, sender := range []string{"known@fabrikam.com", "waits@fabrikam.com"} {
		if r := again.Check(client, sender, "bob@contoso.com"); r != nil {
			t.Errorf("%s: %v", sender, r)
		}
	}
	// Any damage begins an empty list, and the next Save a good file.
	for name, damaged := range map[string]string{
		"cut": string(data[:len(data)-1]), "empty": "", "foreign": "x", "bit": string(data[:30]) + string(data[30]^1) + string(data[31:]),
	} {
		if err := os.WriteFile(o.File, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, clock, o)
		if p, k := l.Size(); p+k != 0 {
			t.Errorf("%s: %d pending, %d known", name, p, k)
		}
		l.Check(client, "a", "b")
		if err := l.Save(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p, _ := open(t, clock, o).Size(); p != 1 {
			t.Errorf("%s: %d pending after Save", name, p)
		}
	}
}

func TestSaveFails(t *testing.T) {
	clock := newClock()
	dir := t.TempDir()
	l := open(t, clock, greylist.Options{File: filepath.Join(dir, "gone", "greylist")})
	l.Check(netip.MustParseAddr("198.51.100.9"), "a", "b")
	if l.Save() == nil {
		t.Fatal("saved into a directory that does not exist")
	}
	if err := os.Mkdir(filepath.Join(dir, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "gone")); len(entries) != 1 {
		t.Errorf("%d files, want only the list", len(entries))
	}
}

func TestOpenRefusesBadOptions(t *testing.T) {
	if _, err := greylist.Open(greylist.Options{Delay: time.Hour, Window: time.Minute}); err == nil {
		t.Error("a window shorter than the delay is accepted")
	}
	if _, err := greylist.Open(greylist.Options{File: t.TempDir() + "/\x00"}); err == nil {
		t.Error("a file that cannot be read is accepted")
	}
}

func TestConcurrent(t *testing.T) {
	l, err := greylist.Open(greylist.Options{File: filepath.Join(t.TempDir(), "g")})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				l.Check(netip.AddrFrom4([4]byte{198, 51, byte(g), 1}), "a@fabrikam.com", fmt.Sprint(i))
				if i%50 == 0 {
					if err := l.Save(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if p, _ := l.Size(); p != 1600 {
		t.Errorf("%d pending", p)
	}
}

func FuzzOpen(f *testing.F) {
	file := filepath.Join(f.TempDir(), "g")
	clock := newClock()
	l := open(f, clock, greylist.Options{File: file})
	l.Check(netip.MustParseAddr("198.51.100.9"), "a", "b")
	if err := l.Save(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("coexist greylist 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "g")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, clock, greylist.Options{File: file})
		if p, k := l.Size(); (p+k)*36 > len(data) {
			t.Errorf("%d entries of %d octets", p+k, len(data))
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	l, err := greylist.Open(greylist.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		l.Check(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), "a@fabrikam.com", "bob@contoso.com")
	}
}
