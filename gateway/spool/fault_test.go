package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crashFS is a disk that loses what was not synced: octets of a file without Sync, names without SyncDir. It counts its
// operations and can fail from a chosen one on.
type crashFS struct {
	OSFS
	mu      sync.Mutex
	ops     []string
	failAt  int               // the number of the operation that fails; -1 none
	once    bool              // only that one fails, else all that follow too
	err     error             // how it fails
	unnamed map[string]string // new name (by create or rename) to the old one or "", until SyncDir
	unsaved map[string]bool   // names whose octets were not synced
}

func newCrashFS(failAt int, once bool, err error) *crashFS {
	return &crashFS{failAt: failAt, once: once, err: err, unnamed: map[string]string{}, unsaved: map[string]bool{}}
}

func (c *crashFS) step(op, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.ops)
	c.ops = append(c.ops, op+" "+filepath.Base(name))
	if c.failAt >= 0 && (n == c.failAt || n > c.failAt && !c.once) {
		return &fs.PathError{Op: op, Path: name, Err: c.err}
	}
	return nil
}

func (c *crashFS) Create(name string) (File, error) {
	if err := c.step("create", name); err != nil {
		return nil, err
	}
	f, err := c.OSFS.Create(name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.unnamed[name], c.unsaved[name] = "", true
	c.mu.Unlock()
	return &crashFile{f, c, name}, nil
}

func (c *crashFS) Rename(from, to string) error {
	if err := c.step("rename", from); err != nil {
		return err
	}
	if err := c.OSFS.Rename(from, to); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unnamed[to] = from
	if c.unsaved[from] {
		c.unsaved[to] = true
	}
	delete(c.unsaved, from)
	return nil
}

func (c *crashFS) Remove(name string) error {
	if err := c.step("remove", name); err != nil {
		return err
	}
	return c.OSFS.Remove(name)
}

func (c *crashFS) SyncDir(name string) error {
	if err := c.step("syncdir", name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.unnamed {
		if filepath.Dir(n) == filepath.Clean(name) {
			delete(c.unnamed, n)
		}
	}
	return nil
}

// loseUnsynced does to the folder what a power cut may do at worst.
func (c *crashFS) loseUnsynced(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.unsaved {
		if err := os.Truncate(name, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name := range c.unnamed {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

type crashFile struct {
	File
	c    *crashFS
	name string
}

func (f *crashFile) Write(p []byte) (int, error) {
	if err := f.c.step("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *crashFile) Sync() error {
	if err := f.c.step("sync", f.name); err != nil {
		return err
	}
	f.c.mu.Lock()
	delete(f.c.unsaved, f.name)
	f.c.mu.Unlock()
	return f.File.Sync()
}

func (f *crashFile) Close() error {
	err := f.File.Close()
	return errors.Join(f.c.step("close", f.name), err)
}

// workload puts, removes and puts again, small and large, and tells which messages were acknowledged and not removed since.
func workload(s *Local) (acked map[string][]byte, failures []error) {
	acked = map[string][]byte{}
	for i, size := range []int{100, 70 << 10, 200 << 10, 50, 66 << 10} {
		id, body := fmt.Sprintf("M%d", i), octets(uint64(i), size)
		it := newItem(id, int64(size))
		if err := s.Put(bg, it, Segments{body[:size/3], body[size/3:]}); err != nil {
			failures = append(failures, err)
			continue
		}
		acked[id] = body
		if i == 1 {
			// A removal that fails leaves the message; one that is acknowledged must not bring it back.
			if err := s.Remove(bg, it); err == nil {
				acked[id] = nil
			}
		}
	}
	return acked, failures
}

// TestFaultAtEveryStep fails each operation on body files in turn, once and for good, then cuts the power and starts again.
func TestFaultAtEveryStep(t *testing.T) {
	probe := newCrashFS(-1, false, nil)
	s := open(t, t.TempDir(), Options{FS: probe})
	base := len(probe.ops) // steps of opening
	if _, failures := workload(s); failures != nil {
		t.Fatal(failures)
	}
	total := len(probe.ops)
	if total-base < 15 {
		t.Fatalf("only %d steps: %v", total-base, probe.ops)
	}
	for at := base; at < total; at++ {
		t.Run(fmt.Sprintf("%d once", at), func(t *testing.T) { faultAt(t, at, true, syscall.EIO) })
		t.Run(fmt.Sprintf("%d and after", at), func(t *testing.T) { faultAt(t, at, false, syscall.ENOSPC) })
	}
}

func faultAt(t *testing.T, at int, once bool, errno error) {
	dir := t.TempDir()
	disk := newCrashFS(at, once, errno)
	s := open(t, dir, Options{FS: disk})
	acked, failures := workload(s)
	for _, err := range failures {
		wantErr(t, "put", err, ErrFull)
	}
	for id, body := range acked {
		if body != nil {
			wantBody(t, s, id, body)
		}
	}
	if once {
		// The disk works again, so the store does.
		put(t, s, newItem("AFTER", 0), octets(9, 90<<10))
		acked["AFTER"] = octets(9, 90<<10)
	}
	// The database goes as it is: what it holds was synced, and the kernel keeps it when a process dies.
	s.Close()
	disk.loseUnsynced(t)

	s = open(t, dir, Options{})
	if r := s.Report(); len(r.Damaged) > 0 {
		t.Errorf("damage by a plain fault: %v", r.Damaged)
	}
	found := map[string]bool{}
	for _, id := range ids(t, s, Filter{}) {
		found[id] = true
		b, err := s.Open(bg, id)
		if err != nil {
			t.Fatal(err)
		}
		if !whole(b.Bytes()) {
			t.Errorf("%s is not whole", id)
		}
		b.Close()
	}
	for id, body := range acked {
		if body == nil && found[id] {
			t.Errorf("%s was removed, and is back", id)
		}
		if body != nil && !found[id] {
			t.Errorf("%s was acknowledged, and is lost", id)
		}
	}
	for _, f := range names(t, filepath.Join(dir, "bodies")) {
		if strings.HasSuffix(f, tmpSuffix) || !found[f] {
			t.Errorf("file %s is left over", f)
		}
	}
}

// TestLowWater checks that what would not fit is refused before its body is read, and that room is seen again.
func TestLowWater(t *testing.T) {
	disk := &spaceFS{free: 1000, total: 1 << 40}
	now := epoch
	s := open(t, t.TempDir(), Options{FS: disk, MinFree: 600, Now: func() time.Time { return now }})
	if err := s.Room(400); err != nil {
		t.Errorf("400 of 1000, 600 kept back: %v", err)
	}
	wantErr(t, "401 of 1000", s.Room(401), ErrFull)
	wantErr(t, "put", s.Put(bg, newItem("A1", 401), failing{}), ErrFull)
	disk.free = 10000
	wantErr(t, "asked again at once", s.Room(401), ErrFull)
	now = now.Add(time.Second)
	if err := s.Room(401); err != nil {
		t.Errorf("a second later: %v", err)
	}
	disk.err = syscall.EROFS
	now = now.Add(time.Second)
	wantErr(t, "read-only", s.Room(0), ErrFull)
	if st := s.Stats(); st.Free != -1 {
		t.Errorf("stats %+v", st)
	}
}

type spaceFS struct {
	OSFS
	free, total int64
	err         error
}

func (s *spaceFS) Space(string) (int64, int64, error) { return s.free, s.total, s.err }
