package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

func (s *Local) dbPath() string { return filepath.Join(s.dir, "queue.db") }

// openBolt opens a database with the settings of the queue. The mapping is large from the start (address space only), since
// growing it waits for every reader.
func openBolt(path string, readOnly bool) (*bolt.DB, error) {
	var db *bolt.DB
	err := guard(func() error {
		var err error
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Second, FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30, ReadOnly: readOnly,
		})
		return err
	})
	return db, err
}

// openDB opens the queue's database, or makes it.
func openDB(path string) (*bolt.DB, error) {
	db, err := openBolt(path, false)
	if err == nil {
		err = guard(func() error {
			if db.View(haveBuckets) == nil {
				return nil // a full disk can be started on
			}
			return db.Update(makeBuckets)
		})
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if errors.Is(err, berrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return db, nil
}

var bucketNames = [][]byte{itemsBucket, bodiesBucket, holdsBucket}

func haveBuckets(tx *bolt.Tx) error {
	for _, name := range bucketNames {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("no bucket %s", name)
		}
	}
	return nil
}

func makeBuckets(tx *bolt.Tx) error {
	for _, name := range bucketNames {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return nil
}

// recover opens the database, mends what a crash or a bad disk left, and builds the index.
func (s *Local) recover() error {
	start := s.now()
	fresh := !exists(s.dbPath())
	_ = s.fs.Remove(s.dbPath() + tmpSuffix) // of a compaction that was cut off
	var err error
	if s.db, err = openDB(s.dbPath()); err == nil {
		err = s.scan()
	}
	if err == nil && exists(s.salvageMark()) {
		err = errPanic
	}
	if isDatabaseDamage(err) {
		err = s.salvage(err)
	}
	if err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return err
	}
	if fresh {
		if err := s.syncNewFolders(); err != nil {
			return errors.Join(err, s.db.Close())
		}
	}
	if err := s.checkFiles(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	s.compactIfSparse()
	s.releasePages()
	if free, total, err := s.space.get(s); err == nil {
		s.reserve.fill(s, free, total)
		s.space.forget()
	}
	s.report.Messages, s.report.Took = len(s.index), s.now().Sub(start)
	if len(s.report.Damaged) > 0 {
		s.log.Error("spool: damage found and quarantined", "folder", filepath.Join(s.dir, "damaged"), "what", s.report.Damaged)
	}
	return nil
}

// syncNewFolders makes the names of a new spool durable, up to the folder of data_dir, which may be new as well.
func (s *Local) syncNewFolders() error {
	parent := filepath.Dir(s.dir)
	for _, dir := range []string{s.dir, parent} {
		if err := s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := s.fs.SyncDir(filepath.Dir(parent)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isDatabaseDamage(err error) bool {
	for _, e := range []error{errPanic, berrors.ErrInvalid, berrors.ErrChecksum, berrors.ErrVersionMismatch, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), "file size too small")
}

// scan builds the index from the records, and quarantines those that do not read.
func (s *Local) scan() error {
	type bad struct {
		id  string
		raw []byte
		err error
	}
	var damaged []bad
	clear(s.index)
	err := s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(itemsBucket).ForEach(func(k, v []byte) error {
			m, err := decodeMeta(v)
			if err != nil || !validID(string(k)) {
				damaged = append(damaged, bad{string(k), append([]byte(nil), v...), errors.Join(err)})
				return nil
			}
			s.index[string(k)] = &entry{meta: m}
			if len(s.index)%8192 == 0 {
				s.releaseMapping()
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, b := range damaged {
		if err := s.putAside(b.id, b.raw, fmt.Sprint(b.err)); err != nil {
			return err
		}
	}
	return nil
}

// checkFiles matches body files and records (see the package comment).
func (s *Local) checkFiles() error {
	files, err := s.fs.ReadDir(filepath.Join(s.dir, "bodies"))
	if err != nil {
		return err
	}
	have := make(map[string]fs.DirEntry, len(files))
	for _, f := range files {
		have[f.Name()] = f
		if e := s.index[f.Name()]; e != nil && e.file {
			continue
		}
		if err := s.dropOrphan(f.Name()); err != nil {
			return fmt.Errorf("removing orphan: %w", err)
		}
	}
	for id, e := range s.index {
		if !e.file {
			continue
		}
		why := fileDamage(have[id], e.size)
		if why == "" {
			continue
		}
		if err := s.putAside(id, s.rawRecord(id), why); err != nil {
			return err
		}
		delete(s.index, id)
	}
	return nil
}

func fileDamage(f fs.DirEntry, size int64) string {
	if f == nil {
		return "body file is missing"
	}
	info, err := f.Info()
	if err != nil {
		return err.Error()
	}
	if info.Size() != size {
		return fmt.Sprintf("body file has %d octets, expected %d", info.Size(), size)
	}
	return ""
}

func (s *Local) rawRecord(id string) (raw []byte) {
	_ = s.view(func(tx *bolt.Tx) error {
		raw = append(raw, tx.Bucket(itemsBucket).Get([]byte(id))...)
		return nil
	})
	return raw
}

// dropOrphan removes a body file without a record; after damage to the database it may be the body of a lost record, and is kept.
func (s *Local) dropOrphan(name string) error {
	if s.salvaged && !strings.HasSuffix(name, tmpSuffix) {
		s.report.Damaged = append(s.report.Damaged, name+": body file without a record")
		return s.fs.Rename(s.bodyPath(name), filepath.Join(s.dir, "damaged", name+".eml"))
	}
	s.report.Orphans++
	return s.fs.Remove(s.bodyPath(name))
}

// putAside moves an item to the folder of damaged items and takes it out of the database. Only for start-up.
func (s *Local) putAside(id string, record []byte, why string) error {
	if err := s.keepAside(id, record, why); err != nil {
		return err
	}
	return guard(func() error { return s.db.Update(func(tx *bolt.Tx) error { return deleteItem(tx, id) }) })
}

// keepAside copies record and body of an item to the folder of damaged items, durably.
func (s *Local) keepAside(id string, record []byte, why string) error {
	name := id
	if !validID(id) {
		name = fmt.Sprintf("key-%x", id)
		name = name[:min(len(name), 200)]
	}
	base := filepath.Join(s.dir, "damaged", name)
	body := []byte(nil)
	// The body's page may be the damaged one: then there is no body to keep.
	_ = s.view(func(tx *bolt.Tx) error {
		body = append(body, tx.Bucket(bodiesBucket).Get([]byte(id))...)
		return nil
	})
	if err := writeDurable(base+".record", record); err != nil {
		return err
	}
	if len(body) > 0 {
		if err := writeDurable(base+".eml", body); err != nil {
			return err
		}
	}
	if validID(id) {
		if err := s.fs.Rename(s.bodyPath(id), base+".eml"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.fs.SyncDir(filepath.Dir(base)); err != nil {
		return err
	}
	s.mu.Lock()
	s.damaged++
	s.report.Damaged = append(s.report.Damaged, name+": "+why)
	s.mu.Unlock()
	return nil
}

// Quarantine implements Store: the record and what there is of the body go to the folder damaged.
func (s *Local) Quarantine(ctx context.Context, it *Item, why string) error {
	if _, err := s.holder(it); err != nil {
		return err
	}
	s.log.Error("spool: message quarantined", "id", it.ID, "why", why)
	if err := s.keepAside(it.ID, s.rawRecord(it.ID), why); err != nil {
		return fmt.Errorf("quarantining %s: %w", it.ID, asFull(err))
	}
	return s.Remove(ctx, it)
}

func writeDurable(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
