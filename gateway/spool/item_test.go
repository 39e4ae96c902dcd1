package spool

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/routing"
)

func TestRow(t *testing.T) {
	it := newItem("A1", 100)
	it.Attempts = 2
	it.Recipients[0].LastReply, it.Recipients[0].LastAttempt = "451 4.7.500 Server busy", epoch.Add(time.Minute)
	it.Recipients[1].State, it.Recipients[1].LastReply, it.Recipients[1].LastAttempt = RecipientDelivered, "250 2.0.0 Ok", epoch.Add(2*time.Minute)
	b, err := json.Marshal(it.Row())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"A1","state":"waiting","sender":"megan@fabrikam.com","recipients":["adele@contoso.com"],"size":100,` +
		`"received":"2026-03-02T08:00:00Z","attempts":2,"next_attempt":"2026-03-02T08:01:00Z","last_reply":"451 4.7.500 Server busy"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestLastReply(t *testing.T) {
	at := func(m int) time.Time { return epoch.Add(time.Duration(m) * time.Minute) }
	for _, c := range []struct {
		name string
		rs   []Recipient
		want string
	}{
		{"none", nil, "why"},
		{"latest of the waiting", []Recipient{{State: RecipientWaiting, LastReply: "a", LastAttempt: at(2)}, {State: RecipientWaiting, LastReply: "b", LastAttempt: at(1)}}, "a"},
		{"waiting beats later settled", []Recipient{{State: RecipientFailed, LastReply: "a", LastAttempt: at(9)}, {State: RecipientWaiting, LastReply: "b", LastAttempt: at(1)}}, "b"},
		{"waiting first, settled later", []Recipient{{State: RecipientWaiting, LastReply: "b", LastAttempt: at(1)}, {State: RecipientFailed, LastReply: "a", LastAttempt: at(9)}}, "b"},
		{"all settled", []Recipient{{State: RecipientFailed, LastReply: "a", LastAttempt: at(1)}, {State: RecipientDelivered, LastReply: "b", LastAttempt: at(2)}}, "b"},
	} {
		it := &Item{Why: "why", Recipients: c.rs}
		if got := it.LastReply(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTimesOfAnItem(t *testing.T) {
	it := newItem("A1", 1)
	if it.Expired(epoch.Add(48*time.Hour-1), 48*time.Hour) || !it.Expired(epoch.Add(48*time.Hour), 48*time.Hour) || it.Expired(epoch.Add(999*time.Hour), 0) {
		t.Error("expired at the wrong time")
	}
	for _, c := range []struct {
		name string
		edit func(*Item)
		now  time.Duration
		want []int
	}{
		{"too early", func(*Item) {}, 4*time.Hour - 1, nil},
		{"both", func(*Item) {}, 4 * time.Hour, []int{0, 1}},
		{"sent", func(it *Item) { it.Recipients[0].DelayNoticeSent = true }, 4 * time.Hour, []int{1}},
		{"NEVER", func(it *Item) { it.Recipients[0].Notify = []string{"NEVER"} }, 4 * time.Hour, []int{1}},
		{"FAILURE only", func(it *Item) { it.Recipients[1].Notify = []string{"FAILURE"} }, 4 * time.Hour, []int{0}},
		{"settled", func(it *Item) { it.Recipients[1].State = RecipientDelivered }, 4 * time.Hour, []int{0}},
		{"null reverse-path", func(it *Item) { it.Envelope.ReversePath = "" }, 4 * time.Hour, nil},
		{"DSN", func(it *Item) { it.Kind = DSN }, 4 * time.Hour, nil},
	} {
		it := newItem("A1", 1)
		c.edit(it)
		if got := it.DelayNoticeDue(epoch.Add(c.now), 4*time.Hour); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestLane(t *testing.T) {
	it := newItem("A1", 1)
	if got := it.Lane(); got != "cloud" {
		t.Errorf("lane %q", got)
	}
	it.Recipients[0].Side = routing.Internet
	for address, want := range map[string]string{
		"megan@Fabrikam.COM": "internet/fabrikam.com", `"a@b"@fabrikam.com`: "internet/fabrikam.com", "": "internet/contoso.com", "postmaster": "internet/postmaster",
		"a@" + strings.Repeat("x", 300): "internet/" + strings.Repeat("x", 200),
	} {
		it.Recipients[0].Address, it.Recipients[0].Query = address, ""
		if got := it.Lane(); got != want {
			t.Errorf("lane of %q: %q, want %q", address, got, want)
		}
		if got := laneSide(it.Lane()); got != routing.Internet {
			t.Errorf("side %q", got)
		}
	}
	it.Recipients[0].State = RecipientDelivered
	if got := it.Lane(); got != "onprem" {
		t.Errorf("lane %q once the first is settled", got)
	}
	it.Recipients[1].State = RecipientExpanded
	if got := it.Lane(); got != "" || !it.Settled() {
		t.Errorf("lane %q, settled %v once all are", got, it.Settled())
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for i := range 2000 {
		id := NewID(epoch.Add(time.Duration(i) * time.Millisecond))
		if len(id) != 16 || !validID(id) || seen[id] {
			t.Fatalf("id %q", id)
		}
		if id <= last {
			t.Fatalf("%q does not sort after %q", id, last)
		}
		seen[id], last = true, id
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "é", strings.Repeat("a", 65), "a\x00", "../queue.db"} {
		if validID(bad) {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func TestRecord(t *testing.T) {
	it := newItem("A1", 77)
	it.State, it.HeldUntil, it.Why, it.Attempts = Held, epoch.Add(time.Hour), "being moved", 3
	m := metaOf(it, true, 0xdeadbeef)
	b, err := encodeRecord(it, m)
	if err != nil {
		t.Fatal(err)
	}
	got, gm, err := decodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(it, got); d != "" {
		t.Error(d)
	}
	if gm != m {
		t.Errorf("head %+v, want %+v", gm, m)
	}
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 0x40
		if _, _, err := decodeRecord(bad); err == nil {
			t.Fatalf("octet %d changed, and the record still reads", i)
		}
		if _, _, err := decodeRecord(b[:i]); err == nil {
			t.Fatalf("record cut to %d octets still reads", i)
		}
	}
	it.State, it.Owner = Delivering, "session"
	if b, err = encodeRecord(it, metaOf(it, false, 0)); err != nil {
		t.Fatal(err)
	}
	if got, _, _ = decodeRecord(b); got.State != Waiting || got.Owner != "" {
		t.Errorf("a lease was written: state %s, owner %q", got.State, got.Owner)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	b, err := encodeRecord(newItem("A1", 5), metaOf(newItem("A1", 5), false, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:headSize])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headSize { // let the fuzzer past the checksum
			sum := recordSum(b)
			b[4], b[5], b[6], b[7] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		it, m, err := decodeRecord(b)
		if err == nil && (it == nil || len(m.lane) > len(b)) {
			t.Errorf("no error, item %v, head %+v", it, m)
		}
	})
}

func TestSchedule(t *testing.T) {
	s := Schedule{Retry: []time.Duration{time.Minute, 5 * time.Minute}, Jitter: 0.1}
	for _, c := range []struct {
		attempts int
		random   float64
		want     time.Duration
	}{
		{0, 0.5, time.Minute}, {1, 0.5, time.Minute}, {2, 0.5, 5 * time.Minute}, {9, 0.5, 5 * time.Minute},
		{1, 0, 54 * time.Second}, {2, 0, 270 * time.Second},
	} {
		if got := s.NextDelay(c.attempts, c.random); got != c.want {
			t.Errorf("after %d attempts, random %v: %v, want %v", c.attempts, c.random, got, c.want)
		}
	}
	if got := (Schedule{}).NextDelay(1, 0); got != 15*time.Minute {
		t.Errorf("no schedule: %v", got)
	}
}
