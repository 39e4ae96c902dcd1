package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// A bbolt file never shrinks: its free pages are used again, and listed in memory. So it is rewritten when it is mostly free:
// at start, and by the committer once a backlog has drained, when little is left to copy.
const (
	compactMin      = 64 << 20 // octets; smaller files stay as they are
	drainedMax      = 32 << 20 // the greatest live part that is copied while the queue runs: some 50 ms
	compactTxOctets = 8 << 20
)

// sizes gives the octets of the database up to its last page ever used, and of these the octets in use.
func (s *Local) sizes() (size, live int64) {
	err := s.view(func(tx *bolt.Tx) error {
		stats := s.db.Stats()
		size = tx.Size()
		live = size - int64(stats.FreePageN+stats.PendingPageN)*int64(os.Getpagesize())
		return nil
	})
	if err != nil {
		return 0, 0
	}
	return size, live
}

// compactIfSparse rewrites the database at start when less than half of it is in use.
func (s *Local) compactIfSparse() {
	if size, live := s.sizes(); size > compactMin && live < size/2 {
		s.compact(size)
	}
}

// compactIfDrained rewrites the database between two commits when hardly any of it is in use.
func (s *Local) compactIfDrained() {
	if s.db.Stats().FreePageN < compactMin/2/4096 {
		return
	}
	if size, live := s.sizes(); size > compactMin && live < size/8 && live < drainedMax {
		s.compact(size)
	}
}

// compact replaces the database by a copy without free pages. When it fails, the old one stays in use.
func (s *Local) compact(size int64) {
	s.dbmu.Lock()
	defer s.dbmu.Unlock()
	copied, err := s.compactTo(s.dbPath() + tmpSuffix)
	if err != nil {
		s.log.Warn("spool database was not compacted", "error", err)
		return
	}
	old := s.db
	s.db, s.dirDirty = copied, true
	if err := old.Close(); err != nil {
		s.log.Warn("closing the old spool database", "error", err)
	}
	if info, err := os.Stat(s.dbPath()); err == nil {
		s.mu.Lock()
		s.report.Compacted += size - info.Size()
		s.mu.Unlock()
	}
}

// remap opens the database anew after its mapping could not be made, as for want of memory: bbolt stays without one.
func (s *Local) remap() error {
	s.dbmu.Lock()
	defer s.dbmu.Unlock()
	if err := s.db.Close(); err != nil {
		s.log.Warn("closing the spool database to map it again", "error", err)
	}
	db, err := openDB(s.dbPath())
	if err != nil {
		return err
	}
	s.db = db
	return nil
}

// compactTo makes the copy and gives it the name of the database. It is open before it is renamed, so there is no moment
// without a database. The new name is made durable by the next commit, before anything is acknowledged in the new file.
func (s *Local) compactTo(tmp string) (*bolt.DB, error) {
	dst, err := openBolt(tmp, false)
	if err != nil {
		return nil, err
	}
	err = guard(func() error { return bolt.Compact(dst, s.db, compactTxOctets) })
	if err == nil {
		err = s.fs.Rename(tmp, s.dbPath())
	}
	if err != nil {
		return nil, errors.Join(err, dst.Close(), s.fs.Remove(tmp))
	}
	return dst, nil
}

// salvageMark is a file that asks the next start to take the database apart.
func (s *Local) salvageMark() string { return filepath.Join(s.dir, "salvage") }

// markDamage notes that the database could not be written because its pages are damaged. It is not mended under way: what is
// being delivered goes on, what cannot be put gets 452, and the next start salvages.
func (s *Local) markDamage(err error) {
	if !errors.Is(err, errPanic) {
		return
	}
	s.log.Error("spool database is damaged; restart to salvage it", "error", err)
	if err := os.WriteFile(s.salvageMark(), []byte(fmt.Sprintln(err)), 0o600); err != nil {
		s.log.Error("marking the damage", "error", err)
	}
}

// salvage moves a damaged database aside and copies what can be read of it into a new one.
func (s *Local) salvage(cause error) error {
	if s.db != nil {
		_ = guard(s.db.Close) // it is damaged: what it says of that adds nothing
		s.db = nil
	}
	aside := filepath.Join(s.dir, "damaged", "queue-"+s.now().UTC().Format("20060102T150405.000")+".db")
	if err := s.fs.Rename(s.dbPath(), aside); err != nil {
		return err
	}
	db, err := openDB(s.dbPath())
	if err != nil {
		return err
	}
	s.db, s.salvaged = db, true
	copied := 0
	if old, err := openBolt(aside, true); err == nil {
		for _, name := range [][]byte{holdsBucket, bodiesBucket, itemsBucket} {
			n, err := s.copyReadable(old, name)
			if err != nil {
				return errors.Join(err, old.Close())
			}
			copied += n
		}
		_ = guard(old.Close)
	}
	for _, dir := range []string{filepath.Dir(aside), s.dir} {
		if err := s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	s.report.Damaged = append(s.report.Damaged, fmt.Sprintf("%s: %v; %d of its entries could be read and are kept", filepath.Base(aside), cause, copied))
	s.damaged++
	if err := s.scan(); err != nil {
		return err
	}
	if err := s.fs.Remove(s.salvageMark()); err != nil && exists(s.salvageMark()) {
		return err
	}
	return nil
}

// copyReadable copies a bucket from both of its ends towards the first damaged page.
func (s *Local) copyReadable(old *bolt.DB, name []byte) (int, error) {
	copied := 0
	for _, step := range []struct {
		first, next func(*bolt.Cursor) ([]byte, []byte)
	}{
		{(*bolt.Cursor).First, (*bolt.Cursor).Next},
		{(*bolt.Cursor).Last, (*bolt.Cursor).Prev},
	} {
		var keys, values [][]byte
		walk := func(tx *bolt.Tx) error {
			b := tx.Bucket(name)
			if b == nil {
				return nil
			}
			c := b.Cursor()
			for k, v := step.first(c); k != nil; k, v = step.next(c) {
				keys, values = append(keys, append([]byte(nil), k...)), append(values, append([]byte(nil), v...))
				if len(keys) == 1024 {
					n, err := s.copyIn(name, keys, values)
					if err != nil {
						return err
					}
					copied, keys, values = copied+n, nil, nil
				}
			}
			return nil
		}
		err := guard(func() error { return old.View(walk) })
		n, cerr := s.copyIn(name, keys, values)
		copied += n
		if cerr != nil || (err != nil && !errors.Is(err, errPanic)) {
			return copied, errors.Join(err, cerr)
		}
		if err == nil {
			break // all was read from the first end
		}
	}
	return copied, nil
}

// copyIn adds the entries that are not there yet. A value for a key that could be damaged is caught by its checksum later.
func (s *Local) copyIn(name []byte, keys, values [][]byte) (n int, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := fill(tx.Bucket(name))
		for i, k := range keys {
			if len(k) == 0 || len(k) > bolt.MaxKeySize || b.Get(k) != nil {
				continue
			}
			n++
			if err := b.Put(k, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
