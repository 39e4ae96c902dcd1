package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

type opKind byte

const (
	opPut opKind = iota
	opUpdate
	opRelease
	opRemove
	opHold
	opUnhold
)

// op is one change that waits for a commit.
type op struct {
	kind   opKind
	id     string // the address, for holds
	meta   meta
	record []byte
	body   []byte
	done   chan error
}

// The greatest transaction: bounds the memory that bbolt needs for dirty pages, and how long the first of a batch waits.
const (
	maxBatchOps    = 4096
	maxBatchOctets = 16 << 20
)

// maxSyncedFreelist is the greatest number of free pages that is written with each commit, 8 octets each. Past it a start
// after a crash walks over all pages instead.
const maxSyncedFreelist = 32768

// commit hands a change to the committer and waits until it is durable. Cancelling ctx takes it back only while the committer
// has not taken it: afterwards the outcome must be known.
func (s *Local) commit(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.failed(o, false)
		return ErrClosed
	}
	s.pending = append(s.pending, o)
	s.mu.Unlock()
	s.signal()
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
	}
	if s.withdraw(o) {
		s.failed(o, false)
		return ctx.Err()
	}
	return <-o.done
}

func (s *Local) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Local) withdraw(o *op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.pending {
		if p == o {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			return true
		}
	}
	return false
}

// commitLoop is the group commit: all that came in while one transaction was synced go into the next. Nobody waits for
// company: a change that comes alone is committed alone.
func (s *Local) commitLoop() {
	defer close(s.done)
	for {
		<-s.wake
		for {
			batch, closed := s.take()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			s.commitBatch(batch)
			s.compactIfDrained()
		}
	}
}

func (s *Local) take() (batch []*op, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, octets := 0, 0
	for n < len(s.pending) && n < maxBatchOps && octets < maxBatchOctets {
		octets += len(s.pending[n].record) + len(s.pending[n].body)
		n++
	}
	batch = s.pending[:n:n]
	s.pending = s.pending[n:]
	if len(s.pending) == 0 {
		s.pending = nil
	}
	return batch, s.closed
}

// commitBatch commits changes and answers them. When the disk has no room, what shrinks or keeps the queue is tried again
// without the Puts: a delivery must be recorded, or the message is sent twice.
func (s *Local) commitBatch(batch []*op) {
	err := s.transact(batch)
	if err == nil {
		s.succeed(batch)
		return
	}
	s.log.Error("spool commit failed", "changes", len(batch), "error", err)
	var puts, rest []*op
	for _, o := range batch {
		if o.kind == opPut {
			puts = append(puts, o)
		} else {
			rest = append(rest, o)
		}
	}
	s.fail(puts, err)
	if len(rest) == 0 {
		return
	}
	if err := s.transactHard(rest); err != nil {
		s.fail(rest, err)
		return
	}
	s.succeed(rest)
}

// transactHard is transact for changes that must be made even when the disk is full.
func (s *Local) transactHard(batch []*op) error {
	err := s.transact(batch)
	if err != nil && !errors.Is(err, ErrDamaged) && s.reserve.spend(s) {
		err = s.transact(batch)
	}
	return err
}

// fail answers changes whose transaction failed. Apart from damage that is trouble with the disk, though bbolt does not always
// keep the errno.
func (s *Local) fail(batch []*op, err error) {
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFull) {
		err = &fullError{err}
	}
	for _, o := range batch {
		s.failed(o, true)
		o.done <- err
	}
}

