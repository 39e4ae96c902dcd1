package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/routing"
)

// bodySizes are on both sides of what is kept in the database.
var bodySizes = []int{0, 1, 500, 64 << 10, 64<<10 + 1, 3 << 20}

func TestPutAndReadAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	bodies := map[string][]byte{}
	for i, size := range bodySizes {
		id := fmt.Sprintf("M%d", i)
		bodies[id] = octets(uint64(i), size)
		put(t, s, newItem(id, 0), bodies[id])
	}
	check := func(s *Local) {
		t.Helper()
		for id, body := range bodies {
			wantBody(t, s, id, body)
			got, err := s.Get(bg, id)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(newItem(id, int64(len(body))), got); d != "" {
				t.Error(d)
			}
		}
		if st := s.Stats(); st.Messages != len(bodySizes) || !st.Oldest.Equal(epoch) || st.Free <= 0 {
			t.Errorf("stats %+v", st)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	check(s)
	for id := range bodies {
		if err := s.Remove(bg, &Item{ID: id}); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(bg, id)
		wantErr(t, "get of a removed item", err, ErrNotFound)
		_, err = s.Open(bg, id)
		wantErr(t, "open of a removed item", err, ErrNotFound)
	}
	if st := s.Stats(); st.Messages != 0 || st.Bytes != 0 || !st.Oldest.IsZero() {
		t.Errorf("stats of an empty store: %+v", st)
	}
	// Files go after the answer, so wait for the committer.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "bodies")); len(files) != 0 {
		t.Errorf("%d body files are left", len(files))
	}
}

func TestPutRefuses(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, newItem("A1", 0), []byte("x"))
	big := 64<<10 + 1
	for _, c := range []struct {
		name string
		it   *Item
		body io.WriterTo
		want error
	}{
		{"known id", newItem("A1", 1), Segments{[]byte("x")}, ErrExists},
		{"no id", newItem("", 1), Segments{[]byte("x")}, nil},
		{"path as id", newItem("../A2", 1), Segments{[]byte("x")}, nil},
		{"body shorter", newItem("A2", 2), Segments{[]byte("x")}, nil},
		{"body longer", newItem("A3", 2), Segments{[]byte("xxx")}, nil},
		{"file shorter", newItem("A4", int64(big)), Segments{octets(1, big-1)}, nil},
		{"file longer", newItem("A5", int64(big)), Segments{octets(1, big+1)}, nil},
		{"body fails", newItem("A6", 5), failing{}, errBody},
		{"file fails", newItem("A7", int64(big)), failing{}, errBody},
	} {
		err := s.Put(bg, c.it, c.body)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
	if got := ids(t, s, Filter{}); !slices.Equal(got, []string{"A1"}) {
		t.Errorf("stored: %v", got)
	}
	if files, _ := os.ReadDir(s.bodyPath("")); len(files) != 0 {
		t.Errorf("%d body files are left", len(files))
	}
	// An ID that failed can be used again.
	put(t, s, newItem("A4", 0), octets(1, big))
	wantBody(t, s, "A4", octets(1, big))
}

var errBody = errors.New("client went away")

type failing struct{}

func (failing) WriteTo(w io.Writer) (int64, error) {
	n, _ := w.Write([]byte("half"))
	return int64(n), errBody
}

