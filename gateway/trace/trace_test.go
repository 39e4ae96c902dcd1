package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var (
	bg    = context.Background()
	epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TRACE_TEST_WRITER"); dir != "" {
		writer(dir)
	}
	os.Exit(m.Run())
}

func open(t testing.TB, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// story is the events of message n: received, then per recipient decided and delivered, then acknowledged.
func story(n int) []Event {
	id := fmt.Sprintf("M%06d", n)
	at := epoch.Add(time.Duration(n) * time.Second)
	base := Event{Time: at, ID: id, Sender: fmt.Sprintf("user%d@fabrikam.com", n%50), MessageID: "<" + id + "@fabrikam.com>", Size: 4096}
	var out []Event
	add := func(e Event) { e.Time = at.Add(time.Duration(len(out)) * time.Millisecond); out = append(out, e) }
	e := base
	e.Event = Received
	add(e)
	for _, r := range []string{fmt.Sprintf("Adele%d@contoso.com", n), "sales@contoso.com"} {
		e = base
		e.Recipient, e.Side, e.NextHop = r, "cloud", "contoso-com.mail.protection.outlook.com:25"
		e.Event, e.Reason = Decided, "remote-mailbox"
		add(e)
		e.Event, e.Reply, e.Reason, e.DelayMS = Delivered, "250 2.6.0 Queued mail for delivery", "", 12
		add(e)
	}
	e = base
	e.Event, e.Reply = Acknowledged, "250 2.0.0 "+id+" ok"
	add(e)
	return out
}

func kinds(events []Event) string {
	var out []string
	for _, e := range events {
		out = append(out, e.ID+" "+string(e.Event))
	}
	return strings.Join(out, ", ")
}

func TestLineIsJSON(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Event
	}{
		{"all", Event{epoch.Add(1234 * time.Microsecond), "M1", Delivered, "megan@fabrikam.com", "adele@contoso.com", "cloud", "hop:25", "250 2.0.0 Ok", "<a@fabrikam.com>", "mailbox", 12, 345}},
		{"empty", Event{Time: epoch}},
		{"quotes and controls", Event{Time: epoch, Reply: "550 \"a\\b\"\r\n\t\x00\x1f\x7f</script>\u2028"}},
		{"UTF-8", Event{Time: epoch, Recipient: "jörg@contoso.com", Sender: "用户@contoso.com"}},
		{"negative", Event{Time: epoch, DelayMS: -1, Size: 1 << 50}},
	} {
		line := c.e.appendLine(nil)
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%s: not one line: %q", c.name, line)
		}
		got, err := parseLine(line)
		if err != nil {
			t.Errorf("%s: %v in %s", c.name, err, line)
		}
		if d := cmp.Diff(c.e, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if at := lineTime(line); string(at) != c.e.Time.Format(timeLayout) {
			t.Errorf("%s: time %q", c.name, at)
		}
	}
	bad := Event{Time: epoch, Reply: "550 \xff\xfe caf\xe9"}
	if got, err := parseLine(bad.appendLine(nil)); err != nil || got.Reply != "550 \ufffd\ufffd caf\ufffd" {
		t.Errorf("octets that are not UTF-8: %q, %v", got.Reply, err)
	}
}

func TestKeysOfTheContract(t *testing.T) {
	b, err := json.Marshal(Event{Time: epoch, ID: "M1", Event: Received})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-03-02T08:00:00Z","id":"M1","event":"received","sender":"","recipient":"","side":"","next_hop":"","reply":"","message_id":""}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("adele@contoso.com", "250 \"ok\"\x00\xff")
	f.Fuzz(func(t *testing.T, recipient, reply string) {
		e := Event{Time: epoch, ID: "M1", Recipient: recipient, Reply: reply}
		line := e.appendLine(nil)
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("not one line: %q", line)
		}
		got, err := parseLine(line)
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if want := strings.ToValidUTF8(recipient, "\ufffd"); len([]rune(want)) == len([]rune(recipient)) && got.Recipient != want {
			t.Errorf("recipient %q became %q", recipient, got.Recipient)
		}
		// What is found through the index is found by scanning.
		if recipient != "" {
			m := newMatcher(Query{Recipient: got.Recipient})
			hits := 0
			if _, err := m.scanLines(bytes.NewReader(line), func(Event) { hits++ }); err != nil || hits != 1 {
				t.Errorf("scan for %q in %q: %d, %v", got.Recipient, line, hits, err)
			}
		}
	})
}