// transact makes the names of body files durable, then writes everything in one transaction.
func (s *Local) transact(batch []*op) error {
	if s.dirDirty {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return fmt.Errorf("syncing the folder of the database: %w", err)
		}
		s.dirDirty = false
	}
	for _, o := range batch {
		if o.kind == opPut && o.meta.file {
			if err := s.fs.SyncDir(s.bodyPath("")); err != nil {
				return fmt.Errorf("syncing body files: %w", err)
			}
			break
		}
	}
	undo := s.undoList()
	err := s.update(func(tx *bolt.Tx) error {
		for _, id := range undo {
			if err := deleteItem(tx, id); err != nil {
				return err
			}
		}
		for _, o := range batch {
			if err := o.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
	stats := s.db.Stats()
	free := stats.FreePageN + stats.PendingPageN
	s.db.NoFreelistSync = free > maxSyncedFreelist
	s.reserve.pages.Store(int64(free) * int64(os.Getpagesize()))
	if err != nil {
		s.markDamage(err)
		return fmt.Errorf("spool database: %w", err)
	}
	s.undone(undo)
	return nil
}

// update runs a write transaction, on a new mapping when the old one is lost.
func (s *Local) update(f func(*bolt.Tx) error) error {
	err := guard(func() error { return s.db.Update(f) })
	if !errors.Is(err, berrors.ErrInvalidMapping) && !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return err
	}
	if rerr := s.remap(); rerr != nil {
		return errors.Join(err, rerr)
	}
	return guard(func() error { return s.db.Update(f) })
}

func (o *op) apply(tx *bolt.Tx) error {
	key := []byte(o.id)
	switch o.kind {
	case opRemove:
		return deleteItem(tx, o.id)
	case opHold:
		return tx.Bucket(holdsBucket).Put(key, o.record)
	case opUnhold:
		return tx.Bucket(holdsBucket).Delete(key)
	case opPut:
		if !o.meta.file {
			if err := fill(tx.Bucket(bodiesBucket)).Put(key, o.body); err != nil {
				return err
			}
		}
	}
	return fill(tx.Bucket(itemsBucket)).Put(key, o.record)
}

// fill packs pages densely: IDs come nearly in order, so pages are filled from the end.
func fill(b *bolt.Bucket) *bolt.Bucket {
	b.FillPercent = 0.9
	return b
}

func deleteItem(tx *bolt.Tx, id string) error {
	if err := tx.Bucket(itemsBucket).Delete([]byte(id)); err != nil {
		return err
	}
	return tx.Bucket(bodiesBucket).Delete([]byte(id))
}

// succeed brings the index in line with what was committed, removes files that nothing names any more, and answers.
func (s *Local) succeed(batch []*op) {
	var files []string
	octets := int64(0)
	s.mu.Lock()
	for _, o := range batch {
		octets += int64(len(o.body))
		switch o.kind {
		case opRemove:
			delete(s.index, o.id)
			if o.meta.file {
				files = append(files, o.id)
			}
		case opPut, opUpdate, opRelease:
			if e := s.index[o.id]; e != nil {
				e.meta, e.putting = o.meta, false
				if o.kind == opRelease {
					e.owner = ""
				}
			}
		}
	}
	s.mu.Unlock()
	for _, o := range batch {
		o.done <- nil
	}
	for _, id := range files {
		if err := s.fs.Remove(s.bodyPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("body file left behind; it goes at the next start", "id", id, "error", err)
		}
	}
	s.paged.add(s, octets)
}

// failed takes back a Put. When a commit failed it may be in the database all the same, as when only the last fsync failed: then it
// is deleted with the next commit, and its file stays until that is durable.
func (s *Local) failed(o *op, inCommit bool) {
	if o.kind != opPut {
		return
	}
	s.mu.Lock()
	delete(s.index, o.id)
	if inCommit {
		s.undo[o.id] = o.meta.file
	}
	s.mu.Unlock()
	if !inCommit && o.meta.file {
		_ = s.fs.Remove(s.bodyPath(o.id))
	}
}

func (s *Local) undoList() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.undo))
	for id := range s.undo {
		ids = append(ids, id)
	}
	return ids
}

func (s *Local) undone(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.undo[id] {
			_ = s.fs.Remove(s.bodyPath(id))
		}
		delete(s.undo, id)
	}
}

// errPanic is a panic of bbolt, which is how it answers damaged pages.
var errPanic = errors.New("database is damaged")

// guard turns panics and bad memory accesses under the database's mapping (a damaged page number, a bad sector) into errors.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %w: %v", ErrDamaged, errPanic, r)
		}
	}()
	return f()
}
