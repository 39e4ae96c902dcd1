package loop_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/gateway/loop"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

const (
	id   = "<1@fabrikam.com>"
	mail = "From: john@fabrikam.com\r\nMessage-ID: " + id + "\r\n\r\nHello.\r\n"
)

var key = []byte("0123456789abcdef0123456789abcdef")

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func detector(t testing.TB, o loop.Options) (*loop.Detector, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_700_000_000, 0)}
	if o.Gateway == "" {
		o.Gateway = "gw1.contoso.com"
	}
	if o.Key == nil {
		o.Key = key
	}
	o.Clock = c.Now
	d, err := loop.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d, c
}

// pass is one passage of msg: what the gateway does with it.
func pass(d *loop.Detector, msg []byte, from, to routing.Side) []byte {
	s := d.Inspect(msg)
	return append(d.Append(nil, s, message.Inspect(msg).MessageID, loop.Passage{From: from, To: to}, time.Time{}), msg...)
}

func passages(pairs ...routing.Side) (p []loop.Passage) {
	for i := 0; i < len(pairs); i += 2 {
		p = append(p, loop.Passage{From: pairs[i], To: pairs[i+1]})
	}
	return p
}

func TestField(t *testing.T) {
	d, _ := detector(t, loop.Options{})
	msg := pass(d, pass(d, []byte(mail), routing.Internet, routing.OnPrem), routing.OnPrem, routing.Cloud)
	want := "X-Coexist-Trace: v=1; g=gw1.contoso.com; n=2; t=1700000000;\r\n\tp=internet>onprem,onprem>cloud; m=mrvA5Txg0RXUc2Tb3nXzgA;\r\n\tb=*\r\n" +
		"X-Coexist-Trace: v=1; g=gw1.contoso.com; n=1; t=1700000000; p=internet>onprem;\r\n\tm=mrvA5Txg0RXUc2Tb3nXzgA; b=*\r\n" + mail
	got := regexp.MustCompile(`b=[A-Za-z0-9_-]{22}\r`).ReplaceAllString(string(msg), "b=*\r")
	got = regexp.MustCompile(`m=[A-Za-z0-9_-]{22};`).ReplaceAllString(got, "m=mrvA5Txg0RXUc2Tb3nXzgA;")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s := d.Inspect(msg)
	if diff := cmp.Diff(loop.State{Count: 2, Path: passages(routing.Internet, routing.OnPrem, routing.OnPrem, routing.Cloud)}, s); diff != "" {
		t.Error(diff)
	}
}

// What other systems do to the header on the way must not make a field invalid, and what others write must not make one valid.
func TestInspect(t *testing.T) {
	d, _ := detector(t, loop.Options{})
	stranger, _ := detector(t, loop.Options{Key: []byte("another key, another key, another")})
	twin, _ := detector(t, loop.Options{Gateway: "gw2.contoso.com"})
	once := string(pass(d, []byte(mail), routing.Internet, routing.Cloud))
	twice := string(pass(d, []byte(once), routing.Cloud, routing.OnPrem))
	firstField, rest := once[:strings.Index(once, "From:")], once[strings.Index(once, "From:"):]
	fold := strings.NewReplacer("\r\n\t", "\r\n   ", "; ", ";\r\n ")
	second := strings.Replace(twice, firstField, "", 1)
	for _, c := range []struct {
		name, msg              string
		count, renamed, forged int
	}{
		{"never passed", mail, 0, 0, 0},
		{"once", once, 1, 0, 0},
		{"twice", twice, 2, 0, 0},
		{"older field lost", second, 2, 0, 0},
		{"newer field lost", once, 1, 0, 0},
		{"order changed", firstField + second, 2, 0, 0},
		{"field twice", firstField + once, 1, 0, 0},
		{"folded anew", fold.Replace(firstField) + rest, 1, 0, 0},
		{"unfolded", strings.ReplaceAll(firstField, "\r\n\t", " ") + rest, 1, 0, 0},
		{"name in lower case", strings.ToLower(firstField[:15]) + firstField[15:] + rest, 1, 0, 0},
		{"below other fields", "Received: from a by b\r\n" + rest[:24] + "\r\n" + firstField + rest, 1, 0, 0},
		{"by the second gateway", string(pass(twin, []byte(once), routing.Cloud, routing.OnPrem)), 2, 0, 0},
		{"by a stranger", string(pass(stranger, []byte(mail), routing.Internet, routing.Cloud)), 0, 0, 1},
		{"count changed", strings.Replace(once, "n=1", "n=7", 1), 0, 0, 1},
		{"path changed", strings.Replace(once, "p=internet", "p=onprem", 1), 0, 0, 1},
		{"gateway changed", strings.Replace(once, "g=gw1", "g=gw2", 1), 0, 0, 1},
		{"case of the digest changed", strings.ToUpper(firstField) + rest, 0, 0, 1},
		{"cut", strings.Replace(once, "; b=", "; c=", 1), 0, 0, 1},
		{"empty", "X-Coexist-Trace:\r\n" + mail, 0, 0, 1},
		{"copied to another message", firstField + strings.Replace(mail, "<1@", "<2@", 1), 0, 1, 0},
		{"Message-ID taken out", firstField + strings.Replace(mail, "Message-ID: "+id+"\r\n", "", 1), 0, 1, 0},
		{"in the body only", mail + once, 0, 0, 0},
		{"longer than a field is", "X-Coexist-Trace: " + strings.Repeat("a", 5000) + "\r\n" + once, 1, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := d.Inspect([]byte(c.msg))
			if s.Count != c.count || s.Renamed != c.renamed || s.Forged != c.forged {
				t.Errorf("%+v, want %d, %d renamed, %d forged", s, c.count, c.renamed, c.forged)
			}
		})
	}
}