func FuzzScan(f *testing.F) {
	e := story(1)[1]
	f.Add(e.appendLine(nil), "adele1@contoso.com")
	f.Add([]byte("{\"time\":\"\n\n{}\n{\"time\":"), "")
	f.Fuzz(func(t *testing.T, data []byte, recipient string) {
		m := newMatcher(Query{Recipient: recipient, Since: epoch})
		n, err := m.scanLines(bytes.NewReader(data), func(e Event) {
			if recipient != "" && !strings.EqualFold(e.Recipient, recipient) || e.Time.Before(epoch) {
				t.Errorf("%+v does not match", e)
			}
		})
		if err != nil || n > int64(len(data)) || n != int64(bytes.LastIndexByte(data, '\n')+1) {
			t.Errorf("consumed %d of %d, %v", n, len(data), err)
		}
	})
}

// TestSearch asks the same while everything is in the segment being written, in many indexed segments, and after a restart.
func TestSearch(t *testing.T) {
	const n = 300
	for _, c := range []struct {
		name string
		opt  Options
		then func(t *testing.T, l *Log, dir string)
	}{
		{"one segment, being written", Options{}, func(*testing.T, *Log, string) {}},
		{"many segments", Options{SegmentBytes: 20 << 10}, func(*testing.T, *Log, string) {}},
		{"closed", Options{}, func(t *testing.T, l *Log, dir string) { l.Close() }},
		{"restarted", Options{SegmentBytes: 50 << 10}, func(t *testing.T, l *Log, dir string) { l.Close(); open(t, dir, Options{}) }},
		{"indexes lost", Options{SegmentBytes: 50 << 10}, func(t *testing.T, l *Log, dir string) {
			l.Close()
			hurtIndexes(t, dir, func(path string) { rm(t, path) })
		}},
		{"indexes cut", Options{SegmentBytes: 50 << 10}, func(t *testing.T, l *Log, dir string) {
			l.Close()
			hurtIndexes(t, dir, func(path string) {
				if err := os.Truncate(path, 100); err != nil {
					t.Fatal(err)
				}
			})
		}},
		{"indexes rebuilt", Options{SegmentBytes: 50 << 10}, func(t *testing.T, l *Log, dir string) {
			l.Close()
			hurtIndexes(t, dir, func(path string) { rm(t, path) })
			open(t, dir, Options{}).Close()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, c.opt)
			for i := range n {
				l.Append(story(i)...)
				if i%20 == 0 {
					l.Flush()
				}
			}
			l.Flush()
			c.then(t, l, dir)
			checkSearches(t, NewReader(dir))
			if l.Dropped() != 0 {
				t.Errorf("%d dropped", l.Dropped())
			}
		})
	}
}