func TestLease(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	it := newItem("A1", 0)
	it.Owner, it.State = "session", Delivering
	put(t, s, it, []byte("x"))

	_, err := s.Claim(bg, "A1", "scheduler")
	wantErr(t, "claim of a session's item", err, ErrClaimed)
	if got, _ := s.Get(bg, "A1"); got.State != Delivering || got.Owner != "session" {
		t.Errorf("state %s, owner %s", got.State, got.Owner)
	}
	if got := ids(t, s, Filter{State: Delivering}); len(got) != 1 {
		t.Errorf("listed as delivering: %v", got)
	}
	other := it.clone()
	other.Owner = ""
	wantErr(t, "update by nobody", s.Update(bg, other), ErrClaimed)
	wantErr(t, "remove by nobody", s.Remove(bg, other), ErrClaimed)
	wantErr(t, "release by nobody", s.Release(bg, other), ErrClaimed)
	wantErr(t, "quarantine by nobody", s.Quarantine(bg, other, "x"), ErrClaimed)

	it.Recipients[0].State, it.Recipients[0].LastReply = RecipientDelivered, "250 2.0.0 Ok"
	if err := s.Update(bg, it); err != nil {
		t.Fatal(err)
	}
	_, err = s.Claim(bg, "A1", "scheduler")
	wantErr(t, "claim after Update", err, ErrClaimed)
	it.State = Waiting
	if err := s.Release(bg, it); err != nil {
		t.Fatal(err)
	}
	got, err := s.Claim(bg, "A1", "scheduler")
	if err != nil {
		t.Fatal(err)
	}
	if got.Recipients[0].State != RecipientDelivered || got.Owner != "scheduler" {
		t.Errorf("claimed %+v", got)
	}
	_, err = s.Claim(bg, "A1", "scheduler")
	wantErr(t, "second claim", err, ErrClaimed)
	_, err = s.Claim(bg, "none", "scheduler")
	wantErr(t, "claim of nothing", err, ErrNotFound)
	if _, err := s.Claim(bg, "A1", ""); err == nil {
		t.Error("a lease without an owner")
	}
	got.Size++
	if s.Update(bg, got) == nil {
		t.Error("the size of a stored body was changed")
	}

	// A lease ends with the process.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if got, err := s.Get(bg, "A1"); err != nil || got.State != Waiting || got.Owner != "" {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
}