// A system on the way may give a Message-ID to a message that had none.
func TestWithoutMessageID(t *testing.T) {
	d, _ := detector(t, loop.Options{})
	msg := pass(d, []byte("From: a@fabrikam.com\r\n\r\n"), routing.OnPrem, routing.Cloud)
	if s := d.Inspect(bytes.Replace(msg, []byte("From:"), []byte("Message-ID: "+id+"\r\nFrom:"), 1)); s.Count != 1 {
		t.Errorf("%+v", s)
	}
}

func TestOldFieldsDoNotCount(t *testing.T) {
	d, c := detector(t, loop.Options{})
	msg := pass(d, []byte(mail), routing.OnPrem, routing.Cloud)
	c.now = c.now.Add(7 * 24 * time.Hour)
	if s := d.Inspect(msg); s.Count != 1 {
		t.Errorf("after a week: %+v", s)
	}
	c.now = c.now.Add(time.Minute)
	if s := d.Inspect(msg); s.Count != 0 || s.Forged != 0 {
		t.Errorf("later: %+v", s)
	}
}

// Routes are the ways of messages: where a loop is found, and where it must not be.
func TestCheck(t *testing.T) {
	o, c, i := routing.OnPrem, routing.Cloud, routing.Internet
	for _, tc := range []struct {
		name   string
		way    []routing.Side // from, to, from, to...
		rename bool           // a system on the way changes the Message-ID
		refuse int            // the passage that is refused, counted from 1; 0: none
		want   string
	}{
		{"ping-pong", []routing.Side{i, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c}, false, 7,
			"Loop: the on-premises system and Exchange Online send this message to each other: it passed this gateway from onprem to cloud 3 times " +
				"(internet>onprem, onprem>cloud, cloud>onprem, onprem>cloud, cloud>onprem, onprem>cloud)"},
		{"forwarded there and back, twice", []routing.Side{i, o, o, c, c, o, o, c, c, o}, false, 0, ""},
		{"on-premises system to itself", []routing.Side{o, o, o, o, o, o, o, o}, false, 4,
			"Loop: the on-premises system sends this message to itself: it passed this gateway from onprem to onprem 3 times (onprem>onprem, onprem>onprem, onprem>onprem)"},
		{"from the internet, then to itself", []routing.Side{i, o, o, o, o, o, o, o, o, o}, false, 5,
			"Loop: the on-premises system sends this message to itself: it passed this gateway from onprem to onprem 3 times (internet>onprem, onprem>onprem, onprem>onprem, onprem>onprem)"},
		{"around through a third system", []routing.Side{i, o, i, o, i, o, i, o, i, o, i, o, i, o, i, o, i, o}, false, 9,
			"Loop: the on-premises system and the internet send this message to each other: it passed this gateway 8 times (" + strings.Repeat("internet>onprem, ", 7) + "internet>onprem)"},
		{"new Message-IDs", []routing.Side{o, c, c, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c, c, o, o, c}, true, 17, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, clock := detector(t, loop.Options{})
			msg := []byte(mail)
			for n := 0; n < len(tc.way); n += 2 {
				clock.now = clock.now.Add(time.Second)
				if tc.rename {
					msg = regexp.MustCompile(`(?m)^Message-ID: .*\r$`).ReplaceAll(msg, fmt.Appendf(nil, "Message-ID: <%d@notes>\r", n))
				}
				l := d.Check(d.Inspect(msg), tc.way[n])
				if (l != nil) != (n/2+1 == tc.refuse) {
					t.Fatalf("passage %d: %+v", n/2+1, l)
				}
				if l != nil {
					r := l.Reply()
					if r.Code != 554 || fmt.Sprint(r.EnhancedCode) != "[5 4 6]" || tc.want != "" && r.Message != tc.want {
						t.Errorf("%d %v %s", r.Code, r.EnhancedCode, r.Message)
					}
					return
				}
				msg = pass(d, msg, tc.way[n], tc.way[n+1])
			}
		})
	}
}