func checkSearches(t *testing.T, r *Reader) {
	t.Helper()
	sec := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		name  string
		q     Query
		count int
		first string
	}{
		{"id", Query{ID: "M000007"}, 6, "M000007 received"},
		{"id in lower case", Query{ID: "m000007"}, 6, "M000007 received"},
		{"recipient", Query{Recipient: "Adele299@contoso.com"}, 2, "M000299 decided"},
		{"recipient in another case", Query{Recipient: "aDELE299@CONTOSO.com"}, 2, "M000299 decided"},
		{"recipient, the message too", Query{Recipient: "adele7@contoso.com", WithMessage: true}, 4, "M000007 received"},
		{"message-id", Query{MessageID: "<M000150@fabrikam.com>"}, 6, "M000150 received"},
		{"sender", Query{Sender: "user7@fabrikam.com"}, 36, "M000007 received"},
		{"sender and recipient", Query{Sender: "user7@fabrikam.com", Recipient: "sales@contoso.com"}, 12, "M000007 decided"},
		{"sender and another's recipient", Query{Sender: "user7@fabrikam.com", Recipient: "adele8@contoso.com"}, 0, ""},
		{"many", Query{Recipient: "sales@contoso.com"}, 600, "M000000 decided"},
		{"the latest", Query{Recipient: "sales@contoso.com", Limit: 3}, 3, "M000298 delivered"},
		{"since", Query{Recipient: "sales@contoso.com", Since: sec(290)}, 20, "M000290 decided"},
		{"until", Query{Recipient: "sales@contoso.com", Until: sec(2)}, 4, "M000000 decided"},
		{"between", Query{Since: sec(100), Until: sec(102)}, 12, "M000100 received"},
		{"between, the latest", Query{Since: sec(100), Until: sec(102), Limit: 1}, 1, "M000101 acknowledged"},
		{"to the millisecond", Query{ID: "M000007", Since: sec(7).Add(5 * time.Millisecond)}, 1, "M000007 acknowledged"},
		{"all", Query{}, 1800, "M000000 received"},
		{"part of an address", Query{Recipient: "adele1"}, 0, ""},
		{"nobody", Query{Recipient: "nobody@contoso.com"}, 0, ""},
		{"later", Query{Since: sec(1000)}, 0, ""},
	} {
		got, err := r.Search(bg, c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(got) != c.count {
			t.Errorf("%s: %d events, want %d", c.name, len(got), c.count)
		} else if c.count > 0 && !strings.HasPrefix(kinds(got), c.first) {
			t.Errorf("%s: %.60s, want %s first", c.name, kinds(got), c.first)
		}
		if !slices.IsSortedFunc(got, func(a, b Event) int { return a.Time.Compare(b.Time) }) {
			t.Errorf("%s: not in order of time", c.name)
		}
	}
	got, err := r.Search(bg, Query{ID: "M000007"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(story(7), got); d != "" {
		t.Error(d)
	}
}

func TestInternationalAddresses(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.Append(Event{Time: epoch, ID: "M1", Recipient: "Jörg@contoso.com"}, Event{Time: epoch, ID: "M2", Recipient: "jorg@contoso.com"})
	for range 2 {
		l.Flush()
		got, err := NewReader(dir).Search(bg, Query{Recipient: "JÖRG@contoso.com"})
		if err != nil || len(got) != 1 || got[0].ID != "M1" {
			t.Errorf("%v, %v", got, err)
		}
		l.Close() // once more, with the index
	}
}

func TestCutLastRecord(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for i := range 10 {
		l.Append(story(i)...)
	}
	l.Close()
	bases, err := segments(dir)
	if err != nil || len(bases) != 1 {
		t.Fatal(bases, err)
	}
	path := bases[0] + segmentSuffix
	rm(t, bases[0]+indexSuffix)
	if err := os.Truncate(path, fileSize(path)-30); err != nil {
		t.Fatal(err)
	}
	want := func() {
		t.Helper()
		got, err := NewReader(dir).Search(bg, Query{ID: "M000009"})
		if err != nil || len(got) != 5 {
			t.Errorf("%s, %v", kinds(got), err)
		}
	}
	want()
	l = open(t, dir, Options{})
	l.Append(Event{ID: "N1"})
	l.Close() // by now the old segment has an index again
	if _, err := os.Stat(bases[0] + indexSuffix); err != nil {
		t.Error(err)
	}
	want()
	if got, err := NewReader(dir).Search(bg, Query{ID: "N1"}); err != nil || len(got) != 1 || got[0].Time.IsZero() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 5 << 10})
	for i := range 60 {
		l.Append(story(i)...)
		l.Flush()
	}
	l.Close()
	bases, err := segments(dir)
	if err != nil || len(bases) < 6 {
		t.Fatal(bases, err)
	}
	old := time.Now().Add(-8 * 24 * time.Hour)
	for _, b := range bases[:2] {
		if err := os.Chtimes(b+segmentSuffix, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "20200101T000000.000000"+indexSuffix), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{}).Close()
	left, err := segments(dir)
	if err != nil || !slices.Equal(left, bases[2:]) {
		t.Errorf("left by age: %v, %v", left, err)
	}
	one := fileSize(bases[4]+segmentSuffix) + fileSize(bases[4]+indexSuffix)
	open(t, dir, Options{MaxBytes: 2*one + one/2}).Close()
	left, err = segments(dir)
	if err != nil || !slices.Equal(left, bases[len(bases)-2:]) && !slices.Equal(left, bases[len(bases)-3:]) {
		t.Errorf("left by size: %v, %v", left, err)
	}
	names, _ := os.ReadDir(dir)
	if len(names) != 2*len(left) {
		t.Errorf("files left: %v", names)
	}
	if got, err := NewReader(dir).Search(bg, Query{ID: "M000000"}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 3 << 10})
	l.Append(story(1)...)
	l.Flush()
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	type result struct {
		got string
		err error
	}
	stop := errors.New("enough")
	follow := func(q Query, n int) chan result {
		out, ready := make(chan result, 1), make(chan struct{})
		go func() {
			r := NewReader(dir)
			r.poll = time.Millisecond
			var got []Event
			close(ready)
			err := r.Follow(ctx, q, func(e Event) error {
				if got = append(got, e); len(got) == n {
					return stop
				}
				return nil
			})
			out <- result{kinds(got), err}
		}()
		<-ready
		return out
	}
	past := follow(Query{Since: epoch, Recipient: "sales@contoso.com"}, 6)
	now := follow(Query{Recipient: "adele3@CONTOSO.com"}, 2)
	time.Sleep(20 * time.Millisecond) // the second one starts at the end of what there is: either way it sees only message 3
	for i := 2; i < 4; i++ {
		l.Append(story(i)...)
		l.Flush()
	}
	for _, c := range []struct {
		name string
		ch   chan result
		want string
	}{
		{"from the past", past, "M000001 decided, M000001 delivered, M000002 decided, M000002 delivered, M000003 decided, M000003 delivered"},
		{"from now", now, "M000003 decided, M000003 delivered"},
	} {
		if r := <-c.ch; r.got != c.want || !errors.Is(r.err, stop) {
			t.Errorf("%s: %s, %v", c.name, r.got, r.err)
		}
	}
	cancelled, cancelNow := context.WithCancel(bg)
	cancelNow()
	if err := NewReader(dir).Follow(cancelled, Query{}, func(Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentBytes: 40 << 10})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < 400; i += 8 {
				l.Append(story(i)...)
				if i%50 == 0 {
					if got, err := l.Search(bg, Query{ID: fmt.Sprintf("M%06d", i)}); err != nil || len(got) != 6 {
						t.Errorf("own events: %d, %v", len(got), err)
					}
				}
			}
		})
	}
	wg.Wait()
	got, err := l.Search(bg, Query{})
	if err != nil || len(got) != 2400 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestAfterClose(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	l.Close()
	l.Append(Event{ID: "M1"})
	l.Flush()
	if l.Dropped() != 1 {
		t.Errorf("%d dropped", l.Dropped())
	}
	if got, err := NewReader(filepath.Join(t.TempDir(), "none")).Search(bg, Query{}); err != nil || got != nil {
		t.Errorf("no folder: %v, %v", got, err)
	}
}