func TestOneClaimWins(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, newItem("A1", 0), []byte("x"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 16 {
		wg.Go(func() {
			_, err := s.Claim(bg, "A1", fmt.Sprint("owner", i))
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !errors.Is(err, ErrClaimed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d have the lease", won)
	}
}

func TestList(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	add := func(id string, edit func(*Item)) {
		it := newItem(id, 0)
		edit(it)
		put(t, s, it, []byte("x"))
	}
	add("C3", func(it *Item) { it.NextAttempt = epoch.Add(3 * time.Minute) })
	add("A1", func(it *Item) { it.NextAttempt = epoch.Add(time.Minute) })
	add("D4", func(it *Item) { it.NextAttempt = epoch.Add(3 * time.Minute); it.Received = epoch.Add(-time.Hour) })
	add("B2", func(it *Item) {
		it.State = Held
		it.Envelope.ReversePath = "diego@fabrikam.com"
		it.Recipients = it.Recipients[1:]
		it.NextAttempt = epoch.Add(2 * time.Minute)
	})
	for _, c := range []struct {
		name   string
		filter Filter
		want   []string
	}{
		{"all, next attempt first, then oldest", Filter{}, []string{"A1", "B2", "D4", "C3"}},
		{"limit", Filter{Limit: 2}, []string{"A1", "B2"}},
		{"held", Filter{State: Held}, []string{"B2"}},
		{"waiting, limit", Filter{State: Waiting, Limit: 2}, []string{"A1", "D4"}},
		{"side", Filter{Side: routing.OnPrem}, []string{"B2"}},
		{"sender in any case", Filter{Sender: "DIEGO@Fabrikam.com"}, []string{"B2"}},
		{"recipient as asked", Filter{Recipient: "sales@CONTOSO.com", Limit: 9}, []string{"A1", "B2", "D4", "C3"}},
		{"recipient as sent", Filter{Recipient: "adele@contoso.mail.onmicrosoft.com"}, []string{"A1", "D4", "C3"}},
		{"nothing", Filter{Recipient: "nobody@contoso.com"}, nil},
	} {
		if got := ids(t, s, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	n := 0
	if err := s.List(bg, Filter{}, func(*Item) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("f said stop: %d calls, %v", n, err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	wantErr(t, "cancelled", s.List(ctx, Filter{}, func(*Item) bool { return true }), context.Canceled)
}

func TestHolds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	adele := Hold{Address: "adele@contoso.com", Until: epoch.Add(time.Hour), Why: "mailbox move", Since: epoch}
	alex := Hold{Address: "alex@contoso.com", Since: epoch}
	for _, h := range []Hold{alex, {Address: "Adele@Contoso.com", Since: epoch}, adele} {
		if err := s.PutHold(bg, h); err != nil {
			t.Fatal(err)
		}
	}
	if s.PutHold(bg, Hold{}) == nil {
		t.Error("a hold without an address")
	}
	s.Close()
	s = open(t, dir, Options{})
	got, err := s.Holds(bg)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Hold{adele, alex}, got); d != "" {
		t.Error(d)
	}
	if !adele.Active(epoch) || adele.Active(adele.Until) || !alex.Active(epoch.Add(9999*time.Hour)) {
		t.Error("active at the wrong time")
	}
	if err := s.RemoveHold(bg, "ADELE@contoso.com"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "second removal", s.RemoveHold(bg, "adele@contoso.com"), ErrNotFound)
	if got, _ := s.Holds(bg); len(got) != 1 {
		t.Errorf("holds left: %v", got)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, newItem("A1", 0), []byte("x"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	wantErr(t, "put", s.Put(bg, newItem("A2", 1), Segments{[]byte("x")}), ErrClosed)
	wantErr(t, "update", s.Update(bg, newItem("A1", 1)), ErrClosed)
	wantErr(t, "hold", s.PutHold(bg, Hold{Address: "a@contoso.com"}), ErrClosed)
	_, err := s.Get(bg, "A1")
	wantErr(t, "get", err, ErrClosed)
	_, err = s.Holds(bg)
	wantErr(t, "holds", err, ErrClosed)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	start := time.Now()
	_, err := Open(dir, Options{}) // flock(2) locks belong to the open file, so one process is enough to see it
	wantErr(t, "second open", err, ErrLocked)
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the folder: %v", err)
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("gave up after %v: a restart that overlaps by a moment should work", d)
	}
}

func TestCancelledPutLeavesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	for i, size := range []int{10, 70 << 10} {
		id := fmt.Sprint("A", i)
		err := s.Put(ctx, newItem(id, int64(size)), Segments{octets(1, size)})
		_, gerr := s.Get(bg, id)
		switch {
		case err == nil && gerr == nil: // the committer had it already
		case errors.Is(err, context.Canceled) && errors.Is(gerr, ErrNotFound):
			put(t, s, newItem(id, 0), octets(1, size))
		default:
			t.Errorf("put: %v, but get: %v", err, gerr)
		}
	}
}

func TestOrphansAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	big := octets(1, 100<<10)
	put(t, s, newItem("A1", 0), big)
	s.Close()
	for _, name := range []string{"Z9", "Z8" + tmpSuffix} {
		if err := os.WriteFile(filepath.Join(dir, "bodies", name), big, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, Options{})
	if r := s.Report(); r.Orphans != 2 || len(r.Damaged) != 0 || r.Messages != 1 {
		t.Errorf("report %+v", r)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "bodies")); len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
	wantBody(t, s, "A1", big)
}

func TestDamageOfOneMessage(t *testing.T) {
	big := octets(1, 100<<10)
	for _, c := range []struct {
		name   string
		break_ func(t *testing.T, dir string)
		atOpen bool // found when the store is opened, else when the body is read
		kept   []string
	}{
		{"file missing", func(t *testing.T, dir string) { rm(t, filepath.Join(dir, "bodies", "A1")) }, true, []string{"A1.record"}},
		{"file cut", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "bodies", "A1"), 5000); err != nil {
				t.Fatal(err)
			}
		}, true, []string{"A1.eml", "A1.record"}},
		{"file changed", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "bodies", "A1"), 70000) }, false, []string{"A1.eml", "A1.record"}},
		{"record changed", func(t *testing.T, dir string) {
			edit(t, dir, itemsBucket, "A1", func(b []byte) []byte { b[20] ^= 1; return b })
		}, true, []string{"A1.eml", "A1.record"}},
		{"record of a later version", func(t *testing.T, dir string) {
			edit(t, dir, itemsBucket, "A1", func(b []byte) []byte { b[0] = 9; return b })
		}, true, []string{"A1.eml", "A1.record"}},
		{"record empty", func(t *testing.T, dir string) {
			edit(t, dir, itemsBucket, "A1", func(b []byte) []byte { return nil })
		}, true, []string{"A1.eml", "A1.record"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			put(t, s, newItem("A1", 0), big)
			put(t, s, newItem("B2", 0), big)
			put(t, s, newItem("C3", 0), []byte("small"))
			s.Close()
			c.break_(t, dir)
			s = open(t, dir, Options{})
			if got := len(s.Report().Damaged); got != map[bool]int{true: 1}[c.atOpen] {
				t.Errorf("report %+v", s.Report())
			}
			if !c.atOpen {
				_, err := s.Open(bg, "A1")
				wantErr(t, "open", err, ErrDamaged)
				it, err := s.Claim(bg, "A1", "scheduler")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Quarantine(bg, it, "checksum"); err != nil {
					t.Fatal(err)
				}
			}
			if got := ids(t, s, Filter{}); !slices.Equal(got, []string{"B2", "C3"}) {
				t.Errorf("left in the queue: %v", got)
			}
			wantBody(t, s, "B2", big)
			wantBody(t, s, "C3", []byte("small"))
			if got := names(t, filepath.Join(dir, "damaged")); !slices.Equal(got, c.kept) {
				t.Errorf("kept aside: %v, want %v", got, c.kept)
			}
			if s.Stats().Damaged != 1 {
				t.Errorf("stats %+v", s.Stats())
			}
			s.Close()
			s = open(t, dir, Options{})
			if r := s.Report(); len(r.Damaged) != 0 || r.Messages != 2 {
				t.Errorf("at the next start: %+v", r)
			}
		})
	}
}