// The count survives a way over the internet, where the header firewall takes the fields out once they have been read.
func TestFirewall(t *testing.T) {
	d, _ := detector(t, loop.Options{})
	f := message.NewFirewall("gw1.contoso.com")
	msg := []byte(mail)
	for n := range 5 {
		s := d.Inspect(msg)
		if s.Count != n {
			t.Fatalf("passage %d: count %d", n, s.Count)
		}
		p := loop.Passage{From: routing.Internet, To: routing.Cloud}
		msg = f.Apply(message.Boundary{From: p.From, To: p.To}, d.Append(nil, s, id, p, time.Time{}), msg).Bytes()
		if got := bytes.Count(msg, []byte(loop.Field)); got != 1 {
			t.Fatalf("%d trace fields", got)
		}
	}
}

func TestCheckRecipient(t *testing.T) {
	o, c, i := routing.OnPrem, routing.Cloud, routing.Internet
	type arrival struct {
		after time.Duration
		loop.Passage
		loop bool
	}
	for _, tc := range []struct {
		name     string
		arrivals []arrival
	}{
		{"ping-pong", []arrival{{0, loop.Passage{From: i, To: c}, false}, {0, loop.Passage{From: c, To: o}, false}, {0, loop.Passage{From: o, To: c}, false}, {0, loop.Passage{From: c, To: o}, true}}},
		{"a sender that repeats itself", []arrival{{0, loop.Passage{From: o, To: c}, false}, {0, loop.Passage{From: o, To: c}, false}, {0, loop.Passage{From: o, To: c}, false},
			{0, loop.Passage{From: o, To: c}, false}, {0, loop.Passage{From: o, To: c}, false}}},
		{"an alias that it does not know", []arrival{{0, loop.Passage{From: o, To: o}, false}, {0, loop.Passage{From: o, To: o}, false}, {0, loop.Passage{From: o, To: o}, false}, {0, loop.Passage{From: o, To: o}, false}}},
		{"slow ping-pong", []arrival{{0, loop.Passage{From: i, To: c}, false}, {50 * time.Minute, loop.Passage{From: c, To: o}, false}, {50 * time.Minute, loop.Passage{From: o, To: c}, false},
			{50 * time.Minute, loop.Passage{From: c, To: o}, true}}},
		{"once a day", []arrival{{0, loop.Passage{From: i, To: c}, false}, {24 * time.Hour, loop.Passage{From: c, To: o}, false}, {24 * time.Hour, loop.Passage{From: o, To: c}, false},
			{24 * time.Hour, loop.Passage{From: c, To: o}, false}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, clock := detector(t, loop.Options{Names: map[routing.Side]string{routing.OnPrem: "Notes"}})
			for n, a := range tc.arrivals {
				clock.now = clock.now.Add(a.after)
				l := d.CheckRecipient(id, "Bob@contoso.com", a.From)
				if (l != nil) != a.loop {
					t.Fatalf("arrival %d: %+v", n, l)
				}
				if l != nil {
					if got := l.Reply().Message; got != "Loop: Notes and Exchange Online send this message to each other: it came back from cloud 3 times" || l.Recipient != "Bob@contoso.com" {
						t.Error(got, l.Recipient)
					}
					return
				}
				for range 2 { // asking changes nothing
					d.CheckRecipient(id, "bob@contoso.com", a.From)
				}
				if d.CheckRecipient(id, "al@contoso.com", a.From) != nil || d.CheckRecipient("<2@fabrikam.com>", "bob@contoso.com", a.From) != nil || d.CheckRecipient("", "bob@contoso.com", a.From) != nil {
					t.Error("another message or recipient counts")
				}
				d.Passed(id, "bob@contoso.com", a.Passage)
				d.Passed("", "bob@contoso.com", a.Passage)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	d, clock := detector(t, loop.Options{Entries: 100})
	p := loop.Passage{From: routing.Internet, To: routing.Cloud}
	for n := range 1000 {
		d.Passed(fmt.Sprint(n), "bob@contoso.com", p)
	}
	if n := d.Remembered(); n != 100 {
		t.Errorf("%d", n)
	}
	clock.now = clock.now.Add(2 * time.Hour)
	d.Passed("new", "bob@contoso.com", p)
	if n := d.Remembered(); n != 1 {
		t.Errorf("%d after two hours", n)
	}
}

func TestConcurrent(t *testing.T) {
	d, _ := detector(t, loop.Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 200 {
				m := fmt.Sprint("<", n, "@", g, ">")
				d.CheckRecipient(m, "bob@contoso.com", routing.Cloud)
				d.Passed(m, "bob@contoso.com", loop.Passage{From: routing.Internet, To: routing.Cloud})
				d.Inspect(pass(d, []byte(mail), routing.Internet, routing.Cloud))
			}
		})
	}
	wg.Wait()
	if n := d.Remembered(); n != 1600 {
		t.Errorf("%d remembered", n)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]loop.Options{"no gateway": {Key: key}, "separator": {Gateway: "a;b", Key: key}, "no key": {Gateway: "a"}, "short key": {Gateway: "a", Key: key[:15]}} {
		if _, err := loop.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.key")
	var wg sync.WaitGroup
	keys := make([][]byte, 16)
	for n := range keys {
		wg.Go(func() {
			k, err := loop.LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[n] = k
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != 32 || !bytes.Equal(k, keys[0]) {
			t.Fatalf("keys %x", keys)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files", len(entries))
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"open to all": {strings.Repeat("ab", 32), 0o644}, "short": {"abcd", 0o600}, "empty": {"", 0o600}, "no hexadecimal": {strings.Repeat("xy", 32), 0o600},
		"large": {strings.Repeat("ab", 4096), 0o600},
	} {
		path := filepath.Join(dir, "bad.key")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := loop.LoadKey(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := loop.LoadKey(filepath.Join(dir, "gone", "trace.key")); err == nil {
		t.Error("a directory that does not exist is accepted")
	}
	if _, err := loop.LoadKey(dir); err == nil {
		t.Error("a directory is accepted as a key")
	}
}

// Whatever is changed in a field, it is not genuine any more; and what is genuine can be appended to.
func FuzzInspect(f *testing.F) {
	d, _ := detector(f, loop.Options{})
	good := pass(d, []byte(mail), routing.Internet, routing.Cloud)
	f.Add(good)
	f.Add(pass(d, good, routing.Cloud, routing.OnPrem))
	f.Add([]byte("X-Coexist-Trace: v=1; n=1; p=cloud>cloud; m=-; b=AAAA\r\n\r\n"))
	field := string(good[:bytes.Index(good, []byte("From:"))])
	genuine := strings.Join(strings.Fields(field), "")
	f.Fuzz(func(t *testing.T, msg []byte) {
		s := d.Inspect(msg)
		if n := s.Count + s.Renamed; n == 1 && !strings.Contains(strings.ToLower(strings.Join(strings.Fields(string(msg)), "")), strings.ToLower(genuine[len("X-Coexist-Trace:"):])) {
			t.Errorf("%+v of %q", s, msg)
		}
		out := d.Append(nil, s, id, loop.Passage{From: routing.OnPrem, To: routing.Cloud}, time.Time{})
		if again := d.Inspect(append(out, mail...)); again.Count != max(s.Count, s.Renamed)+1 {
			t.Errorf("%+v became %+v", s, again)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	d, _ := detector(b, loop.Options{})
	msg := pass(d, pass(d, []byte(mail), routing.Internet, routing.Cloud), routing.Cloud, routing.OnPrem)
	for b.Loop() {
		if d.Inspect(msg).Count != 2 {
			b.Fatal("not found")
		}
	}
}

func BenchmarkPassed(b *testing.B) {
	d, _ := detector(b, loop.Options{})
	for n := 0; b.Loop(); n++ {
		d.Passed(fmt.Sprint(n), "bob@contoso.com", loop.Passage{From: routing.Internet, To: routing.Cloud})
	}
}