// TestDiskTrouble takes the folder away: events are lost and counted, nobody waits, and with the folder back it goes on.
func TestDiskTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trace")
	l := open(t, dir, Options{})
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	l.Append(story(1)...)
	l.Flush()
	if l.Dropped() != 6 {
		t.Errorf("%d dropped, want 6", l.Dropped())
	}
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}
	l.Append(story(2)...)
	if got, err := l.Search(bg, Query{ID: "M000002"}); err != nil || len(got) != 6 {
		t.Errorf("afterwards: %d, %v", len(got), err)
	}
}

// writer appends until it is killed, and says what must be on disk.
func writer(dir string) {
	l, err := Open(dir, Options{SegmentBytes: 100 << 10})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := range 2000 {
		l.Append(story(i)...)
	}
	l.Flush()
	l.Append(story(5000)...)
	time.Sleep(2 * flushEvery) // flushed without asking
	fmt.Println("written")
	select {}
}

func TestKilledWriterAndReaderInAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TRACE_TEST_WRITER="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 7)
	if _, err := out.Read(line); err != nil || string(line) != "written" {
		t.Errorf("%s, %v", line, err)
	}
	check := func(when string) {
		t.Helper()
		for _, id := range []string{"M000000", "M001999", "M005000"} {
			if got, err := NewReader(dir).Search(bg, Query{ID: id}); err != nil || len(got) != 6 {
				t.Errorf("%s, %s: %d events, %v", when, id, len(got), err)
			}
		}
	}
	check("while it runs")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	check("killed")
	open(t, dir, Options{}).Close()
	check("after a restart")
}