func TestInlineBodyChanged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	put(t, s, newItem("A1", 0), []byte("hello, this is a body"))
	put(t, s, newItem("B2", 0), []byte("another"))
	s.Close()
	edit(t, dir, bodiesBucket, "A1", func(b []byte) []byte { b[3] ^= 1; return b })
	edit(t, dir, bodiesBucket, "B2", func(b []byte) []byte { return nil })
	s = open(t, dir, Options{})
	for _, id := range []string{"A1", "B2"} {
		_, err := s.Open(bg, id)
		wantErr(t, id, err, ErrDamaged)
	}
}

// TestDamagedDatabase overwrites pages of the database in the middle: what other pages hold must come back, and the store work.
func TestDamagedDatabase(t *testing.T) {
	const n = 400
	for _, c := range []struct {
		name     string
		hurt     func(t *testing.T, path string)
		mustKeep int
	}{
		{"both meta pages", func(t *testing.T, path string) { overwrite(t, path, 0, 8192) }, 0},
		{"file cut to nothing", func(t *testing.T, path string) {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"one page of items", func(t *testing.T, path string) { overwritePage(t, path, itemsBucket, n/2) }, n - 60},
		{"one page of bodies, marked by a failed commit", func(t *testing.T, path string) {
			overwritePage(t, path, bodiesBucket, n/2)
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), "salvage"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, n - 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { put(t, s, newItem(fmt.Sprintf("M%04d", i), 0), octets(uint64(i), 600)) })
			}
			wg.Wait()
			put(t, s, newItem("Z", 0), octets(7, 100<<10))
			s.Close()
			c.hurt(t, filepath.Join(dir, "queue.db"))

			s = open(t, dir, Options{})
			if len(s.Report().Damaged) == 0 {
				t.Errorf("damage not reported: %+v", s.Report())
			}
			readable := 0
			for _, id := range ids(t, s, Filter{}) {
				if b, err := s.Open(bg, id); err == nil {
					readable++
					if !whole(b.Bytes()) {
						t.Errorf("%s is not what was put", id)
					}
					b.Close()
				} else if !errors.Is(err, ErrDamaged) {
					t.Error(err)
				}
			}
			if readable < c.mustKeep {
				t.Errorf("%d of %d messages came back, want %d", readable, n+1, c.mustKeep)
			}
			if c.mustKeep == 0 {
				// The record is lost; the body must not be thrown away as an orphan.
				if b, err := os.ReadFile(filepath.Join(dir, "damaged", "Z.eml")); err != nil || !whole(b) {
					t.Errorf("body of a lost record: %d octets, %v", len(b), err)
				}
			}
			put(t, s, newItem("NEW", 0), []byte("x"))
			s.Close()
			s = open(t, dir, Options{})
			if d := s.Report().Damaged; len(d) != 0 {
				t.Errorf("next start: %v", d)
			}
			wantBody(t, s, "NEW", []byte("x"))
		})
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	var wg sync.WaitGroup
	const n = 1700
	body := octets(1, 60<<10)
	for i := range n {
		wg.Go(func() { put(t, s, newItem(fmt.Sprintf("M%04d", i), 0), body) })
	}
	wg.Wait()
	if err := s.PutHold(bg, Hold{Address: "adele@contoso.com"}); err != nil {
		t.Fatal(err)
	}
	full := size(t, s.dbPath())
	for i := range n - 3 {
		wg.Go(func() {
			if err := s.Remove(bg, &Item{ID: fmt.Sprintf("M%04d", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	put(t, s, newItem("N", 0), body)
	put(t, s, newItem("NN", 0), body) // the committer compacts between commits, so before this one at the latest
	if now := size(t, s.dbPath()); now > full/4 {
		t.Errorf("%d octets of %d are left once the backlog has drained", now, full)
	}
	check := func() {
		t.Helper()
		for _, id := range []string{"M1697", "M1698", "M1699", "N", "NN"} {
			wantBody(t, s, id, body)
		}
		if h, err := s.Holds(bg); err != nil || len(h) != 1 {
			t.Errorf("holds %v, %v", h, err)
		}
	}
	check()
	put(t, s, newItem("O", 0), body)
	s.Close()
	s = open(t, dir, Options{})
	check()
	wantBody(t, s, "O", body)
	if got := s.Report().Messages; got != 6 {
		t.Errorf("%d messages", got)
	}
}

func TestSegments(t *testing.T) {
	s := Segments{[]byte("ab"), nil, []byte("c")}
	var b bytes.Buffer
	for range 2 {
		if n, err := s.WriteTo(&b); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if b.String() != "abcabc" || s.Size() != 3 {
		t.Errorf("%q, size %d", b.String(), s.Size())
	}
}

func rm(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xA5}, n), at); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, dir string, bucket []byte, key string, change func([]byte) []byte) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "queue.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		return b.Put([]byte(key), change(slices.Clone(b.Get([]byte(key)))))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// overwritePage damages the page that holds the n-th key of a bucket. Earlier copies of that page may still be in free pages, before it or
// behind it: they are damaged too, which harms nothing.
func overwritePage(t *testing.T, path string, bucket []byte, n int) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	err = db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		k, v := c.First()
		for range n {
			k, v = c.Next()
		}
		want = append(slices.Clone(k), v...) // bbolt stores the value behind its key
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 0; ; found++ {
		i := bytes.Index(file[at:], want[:min(len(want), 200)])
		if i < 0 {
			break
		}
		page := (at + i) / 4096 * 4096
		overwrite(t, path, int64(page), 4096)
		at = page + 4096
	}
	if found == 0 {
		t.Fatal("key not found in the file")
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestPutThatFailedInItsCommit plays the case that a commit reports an error and is in the database all the same, as when its last
// fsync fails: the client was told 4xx, so the message must go.
func TestPutThatFailedInItsCommit(t *testing.T) {
	for _, next := range []string{"commit", "close"} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		put(t, s, newItem("A1", 0), octets(1, 10))
		put(t, s, newItem("B2", 0), octets(1, 100<<10))
		for _, id := range []string{"A1", "B2"} {
			s.failed(&op{kind: opPut, id: id, meta: s.index[id].meta}, true)
		}
		if got := ids(t, s, Filter{}); len(got) != 0 || s.Stats().Messages != 0 {
			t.Errorf("%s: still listed: %v", next, got)
		}
		wantErr(t, "put of the id before it is clear", s.Put(bg, newItem("A1", 1), Segments{[]byte("x")}), ErrExists)
		if next == "commit" {
			put(t, s, newItem("C3", 0), []byte("x"))
			put(t, s, newItem("A1", 0), []byte("again"))
			wantBody(t, s, "A1", []byte("again"))
		}
		s.Close()
		if got := names(t, filepath.Join(dir, "bodies")); len(got) != 0 {
			t.Errorf("%s: files left: %v", next, got)
		}
		s = open(t, dir, Options{})
		if r := s.Report(); r.Messages != map[string]int{"commit": 2}[next] || len(r.Damaged) != 0 {
			t.Errorf("%s: %+v", next, r)
		}
	}
}

// TestMappingIsMadeAgain takes the database from under the store, as bbolt does when it cannot map a file that has grown.
func TestMappingIsMadeAgain(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, newItem("A1", 0), []byte("x"))
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, s, newItem("B2", 0), []byte("y"))
	wantBody(t, s, "A1", []byte("x"))
	wantBody(t, s, "B2", []byte("y"))
}