func hurtIndexes(t *testing.T, dir string, hurt func(path string)) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+indexSuffix))
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	for _, f := range found {
		hurt(f)
	}
}

func rm(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkAppend includes the writing and the indexing, and reports the CPU time of it all: what a busy machine adds by making the
// benchmark wait is not the log's.
func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir(), Options{})
	events := story(7)
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for b.Loop() {
		l.Append(events[n%len(events)])
		if n++; n%1000 == 0 {
			l.Flush()
		}
	}
	l.Flush()
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(n), "cpu-ns/op")
	if l.Dropped() > 0 {
		b.Errorf("%d dropped", l.Dropped())
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSearch looks in 1,000,000 events.
func BenchmarkSearch(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, Options{})
	const messages = 1_000_000 / 6
	for i := range messages {
		l.Append(story(i)...)
		if i%500 == 0 {
			l.Flush()
		}
	}
	l.Flush()
	// Ends the search for benchmark cases with the index of every segment but the one being written, as in a running gateway.
	l.indexing.Wait()
	bases, err := segments(dir)
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for _, base := range bases {
		total += fileSize(base+segmentSuffix) + fileSize(base+indexSuffix)
	}
	b.Logf("%d segments, %d MB with indexes", len(bases), total>>20)
	last := epoch.Add(messages * time.Second)
	for _, c := range []struct {
		name string
		q    Query
		want int
	}{
		{"recipient", Query{Recipient: "adele4711@contoso.com"}, 2},
		{"recipient-story", Query{Recipient: "adele4711@contoso.com", WithMessage: true}, 4},
		{"message-id", Query{MessageID: "<m100000@fabrikam.com>"}, 6},
		{"id", Query{ID: "M150000"}, 6},
		{"nobody", Query{Recipient: "nobody@contoso.com"}, 0},
		{"busy-sender-last-100", Query{Sender: "user7@fabrikam.com", Limit: 100}, 100},
		{"last-minute", Query{Since: last.Add(-time.Minute)}, 360},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := NewReader(dir)
			for b.Loop() {
				got, err := r.Search(bg, c.q)
				if err != nil || len(got) != c.want {
					b.Fatalf("%d events, %v", len(got), err)
				}
			}
		})
	}
}

func TestAppendLower(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	want := slices.Clone(all)
	for c := 'A'; c <= 'Z'; c++ {
		want[c] = byte(c) + 'a' - 'A'
	}
	if got := appendLower(nil, all); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// FuzzIndex searches with an index that says anything: it may miss events, but finds no wrong ones and does not fail.
func FuzzIndex(f *testing.F) {
	lines := story(3)[1].appendLine(story(3)[0].appendLine(nil))
	dir := f.TempDir()
	base := filepath.Join(dir, "20260302T080000.000000")
	if err := os.WriteFile(base+segmentSuffix, lines, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := rebuild(base); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(base + indexSuffix)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:indexHead])
	f.Fuzz(func(t *testing.T, index []byte) {
		dir := t.TempDir()
		base := filepath.Join(dir, "20260302T080000.000000")
		for suffix, data := range map[string][]byte{segmentSuffix: lines, indexSuffix: index} {
			if err := os.WriteFile(base+suffix, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := NewReader(dir).Search(bg, Query{ID: "M000003"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			if e.ID != "M000003" {
				t.Errorf("%+v", e)
			}
		}
	})
}
